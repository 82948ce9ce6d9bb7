"""Where an edit is the wrong way: the exact change of matrix.toml, and the command that builds again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from buildmatrix.matrix import Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """One key of a target to set, and the command after that."""

    target: str
    key: str
    value: str

    def __str__(self) -> str:
        """As it is to be typed."""
        name = self.target if self.target.replace("-", "").isalnum() else f'"{self.target}"'
        change = f"in matrix.toml, under [targets.{name}]: {self.key} = {self.value}"
        return f"{change}; then: buildmatrix build -t {self.target}"


def target_for(matrix: Matrix | None, goarch: str, *, dynamic: bool, named: str = "") -> str:
    """The target that such a file was built for: the one that was named, else the first that fits, else its GOARCH."""
    if named or matrix is None:
        return named or goarch
    fitting = [cell.target for cell in matrix.cells if cell.target.goarch == goarch and cell.target.goos == "linux"]
    closest = [target for target in fitting if target.static != dynamic]
    return next((target.name for target in (*closest, *fitting)), goarch)
