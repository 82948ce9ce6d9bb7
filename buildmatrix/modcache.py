"""What Go module sources say beyond build info: licences, and which modules each go.mod requires.

Sources are looked for where the build took them from: the vendor folder, local replacements, the module
cache. Nothing is fetched. Every go.mod of a module that packages were compiled from is in the cache after
a build, since the compiler needs its language version; `go mod graph` would want many more, and fails
offline where one was pruned away.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from buildmatrix.facts import GoInfo, GoModule
from buildmatrix.sbom import licences
from buildmatrix.sbom.golang import is_folder, key
from buildmatrix.sbom.model import Learnt, Licence

_LICENCE_FILE = re.compile(r"(?i)(un)?licen[cs]e(\.(txt|md|rst|mit|bsd))?|copying(\.(txt|md))?")
_MAX_BYTES = 1 << 20
_UPPER = re.compile(r"[A-Z]")
_WORD = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`\n]*`|//[^\n]*|[^\s()]+|[()\n]')


def folder(environment: Mapping[str, str]) -> Path | None:
    """The module cache: GOMODCACHE, else pkg/mod below the first GOPATH, else below ~/go."""
    if explicit := environment.get("GOMODCACHE"):
        return Path(explicit)
    if paths := environment.get("GOPATH"):
        return Path(paths.split(":", 1)[0]) / "pkg" / "mod"
    home = environment.get("HOME")
    return Path(home) / "go" / "pkg" / "mod" if home else None


def learn(info: GoInfo, module_dir: Path, cache: Path | None) -> Learnt:
    """Licences and requirements of the modules that build info names; what is not at hand is left out."""
    found_licences: dict[tuple[str, str], Licence | None] = {}
    requires: dict[tuple[str, str], tuple[str, ...]] = {}
    if (module_dir / "vendor" / "modules.txt").is_file():
        cache = None  # the build took everything from vendor/, which has no go.mod of any module
    for module in info.modules:
        place = _place(module, module_dir, cache)
        if place.is_dir():
            found_licences[key(module)] = _licence(place)
        if (text := _go_mod(module, module_dir, cache)) is not None:
            requires[key(module)] = requirements(text)
    if info.main is not None and (text := _read(module_dir / "go.mod")) is not None:
        requires[key(info.main)] = requirements(text)
    return Learnt(licences=found_licences, requires=requires)


def _place(module: GoModule, module_dir: Path, cache: Path | None) -> Path:
    used = module.replace or module
    if is_folder(used):
        return module_dir / used.path
    if cache is None:
        return module_dir / "vendor" / module.path
    return cache / f"{escaped(used.path)}@{escaped(used.version)}"


def download(cache: Path, path: str, *, proxy: bool = False) -> Path:
    """The folder of a module's zip, go.mod and info in a module cache, or in a file proxy, which is laid out alike."""
    return (cache if proxy else cache / "cache" / "download") / escaped(path) / "@v"


def escaped(value: str) -> str:
    """Module paths and versions in the cache: upper case as ``!`` and lower case (golang.org/x/mod/module)."""
    return _UPPER.sub(lambda match: "!" + match[0].lower(), value)


def _go_mod(module: GoModule, module_dir: Path, cache: Path | None) -> str | None:
    used = module.replace or module
    if is_folder(used):
        return _read(module_dir / used.path / "go.mod")
    if cache is None:
        return None
    return _read(download(cache, used.path) / f"{escaped(used.version)}.mod")


def _bytes(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError):
        return None
    return data if len(data) <= _MAX_BYTES else None


def _read(path: Path) -> str | None:
    data = _bytes(path)
    return None if data is None else data.decode("utf-8", "replace")


def _licence(place: Path) -> Licence | None:
    """What the licence files of a folder say; None where they say several things, or nothing known."""
    try:
        names = sorted(entry.name for entry in place.iterdir() if _LICENCE_FILE.fullmatch(entry.name))
    except (OSError, ValueError):
        return None
    found = []
    for name in names:
        data = _bytes(place / name)
        if data is not None and (expression := licences.detect(data.decode("utf-8", "replace"))):
            found.append(Licence(expression=expression, file=name, sha256=hashlib.sha256(data).hexdigest()))
    return found[0] if len({item.expression for item in found}) == 1 and len(found) == len(names) else None


def requirements(text: str) -> tuple[str, ...]:
    """The module paths that a go.mod requires for its own packages: lines marked ``// indirect`` are not.

    https://go.dev/ref/mod#go-mod-file-require
    """
    found: list[str] = []
    block = ""
    for line in text.splitlines():
        words = _WORD.findall(line)
        comment = words.pop() if words and words[-1].startswith("//") else ""
        if words[:1] == [")"]:
            block = ""
        elif words[1:2] == ["("]:
            block = words[0]
        else:
            parts = words if block == "require" else words[1:] if words[:1] == ["require"] else []
            if len(parts) == 2 and not re.match(r"//\s*indirect\b", comment):
                found.append(parts[0][1:-1] if parts[0][0] in '"`' else parts[0])
    return tuple(dict.fromkeys(found))
