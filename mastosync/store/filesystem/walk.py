"""A listing of a tree in the order of whole keys, from anywhere on.

In that order what lies in a folder `a` comes after a file `a.b`, as `/` comes after `.`: so folders are
sorted by their names with the slash. Only folders that may hold what is wanted are opened.
"""

from __future__ import annotations

import errno
import heapq
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from operator import attrgetter

from mastosync.store.base import ListedObject
from mastosync.store.filesystem.root import ESCAPED, RESERVED, RootFolder, key_of_escaped

_log = logging.getLogger(__name__)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RESERVED = os.fsdecode(RESERVED)
_ESCAPED = os.fsdecode(ESCAPED) + "/"
LOST_AND_FOUND = "lost+found/"  # at the head of a disk, for root's eyes
_NOT_OF_OBJECTS = frozenset({_RESERVED, LOST_AND_FOUND[:-1]})


def etag_of(status: os.stat_result) -> str:
    """What changes with a file's content, and when everybody may read it; nothing is read for it.

    It is no MD5, and none of parts.
    """
    closed = "" if status.st_mode & stat.S_IROTH else "-p"
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}{closed}"


class Walk:
    """Objects below a root whose keys begin with `prefix` and come after `after`."""

    def __init__(self, root: RootFolder, prefix: str, after: str) -> None:
        self._root, self._prefix, self._after = root, prefix, after

    def __iter__(self) -> Iterator[ListedObject]:
        """In the order of their keys.

        Raises: OSError if a folder cannot be read, which may hold some of them; StoreUnusable if something is mounted
        there, where objects are written.
        """
        return heapq.merge(self._iter_plain(), self._iter_escaped(), key=attrgetter("key"))

    def _iter_plain(self) -> Iterator[ListedObject]:
        for key in self._iter_names("", self._prefix, self._after):
            if found := self._found(key, key.encode()):
                yield found

    def _iter_escaped(self) -> Iterator[ListedObject]:
        """Objects with keys that cannot be paths. There are hardly ever any, so all of them are read."""
        try:
            with self._root.folder(ESCAPED.split(b"/")):
                pass
        except OSError as error:  # not there, or a link, which nobody but us has any business to put there
            closed = error.errno == errno.EACCES and not self._root.writes  # was another user's destination
            if closed or error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return
            raise
        for path in self._iter_names(_ESCAPED, _ESCAPED, ""):
            key = key_of_escaped(path.removeprefix(_ESCAPED).encode())
            wanted = key is not None and key > self._after and key.startswith(self._prefix)
            if key is not None and wanted and (found := self._found(key, path.encode())):
                yield found

    def _found(self, key: str, path: bytes) -> ListedObject | None:
        self._root.require_one_disk(path)
        try:
            status = os.stat(path, dir_fd=self._root.fd, follow_symlinks=False)
        except FileNotFoundError:  # removed meanwhile
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        modified = datetime.fromtimestamp(status.st_mtime, UTC).isoformat()
        return ListedObject(key, status.st_size, etag_of(status), modified)

    def _iter_names(self, folder: str, prefix: str, after: str) -> Iterator[str]:
        """Files below a folder, which ends with a slash or is the root itself, by their paths below the root."""
        way = [(folder, iter(self._names_in(folder)))]
        while way:
            folder, names = way[-1]
            for name in names:
                path = folder + name
                if not name.endswith("/"):
                    if path > after and path.startswith(prefix):
                        yield path
                elif (path > after or after.startswith(path)) and (path.startswith(prefix) or prefix.startswith(path)):
                    way.append((path, iter(self._names_in(path))))
                    break
            else:
                way.pop()

    def _names_in(self, folder: str) -> list[str]:
        """What lies in a folder, those of folders with a slash at their end, in the order of keys."""
        try:
            fd = os.open(folder.encode() or b".", _FOLDER, dir_fd=self._root.fd)
        except FileNotFoundError:
            self._root.require_one_disk(folder.encode().rstrip(b"/"))  # else a mount hides it
            return []
        except PermissionError:
            if folder == LOST_AND_FOUND:
                return []
            raise
        try:
            self._root.require_one_disk(folder.encode().rstrip(b"/"), fd)
            with os.scandir(fd) as entries:
                return sorted(name for entry in entries if (name := self._name_of(entry, folder)))
        finally:
            os.close(fd)

    def _name_of(self, entry: os.DirEntry[str], folder: str) -> str:
        """Empty: it is neither a file nor a folder that is looked into."""
        try:
            name = os.fsencode(entry.name).decode()  # whatever the locale made of it
        except UnicodeDecodeError:
            _log.warning(
                "passed over in the %s, as no key can be like this: %s", self._root.name, ascii(folder + entry.name)
            )
            return ""
        if name.lower() == _RESERVED:
            return ""
        if entry.is_symlink():
            return f"{name}/" if self._is_followed(entry, folder + name) else ""
        if entry.is_file(follow_symlinks=False):
            return name
        return f"{name}/" if entry.is_dir(follow_symlinks=False) else ""

    def _is_followed(self, link: os.DirEntry[str], path: str) -> bool:
        """Whether a link is to a folder, lies where those are followed, and does not lead back."""
        with suppress(OSError):  # a link to itself
            if self._root.may_be_link(path) and link.is_dir() and self._root.follows(path):
                return not self._leads_back(path)
        _log.warning("passed over in the %s, as this link is not followed: %s", self._root.name, ascii(path))
        return False

    def _leads_back(self, path: str) -> bool:
        """Whether a link leads to a folder that it lies in: what is below it would never end."""
        there = os.stat(path.encode(), dir_fd=self._root.fd)
        above = [".", *(path[:at] for at, letter in enumerate(path) if letter == "/")]
        return any(os.path.samestat(there, os.stat(each.encode(), dir_fd=self._root.fd)) for each in above)


def holds_objects(root: RootFolder, top_folders: Iterable[str]) -> bool:
    """Whether a file lies where objects do: an unmounted disk has none, whatever else lies at its mount point.

    `top_folders`: the first ones of all keys; empty: any. Raises: OSError.
    """
    return holds_files(root, [*(top_folders or ("",)), os.fsdecode(ESCAPED)])


def holds_files(root: RootFolder, folders: Iterable[str]) -> bool:
    """Whether a file lies below one of these folders, which need not be there.

    A folder that cannot be looked into counts as one with files, and so does a link that leads nowhere: who reads there
    will tell. Raises: OSError if the root cannot be read.
    """
    waiting, seen = list(folders), set[tuple[int, int]]()
    while waiting:
        folder = waiting.pop()
        try:
            fd = os.open(folder or ".", _FOLDER, dir_fd=root.fd)
        except OSError as error:
            if not folder:
                raise
            if error.errno == errno.ENOTDIR or (error.errno == errno.ENOENT and not _is_link(root, folder)):
                continue
            return True
        try:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) in seen:  # a link leads back
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(fd) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}".lstrip("/")
                    if entry.is_file(follow_symlinks=False):
                        return True
                    may_be_folder = root.may_be_link(path) if entry.is_symlink() else entry.is_dir()
                    if may_be_folder and path not in _NOT_OF_OBJECTS:
                        waiting.append(path)
        finally:
            os.close(fd)
    return False


def empty_links(root: RootFolder, folders: Iterable[str]) -> list[str]:
    """Links on the way to these folders that lead to no file: there is nothing yet, or a disk that is not mounted.

    Raises: OSError if the root cannot be read.
    """
    parts = [folder.split("/") for folder in folders]
    ways = {"/".join(each[:length]) for each in parts for length in range(1, len(each) + 1)}
    return [way for way in sorted(ways) if _is_link(root, way) and not holds_files(root, [way])]


def _is_link(root: RootFolder, path: str) -> bool:
    with suppress(OSError):
        return stat.S_ISLNK(os.stat(path, dir_fd=root.fd, follow_symlinks=False).st_mode)
    return False
