"""`python -m buildmatrix.faults.guard`: one run, as process 1 of namespaces of its own.

Whatever a run starts descends from this process, and every mount is in its mount namespace: when it ends, the kernel
ends all of them. It ends when its standard input does, which is open exactly as long as the campaign lives: a killed
campaign takes its run along, at any moment and without having to do anything. The cgroup, the only thing that outlives
a namespace, is made here and removed here on every way out; the campaign looks after it too.

Source: pid_namespaces(7), mount_namespaces(7), unshare(1).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import sys
import threading
from pathlib import Path

from buildmatrix import errors
from buildmatrix.faults import cgroup, container, course
from buildmatrix.faults.inject import Setting, Unavailable, available
from buildmatrix.faults.trial import Result, Trial, decode_trial, encode
from buildmatrix.process import SubprocessRunner

_PLACES = ("/mnt", "/media", "/srv", "/opt")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_OWN_MIB = 64
_GRACE_SECONDS = 5


def main() -> int:
    """Read a Trial from standard input, run it, print its Result."""
    if os.getpid() != 1:  # kill(-1) below would end everything on the machine
        print("got called by hand, expected to be process 1 of a namespace", file=sys.stderr)  # noqa: T201
        return errors.EXIT_USAGE
    line = _line()
    if not line:
        return errors.EXIT_INTERRUPTED
    trial = decode_trial(line)
    threading.Thread(target=_hang_on, args=(trial,), daemon=True).start()
    alarm = threading.Timer(trial.limits.seconds + _GRACE_SECONDS, _finish, (trial, errors.EXIT_FINDINGS))
    alarm.daemon = True
    alarm.start()
    try:
        result = _run(trial)
        sys.stdout.write(encode(result) + "\n")
        sys.stdout.flush()
        status = errors.EXIT_OK
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        status = errors.EXIT_INTERNAL
    _finish(trial, status)
    return status


def _line() -> str:
    """The first line of standard input, unbuffered: what follows it is only waited for."""
    data = b""
    while not data.endswith(b"\n"):
        piece = os.read(0, 1 << 16)
        if not piece:
            return ""
        data += piece
    return data.decode()


def _hang_on(trial: Trial) -> None:
    """End all when standard input does: then the campaign is no more."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    _finish(trial, errors.EXIT_INTERRUPTED)


_finishing = threading.Lock()


def _finish(trial: Trial, status: int) -> None:
    """End every process of the namespace but this one, remove the cgroup, and exit."""
    with _finishing:  # held for ever: whoever comes second waits for the end
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        if trial.limits.cgroup:
            cgroup.end(Path(trial.limits.cgroup))
        os._exit(status)


def _run(trial: Trial) -> Result:
    try:
        with available():
            setting = _prepare(trial)
        command, real = trial.argv, None
        if trial.container is not None:
            with available():
                command, real = container.prepare(setting)
        words = tuple(word.replace("{scratch}", str(setting.scratch)) for word in command)
        return course.run(setting, words, real)
    except Unavailable as reason:
        return Result(good=False, unavailable=str(reason))


def _prepare(trial: Trial) -> Setting:
    """The folders, the network and the cgroup of the run."""
    runner = SubprocessRunner()
    base = _place(trial)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    own, scratch = base / "own", base / "scratch"

    def mount(folder: Path, mebibytes: int) -> None:
        options = f"size={mebibytes}m,mode=0755"
        argv = ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
        done = runner.run(argv, env=environment, cwd=Path("/"), timeout=10)
        if not done.ok:
            raise Unavailable(f"a tmpfs at {folder}: {done.stderr.strip()}")

    mount(base, _OWN_MIB + (container.SPACE_MIB if trial.container else 0))
    own.mkdir()
    scratch.mkdir()
    mount(scratch, trial.limits.scratch)
    scratch.chmod(0o1777)
    _loopback()
    if trial.limits.cgroup:
        cgroup.make(Path(trial.limits.cgroup), trial.limits.version, trial.limits.memory)
    return Setting(trial=trial, own=own, scratch=scratch, runner=runner)


def _place(trial: Trial) -> Path:
    """A folder of the machine to mount over, in our namespace alone, that hides nothing which the run needs."""
    needed = [Path(word).resolve() for word in (*trial.argv, sys.prefix, sys.executable) if word.startswith("/")]
    if trial.container is not None:
        needed += [Path(layer).resolve() for layer in trial.container.layers]
    for name in _PLACES:
        place = Path(name)
        if place.is_dir() and not any(path.is_relative_to(place) for path in needed):
            return place
    raise Unavailable(f"no folder to mount a scratch file system on: {', '.join(_PLACES)} are missing or in use")


def _loopback() -> None:
    """Bring up lo, which a new network namespace has down (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


if __name__ == "__main__":
    sys.exit(main())
