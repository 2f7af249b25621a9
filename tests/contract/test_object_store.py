"""What `ObjectStore` promises, held against every store there is: in memory, SeaweedFS, moto and a folder."""

from __future__ import annotations

import gzip
import hashlib
import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.addresses import S3Address
from lab.buckets import bucket_pair
from mastosync.config import FilesystemConfig, S3Config, Secret
from mastosync.errors import CorruptObject, ObjectChanged, ObjectMissing, ObjectRejected, StoreUnusable
from mastosync.model import ObjectHeaders
from mastosync.store.base import ListedObject, ObjectStore, Page, Piece, PutOptions, UploadedPart
from mastosync.store.filesystem import FilesystemProbe, FilesystemStore
from mastosync.store.s3.curl_store import CurlStore
from tests.support.memory_store import MemoryStore
from tests.support.raw_server import RawServer
from tests.support.s3_clients import STORES, StoreClass

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1024 * 1024
PART_BYTES = 5 * MIB  # the least that S3 takes for any part but the last
PLAIN = PutOptions(ObjectHeaders(content_type="image/png"))


@dataclass(frozen=True)
class Room:
    """A store, and for the real ones a way around it."""

    server: str  # memory, seaweed, moto, folder
    store: ObjectStore
    delete: Callable[[str], object]
    client: S3Client | None = None
    bucket: str = "memory"
    config: S3Config | None = None

    @property
    def keeps_headers(self) -> bool:
        return self.server != "folder"

    @property
    def tells_md5s(self) -> bool:
        return self.server != "folder"

    def put(self, key: str, data: bytes, options: PutOptions = PLAIN) -> str:
        return self.store.write(key, data, md5_of(data), options)

    def data(self, key: str) -> bytes | None:
        return self.store.read(key, 64 * MIB).data

    def put_parts(self, key: str, upload_id: str, *parts: bytes) -> list[UploadedPart]:
        return [
            self.store.write_part(key, upload_id, number, data, md5_of(data)) for number, data in enumerate(parts, 1)
        ]


def room_of(server: str, kind: StoreClass, address: S3Address, stack: ExitStack) -> Room:
    client = stack.enter_context(closing(address.client()))
    bucket = stack.enter_context(bucket_pair(address, client)).source
    config = S3Config(
        access_key=address.access_key,
        secret_key=Secret(address.secret_key),
        endpoint_url=address.endpoint_url,
        bucket=bucket,
    )
    store = stack.enter_context(closing(kind(config, role="destination", connections=16)))
    return Room(server, store, lambda key: client.delete_object(Bucket=bucket, Key=key), client, bucket, config)


@contextmanager
def folder_room(path: Path) -> Iterator[Room]:
    """A folder as a destination: as a source it takes nothing."""
    config = FilesystemConfig(path=path, keep_free=0)
    with (
        closing(FilesystemStore(config, role="destination")) as store,
        closing(FilesystemProbe(config, role="destination")) as probe,
    ):
        yield Room("folder", store, probe.delete)


def room_name(param: str | tuple[str, StoreClass]) -> str:
    return param if isinstance(param, str) else f"{param[0]}-{param[1].__name__}"


@pytest.fixture(
    scope="module",
    params=["memory", "folder", *((server, kind) for server in ("seaweed", "moto") for kind in STORES)],
    ids=room_name,
)
def room(request: pytest.FixtureRequest) -> Iterator[Room]:
    """One bucket for the whole module: every test has keys of its own."""
    if request.param == "memory":
        memory = MemoryStore()
        yield Room("memory", memory, memory.objects.pop)
        return
    if request.param == "folder":
        factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        with folder_room(factory.mktemp("folder")) as room:
            yield room
        return
    with ExitStack() as stack:
        server, kind = request.param
        yield room_of(server, kind, request.getfixturevalue(server), stack)


def ways_to(room: Room) -> Iterator[ObjectStore]:
    """Every store that a room can be entered by, so that what takes long to lay down is laid down once."""
    if room.config is None:
        yield room.store
        return
    for kind in STORES:
        with closing(kind(room.config, role="destination", connections=1)) as store:
            yield store


@pytest.fixture
def store(room: Room) -> ObjectStore:
    return room.store


@pytest.fixture
def key() -> str:
    return f"{uuid.uuid4().hex}/original/file.png"


def md5_of(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def bytes_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def require_headers(room: Room) -> None:
    """Skip what a folder cannot: see tests/contract/test_filesystem_store.py for what it does instead."""
    if not room.keeps_headers:
        pytest.skip("a disk keeps no headers")


def require_md5s(room: Room) -> None:
    if not room.tells_md5s:
        pytest.skip("a disk tells no MD5")


def assert_taken(room: Room, key: str, acl: str | None) -> None:
    """An object has this ACL, and the storage class STANDARD_IA."""
    if isinstance(room.store, MemoryStore):
        stored = room.store.objects[key]
        assert (stored.acl, stored.storage_class) == (acl, "STANDARD_IA")
        return
    assert room.client is not None
    grants = room.client.get_object_acl(Bucket=room.bucket, Key=key)["Grants"]
    everybody = [grant for grant in grants if grant["Grantee"].get("URI", "").endswith("/AllUsers")]
    assert [grant["Permission"] for grant in everybody] == (["READ"] if acl == "public-read" else [])
    assert room.client.head_object(Bucket=room.bucket, Key=key)["StorageClass"] == "STANDARD_IA"


class TestOneObject:
    def test_a_usable_bucket_passes_the_check(self, store: ObjectStore) -> None:
        store.check()

    @pytest.mark.parametrize("size", [0, 1, 57_000, 65_536, 1_048_577])
    def test_what_is_written_is_read_back_byte_by_byte(self, room: Room, key: str, size: int) -> None:
        data = bytes_of(size)
        etag = room.put(key, data)
        fetched = room.store.read(key, size)
        assert fetched.data == data
        assert fetched.md5 == md5_of(data)
        assert (fetched.info.size, fetched.info.etag) == (size, etag)

    def test_the_etag_of_an_object_stored_whole_is_its_md5(self, room: Room, key: str) -> None:
        require_md5s(room)
        etag = room.put(key, b"data")
        info = room.store.head(key)
        assert etag == info.etag == md5_of(b"data").hex()
        assert info.md5 == md5_of(b"data")

    def test_the_etag_of_an_object_is_another_when_its_bytes_are(self, room: Room, key: str) -> None:
        etags = [room.put(key, data) for data in (b"data", b"date", b"other")]
        assert len(set(etags)) == 3
        assert room.store.head(key).etag == etags[-1]

    def test_head_says_the_same_as_read(self, room: Room, key: str) -> None:
        room.put(key, b"data", PutOptions(ObjectHeaders("image/png", "no-cache", metadata=(("a", "b"),))))
        assert room.store.head(key) == room.store.read(key, 100).info

    def test_a_missing_key_is_missing(self, room: Room, key: str) -> None:
        room.put(f"{key}/below", b"")
        for ask in (room.store.head, lambda key: room.store.read(key, 100)):
            with pytest.raises(ObjectMissing, match=key):
                ask(key)

    def test_a_larger_object_than_asked_for_is_only_described(self, room: Room, key: str) -> None:
        data = bytes_of(300_000)
        room.put(key, data)
        fetched = room.store.read(key, 299_999)
        assert (fetched.data, fetched.md5) == (None, None)
        assert fetched.info == room.store.head(key)
        for _ in range(20):  # more than there are connections: the store stays usable
            room.store.read(key, 10)
        assert room.data(key) == data

    def test_writing_again_replaces_object_and_headers(self, room: Room, key: str) -> None:
        old = PutOptions(ObjectHeaders("image/png", "no-cache", metadata=(("old", "1"),)))
        new = PutOptions(ObjectHeaders("image/gif", metadata=(("new", "2"),)))
        room.put(key, b"old", old)
        room.put(key, b"newer", new)
        fetched = room.store.read(key, 100)
        assert fetched.data == b"newer"
        assert not room.keeps_headers or fetched.info.headers == new.headers

    def test_writing_the_same_again_is_harmless(self, room: Room, key: str) -> None:
        first = room.put(key, b"data")
        before = room.store.head(key)
        again = room.put(key, b"data")
        assert room.data(key) == b"data"
        if room.tells_md5s:
            assert again == first
            # When it was stored is told in seconds, and a new one may have begun in between.
            assert room.store.head(key)._replace(last_modified=before.last_modified) == before

    def test_a_write_that_does_not_fit_its_md5_is_refused(self, room: Room, key: str) -> None:
        with pytest.raises(CorruptObject, match=key):
            room.store.write(key, b"data", md5_of(b"date"), PLAIN)
        if room.server != "moto":  # which looks at no Content-MD5: there it is our comparison that notices
            with pytest.raises(ObjectMissing):
                room.store.head(key)

    def test_many_threads_share_a_store(self, room: Room, key: str) -> None:
        def work(number: int) -> None:
            own, data = f"{key}/{number}", bytes_of(number * 100)
            options = PutOptions(ObjectHeaders(metadata=(("number", str(number)),)))
            etag = room.put(own, data, options)
            fetched = room.store.read(own, 100_000)
            assert (fetched.data, fetched.info.etag) == (data, etag)
            assert not room.tells_md5s or etag == md5_of(data).hex()
            assert not room.keeps_headers or fetched.info.headers.metadata == (("number", str(number)),)
            with pytest.raises(ObjectMissing):
                room.store.head(f"{own}/none")
            assert room.store.read_range(own, fetched.info, number, 1) == data[number : number + 1]

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(1, 65)))

    def test_closing_twice_is_no_error(self, tmp_path: Path) -> None:
        config = S3Config(access_key="a", secret_key=Secret("b"), endpoint_url="http://127.0.0.1:1", bucket="c")
        folder = FilesystemStore(FilesystemConfig(path=tmp_path), role="source")
        stores: list[ObjectStore] = [
            MemoryStore(),
            folder,
            *(kind(config, role="source", connections=1) for kind in STORES),
        ]
        for closed in stores:
            closed.close()
            closed.close()


class TestHeaders:
    @pytest.mark.parametrize(
        "headers",
        [
            ObjectHeaders(content_type="video/mp4"),
            ObjectHeaders("image/png", cache_control="public, max-age=315576000, immutable"),
            ObjectHeaders("image/png", content_disposition="attachment; filename*=UTF-8''%C3%A4.png"),
            ObjectHeaders("image/png", content_disposition='attachment; filename="äö🐘.png"'),
            ObjectHeaders("image/png", content_disposition='inline; filename="a  b\tc.png"'),
            ObjectHeaders("image/png", content_language="de, en"),
            ObjectHeaders("text/css", content_encoding="br"),
            ObjectHeaders("a/b", "c", "inline", "en", "gzip", (("one", "1"), ("two-three", "2 3; 4=5,6"))),
        ],
    )
    def test_headers_travel_with_the_object(self, room: Room, key: str, headers: ObjectHeaders) -> None:
        require_headers(room)
        room.put(key, b"data", PutOptions(headers))
        assert room.store.head(key).headers == room.store.read(key, 100).info.headers == headers

    @pytest.mark.parametrize(
        "value", ["ünï 🐘", "  spaces at both ends ", "two\nlines", "=?UTF-8?Q?no=20code?=", "ä" * 500, "a\tb"]
    )
    def test_metadata_may_be_any_text(self, room: Room, key: str, value: str) -> None:
        require_headers(room)
        headers = ObjectHeaders("image/png", metadata=(("note", value),))
        room.put(key, b"data", PutOptions(headers))
        assert room.store.head(key).headers == headers

    def test_compressed_content_stays_as_it_is(self, room: Room, key: str) -> None:
        require_headers(room)
        data = gzip.compress(b"svg" * 1000)
        room.put(key, data, PutOptions(ObjectHeaders("image/svg+xml", content_encoding="gzip")))
        fetched = room.store.read(key, 100_000)
        assert (fetched.data, fetched.info.headers.content_encoding) == (data, "gzip")
        assert room.store.read_range(key, fetched.info, 0, 10) == data[:10]

    def test_headers_go_along_with_an_upload_in_parts(self, room: Room, key: str) -> None:
        require_headers(room)
        headers = ObjectHeaders("a/b", "c", "inline", "en", "gzip", (("one", "ünï"),))
        upload = room.store.start_multipart(key, PutOptions(headers))
        room.store.complete_multipart(key, upload, room.put_parts(key, upload, b"data"))
        assert room.store.head(key).headers == headers

    @pytest.mark.parametrize(("stored", "seen"), [("aws-chunked", None), ("aws-chunked,gzip", "gzip")])
    def test_what_an_old_client_took_for_an_encoding_is_left_out(
        self, room: Room, key: str, stored: str, seen: str | None
    ) -> None:
        if room.client is None:
            pytest.skip("in memory, nobody else stores objects")
        room.client.put_object(Bucket=room.bucket, Key=key, Body=b"data", ContentEncoding=stored)
        assert room.store.head(key).headers.content_encoding == seen

    def test_metadata_of_other_clients_is_understood(self, room: Room, key: str) -> None:
        if room.client is None:
            pytest.skip("in memory, nobody else stores objects")
        metadata = {"Quoted": "=?UTF-8?Q?=C3=A4_b?=", "unknown": "=?x-none?B?w6Q=?=", "plain": "a=?b"}
        room.client.put_object(Bucket=room.bucket, Key=key, Body=b"data", Metadata=metadata)
        assert room.store.head(key).headers.metadata == (
            ("plain", "a=?b"),
            ("quoted", "ä b"),
            ("unknown", "=?x-none?B?w6Q=?="),
        )

    @pytest.mark.parametrize("in_parts", [False, True])
    @pytest.mark.parametrize("acl", ["public-read", "private", None])
    def test_acl_and_storage_class_are_passed_on(self, room: Room, key: str, acl: str | None, in_parts: bool) -> None:
        require_headers(room)
        if room.server == "seaweed":
            pytest.skip("SeaweedFS keeps no ACL for objects")
        if room.server == "moto" and in_parts and acl is None:
            pytest.skip("moto fails with 500 when asked for the ACL of such an object")
        options = PutOptions(ObjectHeaders("image/png"), acl=acl, storage_class="STANDARD_IA")
        if in_parts:
            upload = room.store.start_multipart(key, options)
            room.store.complete_multipart(key, upload, room.put_parts(key, upload, b"data"))
        else:
            room.put(key, b"data", options)
        assert_taken(room, key, acl)


class TestCopies:
    """Within one store, from a bucket into the same: to the store it is all one."""

    @pytest.fixture(autouse=True)
    def _copies(self, room: Room) -> None:
        if room.server == "folder":
            pytest.skip("a disk copies nothing by itself")

    def copy(self, room: Room, source_key: str, key: str, options: PutOptions = PLAIN) -> str:
        return room.store.copy_from(room.bucket, source_key, room.store.head(source_key), key, options)

    @pytest.mark.parametrize("size", [0, 1, 57_000, 9 * MIB])
    def test_the_copy_has_the_same_bytes(self, room: Room, key: str, size: int) -> None:
        data = bytes_of(size)
        room.put(key, data)
        etag = self.copy(room, key, f"{key}.copy")
        fetched = room.store.read(f"{key}.copy", 64 * MIB)
        assert (fetched.data, fetched.info.etag) == (data, etag)

    def test_the_etag_of_a_small_copy_is_its_md5(self, room: Room, key: str) -> None:
        room.put(key, b"data")
        assert self.copy(room, key, f"{key}.copy") == md5_of(b"data").hex()

    def test_an_object_in_parts_is_copied_too(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        room.store.complete_multipart(key, upload, room.put_parts(key, upload, bytes_of(PART_BYTES), b"the rest"))
        etag = self.copy(room, key, f"{key}.copy")
        fetched = room.store.read(f"{key}.copy", 64 * MIB)
        assert (fetched.data, fetched.info.etag) == (bytes_of(PART_BYTES) + b"the rest", etag)

    @pytest.mark.parametrize(
        "headers",
        [
            ObjectHeaders("image/gif"),
            ObjectHeaders("image/png", cache_control="public, max-age=315576000, immutable"),
            ObjectHeaders("image/png", content_disposition='attachment; filename="äö🐘.png"'),
            ObjectHeaders("a/b", "c", "inline", "en", "gzip", (("one", "1"), ("two", "ünï 🐘"))),
        ],
    )
    def test_the_copy_has_the_headers_that_are_asked_for_and_no_others(
        self, room: Room, key: str, headers: ObjectHeaders
    ) -> None:
        others = ObjectHeaders(
            "x/y",
            "no-store",
            "attachment",
            "de",
            "br",
            (("old", "1"), ("one", "0")),
        )
        room.put(key, b"data", PutOptions(others))
        self.copy(room, key, f"{key}.copy", PutOptions(headers))
        assert room.store.head(f"{key}.copy").headers == headers
        assert room.store.head(key).headers == others

    @pytest.mark.parametrize("acl", ["public-read", "private", None])
    def test_acl_and_storage_class_are_those_that_are_asked_for(self, room: Room, key: str, acl: str | None) -> None:
        if room.server == "seaweed":
            pytest.skip("SeaweedFS keeps no ACL for objects")
        room.put(key, b"data", PutOptions(ObjectHeaders("image/png"), acl="public-read"))
        options = PutOptions(ObjectHeaders("image/png"), acl=acl, storage_class="STANDARD_IA")
        self.copy(room, key, f"{key}.copy", options)
        assert_taken(room, f"{key}.copy", acl)

    def test_a_copy_replaces_what_lay_there(self, room: Room, key: str) -> None:
        room.put(key, b"new")
        room.put(f"{key}.copy", b"old", PutOptions(ObjectHeaders("image/gif", metadata=(("old", "1"),))))
        self.copy(room, key, f"{key}.copy")
        fetched = room.store.read(f"{key}.copy", 100)
        assert (fetched.data, fetched.info.headers) == (b"new", PLAIN.headers)

    def test_what_was_replaced_meanwhile_is_not_copied(self, room: Room, key: str) -> None:
        if room.server == "moto":
            pytest.skip("moto passes over the condition: there it is our comparison that notices")
        room.put(key, b"first data")
        info = room.store.head(key)
        room.put(key, b"other data")
        with pytest.raises(ObjectChanged, match=key):
            room.store.copy_from(room.bucket, key, info, f"{key}.copy", PLAIN)
        with pytest.raises(ObjectMissing):
            room.store.head(f"{key}.copy")

    @pytest.mark.parametrize("cache_control", ["public, max-age=60", None])
    def test_an_object_is_copied_onto_itself_with_other_headers(
        self, room: Room, key: str, cache_control: str | None
    ) -> None:
        before = ObjectHeaders("image/png", "no-store", "inline", metadata=(("one", "1"),))
        room.put(key, b"data", PutOptions(before))
        after = before._replace(cache_control=cache_control)
        etag = self.copy(room, key, key, PutOptions(after))
        fetched = room.store.read(key, 100)
        assert (fetched.data, fetched.info.headers, fetched.info.etag) == (b"data", after, etag)

    def test_an_object_in_parts_is_copied_onto_itself(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        room.store.complete_multipart(key, upload, room.put_parts(key, upload, bytes_of(PART_BYTES), b"the rest"))
        etag = self.copy(room, key, key, PutOptions(PLAIN.headers._replace(cache_control="c")))
        fetched = room.store.read(key, 64 * MIB)
        assert (fetched.info.etag, fetched.info.headers.cache_control) == (etag, "c")
        assert fetched.data == bytes_of(PART_BYTES) + b"the rest"

    def test_parts_are_copied_too(self, room: Room, key: str) -> None:
        data = bytes_of(PART_BYTES + 5)
        room.put(key, data)
        info = room.store.head(key)
        upload = room.store.start_multipart(key, PutOptions(ObjectHeaders("a/b", "c")))
        pieces = [Piece(room.bucket, key, info, start, min(PART_BYTES, len(data) - start)) for start in (0, PART_BYTES)]
        parts = [room.store.copy_part(key, upload, number, piece) for number, piece in enumerate(pieces, 1)]
        etag = room.store.complete_multipart(key, upload, parts)
        fetched = room.store.read(key, 64 * MIB)
        assert (fetched.data, fetched.info.etag, fetched.info.headers) == (data, etag, ObjectHeaders("a/b", "c"))
        assert fetched.info.etag.endswith("-2")

    def test_no_part_of_what_is_not_there_is_copied(self, room: Room, key: str) -> None:
        room.put(key, b"data")
        info = room.store.head(key)
        upload = room.store.start_multipart(key, PLAIN)
        room.delete(key)
        with pytest.raises(ObjectMissing, match=key):
            room.store.copy_part(key, upload, 1, Piece(room.bucket, key, info, 0, 4))
        room.store.abort_multipart(key, upload)

    def test_what_is_not_there_is_missing(self, room: Room, key: str) -> None:
        room.put(key, b"data")
        info = room.store.head(key)
        room.delete(key)
        with pytest.raises(ObjectMissing, match=key):
            room.store.copy_from(room.bucket, key, info, f"{key}.copy", PLAIN)


class TestParts:
    def test_parts_become_one_object_in_the_order_of_their_numbers(self, room: Room, key: str) -> None:
        data = [bytes_of(PART_BYTES), bytes_of(PART_BYTES + 1), b"the rest"]
        upload = room.store.start_multipart(key, PLAIN)

        def send(number: int) -> UploadedPart:
            return room.store.write_part(key, upload, number, data[number - 1], md5_of(data[number - 1]))

        with ThreadPoolExecutor(3) as pool:
            parts = list(pool.map(send, [3, 1, 2]))
        etag = room.store.complete_multipart(key, upload, sorted(parts, key=lambda part: part.number))
        fetched = room.store.read(key, 64 * MIB)
        assert fetched.data == b"".join(data)
        assert fetched.info.etag == etag
        assert fetched.info.md5 is None

    def test_nothing_is_visible_before_the_upload_is_complete(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        parts = room.put_parts(key, upload, b"data")
        with pytest.raises(ObjectMissing):
            room.store.head(key)
        room.store.complete_multipart(key, upload, parts)
        assert room.data(key) == b"data"

    def test_an_upload_leaves_the_old_object_alone_until_it_is_complete(self, room: Room, key: str) -> None:
        room.put(key, b"old")
        upload = room.store.start_multipart(key, PLAIN)
        parts = room.put_parts(key, upload, b"new")
        assert room.data(key) == b"old"
        room.store.complete_multipart(key, upload, parts)
        assert room.data(key) == b"new"

    def test_a_repeated_part_replaces_the_first(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        room.put_parts(key, upload, b"first try")
        parts = room.put_parts(key, upload, b"second try")
        room.store.complete_multipart(key, upload, parts)
        assert room.data(key) == b"second try"

    def test_a_part_that_does_not_fit_its_md5_is_refused(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        with pytest.raises(CorruptObject, match=key):
            room.store.write_part(key, upload, 1, b"data", md5_of(b"date"))
        room.store.abort_multipart(key, upload)

    @pytest.mark.parametrize("number", [1, 2])
    def test_completing_with_a_part_that_is_not_there_asks_for_a_new_start(
        self, room: Room, key: str, number: int
    ) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        room.put_parts(key, upload, b"data")
        lost = UploadedPart(number, md5_of(b"lost").hex(), md5_of(b"lost"))
        with pytest.raises(ObjectChanged, match=key):
            room.store.complete_multipart(key, upload, [lost])
        room.store.abort_multipart(key, upload)

    def test_an_aborted_upload_leaves_nothing(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        room.put_parts(key, upload, b"data")
        room.store.abort_multipart(key, upload)
        with pytest.raises(ObjectMissing):
            room.store.head(key)
        assert room.store.abort_unfinished(key) == 0

    def test_aborting_twice_is_no_error(self, room: Room, key: str) -> None:
        upload = room.store.start_multipart(key, PLAIN)
        room.store.abort_multipart(key, upload)
        room.store.abort_multipart(key, upload)

    def test_an_aborted_upload_cannot_go_on(self, room: Room, key: str) -> None:
        if room.server == "moto":
            pytest.skip("moto fails with 500 on uploads that it does not know")
        upload = room.store.start_multipart(key, PLAIN)
        parts = room.put_parts(key, upload, b"data")
        room.store.abort_multipart(key, upload)
        with pytest.raises(ObjectChanged):
            room.put_parts(key, upload, b"data")
        with pytest.raises(ObjectChanged):
            room.store.complete_multipart(key, upload, parts)

    def test_a_completed_upload_cannot_go_on_and_leaves_its_object_alone(self, room: Room, key: str) -> None:
        if room.server == "moto":
            pytest.skip("moto fails with 500 on uploads that it does not know")
        upload = room.store.start_multipart(key, PLAIN)
        parts = room.put_parts(key, upload, b"data")
        room.store.complete_multipart(key, upload, parts)
        with pytest.raises(ObjectChanged):
            room.put_parts(key, upload, b"more")
        room.store.abort_multipart(key, upload)
        assert room.data(key) == b"data"

    def test_unfinished_uploads_of_this_very_key_are_thrown_away(self, room: Room, key: str) -> None:
        below = [] if room.server == "folder" else [f"{key}/3"]  # there a name is a file or a folder
        neighbours = [f"{key}2", *below, key[:-1], f"{key} 4"]
        others = {other: room.store.start_multipart(other, PLAIN) for other in neighbours}
        for _ in range(3):
            room.put_parts(key, room.store.start_multipart(key, PLAIN), b"data")
        room.put(key, b"object")
        assert room.store.abort_unfinished(key) == 3
        assert room.store.abort_unfinished(key) == 0
        assert room.data(key) == b"object"
        for other, upload in others.items():
            room.store.complete_multipart(other, upload, room.put_parts(other, upload, b"other"))
            assert room.data(other) == b"other"


class TestRanges:
    def test_ranges_make_up_the_object(self, room: Room, key: str) -> None:
        data = bytes_of(100_000)
        room.put(key, data)
        info = room.store.head(key)
        starts = range(0, 100_000, 33_000)
        pieces = [room.store.read_range(key, info, start, min(33_000, 100_000 - start)) for start in starts]
        assert [len(piece) for piece in pieces] == [33_000, 33_000, 33_000, 1_000]
        assert b"".join(pieces) == data

    @pytest.mark.parametrize(("start", "length"), [(0, 1), (99, 1), (0, 100), (50, 10)])
    def test_any_range_is_exact(self, room: Room, key: str, start: int, length: int) -> None:
        data = bytes_of(100)
        room.put(key, data)
        assert room.store.read_range(key, room.store.head(key), start, length) == data[start : start + length]

    def test_ranges_of_an_object_that_was_stored_in_parts(self, room: Room, key: str) -> None:
        data = bytes_of(PART_BYTES)
        upload = room.store.start_multipart(key, PLAIN)
        room.store.complete_multipart(key, upload, room.put_parts(key, upload, data, b"the rest"))
        info = room.store.head(key)
        assert room.store.read_range(key, info, PART_BYTES - 2, 5) == data[-2:] + b"the"

    @pytest.mark.parametrize("other", [b"other data", b"x", b"much longer than it was"])
    def test_a_range_of_a_replaced_object_is_not_read(self, room: Room, key: str, other: bytes) -> None:
        room.put(key, b"first data")
        info = room.store.head(key)
        room.put(key, other)
        with pytest.raises(ObjectChanged, match=key):
            room.store.read_range(key, info, 5, 5)

    def test_a_range_of_a_removed_object_is_missing(self, room: Room, key: str) -> None:
        room.put(key, b"data")
        info = room.store.head(key)
        room.delete(key)
        with pytest.raises(ObjectMissing, match=key):
            room.store.read_range(key, info, 1, 2)


ODD_KEYS = [
    "a b",
    " a",
    "a ",
    "a+b",
    "a%b",
    "%",
    "%00",
    "a%2Fb",
    "a%2fb",
    "a?b",
    "a#b",
    "a&b",
    "a=b:c;d,e@f",
    "$~|^`\"'(){}[]*<>!",
    "a\\b",
    "äöü/é",
    "e\u0301",
    "🐘",
    "日本語/ファイル",
    "a.b/.c/..d/e..",
    "a//b",
    "//a///b",
    "/a",
    "a/",
    "a/b//",
    "a/./b",
    "./a",
    ".",
    "a/../b",
    "../../a",
    "..",
    "/".join(["s" * 99] * 10),
    "/".join(["ä" * 49 + "b"] * 10),
    "l" * 1000,
    "a\x01b\x1f",
    "a\tb",
    "a\rb",
    "a\nb",
    "\x1b[31mred",
    "a\x7fb\x85c\x9b",
    "a\u2028b\u202ec",
    "a\ufffeb",
    "a.",
    "'; DROP TABLE entries; --",
    ("é" * 100 + "/") * 5 + "x" * 10,  # 1,024 bytes, with the folder of a listing
]
NOT_ON_SEAWEED = {
    **dict.fromkeys(["a/./b", "./a", ".", "a/../b", "../../a", ".."], "a segment of dots is refused"),
    "l" * 1000: "a segment of more than 255 bytes is refused",
}
NOT_ON_MOTO = {"a\nb": "its router finds no such address"}
BREAK_A_PAGE_OF_MOTO = {"a\x01b\x1f", "\x1b[31mred", "a\ufffeb"}
"""Asked for what comes after these, it repeats them as they are, which no XML can hold."""
MANGLED_ON_SEAWEED = {
    "a/": "a slash at the end makes a folder, which has no bytes",
    "a/b//": "a slash at the end makes a folder, which has no bytes",
}


def skip_what_moto_has_not(room: Room, odd: str) -> None:
    if room.server == "moto" and odd in NOT_ON_MOTO:
        pytest.skip(f"moto: {NOT_ON_MOTO[odd]}")


class TestKeys:
    @pytest.mark.parametrize("odd", ODD_KEYS, ids=lambda odd: ascii(odd)[:40])
    def test_a_key_is_taken_as_it_is(self, room: Room, odd: str) -> None:
        skip_what_moto_has_not(room, odd)
        if room.server == "seaweed" and odd in MANGLED_ON_SEAWEED:
            pytest.skip(f"SeaweedFS: {MANGLED_ON_SEAWEED[odd]}")
        if room.server == "seaweed" and odd in NOT_ON_SEAWEED:
            with pytest.raises(ObjectRejected):
                room.put(odd, b"data")
            return
        data = odd.encode()
        room.put(odd, data)
        assert room.data(odd) == data
        info = room.store.head(odd)
        assert room.store.read_range(odd, info, 0, 1) == data[:1]
        room.delete(odd)
        with pytest.raises(ObjectMissing):
            room.store.read(odd, 1)

    @pytest.mark.parametrize("odd", ODD_KEYS, ids=lambda odd: ascii(odd)[:40])
    def test_a_key_is_copied_from_and_to_as_it_is(self, room: Room, odd: str, key: str) -> None:
        if room.server == "folder":
            pytest.skip("a disk copies nothing by itself")
        skip_what_moto_has_not(room, odd)
        if room.server == "seaweed" and odd in MANGLED_ON_SEAWEED | NOT_ON_SEAWEED:
            pytest.skip(f"SeaweedFS: {(MANGLED_ON_SEAWEED | NOT_ON_SEAWEED)[odd]}")
        room.put(odd, odd.encode())
        info = room.store.head(odd)
        room.store.copy_from(room.bucket, odd, info, key, PLAIN)
        room.delete(odd)
        room.store.copy_from(room.bucket, key, info, odd, PLAIN)
        assert room.data(key) == room.data(odd) == odd.encode()
        room.delete(odd)

    @pytest.mark.parametrize("odd", ["a b+c%d?e#f&g=h", "äöü 🐘/日本", "a<b>\"c'd"])
    def test_uploads_in_parts_take_odd_keys_too(self, room: Room, odd: str) -> None:
        room.store.start_multipart(odd, PLAIN)
        assert room.store.abort_unfinished(odd) == 1
        upload = room.store.start_multipart(odd, PLAIN)
        room.store.complete_multipart(odd, upload, room.put_parts(odd, upload, b"data"))
        assert room.data(odd) == b"data"

    def test_keys_that_look_alike_are_different_objects(self, room: Room, key: str) -> None:
        alike = ["a b", "a+b", "a%20b", "a%2520b", "a%2Bb", "é", "e\u0301", "A b", "a b ", " a b", "a?b", "a%3Fb"]
        for name in alike:
            room.put(f"{key}/{name}", name.encode())
        assert [room.data(f"{key}/{name}") for name in alike] == [name.encode() for name in alike]


def listed(store: ObjectStore, prefix: str, after: str = "") -> list[ListedObject]:
    """A whole listing, page after page."""
    found: list[ListedObject] = []
    while True:
        page = store.list_page(prefix, found[-1].key if found else after)
        found += page.objects
        if page.is_last:
            return found
        assert page.objects, "a page that is not the last one has something on it"


class TestListings:
    def test_a_listing_tells_key_size_and_etag(self, room: Room, key: str) -> None:
        etag = room.put(key, b"data")
        (found,) = listed(room.store, key)
        assert (found.key, found.size, found.etag) == (key, 4, etag)
        if room.server != "memory":
            assert abs((datetime.now(UTC) - datetime.fromisoformat(found.modified)).total_seconds()) < 600

    def test_what_is_not_there_is_an_empty_page(self, room: Room, key: str) -> None:
        assert room.store.list_page(key, "") == Page([], is_last=True)

    @pytest.mark.parametrize(
        "room", ["memory", "folder", ("seaweed", CurlStore), ("moto", CurlStore)], indirect=True, ids=room_name
    )
    def test_pages_follow_each_other_without_gap_or_overlap(self, room: Room, key: str) -> None:
        """More than one page of them, in the order of their bytes, from anywhere on."""
        names = [f"{key}/{number:04}/original/{number}.png" for number in range(1003)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda name: room.put(name, b"x"), names))
        for store in ways_to(room):
            first = store.list_page(f"{key}/", "")
            assert (len(first.objects), first.is_last) == (1000, False)
            assert [found.key for found in listed(store, f"{key}/")] == names
            assert [found.key for found in listed(store, f"{key}/", names[500])] == names[501:]
            between = f"{key}/0500/original/~"  # where nothing lies
            assert [found.key for found in listed(store, f"{key}/", between)] == names[501:]
            assert store.list_page(f"{key}/", names[-1]) == Page([], is_last=True)

    @pytest.mark.parametrize("odd", ODD_KEYS, ids=lambda odd: ascii(odd)[:40])
    def test_a_listing_spells_a_key_as_it_is(self, room: Room, odd: str) -> None:
        skip_what_moto_has_not(room, odd)
        if room.server == "seaweed" and odd in MANGLED_ON_SEAWEED | NOT_ON_SEAWEED:
            pytest.skip(f"SeaweedFS: {(MANGLED_ON_SEAWEED | NOT_ON_SEAWEED)[odd]}")
        folder = uuid.uuid4().hex[:8]
        name = f"{folder}/{odd}"
        if room.server == "seaweed" and ("//" in name or "\\" in name):
            pytest.skip("SeaweedFS: in a listing two slashes are one, and one that leans back is another")
        room.put(name, b"data")
        assert [found.key for found in listed(room.store, f"{folder}/")] == [name]
        if room.server == "moto" and odd in BREAK_A_PAGE_OF_MOTO:
            return
        assert room.store.list_page(f"{key}/", name).objects == []


def test_what_is_deleted_is_not_there_and_to_delete_it_again_is_no_error(room: Room, key: str) -> None:
    other = key.replace("file.png", "other.png")
    room.put(key, b"data")
    room.put(other, b"stays")
    room.store.delete(key)
    with pytest.raises(ObjectMissing):
        room.store.head(key)
    room.store.delete(key)
    assert room.data(other) == b"stays"
    room.put(key, b"anew")
    assert room.data(key) == b"anew"


def test_what_is_withdrawn_is_not_there_and_to_withdraw_it_again_is_no_error(room: Room, key: str) -> None:
    other = key.replace("file.png", "other.png")
    room.put(key, b"data")
    room.put(other, b"stays")
    assert room.store.withdraw(key)
    with pytest.raises(ObjectMissing):
        room.store.head(key)
    assert room.store.withdraw(key)
    assert room.data(other) == b"stays"


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("acl", ["public-read", "private"])
def test_anybody_reads_what_is_public_and_nothing_else(room: Room, key: str, acl: str, in_parts: bool) -> None:
    """SeaweedFS lets nobody in who is not known."""
    options = PutOptions(ObjectHeaders(), acl)
    if in_parts:
        upload = room.store.start_multipart(key, options)
        room.store.complete_multipart(key, upload, room.put_parts(key, upload, b"data"))
    else:
        room.store.write(key, b"data", md5_of(b"data"), options)
    is_public = acl == "public-read" and room.server != "seaweed"
    assert room.store.anybody_reads(key) is is_public
    assert room.store.anybody_finds(key, room.store.head(key)) is is_public


def test_nobody_reads_what_is_not_there(room: Room, key: str) -> None:
    if room.server == "folder":
        with pytest.raises(ObjectMissing):
            room.store.anybody_reads(key)
    else:
        assert not room.store.anybody_reads(key)


def test_anybody_is_asked_about_the_very_key(room: Room) -> None:
    if room.server == "seaweed":
        pytest.skip("SeaweedFS lets nobody in who is not known")
    folder = uuid.uuid4().hex[:8]
    for odd in ODD_KEYS:
        if room.server != "moto" or odd not in NOT_ON_MOTO:
            name = f"{folder}/{odd}"
            room.store.write(name, b"data", md5_of(b"data"), PutOptions(ObjectHeaders(), "public-read"))
            assert room.store.anybody_reads(name), odd


class TestVersions:
    """A bucket that keeps what is replaced and deleted, on moto."""

    @pytest.fixture
    def versioned(self, moto: S3Address) -> Iterator[Room]:
        with ExitStack() as stack:
            room = room_of("moto", STORES[0], moto, stack)
            assert room.client is not None
            room.client.put_bucket_versioning(Bucket=room.bucket, VersioningConfiguration={"Status": "Enabled"})
            yield room
            for each in versions_of(room):
                room.client.delete_object(Bucket=room.bucket, Key=each["Key"], VersionId=each["VersionId"])

    def test_what_is_withdrawn_leaves_no_version_of_it_and_what_it_had_replaced_stays_hidden(
        self, versioned: Room, key: str
    ) -> None:
        versioned.put(key, b"before")
        versioned.put(key, b"not to be seen")
        assert versioned.store.withdraw(key)
        with pytest.raises(ObjectMissing):
            versioned.store.head(key)
        assert [each["Size"] for each in versions_of(versioned) if "Size" in each] == [len(b"before")]


def versions_of(room: Room) -> list[Any]:
    assert room.client is not None
    found: Any = room.client.list_object_versions(Bucket=room.bucket)
    return [*found.get("Versions", []), *found.get("DeleteMarkers", [])]


def test_a_deleted_file_leaves_no_empty_folder(tmp_path: Path) -> None:
    with folder_room(tmp_path) as room:
        room.put("accounts/avatars/000/001/original/a.png", b"data")
        room.put("accounts/avatars/000/002/original/b.png", b"data")
        room.store.delete("accounts/avatars/000/001/original/a.png")
        assert [path.name for path in (tmp_path / "accounts/avatars/000").iterdir()] == ["002"]
        room.store.delete("accounts/avatars/000/002/original/b.png")
        assert not (tmp_path / "accounts").exists()
        assert tmp_path.exists()


@pytest.mark.parametrize("kind", STORES, ids=lambda kind: kind.__name__)
def test_a_source_deletes_nothing_and_asks_nobody(kind: StoreClass) -> None:
    with RawServer(lambda _: b"") as server:
        config = S3Config(access_key="a", secret_key=Secret("b"), endpoint_url=server.endpoint_url, bucket="old")
        with closing(kind(config, role="source", connections=1)) as store, pytest.raises(StoreUnusable, match="source"):
            store.delete("a/b.png")
        assert not server.requests


def test_nor_does_a_folder_that_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"data")
    config = FilesystemConfig(path=tmp_path)
    with closing(FilesystemStore(config, role="source")) as store, pytest.raises(StoreUnusable, match="source"):
        store.delete("a.png")
    assert (tmp_path / "a.png").read_bytes() == b"data"
