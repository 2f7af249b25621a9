"""What `ObjectStore` promises of removal, and of who may read."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from lab.addresses import S3Address
from mastosync.config import FilesystemConfig, S3Config, Secret
from mastosync.errors import ObjectError, ObjectMissing, StoreUnusable
from mastosync.model import ObjectHeaders
from mastosync.store.abilities import BulkDeletingStore
from mastosync.store.base import PutOptions
from mastosync.store.filesystem import FilesystemStore
from mastosync.store.s3.protocol import is_plain
from tests.support.object_stores import (
    NOT_ON_MOTO,
    ODD_KEYS,
    Room,
    folder_room,
    md5_of,
    room_of,
)
from tests.support.raw_server import RawServer, answer
from tests.support.s3_clients import STORES, StoreClass


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


class TestManyAtOnce:
    """DeleteObjects: only what the store has confirmed counts."""

    def test_all_of_them_go_and_nothing_else(self, room: Room, key: str) -> None:
        store = bulk_store(room)
        keys = [key.replace("file.png", name) for name in ("a.png", "b-1_2.jpeg", "c(1).png", "never-there.png")]
        for each in keys[:-1]:
            room.put(each, b"data")
        room.put(key, b"stays")
        assert store.delete_objects(keys) == frozenset(keys)
        for each in keys:
            with pytest.raises(ObjectMissing):
                room.store.head(each)
        assert room.data(key) == b"stays"

    def test_a_key_that_a_store_may_read_as_another_is_left_alone(self, room: Room) -> None:
        store, folder = bulk_store(room), uuid.uuid4().hex[:8]
        odd = [
            f"{folder}/{each}"
            for each in (*ODD_KEYS, "a ", "\u00e9", "a\r\n", "a&amp;b", "", ".", "../a", "a//b", "a/")
        ]
        plain = [f"{folder}/plain.png", f"{folder}/...x/a..b.png"]
        for each in plain:
            room.put(each, b"data")
        assert store.delete_objects([*odd, *plain]) <= {*plain, *(each for each in odd if is_plain(each))}
        assert not [each for each in odd if each.endswith(("/", " ", "\n")) and is_plain(each)]
        for each in plain:
            with pytest.raises(ObjectMissing):
                room.store.head(each)

    def test_one_page_of_a_listing(self, room: Room) -> None:
        store, folder = bulk_store(room), uuid.uuid4().hex[:8]
        keys = [f"{folder}/{number:04}.png" for number in range(1000)]
        for each in keys[::100]:
            room.put(each, b"data")
        assert store.delete_objects(keys) == frozenset(keys)
        assert not room.store.list_page(folder, "").objects

    def test_a_bucket_that_keeps_versions_keeps_them(self, moto: S3Address, key: str) -> None:
        with ExitStack() as stack:
            room = room_of("moto", STORES[0], moto, stack)
            assert room.client is not None
            room.client.put_bucket_versioning(Bucket=room.bucket, VersioningConfiguration={"Status": "Enabled"})
            room.put(key, b"data")
            assert bulk_store(room).delete_objects([key]) == {key}
            with pytest.raises(ObjectMissing):
                room.store.head(key)
            assert [each["Size"] for each in versions_of(room) if "Size" in each] == [4]
            for each in versions_of(room):
                room.client.delete_object(Bucket=room.bucket, Key=each["Key"], VersionId=each["VersionId"])


def bulk_store(room: Room) -> BulkDeletingStore:
    if not isinstance(room.store, BulkDeletingStore):
        pytest.skip("it deletes one by one")
    return room.store


@pytest.fixture(params=STORES, ids=lambda kind: kind.__name__)
def at_server(request: pytest.FixtureRequest) -> Iterator[tuple[RawServer, BulkDeletingStore]]:
    with RawServer(lambda _: b"") as server:
        config = S3Config(access_key="a", secret_key=Secret("b"), endpoint_url=server.endpoint_url, bucket="new")
        with closing(request.param(config, role="destination", connections=1)) as store:
            yield server, store


KEYS = [f"accounts/{number}.png" for number in range(4)]


def test_the_request_names_the_keys_and_carries_the_md5_that_every_store_knows(
    at_server: tuple[RawServer, BulkDeletingStore],
) -> None:
    server, store = at_server
    named = "".join(f"<Deleted><Key>{each}</Key></Deleted>" for each in KEYS)
    server.answers = lambda _: answer(
        200, f"<DeleteResult>{named}</DeleteResult>".encode(), content_type="application/xml"
    )
    assert store.delete_objects(KEYS) == frozenset(KEYS)
    (asked,) = server.requests
    assert asked.head.startswith(b"POST /new?delete HTTP")
    assert asked.headers["content-md5"] == base64.b64encode(hashlib.md5(asked.body).digest()).decode()
    assert not [name for name in asked.headers if "checksum" in name or name == "expect"]
    assert re.findall(r"<Key>(.*?)</Key>", asked.body.decode()) == KEYS
    assert b"Quiet" not in asked.body


def test_of_an_answer_only_confirmations_of_what_was_asked_count(
    at_server: tuple[RawServer, BulkDeletingStore],
) -> None:
    server, store = at_server
    document = (
        '<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        "<Deleted><Key>accounts/0.png</Key></Deleted><Deleted><Key>accounts/another.png</Key></Deleted><Deleted/>"
        "<Error><Key>accounts/1.png</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        "<Error><Key>accounts/2.png</Key><Code>InternalError</Code></Error></DeleteResult>"
    )
    server.answers = lambda _: answer(200, document.encode(), content_type="application/xml")
    assert store.delete_objects(KEYS) == {"accounts/0.png"}


@pytest.mark.parametrize(
    "body",
    [b"", b"<html><title>Welcome</title></html>", b"<ListBucketResult><Name>new</Name></ListBucketResult>", b"no XML"],
)
def test_an_answer_that_is_none_confirms_nothing(at_server: tuple[RawServer, BulkDeletingStore], body: bytes) -> None:
    server, store = at_server
    server.answers = lambda _: answer(200, body)
    with suppress(StoreUnusable, ObjectError):
        assert not store.delete_objects(KEYS)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 411, 501])
@pytest.mark.parametrize("code", ["", "NotImplemented", "MethodNotAllowed", "AccessDenied", "MissingContentMD5"])
def test_a_store_that_lacks_it_says_so_at_once(
    at_server: tuple[RawServer, BulkDeletingStore], status: int, code: str
) -> None:
    """No answer of those that such stores give is one that is waited for."""
    server, store = at_server
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode() if code else b"<html>no"
    server.answers = lambda _: answer(status, body, content_type="application/xml" if code else "text/html")
    with pytest.raises((ObjectError, StoreUnusable)) as refused:
        store.delete_objects(KEYS)
    assert not getattr(refused.value, "transient", False)


@pytest.mark.parametrize("kind", STORES, ids=lambda kind: kind.__name__)
def test_a_source_deletes_not_many_either(kind: StoreClass) -> None:
    with RawServer(lambda _: b"") as server:
        config = S3Config(access_key="a", secret_key=Secret("b"), endpoint_url=server.endpoint_url, bucket="old")
        with closing(kind(config, role="source", connections=1)) as store, pytest.raises(StoreUnusable, match="source"):
            store.delete_objects(KEYS)
        assert not server.requests


def test_nor_does_a_folder_that_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"data")
    config = FilesystemConfig(path=tmp_path)
    with closing(FilesystemStore(config, role="source")) as store, pytest.raises(StoreUnusable, match="source"):
        store.delete("a.png")
    assert (tmp_path / "a.png").read_bytes() == b"data"
