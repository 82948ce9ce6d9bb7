"""BM516 build info contradicts the plan.

Go writes GOOS, GOARCH, CGO_ENABLED, the main package and the toolchain's version into every binary,
stripped or not. They must agree with the target and with the machine in the header: an old or
mislabelled artifact shows here even where its header is right.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation


def _run(subject: Subject) -> Iterator[Violation]:
    go, target = subject.facts.go, subject.target
    again = f"build the cell again: buildmatrix build --target {target.name} --force"
    if go is None:
        yield Violation(
            what="no Go build info (got none, expected the toolchain's)",
            why="the file was not made by go build, or was stripped of its build info",
            fix=again,
        )
        return
    expected = (("GOOS", target.goos), ("GOARCH", target.goarch), ("CGO_ENABLED", "1" if target.cgo else "0"))
    for name, value in expected:
        got = go.setting(name)
        if got != value:
            yield Violation(
                what=f"build info contradicts the target (got {name}={got or 'nothing'}, expected {value})",
                evidence=f"Go build info of {go.version}",
                why="another build was put in this cell's place",
                fix=again,
            )
    # What follows a space lists experiments, which the target's env may switch on.
    if subject.go_version and go.version.split(" ")[0] != f"go{subject.go_version}":
        yield Violation(
            what=f"built by another Go (got {go.version}, expected go{subject.go_version})",
            evidence="Go build info",
            why="the toolchain of this run is not the one that built the artifact",
            fix=again,
        )


CHECK = Check(code="BM516", title="build info contradicts the plan", run=_run)
