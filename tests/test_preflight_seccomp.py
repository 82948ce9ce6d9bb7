"""Seccomp profiles: how they are read, what they answer, and what their answers do to real programs."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import errors, seccomp
from buildmatrix.host import parse
from buildmatrix.preflight import confined
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.verdict import Stage, Verdict
from buildmatrix.preflight.walk import Credentials, View
from tests.preflight_objects import Object, Roots

KERNEL = (6, 12)
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
ABLE = os.uname().machine == "x86_64" and HEADER.exists() and shutil.which("cc") is not None
HERE = Path(__file__).parent


def profile(folder: Path, *, action: str = "SCMP_ACT_ERRNO", number: int | None = None, calls: tuple[str, ...]) -> str:
    """A profile that allows all but `calls`."""
    row: dict[str, Any] = {"names": list(calls), "action": action}
    if number is not None:
        row["errnoRet"] = number
    place = folder / f"{action}-{number}-{'-'.join(calls)}.json"
    place.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [row]}))
    return str(place)


# Reading.


def test_dockers_profile_answers_what_docker_says() -> None:
    docker = seccomp.load("docker")
    assert docker is not None
    assert docker.answer("execve", "amd64", KERNEL).allowed
    assert docker.answer("clone3", "amd64", KERNEL).name == "ENOSYS"
    assert docker.answer("mount", "amd64", KERNEL).name == "EPERM"
    assert docker.answer("arch_prctl", "amd64", KERNEL).allowed
    assert not docker.answer("arch_prctl", "arm64", KERNEL).allowed
    assert docker.answer("ptrace", "arm64", (4, 4)).name == "EPERM"
    assert docker.answer("ptrace", "arm64", (5, 10)).allowed
    assert docker.answer("clone", "amd64", KERNEL, {0: 0x50F00}).allowed
    assert docker.answer("clone", "amd64", KERNEL, {0: 0x10000000}).name == "EPERM"
    assert docker.answer("clone", "amd64", KERNEL).open


def test_rules_of_a_file_with_filters_and_arguments() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "syscalls": [
            {"names": ["openat"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_CHROOT"]}},
            {"name": "socket", "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
            {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["acct"], "action": "SCMP_ACT_TRACE"},
            {"names": ["read"], "action": "SCMP_ACT_LOG"},
        ],
    }
    made = seccomp.parse("file", document)
    answers = {call: made.answer(call, "arm64", KERNEL) for call in ("openat", "mount", "chroot", "reboot", "read")}
    assert [answers[call].allowed for call in answers] == [True, False, False, False, True]
    assert answers["reboot"].signal == "SIGSYS"
    assert made.answer("openat", "amd64", KERNEL).errno == errno.ENOSYS
    assert made.answer("socket", "amd64", KERNEL, {0: 2}).allowed
    assert not made.answer("socket", "amd64", KERNEL, {0: 3}).allowed
    assert made.answer("socket", "amd64", KERNEL).open


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "null", '{"syscalls": []}', '{"defaultAction": "SCMP_ACT_BLESS"}', "[" * 100_000,
     '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"]}]}',
     '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [7]}', '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": 7}',
     '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW", '
     '"includes": {"minKernel": "new"}}]}'],
)  # fmt: skip
def test_damaged_profiles_are_usage_errors(tmp_path: Path, text: str) -> None:
    place = tmp_path / "profile.json"
    place.write_text(text)
    with pytest.raises(errors.UsageError):
        seccomp.load(str(place))


def test_a_profile_that_is_not_there_or_endless(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="No such file"):
        seccomp.load(str(tmp_path / "none.json"))
    with pytest.raises(errors.UsageError, match="more than"):
        seccomp.load("/dev/zero")


def test_a_denied_execve_fails_with_the_profiles_errno(tmp_path: Path) -> None:
    denied = profile(tmp_path, number=errno.EACCES, calls=("execve",))
    verdict = Roots().put("/prog", Object().build()).judge(host=f"amd64,cpu=v3,seccomp={denied}")
    assert (verdict.stage, verdict.errno, verdict.cause) == (Stage.EXECVE, "EACCES", "seccomp")
    killed = profile(tmp_path, action="SCMP_ACT_KILL", calls=("execve",))
    verdict = Roots().put("/prog", Object().build()).judge(host=f"amd64,cpu=v3,seccomp={killed}")
    assert (verdict.errno, verdict.signal) == (None, "SIGSYS")


# What really happens.


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that holds a program of each kind, its loader and libc, and the filter."""
    work = tmp_path_factory.mktemp("seccomp")
    (work / "c.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["cc", "-O2", "-o", work / "filtered", HERE / "filtered.c"], check=True)
    subprocess.run(["cc", "-o", work / "glibc", work / "c.c"], check=True)
    if shutil.which("musl-gcc"):
        subprocess.run(["musl-gcc", "-o", work / "musl", work / "c.c"], check=True)
    if shutil.which("go"):
        (work / "go.mod").write_text("module example.test/empty\n\ngo 1.21\n")
        (work / "main.go").write_text("package main\n\nfunc main() {}\n")
        (work / "cgo").mkdir()
        (work / "cgo" / "main.go").write_text(
            'package main\n\n// int one(void) { return 1; }\nimport "C"\n\nfunc main() { _ = C.one() }\n'
        )
        for name, cgo, package in (("go", "0", "."), ("threads", "1", "./cgo")):
            environment = {**os.environ, "CGO_ENABLED": cgo, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
            subprocess.run(["go", "build", "-o", work / f"{name}-program", package], check=True, cwd=work,
                           env=environment)  # fmt: skip
    return work


def numbers() -> dict[str, int]:
    return {m[1]: int(m[2]) for m in re.finditer(r"#define __NR_(\w+) (\d+)", HEADER.read_text())}


def really(work: Path, action: str, call: str, program: str) -> tuple[int, str]:
    """Exit status (negative: the signal) and what was printed, of a program to which a call is denied."""
    done = subprocess.run(
        [work / "filtered", action, str(numbers()[call]), work / program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def judged(work: Path, denied: str, program: str) -> Verdict:
    view = View(root=DirectoryRoot(Path("/")), who=Credentials(uid=os.getuid(), gid=os.getgid()))
    path = str(work / program)
    return Judge(view, parse(f"amd64,cpu=v3,kernel=6.12,seccomp={denied}")).judge(Command(path=path, argv=(path,)))


def fits(verdict: Verdict, status: int, text: str) -> bool:
    if verdict.signal is not None:
        return status == -int(getattr(signal, verdict.signal))
    if verdict.exit is not None:
        return status == verdict.exit and bool(verdict.message) and (verdict.message or "") in text
    return status == 0


CASES = [
    *(("go-program", call) for call in confined.GO),
    *(("glibc", call) for call in confined.GLIBC),
    *(("musl", call) for call in confined.MUSL),
]


@pytest.mark.integration
@pytest.mark.skipif(not ABLE, reason="needs x86-64 and a C compiler")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1].name}")
@pytest.mark.parametrize("action", ["EPERM", "ENOSYS", "kill"])
def test_a_denied_call_does_what_is_predicted(programs: Path, action: str, case: tuple[str, confined.Call]) -> None:
    program, call = case
    if not (programs / program).exists():
        pytest.fail(f"the compiler for {program} is missing")
    if action == "kill":
        denied = profile(programs, action="SCMP_ACT_KILL_PROCESS", calls=(call.name,))
        status, text = really(programs, "kill", call.name, program)
    else:
        denied = profile(programs, number=getattr(errno, action), calls=(call.name,))
        status, text = really(programs, str(getattr(errno, action)), call.name, program)
    verdict = judged(programs, denied, program)
    if verdict.certain:
        assert fits(verdict, status, text), (verdict, status, text)
    else:
        assert not call.always


@pytest.mark.integration
@pytest.mark.skipif(not ABLE, reason="needs x86-64 and a C compiler")
@pytest.mark.parametrize("action", ["EPERM", "ENOSYS"])
def test_threads_of_cgo_need_an_honest_answer_to_clone3(programs: Path, action: str) -> None:
    denied = profile(programs, number=getattr(errno, action), calls=("clone3",))
    status, text = really(programs, str(getattr(errno, action)), "clone3", "threads-program")
    verdict = judged(programs, denied, "threads-program")
    assert verdict.stage is (Stage.OK if action == "ENOSYS" else Stage.RUNTIME_EXIT)
    assert fits(verdict, status, text), (verdict, status, text)


@pytest.mark.integration
@pytest.mark.skipif(not ABLE, reason="needs x86-64 and a C compiler")
def test_a_denied_execve_really_fails_so(programs: Path) -> None:
    denied = profile(programs, number=errno.EACCES, calls=("execve",))
    done = subprocess.run([programs / "filtered", str(errno.EACCES), str(numbers()["execve"]), programs / "glibc"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stdout == f"execve {errno.EACCES}\n"
    assert judged(programs, denied, "glibc").errno == "EACCES"


@pytest.mark.integration
@pytest.mark.skipif(not ABLE, reason="needs x86-64 and a C compiler")
@pytest.mark.parametrize("program", ["go-program", "glibc", "musl", "threads-program"])
def test_everything_starts_under_dockers_profile(programs: Path, program: str) -> None:
    docker = seccomp.load("docker")
    assert docker is not None
    known = {call: number for call, number in numbers().items() if not docker.answer(call, "amd64", KERNEL).allowed}
    refused = sorted(
        number for call, number in known.items() if call not in ("clone", "clone3", "socket", "personality")
    )
    done = subprocess.run(
        [programs / "filtered", "1", ",".join(map(str, refused[:190])), programs / program],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    verdict = judged(programs, "docker", program)
    assert (verdict.stage, verdict.certain) == (Stage.OK, True)
