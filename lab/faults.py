"""An HTTP proxy in front of an S3 store that lets things go wrong, and remembers everything.

Requests reach the store exactly as the client wrote them, `Host` included, so that signatures
stay valid. HTTP/1.1 with keep-alive on both sides; a request's body needs a Content-Length.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import select
import socket
import socketserver
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any, cast
from urllib.parse import urlsplit

from lab.fault_plan import Fault, FaultPlan, Kind, Request, answer, no_faults
from lab.ports import HOST
from lab.traffic import Exchange, Traffic, keys_named

CHUNK_BYTES = 65_536
UPSTREAM_IDLE_SECONDS = 10  # a store may close an idle connection: one that may be old is not used
UPSTREAM_TIMEOUT_SECONDS = 120

# of one connection only; Expect is answered by the proxy, and no client signs it
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"}

BODY_FAULTS = {
    Kind.RESET_IN_BODY,
    Kind.RESET_AFTER_BODY,
    Kind.TRUNCATED_BODY,
    Kind.STALL_IN_BODY,
    Kind.DRIP,
    Kind.DAMAGED_DOWNLOAD,
}
DRIPS = 10  # pieces of a body that trickles
LENGTH_REQUIRED = answer(411, "MissingContentLength")


class FaultProxy:
    """A proxy in threads of this process, for as long as it is entered.

    `plan` may be replaced at any time. It is asked once a request, from several threads.
    """

    def __init__(self, upstream_url: str, plan: FaultPlan = no_faults) -> None:
        """`upstream_url`: an S3 endpoint. Raises: ValueError unless it is plain http."""
        upstream = urlsplit(upstream_url)
        if upstream.scheme != "http" or upstream.hostname is None:
            raise ValueError(f"the proxy speaks plain http only, not {upstream_url}")
        self.plan = plan
        self.traffic = Traffic()
        self._server = _Server(self, (upstream.hostname, upstream.port or 80))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fault proxy")

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cut every connection, end every wait, and return when all threads have ended."""
        self._server.shutdown()
        self._thread.join()
        self._server.cut_connections()
        self._server.server_close()

    @property
    def endpoint_url(self) -> str:
        """What clients take for the store's endpoint."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    @property
    def is_idle(self) -> bool:
        """Whether no client is connected, and nothing that one had sent is still on its way."""
        return not self._server.has_clients()

    @property
    def requests(self) -> list[Exchange]:
        """Everything so far, in the order in which it was answered."""
        return self.traffic.exchanges()

    def count(self, operation: str, key: str | None = None) -> int:
        """How many requests of this operation there were (for this key)."""
        return self.traffic.count(operation, key)

    def successful_puts_by_key(self, bucket: str | None = None) -> Counter[str]:
        """How often each key was stored, whole, by a copy or in parts, as far as the store answered with 200."""
        return self.traffic.successful_puts_by_key(bucket)


class _Server(socketserver.ThreadingTCPServer):
    """A thread for every connection of a client; every open socket is known, so that it can be cut."""

    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = False  # server_close waits for them

    def __init__(self, proxy: FaultProxy, upstream: tuple[str, int]) -> None:
        super().__init__((HOST, 0), _Handler)
        self.proxy = proxy
        self.upstream = upstream
        self.cut = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._clients = 0
        self._lock = threading.Lock()

    def watch(self, connection: socket.socket) -> None:
        """Know a socket. Raises: OSError when the proxy is closing."""
        with self._lock:
            if self.cut.is_set():
                raise ConnectionAbortedError("the proxy is closing")
            self._sockets.add(connection)

    def forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(connection)

    def has_clients(self) -> bool:
        """Whether the handler of any client is still at work, or a client has connected and none has begun."""
        with self._lock:
            connecting = select.poll()
            connecting.register(self.socket, select.POLLIN)
            return bool(connecting.poll(0)) or self._clients > 0

    def cut_connections(self) -> None:
        """End whatever a handler waits for."""
        with self._lock:
            self.cut.set()
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, Any]:
        with self._lock:  # at no moment does anybody miss it
            request = super().get_request()
            self._clients += 1
        return request

    def process_request(self, request: object, client_address: object) -> None:
        self.watch(cast("socket.socket", request))
        super().process_request(cast("socket.socket", request), client_address)

    def shutdown_request(self, request: object) -> None:
        self.forget(cast("socket.socket", request))
        super().shutdown_request(cast("socket.socket", request))
        with self._lock:
            self._clients -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        # clients that go away are everyday business here; a plan that raises is not
        if not isinstance(sys.exception(), OSError):
            super().handle_error(cast("socket.socket", request), client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, with a connection to the store of its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream: http.client.HTTPConnection | None = None
        self._upstream_used = 0.0

    def finish(self) -> None:
        self._close_upstream()
        super().finish()

    def log_message(self, *_: object) -> None:
        """Print nothing: `requests` tells more."""

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def relay(self) -> None:
        """Let one request through, or not."""
        target = self.requestline.split()[1]  # self.path has lost repeated slashes at its start
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = self.server.proxy.traffic.number(self.command, target, headers)
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._answer(request, LENGTH_REQUIRED, time.monotonic())
            return
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length // 2)
        fault = self.server.proxy.plan(request)
        if fault is None or fault.kind is not Kind.RESET_IN_UPLOAD:
            body += self.rfile.read(length - length // 2)
            if len(body) < length:  # the client is gone: a store would wait for the rest
                self.close_connection = True
                return
        if "content-md5" in headers and len(body) == length:
            md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            request = replace(request, fits_md5=md5 == headers["content-md5"])
        if request.operation == "DeleteObjects" and len(body) == length:
            request = replace(request, named=keys_named(body))
        started = time.monotonic()
        if fault is not None and fault.kind is Kind.ANSWER:
            self._answer(request, fault, started)
        elif fault is not None and fault.kind in (Kind.RESET, Kind.RESET_IN_UPLOAD):
            self._record(request, fault, None, None, started)
            self._reset()
        else:
            self._forward(request, fault, body, target, started)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay

    def _forward(self, request: Request, fault: Fault | None, body: bytes, target: str, started: float) -> None:
        kind = fault.kind if fault is not None else None
        if fault is not None and kind is Kind.DELAY:
            self.server.cut.wait(fault.seconds)
        try:
            others = dict(fault.headers) if fault is not None and kind is Kind.OTHER_HEADERS else {}
            response = self._ask(target, _damaged(body) if kind is Kind.DAMAGED_UPLOAD else body, others)
            whole = kind in BODY_FAULTS or kind in (Kind.LOST_ANSWER, Kind.OTHER_ANSWER) or response.length is None
            data = response.read() if whole else None
        except (OSError, http.client.HTTPException):
            self._record(request, fault, None, None, started)  # the store is down
            self._reset()
            return
        if kind is Kind.LOST_ANSWER:
            self._record(request, fault, response.status, None, started)
            self._reset()
            return
        if fault is not None and kind is Kind.OTHER_ANSWER:
            self._answer(request, fault, started, response.status)
            return
        self._record(request, fault, response.status, response.status, started)
        self._send_head(response, data)
        if data is None:
            self._stream(response)
        else:
            self._send_body(data, fault)

    def _ask(self, target: str, body: bytes, others: Mapping[str, str]) -> http.client.HTTPResponse:
        """What the store answers. `others`: values of headers instead of the client's."""
        if self._upstream is not None and time.monotonic() - self._upstream_used > UPSTREAM_IDLE_SECONDS:
            self._close_upstream()
        if self._upstream is None:
            self._upstream = http.client.HTTPConnection(*self.server.upstream, timeout=UPSTREAM_TIMEOUT_SECONDS)
            self._upstream.connect()
            self.server.watch(self._upstream.sock)
        upstream = self._upstream
        upstream.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP:
                upstream.putheader(name, others.get(name.lower(), value))
        upstream.endheaders(body or None)
        response = upstream.getresponse()
        self._upstream_used = time.monotonic()
        return response

    def _close_upstream(self) -> None:
        if self._upstream is not None:
            if self._upstream.sock is not None:
                self.server.forget(self._upstream.sock)
            self._upstream.close()
            self._upstream = None

    def _send_head(self, response: http.client.HTTPResponse, data: bytes | None) -> None:
        """Send status and headers. `data` is the body, if it has been read: it may have come in chunks."""
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if data is not None and "Content-Length" not in response.headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()

    def _stream(self, response: http.client.HTTPResponse) -> None:
        while chunk := response.read(CHUNK_BYTES):
            self.wfile.write(chunk)

    def _send_body(self, data: bytes, fault: Fault | None) -> None:
        half = len(data) // 2
        match fault:
            case Fault(kind=Kind.DAMAGED_DOWNLOAD):
                self.wfile.write(_damaged(data))
            case Fault(kind=Kind.TRUNCATED_BODY) if data:
                self.wfile.write(data[:half])
                self.close_connection = True
            case Fault(kind=Kind.RESET_IN_BODY) if data:
                self.wfile.write(data[:half])
                self.wfile.flush()
                self._reset()
            case Fault(kind=Kind.STALL_IN_BODY) if data:
                self.wfile.write(data[:half])
                self.wfile.flush()
                self.server.cut.wait(fault.seconds)
                self.wfile.write(data[half:])
            case Fault(kind=Kind.DRIP):
                piece = len(data) // DRIPS + 1
                for start in range(0, len(data), piece):
                    self.wfile.flush()
                    self.server.cut.wait(fault.seconds / DRIPS)
                    self.wfile.write(data[start : start + piece])
            case Fault(kind=Kind.RESET_AFTER_BODY):
                self.wfile.write(data)
                self.wfile.flush()
                self._reset()
            case _:
                self.wfile.write(data)

    def _answer(self, request: Request, fault: Fault, started: float, store_status: int | None = None) -> None:
        self._record(request, fault, store_status, fault.status, started)
        content_type, body = fault.body(request.key)
        self.send_response_only(fault.status)
        for name, value in (*fault.headers, ("Content-Type", content_type), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _record(
        self, request: Request, fault: Fault | None, store_status: int | None, status: int | None, started: float
    ) -> None:
        # always before the client hears of it, so that a test that has its answer finds it recorded
        self.server.proxy.traffic.record(Exchange(request, fault, store_status, status, started, time.monotonic()))

    def _reset(self) -> None:
        """End the connection with RST: the client sees an error instead of an end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # closing it the usual way would be deferred, and preceded by an orderly FIN
        self.server.forget(self.connection)
        os.close(self.connection.detach())


def _damaged(data: bytes) -> bytes:
    """The same with one byte changed, if there is one."""
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 1]) + data[middle + 1 :]
