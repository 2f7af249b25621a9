"""libcurl's easy handles with all their options, what their errors mean, and a small request with its answer."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import pycurl

from mastosync import __version__
from mastosync.errors import StoreUnusable
from mastosync.language import tr
from mastosync.store.s3.curl_bodies import (
    LONGEST_ERROR_PAGE,
    BodyStream,
    Received,
    SentBody,
    SharedByHandles,
    has_ended,
)
from mastosync.store.s3.translation import NotConnected

if TYPE_CHECKING:
    from mastosync.config import S3Config
    from mastosync.store.abilities import Digesting
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

    method: str  # GET, PUT, HEAD, DELETE, or STREAM: a PUT of bytes that come from another request
    url: str
    credentials: Credentials
    conclude: Callable[[Response | OSError], T_co]  # raises errors of the contract
    lines: HeaderLines  # all its headers
    body: bytes | None = None
    max_bytes: int = 0  # of the answer, unless it is an error: what is longer is not read to its end
    digest: Digesting | None = None  # of a body that is streamed
    open_bytes: int = 0  # up to which a longer one is left open, to be streamed


T = TypeVar("T")

_USER_AGENT = f"mastosync/{__version__} libcurl/{pycurl.version_info()[1]}"
_BUFFER_BYTES = 512 * 1024
_OF_METHOD: dict[str, dict[int, object]] = {
    "GET": {},
    "PUT": {pycurl.CUSTOMREQUEST: "PUT", pycurl.POSTFIELDS: b""},
    "STREAM": {pycurl.UPLOAD: 1, pycurl.UPLOAD_BUFFERSIZE: _BUFFER_BYTES},
    "HEAD": {pycurl.NOBODY: 1},
    "DELETE": {pycurl.CUSTOMREQUEST: "DELETE"},
}
_BAD_CERTIFICATE = frozenset({pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE})
_TLS = frozenset(
    {pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CIPHER, pycurl.E_SSL_ENGINE_INITFAILED, pycurl.E_SSL_CERTPROBLEM}
)


class Handle:
    """One request after the other, for one thread. Alone, it keeps its connection with the TLS session."""

    def __init__(self, route: Route, config: S3Config, method: str, shared: SharedByHandles | None = None) -> None:
        """`method`: what all its requests are, as `Exchange` has it.

        `shared`: with the other handles of a multiplexer; None: it is used alone.
        Raises: StoreUnusable if libcurl lacks something.
        """
        self.method = method
        self.curl = pycurl.Curl()
        self._credentials: Credentials | None = None  # these three are what libcurl was set to last
        self._lines = HeaderLines()
        self._longest = -1
        self._received = Received(shared or SharedByHandles())
        self._sent = SentBody()
        try:
            for option, value in self._options(route, config).items():
                self.curl.setopt(option, value)
            if method == "STREAM":
                self.curl.setopt(pycurl.READFUNCTION, self._sent.give)
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
        _, url, credentials, _, lines, body, max_bytes, _, open_bytes = exchange
        self._received.room, self._received.limits = room, (max_bytes, open_bytes)
        setopt(pycurl.FRESH_CONNECT, 0)
        setopt(pycurl.URL, url)
        if lines != self._lines:
            setopt(pycurl.HTTPHEADER, lines)
            self._lines = lines
        if credentials != self._credentials:
            setopt(pycurl.USERNAME, credentials.access_key)
            setopt(pycurl.PASSWORD, credentials.secret_key)
            self._credentials = credentials
        longest = max(max_bytes, open_bytes, LONGEST_ERROR_PAGE)
        if longest != self._longest:
            setopt(pycurl.MAXFILESIZE_LARGE, longest)
            self._longest = longest
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

    @property
    def stream(self) -> BodyStream | None:
        """What comes of a body that is longer than what was asked for; None: it is not, or has not begun."""
        return self._received.stream

    def send_from(self, stream: BodyStream) -> None:
        """Let the request that was prepared send what comes by a stream."""
        self._sent.stream = stream
        self.curl.setopt(pycurl.INFILESIZE_LARGE, stream.size)

    def resume(self) -> None:
        """Ask for room again, or for bytes to send, and go on if there are some."""
        self._received.paused = False
        self.curl.pause(pycurl.PAUSE_CONT)

    def head(self) -> Response:
        """What has come of an answer whose body has begun, without the body."""
        return Response(int(self.curl.getinfo(pycurl.RESPONSE_CODE)), _headers_of(self._received.head), b"")

    def concluded(self, exchange: Exchange[T], failure: pycurl.error | None = None) -> T:
        """What a request gave that has come to its end. Raises: what `exchange` makes of failures."""
        if failure is not None and (failure.args[0] == pycurl.E_FILESIZE_EXCEEDED or self._received.too_long):
            failure = None  # what came until then was asked for
            self._received.note_unread()
        try:
            if failure is not None:
                return exchange.conclude(_failure(failure, sent=self._received.sent))
            status, received = int(self.curl.getinfo(pycurl.RESPONSE_CODE)), self._received
            return exchange.conclude(Response(status, _headers_of(received.head), received.body()))
        finally:
            self.forget()
            if exchange.body is not None:
                with suppress(pycurl.error):
                    self.curl.setopt(pycurl.POSTFIELDS, b"")  # lets go of what was sent

    def forget(self) -> None:
        """Let go of a request that has ended."""
        self._received.clear()
        self._sent.stream = None

    def close(self) -> None:
        """End the connection. A handle that is at work ends with its thread."""
        with suppress(pycurl.error):
            self.curl.close()

    def _is_connected(self) -> bool:
        """Whether the last connection still holds: libcurl looks for that once a second at most."""
        socket = self.curl.getinfo(pycurl.LASTSOCKET)
        return socket >= 0 and not has_ended(socket)


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
