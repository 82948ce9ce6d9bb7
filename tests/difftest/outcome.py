"""What a guest should say of an execve, by the model, and whether it does."""

from __future__ import annotations

import errno
import signal

from buildmatrix.host import Host
from buildmatrix.preflight.elfload import entry_elsewhere, entry_fault
from buildmatrix.preflight.kernel import execve
from buildmatrix.preflight.openexec import Command, Emulated
from buildmatrix.preflight.rootfs import Root
from buildmatrix.preflight.verdict import Stop
from buildmatrix.preflight.walk import Credentials, View
from tests.difftest.seeds_arm64 import NOP, NOP32

UID = 1000


def predict(root: Root, host: Host, path: str, noexec: tuple[str, ...] = ()) -> str | None:
    """What the guest should say, or None where the model says that it cannot know.

    An emulator of these tests is a program that runs. An entry that is both unaligned and on no fetchable page
    is left open: the architecture tells of the alignment first (Arm ARM, prioritization of synchronous
    exceptions), QEMU of the page.
    """
    who = Credentials(uid=UID, gid=UID)
    view = View(root=root, who=who, noexec=noexec, protected_symlinks=host.protected_symlinks)
    try:
        process = execve(view, host, Command(path=path, argv=(path,)))
    except Stop as stop:
        if stop.depends:
            return None
        if stop.errno is not None:
            return f"E {getattr(errno, stop.errno)}"
        return f"K {getattr(signal, str(stop.signal)).value}"
    if isinstance(process, Emulated):
        return f"S {signal.SIGTRAP.value}"
    mapped = process.interpreter or process.main
    if process.depends or entry_elsewhere(mapped):
        return None
    if mapped.entry & 3 and entry_fault(host, mapped._replace(entry=mapped.entry & -4)):
        return None
    fault = entry_fault(host, mapped)
    if fault is not None:
        return f"S {getattr(signal, fault).value}"
    nop = NOP if mapped.image.layout.bits == 64 else NOP32
    runs = not mapped.entry & 3 and mapped.space.read(mapped.entry, 4) == nop
    return f"S {signal.SIGTRAP.value}" if runs else "S"


def agrees(predicted: str | None, observed: str) -> bool:
    """Whether an outcome is the predicted one; "S" stands for any signal after the first instruction."""
    return predicted is None or observed == predicted or (predicted == "S" and observed.startswith("S "))
