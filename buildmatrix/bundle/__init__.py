"""Rollback bundles: what goes back to a version on a host that has a shell and coreutils, and nothing else."""
