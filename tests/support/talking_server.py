"""A server that a test talks through: what it sends and reads, byte by byte, is up to the test."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable
from typing import cast

_PIECE_BYTES = 64 * 1024
_AT_ONCE_NOTHING = struct.pack("ii", 1, 0)  # an end with a reset


class Talk:
    """One request, whose body has not been read, and what is answered to it."""

    def __init__(self, head: bytes, connection: socket.socket, reader: Callable[[int], bytes]) -> None:
        self.head = head
        self.connection = connection
        self._reader = reader
        self.method, path, _ = head.split(b"\r\n")[0].decode("latin-1").split(" ")
        self.key = path.rpartition("/")[2]
        lines = head.decode("latin-1").split("\r\n")[1:]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.length = int(self.headers.get("content-length", 0))
        self.received = 0
        self.is_over = False  # no other request is waited for

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self, status: int, body: bytes = b"", headers: str = "", length: int | None = None) -> None:
        announced = len(body) if length is None else length
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {announced}\r\n{headers}\r\n"
        self.send(head.encode("latin-1") + body)

    def receive(self, at_most: int | None = None) -> bytes:
        """What comes of the body; all of it, unless a number of bytes is given."""
        wanted = self.length - self.received if at_most is None else min(at_most, self.length - self.received)
        pieces: list[bytes] = []
        while wanted and (piece := self._reader(min(wanted, _PIECE_BYTES))):
            pieces.append(piece)
            wanted -= len(piece)
            self.received += len(piece)
        return b"".join(pieces)

    def reset(self) -> None:
        """End the connection without a word, and lose what is on its way."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE_NOTHING)
        self.hang_up()

    def hang_up(self) -> None:
        """Take no other request, and end the connection when this one has been talked through."""
        self.is_over = True


class TalkingServer:
    """Serves for as long as it is entered; `talk` may be replaced at any time. Connections stay open."""

    def __init__(self, talk: Callable[[Talk], object], tls: ssl.SSLContext | None = None) -> None:
        self.talk = talk
        self.tls = tls
        self.requests: list[str] = []  # method and key of each
        self.cut = 0  # uploads of which not everything came
        self.opened = 0  # connections
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="talking server")

    def __enter__(self) -> TalkingServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self.hang_up()
        self._server.server_close()

    def hang_up(self) -> None:
        """End all connections."""
        for connection in list(self._server.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, outer: TalkingServer) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.outer = outer
        self.open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        if self.outer.tls is not None:
            connection = self.outer.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.outer.opened += 1
        self.open.add(connection)
        return connection, address

    def shutdown_request(self, request: object) -> None:
        connection = cast("socket.socket", request)
        self.open.discard(connection)
        lingers = connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        if lingers == _AT_ONCE_NOTHING:
            connection.close()  # a shutdown would be polite
        else:
            super().shutdown_request(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that break off are what the tests are about."""


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        outer, reader = self.server.outer, self.request.makefile("rb")
        with reader:
            while True:
                head = b""
                while (line := reader.readline()) not in (b"", b"\r\n"):
                    head += line
                if not head:
                    return
                talk = Talk(head, self.request, reader.read1)
                outer.requests.append(f"{talk.method} {talk.key}")
                try:
                    outer.talk(talk)
                finally:
                    outer.cut += talk.received < talk.length
                if talk.is_over or talk.received < talk.length:
                    return
