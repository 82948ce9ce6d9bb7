"""One row of the tables: how a failure is worded, and what it can come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from buildmatrix.converge import weights
from buildmatrix.converge.symptom import Role
from buildmatrix.converge.weights import Weights

Groups = Mapping[str, str]
Weigh = Callable[[Groups], Weights | None]
"""From the named groups of a match to the causes; None where the words hold something unheard of."""

ERR = (
    "(?P<errno>" + "|".join(sorted((f"(?i:{text})" for text in weights.ERRNO), key=len, reverse=True)) + r"|Error \d+)"
)
SIG = "(?P<signal>" + "|".join(
    f"(?i:{text})" for text in sorted(weights.SIGNAL_WORDS, key=len, reverse=True) if len(text) > 4
) + ")"  # fmt: skip
PATH = r"(?P<program>[^\s:'\"`‘’]+)"
QUOTED = r"['\"`‘\\]+(?P<program>[^'\"`‘’\\]+)['\"`’\\]+"
SHELL = r"(?:[^\s:]+: (?:line )?\d+: |(?:^|[\s/\"-])(?:ba|da|a|z|k|mk|ya)?sh: )"
"""What a shell puts before a complaint: script and line, or its own name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """`anchor` is a literal that every line which `regex` matches holds: the prefilter looks for it alone."""

    name: str
    anchor: str
    regex: str
    stage: str
    weigh: Weigh
    role: Role = Role.PRIMARY
    detail: str = ""


def fixed(**causes: float) -> Weigh:
    """The same causes whatever the groups say; underscores stand for hyphens."""
    made = {name.replace("_", "-"): weight for name, weight in causes.items()}
    return lambda _groups: made


def by_table(causes: Weights) -> Weigh:
    """The same causes whatever the groups say."""
    return lambda _groups: causes


def by_errno(table: Mapping[str, Weights], without: tuple[str, ...] = ()) -> Weigh:
    """What `table` says about the group `errno`, less the causes that the words rule out."""

    def weigh(groups: Groups) -> Weights | None:
        found = table.get(weights.errno_name(groups["errno"]))
        return None if found is None else {name: weight for name, weight in found.items() if name not in without}

    return weigh


def existing(groups: Groups) -> Weights | None:
    """execve(2) of a file that is known to be there: ENOENT speaks of its interpreter."""
    name = weights.errno_name(groups["errno"])
    return weights.INTERPRETER if name == "ENOENT" else weights.EXECVE.get(name)


def by_signal(groups: Groups) -> Weights | None:
    """What the group `signal` says."""
    word = groups["signal"].strip().lower().removeprefix("sig")
    return weights.SIGNALS.get(weights.SIGNAL_WORDS.get(word, ""))


def by_exit(groups: Groups) -> Weights:
    """What the group `exit` says; nothing, for most."""
    return weights.exit_status(int(groups["exit"]))


def unheard_of(_groups: Groups) -> None:
    """For the rows that only notice that something of their kind was said."""
    return


def notices(name: str, anchor: str, regex: str, stage: str) -> Pattern:
    """A row that stands behind all others of its kind, so that what they do not know is listed."""
    return Pattern(name=name, anchor=anchor, regex=regex, stage=stage, weigh=unheard_of, role=Role.UNKNOWN)
