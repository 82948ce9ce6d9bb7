"""Builds ``buildmatrix._native``: the C core behind cffi's API mode and Python's limited API.

setup.py hands `ffi` to setuptools, which runs this file from the project's root. The declarations come
from bm.h as they stand between its two markers, so there is no second copy to disagree with it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
MARKED_REGION = re.compile(r"/\* cdef begin \*/(.*?)/\* cdef end \*/", re.DOTALL)
FLAGS = ["-std=c11", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wshadow", "-Wconversion"]

# What cffi generates is not ours to make clean; the core's own files are compiled with every warning.
PREAMBLE = """
#include "bm.h"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-parameter"
"""


def declarations() -> str:
    """The part of bm.h that cffi reads."""
    found = MARKED_REGION.search((ROOT / "native/bm.h").read_text(encoding="utf-8"))
    if found is None:
        message = "native/bm.h has no region between 'cdef begin' and 'cdef end'; restore the two markers"
        raise SystemExit(message)
    return found[1]


def relative(pattern: str) -> list[str]:
    """Files of native/, relative to the root: setuptools puts no other paths into an sdist."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "native").glob(pattern))


def build() -> FFI:
    """The described module, ready for setuptools to compile."""
    builder = FFI()
    builder.cdef(declarations())
    builder.set_source(
        "buildmatrix._native",
        PREAMBLE,
        sources=relative("*.c"),
        depends=[*relative("*.h"), *relative("*.py")],
        include_dirs=["native"],
        define_macros=[("_GNU_SOURCE", None), ("_FILE_OFFSET_BITS", "64")],
        extra_compile_args=FLAGS + (["-Werror"] if os.environ.get("CI") else []),
        libraries=["pthread"],
    )
    return builder


ffi = build()
