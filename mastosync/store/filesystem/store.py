"""The contract of `ObjectStore` for a folder: a key is a path, an object is a file. See docs/design/disk.md.

A file is renamed to its name when it is whole, so nobody ever sees half of one. Its ETag is made of what the system
says of it (`walk.etag_of`): it changes with the content and with who may read it, and costs no reading. A disk keeps
bytes and who may read them, and no headers: name and bytes tell the Content-Type.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.utils import formatdate
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal

from mastosync.config import FilesystemConfig
from mastosync.errors import CorruptObject, MastosyncError, ObjectChanged, ObjectError, ObjectRejected, StoreUnusable
from mastosync.language import tr
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.store.abilities import BatchLimits, NewObject
from mastosync.store.base import (
    Buffer,
    DigestUse,
    DiskSpace,
    FetchedObject,
    ListedObject,
    Page,
    Piece,
    PutOptions,
    UploadedPart,
)
from mastosync.store.errors import Target, file_errors
from mastosync.store.filesystem.partial_files import PartialFolders, Uploads
from mastosync.store.filesystem.probe import disks, keys_by_disk
from mastosync.store.filesystem.root import PageCache, RootFolder, path_of
from mastosync.store.filesystem.walk import Walk, empty_links, etag_of, holds_objects
from mastosync.store.filesystem.writing import FileWriter, NewFile, mode_of
from mastosync.store.media_types import HEAD_BYTES, content_type_of

if TYPE_CHECKING:
    from mastosync.config import FilesystemConfig

_PAGE = 1000
_WALKS = 64  # that somebody may go on with: as many as ranges are listed side by side
_PIECE = 1024 * 1024  # bytes, of what is read to be hashed
_READ_BY_OTHERS, _ENTERED_BY_OTHERS = 0o044, 0o055


class FilesystemStore:
    """A folder. See `ObjectStore` for what each method promises."""

    computes_digests = True

    def __init__(
        self,
        config: FilesystemConfig,
        *,
        role: Literal["source", "destination"],
        holds_objects: bool = False,
        top_folders: Collection[str] = (),
    ) -> None:
        """`holds_objects`: some should be there, so that an empty folder is the wrong one, or an unmounted disk.

        `top_folders`: the first ones of all keys; empty: any. What lies elsewhere is no object.
        """
        path = config.folder
        self.name = f"{role} folder '{path}'"
        self.endpoint = f"file://{path}"
        self._config = config
        self._writes = role == "destination"
        self._holds_objects = holds_objects or not self._writes
        self._top_folders = top_folders
        self._root = RootFolder(path, self.name, writes=self._writes, owner=config.owner)
        self._cache = PageCache(self._root)
        self._works = PartialFolders(self._root)
        self._writer = FileWriter(self._root, self._works, config)
        self._walks: dict[tuple[str, str], Iterator[ListedObject]] = {}
        self._calls = _CallsUnderWay(self._let_go)

    def check(self) -> None:  # noqa: D102 - see ObjectStore, here and below
        with self._of_folder("use"):
            _ = self._root.fd
            if self._holds_objects and not holds_objects(self._root, self._top_folders):
                raise StoreUnusable(
                    tr("the {name} has no objects, but some should be in it", name=self.name),
                    hint=tr(
                        "check that its disk is mounted, and that `path` is the folder with `media_attachments` "
                        "and `accounts`"
                    ),
                )

    def head(self, key: str) -> ObjectInfo:  # noqa: D102
        with self._opened("describe", key) as (fd, status):
            return self._info(key, status, os.pread(fd, HEAD_BYTES, 0))

    def list_page(self, prefix: str, after: str) -> Page:  # noqa: D102
        with self._of_folder("list"):
            walk = self._walks.pop((prefix, after), None) or iter(Walk(self._root, prefix, after))
            objects = list(islice(walk, _PAGE))
            following = next(walk, None) if len(objects) == _PAGE else None
            if following is None:
                return Page(objects, is_last=True)
            while len(self._walks) >= _WALKS:
                self._walks.pop(next(iter(self._walks)), None)
            self._walks[prefix, objects[-1].key] = chain((following,), walk)
            return Page(objects, is_last=False)

    def read(  # noqa: D102
        self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED
    ) -> FetchedObject:
        with self._opened("read", key) as (fd, status):
            if status.st_size > max_bytes:
                info = self._info(key, status, os.pread(fd, HEAD_BYTES, 0))
                return FetchedObject(info, data=None, md5=None)
            data = os.pread(fd, status.st_size, 0) if status.st_size else b""
            while len(data) < status.st_size and (more := os.pread(fd, status.st_size - len(data), len(data))):
                data += more
            return self._fetched(key, status, os.fstat(fd), data)

    def read_cached(  # noqa: D102 - see CachingStore
        self, key: str, max_bytes: int, room: Callable[[int], bool], digest: DigestUse = DigestUse.COMPUTED
    ) -> FetchedObject | None:
        with suppress(ObjectError), self._calls:  # which `read` will tell
            found = self._cache.read(self._root.path_of("read", key), max_bytes, room)
            return found and self._fetched(key, *found)
        return None

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> Buffer:  # noqa: D102
        data = bytearray(length)
        with self._unchanged(key, info) as fd, memoryview(data) as view:
            at = 0
            while at < length and (came := os.preadv(fd, [view[at:]], start + at)):
                at += came
            if at < length:
                raise self._changed(key)
        return data

    def digest(self, key: str, info: ObjectInfo) -> bytes:  # noqa: D102
        md5 = hashlib.md5(usedforsecurity=False)
        with self._unchanged(key, info) as fd:
            at = 0
            while piece := os.pread(fd, _PIECE, at):
                md5.update(piece)
                at += len(piece)
        return md5.digest()

    def write(  # noqa: D102
        self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = DigestUse.COMPUTED
    ) -> str:
        if digest is DigestUse.CONTRADICTED:
            return ""  # a wrong MD5 would be refused
        (answer,) = self.write_batch([NewObject(key, data, md5, options, digest)])
        if isinstance(answer, MastosyncError):
            raise answer
        return answer

    def write_batch(self, objects: Sequence[NewObject]) -> list[str | MastosyncError]:  # noqa: D102 - see BatchingStore
        for each in objects:
            self._require_writable("write", each.key)
        with self._calls:
            return self._writer.write(objects)

    def batch_limits(self) -> BatchLimits:  # noqa: D102
        return self._writer.limits()

    def copy_from(  # noqa: D102
        self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
    ) -> str:
        raise self._copies_nothing(key)

    def copy_part(self, key: str, upload_id: str, number: int, piece: Piece) -> UploadedPart:  # noqa: D102
        raise self._copies_nothing(key)

    def _copies_nothing(self, key: str) -> ObjectRejected:
        return ObjectRejected(
            f"cannot copy to {key!r} at {self.name}: a folder copies nothing by itself",
            hint=tr("set `server_side = never` in [copy]"),
        )

    def start_multipart(self, key: str, options: PutOptions) -> str:  # noqa: D102
        with self._writing("begin an upload of", key, Target.NEW_OBJECT, 0) as path:
            return self._uploads(path).start(key, mode_of(options))

    def write_part(self, key: str, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:  # noqa: D102
        with self._writing(f"write part {number} of", key, Target.UPLOAD, 2 * len(data)) as path:  # again in the whole
            self._writer.require_md5(key, data, md5)
            return self._uploads(path).write_part(upload_id, number, data, md5)

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:  # noqa: D102
        with (
            self._writing("complete the upload of", key, Target.UPLOAD, 0) as path,
            Uploads(work := self._works.at(path)).assembled(upload_id, parts) as (folder, name, fd),
        ):
            self._writer.put_in_place([whole := NewFile(key, path, work, name, fd, folder)])
            if whole.failure is not None:
                raise whole.failure
            return whole.etag

    def abort_multipart(self, key: str, upload_id: str) -> None:  # noqa: D102
        with self._writing("give up the upload of", key, Target.STORE, 0) as path:
            self._uploads(path).discard(upload_id)

    def abort_unfinished(self, key: str) -> int:  # noqa: D102
        with self._writing("give up uploads of", key, Target.STORE, 0) as path:
            return self._uploads(path).discard_all(key)

    def _uploads(self, path: bytes) -> Uploads:
        return Uploads(self._works.at(path))

    def delete(self, key: str) -> None:  # noqa: D102
        with self._writing("delete", key, Target.STORE, 0) as path:
            self._root.remove(path, durable=self._config.fsync == "always")

    def anybody_reads(self, key: str) -> bool:  # noqa: D102
        with self._opened("describe", key) as (_, status):
            return bool(status.st_mode & stat.S_IROTH)

    def anybody_finds(self, key: str, info: ObjectInfo) -> bool:  # noqa: D102
        return self.anybody_reads(key)

    def withdraw(self, key: str) -> bool:  # noqa: D102
        self.delete(key)
        return True

    def close(self) -> None:  # noqa: D102
        self._calls.close()

    def _let_go(self) -> None:
        self._walks.clear()
        self._writer.close()
        self._works.close()
        self._root.close()

    @contextmanager
    def _opened(self, verb: str, key: str) -> Iterator[tuple[int, os.stat_result]]:
        path = self._root.path_of(verb, key)
        where = f"{verb} {key!r} at {self.name}"
        with self._calls, file_errors(where, Target.OBJECT), self._root.opened(path) as found:
            yield found

    @contextmanager
    def _of_folder(self, verb: str) -> Iterator[None]:
        with self._calls, file_errors(f"{verb} the {self.name}", Target.STORE):
            yield

    def _fetched(self, key: str, before: os.stat_result, after: os.stat_result, data: bytes) -> FetchedObject:
        """Raises: CorruptObject if the file is another since it was opened."""
        if len(data) != before.st_size or etag_of(after) != etag_of(before):
            raise CorruptObject(
                f"cannot read {key!r} at {self.name}: it changes while it is read",
                hint=tr("another program writes to it"),
            )
        return FetchedObject(self._info(key, before, data), data, _md5(data).digest())

    @contextmanager
    def _unchanged(self, key: str, info: ObjectInfo) -> Iterator[int]:
        """The file that `info` describes. Raises: ObjectChanged if it is another, before or after the block."""
        with self._opened("read", key) as (fd, status):
            self._require_same(key, info, status)
            yield fd
            self._require_same(key, info, os.fstat(fd))

    def _require_same(self, key: str, info: ObjectInfo, status: os.stat_result) -> None:
        if etag_of(status) != info.etag:
            raise self._changed(key)

    def _changed(self, key: str) -> ObjectChanged:
        return ObjectChanged(
            f"cannot read {key!r} at {self.name}: it was changed", hint=tr("another program writes to it")
        )

    @contextmanager
    def _writing(self, verb: str, key: str, subject: Target, size_bytes: int) -> Iterator[bytes]:
        """The path of a key that something is written for."""
        self._require_writable(verb, key)
        path = self._root.path_of(verb, key)
        with self._calls, file_errors(f"{verb} {key!r} at {self.name}", subject):
            if size_bytes:
                self._writer.require_room(size_bytes, path)
            yield path

    def _require_writable(self, verb: str, key: str) -> None:
        if not self._writes:
            raise StoreUnusable(f"cannot {verb} {key!r} at {self.name}: nothing is ever written or deleted at a source")

    def disks(self, pending: Mapping[str, int]) -> list[DiskSpace]:
        """Its disks, and how much may still be written to each. `pending`: bytes, by folders of keys.

        Raises: StoreUnusable; ServerFailure if this machine is short of something for the moment.
        """
        with self._of_folder("use"):
            found = disks(self._root, pending)
        return [each._replace(free_bytes=max(0, each.free_bytes - self._config.keep_free)) for each in found]

    def require_files_behind_links(self, folders: Iterable[str]) -> None:
        """Check where links lead that are on the way to folders with objects. Raises: StoreUnusable if to no file."""
        with self._of_folder("use"):
            links = empty_links(self._root, folders)
        if links:
            raise StoreUnusable(
                tr(
                    "in the {name}, the link {link!r} leads to a folder without a file, but objects should be there",
                    name=self.name,
                    link=links[0],
                ),
                hint=tr("mount the disk that it leads to, or remove the link"),
            )

    def by_disk(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """Keys of a destination by the folders on their disks, as links may lead to several. Raises: as `disks`."""
        with self._of_folder("use"):
            return keys_by_disk(self._root, keys)

    def _info(self, key: str, status: os.stat_result, head: bytes) -> ObjectInfo:
        headers = ObjectHeaders(content_type=content_type_of(key, head))
        private, stored = self._is_private(key, status), formatdate(status.st_mtime, usegmt=True)
        return ObjectInfo(status.st_size, etag_of(status), headers, private=private, last_modified=stored)

    def _is_private(self, key: str, status: os.stat_result) -> bool:
        """Whether its owner alone may read a file, in a folder that is not its owner's alone.

        So Mastodon leaves what it makes private. Where the umask closes all that it makes, the folders are closed too,
        and the modes of files say nothing.
        """
        if status.st_mode & _READ_BY_OTHERS:
            return False
        try:
            return bool(self._root.folder_status(path_of(key)).st_mode & _ENTERED_BY_OTHERS)
        except OSError:  # nobody can tell
            return True


class _CallsUnderWay:
    """Calls of a store. Who closes it in their midst leaves it to the last of them to let go of what they use.

    A run that ends with an error does so, as it waits for no thread that waits for a disk. A call that begins later
    lets go by itself, too.
    """

    def __init__(self, let_go: Callable[[], None]) -> None:
        self._let_go = let_go
        self._calls, self._is_closed = 0, False
        self._guard = threading.Lock()

    def __enter__(self) -> None:
        with self._guard:
            self._calls += 1

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._calls -= 1
            if self._is_closed and not self._calls:
                self._let_go()

    def close(self) -> None:
        with self._guard:
            self._is_closed = True
            if not self._calls:
                self._let_go()


def _md5(data: Buffer) -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)
