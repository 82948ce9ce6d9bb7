"""Reports for tests: one with findings of every severity and state, and one whose every text is hostile."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from buildmatrix.finding import Finding, Severity
from buildmatrix.report.model import (
    Bills,
    Change,
    Column,
    Edge,
    Image,
    ImagePart,
    Location,
    Machine,
    Mark,
    Needs,
    Part,
    Place,
    ReportModel,
    Row,
    Signed,
    Sizes,
    State,
    Timing,
)  # fmt: skip

HOSTILE = "a</script><script>alert(1)</script>&\"'`|*_[x](javascript:x)"
HOSTILE += "@team #1 \u202egnp.exe\u200b\x1b[31m\udcff\n<img src=x>"
"""Markup, Markdown, mentions, a bidirectional override, a control sequence, a byte that is no UTF-8, a line break."""

COLUMNS = (
    Column(key="BM501", title="machine", about="wrong machine", codes=("BM501",)),
    Column(key="BM508", title="libc floor", about="libc floor", codes=("BM508",)),
    Column(key="BM514", title="relocations", about="writable relocations", codes=("BM514",)),
    Column(key="files", title="bytes and record", about="Artifact and record.", codes=("BM704",)),
    Column(key="execution", title="executes", about="Kernel and loader.", codes=("BM605",)),
)


def finding(rule: str, cell: str, severity: Severity, what: str = "") -> Finding:
    return Finding(rule=rule, cell=cell, severity=severity, what=what or f"something {severity} about {cell}",
                   evidence="e_machine 62 at offset 18", why="because of that", fix="build the cell again")  # fmt: skip


def row(index: int, target: str, found: dict[str, Finding], state: State, *, dynamic: bool) -> Row:
    cell = f"service-with-a-long-name_{target}"
    marks = tuple(
        Mark(
            column=column.key,
            state={"error": State.FAILED, "warning": State.WARNING, "note": State.NOTE}[found[column.key].severity]
            if column.key in found
            else (State.NOT_APPLICABLE if column.key == "BM508" and not dynamic else State.PASSED),
            seen=f"{column.title} of {cell}",
            findings=(found[column.key],) if column.key in found else (),
        )
        for column in COLUMNS
    )
    packages = tuple(Part(name=f"example.org/module/package{n}", size=90_000 // (n + 1)) for n in range(30))
    edges = (
        Edge(by="service", name="libc.so.6", path="/lib/libc.so.6", rule="ld.so.cache"),
        Edge(by="/lib/libc.so.6", name="ld-linux-x86-64.so.2", path="/lib/ld-linux-x86-64.so.2", rule="loaded"),
        Edge(by="service", name="libmissing.so", path="", rule="not in any folder"),
    )
    return Row(
        cell=cell, binary="service-with-a-long-name", target=target, platform=f"linux/{target}", file="service",
        size=5_000_000 + index * 400_000, sha256=f"{index:02x}" * 32, state=state, marks=marks,
        sizes=Sizes(
            total=5_000_000 + index * 400_000,
            sections=(Part(name=".text", size=2_000_000), Part(name=".rodata", size=1_900_000),
                      Part(name=".gopclntab", size=1_100_000 + index * 400_000)),
            code=sum(part.size for part in packages), packages=packages,
            modules=(Part(name="example.org/module", size=sum(part.size for part in packages)),
                     Part(name="standard library", size=40_000)),
        ),
        needs=Needs(
            loader="/lib64/ld-linux-x86-64.so.2" if dynamic else "", libc="glibc" if dynamic else "",
            libc_needed="GLIBC_2.34" if dynamic else "", libc_promised="2.28" if dynamic else "", cpu_needed="v3",
            cpu_promised="v1", page_sizes=(4096, 65536), libraries=("libc.so.6",) if dynamic else (),
        ),
        edges=edges if dynamic else (),
        places=(Place(machine="edge", root="bookworm", state=State.FAILED, verdict="the dynamic loader gives up",
                      declared=True),
                Place(machine="cloud", root="", state=State.PASSED, verdict="executes", declared=False)),
    )  # fmt: skip


def model() -> ReportModel:
    """Every state and severity, every section filled."""
    cells = [f"service-with-a-long-name_{target}" for target in ("amd64", "arm64", "riscv64", "s390x", "ppc64le")]
    error = finding("BM501", cells[0], Severity.ERROR, "wrong machine (got x86-64, expected AArch64)")
    floor = finding("BM508", cells[0], Severity.ERROR, "needs a newer glibc (got GLIBC_2.34, expected GLIBC_2.28)")
    warning = finding("BM514", cells[1], Severity.WARNING, "no RELRO")
    note = finding("BM605", cells[2], Severity.NOTE, "no root declared")
    rows = (
        row(0, "amd64", {"BM501": error, "BM508": floor}, State.FAILED, dynamic=True),
        row(1, "arm64", {"BM514": warning}, State.WARNING, dynamic=True),
        row(2, "riscv64", {"execution": note}, State.NOTE, dynamic=False),
        row(3, "s390x", {}, State.PASSED, dynamic=False),
    )
    unread = replace(
        row(4, "ppc64le", {}, State.FAILED, dynamic=False), sizes=None, needs=None, places=(), size=0, sha256="",
        marks=tuple(
            Mark(column=column.key, state=State.UNKNOWN, seen="the artifact could not be read")
            if column.key != "files"
            else Mark(column="files", state=State.FAILED, seen="",
                      findings=(finding("BM704", cells[4], Severity.ERROR, "artifact changed"),))
            for column in COLUMNS
        ),
    )  # fmt: skip
    return ReportModel(
        project="service", version="1.4.0-rc.1", commit="c0ffee" * 6 + "c0ff", epoch=1_790_000_000, tool="0.1.0",
        go="1.27.3", whole=True, columns=COLUMNS, rows=(*rows, unread),
        other=(finding("BM703", "dist", Severity.ERROR, "file that nothing accounts for: stray"),),
        machines=(Machine(name="edge", words="arm64,page=64k,cpu=v8.2", goarch="arm64"),),
        bills=(Bills(binary="service", first="amd64", components=14,
                     others=(("arm64", 14, ()), ("riscv64", 15, (Change(kind="added", component="golang.org/x/sys",
                                                                        old="", new="v0.30.0"),))),
                     unreadable=("ppc64le",)),),
        signatures=(Signed(cell=cells[0], signer="key 0123456789abcdef (a development key)",
                           files=(("service", "signature of the file"), ("sbom.cdx.json", "https://cyclonedx.org/bom"))),),
        signing="development",
        images=(Image(name="service", state=State.WARNING, index="sha256:" + "ab" * 32, engine="direct", base="scratch",
                      parts=(ImagePart(kind="index", platform="", digest="sha256:" + "ab" * 32, size=800, layers=0),
                             ImagePart(kind="image", platform="linux/arm64/v8", digest="sha256:" + "cd" * 32,
                                       size=2_400_000, layers=3)),
                      findings=(finding("BM859", "image service", Severity.WARNING, "not built"),)),
                Image(name="other", state=State.UNKNOWN, index="", engine="direct", base="scratch", parts=(),
                      findings=())),
        timings=(Timing(cell=cells[0], steps=(("building", 61.5), ("scanning", 0.2), ("signing", 0.4))),
                 Timing(cell=cells[1], steps=(("building", 12.0), ("scanning", 0.2)))),
        locations=((cells[0], Location(path="deploy/matrix.toml", line=7)), ("", Location(path="deploy/matrix.toml"))),
        titles=(("BM501", "wrong machine"), ("BM508", "libc floor"), ("BM514", "writable relocations"),
                ("BM605", "not judged"), ("BM703", "file in dist/ that nothing accounts for"),
                ("BM704", "artifact changed after it was built"), ("BM859", "image not built")),
    )  # fmt: skip


_KEPT = {"key", "column", "codes", "rule", "severity", "state", "signing", "tool", "sha256", "commit", "path"}


def hostile() -> ReportModel:
    """The same report with HOSTILE in every text that an artifact or a matrix decides."""
    report: ReportModel = _poisoned(model())
    # A cell leads to its place by its name, whatever that is.
    return replace(report, locations=(("", Location(path="deploy/a b#c?.toml")),), titles=model().titles)


def _poisoned(value: Any, name: str = "") -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        changed = {field.name: _poisoned(getattr(value, field.name), field.name) for field in fields(value)}
        return type(value)(**changed)
    if isinstance(value, tuple):
        return tuple(_poisoned(item, name) for item in value)
    return value + HOSTILE if type(value) is str and name not in _KEPT else value


def plain() -> ReportModel:
    """A report about nothing: every section has to say so."""
    return replace(
        model(), rows=(), other=(), machines=(), bills=(), signatures=(), signing="none", images=(), timings=(),
        commit="", epoch=None,
    )  # fmt: skip
