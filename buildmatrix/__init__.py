"""Build, check and sign Go services for every architecture, and prove that they will execute there."""

from buildmatrix._version import __version__

__all__ = ["__version__"]
