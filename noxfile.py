"""This repository's sessions: the matrix's own, and what keeps the code right.

`nox -s build-arm64` is the main job, `nox -s tests` passes the tests. `nox --list` shows the rest.
"""

import shutil
import sys
from pathlib import Path

import nox

try:
    import buildmatrix.sessions
except ImportError as error:
    sys.exit(f"noxfile.py: buildmatrix cannot be imported ({error})\n  fix: pip install .")

buildmatrix.sessions.register()

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["plan"]

ROOT = Path(__file__).parent
NEWEST_PYTHON = 20


def _install(session: nox.Session, *extras: str) -> None:
    """The checkout itself, editable, with optional dependencies."""
    session.install("--quiet", "-e", f".[{','.join(extras)}]")


@nox.session(default=False)
def tests(session: nox.Session) -> None:
    """The tests; what follows -- goes to pytest."""
    _install(session, "test", "toolchains", "keyless")
    session.run("pytest", *(session.posargs or ["-n", "auto", "-m", "not integration"]))


@nox.session(default=False)
def integration(session: nox.Session) -> None:
    """Tests with emulators, cross compilers and root; .ci/run installs what they need on Debian."""
    _install(session, "test", "keyless")
    session.run("pytest", *(session.posargs or ["-n", "2", "--dist", "loadfile", "-m", "integration"]))


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Style, formatting and types; warnings are errors."""
    _install(session, "test", "lint", "keyless")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Speed as ratios against peers in one run; what follows -- goes to `python -m bench`."""
    _install(session, "test", "toolchains")
    session.run("python", "-m", "bench", *session.posargs)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Fuzz the reader; `nox -s fuzz -- SECONDS [RUNS]` (60 seconds where none are given; RUNS ends it earlier)."""
    _install(session, "test")
    numbers = [int(number) for number in session.posargs] or [60]
    call = f"tasks.fuzz({numbers[0]}, runs={numbers[1] if len(numbers) > 1 else -1})"
    session.run("python", "-c", f"from native import tasks; print({call})")


@nox.session(default=False)
def differential(session: nox.Session) -> None:
    """The reader against pyelftools on every ELF file below /usr and /opt, or below what follows --."""
    _install(session, "test")
    places = session.posargs or [place for place in ("/usr", "/opt") if Path(place).is_dir()]
    session.run("python", "-m", "tests.differential", *places)


@nox.session(default=False)
def sanitizers(session: nox.Session) -> None:
    """The C tests and the fuzzer's corpus under AddressSanitizer and UndefinedBehaviorSanitizer."""
    _install(session, "test")
    session.run("python", "-c", "from native import tasks; print(tasks.sanitizers())")


@nox.session(default=False)
def lab(session: nox.Session) -> None:
    """The preflight against recorded executions; `nox -s lab -- DIR` with cases.json and roots/ in DIR."""
    if not session.posargs:
        session.error("name the folder: nox -s lab -- DIR (docs/preflight.md says what is in it)")
    _install(session, "test")
    folder, *rest = session.posargs
    session.run("pytest", "tests/test_preflight_lab.py", *rest, env={"BUILDMATRIX_LAB": str(Path(folder).absolute())})


@nox.session(default=False)
def difftest(session: nox.Session) -> None:
    """The preflight against this machine's kernel and loaders, with mutants; needs root.

    What follows -- goes to `python -m tests.difftest`, such as --mutants 100000.
    """
    _install(session, "test")
    session.run("python", "-m", "tests.difftest", *session.posargs)


@nox.session(name="difftest-arm64", default=False)
def difftest_arm64(session: nox.Session) -> None:
    """The preflight against Debian's arm64 kernels with 4K and 16K pages, in virtual machines.

    What follows -- goes to `python -m tests.difftest.arm64`, such as --mutants 2000 --kernels 16k.
    """
    _install(session, "test")
    session.run("python", "-m", "tests.difftest.arm64", *session.posargs)


@nox.session(name="difftest-search", default=False)
def difftest_search(session: nox.Session) -> None:
    """Which libraries real loaders take in random layouts, and which the preflight; makes the root; needs root.

    What follows -- goes to `python -m tests.difftest.search`, such as --libc musl --layouts 2000 or --arch arm64.
    """
    _install(session, "test")
    session.run("python", "-m", "tests.difftest.search", *session.posargs)


@nox.session(name="debian-roots", default=False)
def debian_roots(session: nox.Session) -> None:
    """Whole Debian roots of three architectures against their own loaders; needs root, mmdebstrap, qemu-user.

    What follows -- goes to `python -m tests.debianroots`, such as --small or --arch arm64.
    """
    _install(session, "test")
    session.run("python", "-m", "tests.debianroots", *session.posargs)


@nox.session(default=False)
def wheel(session: nox.Session) -> None:
    """One abi3 wheel, and proof that it works on every Python from 3.11 that is on PATH."""
    session.install("--quiet", "build")
    wheels = ROOT / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(wheels), silent=True)
    (built,) = wheels.glob("*.whl")
    if "abi3" not in built.name:
        session.error(f"{built.name}: got a wheel for one Python, expected abi3")
    for minor in range(11, NEWEST_PYTHON):
        python = _python(session, minor)
        if python is not None:
            _try_wheel(session, python, built, Path(session.create_tmp()).absolute() / f"3.{minor}")


def _python(session: nox.Session, minor: int) -> str | None:
    """A Python of that version that really starts: a shim on PATH may not."""
    name = f"python3.{minor}"
    if shutil.which(name) is None:
        return None
    said = session.run(name, "--version", external=True, silent=True, success_codes=range(128))
    return name if isinstance(said, str) and said.startswith(f"Python 3.{minor}.") else None


def _try_wheel(session: nox.Session, python: str, built: Path, folder: Path) -> None:
    session.run(python, "-m", "venv", "--clear", str(folder), external=True)
    inside = str(folder / "bin" / "python")
    requirement = f"buildmatrix[test] @ {built.as_uri()}"
    session.run(inside, "-m", "pip", "install", "--quiet", requirement, external=True)
    # From a copy without the package, so that the checkout's own is not imported instead.
    copy = folder.with_name(f"{folder.name}-checkout")
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("tests", "native", "docs"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, copy)
    tests = sorted(
        str(path.relative_to(ROOT))
        for pattern in ("test_elf_*", "test_hash*", "test_scan*", "test_batch*")
        for path in (ROOT / "tests").glob(f"{pattern}.py")
    )
    with session.chdir(copy):
        session.run(inside, "-m", "pytest", "-q", "-m", "not integration", *tests, external=True)
