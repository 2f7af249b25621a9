"""The folders that files of one batch go to, and whose names have to reach the disk for that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeAlias

from mastosync.store.filesystem.root import FOLDER, RootFolder

FolderPlace: TypeAlias = tuple[int, int]
"""Of a folder, whatever its path is: its device and inode."""


class OpenFolders:
    """Folders below a root where objects are written: each is reached once, made where it is missing, and held open.

    Without following a link, but for those that may be: see `RootFolder.linked`. Of one thread.
    """

    def __init__(self, root: RootFolder, durable: Mapping[bytes, FolderPlace] | None = None) -> None:
        """`durable`: folders whose names are on the disk, by path; None: nobody asks for that."""
        self._root, self._durable = root, durable
        self._fds: dict[bytes, int] = {}
        self._new: set[bytes] = set()  # made here
        self._checked: set[bytes] = set()
        self._unmoved: set[bytes] = set()
        self._statuses: dict[bytes, os.stat_result] = {}
        self.changed: dict[int, None] = {}  # descriptors of folders in which something got a name, or may have
        self.durable_soon: dict[bytes, FolderPlace] = {}  # once those are flushed

    def at(self, path: bytes) -> int:
        """The descriptor of the folder that a file goes to. Raises: OSError; StoreUnusable if it lies below a mount."""
        above = path.rpartition(b"/")[0]
        fd = self._reached(above, self._root.volume(above).link)
        self._require_one_disk(above, path)  # no way leads back from what is mounted
        return fd

    def _reached(self, path: bytes, link: bytes) -> int:
        """`link`: the last on the way, which may lead to another disk; empty: there is none."""
        way, unreached = path, list[bytes]()
        while way not in self._fds and way != link:
            unreached.append(way)
            way = way.rpartition(b"/")[0]
        if way not in self._fds:
            self._fds[way] = os.dup(self._root.volume(way).fd)
        for folder in reversed(unreached):
            self._fds[folder] = self._below(folder)
            self._note_name(folder)
        return self._fds[path]

    def _below(self, path: bytes) -> int:
        above, _, name = path.rpartition(b"/")
        if above not in self._new and (fd := self._found(path, above, name)) is not None:
            return fd
        return self._made(path, self._fds[above], name)

    def _made(self, path: bytes, above: int, name: bytes) -> int:
        try:
            os.mkdir(name, dir_fd=above)
        except FileExistsError:  # somebody was faster
            return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=above)
        fd = None
        try:
            fd = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=above)
            self._root.owners.give(fd)
        except BaseException:
            if fd is not None:
                os.close(fd)
            with suppress(OSError):  # whoever finds it takes it for one that an admin has made
                os.rmdir(name, dir_fd=above)
            raise
        self._new.add(path)
        return fd

    def _note_name(self, path: bytes) -> None:
        """Have a folder's name flushed, unless that was done: whoever has made it may not have done so yet."""
        if self._durable is None:
            return
        status = self._status(path)
        place = status.st_dev, status.st_ino
        if path in self._new or self._durable.get(path) != place:  # inodes are used again
            self.changed[self._fds[path.rpartition(b"/")[0]]] = None
            self.durable_soon[path] = place

    def _found(self, path: bytes, above: bytes, name: bytes) -> int | None:
        try:
            return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=self._fds[above])
        except OSError as error:
            # what a mount hides is neither missing nor in the way, and nothing is made there
            self._require_one_disk(above, path)
            self._root.require_no_new_link(path, error)
            if not isinstance(error, FileNotFoundError):
                raise
            return None

    def _require_one_disk(self, folder: bytes, path: bytes) -> None:
        """Check a folder, and for each path in it once more whether anything was mounted since."""
        if folder in self._checked:
            self._root.require_one_disk(path)
        else:
            self._root.require_one_disk(folder, self._fds[folder], self._status(folder))
            self._checked.add(folder)

    def _status(self, path: bytes) -> os.stat_result:
        status = self._statuses.get(path)
        if status is None:
            status = self._statuses[path] = os.fstat(self._fds[path])
        return status

    def require_unmoved(self, path: bytes) -> None:
        """Check that the folder where a file got its name is still found under its path: it was reached once.

        Raises: OSError; StoreUnusable.
        """
        folder = path.rpartition(b"/")[0]
        if folder not in self._unmoved:
            self._root.require_at(folder, self._status(folder))
            self._unmoved.add(folder)

    def close(self) -> None:
        """Let go of them."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
