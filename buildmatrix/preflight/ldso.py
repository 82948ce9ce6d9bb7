"""ld.so started by hand with a program as its argument: it maps the program itself.

The program then needs no execute permission, only to be readable and mappable (elf/rtld.c).
"""

from __future__ import annotations

from dataclasses import replace

from buildmatrix.kinds import Kind
from buildmatrix.preflight.context import Start, open_read, rtld_strerror
from buildmatrix.preflight.elfload import Image, MapError, Mapped, Mapper
from buildmatrix.preflight.glibc import GlibcStart
from buildmatrix.preflight.glibc_open import LoadError, verify
from buildmatrix.preflight.glibc_search import Search
from buildmatrix.preflight.lazy import lazy_calls
from buildmatrix.preflight.libc import Glibc, Loader
from buildmatrix.preflight.verdict import Evidence, Stage, Stop
from buildmatrix.preflight.walk import Failed, Found, below

VALUED = (
    "--library-path",
    "--inhibit-rpath",
    "--audit",
    "--preload",
    "--argv0",
    "--glibc-hwcaps-prepend",
    "--glibc-hwcaps-mask",
)
PLAIN = ("--inhibit-cache",)
FIXES = {"missing-file": "give the loader the program's path, with a slash in it"}


def run_loader(start: Start, loader: Loader, depends: list[str]) -> None:
    """Follow ``ld.so [options] PROGRAM ARG…``. Raises Stop."""
    arguments = list(start.process.argv[1:])
    env = dict(start.env)
    while arguments and arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option in VALUED and arguments:
            value = arguments.pop(0)
            if option == "--library-path":
                env["LD_LIBRARY_PATH"] = value
            elif option == "--preload":
                env["LD_PRELOAD"] = value
            else:
                depends.append(f"what the loader makes of {option}")
        elif option not in PLAIN:
            depends.append(f"what the loader makes of {option}")
            return
    if arguments and isinstance(loader, Glibc):
        _run(start, loader, arguments, env)
    elif arguments:
        depends.append("musl's loader, started by hand")


def _run(start: Start, loader: Glibc, arguments: list[str], env: dict[str, str]) -> None:
    try:
        found, opened = _open(replace(start, env=env), loader, arguments[0])
        main = _map(start, loader, found, arguments[0])
    except LoadError as error:
        raise _failed(arguments[0], error) from error
    own = start.process.main
    process = replace(
        start.process,
        main=main,
        interpreter=own,
        interpreter_name=start.process.filename,
        executable=found,
        argv=tuple(arguments),
    )
    started = GlibcStart(replace(start, process=process, env=env, by_hand=opened), loader, own)
    started.run()
    lazy_calls(started)


def _open(start: Start, loader: Glibc, name: str) -> tuple[Found, str]:
    """The program, and the path that it is opened by. Raises LoadError."""
    if "/" not in name:
        search = Search(start, loader)
        hit = search.find_program(name)
        if hit is None:
            text, why = "cannot open shared object file", "a name without a slash is looked up in ld.so.cache alone"
            raise LoadError(name, text, errno=search.errno, cause="missing-file", place=name, why=why)
        return hit.found, hit.path
    found = open_read(start.view, name)
    if isinstance(found, Failed):
        text = "cannot open shared object file"
        raise LoadError(name, text, errno=found.errno, cause="missing-file", place=found.at, why=found.why)
    return found, name


def _map(start: Start, loader: Glibc, found: Found, name: str) -> Mapped:
    own = start.process.main.image
    blob, layout = start.view.root.data(found.inode), own.layout
    reason = verify(found, blob, name, layout, own.header.machine, loader)
    if reason is not None or found.inode.kind is not Kind.REGULAR:
        text, why = "cannot open shared object file", "is for another machine"
        raise LoadError(name, text, errno="ENOENT", cause="wrong-machine", place=found.path, why=why)
    header = layout.header(blob.read(0, layout.ehsize))
    phdrs = layout.phdrs(blob.read(header.phoff, header.phnum * layout.phentsize))
    mounted = below(found.path, start.view.noexec)
    if mounted is not None:
        text = "failed to map segment from shared object"
        raise LoadError(name, text, cause="noexec-mount", place=mounted, why="is mounted noexec")
    image = Image(found.path, blob, layout, header, phdrs)
    try:
        return Mapper(start.host, image, interpreter=False, dynamic=True, privileged=True).run()
    except MapError as error:
        text = "ELF load command address/offset not page-aligned"
        raise LoadError(name, text, cause="bad-elf", place=found.path, why=error.why) from error


def _failed(program: str, error: LoadError) -> Stop:
    number = f": {rtld_strerror(error.errno)}" if error.errno else ""
    return Stop(
        Stage.LOADER,
        error.cause,
        Evidence(place=error.place, offset=error.offset, text=error.why or error.text),
        exit_status=127,
        message=f"{program}: error while loading shared libraries: {error.name}: {error.text}{number}",
        fix=FIXES.get(error.cause, "give the loader a program of its own architecture"),
    )
