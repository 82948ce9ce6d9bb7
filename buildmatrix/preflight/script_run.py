"""What the interpreter of a script does first: open the script, or, for env, find a program.

Only what POSIX fixes (env's 126 and 127) and what the known shells do is told; of any other
interpreter nothing is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass

from buildmatrix.kinds import Kind
from buildmatrix.preflight.context import STRERROR
from buildmatrix.preflight.openexec import Process
from buildmatrix.preflight.verdict import Evidence, Stage, Stop
from buildmatrix.preflight.walk import MAY_EXEC, MAY_READ, Failed, Found, View, permitted, resolve

DEFAULT_PATH = "/bin:/usr/bin"
"""What execvp searches where PATH is not set (glibc; musl puts /usr/local/bin first)."""

CANNOT_OPEN = {"dash": 2, "sh": 2, "busybox": 2, "ash": 2, "bash": 126, "python3": 2, "perl": 2}
"""Exit status of an interpreter that cannot open its script, by the name of its program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The command that env goes on to execute; `blamed` is how env begins to say that it cannot."""

    path: str
    argv: tuple[str, ...]
    blamed: str


def after_start(process: Process, view: View, path_variable: str | None) -> Next | None:
    """What the interpreter executes next, or None. Raises Stop where it gives up."""
    if not process.scripts:
        return None
    script = resolve(view, process.scripts[-1])
    program = process.executable.path.rpartition("/")[2]
    called = process.argv[0].rpartition("/")[2]
    if called == "env" and program in ("env", "busybox", "coreutils", "toybox"):
        return _env(process, view, path_variable, program)
    if isinstance(script, Found) and not permitted(script.inode, process.who, MAY_READ):
        _unreadable(process, script, program)
    return None


def _unreadable(process: Process, script: Found, program: str) -> None:
    name = program.rstrip("0123456789.") if program.startswith("python") else program
    status = CANNOT_OPEN.get("python3" if name == "python" else name)
    message = f"{process.argv[0]}: 0: cannot open {script.path}: Permission denied" if name == "dash" else None
    raise Stop(
        Stage.RUNTIME_EXIT,
        "no-read-permission",
        Evidence(
            place=script.path,
            text=f"mode {script.inode.mode:04o}: the interpreter has to read the script, and "
            f"uid {process.who.uid} may not",
        ),
        exit_status=2 if status is None else status,
        message=message,
        fix=f"chmod a+r {script.path}",
        depends=() if status is not None else (f"what {program} does with a script that it cannot open",),
    )


def _env(process: Process, view: View, path_variable: str | None, program: str) -> Next | None:
    argument = process.argv[1] if process.shebangs and process.shebangs[-1].argument is not None else None
    if argument is None:
        return None
    rest = process.argv[2:]
    words = [argument]
    if argument.startswith("-S") and program != "busybox":
        words = argument[2:].split()
    if not words or words[0].startswith("-") or "=" in words[0]:
        return None
    name = words[0]
    found = find_program(view, name, path_variable)
    if isinstance(found, str):
        return Next(path=found, argv=(*words, *rest), blamed=_blamed(process, name, program))
    raise _not_found(process, name, found, program)


def _not_found(process: Process, name: str, errno: Failed, program: str) -> Stop:
    status = 127 if errno.errno in ("ENOENT", "ENOTDIR") else 126
    reason = STRERROR.get(errno.errno, errno.errno)
    cause, fix = "missing-interpreter", f"install {name} in the root"
    if " " in name:
        cause, fix = "bad-shebang", "write #!/usr/bin/env -S to give more than one word"
    elif name.endswith("\r"):
        cause, fix = "bad-shebang", "convert the script's line ends (dos2unix)"
    elif status == 126:
        cause, fix = "no-exec-permission", f"chmod +x {errno.at}"
    return Stop(
        Stage.RUNTIME_EXIT,
        cause,
        Evidence(place=process.scripts[-1], offset=2, text=f"env looks for {name!r} along PATH: {errno.why}"),
        exit_status=status,
        message=_blamed(process, name, program) + reason,
        fix=fix,
    )


def _blamed(process: Process, name: str, program: str) -> str:
    """How env begins to say that it cannot execute a program: coreutils' in quotes that a shell can read."""
    if program != "env":
        return f"env: can't execute '{name}': "
    shown = name.replace("\r", "'$'\\r") if name.endswith("\r") else name + "'"
    return f"{process.argv[0]}: '{shown}: "


def find_program(view: View, name: str, path_variable: str | None) -> str | Failed:
    """execvp's search: the path to execute, or why there is none."""
    if "/" in name:
        return name
    denied: Failed | None = None
    for directory in (DEFAULT_PATH if path_variable is None else path_variable).split(":"):
        place = f"{directory or '.'}/{name}"
        found = resolve(view, place)
        if isinstance(found, Failed):
            denied = denied or (found if found.errno == "EACCES" else None)
        elif found.inode.kind is Kind.REGULAR and permitted(found.inode, view.who, MAY_EXEC):
            return place
        else:
            denied = denied or Failed(errno="EACCES", at=found.path, why="is not executable")
    return denied or Failed(errno="ENOENT", at=name, why="no directory of PATH has it")
