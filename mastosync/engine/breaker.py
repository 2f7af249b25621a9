"""Telling a store that fails at one kind of request from objects that fail: a circuit breaker for each kind.

A store may answer most of what it is asked, and fail at every write, say. A kind of request that fails at enough
objects in a row, with no success between, is the store's own failure. From then on requests of this kind go out one
at a time, after growing waits, until one succeeds: each is a question whether the store works again.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

from mastosync.errors import ObjectError, Throttled
from mastosync.manifest import Outage

ENOUGH = 8  # objects in a row at which a kind of request fails
FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 120.0
_LOOK_SECONDS = 0.2  # after which to look again whether it is over
_UNDER_WAY_SECONDS = 600.0  # a question of which nobody has heard any more is asked again
_OF_NO_OBJECT = frozenset({"list_page", "check"})  # no object can be the reason
_KIND = {"read_range": "read", "digest": "read"}
_KIND |= dict.fromkeys(("start_multipart", "write_part", "complete_multipart"), "write")
_PROVES_NOTHING = frozenset({"start_multipart", "complete_multipart"})  # no bytes of objects are moved


@dataclass(slots=True, eq=False)
class Row:
    """Failures of one kind of request in a row."""

    store: str
    kind: str
    objects: set[str] = field(default_factory=set)  # whose attempts are used up
    first_at: float = field(default_factory=time.monotonic)  # as the other moments here
    outage: Outage | None = None  # since it has been the store's own
    ended: bool = False  # one has succeeded that was sent after the first of them
    began: float = 0.0  # the outage
    next_at: float = 0.0
    wait_seconds: float = field(default_factory=lambda: FIRST_WAIT_SECONDS)
    is_asked: bool = False  # a question is under way

    @property
    def is_down(self) -> bool:
        """Whether all wait for a success."""
        return self.outage is not None and not self.ended

    @property
    def clears_the_store(self) -> bool:
        """Whether others have succeeded soon: what failed meanwhile, and fails once more, fails on its own account."""
        return self.ended and self.outage is None

    @property
    def is_enough(self) -> bool:
        """Whether so many failures are the store's own."""
        return len(self.objects) >= (1 if self.kind in _OF_NO_OBJECT else ENOUGH)


def asked_seconds(error: ObjectError) -> float:
    """How long a store asks to be left alone; 0.0 if it does not say."""
    return (error.retry_after_seconds or 0.0) if isinstance(error, Throttled) else 0.0


class Breakers:
    """Those of one endpoint. Thread-safe."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._rows: dict[tuple[str, str], Row] = {}
        self._lock = threading.Lock()
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    @property
    def are_closed(self) -> bool:
        """Whether nothing has failed, as most of the time."""
        return not self._rows

    @property
    def outage(self) -> Outage | None:
        """That of a kind of request that waits, if there is one."""
        return next((row.outage for row in tuple(self._rows.values()) if row.outage is not None), None)

    def row(self, store: str, operation: str) -> Row:
        """The row that a failure belongs to."""
        with self._lock:
            kind = _KIND.get(operation, operation)
            return self._rows.setdefault((store, kind), Row(store, kind))

    def delay(self, store: str, operation: str) -> float:
        """Seconds after which to ask again whether a request may go out; 0.0: now. Then it has to be sent."""
        with self._lock:
            row, now = self._rows.get((store, _KIND.get(operation, operation))), time.monotonic()
            if row is None or row.outage is None:
                return 0.0
            if now < row.next_at:
                return min(row.next_at - now, _LOOK_SECONDS)
            row.is_asked, row.next_at = True, now + _UNDER_WAY_SECONDS
            return 0.0

    def note(self, store: str, operation: str, error: BaseException | None, sent_at: float) -> Row | None:
        """Take note of how a request has ended; None: well. Returns: the outage that is over by that, if one is."""
        place = store, _KIND.get(operation, operation)
        with self._lock:
            row = self._rows.get(place)
            if row is None:
                return None
            if error is None and operation not in _PROVES_NOTHING and sent_at >= row.first_at:
                del self._rows[place]
                row.ended = True
                return row if row.outage is not None else None
            if row.is_asked:
                self._ask_later(row, error)
            return None

    def _ask_later(self, row: Row, error: BaseException | None) -> None:
        """After a growing wait, but for one last time when patience is over; at once after what says nothing."""
        row.is_asked, row.next_at = False, time.monotonic()
        if row.outage is None or not isinstance(error, ObjectError) or not error.transient:
            return
        left = row.began + self._patience_seconds - row.next_at
        wait = min(row.wait_seconds * self._random.uniform(0.5, 1.0), max(left, 0.0))
        row.next_at += max(wait, min(asked_seconds(error), left))
        row.wait_seconds = min(2 * row.wait_seconds, LONGEST_WAIT_SECONDS)
        row.outage = row.outage._replace(answer=error.message)

    def open_after(self, row: Row, failure: ObjectError) -> bool:
        """Whether an outage begins with this failure. Raises: nothing."""
        with self._lock:
            if row.ended or row.outage is not None or not row.is_enough:
                return False
            since = time.time()
            row.began = row.next_at = time.monotonic()
            row.next_at += row.wait_seconds * self._random.uniform(0.5, 1.0)
            row.outage = Outage(row.store, since, since + self._patience_seconds, failure.message)
            return True

    def is_over_patience(self, row: Row) -> bool:
        """Whether it has been waited for long enough."""
        return row.is_down and time.monotonic() >= row.began + self._patience_seconds
