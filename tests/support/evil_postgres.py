"""A PostgreSQL that asks for the password in clear, and repeats it to everybody."""

from __future__ import annotations

import socketserver
import struct
import threading


class EvilPostgres:
    """Listens for as long as it is entered. `passwords`: what clients have told it."""

    def __init__(self) -> None:
        self.passwords: list[bytes] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="evil postgres")

    def __enter__(self) -> EvilPostgres:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, evil: EvilPostgres) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.evil = evil


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        while len(head := self.rfile.read(8)) == 8:
            length, code = struct.unpack("!II", head)
            self.rfile.read(length - 8)
            if code >> 16 == 3:  # a start-up of version 3; the rest asks for encryption, of TLS or GSSAPI
                break
            self.wfile.write(b"N")
        else:
            return
        self.wfile.write(b"R" + struct.pack("!II", 8, 3))
        kind, length = struct.unpack("!cI", self.rfile.read(5))
        assert kind == b"p"
        password = self.rfile.read(length - 4).rstrip(b"\0")
        self.server.evil.passwords.append(password)
        fields = b"SFATAL\0C28P01\0Mno entry for %b: %b\0\0" % (password, password)
        self.wfile.write(b"E" + struct.pack("!I", len(fields) + 4) + fields)
