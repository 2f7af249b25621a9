"""What `doctor` finds out of a folder: the checks of a store, links that lead out of it, its disks and owners.

See docs/design/disk.md.
"""

from __future__ import annotations

import logging
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Literal

from mastosync.errors import StoreUnusable
from mastosync.model import Access, Owner, Ownership
from mastosync.store.base import DiskSpace
from mastosync.store.errors import EXHAUSTED, Target, file_errors
from mastosync.store.filesystem.owners import current_owner
from mastosync.store.filesystem.partial_files import PartialFolder
from mastosync.store.filesystem.root import RESERVED, RootFolder, path_of
from mastosync.store.filesystem.volumes import Volume, mounts_below
from mastosync.store.filesystem.walk import LOST_AND_FOUND, Walk

if TYPE_CHECKING:
    from mastosync.config import FilesystemConfig

_log = logging.getLogger(__name__)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OTHERS_AT_MOST = 100
_LOOKED_AT_MOST = 3_000  # files and folders, of somebody else's
_LOOKED_INTO_AT_MOST = 1_000  # folders, for links


class FilesystemProbe:
    """Questions to a folder of this machine. Only `folds_names` and `delete` change anything, and leave nothing."""

    def __init__(self, config: FilesystemConfig, *, role: Literal["source", "destination"]) -> None:
        self._name = f"{role} folder '{config.folder}'"
        self._folder = config.folder
        self._root = RootFolder(config.folder, self._name, writes=role == "destination", owner=config.owner)

    def first_key(self) -> str:
        """The first object's; empty: there is none. Raises: StoreUnusable."""
        with file_errors(f"list the {self._name}", Target.STORE):
            found = next(iter(Walk(self._root, "", "")), None)
            return found.key if found else ""

    def unfollowed_links(self) -> list[str]:
        """Links to folders where none is followed, as far as an admin may have made them.

        That is in the folders that hold those of ids: all others would take a look at every object.
        Raises: StoreUnusable, at a destination also for a link that would have to be followed, and cannot be.
        """
        with file_errors(f"look for links in the {self._name}", Target.STORE):
            return unfollowed_links(self._root)

    def ways_out(self) -> list[str]:
        """Where a store leads out of its folder: links that are followed, and, at a source, mounts.

        Raises: StoreUnusable; ServerFailure if this machine is short of something for the moment.
        """
        with file_errors(f"look for links and mounts in the {self._name}", Target.STORE):
            return ways_out(self._root)

    def disks(self, pending: Mapping[str, int]) -> list[DiskSpace]:
        """The disks of a destination, as links may lead to several. `pending`: bytes, by folders of keys.

        Raises: StoreUnusable.
        """
        with file_errors(f"use the {self._name}", Target.STORE):
            return disks(self._root, pending)

    def by_disk(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """See `keys_by_disk`. Raises: StoreUnusable."""
        with file_errors(f"use the {self._name}", Target.STORE):
            return keys_by_disk(self._root, keys)

    def mode(self, key: str) -> int:
        """Who may do what with an object's file: the nine bits. Raises: ObjectMissing."""
        with (
            file_errors(f"describe {key!r} at the {self._name}", Target.OBJECT),
            self._root.opened(path_of(key)) as (_, status),
        ):
            return status.st_mode & 0o777

    def ownership(self) -> Ownership:
        """Whose what is written should be, and whether what lies there is. Raises: StoreUnusable."""
        with file_errors(f"use the {self._name}", Target.STORE):
            status, owners = os.fstat(self._root.fd), self._root.owners
            others = tuple(islice(iter_others(self._root.fd, owners.wanted), _OTHERS_AT_MOST))
            folder = Owner(status.st_uid, status.st_gid)
            links = tuple(followed_links(self._root))
            place = str(self._folder.absolute())
            return Ownership(
                place, folder, owners.wanted, current_owner(), gives=owners.gives, others=others, links=links
            )

    def access(self, key: str) -> Access:
        """Whose an object's file is, and who may do what with it. Raises: ObjectMissing."""
        path = path_of(key)
        with (
            file_errors(f"describe {key!r} at the {self._name}", Target.OBJECT),
            self._root.opened(path) as (_, status),
        ):
            above = self._root.folder_status(path)
            return Access(Owner(status.st_uid, status.st_gid), status.st_mode & 0o777, above.st_mode & 0o777)

    def folds_names(self) -> bool:
        """Whether the disk takes names for one that differ only in case. Raises: StoreUnusable."""
        with file_errors(f"use the {self._name}", Target.STORE):
            work = PartialFolder(self._root)
            try:
                _ = work.fd
                return work.folds_names
            finally:
                work.close()

    def delete(self, key: str) -> None:
        """Delete an object, and the folders that are empty then; one that is not there is no error."""
        with file_errors(f"delete {key!r} at the {self._name}", Target.STORE):
            self._root.remove(path_of(key))

    def close(self) -> None:
        """Let go of it."""
        self._root.close()


def ways_out(root: RootFolder) -> list[str]:
    """Where a store leads out of its folder: links that are followed, and, at a source, mounts, also behind links.

    What cannot be read is passed over: a damaged folder is no reason not to copy the others, and a source that is gone
    none not to prune. Raises: StoreUnusable and OSError if this machine is short of something for the moment.
    """
    ways = set[str]()
    with _passing_over(root, ""):
        ways.update(path for path, followed in _iter_links(root, past_damage=True) if followed)
    for folder in [] if root.writes else ["", *ways]:
        # a table that is not there: no system that tells
        with _passing_over(root, folder), _opened(root, folder) as fd, suppress(FileNotFoundError):
            ways.update(f"{folder}/{os.fsdecode(mount.place)}".lstrip("/") for mount in mounts_below(fd))
    return sorted(ways)


def followed_links(root: RootFolder) -> list[str]:
    """Links to folders that are followed. Raises: OSError."""
    return sorted({path for path, followed in _iter_links(root) if followed})


def disks(root: RootFolder, pending: Mapping[str, int]) -> list[DiskSpace]:
    """The disks of a destination. `pending`: bytes by the folders below which they are to be written.

    Raises: OSError; StoreUnusable.
    """
    found = dict[int, DiskSpace]()
    for folder in dict.fromkeys(["", *followed_links(root), *pending]):
        volume = root.volume(os.fsencode(folder))
        disk = os.fstat(volume.fd).st_dev
        if disk not in found:
            found[disk] = DiskSpace(_name_of(root, volume), volume.free_bytes(), 0)
        found[disk] = found[disk]._replace(pending_bytes=found[disk].pending_bytes + pending.get(folder, 0))
    return list(found.values())


def keys_by_disk(root: RootFolder, keys: Iterable[str]) -> dict[str, list[str]]:
    """Keys of a destination by the folders on their disks, which are named for people.

    Raises: OSError; StoreUnusable for a link that cannot be followed.
    """
    found = defaultdict[str, list[str]](list)
    for key in keys:
        found[_name_of(root, root.volume(path_of(key).rpartition(b"/")[0]))].append(key)
    return found


def _name_of(root: RootFolder, volume: Volume) -> str:
    return f"destination folder '{root.path / os.fsdecode(volume.link)}'"


@contextmanager
def _passing_over(root: RootFolder, folder: str) -> Iterator[None]:
    try:
        yield
    except (StoreUnusable, OSError) as error:
        if _may_pass(error) or _may_pass(error.__cause__):
            raise
        if isinstance(error, OSError):  # else it is the source itself: whoever reads it will tell
            where = ascii(folder or ".")
            _log.warning("cannot look for links and mounts in the %s at %s: %s", root.name, where, error.strerror)


@contextmanager
def _opened(root: RootFolder, folder: str) -> Iterator[int]:
    fd = os.open(os.fsencode(folder) or b".", _FOLDER, dir_fd=root.fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _may_pass(error: BaseException | None) -> bool:
    """Whether this machine is short of something for the moment."""
    return isinstance(error, OSError) and error.errno in EXHAUSTED


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or leads to one."""
    try:
        return entry.is_dir()
    except OSError as error:  # it leads in circles, or through what may not be read
        if _may_pass(error):
            raise
        return False


def _is_followed(root: RootFolder, path: str) -> bool:
    try:
        return root.follows(path)
    except StoreUnusable:
        return False


def unfollowed_links(root: RootFolder) -> list[str]:
    """Links that are not followed, in all folders but those of ids.

    Raises: StoreUnusable for one behind which objects should be written, and cannot be; OSError.
    """
    found = sorted({path for path, followed in _iter_links(root) if not followed})
    for path in found if root.writes else ():
        root.follows(path)
    return found


def _iter_links(root: RootFolder, *, past_damage: bool = False) -> Iterator[tuple[str, bool]]:
    """Links in all folders but those of ids, and whether each is followed; some come twice.

    Folders that are gone or closed are passed over; `past_damage`: those that cannot be read for anything else, too.
    Raises: OSError.
    """
    folders, seen, damaged = [""], dict[tuple[int, int], str](), set[str]()
    while folders and len(seen) < _LOOKED_INTO_AT_MOST:
        folder, below = folders.pop(), list[str]()
        try:
            with _opened(root, folder) as fd:
                status = os.fstat(fd)
                if seen.setdefault((status.st_dev, status.st_ino), folder) != folder:  # a link leads back
                    continue
                with os.scandir(fd) as entries:
                    for entry in entries:
                        path = folder + entry.name
                        looked_into = root.may_be_link(path) and _is_folder(entry)
                        if entry.is_symlink():
                            looked_into = looked_into and _is_followed(root, path)
                            yield path, looked_into
                        if looked_into and path not in (os.fsdecode(RESERVED), LOST_AND_FOUND[:-1]):
                            below.append(f"{path}/")
        except (FileNotFoundError, PermissionError):
            if not folder:
                raise
        except OSError:
            if folder not in damaged:  # once more: a disk on the network may have been away for a moment
                damaged.add(folder)
                folders.append(folder)
                continue
            if not past_damage:
                raise
            with _passing_over(root, folder):
                raise
        folders += below


def iter_others(root: int, wanted: Owner) -> Iterator[str]:
    """What lies below an open folder and is somebody else's, but for folders in which `wanted` may write all the same.

    Of the folders of ids, the last one alone is entered.
    That is a sample, of all tables and of what came last. What is closed or gone is passed over. Raises: OSError.
    """
    folders, looked = [""], 0
    while folders and looked < _LOOKED_AT_MOST:
        folder = folders.pop()
        below = list[str]()
        with suppress(FileNotFoundError, PermissionError, NotADirectoryError):
            fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
            try:
                with os.scandir(fd) as entries:
                    names = sorted(entry.name for entry in entries)
                for name in names[: _LOOKED_AT_MOST - looked]:
                    looked += 1
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISLNK(status.st_mode):  # what it leads to counts
                        with suppress(OSError):
                            status = os.stat(name, dir_fd=fd)
                    path = f"{folder}/{name}".lstrip("/")
                    if not _is_usable(status, wanted) and name != "lost+found":
                        yield path
                    if stat.S_ISDIR(status.st_mode):
                        below.append(path)
            finally:
                os.close(fd)
        of_ids = [path for path in below if path.rpartition("/")[2].isdecimal()]
        folders += [path for path in below if path not in of_ids] + of_ids[-1:]


def _is_usable(status: os.stat_result, wanted: Owner) -> bool:
    """Whether a file is theirs, or a folder is, or has a mode by which they may write in it."""
    if status.st_uid == wanted.user or not stat.S_ISDIR(status.st_mode):
        return status.st_uid == wanted.user
    needed = 0o030 if status.st_gid == wanted.group else 0o003
    return status.st_mode & needed == needed
