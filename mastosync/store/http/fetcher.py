"""Fetches a file from the server that it came from, when the source has lost it; see docs/design/following.md.

The URL stands in a row and is not trusted, nor is what it leads to. Only http and https are spoken. `addresses` checks
each address in the very call that opens a socket to it, so a name gains nothing by changing its address. Redirects are
followed here, not by libcurl, and each is checked as the first URL was. Sizes are counted while bytes arrive, and
nothing is unpacked. Time-outs and redirects are those of Mastodon's own requests (app/lib/request.rb).
"""

from __future__ import annotations

import hashlib
import re
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile, gettempdir
from typing import IO, Protocol
from urllib.parse import quote, unquote, urljoin, urlsplit

import pycurl

from mastosync import __version__
from mastosync.errors import (
    Interrupted,
    MastosyncError,
    NetworkFailure,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectTooLarge,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.language import tr
from mastosync.store.errors import retry_after_seconds
from mastosync.store.http.addresses import Network, addresses_in, refusal
from mastosync.store.s3.route import public_route


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that was fetched, in memory or on the disk without a name. Whoever has it closes it."""

    file: IO[bytes]  # at its start
    size: int  # bytes
    md5: bytes  # 16 bytes
    head: bytes  # the first bytes, which tell what it is

    def close(self) -> None:
        """Let go of it."""
        self.file.close()


class OriginFetcher(Protocol):
    """Fetches files, one after the other, from servers that are not trusted. One for each thread."""

    def fetch(self, url: str, most_bytes: int) -> FetchedFile:
        """Fetch a file, with one attempt.

        Raises: ObjectMissing if its server does not give it; ObjectDenied if the URL must not be asked;
        ObjectTooLarge; Throttled, ServerFailure, NetworkFailure for what may pass; StoreUnusable if the disk here
        does not take it; Interrupted when asked to stop.
        """
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


CONNECT_SECONDS, SILENCE_SECONDS, WHOLE_SECONDS = 5, 10, 30
REDIRECTS_AT_MOST = 3

_USER_AGENT = f"mastosync/{__version__} (brings back media that a Mastodon server has lost)"
_ACCEPT = "Accept: image/*, video/*, audio/*"
_IN_MEMORY_BYTES = 1024 * 1024  # of a file; the rest of a larger one goes to the disk
_HEAD_BYTES = 16
_LONGEST_URL = 4096
_LONGEST_SHOWN = 200
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_USER = re.compile(r"//[^/]*@")
_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSED = -1  # in place of an amount of bytes: to go no further


class CurlOriginFetcher:
    """See `OriginFetcher` for what each method promises. It keeps the connection to the last server."""

    def __init__(
        self,
        *,
        allowed: Sequence[Network] = (),
        through_proxies: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """`allowed`: networks that may be connected to though they are refused.

        `through_proxies`: go by the proxies that the environment names. A proxy looks names up by itself: then
        only addresses that stand in URLs are checked. `stopped` is asked once a second at least while a file is
        fetched, and breaks that off.
        """
        self._allowed = tuple(allowed)
        self._through_proxies = through_proxies
        self._stopped = stopped
        self._curl = pycurl.Curl()

    def fetch(self, url: str, most_bytes: int) -> FetchedFile:  # noqa: D102 - see OriginFetcher, here and below
        deadline = time.monotonic() + WHOLE_SECONDS
        target = _plain(url)
        for _ in range(1 + REDIRECTS_AT_MOST):
            arriving = self._ask(target, most_bytes, deadline)
            location = arriving.location
            if location is None:
                return arriving.fetched()
            arriving.let_go()
            target = _plain(location, before=target)
        raise ObjectMissing(f"{shown(url)} leads on and on: more than {REDIRECTS_AT_MOST} redirects")

    def close(self) -> None:  # noqa: D102
        with suppress(pycurl.error):
            self._curl.close()

    def _ask(self, url: str, most_bytes: int, deadline: float) -> _Download:
        """One request. Raises: ObjectError unless there is a file, or it leads elsewhere."""
        arriving = _Download(url, most_bytes, self._allowed)
        try:
            self._prepare(url, arriving, deadline)
            self._curl.perform()
            arriving.status = int(self._curl.getinfo(pycurl.RESPONSE_CODE))
            if (refused := arriving.refusal()) is not None:
                raise refused
        except BaseException as error:
            arriving.let_go()
            if isinstance(error, pycurl.error):
                raise arriving.failure(error) from None
            raise
        finally:
            for each in arriving.sockets:
                each.close()
        return arriving

    def _prepare(self, url: str, arriving: _Download, deadline: float) -> None:
        curl, route = self._curl, public_route(url)
        proxy = route.proxy if self._through_proxies else ""
        if why := _refused_as_it_stands(url, self._allowed):
            raise ObjectDenied(f"{shown(url)} is not asked: it leads to {why}")
        for option, value in (
            (pycurl.URL, url),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PROXY, proxy),
            (pycurl.NOPROXY, "" if proxy else "*"),  # none of the environment's own accord
            (pycurl.CAINFO, route.ca_bundle),
            (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
            (pycurl.USERAGENT, _USER_AGENT),
            (pycurl.HTTPHEADER, [_ACCEPT]),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.CONNECTTIMEOUT, CONNECT_SECONDS),
            (pycurl.LOW_SPEED_LIMIT, 1),
            (pycurl.LOW_SPEED_TIME, SILENCE_SECONDS),
            (pycurl.TIMEOUT_MS, max(1, round((deadline - time.monotonic()) * 1000))),
            (pycurl.MAXFILESIZE_LARGE, arriving.most_bytes),
            (pycurl.NOSIGNAL, 1),
            (pycurl.NOPROGRESS, 0),
            (pycurl.XFERINFOFUNCTION, lambda *_: int(self._stopped())),
            (pycurl.HEADERFUNCTION, arriving.take_header),
            (pycurl.WRITEFUNCTION, arriving.take_in),
            (pycurl.OPENSOCKETFUNCTION, arriving.opened_anyway if proxy else arriving.opened),
        ):
            curl.setopt(option, value)


@dataclass(slots=True)
class _Download:
    """What comes of one request, as it comes."""

    url: str
    most_bytes: int
    allowed: tuple[Network, ...]
    status: int = 0
    size: int = 0
    head: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case; the last one of a name
    file: IO[bytes] = field(default_factory=lambda: SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115 - passed on
    not_connected_to: str | None = None  # an address, and what it is
    too_large: bool = False
    not_kept: OSError | None = None  # what the disk here said
    sockets: list[socket.socket] = field(default_factory=list)  # libcurl uses copies of these
    _md5: hashlib._Hash = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))

    def opened(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        """A socket for an address, just before it is connected to."""
        family, kind, protocol, (host, *_) = address
        if why := refusal(host, self.allowed):
            self.not_connected_to = f"{host}, {why}"
            return int(pycurl.SOCKET_BAD)
        return self._socket(family, kind, protocol)

    def opened_anyway(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket:
        """A socket for a proxy that the user named."""
        family, kind, protocol, _ = address
        return self._socket(family, kind, protocol)

    def _socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        self.sockets.append(socket.socket(family, kind, protocol))
        return self.sockets[-1]

    def take_header(self, line: bytes) -> None:
        """A line of the answer's head."""
        if line.startswith(b"HTTP/"):
            self.headers.clear()  # of a `100 Continue`, or of a proxy
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            self.headers[name.strip().lower()] = value.strip()

    def take_in(self, data: bytes) -> int | None:
        """Bytes of the body; None: taken."""
        self.size += len(data)
        if self.size > self.most_bytes:
            self.too_large = True
            return _REFUSED
        if len(self.head) < _HEAD_BYTES:
            self.head = (self.head + data)[:_HEAD_BYTES]
        self._md5.update(data)
        try:
            self.file.write(data)
        except OSError as error:
            self.not_kept = error
            return _REFUSED
        return None

    @property
    def location(self) -> str | None:
        """Where it leads on to, if it does."""
        location = self.headers.get("location") if self.status in _REDIRECTS else None
        return location.encode("latin-1").decode("utf-8", "replace") if location else None

    def refusal(self) -> ObjectError | None:
        """Why an answer that came whole is none; None: it is one."""
        said = f"the server of {shown(self.url)} answers {self.status}"
        if self.status in (429, 503):
            return Throttled(said, retry_after_seconds=retry_after_seconds(self.headers))
        if self.status >= 500:
            return ServerFailure(said)
        if self.location is not None:
            return None
        if self.status != 200:
            return ObjectMissing(said)
        if self.headers.get("content-encoding", "identity") != "identity":
            return ObjectMissing(f"the server of {shown(self.url)} sends the file compressed, which was not asked for")
        return None if self.size else ObjectMissing(f"the server of {shown(self.url)} gives an empty file")

    def failure(self, error: pycurl.error) -> MastosyncError:
        """What a request came to that libcurl, or we, broke off."""
        code, said = error.args[0], str(error.args[-1])
        if self.not_kept is not None:
            return self._unkept(self.not_kept)
        if self.too_large or code == pycurl.E_FILESIZE_EXCEEDED:
            return ObjectTooLarge(f"{shown(self.url)} has more than the {self.most_bytes:,} bytes that Mastodon takes")
        if self.not_connected_to is not None:
            return ObjectDenied(f"{shown(self.url)} is not asked: it leads to {self.not_connected_to}")
        if code == pycurl.E_ABORTED_BY_CALLBACK:
            return Interrupted(f"stopped while {shown(self.url)} was fetched")
        if code in (pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_URL_MALFORMAT):
            return ObjectDenied(f"{shown(self.url)} is not asked: {said}")
        return NetworkFailure(f"cannot fetch {shown(self.url)}: {said}")

    def fetched(self) -> FetchedFile:
        """The file. Raises: StoreUnusable if the disk here does not take all of it."""
        try:
            self.file.seek(0)
        except OSError as error:
            self.let_go()
            raise self._unkept(error) from error
        return FetchedFile(self.file, self.size, self._md5.digest(), self.head)

    def let_go(self) -> None:
        """Nobody wants the file."""
        with suppress(OSError):  # of a disk that is full
            self.file.close()

    def _unkept(self, error: OSError) -> StoreUnusable:
        return StoreUnusable(
            tr(
                "cannot store {url} temporarily in {folder}: {strerror}",
                url=shown(self.url),
                folder=gettempdir(),
                strerror=error.strerror,
            ),
            hint=tr("free some space there, or set TMPDIR to another folder"),
        )


def shown(url: str) -> str:
    """A URL for people: without a user's name and what follows a question mark, which may be somebody's key."""
    short = _USER.sub("//", url.partition("?")[0].partition("#")[0])
    return repr(short if len(short) <= _LONGEST_SHOWN else f"{short[:_LONGEST_SHOWN]}…")


def _plain(url: str, before: str = "") -> str:
    """A URL as it goes over the wire. `before`: the one that led here. Raises: ObjectDenied if it is none to ask."""
    try:
        url = urljoin(before, url.strip())
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        name = _plain_host(host) if host else host
    except ValueError as error:
        raise ObjectDenied(f"{shown(url)} is not asked: it is no URL") from error
    if parts.scheme not in ("http", "https"):
        raise ObjectDenied(f"{shown(url)} is not asked: only http and https are")
    if before.startswith("https:") and parts.scheme == "http":
        raise ObjectDenied(f"{shown(url)} is not asked: {shown(before)} leads there, out of https")
    if not name or parts.username is not None or len(url) > _LONGEST_URL:
        raise ObjectDenied(f"{shown(url)} is not asked: it has no host, a user's name in it, or no end")
    where = f"[{name}]" if ":" in name else name
    where += f":{port}" if port is not None else ""
    query = f"?{quote(parts.query, safe=_PATH_SAFE + '?')}" if parts.query else ""
    return f"{parts.scheme}://{where}{quote(parts.path or '/', safe=_PATH_SAFE)}{query}"


def _plain_host(host: str) -> str:
    """A host without what others would decode or map: `%31` and a full-width one are a 1. Raises: ValueError."""
    if ":" in host:
        return host
    name = unquote(host, errors="strict")
    name = name if name.isascii() else name.encode("idna").decode()
    if not _HOST.fullmatch(name):
        raise ValueError("no host is called like that")
    return name


def _refused_as_it_stands(url: str, allowed: Sequence[Network]) -> str | None:
    """What an address that stands in a URL leads to, if it must not be asked."""
    try:
        meant = addresses_in(urlsplit(url).hostname or "")
    except ValueError:
        return "no address at all"
    return next(filter(None, (refusal(str(address), allowed) for address in meant)), None)
