"""Digests against hashlib: sizes, alignments, mixtures, and vectors that can be regenerated."""

from __future__ import annotations

import hashlib
import platform
import random

import pytest
from buildmatrix._native import ffi, lib
from hypothesis import given, settings
from hypothesis import strategies as st

from buildmatrix import elf, hashing
from buildmatrix.errors import UsageError

ALGORITHMS = tuple(elf.HASHES)
CPUS = {
    "sse2": 0,
    "ssse3": 128,
    "avx": 128 | 256,
    "bmi2": 1,
    "avx2": 1 | 2,
    "avx2-sha": 1 | 2 | 4,
    "avx512": 1 | 2 | 64,
    "everything": 0xFFFFFFFF,
}
DATA = random.Random(1).randbytes(1 << 20)


@pytest.fixture(params=CPUS, ids=list(CPUS))
def cpu(request: pytest.FixtureRequest) -> None:
    lib.bm_hash_limit(CPUS[request.param])
    request.addfinalizer(lambda: lib.bm_hash_limit(0xFFFFFFFF))


def _kernels() -> list[tuple[str, str]]:
    found = []
    for algorithm, bit in elf.HASHES.items():
        number = 0
        while (name := lib.bm_hash_usable(bit, number)) != ffi.NULL:
            found.append((algorithm, ffi.string(name).decode()))
            number += 1
    return found


KERNELS = _kernels()


@pytest.fixture(params=KERNELS, ids=[f"{algorithm}-{name}" for algorithm, name in KERNELS])
def kernel(request: pytest.FixtureRequest) -> str:
    """The algorithm whose every message goes through one kernel."""
    algorithm, name = request.param
    request.addfinalizer(lambda: lib.bm_hash_limit(0xFFFFFFFF))
    assert lib.bm_hash_use(elf.HASHES[algorithm], name.encode())
    assert ffi.string(lib.bm_hash_kernel(elf.HASHES[algorithm], 1)).decode() == name
    return str(algorithm)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the kernels of x86-64 CPUs without BMI2")
@pytest.mark.parametrize(
    ("mask", "expected"),
    [(0, ["portable", "sse2 schedule"]), (128, ["portable", "sse2 schedule", "ssse3 schedule"])],
)
def test_a_cpu_without_bmi2_runs_only_what_it_has(
    request: pytest.FixtureRequest, mask: int, expected: list[str]
) -> None:
    request.addfinalizer(lambda: lib.bm_hash_limit(0xFFFFFFFF))
    lib.bm_hash_limit(mask)
    for algorithm, bit in elf.HASHES.items():
        assert [name for each, name in _kernels() if each == algorithm] == expected
        assert all(ffi.string(lib.bm_hash_kernel(bit, lanes)).decode() in expected for lanes in range(1, 17))


def test_every_kernel_on_sizes_up_to_a_mebibyte(kernel: str) -> None:
    chooser = random.Random(kernel)
    for exponent in range(21):
        size = min(chooser.randrange(1 << exponent, 2 << exponent), len(DATA))
        start = chooser.randrange(len(DATA) - size + 1)
        data = memoryview(DATA)[start : start + size]
        assert elf.hash_buffers(kernel, [data])[0] == hashlib.new(kernel, data).digest()
    assert elf.hash_buffers(kernel, [DATA, b""]) == [hashlib.new(kernel, data).digest() for data in (DATA, b"")]


def test_every_kernel_with_every_number_of_unequal_messages(kernel: str) -> None:
    chooser = random.Random(kernel)
    for count in range(1, 36):
        buffers = [DATA[: chooser.randrange(3000)] for _ in range(count)]
        assert elf.hash_buffers(kernel, buffers) == [hashlib.new(kernel, data).digest() for data in buffers]


def test_every_kernel_with_random_cuts(kernel: str) -> None:
    chooser = random.Random(kernel)
    for most in (3, 70, 300, 5000):
        _in_pieces(kernel, [chooser.randrange(most) for _ in range(60)])


def test_no_kernel_of_another_name() -> None:
    assert lib.bm_hash_use(elf.HASHES["sha256"], b"abacus") == 0
    assert lib.bm_hash_use(12345, b"portable") == 0
    assert lib.bm_hash_usable(12345, 0) == ffi.NULL


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.usefixtures("cpu")
def test_every_size_around_the_blocks(algorithm: str) -> None:
    buffers = [DATA[offset % 13 : offset % 13 + size] for offset, size in enumerate(range(1100))]
    assert elf.hash_buffers(algorithm, buffers) == [hashlib.new(algorithm, data).digest() for data in buffers]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.usefixtures("cpu")
def test_sizes_up_to_a_mebibyte_mixed_in_one_call(algorithm: str) -> None:
    chooser = random.Random(2)
    buffers = [DATA[: chooser.choice((chooser.randrange(1 << 20), chooser.randrange(200)))] for _ in range(60)]
    buffers += [DATA, b"", memoryview(DATA)[5:70000], bytearray(DATA[:12345])]  # type: ignore[list-item]
    assert elf.hash_buffers(algorithm, buffers) == [hashlib.new(algorithm, data).digest() for data in buffers]


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 5000), max_size=40), algorithm=st.sampled_from(ALGORITHMS))
def test_any_mixture(sizes: list[int], algorithm: str) -> None:
    buffers = [DATA[size : 2 * size] for size in sizes]
    assert elf.hash_buffers(algorithm, buffers) == [hashlib.new(algorithm, data).digest() for data in buffers]


@settings(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=30), algorithm=st.sampled_from(ALGORITHMS))
def test_cuts_do_not_matter(cuts: list[int], algorithm: str) -> None:
    _in_pieces(algorithm, cuts)


def _in_pieces(algorithm: str, cuts: list[int]) -> None:
    context = lib.bm_hash_new(elf.HASHES[algorithm])
    digest = ffi.new("uint8_t[64]")
    expected = hashlib.new(algorithm)
    for number, size in enumerate(cuts):
        piece = DATA[number : number + size]
        expected.update(piece)
        lib.bm_hash_update(context, piece, size)
    lib.bm_hash_finish(context, digest)
    lib.bm_hash_free(context)
    assert bytes(digest)[: expected.digest_size] == expected.digest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_monte_carlo(algorithm: str) -> None:
    """The chain of FIPS 140's Monte Carlo test: every message is made of the three digests before."""
    ours = theirs = [hashlib.new(algorithm, b"seed").digest()] * 3
    for _ in range(1000):
        ours = [*ours[1:], elf.hash_buffers(algorithm, [b"".join(ours)])[0]]
        theirs = [*theirs[1:], hashlib.new(algorithm, b"".join(theirs)).digest()]
    assert ours[-1] == theirs[-1]


def test_published_vectors() -> None:
    assert elf.hash_buffers("sha256", [b"abc"])[0].hex().startswith("ba7816bf8f01cfea414140de5dae2223")
    assert elf.hash_buffers("sha512", [b"abc"])[0].hex().startswith("ddaf35a193617abacc417349ae204131")
    assert elf.hash_buffers("sha1", [b"abc"])[0].hex() == "a9993e364706816aba3e25717850c26c9cd0d89d"
    assert elf.hash_buffers("sha256", [b"a" * 1_000_000])[0].hex().startswith("cdc76e5c9914fb9281a1c7e284d73e67")


def test_more_than_four_gigabits_count_in_the_length() -> None:
    """The bit length of 512 MiB does not fit in 32 bits."""
    data = bytes(1 << 29)
    assert elf.hash_buffers("sha256", [data])[0] == hashlib.sha256(data).digest()


def test_no_buffers_and_unknown_algorithms() -> None:
    assert elf.hash_buffers("sha256", []) == []
    with pytest.raises(UsageError, match="got 'md5', expected one of sha256, sha512, sha1"):
        elf.hash_buffers("md5", [b""])


def test_the_self_test_knows_every_kernel() -> None:
    kernel = ffi.new("const char **")
    assert lib.bm_self_test(kernel) == 0
    assert kernel[0] == ffi.NULL
    for bit in elf.HASHES.values():
        assert 1 <= lib.bm_hash_width(bit) <= 16
        assert ffi.string(lib.bm_hash_kernel(bit, 1))


def test_dirhash_h1() -> None:
    """golang.org/x/mod/sumdb/dirhash, Hash1, worked out by its definition."""
    files = {"m@v1/go.mod": b"module m\n", "m@v1/a b.go": b"package m\n", "m@v1/A.go": b""}
    lines = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  m@v1/A.go\n",
        hashlib.sha256(b"package m\n").hexdigest() + "  m@v1/a b.go\n",
        hashlib.sha256(b"module m\n").hexdigest() + "  m@v1/go.mod\n",
    ]
    import base64

    expected = "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()
    assert hashing.dirhash(files) == expected
    with pytest.raises(UsageError, match="newline"):
        hashing.dirhash({"a\nb": b""})


def test_git_identifiers() -> None:
    """The identifiers that `git hash-object` and `git mktree` print for the same input."""
    assert hashing.git_blob(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert hashing.git_blob(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert hashing.git_tree({}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
