"""Mutants that were once predicted wrongly, with what really happened: replayed by the ordinary tests.

A fixture holds the files of a seed with the change put in, so that it does not depend on this machine's
compiler, and the line that the executor saw. Loader and libc are stand-ins where it is judged again.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

from buildmatrix.host import parse
from buildmatrix.preflight.context import Libraries
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.verdict import Verdict
from buildmatrix.preflight.walk import Credentials, View
from tests.difftest.loaders import UID, Outcome
from tests.preflight_objects import MUSL, MUSL_WORDS, Roots, loader

FOLDER = Path(__file__).parent.parent / "fixtures" / "difftest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """One recorded execution. `files` by path in the root; `observed` as the executor says it."""

    stage: str
    story: str
    program: str
    path: str
    files: dict[str, bytes]
    observed: str

    @property
    def name(self) -> str:
        """What the test is called."""
        return f"{self.stage} {self.story}"


def recorded(stage: str, outcome: Outcome) -> Fixture | None:
    """An outcome to keep; None where the machine's own libc, or more than bytes, belongs to it."""
    seed, change = outcome.mutant.seed, outcome.mutant.change
    if seed.name.startswith("libc") or change.place:
        return None
    files = {f"/s/{name}": data for name, data in seed.files.items() if name != seed.target}
    files[f"/m/{seed.target}"] = change.apply(seed.data)
    here, shared = outcome.folders
    observed = outcome.observed.replace(here + "/", "/m/").replace(shared + "/", "/s/")
    program = "/m/prog" if seed.target == "prog" else "/s/prog"
    return Fixture(
        stage=stage,
        story=f"{seed.name}: {change.story}",
        program=program,
        path="/m:/s",
        files=files,
        observed=observed,
    )


def keep(folder: Path, fixture: Fixture) -> Path:
    """Write a fixture; its name is made from its content."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: base64.b64encode(zlib.compress(data, 9)).decode() for name, data in sorted(fixture.files.items())}
    document = {
        "stage": fixture.stage,
        "story": fixture.story,
        "program": fixture.program,
        "path": fixture.path,
        "observed": fixture.observed,
        "files": files,
    }
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    place = folder / f"{fixture.stage}-{zlib.crc32(fixture.name.encode(errors='replace')):08x}.json"
    place.write_text(text, encoding="ascii")
    return place


def read(place: Path) -> Fixture:
    """A fixture from its file."""
    document = json.loads(place.read_text(encoding="ascii"))
    files = {name: zlib.decompress(base64.b64decode(data)) for name, data in document.pop("files").items()}
    return Fixture(files=files, **document)


def predict(fixture: Fixture) -> Verdict:
    """The verdict on a fixture, in a root of stand-ins."""
    roots = Roots(glibc=fixture.stage == "glibc")
    if fixture.stage == "musl":
        roots.put(MUSL, loader(MUSL_WORDS % b"1.2.3", "libc.so"))
    for path, data in fixture.files.items():
        roots.put(path, data)
    view = View(root=roots.tree.root(), who=Credentials(uid=UID, gid=UID), proc=False)
    command = Command(path=fixture.program, argv=(fixture.program,), env={"LD_LIBRARY_PATH": fixture.path})
    return Judge(view, parse("amd64,cpu=v3,kernel=6.12"), Libraries()).judge(command)
