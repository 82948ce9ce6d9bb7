"""What dynamic loaders say: glibc (elf/dl-load.c, dl-version.c, dl-lookup.c, rtld.c), musl (ldso/dynlink.c), qemu.

The same words come from dlopen through any program, so what stands before them is open.
"""

from __future__ import annotations

from buildmatrix.converge import weights
from buildmatrix.converge.pattern import ERR, PATH, Groups, Pattern, by_errno, fixed, notices
from buildmatrix.converge.symptom import Role
from buildmatrix.converge.weights import Weights

_OPEN, _MAP, _BIND, _VERSION = "open of a library", "mapping of a library", "relocation", "symbol versions"
_WHO = r"(?:(?P<program>[^\s:]+): error while loading shared libraries: )?(?P<object>[^\s:'\"]+): "
_NO_ENTRY = weights.OPEN_LIBRARY["ENOENT"]


def _version(groups: Groups) -> Weights:
    name = groups["version"]
    if name == "GLIBC_PRIVATE":
        return {"libc-mismatch": 1}
    if name.startswith("GLIBC_"):
        return {"glibc-too-old": 1}
    if name.startswith(("GLIBCXX_", "CXXABI_")):
        return {"libstdcxx-too-old": 1}
    return {"symbol-version-missing": 1}


def _undefined(groups: Groups) -> Weights:
    if groups.get("version") == "GLIBC_PRIVATE":
        return {"libc-mismatch": 1}
    return (
        {"missing-symbol": 70, "libc-mismatch": 30}
        if groups.get("detail", "").endswith("...")
        else {"missing-symbol": 1}
    )


_BAD_LIBRARY = (
    "invalid ELF header", "file too short", "cannot read file data", "ELF file version ident does not match",
    "ELF file OS ABI invalid", "ELF file ABI version invalid", "nonzero padding in e_ident",
    "ELF file version does not match", "only ET_DYN and ET_EXEC can be loaded",
    "phentsize not the expected size", "object file has no loadable segments",
    "cannot dynamically load executable", "cannot dynamically load position-independent executable",
    "object file has no dynamic section", "shared object cannot be dlopen()ed", "unexpected reloc type",
    "unexpected PLT reloc type", "ELF file data encoding not", "cannot allocate memory in static TLS block",
    "no PLTREL found in object",
)  # fmt: skip
"""glibc's words for a library that is there and cannot be used (elf/dl-load.c open_verify, map_object)."""

LOADER: tuple[Pattern, ...] = (
    Pattern(
        name="glibc-preload-ignored", anchor="cannot be preloaded", stage=_OPEN, role=Role.WARNING,
        regex=r"object '(?P<object>[^']+)' from (?P<detail>\S+) cannot be preloaded",
        weigh=lambda _groups: _NO_ENTRY,
    ),
    Pattern(
        name="glibc-open", anchor="cannot open shared object file", stage=_OPEN, weigh=by_errno(weights.OPEN_LIBRARY),
        regex=rf"{_WHO}cannot open shared object file: {ERR}",
    ),
    Pattern(
        name="glibc-open-bare", anchor="cannot open shared object file", stage=_OPEN,
        regex=rf"{_WHO}cannot open shared object file", weigh=lambda _groups: _NO_ENTRY,
    ),
    Pattern(
        name="glibc-class", anchor="wrong ELF class", stage=_OPEN, weigh=fixed(wrong_library_arch=1),
        regex=rf"{_WHO}wrong ELF class: (?P<detail>\w+)",
    ),
    *(
        Pattern(
            name="glibc-bad-library", anchor=text, stage=_OPEN, weigh=fixed(bad_library=1),
            regex=rf"{_WHO}(?P<detail>[^:]*{text.replace('(', '[(]').replace(')', '[)]')}[^:]*)",
        )
        for text in _BAD_LIBRARY
    ),
    Pattern(
        name="glibc-congruence", anchor="ELF load command", stage=_MAP, weigh=fixed(page_size=50, bad_library=50),
        regex=rf"{_WHO}ELF load command (?P<detail>a[^:]+? not (?:page-|properly )aligned)",
    ),
    Pattern(
        name="glibc-map", anchor="failed to map segment", stage=_MAP,
        regex=rf"{_WHO}failed to map segment from shared object(?:: {ERR})?",
        weigh=fixed(noexec_mount=62, bad_library=16, security_policy=14, out_of_memory=8),
    ),
    Pattern(
        name="glibc-zero-fill", anchor="cannot map zero-fill pages", stage=_MAP,
        regex=rf"{_WHO}cannot map zero-fill pages", weigh=fixed(out_of_memory=60, bad_library=40),
    ),
    Pattern(
        name="glibc-execstack", anchor="cannot enable executable stack", stage=_MAP,
        regex=rf"{_WHO}cannot enable executable stack as shared object requires",
        weigh=fixed(execstack_refused=1),
    ),
    Pattern(
        name="glibc-isa", anchor="CPU ISA level is lower than required", stage=_MAP, weigh=fixed(isa_level=1),
        regex=rf"{PATH}: (?:error while loading shared libraries: (?P<object>[^\s:]+): )?"
        r"CPU ISA level is lower than required",
    ),
    Pattern(
        name="glibc-cpu", anchor="Fatal glibc error: CPU does not support", stage="start of the loader",
        regex=r"Fatal glibc error: CPU does not support (?P<version>[\w.-]+)", weigh=fixed(isa_level=1),
    ),
    Pattern(
        name="glibc-kernel", anchor="kernel too old", stage="start of the loader", weigh=fixed(kernel_too_old=1),
        regex=r"(?:FATAL|Fatal glibc error): kernel too old",
    ),
    Pattern(
        name="glibc-version", anchor="not found (required by", stage=_VERSION, weigh=_version,
        regex=r"(?P<object>[^\s:]+): version [`'](?P<version>[^'`]+)' not found \(required by (?P<program>[^)]+)\)",
    ),
    Pattern(
        name="glibc-no-versions", anchor="no version information available", stage=_VERSION, role=Role.WARNING,
        regex=r"(?P<object>[^\s:]+): no version information available \(required by (?P<program>[^)]+)\)",
        weigh=fixed(symbol_version_missing=1),
    ),
    Pattern(
        name="glibc-check-match", anchor="dl-lookup.c", stage=_VERSION, weigh=fixed(symbol_version_missing=1),
        regex=r"Inconsistency detected by ld\.so: dl-(?:lookup|version)\.c: .*(?:check_match|version)",
    ),
    Pattern(
        name="glibc-early-init", anchor="dl-call-libc-early-init", stage="start of libc", weigh=fixed(libc_mismatch=1),
        regex=r"Inconsistency detected by ld\.so: dl-call-libc-early-init\.c",
    ),
    Pattern(
        name="glibc-undefined", anchor="undefined symbol: ", stage=_BIND, weigh=_undefined,
        regex=r"(?:(?P<program>[^\s:]+): symbol lookup error: )?(?P<object>[^\s:'\"]+): undefined symbol: "
        r"(?P<symbol>[^\s,)'\"]+)(?:, version (?P<version>[^\s)'\"]+)|(?P<detail>, v[a-z]*\.\.\.))?",
    ),
    Pattern(
        name="glibc-relocation", anchor="with link time reference", stage=_BIND, weigh=_undefined,
        regex=r"(?:(?P<program>[^\s:]+): relocation error: )?(?P<detail>[^\s:]+): symbol (?P<symbol>[^\s,]+),? version "
        r"(?P<version>\S+) not defined in file (?P<object>\S+) with link time reference",
    ),
    Pattern(
        name="glibc-dt-relr", anchor="DT_RELR without GLIBC_ABI_DT_RELR", stage=_VERSION, weigh=fixed(bad_library=1),
        regex=rf"{_WHO}DT_RELR without GLIBC_ABI_DT_RELR dependency",
    ),
    Pattern(
        name="glibc-size-differs", anchor="has different size in shared object", stage=_BIND, role=Role.WARNING,
        regex=rf"{PATH}: Symbol [`'](?P<symbol>[^'`]+)' has different size in shared object",
        weigh=fixed(libc_mismatch=20, missing_symbol=80),
    ),
    # musl
    Pattern(
        name="musl-foreign-loader", anchor="Error loading shared library ld-linux", stage=_OPEN,
        regex=r"Error loading shared library (?P<object>ld-linux[^:\s]*): [^(\n]+(?:\(needed by (?P<program>[^)]+)\))?",
        weigh=fixed(wrong_libc=55, missing_library=45),
    ),
    Pattern(
        name="musl-open", anchor="Error loading shared library", stage=_OPEN, weigh=by_errno({
            "ENOENT": {"missing-library": 70, "wrong-libc": 8, "origin-without-proc": 8, "secure-exec": 8,
                       "stale-ldcache": 0.1, "bad-library": 6},
            "ENOEXEC": {"bad-library": 80, "noexec-mount": 20},
            "EACCES": {"no-read-permission": 60, "noexec-mount": 40},
            "EMFILE": {"file-limit": 1}, "ENFILE": {"file-limit": 1},
            "ENOMEM": {"out-of-memory": 80, "bad-library": 20},
            "EINVAL": {"bad-library": 60, "page-size": 40}, "EIO": {"bad-library": 1}, "EPERM": {"noexec-mount": 1},
            "ENOSYS": weights.EXECVE["ENOSYS"]}),
        regex=rf"Error loading shared library (?P<object>[^:\s]+): {ERR}(?: \(needed by (?P<program>[^)]+)\))?",
    ),
    Pattern(
        name="musl-symbol", anchor=": symbol not found", stage=_BIND,
        regex=rf"Error relocating {PATH}: (?P<symbol>[^\s:]+): symbol not found",
        weigh=fixed(missing_symbol=62, wrong_libc=22, missing_library=16),
    ),
    Pattern(
        name="musl-relocation", anchor="unsupported relocation type", stage=_BIND,
        regex=r"Error relocating (?P<object>[^\s:]+): unsupported relocation type (?P<detail>\d+)",
        weigh=fixed(wrong_library_arch=78, wrong_libc=12, bad_library=10),
    ),
    Pattern(
        name="musl-tls", anchor="initial-exec TLS resolves to dynamic definition", stage=_BIND,
        regex=r"Error relocating (?P<object>[^\s:]+): (?P<symbol>[^\s:]+): initial-exec TLS",
        weigh=fixed(bad_library=1),
    ),
    Pattern(
        name="musl-relro", anchor="RELRO protection failed", stage=_BIND,
        regex=rf"Error relocating (?P<object>[^\s:]+): RELRO protection failed: {ERR}",
        weigh=fixed(page_size=60, out_of_memory=40),
    ),
    Pattern(
        name="musl-no-program", anchor="Not a valid dynamic program", stage="start of the loader",
        regex=rf"{PATH}: Not a valid dynamic program",
        weigh=fixed(wrong_machine=40, wrong_elf_type=30, unknown_format=20, truncated=10),
    ),
    Pattern(
        name="musl-cannot-load", anchor=": cannot load ", stage="start of the loader", weigh=by_errno(weights.EXECVE),
        regex=rf"musl\S*: cannot load (?P<program>[^\s:]+): {ERR}",
    ),
    # qemu-user
    Pattern(
        name="qemu-loader", anchor="Could not open '", stage="emulator",
        regex=rf"(?P<detail>qemu-[\w-]+): Could not open '(?P<object>[^']+)': {ERR}",
        weigh=by_errno({"ENOENT": {"missing-interpreter": 78, "wrong-libc": 22}, "EACCES": {"bad-interpreter": 1}}),
    ),
    Pattern(
        name="qemu-image", anchor="Invalid ELF image for this architecture", stage="emulator",
        regex=rf"(?P<detail>qemu-[\w-]+): {PATH}: Invalid ELF image for this architecture",
        weigh=fixed(wrong_machine=74, bad_elf=10, truncated=10, wrong_elf_type=6),
    ),
    Pattern(
        name="qemu-open", anchor="rror while loading ", stage="emulator", weigh=by_errno(weights.EXECVE),
        regex=rf"(?P<detail>qemu-[\w-]+): (?:[Ee]rror while loading )?{PATH}: {ERR}",
    ),
    Pattern(
        name="qemu-syscall", anchor="nsupported syscall", stage="emulator", weigh=fixed(emulator_gap=1),
        regex=r"(?:qemu\S*: |)[Uu]nsupported syscall:? (?P<detail>\d+)",
    ),
    Pattern(
        name="qemu-guest-base", anchor="guest_base", stage="emulator", weigh=fixed(emulator_gap=1),
        regex=r"Unable to find a guest_base",
    ),
    # whatever else a loader says
    notices("glibc-other", "error while loading shared libraries", r"(?P<program>[^\s:]+): error while loading shared "
            r"libraries: (?P<object>[^\s:]+)", _OPEN),
    notices("glibc-lookup-other", "symbol lookup error", r"(?P<program>[^\s:]+): symbol lookup error", _BIND),
    notices("glibc-inconsistent", "Inconsistency detected by ld.so", r"Inconsistency detected by ld\.so", _OPEN),
    notices("musl-relocating-other", "Error relocating", r"Error relocating (?P<program>[^\s:]+):", _BIND),
    notices("musl-loading-other", "Error loading shared library", r"Error loading shared library (?P<object>\S+):",
            _OPEN),
    notices("glibc-fatal", "Fatal glibc error", r"Fatal glibc error", "start of the loader"),
)  # fmt: skip
