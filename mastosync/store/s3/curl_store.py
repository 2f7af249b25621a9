"""The contract of `ObjectStore` by libcurl, for whole objects; boto3 does the rest.

libcurl takes a fraction of boto3's processor time. boto3 is loaded, and its client made, when something needs it.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mastosync.errors import NetworkFailure, ObjectDenied, without_frames
from mastosync.language import tr
from mastosync.store.abilities import ArrivedPart, FirstPart, StreamAnswer, StreamedObject
from mastosync.store.base import Buffer, DigestUse, FetchedObject, Page, Piece, PutOptions, UploadedPart
from mastosync.store.errors import Target
from mastosync.store.s3.curl_bodies import SharedByHandles
from mastosync.store.s3.curl_handle import Exchange, Handle
from mastosync.store.s3.curl_requests import CurlRequests
from mastosync.store.s3.curl_stream import Reading, stream_alone
from mastosync.store.s3.listing import checked_page
from mastosync.store.s3.route import Route, guarded, plain_route
from mastosync.store.s3.translation import Request, Translator, name_of, scrubber_of

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

    from mastosync.config import S3Config
    from mastosync.model import ObjectInfo
    from mastosync.store.s3.boto_store import S3Store

_DOTS = frozenset({".", ".."})
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")
_KEY_OF_COPY = 3  # of the arguments of `copy_from`


class CurlStore:
    """A bucket. See `ObjectStore` for what each method promises."""

    computes_digests = False

    def __init__(self, config: S3Config, *, role: str, connections: int) -> None:
        """`role`: source or destination, for messages. `connections`: threads that will use the store at once.

        Raises: StoreUnusable if no client can be made of the configuration.
        """
        self._config, self._role, self._connections = config, role, connections
        self._boto: S3Store | None = None
        self._making = threading.Lock()
        self.endpoint, self._route = self._way()
        self.name = name_of(config, role, self.endpoint)
        translated = Translator(self.name, scrubber_of(config))
        self._is_source = role == "source"
        # libcurl encodes other characters of an access key, which then is another key to the store
        self._signs_as_asked = config.access_key is None or _UNRESERVED.fullmatch(config.access_key) is not None
        self._requests = CurlRequests(config, self._route, self.name, translated, self._found_credentials)
        self._opened: weakref.WeakSet[Handle] = weakref.WeakSet()
        self._opening = threading.Lock()
        self._handles = _Handles(self._open)

    @property
    def bucket_url(self) -> str:
        """What keys follow, for whoever asks without credentials."""
        return self._route.url

    def check(self) -> None:  # noqa: D102 - see ObjectStore, here and below
        if not self._signs_as_asked:
            return self.boto.check()
        handle = self.handle("GET")  # of its own: the connection would lie idle for as long as a run takes
        try:
            handle.made(self._requests.check())
        except ObjectDenied:
            return None  # a key that may not list may still read and write
        finally:
            handle.close()

    def list_page(self, prefix: str, after: str) -> Page:  # noqa: D102
        if not self._signs_as_asked:
            return self.boto.list_page(prefix, after)
        return checked_page(self.name, after, self._handles.reading.made(self._requests.list_page(prefix, after)))

    def read(  # noqa: D102
        self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED
    ) -> FetchedObject:
        if not self._is_for_libcurl(key):
            return self.boto.read(key, max_bytes, digest)
        return self._handles.reading.made(self._requests.read(key, max_bytes, digest))

    def write(  # noqa: D102
        self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = DigestUse.COMPUTED
    ) -> str:
        if not self._is_for_libcurl(key):
            return self.boto.write(key, data, md5, options, digest)
        return self._handles.writing.made(self._requests.write(key, data, md5, options, digest))

    def head(self, key: str) -> ObjectInfo:  # noqa: D102
        if not self._is_for_libcurl(key):
            return self.boto.head(key)
        return self._handles.describing.made(self._requests.head(key))

    def copy_from(  # noqa: D102
        self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
    ) -> str:
        if not self._is_for_libcurl(key):
            return self.boto.copy_from(source_bucket, source_key, info, key, options)
        return self._handles.writing.made(self._requests.copy_from(source_bucket, source_key, info, key, options))

    def delete(self, key: str) -> None:  # noqa: D102
        if self._is_source or not self._is_for_libcurl(key):
            return self.boto.delete(key)  # which refuses it at a source
        return self._handles.removing.made(self._requests.delete(key))

    def streams(self, key: str) -> bool:  # noqa: D102
        return self._is_for_libcurl(key)

    def write_stream(self, key: str, source: StreamedObject, options: PutOptions) -> StreamAnswer:  # noqa: D102
        assert isinstance(source.store, CurlStore)  # noqa: S101 - `streams` has said so
        source.wait_to_ask()
        exchange = self._requests.write_stream(key, source, options)
        return stream_alone(source, source.store.reading(source), self.handle("STREAM"), exchange)

    def stream_part(self, key: str, source: StreamedObject, upload_id: str, number: int) -> StreamAnswer:  # noqa: D102
        assert isinstance(source.store, CurlStore)  # noqa: S101 - `streams` has said so
        source.wait_to_ask()
        exchange = self._requests.stream_part(key, source, upload_id, number)
        return stream_alone(source, source.store.reading(source), self.handle("STREAM"), exchange)

    def first_part(self, key: str) -> FirstPart:  # noqa: D102
        return self._handles.describing.made(self._requests.first_part(key))

    def arrived_parts(self, key: str, upload_id: str) -> list[ArrivedPart]:  # noqa: D102
        return self.boto.arrived_parts(key, upload_id)

    def reading(self, source: StreamedObject, handle: Handle | None = None) -> Reading:
        """The request that gives the bytes of an object of this store. `handle`: to be used for it."""
        return Reading(self, handle or self.handle("GET"), self._requests.stream_from(source))

    def delete_objects(self, keys: Sequence[str]) -> frozenset[str]:  # noqa: D102 - see BulkDeletingStore
        return self.boto.delete_objects(keys)

    def takes(self, operation: str, arguments: tuple[Any, ...]) -> bool:
        """Whether libcurl makes the request of an operation, so that there is an `exchange`."""
        return self._is_for_libcurl(arguments[_KEY_OF_COPY if operation == "copy_from" else 0])

    def exchange(self, operation: str, arguments: tuple[Any, ...]) -> Exchange[object]:
        """The request that an operation makes, for a `CurlMultiplexer`. Raises: ObjectError, StoreUnusable."""
        exchange: Exchange[object] = getattr(self._requests, operation)(*arguments)
        return exchange

    def handle(self, method: str, shared: SharedByHandles | None = None) -> Handle:
        """A new handle for exchanges of this method; `shared` as `Handle` has it. Raises: StoreUnusable."""
        return Handle(self._route, self._config, method, shared)

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> Buffer:  # noqa: D102
        return self.boto.read_range(key, info, start, length)

    def digest(self, key: str, info: ObjectInfo) -> bytes:  # noqa: D102
        return self.boto.digest(key, info)

    def start_multipart(self, key: str, options: PutOptions) -> str:  # noqa: D102
        return self.boto.start_multipart(key, options)

    def write_part(self, key: str, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:  # noqa: D102
        return self.boto.write_part(key, upload_id, number, data, md5)

    def copy_part(self, key: str, upload_id: str, number: int, piece: Piece) -> UploadedPart:  # noqa: D102
        return self.boto.copy_part(key, upload_id, number, piece)

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:  # noqa: D102
        return self.boto.complete_multipart(key, upload_id, parts)

    def abort_multipart(self, key: str, upload_id: str) -> None:  # noqa: D102
        self.boto.abort_multipart(key, upload_id)

    def abort_unfinished(self, key: str) -> int:  # noqa: D102
        return self.boto.abort_unfinished(key)

    def anybody_reads(self, key: str) -> bool:  # noqa: D102
        return self.boto.anybody_reads(key)

    def anybody_finds(self, key: str, info: ObjectInfo) -> bool:  # noqa: D102
        return self.boto.anybody_finds(key, info)

    def withdraw(self, key: str) -> bool:  # noqa: D102
        return self.boto.withdraw(key)

    def close(self) -> None:  # noqa: D102
        with self._opening:
            for handle in self._opened:
                handle.close()
        with self._making:
            if self._boto is not None:
                self._boto.close()

    @property
    def boto(self) -> S3Store:
        """The store of this bucket by boto3, made once for all threads.

        Raises: StoreUnusable if no client can be made of the configuration; NetworkFailure if boto3's files cannot
        be read at the moment, because connections have taken all the descriptors that this process may have.
        """
        return self._boto or self._made_boto()

    def _made_boto(self) -> S3Store:
        try:
            with self._making:
                from mastosync.store.s3.boto_store import S3Store  # noqa: PLC0415 - this is what is put off

                if self._boto is None:
                    self._boto = S3Store(self._config, role=self._role, connections=self._connections)
                return self._boto
        except OSError as error:
            raise NetworkFailure(
                f"cannot load boto3 for the {self._role} bucket {self._config.bucket!r}: {error}",
                hint=tr("if too many files are open, use fewer `workers` or raise `ulimit -n`"),
            ) from without_frames(error)

    def _way(self) -> tuple[str, Route]:
        """The endpoint and the route to the bucket; boto3 is asked where only it can tell. Raises: StoreUnusable."""
        route = plain_route(self._config)
        if route is not None:
            return str(self._config.endpoint_url), route
        from mastosync.store.s3.boto_client import route_to  # noqa: PLC0415 - as above

        with self.boto.translated(Request("use", subject=Target.STORE)):
            return self.boto.endpoint, guarded(route_to(self.boto.client, self._config.bucket or ""), self._config)

    def _is_for_libcurl(self, key: str) -> bool:
        """Whether libcurl asks for this very key: it folds segments of dots, and has no option against it."""
        if "/." in key or key.startswith("."):  # few have any
            return self._signs_as_asked and not _DOTS.intersection(key.split("/"))
        return self._signs_as_asked and bool(key)

    def _found_credentials(self, request: Request) -> ReadOnlyCredentials:
        return self.boto.credentials(request)

    def _open(self, method: str) -> Handle:
        """A thread's own handle, closed with the store."""
        handle = self.handle(method)
        with self._opening:
            self._opened.add(handle)
        return handle


class _Handles(threading.local):
    """A thread's own, which end with it."""

    def __init__(self, opened: Callable[[str], Handle]) -> None:  # runs in each thread
        self.reading, self.writing, self.describing = opened("GET"), opened("PUT"), opened("HEAD")
        self._opened = opened

    @cached_property
    def removing(self) -> Handle:
        """For what few threads do."""
        return self._opened("DELETE")
