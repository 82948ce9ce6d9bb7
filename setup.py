"""Hands the cffi extension to setuptools; everything else stands in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["native/build_ffi.py:ffi"])
