"""Which causes produce which failure, and how often: prior weights, not verdicts.

The sets come from the sources: fs/exec.c, fs/binfmt_elf.c and fs/binfmt_script.c for execve, kernel/fork.c for
clone, mm/oom_kill.c for SIGKILL. A cause that cannot produce a failure is absent, which is what joining uses: a
cause survives only where every symptom of a group allows it. The weights only order what survives.
"""

from __future__ import annotations

from collections.abc import Mapping

Weights = Mapping[str, float]


def normal(weights: Weights) -> dict[str, float]:
    """The same weights, with a sum of 1."""
    total = sum(weights.values())
    return {name: value / total for name, value in weights.items()} if total else {}


ENOEXEC = {"wrong-machine": 50, "unknown-format": 18, "bad-shebang": 8, "truncated": 7, "bad-elf": 6,
           "compat32-unavailable": 5, "wrong-elf-type": 4, "wrong-endian": 2}  # fmt: skip
ENOENT = {"missing-file": 38, "missing-interpreter": 34, "wrong-libc": 16, "bad-shebang": 9, "wrong-os": 3}
INTERPRETER = {"missing-interpreter": 55, "wrong-libc": 28, "bad-shebang": 13, "wrong-os": 4}
"""ENOENT where the file itself is known to be there (bprm_execve opened it)."""
EACCES = {"no-exec-permission": 62, "noexec-mount": 14, "not-a-file": 8, "security-policy": 8, "bad-interpreter": 4,
          "no-read-permission": 4}  # fmt: skip
KILLED_IN_EXEC = {"page-size": 36, "bad-elf": 34, "truncated": 26, "bad-interpreter": 4}
"""The kernel's load_elf_binary failed past the point of no return: SIGSEGV without a message."""

EXECVE: dict[str, Weights] = {
    "ENOEXEC": ENOEXEC,
    "ENOENT": ENOENT,
    "EACCES": EACCES,
    "EPERM": {"seccomp": 45, "security-policy": 40, "no-exec-permission": 15},
    "ELIBBAD": {"bad-interpreter": 1},
    "EIO": {"truncated": 50, "bad-interpreter": 35, "io-error": 15},
    "ELOOP": {"symlink-loop": 50, "bad-shebang": 50},
    "ENOTDIR": {"missing-file": 85, "missing-interpreter": 15},
    "ENAMETOOLONG": {"missing-file": 1},
    "E2BIG": {"argument-list-too-long": 1},
    "ETXTBSY": {"text-busy": 1},
    "EISDIR": {"not-a-file": 1},
    "EINVAL": {"bad-elf": 70, "bad-interpreter": 15, "page-size": 15},
    "EFAULT": KILLED_IN_EXEC,
    "ENOMEM": {"out-of-memory": 85, "bad-elf": 15},
    "EAGAIN": {"process-limit": 1},
    "EMFILE": {"file-limit": 1},
    "ENFILE": {"file-limit": 1},
    "ENOSYS": {"seccomp": 65, "kernel-too-old": 20, "emulator-gap": 15},
    "ENOSPC": {"disk-full": 1},
    "EROFS": {"read-only-root": 1},
}
"""What execve(2) returns, by errno."""

FORK: dict[str, Weights] = {
    "EAGAIN": {"process-limit": 1},
    "ENOMEM": {"out-of-memory": 1},
    "ENOSYS": EXECVE["ENOSYS"],
    "EPERM": {"seccomp": 70, "security-policy": 30},
}
"""What clone(2) and vfork(2) return; EAGAIN covers RLIMIT_NPROC, pids.max and threads-max."""

OPEN_LIBRARY: dict[str, Weights] = {
    "ENOENT": {"missing-library": 58, "stale-ldcache": 12, "wrong-library-arch": 12, "origin-without-proc": 6,
               "secure-exec": 6, "wrong-libc": 6},
    "EACCES": {"no-read-permission": 80, "security-policy": 20},
    "EMFILE": {"file-limit": 1},
    "ENFILE": {"file-limit": 1},
    "ENOTDIR": {"missing-library": 1},
    "ELOOP": {"symlink-loop": 1},
    "ENOSYS": EXECVE["ENOSYS"],
    "EPERM": {"seccomp": 60, "security-policy": 40},
    "EIO": {"io-error": 1},
}  # fmt: skip
"""What keeps a loader from opening a library; ENOENT is also what is left when candidates were passed over."""

SIGNALS: dict[str, Weights] = {
    "SIGSEGV": {"crash": 50, "page-size": 12, "bad-elf": 11, "truncated": 8, "bad-interpreter": 4, "wrong-os": 4,
                "wrong-library-arch": 3, "musl-too-old": 3, "libc-mismatch": 3, "bad-library": 2},
    "SIGILL": {"isa-level": 64, "crash": 22, "wrong-library-arch": 9, "wrong-os": 3, "bad-elf": 2},
    "SIGBUS": {"truncated": 50, "crash": 25, "bad-library": 15, "disk-full": 10},
    "SIGSYS": {"seccomp": 95, "wrong-os": 5},
    "SIGKILL": {"oom-killed": 50, "killed": 50},
    "SIGABRT": {"crash": 1},
    "SIGTRAP": {"crash": 1},
    "SIGFPE": {"crash": 90, "bad-elf": 10},
    "SIGTERM": {"killed": 1},
}  # fmt: skip
"""What ends a process with a signal. Only a fault in the program's own code is a crash."""

_REFUSED = {**dict.fromkeys(ENOEXEC, 1.0), **dict.fromkeys(EACCES, 1.0)}
_LOADERS = ("missing-library", "stale-ldcache", "wrong-library-arch", "origin-without-proc", "secure-exec",
            "bad-library", "missing-symbol", "page-size", "noexec-mount", "isa-level", "libc-mismatch", "wrong-libc",
            "execstack-refused", "symbol-version-missing", "no-read-permission", "security-policy")  # fmt: skip
_SIGNAL_NUMBERS = {4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV",
                   15: "SIGTERM", 31: "SIGSYS"}  # fmt: skip


def exit_status(status: int) -> Weights:
    """Which causes end with an exit status, by the conventions of shells, loaders and container engines."""
    if status == 126:
        return _REFUSED
    if status == 127:
        return {**dict.fromkeys(_LOADERS, 1.0), **dict.fromkeys(ENOENT, 2.0)}
    if status > 128 and status - 128 in _SIGNAL_NUMBERS:
        return SIGNALS[_SIGNAL_NUMBERS[status - 128]]
    return {}


ERRNO = {
    "exec format error": "ENOEXEC", "no such file or directory": "ENOENT", "permission denied": "EACCES",
    "operation not permitted": "EPERM", "accessing a corrupted shared library": "ELIBBAD",
    "input/output error": "EIO", "i/o error": "EIO", "too many levels of symbolic links": "ELOOP",
    "symbolic link loop": "ELOOP", "not a directory": "ENOTDIR", "file name too long": "ENAMETOOLONG",
    "filename too long": "ENAMETOOLONG", "argument list too long": "E2BIG", "text file busy": "ETXTBSY",
    "is a directory": "EISDIR", "invalid argument": "EINVAL", "bad address": "EFAULT",
    "cannot allocate memory": "ENOMEM", "out of memory": "ENOMEM",
    "resource temporarily unavailable": "EAGAIN", "too many open files": "EMFILE",
    "no file descriptors available": "EMFILE", "too many open files in system": "ENFILE",
    "function not implemented": "ENOSYS", "no space left on device": "ENOSPC", "read-only file system": "EROFS",
}  # fmt: skip
"""How glibc, musl and Go word an errno, in lower case."""

NUMBERS = {
    1: "EPERM", 2: "ENOENT", 5: "EIO", 7: "E2BIG", 8: "ENOEXEC", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES",
    14: "EFAULT", 20: "ENOTDIR", 21: "EISDIR", 22: "EINVAL", 23: "ENFILE", 24: "EMFILE", 26: "ETXTBSY",
    28: "ENOSPC", 30: "EROFS", 36: "ENAMETOOLONG", 38: "ENOSYS", 40: "ELOOP", 80: "ELIBBAD",
}  # fmt: skip
"""errno numbers of asm-generic, which x86-64 and arm64 share."""

SIGNAL_WORDS = {
    "segmentation fault": "SIGSEGV", "segmentation violation": "SIGSEGV", "illegal instruction": "SIGILL",
    "bus error": "SIGBUS", "killed": "SIGKILL", "aborted": "SIGABRT", "abort": "SIGABRT",
    "trace/breakpoint trap": "SIGTRAP", "floating point exception": "SIGFPE", "bad system call": "SIGSYS",
    "terminated": "SIGTERM", "arithmetic exception": "SIGFPE",
    "segv": "SIGSEGV", "ill": "SIGILL", "bus": "SIGBUS", "kill": "SIGKILL", "abrt": "SIGABRT", "trap": "SIGTRAP",
    "fpe": "SIGFPE", "sys": "SIGSYS", "term": "SIGTERM",
    "4": "SIGILL", "5": "SIGTRAP", "6": "SIGABRT", "7": "SIGBUS", "8": "SIGFPE", "9": "SIGKILL", "11": "SIGSEGV",
    "15": "SIGTERM", "31": "SIGSYS",
}  # fmt: skip
"""How shells, Go, systemd and qemu word a signal, in lower case."""


def errno_name(text: str) -> str:
    """The errno behind a text or number, or nothing. glibc's loader knows few texts, and says "Error 24"."""
    text = text.strip().strip(".\"'").lower().removeprefix("error ")
    if text.isdecimal():
        return NUMBERS.get(int(text), "")
    return text.upper() if text.upper() in EXECVE else ERRNO.get(text, "")
