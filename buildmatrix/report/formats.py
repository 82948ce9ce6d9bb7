"""The formats of a report, each rendered by the module of that name, loaded when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from buildmatrix.report.model import ReportModel

MODULES = {"html": "html", "json": "jsonform", "markdown": "markdown", "sarif": "sarif", "junit": "junit"}


def render(report: ReportModel, form: str) -> bytes:
    """The report in one format, as the bytes of a file."""
    module = importlib.import_module(f"buildmatrix.report.{MODULES[form]}")
    write: Callable[[ReportModel], str] = module.render
    return write(report).encode("utf-8", "backslashreplace")
