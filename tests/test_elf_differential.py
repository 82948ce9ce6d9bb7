"""The reader against independent ones: pyelftools on the machine's own files, and Go on Go binaries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from buildmatrix.elf import facts_of_bytes, read_facts
from buildmatrix.facts import FatArch, Format, GoInfo
from tests import differential

SAMPLE = 60


def sample(directory: str) -> list[Path]:
    """ELF files of a directory, evenly spread over the order of their names."""
    files = (path for path in sorted(Path(directory).iterdir()) if path.is_file() and not path.is_symlink())
    found = [path for path in files if os.access(path, os.R_OK) and differential.is_elf(path)]
    return found[:: max(1, len(found) // SAMPLE)]


@pytest.mark.parametrize("directory", ["/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/lib", "/lib/aarch64-linux-gnu"])
def test_pyelftools_agrees_about_the_files_of_this_machine(directory: str) -> None:
    if not Path(directory).is_dir():
        pytest.skip(f"{directory} is not on this machine")
    disagreements = {str(path): found for path in sample(directory) if (found := differential.compare_file(path))}
    assert disagreements == {}


def need_go() -> str:
    """The Go on PATH; CI must have one."""
    found = shutil.which("go")
    if found is None and os.environ.get("CI"):
        pytest.fail("CI must have go")
    if found is None:
        pytest.skip("not installed: go")
    return found


SOURCE = 'package main\n\nimport "os"\n\nvar Version = "unset"\n\nfunc main() { os.Stdout.WriteString(Version) }\n'


@pytest.fixture(scope="session")
def go_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module without dependencies."""
    root = tmp_path_factory.mktemp("module")
    (root / "go.mod").write_text("module example.org/tiny\n\ngo 1.21\n")
    (root / "main.go").write_text(SOURCE)
    return root


def go_build(module: Path, goos: str, goarch: str, *flags: str, **settings: str) -> Path:
    """Build the module for a target; the linker's view of it must not depend on this machine."""
    output = module / "-".join([goos, goarch, *(flag.strip("-").replace("=", "-").replace(" ", "") for flag in flags)])
    environment = {**os.environ, "GOOS": goos, "GOARCH": goarch, "CGO_ENABLED": "0", "GOFLAGS": "",
                   "GOTOOLCHAIN": "local", **settings}  # fmt: skip
    subprocess.run(
        [need_go(), "build", "-o", output, *flags, "."], cwd=module, env=environment, check=True, timeout=900
    )
    return output


def go_says(path: Path) -> GoInfo:
    """What Go's own reader finds."""
    done = subprocess.run(
        [need_go(), "version", "-m", "-json", path], capture_output=True, text=True, check=True, timeout=60
    )
    found = json.loads(done.stdout)
    return GoInfo(
        version=found["GoVersion"],
        path=found.get("Path", ""),
        settings=tuple((item["Key"], item["Value"]) for item in found.get("Settings", [])),
    )


LDFLAGS = '-ldflags=-s -w -X "main.Version=one two"'


@pytest.mark.integration
@pytest.mark.parametrize(
    ("goos", "goarch", "form", "flags"),
    [
        ("linux", "arm64", Format.ELF, ("-trimpath",)),
        ("linux", "amd64", Format.ELF, ("-trimpath", LDFLAGS)),
        ("linux", "amd64", Format.ELF, ("-buildmode=pie",)),
        ("linux", "386", Format.ELF, ()),
        ("linux", "s390x", Format.ELF, ()),
        ("linux", "mips", Format.ELF, (LDFLAGS,)),
        ("windows", "amd64", Format.PE, ()),
        ("windows", "arm64", Format.PE, (LDFLAGS,)),
        ("darwin", "arm64", Format.MACHO, ()),
        ("darwin", "amd64", Format.MACHO, (LDFLAGS,)),
    ],
)
def test_go_agrees_about_its_own_binaries(
    go_module: Path, goos: str, goarch: str, form: Format, flags: tuple[str, ...]
) -> None:
    path = go_build(go_module, goos, goarch, *flags)
    facts = read_facts(path)
    assert (facts.format, facts.issues) == (form, ())
    assert facts.go is not None
    expected = go_says(path)
    assert (facts.go.version, facts.go.path, facts.go.settings) == (expected.version, expected.path, expected.settings)
    assert facts.go.setting("GOARCH") == goarch
    assert facts.go.main is not None
    assert facts.go.main.path == "example.org/tiny"
    if facts.elf is not None:
        assert differential.compare_file(path) == []
        assert facts.elf.go_build_id


@pytest.mark.integration
def test_go_page_sizes(go_module: Path) -> None:
    """Go aligns arm64 at 64K and amd64 at 4K."""
    arm64, amd64 = (read_facts(go_build(go_module, "linux", arch)).elf for arch in ("arm64", "amd64"))
    assert arm64 is not None
    assert amd64 is not None
    assert (arm64.page_incongruent, arm64.page_overlap) == ((False,) * 3, (False,) * 3)
    assert arm64.max_align_common >= 65536
    assert amd64.page_incongruent[0] is False


@pytest.mark.integration
def test_a_fat_binary_has_the_go_facts_of_each_slice(go_module: Path) -> None:
    parts = [(0x01000007, 3, "amd64"), (0x0100000C, 0, "arm64")]
    raws = [go_build(go_module, "darwin", arch).read_bytes() for _, _, arch in parts]
    header, body, start = b"\xca\xfe\xba\xbe" + len(parts).to_bytes(4, "big"), b"", 1 << 14
    for (cputype, subtype, _), raw in zip(parts, raws, strict=True):
        fields = (cputype, subtype, start + len(body), len(raw), 14)
        header += b"".join(field.to_bytes(4, "big") for field in fields)
        body += raw + bytes(-len(raw) % (1 << 14))
    facts = facts_of_bytes(header.ljust(start, b"\0") + body)
    assert (facts.format, facts.issues) == (Format.MACHO_FAT, ())
    assert [(arch.cputype, arch.cpusubtype) for arch in facts.fat] == [(c, s) for c, s, _ in parts]
    assert [_goarch(arch) for arch in facts.fat] == ["amd64", "arm64"]


def _goarch(arch: FatArch) -> str | None:
    assert arch.go is not None
    return arch.go.setting("GOARCH")


@pytest.mark.integration
def test_stripped_go_binaries_without_section_headers(go_module: Path) -> None:
    path = go_build(go_module, "linux", "arm64", "-trimpath")
    raw = bytearray(path.read_bytes())
    raw[40:48], raw[60:64] = bytes(8), bytes(4)
    facts = facts_of_bytes(bytes(raw))
    assert facts.issues == ()
    assert facts.go == read_facts(path).go
