"""Bare hosts for shell scripts: Debian roots with coreutils and three shells, and a way to be killed at every step."""
