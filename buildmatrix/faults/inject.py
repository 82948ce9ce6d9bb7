"""The faults themselves, as the guard injects and lifts them inside its namespaces.

A fault counts how often it struck: a system call that was never made cannot fail, and a run in which nothing went
wrong proves nothing. What this machine cannot do raises Unavailable.

Source: strace(1) on tampering, stress-ng(1), Documentation/filesystems/overlayfs.rst (whiteouts), time_namespaces(7).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from buildmatrix import errors
from buildmatrix.faults import cgroup
from buildmatrix.faults.trial import Trial
from buildmatrix.faultspec import FaultSpec
from buildmatrix.process import Launched, SubprocessRunner

_ATTACH_SECONDS = 3.0


class Unavailable(Exception):
    """The fault cannot be injected here; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a fault is injected: `own` is the guard's folder, `scratch` the workload's."""

    trial: Trial
    own: Path
    scratch: Path
    runner: SubprocessRunner

    @property
    def fault(self) -> FaultSpec:
        """The fault; only a trial with one has it."""
        if self.trial.fault is None:
            raise ValueError("got a trial without a fault, expected one")
        return self.trial.fault

    def launch(self, argv: tuple[str, ...], *, limited: bool) -> Launched:
        """Start a program, under the workload's limits where it is `limited`."""
        wrapped = within_limits(self.trial, argv) if limited else argv
        return Launched(wrapped, env=self.environment, cwd=self.own, output=self.own / "injector")

    @property
    def environment(self) -> dict[str, str]:
        """What injectors get: nothing of the workload's."""
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}

    def must(self, *argv: str) -> None:
        """Run a program that has to succeed for the fault to be there."""
        done = self.runner.run(argv, env=self.environment, cwd=self.own, timeout=10)
        if not done.ok:
            raise Unavailable(f"{argv[0]}: {done.stderr.strip() or f'exit status {done.status}'}")


def within_limits(trial: Trial, argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command under the run's limits: in its cgroup, or with a limit on each process's data; never a core file."""
    limits = trial.limits
    data = (f"--data={limits.data << 20}",) if limits.data else ()
    limited = ("prlimit", "--core=0", *data, "--", *argv)
    if not limits.cgroup:
        return limited
    # The shell moves itself, so that nothing runs outside of the group, not even for a moment.
    return ("sh", "-c", 'echo 0 >"$0" && exec "$@"', f"{limits.cgroup}/cgroup.procs", *limited)


class Fault(Protocol):
    """One fault: `apply` and `lift` may be called once each."""

    def wrap(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The workload's command with whatever must be around it from its first instruction on."""

    def apply(self, pid: int) -> None:
        """Begin, with the process id of the workload, or 0 where it does not run yet."""

    def tick(self, pid: int) -> float | None:
        """Called often while it lasts; the moment at which it ended the workload, if it did."""

    def lift(self, pid: int) -> None:
        """End it: the workload may recover now."""

    def struck(self) -> int:
        """How often it was felt."""


class Nothing:
    """No fault: what the others are compared with, and what they are made of."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def wrap(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The command as it is."""
        return argv

    def apply(self, pid: int) -> None:
        """Nothing begins."""

    def tick(self, pid: int) -> float | None:  # noqa: ARG002  (the protocol's)
        """Nothing happens."""
        return None

    def lift(self, pid: int) -> None:
        """Nothing ends."""

    def struck(self) -> int:
        """Never."""
        return 0


class Stress(Nothing):
    """stress-ng beside the workload, or for `memory` in its cgroup, so that they share one limit."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._child: Launched | None = None
        self._ran = False

    def apply(self, pid: int) -> None:  # noqa: ARG002  (the protocol's)
        """Start the stressors, with a time limit of their own beside the guard's."""
        fault = self.setting.fault
        what = {
            "cpu": ("--cpu", str(fault.workers)),
            "atomics": ("--atomic", str(fault.workers)),
            # More than the limit holds, so that it is met whatever the workload takes.
            "memory": ("--vm", str(fault.workers), "--vm-bytes", f"{2 * fault.size}M", "--vm-keep"),
        }[fault.kind]
        seconds = str(fault.milliseconds // 1000 + 2)
        command = ("stress-ng", *what, "--timeout", seconds, "--temp-path", str(self.setting.own))
        self._child = self.setting.launch(command, limited=fault.kind == "memory")

    def lift(self, pid: int) -> None:  # noqa: ARG002  (the protocol's)
        """End the stressors. They start their own process groups, which the session's end does not reach."""
        if self._child is None:
            return
        self._ran = self._child.status is None
        _end_tree(self._child)

    def struck(self) -> int:
        """For `memory` how often the limit was met, else whether the stressors ran to the end."""
        limits = self.setting.trial.limits
        if self.setting.fault.kind == "memory" and limits.cgroup:
            return cgroup.felt(Path(limits.cgroup), limits.version)
        return int(self._ran)


def _end_tree(child: Launched) -> None:
    """Kill a process with all that descends from it."""
    found, todo = [child.pid], [child.pid]
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(words[1]), []).append(int(entry.name))
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.end()


class Calls(Nothing):
    """System calls that fail or wait, through strace: from the first instruction on, or of a running service."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._log = setting.own / "calls"
        self._tracer: Launched | None = None
        self._around = setting.fault.from_start or not setting.trial.health

    def _options(self) -> tuple[str, ...]:
        fault = self.setting.fault
        # "?" lets a name pass that this architecture does not have; `struck` tells where none was called.
        names = ",".join(f"?{name}" for name in fault.calls)
        how = f"error={fault.error}" if fault.kind == "syscall" else f"delay_enter={fault.delay * 1000}"
        when = f":when={fault.when}" if fault.when else ""
        return ("-f", "-qq", "-A", "-o", str(self._log), "-e", f"trace={names}", "-e", f"inject={names}:{how}{when}")

    def wrap(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The tracer as a grandchild (-D), so that the workload remains our child and can outlive it."""
        return ("strace", "-D", "-I2", *self._options(), "--", *argv) if self._around else argv

    def apply(self, pid: int) -> None:
        """Attach to every thread of a service that runs."""
        if self._around or not pid:
            return
        # A service that dies of it is restarted under it; what starts a container must not be hit.
        self._around = self.setting.trial.container is None
        self._tracer = self.setting.launch(("strace", *self._options(), "-p", str(pid)), limited=False)
        until = time.monotonic() + _ATTACH_SECONDS
        while not _tracer_of(pid):
            if self._tracer.status is not None or time.monotonic() > until:
                said = (self.setting.own / "injector").read_text(errors="replace").strip()
                raise Unavailable(f"strace cannot attach: {said or 'it did not in time'}")
            time.sleep(0.005)

    def lift(self, pid: int) -> None:
        """Detach; SIGTERM lets strace finish the calls that it is amid."""
        if self._tracer is not None:
            self._tracer.signal(signal.SIGTERM)
            if self._tracer.wait(2.0) is None:
                self._tracer.end()
        if tracer := _tracer_of(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(tracer, signal.SIGTERM)

    def struck(self) -> int:
        """How many calls were tampered with."""
        with contextlib.suppress(OSError):
            text = self._log.read_text(errors="replace")
            return text.count("(INJECTED)") + text.count("(DELAYED)")
        return 0


def _tracer_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("TracerPid:"):
                return int(line.split()[1])
    return 0


class DiskFull(Nothing):
    """The scratch folder's file system without a free byte, until the filler is removed."""

    _full = False

    def apply(self, pid: int) -> None:  # noqa: ARG002  (the protocol's)
        """Write until there is no space."""
        block = bytes(1 << 16)
        with (self.setting.scratch / ".filler").open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(block)
            except OSError:
                self._full = True

    def lift(self, pid: int) -> None:  # noqa: ARG002  (the protocol's)
        """Give the space back."""
        (self.setting.scratch / ".filler").unlink(missing_ok=True)

    def struck(self) -> int:
        """Whether the file system was full."""
        return int(self._full)


class Kill(Nothing):
    """SIGKILL at one moment that the seed chooses."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        source = random.Random(setting.trial.seed)  # noqa: S311 (a repeatable moment, no secret)
        self._after = source.uniform(0, setting.fault.milliseconds / 1000)
        self._begun = 0.0
        self._kills = 0

    def apply(self, pid: int) -> None:  # noqa: ARG002  (the protocol's)
        """The moment counts from here."""
        self._begun = time.monotonic()

    def tick(self, pid: int) -> float | None:
        """Kill once, when it is time and there is somebody."""
        now = time.monotonic()
        if self._kills or not pid or now - self._begun < self._after:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._kills += 1
            return now
        return None

    def struck(self) -> int:
        """How often it was killed."""
        return self._kills


class MissingChild(Nothing):
    """Programs that are not there: whiteouts in an overlay over their folders, seen in our namespace alone."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._mounted: list[Path] = []
        self._gone = 0

    def apply(self, pid: int) -> None:  # noqa: ARG002  (the protocol's)
        """Cover each folder; execve finds nothing there (ENOENT), as where the program was never installed."""
        programs = [Path(name).parent.resolve() / Path(name).name for name in self.setting.fault.programs]
        for number, folder in enumerate(sorted({path.parent for path in programs})):
            upper, work = (self.setting.own / f"{what}{number}" for what in ("upper", "work"))
            upper.mkdir()
            work.mkdir()
            for path in programs:
                if path.parent == folder:
                    os.mknod(upper / path.name, stat.S_IFCHR, os.makedev(0, 0))
            options = f"lowerdir={folder},upperdir={upper},workdir={work}"
            self.setting.must("mount", "-t", "overlay", "-o", options, "overlay", str(folder))
            self._mounted.append(folder)
        self._gone = sum(not path.exists() for path in programs)

    def lift(self, pid: int) -> None:  # noqa: ARG002  (the protocol's)
        """Uncover them, last first."""
        for folder in reversed(self._mounted):
            self.setting.must("umount", "-l", str(folder))

    def struck(self) -> int:
        """How many programs were not there."""
        return self._gone


class Clock(Nothing):
    """A monotonic clock that is ahead: the guard's time namespace, which `unshare --time` has made."""

    def struck(self) -> int:
        """Whether the kernel keeps the offset for us."""
        with contextlib.suppress(OSError):
            text = Path("/proc/self/timens_offsets").read_text()
            rows = {words[0]: words[1] for words in map(str.split, text.splitlines()) if len(words) > 1}
            return int(rows.get("monotonic") == str(self.setting.fault.step))
        return 0


class Network(Nothing):
    """Packets on our loopback that wait or are lost, through netem where the kernel has it."""

    def apply(self, pid: int) -> None:  # noqa: ARG002  (the protocol's)
        """Put netem on the loopback."""
        fault = self.setting.fault
        loss = ("loss", f"{fault.loss}%") if fault.loss else ()
        self.setting.must(
            "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", f"{fault.delay}ms", *loss
        )  # fmt: skip

    def lift(self, pid: int) -> None:  # noqa: ARG002  (the protocol's)
        """Take it off."""
        self.setting.must("tc", "qdisc", "del", "dev", "lo", "root")

    def struck(self) -> int:
        """It was there, or `apply` would have failed."""
        return 1


_KINDS: dict[str, Callable[[Setting], Fault]] = {
    "memory": Stress, "cpu": Stress, "atomics": Stress, "syscall": Calls, "slow": Calls, "disk-full": DiskFull,
    "kill": Kill, "missing-child": MissingChild, "clock": Clock, "network": Network,
}  # fmt: skip


def of(setting: Setting) -> Fault:
    """The fault of a trial."""
    return Nothing(setting) if setting.trial.fault is None else _KINDS[setting.trial.fault.kind](setting)


@contextlib.contextmanager
def available():  # type: ignore[no-untyped-def]  # a generator whose type the decorator gives
    """Turn a program that is not installed, or a refusal of the kernel, into Unavailable."""
    try:
        yield
    except errors.ToolMissing as error:
        raise Unavailable(f"{error.what} ({error.why})") from error
    except OSError as error:
        raise Unavailable(f"{error.strerror}: {error.filename or ''}".rstrip(": ")) from error
