"""The README's first thirty lines are what really happens."""

import re
from pathlib import Path

from buildmatrix.cli import COMMANDS
from tests import project

README = Path(__file__).parent.parent / "README.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def settled(text: str) -> str:
    """Without what depends on the Go release: sizes, digests and addresses."""
    text = re.sub(r"0x[0-9a-f]+@0x[0-9a-f]+", "A@O", text)
    return re.sub(r"\d+\.\d MB  sha256:[0-9a-f]{16}", "N MB  sha256:X", text)


def test_the_sample_is_what_the_sample_matrix_gives(tmp_path: Path) -> None:
    made = project.create(tmp_path, matrix=blocks("toml")[0])
    done = made.run("build")
    shown = blocks("console")[0].removeprefix("$ buildmatrix build\n")
    assert done.returncode == 1
    assert settled(done.stdout).startswith(settled(shown))


def test_the_noxfile_is_the_tested_one() -> None:
    from tests.test_sessions import NOXFILE

    assert blocks("python") == [NOXFILE]


def test_every_command_is_listed() -> None:
    listed = re.findall(r"^\| `buildmatrix ([a-z]+)` \|", README.read_text(), re.MULTILINE)
    assert listed == list(COMMANDS)
