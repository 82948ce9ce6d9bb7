"""Why a signature is not accepted: one code for each reason, and the codes' meanings."""

from __future__ import annotations

from buildmatrix.finding import Finding

CODES = {
    "BM730": "signature missing",
    "BM731": "bundle or payload unreadable: cut short, too large, or no JSON",
    "BM732": "an object in signed JSON has two equal keys",
    "BM733": "bundle or payload not in the one form that signatures have",
    "BM734": "signature of another file",
    "BM735": "signature does not fit what it signs",
    "BM736": "signed by a key that is not trusted",
    "BM737": "signed by a revoked key",
    "BM738": "certificate expired before the signature can be placed in time",
    "BM739": "certificate not yet valid when it signed",
    "BM740": "certificate not issued by an authority of the trusted root, or not for signing code",
    "BM741": "certificate from another OIDC issuer",
    "BM742": "certificate of another identity",
    "BM743": "attestation of another type than the one demanded, or in a signature's place",
    "BM744": "digest algorithm or key too weak",
    "BM745": "attestation about another subject, or with other content than the file beside it",
    "BM746": "time stamp not from a trusted authority, or not of this signature",
    "BM747": "signing record missing, or not what the signatures say",
    "BM748": "signature for another repository",
    "BM749": "image or child of an index without a signature",
    "BM750": "development key in a release",
    "BM751": "transparency log entry missing, or without proof",
    "BM752": "signature in the registry unreadable, or of an unknown form",
}
"""Findings of signature verification, with their meaning."""


class Refused(Exception):  # a verdict of this package, turned into a Finding at its edge
    """A signature, bundle or payload is not accepted; `rule` is a key of CODES."""

    def __init__(self, rule: str, what: str, *, why: str = "", fix: str) -> None:
        super().__init__(f"{rule} {what}")
        self.rule, self.what, self.why, self.fix = rule, what, why, fix

    def finding(self, cell: str, evidence: str = "") -> Finding:
        """The refusal as a finding about a cell."""
        return Finding(rule=self.rule, cell=cell, what=self.what, evidence=evidence, why=self.why, fix=self.fix)
