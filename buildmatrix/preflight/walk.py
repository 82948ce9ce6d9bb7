"""Path walk and permissions as the kernel does them (fs/namei.c), inside one root.

Every component costs the right to search its directory; at most 40 links are followed; ``..`` never
leaves the root; an absolute link starts again at the root. Access control lists and security modules
are not seen: they are not in the mode bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from buildmatrix.kinds import Kind
from buildmatrix.preflight.rootfs import Inode, Root

PATH_MAX = 4096
NAME_MAX = 255
MAXSYMLINKS = 40
MAY_EXEC, MAY_READ = 1, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who asks: user, group, supplementary groups. User 0 is taken to hold every capability."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A root as one process sees it: who it is, where it stands, how things are mounted.

    `noexec` are directories of the root mounted noexec, `nosuid` those mounted nosuid.
    """

    root: Root
    who: Credentials = field(default_factory=Credentials)
    cwd: str = "/"
    proc: bool = True
    noexec: tuple[str, ...] = ()
    nosuid: tuple[str, ...] = ()
    protected_symlinks: bool = True


class Found(NamedTuple):
    """What a path leads to; `path` is absolute, inside the root, and free of links."""

    inode: Inode
    path: str


class Failed(NamedTuple):
    """Why a path leads nowhere: errno's name, the component that decided, and a sentence."""

    errno: str
    at: str
    why: str


def permitted(inode: Inode, who: Credentials, mask: int) -> bool:
    """Whether `who` may read, or execute or search, the inode (fs/namei.c generic_permission)."""
    if who.uid == 0:
        return inode.kind is Kind.DIRECTORY or mask != MAY_EXEC or bool(inode.mode & 0o111)
    if who.uid == inode.uid:
        bits = inode.mode >> 6
    elif inode.gid == who.gid or inode.gid in who.groups:
        bits = inode.mode >> 3
    else:
        bits = inode.mode
    return bits & mask == mask


class _Walk:
    def __init__(self, view: View) -> None:
        self.view = view
        self.links = 0
        self.stack: list[tuple[str, Inode]] = [("", view.root.top)]

    @property
    def here(self) -> Inode:
        return self.stack[-1][1]

    def path(self) -> str:
        return "/".join(name for name, _ in self.stack) or "/"

    def run(self, path: str, follow_last: bool) -> Found | Failed:
        pending = _components(path)
        if path.startswith("/"):
            del self.stack[1:]
        while pending:
            name, wants_directory = pending.pop()
            failed = self._step(name, wants_directory, pending, follow_last)
            if failed is not None:
                return failed
        return Found(inode=self.here, path=self.path())

    def _step(self, name: str, slash: bool, pending: list[tuple[str, bool]], follow_last: bool) -> Failed | None:
        here = self.here
        if here.kind is not Kind.DIRECTORY:
            return Failed(errno="ENOTDIR", at=self.path(), why="is not a directory")
        if not permitted(here, self.view.who, MAY_EXEC):
            return Failed(errno="EACCES", at=self.path(), why=f"may not be searched by uid {self.view.who.uid}")
        if name in ("", "."):
            return None
        if name == "..":
            if len(self.stack) > 1:
                self.stack.pop()
            return None
        return self._enter(name, slash, pending, follow_last)

    def _enter(self, name: str, slash: bool, pending: list[tuple[str, bool]], follow_last: bool) -> Failed | None:
        where = self.path().rstrip("/") + "/" + name
        if len(name.encode(errors="surrogateescape")) > NAME_MAX:
            return Failed(errno="ENAMETOOLONG", at=where, why=f"a name longer than {NAME_MAX} bytes")
        inode = self.view.root.lookup(self.here, name)
        if inode is None:
            return Failed(errno="ENOENT", at=where, why="does not exist")
        if inode.kind is Kind.SYMLINK and (follow_last or slash or pending):
            return self._follow(inode, where, slash, pending)
        self.stack.append((name, inode))
        if slash and inode.kind is not Kind.DIRECTORY:
            return Failed(errno="ENOTDIR", at=where, why="is not a directory")
        return None

    def _follow(self, link: Inode, where: str, slash: bool, pending: list[tuple[str, bool]]) -> Failed | None:
        self.links += 1
        if self.links > MAXSYMLINKS:
            return Failed(errno="ELOOP", at=where, why=f"more than {MAXSYMLINKS} symbolic links")
        parent = self.here
        sticky = self.view.protected_symlinks and parent.mode & 0o1002 == 0o1002
        if sticky and link.uid not in (self.view.who.uid, parent.uid):
            return Failed(errno="EACCES", at=where, why="a link of another user in a sticky, world-writable directory")
        if not link.target:
            return Failed(errno="ENOENT", at=where, why="an empty symbolic link")
        if link.target.startswith("/"):
            del self.stack[1:]
        inner = _components(link.target)
        if slash and inner:
            inner[0] = (inner[0][0], True)
        pending.extend(inner)
        return None


def _components(path: str) -> list[tuple[str, bool]]:
    """The components of a path, last first, each with whether it must be a directory."""
    names = [name for name in path.split("/") if name]
    trailing = path.endswith("/")
    rows = [(name, index < len(names) - 1 or trailing) for index, name in enumerate(names)]
    return rows[::-1]


def resolve(view: View, path: str, *, base: str = "", follow: bool = True) -> Found | Failed:
    """Walk `path` from the view's working directory (or `base`). An empty path is the directory itself."""
    if len(path.encode(errors="surrogateescape")) >= PATH_MAX:
        return Failed(errno="ENAMETOOLONG", at=path[:64] + "…", why=f"a path of {PATH_MAX} bytes or more")
    walk = _Walk(view)
    if not path.startswith("/"):
        start = walk.run(base or view.cwd, True)
        if isinstance(start, Failed):
            return Failed(errno="ENOENT", at=start.at, why="the working directory does not exist")
    return walk.run(path, follow)


def below(path: str, directories: tuple[str, ...]) -> str | None:
    """The one of `directories` that holds `path`, or None."""
    for directory in directories:
        prefix = directory.rstrip("/")
        if path == prefix or path.startswith(prefix + "/"):
            return directory
    return None
