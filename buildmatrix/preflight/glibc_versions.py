"""Symbol versions as glibc checks them before it relocates (elf/dl-version.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildmatrix.preflight.dynobj import DT_RELR, DT_STRTAB, DT_VERDEF, DT_VERSYM, DynamicObject
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
    for item in started.loading.chain():
        check.one(item)
    if check.missing:
        from buildmatrix.preflight import blame

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
        self.names: dict[str, Loaded] = {}
        for item in started.loaded:
            for name in (item.name, *item.names):
                self.names.setdefault(name, item)

    def one(self, item: Loaded) -> None:
        """_dl_check_map_versions."""
        library = item.object
        if DT_STRTAB not in library.tags:
            return
        if not self._at_a_glance(library):
            self._row_by_row(item)
        if self.started.version >= (2, 36) and library.version_needs and DT_RELR in library.tags:
            self._relr(item, self.program)

    def _row_by_row(self, item: Loaded) -> None:
        library = item.object
        if library.need_revision != 1:
            text = f"unsupported version {library.need_revision} of Verneed record"
            raise LoadError(item.name or self.program, text, place=library.path)
        provider: Loaded | None = None
        for need in library.walk_needs():
            if isinstance(need, bytes):
                provider = self._provider(item, need)
            elif provider is not None:
                self._match(provider, need, item.name or self.program)
        highest = library.highest_version
        for row in library.version_defs or ():
            if not row.flags & 1:
                library.space.read(row.name_at, 4)
        if highest and DT_VERSYM not in library.tags:
            raise Crash(library.path, Fault("SIGSEGV", 8))

    def _at_a_glance(self, library: DynamicObject) -> bool:
        """Whether every version is there and nothing else can go wrong or be said."""
        wanted = library.version_tables.wanted
        if wanted is None or library.version_tables.defined is None:
            return False
        if library.highest_version and DT_VERSYM not in library.tags:
            return False
        for file, versions in wanted.items():
            provider = self.names.get(file)
            if provider is None or not versions <= (provider.object.version_tables.defined or frozenset()):
                return False
        return True

    @staticmethod
    def _relr(item: Loaded, program: str) -> None:
        if any(need.name == b"GLIBC_ABI_DT_RELR" for need in item.object.version_needs):
            return
        if any(name.startswith("libc.so.") for _, name in item.object.needed):
            raise LoadError(
                item.name or program,
                "DT_RELR without GLIBC_ABI_DT_RELR dependency",
                cause="bad-elf" if item.is_main else "bad-library",
                place=item.object.path,
            )

    def _provider(self, item: Loaded, name: bytes) -> Loaded:
        """find_needed: an assertion says that there is one."""
        file = name.decode(errors="surrogateescape")
        provider = self.names.get(file)
        if provider is None:
            raise LoadError(
                "", "", cause="bad-elf", place=item.object.path,
                why=f"needs versions of {file}, which it does not name in DT_NEEDED",
            )  # fmt: skip
        return provider

    def _match(self, provider: Loaded, need: VersionNeed, asker: str) -> None:
        """match_symbol."""
        library, told = provider.object, provider.name or self.program
        version = need.name.decode(errors="surrogateescape")
        if DT_STRTAB not in library.tags:
            raise Crash(library.path, Fault("SIGSEGV", 8))
        if DT_VERDEF not in library.tags:
            self._warn(f"{told}: no version information available (required by {asker})")
            return
        if not library.tags[DT_VERDEF]:
            raise LoadError("", "", place=library.path, why="DT_VERDEF is 0")
        for row in library.walk_defs():
            if row.revision != 1:
                self._fatal(provider, version, f"{told}: unsupported version {row.revision} of Verdef record")
                return
            if row.hash == need.hash and library.name_of(row) == need.name:
                return
        if need.flags & 2:
            self._warn(f"{told}: weak version `{version}' not found (required by {asker})")
            return
        self._fatal(provider, version, f"{told}: version `{version}' not found (required by {asker})")

    def _warn(self, line: str) -> None:
        self.started.start.warnings.append(f"{self.program}: {line}")

    def _fatal(self, provider: Loaded, version: str, line: str) -> None:
        self.lines.append(f"{self.program}: {line}")
        self.missing.append((provider, version))
