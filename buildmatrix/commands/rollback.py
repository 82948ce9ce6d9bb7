"""buildmatrix rollback: set tags of a registry back to an earlier release."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from buildmatrix import errors
from buildmatrix.commands import options
from buildmatrix.report import terminal

if TYPE_CHECKING:
    from buildmatrix.release.rollback import RolledBack

SUMMARY = "set tags of a registry back to an earlier release"

SCHEMA = 1
"""Version of the JSON document; docs/release.md describes it."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "tags", nargs="+", metavar="REF", help="what to set back: REPOSITORY:TAG; more tags of it may follow"
    )
    parser.add_argument("--to", required=True, metavar="VERSION|DIGEST", help="the release to go back to")
    parser.add_argument("--dry-run", action="store_true", help="judge, say what would be set, and set nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON document (docs/release.md)")
    options.add_terms(parser)
    options.add_registry(parser)


def run(arguments: argparse.Namespace) -> int:
    """Go back; returns the exit status."""
    from buildmatrix.release import gate, rollback

    place, names = _tags(arguments.tags)
    with options.opened(arguments, place, target=False) as (repository, _):
        terms = options.terms(arguments)
        done = rollback.rollback(repository, names, arguments.to, terms, dry_run=arguments.dry_run, told=_told)
    if arguments.json:
        print(json.dumps(_json(done, arguments.dry_run), sort_keys=True))
        return errors.EXIT_OK if done.verdict.passed else errors.EXIT_FINDINGS
    for line in gate.lines((done.verdict,), terminal.coloured(sys.stdout)):
        print(line)
    for step in done.steps:
        word = "was there already" if not step.moved else "would be set" if arguments.dry_run else "set"
        print(f"{repository.name}:{step.tag}  {word}")
        if step.moved:
            print(f"  from {step.before}\n  to   {done.digest}")
    if not done.verdict.passed:
        print("nothing was set back")
    return errors.EXIT_OK if done.verdict.passed else errors.EXIT_FINDINGS


def _tags(words: list[str]) -> tuple[str, tuple[str, ...]]:
    """The repository, and the tags in it; what follows the first is a tag alone, or a reference into the same one."""
    from buildmatrix.oci import reference

    first = reference.parse(words[0])
    names = []
    for word in words:
        found = reference.parse(word) if word == words[0] or "/" in word else first.at(word)
        if not found.tag or found.digest or (found.registry, found.repository) != (first.registry, first.repository):
            raise errors.UsageError(
                f"{word}: got no tag of {first.registry}/{first.repository}, expected one",
                fix="write REPOSITORY:TAG, then more tags of the same repository",
            )
        names.append(found.tag)
    return f"{first.registry}/{first.repository}", tuple(names)


def _json(done: RolledBack, dry_run: bool) -> dict[str, object]:
    from buildmatrix.release import gate

    return {
        "schema": SCHEMA,
        "digest": done.digest,
        "dryRun": dry_run,
        "verdict": gate.as_json(done.verdict),
        "tags": [{"tag": step.tag, "before": step.before, "moved": step.moved} for step in done.steps],
    }


def _told(step: str) -> None:
    print(step, file=sys.stderr, flush=True)
