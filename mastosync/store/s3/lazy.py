"""The way from what knows nothing of boto3 to a store that is made of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mastosync.errors import NetworkFailure, without_frames
from mastosync.language import tr
from mastosync.model import ObjectInfo
from mastosync.store.base import Buffer, FetchedObject, Page, Piece, PutOptions, UploadedPart
from mastosync.store.errors import Subject
from mastosync.store.s3.errors import Request
from mastosync.store.s3.route import Route, guarded, plain_route

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

    from mastosync.config import S3Config
    from mastosync.store.s3.store import S3Store


class LazyS3Store:
    """An `S3Store` that is made, and boto3 loaded, when it is first asked. See `ObjectStore` for its methods."""

    def __init__(self, config: S3Config, *, role: str, connections: int) -> None:
        """What `S3Store` is made of."""
        self._config, self._role, self._connections = config, role, connections
        self._made: S3Store | None = None
        self._making = threading.Lock()

    @property
    def made(self) -> S3Store:
        """The store itself.

        Raises: StoreUnusable if no client can be made of the configuration; NetworkFailure if boto3's files cannot
        be read at the moment, because connections have taken all the descriptors that this process may have.
        """
        return self._made or self._make()

    def _make(self) -> S3Store:
        try:
            with self._making:
                from mastosync.store.s3.store import S3Store  # noqa: PLC0415 - this is what is put off

                if self._made is None:
                    self._made = S3Store(self._config, role=self._role, connections=self._connections)
                return self._made
        except OSError as error:
            raise NetworkFailure(
                f"cannot load boto3 for the {self._role} bucket {self._config.bucket!r}: {error}",
                hint=tr("if too many files are open, use fewer `workers` or raise `ulimit -n`"),
            ) from without_frames(error)

    def way(self) -> tuple[str, Route]:
        """The endpoint and the way to the bucket. boto3 is asked where only it can tell. Raises: StoreUnusable."""
        route = plain_route(self._config)
        if route is not None:
            return str(self._config.endpoint_url), route
        from mastosync.store.s3.client import route_to  # noqa: PLC0415 - as above

        store = self.made
        with store.translated(Request("use", subject=Subject.STORE)):
            return store.endpoint, guarded(route_to(store.client, self._config.bucket or ""), self._config)

    def credentials(self, request: Request) -> ReadOnlyCredentials:
        """See `S3Store`."""
        return self.made.credentials(request)

    def check(self) -> None:  # noqa: D102 - see ObjectStore, here and below
        self.made.check()

    def head(self, key: str) -> ObjectInfo:  # noqa: D102
        return self.made.head(key)

    def list_page(self, prefix: str, after: str) -> Page:  # noqa: D102
        return self.made.list_page(prefix, after)

    def read(self, key: str, max_bytes: int) -> FetchedObject:  # noqa: D102
        return self.made.read(key, max_bytes)

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> Buffer:  # noqa: D102
        return self.made.read_range(key, info, start, length)

    def digest(self, key: str, info: ObjectInfo) -> bytes:  # noqa: D102
        return self.made.digest(key, info)

    def write(self, key: str, data: bytes, md5: bytes, options: PutOptions) -> str:  # noqa: D102
        return self.made.write(key, data, md5, options)

    def copy_from(  # noqa: D102
        self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
    ) -> str:
        return self.made.copy_from(source_bucket, source_key, info, key, options)

    def start_multipart(self, key: str, options: PutOptions) -> str:  # noqa: D102
        return self.made.start_multipart(key, options)

    def write_part(self, key: str, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:  # noqa: D102
        return self.made.write_part(key, upload_id, number, data, md5)

    def copy_part(self, key: str, upload_id: str, number: int, piece: Piece) -> UploadedPart:  # noqa: D102
        return self.made.copy_part(key, upload_id, number, piece)

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:  # noqa: D102
        return self.made.complete_multipart(key, upload_id, parts)

    def abort_multipart(self, key: str, upload_id: str) -> None:  # noqa: D102
        self.made.abort_multipart(key, upload_id)

    def abort_unfinished(self, key: str) -> int:  # noqa: D102
        return self.made.abort_unfinished(key)

    def delete(self, key: str) -> None:  # noqa: D102
        self.made.delete(key)

    def anybody_reads(self, key: str) -> bool:  # noqa: D102
        return self.made.anybody_reads(key)

    def anybody_finds(self, key: str, info: ObjectInfo) -> bool:  # noqa: D102
        return self.made.anybody_finds(key, info)

    def withdraw(self, key: str) -> bool:  # noqa: D102
        return self.made.withdraw(key)

    def close(self) -> None:  # noqa: D102
        with self._making:
            if self._made is not None:
                self._made.close()
