"""A virtual machine that executes files: an initramfs with them in it, one boot, what the kernel did to each.

`boot` starts qemu-system-aarch64 with a kernel and guest_init.c as its first process. The files of a root
are values here, so that the model is asked about exactly what the machine was given.
"""

from __future__ import annotations

import lzma
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from buildmatrix.facts import Kind
from buildmatrix.host import Handler, Host, with_kernel, with_page_size
from buildmatrix.preflight.rootfs import BytesBlob, Inode, TreeRoot
from tests.difftest.kernels import Kernel

SECONDS = 900
"""How long one boot may take: 2,500 files take about a minute on a busy machine."""

EMULATED = (
    "-M",
    "virt,gic-version=3",
    "-m",
    "1024",
    "-smp",
    "1",
    "-nodefaults",
    "-display",
    "none",
    "-no-reboot",
    "-serial",
    "stdio",
)
CPU = "cortex-a76"
"""A model that has every page size and 32-bit user code."""

BOOT = "console=ttyAMA0 loglevel=0 panic=-1 rdinit=/init"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of the guest's root: regular with `data`, a link to `link`, or a directory."""

    data: bytes = b""
    mode: int = 0o755
    owner: int = 0
    link: str = ""
    directory: bool = False


Tree = Mapping[str, Entry]
"""Entries by their path without a leading slash; parents stand before children."""


class GuestFailed(Exception):
    """The machine did not do what it was told to; the text is what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What to execute, on which CPU model, with which words on the kernel's command line; and how the machine
    is set up before: binfmt_misc entries, directories made noexec.
    """

    tree: Tree
    paths: tuple[str, ...]
    cpu: str = CPU
    options: str = ""
    handlers: tuple[Handler, ...] = ()
    noexec: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One boot: the host that the guest describes, and an outcome such as ``E 8`` for each path."""

    host: Host
    outcomes: tuple[str, ...]


def as_root(tree: Tree) -> TreeRoot:
    """The tree as the preflight sees a root."""
    top = Inode(key=(-1, 0), kind=Kind.DIRECTORY, mode=0o755, uid=0, gid=0, size=0, children={})
    for count, (path, entry) in enumerate(tree.items(), 1):
        kind = Kind.DIRECTORY if entry.directory else Kind.SYMLINK if entry.link else Kind.REGULAR
        node = Inode(
            key=(-1, count), kind=kind, mode=entry.mode, uid=entry.owner, gid=entry.owner, size=len(entry.data),
            target=entry.link, content=BytesBlob(entry.data), children={} if entry.directory else None,
        )  # fmt: skip
        *parents, name = path.split("/")
        children = top.children
        for parent in parents:
            children = (children or {})[parent].children
        assert children is not None, f"{path}: its directory does not stand before it"
        children[name] = node
    return TreeRoot("guest", top)


def _member(number: int, path: str, mode: int, owner: int, data: bytes) -> bytes:
    """One member of a cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst, newc)."""
    name = path.encode() + b"\0"
    fields = (number, mode, owner, owner, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def archive(tree: Tree) -> bytes:
    """The tree as an initramfs."""
    members = []
    for number, (path, entry) in enumerate(tree.items(), 1):
        kind = 0o040000 if entry.directory else 0o120000 if entry.link else 0o100000
        data = entry.link.encode() if entry.link else entry.data
        members.append(_member(number, path, kind | entry.mode, entry.owner, data))
    return b"".join(members) + _member(0, "TRAILER!!!", 0, 0, b"")


def escaped(data: bytes) -> str:
    """Bytes as binfmt_misc's register file takes them."""
    return "".join(f"\\x{byte:02x}" for byte in data)


def registration(handler: Handler) -> str:
    """The line for a magic entry (Documentation/admin-guide/binfmt-misc.rst)."""
    magic, mask = escaped(handler.magic), escaped(handler.mask or b"\xff" * len(handler.magic))
    return f":{handler.name}:M:{handler.offset}:{magic}:{mask}:{handler.interpreter}:{handler.flags}"


def initramfs(kernel: Kernel, init: bytes, run: Run) -> bytes:
    """What the kernel unpacks: the first process, its job, the root. Handlers are named inside the root."""
    job = []
    outside: dict[str, Entry] = {name: Entry(directory=True) for name in ("dev", "proc", "root")}
    outside["init"] = Entry(data=init)
    if run.handlers:
        outside["binfmt_misc.ko"] = Entry(data=module(kernel))
        job.append("module /binfmt_misc.ko")
        for handler in run.handlers:
            at = "/root" if "F" in handler.flags else ""
            job.append("register " + registration(handler._replace(interpreter=at + handler.interpreter)))
    job += [f"noexec /root{directory}" for directory in run.noexec]
    job.append("run /list")
    outside["job"] = Entry(data="\n".join(job).encode() + b"\n")
    outside["list"] = Entry(data="\n".join(run.paths).encode() + b"\n")
    return archive(outside | {f"root/{path}": entry for path, entry in run.tree.items()})


def module(kernel: Kernel) -> bytes:
    """The kernel's binfmt_misc module, unpacked."""
    data = kernel.binfmt_misc.read_bytes()
    return lzma.decompress(data) if kernel.binfmt_misc.suffix == ".xz" else data


def boot(kernel: Kernel, init: Path, run: Run, folder: Path) -> Told:
    """Execute every path of a run under a kernel. Raises GuestFailed."""
    image = folder / "initramfs"
    image.write_bytes(initramfs(kernel, init.read_bytes(), run))
    command = ["qemu-system-aarch64", *EMULATED, "-cpu", run.cpu, "-kernel", str(kernel.image), "-initrd", str(image),
               "-append", f"{BOOT} {run.options}"]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        raise GuestFailed(f"{kernel.release}: not done after {SECONDS} s; last said {said[-300:]!r}") from late
    return parse(kernel, run, done.stdout, done.stderr)


def parse(kernel: Kernel, run: Run, text: str, errors: str = "") -> Told:
    """What a guest said on its serial port. Raises GuestFailed where it is not all there."""
    lines = text.replace("\r", "").splitlines()
    words = [line.removeprefix("BM ") for line in lines if line.startswith("BM ")]
    outcomes = tuple(line for line in lines if not line.startswith("BM "))
    bad = [word for word in words if word.startswith("error")]
    if bad or "done" not in words or len(outcomes) != len(run.paths):
        said = "; ".join(bad) or f"{errors.strip()} {text[-300:]!r}"
        raise GuestFailed(f"{kernel.release}: {len(outcomes)} outcomes for {len(run.paths)} files; {said}")
    told = next(word for word in words if word.startswith("facts "))
    facts = dict(item.split("=", 1) for item in told.split()[1:])
    return Told(host=host_of(kernel, facts, run), outcomes=outcomes)


def host_of(kernel: Kernel, facts: Mapping[str, str], run: Run) -> Host:
    """The host that the guest says it is."""
    host = with_page_size(with_kernel(Host(name=kernel.release, arch="arm64"), facts["release"]), int(facts["page"]))
    return replace(
        host,
        mmap_min_addr=int(facts["mmap_min_addr"]),
        protected_symlinks=facts["protected_symlinks"] == "1",
        va_bits=int(facts["bits"]),
        compat32=facts["aarch32"] == "1" and kernel.compat,
        memory=int(facts["memory"]) << 10,
        handlers=run.handlers,
    )
