"""What is said when execve or fork fails: Go, shells, coreutils, systemd, container engines, other runtimes.

Wordings from Go's os/exec and syscall, bash's execute_cmd.c, dash's exec.c, busybox's ash.c, coreutils, systemd's
exec-invoke.c, runc's libcontainer, and from runs of all of them (tests/converge_runs.py repeats those).
"""

from __future__ import annotations

from buildmatrix.converge import weights
from buildmatrix.converge.pattern import (
    ERR,
    PATH,
    QUOTED,
    SHELL,
    Groups,
    Pattern,
    by_errno,
    by_table,
    existing,
    fixed,
    notices,
)
from buildmatrix.converge.symptom import Role
from buildmatrix.converge.weights import Weights

_EXEC, _FORK = "execve", "fork"
_BINARY = r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]"
"""What no script holds; terminal escapes (\\x1b) may be in any log."""
_CR = r"(?:\r|\^M|\\r|\\015|'?\$'\\r')"


def _env(groups: Groups) -> Weights | None:
    """env with a name is what stands on most #! lines; with a path, it starts that file."""
    name = weights.errno_name(groups["errno"])
    if name == "ENOENT" and "/" not in groups["program"]:
        return {"missing-interpreter": 72, "missing-file": 20, "wrong-libc": 8}
    return weights.EXECVE.get(name)


EXEC: tuple[Pattern, ...] = (
    # Go
    Pattern(
        name="go-fork-exec", anchor="fork/exec ", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=rf"fork/exec (?P<program>[^:]+): {ERR}",
    ),
    Pattern(
        name="go-look-path", anchor="executable file not found in $PATH", stage="look-up in PATH",
        regex=rf"exec: {QUOTED}: executable file not found in \$PATH", weigh=fixed(missing_file=1),
    ),
    Pattern(
        name="runc-stat", anchor=": stat ", stage="look-up before execve",
        regex=rf"exec: {QUOTED}: stat [^:]+: {ERR}",
        weigh=by_errno(weights.EXECVE, ("missing-interpreter", "wrong-libc", "bad-shebang", "wrong-os")),
    ),
    Pattern(
        name="go-exec-refused", anchor="exec: ", stage="look-up before execve",
        regex=rf"exec: {QUOTED}: {ERR}", weigh=by_errno(weights.EXECVE, ("noexec-mount", "bad-interpreter")),
    ),
    # runc looks the file up first, so that ENOENT is about what the file asks for
    Pattern(
        name="runc-exec", anchor="exec /", stage=_EXEC, weigh=existing,
        regex=rf"(?<![\w/])exec (?P<program>/[^\s:]+): {ERR}",
    ),
    Pattern(
        name="runc-user-process", anchor="exec user process", stage=_EXEC, weigh=existing,
        regex=rf"exec user process caused:? [\\\"]*{ERR}",
    ),
    # bash and dash
    Pattern(
        name="bash-required-file", anchor="required file not found", stage=_EXEC,
        regex=rf"{PATH}: cannot execute: required file not found",
        weigh=lambda _groups: weights.INTERPRETER,
    ),
    Pattern(
        name="bash-binary", anchor="cannot execute binary file", stage=_EXEC,
        regex=rf"{PATH}: cannot execute binary file",
        weigh=fixed(wrong_machine=58, truncated=9, bad_elf=8, compat32_unavailable=7, wrong_elf_type=5,
                    unknown_format=11, wrong_endian=2),
    ),
    Pattern(
        name="bad-interpreter-cr", anchor="bad interpreter", stage=_EXEC,
        regex=rf"{PATH}: (?P<object>\S*?){_CR}: bad interpreter", weigh=fixed(bad_shebang=1),
        detail="line 1 ends in a carriage return",
    ),
    Pattern(
        name="bad-interpreter", anchor="bad interpreter", stage=_EXEC,
        regex=rf"{PATH}: (?P<object>[^:]+): bad interpreter: {ERR}", weigh=by_errno({
            "ENOENT": {"missing-interpreter": 85, "bad-shebang": 15},
            "EACCES": {"missing-interpreter": 10, "no-exec-permission": 90}, "ENOEXEC": weights.ENOEXEC,
            "ELOOP": {"bad-shebang": 1}, "EPERM": {"security-policy": 1}}),
    ),
    Pattern(
        name="zsh-bad-interpreter", anchor="bad interpreter", stage=_EXEC,
        regex=rf"bad interpreter: (?P<object>[^:]+): {ERR}", weigh=by_errno({
            "ENOENT": {"missing-interpreter": 85, "bad-shebang": 15}}),
    ),
    Pattern(
        name="elf-as-script", anchor="ELF", stage=_EXEC, detail="a shell read the ELF header as commands",
        regex=r"(?P<program>[^\s:]+): (?:line )?\d+: (?:\x7f|\^\?|\\x7f|\\177|\$'\\177)?ELF",
        weigh=fixed(wrong_machine=62, truncated=10, bad_elf=10, compat32_unavailable=8, wrong_elf_type=7,
                    wrong_endian=3),
    ),
    *(
        Pattern(
            name="binary-as-script", anchor=anchor, stage=_EXEC, detail="a shell read a binary file as commands",
            regex=rf"(?P<program>[^\s:]+): (?:line )?\d+: .*{_BINARY}"
            r".*(?:not found|[Nn]o such file|[Ss]yntax error|open)",
            weigh=by_table({name: weight for name, weight in weights.ENOEXEC.items() if name != "bad-shebang"}),
        )
        for anchor in ("not found", "o such file", "yntax error", "can't open", "cannot open")
    ),
    Pattern(
        name="script-cr", anchor="command not found", stage="script", weigh=fixed(bad_shebang=40, bad_script=60),
        regex=rf"(?P<program>[^\s:]+): line \d+: \S*?{_CR}'?: command not found",
        detail="lines end in carriage returns",
    ),
    Pattern(
        name="dash-cannot-open", anchor=": 0: ", stage="script", weigh=by_errno({
            "EACCES": {"no-read-permission": 1}, "ENOENT": {"missing-file": 1}, "EISDIR": {"not-a-file": 1}}),
        regex=rf"sh: 0: (?i:cannot open) {PATH}: {ERR}",
    ),
    Pattern(
        name="zsh-exec", anchor="zsh: ", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=rf"zsh: {ERR}: (?P<program>\S+)",
    ),
    *(
        Pattern(
            name=f"shell-{slug}", anchor=anchor, stage=_EXEC, regex=rf"{SHELL}{PATH}: {ERR}\s*$",
            weigh=by_errno(weights.EXECVE, without),
        )
        for slug, anchor, without in (
            ("exec-format", "xec format error", ("bad-shebang",)),
            # bash 5.2 says "required file not found" where the file is there; older ones do not
            ("enoent", "o such file or directory", ("bad-shebang",)),
            ("denied", "ermission denied", ()),
            ("directory", "s a directory", ()),
            ("busy", "ext file busy", ()),
            ("long", "rgument list too long", ()),
            ("loop", "ymbolic link", ()),
            ("library", "orrupted shared library", ()),
            ("io", "nput/output error", ()),
            ("not-permitted", "peration not permitted", ()),
            ("memory", "annot allocate memory", ()),
            ("implemented", "unction not implemented", ()),
        )
    ),
    Pattern(
        name="shell-not-found", anchor=": not found", stage=_EXEC, regex=rf"{SHELL}(?P<program>\S*/[^:]+): not found",
        weigh=lambda _groups: weights.ENOENT,
    ),
    Pattern(
        name="shell-no-command", anchor="not found", stage="look-up in PATH", weigh=fixed(missing_file=1),
        regex=rf"{SHELL}(?P<program>[^\s:/]+): (?:command )?not found",
    ),
    Pattern(
        name="script-syntax", anchor="yntax error", stage="script",
        regex=r"(?P<program>[^\s:]+): (?:line )?\d+: .*?[Ss]yntax error",
        weigh=fixed(bad_script=66, wrong_machine=22, unknown_format=12),
    ),
    # coreutils, busybox and util-linux run programs by execvp
    Pattern(
        name="env-cr", anchor="o such file or directory", stage="env", weigh=fixed(bad_shebang=1),
        regex=rf"env: [‘'\"](?P<program>[^\s’'\"]+?){_CR}\W*: No such file", detail="line 1 ends in a carriage return",
    ),
    Pattern(
        name="env-words", anchor="o such file or directory", stage="env", weigh=fixed(bad_shebang=1),
        regex=r"env: [‘'\"](?P<program>[^’'\"]+ [^’'\"]+)[’'\"]: No such file",
        detail="everything behind env is one word on a shebang line",
    ),
    Pattern(
        name="env-shebang-hint", anchor="use -[v]S to pass options", stage="env", weigh=fixed(bad_shebang=1),
        regex=r"use -\[v\]S to pass options in shebang lines",
    ),
    Pattern(
        name="env-exec", anchor="env: ", stage="env",
        regex=rf"env: (?:can't execute )?[‘'\"](?P<program>[^’'\"]+)[’'\"]: {ERR}",
        weigh=_env,
    ),
    Pattern(
        name="runs-command", anchor="failed to run command", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=rf"failed to run command [‘'\"](?P<program>[^’'\"]+)[’'\"]: {ERR}",
    ),
    Pattern(
        name="cannot-execute", anchor="can't execute", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=rf"can't execute [‘'\"](?P<program>[^’'\"]+)[’'\"]: {ERR}",
    ),
    Pattern(
        name="failed-execute", anchor="ailed to execute ", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=rf"[Ff]ailed to execute (?:command )?['\"]?(?P<program>[^\s:'\"]+)['\"]?: {ERR}",
    ),
    Pattern(
        name="sudo-exec", anchor="unable to execute ", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=rf"unable to execute {PATH}: {ERR}",
    ),
    Pattern(
        name="strace-stat", anchor="strace: Can't stat", stage="look-up before execve", weigh=by_errno({
            **weights.EXECVE, "ENOENT": {"missing-file": 1}}), regex=rf"strace: Can't stat {QUOTED}: {ERR}",
    ),
    Pattern(
        name="strace-exec", anchor="strace: exec: ", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=rf"strace: exec: {ERR}", role=Role.CONSEQUENCE,
    ),
    *(
        Pattern(
            name=f"runner-{slug}", anchor=anchor, stage=_EXEC, weigh=by_errno(weights.EXECVE),
            regex=rf"(?:^|[\s/])(?:xargs|nice|ionice|taskset|flock): [‘'\"]?{PATH}[’'\"]?: {ERR}",
        )
        for slug, anchor in (
            ("enoent", "o such file or directory"), ("denied", "ermission denied"),
            ("library", "orrupted shared library"), ("loop", "ymbolic link"), ("busy", "ext file busy"),
            ("long", "rgument list too long"), ("io", "nput/output error"),
        )
    ),
    # systemd
    Pattern(
        name="systemd-exec", anchor="Failed at step EXEC", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=rf"Failed at step EXEC spawning {PATH}: {ERR}",
    ),
    Pattern(
        name="systemd-locate", anchor="Unable to locate executable", stage="look-up before execve",
        regex=rf"Unable to locate executable ['\"](?P<program>[^'\"]+)['\"]: {ERR}", weigh=by_errno({
            **weights.EXECVE, "ENOENT": {"missing-file": 1}}),
    ),
    # other runtimes
    Pattern(
        name="python-exec", anchor="[Errno 8]", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=r"\[Errno (?P<errno>8)\] Exec format error(?:: ['\"](?P<program>[^'\"]+))?",
    ),
    Pattern(
        name="python-subprocess", anchor="[Errno ", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=r"subprocess \w+Error: \[Errno (?P<errno>\d+)\] [^:]+(?:: ['\"](?P<program>[^'\"]+))?",
    ),
    Pattern(
        name="rust-exec", anchor="(os error 8)", stage=_EXEC, weigh=lambda _groups: weights.ENOEXEC,
        regex=r"Exec format error \(os error 8\)",
    ),
    Pattern(
        name="node-spawn", anchor="spawn ", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=r"spawn (?P<program>\S+) (?P<errno>E[A-Z0-9]+)\b",
    ),
    Pattern(
        name="java-exec", anchor="Cannot run program", stage=_EXEC, weigh=by_errno(weights.EXECVE),
        regex=r"Cannot run program \"(?P<program>[^\"]+)\".*?error=(?P<errno>\d+)",
    ),
    # platforms of images
    Pattern(
        name="docker-platform", anchor="requested image's platform", stage="image", weigh=fixed(wrong_machine=1),
        regex=r"requested image's platform \((?P<detail>[^)]+)\) does not match the detected host platform "
        r"\((?P<version>[^)]+)\)",
    ),
    Pattern(
        name="no-manifest", anchor="no match", stage="image", weigh=fixed(image_platform_missing=1),
        regex=r"no match(?:ing manifest)? for (?P<detail>platform|[a-z0-9]+/[a-z0-9/]+) in (?:the )?manifest",
    ),
    # fork
    Pattern(
        name="shell-fork", anchor="fork: ", stage=_FORK, weigh=by_errno(weights.FORK),
        regex=rf"fork: (?:retry: )?{ERR}",
    ),
    Pattern(
        name="cannot-fork", anchor="annot fork", stage=_FORK, weigh=by_errno(weights.FORK),
        regex=rf"[Cc]annot fork(?::? \(?{ERR})",
    ),
    Pattern(
        name="dash-fork", anchor="annot fork", stage=_FORK, weigh=fixed(process_limit=70, out_of_memory=30),
        regex=r"[Cc]annot fork",
    ),
    Pattern(
        name="pids-controller", anchor="fork rejected by pids controller", stage=_FORK, weigh=fixed(process_limit=1),
        regex=r"fork rejected by pids controller in (?P<object>\S+)",
    ),
    # whatever else says that it could not execute something
    notices("exec-format", "xec format error", r"[Ee]xec format error", _EXEC),
    notices("fork-exec", "fork/exec ", r"fork/exec (?P<program>[^:]+): .+", _EXEC),
    notices("cannot-execute-other", "cannot execute", r"(?P<program>[^\s:]+): cannot execute", _EXEC),
    notices("exec-other", "exec user process", r"exec user process", _EXEC),
)  # fmt: skip
