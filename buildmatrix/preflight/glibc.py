"""glibc's ld.so from its first instruction to the program's entry (elf/rtld.c dl_main).

Steps in its order: the program's own headers, preloads, the breadth-first closure of DT_NEEDED, version
checks, the first thread's TLS, the x86 ISA check, relocation from the leaves up, TLS images, libc's early
initialisation. Each failure carries the loader's own text and exit status.
"""

from __future__ import annotations

from collections.abc import Iterable

from buildmatrix.preflight import blame, glibc_tls
from buildmatrix.preflight.binding import BadType, Binder, Broken, Undefined, Unversioned
from buildmatrix.preflight.context import Start, rtld_strerror
from buildmatrix.preflight.dynobj import DT_AUXILIARY, DT_FILTER, DT_RUNPATH, DT_STRTAB, DynamicObject
from buildmatrix.preflight.elfimage import PT_INTERP
from buildmatrix.preflight.elfload import Mapped
from buildmatrix.preflight.glibc_dynamic import (
    Assertion,
    dynamic_at_its_time,
    mark_written,
    read_dynamic,
    read_hash,
    read_notes,
    read_soname,
    set_debug,
)
from buildmatrix.preflight.glibc_load import Loading
from buildmatrix.preflight.glibc_machines import Failure, Reference, Wanted
from buildmatrix.preflight.glibc_open import Crash, LoadError
from buildmatrix.preflight.glibc_relocs import references
from buildmatrix.preflight.glibc_search import Loaded
from buildmatrix.preflight.glibc_versions import check_versions
from buildmatrix.preflight.isa import needed_isa
from buildmatrix.preflight.libc import Glibc
from buildmatrix.preflight.memory import Endless, Fault
from buildmatrix.preflight.symhash import sysv_hash
from buildmatrix.preflight.verdict import Evidence, Stage, Stop

LIBC_SO = "libc.so.6"
DT_AUDIT, DT_DEPAUDIT = 0x6FFFFEFC, 0x6FFFFEFB
INCONSISTENT = "Inconsistency detected by ld.so: "


class GlibcStart:
    """One start of one program under glibc. `run` returns what was loaded or raises Stop."""

    def __init__(self, start: Start, loader: Glibc, interpreter: Mapped) -> None:
        self.start = start
        self.loader = loader
        self.version = loader.version or (2, 36)
        self.lazy: list[tuple[Loaded, Undefined | Unversioned]] = []
        try:
            self.loading = Loading(start, loader, interpreter)
        except Fault as fault:
            raise self._crashed(start.process.executable.path, fault) from fault

    @property
    def main(self) -> Loaded:
        """The program."""
        return self.loading.main

    @property
    def loaded(self) -> list[Loaded]:
        """Every link map in the order of loading."""
        return self.loading.loaded

    @property
    def closure(self) -> list[Loaded]:
        """The global search list."""
        return self.loading.closure

    def run(self) -> list[Loaded]:
        """Everything that is loaded, in search order. Raises Stop."""
        place = self.main.object.path
        try:
            self._check_main()
            self.loading.load_all()
            check_versions(self)
            glibc_tls.allocate(self)
            self._isa()
            self._relocate()
            glibc_tls.initialise(self)
            self._early_init()
        except LoadError as error:
            raise self._fatal(error) from error
        except Assertion as error:
            raise self._fatal(LoadError("", "", cause="bad-elf", place=place, why=str(error))) from error
        except Crash as crash:
            raise self._crashed(crash.place, crash.fault, crash.depends) from crash
        except Fault as fault:
            raise self._crashed(place, fault) from fault
        except Endless as error:
            raise self._endless(place, str(error)) from error
        finally:
            self._hangs_on()
        return self.closure

    def _hangs_on(self) -> None:
        """What the objects' bytes leave open."""
        for item in self.loaded:
            unsure = item.object.open_question
            if unsure and unsure not in self.start.depends:
                self.start.depends.append(unsure)

    # Failures.

    def _crashed(self, place: str, fault: Fault, depends: str = "") -> Stop:
        cause = "bad-library"
        if place == self.start.process.executable.path:
            cause = "truncated" if fault.signal == "SIGBUS" else "bad-elf"
        past = "is past the end of the file" if fault.signal == "SIGBUS" else "nothing is mapped at"
        open_questions = [depends] if depends else []
        if fault.unsure:
            open_questions.append(f"what is mapped next to {place}")
        return Stop(
            Stage.LOADER,
            cause,
            Evidence(place=place, text=f"the loader reaches for address {fault.address:#x}, which {past}"),
            signal=fault.signal,
            fix="copy or link the file again",
            depends=tuple(open_questions),
        )

    @staticmethod
    def _endless(place: str, why: str) -> Stop:
        return Stop(
            Stage.LOADER,
            "bad-library",
            Evidence(place=place, text=why),
            fix="link the file again",
            depends=("when somebody ends the loader, which does not end by itself",),
        )

    def _fatal(self, error: LoadError) -> Stop:
        number = f": {rtld_strerror(error.errno)}" if error.errno else ""
        told_text = f"{error.name}: {error.text}" if error.name else error.text
        message = f"{self.start.program}: error while loading shared libraries: {told_text}{number}"
        if not error.text:
            message = INCONSISTENT
        evidence = Evidence(place=error.place or error.name, offset=error.offset, text=error.why or error.text)
        return Stop(
            Stage.LOADER,
            error.cause,
            evidence,
            exit_status=127,
            message=message,
            fix=blame.fix_library(error.cause, error.name or error.place),
            depends=(error.depends,) if error.depends else (),
        )

    def _check_main(self) -> None:
        """rtld_setup_main_map, elf_get_dynamic_info and _dl_setup_hash of the program. Raises Fault, Assertion."""
        program = self.main.object
        dynamic_at_its_time(program)
        read_notes(program)
        named = [phdr for phdr in program.phdrs if phdr.type == PT_INTERP]
        if not named and not self.start.by_hand:
            raise Assertion("the program headers in memory have no PT_INTERP")
        if named:
            program.space.string((named[-1].vaddr + program.bias) & program.layout.mask)
        if program.dynamic_address is None:
            program.required(DT_STRTAB)
        read_dynamic(program, self.version)
        read_soname(program)
        read_hash(program)
        self._paths(program)
        if self.version >= (2, 32):
            self._audit(program)
        set_debug(program)
        if any(tag in (DT_AUXILIARY, DT_FILTER) for tag, _ in program.entries):
            program.unsure = f"{program.path}: what a program that is a filter does to the list of its objects"
        mark_written(program, moved=True)

    @staticmethod
    def _audit(program: DynamicObject) -> None:
        """audit_list_add_dynamic_tag follows DT_STRTAB, whether or not there is anything to audit."""
        program.required(DT_STRTAB)
        if DT_AUDIT in program.tags or DT_DEPAUDIT in program.tags:
            program.unsure = f"{program.path}: what the auditing libraries do that it asks for"

    @staticmethod
    def _paths(program: DynamicObject) -> None:
        """_dl_init_paths reads the program's DT_RUNPATH, else its DT_RPATH."""
        _ = program.runpath if DT_RUNPATH in program.tags else program.rpath

    # ISA level.

    def _isa(self) -> None:
        if self.start.host.arch != "amd64" or self.version < (2, 33):
            return
        level = self.start.host.x86_level()
        for item in reversed(self.loading.sorted()):
            wanted = needed_isa(item.object)
            if item.is_loader or wanted <= 1:
                continue
            if level is None:
                self.start.depends.append(f"the CPU's x86-64 level: {item.object.path} asks for v{wanted.bit_length()}")
            elif wanted & ~((1 << level) - 1):
                told = item.name or self.start.program
                raise Stop(
                    Stage.LOADER,
                    "isa-level",
                    Evidence(
                        place=item.object.path,
                        text=f"GNU_PROPERTY_X86_ISA_1_NEEDED is x86-64-v"
                        f"{wanted.bit_length()}, the CPU is x86-64-v{level}",
                    ),
                    exit_status=127,
                    message=f"{told}: CPU ISA level is lower than required",
                    fix=f"build with -march=x86-64-v{level} or lower",
                )

    # Relocation.

    def _relocate(self) -> None:
        """What the tables of all objects settle together is not gone through one by one."""
        binder, rtld = Binder(self.closure), self.loading.rtld
        lazy = not self.start.env.get("LD_BIND_NOW")
        order = [item for item in reversed(self.loading.sorted()) if not item.is_main and not item.is_loader]
        order += [self.main, *([rtld] if rtld in self.closure else [])]
        left = self.start.libraries.settled.relocations(self.closure, order, lazy, self.version)
        if left is None:
            for item in order:
                self._bind(binder, item, references(item.object, lazy and not item.is_loader, self.version))
        else:
            for item, some in left:
                self._bind(binder, item, some)
        self.start.warnings += [f"{self.start.program}: {line}" for line in binder.warnings]

    def _bind(self, binder: Binder, item: Loaded, some: Iterable[Reference]) -> None:
        """Bind references of an object."""
        try:
            for reference in some:
                self._step(binder, item, reference)
        except Undefined as error:
            raise self._undefined(error) from error
        except Unversioned as error:
            raise self.unversioned(error, Stage.LOADER) from error
        except Broken as error:
            raise self._broken(error) from error
        except BadType as error:
            cause = "bad-elf" if item.is_main else "bad-library"
            raise LoadError(item.name, error.text, cause=cause, place=item.object.path) from error

    @staticmethod
    def _broken(error: Broken) -> Crash | LoadError:
        failure: Failure = error.failure
        item = error.where
        if failure.signal:
            fault = Fault(failure.signal, failure.address)
            return Crash(item.object.path, fault, failure.unsure)
        return LoadError(
            item.name if failure.text else "",
            failure.text,
            errno=failure.errno,
            cause="bad-elf" if item.is_main else "bad-library",
            place=item.object.path,
            why=failure.why,
            depends=failure.unsure,
        )

    def _step(self, binder: Binder, item: Loaded, reference: Reference) -> None:
        """A lazy slot is bound on its first call; what cannot be bound then is kept, for the program only."""
        if not reference.slot:
            binder.bind(item, reference)
            return
        if not item.is_main:
            return
        try:
            binder.bind(item, reference)
        except (Undefined, Unversioned) as error:
            self.lazy.append((item, error))
        except (Broken, BadType, Fault, Endless):
            self.start.depends.append("whether the program calls a function whose first call the loader cannot resolve")

    def _undefined(self, error: Undefined) -> Stop:
        told = error.where.name or self.start.program
        cause = blame.undefined_cause(error, self.closure)
        return Stop(
            Stage.LOADER,
            cause,
            Evidence(place=error.where.object.path, text=f"{error.text}: no library in the search list defines it"),
            exit_status=127,
            message=f"{self.start.program}: symbol lookup error: {told}: {error.text}",
            fix="ship the library version that defines it, or build against the one in the root",
        )

    def unversioned(self, error: Unversioned, stage: Stage) -> Stop:
        """The failed assertion of check_match as a Stop."""
        return Stop(
            stage,
            "symbol-version-missing",
            Evidence(
                place=error.provider.object.path,
                text=f"has no version table, but {error.symbol} is wanted "
                f"with version {error.version}: ld.so's check_match asserts",
            ),
            exit_status=127,
            message="Inconsistency detected by ld.so: dl-lookup.c: ",
            fix=f"ship the library that defines {error.version}",
        )

    # libc.

    def _early_init(self) -> None:
        libc = next((item for item in self.closure if item.object.soname == LIBC_SO), None)
        if libc is None or self.version < (2, 32):
            return
        private = Wanted(b"GLIBC_PRIVATE", sysv_hash(b"GLIBC_PRIVATE"), None, False)
        found = Binder([libc]).lookup(b"__libc_early_init", private, 1, libc)
        if found is None:
            raise Stop(
                Stage.LOADER,
                "libc-mismatch",
                Evidence(
                    place=libc.object.path,
                    text="lacks __libc_early_init: it is not of the same build as "
                    f"ld.so {'.'.join(map(str, self.version))}",
                ),
                exit_status=127,
                message="Inconsistency detected by ld.so: dl-call-libc-early-init.c: ",
                fix="let ld.so and libc.so.6 come from one glibc package",
            )
