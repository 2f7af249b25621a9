"""libcurl's easy handles: everything they have to be told, and what their errors mean."""

from __future__ import annotations

import math
import select
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pycurl

from mastosync import __version__
from mastosync.errors import StoreUnusable

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

    from mastosync.config import S3Config
    from mastosync.store.s3.route import Route

_LONGEST_ERROR_PAGE = 256 * 1024  # bytes of an answer that are read whatever the caller wants
_USER_AGENT = f"mastosync/{__version__} libcurl/{pycurl.version_info()[1]}"
_BUFFER_BYTES = 512 * 1024
_GO_ON, _ABORT = int(pycurl.PREREQFUNC_OK), int(pycurl.PREREQFUNC_ABORT)
_BAD_CERTIFICATE = frozenset({pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE})
_TLS = frozenset(
    {pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CIPHER, pycurl.E_SSL_ENGINE_INITFAILED, pycurl.E_SSL_CERTPROBLEM}
)


class Answered(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # a part of it, if it is longer than what was asked for


class Handle:
    """One connection with its TLS session, kept from request to request. For one thread."""

    def __init__(self, route: Route, config: S3Config, method: str) -> None:
        """`method`: GET or PUT, what all its requests are. Raises: StoreUnusable if libcurl lacks something."""
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._sent: list[bool] = []
        self._method = method
        self._curl = pycurl.Curl()
        try:
            for option, value in self._options(route, config).items():
                self._curl.setopt(option, value)
        except pycurl.error as error:
            raise StoreUnusable(
                f"this libcurl cannot be used ({pycurl.version}): {error.args[-1]}",
                hint="install the `pycurl` of PyPI, which brings its own libcurl, instead of the system's",
            ) from error

    def _options(self, route: Route, config: S3Config) -> dict[int, object]:
        sent = self._sent  # the callbacks do not know the handle: a circle would keep it from its end

        def only_once(*_: object) -> int:
            # after a connection that ends without an answer, libcurl would send the request again
            if sent:
                return _ABORT
            sent.append(True)
            return _GO_ON

        return {
            **({pycurl.CUSTOMREQUEST: "PUT", pycurl.POSTFIELDS: b""} if self._method == "PUT" else {}),
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
            pycurl.SSLVERSION: pycurl.SSLVERSION_TLSv1_2,
            pycurl.CONNECTTIMEOUT_MS: math.ceil(config.connect_timeout_seconds * 1000),
            # no limit on the whole, but on silence: less than one byte a second
            pycurl.LOW_SPEED_LIMIT: 1,
            pycurl.LOW_SPEED_TIME: math.ceil(config.read_timeout_seconds),
            pycurl.NOSIGNAL: 1,
            pycurl.TCP_KEEPALIVE: 1,
            pycurl.MAXCONNECTS: 1,  # a new one takes the place of one that was dropped
            pycurl.BUFFERSIZE: _BUFFER_BYTES,
            pycurl.HEADERFUNCTION: self._head.append,
            pycurl.WRITEFUNCTION: self._body.append,
            pycurl.PREREQFUNCTION: only_once,
        }

    def get(self, url: str, credentials: ReadOnlyCredentials, max_bytes: int) -> Answered:
        """Fetch what is there. What is longer than `max_bytes` is not read to its end. Raises: OSError."""
        return self._request(url, {}, credentials, max_bytes)

    def put(self, url: str, credentials: ReadOnlyCredentials, headers: Mapping[str, str], body: bytes) -> Answered:
        """Send `body`. Raises: OSError."""
        # libcurl takes every body for a form, and announces it where it is long
        return self._request(url, {"content-type": None, "expect": None, **headers}, credentials, 0, body)

    def close(self) -> None:
        """End the connection. A handle that is at work ends with its thread."""
        with suppress(pycurl.error):
            self._curl.close()

    def _request(
        self,
        url: str,
        headers: Mapping[str, str | None],
        credentials: ReadOnlyCredentials,
        max_bytes: int,
        body: bytes | None = None,
    ) -> Answered:
        curl = self._curl
        try:
            curl.setopt(pycurl.URL, url)
            curl.setopt(pycurl.HTTPHEADER, _lines_of(headers, credentials.token))
            curl.setopt(pycurl.USERNAME, (credentials.access_key or "").encode())
            curl.setopt(pycurl.PASSWORD, (credentials.secret_key or "").encode())
            curl.setopt(pycurl.FRESH_CONNECT, not self._is_connected())
            curl.setopt(pycurl.MAXFILESIZE_LARGE, max(max_bytes, _LONGEST_ERROR_PAGE))
            if body is not None:
                curl.setopt(pycurl.POSTFIELDS, body)  # taken from where it lies
            self._perform()
            return Answered(int(curl.getinfo(pycurl.RESPONSE_CODE)), _headers_of(self._head), b"".join(self._body))
        except pycurl.error as error:
            raise _failure(error) from error
        finally:
            for memory in (self._head, self._body, self._sent):
                memory.clear()
            if body is not None:
                with suppress(pycurl.error):
                    curl.setopt(pycurl.POSTFIELDS, b"")  # lets go of what was sent

    def _is_connected(self) -> bool:
        """Whether the last connection still holds: libcurl looks for that once a second at most."""
        socket = self._curl.getinfo(pycurl.LASTSOCKET)
        if socket < 0:
            return False
        ready = select.poll()
        ready.register(socket, select.POLLIN)
        return not ready.poll(0)  # before there is a request, only an end can be read

    def _perform(self) -> None:
        try:
            self._curl.perform()
        except pycurl.error as error:
            if error.args[0] != pycurl.E_FILESIZE_EXCEEDED:
                raise


def _lines_of(headers: Mapping[str, str | None], token: str | None) -> list[bytes]:
    """As libcurl takes them. None: not sent, though libcurl has one of its own."""
    lines = ["x-amz-content-sha256: UNSIGNED-PAYLOAD"]
    if token:
        lines.append(f"x-amz-security-token: {token}")
    for name, value in headers.items():
        if value is None:
            lines.append(f"{name}:")
        else:
            lines.append(f"{name}: {value}" if value else f"{name};")
    return [line.encode() for line in lines]


def _headers_of(lines: list[bytes]) -> dict[str, str]:
    """The headers of the last answer: one of a proxy, or a `100 Continue`, may come before it."""
    headers: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            headers = {}
            continue
        spelled, colon, told = line.decode("latin-1").partition(":")
        if colon:
            name, value = spelled.strip().lower(), told.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _failure(error: pycurl.error) -> OSError:
    """What libcurl reports, as Python's own HTTP client would raise it."""
    code, said = error.args[0], str(error.args[-1])
    if code in _BAD_CERTIFICATE:
        return ssl.SSLCertVerificationError(said)
    if code in _TLS:
        return ssl.SSLError(said)
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return TimeoutError(f"timed out: {said}")
    if code == pycurl.E_ABORTED_BY_CALLBACK:
        return ConnectionError("the connection ended before there was an answer")
    return ConnectionError(said)
