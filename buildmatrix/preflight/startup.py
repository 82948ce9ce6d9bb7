"""What the program's own start does, as far as its bytes tell.

Go checks the x86-64 level it was built for; on arm64 its atomics use LSE without asking. A Go program
for another system runs its first system calls here, where they mean something else. `env`, shells and
interpreters of scripts end in known ways where what they are to run is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildmatrix.host import Host
from buildmatrix.preflight.verdict import Evidence, Stage, Stop

if TYPE_CHECKING:
    from buildmatrix.facts import GoInfo

GO_SYSTEMS = {9: "freebsd", 2: "netbsd", 12: "openbsd", 6: "solaris"}
SECCOMP_ENOSYS = "a seccomp profile that answers ENOSYS to calls it does not know"


def go_system(place: str, go: GoInfo) -> None:
    """A Go program built for another system. Raises Stop."""
    system = go.setting("GOOS")
    if system not in (None, "linux", "android"):
        raise Stop(
            Stage.RUNTIME_SIGNAL,
            "wrong-os",
            Evidence(place=place, text=f"Go build info says GOOS={system}: its system calls mean other things here"),
            signal="SIGSEGV",
            fix="build with GOOS=linux",
        )


def go_level(place: str, go: GoInfo, host: Host) -> tuple[str, ...]:
    """The CPU level that a Go program wants: what the verdict depends on. Raises Stop."""
    amd64 = go.setting("GOAMD64")
    if amd64 is not None and host.arch == "amd64" and amd64 > "v1":
        return _amd64(place, amd64, host)
    arm64 = go.setting("GOARM64")
    if arm64 is not None and host.arch == "arm64":
        return _arm64(place, arm64, host)
    return ()


def _amd64(place: str, wanted: str, host: Host) -> tuple[str, ...]:
    level = host.x86_level()
    if level is None:
        return (f"the CPU's x86-64 level: it was built with GOAMD64={wanted}",)
    if level < int(wanted[1:]):
        raise Stop(
            Stage.RUNTIME_EXIT,
            "isa-level",
            Evidence(place=place, text=f"Go build info says GOAMD64={wanted}; the CPU is x86-64-v{level}"),
            exit_status=1,
            message=f"This program can only be run on AMD64 processors with {wanted} microarchitecture support.",
            fix=f"build with GOAMD64=v{level} or lower",
        )
    return ()


def _arm64(place: str, wanted: str, host: Host) -> tuple[str, ...]:
    base, *extra = wanted.split(",")
    if base == "v8.0" and "lse" not in extra:
        return ()
    has = host.has("lse")
    if has is None:
        return (f"whether the CPU has LSE atomics: it was built with GOARM64={wanted}",)
    if not has:
        raise Stop(
            Stage.RUNTIME_SIGNAL,
            "isa-level",
            Evidence(
                place=place,
                text=f"Go build info says GOARM64={wanted}: LSE atomics are used without a check, and the CPU has none",
            ),
            signal="SIGILL",
            fix="build with GOARM64=v8.0",
        )
    return ()
