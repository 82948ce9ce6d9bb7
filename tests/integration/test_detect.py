"""Detection scripts on bare hosts of two architectures, by three shells, against what is really there."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import arch, elf
from buildmatrix.detect import causes, script
from buildmatrix.detect.table import X86_WORDS, Program
from buildmatrix.facts import GoInfo, VersionNeed
from tests import bundles, project
from tests.hostlab import host as hosts
from tests.hostlab.host import SHELLS, Host

pytestmark = pytest.mark.integration

BOTH = pytest.mark.parametrize("goarch", ["amd64", "arm64"])
EVERY_SHELL = pytest.mark.parametrize("shell", SHELLS)
CC = {"amd64": "gcc", "arm64": "aarch64-linux-gnu-gcc"}
UNAME = {"amd64": "x86_64", "arm64": "aarch64"}
PROGRAM = '#include <stdio.h>\nint main(void) { puts("here"); return 0; }\n'
KEYS = {"schema", "cause", "release", "file", "affected", "reason", "artifact", "identified", "machine", "page_size",
        "libc"}  # fmt: skip


class Lab:
    """A host with one program installed, and scripts about it."""

    def __init__(self, goarch: str, folder: Path) -> None:
        self.goarch = goarch
        self.host: Host = hosts.host(goarch, "detect")
        self.folder = folder
        self.file = self.host.place / "app"

    def compile(self, *options: str, name: str = "app") -> Path:
        source = self.folder / "app.c"
        source.write_text(PROGRAM)
        command = [CC[self.goarch], str(source), "-Wl,--build-id=sha1", *options, "-o", str(self.folder / name)]
        subprocess.run(command, check=True)
        return self.folder / name

    def install(self, path: Path) -> Program:
        shutil.copy(path, self.file)
        return program(path)

    def ask(
        self, cause: str, *programs: Program, shell: str = "dash", fixed: tuple[str, ...] = (), **more: Any
    ) -> tuple[int, dict[str, Any]]:
        """The exit status and the line of JSON about the installed file."""
        place = self.host.place / "detect.sh"
        place.write_bytes(script.make(causes.find(cause), "1.2.3", programs, fixed))
        done = self.host.run(shell, f"{self.host.inside}/detect.sh", f"{self.host.inside}/app", **more)
        assert done.stderr == ""
        (line,) = done.stdout.splitlines()
        said = json.loads(line)
        assert set(said) == KEYS
        assert (said["cause"], said["release"], said["machine"]) == (cause, "1.2.3", UNAME[self.goarch])
        assert {True: 1, False: 0, None: 2}[said["affected"]] == done.returncode
        return done.returncode, said


def program(path: Path, **changed: Any) -> Program:
    """A program as the native reader sees it, with facts replaced."""
    scan = elf.scan_one(path)
    assert scan.facts is not None
    assert scan.facts.elf is not None
    assert scan.digests.sha256 is not None
    facts = replace(scan.facts.elf, **changed)
    return Program(cell="app_test", name="app", sha256=scan.digests.sha256, size=scan.size, facts=scan.facts, elf=facts)


@pytest.fixture
def lab(goarch: str, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(goarch, tmp_path)
    yield made
    shutil.rmtree(made.host.place)


@BOTH
@EVERY_SHELL
def test_a_file_is_recognised_by_digest_or_build_id(lab: Lab, shell: str) -> None:
    made = lab.install(lab.compile())
    code, said = lab.ask("bad-release", made, shell=shell)
    assert (code, said["identified"], said["artifact"]) == (1, "sha256", "app_test")
    assert (said["libc"], said["page_size"]) == ("glibc 2.36", 4096)
    assert lab.ask("bad-release", made, shell=shell, fixed=(made.sha256,))[1]["identified"] == "fixed"
    # Stripped or appended to, it is still the same build.
    lab.file.write_bytes(lab.file.read_bytes() + b"\0")
    code, said = lab.ask("bad-release", made, shell=shell)
    assert (code, said["identified"]) == (1, "build-id")
    other = program(lab.compile("-O2", "-DOTHER=1", "-Wl,--build-id=0x1234", name="other"))
    code, said = lab.ask("bad-release", other, shell=shell)
    assert (code, said["identified"], said["artifact"]) == (2, "none", None)
    lab.file.unlink()
    assert lab.ask("bad-release", made, shell=shell)[1]["reason"] == "the file cannot be read"


@BOTH
@EVERY_SHELL
def test_go_build_ids_are_read(lab: Lab, shell: str, tmp_path: Path) -> None:
    built = project.create(tmp_path / "go", matrix=project.MATRIX.replace('"-buildid=", ', "") + bundles.THIN)
    done = built.run("build", "-t", lab.goarch)
    assert done.returncode == 0, done.stdout + done.stderr
    made = lab.install(built.artifact(lab.goarch))
    assert made.elf.go_build_id
    lab.file.write_bytes(lab.file.read_bytes() + b"\0")
    code, said = lab.ask("bad-release", replace(made, elf=replace(made.elf, build_id=None)), shell=shell)
    assert (code, said["identified"]) == (1, "go-build-id")


@BOTH
@EVERY_SHELL
def test_the_machine(lab: Lab, shell: str, tmp_path: Path) -> None:
    made = lab.install(lab.compile())
    assert lab.ask("wrong-machine", made, shell=shell)[0] == 0
    other = "arm64" if lab.goarch == "amd64" else "amd64"
    foreign = tmp_path / "foreign"
    subprocess.run([CC[other], str(tmp_path / "app.c"), "-o", str(foreign)], check=True)
    code, said = lab.ask("wrong-machine", lab.install(foreign), shell=shell)
    assert (code, UNAME[other] in said["reason"]) == (1, True)
    lab.file.write_text("#!/bin/sh\n")
    assert lab.ask("wrong-machine", made, shell=shell)[0] == 2


@BOTH
@EVERY_SHELL
def test_the_loader(lab: Lab, shell: str) -> None:
    inside = f"{lab.host.inside}/ld.so"
    loader = lab.host.place / "ld.so"
    made = lab.install(lab.compile(f"-Wl,--dynamic-linker={inside}"))
    code, said = lab.ask("missing-interpreter", made, shell=shell)
    row = arch.BY_GOARCH[lab.goarch]
    assert (code, said["reason"]) == (1, f"the loader {inside} is not there (the host has {row.glibc_loader})")
    loader.write_text("text")
    assert lab.ask("bad-interpreter", made, shell=shell)[0] == 1
    other = "arm64" if lab.goarch == "amd64" else "amd64"
    subprocess.run([CC[other], "-shared", "-nostdlib", "-x", "c", "/dev/null", "-o", str(loader)], check=True)
    code, said = lab.ask("bad-interpreter", made, shell=shell)
    assert (code, "for another machine" in said["reason"]) == (1, True)
    loader.unlink()
    assert lab.ask("missing-interpreter", lab.install(lab.compile()), shell=shell)[0] == 0
    static = lab.install(lab.compile("-static"))
    assert lab.ask("missing-interpreter", static, shell=shell)[1]["reason"] == "the file asks for no loader"


@BOTH
@EVERY_SHELL
def test_versions_of_glibc(lab: Lab, shell: str) -> None:
    path = lab.compile()
    made = lab.install(path)
    assert any(need.version == "GLIBC_2.34" for need in made.elf.version_needs)
    assert lab.ask("glibc-too-old", made, shell=shell)[0] == 0
    newer = VersionNeed(library="libc.so.6", version="GLIBC_2.99", weak=False, hash=0, index=9)
    code, said = lab.ask("glibc-too-old", program(path, version_needs=(newer,)), shell=shell)
    assert (code, said["reason"].endswith("libc.so.6 does not define GLIBC_2.99")) == (1, True)
    absent = replace(newer, library="libstdc++.so.6", version="GLIBCXX_3.4.30")
    assert lab.ask("libstdcxx-too-old", program(path, version_needs=(absent,)), shell=shell)[0] == 2
    assert lab.ask("glibc-too-old", program(path, version_needs=(absent,)), shell=shell)[0] == 0
    if shell != "busybox":  # which has a sed of its own
        (lab.host.place / "tools" / "sed").unlink()
        assert lab.ask("glibc-too-old", made, shell=shell)[0] == 2


@BOTH
@EVERY_SHELL
@pytest.mark.parametrize("getconf", [True, False], ids=["getconf", "auxv"])
def test_page_sizes(lab: Lab, shell: str, getconf: bool) -> None:
    if not getconf:
        (lab.host.place / "tools" / "getconf").unlink()
    path = lab.compile()
    lab.install(path)
    large = program(path, page_incongruent=(True, False, False), page_overlap=(False, False, False))
    small = program(path, page_incongruent=(False, True, True), page_overlap=(False, False, False))
    code, said = lab.ask("page-size", large, shell=shell)
    assert (code, said["page_size"]) == (1, 4096)
    assert "pages of 16384 65536 bytes only" in said["reason"]
    assert lab.ask("page-size", small, shell=shell)[0] == 0


@pytest.mark.parametrize("goarch", ["amd64"])
def test_a_page_size_that_nothing_tells(lab: Lab) -> None:
    (lab.host.place / "tools" / "getconf").unlink()
    code, said = lab.ask("page-size", lab.install(lab.compile()), proc=False)
    assert (code, said["page_size"]) == (2, None)


@EVERY_SHELL
@pytest.mark.parametrize("goarch", ["amd64"])
def test_x86_levels(lab: Lab, shell: str) -> None:
    path = lab.compile()
    lab.install(path)
    plain = program(path)
    flags = {level: f"processor\t: 0\nflags\t\t: fpu {' '.join(words)} nx\n" for level, words in X86_WORDS.items()}
    for built in X86_WORDS:
        made = replace(plain, facts=replace(plain.facts, go=GoInfo(version="go1.26", settings=(("GOAMD64", built),))))
        for cpu, text in flags.items():
            code, said = lab.ask("isa-level", made, shell=shell, cpuinfo=text)
            assert (built, cpu, code) == (built, cpu, int(built > cpu)), said
    assert lab.ask("isa-level", made, shell=shell, cpuinfo="nothing\n")[0] == 2
    by_property = program(path, x86_isa_needed=8)
    assert lab.ask("isa-level", by_property, shell=shell, cpuinfo=flags["v3"])[0] == 1


@EVERY_SHELL
@pytest.mark.parametrize("goarch", ["arm64"])
def test_arm_atomics(lab: Lab, shell: str) -> None:
    path = lab.compile()
    lab.install(path)
    plain = program(path)
    for level, features, code in (("v8.0", "fp asimd", 0), ("v8.1", "fp asimd", 1), ("v8.0,lse", "fp asimd", 1),
                                  ("v8.2", "fp asimd atomics", 0)):  # fmt: skip
        made = replace(plain, facts=replace(plain.facts, go=GoInfo(version="go1.26", settings=(("GOARM64", level),))))
        assert lab.ask("isa-level", made, shell=shell, cpuinfo=f"processor\t: 0\nFeatures\t: {features}\n")[0] == code


@BOTH
@EVERY_SHELL
def test_libraries(lab: Lab, shell: str, tmp_path: Path) -> None:
    library = tmp_path / "libdetectlab.so.1"
    soname = ["-shared", "-nostdlib", "-x", "c", "/dev/null", f"-Wl,-soname,{library.name}", "-o", str(library)]
    subprocess.run([CC[lab.goarch], *soname], check=True)
    made = lab.install(lab.compile("-Wl,--no-as-needed", str(library), "-Wl,-rpath,$ORIGIN/lib"))
    assert library.name in made.elf.needed
    code, said = lab.ask("missing-library", made, shell=shell)
    assert (code, f"no {library.name} for this machine" in said["reason"]) == (1, True)
    (lab.host.place / "lib").mkdir()
    shutil.copy(library, lab.host.place / "lib")
    assert lab.ask("missing-library", made, shell=shell)[0] == 0
    shutil.copy(library, lab.host.place / library.name)
    shutil.rmtree(lab.host.place / "lib")
    assert lab.ask("missing-library", made, shell=shell)[0] == 2, "beside the program, where a wrapper may point"


@BOTH
@EVERY_SHELL
def test_what_was_installed_badly(lab: Lab, shell: str) -> None:
    made = lab.install(lab.compile())
    for mode, code in ((0o755, 0), (0o644, 1)):
        lab.file.chmod(mode)
        assert lab.ask("no-exec-permission", made, shell=shell)[0] == code
    assert lab.ask("truncated", made, shell=shell)[0] == 0
    lab.file.write_bytes(lab.file.read_bytes()[:-100])
    code, said = lab.ask("truncated", made, shell=shell)
    assert (code, said["reason"]) == (1, f"the file has {made.size - 100} bytes, expected {made.size}")


@EVERY_SHELL
@pytest.mark.parametrize("goarch", ["amd64"])
def test_a_mount_without_exec(lab: Lab, shell: str) -> None:
    made = lab.install(lab.compile())
    assert lab.ask("noexec-mount", made, shell=shell)[0] == 0
    assert lab.ask("noexec-mount", made, shell=shell, proc=False)[0] == 2
    kept = lab.file.read_bytes()
    (lab.host.place / "mnt").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", str(lab.host.place / "mnt")], check=True)
    try:
        (lab.host.place / "mnt" / "app").write_bytes(kept)
        place = f"{lab.host.inside}/mnt/app"
        done = lab.host.run(shell, f"{lab.host.inside}/detect.sh", place)
        assert (done.returncode, "mounted noexec" in done.stdout) == (1, True)
    finally:
        subprocess.run(["umount", "-l", str(lab.host.place / "mnt")], check=True)


def damaged(data: bytes) -> dict[str, bytes]:
    """Files that claim what they should not."""
    many = bytearray(data)
    struct.pack_into("<H", many, 56, 65535)
    far = bytearray(data)
    struct.pack_into("<Q", far, 32, 1 << 63)
    negative = bytearray(data)
    struct.pack_into("<H", negative, 54, 0)
    notes = bytearray(data)
    table, step, count = (struct.unpack_from(form, data, at)[0] for form, at in (("<Q", 32), ("<H", 54), ("<H", 56)))
    for index in range(count):
        at = table + index * step
        if struct.unpack_from("<I", data, at)[0] == 4:
            offset = struct.unpack_from("<Q", data, at + 8)[0]
            struct.pack_into("<II", notes, offset, 0xFFFFFFFF, 0xFFFFFFFF)
    return {
        "empty": b"", "magic": b"\x7fELF", "header": data[:64], "cut": data[:900], "many": bytes(many),
        "far": bytes(far), "step": bytes(negative), "notes": bytes(notes), "text": b"\n" * 100,
    }  # fmt: skip


@EVERY_SHELL
@pytest.mark.parametrize("goarch", ["amd64"])
def test_damaged_files_are_no_verdict(lab: Lab, shell: str) -> None:
    path = lab.compile()
    made = program(path)
    for name, data in damaged(path.read_bytes()).items():
        lab.file.write_bytes(data)
        code, said = lab.ask("bad-release", made, shell=shell)
        # A file that is cut short after its notes still has the build id of the release in them.
        known = name == "cut"
        assert (name, code, said["affected"]) == (name, 1 if known else 2, True if known else None)


@EVERY_SHELL
@pytest.mark.parametrize("goarch", ["amd64"])
def test_several_files_and_odd_names(lab: Lab, shell: str) -> None:
    made = lab.install(lab.compile())
    lab.ask("bad-release", made)
    names = ["app", 'a "b" \\c\n', "ü"]
    for name in names[1:]:
        (lab.host.place / name).write_text("x")
    paths = [f"{lab.host.inside}/{name}" for name in names]
    done = lab.host.run(shell, f"{lab.host.inside}/detect.sh", *paths)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, [item["affected"] for item in said]) == (1, [True, None, None])
    assert said[1]["file"].endswith('a "b" \\c?')
    done = lab.host.run(shell, f"{lab.host.inside}/detect.sh", *paths[1:])
    assert done.returncode == 2
    assert lab.host.run(shell, f"{lab.host.inside}/detect.sh", "--what").returncode == 3
    done = lab.host.run(shell, f"{lab.host.inside}/detect.sh")
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (0, "nothing of the release is in the usual places")


@pytest.mark.parametrize("goarch", ["amd64"])
def test_missing_tools(lab: Lab) -> None:
    made = lab.install(lab.compile())
    (lab.host.place / "tools" / "sha256sum").unlink()
    code, said = lab.ask("bad-release", made)
    assert (code, said["identified"]) == (1, "build-id")
    (lab.host.place / "tools" / "od").unlink()
    assert lab.ask("bad-release", made, proc=False)[0] == 2


@EVERY_SHELL
@pytest.mark.parametrize("goarch", ["amd64"])
def test_musl_is_read_where_there_is_no_glibc(lab: Lab, shell: str, tmp_path: Path) -> None:
    """A root with nothing but busybox, its shell and musl's loader."""
    root = tmp_path / "root"
    (root / "lib").mkdir(parents=True)
    (root / "bin").mkdir()
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for name in ("sh", "od", "tr", "sed", "uname", "dd", "wc", "dirname", "sha256sum"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "dev").mkdir()
    (root / "dev" / "null").touch()
    shutil.copy("/lib/ld-musl-x86_64.so.1", root / "lib" / "ld-musl-x86_64.so.1")
    made = lab.compile()
    shutil.copy(made, root / "app")
    (root / "detect.sh").write_bytes(script.make(causes.find("wrong-libc"), "1.2.3", [program(made)]))
    done = subprocess.run(
        ["/usr/sbin/chroot", str(root), "/bin/busybox", "sh", "/detect.sh", "/app"],
        capture_output=True, text=True, check=False, env={"PATH": "/bin"},
    )  # fmt: skip
    said = json.loads(done.stdout)
    version = subprocess.run(["/lib/ld-musl-x86_64.so.1"], capture_output=True, text=True, check=False).stderr
    assert said["libc"] == "musl " + version.split("Version ")[1].split()[0]
    assert (done.returncode, "ld-musl" in said["reason"]) == (1, True)
