"""execve(2) as Linux does it: the file, its permissions, its format, its interpreter, its mapping.

Follows fs/exec.c (do_open_execat, bprm_stack_limits, exec_binprm), fs/binfmt_misc.c,
fs/binfmt_script.c and fs/binfmt_elf.c. Every refusal is raised as a Stop; what comes back is a
process at its first user instruction.
"""

from __future__ import annotations

from dataclasses import replace

from buildmatrix.host import Handler, Host
from buildmatrix.preflight import script
from buildmatrix.preflight.elfimage import (
    EM_386,
    EM_486,
    EM_ARM,
    EM_X86_64,
    ET_DYN,
    ET_EXEC,
    LE32,
    MAGIC,
    PT_GNU_PROPERTY,
    PT_INTERP,
    Header,
    Layout,
    Phdr,
)
from buildmatrix.preflight.elfload import Image, MapError, Mapped, Mapper
from buildmatrix.preflight.memory import Blob
from buildmatrix.preflight.openexec import Command, Emulated, Process, check_limits, open_exec
from buildmatrix.preflight.property import property_error
from buildmatrix.preflight.verdict import Evidence, Stop, killed, refused
from buildmatrix.preflight.walk import Credentials, Found, View, below

MAX_SCRIPTS = 5
EF_ARM_EABI_MASK = 0xFF000000


def execve(view: View, host: Host, command: Command) -> Process | Emulated:
    """The process that starts. Raises Stop where none does."""
    if host.kernel < (6, 8):
        check_limits(host, command)
    found, blob = open_exec(view, host, command, command.path)
    check_limits(host, command)
    return _Exec(view, host, command).run(found, blob)


def _unknown_format(place: str, head: bytes, size: int, host: Host) -> Stop:
    from buildmatrix.preflight.diagnose import unknown_format

    return unknown_format(place, head, size, host)


class _Exec:
    def __init__(self, view: View, host: Host, command: Command) -> None:
        self.view = view
        self.host = host
        self.command = command
        self.argv = command.argv or ("",)
        self.interp = command.path
        self.scripts: list[str] = []
        self.shebangs: list[script.Shebang] = []
        self.evidence: list[Evidence] = []
        self.unsure: list[str] = []

    def run(self, found: Found, blob: Blob) -> Process | Emulated:
        for depth in range(MAX_SCRIPTS + 2):
            if depth > MAX_SCRIPTS:
                break
            head = blob.read(0, script.buffer_size(self.host.kernel))
            handler = self._handler(head)
            if handler is not None:
                return self._emulated(handler, found)
            if not head.startswith(b"#!"):
                return self._binary(found, blob, head)
            found, blob = self._script(found, head, blob.size)
        raise refused(
            "ELOOP",
            "bad-shebang",
            *self.evidence,
            Evidence(
                place=self.command.path, text=f"more than {MAX_SCRIPTS} scripts, one the interpreter of the other"
            ),
            fix="name the last interpreter of the chain directly",
        )

    def _handler(self, head: bytes) -> Handler | None:
        padded = head.ljust(256, b"\0")
        name = self.interp.rpartition("/")[2]
        return next((handler for handler in self.host.handlers if handler.matches(padded, name)), None)

    def _script(self, found: Found, head: bytes, size: int) -> tuple[Found, Blob]:
        line = script.parse(head.ljust(script.buffer_size(self.host.kernel), b"\0"))
        if line is None:
            raise _unknown_format(found.path, head, size, self.host)
        name = line.interpreter.decode(errors="surrogateescape")
        self.evidence.append(Evidence(place=found.path, offset=2, text=f"#! names {name!r}"))
        extra = () if line.argument is None else (line.argument.decode(errors="surrogateescape"),)
        self.argv = (name, *extra, self.interp, *self.argv[1:])
        self.scripts.append(found.path)
        self.shebangs.append(line)
        self.interp = name
        try:
            return open_exec(self.view, self.host, self.command, name)
        except Stop as stop:
            raise self._bad_interpreter(stop, name) from None

    def _bad_interpreter(self, stop: Stop, name: str) -> Stop:
        """The same refusal, told from the script's side."""
        cause, fix = stop.cause, stop.fix
        if stop.errno in ("ENOENT", "ENOTDIR", "ENAMETOOLONG"):
            cause = "missing-interpreter"
            fix = f"install {name} in the root, or change the #! line"
            if name.endswith("\r"):
                cause, fix = (
                    "bad-shebang",
                    f"sed -i 's/\\r$//' {self.scripts[-1]} (or dos2unix): the carriage return is part of the name",
                )
        elif stop.cause == "not-a-file":
            cause, fix = "bad-shebang", "name an interpreter's file in the #! line"
        evidence = (*self.evidence[:-1], self.evidence[-1], *stop.evidence)
        return refused(str(stop.errno), cause, *evidence, fix=fix, depends=stop.depends)

    def _layouts(self) -> list[tuple[Layout, frozenset[int]]]:
        row = self.host.row
        native = Layout(row.bits, "<" if row.little_endian else ">")
        machines = frozenset({row.machine} | ({EM_486} if row.machine == EM_386 else set()))
        layouts = [(native, machines)]
        if self.host.arch == "amd64":
            compat = ({EM_386, EM_486} if self.host.compat32 else set()) | ({EM_X86_64} if self.host.x32 else set())
            layouts.append((LE32, frozenset(compat)))
        elif self.host.arch == "arm64" and self.host.compat32:
            layouts.append((LE32, frozenset({EM_ARM})))
        return layouts

    def _header(self, head: bytes) -> tuple[Layout, Header] | None:
        """The first layout whose tests the header passes (elf_check_arch and e_type)."""
        for layout, machines in self._layouts():
            header = layout.header(head)
            if header.type in (ET_EXEC, ET_DYN) and self._arch_fits(header, machines, head):
                return layout, header
        return None

    def _arch_fits(self, header: Header, machines: frozenset[int], head: bytes) -> bool:
        if header.machine == EM_ARM and not header.flags & EF_ARM_EABI_MASK:
            return False
        if self.host.arch == "riscv64" and head[4:5] != b"\x02":
            return False
        return header.machine in machines

    def _phdrs(self, layout: Layout, header: Header, blob: Blob) -> tuple[Phdr, ...] | None:
        """load_elf_phdrs: None is its NULL."""
        size = header.phnum * layout.phentsize
        most = 65536 if self.host.kernel >= (6, 13) else min(65536, self.host.page_size)
        if header.phentsize != layout.phentsize or not 0 < size <= most or header.phoff >= 1 << 63:
            return None
        data = blob.read(header.phoff, size)
        return layout.phdrs(data) if len(data) == size else None

    def _binary(self, found: Found, blob: Blob, head: bytes) -> Process:
        if head.startswith(MAGIC):
            for layout, machines in self._layouts():
                header = layout.header(head)
                if header.type not in (ET_EXEC, ET_DYN) or not self._arch_fits(header, machines, head):
                    continue
                phdrs = self._phdrs(layout, header, blob)
                if phdrs is not None:
                    return self._elf(found, Image(found.path, blob, layout, header, phdrs))
        stop = _unknown_format(found.path, head, blob.size, self.host)
        raise refused("ENOEXEC", stop.cause, *self.evidence, *stop.evidence, fix=stop.fix)

    def _elf(self, found: Found, image: Image) -> Process:
        name, opened = self._interpreter(image)
        interpreter = None if opened is None else self._check_interpreter(*opened, image.layout)
        self._check_property(interpreter or image)
        who, secure = self._credentials(found)
        main = self._map(image, interpreter=False, dynamic=interpreter is not None)
        mapped = None if interpreter is None else self._map(interpreter, interpreter=True, dynamic=True)
        return Process(
            main=main,
            interpreter=mapped,
            interpreter_name=name,
            executable=found,
            filename=self.command.path,
            argv=self.argv,
            who=who,
            secure=secure,
            scripts=tuple(self.scripts),
            shebangs=tuple(self.shebangs),
            evidence=tuple(self.evidence),
            depends=tuple(self.unsure),
        )

    def _interpreter(self, image: Image) -> tuple[str | None, tuple[Found, Blob] | None]:
        for index, phdr in enumerate(image.phdrs):
            if phdr.type != PT_INTERP:
                continue
            name = self._interpreter_name(image, index, phdr)
            self.evidence.append(Evidence(place=image.path, offset=phdr.offset, text=f"PT_INTERP is {name!r}"))
            try:
                return name, open_exec(self.view, self.host, self.command, name)
            except Stop as stop:
                raise self._refuse_interpreter(stop, name) from None
        return None, None

    def _interpreter_name(self, image: Image, index: int, phdr: Phdr) -> str:
        where = image.header.phoff + index * image.layout.phentsize
        if not 2 <= phdr.filesz <= 4096:
            raise refused(
                "ENOEXEC",
                "bad-elf",
                Evidence(place=image.path, offset=where, text=f"PT_INTERP has {phdr.filesz} bytes, expected 2 to 4096"),
                fix="link the file again with a valid --dynamic-linker",
            )
        inside = phdr.offset + phdr.filesz < 1 << 63
        data = image.blob.read(phdr.offset, phdr.filesz) if inside else b""
        if len(data) < phdr.filesz:
            errno = "EIO" if inside else "EINVAL"
            raise refused(
                errno,
                "truncated",
                Evidence(place=image.path, offset=phdr.offset, text="PT_INTERP lies past the end of the file"),
                fix="copy the file again and compare its SHA-256",
            )
        if data[-1]:
            raise refused(
                "ENOEXEC",
                "bad-elf",
                Evidence(place=image.path, offset=phdr.offset, text="PT_INTERP does not end in a NUL"),
                fix="link the file again",
            )
        return data.partition(b"\0")[0].decode(errors="surrogateescape")

    def _refuse_interpreter(self, stop: Stop, name: str) -> Stop:
        cause, fix = stop.cause, stop.fix
        if stop.errno in ("ENOENT", "ENOTDIR", "ENAMETOOLONG"):
            cause = "missing-interpreter"
            fix = f"put {name} and its libraries into the root, or link statically (CGO_ENABLED=0)"
        elif stop.cause in ("not-a-file", "symlink-loop"):
            cause, fix = "bad-interpreter", f"make {name} the dynamic loader"
        return refused(str(stop.errno), cause, *self.evidence, *stop.evidence, fix=fix, depends=stop.depends)

    def _check_interpreter(self, found: Found, blob: Blob, layout: Layout) -> Image:
        """The interpreter's headers, read in the layout of the file that names it: its own binfmt loads both."""
        head = blob.read(0, 64)
        fix = "install the loader of the file's own architecture and libc"
        if len(head) < layout.ehsize:
            raise refused(
                "EIO",
                "bad-interpreter",
                *self.evidence,
                Evidence(place=found.path, offset=blob.size, text=f"{blob.size} bytes are less than an ELF header"),
                fix=fix,
            )
        header = self._loader_header(found, head, layout, fix)
        phdrs = self._phdrs(layout, header, blob)
        if phdrs is None:
            raise refused(
                "ELIBBAD",
                "bad-interpreter",
                *self.evidence,
                Evidence(place=found.path, offset=header.phoff, text="its program headers cannot be read"),
                fix=fix,
            )
        return Image(found.path, blob, layout, header, phdrs)

    def _loader_header(self, found: Found, head: bytes, layout: Layout, fix: str) -> Header:
        if not head.startswith(MAGIC):
            raise refused(
                "ELIBBAD",
                "bad-interpreter",
                *self.evidence,
                Evidence(place=found.path, offset=0, text=f"begins with {head[:4].hex(' ')}, not with ELF magic"),
                fix=fix,
            )
        header = layout.header(head)
        if self._arch_fits(header, dict(self._layouts())[layout], head):
            return header
        raise refused(
            "ELIBBAD",
            "bad-interpreter",
            *self.evidence,
            Evidence(place=found.path, offset=18, text="its e_machine is not that of the file that names it"),
            fix=fix,
        )

    def _check_property(self, image: Image) -> None:
        if self.host.arch != "arm64" or self.host.kernel < (5, 8):
            return
        last = None
        for phdr in image.phdrs:
            last = phdr if phdr.type == PT_GNU_PROPERTY else last
        errno = None if last is None else property_error(image.blob, last, image.layout.bits)
        if errno is not None and last is not None:
            raise refused(
                errno,
                "bad-elf",
                *self.evidence,
                Evidence(place=image.path, offset=last.offset, text="PT_GNU_PROPERTY is malformed"),
                fix="link the file again",
            )

    def _credentials(self, found: Found) -> tuple[Credentials, bool]:
        """bprm_fill_uid: set-id bits of the file that is mapped, never of a script."""
        who, mode = self.view.who, found.inode.mode
        if below(found.path, self.view.nosuid) is not None:
            return who, False
        uid = found.inode.uid if mode & 0o4000 else who.uid
        gid = found.inode.gid if mode & 0o2010 == 0o2010 else who.gid
        return replace(who, uid=uid, gid=gid), (uid, gid) != (who.uid, who.gid)

    def _map(self, image: Image, *, interpreter: bool, dynamic: bool) -> Mapped:
        privileged = self.view.who.uid == 0
        mapper = Mapper(self.host, image, interpreter=interpreter, dynamic=dynamic, privileged=privileged)
        try:
            mapped = mapper.run()
        except MapError as error:
            raise self._unmappable(image, error, interpreter) from error
        self.unsure.extend(mapper.unsure)
        return mapped

    def _unmappable(self, image: Image, error: MapError, interpreter: bool) -> Stop:
        where = image.header.phoff + max(error.index, 0) * image.layout.phentsize
        cause, fix = "bad-elf", "link the file again"
        phdr = image.phdrs[error.index] if error.index >= 0 else None
        if error.errno == "EINVAL" and phdr is not None and (phdr.vaddr - phdr.offset) % self.host.page_size:
            if (phdr.vaddr - phdr.offset) % 4096 == 0:
                cause = "page-size"
                fix = "link with -Wl,-z,max-page-size=65536 so that it runs with every page size"
        elif error.errno == "EFAULT":
            cause, fix = "truncated", "copy the file again and compare its SHA-256"
        if interpreter:
            cause = "page-size" if cause == "page-size" else "bad-interpreter"
        return killed(
            cause,
            *self.evidence,
            Evidence(place=image.path, offset=where, text=f"{error.why} ({error.errno} past the point of no return)"),
            fix=fix,
            depends=(error.depends,) if error.depends else (),
        )

    def _emulated(self, handler: Handler, found: Found) -> Emulated:
        if "F" not in handler.flags:
            self._handler_opens(handler, found)
        note = Evidence(
            place=found.path, offset=0, text=f"binfmt_misc entry {handler.name} takes it: an emulator runs it"
        )
        return Emulated(handler=handler, executable=found, argv=self.argv, evidence=(*self.evidence, note))

    def _handler_opens(self, handler: Handler, found: Found) -> None:
        try:
            open_exec(self.view, self.host, self.command, handler.interpreter)
        except Stop as stop:
            raise refused(
                str(stop.errno),
                "missing-interpreter",
                *self.evidence,
                Evidence(
                    place=found.path,
                    offset=0,
                    text=f"binfmt_misc entry {handler.name} starts {handler.interpreter}, which this root lacks",
                ),
                *stop.evidence,
                fix="register the entry with the F flag (fix binary)",
            ) from None
