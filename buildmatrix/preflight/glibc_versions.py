"""Symbol versions as glibc checks them before it relocates (elf/dl-version.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildmatrix.preflight import blame
from buildmatrix.preflight.dynobj import DT_RELR, DT_STRTAB, DT_VERSYM
from buildmatrix.preflight.glibc_open import Crash, LoadError
from buildmatrix.preflight.glibc_search import Loaded
from buildmatrix.preflight.memory import Fault
from buildmatrix.preflight.verdict import Evidence, Stage, Stop
from buildmatrix.preflight.versiontables import VersionNeed

if TYPE_CHECKING:
    from buildmatrix.preflight.glibc import GlibcStart


def check_versions(started: GlibcStart) -> None:
    """_dl_check_all_versions: every line is printed, then ld.so exits with 1. Raises Stop, LoadError, Crash."""
    check = _Check(started)
    for item in started.chain():
        check.one(item)
    if check.missing:
        provider, version = blame.worst_version(check.missing)
        raise Stop(
            Stage.LOADER,
            blame.version_cause([name for _, name in check.missing]),
            Evidence(place=provider.object.path, text=f"defines no version {version}"),
            exit_status=1,
            message=check.lines[0],
            fix=blame.fix_version(version, provider.object.path),
        )


class _Check:
    def __init__(self, started: GlibcStart) -> None:
        self.started = started
        self.program = started.start.program
        self.lines: list[str] = []
        self.missing: list[tuple[Loaded, str]] = []

    def one(self, item: Loaded) -> None:
        """_dl_check_map_versions."""
        library = item.object
        if DT_STRTAB not in library.tags:
            return
        if library.need_revision != 1:
            text = f"unsupported version {library.need_revision} of Verneed record"
            raise LoadError(item.name or self.program, text, place=library.path)
        for need in library.version_needs:
            self._need(item, need)
        highest = max((need.other & 0x7FFF for need in library.version_needs), default=0)
        highest = max([highest, *(row.number for row in library.version_defs or ())])
        if highest and DT_VERSYM not in library.tags:
            raise Crash(library.path, Fault("SIGSEGV", 8))
        relr = any(need.name == b"GLIBC_ABI_DT_RELR" for need in library.version_needs)
        if self.started.version >= (2, 36) and library.version_needs and DT_RELR in library.tags and not relr:
            self._relr(item)

    def _relr(self, item: Loaded) -> None:
        if any(name.startswith("libc.so.") for _, name in item.object.needed):
            raise LoadError(
                item.name or self.program,
                "DT_RELR without GLIBC_ABI_DT_RELR dependency",
                cause="bad-elf" if item.is_main else "bad-library",
                place=item.object.path,
            )

    def _need(self, item: Loaded, need: VersionNeed) -> None:
        file = need.file.decode(errors="surrogateescape")
        provider = next((other for other in self.started.loaded if other.answers(file)), None)
        version = need.name.decode(errors="replace")
        asker = item.name or self.program
        if provider is None:
            raise Stop(
                Stage.LOADER,
                "bad-elf",
                Evidence(
                    place=item.object.path,
                    text=f"needs version {version} of {file}, which it does not name in DT_NEEDED",
                ),
                exit_status=127,
                message="Inconsistency detected by ld.so: dl-version.c: ",
                fix="link the file again",
            )
        if DT_STRTAB not in provider.object.tags:
            raise Crash(provider.object.path, Fault("SIGSEGV", 8))
        self._match(provider, version, need, asker)

    def _match(self, provider: Loaded, version: str, need: VersionNeed, asker: str) -> None:
        """match_symbol."""
        told = provider.name or self.program
        defined = provider.object.version_defs
        if defined is None:
            self.started.start.warnings.append(
                f"{self.program}: {told}: no version information available (required by {asker})"
            )
            return
        for row in defined:
            if row.revision != 1:
                self._fatal(
                    provider, version, f"{self.program}: {told}: unsupported version {row.revision} of Verdef record"
                )
                return
            if row.hash == need.hash and row.name == need.name:
                return
        if need.flags & 2:
            self.started.start.warnings.append(
                f"{self.program}: {told}: weak version `{version}' not found (required by {asker})"
            )
            return
        self._fatal(provider, version, f"{self.program}: {told}: version `{version}' not found (required by {asker})")

    def _fatal(self, provider: Loaded, version: str, line: str) -> None:
        self.lines.append(line)
        self.missing.append((provider, version))
