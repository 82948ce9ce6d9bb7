"""musl's loader from its first instruction to the program's entry (ldso/dynlink.c __dls3).

It believes every file that it can map: neither class nor machine nor versions are looked at. It names
every library that is missing and every symbol that is not found, and gives up at the end with 127.
Everything is bound at once.
"""

from __future__ import annotations

from buildmatrix.preflight import musl_relocs
from buildmatrix.preflight.context import Start
from buildmatrix.preflight.dynobj import DT_RELR, DT_RELRSZ
from buildmatrix.preflight.elfimage import PT_TLS, Phdr
from buildmatrix.preflight.elfload import MEMORY_FAILS, MEMORY_UNSURE, Mapped
from buildmatrix.preflight.libc import Musl
from buildmatrix.preflight.memory import Endless, Fault
from buildmatrix.preflight.musl_load import MuslLoading
from buildmatrix.preflight.musl_symbols import Dso, find_symbol, fix_of
from buildmatrix.preflight.verdict import Evidence, Stage, Stop

DT_DEBUG = 21


class MuslStart:
    """One start of one program under musl. `run` returns what was loaded or raises Stop."""

    def __init__(self, start: Start, loader: Musl, interpreter: Mapped) -> None:
        self.start = start
        self.loader = loader
        try:
            self.loading = MuslLoading(start, loader, interpreter)
        except Fault as fault:
            raise self._crashed(fault) from fault

    def run(self) -> list[Dso]:
        """Everything that is loaded, in search order. Raises Stop."""
        loading = self.loading
        try:
            loading.load_all()
            self._debug()
            self._tls_size()
            for item in (*loading.chain[1:], loading.app):
                musl_relocs.relocate(loading, item, self.loader.version)
            self._tls_images()
            if not loading.lines:
                for name in (b"malloc", b"aligned_alloc"):
                    find_symbol(loading.chain, name, need_definition=True)
        except Fault as fault:
            raise self._crashed(fault) from fault
        except Endless as error:
            raise self._endless(error) from error
        finally:
            self._hangs_on()
        if loading.lines:
            raise self._gave_up()
        self._relr()
        self._foreign()
        return loading.chain

    def _crashed(self, fault: Fault) -> Stop:
        place = self.start.process.executable.path
        return Stop(
            Stage.LOADER,
            "bad-elf",
            Evidence(place=place, text=f"the loader reaches for address {fault.address:#x} and gets {fault.signal}"),
            signal=fault.signal,
            fix="link the file again",
            depends=("what is mapped next to the library",) if fault.unsure else (),
        )

    def _endless(self, error: Endless) -> Stop:
        return Stop(
            Stage.LOADER,
            "bad-library",
            Evidence(place=self.start.process.executable.path, text=str(error)),
            fix="link the file again",
            depends=("when somebody ends the loader, which does not end by itself",),
        )

    def _gave_up(self) -> Stop:
        cause, evidence = self.loading.causes[0]
        return Stop(
            Stage.LOADER,
            cause,
            evidence,
            *(row[1] for row in self.loading.causes[1:4]),
            exit_status=127,
            message=self.loading.lines[0],
            fix=fix_of(cause),
        )

    def _hangs_on(self) -> None:
        """What the objects' bytes leave open."""
        for item in self.loading.chain:
            unsure = item.object.open_question
            if unsure and unsure not in self.start.depends:
                self.start.depends.append(unsure)

    def _debug(self) -> None:
        """The program's DT_DEBUG is written. Raises Fault."""
        program = self.loading.app.object
        word = program.layout.word
        for index, (tag, _) in enumerate(program.entries):
            if tag == DT_DEBUG:
                program.space.store((program.dynamic_address or 0) + index * 2 * word + word, word)

    # Thread-local storage.

    def _segments(self) -> list[tuple[Dso, Phdr]]:
        """The TLS segment of each object: the last one, unless it is empty."""
        rows = []
        for item in self.loading.chain:
            last = next((phdr for phdr in reversed(item.object.phdrs) if phdr.type == PT_TLS), None)
            if item is not self.loading.ldso and last is not None and last.memsz:
                rows.append((item, last))
        return rows

    def _tls_size(self) -> None:
        """update_tls_size, and the memory for it. Raises Stop."""
        offset, most = 0, 16
        for item, tls in self._segments():
            if not tls.align or tls.align & (tls.align - 1):
                self.start.depends.append(f"{item.object.path}: its TLS alignment is no power of two")
                return
            offset += tls.memsz + tls.align - 1
            most = max(most, tls.align)
        size = offset + 2 * most
        if size >> 63:
            self.start.depends.append("what comes of a size of thread-local storage that wraps around")
        elif size >= MEMORY_FAILS:
            self.loading.error(
                f"{self.start.program}: Error getting ",
                "bad-elf",
                Evidence(place=self.loading.app.object.path, text=f"{size:#x} bytes of thread-local storage"),
            )
            raise self._gave_up()
        elif size >= MEMORY_UNSURE:
            self.start.depends.append("how much memory the machine has: thread-local storage")

    def _tls_images(self) -> None:
        """__copy_tls. Raises Fault."""
        for item, tls in self._segments():
            library = item.object
            library.space.reach((tls.vaddr + library.bias) & library.layout.mask, tls.filesz)
            if tls.filesz > tls.memsz:
                library.unsure = f"{library.path}: what a TLS image that is larger than its block overwrites"

    # What the loader does not see.

    def _relr(self) -> None:
        version = self.loader.version
        if version is None or version >= (1, 2, 4):
            return
        for item in self.loading.chain:
            if item is not self.loading.ldso and item.object.tags.get(DT_RELR) and item.object.tags.get(DT_RELRSZ):
                shown = ".".join(map(str, version))
                raise Stop(
                    Stage.RUNTIME_SIGNAL,
                    "musl-too-old",
                    Evidence(
                        place=item.object.path,
                        text=f"DT_RELR: musl {shown} does not know it (1.2.4 does), so its pointers stay unrelocated",
                    ),
                    signal="SIGSEGV",
                    fix="link with -Wl,-z,nopack-relative-relocs, or use musl 1.2.4 or later",
                )

    def _foreign(self) -> None:
        item = next((item for item in self.loading.chain if item.foreign), None)
        if item is None:
            return
        signal = "SIGILL" if self.start.host.arch == "arm64" else "SIGSEGV"
        raise Stop(
            Stage.RUNTIME_SIGNAL,
            "wrong-library-arch",
            Evidence(
                place=item.object.path,
                offset=18,
                text=f"e_machine is {item.foreign:#x}: musl checks no machine, maps the file, and its code is run",
            ),
            signal=signal,
            depends=("which of the foreign bytes are executed first",),
            fix="install the library for the program's own architecture",
        )
