"""Every exception: a stable code, an exit status, what happened, why, and what to do.

Codes follow the stages: BM1xx configuration, 2xx plan and toolchain, 3xx build, 4xx scan,
5xx checks, 6xx preflight, 7xx trust and verification, 8xx images and registry, 9xx release.
Findings (rule violations in an artifact) share the number space but are values, not exceptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

EXIT_OK = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_MISSING = 3
EXIT_BUILD = 4
EXIT_SIGNING = 5
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130


class BuildmatrixError(Exception):
    """The root of all errors that a user can act on."""

    code: ClassVar[str] = "BM000"
    exit_status: ClassVar[int] = EXIT_INTERNAL

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        """The error as a person reads it: one line, then why and fix where there are any."""
        lines = [f"{self.code} {self.what}"]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong in matrix.toml: where, what was found, what is allowed."""

    key: str
    got: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        """One line: key path, got and expected, and a suggestion where there is one."""
        text = f"{self.key}: got {self.got}, expected {self.expected}"
        return f"{text}; {self.hint}" if self.hint else text


class MatrixError(BuildmatrixError):
    """matrix.toml has problems; all of them travel together."""

    code = "BM101"
    exit_status = EXIT_USAGE

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        count = f"{len(problems)} problem" + ("" if len(problems) == 1 else "s")
        super().__init__(
            f"{path}: {count}\n" + "\n".join(f"  {problem}" for problem in problems),
            fix=f"edit {path}; `buildmatrix schema` prints every key with its type and default",
        )
        self.problems = problems


class MatrixMissing(BuildmatrixError):
    """There is no matrix.toml where one was looked for, or it cannot be read."""

    code = "BM102"
    exit_status = EXIT_USAGE


class MatrixSyntax(BuildmatrixError):
    """matrix.toml is not TOML."""

    code = "BM103"
    exit_status = EXIT_USAGE


class UsageError(BuildmatrixError):
    """A command was given something it cannot work with."""

    code = "BM104"
    exit_status = EXIT_USAGE


class NothingSelected(BuildmatrixError):
    """A selection matched no cell of the matrix."""

    code = "BM201"
    exit_status = EXIT_MISSING


class ToolMissing(BuildmatrixError):
    """A compiler or program that the plan needs is not there and cannot be provided."""

    code = "BM202"
    exit_status = EXIT_MISSING


class CompilerMismatch(BuildmatrixError):
    """A C compiler emits code for another machine than the target's, or none at all."""

    code = "BM203"
    exit_status = EXIT_MISSING


class VersionUnknown(BuildmatrixError):
    """The project's version cannot be derived from git."""

    code = "BM204"
    exit_status = EXIT_USAGE


class SourceMissing(BuildmatrixError):
    """The Go module, or a package in it, that the matrix names is not there."""

    code = "BM205"
    exit_status = EXIT_USAGE


class PackagesUnlisted(BuildmatrixError):
    """The packages of a program, or the programs that it starts, cannot be found out."""

    code = "BM206"
    exit_status = EXIT_MISSING


class BuildFailed(BuildmatrixError):
    """A compiler ran and gave up; its command and output travel along."""

    code = "BM301"
    exit_status = EXIT_BUILD

    def __init__(
        self, what: str, *, command: tuple[str, ...] = (), output: str = "", why: str = "", fix: str = ""
    ) -> None:
        super().__init__(what, why=why, fix=fix)
        self.command = command
        self.output = output


class DiskFull(BuildmatrixError):
    """No space was left while an artifact or a record was written; what was there before still is."""

    code = "BM302"
    exit_status = EXIT_BUILD


class DistUnwritable(BuildmatrixError):
    """The output directory cannot be written."""

    code = "BM303"
    exit_status = EXIT_BUILD


class CommandTimeout(BuildmatrixError):
    """A program ran longer than it was allowed to."""

    code = "BM304"
    exit_status = EXIT_BUILD


class ScanFailed(BuildmatrixError):
    """A file could not be read in full."""

    code = "BM401"
    exit_status = EXIT_FINDINGS


class NativeMissing(BuildmatrixError):
    """The compiled core is not importable."""

    code = "BM402"
    exit_status = EXIT_MISSING


class RecordInvalid(BuildmatrixError):
    """A record in dist/ is not what its writer writes."""

    code = "BM701"
    exit_status = EXIT_FINDINGS


class SigningFailed(BuildmatrixError):
    """Something could not be signed; nothing half-signed was left."""

    code = "BM760"
    exit_status = EXIT_SIGNING


class KeyDamaged(BuildmatrixError):
    """A key, certificate or trusted root cannot be read, or is not what its name says."""

    code = "BM761"
    exit_status = EXIT_SIGNING


class WrongPassword(BuildmatrixError):
    """The password does not open the private key."""

    code = "BM762"
    exit_status = EXIT_SIGNING


class KeyExposed(BuildmatrixError):
    """Others than its owner may read or change a private key."""

    code = "BM763"
    exit_status = EXIT_SIGNING


class KeyParameters(BuildmatrixError):
    """A private key asks for scrypt parameters that no tool writes."""

    code = "BM764"
    exit_status = EXIT_SIGNING


class KeyExists(BuildmatrixError):
    """A new key would replace one that is there."""

    code = "BM765"
    exit_status = EXIT_SIGNING


class PasswordMissing(BuildmatrixError):
    """A private key needs a password, and there is nobody to ask."""

    code = "BM766"
    exit_status = EXIT_SIGNING


class ReferenceInvalid(BuildmatrixError):
    """An image reference, digest or platform is not written as the specifications say."""

    code = "BM801"
    exit_status = EXIT_USAGE


class RegistryUnreachable(BuildmatrixError):
    """A registry gave no answer: it cannot be connected to, its certificate is not trusted, or it is too slow."""

    code = "BM802"
    exit_status = EXIT_MISSING


class RegistryDenied(BuildmatrixError):
    """A registry, or a credential helper, refused the credentials or what they may do."""

    code = "BM803"
    exit_status = EXIT_MISSING


class NotInRegistry(BuildmatrixError):
    """A registry or an image layout does not hold a manifest, a tag or a blob."""

    code = "BM804"
    exit_status = EXIT_FINDINGS


class RegistryFailed(BuildmatrixError):
    """A registry answered with an error, or with what the distribution specification does not allow."""

    code = "BM805"
    exit_status = EXIT_FINDINGS


class ContentMismatch(BuildmatrixError):
    """The bytes of a blob or manifest are not those that its digest and size name."""

    code = "BM806"
    exit_status = EXIT_FINDINGS


class ContentInvalid(BuildmatrixError):
    """An image layout, index or manifest is not what the image specification says."""

    code = "BM807"
    exit_status = EXIT_FINDINGS


class ReferrersConflict(BuildmatrixError):
    """Another writer keeps changing the index of referrers; what was to be added is not in it."""

    code = "BM808"
    exit_status = EXIT_FINDINGS


class ImageInputInvalid(BuildmatrixError):
    """A file, a base or a setting of an image cannot be used."""

    code = "BM841"
    exit_status = EXIT_USAGE


class LayerInvalid(BuildmatrixError):
    """A layer of an image cannot be read to its end, or claims more than an honest one would."""

    code = "BM842"
    exit_status = EXIT_FINDINGS


class ImageMissing(BuildmatrixError):
    """An image was not built yet, or its layout in dist/ is damaged."""

    code = "BM843"
    exit_status = EXIT_MISSING


class TagTaken(BuildmatrixError):
    """A tag points to another image, or was moved by somebody else meanwhile; no tag was moved."""

    code = "BM844"
    exit_status = EXIT_FINDINGS


class EngineFailed(BuildmatrixError):
    """A container engine or builder is not there, or gave up; what a step of a build printed travels along."""

    code = "BM845"
    exit_status = EXIT_MISSING

    def __init__(self, what: str, *, why: str = "", fix: str = "", output: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.output = output


class ManifestInvalid(BuildmatrixError):
    """A chart, kustomization or manifest cannot be rendered, or is not YAML that Kubernetes could read."""

    code = "BM920"
    exit_status = EXIT_FINDINGS


class FixRefused(BuildmatrixError):
    """A chart or manifest cannot be mended so that its check passes; nothing was written."""

    code = "BM936"
    exit_status = EXIT_FINDINGS


class RolloutRefused(BuildmatrixError):
    """A roll-out cannot be staged; nothing was written."""

    code = "BM937"
    exit_status = EXIT_FINDINGS


class BundleRefused(BuildmatrixError):
    """A rollback bundle cannot be made of what is there; none was written."""

    code = "BM940"
    exit_status = EXIT_FINDINGS


class Undetectable(BuildmatrixError):
    """A script on a host cannot tell this root cause, or there is no such cause."""

    code = "BM941"
    exit_status = EXIT_USAGE


class RepairRefused(BuildmatrixError):
    """A file cannot be repaired safely, and was left alone."""

    code = "BM942"
    exit_status = EXIT_FINDINGS


class RepairFailed(BuildmatrixError):
    """The program that edits ELF files gave up, or damaged the copy that it was given; nothing was written."""

    code = "BM943"
    exit_status = EXIT_FINDINGS


class DeliveryRefused(BuildmatrixError):
    """The parts of a fix do not belong together; nothing was written."""

    code = "BM944"
    exit_status = EXIT_FINDINGS


class PromotionFailed(BuildmatrixError):
    """A release did not arrive whole at its destination, or would replace signatures there; no tag was moved."""

    code = "BM914"
    exit_status = EXIT_FINDINGS


class TagsPartlyMoved(BuildmatrixError):
    """Some of several tags were set and others not; which is told, and a second run ends it."""

    code = "BM915"
    exit_status = EXIT_FINDINGS


class StoreFailed(BuildmatrixError):
    """The validation store cannot be opened, brought up to date, read or written; no half row was left."""

    code = "BM990"
    exit_status = EXIT_MISSING


class StoreConflict(BuildmatrixError):
    """A measurement is in the validation store with another result; nothing was written."""

    code = "BM991"
    exit_status = EXIT_FINDINGS


class RowInvalid(BuildmatrixError):
    """A row for the validation store is not one: a key is missing, or a value is out of its bounds."""

    code = "BM992"
    exit_status = EXIT_USAGE
