"""One module for each command of `buildmatrix`; cli.py loads the one that is asked for."""
