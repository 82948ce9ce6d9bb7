"""Detection scripts: whether a root cause strikes programs of a release on a host that has a shell and coreutils."""
