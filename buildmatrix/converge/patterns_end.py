"""What is said when a process ends: kernel, shells, Go, systemd, Kubernetes, qemu; and what a start lacks.

Wordings from mm/oom_kill.c, arch/*/kernel/traps.c and arch/*/mm/fault.c, kernel/auditsc.c, Go's runtime and
os/exec, bash's jobs.c, systemd's service.c, kubelet, qemu's linux-user/signal.c.
"""

from __future__ import annotations

from buildmatrix.converge import weights
from buildmatrix.converge.pattern import SIG, Groups, Pattern, by_exit, by_signal, fixed
from buildmatrix.converge.symptom import Role
from buildmatrix.converge.weights import Weights

_KERNEL, _SIGNAL, _START = "kernel", "signal", "start of the program"


def _segfault(groups: Groups) -> Weights:
    """Where a fault lies tells a program's own crash from a loader's end."""
    place = groups.get("object") or ""
    if "ld-linux" in place or "ld-musl" in place or place.startswith("ld-") or "ld.so" in place:
        return {"truncated": 34, "bad-elf": 24, "page-size": 18, "wrong-library-arch": 14, "libc-mismatch": 10}
    return weights.SIGNALS["SIGSEGV"]


def _new_thread(groups: Groups) -> Weights | None:
    return weights.FORK.get(weights.NUMBERS.get(int(groups["errno"]), ""))


END: tuple[Pattern, ...] = (
    # the OOM killer, and those who report it
    Pattern(
        name="kernel-oom", anchor="ut of memory: Kill", stage=_KERNEL, weigh=fixed(oom_killed=1),
        regex=r"(?P<detail>(?:Memory cgroup o|O)ut of memory): Kill(?:ed)? process (?P<pid>\d+) \((?P<program>[^)]+)\)",
    ),
    Pattern(
        name="kernel-oom-kill", anchor="oom-kill:constraint=", stage=_KERNEL, weigh=fixed(oom_killed=1),
        regex=r"oom-kill:constraint=(?P<detail>\w+).*?task=(?P<program>[^,]+),pid=(?P<pid>\d+)",
    ),
    Pattern(
        name="systemd-oom", anchor="OOM killer", stage=_SIGNAL, weigh=fixed(oom_killed=1),
        regex=r"(?:(?P<unit>\S+): )?A process of this unit has been killed by the OOM killer",
    ),
    Pattern(
        name="systemd-oom-result", anchor="oom-kill'", stage=_SIGNAL, weigh=fixed(oom_killed=1),
        regex=r"(?:(?P<unit>\S+): )?Failed with result 'oom-kill'",
    ),
    Pattern(
        name="oom-killed", anchor="OOMKilled", stage=_SIGNAL, weigh=fixed(oom_killed=1), regex=r"\bOOMKilled\b",
    ),
    # faults as the kernel logs them
    Pattern(
        name="kernel-segfault", anchor=": segfault at ", stage=_KERNEL, weigh=_segfault, role=Role.CONSEQUENCE,
        regex=r"(?P<program>[^\s\[:]+)\[(?P<pid>\d+)\]: segfault at (?P<detail>[0-9a-f]+) .*?error [0-9a-f]+"
        r"(?: in (?P<object>[^\[\s,]+))?",
    ),
    Pattern(
        name="kernel-invalid-opcode", anchor="trap invalid opcode", stage=_KERNEL, role=Role.CONSEQUENCE,
        regex=r"traps: (?P<program>[^\s\[]+)\[(?P<pid>\d+)\] trap invalid opcode.*?(?: in (?P<object>[^\[\s,]+))?$",
        weigh=lambda _groups: weights.SIGNALS["SIGILL"],
    ),
    Pattern(
        name="kernel-undefined", anchor="undefined instruction", stage=_KERNEL, role=Role.CONSEQUENCE,
        regex=r"(?P<program>[^\s\[:]+)\[(?P<pid>\d+)\]: undefined instruction",
        weigh=lambda _groups: weights.SIGNALS["SIGILL"],
    ),
    Pattern(
        name="kernel-protection", anchor="general protection fault", stage=_KERNEL, role=Role.CONSEQUENCE,
        regex=r"traps: (?P<program>[^\s\[]+)\[(?P<pid>\d+)\] general protection fault"
        r".*?(?: in (?P<object>[^\[\s,]+))?$",
        weigh=_segfault,
    ),
    Pattern(
        name="kernel-unhandled", anchor="]: unhandled ", stage=_KERNEL, role=Role.CONSEQUENCE,
        regex=r"(?P<program>[^\s\[:]+)\[(?P<pid>\d+)\]: unhandled (?P<detail>[^,(]+?) ?\(\d+\)",
        weigh=lambda _groups: weights.SIGNALS["SIGSEGV"],
    ),
    Pattern(
        name="audit-seccomp", anchor="type=1326", stage="seccomp filter", weigh=fixed(seccomp=1),
        regex=r"type=1326 .*?pid=(?P<pid>\d+) comm=\"(?P<program>[^\"]+)\".*?syscall=(?P<detail>\d+)",
    ),
    Pattern(
        name="audit-seccomp-record", anchor="type=SECCOMP", stage="seccomp filter", weigh=fixed(seccomp=1),
        regex=r"type=SECCOMP .*?pid=(?P<pid>\d+) comm=\"(?P<program>[^\"]+)\".*?syscall=(?P<detail>\d+)",
    ),
    Pattern(
        name="apparmor", anchor="apparmor=\"DENIED\"", stage="security module", weigh=fixed(security_policy=1),
        regex=r"apparmor=\"DENIED\" operation=\"(?P<detail>[^\"]+)\".*?name=\"(?P<program>[^\"]+)\"",
    ),
    Pattern(
        name="selinux", anchor="avc:  denied  { exec", stage="security module", weigh=fixed(security_policy=1),
        regex=r"avc:  denied  \{ (?P<detail>exec\w*)[^}]*\}.*?(?:path|name)=\"(?P<program>[^\"]+)\"",
    ),
    # the CPU and the page size, as runtimes word them
    Pattern(
        name="go-level", anchor="This program can only be run on", stage=_START, weigh=fixed(isa_level=1),
        regex=r"This program can only be run on (?P<detail>AMD64 processors with (?P<version>v\d)|.*? processors)",
    ),
    Pattern(
        name="page-size", anchor="system page size", stage=_START, weigh=fixed(page_size=1),
        regex=r"(?:Unsupported|bad|unsupported) system page size",
    ),
    Pattern(
        name="go-arm", anchor="this ARM binary", stage=_START, weigh=fixed(isa_level=1),
        regex=r"no hardware floating point|ARM binary.*?(?:VFP|unable to run)",
    ),
    # memory and limits
    Pattern(
        name="go-no-thread", anchor="failed to create new OS thread", stage="clone", weigh=_new_thread,
        regex=r"failed to create new OS thread \(have (?P<detail>\d+) already; errno=(?P<errno>\d+)\)",
    ),
    Pattern(
        name="go-no-thread-pthread", anchor="pthread_create failed", stage="clone",
        regex=r"runtime/cgo: pthread_create failed: (?P<detail>\w.*?)$", weigh=fixed(process_limit=55, seccomp=25,
                                                                                       out_of_memory=20),
    ),
    Pattern(
        name="go-out-of-memory", anchor="runtime: ", stage="memory", weigh=fixed(out_of_memory=1),
        regex=r"(?:fatal error: runtime: (?:out of memory|cannot allocate memory)"
        r"|runtime: out of memory: cannot allocate)",
    ),
    Pattern(
        name="disk-full", anchor="o space left on device", stage="write", weigh=fixed(disk_full=1),
        regex=r"[Nn]o space left on device",
    ),
    Pattern(
        name="too-many-files", anchor="oo many open files", stage="open", weigh=fixed(file_limit=1),
        regex=r"[Tt]oo many open files",
    ),
    Pattern(
        name="no-such-call", anchor="unction not implemented", stage="system call",
        regex=r"(?:(?P<detail>[a-z_0-9]+)(?:\([^)]*\))?(?: failed)?: )?[Ff]unction not implemented",
        weigh=lambda _groups: weights.EXECVE["ENOSYS"],
    ),
    # what a root lacks beside libraries
    Pattern(
        name="go-time-zone", anchor="unknown time zone ", stage="data file", weigh=fixed(missing_data=1),
        regex=r"unknown time zone (?P<object>[\w/+-]+)",
    ),
    Pattern(
        name="go-no-roots", anchor="failed to load system roots", stage="data file", weigh=fixed(missing_data=1),
        regex=r"x509: failed to load system roots and no roots provided",
    ),
    Pattern(
        name="go-unknown-authority", anchor="certificate signed by unknown authority", stage="data file",
        regex=r"x509: certificate signed by unknown authority", weigh=fixed(missing_data=55, untrusted_peer=45),
    ),
    Pattern(
        name="go-local-resolver", anchor="lookup ", stage="data file", weigh=fixed(missing_data=74, resolver_down=26),
        regex=r"lookup (?P<object>\S+) on (?:\[::1\]|127\.0\.0\.1):53: "
        r".*?(?:connection refused|cannot assign requested)",
    ),
    Pattern(
        name="go-no-user", anchor="user: unknown user", stage="data file", weigh=fixed(missing_data=1),
        regex=r"user: unknown user(?:id|:)? ?(?P<object>\S*)",
    ),
    # ends that say little by themselves
    Pattern(
        name="go-signal", anchor="signal: ", stage=_SIGNAL, weigh=by_signal, role=Role.CONSEQUENCE,
        regex=rf"(?<!\w)signal: {SIG}",
    ),
    Pattern(
        name="go-fault", anchor="[signal SIG", stage=_SIGNAL, weigh=fixed(crash=1), role=Role.CONSEQUENCE,
        regex=r"\[signal (?P<signal>SIG[A-Z]+): [^\]]*?pc=(?P<detail>0x[0-9a-f]+)",
    ),
    Pattern(
        name="go-sigill", anchor="SIGILL: illegal instruction", stage=_SIGNAL, role=Role.CONSEQUENCE,
        regex=r"SIGILL: illegal instruction", weigh=lambda _groups: weights.SIGNALS["SIGILL"],
    ),
    Pattern(
        name="go-nil", anchor="nil pointer dereference", stage="program", weigh=fixed(crash=1), role=Role.CONSEQUENCE,
        regex=r"panic: runtime error: invalid memory address or nil pointer dereference",
    ),
    Pattern(
        name="qemu-signal", anchor="uncaught target signal", stage=_SIGNAL, weigh=by_signal, role=Role.CONSEQUENCE,
        regex=r"qemu\S*: uncaught target signal (?P<signal>\d+)",
    ),
    *(
        Pattern(
            name="shell-signal", anchor=anchor, stage=_SIGNAL, weigh=by_signal, role=Role.CONSEQUENCE,
            regex=rf"(?:^|[^\s:]+: line \d+: +\d+ |: ){SIG}(?: \(core dumped\))?"
            r"(?: +[\"']?(?P<program>[^\s'\"]*)[^\n]*)?$",
        )
        for anchor in ("egmentation fault", "llegal instruction", "us error", "Killed", "Aborted", "ad system call",
                       "race/breakpoint trap", "loating point exception")
    ),
    Pattern(
        name="xargs-signal", anchor="terminated by signal", stage=_SIGNAL, weigh=by_signal, role=Role.CONSEQUENCE,
        regex=r"(?P<program>[^\s:]+): terminated by signal (?P<signal>\d+)",
    ),
    Pattern(
        name="systemd-status", anchor="status=203/EXEC", stage="execve", role=Role.CONSEQUENCE,
        regex=r"(?:(?P<unit>\S+): )?Main process exited, code=exited, status=203/EXEC",
        weigh=lambda _groups: {**weights.ENOENT, **weights.ENOEXEC, **weights.EACCES, "bad-interpreter": 1},
    ),
    Pattern(
        name="systemd-signal", anchor="Main process exited, code=", stage=_SIGNAL, weigh=by_signal,
        role=Role.CONSEQUENCE,
        regex=r"(?:(?P<unit>\S+): )?Main process exited, code=(?:killed|dumped), status=\d+/(?P<signal>[A-Z]+)",
    ),
    Pattern(
        name="systemd-exit", anchor="Main process exited, code=exited", stage="exit", weigh=by_exit,
        role=Role.CONSEQUENCE, regex=r"(?:(?P<unit>\S+): )?Main process exited, code=exited, status=(?P<exit>\d+)",
    ),
    Pattern(
        name="exit-status", anchor="exit status ", stage="exit", weigh=by_exit, role=Role.CONSEQUENCE,
        regex=r"(?<!\w)exit status (?P<exit>\d{1,3})\b",
    ),
    Pattern(
        name="exit-code", anchor="xit code", stage="exit", weigh=by_exit, role=Role.CONSEQUENCE,
        regex=r"[Ee]xit code:?\s*=?\s*(?P<exit>\d{1,3})\b",
    ),
    Pattern(
        name="crash-loop", anchor="restarting failed container", stage="exit", role=Role.CONSEQUENCE,
        regex=r"[Bb]ack-off (?:\S+ )?restarting failed container", weigh=lambda _groups: {},
    ),
)  # fmt: skip
