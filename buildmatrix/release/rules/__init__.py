"""Release rules, one concern a file, and the tuple of them all. Each is pure: a Release in, findings out."""

from buildmatrix.release.rules import documents, faults, platforms, promises, signatures, source, tags, word
from buildmatrix.release.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    tags.COMPLETE,
    tags.FORBIDDEN,
    platforms.PLATFORMS,
    signatures.SIGNED,
    documents.SBOM,
    documents.PROVENANCE,
    signatures.NO_DEVELOPMENT,
    source.CLEAN,
    source.ANNOTATED,
    source.REPRODUCED,
    promises.FLOOR,
    promises.PAGES,
    word.STATEMENT,
    promises.MACHINES,
    faults.REGRESSION,
)

EARLY: tuple[Rule, ...] = (signatures.NO_DEVELOPMENT, source.CLEAN, source.ANNOTATED)
"""Those that need nothing built: they end a release before its work begins."""

CODES = {rule.code: rule.broken for rule in RULES}
"""Findings of the gate, with their meaning."""
