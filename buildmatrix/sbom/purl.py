"""Package URLs (https://github.com/package-url/purl-spec), as far as bills need them.

The case of Go module paths is kept: two modules may differ in nothing else, and the module proxy and
vulnerability databases tell them apart.
"""

from __future__ import annotations

from urllib.parse import quote, unquote


def _escaped(value: str) -> str:
    return quote(value, safe=":", errors="surrogateescape")


def make(
    kind: str, name: str, version: str = "", *, qualifiers: dict[str, str] | None = None, subpath: str = ""
) -> str:
    """``pkg:kind/name@version?qualifiers#subpath``; slashes in `name` separate namespace and name.

    >>> make("golang", "github.com/BurntSushi/toml", "v1.0.0+incompatible")
    'pkg:golang/github.com/BurntSushi/toml@v1.0.0%2Bincompatible'
    """
    parts = [f"pkg:{kind}/", "/".join(map(_escaped, name.strip("/").split("/")))]
    if version:
        parts.append("@" + _escaped(version))
    pairs = sorted((key, value) for key, value in (qualifiers or {}).items() if value)
    if pairs:
        parts.append("?" + "&".join(f"{key}={_escaped(value)}" for key, value in pairs))
    pieces = [piece for piece in subpath.split("/") if piece not in ("", ".", "..")]
    if pieces:
        parts.append("#" + "/".join(map(_escaped, pieces)))
    return "".join(parts)


def golang(path: str, version: str, subpath: str = "") -> str:
    """The URL of a Go module, or of a package in it."""
    return make("golang", path, version, subpath=subpath)


def split(purl: str) -> tuple[str, str, str]:
    """Kind, name with its namespace, and version of a package URL.

    >>> split("pkg:golang/example.org/a@v1?x=y#cmd/a")
    ('golang', 'example.org/a', 'v1')
    """
    bare = purl.partition("#")[0].partition("?")[0].removeprefix("pkg:")
    kind, _, rest = bare.partition("/")
    name, _, version = rest.rpartition("@") if "@" in rest else (rest, "", "")
    return kind, unquote(name, errors="surrogateescape"), unquote(version, errors="surrogateescape")
