"""Bodies of libcurl's requests: what comes in is held in memory, or streamed into another request."""

from __future__ import annotations

import re
import select
from collections import deque
from collections.abc import Callable
from io import BytesIO

import pycurl

from mastosync.store.abilities import STREAM_BYTES, Digesting

LONGEST_ERROR_PAGE = 256 * 1024
"""Bytes of an answer that are read whatever the caller wants."""

_UNREAD = b"(a longer body)"  # in place of one of which nothing was read, as none at all would tell something else
_LENGTH = re.compile(rb"^content-length:\s*([0-9]{1,18})\s*$", re.IGNORECASE | re.MULTILINE)
_GO_ON, _ABORT = int(pycurl.PREREQFUNC_OK), int(pycurl.PREREQFUNC_ABORT)
_PAUSE, _REFUSED = int(pycurl.WRITEFUNC_PAUSE), 0
_OK, _PARTIAL = 200, 206


class SharedByHandles:
    """What handles share that use the same connections."""

    __slots__ = ("events", "sockets")

    def __init__(self) -> None:
        self.sockets: dict[int, int] = {}  # of all connections, by local port: to see whether one has ended
        self.events: list[None] = []  # one for each body that has paused, or is to be streamed


class Received:
    """What libcurl hands over while a request is under way."""

    __slots__ = (
        "_first",
        "_is_looked_at",
        "_rest",
        "_shared",
        "_taken",
        "dead",
        "head",
        "limits",
        "paused",
        "room",
        "sent",
        "stream",
        "too_long",
    )

    def __init__(self, shared: SharedByHandles) -> None:
        self._shared = shared
        self._is_looked_at = False  # whether a body has begun
        self.dead = False
        self.head: list[bytes] = []
        self._first = b""  # of the pieces of a body: most have no other
        self._rest: BytesIO | None = None  # all of them, once there are more
        self.sent = False
        self.paused = False
        self.room: Callable[[int], bool] | None = None
        self.limits = (0, 0)  # bytes: of a body that is held in memory, and of one that is streamed
        self.stream: BodyStream | None = None
        self.too_long = False
        self._taken = 0  # bytes of a body that has no stream

    def only_once(self, ip: str, local_ip: str, port: int, local_port: int) -> int:
        """Before a request goes out: after a connection that ends without an answer, libcurl would send it again."""
        if self.sent:
            return _ABORT
        socket = self._shared.sockets.get(local_port, -1)
        if socket >= 0 and has_ended(socket):
            self.dead = True
            return _ABORT
        self.sent = True
        return _GO_ON

    def take_in(self, data: bytes) -> int | None:
        """Bytes of a body; None: taken."""
        if self.stream is not None:
            return self.stream.take_in(data)
        if not self._is_looked_at:
            size = _announced(self.head)
            is_streamed = self.limits[0] < size <= self.limits[1] and _status(self.head) in (_OK, _PARTIAL)
            if self.room is not None and not self.room(STREAM_BYTES if is_streamed else size):
                self.paused = True
                self._shared.events.append(None)
                return _PAUSE
            self._is_looked_at = True
            if is_streamed:
                self.stream = BodyStream(size)
                self._shared.events.append(None)
                return self.stream.take_in(data)
        self._taken += len(data)
        if self._taken > max(self.limits[0], LONGEST_ERROR_PAGE):  # of a length that was not announced
            self.too_long = True
            return _REFUSED
        if self._rest is not None:
            self._rest.write(data)
        elif self._first:
            self._rest = _room_for(_announced(self.head))
            self._rest.write(self._first)
            self._rest.write(data)
            self._first = b""
        else:
            self._first = data
        return None

    def note_unread(self) -> None:
        """There is a body that was not read to its end."""
        self._first = self._first or _UNREAD

    def body(self) -> bytes:
        """What came of a body. It is held once: pieces that are put together in the end would be there twice."""
        if self._rest is None:
            return self._first
        self._rest.truncate()  # where it was broken off
        return self._rest.getvalue()

    def clear(self) -> None:
        """Forget a request."""
        self.head.clear()
        self._first, self._rest = b"", None
        self.sent = self.paused = self.dead = self.too_long = False
        self.room = self.stream = None
        self._is_looked_at = False
        self._taken = 0


class SentBody:
    """Where the bytes of a request come from that streams them."""

    __slots__ = ("stream",)

    def __init__(self) -> None:
        self.stream: BodyStream | None = None

    def give(self, at_most: int) -> bytes | int:
        """The next bytes."""
        return pycurl.READFUNC_ABORT if self.stream is None else self.stream.give(at_most)


class BodyStream:
    """Bytes on their way from the answer of one request into another one, a bounded number of them at once."""

    __slots__ = ("_buffered", "_digest", "_pieces", "came", "ended", "reader_waits", "size", "taken", "writer_waits")

    def __init__(self, size: int) -> None:
        """`size`: bytes that were announced."""
        self.size = size
        self.came = 0  # bytes
        self.taken = False  # somebody sends them on
        self.ended = False  # no more will come
        self.writer_waits = False  # what brings bytes is paused, for room
        self.reader_waits = False  # what takes them is paused, for bytes
        self._digest: Digesting | None = None  # looks at all bytes in their order
        self._pieces: deque[bytes] = deque()
        self._buffered = 0

    def take_in(self, data: bytes) -> int | None:
        """Bytes that came; None: taken."""
        if self._buffered >= STREAM_BYTES:
            self.writer_waits = True
            return _PAUSE
        if self._digest is not None:
            self._digest.update(data)
        self._pieces.append(data)
        self._buffered += len(data)
        self.came += len(data)
        return None

    def give(self, at_most: int) -> bytes | int:
        """Bytes to send on; none if there will be no more."""
        at_most = min(at_most, self._sendable)
        if not at_most:
            self.reader_waits = not self.ended
            return pycurl.READFUNC_PAUSE if self.reader_waits else b""
        given, size = [], 0
        while self._pieces and size + len(self._pieces[0]) <= at_most:
            given.append(self._pieces.popleft())
            size += len(given[-1])
        if not given:
            given.append(self._pieces[0][:at_most])
            self._pieces[0] = self._pieces[0][at_most:]
            size = at_most
        self._buffered -= size
        return given[0] if len(given) == 1 else b"".join(given)

    def begin(self, digest: Digesting | None) -> None:
        """Somebody takes the bytes. `digest` looks at all of them, those included that have come.

        Raises: what `digest` makes of them.
        """
        self.taken, self._digest = True, digest
        if digest is not None:
            for piece in self._pieces:
                digest.update(piece)
            if self.ended:
                digest.require_plausible()

    def end(self) -> None:
        """All bytes have come. Raises: what `digest` makes of them."""
        if self._digest is not None:
            self._digest.require_plausible()
        self.ended = True

    @property
    def may_take(self) -> bool:
        """Whether what is paused may bring more: half of the room is free."""
        return self.writer_waits and self._buffered <= STREAM_BYTES // 2

    @property
    def may_give(self) -> bool:
        """Whether there is something for what waits for bytes."""
        return self.reader_waits and (self._sendable > 0 or self.ended)

    @property
    def _sendable(self) -> int:
        """Bytes that may be sent on. The last one waits for the digest: without it nothing is stored."""
        return self._buffered - (self.came == self.size and not self.ended)


def _status(lines: list[bytes]) -> int:
    """The status of the last answer."""
    return next((int(line.split()[1]) for line in reversed(lines) if line.startswith(b"HTTP/")), 0)


def _announced(lines: list[bytes]) -> int:
    """The length of a body, as its headers have it."""
    lengths = _LENGTH.findall(b"".join(lines))
    return int(lengths[-1]) if lengths else 0


def _room_for(size_bytes: int) -> BytesIO:
    """Memory for a body, all at once: what grows has to be moved, and is there twice meanwhile."""
    room = BytesIO()
    room.seek(max(size_bytes - 1, 0))
    room.write(b"\0")
    room.seek(0)
    return room


def has_ended(socket: int) -> bool:
    """Whether the server has ended a connection that no request is using."""
    ready = select.poll()
    ready.register(socket, select.POLLIN)
    return bool(ready.poll(0))  # before there is a request, only an end can be read
