"""Every client of S3 of mastosync, opened on a server of the test, and a call of each of its methods."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from lab.addresses import S3Address
from mastosync.config import S3Config, Secret
from mastosync.errors import MastosyncError
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.store.base import DigestUse, FetchedObject, ObjectStore, PutOptions, UploadedPart
from mastosync.store.s3.boto_store import S3Store
from mastosync.store.s3.curl_multiplexer import CurlMultiplexer
from mastosync.store.s3.curl_store import CurlStore
from tests.support.raw_server import RawServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class MultiplexedStore(CurlStore):
    """`CurlStore` with its small requests made by a multiplexer, one of each thread that asks."""

    def __init__(self, config: S3Config, *, role: str, connections: int) -> None:
        super().__init__(config, role=role, connections=connections)
        self._multiplexers: dict[int, CurlMultiplexer] = {}

    def read(self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED) -> FetchedObject:
        return cast("FetchedObject", self._multiplexed("read", (key, max_bytes, digest)))

    def write(
        self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = DigestUse.COMPUTED
    ) -> str:
        return str(self._multiplexed("write", (key, data, md5, options, digest)))

    def head(self, key: str) -> ObjectInfo:
        return cast("ObjectInfo", self._multiplexed("head", (key,)))

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        return str(self._multiplexed("copy_from", (source_bucket, source_key, info, key, options)))

    def close(self) -> None:
        for multiplexer in self._multiplexers.values():
            multiplexer.close()
        self._multiplexers.clear()
        super().close()

    def _multiplexed(self, operation: str, arguments: tuple[Any, ...]) -> object:
        multiplexer = self._multiplexers.setdefault(threading.get_ident(), CurlMultiplexer(1))
        if not multiplexer.takes(self, operation, arguments):
            return getattr(super(), operation)(*arguments)
        multiplexer.begin(operation, self, operation, arguments, lambda size_bytes: True)
        while not (finished := multiplexer.finished(0.1)):
            continue
        ((tag, result, error),) = finished
        assert tag == operation
        if error is not None:
            raise error
        return result


StoreClass = type[S3Store] | type[CurlStore]
STORES: tuple[StoreClass, ...] = (S3Store, CurlStore, MultiplexedStore)
"""Every client of S3, and every way it has."""

ACCESS_KEY = "AKIAHIDDENHIDDENHIDD"
SECRET_KEY = "wJalrHIDDEN/HIDDEN+HIDDEN"
SESSION_TOKEN = "FwoGHIDDENHIDDEN=="

MADE_UP = S3Config(
    access_key=ACCESS_KEY,
    secret_key=Secret(SECRET_KEY),
    session_token=Secret(SESSION_TOKEN),
    bucket="my-bucket",
    connect_timeout_seconds=5,
    read_timeout_seconds=5,
)
PLAIN = PutOptions(ObjectHeaders(content_type="image/png"))
DATA = b"data of an object, not too short" * 100
METHODS = (
    "check",
    "list_page",
    "head",
    "read",
    "read_range",
    "digest",
    "write",
    "copy_from",
    "start_multipart",
    "write_part",
    "complete_multipart",
    "abort_multipart",
    "abort_unfinished",
)
"""Every method that makes a request."""


def config_of(address: S3Address, bucket: str) -> S3Config:
    return S3Config(
        access_key=address.access_key,
        secret_key=Secret(address.secret_key),
        endpoint_url=address.endpoint_url,
        bucket=bucket,
        region=address.region,
        read_timeout_seconds=10,
    )


@contextmanager
def opened(config: S3Config, connections: int = 4, kind: StoreClass = S3Store) -> Iterator[ObjectStore]:
    with closing(kind(config, role="source", connections=connections)) as store:
        yield store


def at(endpoint_url: str, config: S3Config = MADE_UP) -> S3Config:
    return replace(config, endpoint_url=endpoint_url)


def md5_of(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def assert_says_where_without_secrets(error: MastosyncError, config: S3Config) -> None:
    """What every error of a store must tell, and must not."""
    assert str(config.bucket) in error.message
    assert str(config.endpoint_url) in error.message
    assert "\n" not in error.message
    shown = f"{error!r} {error.message} {error.hint}"
    hidden = [config.access_key, *(secret.reveal() for secret in (config.secret_key, config.session_token) if secret)]
    assert not [secret for secret in hidden if secret and secret in shown]


@dataclass(frozen=True)
class Wire:
    """A store at a server that says what a test wants: set `server.answers`, and ask `store`."""

    server: RawServer
    store: ObjectStore


@dataclass(frozen=True)
class Prepared:
    """An object and an upload with one part, so that every method has something to work on."""

    key: str
    upload_id: str
    part: UploadedPart
    bucket: str = "my-bucket"

    @classmethod
    def of(cls, client: S3Client, bucket: str, key: str) -> Prepared:
        client.put_object(Bucket=bucket, Key=key, Body=DATA)
        upload_id = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        etag = client.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=1, Body=DATA)["ETag"]
        return cls(key, upload_id, UploadedPart(1, etag, md5_of(DATA)), bucket)

    @classmethod
    def made_up(cls) -> Prepared:
        """Something that is in no store."""
        return cls("key", "upload", UploadedPart(1, md5_of(DATA).hex(), md5_of(DATA)))

    def calls(self, store: ObjectStore) -> Mapping[str, Callable[[], object]]:
        """How to call each of METHODS."""
        info = ObjectInfo(len(DATA), md5_of(DATA).hex(), etag_is_md5=True)
        key, upload_id = self.key, self.upload_id
        return {
            "check": store.check,
            "list_page": lambda: store.list_page("", ""),
            "head": lambda: store.head(key),
            "read": lambda: store.read(key, 1_000_000),
            "read_range": lambda: store.read_range(key, info, 10, 1000),
            "digest": lambda: store.digest(key, info),
            "write": lambda: store.write(key, DATA, md5_of(DATA), PLAIN),
            "copy_from": lambda: store.copy_from(self.bucket, key, info, f"copy-of-{key}", PLAIN),
            "start_multipart": lambda: store.start_multipart(key, PLAIN),
            "write_part": lambda: store.write_part(key, upload_id, 1, DATA, md5_of(DATA)),
            "complete_multipart": lambda: store.complete_multipart(key, upload_id, [self.part]),
            "abort_multipart": lambda: store.abort_multipart(key, upload_id),
            "abort_unfinished": lambda: store.abort_unfinished(key),
        }
