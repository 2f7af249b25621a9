"""What `ObjectStore` promises of removal, and of who may read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from lab.addresses import S3Address
from mastosync.config import FilesystemConfig, S3Config, Secret
from mastosync.errors import ObjectMissing, StoreUnusable
from mastosync.model import ObjectHeaders
from mastosync.store.base import PutOptions
from mastosync.store.filesystem import FilesystemStore
from tests.support.object_stores import (
    NOT_ON_MOTO,
    ODD_KEYS,
    Room,
    folder_room,
    md5_of,
    room_of,
)
from tests.support.raw_server import RawServer
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


def test_nor_does_a_folder_that_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"data")
    config = FilesystemConfig(path=tmp_path)
    with closing(FilesystemStore(config, role="source")) as store, pytest.raises(StoreUnusable, match="source"):
        store.delete("a.png")
    assert (tmp_path / "a.png").read_bytes() == b"data"
