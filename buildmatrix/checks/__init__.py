"""Rules over one artifact, one a file, and the tuple of them all.

A check's module docstring is its documentation page. To add one: a file here, a line in CHECKS, a
good and a bad fixture.
"""

from buildmatrix.checks import (
    abi_flags,
    alignment,
    build_info,
    cpu_level,
    cpu_property,
    executable_type,
    floor,
    format_,
    interpreter,
    libc,
    machine,
    modules,
    needed,
    pie,
    relro,
    rpath,
    stack,
    structure,
)
from buildmatrix.checks.rule import Check, Subject
from buildmatrix.finding import Finding

CHECKS: tuple[Check, ...] = (
    machine.CHECK,
    format_.CHECK,
    structure.CHECK,
    executable_type.CHECK,
    interpreter.CHECK,
    needed.CHECK,
    libc.CHECK,
    floor.CHECK,
    rpath.CHECK,
    cpu_level.CHECK,
    cpu_property.CHECK,
    alignment.CHECK,
    stack.CHECK,
    relro.CHECK,
    pie.CHECK,
    build_info.CHECK,
    modules.CHECK,
    abi_flags.CHECK,
)


def run(subject: Subject) -> tuple[Finding, ...]:
    """Every finding of every check about one artifact, in the order of CHECKS."""
    return tuple(finding for check in CHECKS for finding in check.findings(subject))
