"""libcurl's easy handles with all their options, what their errors mean, and a small request with its answer."""

from __future__ import annotations

import math
import re
import select
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import pycurl

from mastosync import __version__
from mastosync.errors import StoreUnusable
from mastosync.language import tr
from mastosync.store.s3.translation import NotConnected

if TYPE_CHECKING:
    from mastosync.config import S3Config
    from mastosync.store.s3.route import Route

T_co = TypeVar("T_co", covariant=True)


class Response(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # a part of it, if it is longer than what was asked for

    def __repr__(self) -> str:
        return f"Response({self.status}, ***)"  # somebody's file, or words of a store that repeats what it was sent


class HeaderLines(tuple[bytes, ...]):
    """Headers of a request; `repr` shows none, as one of them may be a session token."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Lines(***)"


class Credentials(NamedTuple):
    """What requests are signed with, as libcurl takes it."""

    access_key: bytes
    secret_key: bytes
    lines: HeaderLines  # headers of every request that is signed with them

    def __repr__(self) -> str:
        return "Credentials(***)"


class Exchange(NamedTuple, Generic[T_co]):
    """One request, and what becomes of its answer."""

    method: str  # GET, PUT, HEAD or DELETE
    url: str
    credentials: Credentials
    conclude: Callable[[Response | OSError], T_co]  # raises errors of the contract
    lines: HeaderLines  # all its headers
    body: bytes | None = None
    max_bytes: int = 0  # of the answer, unless it is an error: what is longer is not read to its end


T = TypeVar("T")

_LONGEST_ERROR_PAGE = 256 * 1024  # bytes of an answer that are read whatever the caller wants
_UNREAD = b"(a longer body)"  # in place of one of which nothing was read, as none at all would tell something else
_LENGTH = re.compile(rb"^content-length:\s*([0-9]{1,18})\s*$", re.IGNORECASE | re.MULTILINE)
_USER_AGENT = f"mastosync/{__version__} libcurl/{pycurl.version_info()[1]}"
_BUFFER_BYTES = 512 * 1024
_OF_METHOD: dict[str, dict[int, object]] = {
    "GET": {},
    "PUT": {pycurl.CUSTOMREQUEST: "PUT", pycurl.POSTFIELDS: b""},
    "HEAD": {pycurl.NOBODY: 1},
    "DELETE": {pycurl.CUSTOMREQUEST: "DELETE"},
}
_GO_ON, _ABORT = int(pycurl.PREREQFUNC_OK), int(pycurl.PREREQFUNC_ABORT)
_PAUSE = int(pycurl.WRITEFUNC_PAUSE)
_BAD_CERTIFICATE = frozenset({pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE})
_TLS = frozenset(
    {pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CIPHER, pycurl.E_SSL_ENGINE_INITFAILED, pycurl.E_SSL_CERTPROBLEM}
)


class Handle:
    """One request after the other, for one thread. Alone, it keeps its connection with the TLS session."""

    def __init__(self, route: Route, config: S3Config, method: str, sockets: Mapping[int, int] | None = None) -> None:
        """`method`: GET, PUT, HEAD or DELETE, what all its requests are.

        `sockets`: those of connections shared with other handles, by their local port.
        Raises: StoreUnusable if libcurl lacks something.
        """
        self.method = method
        self.curl = pycurl.Curl()
        self._credentials: Credentials | None = None  # these three are what libcurl was set to last
        self._lines = HeaderLines()
        self._max_bytes = -1
        self._received = _Received({} if sockets is None else sockets)
        try:
            for option, value in self._options(route, config).items():
                self.curl.setopt(option, value)
        except pycurl.error as error:
            raise StoreUnusable(
                tr("this libcurl cannot be used ({version}): {why}", version=pycurl.version, why=error.args[-1]),
                hint=tr("install the `pycurl` of PyPI, which brings its own libcurl, instead of the system's"),
            ) from error

    def _options(self, route: Route, config: S3Config) -> dict[int, object]:
        received = self._received  # the callbacks do not know the handle: a circle would keep it from its end
        return {
            **_OF_METHOD[self.method],
            pycurl.AWS_SIGV4: f"aws:amz:{route.region}:s3",
            pycurl.USERAGENT: _USER_AGENT,
            pycurl.ACCEPT_ENCODING: "identity",
            pycurl.HTTP_CONTENT_DECODING: 0,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.FOLLOWLOCATION: 0,
            # which proxy to take was decided as boto3 does it: libcurl is not to look itself
            pycurl.PROXY: route.proxy,
            pycurl.NOPROXY: "",
            pycurl.CAINFO: route.ca_bundle,
            pycurl.PROXY_CAINFO: route.ca_bundle,
            pycurl.SSL_VERIFYPEER: int(route.verified),
            pycurl.SSL_VERIFYHOST: 2 if route.verified else 0,
            pycurl.SSLVERSION: pycurl.SSLVERSION_TLSv1_2,
            pycurl.CONNECTTIMEOUT_MS: math.ceil(config.connect_timeout_seconds * 1000),
            # no limit on the whole, but on silence: less than one byte a second
            pycurl.LOW_SPEED_LIMIT: 1,
            pycurl.LOW_SPEED_TIME: math.ceil(config.read_timeout_seconds),
            pycurl.NOSIGNAL: 1,
            pycurl.TCP_KEEPALIVE: 1,
            pycurl.MAXCONNECTS: 1,  # a new one takes the place of one that was dropped
            pycurl.BUFFERSIZE: _BUFFER_BYTES,
            pycurl.HEADERFUNCTION: received.head.append,
            pycurl.WRITEFUNCTION: received.take_in,
            pycurl.PREREQFUNCTION: received.only_once,
        }

    def made(self, exchange: Exchange[T]) -> T:
        """Make a request and wait for what it gives. Raises: what `exchange` makes of failures."""
        try:
            self.begin(exchange)
            self.curl.setopt(pycurl.FRESH_CONNECT, not self._is_connected())
            self.curl.perform()
        except pycurl.error as error:
            return self.concluded(exchange, error)
        return self.concluded(exchange)

    def begin(self, exchange: Exchange[object], room: Callable[[int], bool] | None = None) -> None:
        """Prepare a request; whoever drives `curl` sends it. Raises: pycurl.error.

        `room` is asked before the first bytes of a body are taken in, with the size that was
        announced; if it says no, the request pauses until `resume`.
        """
        setopt = self.curl.setopt
        _, url, credentials, _, lines, body, max_bytes = exchange
        self._received.room = room
        setopt(pycurl.FRESH_CONNECT, 0)
        setopt(pycurl.URL, url)
        if lines != self._lines:
            setopt(pycurl.HTTPHEADER, lines)
            self._lines = lines
        if credentials != self._credentials:
            setopt(pycurl.USERNAME, credentials.access_key)
            setopt(pycurl.PASSWORD, credentials.secret_key)
            self._credentials = credentials
        if max_bytes != self._max_bytes:
            setopt(pycurl.MAXFILESIZE_LARGE, max(max_bytes, _LONGEST_ERROR_PAGE))
            self._max_bytes = max_bytes
        if body is not None:
            setopt(pycurl.POSTFIELDS, body)  # taken from where it lies

    @property
    def met_a_dead_connection(self) -> bool:
        """Whether nothing was sent, because the server had ended the connection."""
        return self._received.dead

    def begin_afresh(self) -> None:
        """Prepare the same request once more, for a connection of its own. Raises: pycurl.error."""
        self._received.sent = self._received.dead = False
        self.curl.setopt(pycurl.FRESH_CONNECT, 1)

    @property
    def connection(self) -> tuple[int, int]:
        """The local port and the socket of the request that has come to its end."""
        return int(self.curl.getinfo(pycurl.LOCAL_PORT)), int(self.curl.getinfo(pycurl.LASTSOCKET))

    @property
    def paused(self) -> bool:
        """Whether it waits for room."""
        return self._received.paused

    def resume(self) -> None:
        """Ask for room again, and go on if there is some."""
        self._received.paused = False
        self.curl.pause(pycurl.PAUSE_CONT)

    def concluded(self, exchange: Exchange[T], failure: pycurl.error | None = None) -> T:
        """What a request gave that has come to its end. Raises: what `exchange` makes of failures."""
        if failure is not None and failure.args[0] == pycurl.E_FILESIZE_EXCEEDED:
            failure = None  # what came until then was asked for
            self._received.note_unread()
        try:
            if failure is not None:
                return exchange.conclude(_failure(failure, sent=self._received.sent))
            status, received = int(self.curl.getinfo(pycurl.RESPONSE_CODE)), self._received
            return exchange.conclude(Response(status, _headers_of(received.head), received.body()))
        finally:
            self._received.clear()
            if exchange.body is not None:
                with suppress(pycurl.error):
                    self.curl.setopt(pycurl.POSTFIELDS, b"")  # lets go of what was sent

    def close(self) -> None:
        """End the connection. A handle that is at work ends with its thread."""
        with suppress(pycurl.error):
            self.curl.close()

    def _is_connected(self) -> bool:
        """Whether the last connection still holds: libcurl looks for that once a second at most."""
        socket = self.curl.getinfo(pycurl.LASTSOCKET)
        return socket >= 0 and not _has_ended(socket)


def _has_ended(socket: int) -> bool:
    """Whether the server has ended a connection that no request is using."""
    ready = select.poll()
    ready.register(socket, select.POLLIN)
    return bool(ready.poll(0))  # before there is a request, only an end can be read


class _Received:
    """What libcurl hands over while a request is under way."""

    __slots__ = ("_first", "_rest", "dead", "head", "paused", "room", "sent", "sockets")

    def __init__(self, sockets: Mapping[int, int]) -> None:
        self.sockets = sockets
        self.dead = False
        self.head: list[bytes] = []
        self._first = b""  # of the pieces of a body: most have no other
        self._rest: BytesIO | None = None  # all of them, once there are more
        self.sent = False
        self.paused = False
        self.room: Callable[[int], bool] | None = None

    def only_once(self, ip: str, local_ip: str, port: int, local_port: int) -> int:
        """Before a request goes out: after a connection that ends without an answer, libcurl would send it again."""
        if self.sent:
            return _ABORT
        socket = self.sockets.get(local_port, -1)
        if socket >= 0 and _has_ended(socket):
            self.dead = True
            return _ABORT
        self.sent = True
        return _GO_ON

    def take_in(self, data: bytes) -> int | None:
        """Bytes of a body; None: taken."""
        if self.room is not None:
            if not self.room(_announced(self.head)):
                self.paused = True
                return _PAUSE
            self.room = None
        if self._rest is not None:
            self._rest.write(data)
        elif self._first:
            self._rest = _room_for(_announced(self.head))
            self._rest.write(self._first)
            self._rest.write(data)
            self._first = b""
        else:
            self._first = data
        return None

    def note_unread(self) -> None:
        """There is a body that was not read to its end."""
        self._first = self._first or _UNREAD

    def body(self) -> bytes:
        """What came of a body. It is held once: pieces that are put together in the end would be there twice."""
        if self._rest is None:
            return self._first
        self._rest.truncate()  # where it was broken off
        return self._rest.getvalue()

    def clear(self) -> None:
        """Forget a request."""
        self.head.clear()
        self._first, self._rest = b"", None
        self.sent = self.paused = self.dead = False
        self.room = None


def _announced(lines: list[bytes]) -> int:
    """The length of a body, as its headers have it."""
    lengths = _LENGTH.findall(b"".join(lines))
    return int(lengths[-1]) if lengths else 0


def _room_for(size_bytes: int) -> BytesIO:
    """Memory for a body, all at once: what grows has to be moved, and is there twice meanwhile."""
    room = BytesIO()
    room.seek(max(size_bytes - 1, 0))
    room.write(b"\0")
    room.seek(0)
    return room


def _headers_of(lines: list[bytes]) -> dict[str, str]:
    """The headers of the last answer: one of a proxy, or a `100 Continue`, may come before it."""
    head = b"".join(lines)
    last = head[head.rfind(b"\nHTTP/") + 1 :].decode("latin-1").split("\r\n")
    fields = [line.split(":", 1) for line in last[1:] if ":" in line]
    headers = {name.lower(): value.strip() for name, value in fields}
    if len(headers) < len(fields):  # some come more than once, which is rare
        for repeated in headers:
            headers[repeated] = ", ".join(value.strip() for name, value in fields if name.lower() == repeated)
    return headers


def _failure(error: pycurl.error, *, sent: bool) -> OSError:
    """What libcurl reports, as Python's own HTTP client would raise it."""
    code, said = error.args[0], str(error.args[-1])
    if code in _BAD_CERTIFICATE:
        return ssl.SSLCertVerificationError(said)
    if code in _TLS:
        return ssl.SSLError(said)
    if not sent:
        return NotConnected(f"timed out: {said}" if code == pycurl.E_OPERATION_TIMEDOUT else said)
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return TimeoutError(f"timed out: {said}")
    if code == pycurl.E_ABORTED_BY_CALLBACK:
        return ConnectionError("the connection ended before there was an answer")
    return ConnectionError(said)
