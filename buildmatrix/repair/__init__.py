"""Repairs of ELF files: small edits by patchelf on a copy, held against what they may change, or refused."""
