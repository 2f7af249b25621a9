"""An `ObjectStore` in memory, with failures by script. It passes the contract tests of every store."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections import defaultdict, deque
from dataclasses import dataclass, field

from mastosync.errors import BodyInterrupted, CorruptObject, ObjectChanged, ObjectError, ObjectMissing
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.store.abilities import StreamAnswer, StreamedObject
from mastosync.store.base import (
    Buffer,
    DigestUse,
    FetchedObject,
    ListedObject,
    Page,
    Piece,
    PutOptions,
    UploadedPart,
    require_claimed,
    wrong_md5,
)
from mastosync.store.s3.protocol import checked_object, confirmed_etag

MODIFIED = "2026-11-24T00:00:00.000Z"


@dataclass
class StoredObject:
    data: bytes
    headers: ObjectHeaders
    etag: str
    acl: str | None = None
    etag_is_md5: bool = True
    storage_class: str | None = None
    private: bool = False  # the store says so, as a disk does
    last_modified: str | None = None  # an HTTP date

    @property
    def info(self) -> ObjectInfo:
        of_store = {"private": self.private, "last_modified": self.last_modified, "storage_class": self.storage_class}
        return ObjectInfo(len(self.data), self.etag, self.headers, self.etag_is_md5, **of_store)  # type: ignore[arg-type]


@dataclass
class _Upload:
    key: str
    options: PutOptions
    parts: dict[int, bytes] = field(default_factory=dict)


class MemoryStore:
    """A bucket in a dictionary. `fail(method, error, …)` makes the next calls of a method raise, in order."""

    computes_digests = False

    def __init__(self, name: str = "memory") -> None:
        self.name = f"{name} bucket 'memory' at memory://{name}"
        self.endpoint = f"memory://{name}"
        self.objects: dict[str, StoredObject] = {}
        self.calls: list[tuple[str, str]] = []
        self._uploads: dict[str, _Upload] = {}
        self._failures: dict[str, deque[BaseException]] = defaultdict(deque)
        self._lock = threading.Lock()
        self.buckets = {"memory": self}  # of the same endpoint and account, by name
        self.refused: dict[str | None, Exception] = {}  # by the ACL of what is to be stored; None: without one
        self.asked: list[tuple[str, str | None]] = []  # what was to be stored, and with which ACL
        self.open_to_all = False  # whatever the ACL: it is passed over, or a policy of the bucket has its way
        self.keeps_versions = self.keeps_everything = False  # of what is withdrawn
        self.page_keys = 1000  # of a listing
        self.modified: dict[str, str] = {}  # when, by key, where it is another moment than MODIFIED
        self.etags = "md5"  # of whole objects; "echo": what Content-MD5 said; "other": something else
        self.checks_md5 = True  # refuses bytes that are not those of their Content-MD5
        self.digests: list[DigestUse] = []  # with which objects were written whole
        self.damaged_reads = 0  # so many of the next reads give another byte, as a bad line does
        self.streaming = False  # whether large objects can go from and to it in one request
        self.damaged_streams = 0  # so many of the next objects that are streamed to it come with another byte

    def put(self, key: str, data: bytes, headers: ObjectHeaders | None = None, etag: str | None = None) -> None:
        """Prepare an object, as if somebody else had stored it."""
        etag_is_md5 = etag is None
        self.objects[key] = StoredObject(
            data, headers or ObjectHeaders(), etag or _md5(data).hex(), etag_is_md5=etag_is_md5
        )

    def fail(self, method: str, *errors: BaseException) -> None:
        self._failures[method].extend(errors)

    def unfinished(self) -> list[str]:
        return [upload.key for upload in self._uploads.values()]

    def count(self, method: str) -> int:
        return sum(1 for called, _ in self.calls if called == method)

    def _called(self, method: str, key: str = "") -> None:
        with self._lock:
            self.calls.append((method, key))
            if self._failures[method]:
                raise self._failures[method].popleft()

    def _object(self, key: str) -> StoredObject:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectMissing(f"cannot find {key!r} at {self.name}") from None

    def check(self) -> None:
        self._called("check")

    def head(self, key: str) -> ObjectInfo:
        self._called("head", key)
        try:
            return self._object(key).info
        except ObjectMissing as missing:  # there is no body that would say more
            missing.certain = False
            raise

    def list_page(self, prefix: str, after: str) -> Page:
        self._called("list_page", after)
        keys = sorted(key for key in list(self.objects) if key.startswith(prefix) and key > after)
        page = keys[: self.page_keys]
        return Page(
            [
                ListedObject(key, (info := self.objects[key].info).size, info.etag, self.modified.get(key, MODIFIED))
                for key in page
            ],
            len(page) == len(keys),
        )

    def read(self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED) -> FetchedObject:
        self._called("read", key)
        stored = self._object(key)
        if len(stored.data) > max_bytes:
            return FetchedObject(stored.info, data=None, md5=None)
        data = self._over_the_line(stored.data)
        return checked_object(key, self.name, stored.info, data, digest)

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> Buffer:
        self._called("read_range", key)
        stored = self._object(key)
        if stored.etag != info.etag:
            raise ObjectChanged(f"cannot read {key!r} at {self.name}: it was replaced")
        assert 0 < length <= len(stored.data) - start, "not a range of the object"
        return self._over_the_line(stored.data[start : start + length])

    def digest(self, key: str, info: ObjectInfo) -> bytes:
        self._called("digest", key)
        stored = self._object(key)
        if stored.etag != info.etag:
            raise ObjectChanged(f"cannot read {key!r} at {self.name}: it was replaced")
        return _md5(self._over_the_line(stored.data))

    def _over_the_line(self, data: bytes) -> bytes:
        with self._lock:
            if not self.damaged_reads:
                return data
            self.damaged_reads -= 1
            noise = 1 + self.damaged_reads % 255
        return bytes([data[0] ^ noise]) + data[1:]

    def write(
        self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = DigestUse.COMPUTED
    ) -> str:
        self._called("write", key)
        self.digests.append(digest)
        self._require_taken("write", options)
        is_contradicted, makes_md5 = digest is DigestUse.CONTRADICTED, self.etags == "md5"
        told = wrong_md5(md5) if is_contradicted else md5
        if self.checks_md5 and _md5(data) != told:
            if is_contradicted:
                return ""
            if digest is DigestUse.CLAIMED:
                require_claimed(key, self.name, data, md5)
            raise CorruptObject(f"cannot write {key!r} at {self.name}: not what Content-MD5 says")
        etag = told if self.etags == "echo" else _md5(data if makes_md5 else data + b"salt")
        is_md5 = self.etags != "other"
        self.objects[key] = StoredObject(
            data, options.headers, etag.hex(), options.acl, is_md5, storage_class=options.storage_class
        )
        if is_contradicted:
            return etag.hex()
        answered = {"etag": etag.hex()} | ({} if is_md5 else {"x-amz-server-side-encryption": "aws:kms"})
        return confirmed_etag(key, self.name, answered, md5, data if digest is DigestUse.CLAIMED else None)

    def streams(self, key: str) -> bool:
        return self.streaming

    def write_stream(self, key: str, source: StreamedObject, options: PutOptions) -> StreamAnswer:
        assert isinstance(source.store, MemoryStore)
        md5, digest, is_contradicted = source.begin()
        self._called("write_stream", key)
        self.digests.append(
            DigestUse.CLAIMED if digest is None else DigestUse.CONTRADICTED if is_contradicted else DigestUse.COMPUTED
        )
        self._require_taken("write_stream", options)
        try:
            data = source.store.streamed(source.key, source.info)
            if digest is not None:
                digest.update(data)
                digest.require_plausible()
        except ObjectError as error:
            error.store = source.store.name
            raise BodyInterrupted(error) from error
        try:
            return self._keep_stream(key, data, md5, options)
        except CorruptObject:
            if is_contradicted:
                return StreamAnswer("", etag_is_md5=False)
            raise

    def streamed(self, key: str, info: ObjectInfo) -> bytes:
        """The bytes of exactly this object, for a request that sends them on."""
        self._called("streamed", key)
        stored = self._object(key)
        if stored.etag != info.etag:
            raise ObjectChanged(f"cannot read {key!r} at {self.name}: it was replaced")
        return self._over_the_line(stored.data)

    def _keep_stream(self, key: str, data: bytes, md5: bytes | None, options: PutOptions) -> StreamAnswer:
        with self._lock:
            is_damaged = self.damaged_streams > 0
            self.damaged_streams -= is_damaged
        data = b"x" + data[1:] if is_damaged else data
        if md5 is not None and self.checks_md5 and _md5(data) != md5:
            raise CorruptObject(f"cannot write {key!r} at {self.name}: not what Content-MD5 says")
        makes_md5 = self.etags == "md5"
        etag = md5 if self.etags == "echo" and md5 else _md5(data if makes_md5 else data + b"salt")
        is_md5 = self.etags != "other"
        self.objects[key] = StoredObject(
            data, options.headers, etag.hex(), options.acl, is_md5, storage_class=options.storage_class
        )
        return StreamAnswer(etag.hex(), is_md5)

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        self._called("copy_from", key)
        self._require_taken("copy_from", options)
        source = self.buckets[source_bucket]._object(source_key)
        if source.etag != info.etag:
            raise ObjectChanged(f"cannot copy to {key!r} at {self.name}: the source was replaced")
        etag = _md5(source.data).hex()
        self.objects[key] = StoredObject(
            source.data, options.headers, etag, options.acl, storage_class=options.storage_class
        )
        return etag

    def _require_taken(self, method: str, options: PutOptions) -> None:
        with self._lock:
            self.asked.append((method, options.acl))
        if options.acl in self.refused:
            raise self.refused[options.acl]

    def start_multipart(self, key: str, options: PutOptions) -> str:
        self._called("start_multipart", key)
        self._require_taken("start_multipart", options)
        upload_id = uuid.uuid4().hex
        self._uploads[upload_id] = _Upload(key, options)
        return upload_id

    def write_part(self, key: str, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:
        self._called("write_part", key)
        self._require_md5(key, data, md5)
        self._upload(key, upload_id).parts[number] = bytes(data)
        return UploadedPart(number, md5.hex(), md5)

    def copy_part(self, key: str, upload_id: str, number: int, piece: Piece) -> UploadedPart:
        self._called("copy_part", key)
        source = self.buckets[piece.bucket]._object(piece.key)
        if source.etag != piece.info.etag:
            raise ObjectChanged(f"cannot copy to {key!r} at {self.name}: the source was replaced")
        data = source.data[piece.start : piece.start + piece.length]
        assert len(data) == piece.length > 0, "not a range of the object"
        self._upload(key, upload_id).parts[number] = data
        return UploadedPart(number, _md5(data).hex(), b"")

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:
        self._called("complete_multipart", key)
        upload = self._upload(key, upload_id)
        if any(part.number not in upload.parts or _md5(upload.parts[part.number]).hex() != part.etag for part in parts):
            raise ObjectChanged(f"cannot complete {key!r} at {self.name}: a part is not there")
        data = b"".join(upload.parts[part.number] for part in parts)
        etag, options = (
            f"{_md5(b''.join(bytes.fromhex(part.etag) for part in parts)).hex()}-{len(parts)}",
            upload.options,
        )
        self.objects[key] = StoredObject(
            data, options.headers, etag, options.acl, etag_is_md5=False, storage_class=options.storage_class
        )
        del self._uploads[upload_id]
        return etag

    def abort_multipart(self, key: str, upload_id: str) -> None:
        self._called("abort_multipart", key)
        self._uploads.pop(upload_id, None)

    def abort_unfinished(self, key: str) -> int:
        self._called("abort_unfinished", key)
        found = [upload_id for upload_id, upload in list(self._uploads.items()) if upload.key == key]
        for upload_id in found:
            self._uploads.pop(upload_id, None)
        return len(found)

    def delete(self, key: str) -> None:
        self._called("delete", key)
        self.objects.pop(key, None)

    def anybody_reads(self, key: str) -> bool:
        self._called("anybody_reads", key)
        return key in self.objects and (self.open_to_all or self.objects[key].acl == "public-read")

    def anybody_finds(self, key: str, info: ObjectInfo) -> bool:
        self._called("anybody_finds", key)
        assert self.objects[key].etag == info.etag
        return self.open_to_all or self.objects[key].acl == "public-read"

    def withdraw(self, key: str) -> bool:
        self._called("withdraw", key)
        if not self.keeps_everything:
            self.objects.pop(key, None)
        return not self.keeps_versions

    def close(self) -> None: ...

    def _upload(self, key: str, upload_id: str) -> _Upload:
        if upload_id not in self._uploads:
            raise ObjectChanged(f"cannot write {key!r} at {self.name}: no such upload")
        return self._uploads[upload_id]

    def _require_md5(self, key: str, data: Buffer, md5: bytes) -> None:
        if _md5(data) != md5:
            raise CorruptObject(f"cannot write {key!r} at {self.name}: not what Content-MD5 says")


def _md5(data: Buffer) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
