"""Keys of who signs, whom `verify` believes, and what a release must be."""

from __future__ import annotations

import re

from buildmatrix.schema.key import DOCUMENTS, REPOSITORY, URL, Key

SIGNING_BACKENDS = ("none", "development", "key", "certificate", "keyless", "cosign")

SIGNING = (
    Key(name="backend", kind="string", doc="Who signs: `development` (a key of this machine, made on first use, for no "
        "release), `key` (a file of `buildmatrix keygen` or cosign), `certificate` (a key with an X.509 identity), "
        "`keyless` (a fresh certificate from Fulcio; needs `buildmatrix[keyless]`), `cosign` (a KMS or hardware key "
        "through the program), or `none`.", default="development", choices=SIGNING_BACKENDS),
    Key(name="key", kind="string", doc="The private key: a file, or for `cosign` what it takes after --key, such as "
        "`awskms:///alias/release`.", default=""),
    Key(name="password-file", kind="string", doc="A file with the key's password. Default: BUILDMATRIX_PASSWORD, "
        "COSIGN_PASSWORD, else the terminal.", default=""),
    Key(name="certificate", kind="string", doc="The certificate of `key`, in PEM.", default=""),
    Key(name="trusted-keys", kind="strings", doc="Public keys whose signatures `verify` accepts, in PEM. Default: the "
        "public half of `key`. Name the old one too while keys are rotated.", default=()),
    Key(name="revoked-keys", kind="strings", doc="Public keys that no signature may be by: files in PEM, or "
        "`sha256:` and the fingerprint.", default=()),
    Key(name="trusted-root", kind="string", doc="A sigstore trusted_root.json: whose certificates, time stamps and "
        "logs `verify` accepts.", default=""),
    Key(name="issuer", kind="string", doc="The OIDC issuer that certificates must be for: exactly, or as `glob:…` or "
        "`regex:…` over the whole value.", default=""),
    Key(name="identities", kind="strings", doc="The identities that may sign with certificates: URIs or addresses, "
        "each exactly, or as `glob:…` or `regex:…`.", default=()),
    Key(name="fulcio", kind="string", doc="The address of Fulcio, for `keyless`.", default="", pattern=URL,
        shape="an address such as https://fulcio.example.org"),
    Key(name="rekor", kind="string", doc="The address of Rekor, for `keyless`.", default="", pattern=URL,
        shape="an address such as https://rekor.example.org"),
    Key(name="rekor-version", kind="string", doc="The version of Rekor's API.", default="1", choices=("1", "2")),
    Key(name="oidc", kind="string", doc="The OIDC issuer to log in at, where neither SIGSTORE_ID_TOKEN nor a CI system "
        "says who signs.", default="", pattern=URL, shape="an address such as https://oauth.example.org"),
    Key(name="timestamp-authority", kind="string", doc="An RFC 3161 authority that stamps signatures by certificates, "
        "so that they outlive them.", default="", pattern=URL, shape="an address such as https://tsa.example.org/stamp"),
)  # fmt: skip

_RELEASE_TAG = re.compile(r"[A-Za-z0-9_{}][A-Za-z0-9_.{}-]{0,127}")

RELEASE = (
    Key(name="version-tag", kind="string", doc="The tag that a release's index must have; `{version}` is replaced.",
        default="{version}", pattern=_RELEASE_TAG, shape="letters, digits, dots, dashes, underscores and {version}"),
    Key(name="platform-tag", kind="string", doc="The tag that the image of each platform must have: with `{machine}` "
        "(aarch64) and `{timestamp}` (20240522T1430Z).", default="{version}-{machine}-{timestamp}",
        pattern=_RELEASE_TAG, shape="letters, digits, dots, dashes and underscores, with {machine} and {timestamp}"),
    Key(name="forbidden-tags", kind="strings", doc="Globs over tags that no release may have.", default=("latest",),
        pattern=re.compile(r"[A-Za-z0-9_.*?\[\]!-]+"), shape="a glob over tags"),
    Key(name="floating-tags", kind="string", doc="Tags that stand for the newest of a kind, such as `v2.3`, `stable` "
        "or `main`: whether a release may have them.", default="forbid", choices=("forbid", "allow")),
    Key(name="documents", kind="strings", doc="What must be attested about each platform's image. Default: the formats "
        "of [sbom], and provenance.", choices=DOCUMENTS),
    Key(name="clean-tree", kind="boolean", doc="Whether a release must be built from a checkout without changes.",
        default=True),
    Key(name="annotated-tag", kind="boolean", doc="Whether the commit must have an annotated git tag of the version.",
        default=True),
    Key(name="reproducible", kind="boolean", doc="Whether every cell must have been built twice, with equal bytes.",
        default=False),
    Key(name="promoted-from", kind="strings", doc="Repositories whose signatures are good here too, since releases are "
        "promoted from them.", default=(), pattern=REPOSITORY,
        shape="a repository such as registry.example.org/staging/service"),
    Key(name="validation", kind="string", doc="The store of fault campaigns, docs/store.md, in which this version must "
        "be measured, and no worse than the release before it. Default: not asked for.", default="",
        pattern=re.compile(r"(sqlite:///[^\s\x00-\x1f]+|postgresql(\+[a-z]+)?://([^\s:@/]+@)?[^\s@]+)?"),
        shape="sqlite:///FILE, or postgresql://USER@HOST/NAME without a password"),
)  # fmt: skip
