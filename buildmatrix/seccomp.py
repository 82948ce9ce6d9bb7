"""Seccomp profiles in Docker's JSON form: what the filter answers to a system call.

Sources: the OCI runtime specification (linux.seccomp), Docker's additions to it (`includes`, `excludes`,
`errnoRet`; moby/profiles seccomp/seccomp.go), seccomp(2). Rules about arguments are decided where the
argument is known, and otherwise told to be open.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from buildmatrix import errors

UNCONFINED = ("", "unconfined")
MOST = 4 << 20
ARCHES = {"amd64": ("amd64", "x86_64"), "386": ("x86",), "arm64": ("arm64", "aarch64"), "arm": ("arm",)}
"""What profiles call an architecture (GOARCH and its kin)."""

CAPABILITIES = frozenset(
    {
        "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)  # fmt: skip
"""What Docker leaves a container, and chooses rules by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What becomes of one call: allowed, an errno's number, or a signal. `open` says that it hangs on arguments."""

    errno: int = 0
    signal: str = ""
    open: bool = False

    @property
    def allowed(self) -> bool:
        """Whether the kernel goes on with the call."""
        return not self.errno and not self.signal

    @property
    def name(self) -> str:
        """The errno's name, or the signal's."""
        return self.signal or errno.errorcode.get(self.errno, str(self.errno))


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One comparison with an argument; all of a rule's have to hold."""

    index: int
    op: str
    value: int
    second: int = 0

    def holds(self, argument: int) -> bool | None:
        """Whether it holds; None for an operator that nobody knows."""
        tests = {
            "NE": argument != self.value, "LT": argument < self.value, "LE": argument <= self.value,
            "EQ": argument == self.value, "GE": argument >= self.value, "GT": argument > self.value,
            "MASKED_EQ": argument & self.value == self.second,
        }  # fmt: skip
        return tests.get(self.op.removeprefix("SCMP_CMP_"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Calls by name with their answer, and where the rule counts at all."""

    names: frozenset[str]
    answer: Answer
    conditions: tuple[Condition, ...] = ()
    includes: Mapping[str, Any] = field(default_factory=dict)
    excludes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A whole profile. `name` is how it was asked for."""

    name: str
    default: Answer
    rules: tuple[Rule, ...]

    def answer(
        self, call: str, arch: str, kernel: tuple[int, int], arguments: Mapping[int, int] | None = None
    ) -> Answer:
        """The filter's answer to a call with the arguments that are known, by index."""
        maybe = None
        for rule in self.rules:
            if call not in rule.names or rule.answer == self.default or not _counts(rule, arch, kernel):
                continue
            holds = _hold(rule.conditions, arguments or {})
            if holds:
                return rule.answer
            maybe = maybe or (rule.answer if holds is None else None)
        if maybe is None:
            return self.default
        worse = self.default if maybe.allowed else maybe
        return Answer(errno=worse.errno, signal=worse.signal, open=True)


def _hold(conditions: tuple[Condition, ...], arguments: Mapping[int, int]) -> bool | None:
    """Whether every condition holds; None where an argument is not known."""
    known = True
    for condition in conditions:
        holds = condition.holds(arguments[condition.index]) if condition.index in arguments else None
        if holds is False:
            return False
        known = known and holds is not None
    return True if known else None


def _counts(rule: Rule, arch: str, kernel: tuple[int, int]) -> bool:
    """Docker's filters (inclusion needs all, exclusion any of what it names)."""
    names = ARCHES.get(arch, (arch,))
    arches, caps = rule.includes.get("arches") or (), rule.includes.get("caps") or ()
    if arches and not set(arches) & set(names):
        return False
    if caps and not set(caps) <= CAPABILITIES:
        return False
    if not _newer(kernel, rule.includes.get("minKernel")):
        return False
    gone = rule.excludes
    if set(gone.get("arches") or ()) & set(names) or set(gone.get("caps") or ()) & CAPABILITIES:
        return False
    return not (gone.get("minKernel") and _newer(kernel, gone.get("minKernel")))


def _newer(kernel: tuple[int, int], wanted: object) -> bool:
    if not wanted:
        return True
    major, _, minor = str(wanted).partition(".")
    return kernel >= (int(major), int(minor.partition(".")[0] or 0))


# Reading.


@cache
def load(name: str) -> Profile | None:
    """The profile ``docker``, or that of a JSON file; None for ``unconfined``. Raises UsageError."""
    if name in UNCONFINED:
        return None
    if name == "docker":
        return docker()
    path = Path(name)
    fix = "a profile is docker, unconfined, or the path of a JSON file in Docker's form"
    try:
        with path.open("rb") as file:
            data = file.read(MOST + 1)
        if len(data) > MOST:
            raise errors.UsageError(f"{name}: got more than {MOST} bytes, expected a seccomp profile", fix=fix)
        return parse(name, json.loads(data))
    except OSError as error:
        raise errors.UsageError(f"seccomp profile {name}: {error.strerror}", fix=fix) from error
    except (ValueError, RecursionError) as error:
        raise errors.UsageError(f"{name}: got {error}, expected JSON", fix=fix) from error


def parse(name: str, document: object) -> Profile:
    """A profile from its JSON. Raises UsageError."""
    try:
        if not isinstance(document, dict):
            raise TypeError("no object")
        rules = tuple(_rules(document.get("syscalls") or ()))
        default = _action(document["defaultAction"], document.get("defaultErrnoRet"))
        profile = Profile(name=name, default=default, rules=rules)
        profile.answer("execve", "amd64", (5, 0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.UsageError(
            f"{name}: got {error}, expected a seccomp profile in Docker's form",
            fix="defaultAction and syscalls, each with names and action",
        ) from error
    return profile


def _rules(rows: object) -> Iterator[Rule]:
    for row in rows:  # type: ignore[attr-defined]
        names = row.get("names") or [row["name"]]
        conditions = tuple(
            Condition(index=int(item["index"]), op=str(item["op"]), value=int(item["value"]),
                      second=int(item.get("valueTwo") or 0))
            for item in row.get("args") or ()
        )  # fmt: skip
        yield Rule(
            names=frozenset(map(str, names)),
            answer=_action(row["action"], row.get("errnoRet")),
            conditions=conditions,
            includes=dict(row.get("includes") or {}),
            excludes=dict(row.get("excludes") or {}),
        )


def _action(action: str, number: int | None) -> Answer:
    """An action; an errno that is not said is EPERM."""
    word = str(action).removeprefix("SCMP_ACT_")
    if word in ("ALLOW", "LOG"):
        return Answer()
    if word == "ERRNO":
        return Answer(errno=errno.EPERM if number is None else int(number))
    if word in ("KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"):
        return Answer(signal="SIGSYS")
    if word == "TRACE":
        return Answer(errno=errno.ENOSYS)
    if word == "NOTIFY":
        return Answer(errno=errno.ENOSYS, open=True)
    raise ValueError(f"the action {action!r}")


def docker() -> Profile:
    """Docker's default profile (moby/profiles seccomp/default.json, June 2026), with a container's capabilities."""
    from buildmatrix._seccomp import ALLOWED, BY_ARCH, CLONE_NEW

    allow = Answer()
    rules = [Rule(names=frozenset(ALLOWED.split()), answer=allow)]
    rules += [
        Rule(names=frozenset(names.split()), answer=allow, includes={"arches": arches}) for arches, names in BY_ARCH
    ]
    rules += [Rule(names=frozenset({"ptrace", "process_vm_readv", "process_vm_writev"}), answer=allow,
                   includes={"minKernel": "4.8"}),
              Rule(names=frozenset({"chroot"}), answer=allow),
              Rule(names=frozenset({"clone"}), answer=allow,
                   conditions=(Condition(index=0, op="SCMP_CMP_MASKED_EQ", value=CLONE_NEW),)),
              Rule(names=frozenset({"clone3"}), answer=Answer(errno=errno.ENOSYS)),
              Rule(names=frozenset({"socket"}), answer=allow,
                   conditions=(Condition(index=0, op="SCMP_CMP_NE", value=40),)),
              Rule(names=frozenset({"personality"}), answer=allow,
                   conditions=(Condition(index=0, op="SCMP_CMP_EQ", value=0),))]  # fmt: skip
    return Profile(name="docker", default=Answer(errno=errno.EPERM), rules=tuple(rules))
