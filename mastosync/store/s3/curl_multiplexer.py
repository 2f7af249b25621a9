"""Many requests under way in one thread, by libcurl's multi interface."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pycurl

from mastosync.errors import MastosyncError
from mastosync.store.base import CompletedRequest, ObjectStore
from mastosync.store.s3.curl_handle import Exchange, Handle
from mastosync.store.s3.curl_store import CurlStore

_AT_ONCE = 8  # requests that end together keep each other waiting: few enough to send what follows them soon
_PAUSED_WAIT_SECONDS = 0.01  # room may become free in another thread


class CurlMultiplexer:
    """See `Multiplexer`. Connections are shared by all requests of one multiplexer."""

    def __init__(self, requests_at_once: int) -> None:
        self._multi = pycurl.CurlMulti()
        # a store each way; no connection is given up for another one
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * requests_at_once + 2)
        self._sockets: dict[int, int] = {}  # of all connections, by local port: to see whether one has ended
        self._idle: dict[tuple[CurlStore, str], list[Handle]] = defaultdict(list)
        self._under_way: dict[pycurl.Curl, tuple[object, CurlStore, Handle, Exchange[object]]] = {}

    def takes(self, store: ObjectStore, operation: str, arguments: tuple[Any, ...]) -> bool:  # noqa: D102 - see Multiplexer
        return isinstance(store, CurlStore) and store.takes(operation, arguments)

    def begin(  # noqa: D102 - here and below as well
        self, tag: object, store: ObjectStore, operation: str, arguments: tuple[Any, ...], room: Callable[[int], bool]
    ) -> None:
        assert isinstance(store, CurlStore)  # noqa: S101 - it takes no others
        exchange = store.exchange(operation, arguments)
        idle = self._idle[store, exchange.method]
        handle = idle.pop() if idle else store.handle(exchange.method, self._sockets)
        handle.begin(exchange, room if exchange.method == "GET" else None)
        self._multi.add_handle(handle.curl)
        self._under_way[handle.curl] = (tag, store, handle, exchange)

    def finished(self, wait_seconds: float) -> list[CompletedRequest]:  # noqa: D102
        self._resume_paused()
        self._multi.perform()
        results = self._collected()
        if not results and self._under_way and wait_seconds > 0:
            paused = any(handle.paused for _, _, handle, _ in self._under_way.values())
            self._multi.select(min(wait_seconds, _PAUSED_WAIT_SECONDS) if paused else wait_seconds)
            self._multi.perform()
            results = self._collected()
        return results

    def close(self) -> None:  # noqa: D102
        for curl in self._under_way:
            self._multi.remove_handle(curl)
        idle = [handle for handles in self._idle.values() for handle in handles]
        for handle in [*idle, *(handle for _, _, handle, _ in self._under_way.values())]:
            handle.close()
        self._idle.clear()
        self._under_way.clear()
        self._multi.close()

    def _resume_paused(self) -> None:
        for _, _, handle, _ in list(self._under_way.values()):
            if handle.paused:
                handle.resume()

    def _collected(self) -> list[CompletedRequest]:
        results: list[CompletedRequest] = []
        left = 1
        while left and not results:
            left, well, badly = self._multi.info_read(_AT_ONCE)
            results += [self._concluded(curl, None) for curl in well]
            for curl, code, said in badly:
                if not self._is_sent_afresh(curl):
                    results.append(self._concluded(curl, pycurl.error(code, said)))
        return results

    def _is_sent_afresh(self, curl: pycurl.Curl) -> bool:
        """Send a request that was not sent, as its connection had ended, by a new one."""
        _, _, handle, _ = self._under_way[curl]
        if not handle.met_a_dead_connection:
            return False
        self._multi.remove_handle(curl)
        handle.begin_afresh()
        self._multi.add_handle(curl)
        return True

    def _concluded(self, curl: pycurl.Curl, failure: pycurl.error | None) -> CompletedRequest:
        tag, store, handle, exchange = self._under_way.pop(curl)
        port, socket = handle.connection
        self._sockets[port] = socket
        self._multi.remove_handle(curl)
        try:
            return CompletedRequest(tag, handle.concluded(exchange, failure), None)
        except MastosyncError as error:
            return CompletedRequest(tag, None, error)
        finally:
            self._idle[store, exchange.method].append(handle)
