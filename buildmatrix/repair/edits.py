"""What is to be changed in a file. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix.facts import ElfFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """The wanted loader and run path (None: as it is; empty: none), renamed libraries, page size in bytes."""

    interpreter: str | None = None
    rpath: str | None = None
    replaced: tuple[tuple[str, str], ...] = ()
    page_size: int = 0

    @property
    def any(self) -> bool:
        """Whether anything but the page size is to be changed."""
        return self.interpreter is not None or self.rpath is not None or bool(self.replaced)

    def words(self) -> tuple[str, ...]:
        """Each edit in words."""
        return tuple(self._words())

    def _words(self) -> Iterator[str]:
        if self.interpreter is not None:
            yield f"loader {self.interpreter}"
        if self.rpath is not None:
            yield f"run path {self.rpath or 'removed'}"
        for old, new in self.replaced:
            yield f"library {old} replaced by {new}"
        if self.page_size:
            yield f"pages of up to {self.page_size} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a file has to say of itself once the edits are made."""

    interp: str | None
    rpath: str | None
    runpath: str | None
    needed: tuple[str, ...]


def expected(before: ElfFacts, edits: Edits) -> Expected:
    """What the edits make of a file; a run path stays of the kind (DT_RPATH or DT_RUNPATH) that it is."""
    names = dict(edits.replaced)
    rpath, runpath = before.rpath, before.runpath
    if edits.rpath is not None:
        keeps_old_kind = before.rpath is not None and before.runpath is None
        rpath, runpath = (edits.rpath or None, None) if keeps_old_kind else (None, edits.rpath or None)
    return Expected(
        interp=before.interp if edits.interpreter is None else edits.interpreter,
        rpath=rpath,
        runpath=runpath,
        needed=tuple(names.get(name, name) for name in before.needed),
    )


def argv(before: ElfFacts, edits: Edits, page_size: int) -> tuple[str, ...]:
    """patchelf's options; what it adds is laid out for `page_size`."""
    words: list[str] = ["--page-size", str(page_size)]
    if edits.interpreter is not None:
        words += ["--set-interpreter", edits.interpreter]
    if edits.rpath:
        words += ["--set-rpath", edits.rpath]
        words += ["--force-rpath"] if before.rpath is not None and before.runpath is None else []
    elif edits.rpath is not None:
        words += ["--remove-rpath"]
    for old, new in edits.replaced:
        words += ["--replace-needed", old, new]
    return tuple(words)
