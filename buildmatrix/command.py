"""One cell as the exact `go build` command: argv, environment, folder. Pure.

The environment is an allow-list. What decides the output is set here, always, so that nothing leaks
in from a shell or from `go env -w`; what only says where caches and proxies are is passed through
by name, and its values stay out of records.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix.errors import UsageError
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.target import Target
from buildmatrix.toolchain import CCompiler, GoToolchain

PASSED_THROUGH = (
    "PATH", "HOME", "TMPDIR", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB",
    "GOPRIVATE", "GOINSECURE", "GOAUTH", "GOVCS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
    "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR",
)  # fmt: skip
"""Variables whose values reach the compiler but cannot change its output."""

_FROM_GO_ENV = frozenset(name for name in PASSED_THROUGH if name.startswith("GO"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What one cell runs.

    `argv` and `environment` are exact. `recorded` is argv with every machine path replaced by a
    label, and `settings` the part of the environment that decides the output, likewise: both are
    equal on every machine with the same inputs.
    """

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    cwd: Path
    output: Path
    recorded: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]


def go_command(
    cell: Cell,
    matrix: Matrix,
    *,
    go: GoToolchain,
    compiler: CCompiler | None,
    version: str,
    output: Path,
    passed: Mapping[str, str],
    parallel: int,
) -> Command:
    """The command that builds `cell` into `output`.

    `passed` is what `passed_through` made of the caller's environment, `parallel` the number of
    packages that may compile at once (it changes no byte and is not recorded).
    """
    target = cell.target
    tail = (
        *matrix.go.flags,
        *target.flags,
        *_mode(target),
        *(("-tags=" + ",".join(target.tags),) if target.tags else ()),
        "-ldflags=" + " ".join(_ldflags(target, matrix, version)),
        "-o",
    )
    relative = os.path.relpath(output, matrix.module_dir)
    settings = _settings(target, compiler)
    exact = dict(settings) | dict(_compiler_variables(compiler, exact=True))
    return Command(
        argv=(str(go.program), "build", f"-p={parallel}", *tail, relative, cell.binary.package),
        environment=tuple(sorted({**passed, **exact}.items())),
        cwd=matrix.module_dir,
        output=output,
        recorded=("go", "build", *tail, cell.file_name, cell.binary.package),
        settings=tuple(sorted(settings.items())),
    )


def _mode(target: Target) -> tuple[str, ...]:
    return ("-buildmode=pie",) if target.pie else ("-buildmode=exe",)


def _ldflags(target: Target, matrix: Matrix, version: str) -> list[str]:
    flags = [flag.replace("{version}", version) for flag in (*matrix.go.ldflags, *target.ldflags)]
    external = [*target.extldflags]
    if target.static and target.cgo:
        external.append("-static")
    external += [f"-Wl,--enable-new-dtags,-rpath,{path}" for path in target.rpath]
    if target.cgo and target.page_sizes and target.goos == "linux":
        external.append(f"-Wl,-z,max-page-size={max(target.page_sizes)}")
    if target.pie and not target.cgo and target.goos == "linux":
        # Go's own linker would otherwise write whichever loader the build host happens to have.
        flags.append(f"-I={target.architecture.glibc_loader}")
    link = target.link if target.link != "auto" else "external" if external else ""
    if link:
        flags.append(f"-linkmode={link}")
    if external:
        flags.append(_quoted(("-extldflags=" + " ".join(external),)))
    return flags


def _settings(target: Target, compiler: CCompiler | None) -> dict[str, str]:
    row = target.architecture
    settings = {
        "GOOS": target.goos,
        "GOARCH": target.goarch,
        "CGO_ENABLED": "1" if target.cgo else "0",
        "GOENV": "off",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "",
        "LC_ALL": "C",
    }
    if row.level_variable:
        settings[row.level_variable] = target.level
    settings |= dict(_compiler_variables(compiler, exact=False))
    if compiler is not None:
        flags = " ".join(("-O2", "-g", *compiler.flags, *target.cflags))
        settings |= {"CGO_CFLAGS": flags, "CGO_CXXFLAGS": flags, "CGO_LDFLAGS": " ".join(("-O2", *compiler.flags))}
    return settings | dict(target.env)


def _compiler_variables(compiler: CCompiler | None, *, exact: bool) -> tuple[tuple[str, str], ...]:
    if compiler is None:
        return ()
    if not exact:
        return (("CC", compiler.label),)
    return (("CC", _quoted(compiler.command)), ("CXX", _quoted(compiler.cxx)))


def _quoted(words: tuple[str, ...]) -> str:
    return " ".join(map(_quoted_word, words))


def _quoted_word(word: str) -> str:
    """One word for Go's splitter (cmd/internal/quoted), which knows quotes around words and no escapes."""
    if word and not any(char.isspace() for char in word) and word[0] not in "'\"":
        return word
    quote = next((mark for mark in "'\"" if mark not in word), None)
    if quote is None:
        raise UsageError(
            f"{word}: got both kinds of quotes and a space, expected at most one kind",
            why="go build has no way to quote such a word",
            fix="reword the flag in matrix.toml, or put it into a file that the compiler reads (@file)",
        )
    return f"{quote}{word}{quote}"


def passed_through(environment: Mapping[str, str], cache: Path) -> dict[str, str]:
    """The allow-listed part of a caller's environment, with what `go env -w` has stored for proxies.

    Go's own settings file is switched off for the build (GOENV=off), since it can also set GOAMD64
    or CGO_CFLAGS; its proxy and privacy settings are taken over here. zig's cache goes to `cache`.
    """
    passed = {name: environment[name] for name in PASSED_THROUGH if name in environment}
    for name, value in _go_env_file(environment).items():
        passed.setdefault(name, value)
    passed.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache / "zig"))
    passed.setdefault("ZIG_LOCAL_CACHE_DIR", passed["ZIG_GLOBAL_CACHE_DIR"])
    return passed


def _go_env_file(environment: Mapping[str, str]) -> dict[str, str]:
    location = environment.get("GOENV", "")
    if location == "off":
        return {}
    home = environment.get("HOME", "")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    path = Path(location) if location else Path(config) / "go" / "env"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs if name in _FROM_GO_ENV}
