"""Rollback scripts on bare hosts: every shell, every fault, and death at every step."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import bundles
from tests.bundles import UNAMES, Release
from tests.hostlab import host as hosts
from tests.hostlab.host import SHELLS, Host

pytestmark = pytest.mark.integration

EMULATORS = {"amd64": (), "arm64": ("qemu-aarch64-static",), "i386": ()}
LEAST_STEPS = 60
"""A run with fewer moments to die at was not seen whole."""


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Release, Release]:
    """The version that is installed, and the one to go back to."""
    folder = tmp_path_factory.mktemp("releases")
    return bundles.release(folder / "new", "1.3.0"), bundles.release(folder / "old", "1.2.3")


@pytest.fixture(scope="module")
def doubles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Release, Release]:
    """The same with two programs each."""
    folder = tmp_path_factory.mktemp("doubles")
    extra = bundles.TWO + bundles.THIN
    return bundles.release(folder / "new", "1.3.0", extra=extra), bundles.release(folder / "old", "1.2.3", extra=extra)


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Release, Release]:
    """One program each, and little else."""
    folder = tmp_path_factory.mktemp("thin")
    new = bundles.release(folder / "new", "1.3.0", extra=bundles.THIN)
    return new, bundles.release(folder / "old", "1.2.3", extra=bundles.THIN)


@pytest.fixture
def rooms() -> Iterator[list[Host]]:
    """Hosts that are cleared away afterwards."""
    made: list[Host] = []
    yield made
    for item in made:
        shutil.rmtree(item.place, ignore_errors=True)


class Place:
    """One host with the old version's bundle unpacked, and a version installed where there is one."""

    def __init__(
        self, goarch: str, old: Release, rooms: list[Host], *, compiler: str = "gcc", target: str = ""
    ) -> None:
        self.target = target or goarch
        self.old = old
        self.host = hosts.host(goarch, "rollback", compiler=compiler)
        rooms.append(self.host)
        self.path = old.unpack(self.target, self.host.place)
        self.script = f"{self.host.inside}/{self.path.relative_to(self.host.place)}"
        self.folder = self.host.place / "bin"
        self.folder.mkdir()
        self.file = self.folder / "hello"

    def install(self, release: Release) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        shutil.copy(release.binary(self.target), self.file)

    def run(
        self, shell: str = "dash", *words: str, step: int | None = None, proc: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.host.run(shell, self.script, "--to", f"{self.host.inside}/bin", *words, step=step, proc=proc)

    def version(self, file: Path | None = None) -> str:
        """What the installed program says of itself: it is really run."""
        command = [*EMULATORS[self.target], str(file or self.file)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def state(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


def kept(release: Release, target: str) -> str:
    return f"hello.replaced-{bundles.sha256(release.binary(target))[:12]}"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
def test_every_shell_goes_back_and_stays(
    goarch: str, shell: str, releases: tuple[Release, Release], rooms: list[Host]
) -> None:
    new, old = releases
    place = Place(goarch, old, rooms)
    place.install(new)
    place.file.chmod(0o750)
    os.chown(place.file, 1234, 4321)
    before = place.state()
    dry = place.run(shell, "--dry-run")
    assert (dry.returncode, place.state()) == (0, before), dry.stderr
    assert f"would put hello 1.2.3 at {place.host.inside}/bin/hello" in dry.stdout
    done = place.run(shell)
    assert done.returncode == 0, done.stderr
    assert place.version() == "1.2.3"
    assert place.names() == ["hello", kept(new, goarch)]
    assert place.version(place.folder / kept(new, goarch)) == "1.3.0"
    found = place.file.stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o750, 1234, 4321)
    after = place.state()
    again = place.run(shell)
    assert (again.returncode, place.state()) == (0, after)
    assert "is hello 1.2.3 already" in again.stdout


@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
def test_killed_at_every_step_the_host_has_one_version_or_the_other(
    goarch: str, thin: tuple[Release, Release], rooms: list[Host]
) -> None:
    new, old = thin
    place = Place(goarch, old, rooms)
    place.install(new)
    assert place.run().returncode == 0
    seen, steps = [], place.host.steps
    for step in steps:
        place.install(new)
        done = place.run(step=step)
        assert done.returncode == -9, (step, done.stderr)
        seen.append(place.version())
        assert seen[-1] in ("1.2.3", "1.3.0")
        assert place.file.stat().st_mode & 0o777 == 0o755
        if seen[-1] == "1.2.3":
            assert place.version(place.folder / kept(new, goarch)) == "1.3.0"
        done = place.run()
        assert done.returncode == 0, (step, done.stderr)
        assert place.version() == "1.2.3"
        assert place.names() == ["hello", kept(new, goarch)], step
    assert len(steps) > LEAST_STEPS
    assert set(seen) == {"1.2.3", "1.3.0"}
    assert seen == sorted(seen, reverse=True), "it went back and forth"


@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
def test_two_programs_are_swapped_at_once_and_survive_death_at_every_step(
    goarch: str, doubles: tuple[Release, Release], rooms: list[Host]
) -> None:
    new, old = doubles
    place = Place(goarch, old, rooms)
    forward = new.unpack(goarch, place.host.place)
    top = place.host.place / "opt"
    link = f"{place.host.inside}/opt/current"
    back = [place.script, "--to", link]
    ahead = f"{place.host.inside}/{forward.relative_to(place.host.place)}"
    top.mkdir()
    assert place.host.run("dash", ahead, "--to", link).returncode == 0
    before = place.host.place / "before"
    shutil.copytree(top, before, symlinks=True)
    assert place.host.run("dash", *back).returncode == 0
    steps, seen = place.host.steps, list[str]()
    assert len(steps) > LEAST_STEPS
    for step in steps:
        shutil.rmtree(top)
        shutil.copytree(before, top, symlinks=True)
        done = place.host.run("dash", *back, step=step)
        assert done.returncode == -9, (step, done.stderr)
        versions = {place.version(top / "current" / name) for name in ("hello", "other")}
        assert len(versions) == 1, (step, versions)
        seen += versions
        done = place.host.run("dash", *back)
        assert done.returncode == 0, (step, done.stderr)
        assert {place.version(top / "current" / name) for name in ("hello", "other")} == {"1.2.3"}
        assert len(list(top.iterdir())) == 3, "two versions and a link"
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"1.2.3", "1.3.0"}
    again = place.host.run("dash", *back)
    assert (again.returncode, "already" in again.stdout) == (0, True)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_tree_is_swapped_by_every_shell(shell: str, doubles: tuple[Release, Release], rooms: list[Host]) -> None:
    _, old = doubles
    place = Place("amd64", old, rooms)
    top = place.host.place / "opt"
    top.mkdir()
    words = [place.script, "--to", f"{place.host.inside}/opt/current"]
    assert "would link" in place.host.run(shell, *words, "--dry-run").stdout
    assert list(top.iterdir()) == []
    for _ in range(2):
        done = place.host.run(shell, *words)
        assert done.returncode == 0, done.stderr
    assert place.version(top / "current" / "other") == "1.2.3"
    # What lies there and was altered is not taken for this version, and not overwritten either.
    (top / "current" / "other").write_text("altered")
    assert place.host.run(shell, *words).returncode == 0
    assert place.version(top / "current" / "other") == "1.2.3"
    assert len(list(top.iterdir())) == 3
    (top / "current").unlink()
    (top / "current").mkdir()
    done = place.host.run(shell, *words)
    assert (done.returncode, "is no symbolic link" in done.stderr) == (1, True)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("what", ["program", "sums", "evidence", "missing", "link", "program and sums", "other script"])
def test_a_bundle_that_was_tampered_with_is_refused(
    what: str, shell: str, releases: tuple[Release, Release], rooms: list[Host]
) -> None:
    new, old = releases
    place = Place("amd64", old, rooms)
    place.install(new)
    top = place.path.parent
    program, sums = top / "files" / "hello", top / "SHA256SUMS"
    good = bundles.sha256(program)
    if "program" in what:
        data = bytearray(program.read_bytes())
        data[len(data) // 2] ^= 1
        program.write_bytes(data)
    if "sums" in what:
        sums.write_text(sums.read_text().replace(good, bundles.sha256(program)) + ("" if "and" in what else "\n"))
    if what == "evidence":
        (top / "evidence" / "hello_amd64" / "record.json").write_text("{}")
    if what == "missing":
        (top / "bundle.json").unlink()
    if what == "link":
        program.rename(top / "moved")
        program.symlink_to("../moved")
    if what == "other script":
        shutil.copy(place.path, top.parent / place.path.name)
        place.script = f"{place.host.inside}/{place.path.name}"
    before = place.state()
    done = place.run(shell)
    assert (done.returncode, place.state()) == (1, before)
    assert "nothing was changed" in done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_a_wrong_machine_is_refused(shell: str, releases: tuple[Release, Release], rooms: list[Host]) -> None:
    new, old = releases
    for goarch, target in (("amd64", "arm64"), ("arm64", "amd64")):
        place = Place(goarch, old, rooms, target=target)
        place.install(new)
        before = place.state()
        done = place.run(shell)
        assert (done.returncode, place.state()) == (1, before)
        assert f"wrong machine: got {UNAMES[goarch]}, expected {UNAMES[target]}" in done.stderr
        shutil.rmtree(place.host.place)


def test_a_userland_of_32_bits_on_a_kernel_of_64(releases: tuple[Release, Release], rooms: list[Host]) -> None:
    """The kernel says x86_64; only tools of 32 bits, which really run, show that it runs such programs.

    Without /proc the file that `od` is counts.
    """
    _, old = releases
    wide = Place("amd64", old, rooms, target="i386")
    for proc in (True, False):
        done = wide.run(proc=proc)
        assert done.returncode == 1
        assert "nothing shows that it runs such programs" in done.stderr
    shutil.rmtree(wide.host.place)
    narrow = Place("amd64", old, rooms, target="i386", compiler="i686-linux-gnu-gcc")
    done = narrow.run(proc=False)
    assert (done.returncode, narrow.version()) == (0, "1.2.3"), done.stderr
    shutil.rmtree(narrow.host.place)
    # A static 64-bit program runs there, and the script says what is unusual.
    static = Place("amd64", old, rooms, compiler="i686-linux-gnu-gcc")
    done = static.run(proc=False)
    assert (done.returncode, static.version()) == (0, "1.2.3"), done.stderr
    assert "the userland another (ELF class and machine 1 3)" in done.stdout


@pytest.mark.parametrize(
    ("loader", "code"),
    [("/lib64/ld-linux-x86-64.so.2", 0), ("/lib/ld-musl-x86_64.so.1", 1), ("/etc/passwd", 1)],
)
def test_the_loader_that_a_program_asks_for_has_to_be_there(
    loader: str, code: int, releases: tuple[Release, Release], rooms: list[Host]
) -> None:
    new, old = releases
    place = Place("amd64", old, rooms)
    place.install(new)
    (place.host.root.path / "etc/passwd").touch()
    place.path.write_text(place.path.read_text().replace("loaders=''", f"loaders='{loader}'"))
    done = place.run()
    assert (done.returncode, place.version()) == (code, "1.3.0" if code else "1.2.3"), done.stderr


def test_a_32_bit_personality_is_another_machine(releases: tuple[Release, Release], rooms: list[Host]) -> None:
    new, old = releases
    place = Place("amd64", old, rooms)
    place.install(new)
    (place.host.place / "tools" / "uname").write_text("#!/bin/dash\nexec /usr/bin/setarch i686 /usr/bin/uname -m\n")
    assert (place.host.root.path / "usr/bin/setarch").exists()
    done = place.run()
    assert (done.returncode, place.version()) == (1, "1.3.0")
    assert "wrong machine: got i686, expected x86_64" in done.stderr


@pytest.fixture
def small(releases: tuple[Release, Release], rooms: list[Host]) -> Iterator[Place]:
    """A host whose programs lie on a file system of their own that is nearly full."""
    new, old = releases
    place = Place("amd64", old, rooms)
    place.install(new)
    space = place.host.place / "small"
    space.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(space)], check=True)
    shutil.copy(place.file, space / "hello")
    place.folder, place.file = space, space / "hello"
    yield place
    subprocess.run(["umount", "-l", str(space)], check=True)


@pytest.mark.parametrize("df", [True, False], ids=["df", "no-df"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_full_disk_loses_nothing(shell: str, df: bool, small: Place) -> None:
    if not df:
        (small.host.place / "tools" / "df").unlink()
    before = small.state()
    words = [small.script, "--to", f"{small.host.inside}/small"]
    done = small.host.run(shell, *words)
    assert (done.returncode, small.state()) == (4, before)
    assert ("KiB left" if df else "cannot be written") in done.stderr
    assert small.version() == "1.3.0"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_read_only_target_is_refused(shell: str, small: Place) -> None:
    # Room is there; only writing is not.
    subprocess.run(["mount", "-o", "remount,ro,size=64m", str(small.folder)], check=True)
    before = small.state()
    for words in ((), ("--dry-run",)):
        done = small.host.run(shell, small.script, "--to", f"{small.host.inside}/small", *words)
        assert (done.returncode, small.state()) == (4, before), done.stderr
        assert "cannot be written" in done.stderr


def test_without_a_program_for_sha256_nothing_is_touched(releases: tuple[Release, Release], rooms: list[Host]) -> None:
    new, old = releases
    place = Place("amd64", old, rooms)
    place.install(new)
    tools = place.host.place / "tools"
    real = tools / "sha256sum"
    real.unlink()
    done = place.run()
    assert (done.returncode, place.version()) == (3, "1.3.0")
    assert "no program computes SHA-256 here" in done.stderr
    # One that lies is not believed.
    real.write_text("#!/bin/dash\necho 0000000000000000000000000000000000000000000000000000000000000000  -\n")
    real.chmod(0o755)
    done = place.run()
    assert (done.returncode, place.version()) == (3, "1.3.0")
    shutil.copy(tools / "od", tools / "busybox")
    done = place.run()
    assert (done.returncode, place.version()) == (0, "1.2.3"), done.stderr


@pytest.mark.parametrize("tool", ["od", "mv", "cp", "ln", "uname", "chmod"])
def test_a_missing_tool_is_told_before_anything_happens(
    tool: str, releases: tuple[Release, Release], rooms: list[Host]
) -> None:
    new, old = releases
    place = Place("amd64", old, rooms)
    place.install(new)
    (place.host.place / "tools" / tool).unlink()
    before = place.state()
    done = place.run()
    assert (done.returncode, place.state()) == (3, before)
    assert f"there is no {tool} on PATH" in done.stderr


@pytest.mark.parametrize("tool", ["sync", "stat", "chown", "df", "du", "getcap"])
def test_what_a_host_may_lack(tool: str, releases: tuple[Release, Release], rooms: list[Host]) -> None:
    new, old = releases
    place = Place("amd64", old, rooms)
    place.install(new)
    (place.host.place / "tools" / tool).unlink()
    done = place.run()
    assert (done.returncode, place.version()) == (0, "1.2.3"), done.stderr


def test_what_was_written_badly_is_taken_back(releases: tuple[Release, Release], rooms: list[Host]) -> None:
    """A disk that gives back other bytes than were written: here, a mv that damages the file, once."""
    new, old = releases
    place = Place("amd64", old, rooms)
    place.install(new)
    move = place.host.place / "tools" / "mv"
    once = f"{place.host.inside}/once"
    move.write_text(
        '#!/bin/dash\n/usr/bin/mv "$@"\nfor last; do :; done\n'
        f'case $last in */hello) [ -e {once} ] || {{ : >{once}; echo x >>"$last"; }} ;; esac\n'
    )
    done = place.run()
    assert done.returncode == 5
    assert "the old version was put back" in done.stderr
    assert place.version() == "1.3.0"
    assert bundles.sha256(place.file) == bundles.sha256(new.binary("amd64"))
    assert (place.run().returncode, place.version()) == (0, "1.2.3")


def test_capabilities_go_with_the_program(releases: tuple[Release, Release], rooms: list[Host]) -> None:
    new, old = releases
    place = Place("amd64", old, rooms)
    place.install(new)
    inside = f"{place.host.inside}/bin/hello"
    chroot = ["chroot", str(place.host.root.path)]
    subprocess.run([*chroot, "/sbin/setcap", "cap_net_bind_service=ep", inside], check=True)
    assert place.run().returncode == 0
    told = subprocess.run([*chroot, "/sbin/getcap", inside], check=True, capture_output=True, text=True).stdout
    assert (place.version(), "cap_net_bind_service" in told) == ("1.2.3", True)


def test_odd_things_in_the_place_are_refused(releases: tuple[Release, Release], rooms: list[Host]) -> None:
    new, old = releases
    place = Place("amd64", old, rooms)
    place.file.symlink_to("elsewhere")
    done = place.run()
    assert (done.returncode, "is a symbolic link" in done.stderr) == (1, True)
    place.file.unlink()
    place.file.mkdir()
    done = place.run()
    assert (done.returncode, "is no file" in done.stderr) == (1, True)
    place.file.rmdir()
    shutil.copy(new.binary("arm64"), place.file)
    done = place.run()
    assert (done.returncode, "is for another machine" in done.stderr) == (1, True)
    place.file.unlink()
    place.file.write_text("#!/bin/sh\n")  # what is no ELF file may be replaced, and is kept
    assert (place.run().returncode, place.version(), len(place.names())) == (0, "1.2.3", 2)
    done = place.host.run("dash", place.script, "--to", "/nowhere")
    assert (done.returncode, "there is no folder /nowhere" in done.stderr) == (1, True)
    assert place.host.run("dash", place.script, "--what").returncode == 2
    assert "usage:" in place.host.run("dash", place.script, "--help").stdout
