"""Mutants of a shared library, run under the real glibc or musl loader of this machine.

The program is built once and needs one library; the library's headers, dynamic entries and lengths are
mutated. What is compared is the loader's answer: its exit status and its words. Where both say that
the loader is content, what the mutated code does afterwards is nobody's prediction.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.running import running
from buildmatrix.preflight.verdict import Stage, Verdict
from buildmatrix.preflight.walk import Credentials, View

UID = 1000
PROGRAM = "extern int value(void); extern int more(void); int main(void) { return value() + more() == 42 ? 0 : 3; }\n"
LIBRARY = "int spare = 7; int value(void) { return 40; } int more(void) { return spare - 5; }\n"
MAP = "LAB_1 { global: value; spare; }; LAB_2 { global: more; local: *; } LAB_1;\n"
WORDS = (
    0,
    1,
    2,
    3,
    6,
    7,
    8,
    16,
    24,
    0x38,
    0x40,
    0x1000,
    0x1001,
    0x2000,
    0x10000,
    0x7FFFFFFF,
    0xFFFFFFFF,
    1 << 40,
    (1 << 64) - 1,
)
TELLS = (
    "error while loading",
    "symbol lookup error",
    "Inconsistency detected",
    "not found (required by",
    "Error loading",
    "Error relocating",
    "CPU ISA level",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A root with a program in it, and the library's unharmed bytes."""

    root: Path
    program: str
    library: Path
    seed: bytes


def furnish(root: Path, stage: str) -> Setting:
    """A root with loader, libc, program and library. Raises FileNotFoundError without the tools."""
    work = root.parent
    (work / "p.c").write_text(PROGRAM)
    (work / "l.c").write_text(LIBRARY)
    (work / "l.map").write_text(MAP)
    compiler = shutil.which("gcc") if stage == "glibc" else shutil.which("musl-gcc")
    if compiler is None:
        raise FileNotFoundError(f"the {stage} stage needs {'gcc' if stage == 'glibc' else 'musl-gcc'}")
    library = root / "lib" / "libseed.so"
    library.parent.mkdir(parents=True)
    subprocess.run([compiler, "-O1", "-fPIC", "-shared", "-Wl,-soname,libseed.so", f"-Wl,--version-script={work}/l.map",
                    "-o", str(library), str(work / "l.c")], check=True)  # fmt: skip
    subprocess.run([compiler, "-O1", "-o", str(root / "prog"), str(work / "p.c"), str(library), "-Wl,-rpath,/lib",
                    "-Wl,-z,now"], check=True)  # fmt: skip
    for name in _closure(stage):
        place = root / name.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, place)
    for folder in (root, *[entry for entry in root.rglob("*") if entry.is_dir()]):
        folder.chmod(0o755)
    return Setting(root=root, program="/prog", library=library, seed=library.read_bytes())


def _closure(stage: str) -> tuple[str, ...]:
    if stage == "glibc":
        return ("/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6")
    return ("/lib/ld-musl-x86_64.so.1",)


def mutate(rng: random.Random, seed: bytes) -> tuple[bytes, str]:
    """One to three changes to header, program headers, dynamic section, version tables or length."""
    data = bytearray(seed)
    stories = [_change(rng, data) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    if rng.random() < 0.1:
        cut = rng.choice((0, 10, 63, 64, 100, 500, 0x1000, 0x2000, 0x2E00, 0x3000, len(data) // 2))
        del data[cut:]
        stories.append(f"size={cut:#x}")
    return bytes(data), " ".join(stories)


def _change(rng: random.Random, data: bytearray) -> str:
    phoff, phnum = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    kind = rng.random()
    if kind < 0.2 or not 64 <= phoff <= len(data) - 56 * max(phnum, 1) or not phnum:
        at = rng.choice((*range(16), 16, 18, 20, 54, 56))
        data[at] = rng.choice((0, 1, 2, 3, 5, 9, 40, 56, 62, 97, 183, 255))
        return f"byte {at}={data[at]}"
    index = rng.randrange(min(phnum, 12))
    at = phoff + 56 * index
    if kind < 0.6:
        step, code = rng.choice(((0, "I"), (4, "I"), (8, "Q"), (16, "Q"), (32, "Q"), (40, "Q"), (48, "Q")))
        old = struct.unpack_from("<" + code, data, at + step)[0]
        value = rng.choice((*WORDS, old + 8, old + 0x1000, old - 0x10)) & ((1 << (32 if code == "I" else 64)) - 1)
        struct.pack_into("<" + code, data, at + step, value)
        return f"phdr[{index}]+{step}={value:#x}"
    return _dynamic(rng, data, phoff, phnum)


def _dynamic(rng: random.Random, data: bytearray, phoff: int, phnum: int) -> str:
    for index in range(min(phnum, 12)):
        at = phoff + 56 * index
        kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", data, at)
        if kind == 2 and offset + size <= len(data) and size >= 16:
            entry = offset + 16 * rng.randrange(size // 16)
            tag, old = struct.unpack_from("<QQ", data, entry)
            if rng.random() < 0.3:
                tag = rng.choice(
                    (
                        0,
                        1,
                        4,
                        5,
                        6,
                        7,
                        12,
                        14,
                        21,
                        22,
                        24,
                        30,
                        0x6FFFFEF5,
                        0x6FFFFFF0,
                        0x6FFFFFFB,
                        0x6FFFFFFC,
                        0x6FFFFFFE,
                    )
                )
            else:
                old = rng.choice((*WORDS, old + 1, old + 8, old - 8)) & ((1 << 64) - 1)
            struct.pack_into("<QQ", data, entry, tag, old)
            return f"dynamic[{(entry - offset) // 16}]=({tag:#x}, {old:#x})"
    return "nothing"


def agrees(verdict: Verdict, observed: str) -> bool | None:
    """Whether a verdict fits an observation such as ``X 127 text``; None where neither claims anything."""
    what, number, text = (*observed.split(" ", 2), "", "")[:3]
    loader_spoke = any(tell in text for tell in TELLS)
    if verdict.stage is Stage.LOADER and verdict.signal is not None:
        return what == "D" or None
    if verdict.stage is Stage.LOADER and what == "D" and (verdict.message or "") in text:
        return None
    if verdict.stage is Stage.LOADER:
        return what == "X" and int(number) == verdict.exit and (verdict.message or "") in text
    return False if loader_spoke else None if what == "D" else True


def run_batch(program: Path, setting: Setting, rng: random.Random, count: int) -> list[tuple[bytes, str]]:
    """Run `count` mutants one after the other; the disagreements as bytes and a story."""
    wrong = []
    with subprocess.Popen([str(program), str(setting.root), str(UID), str(UID), "run"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True, errors="replace") as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        for _ in range(count):
            data, story = mutate(rng, setting.seed)
            setting.library.unlink()
            setting.library.write_bytes(data)
            process.stdin.write(setting.program + "\n")
            process.stdin.flush()
            observed = process.stdout.readline().rstrip("\n")
            view = View(root=DirectoryRoot(setting.root), who=Credentials(uid=UID, gid=UID), proc=False)
            verdict = Judge(view, running()).judge(Command(path=setting.program, argv=(setting.program,)))
            if verdict.certain and agrees(verdict, observed) is False:
                said = f"{verdict.stage} {verdict.exit} {verdict.signal} {verdict.message}"
                wrong.append((data, f"{story}: predicted {said}, observed {observed}"))
        process.stdin.close()
    return wrong
