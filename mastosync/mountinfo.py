"""The table of mounts that Linux keeps for a process, and what it says of a path: on which disk it is.

The table is /proc/self/mountinfo: see proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from mastosync.errors import StoreUnusable
from mastosync.language import deferred, say, tr

UNREADABLE_HINT = deferred(
    "let this user read mountinfo and fdinfo in /proc/self; if too much is open at once, raise `ulimit -n`"
)
_ESCAPED = re.compile(r"\\([0-7]{3})")
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3"}
)
_LOCAL_FUSE = frozenset({"fuse.ext2", "fuse.ntfs", "fuse.ntfs-3g", "fuse.mergerfs", "fuse.fuse-overlayfs", "fuseblk"})
_MEMORY = frozenset({"tmpfs", "ramfs"})


class MountPoint(NamedTuple):
    """A line of the table."""

    number: str
    parent: str  # number of the one that it lies on
    device: str  # of the file system, as `8:1`
    root: str  # which folder of the file system is mounted; `/`: the whole
    place: str  # where
    kind: str  # of the file system, as ext4
    source: str  # what is mounted, as /dev/sda1


def iter_mounts(table: str) -> Iterator[MountPoint]:
    """The lines of the table, decoded as file names are (`os.fsdecode`). What is no such line is passed over."""
    for line in table.split("\n"):  # a name may hold all other ends of lines, and all other blanks
        before, _, after = line.partition(" - ")
        fields, (kind, *source) = before.split(" "), after.split(" ")
        if len(fields) >= 5 and kind:
            number, parent, device, root, place = fields[:5]
            yield MountPoint(
                number, parent, device, _unescaped(root), _unescaped(place), kind, _unescaped("".join(source[:1]))
            )


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system that an absolute path lies in, by the text of /proc/self/mountinfo; "" if none fits."""
    mount = _mount_of(path, mounts)
    return mount.kind if mount else ""


def _mount_of(path: Path, mounts: str) -> MountPoint | None:
    """The mount that an absolute path lies in."""
    best, inside = None, f"{path}/"
    for mount in iter_mounts(mounts):
        # the last one of a place is what is seen
        if inside.startswith(f"{mount.place.rstrip('/')}/") and (best is None or len(mount.place) >= len(best.place)):
            best = mount
    return best


def on_disk(path: Path, mounts: str) -> PurePath:
    """Where an absolute path lies on its disk, which begins the path: one folder may be mounted at several places.

    `mounts`: the text of /proc/self/mountinfo. A path that lies in none of them is returned as it is.
    """
    mount = _mount_of(path, mounts)
    if mount is None:
        return path
    disk, root = mount.device, mount.root
    if mount.kind.startswith("nfs"):  # exports of one server, one in the other, may be mounted apart
        disk, _, exported = mount.source.rpartition(":")
        root = f"{exported.rstrip('/')}/{root.lstrip('/')}"
    return PurePosixPath(disk, root.lstrip("/"), path.relative_to(mount.place))


def real_path(path: Path) -> Path:
    """A path without links and `..`. One that leads in circles stays as it is: opening it fails with the reason."""
    return Path(os.path.realpath(path))  # of Python's versions, some raise RuntimeError in Path.resolve()


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths are to one file or folder, whatever they are called."""
    try:
        return one.samefile(other)
    except OSError:  # one is not there, or closed: whoever reads it will tell
        return real_path(one) == real_path(other)


def place_on_disk(folder: Path) -> PurePath:
    """Where a folder lies, to be compared with others: its path on its disk, or its path where no system tells that.

    Raises: StoreUnusable if what the system tells cannot be read.
    """
    path = real_path(folder)
    try:
        return on_disk(path, _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError:
        return path
    except OSError as error:
        raise StoreUnusable(
            tr("cannot find out on which disk {folder} is: {strerror}", folder=folder, strerror=error.strerror),
            hint=say(UNREADABLE_HINT),
        ) from error


def kind_of_disk(folder: Path) -> str:
    """The kind of file system that a folder lies in; "" where the system does not tell (others than Linux)."""
    try:
        return file_system(real_path(folder), _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return ""


def is_network(kind: str) -> bool:
    """Whether other machines have a hand in a file system of this kind."""
    return kind in _NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)


def is_memory(kind: str) -> bool:
    """Whether a file system of this kind is gone when the machine restarts."""
    return kind in _MEMORY


def _unescaped(field: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)
