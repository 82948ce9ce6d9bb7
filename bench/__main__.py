"""``python -m bench [--only NAME] [--json FILE]``: comparisons with neighbouring tools, side by side."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from bench import peers
from bench.cases import CASES
from bench.measure import Result


def _dentries() -> dict[str, object]:
    """How full the kernel's table of names is: a small one makes every open of both sides slower alike."""
    state, line = Path("/proc/sys/fs/dentry-state"), Path("/proc/cmdline")
    if not (state.exists() and line.exists()):
        return {}
    sizes = [word.partition("=")[2] for word in line.read_text().split() if word.startswith("dhash_entries=")]
    return {"dentries": int(state.read_text().split()[0]), "dhash_entries": int(sizes[-1]) if sizes else "default"}


def _machine() -> dict[str, object]:
    model = "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        **_dentries(),
    }


def main() -> int:
    """Run the chosen cases; 1 where a target was missed, 3 where a neighbour is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(CASES), help="one case; may be repeated")
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON too")
    arguments = parser.parse_args()
    results: list[Result] = []
    missing = False
    for name in arguments.only or CASES:
        try:
            for result in CASES[name]():
                results.append(result)
                print(result.line(), flush=True)  # noqa: T201
        except peers.PeerMissing as error:
            missing = True
            print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
    if arguments.json:
        rows = [asdict(result) | {"ratio": result.ratio, "reached": result.reached} for result in results]
        Path(arguments.json).write_text(
            json.dumps({"schema": 1, "machine": _machine(), "results": rows}, indent=1) + "\n"
        )
    if missing:
        return 3
    return 0 if all(result.reached for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
