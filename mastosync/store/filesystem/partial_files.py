"""Files that are not whole yet, and uploads in parts: in a folder of this process, on the disk where they will lie.

The folder lies in the root, or where a link in the root leads to, and nothing in it is an object. The process holds a
lock on it, which the system releases when the process ends: a folder without a lock was left by a dead process, and the
next process removes it.

An upload is a folder in there, whose files are its parts. The name of a part holds its number, size and MD5: so only
what was confirmed is put together, and repeating anything does no harm. The system puts parts together by itself where
it can, on some disks without moving a byte.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from typing import TypeVar
from uuid import uuid4

from mastosync.errors import StoreUnusable
from mastosync.language import tr
from mastosync.store.base import Buffer, UploadedPart
from mastosync.store.filesystem.open_folders import OpenFolders
from mastosync.store.filesystem.root import RESERVED, WORK, RootFolder, names_in
from mastosync.store.filesystem.writing import write_all

T = TypeVar("T")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LAST_OF_WORK = WORK.split(b"/")[-1]
_ATTEMPTS, _PAUSE_SECONDS = 1000, 0.001
_PRIVATE_MODE = 0o700  # what is in it may become private
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1024 * 1024  # bytes, where they have to come through here
_CANNOT = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM})
_UPLOAD = re.compile(r"[0-9a-f]{32}-([0-7]+)-[0-9a-f]{32}")


class PartialFolder:
    """The folder of partial files on one disk, made when something is first written."""

    def __init__(self, root: RootFolder, way: bytes = b"") -> None:
        """`way`: the link to the folder that it lies in; empty: it lies in the root."""
        self._root = root
        self._reserved = [*(way.split(b"/") if way else ()), RESERVED]
        self._all = [*self._reserved, _LAST_OF_WORK]
        self._name = b""
        self._fd: int | None = None
        self._removed: list[int] = []  # descriptors of earlier ones, in which files may lie that are in use
        self._opening = threading.Lock()
        self._numbers = count()
        self.folds_names = False  # the disk takes names for the same that differ in case; known once it is open

    @property
    def fd(self) -> int:
        """Its descriptor. Raises: StoreUnusable if nothing can be written below the root; OSError."""
        if self._fd is None:
            with self._opening:
                if self._fd is None:
                    self._fd = self._opened()
        return self._fd

    def create(self, mode: int, folder: int | None = None) -> tuple[int, bytes, int]:
        """A new, empty file by its folder, name and descriptor, which `let_go` closes.

        `mode` as for any new file: less what the umask takes. `folder`: one in it; None: the folder itself.
        Raises: OSError.
        """
        name = b"%x" % next(self._numbers)  # nobody else writes here

        def made(folder: int) -> tuple[int, bytes, int]:
            return folder, name, os.open(name, _NEW, mode, dir_fd=folder)

        new = self._make(made) if folder is None else made(folder)
        try:
            self._root.owners.give(new[2])
        except BaseException:
            self.let_go(new[2], name, new[0])
            raise
        return new

    def _make(self, make: Callable[[int], T]) -> T:
        """Make something in it; somebody may have removed it meanwhile. Raises: as `fd` and `make`."""
        folder = self.fd
        try:
            return make(folder)
        except FileNotFoundError:
            with self._opening:
                if self._fd == folder:
                    if os.fstat(folder).st_nlink > 0:
                        raise
                    self._fd = self._opened()
                    self._removed.append(folder)
            return make(self.fd)

    def let_go(self, fd: int, name: bytes | None, folder: int) -> None:
        """Close a file of a folder, and remove it unless it was moved away (None). Raises: OSError."""
        os.close(fd)
        if name is not None:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)

    @contextmanager
    def new_file(self, mode: int, folder: int) -> Iterator[tuple[bytes, int]]:
        """As `create`, for a block."""
        _, name, fd = self.create(mode, folder)
        try:
            yield name, fd
        finally:
            self.let_go(fd, name, folder)

    def new_folder(self, name: str) -> None:
        """Make a folder in it. Raises: OSError."""
        self._make(lambda folder: os.mkdir(name, _PRIVATE_MODE, dir_fd=folder))
        with self.folder(name) as made:
            self._root.owners.give(made)

    @contextmanager
    def folder(self, name: str) -> Iterator[int]:
        """The descriptor of a folder in it. Raises: OSError; FileNotFoundError if there is none."""
        fd = os.open(name, _FOLDER, dir_fd=self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def folders(self, prefix: str) -> list[str]:
        """The names of those that begin like this. Raises: OSError."""
        return [name for name in names_in(self.fd) if name.startswith(prefix)]

    def remove(self, name: str) -> None:
        """Remove a folder in it; one that is not there is no error. Raises: OSError."""
        self._remove_tree(os.fsencode(name), self.fd, b"/".join((*self._all, self._name)))

    def _opened(self) -> int:
        try:
            for _ in range(_ATTEMPTS - 1):
                with suppress(FileNotFoundError):  # another process has ended, and tidied up
                    return self._begun()
                self._root.require_there()
                time.sleep(_PAUSE_SECONDS)
            return self._begun()
        except PermissionError as error:
            raise StoreUnusable(
                tr("nothing can be written to the {name}: {strerror}", name=self._root.name, strerror=error.strerror),
                hint=tr("run mastosync as a user who may write there, or correct the folder's owner and mode"),
            ) from error

    def _begun(self) -> int:
        with closing(OpenFolders(self._root)) as folders, suppress(FileExistsError):
            reserved = folders.at(b"/".join(self._all))
            self._root.owners.give_of_work(reserved)
            os.mkdir(_LAST_OF_WORK, _PRIVATE_MODE, dir_fd=reserved)
        with self._root.folder(self._all) as all_of_them:
            self._root.owners.give_of_work(all_of_them)
            self._remove_dead(all_of_them)
            return self._locked(all_of_them)

    def _locked(self, all_of_them: int) -> int:
        """A folder of our own, with its lock."""
        while True:
            self._name = uuid4().hex.encode()
            os.mkdir(self._name, _PRIVATE_MODE, dir_fd=all_of_them)
            with suppress(FileNotFoundError):  # somebody who cleans up took it for a dead one
                fd = os.open(self._name, _FOLDER, dir_fd=all_of_them)
                try:
                    self._root.owners.give(fd)
                except BaseException:
                    os.close(fd)
                    raise
                if _lock(fd) is not False and os.fstat(fd).st_nlink > 0:
                    self.folds_names = _exists(self._name.upper(), all_of_them)
                    return fd
                os.close(fd)

    def _remove_dead(self, all_of_them: int) -> None:
        """Remove the folders of processes that died. Raises: StoreUnusable for a mount among them."""
        for name in map(os.fsencode, names_in(all_of_them)):
            with suppress(OSError):
                fd = os.open(name, _FOLDER, dir_fd=all_of_them)
                try:
                    if _lock(fd):
                        self._remove_tree(name, all_of_them, b"/".join(self._all))
                finally:
                    os.close(fd)

    def _remove_tree(self, name: bytes, above: int, way: bytes) -> None:
        """Remove a folder of the open one `above`, whose path is `way`, and what is in it, if it is there.

        Raises: StoreUnusable for a mount, which is left as it is; OSError.
        """
        path = b"/".join((way, name))
        try:
            fd = os.open(name, _FOLDER, dir_fd=above)
        except FileNotFoundError:
            return
        try:
            self._root.require_one_disk(path, fd)
            for entry in map(os.fsencode, names_in(fd)):
                try:
                    with suppress(FileNotFoundError):
                        os.unlink(entry, dir_fd=fd)
                except OSError:  # a folder, which some systems call forbidden
                    self._remove_tree(entry, fd, path)
        finally:
            os.close(fd)
        with suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=above)

    def close(self) -> None:
        """Remove it, and what it lay in if nothing else is there. Calling it twice is no error."""
        with self._opening:
            if self._fd is None:
                return
            with suppress(OSError, StoreUnusable), self._root.folder(self._reserved) as reserved:
                with self._root.folder(self._all) as all_of_them:
                    self._remove_tree(self._name, all_of_them, b"/".join(self._all))
                os.rmdir(_LAST_OF_WORK, dir_fd=reserved)  # unless there are others
                with self._root.folder(self._reserved[:-1]) as place:
                    os.rmdir(RESERVED, dir_fd=place)
            for fd in (self._fd, *self._removed):
                os.close(fd)
            self._fd, self._removed = None, []


class PartialFolders:
    """One for each disk of a root."""

    def __init__(self, root: RootFolder) -> None:
        self._root = root
        self._made: dict[bytes, PartialFolder] = {}

    def at(self, path: bytes) -> PartialFolder:
        """That of whatever lies at a path. Raises: StoreUnusable; OSError."""
        way = self._root.volume(path.rpartition(b"/")[0]).link
        return self._made.get(way) or self._made.setdefault(way, PartialFolder(self._root, way))

    def close(self) -> None:
        """Remove them. Calling it twice is no error."""
        for work in self._made.values():
            work.close()


def _lock(fd: int) -> bool | None:
    """Whether it is ours now; None: this file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _exists(name: bytes, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


class Uploads:
    """Uploads in parts that have begun in one folder of partial files."""

    def __init__(self, work: PartialFolder) -> None:
        self._work = work

    def start(self, key: str, mode: int) -> str:
        """Begin one, of a file with this mode. Raises: OSError."""
        upload_id = f"{_beginning(key)}{mode:o}-{uuid4().hex}"
        self._work.new_folder(upload_id)
        return upload_id

    def write_part(self, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:
        """Store a part. Raises: OSError, with ENOENT if the upload is unknown."""
        mode = _mode_of(upload_id)
        with self._work.folder(upload_id) as folder, self._work.new_file(mode, folder) as (name, fd):
            write_all(fd, data)
            os.rename(name, _name_of(number, md5), src_dir_fd=folder, dst_dir_fd=folder)
        return UploadedPart(number, md5.hex(), md5)

    @contextmanager
    def assembled(self, upload_id: str, parts: list[UploadedPart]) -> Iterator[tuple[int, bytes, int]]:
        """All parts in one file: its folder, name and descriptor. When the block ends well, the upload is over.

        Raises: OSError, with ENOENT if the upload or a part is unknown.
        """
        mode = _mode_of(upload_id)
        with self._work.folder(upload_id) as folder, self._work.new_file(mode, folder) as (name, whole):
            for part in parts:
                _append(whole, _name_of(part.number, part.md5), folder)
            yield folder, name, whole
        self._work.remove(upload_id)

    def discard(self, upload_id: str) -> None:
        """Give one up; it may be unknown. Raises: OSError."""
        with suppress(FileNotFoundError):
            _mode_of(upload_id)
            self._work.remove(upload_id)

    def discard_all(self, key: str) -> int:
        """Give up those of this key, and return how many there were. Raises: OSError."""
        found = self._work.folders(_beginning(key))
        for upload_id in found:
            self._work.remove(upload_id)
        return len(found)


def _beginning(key: str) -> str:
    """Of the ids of a key's uploads, and of no other's."""
    return f"{hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()}-"


def _mode_of(upload_id: str) -> int:
    """Raises: FileNotFoundError if there is no such upload."""
    match = _UPLOAD.fullmatch(upload_id)
    if match is None:
        raise FileNotFoundError(errno.ENOENT, "there is no such upload")
    return int(match[1], 8)


def _name_of(number: int, md5: bytes) -> bytes:
    return f"{number:05}-{md5.hex()}".encode()


def _append(whole: int, name: bytes, folder: int) -> None:
    """Put a part's bytes after those that are there. Raises: OSError."""
    part = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(part)
        # the folder may be somebody's who is not root, and may not read what root may
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise FileNotFoundError(errno.ENOENT, "this is not the part that was written")
        left = status.st_size
        while left:
            came = _moved(part, whole, left)
            left -= came
            if not came:
                raise FileNotFoundError(errno.ENOENT, "a part has lost bytes")
    finally:
        os.close(part)


def _moved(part: int, whole: int, at_most: int) -> int:
    """Bytes that went from one file to the other. Raises: OSError."""
    if hasattr(os, "copy_file_range"):  # Linux
        try:
            return os.copy_file_range(part, whole, at_most)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
    data = os.read(part, min(at_most, _PIECE))
    write_all(whole, data)
    return len(data)
