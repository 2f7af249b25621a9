"""The requests that libcurl makes to a bucket, and what their answers say."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from mastosync.errors import ChecksumRefused, CorruptObject, ObjectChanged, ObjectMissing, ObjectRejected
from mastosync.language import tr
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.store.abilities import FirstPart, StreamAnswer, StreamedObject
from mastosync.store.base import DigestUse, FetchedObject, Page, PutOptions, require_claimed, wrong_md5
from mastosync.store.errors import Target
from mastosync.store.s3.curl_handle import Credentials, Exchange, HeaderLines, Response
from mastosync.store.s3.listing import LONGEST_LISTING, listing_query, page_of, require_listing
from mastosync.store.s3.protocol import (
    checked_object,
    confirmed_etag,
    error_response,
    etag_is_md5,
    etag_of,
    etag_of_copy,
    http_headers_of,
    info_of,
    require_no_error,
    require_range,
)
from mastosync.store.s3.route import Route
from mastosync.store.s3.translation import InvalidResponse, Request, Translator

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

    from mastosync.config import S3Config

_PARTIAL = 206  # status of an answer that has a range of an object
_ANY_SIZE = 1 << 62  # bytes: of what is described and not sent
_END_OF_HEADER = frozenset("\r\n\0")


class CurlRequests:
    """Makes the requests of one bucket: each method gives the exchange that the method of `ObjectStore` stands for."""

    def __init__(
        self,
        config: S3Config,
        route: Route,
        name: str,
        translated: Translator,
        found_credentials: Callable[[Request], ReadOnlyCredentials],
    ) -> None:
        """`found_credentials`: those that are not in the configuration, and may be renewed any time."""
        self._route = route
        self._name = name
        self._translated = translated
        self._found_credentials = found_credentials
        self._configured = _configured(config)

    def check(self) -> Exchange[None]:  # noqa: D102 - see ObjectStore, here and below
        request = Request("use", subject=Target.STORE)

        def conclude(response: Response | OSError) -> None:
            with self._translated(request):
                require_listing(*_successful(response))

        credentials = self._credentials(request)
        return Exchange("GET", self._listing_url(listing_query(1)), credentials, conclude, credentials.lines)

    def list_page(self, prefix: str, after: str) -> Exchange[Page]:  # noqa: D102
        request = Request("list", subject=Target.STORE)

        def conclude(response: Response | OSError) -> Page:
            with self._translated(request):
                return page_of(*_successful(response))

        url, credentials = self._listing_url(listing_query(1000, prefix, after)), self._credentials(request)
        return Exchange("GET", url, credentials, conclude, credentials.lines, None, LONGEST_LISTING)

    def _listing_url(self, query: str) -> str:
        return f"{self._route.url.removesuffix('/')}?{query}"

    def read(self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED) -> Exchange[FetchedObject]:  # noqa: D102
        request = Request("read", key)

        def conclude(response: Response | OSError) -> FetchedObject:
            with self._translated(request):
                response = _successful(response)
                info = info_of(response.headers)
                if info.size > max_bytes:
                    return FetchedObject(info, data=None, md5=None)
                if len(response.body) != info.size:
                    raise InvalidResponse(f"{info.size} bytes were announced, {len(response.body)} came")
            return checked_object(key, self._name, info, response.body, digest)

        credentials = self._credentials(request)
        return Exchange("GET", self._url(key), credentials, conclude, credentials.lines, None, max_bytes)

    def open(  # noqa: D102
        self, key: str, max_bytes: int, digest: DigestUse, open_bytes: int
    ) -> Exchange[FetchedObject]:
        return self.read(key, max_bytes, digest)._replace(open_bytes=open_bytes)

    def stream_from(self, source: StreamedObject) -> Exchange[ObjectInfo]:
        """The request for these bytes of exactly this object."""
        is_range, last = source.length is not None, source.start + len(source) - 1
        request = Request("read a range of" if is_range else "read", source.key)

        def conclude(response: Response | OSError) -> ObjectInfo:
            with self._translated(request):
                status, headers, _ = _successful(response)
                info = info_of(headers)
                if status == _PARTIAL and not is_range:
                    raise InvalidResponse("it sends a part, and was asked for the whole")
            if info.etag != source.info.etag or not (is_range or info.size == source.info.size):
                raise ObjectChanged(
                    f"cannot read {source.key!r} at {self._name}: it was replaced", hint=tr("it is read again")
                )
            if is_range:
                require_range(f"{source.key!r} at {self._name}", source.info.size, headers, source.start, len(source))
            return info

        credentials = self._credentials(request)
        lines = [*credentials.lines, f'if-match: "{source.info.etag}"'.encode()]
        if is_range:
            lines.append(f"range: bytes={source.start}-{last}".encode())
        return Exchange("GET", self._url(source.key), credentials, conclude, HeaderLines(lines), open_bytes=len(source))

    def write_stream(  # noqa: D102
        self, key: str, source: StreamedObject, options: PutOptions
    ) -> Exchange[StreamAnswer]:
        request = Request("write", key, subject=Target.NEW_OBJECT, with_acl=options.acl is not None)
        return self._stream(request, self._url(key), source, self._lines("write", key, options))

    def stream_part(  # noqa: D102
        self, key: str, source: StreamedObject, upload_id: str, number: int
    ) -> Exchange[StreamAnswer]:
        request = Request(f"write part {number} of", key, subject=Target.UPLOAD)
        # in this order, as not every libcurl sorts it for the signature
        url = f"{self._url(key)}?partNumber={number}&uploadId={quote(upload_id, safe='~')}"
        return self._stream(request, url, source, _lines_of(PutOptions(ObjectHeaders())))

    def _stream(
        self, request: Request, url: str, source: StreamedObject, lines: tuple[bytes, ...]
    ) -> Exchange[StreamAnswer]:
        md5, digest, is_contradicted = source.begin()

        def conclude(response: Response | OSError) -> StreamAnswer:
            try:
                with self._translated(request):
                    headers = _successful(response).headers
                    etag = etag_of(headers)
                    return StreamAnswer(etag, etag_is_md5(etag, headers))
            except ChecksumRefused:
                if is_contradicted:
                    return StreamAnswer("", etag_is_md5=False)
                raise

        credentials = self._credentials(request)
        return Exchange("STREAM", url, credentials, conclude, _with_md5(credentials, lines, md5), digest=digest)

    def first_part(self, key: str) -> Exchange[FirstPart]:  # noqa: D102
        request = Request("describe a part of", key)

        def conclude(response: Response | OSError) -> FirstPart:
            with self._translated(request):
                headers = _successful(response).headers
                parts = headers.get("x-amz-mp-parts-count")
                return FirstPart(info_of(headers).size, None if parts is None else int(parts))

        credentials, url = self._credentials(request), f"{self._url(key)}?partNumber=1"
        return Exchange("HEAD", url, credentials, conclude, credentials.lines, None, _ANY_SIZE)

    def head(self, key: str) -> Exchange[ObjectInfo]:  # noqa: D102
        request = Request("describe", key)

        def conclude(response: Response | OSError) -> ObjectInfo:
            with self._translated(request):
                return info_of(_successful(response).headers)

        credentials = self._credentials(request)
        return Exchange("HEAD", self._url(key), credentials, conclude, credentials.lines, None, _ANY_SIZE)

    def delete(self, key: str) -> Exchange[None]:  # noqa: D102
        request = Request("delete", key)

        def conclude(response: Response | OSError) -> None:
            with suppress(ObjectMissing), self._translated(request):
                require_no_error(*_successful(response))

        credentials = self._credentials(request)
        return Exchange("DELETE", self._url(key), credentials, conclude, credentials.lines)

    def write(  # noqa: D102
        self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = DigestUse.COMPUTED
    ) -> Exchange[str]:
        claimed = data if digest is DigestUse.CLAIMED else None
        sent = wrong_md5(md5) if digest is DigestUse.CONTRADICTED else md5
        request = Request("write", key, subject=Target.NEW_OBJECT, with_acl=options.acl is not None)
        credentials = self._credentials(request)
        lines = _with_md5(credentials, self._lines("write", key, options), sent)

        def conclude(response: Response | OSError) -> str:
            try:
                with self._translated(request):
                    headers = _successful(response).headers
                    if digest is DigestUse.CONTRADICTED:
                        return etag_of(headers)
                    return confirmed_etag(key, self._name, headers, md5, claimed)
            except (CorruptObject, ObjectRejected) as refused:
                if digest is DigestUse.CONTRADICTED and isinstance(refused, ChecksumRefused):
                    return ""
                if claimed is not None:  # which end was wrong?
                    require_claimed(key, self._name, claimed, md5)
                raise

        return Exchange("PUT", self._url(key), credentials, conclude, lines, data)

    def copy_from(  # noqa: D102
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
                f"cannot {verb} {key!r} at {self._name}: {error}",
                hint=tr("no request can be made for this object"),
            ) from None

    def _credentials(self, request: Request) -> Credentials:
        """What to sign the next request with; those that were not configured may be renewed any time."""
        if self._configured is not None:
            return self._configured
        found = self._found_credentials(request)
        return _credentials_of(found.access_key or "", found.secret_key or "", found.token)

    def _url(self, key: str) -> str:
        return self._route.url + quote(key, safe="/~")


def _configured(config: S3Config) -> Credentials | None:
    if config.access_key is None or config.secret_key is None:
        return None
    token = config.session_token.reveal() if config.session_token else None
    return _credentials_of(config.access_key, config.secret_key.reveal(), token)


def _credentials_of(access_key: str, secret_key: str, token: str | None) -> Credentials:
    lines = ["x-amz-content-sha256: UNSIGNED-PAYLOAD", *([f"x-amz-security-token: {token}"] if token else [])]
    return Credentials(access_key.encode(), secret_key.encode(), HeaderLines(line.encode() for line in lines))


def _with_md5(credentials: Credentials, lines: tuple[bytes, ...], md5: bytes | None) -> HeaderLines:
    checksum = () if md5 is None else (b"content-md5: " + base64.b64encode(md5),)
    return HeaderLines((*credentials.lines, *lines, *checksum))


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
