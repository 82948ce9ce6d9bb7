"""Targets: one platform and how it is compiled, with overrides applied and every default derived."""

from __future__ import annotations

import fnmatch
import shlex
from dataclasses import dataclass
from typing import Any

from buildmatrix import arch, schema
from buildmatrix.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One platform with all overrides applied and every default filled in."""

    name: str
    goos: str
    goarch: str
    level: str
    cgo: bool
    cc: str
    libc: str
    libc_floor: str
    link: str
    static: bool
    pie: bool
    rpath: tuple[str, ...]
    needed: tuple[str, ...]
    page_sizes: tuple[int, ...]
    flags: tuple[str, ...]
    ldflags: tuple[str, ...]
    tags: tuple[str, ...]
    cflags: tuple[str, ...]
    extldflags: tuple[str, ...]
    env: tuple[tuple[str, str], ...]

    @property
    def architecture(self) -> arch.Architecture:
        """The row of the architecture table."""
        return arch.BY_GOARCH[self.goarch]

    @property
    def format(self) -> str:
        """The executable format: ``elf``, ``macho`` or ``pe``."""
        return arch.FORMATS[self.goos]


class _Settings:
    """Merged raw settings of one cell, each with the key path that it came from."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        self.values = dict(values)
        self.paths = {key: f"targets.{name}.{key}" for key in values}
        self.base = f"targets.{name}"
        self.problems: list[Problem] = []

    def apply(self, override: dict[str, Any]) -> None:
        for key, value in override.items():
            if key in ("select", "path"):
                continue
            name = key.removesuffix("-append")
            if key != name and name not in self.values and _DEFAULTS[name] is None:
                continue  # the default is derived, and holds everything that could be added
            self.values[name] = (*self.values.get(name, ()), *value) if key != name else value
            self.paths[name] = f"{override['path']}.{key}"

    def get(self, name: str) -> Any:
        return self.values.get(name, _DEFAULTS[name])

    def add(self, name: str, got: str, expected: str, hint: str = "") -> None:
        key = self.paths.get(name, f"{self.base}.{name}")
        self.problems.append(Problem(key=key, got=got, expected=expected, hint=hint))


_DEFAULTS = {key.name: key.default for key in schema.SETTINGS}


def resolve(
    name: str, binary: str, values: dict[str, Any], overrides: tuple[dict[str, Any], ...]
) -> tuple[Target | None, tuple[Problem, ...]]:
    """One binary's target from its table and the overrides that select it, or the problems in it.

    `values` and `overrides` are valid by type; an override also carries its key path as ``path``.
    """
    settings = _Settings(name, values)
    for override in overrides:
        subject = f"{binary}/{name}" if "/" in override["select"] else name
        if fnmatch.fnmatchcase(subject, override["select"]):
            settings.apply(override)
    row = _architecture(settings)
    if row is None:
        return None, tuple(settings.problems)
    level = _level(settings, row)
    libc = _libc(settings)
    static = settings.get("static")
    static = libc != "glibc" if static is None else static
    _check_combinations(settings, libc, static)
    plain: dict[str, Any] = {key: settings.get(key) for key in ("cgo", "cc", "link", "pie")}
    plain |= {key: tuple(settings.get(key)) for key in _LISTS}
    target = Target(
        name=name,
        goos=settings.get("goos"),
        goarch=row.goarch,
        level=level,
        libc=libc,
        static=static,
        page_sizes=_page_sizes(settings, row),
        env=tuple(sorted(settings.get("env").items())),
        libc_floor=settings.get("libc-floor"),
        **plain,
    )
    return (None if settings.problems else target), tuple(settings.problems)


_LISTS = ("rpath", "needed", "flags", "ldflags", "tags", "cflags", "extldflags")


def _architecture(settings: _Settings) -> arch.Architecture | None:
    goos, goarch = settings.get("goos"), settings.get("goarch")
    if goarch is None:
        return None
    row = arch.BY_GOARCH.get(goarch)
    if row is None:
        known = arch.normalise(goarch)
        hint = f"Go calls it {known!r}" if known else ""
        settings.add("goarch", repr(goarch), f"one of {', '.join(arch.PORTS[goos])}", hint)
    elif goarch not in arch.PORTS[goos]:
        settings.add("goarch", f"{goarch!r} with goos {goos!r}", f"one of {', '.join(arch.PORTS[goos])}")
        return None
    return row


def _level(settings: _Settings, row: arch.Architecture) -> str:
    level = settings.get("level") or row.default_level
    if not arch.level_valid(row, level):
        settings.add("level", repr(level), arch.level_choices(row))
    return str(level)


def _libc(settings: _Settings) -> str:
    libc, cgo = settings.get("libc"), settings.get("cgo")
    derived = "glibc" if cgo and settings.get("goos") == "linux" else "none"
    if libc == "auto":
        return derived
    if not cgo and libc != "none":
        settings.add("libc", repr(libc), "none without cgo", "set cgo = true, or remove libc")
    if cgo and settings.get("goos") != "linux":
        settings.add("libc", repr(libc), "auto: the C library of this system is its own")
    elif cgo and libc == "none":
        settings.add("libc", repr(libc), "glibc or musl with cgo")
    return str(libc)


def _check_combinations(settings: _Settings, libc: str, static: bool) -> None:
    cgo, goos, cc = settings.get("cgo"), settings.get("goos"), settings.get("cc")
    if settings.get("libc-floor") and libc != "glibc":
        floor = repr(settings.get("libc-floor"))
        settings.add("libc-floor", floor, f"nothing with libc {libc}: only glibc has a floor")
    if cgo and goos != "linux" and cc in ("auto", "zig"):
        settings.add("cc", repr(cc), f"the name of a C compiler for {goos}: only linux has automatic ones")
    if not cgo and cc != "auto":
        settings.add("cc", repr(cc), "nothing without cgo", "set cgo = true, or remove cc")
    level = settings.get("level")
    if cgo and _soft_float(settings.get("goarch"), level):
        expected = "a level with floating point: C code and the C library are hard-float"
        settings.add("level", repr(level), expected, "set cgo = false for this level")
    if not _splittable(cc):
        settings.add("cc", repr(cc), "a program with its arguments, quotes closed")
    if settings.get("rpath") and static:
        settings.add("rpath", str(list(settings.get("rpath"))), "nothing in a static binary: it has no loader")
    if settings.get("rpath") and goos != "linux":
        settings.add("rpath", str(list(settings.get("rpath"))), f"nothing with goos {goos!r}")
    if settings.get("link") == "internal" and ((static and libc == "musl") or settings.get("extldflags")):
        settings.add("link", "'internal'", "external or auto: this target's flags are for the C compiler's linker")
    if not static and libc == "none" and goos == "linux" and not settings.get("pie"):
        settings.add("static", "false", "true without a libc: Go's linker writes a static binary", "set cgo or pie")


def _soft_float(goarch: str, level: str) -> bool:
    """Whether Go code of this level passes floating point numbers in other registers than C code does."""
    base, features = arch.split_level(level)
    if goarch == "arm":
        return "softfloat" in features or (base == "5" and "hardfloat" not in features)
    return goarch.startswith("mips") and base == "softfloat"


def _splittable(command: str) -> bool:
    try:
        return bool(shlex.split(command))
    except ValueError:
        return False


def _page_sizes(settings: _Settings, row: arch.Architecture) -> tuple[int, ...]:
    given = settings.get("page-sizes")
    if given is None:
        return row.page_sizes if settings.get("goos") == "linux" else ()
    for size in given:
        if size not in row.page_sizes:
            settings.add("page-sizes", str(size), f"sizes that linux has on {row.goarch}: {list(row.page_sizes)}")
    return tuple(sorted(set(given)))
