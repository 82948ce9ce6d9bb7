"""The files of a roll-out: one a stage, what was there before for the way back, and the plan itself."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildmatrix.errors import DistUnwritable, RolloutRefused
from buildmatrix.kube import objects, yamlread, yamlwrite
from buildmatrix.kube.check import Job
from buildmatrix.kube.objects import Item
from buildmatrix.kube.rules import examine
from buildmatrix.kube.schemas import Schemas
from buildmatrix.kube.stages import Key, Stage, key

SCHEMA = 1
"""Version of plan.json; docs/kubernetes.md describes it."""

PLAN, PAGE, BACK = "plan.json", "PLAN.md", "back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A stage with its files, relative to the plan's folder; `commands` have them filled in."""

    stage: Stage
    file: str
    back_file: str

    def commands(self, given: Sequence[str]) -> list[str]:
        """Commands with the files in their places."""
        return [text.replace("{file}", self.file).replace("{back}", self.back_file) for text in given]


def numbered(stages: Sequence[Stage]) -> tuple[Numbered, ...]:
    """The stages with names of files that sort in their order."""
    return tuple(
        Numbered(
            stage=stage,
            file=f"{number:02}-{stage.name}.yaml" if stage.objects else "",
            back_file=f"{BACK}/{number:02}-{stage.name}.yaml" if stage.restored else "",
        )
        for number, stage in enumerate(stages)
    )


def files(stages: Sequence[Numbered]) -> dict[str, str]:
    """The text of every file by its name; the same stages give the same bytes."""
    found = {}
    for one in stages:
        if one.file:
            found[one.file] = yamlwrite.stream(one.stage.objects, head=list(_head(one)))
        if one.back_file:
            found[one.back_file] = yamlwrite.stream(one.stage.restored)
    found[PLAN] = json.dumps(document(stages), indent=2, sort_keys=True) + "\n"
    found[PAGE] = "\n".join(_page(stages)) + "\n"
    return found


def _head(one: Numbered) -> Iterator[str]:
    yield f"Stage {one.stage.name}. Before the next one these must succeed:"
    yield from (f"  {text}" for text in one.commands(one.stage.gate) or ["nothing: it is in effect at once"])
    yield "The way back:"
    yield from (f"  {text}" for text in one.commands(one.stage.back))


def document(stages: Sequence[Numbered]) -> dict[str, Any]:
    """plan.json."""
    return {
        "schema": SCHEMA,
        "stages": [
            {
                "name": one.stage.name,
                "file": one.file or None,
                "apply": one.commands(one.stage.apply),
                "gate": one.commands(one.stage.gate),
                "back": one.commands(one.stage.back),
                "objects": [f"{kind}/{name}" for _, kind, _, name in map(key, one.stage.objects)],
            }
            for one in stages
        ],
    }


def _page(stages: Sequence[Numbered]) -> Iterator[str]:
    yield "# Roll-out"
    yield ""
    yield "Run each stage's commands in this folder, and go on only where its gate holds. Where it does not, go back."
    for number, one in enumerate(stages):
        yield from ("", f"## {number:02} {one.stage.name}", "")
        for title, given in (("Apply", one.stage.apply), ("Gate", one.stage.gate), ("Back", one.stage.back)):
            if given:
                yield from (f"{title}:", "", "```sh", *one.commands(given), "```", "")


def prove(stages: Sequence[Numbered], written: dict[str, str], job: Job) -> None:
    """Hold what will be written to the check itself, read back from its text. Raises RolloutRefused."""
    schemas = Schemas(job.kubernetes, job.crds)
    for one in stages:
        found = list(_read(written[one.file], one.file)) if one.file else []
        if [item.value for item in found] != list(one.stage.objects):
            raise RolloutRefused(f"{one.file}: reads back as something else", fix="report it: this is a defect")
        for item in found:
            told = [*schemas.check(item)]
            workloads, _, _ = examine(item, job.indexes, job.pools)
            told += [finding for workload in workloads for finding in workload.findings]
            if worst := next((finding for finding in told if finding.severity == "error"), None):
                raise RolloutRefused(
                    f"{one.file}: {worst.rule} {worst.what}", why=worst.why, fix=worst.fix or "correct the manifests"
                )


def _read(text: str, name: str) -> Iterator[Item]:
    for document in yamlread.documents(text, name):
        yield from objects.items(document, name)


def diffs(stages: Sequence[Numbered], present: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The difference that each stage makes to what is there when it begins."""
    state: dict[Key, dict[str, Any]] = {key(value): value for value in present}
    for one in stages:
        for value in one.stage.objects:
            _, kind, _, name = key(value)
            before = yamlwrite.block(state[key(value)]) if key(value) in state else []
            lines = difflib.unified_diff(
                before, yamlwrite.block(value), f"present/{kind}/{name}", f"{one.file}/{kind}/{name}", lineterm=""
            )
            yield from lines
            state[key(value)] = value


def write(folder: Path, written: dict[str, str]) -> None:
    """Put all files into a new folder, or in the place of an older plan. Raises RolloutRefused, DistUnwritable."""
    if folder.exists() and any(folder.iterdir()) and not (folder / PLAN).is_file():
        raise RolloutRefused(f"{folder}: got a folder with something else in it, expected a new one or an older plan",
                             fix="name another folder with --out")  # fmt: skip
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for name, text in written.items():
                (made / name).parent.mkdir(exist_ok=True)
                (made / name).write_text(text, encoding="utf-8")
            made.chmod(0o755)
            _swap(made, folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise DistUnwritable(
            f"{folder}: cannot be written", why=error.strerror or str(error), fix="name another folder with --out"
        ) from error


def _swap(made: Path, folder: Path) -> None:
    if folder.exists():
        old = made.with_name(f"{made.name}-old")
        folder.replace(old)
        try:
            made.replace(folder)
        except OSError:
            old.replace(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(made, folder)  # noqa: PTH105  (a folder onto nothing)
