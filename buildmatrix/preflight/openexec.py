"""The file of an execve: what is asked for, how it is opened, how large its arguments may be.

Follows fs/exec.c (do_open_execat, bprm_stack_limits) and fs/namei.c (may_open).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from buildmatrix.host import Handler, Host
from buildmatrix.kinds import Kind
from buildmatrix.preflight.elfload import Mapped
from buildmatrix.preflight.memory import Blob
from buildmatrix.preflight.script import Shebang
from buildmatrix.preflight.verdict import Evidence, refused
from buildmatrix.preflight.walk import MAY_EXEC, Credentials, Failed, Found, View, below, permitted, resolve

ARG_MAX = 131072


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One execve: path and argv as given, the environment, and files that someone holds open for writing."""

    path: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    held_open: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process at its first instruction.

    `main` and `interpreter` are what the kernel mapped; `executable` is where /proc/self/exe points;
    `filename` is AT_EXECFN; `argv` what scripts made of it. `scripts` are the scripts gone through.
    """

    main: Mapped
    interpreter: Mapped | None
    interpreter_name: str | None
    executable: Found
    filename: str
    argv: tuple[str, ...]
    who: Credentials
    secure: bool
    scripts: tuple[str, ...] = ()
    shebangs: tuple[Shebang, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    depends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """An emulator that binfmt_misc starts in a file's place."""

    handler: Handler
    executable: Found
    argv: tuple[str, ...]
    evidence: tuple[Evidence, ...] = ()


_WALK_CAUSES = {"ELOOP": "symlink-loop", "EACCES": "no-exec-permission"}


def open_exec(view: View, host: Host, command: Command, path: str) -> tuple[Found, Blob]:
    """The file that execve would open. Raises Stop (do_open_execat, may_open, inode_permission)."""
    found = resolve(view, path)
    if isinstance(found, Failed):
        raise refused(
            found.errno,
            _WALK_CAUSES.get(found.errno, "missing-file"),
            Evidence(place=found.at, text=found.why),
            fix="put the file there, or correct the path",
        )
    inode = found.inode
    if inode.kind is not Kind.REGULAR:
        raise refused(
            "EACCES", "not-a-file", Evidence(place=found.path, text=f"is a {inode.kind}"), fix="name a regular file"
        )
    mounted = below(found.path, view.noexec)
    if mounted is not None:
        raise refused(
            "EACCES",
            "noexec-mount",
            Evidence(place=mounted, text="is mounted noexec"),
            fix=f"mount {mounted} without noexec, or put the file elsewhere",
        )
    if not permitted(inode, view.who, MAY_EXEC):
        raise refused(
            "EACCES",
            "no-exec-permission",
            Evidence(
                place=found.path,
                text=f"mode {inode.mode:04o}, owner {inode.uid}:{inode.gid}: uid {view.who.uid} may not execute it",
            ),
            fix=f"chmod +x {found.path}",
        )
    _deny_write(view, host, command, found)
    return found, view.root.data(inode)


def _deny_write(view: View, host: Host, command: Command, found: Found) -> None:
    for held in command.held_open:
        other = resolve(view, held)
        if isinstance(other, Found) and other.inode.key == found.inode.key and host.kernel != (6, 11):
            raise refused(
                "ETXTBSY",
                "text-busy",
                Evidence(place=found.path, text="is open for writing"),
                fix="close the file before it is executed",
                depends=("whether the file is still open for writing then",),
            )


def check_limits(host: Host, command: Command) -> None:
    """Sizes of argv and environment (bprm_stack_limits, copy_strings). Raises Stop with E2BIG."""
    longest = 32 * host.page_size
    words = [*command.argv, *(f"{key}={value}" for key, value in command.env.items())]
    sizes = [len(word.encode(errors="surrogateescape")) + 1 for word in (command.path, *words)]
    limit = max(min(host.stack_limit // 4, 6 << 20), ARG_MAX)
    pointers = (max(len(command.argv), 1) + len(command.env)) * (host.row.bits // 8)
    over = max(sizes) > longest
    if over or pointers >= limit or sum(sizes) > limit - pointers:
        what = (
            f"one string of {max(sizes)} bytes, at most {longest}"
            if over
            else (f"{sum(sizes) + pointers} bytes of arguments and environment, at most {limit}")
        )
        raise refused(
            "E2BIG",
            "argument-list-too-long",
            Evidence(place=command.path, text=what),
            fix="pass long lists through a file",
        )
