"""Many requests under way in one thread, by libcurl's multi interface."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import pycurl

from mastosync.errors import Interrupted, MastosyncError
from mastosync.language import tr
from mastosync.store.abilities import STREAMING, StreamedObject
from mastosync.store.base import CompletedRequest, ObjectStore
from mastosync.store.s3.curl_bodies import SharedByHandles
from mastosync.store.s3.curl_handle import Exchange, Handle
from mastosync.store.s3.curl_store import CurlStore
from mastosync.store.s3.curl_stream import Flow, Reading, ended_in

_AT_ONCE = 8  # requests that end together keep each other waiting: few enough to send what follows them soon
_ROUNDS_AT_ONCE = 16  # of flows that go on, before others have their turn
_PAUSED_WAIT_SECONDS = 0.01  # room may become free in another thread


class _Request(NamedTuple):
    """A request under way."""

    tag: object
    store: CurlStore
    handle: Handle
    exchange: Exchange[Any]


class _Transit(NamedTuple):
    """A flow under way."""

    tag: object
    store: CurlStore  # that is written to
    flow: Flow


class _OpenBody:
    """See `OpenBody`."""

    def __init__(self, multiplexer: CurlMultiplexer, reading: Reading) -> None:
        self.multiplexer = multiplexer
        self.reading: Reading | None = reading  # None: it was taken, or has ended

    def close(self) -> None:
        if self.reading is not None:
            self.multiplexer.drop(self)


class CurlMultiplexer:
    """See `Multiplexer`. Connections are shared by all requests of one multiplexer."""

    def __init__(self, requests_at_once: int) -> None:
        self._multi = pycurl.CurlMulti()
        # a store each way; no connection is given up for another one
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * requests_at_once + 2)
        self._shared = SharedByHandles()
        self._idle: dict[tuple[CurlStore, str], list[Handle]] = defaultdict(list)
        self._under_way: dict[pycurl.Curl, _Request] = {}
        self._transits: dict[pycurl.Curl, _Transit] = {}  # by either of their requests
        self._open: dict[pycurl.Curl, _OpenBody] = {}
        self._any_paused = False

    def takes(self, store: ObjectStore, operation: str, arguments: tuple[Any, ...]) -> bool:  # noqa: D102 - see Multiplexer
        return isinstance(store, CurlStore) and store.takes(operation, arguments)

    def begin(  # noqa: D102 - here and below as well
        self, tag: object, store: ObjectStore, operation: str, arguments: tuple[Any, ...], room: Callable[[int], bool]
    ) -> None:
        assert isinstance(store, CurlStore)  # noqa: S101 - it takes no others
        exchange = store.exchange(operation, arguments)
        handle = self._handle(store, exchange.method)
        if operation in STREAMING:
            self._begin_stream(_Request(tag, store, handle, exchange), arguments[1])
            return
        handle.begin(exchange, room if exchange.method == "GET" else None)
        self._multi.add_handle(handle.curl)
        self._under_way[handle.curl] = _Request(tag, store, handle, exchange)

    def finished(self, wait_seconds: float) -> list[CompletedRequest]:  # noqa: D102
        for _ in range(_ROUNDS_AT_ONCE):
            results, goes_on = self._go_on()
            if results or not goes_on:
                break
        if not results and not goes_on and (self._under_way or self._transits) and wait_seconds > 0:
            self._multi.select(min(wait_seconds, _PAUSED_WAIT_SECONDS) if self._any_paused else wait_seconds)
            results, _ = self._go_on()
        return results

    def broken_off(self) -> list[CompletedRequest]:  # noqa: D102
        return [self._ended(each, None, Interrupted(tr("stopped while waiting"))) for each in self._every_transit()]

    def drop(self, body: _OpenBody) -> None:
        """Break off a body that nobody takes."""
        reading, body.reading = body.reading, None
        assert reading is not None  # noqa: S101 - else it has ended
        del self._open[reading.handle.curl]
        self._multi.remove_handle(reading.handle.curl)
        self._put_back(reading.store, reading.handle)

    def close(self) -> None:  # noqa: D102
        self.broken_off()
        for body in list(self._open.values()):
            body.close()
        for curl in self._under_way:
            self._multi.remove_handle(curl)
        idle = [handle for handles in self._idle.values() for handle in handles]
        for handle in [*idle, *(request.handle for request in self._under_way.values())]:
            handle.close()
        self._idle.clear()
        self._under_way.clear()
        self._multi.close()

    def _begin_stream(self, request: _Request, source: StreamedObject) -> None:
        body, source.body = source.body, None
        if isinstance(body, _OpenBody) and body.multiplexer is self and body.reading is not None:
            reading, body.reading = body.reading, None
            del self._open[reading.handle.curl]
        else:
            assert isinstance(source.store, CurlStore)  # noqa: S101 - `streams` has said so
            reading = source.store.reading(source, self._handle(source.store, "GET"))
            reading.handle.begin(reading.exchange)
            self._multi.add_handle(reading.handle.curl)
        flow = Flow(self._multi, source, reading, request.handle, request.exchange)
        transit = _Transit(request.tag, request.store, flow)
        self._transits[reading.handle.curl] = self._transits[request.handle.curl] = transit

    def _handle(self, store: CurlStore, method: str) -> Handle:
        idle = self._idle[store, method]
        return idle.pop() if idle else store.handle(method, self._shared)

    def _put_back(self, store: CurlStore, handle: Handle) -> None:
        handle.forget()
        self._idle[store, handle.method].append(handle)

    def _go_on(self) -> tuple[list[CompletedRequest], bool]:
        """What has come to its end, and whether there is more to do at once."""
        if self._any_paused:
            self._resume_paused()
        self._multi.perform()
        results: list[CompletedRequest] = []
        left = 1
        while left and not results:
            left, ended = ended_in(self._multi, _AT_ONCE)
            for curl, failure in ended:
                self._take_end(curl, failure, results)
        if self._shared.events:
            self._shared.events.clear()
            self._take_events(results)
        return results, self._attend(results) if self._transits else False

    def _resume_paused(self) -> None:
        paused = [request.handle for request in self._under_way.values() if request.handle.paused]
        for handle in paused:
            handle.resume()
        self._any_paused = any(handle.paused for handle in paused)

    def _take_events(self, results: list[CompletedRequest]) -> None:
        """Bodies have paused, as there is no room for them, or are to be streamed."""
        for curl, (tag, store, handle, exchange) in list(self._under_way.items()):
            self._any_paused = self._any_paused or handle.paused
            if handle.stream is None:
                continue
            del self._under_way[curl]
            self._open[curl] = body = _OpenBody(self, Reading(store, handle, exchange))
            try:
                results.append(CompletedRequest(tag, exchange.conclude(handle.head())._replace(body=body), None))
            except MastosyncError as error:
                body.close()
                results.append(CompletedRequest(tag, None, error))

    def _attend(self, results: list[CompletedRequest]) -> bool:
        goes_on = False
        for transit in self._every_transit():
            try:
                goes_on = transit.flow.attend() or goes_on
            except MastosyncError as error:
                results.append(self._ended(transit, None, error))
        return goes_on

    def _every_transit(self) -> list[_Transit]:
        """Each once."""
        return [each for curl, each in self._transits.items() if curl is each.flow.writing.curl]

    def _take_end(self, curl: pycurl.Curl, failure: pycurl.error | None, results: list[CompletedRequest]) -> None:
        if curl in self._under_way:
            self._take_end_of_request(curl, failure, results)
        elif curl in self._transits:
            self._take_end_in_transit(self._transits[curl], curl, failure, results)
        elif curl in self._open:  # nobody has taken the body yet: whoever does asks for it again
            self._open[curl].close()
        # else its flow has ended with the other request, a moment before

    def _take_end_of_request(
        self, curl: pycurl.Curl, failure: pycurl.error | None, results: list[CompletedRequest]
    ) -> None:
        tag, store, handle, exchange = self._under_way[curl]
        if failure is not None and self._is_sent_afresh(handle):
            return
        del self._under_way[curl]
        self._note_connection(handle)
        self._multi.remove_handle(curl)
        try:
            results.append(CompletedRequest(tag, handle.concluded(exchange, failure), None))
        except MastosyncError as error:
            results.append(CompletedRequest(tag, None, error))
        finally:
            self._idle[store, exchange.method].append(handle)

    def _take_end_in_transit(
        self, transit: _Transit, curl: pycurl.Curl, failure: pycurl.error | None, results: list[CompletedRequest]
    ) -> None:
        flow = transit.flow
        handle = flow.writing if curl is flow.writing.curl else flow.reading.handle
        if failure is not None and self._is_sent_afresh(handle):
            return
        self._note_connection(handle)
        try:
            answer = flow.ended(curl, failure)
        except MastosyncError as error:
            results.append(self._ended(transit, None, error))
        else:
            if answer is not None:
                results.append(self._ended(transit, answer, None))

    def _ended(self, transit: _Transit, answer: object, error: MastosyncError | None) -> CompletedRequest:
        flow = transit.flow
        flow.break_off()
        for store, handle in ((flow.reading.store, flow.reading.handle), (transit.store, flow.writing)):
            self._transits.pop(handle.curl, None)
            self._put_back(store, handle)
        return CompletedRequest(transit.tag, answer, error)

    def _is_sent_afresh(self, handle: Handle) -> bool:
        """Send a request that was not sent, as its connection had ended, by a new one."""
        if not handle.met_a_dead_connection:
            return False
        self._multi.remove_handle(handle.curl)
        handle.begin_afresh()
        self._multi.add_handle(handle.curl)
        return True

    def _note_connection(self, handle: Handle) -> None:
        port, socket = handle.connection
        self._shared.sockets[port] = socket
