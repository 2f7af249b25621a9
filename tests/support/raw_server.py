"""A server that answers with whatever bytes a test wants: for what no S3 store would ever say."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class RawRequest:
    """A request as it came over the wire."""

    head: bytes  # request line and headers
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


Answers = Callable[[RawRequest], bytes]


def answer(status: int, body: bytes = b"", headers: str = "", content_type: str = "text/html") -> bytes:
    """A well-formed answer. `headers`: further lines, each with its line end."""
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


class RawServer:
    """Serves for as long as it is entered; `answers` may be replaced at any time.

    A connection is closed after each answer, unless `keep_alive`. With `hasty`, the first bytes of
    whatever kind are a request. `noise` is sent after each answer, past the encryption if there is any.
    """

    def __init__(
        self,
        answers: Answers,
        *,
        tls: ssl.SSLContext | None = None,
        keep_alive: bool = False,
        hasty: bool = False,
        noise: bytes = b"",
    ) -> None:
        self.answers = answers
        self.tls = tls
        self.keep_alive = keep_alive
        self.hasty = hasty
        self.noise = noise
        self.requests: list[RawRequest] = []
        self.connections = 0
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="raw server")

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.cut_connections()
        self._server.server_close()

    def forget(self) -> None:
        """Be as a new server: hang up on everybody, and know of no requests."""
        self.answers = lambda _: b""
        self.keep_alive = False
        self.requests.clear()

    def cut_connections(self) -> None:
        """End every connection, without a word."""
        self._server.cut_connections()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, raw: RawServer) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.raw = raw
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        if self.raw.tls is not None:
            # the handshake is left to the connection's own thread
            connection = self.raw.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.raw.connections += 1
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: object) -> None:
        self._open.discard(cast("socket.socket", request))
        super().shutdown_request(cast("socket.socket", request))

    def cut_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away, or dislike our certificate, are what the tests are about."""


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        raw = self.server.raw
        while head := self._head():
            length = CONTENT_LENGTH.search(b"\r\n" + head)
            request = RawRequest(head, self.rfile.read(int(length[1])) if length else b"")
            raw.requests.append(request)
            told, keep_alive = raw.answers(request), raw.keep_alive  # what is announced is done
            if not keep_alive:
                # else a client may use the connection again in the moment before it is closed
                told = told.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
            self.wfile.write(told)
            os.write(self.connection.fileno(), raw.noise)
            if not keep_alive:
                return

    def _head(self) -> bytes:
        if self.server.raw.hasty:
            return bytes(self.connection.recv(65_536))
        head = b""
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            head += line
        return head
