"""A first matrix.toml for a Go repository: what can be seen in it, and the files that follow from that."""
