"""A library that the program is told to open by an argument: what dlopen would make of it.

A program that imports dlopen and is given a library's name may well open it. What it asks for at run
time no bytes tell, so this only ever makes a verdict conditional.
"""

from __future__ import annotations

from buildmatrix.preflight.binding import Undefined, Unversioned
from buildmatrix.preflight.context import STRERROR
from buildmatrix.preflight.dynobj import DynamicObject
from buildmatrix.preflight.glibc import GlibcStart
from buildmatrix.preflight.glibc_open import Crash, LoadError
from buildmatrix.preflight.memory import Endless, Fault
from buildmatrix.preflight.verdict import Evidence, Stage, Stop

MAX_SYMBOLS = 1 << 16


def imports(library: DynamicObject, name: bytes) -> bool:
    """Whether a relocation of the object refers to a symbol of this name that it does not define."""
    seen: set[int] = set()
    for reloc in (*library.plt(), *library.eager()):
        if reloc.symbol and reloc.symbol not in seen:
            seen.add(reloc.symbol)
            symbol = library.symbol(reloc.symbol)
            if symbol.shndx == 0 and library.string(symbol.name) == name:
                return True
    return False


def dlopen_argument(started: GlibcStart) -> None:
    """Judge the first argument that names a library. Raises Stop where opening it fails."""
    words = [word for word in started.start.process.argv[1:] if ".so" in word]
    if not words or not imports(started.main.object, b"dlopen"):
        return
    depends = (f"whether the program opens {words[0]}",)
    cause, text = _opens(started, words[0])
    if cause:
        raise Stop(
            Stage.RUNTIME_EXIT,
            cause,
            Evidence(place=words[0], text=f"dlopen fails: {text}"),
            exit_status=1,
            message=text,
            fix="give the program a library that its loader can open",
            depends=depends,
        )
    started.start.depends.append(depends[0])


def _opens(started: GlibcStart, name: str) -> tuple[str, str]:
    known = len(started.loaded)
    try:
        started.loading.close_from(started.loading.open(name, started.main))
        if started.version >= (2, 41):
            _stack(started, known)
    except LoadError as error:
        number = f": {STRERROR.get(error.errno, error.errno)}" if error.errno else ""
        return error.cause, f"{error.name}: {error.text}{number}"
    except (Undefined, Unversioned, Crash, Fault, Endless) as error:
        return "bad-library", str(error)
    return "", ""


def _stack(started: GlibcStart, known: int) -> None:
    main = started.main.object.stack_flags
    for item in started.loaded[known:]:
        flags = item.object.stack_flags
        if (7 if flags is None else flags) & ~(7 if main is None else main) & 1:
            raise LoadError(
                item.name,
                "cannot enable executable stack as shared object requires",
                errno="EINVAL",
                cause="execstack-refused",
            )
