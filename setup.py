"""Hands the cffi extension to setuptools; everything else stands in pyproject.toml."""

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

NO_COMPILER = (
    "buildmatrix: its native core could not be compiled ({cause}); install a C compiler and Python's headers "
    "(Debian: gcc python3-dev, Fedora: gcc python3-devel, Alpine: gcc musl-dev python3-dev) and try again"
)


class BuildNative(build_ext):
    """Ends a failed compilation with one sentence that says what to install."""

    def build_extensions(self) -> None:
        try:
            super().build_extensions()
        except (CCompilerError, ExecError, PlatformError) as cause:
            raise SystemExit(NO_COMPILER.format(cause=cause)) from None


setup(cffi_modules=["native/build_ffi.py:ffi"], cmdclass={"build_ext": BuildNative})
