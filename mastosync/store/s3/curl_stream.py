"""An object that goes from the answer of one request into another request, without being held in memory.

A flow is a GET and a PUT. Neither waits in a thread: the one whose bytes have not come, or are not wanted yet, pauses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pycurl

from mastosync.errors import BodyInterrupted, Interrupted, ObjectError
from mastosync.language import tr
from mastosync.store.abilities import StreamAnswer, StreamedObject
from mastosync.store.errors import network_failure
from mastosync.store.s3.curl_bodies import BodyStream
from mastosync.store.s3.curl_handle import Exchange, Handle

if TYPE_CHECKING:
    from mastosync.store.s3.curl_store import CurlStore

_LOOK_SECONDS = 0.1  # how long a wish to stop may wait


class Reading(NamedTuple):
    """A GET that gives the bytes of a flow."""

    store: CurlStore
    handle: Handle
    exchange: Exchange[Any]


class Flow:
    """One object on its way. Whoever drives `multi` tells which of its requests have ended."""

    def __init__(
        self,
        multi: pycurl.CurlMulti,
        source: StreamedObject,
        reading: Reading,
        writing: Handle,
        exchange: Exchange[StreamAnswer],
    ) -> None:
        """`reading` was given to `multi`, and its body may have begun. `exchange`: of the other request."""
        self.reading, self.writing = reading, writing
        self._multi = multi
        self._source = source
        self._exchange = exchange
        self._under_way = {reading.handle.curl}  # of the two

    def attend(self) -> bool:
        """Go on with what has paused. Returns: whether there was something to do. Raises: BodyInterrupted."""
        stream = self.reading.handle.stream
        if stream is None:
            return False
        if self.writing.curl not in self._under_way and not stream.taken:
            self._begin_to_write(stream)
            return True
        takes, gives = stream.may_take, stream.may_give
        if takes:
            stream.writer_waits = False
            self.reading.handle.resume()
        if gives:
            stream.reader_waits = False
            self.writing.resume()
        return takes or gives

    def ended(self, curl: pycurl.Curl, failure: pycurl.error | None) -> StreamAnswer | None:
        """Take in that one of the two requests has ended. Returns: the answer, if it was the last one.

        Raises: BodyInterrupted; what the exchange makes of failures.
        """
        self._under_way.discard(curl)
        self._multi.remove_handle(curl)
        if curl is not self.reading.handle.curl:
            return self.writing.concluded(self._exchange, failure)
        stream = self.reading.handle.stream
        with self._interrupting():
            if failure is None and stream is not None and stream.came == stream.size:
                stream.end()
                return None
            self.reading.handle.concluded(self.reading.exchange, failure)
            came = stream.came if stream is not None else 0
            raise network_failure(
                f"read {self._source.key!r} at {self.reading.store.name}",
                f"{len(self._source)} bytes were announced, {came} came",
            )

    def break_off(self) -> None:
        """End both requests, unless they have ended; their connections go with them."""
        for curl in self._under_way:
            self._multi.remove_handle(curl)
        self._under_way.clear()
        for handle in (self.reading.handle, self.writing):
            handle.forget()

    def _begin_to_write(self, stream: BodyStream) -> None:
        with self._interrupting():  # it may be an error, or another object
            self.reading.exchange.conclude(self.reading.handle.head())
            stream.begin(self._exchange.digest)
        self.writing.begin(self._exchange)
        self.writing.send_from(stream)
        self._multi.add_handle(self.writing.curl)
        self._under_way.add(self.writing.curl)

    @contextmanager
    def _interrupting(self) -> Iterator[None]:
        try:
            yield
        except ObjectError as error:
            error.store = self.reading.store.name
            raise BodyInterrupted(error) from error


def stream_alone(
    source: StreamedObject, reading: Reading, writing: Handle, exchange: Exchange[StreamAnswer]
) -> StreamAnswer:
    """Move one object in this thread. Raises: as `Flow`; Interrupted."""
    multi = pycurl.CurlMulti()
    reading.handle.begin(reading.exchange)
    multi.add_handle(reading.handle.curl)
    flow = Flow(multi, source, reading, writing, exchange)
    try:
        while True:
            if source.is_stopped():
                raise Interrupted(tr("stopped while waiting"))
            multi.perform()
            _, ended = ended_in(multi, 2)
            for curl, failure in ended:
                answer = flow.ended(curl, failure)
                if answer is not None:
                    return answer
            if not flow.attend():
                multi.select(_LOOK_SECONDS)
    finally:
        flow.break_off()
        multi.close()
        for handle in (reading.handle, writing):
            handle.close()


def ended_in(multi: pycurl.CurlMulti, at_once: int) -> tuple[int, list[tuple[pycurl.Curl, pycurl.error | None]]]:
    """Some requests that have ended, and how. Returns: also how many are left."""
    left, well, badly = multi.info_read(at_once)
    return left, [*((curl, None) for curl in well), *((curl, pycurl.error(code, said)) for curl, code, said in badly)]
