"""The command line: commands and their help, and every exit status that it promises."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tomli_w

from buildmatrix import __version__, cli, codes, errors
from buildmatrix.schema import page
from tests import factory

COMMANDS = pytest.mark.parametrize("name", cli.COMMANDS)
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a matrix of two targets, as the working directory."""
    tables = factory.document(targets={"amd64": {"goarch": "amd64"}, "arm64": {"goarch": "arm64"}})
    (tmp_path / "matrix.toml").write_text(tomli_w.dumps(tables))
    factory.module(tmp_path, **{"cmd/app/main.go": "package main\n\nfunc main() {}\n"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@COMMANDS
def test_every_command_has_a_module_with_its_summary(name: str) -> None:
    module = importlib.import_module(f"buildmatrix.commands.{name.replace('-', '_')}")
    assert cli.COMMANDS[name] == module.SUMMARY
    assert callable(module.configure)
    assert callable(module.run)


def test_every_module_is_a_command() -> None:
    files = {path.stem for path in (factory.ROOT / "buildmatrix" / "commands").glob("*.py")}
    helpers = {"__init__", "options", "_inputs"}
    assert {name for name in files - helpers if not name.startswith("_")} == {
        name.replace("-", "_") for name in cli.COMMANDS
    }


@COMMANDS
def test_every_command_has_help(name: str, capsys: Captured) -> None:
    assert cli.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"buildmatrix {name}" in text
    assert cli.COMMANDS[name].split()[0].lower() in text.lower()


def test_the_help_names_every_command_and_exit_status(capsys: Captured) -> None:
    assert cli.main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(f" {name} " in text and summary in text for name, summary in cli.COMMANDS.items())
    assert "0 clean, 1 findings, 2 usage or configuration, 3 missing tool" in text


def test_the_version(capsys: Captured) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"buildmatrix {__version__}\n"


@COMMANDS
def test_a_wrong_flag_is_a_usage_error(name: str, capsys: Captured) -> None:
    assert cli.main([name, "--no-such-flag"]) == 2
    assert "usage: buildmatrix" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["Build"], ["--matrix", "x"]])
def test_no_or_an_unknown_command_is_a_usage_error(arguments: list[str], capsys: Captured) -> None:
    assert cli.main(arguments) == 2
    assert "usage: buildmatrix" in capsys.readouterr().err


MATRIX_COMMANDS = [
    name for name in cli.COMMANDS if name in ("plan", "build", "verify", "repro", "doctor", "make", "clean")
]


@pytest.mark.parametrize("name", MATRIX_COMMANDS)
def test_a_missing_matrix(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(
        f"BM102 {tmp_path}/matrix.toml: cannot be read\n  why: No such file or directory\n  fix:"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in MATRIX_COMMANDS if name not in ("make", "clean")])
def test_an_unknown_target_gets_the_closest(name: str, project: Path, capsys: Captured) -> None:
    assert cli.main([name, "--target", "arm46"]) == 3
    error = capsys.readouterr().err
    assert error.startswith("BM201 no target matches 'arm46': expected one of amd64, arm64\n")
    assert "did you mean 'arm64'?" in error
    assert not (project / "dist").exists()


def test_a_matrix_with_problems_tells_all(project: Path, capsys: Captured) -> None:
    (project / "matrix.toml").write_text("schema = 1\ncolour = 1\n")
    assert cli.main(["plan"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("BM101 ")
    assert "colour: got an unknown key" in error
    assert "project.name: got nothing" in error


@pytest.mark.parametrize("dist", [".", "..", "/"])
@pytest.mark.parametrize("name", ["clean", "build", "verify"])
def test_an_output_folder_that_holds_the_project_is_refused(
    name: str, dist: str, project: Path, capsys: Captured
) -> None:
    before = sorted(path.name for path in project.iterdir())
    assert cli.main([name, "--dist", dist]) == 2
    assert "expected a folder of its own" in capsys.readouterr().err
    assert sorted(path.name for path in project.iterdir()) == before


def test_plan_prints_and_touches_nothing(project: Path, capsys: Captured) -> None:
    assert cli.main(["plan", "--target", "arm64"]) == 0
    text = capsys.readouterr().out
    assert "app_arm64  linux/arm64 v8.0" in text
    assert "GOARCH=arm64" in text
    assert "app_amd64" not in text
    assert not (project / "dist").exists()


def test_passwords_in_addresses_are_not_shown(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("GOPROXY", "https://user:hunter2@proxy.example.org,direct")
    for flags in ([], ["--json"]):
        assert cli.main(["plan", *flags]) == 0
        text = capsys.readouterr().out
        assert "hunter2" not in text
        assert "//***@proxy.example.org,direct" in text


def test_clean_removes_what_the_matrix_does_not_know(project: Path, capsys: Captured) -> None:
    for name in ("app_amd64/app", "app_amd64/stray", "old_amd64/old", "checksums.txt", "note.txt"):
        (project / "dist" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "dist" / name).write_text("x")
    left = {"app_amd64/app", "checksums.txt"}

    def files() -> set[str]:
        root = project / "dist"
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    everything = files()
    assert cli.main(["clean", "--dry-run"]) == 0
    assert files() == everything
    assert capsys.readouterr().out.count("would remove") == 3
    assert cli.main(["clean"]) == 0
    assert files() == left
    assert cli.main(["clean", "--all"]) == 0
    assert files() == set()


@pytest.mark.parametrize("flags", [[], ["--all"]])
def test_clean_refuses_a_folder_that_is_not_its_own(flags: list[str], project: Path, capsys: Captured) -> None:
    (project / "photos").mkdir()
    (project / "photos" / "cat.jpg").write_text("x")
    assert cli.main(["clean", "--dist", "photos", *flags]) == 2
    assert "none of buildmatrix's" in capsys.readouterr().err
    assert (project / "photos" / "cat.jpg").exists()


def test_schema_prints_what_it_says(capsys: Captured) -> None:
    assert cli.main(["schema", "--markdown"]) == 0
    assert capsys.readouterr().out == page.reference()


@pytest.mark.parametrize(("which", "page"), [("errors", codes.errors_page), ("checks", codes.checks_page)])
def test_codes_prints_the_pages(which: str, page: object, capsys: Captured) -> None:
    assert callable(page)
    assert cli.main(["codes", "--markdown", which]) == 0
    assert capsys.readouterr().out == page()


def test_codes_explains_one_and_suggests_for_none(capsys: Captured) -> None:
    assert cli.main(["codes", "bm505"]) == 0
    assert capsys.readouterr().out.startswith("BM505 wrong loader (finding, exit status 1)\n\nA PT_INTERP")
    assert cli.main(["codes"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(codes.every())
    assert cli.main(["codes", "BM505X"]) == 2
    assert "did you mean BM505" in capsys.readouterr().err


def _raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    from buildmatrix.commands import schema as command

    def run(_arguments: object) -> int:
        raise error

    monkeypatch.setattr(command, "run", run)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (errors.ToolMissing("no go", fix="get one"), 3, "BM202 no go\n  fix: get one\n"),
        (errors.BuildFailed("broken"), 4, "BM301 broken\n"),
        (errors.ScanFailed("unreadable"), 1, "BM401 unreadable\n"),
        (KeyboardInterrupt(), 130, "interrupted: "),
        (ZeroDivisionError("oops"), 70, "ZeroDivisionError: oops\nthis is a defect of buildmatrix"),
        (SystemExit(2), 2, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_become_exit_statuses(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, error: BaseException, status: int, words: str
) -> None:
    _raising(monkeypatch, error)
    assert cli.main(["schema"]) == status
    assert words in capsys.readouterr().err


def test_sigterm_interrupts_and_the_handler_is_put_back(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    from buildmatrix.commands import schema as command

    def run(_arguments: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigtimedwait((), 5)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(command, "run", run)
    assert cli.main(["schema"]) == 130
    assert signal.getsignal(signal.SIGTERM) is before


def test_main_works_outside_the_main_thread(capsys: Captured) -> None:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(cli.main(["codes"])))
    thread.start()
    thread.join()
    assert statuses == [0]


@pytest.mark.parametrize("arguments", [["schema"], ["codes", "BM505"]], ids=["long output", "short output"])
def test_a_reader_that_goes_away_is_no_traceback(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "buildmatrix", *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_module_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "buildmatrix", "no-such"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "invalid choice: 'no-such'" in done.stderr
