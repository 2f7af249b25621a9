"""The contract of `ObjectStore` for many small objects: libcurl makes their requests, boto3 does the rest.

libcurl takes a fraction of boto3's processor time. What it has to be told is in `handle`.
"""

from __future__ import annotations

import base64
import re
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mastosync.errors import ObjectDenied, ObjectMissing, ObjectRejected
from mastosync.language import tr
from mastosync.store.base import FetchedObject, Page, PutOptions
from mastosync.store.errors import Subject
from mastosync.store.s3.curl.handle import Answered, Credentials, Exchange, Handle, HeaderLines
from mastosync.store.s3.documents import (
    LONGEST_LISTING,
    etag_of_copy,
    listing_query,
    page_of,
    require_listing,
    require_no_error,
)
from mastosync.store.s3.errors import Request, Translator, Unintelligible, name_of, scrubber_of
from mastosync.store.s3.headers import checked_object, checked_page, confirmed_etag, http_headers_of, info_of, refusal
from mastosync.store.s3.lazy import LazyS3Store

if TYPE_CHECKING:
    from mastosync.config import S3Config
    from mastosync.model import ObjectInfo

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
        self._boto = boto = LazyS3Store(config, role=role, connections=connections)
        self.endpoint, self._route = boto.way()
        self.name = name_of(config, role, self.endpoint)
        self._translated = Translator(self.name, scrubber_of(config))
        self._config = config
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
        self.read_range, self.digest = boto.read_range, boto.digest
        self.start_multipart, self.write_part = boto.start_multipart, boto.write_part
        self.complete_multipart, self.copy_part = boto.complete_multipart, boto.copy_part
        self.abort_multipart, self.abort_unfinished = boto.abort_multipart, boto.abort_unfinished
        self.withdraw = boto.withdraw
        self.anybody_reads, self.anybody_finds = boto.anybody_reads, boto.anybody_finds

    @property
    def bucket_url(self) -> str:
        """What keys follow, for whoever asks without credentials."""
        return self._route.url

    def check(self) -> None:  # noqa: D102 - see ObjectStore, here and below
        if not self._signs_as_asked:
            return self._boto.check()
        handle = self.handle("GET")  # of its own: the connection would lie idle for as long as a run takes
        try:
            handle.made(self._listing())
        except ObjectDenied:
            return None  # a key that may not list may still read and write
        finally:
            handle.close()

    def list_page(self, prefix: str, after: str) -> Page:  # noqa: D102
        if not self._signs_as_asked:
            return self._boto.list_page(prefix, after)
        return checked_page(self.name, after, self._handles.reading.made(self._paging(prefix, after)))

    def read(self, key: str, max_bytes: int) -> FetchedObject:  # noqa: D102
        if not self._is_for_libcurl(key):
            return self._boto.read(key, max_bytes)
        return self._handles.reading.made(self._reading(key, max_bytes))

    def write(self, key: str, data: bytes, md5: bytes, options: PutOptions) -> str:  # noqa: D102
        if not self._is_for_libcurl(key):
            return self._boto.write(key, data, md5, options)
        return self._handles.writing.made(self._writing(key, data, md5, options))

    def head(self, key: str) -> ObjectInfo:  # noqa: D102
        if not self._is_for_libcurl(key):
            return self._boto.head(key)
        return self._handles.describing.made(self._describing(key))

    def copy_from(  # noqa: D102
        self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
    ) -> str:
        if not self._is_for_libcurl(key):
            return self._boto.copy_from(source_bucket, source_key, info, key, options)
        return self._handles.writing.made(self._copying(source_bucket, source_key, info, key, options))

    def delete(self, key: str) -> None:  # noqa: D102
        if self._is_source or not self._is_for_libcurl(key):
            return self._boto.delete(key)  # which refuses it at a source
        return self._handles.removing.made(self._removing(key))

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
        request = Request("use", subject=Subject.STORE)

        def conclude(answered: Answered | OSError) -> None:
            with self._translated(request):
                require_listing(*_successful(answered))

        credentials = self._credentials(request)
        return Exchange("GET", self._listing_url(listing_query(1)), credentials, conclude, credentials.lines)

    def _paging(self, prefix: str, after: str) -> Exchange[Page]:
        request = Request("list", subject=Subject.STORE)

        def conclude(answered: Answered | OSError) -> Page:
            with self._translated(request):
                return page_of(*_successful(answered))

        url, credentials = self._listing_url(listing_query(1000, prefix, after)), self._credentials(request)
        return Exchange("GET", url, credentials, conclude, credentials.lines, None, LONGEST_LISTING)

    def _listing_url(self, query: str) -> str:
        return f"{self._route.url.removesuffix('/')}?{query}"

    def _reading(self, key: str, max_bytes: int) -> Exchange[FetchedObject]:
        request = Request("read", key)

        def conclude(answered: Answered | OSError) -> FetchedObject:
            with self._translated(request):
                answered = _successful(answered)
                info = info_of(answered.headers)
                if info.size > max_bytes:
                    return FetchedObject(info, data=None, md5=None)
                if len(answered.body) != info.size:
                    raise Unintelligible(f"{info.size} bytes were announced, {len(answered.body)} came")
            return checked_object(key, self.name, info, answered.body)

        credentials = self._credentials(request)
        return Exchange("GET", self._url(key), credentials, conclude, credentials.lines, None, max_bytes)

    def _describing(self, key: str) -> Exchange[ObjectInfo]:
        request = Request("describe", key)

        def conclude(answered: Answered | OSError) -> ObjectInfo:
            with self._translated(request):
                return info_of(_successful(answered).headers)

        credentials = self._credentials(request)
        return Exchange("HEAD", self._url(key), credentials, conclude, credentials.lines, None, _ANY_SIZE)

    def _removing(self, key: str) -> Exchange[None]:
        request = Request("delete", key)

        def conclude(answered: Answered | OSError) -> None:
            with suppress(ObjectMissing), self._translated(request):
                require_no_error(*_successful(answered))

        credentials = self._credentials(request)
        return Exchange("DELETE", self._url(key), credentials, conclude, credentials.lines)

    def _writing(self, key: str, data: bytes, md5: bytes, options: PutOptions) -> Exchange[str]:
        lines = self._lines("write", key, options)
        request = Request("write", key, subject=Subject.NEW_OBJECT, with_acl=options.acl is not None)

        def conclude(answered: Answered | OSError) -> str:
            with self._translated(request):
                return confirmed_etag(key, self.name, _successful(answered).headers, md5)

        credentials = self._credentials(request)
        sent = HeaderLines((*credentials.lines, *lines, b"content-md5: " + base64.b64encode(md5)))
        return Exchange("PUT", self._url(key), credentials, conclude, sent, data)

    def _copying(
        self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
    ) -> Exchange[str]:
        lines = self._lines("copy to", key, options)
        request = Request("copy to", key, subject=Subject.COPY, with_acl=options.acl is not None)

        def conclude(answered: Answered | OSError) -> str:
            with self._translated(request):
                return etag_of_copy(*_successful(answered))

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

    def close(self) -> None:  # noqa: D102
        with self._opening:
            for handle in self._opened:
                handle.close()
        self._boto.close()

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
        found = self._boto.credentials(request)
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


def _successful(answered: Answered | OSError) -> Answered:
    if isinstance(answered, OSError):
        raise answered
    if not 200 <= answered.status < 300:
        raise refusal(*answered)
    return answered
