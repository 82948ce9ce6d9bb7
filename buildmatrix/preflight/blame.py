"""The cause behind a loader's refusal, where its own words do not name it.

Nothing here decides whether a program starts. A cause is found by asking what would have had to be
otherwise: a directory of ld.so.conf that the cache has forgotten, a token that had no value, a
candidate that was passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from posixpath import dirname, join

from buildmatrix.kinds import Kind
from buildmatrix.preflight import ldcache
from buildmatrix.preflight.binding import Undefined
from buildmatrix.preflight.context import open_read
from buildmatrix.preflight.glibc_search import Loaded, Search
from buildmatrix.preflight.walk import Failed, Found, View, resolve

CONF = "/etc/ld.so.conf"
MAX_CONF = 256


def conf_directories(view: View, path: str = CONF, depth: int = 0) -> Iterator[str]:
    """The directories that ld.so.conf names, includes followed (elf/ldconfig.c parse_conf)."""
    found = open_read(view, path)
    if isinstance(found, Failed) or found.inode.kind is not Kind.REGULAR or depth > 8:
        return
    text = view.root.data(found.inode).read(0, 1 << 20).decode(errors="surrogateescape")
    for line in text.splitlines()[:MAX_CONF]:
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0] == "include":
            for pattern in words[1:]:
                yield from _included(view, join(dirname(path), pattern), depth)
        elif words[0] != "hwcap" and words[0].startswith("/"):
            yield from (word.rstrip("/") or "/" for word in line.partition("#")[0].replace(",", " ").split())


def _included(view: View, pattern: str, depth: int) -> Iterator[str]:
    folder, _, name = pattern.rpartition("/")
    found = resolve(view, folder or "/")
    if isinstance(found, Failed) or found.inode.kind is not Kind.DIRECTORY:
        return
    for entry in view.root.names(found.inode):
        if fnmatch(entry, name) and not (entry.startswith(".") and not name.startswith(".")):
            yield from conf_directories(view, f"{folder}/{entry}", depth + 1)


def missing_library(search: Search, name: str, who: Loaded, program: Loaded) -> tuple[str, str]:  # noqa: PLR0911  (one return for each of the loader's own)
    """Cause and evidence of a DT_NEEDED that the search did not find."""
    passed = list(search.passed)
    lost = list(search.lost_origin)
    if "/" in name:
        return (
            "missing-library",
            f"DT_NEEDED is the path {name!r}, which is not there; a name with a slash is not searched for",
        )
    if passed and any("machine" in item.why or "class" in item.why for item in passed):
        item = passed[0]
        return "wrong-library-arch", f"{item.path} {item.why}"
    if lost and _would_find(search, name, who, lost):
        if search.secure:
            return "secure-exec", f"{lost[0]!r} is dropped: the program runs with AT_SECURE"
        return "origin-without-proc", f"{lost[0]!r} has no value: there is no /proc to read /proc/self/exe from"
    if search.secure and search.start.env.get("LD_LIBRARY_PATH") and _in_env(search, name, program):
        return "secure-exec", "LD_LIBRARY_PATH is ignored: the program runs with AT_SECURE"
    stale = _stale(search, name)
    if stale:
        return "stale-ldcache", stale
    if passed:
        return "missing-library", f"{passed[0].path} {passed[0].why}"
    return "missing-library", f"{name} is in no directory that the loader searches for it"


def _would_find(search: Search, name: str, who: Loaded, texts: list[str]) -> bool:
    origin = dirname(search.start.process.executable.path) if who.is_main else who.origin
    for text in texts:
        place = text.replace("${ORIGIN}", origin or "").replace("$ORIGIN", origin or "")
        if "$" not in place and isinstance(resolve(search.view, f"{place}/{name}"), Found):
            return True
    return False


def _in_env(search: Search, name: str, program: Loaded) -> bool:
    path = search.start.env.get("LD_LIBRARY_PATH", "")
    places = search.directories(path, ":;", program)
    return any(isinstance(resolve(search.view, place + name), Found) for place in places)


def _stale(search: Search, name: str) -> str:
    """Why the cache is to blame, or nothing."""
    cache = search.cache
    entry = search.cached(name)
    if entry is not None and isinstance(resolve(search.view, entry.value), Failed):
        return f"ld.so.cache names {entry.value}, which is not there any more"
    if entry is not None:
        return ""
    for directory in conf_directories(search.view):
        place = f"{directory}/{name}"
        if isinstance(resolve(search.view, place), Found):
            if isinstance(cache, ldcache.Unusable):
                return f"{place} is there, but ld.so.cache cannot be used: {cache.why}"
            return f"{place} is there, but ld.so.cache does not know it: ldconfig has not run since"
    return ""


_FAMILIES = (
    ("GLIBCXX_", "libstdcxx-too-old"),
    ("CXXABI_", "libstdcxx-too-old"),
    ("GLIBC_PRIVATE", "libc-mismatch"),
    ("GLIBC_", "glibc-too-old"),
)


def version_cause(names: list[str]) -> str:
    """The cause behind versions that no file defines; the C++ library's outweighs the C library's."""
    for prefix, cause in _FAMILIES:
        if any(name.startswith(prefix) for name in names):
            return cause
    return "symbol-version-missing"


def worst_version(missing: list[tuple[Loaded, str]]) -> tuple[Loaded, str]:
    """The one to name: of the cause's family, the highest."""
    cause = version_cause([name for _, name in missing])
    fitting = [row for row in missing if version_cause([row[1]]) == cause]
    return max(fitting, key=lambda row: _version_key(row[1]))


def _version_key(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.rpartition("_")[2].split(".") if part.isdecimal())


def fix_version(version: str, path: str) -> str:
    """What to do about a version that is missing."""
    if version.startswith("GLIBC_") and version != "GLIBC_PRIVATE":
        return f"build against a glibc no newer than the root's (it lacks {version}), or ship a newer base image"
    return f"ship a {path.rpartition('/')[2]} that defines {version}"


def fix_library(cause: str, name: str) -> str:
    """What to do about a library that does not load."""
    fixes = {
        "missing-library": f"put {name} into a directory that the loader searches, or name its directory in RUNPATH",
        "stale-ldcache": "run ldconfig in the root, after the last library was put there",
        "wrong-library-arch": f"install {name} for the program's own architecture",
        "origin-without-proc": "mount /proc, or write an absolute RUNPATH",
        "secure-exec": "write an absolute RUNPATH, or put the library into a system directory",
        "noexec-mount": "mount the library's directory without noexec",
        "page-size": f"link {name} again with -Wl,-z,max-page-size=65536, which fits every page size, or take a kernel "
        "with 4K pages",
    }
    return fixes.get(cause, f"install {name or 'the file'} again, from the package that it belongs to")


def undefined_cause(error: Undefined, closure: list[Loaded]) -> str:
    """The cause behind a symbol that is not found."""
    if error.version == "GLIBC_PRIVATE" and any(item.object.soname == "libc.so.6" for item in closure):
        return "libc-mismatch"
    return "missing-symbol"
