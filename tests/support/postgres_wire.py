"""What a client of PostgreSQL sends, seen on its way to the server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

from tests.support.waiting import PATIENCE_SECONDS


class Wire:
    """A TCP relay for one client, which keeps everything that the client sends."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.sent = bytearray()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE_SECONDS)
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.create_connection(self._upstream) as server:
            back = threading.Thread(target=self._relay, args=(server, client))
            back.start()
            self._relay(client, server, self.sent)
            back.join(PATIENCE_SECONDS)

    @staticmethod
    def _relay(source: socket.socket, target: socket.socket, copy: bytearray | None = None) -> None:
        while data := source.recv(65536):
            if copy is not None:
                copy += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def messages_in(sent: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The messages of PostgreSQL's protocol: type (of the first: none), and what zero bytes separate in it."""
    kind = ""
    while sent:
        length = int.from_bytes(sent[:4], "big")
        yield kind, sent[4:length].split(b"\0")
        kind, sent = chr(sent[length]) if len(sent) > length else "", sent[length + 1 :]
