"""How each cause is recreated: files, and a few lines of shell around one program start.

Every script ends with 0 where the failure came back in the words that were expected, 1 where it did not, and 77
where this host cannot show it (as automake's tests do). It leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from buildmatrix.converge import tinyelf
from buildmatrix.converge.conclusion import RootCause
from buildmatrix.converge.tinyelf import ISAS, Isa

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`files` are executable unless their names end in .data; `script` is put between a head and a check.

    `expect` is an extended regular expression over what the failing start prints, `status` its exit status.
    """

    files: Files
    script: str
    expect: str
    status: str


def _both(make: Callable[[Isa], bytes], name: str = "prog") -> Files:
    return {f"{name}-{isa.uname}": make(isa) for isa in ISAS}


def _run(files: Files, expect: str, status: int | str, script: str = 'try "./prog-$machine"') -> Recipe:
    return Recipe(files=files, script=script, expect=expect, status=str(status))


_ENOEXEC = "[Ee]xec format error|cannot execute binary"
_LOADER = 'loader="$(cat loader-$machine.data)"\n[ -e "$loader" ] || cannot "there is no glibc here ($loader)"\n'
_AS_ROOT = '[ "$(id -u)" = 0 ] || cannot "this needs root"\n'


def _glibc(make: Callable[[Isa], bytes], expect: str, status: int, script: str = 'try "./prog-$machine"') -> Recipe:
    files = _both(make) | {f"loader-{isa.uname}.data": isa.glibc.encode() for isa in ISAS}
    return _run(files, expect, status, _LOADER + script)


def _patched(at: int, value: bytes) -> Callable[[Isa], bytes]:
    def make(isa: Isa) -> bytes:
        image = bytearray(tinyelf.static(isa))
        image[at : at + len(value)] = value
        return bytes(image)

    return make


def _needs(*names: str, runpath: str = "") -> Callable[[Isa], bytes]:
    return lambda isa: tinyelf.dynamic(isa, interpreter=isa.glibc, needed=names, runpath=runpath)


def _version(library: str, version: str) -> Recipe:
    quoted = version.replace(".", "[.]")
    return _glibc(
        lambda isa: tinyelf.dynamic(isa, interpreter=isa.glibc, needed=(library,), versions={library: version}),
        f"version .{quoted}' not found", 1,
    )  # fmt: skip


def _library(names: dict[str, Callable[[Isa], bytes]], expect: str, name: str) -> Recipe:
    made = _glibc(_needs(name), expect, 127)
    files = made.files | {f"lib-{isa.uname}.data": make(isa) for make in names.values() for isa in ISAS}
    script = _LOADER + f'mkdir "$work/lib"\ncp "lib-$machine.data" "$work/lib/{name}"\n'
    return _run(files, expect, 127, script + 'LD_LIBRARY_PATH="$work/lib" try "./prog-$machine"')


_OTHER = (
    'case "$machine" in x86_64) other=aarch64 ;; *) other=x86_64 ;; esac\ntry "./prog-$other"\n'
    '[ "$status" = 0 ] && cannot "an emulator ran it (binfmt_misc): that hides the failure, and proves nothing"'
)
_CHROOT = (
    _LOADER + _AS_ROOT + 'root="$work/root"\nmkdir -p "$root$(dirname "$loader")" "$root/opt/lib" "$root/etc"\n'
    'cp -L "$loader" "$root$loader"\ncp "prog-$machine" "$root/opt/prog"\ncp "lib-$machine" "$work/lib"\n'
    'command -v chroot >/dev/null || cannot "there is no chroot here"\n'
)
_SECCOMP = b"""import ctypes, os, struct, sys
# A filter that answers execve with ENOSYS and lets everything else pass (seccomp(2), linux/filter.h).
number = {"x86_64": 59, "aarch64": 221}[os.uname().machine]
code = b"".join(struct.pack("<HBBI", *row) for row in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)))
buffer = ctypes.create_string_buffer(code)
program = struct.pack("<HxxxxxxQ", 4, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0):
    sys.exit(77)
os.execv("/bin/true", ["true"])
"""
_OOM = """limit=33554432
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  group="/sys/fs/cgroup/reproducer-$$"; file=memory.max
else
  group="/sys/fs/cgroup/memory/reproducer-$$"; file=memory.limit_in_bytes
fi
mkdir "$group" 2>/dev/null || cannot "no cgroup can be made here"
clean="rmdir $group"
[ -f "$group/$file" ] && echo "$limit" >"$group/$file" 2>/dev/null || cannot "cgroups have no memory controller here"
[ -f "$group/memory.swap.max" ] && echo 0 >"$group/memory.swap.max"
try timeout 60 sh -c "echo \\$\\$ >$group/cgroup.procs && ulimit -v 4194304 && exec tail /dev/zero"
"""


def _plain() -> dict[str, Recipe]:
    """Causes that need a file and nothing else."""
    return {
        "wrong-machine": _run(_both(tinyelf.static), _ENOEXEC, 126, _OTHER),
        "wrong-endian": _run(
            {f"prog-{isa.uname}": bytes((*tinyelf.static(isa)[:5], 2, *tinyelf.static(isa)[6:16], 0, 2, 0, isa.machine,
                                         *tinyelf.static(isa)[20:])) for isa in ISAS}, _ENOEXEC, 126),
        "unknown-format": _run({"prog": b"\x1f\x8b\x08\x00\x00\x00\x00\x00" * 8}, _ENOEXEC, 126, "try ./prog"),
        "wrong-elf-type": _run(_both(_patched(16, b"\x04\x00")), _ENOEXEC, 126),
        "bad-elf": _run(_both(_patched(54, b"\x39\x00")), _ENOEXEC, 126),
        "truncated": _run(_both(lambda isa: tinyelf.static(isa)[:40]), _ENOEXEC, 126),
        "page-size": _run(_both(lambda isa: tinyelf.static(isa, skew=0x1000), "prog4k")
                          | _both(lambda isa: tinyelf.static(isa, skew=0x800)), "", 139,
                          "# prog4k fits pages of 4 KiB and no larger ones; prog fits none\n"
                          '[ "$(getconf PAGESIZE)" = 4096 ] || { try "./prog4k-$machine"; check; }\n'
                          'try "./prog-$machine"'),
        "missing-interpreter": _run(
            _both(lambda isa: tinyelf.dynamic(isa, interpreter="/nonexistent/ld.so")), "not found", 127),
        "wrong-libc": _run(
            _both(lambda isa: tinyelf.dynamic(isa, interpreter=isa.musl), "musl")
            | _both(lambda isa: tinyelf.dynamic(isa, interpreter=isa.glibc), "glibc")
            | {f"{name}-{isa.uname}.data": getattr(isa, name).encode() for name in ("glibc", "musl") for isa in ISAS},
            "not found|No such file", 127,
            'for kind in musl glibc; do\n  [ -e "$(cat $kind-$machine.data)" ] || { try "./$kind-$machine"; check; }\n'
            'done\ncannot "both C libraries are here"'),
        "bad-interpreter": _run(
            _both(lambda isa: tinyelf.dynamic(isa, interpreter="./interp")) | {"interp": b"no loader, but text\n" * 8},
            "corrupted shared library|ELIBBAD|No error information", 126),
        "bad-shebang": _run({"prog": b"#!/bin/sh\r\necho never\r\n"}, "not found", 127, "try ./prog"),
        "bad-script": _run({"prog.data": b"if then\n"}, "[Ss]yntax error", 2, "try sh prog.data"),
        "missing-file": _run({}, "not found|No such file", 127, 'try "$work/nothing-here"'),
        "not-a-file": _run({}, "Permission denied|Is a directory", 126, 'mkdir "$work/prog"\ntry "$work/prog"'),
        "symlink-loop": _run({}, "[Ss]ymbolic link", "126|127", 'ln -s prog "$work/prog"\ntry "$work/prog"'),
        "no-exec-permission": _run({"prog.data": b"#!/bin/sh\nexit 0\n"}, "Permission denied", 126, "try ./prog.data"),
        "text-busy": _run(_both(tinyelf.static), "[Tt]ext file busy", 126,
                          'cp "prog-$machine" "$work/prog"\nexec 3>>"$work/prog"\ntry "$work/prog"'),
        "crash": _run(_both(lambda isa: tinyelf.static(isa, isa.crash)), "", 139),
        "killed": _run({}, "", 137, "try sh -c 'kill -9 $$'"),
        "argument-list-too-long": _run(
            {}, "[Aa]rgument list too long", 126, 'try env true "$(head -c 200000 /dev/zero | tr "\\\\0" a)"'),
        "disk-full": _run({"prog.data": b"text\n"}, "[Nn]o space left on device", 1,
                          '[ -c /dev/full ] || cannot "there is no /dev/full"\ntry sh -c "cat prog.data >/dev/full"'),
        "file-limit": _run({}, "Error 24|[Tt]oo many open files|[Nn]o file descriptors", "*",
                           'try sh -c "ulimit -n 3; cat /dev/null"'),
        "out-of-memory": _run({}, "memory", "*", 'try sh -c "ulimit -v 65536; exec tail /dev/zero"'),
        "process-limit": _run({}, "[Cc]annot fork|Resource temporarily unavailable", "*",
                              'drop=""\n[ "$(id -u)" = 0 ] && drop="setpriv --reuid 65534 --clear-groups"\n'
                              'try $drop prlimit --nproc=1 sh -c "sleep 0 & wait"'),
        "seccomp": _run({"filter.data": _SECCOMP}, "Function not implemented", 1,
                        'command -v python3 >/dev/null || cannot "there is no python3"\ntry python3 filter.data'),
        "oom-killed": _run({}, "", 137, _AS_ROOT + _OOM),
        "noexec-mount": _run(_both(tinyelf.static), "Permission denied", 126, _AS_ROOT
                             + 'mkdir "$work/mount"\nmount -t tmpfs -o noexec,size=1m tmpfs "$work/mount" 2>/dev/null '
                             '|| cannot "nothing can be mounted here"\nclean="umount $work/mount"\n'
                             'cp "prog-$machine" "$work/mount/prog"\ntry "$work/mount/prog"'),
        "no-read-permission": _run({"script.data": b"#!/bin/sh\nexit 0\n"}, "Permission denied", "*",
                                   'cp script.data "$work/prog"\nchmod 711 "$work" "$work/prog"\ndrop=""\n'
                                   '[ "$(id -u)" = 0 ] && drop="setpriv --reuid 65534 --clear-groups"\n'
                                   '[ -n "$drop" ] || chmod 111 "$work/prog"\ntry $drop "$work/prog"'),
    }  # fmt: skip


def _loader(cause: RootCause | None) -> dict[str, Recipe]:
    """Causes that a loader reports. The name of the library is the one that was seen, where one was."""
    name = next((item.rpartition("/")[2] for item in (cause.objects if cause else ()) if ".so" in item), "libdemo.so.1")
    wanted = next((item for item in (cause.versions if cause else ()) if item.startswith("GLIBC_2.")), "")
    foreign = {isa: next(other for other in ISAS if other is not isa) for isa in ISAS}
    library: dict[str, Callable[[Isa], bytes]] = {"lib": lambda isa: tinyelf.dynamic(isa, soname="libdemo.so.1")}
    in_root = {f"lib-{isa.uname}": library["lib"](isa) for isa in ISAS}
    demo = _glibc(_needs("libdemo.so.1"), "libdemo.so.1: cannot open shared object file", 127)
    origin = _glibc(_needs("libdemo.so.1", runpath="$ORIGIN/lib"), demo.expect, 127)
    floor = _version("libc.so.6", "GLIBC_9.99")
    seen = {f"seen-{isa.uname}": tinyelf.dynamic(isa, interpreter=isa.glibc, needed=("libc.so.6",),
                                                 versions={"libc.so.6": wanted}) for isa in ISAS}  # fmt: skip
    return {
        "missing-library": _glibc(_needs(f"absent-{name}"), f"absent-{name}: cannot open shared object file", 127),
        "bad-library": _library(
            {"lib": lambda _isa: b"/* GNU ld script */\n" * 8}, "invalid ELF header", "libdemo.so.1"),
        "wrong-library-arch": _library(
            {"lib": lambda isa: tinyelf.dynamic(foreign[isa], soname="libdemo.so.1")},
            "cannot open shared object file", "libdemo.so.1"),
        "glibc-too-old": floor if not wanted else _run(
            floor.files | seen, "version .GLIBC_[0-9.]+' not found", 1,
            _LOADER + f'# {wanted} is what was seen; where this host has it, one that no glibc has shows the same\n'
            'try "./seen-$machine"\n[ "$status" = 1 ] && check\ntry "./prog-$machine"'),
        "libstdcxx-too-old": _run(
            (made := _version("libstdc++.so.6", "GLIBCXX_9.9")).files, made.expect, 1,
            _LOADER + 'try "./prog-$machine"\n'
            'case "$out" in *"cannot open"*) cannot "there is no libstdc++ here" ;; esac'),
        "symbol-version-missing": _version("libc.so.6", "DEMO_1.0"),
        "missing-symbol": _glibc(
            lambda isa: tinyelf.dynamic(isa, interpreter=isa.glibc, needed=("libc.so.6",), undefined="demo_absent"),
            "symbol lookup error.*undefined symbol: demo_absent", 127),
        "libc-mismatch": _glibc(
            lambda isa: tinyelf.dynamic(isa, interpreter=isa.glibc, needed=("libc.so.6",), undefined="demo_absent",
                                        versions={"libc.so.6": "GLIBC_PRIVATE"}),
            "demo_absent.*GLIBC_PRIVATE", 127),
        "isa-level": _run(
            {f"loader-{isa.uname}.data": isa.glibc.encode() for isa in ISAS}
            | {"prog-x86_64": tinyelf.dynamic(ISAS[0], interpreter=ISAS[0].glibc, needed=("libc.so.6",),
                                              isa_level=0x10),
               "prog-aarch64": tinyelf.static(ISAS[1], ISAS[1].rare + ISAS[1].exit)},
            "CPU ISA level is lower than required|[Ii]llegal instruction|^$", "127|132",
            '# x86-64: a level that no CPU has, refused by glibc; arm64: an SVE instruction\n'
            '[ "$machine" = aarch64 ] || { ' + _LOADER.replace("\n", "; ") + '}\n'
            'try "./prog-$machine"\n[ "$status" = 0 ] && cannot "this CPU has SVE"'),
        "stale-ldcache": _run(
            demo.files | in_root, demo.expect, 127,
            _CHROOT + 'command -v ldconfig >/dev/null || cannot "there is no ldconfig here"\n'
            'echo /opt/lib >"$root/etc/ld.so.conf"\nldconfig -r "$root" 2>/dev/null\n'
            '# it came after ldconfig ran\ncp "$work/lib" "$root/opt/lib/libdemo.so.1"\ntry chroot "$root" /opt/prog'),
        "origin-without-proc": _run(
            origin.files | in_root, demo.expect, 127,
            _CHROOT + 'cp "$work/lib" "$root/opt/lib/libdemo.so.1"\n# the root has no /proc\n'
            'try chroot "$root" /opt/prog'),
        "secure-exec": _run(
            demo.files | in_root, demo.expect, 127,
            _LOADER + _AS_ROOT + 'command -v setpriv >/dev/null || cannot "there is no setpriv here"\n'
            'mkdir "$work/lib"\nchmod 755 "$work" "$work/lib"\ncp "lib-$machine" "$work/lib/libdemo.so.1"\n'
            'cp "prog-$machine" "$work/prog"\nchmod 4755 "$work/prog"\n'
            'try env LD_LIBRARY_PATH="$work/lib" setpriv --reuid 65534 --clear-groups "$work/prog"'),
    }  # fmt: skip


def recipe(slug: str, cause: RootCause | None = None) -> Recipe | None:
    """How a cause is recreated; None where a host that works cannot show it."""
    return (_plain() | _loader(cause)).get(slug)


def slugs() -> tuple[str, ...]:
    """Every cause that has a recipe."""
    return tuple(sorted(_plain() | _loader(None)))
