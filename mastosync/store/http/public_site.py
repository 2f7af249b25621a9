"""Objects as everybody reads them: without credentials, through the host that Mastodon names in its pages."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from mastosync.errors import ServerFailure, StoreUnusable, without_frames
from mastosync.language import say, tr
from mastosync.store.errors import StoreAnswer, error_of, network_failure
from mastosync.store.probe import NOT_REFUSALS, AnonymousAnswer, PublicAnswer
from mastosync.store.s3.protocol import unquoted
from mastosync.store.s3.route import Route, leave_warning_to_us, own_bundle, public_route
from mastosync.store.s3.translation import TLS_HINT, scrubber_of

if TYPE_CHECKING:
    from mastosync.config import S3Config

_HEADERS = {"user-agent": "mastosync", "accept-encoding": "identity"}
_FRESH = {**_HEADERS, "x-media-fresh": "1"}  # the media host of `cutover --nginx` knows it
_PIECE_BYTES = 256 * 1024
_REDIRECTS = 3  # a CDN may send somebody on
_LISTING_BYTES = 4096  # enough to tell a listing
_LISTING_QUERIES = ("", "?list-type=2&max-keys=1", "?max-keys=1")


def anonymous_answer(status: int, headers: Mapping[str, str]) -> AnonymousAnswer:
    """`headers`: names in lower case."""
    size, etag = headers.get("content-length", ""), headers.get("etag", "")
    known = int(size) if size.isdecimal() and "content-encoding" not in headers else None
    if status == 204:  # which has no body, and so no header that tells its length
        known = 0
    return AnonymousAnswer(status, known, unquoted(etag.removeprefix("W/")), headers.get("content-type", ""))


def ask_anonymously(url: str, config: S3Config) -> AnonymousAnswer:
    """The answer to somebody without credentials for a URL that a store of this configuration names.

    Raises: ObjectError if there is no answer, or one that may pass; StoreUnusable.
    """
    with closing(HttpPublicSite(url, config, connections=1)) as site:
        return site.ask_anonymously(url)


class HttpPublicSite:
    """See `PublicSite` for what each method promises."""

    def __init__(self, url: str, config: S3Config, *, connections: int) -> None:
        """`url`: what keys follow. `config`: the bucket's. `connections`: threads that will ask at once.

        Raises: StoreUnusable if the certificates of the configuration cannot be read.
        """
        route = public_route(url)
        self.url = route.url
        options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=config.connect_timeout_seconds, read=config.read_timeout_seconds),
            "retries": urllib3.Retry(  # of redirects only
                total=_REDIRECTS, connect=0, read=0, status=0, other=0, respect_retry_after_header=False
            ),
            "ssl_context": _trust(route, config),
            "maxsize": connections,
        }
        self._scrubber = scrubber_of(config)
        self._pool = urllib3.ProxyManager(route.proxy, **options) if route.proxy else urllib3.PoolManager(**options)

    def read(self, key: str, *, fresh: bool = False) -> PublicAnswer:  # noqa: D102 - see PublicSite, here and below
        where = f"read, as anybody may, {key!r} at {self.url}"
        md5, size = hashlib.md5(usedforsecurity=False), 0
        with self._asked(self.url + quote(key, safe="/~"), where, _FRESH if fresh else _HEADERS) as answer:
            for piece in answer.stream(_PIECE_BYTES, decode_content=False):
                md5.update(piece)
                size += len(piece)
            found = anonymous_answer(answer.status, _lowered(answer.headers))
            return PublicAnswer(
                answer.status,
                size,
                md5.digest(),
                found.content_type,
                answer.headers.get("cache-control", ""),
                found.etag,
                is_elsewhere=answer.retries is not None and bool(answer.retries.history),
                is_encoded="content-encoding" in answer.headers,
                from_old=answer.headers.get("x-media-store") == "old",
            )

    def lists(self) -> bool:  # noqa: D102
        for query in _LISTING_QUERIES:
            with self._asked(self.url + query, f"list, as anybody may, {self.url}") as answer:
                if answer.status == 200 and b"<ListBucketResult" in answer.read(_LISTING_BYTES):
                    return True
        return False

    def ask_anonymously(self, url: str) -> AnonymousAnswer:
        """What an answer for this URL, instead of the site's own, says of itself. Raises: as `read`."""
        with self._asked(url, f"read, as anybody may, {url}") as answer:
            return anonymous_answer(answer.status, _lowered(answer.headers))

    def close(self) -> None:  # noqa: D102
        self._pool.clear()

    @contextmanager
    def _asked(self, url: str, where: str, headers: Mapping[str, str] = _HEADERS) -> Iterator[urllib3.BaseHTTPResponse]:
        """An answer whose body is still to be read, unless it is one that says nothing, or may pass."""
        try:
            answer = self._pool.request("GET", url, headers=headers, preload_content=False)
            try:
                if answer.status in NOT_REFUSALS or answer.status >= 500:
                    raise error_of(StoreAnswer(answer.status, "", "", _lowered(answer.headers)), where)
                yield answer
            finally:
                answer.close()
        except (HTTPError, OSError, ValueError) as error:  # ValueError: of an address
            said = self._scrubber(" ".join(str(error).split()))[:300]
            bared = without_frames(error, self._scrubber)
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise StoreUnusable(
                    f"cannot {where}: no secure connection can be made: {said}",
                    hint=say(TLS_HINT).format(url="public_url"),
                ) from bared
            if isinstance(error, ValueError):
                raise ServerFailure(
                    f"cannot {where}: there is no address that can be asked: {said}",
                    hint=tr("check `public_url`, and what the server there answers"),
                ) from bared
            raise network_failure(where, said) from bared


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _trust(route: Route, config: S3Config) -> ssl.SSLContext:
    """What certificates pass: the public ones, and the store's own, as the site may be either's."""
    context = ssl.create_default_context(cafile=route.ca_bundle or None)
    if (own := own_bundle(config)) is not None:
        context.load_verify_locations(own)
    if not config.verify_tls:
        leave_warning_to_us()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
