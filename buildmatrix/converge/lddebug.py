"""LD_DEBUG's output (glibc, elf/dl-load.c and dl-cache.c): where a library was looked for, and what the cache said."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from buildmatrix.converge.symptom import Context, Fact, Item, Role, Symptom

LITERALS = (b"find library=", b"trying file=", b"search cache=", b"search path=", b": error: ")

_LINE = re.compile(r"^ *(?P<pid>\d+):\t(?P<rest>.*)$")
_ERROR = re.compile(r"^\s*(?P<object>\S+): error: (?P<kind>[^:]+): (?P<text>.*) \((?P<how>fatal|continued)\)$")
_SYMBOL = re.compile(r"undefined symbol: (?P<symbol>[^\s,]+)(?:, version (?P<version>\S+))?")
_PROCESSES = 1024
_PLACES = 64


@dataclass(slots=True)
class _Search:
    library: str = ""
    tried: list[str] = field(default_factory=list)
    cached: str = ""
    in_cache: bool = False


class LdDebug:
    """Follows the searches of one output."""

    def __init__(self) -> None:
        self._searches: OrderedDict[str, _Search] = OrderedDict()

    def feed(self, text: str, at: Context) -> Iterator[Item] | None:
        """What a line tells; None where it is no line of LD_DEBUG."""
        match = _LINE.match(text)
        if match is None:
            return None
        return self._line(match["rest"], match["pid"], replace(at, pid=match["pid"]))

    def finish(self) -> Iterator[Item]:
        """Nothing: a search that failed is told of by the loader's own message."""
        return iter(())

    def _line(self, rest: str, pid: str, at: Context) -> Iterator[Item]:
        told = rest.strip()
        if told.startswith("find library="):
            self._searches[pid] = _Search(library=told.removeprefix("find library=").partition(" ")[0])
            self._searches.move_to_end(pid)
            if len(self._searches) > _PROCESSES:
                self._searches.popitem(last=False)
            return
        search = self._searches.get(pid)
        if search is not None and told.startswith("search cache="):
            search.in_cache = True
        elif search is not None and told.startswith("search path="):
            yield from self._missed(search, at)
        elif search is not None and told.startswith("trying file="):
            path = told.removeprefix("trying file=")
            if search.in_cache and not search.cached:
                search.cached = path
            elif search.cached:
                yield from self._missed(search, at)
            if len(search.tried) < _PLACES:
                search.tried.append(path)
        elif error := _ERROR.match(rest):
            yield from _error(error, at)

    def _missed(self, search: _Search, at: Context) -> Iterator[Item]:
        """The search goes on after the cache's answer: that file could not be used."""
        if search.in_cache and search.cached:
            yield _cache_missed(search, at)
            search.cached, search.in_cache = "", False

    def ended(self, library: str, at: Context) -> Iterator[Item]:
        """The loader gave up on a library: what its search shows."""
        for search in self._searches.values():
            if search.library == library:
                yield from self._missed(search, at)
                places = ", ".join(search.tried[:8]) + (" …" if len(search.tried) > 8 else "")
                yield Fact(text=f"LD_DEBUG: the loader looked for {library} at {places or 'no place'}", program=library,
                           level=2)  # fmt: skip


def _cache_missed(search: _Search, at: Context) -> Fact:  # noqa: ARG001
    return Fact(
        text=f"LD_DEBUG: ld.so.cache names {search.cached} for {search.library}, and that file could not be used",
        program=search.library, level=2,
        excludes=frozenset({"missing-library", "origin-without-proc", "secure-exec", "wrong-libc"}),
    )  # fmt: skip


def _error(match: re.Match[str], at: Context) -> Iterator[Item]:
    """dlsym's misses look the same as fatal ones, and are the program's own affair."""
    symbol = _SYMBOL.search(match["text"])
    if match["how"] == "fatal" and symbol is not None:
        yield Symptom(
            pattern="ld-debug-symbol", stage="relocation", role=Role.WARNING, text=match.group(0).strip(),
            candidates={"libc-mismatch" if symbol["version"] == "GLIBC_PRIVATE" else "missing-symbol": 1.0},
            object=match["object"], symbol=symbol["symbol"], version=symbol["version"] or "", context=at,
        )  # fmt: skip
