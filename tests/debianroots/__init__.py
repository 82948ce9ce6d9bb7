"""Whole Debian root file systems against their own loaders: ``python -m tests.debianroots``."""
