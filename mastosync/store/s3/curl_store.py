"""The contract of `ObjectStore` for many small objects: libcurl makes their requests, boto3 does the rest.

libcurl takes a fraction of boto3's processor time. boto3 is loaded, and its client made, when something needs it.
"""

from __future__ import annotations

import base64
import re
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mastosync.errors import NetworkFailure, ObjectDenied, ObjectMissing, ObjectRejected, without_frames
from mastosync.language import tr
from mastosync.store.base import Buffer, FetchedObject, Page, Piece, PutOptions, UploadedPart
from mastosync.store.errors import Target
from mastosync.store.s3.curl_handle import Credentials, Exchange, Handle, HeaderLines, Response
from mastosync.store.s3.protocol import (
    LONGEST_LISTING,
    checked_object,
    checked_page,
    confirmed_etag,
    error_response,
    etag_of_copy,
    http_headers_of,
    info_of,
    listing_query,
    page_of,
    require_listing,
    require_no_error,
)
from mastosync.store.s3.route import Route, guarded, plain_route
from mastosync.store.s3.translation import InvalidResponse, Request, Translator, name_of, scrubber_of

if TYPE_CHECKING:
    from mastosync.config import S3Config
    from mastosync.model import ObjectInfo
    from mastosync.store.s3.boto_store import S3Store

_DOTS = frozenset({".", ".."})
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")
_KEY_OF_COPY = 3  # of the arguments of `copy_from`
_ANY_SIZE = 1 << 62  # bytes: of what is described and not sent
_END_OF_HEADER = frozenset("\r\n\0")


class CurlStore:
    """A bucket. See `ObjectStore` for what each method promises."""

    def __init__(self, config: S3Config, *, role: str, connections: int) -> None:
        """`role`: source or destination, for messages. `connections`: threads that will use the store at once.

        Raises: StoreUnusable if no client can be made of the configuration.
        """
        self._config, self._role, self._connections = config, role, connections
        self._boto: S3Store | None = None
        self._making = threading.Lock()
        self.endpoint, self._route = self._way()
        self.name = name_of(config, role, self.endpoint)
        self._translated = Translator(self.name, scrubber_of(config))
        self._is_source = role == "source"
        # libcurl encodes other characters of an access key, which then is another key to the store
        self._signs_as_asked = config.access_key is None or _UNRESERVED.fullmatch(config.access_key) is not None
        self._configured = _configured(config)
        self._opened: weakref.WeakSet[Handle] = weakref.WeakSet()
        self._opening = threading.Lock()
        self._handles = _Handles(self._open)
        self._exchanges: dict[str, Callable[..., Exchange[object]]] = {
            "read": self._reading,
            "write": self._writing,
            "head": self._describing,
            "copy_from": self._copying,
        }

    @property
    def bucket_url(self) -> str:
        """What keys follow, for whoever asks without credentials."""
        return self._route.url

    def check(self) -> None:  # noqa: D102 - see ObjectStore, here and below
        if not self._signs_as_asked:
            return self.boto.check()
        handle = self.handle("GET")  # of its own: the connection would lie idle for as long as a run takes
        try:
            handle.made(self._listing())
        except ObjectDenied:
            return None  # a key that may not list may still read and write
        finally:
            handle.close()

    def list_page(self, prefix: str, after: str) -> Page:  # noqa: D102
        if not self._signs_as_asked:
            return self.boto.list_page(prefix, after)
        return checked_page(self.name, after, self._handles.reading.made(self._paging(prefix, after)))

    def read(self, key: str, max_bytes: int) -> FetchedObject:  # noqa: D102
        if not self._is_for_libcurl(key):
            return self.boto.read(key, max_bytes)
        return self._handles.reading.made(self._reading(key, max_bytes))

    def write(self, key: str, data: bytes, md5: bytes, options: PutOptions) -> str:  # noqa: D102
        if not self._is_for_libcurl(key):
            return self.boto.write(key, data, md5, options)
        return self._handles.writing.made(self._writing(key, data, md5, options))

    def head(self, key: str) -> ObjectInfo:  # noqa: D102
        if not self._is_for_libcurl(key):
            return self.boto.head(key)
        return self._handles.describing.made(self._describing(key))

    def copy_from(  # noqa: D102
        self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
    ) -> str:
        if not self._is_for_libcurl(key):
            return self.boto.copy_from(source_bucket, source_key, info, key, options)
        return self._handles.writing.made(self._copying(source_bucket, source_key, info, key, options))

    def delete(self, key: str) -> None:  # noqa: D102
        if self._is_source or not self._is_for_libcurl(key):
            return self.boto.delete(key)  # which refuses it at a source
        return self._handles.removing.made(self._removing(key))

    def delete_objects(self, keys: Sequence[str]) -> frozenset[str]:  # noqa: D102 - see BulkDeletingStore
        return self.boto.delete_objects(keys)

    def takes(self, operation: str, arguments: tuple[Any, ...]) -> bool:
        """Whether libcurl makes the request of an operation, so that there is an `exchange`."""
        return self._is_for_libcurl(arguments[_KEY_OF_COPY if operation == "copy_from" else 0])

    def exchange(self, operation: str, arguments: tuple[Any, ...]) -> Exchange[object]:
        """The request that an operation makes, for a `CurlMultiplexer`. Raises: ObjectError, StoreUnusable."""
        return self._exchanges[operation](*arguments)

    def handle(self, method: str, sockets: Mapping[int, int] | None = None) -> Handle:
        """A new handle for exchanges of this method; `sockets` as `Handle` has them. Raises: StoreUnusable."""
        return Handle(self._route, self._config, method, sockets)

    def _listing(self) -> Exchange[None]:
        """What objects take the same way as: other probes of S3 address buckets in their own way."""
        request = Request("use", subject=Target.STORE)

        def conclude(response: Response | OSError) -> None:
            with self._translated(request):
                require_listing(*_successful(response))

        credentials = self._credentials(request)
        return Exchange("GET", self._listing_url(listing_query(1)), credentials, conclude, credentials.lines)

    def _paging(self, prefix: str, after: str) -> Exchange[Page]:
        request = Request("list", subject=Target.STORE)

        def conclude(response: Response | OSError) -> Page:
            with self._translated(request):
                return page_of(*_successful(response))

        url, credentials = self._listing_url(listing_query(1000, prefix, after)), self._credentials(request)
        return Exchange("GET", url, credentials, conclude, credentials.lines, None, LONGEST_LISTING)

    def _listing_url(self, query: str) -> str:
        return f"{self._route.url.removesuffix('/')}?{query}"

    def _reading(self, key: str, max_bytes: int) -> Exchange[FetchedObject]:
        request = Request("read", key)

        def conclude(response: Response | OSError) -> FetchedObject:
            with self._translated(request):
                response = _successful(response)
                info = info_of(response.headers)
                if info.size > max_bytes:
                    return FetchedObject(info, data=None, md5=None)
                if len(response.body) != info.size:
                    raise InvalidResponse(f"{info.size} bytes were announced, {len(response.body)} came")
            return checked_object(key, self.name, info, response.body)

        credentials = self._credentials(request)
        return Exchange("GET", self._url(key), credentials, conclude, credentials.lines, None, max_bytes)

    def _describing(self, key: str) -> Exchange[ObjectInfo]:
        request = Request("describe", key)

        def conclude(response: Response | OSError) -> ObjectInfo:
            with self._translated(request):
                return info_of(_successful(response).headers)

        credentials = self._credentials(request)
        return Exchange("HEAD", self._url(key), credentials, conclude, credentials.lines, None, _ANY_SIZE)

    def _removing(self, key: str) -> Exchange[None]:
        request = Request("delete", key)

        def conclude(response: Response | OSError) -> None:
            with suppress(ObjectMissing), self._translated(request):
                require_no_error(*_successful(response))

        credentials = self._credentials(request)
        return Exchange("DELETE", self._url(key), credentials, conclude, credentials.lines)

    def _writing(self, key: str, data: bytes, md5: bytes, options: PutOptions) -> Exchange[str]:
        lines = self._lines("write", key, options)
        request = Request("write", key, subject=Target.NEW_OBJECT, with_acl=options.acl is not None)

        def conclude(response: Response | OSError) -> str:
            with self._translated(request):
                return confirmed_etag(key, self.name, _successful(response).headers, md5)

        credentials = self._credentials(request)
        sent = HeaderLines((*credentials.lines, *lines, b"content-md5: " + base64.b64encode(md5)))
        return Exchange("PUT", self._url(key), credentials, conclude, sent, data)

    def _copying(
        self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
    ) -> Exchange[str]:
        lines = self._lines("copy to", key, options)
        request = Request("copy to", key, subject=Target.COPY, with_acl=options.acl is not None)

        def conclude(response: Response | OSError) -> str:
            with self._translated(request):
                return etag_of_copy(*_successful(response))

        credentials = self._credentials(request)
        of_source = (
            f"x-amz-copy-source: {quote(f'{source_bucket}/{source_key}', safe='/~')}",
            f'x-amz-copy-source-if-match: "{info.etag}"',
            "x-amz-metadata-directive: REPLACE",  # else the headers given here are passed over
        )
        sent = HeaderLines((*credentials.lines, *lines, *(line.encode() for line in of_source)))
        return Exchange("PUT", self._url(key), credentials, conclude, sent, b"")

    def _lines(self, verb: str, key: str, options: PutOptions) -> tuple[bytes, ...]:
        """The headers of a new object. Raises: ObjectRejected."""
        try:
            return _lines_of(options)
        except ValueError as error:
            raise ObjectRejected(
                f"cannot {verb} {key!r} at {self.name}: {error}", hint=tr("no request can be made for this object")
            ) from None

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
        return self._signs_as_asked and bool(key) and not _DOTS.intersection(key.split("/"))

    def _open(self, method: str) -> Handle:
        """A thread's own handle, closed with the store."""
        handle = self.handle(method)
        with self._opening:
            self._opened.add(handle)
        return handle

    def _credentials(self, request: Request) -> Credentials:
        """What to sign the next request with; those that were not configured may be renewed any time."""
        if self._configured is not None:
            return self._configured
        found = self.boto.credentials(request)
        return _credentials_of(found.access_key or "", found.secret_key or "", found.token)

    def _url(self, key: str) -> str:
        return self._route.url + quote(key, safe="/~")


class _Handles(threading.local):
    """A thread's own, which end with it."""

    def __init__(self, opened: Callable[[str], Handle]) -> None:  # runs in each thread
        self.reading, self.writing, self.describing = opened("GET"), opened("PUT"), opened("HEAD")
        self._opened = opened

    @cached_property
    def removing(self) -> Handle:
        """For what few threads do."""
        return self._opened("DELETE")


def _configured(config: S3Config) -> Credentials | None:
    if config.access_key is None or config.secret_key is None:
        return None
    token = config.session_token.reveal() if config.session_token else None
    return _credentials_of(config.access_key, config.secret_key.reveal(), token)


def _credentials_of(access_key: str, secret_key: str, token: str | None) -> Credentials:
    lines = ["x-amz-content-sha256: UNSIGNED-PAYLOAD", *([f"x-amz-security-token: {token}"] if token else [])]
    return Credentials(access_key.encode(), secret_key.encode(), HeaderLines(line.encode() for line in lines))


@lru_cache(maxsize=1024)
def _lines_of(options: PutOptions) -> tuple[bytes, ...]:
    """The headers of a new object, but for those of its bytes. Raises: ValueError."""
    headers = http_headers_of(options)
    if any(_END_OF_HEADER.intersection(name + value) for name, value in headers.items()):
        raise ValueError("one of its headers is more than one line")
    # libcurl takes every body for a form, and announces it where it is long, unless told to leave these out
    left_out = [f"{name}:" for name in ("content-type", "expect") if name not in headers]
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers.items()]
    return tuple(line.encode() for line in (*left_out, *lines))


def _successful(response: Response | OSError) -> Response:
    if isinstance(response, OSError):
        raise response
    if not 200 <= response.status < 300:
        raise error_response(*response)
    return response
