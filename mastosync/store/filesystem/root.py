"""A folder that everything lies below. It is held open, and nothing is ever asked for by a path from outside.

Whoever holds a folder open keeps its disk, so that what is not found there is truly missing.
Where objects are only read, links to folders are followed above the folders of ids: admins move `cache` to another
disk like that. No other link is, at any segment: below lies what Mastodon's own process makes, and whoever has a hand
in that could have any file of this machine, or a private one of Mastodon's, read as a public object. Where objects are
written no link is followed at all, and nothing below a mount is touched, which may be the source: nothing gets out of
the root, or off its file system.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.errors import StoreUnusable
from mastosync.language import deferred, say, tr
from mastosync.mountinfo import UNREADABLE_HINT
from mastosync.store.filesystem.mounts import Mounts, mount_number
from mastosync.store.filesystem.names import RESERVED
from mastosync.store.filesystem.owners import Owners

if TYPE_CHECKING:
    from mastosync.config import OwnerKey

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a pipe must not keep anybody waiting
_OF_AN_ID = re.compile(rb"[0-9]{3}")
_MOUNT_HINT = deferred(
    "it may be the source, so nothing is read, written or removed there: unmount it, or set `path` to a folder "
    "without mounts below it"
)
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # what this machine may be short of for a moment
_NOT_OF_OBJECTS = frozenset({os.fsdecode(RESERVED), "lost+found"})


class LinkInTheWay(OSError):
    """A link that is not followed where it lies."""

    def __init__(self, link: bytes) -> None:
        super().__init__(errno.ELOOP, tr("{link!r} is a symbolic link", link=os.fsdecode(link)))


class Root:
    """A folder below which files are found, and folders made."""

    def __init__(self, path: Path, name: str, *, follows_links: bool, owner: OwnerKey | None = None) -> None:
        """`name`: for messages; `owner`: of what is made below it, if not the folder's own."""
        self.path, self.name, self.follows_links = path, name, follows_links
        self._fd: int | None = None
        self._device = 0  # of its file system
        self._mount: str | None = None  # on which it lies
        self._mounts: Mounts | None = None  # below it, where objects are written
        self.owners = Owners(path, name, owner)
        self._opening = threading.Lock()

    @property
    def fd(self) -> int:
        """Its descriptor. Raises: StoreUnusable if it cannot be opened."""
        if self._fd is None:
            with self._opening:
                if self._fd is None:
                    self._fd = self._opened()
        return self._fd

    def _opened(self) -> int:
        try:
            fd = os.open(self.path, _FOLDER)
        except OSError as error:
            hint = tr("check `path`: it must be a folder that you may read")
            if isinstance(error, FileNotFoundError):
                hint = tr("make it, or correct `path`; if it is on a disk of its own, check that this disk is mounted")
            raise StoreUnusable(
                tr("cannot open the {name}: {strerror}", name=self.name, strerror=error.strerror), hint=hint
            ) from error
        if not self.follows_links:
            try:
                status = os.fstat(fd)
                self._device, self._mount, self._mounts = status.st_dev, mount_number(fd), Mounts(fd)
            except OSError as error:
                os.close(fd)
                raise self._mounts_untold(error) from error
            self.owners.settle(status)
        return fd

    def _mounts_untold(self, error: OSError) -> StoreUnusable:
        return StoreUnusable(
            tr("cannot find out what is mounted below the {name}: {strerror}", name=self.name, strerror=error.strerror),
            hint=say(UNREADABLE_HINT),
        )

    def require_one_disk(self, path: bytes, folder: int | None = None) -> None:
        """For whoever touches what lies at a path. `folder`: its descriptor, if a folder is open there already.

        Raises: StoreUnusable if that is below a mount where objects are written, or nobody can tell; OSError.
        """
        if self.follows_links:
            return
        _ = self.fd  # the mounts are known once it is open
        try:
            mounts = self._mounts.now() if self._mounts else ()
            # paths alone do not do: of a folder above a mount that is renamed nobody hears
            strays = folder is not None and mount_number(folder) != self._mount
        except OSError as error:  # which says nothing of what lies at the path
            if error.errno in EXHAUSTED:  # for the moment
                raise OSError(error.errno, error.strerror) from error
            raise self._mounts_untold(error) from error
        for place, what in mounts:
            if path == place or path.startswith(place + b"/"):
                said = tr(
                    "{what} is mounted at {place!r} in the {name}", what=what, place=os.fsdecode(place), name=self.name
                )
                raise StoreUnusable(said, hint=say(_MOUNT_HINT))
        if strays or (folder is not None and os.fstat(folder).st_dev != self._device):
            said = tr(
                "{path!r} in the {name} is on another file system, or on what is mounted there",
                path=os.fsdecode(path),
                name=self.name,
            )
            raise StoreUnusable(said, hint=say(_MOUNT_HINT))

    def is_empty(self) -> bool:
        """Whether nothing but what every disk has lies there: an unmounted one looks like that. Raises: OSError."""
        with os.scandir(self.fd) as entries:
            return all(entry.name in _NOT_OF_OBJECTS for entry in entries)

    def free_bytes(self) -> int:
        """How much may still be written. Raises: OSError."""
        told = os.fstatvfs(self.fd)
        return told.f_bavail * told.f_frsize

    def require_there(self) -> None:
        """Raises: StoreUnusable if the folder has been removed meanwhile; OSError."""
        if os.fstat(self.fd).st_nlink == 0:
            raise StoreUnusable(
                tr("the {name} has been removed", name=self.name),
                hint=tr("put it back, then run the same command again"),
            )

    @contextmanager
    def opened(self, path: bytes) -> Iterator[tuple[int, os.stat_result]]:
        """A file for reading, as it is now.

        Raises: OSError, with ENOENT also for what is no file; LinkInTheWay at a source; StoreUnusable if the disk is
        gone.
        """
        *folders, name = path.split(b"/")
        try:
            with self.folder(folders, linked=self.linked(folders)) as folder:
                self.require_one_disk(path)
                fd = os.open(name, _FILE | os.O_NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            self._require_disk(folders)
            raise
        except OSError as error:
            if self.follows_links and error.errno in (errno.ELOOP, errno.ENOTDIR):
                self._require_no_link([*folders, name])
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(errno.ENOENT, "there is no file of this name")
            yield fd, status
        finally:
            os.close(fd)

    def folder_status(self, path: bytes) -> os.stat_result:
        """What the system says of the folder that a file lies in. Raises: OSError."""
        return os.stat(path.rpartition(b"/")[0] or b".", dir_fd=self.fd)

    def linked(self, folders: list[bytes]) -> int:
        """How many folders at the head of a way may be links: at a source, all above the first one of an id."""
        if not self.follows_links or folders[:1] == [RESERVED]:
            return 0
        ids = (number for number, folder in enumerate(folders) if _OF_AN_ID.fullmatch(folder))
        return next(ids, len(folders))

    def may_be_link(self, path: str) -> bool:
        """Whether a folder of this path may be a link, and is followed then."""
        folders = os.fsencode(path).split(b"/")
        return self.linked(folders) == len(folders)

    @contextmanager
    def folder(
        self, segments: list[bytes], *, linked: int = 0, make: bool = False, durable: bool = False
    ) -> Iterator[int]:
        """A folder, reached without following a link, but for the first `linked` ones.

        `make`: with all that is missing on the way; `durable`: what is made outlives a power cut when the block
        has ended well. Raises: OSError; StoreUnusable if it lies below a mount where objects are written.
        """
        way = [os.open(b"/".join(segments[:linked]), _FOLDER, dir_fd=self.fd) if linked else os.dup(self.fd)]
        changed: list[int] = []
        try:
            for depth, segment in enumerate(segments[linked:], linked):
                new = False
                try:
                    below = os.open(segment, _FOLDER | os.O_NOFOLLOW, dir_fd=way[-1])
                except OSError as error:
                    # what a mount hides is neither missing nor in the way, and nothing is made there
                    self.require_one_disk(b"/".join(segments[:depth]), way[-1])
                    if not (make and isinstance(error, FileNotFoundError)):
                        raise
                    with suppress(FileExistsError):  # somebody was faster
                        os.mkdir(segment, dir_fd=way[-1])
                        new = True
                    changed.append(way[-1])
                    below = os.open(segment, _FOLDER | os.O_NOFOLLOW, dir_fd=way[-1])
                if way[-1] not in changed:
                    os.close(way.pop())
                way.append(below)
                if new:
                    self.owners.give(below)
            self.require_one_disk(b"/".join(segments), way[-1])  # no way leads back from what is mounted
            yield way[-1]
            if durable:
                for fd in reversed(changed):
                    sync_folder(fd)
        finally:
            for fd in way:
                os.close(fd)

    def remove(self, path: bytes, *, durable: bool = False) -> None:
        """Remove a file, if there is one, and the folders that it leaves empty. Raises: OSError; StoreUnusable."""
        *segments, name = path.split(b"/")
        with suppress(FileNotFoundError):
            with self.folder(segments) as folder:
                self.require_one_disk(path)
                os.unlink(name, dir_fd=folder)
                if durable:
                    sync_folder(folder)
            while segments:
                with self.folder(segments[:-1]) as folder:
                    try:
                        os.rmdir(segments.pop(), dir_fd=folder)
                    except OSError:  # others lie there
                        return

    def _require_no_link(self, way: list[bytes]) -> None:
        """Raises: LinkInTheWay, if one is why nothing was opened."""
        for length in range(self.linked(way[:-1]) + 1, len(way) + 1):
            path = b"/".join(way[:length])
            try:
                status = os.stat(path, dir_fd=self.fd, follow_symlinks=False)
            except OSError:
                return
            if stat.S_ISLNK(status.st_mode):
                raise LinkInTheWay(path)

    def _require_disk(self, folders: list[bytes]) -> None:
        """Nothing was found: is that because all of it is gone? Raises: StoreUnusable."""
        self.require_there()
        for length in range(1, self.linked(folders) + 1):
            part = b"/".join(folders[:length])
            try:
                os.stat(part, dir_fd=self.fd)
            except FileNotFoundError:
                with suppress(OSError):  # it is no link
                    os.readlink(part, dir_fd=self.fd)
                    raise StoreUnusable(
                        tr(
                            "in the {name}, the link {link!r} leads nowhere",
                            name=self.name,
                            link=os.fsdecode(part),
                        ),
                        hint=tr("mount the disk that it leads to, or remove the link"),
                    ) from None
                return
            except OSError:
                return

    def close(self) -> None:
        """Let go of it. Calling it twice is no error."""
        with self._opening:
            if self._mounts is not None:
                self._mounts.close()
                self._mounts = None
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None


def sync_file(fd: int) -> None:
    """Return when the disk has a file's content. Raises: OSError."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # where fsync leaves it in the disk's own cache
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)


def sync_folder(fd: int) -> None:
    """Return when the disk has the names in a folder. Raises: OSError."""
    try:
        sync_file(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # network file systems that do so by themselves
            raise
