"""Files that become objects: written without a name, made durable, and renamed to their names, many of them at once.

One batch does each of these for all of its files before it goes on. So a folder is reached, checked and flushed once
for all files that go there, and the flushes of many files lie side by side: the system writes its journal once for all
of them. No file gets its name before its bytes are on the disk, and no object counts as stored before its name is,
where `fsync` asks for that. A file that fails leaves the others alone.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mastosync.errors import CorruptObject, MastosyncError, ObjectRejected, StoreUnusable
from mastosync.language import tr
from mastosync.store.abilities import BatchLimits, NewObject
from mastosync.store.base import Buffer, DigestUse, PutOptions, require_claimed
from mastosync.store.errors import Target, file_errors
from mastosync.store.filesystem.open_folders import FolderPlace, OpenFolders
from mastosync.store.filesystem.root import RootFolder, names_in, namesake, sync_file, sync_folder
from mastosync.store.filesystem.walk import etag_of

if TYPE_CHECKING:
    from mastosync.config import FilesystemConfig
    from mastosync.store.filesystem.partial_files import PartialFolder, PartialFolders

T = TypeVar("T")
R = TypeVar("R")

_PUBLIC_MODE, _PRIVATE_MODE = 0o666, 0o600  # less the umask: as Mastodon has it on a disk
_FLUSHES_AT_ONCE = 8  # threads; more of them gain nothing, fewer let the disk wait
_OBJECTS_A_BATCH = 16  # more gain nothing, and keep the first of them waiting
_CORES_A_BATCH = 2  # the system, and whoever brings the objects, want some too
_EACH_ALONE = BatchLimits(objects=1, at_once=None)
_SLOW_SECONDS = 0.01  # to write a file, in the mean: a network lies between, or files are large
_WEIGHT = 0.2  # of the last batch, in the mean
_DURABLE_KNOWN = 10_000  # folders; what is forgotten is flushed once more
_ALONE_FIRST, _ALONE_AT_MOST = 500, 16_000  # files that are written each by a thread of its own, until one is tried


@dataclass(slots=True, eq=False)
class NewFile:
    """A file on its way to its name."""

    key: str
    path: bytes  # below the root, by its key
    work: PartialFolder
    name: bytes  # as yet
    fd: int
    folder: int  # the descriptor of where it lies as yet
    failure: MastosyncError | None = None
    etag: str = ""  # once it has its name


class FileWriter:
    """Writes files below one root. From any thread."""

    def __init__(self, root: RootFolder, works: PartialFolders, config: FilesystemConfig) -> None:
        self._root, self._works = root, works
        self._keep_free = config.keep_free
        self._durable: dict[bytes, FolderPlace] | None = {} if config.fsync == "always" else None  # see `OpenFolders`
        self._flushing: ThreadPoolExecutor | None = None
        self._naming = threading.Lock()
        self._pace = _Pace()
        at_once = max(1, (os.cpu_count() or 1) // _CORES_A_BATCH)
        if self._durable is not None:
            at_once += 1  # one is flushed, another is written
        self._at_ease = BatchLimits(_OBJECTS_A_BATCH, at_once)

    def limits(self) -> BatchLimits:
        """As `BatchingStore` has it."""
        if self._pace.is_slow:
            return _EACH_ALONE
        return self._at_ease

    def write(self, objects: Sequence[NewObject]) -> list[str | MastosyncError]:
        """The ETags of new objects, or why one is not there. Raises: nothing that concerns one of them alone."""
        room, files = _Room(self._root, self._keep_free), list[NewFile]()
        answers = list[NewFile | MastosyncError]()
        began = time.monotonic()
        try:
            for each in objects:
                try:
                    with file_errors(self._doing(each.key), Target.NEW_OBJECT):
                        answers.append(self._written(each, room, files))
                except MastosyncError as error:
                    answers.append(error)
            written = time.monotonic() - began
            named = self.put_in_place([each for each in answers if isinstance(each, NewFile)])
            self._pace.note(written + named, len(objects))
        finally:
            for file in files:
                self._let_go(file)
        return [each if isinstance(each, MastosyncError) else each.failure or each.etag for each in answers]

    def require_room(self, size_bytes: int, path: bytes) -> None:
        """Raises: StoreUnusable if so much more would not leave enough free; OSError."""
        _Room(self._root, self._keep_free).take(size_bytes, path)

    def put_in_place(self, files: Sequence[NewFile]) -> float:
        """Give files that are whole their names. Each gets its ETag, which a rename does not change, or a failure.

        Returns: the seconds that names have taken, without flushes.
        """
        if self._durable is not None:
            self._side_by_side(lambda file: self._attempt(file, _sync_content), files)
        with closing(OpenFolders(self._root, self._durable)) as folders:
            began = time.monotonic()
            for file in files:
                self._attempt(file, lambda file: self._rename(file, folders))
            for file in files:
                self._attempt(file, lambda file: folders.require_unmoved(file.path))
            seconds = time.monotonic() - began
            if self._durable is not None:
                self._flush(folders, files, self._durable)
        return seconds

    def _written(self, new: NewObject, room: _Room, files: list[NewFile]) -> NewFile:
        """A whole file, which is one of `files` as soon as it exists."""
        path = self._root.path_of("write", new.key)
        room.take(len(new.data), path)
        if new.digest is DigestUse.CLAIMED:
            require_claimed(new.key, self._root.name, new.data, new.md5)
        else:
            self.require_md5(new.key, new.data, new.md5)
        work = self._works.at(path)
        folder, name, fd = work.create(mode_of(new.options))
        files.append(file := NewFile(new.key, path, work, name, fd, folder))
        write_all(fd, new.data)
        return file

    def _let_go(self, file: NewFile) -> None:
        """Close a file, which may tell of bytes that a network disk has not taken; remove it unless it has its name."""
        try:
            with file_errors(self._doing(file.key), Target.NEW_OBJECT):
                file.work.let_go(file.fd, None if file.etag else file.name, file.folder)
        except MastosyncError as error:
            file.failure = file.failure or error

    def _rename(self, file: NewFile, folders: OpenFolders) -> None:
        name = file.path.rpartition(b"/")[2]
        place = folders.at(file.path)
        with self._naming if file.work.folds_names else nullcontext():  # another batch may have such a name, too
            if file.work.folds_names:
                self._require_own_name(file.key, place, name)
            os.rename(file.name, name, src_dir_fd=file.folder, dst_dir_fd=place)
        folders.changed[place] = None
        file.etag = etag_of(os.fstat(file.fd))

    def _flush(self, folders: OpenFolders, files: Iterable[NewFile], durable: dict[bytes, FolderPlace]) -> None:
        """If one of the folders cannot be flushed, no file counts as stored: each is written again, alone."""
        failures = [each for each in self._side_by_side(_failure_to_sync, [*folders.changed]) if each is not None]

        def fail(_: NewFile) -> None:
            raise failures[0]

        if failures:
            for file in files:
                self._attempt(file, fail)
            return
        if len(durable) > _DURABLE_KNOWN:
            durable.clear()
        durable.update(folders.durable_soon)

    def _side_by_side(self, step: Callable[[T], R], items: Sequence[T]) -> list[R]:
        if len(items) < 2:
            return [*map(step, items)]
        if self._flushing is None:
            self._flushing = ThreadPoolExecutor(_FLUSHES_AT_ONCE, thread_name_prefix="flush")
        return [*self._flushing.map(step, items)]

    def _require_own_name(self, key: str, place: int, name: bytes) -> None:
        """Raises: ObjectRejected if the disk takes another object's name for this one."""
        if other := namesake(os.fsdecode(name), names_in(place)):
            raise ObjectRejected(
                f"cannot {self._doing(key)}: this disk takes its name for that of {other!r}, which is there",
                hint=tr("copy to a disk that distinguishes upper and lower case"),
            )

    def require_md5(self, key: str, data: Buffer, md5: bytes) -> None:
        """Raises: CorruptObject if this is not the MD5 of `data`."""
        if hashlib.md5(data, usedforsecurity=False).digest() != md5:
            raise CorruptObject(
                f"cannot {self._doing(key)}: the bytes are not those of the MD5 {md5.hex()}",
                hint=tr("check the memory of this machine"),
            )

    def _doing(self, key: str) -> str:
        return f"write {key!r} at {self._root.name}"

    def _attempt(self, file: NewFile, step: Callable[[NewFile], None]) -> None:
        if file.failure is None:
            try:
                with file_errors(self._doing(file.key), Target.NEW_OBJECT):
                    step(file)
            except MastosyncError as error:
                file.failure = error

    def close(self) -> None:
        """End its threads. Calling it twice is no error."""
        if self._flushing is not None:
            self._flushing.shutdown(wait=False, cancel_futures=True)
            self._flushing = None


class _Room:
    """What may still be written to each disk of a root, asked for once for all files of a batch."""

    def __init__(self, root: RootFolder, keep_free: int) -> None:
        self._root, self._keep_free = root, keep_free
        self._free: dict[bytes, int] = {}  # bytes, by the links to the disks

    def take(self, size_bytes: int, path: bytes) -> None:
        """Take some for a file. Raises: StoreUnusable if too little would stay free; OSError."""
        volume = self._root.volume(path.rpartition(b"/")[0])
        free = self._free.get(volume.link)
        if free is None:
            self._root.require_there()
            free = volume.free_bytes()
        self._free[volume.link] = free - size_bytes
        if free - size_bytes >= self._keep_free:
            return
        kept = tr(", and {keep:,} have to stay free (`keep_free`)", keep=self._keep_free) if self._keep_free else ""
        raise StoreUnusable(
            tr(
                "the disk of the {name} is full: {size_bytes:,} bytes are to be written, {free:,} are free{kept}",
                name=self._root.name,
                size_bytes=size_bytes,
                free=free,
                kept=kept,
            ),
            hint=tr("make room, or lower `keep_free`, then run the same command again: it goes on where it stopped"),
        )


class _Pace:
    """Whether one thread alone would wait too long for this disk. From any thread; a count that is lost does no harm.

    Then files are written each by a thread of its own, and a batch is tried again the less often the more of them were
    slow.
    """

    def __init__(self) -> None:
        self._seconds = 0.0  # that a file of a batch takes beside its flushes, in the mean
        self._gap = 0  # files to write alone after the next slow batch
        self._left = 0

    @property
    def is_slow(self) -> bool:
        return self._left > 0

    def note(self, seconds: float, files: int) -> None:
        if self._left > 0:
            self._left -= files
            return
        self._seconds += _WEIGHT * (seconds / files - self._seconds)
        if self._seconds > _SLOW_SECONDS:
            self._left = self._gap = min(2 * self._gap + _ALONE_FIRST, _ALONE_AT_MOST)
            self._seconds = _SLOW_SECONDS  # so that the next batch decides
        else:
            self._gap = 0


def mode_of(options: PutOptions) -> int:
    """Of a new file, less the umask."""
    return _PRIVATE_MODE if options.acl == "private" else _PUBLIC_MODE


def write_all(fd: int, data: Buffer) -> None:
    """Write every byte. Raises: OSError."""
    with memoryview(data) as view:
        at = 0
        while at < len(view):
            at += os.write(fd, view[at:])


def _sync_content(file: NewFile) -> None:
    sync_file(file.fd)


def _failure_to_sync(folder: int) -> OSError | None:
    try:
        sync_folder(folder)
    except OSError as error:
        return error
    return None
