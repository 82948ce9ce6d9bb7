"""Tests that need real toolchains, emulators or root. A missing part fails; nothing is skipped."""
