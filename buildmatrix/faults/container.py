"""A workload inside its image: the layers unpacked into memory, and started by runc in the guard's namespaces.

An engine's daemon would start the container outside of our process tree, where a killed campaign could not end it;
runc's containers are our descendants, and share the guard's network. Their cgroup is the run's own: the cgroup file
systems are hidden from runc, which would leave a folder in each.

Source: OCI runtime specification 1.0 (config.md); OCI image specification 1.1 (layer.md, whiteouts).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from buildmatrix import _zstd
from buildmatrix.faults.inject import Setting, Unavailable
from buildmatrix.faults.trial import Container

SPACE_MIB = 512
"""The most that an unpacked image may take."""

_ZSTD = b"\x28\xb5\x2f\xfd"
_HIDE = 'mount -t tmpfs -o size=4k,ro none /sys/fs/cgroup && exec "$@"'
_NAME = "workload"


def prepare(setting: Setting) -> tuple[tuple[str, ...], Callable[[int], int]]:
    """The command that starts the workload in its container, and what finds the container's first process."""
    box = setting.trial.container
    if box is None:
        raise ValueError("got a trial without a container, expected one")
    if shutil.which("runc") is None:
        raise Unavailable("runc is not installed: on Debian, apt-get install runc")
    root = setting.own / "rootfs"
    root.mkdir()
    try:
        for layer in box.layers:
            _unpack(Path(layer), root)
    except (OSError, tarfile.TarError, _zstd.error()) as error:
        raise Unavailable(f"the image cannot be unpacked: {error}") from error
    (setting.own / "config.json").write_text(json.dumps(config(setting, box)))
    marker = setting.own / "pid"
    command = ("runc", "--root", str(setting.own / "runc"), "--rootless", "true", "run", "--bundle", str(setting.own),
               "--pid-file", str(marker), _NAME)  # fmt: skip
    # A namespace of its own for the hiding, since the guard itself needs the cgroup.
    hidden = ("unshare", "--mount", "sh", "-c", _HIDE, "sh", "sh", "-c", _FRESH, str(setting.own / "runc"), *command)
    return hidden, lambda pid: _first(marker, pid)


_FRESH = 'rm -rf "$0" && exec "$@"'
"""What an earlier start left under the name would forbid the next."""


def _first(marker: Path, pid: int) -> int:
    """The container's process 1 as the guard sees it, once it is there and lives; else the one that starts it."""
    with contextlib.suppress(OSError, ValueError):
        if Path(f"/proc/{(found := int(marker.read_text()))}").exists():
            return found
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


def config(setting: Setting, box: Container) -> dict[str, Any]:
    """config.json of the bundle: no privileges, no network namespace, no cgroup."""
    user, _, group = box.user.partition(":")
    scratch = str(setting.scratch)
    bound = [(scratch, scratch, ["rbind", "rw"])]
    if box.interpreter:
        bound.append((box.interpreter, "/.interpreter", ["bind", "ro"]))
    words = [word.replace("{scratch}", scratch) for word in setting.trial.argv]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": int(user or 0), "gid": int(group or user or 0)},
            "args": ["/.interpreter", *words] if box.interpreter else words,
            "env": [f"{name}={value}" for name, value in setting.trial.env],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": {name: [] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")},
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": _NAME,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            *({"destination": to, "type": "bind", "source": what, "options": how} for what, to, how in bound),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
    }
