"""Which disk a folder lies on, a manifest above all. SQLite's write-ahead log and locks want a disk of this machine.

On a network file system the memory that readers and writers of a write-ahead log share is not
shared between machines, and locks may be granted twice (https://sqlite.org/wal.html, and
https://sqlite.org/lockingv3.html about NFS).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePath, PurePosixPath

from mastosync.errors import ManifestError, StoreUnusable
from mastosync.language import say, tr
from mastosync.mountinfo import UNREADABLE_HINT, MountPoint, iter_mounts

_log = logging.getLogger(__name__)

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3"}
)
_LOCAL_FUSE = frozenset({"fuse.ext2", "fuse.ntfs", "fuse.ntfs-3g", "fuse.mergerfs", "fuse.fuse-overlayfs", "fuseblk"})
_MEMORY = frozenset({"tmpfs", "ramfs"})


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
    """A path without links and `..`. One that leads in circles stays as it is, and cannot be opened."""
    return Path(os.path.realpath(path))  # of Python's versions, some raise RuntimeError in Path.resolve()


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths are to one file or folder, whatever they are called."""
    try:
        return one.samefile(other)
    except OSError:  # one is not there, or closed: reading it will tell
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
    """Whether other machines may write to a file system of this kind."""
    return kind in _NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)


def is_memory(kind: str) -> bool:
    """Whether a file system of this kind is gone when the machine restarts."""
    return kind in _MEMORY


def require_local_disk(manifest: Path, *, allow_network: bool) -> None:
    """Before writing. Raises: ManifestError if the manifest is on a network; warns of it if that is allowed."""
    said = _on_network(manifest)
    if said and not allow_network:
        raise ManifestError(
            tr("{said}, so nothing is written there", said=said),
            hint=tr(
                "use a local disk: stop what runs, take the manifest there with `mastosync manifest backup`, and "
                "name its new place with --manifest or `[manifest] path`; `[manifest] network_filesystem = allow` "
                "takes the risk"
            ),
        )
    if said:
        allowed = tr(
            "{said}; it is written nevertheless, because of `[manifest] network_filesystem = allow`", said=said
        )
        _log.warning("%s", allowed)


def warn_of_network(manifest: Path) -> None:
    """Before reading alone: what is read may be wrong while another machine writes."""
    if said := _on_network(manifest):
        _log.warning("%s", tr("{said}: read it on the machine that writes it", said=said))


def _on_network(manifest: Path) -> str:
    kind = kind_of_disk(real_path(manifest).parent)
    if not is_network(kind):
        return ""
    return tr(
        "the manifest {manifest} is on a network file system ({kind}), where locks and the "
        "write-ahead log of SQLite cannot be relied on",
        manifest=manifest,
        kind=kind,
    )
