"""The comparisons: each makes what it needs, runs both sides, and gives its results."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import bills, closures, corpora, images, measure, orchestration, peers, signatures
from bench.measure import Result
from buildmatrix import elf

MEBI = float(1 << 20)


def _drain(entries: Iterator[elf.Scan]) -> None:
    for entry in entries:
        if not entry.ok and entry.issue is None:
            message = f"{entry!r} could not be read: the corpus is damaged"
            raise SystemExit(message)


def _executables(root: Path, threads: int) -> None:
    _drain(elf.scan_tree(root, hashes=(), recognised=True, threads=threads))


def tree() -> Iterator[Result]:
    """Facts of a tree against scanelf, which is asked for the fields that both have."""
    root, tool = corpora.tree(), peers.scanelf()
    command = [tool, "-q", "-R", "-F", "%M%D%e%i%n%r%S%o", str(root)]

    def theirs() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    for threads in (2, 1):
        yield measure.compare(
            f"facts of a tree, {threads} threads",
            "scanelf -R",
            functools.partial(_executables, root, threads),
            theirs,
            unit="files",
            amount=corpora.TREE_FILES,
            target=6 if threads == 2 else 3,
            rounds=5,
        )


def facts() -> Iterator[Result]:
    """Facts of a list of ELF files in one thread, one file after the other."""
    paths = [str(path) for path in corpora.executables(corpora.LIST_FILES)]

    def ours() -> None:
        _drain(elf.scan(paths, hashes=(), threads=1))

    def decoded() -> None:
        for entry in elf.scan(paths, hashes=(), threads=1):
            if entry.facts is None:
                raise SystemExit(f"{entry!r} has no facts")

    def pyelftools() -> None:
        for path in paths:
            peers.pyelftools(path)

    for name, work, target in (("facts of ELF files", ours, 150.0), ("facts of ELF files, decoded", decoded, 10.0)):
        yield measure.compare(
            name, "pyelftools", work, pyelftools, unit="files", amount=len(paths), target=target, rounds=3
        )
    yield _against_lief(paths, ours)


def _against_lief(paths: list[str], ours: Callable[[], None]) -> Result:
    """LIEF runs in its own environment, so the two alternate by process."""
    pairs = []
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(3):
            theirs = peers.lief(paths, Path(scratch), 3)
            pairs.append((min(measure.once(ours) for _ in range(12)), theirs))
    return Result(
        name="facts of ELF files",
        peer="LIEF, minimal",
        unit="files",
        amount=len(paths),
        ours=min(own for own, _ in pairs),
        theirs=min(other for _, other in pairs),
        median=sorted(other / own for own, other in pairs)[1],
        target=5,
    )


def memory() -> Iterator[Result]:
    """Many buffers in memory on one core."""
    evp = peers.Evp()
    buffers = [random.Random(number).randbytes(1 << 18) for number in range(64)]  # noqa: S311
    for algorithm, target in (("sha256", 1.9), ("sha512", 1.8), ("sha1", 1.5)):
        if elf.hash_buffers(algorithm, buffers) != evp.digests(algorithm, buffers):
            message = f"{algorithm}: the digests differ from OpenSSL's"
            raise SystemExit(message)
        yield measure.compare(
            f"{algorithm} in memory, 64 buffers",
            evp.version[:14] + " EVP",
            functools.partial(elf.hash_buffers, algorithm, buffers),
            functools.partial(evp.digests, algorithm, buffers),
            unit="MiB",
            amount=sum(map(len, buffers)) / MEBI,
            target=target,
            rounds=25,
        )


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hashlib(paths: list[Path], threads: int) -> None:
    if threads == 1:
        for path in paths:
            _file_digest(path)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(_file_digest, paths, chunksize=1 + len(paths) // (8 * threads)))


def _files(name: str, folder: Path, threads: int, unit: str, amount: float, target: float) -> Result:
    paths = sorted(folder.iterdir())
    return measure.compare(
        f"sha256 of {name}, {threads} threads",
        f"hashlib.file_digest, {threads}",
        lambda: _drain(elf.scan(paths, hashes=("sha256",), facts=False, threads=threads)),
        lambda: _hashlib(paths, threads),
        unit=unit,
        amount=amount,
        target=target,
    )


def small() -> Iterator[Result]:
    """Small files: opening and closing costs more than hashing."""
    for threads, target in ((1, 3.0), (2, 6.0)):
        yield _files("8 KiB files", corpora.small(), threads, "files", corpora.SMALL_FILES, target)


def large() -> Iterator[Result]:
    """Large files, two threads on each side."""
    amount = corpora.LARGE_FILES * corpora.LARGE_BYTES / MEBI
    yield _files("large files", corpora.large(), 2, "MiB", amount, 1.7)


def fused() -> Iterator[Result]:
    """What facts cost on top of a digest, from the same read."""
    paths = [str(path) for path in corpora.executables(1000)]
    yield measure.compare(
        "facts and sha256 together",
        "sha256 alone",
        lambda: _drain(elf.scan(paths, threads=1)),
        lambda: _drain(elf.scan(paths, facts=False, threads=1)),
        unit="files",
        amount=len(paths),
        target=1.1,
        rounds=11,
        most=True,
    )


CPU_PATHS = {
    "this CPU": ("", 0xFFFFFFFF),
    "no SHA instructions": (":~0x20000000", 3),
    "no AVX2 either": (":~0x20000020", 1 | 128 | 256),
    "AVX, no BMI": (":~0x20000128", 128 | 256),
    "SSSE3 only": ("~0x1000000000000000:~0x20000128", 128),
    "SSE2 only": ("~0x1000020000000000:~0x20000128", 0),
}
"""What OPENSSL_ia32cap takes from OpenSSL, and bm_hash_limit leaves to us."""

_SINGLE = """
import json, sys
from bench import cases
print(json.dumps(cases.single_times(int(sys.argv[1]))))
"""


def single_times(cpu: int) -> dict[str, tuple[float, float]]:
    """Best times of one buffer by algorithm: ours, then EVP's."""
    from buildmatrix._native import lib

    lib.bm_hash_limit(cpu)
    evp, buffer = peers.Evp(), [random.Random(0).randbytes(1 << 18)]  # noqa: S311
    times: dict[str, tuple[float, float]] = {}
    for algorithm in elf.HASHES:
        pairs = [
            (
                measure.once(functools.partial(elf.hash_buffers, algorithm, buffer)),
                measure.once(functools.partial(evp.digests, algorithm, buffer)),
            )
            for _ in range(200)
        ]
        times[algorithm] = min(own for own, _ in pairs), min(other for _, other in pairs)
    return times


def single() -> Iterator[Result]:
    """One buffer, where nothing can be interleaved, with what the CPU is said to have."""
    for name, (mask, cpu) in CPU_PATHS.items():
        environment = os.environ | ({"OPENSSL_ia32cap": mask} if mask else {})
        command = [sys.executable, "-c", _SINGLE, str(cpu)]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        for algorithm, (ours, theirs) in json.loads(done.stdout).items():
            yield Result(
                name=f"{algorithm}, one buffer, {name}",
                peer="OpenSSL EVP",
                unit="MiB",
                amount=0.25,
                ours=ours,
                theirs=theirs,
                median=theirs / ours,
                target=0.97,
            )


CASES: dict[str, Callable[[], Iterator[Result]]] = {
    "tree": tree,
    "facts": facts,
    "memory": memory,
    "small": small,
    "large": large,
    "fused": fused,
    "single": single,
    "cold": orchestration.cold,
    "bills": bills.bills,
    "signatures": signatures.signatures,
    "images": images.images,
    "unchanged": orchestration.unchanged,
    "closures": closures.closures,
    "start": closures.start,
}
