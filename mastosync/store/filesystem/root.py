"""The folder that a store lies in, held open: nothing is ever asked for by a path from outside.

A folder that is held open keeps its disk, so what is not found in it is truly missing.

A key is its own path, as Paperclip has it on a disk. A key that cannot be a path (with a segment that is empty, a dot
or two, or longer than 255 bytes; with a NUL) has a path under the reserved folder: its bytes in hexadecimal digits,
which fold, escape and leave the root nowhere, and keep the order of keys. So does a key with a segment of that folder's
own name: no two keys have one path.

Links to folders are followed above the folders of ids, as admins move `cache` to another disk like that, and nowhere
else: below lies what Mastodon's own process makes, and somebody who controls it could have any file of this machine, or
a private one of Mastodon's, read as a public object. Where objects are written, a link must also be an admin's, and
nothing below a mount is touched, as it may be the source: see `volumes`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.errors import ObjectRejected, StoreUnusable
from mastosync.language import tr
from mastosync.store.errors import LinkInTheWay
from mastosync.store.filesystem.owners import Owners
from mastosync.store.filesystem.volumes import Volume, Volumes, leads_nowhere, mounts_untold

if TYPE_CHECKING:
    from mastosync.config import OwnerKey

RESERVED = b".mastosync"
"""The one name that no folder of a key has: what is made here, and is no object, lies there."""

ESCAPED = RESERVED + b"/keys"
"""The folder of keys that no path can be."""

WORK = RESERVED + b"/work"
"""The folder of what is not whole yet."""

_LONGEST_SEGMENT = 255  # bytes: NAME_MAX of every usual file system
_DIGITS = 240  # of an escaped key, in one segment
_GOES_ON = b"+"  # ends a segment that others follow: it is a folder, and never the file of another key
_PASSED_OVER_AT_MOST = 255  # files between two that are tried
_LARGEST = 1024 * 1024  # bytes: to hash more takes so long that a thread is worth it
_NOWAIT = getattr(os, "RWF_NOWAIT", -1)  # flags that no system knows: it refuses


def path_of(key: str) -> bytes:
    """The path of a key, relative to the root. No two keys have one. Raises: ValueError if this is no key."""
    name = key.encode()
    if not name:
        raise ValueError("it is empty")
    segments = name.split(b"/")
    if all(map(_can_be, segments)) and b"\0" not in name:
        return name
    digits = name.hex().encode()
    pieces = [digits[start : start + _DIGITS] for start in range(0, len(digits), _DIGITS)]
    return b"/".join((ESCAPED, *(piece + _GOES_ON for piece in pieces[:-1]), pieces[-1]))


def key_of_escaped(path: bytes) -> str | None:
    """The key of a path below `ESCAPED`; None if it is no key's."""
    try:
        key = bytes.fromhex(path.replace(_GOES_ON + b"/", b"").decode()).decode()
        return key if path_of(key) == ESCAPED + b"/" + path else None
    except ValueError:
        return None


def namesake(name: str, names: list[str]) -> str | None:
    """Another name that a disk takes for this one, if it folds case and forms of Unicode."""
    if name in names:
        return None
    return next((other for other in names if _folded(other) == _folded(name)), None)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _can_be(segment: bytes) -> bool:
    return 0 < len(segment) <= _LONGEST_SEGMENT and segment not in (b".", b"..") and segment.lower() != RESERVED


FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""How a folder is opened."""

_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a pipe must not keep anybody waiting
_NO_LINK_FROM = re.compile(rb"(?:\A|/)(?:[0-9]{3}|%s)(?:/|\Z)" % re.escape(RESERVED), re.IGNORECASE)  # ids, and our own


class RootFolder:
    """A folder below which files are found, and folders made."""

    def __init__(self, path: Path, name: str, *, writes: bool, owner: OwnerKey | None = None) -> None:
        """`name`: for messages; `owner`: of what is made below it, if not the folder's own."""
        self.path, self.name, self.writes = path, name, writes
        self._fd: int | None = None
        self._volumes: Volumes | None = None  # known once it is open, where objects are written
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
            fd = os.open(self.path, FOLDER)
        except OSError as error:
            hint = tr("check `path`: it must be a folder that you may read")
            if isinstance(error, FileNotFoundError):
                hint = tr("make it, or correct `path`; if it is on a disk of its own, check that this disk is mounted")
            raise StoreUnusable(
                tr("cannot open the {name}: {strerror}", name=self.name, strerror=error.strerror), hint=hint
            ) from error
        if self.writes:
            try:
                self._volumes = Volumes(fd, self.path, self.name)
                self.owners.settle(os.fstat(fd))
            except OSError as error:
                os.close(fd)
                raise mounts_untold(self.name, error) from error
        return fd

    def path_of(self, verb: str, key: str) -> bytes:
        """The path of a key. `verb`: what for. Raises: ObjectRejected if it is no key."""
        try:
            return path_of(key)
        except ValueError as error:
            raise ObjectRejected(f"cannot {verb} {key!r} at {self.name}: this is no key ({error})") from error

    def require_one_disk(self, path: bytes, folder: int | None = None, status: os.stat_result | None = None) -> None:
        """Check a path before it is touched. `folder`: its descriptor, if a folder is open there already, and what the
        system says of it, if it was asked.

        Raises: StoreUnusable if objects are written and it is below a mount, or may be; OSError.
        """
        if self.writes:
            head = _head(path if folder is not None else path.rpartition(b"/")[0])
            self._known_volumes.require_one_disk(head, path, folder, status)

    def volume(self, folders: bytes) -> Volume:
        """Where what lies in a folder is, if objects are written. Raises: StoreUnusable; OSError."""
        return self._known_volumes.of(_head(folders))

    @property
    def _known_volumes(self) -> Volumes:
        _ = self.fd
        assert self._volumes is not None  # noqa: S101 - objects are written
        return self._volumes

    def require_at(self, path: bytes, status: os.stat_result) -> None:
        """Check that a folder of a destination is found under its path, unless a mount hides it: that is told later.

        Raises: OSError, with ENOENT if it is not; StoreUnusable.
        """
        volume = self.volume(path)
        below = path.removeprefix(volume.link).lstrip(b"/") or b"."
        with suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(os.stat(below, dir_fd=volume.fd, follow_symlinks=False), status):
                return
        with suppress(StoreUnusable):
            self.require_one_disk(path)
            raise FileNotFoundError(errno.ENOENT, "its folder was moved away")

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
            with self.folder(folders) as folder:
                self.require_one_disk(path)
                fd = os.open(name, _FILE | os.O_NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            self._require_disk(folders)
            raise
        except OSError as error:
            if not self.writes and error.errno in (errno.ELOOP, errno.ENOTDIR):
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
        """How many folders at the head of a way may be links: all above the first one of an id, or of ours."""
        head = _head(b"/".join(folders))
        return head.count(b"/") + 1 if head else 0

    def may_be_link(self, path: str) -> bool:
        """Whether a folder of this path may be a link, and is followed then, where objects are read."""
        return _head(os.fsencode(path)) == os.fsencode(path)

    def follows(self, path: str) -> bool:
        """Whether the link to a folder at this path is followed. Raises: StoreUnusable if it should be; OSError."""
        if not self.may_be_link(path):
            return False
        return not self.writes or self.volume(os.fsencode(path)).link == os.fsencode(path)

    @contextmanager
    def folder(self, segments: list[bytes]) -> Iterator[int]:
        """A folder, reached without following a link, but for those that may be: see `linked`.

        Raises: OSError; StoreUnusable if it lies below a mount where objects are written.
        """
        start, fd = self._start(segments)
        try:
            for depth, segment in enumerate(segments[start:], start):
                try:
                    below = os.open(segment, FOLDER | os.O_NOFOLLOW, dir_fd=fd)
                except OSError as error:
                    self.require_one_disk(b"/".join(segments[:depth]), fd)  # else a mount hides it
                    self.require_no_new_link(b"/".join(segments[: depth + 1]), error)
                    raise
                os.close(fd)
                fd = below
            self.require_one_disk(b"/".join(segments), fd)  # no way leads back from what is mounted
            yield fd
        finally:
            os.close(fd)

    def require_no_new_link(self, path: bytes, error: OSError) -> None:
        """Check why a folder could not be opened. Raises: StoreUnusable for a link that was made since; OSError."""
        if self.writes and error.errno in (errno.ELOOP, errno.ENOTDIR):
            self._known_volumes.require_no_new_link(_head(path))

    def _start(self, segments: list[bytes]) -> tuple[int, int]:
        """How many folders of a way are reached at once, by links too, and the last of them, open. Raises: OSError."""
        if self.writes:
            volume = self.volume(b"/".join(segments))
            return (volume.link.count(b"/") + 1 if volume.link else 0), os.dup(volume.fd)
        linked = self.linked(segments)
        return linked, os.open(b"/".join(segments[:linked]), FOLDER, dir_fd=self.fd) if linked else os.dup(self.fd)

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
        if self.writes:  # links have been looked at
            return
        for length in range(1, self.linked(folders) + 1):
            part = b"/".join(folders[:length])
            try:
                os.stat(part, dir_fd=self.fd)
            except FileNotFoundError:
                with suppress(OSError):  # it is no link
                    os.readlink(part, dir_fd=self.fd)
                    raise leads_nowhere(self.name, part) from None
                return
            except OSError:
                return

    def close(self) -> None:
        """Let go of it. Calling it twice is no error."""
        with self._opening:
            if self._volumes is not None:
                self._volumes.close()
                self._volumes = None
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None


def _head(folders: bytes) -> bytes:
    """As much of a way as may be links: what lies above the first folder of an id, or of ours."""
    found = _NO_LINK_FROM.search(folders)
    return folders[: found.start()] if found else folders


def names_in(folder: int) -> list[str]:
    """What lies in an open folder. Raises: OSError."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


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


class PageCache:
    """What the system has in memory of the files below a root. From any thread.

    A file in the page cache is read in less time than it takes to wake another thread; another one may take long, or
    for ever where a network lies between. The system tells them apart (`RWF_NOWAIT`) on most local disks; elsewhere
    (network file systems, systems other than Linux) nothing counts as cached. To open a file may need the disk too,
    and Python has no call that does not wait for it: so the more files in a row were not in the cache, the fewer are
    tried, and a cold disk is waited for once in a few hundred files.
    """

    def __init__(self, root: RootFolder) -> None:
        self._root = root
        self._gap = 0  # files to pass over after the next that is not there
        self._to_pass = 0

    def read(
        self, path: bytes, max_bytes: int, room: Callable[[int], bool]
    ) -> tuple[os.stat_result, os.stat_result, bytes] | None:
        """A file as it was before and after it was read, and all its bytes; None: `room` has none, or see above."""
        if self._to_pass > 0:
            self._to_pass -= 1
            return None
        with suppress(OSError, StoreUnusable), self._root.opened(path) as (fd, before):
            size = before.st_size
            if size > min(max_bytes, _LARGEST) or not room(size):
                return None
            data = bytearray(size)
            if not size or os.preadv(fd, [data], 0, _NOWAIT) == size:
                self._gap = 0
                return before, os.fstat(fd), bytes(data)
        self._to_pass = self._gap = min(2 * self._gap + 1, _PASSED_OVER_AT_MOST)
        return None
