"""Who a container runs as: the User of an image's config, looked up in the image's own files.

runc resolves ``user[:group]``, by name or number, in /etc/passwd and /etc/group of the root
(moby/sys/user GetExecUser): a number that passwd does not have is taken as it is, with group 0.
"""

from __future__ import annotations

from buildmatrix.facts import Kind
from buildmatrix.preflight.rootfs import Root, Unreadable
from buildmatrix.preflight.walk import Failed, View, resolve

_MOST = 1 << 20
UNKNOWN = 65534
"""The ID for a name that the image does not know: an engine refuses to start it, an ordinary user comes closest."""


def ids(root: Root, user: str) -> tuple[int, int]:
    """UID and GID for the User of a config; empty is root."""
    name, _, group = user.partition(":")
    row = _row(root, "/etc/passwd", name or "0", 4)
    uid, gid = (int(row[2]), int(row[3])) if row else (_number(name or "0"), 0 if (name or "0").isdigit() else UNKNOWN)
    if group:
        entry = _row(root, "/etc/group", group, 3)
        gid = int(entry[2]) if entry else _number(group)
    return uid, gid


def _number(text: str) -> int:
    return int(text) if text.isdigit() and len(text) <= 10 else UNKNOWN


def _row(root: Root, path: str, wanted: str, least: int) -> list[str] | None:
    """The first row of passwd or group whose name or number this is."""
    for line in _text(root, path).splitlines():
        fields = line.split(":")
        numbers = fields[2:least]
        if len(fields) >= least and all(field.isdigit() for field in numbers) and wanted in (fields[0], fields[2]):
            return fields
    return None


def _text(root: Root, path: str) -> str:
    try:
        found = resolve(View(root=root), path)
        if isinstance(found, Failed) or found.inode.kind is not Kind.REGULAR:
            return ""
        return root.data(found.inode).read(0, _MOST).decode("utf-8", "replace")
    except Unreadable:
        return ""
