"""`python -m tests.difftest.search [ROOT]`: which libraries a real loader takes in random layouts, and which the model.

ROOT is a root file system with glibc's or musl's loader, for x86-64 or arm64 (then under qemu-aarch64-static, a copy
of which is put into the root); nothing is written to it: layouts live in an overlay. The program tells the names of
its link maps; they, the order, exit status, words and warnings are compared. Needs root and both compilers.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from buildmatrix.host import Host, parse
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.running import running
from buildmatrix.preflight.verdict import Stage, Verdict
from buildmatrix.preflight.walk import Credentials, View
from tests.debianroots import make
from tests.difftest import layouts
from tests.difftest.layouts import PATH_PLACEHOLDER, Entry, Layout, Templates, placeholder

UID = 1000
SECONDS = 20
QEMU = "qemu-aarch64-static"
COMPILERS = {"amd64": "gcc", "arm64": "aarch64-linux-gnu-gcc"}
LOADERS = {
    ("amd64", False): "/lib64/ld-linux-x86-64.so.2",
    ("arm64", False): "/lib/ld-linux-aarch64.so.1",
    ("amd64", True): "/lib/ld-musl-x86_64.so.1",
    ("arm64", True): "/lib/ld-musl-aarch64.so.1",
}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def linked(arch: str, interpreter: str, work: Path) -> tuple[bytes, bytes]:
    """The templates of a program and of a library."""
    compiler = COMPILERS[arch]
    bare = (compiler, "-nostdlib", "-O1", "-fno-stack-protector", "-Wl,--no-as-needed", "-Wl,-z,now",
            "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096")  # fmt: skip
    empty = work / "empty.c"
    empty.write_text("")
    stubs = []
    for number in range(3):
        stub = work / f"{arch}-{number}.so"
        _run(*bare, "-shared", f"-Wl,-soname,{placeholder(number)}", "-o", stub, empty)
        stubs.append(stub)
    path = f"-Wl,-rpath,{PATH_PLACEHOLDER}"
    program, library = work / f"{arch}-prog", work / f"{arch}-lib"
    source = Path(__file__).with_name("linkmaps.c")
    _run(*bare, "-fPIE", "-pie", path, f"-Wl,--dynamic-linker={interpreter}", "-o", program, source, *stubs)
    _run(*bare, "-fPIC", "-shared", path, f"-Wl,-soname,{placeholder(3)}", "-o", library, empty, *stubs)
    return program.read_bytes(), library.read_bytes()


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one execution came to."""

    exit: int
    signal: int
    maps: tuple[str, ...]
    errors: str
    errno: int = 0


class Overlay:
    """A root over ROOT that layouts are put into and taken out of again."""

    def __init__(self, lower: Path, work: Path, arch: str) -> None:
        self.root = work / "root"
        for name in ("root", "upper", "over"):
            (work / name).mkdir()
        _run("mount", "-t", "tmpfs", "none", work / "over")
        for name in ("upper", "work"):
            (work / "over" / name).mkdir(mode=0o755)
        options = f"lowerdir={lower},upperdir={work}/over/upper,workdir={work}/over/work"
        _run("mount", "-t", "overlay", "none", "-o", options, self.root)
        self.work = work
        self.emulated = arch == "arm64"
        if self.emulated:
            shutil.copy(shutil.which(QEMU) or QEMU, self.root / QEMU)
        self.cache = self.root / "etc/ld.so.cache"
        self.first = self.cache.read_bytes() if self.cache.is_file() else b""
        for name in ("etc/ld.so.conf.d", "proc", *(folder.lstrip("/") for folder in layouts.FOLDERS)):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "etc/ld.so.conf.d/layout.conf").write_text("/t/three\n/t/two\n")
        (self.root / "t/locked").chmod(0o700)
        for name, target in (("link", "two"), ("loop", "loop"), ("toprog", "app/prog"), ("linked", "app")):
            (self.root / "t" / name).symlink_to(target)

    def close(self) -> None:
        """Undo the mounts."""
        self.proc(False)
        _run("umount", self.root)
        _run("umount", self.work / "over")

    def proc(self, wanted: bool) -> None:
        """Mount or unmount /proc."""
        mounted = os.path.ismount(self.root / "proc")
        if wanted and not mounted:
            _run("mount", "-t", "proc", "none", self.root / "proc")
        elif mounted and not wanted:
            _run("umount", self.root / "proc")

    def put(self, layout: Layout, foreign: bytes) -> list[Path]:
        """Write a layout; what was made, in order."""
        made: list[Path] = []
        for path, entry in layout.files.items():
            place = self._inside(path)
            made += [each for each in reversed(place.parents) if not each.exists()]
            place.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(place):
                made.append(place)
                self._put(place, entry)
        self._cache(layout.cache, foreign)
        for path in layout.vanish:
            place = self._inside(path)
            if place in made and not place.is_dir():
                place.unlink()
        return made

    def _inside(self, path: str) -> Path:
        """A path of the root with its directory links followed inside."""
        folder, _, name = path.rpartition("/")
        here = self.root
        for part in folder.strip("/").split("/"):
            here = here / part
            if here.is_symlink():
                target = str(here.readlink())
                here = self.root / target.lstrip("/") if target.startswith("/") else here.parent / target
        return here / name

    def _put(self, place: Path, entry: Entry) -> None:
        if entry.folder:
            place.mkdir(mode=0o755)
        elif entry.link:
            place.symlink_to(entry.link)
        elif entry.hard:
            target = self._inside(entry.hard)
            if target.is_file():
                os.link(target, place)
        else:
            place.write_bytes(entry.data)
            place.chmod(entry.mode)

    def _cache(self, kind: str, foreign: bytes) -> None:
        self.cache.unlink(missing_ok=True)
        if kind in ("fresh", "stale"):
            words = ["/" + QEMU, "/sbin/ldconfig"] if self.emulated else ["/sbin/ldconfig"]
            subprocess.run(["chroot", str(self.root), *words], check=False, capture_output=True)
        elif kind in ("as it was", "truncated") and self.first:
            self.cache.write_bytes(self.first if kind == "as it was" else self.first[: len(self.first) * 2 // 3])
        elif kind in ("foreign", "garbage", "empty"):
            self.cache.write_bytes({"foreign": foreign, "garbage": b"\x7fnothing" * 99, "empty": b""}[kind])

    @staticmethod
    def clear(made: list[Path]) -> None:
        """Take a layout out again."""
        for place in reversed(made):
            for link in [place.parent / name for name in (*layouts.NAMES, "libother.so")]:
                if link.is_symlink():  # ldconfig makes them after sonames
                    link.unlink()
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)

    def execute(self, layout: Layout) -> Outcome:
        """Execute a layout's command as the unprivileged user, inside the root."""

        def enter() -> None:
            os.chroot(self.root)
            os.chdir(layout.cwd)
            os.setgroups([])
            os.setgid(UID)
            os.setuid(UID)

        argv, program = list(layout.argv), layout.command
        if self.emulated:
            argv, program = ["/" + QEMU, "-0", layout.argv[0], layout.command], "/" + QEMU
        try:
            done = subprocess.run(
                argv, executable=program, env=layout.env, preexec_fn=enter, capture_output=True, timeout=SECONDS,
                check=False,
            )  # fmt: skip
        except OSError as error:
            return Outcome(exit=0, signal=0, maps=(), errors="", errno=error.errno or 0)
        return Outcome(
            exit=max(done.returncode, 0),
            signal=max(-done.returncode, 0),
            maps=tuple(done.stdout.decode(errors="surrogateescape").splitlines()),
            errors=done.stderr.decode(errors="surrogateescape"),
        )


@dataclass(slots=True)
class Tally:
    """What a run counted."""

    layouts: int = 0
    uncertain: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def problem(verdict: Verdict, outcome: Outcome, interpreter: str) -> str | None:
    """How a verdict differs from what was seen; None where it does not."""
    if verdict.stage is Stage.EXECVE:
        return None if outcome.errno else f"predicted {verdict.errno or verdict.signal}"
    if verdict.stage is not Stage.LOADER:
        maps = [name for name in outcome.maps[1:] if name and name != "linux-vdso.so.1" and name != interpreter]
        said = [row.path for row in verdict.needed if row.path]
        if outcome.exit or outcome.signal or outcome.errno or maps != said:
            return f"predicted {said}"
        lines = [line for line in outcome.errors.splitlines() if line]
        if len(lines) != len(verdict.warnings) or not all(a in b for a, b in zip(verdict.warnings, lines, strict=True)):
            return f"predicted warnings {verdict.warnings}"
        return None
    if verdict.signal:
        return None if outcome.signal == getattr(signal, verdict.signal) else f"predicted {verdict.signal}"
    right = outcome.exit == verdict.exit and bool(verdict.message) and str(verdict.message).strip() in outcome.errors
    return None if right else f"predicted {verdict.exit} {verdict.message!r}"


def _templates(arch: str, musl: bool, work: Path) -> Templates:
    interpreter = LOADERS[arch, musl]
    program, library = linked(arch, interpreter, work)
    other = "arm64" if arch == "amd64" else "amd64"
    machine = MACHINES[arch]
    return Templates(program=program, library=library, foreign=linked(other, LOADERS[other, musl], work)[1],
                     interpreter=interpreter, multiarch=f"{machine}-linux-gnu", platform=machine, musl=musl,
                     native=arch == "amd64")  # fmt: skip


def run(lower: Path, arch: str, musl: bool, host: Host, count: int, seed: int, foreign: bytes) -> Tally:
    """Hold the model against `count` layouts."""
    tally = Tally()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.chmod(0o755)
        templates = _templates(arch, musl, work)
        overlay = Overlay(lower, work, arch)
        stack.callback(overlay.close)
        for number in range(count):
            rng = random.Random(f"{seed}/{number}")
            layout = layouts.layout(rng, templates)
            proc = overlay.emulated or number % 100 < 50
            overlay.proc(proc)
            made = overlay.put(layout, foreign)
            try:
                _one(overlay, layout, host, proc, f"{seed}/{number}", tally, templates.interpreter)
            finally:
                overlay.clear(made)
    return tally


def _one(overlay: Overlay, layout: Layout, host: Host, proc: bool, name: str, tally: Tally, interpreter: str) -> None:
    view = View(root=DirectoryRoot(overlay.root), who=Credentials(uid=UID, gid=UID), cwd=layout.cwd, proc=proc)
    verdict = Judge(view, host).judge(Command(path=layout.command, argv=layout.argv, env=layout.env))
    outcome = overlay.execute(layout)
    tally.layouts += 1
    tally.seen["loaded" if not (outcome.exit or outcome.signal or outcome.errno) else "did not"] += 1
    if not verdict.certain:
        tally.uncertain += 1
        tally.why[verdict.depends[0]] += 1
        return
    different = problem(verdict, outcome, interpreter)
    if different is not None:
        story = "\n    ".join(layout.story)
        tally.wrong.append(f"{name} proc {proc}: {different}\n  observed {outcome}\n    {story}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.difftest.search", description=__doc__)
    parser.add_argument("root", type=Path, nargs="?", help="made with mmdebstrap where it is not given")
    parser.add_argument("--arch", choices=sorted(COMPILERS), default="amd64", help="of the root that is made")
    parser.add_argument("--libc", choices=("glibc", "musl"), help="default: glibc where the root has both")
    parser.add_argument("--layouts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--foreign-cache", type=Path, help="an ld.so.cache of another architecture")
    arguments = parser.parse_args()
    try:
        root = arguments.root.resolve() if arguments.root else make.made(make.root(arguments.arch, make.packages()))
    except make.CannotMake as error:
        parser.exit(3, f"difftest-search: {error}\n")
    wanted = {
        path: key for key, path in LOADERS.items() if arguments.libc is None or key[1] == (arguments.libc == "musl")
    }
    found = next((key for path, key in wanted.items() if os.path.lexists(root / path[1:])), None)
    if found is None:
        parser.error(f"{root} has none of {', '.join(wanted)}")
    arch, musl = found
    host = running() if arch == "amd64" else parse("arm64,cpu=v8.2")
    foreign = arguments.foreign_cache.read_bytes() if arguments.foreign_cache else b""
    tally = run(root, arch, musl, host, arguments.layouts, arguments.seed, foreign)
    for story in tally.wrong[:20]:
        sys.stdout.write(story + "\n")
    sys.stdout.write(f"{tally.layouts} layouts, {len(tally.wrong)} predicted wrongly, {tally.uncertain} uncertain\n"
                     f"seen: {dict(tally.seen)}; uncertain: {tally.why.most_common(5)}\n")  # fmt: skip
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
