"""Queries and verdicts as JSON Lines: `buildmatrix explain --batch`.

A query names a root, a command, an environment, who runs it and the target; the answer is the verdict
in one line. Roots stay open from query to query.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from buildmatrix import errors
from buildmatrix.host import HANDLERS, Host, parse, with_cpu, with_kernel, with_page_size
from buildmatrix.preflight.context import Libraries
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.running import running
from buildmatrix.preflight.verdict import Verdict
from buildmatrix.preflight.walk import Credentials, View

SCHEMA = 1


def host_of(target: dict[str, Any]) -> Host:
    """The host that a query's `target` describes. `cpu` "host" is the CPU of the running machine."""
    host = parse(str(target["arch"]))
    host = with_page_size(host, int(target.get("page_size", 4096)))
    if "kernel" in target:
        host = with_kernel(host, str(target["kernel"]))
    cpu = str(target.get("cpu", ""))
    if cpu == "host":
        here = running()
        if here.arch == host.arch:
            host = replace(host, level=here.level, features=here.features, kernel=here.kernel)
    elif cpu:
        host = with_cpu(host, cpu)
    names = [str(name) for name in target.get("binfmt_misc", ())]
    unknown = [name for name in names if name not in HANDLERS]
    if unknown:
        raise errors.UsageError(f"binfmt_misc: got {unknown[0]}, expected one of {', '.join(sorted(HANDLERS))}")
    return replace(
        host,
        name=str(target.get("name", host.name)),
        compat32=bool(target.get("compat32", host.compat32)),
        handlers=tuple(HANDLERS[name] for name in names),
    )


class Batch:
    """Answers queries against the roots below one folder."""

    def __init__(self, roots: Path) -> None:
        self.roots = roots
        self._roots: dict[str, DirectoryRoot] = {}
        self._libraries: dict[str, Libraries] = {}

    def _root(self, name: str) -> DirectoryRoot:
        if name not in self._roots:
            if "/" in name or name in ("", ".", ".."):
                raise errors.UsageError(f"rootfs: got {name!r}, expected the name of a folder below {self.roots}")
            self._roots[name] = DirectoryRoot(self.roots / name)
            self._libraries[name] = Libraries()
        return self._roots[name]

    def answer(self, query: dict[str, Any]) -> Verdict:
        """The verdict on one query. Raises UsageError, KeyError, TypeError or ValueError on a bad one."""
        mounts = query.get("mounts", {})
        name = str(query["rootfs"])
        view = View(
            root=self._root(name),
            who=Credentials(uid=int(query.get("uid", 0)), gid=int(query.get("gid", 0))),
            cwd=str(query.get("cwd", "/")),
            proc=bool(mounts.get("proc", True)),
            noexec=tuple(map(str, mounts.get("noexec", ()))),
        )
        held = query.get("held_open_for_writing") or ()
        command = Command(
            path=str(query["command"]["path"]),
            argv=tuple(map(str, query["command"]["argv"])),
            env={str(key): str(value) for key, value in query.get("environment", {}).items()},
            held_open=(held,) if isinstance(held, str) else tuple(held),
        )
        return Judge(view, host_of(query["target"]), self._libraries[name]).judge(command)

    def answers(self, lines: Iterable[str]) -> Iterator[str]:
        """One JSON line for each query line; a query that cannot be read gets an `error`."""
        for line in lines:
            if not line.strip():
                continue
            identity: object = None
            try:
                query = json.loads(line)
                identity = query.get("id") if isinstance(query, dict) else None
                yield json.dumps({"id": identity, **as_json(self.answer(query))}, sort_keys=True)
            except errors.BuildmatrixError as error:
                yield json.dumps({"id": identity, "error": error.what})
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                yield json.dumps({"id": identity, "error": f"{type(error).__name__}: {error}"})


def as_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON; `schema` is the version of this form."""
    return {
        "schema": SCHEMA,
        "path": verdict.path,
        "stage": verdict.stage.value,
        "cause": verdict.cause,
        "errno": verdict.errno,
        "exit": verdict.exit,
        "signal": verdict.signal,
        "message": verdict.message,
        "certain": verdict.certain,
        "depends": list(verdict.depends),
        "evidence": [{"place": item.place, "offset": item.offset, "text": item.text} for item in verdict.evidence],
        "fix": verdict.fix,
        "warnings": list(verdict.warnings),
        "needed": [
            {"by": item.by, "name": item.name, "path": item.path, "rule": item.rule, "problem": item.problem}
            for item in verdict.needed
        ],
        "emulated": verdict.emulated,
    }
