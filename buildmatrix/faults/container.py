"""A workload inside its image: the layers unpacked into memory, and its command started there as process 1.

An engine's daemon would start the container outside of our process tree, where a killed campaign could not end it, and
runc insists on cgroups of its own, which a killed one leaves. So the guard makes the namespaces itself: mounts, process
ids, IPC, host name; the network and the cgroup are the run's. There is no seccomp profile, unlike under an engine.

Source: unshare(1), chroot(1); OCI image specification 1.1 (layer.md, whiteouts).
"""

from __future__ import annotations

import contextlib
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from buildmatrix import _zstd
from buildmatrix.faults.inject import Setting, Unavailable

SPACE_MIB = 512
"""The most that an unpacked image may take."""

_ZSTD = b"\x28\xb5\x2f\xfd"
_INTERPRETER = ".interpreter"
_ENTER = """
cd "$0" && mkdir -p proc dev .$1 && mount -t proc proc proc && mount -t tmpfs -o size=64k,mode=755 dev dev &&
for name in null zero full random urandom; do : >dev/$name && mount --bind /dev/$name dev/$name || exit 125; done &&
mount --bind "$1" ".$1" && user=$2 && shift 2 &&
exec setpriv --no-new-privs -- chroot --userspec="$user" --groups="" . "$@"
"""
"""Arguments: the root, the scratch folder, UID:GID, and the command."""


def prepare(setting: Setting) -> tuple[tuple[str, ...], Callable[[int], int]]:
    """The command that starts the workload in its container, and what finds the container's first process."""
    box, fault = setting.trial.container, setting.trial.fault
    if box is None:
        raise ValueError("got a trial without a container, expected one")
    if fault is not None and fault.calls and (fault.from_start or not setting.trial.health):
        raise Unavailable("in a container calls fail once the service runs: the tracer would hit what starts it")
    root = setting.own / "rootfs"
    root.mkdir()
    try:
        for layer in box.layers:
            _unpack(Path(layer), root)
        if box.interpreter:
            shutil.copy(box.interpreter, root / _INTERPRETER)
    except (OSError, tarfile.TarError, _zstd.error()) as error:
        raise Unavailable(f"the image cannot be unpacked: {error}") from error
    interpreter = (f"/{_INTERPRETER}",) if box.interpreter else ()
    user, _, group = box.user.partition(":")
    if not (user + group).isdecimal():
        raise Unavailable(f"got the user {box.user!r}, expected UID or UID:GID: names need the image's own files")
    enter = ("sh", "-c", _ENTER, str(root), str(setting.scratch), f"{user}:{group or user}")
    spaces = ("unshare", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "--")
    return (*spaces, *enter, *interpreter, *setting.trial.argv), _inside


def _inside(pid: int) -> int:
    """The container's process 1: the only child of the process that made its namespaces."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return pid


def _unpack(layer: Path, root: Path) -> None:
    """One layer over what is there already; members that would leave the root are refused."""
    with contextlib.ExitStack() as stack:
        stream: Any = stack.enter_context(layer.open("rb"))
        if stream.read(4) == _ZSTD:
            stream.seek(0)
            stream = stack.enter_context(_zstd.opened(stream))
            archive = stack.enter_context(tarfile.open(fileobj=stream, mode="r|"))
        else:
            stream.seek(0)
            archive = stack.enter_context(tarfile.open(fileobj=stream, mode="r|*"))
        for member in archive:
            name = Path(member.name)
            if name.name.startswith(".wh."):
                _white_out(root, name)
            else:
                archive.extract(member, root, filter="tar")


def _white_out(root: Path, name: Path) -> None:
    folder = (root / name.parent).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise tarfile.OutsideDestinationError(tarfile.TarInfo(str(name)), str(folder))
    gone = folder.iterdir() if name.name == ".wh..wh..opq" else [folder / name.name.removeprefix(".wh.")]
    for path in list(gone):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
