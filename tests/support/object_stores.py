"""Every store there is, for the tests of what `ObjectStore` promises."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.addresses import S3Address
from lab.buckets import bucket_pair
from mastosync.config import FilesystemConfig, S3Config, Secret
from mastosync.model import ObjectHeaders
from mastosync.store.base import ListedObject, ObjectStore, PutOptions, UploadedPart
from mastosync.store.filesystem import FilesystemProbe, FilesystemStore
from tests.support.memory_store import MemoryStore
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


def ways_to(room: Room) -> Iterator[ObjectStore]:
    """Every store that a room can be entered by, so that what takes long to lay down is laid down once."""
    if room.config is None:
        yield room.store
        return
    for kind in STORES:
        with closing(kind(room.config, role="destination", connections=1)) as store:
            yield store


def md5_of(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def bytes_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def require_headers(room: Room) -> None:
    """Skip what a folder cannot: see tests/contract/filesystem for what it does instead."""
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


def listed(store: ObjectStore, prefix: str, after: str = "") -> list[ListedObject]:
    """A whole listing, page after page."""
    found: list[ListedObject] = []
    while True:
        page = store.list_page(prefix, found[-1].key if found else after)
        found += page.objects
        if page.is_last:
            return found
        assert page.objects, "a page that is not the last one has something on it"
