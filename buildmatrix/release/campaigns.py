"""What fault campaigns measured of a version, out of the validation store that the policy names."""

from __future__ import annotations

from buildmatrix.errors import BuildmatrixError
from buildmatrix.release.model import Campaigns, Missing, Said
from buildmatrix.releasespec import ReleaseSpec


def look(policy: ReleaseSpec, said: Said | Missing) -> Campaigns | Missing:
    """This version beside the release before it; Missing where no store is named, or it cannot be read."""
    if not policy.validation:
        return Missing(why="no validation store was asked")
    if isinstance(said, Missing):
        return said
    from buildmatrix.store import database, trends

    try:
        with database.Store(policy.validation) as store:
            found = trends.trends(store.read())
    except BuildmatrixError as error:
        return Missing(why=f"{error.what}{': ' if error.why else ''}{error.why}")
    worse = (f"{item.artifact} on {item.arch} under {item.fault}" for item in trends.regressions(found, said.version))
    measured = any(point.release == said.version for item in found for point in item.points)
    return Campaigns(version=said.version, measured=measured, worse=tuple(worse) if measured else ())
