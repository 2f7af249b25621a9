"""Limits that all workers share. Two things: how fast an endpoint may be asked, and how many bytes may travel.

`EndpointLimiter` is for one endpoint. Nothing is limited until the endpoint throttles. Then all requests to it pause
for as long as it asked for. At the first sign, and while it takes nothing, they pause for a growing time of our own,
but no longer than the throttled request may wait. The rate follows what was seen: the larger the share of throttled
requests, the larger the cut (a half at most), but never below what the endpoint did take by the clock; each second of
work without throttles adds a tenth, and at twice the rate of the last cut the limit falls away. A ceiling, where one is
set, holds all the time, and the rate moves below it. An endpoint that is down is closed, and nothing is let through
until it is opened again: see `runtime.outages`.

So a store with a hard limit is found out within seconds, however many requests are under way, and one that throttles a
few requests by chance hardly slows the others down.

`Bandwidth` is a token bucket for all workers, whose rate the time of day may change. The bytes of an object (or of a
part) go as a whole: they may go as soon as what went before them is paid for, and the next ones wait until they are
paid for in turn. So the average is kept, whatever the sizes, and nothing needs to be cut into pieces.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mastosync.errors import ObjectError, Throttled
from mastosync.runtime.stop import StopSignal

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0  # of our own; a server may ask for more
_LONGEST_ASKED_SECONDS = 3600.0
_STREAK = 3  # throttles without a success between them: the endpoint is closed for the moment
_WINDOW_SECONDS = 1.0  # of work, pauses not counted
_LEAST_RATE = 1.0  # requests a second
_STRAY = 0.02  # a share of throttled requests that says nothing of the rate
_CUT = 2.5  # times the share of throttled requests
_LARGEST_CUT = 0.5  # a share that calls for it is not waited upon until the window is full
_INCREASE = 0.1  # of the rate after the last cut
_FREE_AGAIN = 2.0  # times the rate after the last cut: no limit any more
_CLOSED_SECONDS = 0.2  # after which to ask again whether it is open
_SAVED_SECONDS = 0.1  # of unused bandwidth that may be used later; the rest is lost
_LOOK_AGAIN_SECONDS = 1.0  # how long the timetable of the bandwidth is not looked at
_CATCH_UP_SECONDS = 0.05  # of unused slots that may be used later; the rest is lost


@dataclass(frozen=True, slots=True)
class LimiterState:
    """For people: what an endpoint lets through at the moment."""

    rate: float | None  # requests a second; None: not limited
    paused_seconds: float  # still to wait
    throttles: int  # answers that asked to slow down, so far


class EndpointLimiter:
    """Lets requests to one endpoint through, as fast as it has shown it will take them."""

    def __init__(self, stop: StopSignal, ceiling: float | None = None) -> None:
        """`ceiling` limits requests a second, whatever the endpoint would take."""
        self._stop = stop
        self._ceiling = ceiling
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # held by the thread that waits for the next slot
        self._rate: float | None = None
        self._settled = 0.0  # the rate after the last cut
        self._spacing = 1 / ceiling if ceiling else 0.0  # seconds from slot to slot; 0: not limited
        self._next_slot = self._window_start = time.monotonic()  # the window's start is moved on by every pause
        self._paused_until = 0.0
        self._pauses_in_a_row = 0  # without a success between them
        self._streak = 0  # throttles without a success between them
        self._throttles = 0
        self._window_requests = 0
        self._window_throttles = 0
        self._long_pause = False
        self._warned = False  # of throttles, in the window before
        self._taken = _Taken(self._window_start)
        self._closed = False
        self.has_answered = False  # with anything but a throttle

    def close(self) -> None:
        """Let nothing through until `open`."""
        self._closed = True

    def open(self) -> None:
        """Let requests through again, as fast as before. Calling it twice is no error."""
        self._closed = False

    def reserve(self) -> float:
        """Take a slot without waiting, or learn when to ask again.

        Returns: 0.0 when one request may, and should, go out now; else seconds, after which the
        caller asks again. Nothing is kept for it meanwhile: it may have to wait once more, because a
        pause has begun or somebody was faster. A slot that was taken cannot be given back, which
        matters little. From any thread.
        """
        if self._closed:
            return _CLOSED_SECONDS
        with self._lock:
            now = time.monotonic()
            if now < self._paused_until:
                return self._paused_until - now
            if now >= self._window_start + _WINDOW_SECONDS or (self._window_throttles and self._ends_early()):
                self._adapt(now)
            if self._spacing:
                if self._next_slot > now:
                    return self._next_slot - now
                self._next_slot = max(self._next_slot, now - _CATCH_UP_SECONDS) + self._spacing
            self._window_requests += 1
            return 0.0

    def wait(self, deadline: float = math.inf) -> bool:
        """Return when a request may go out, or at a deadline by time.monotonic(); whether it may.

        If a pause ends at the deadline, the request may go out then: else it would have waited in vain.
        Raises: Interrupted if asked to stop while waiting.
        """
        # one thread waits for the next slot, the others for their turn: none asks or wakes up in vain
        if not self._turn.locked() and not self.reserve():
            return True
        if not self._turn.acquire(timeout=_timeout(deadline)):
            return False
        try:
            while seconds := self.reserve():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._stop.sleep(min(seconds, left))
        finally:
            self._turn.release()
        return True

    def note(self, error: BaseException | None, deadline: float = math.inf) -> None:
        """Take note of how a request has ended; None: well. `deadline`: see `throttled`.

        A refusal that another attempt would meet again (404, 403, 400, 412) is an answer as good as any: the endpoint
        took the request. What broke on the way, or failed at the endpoint, says nothing of how fast it may be asked.
        """
        if isinstance(error, Throttled):
            self.throttled(error.retry_after_seconds, deadline)
        elif error is None or (isinstance(error, ObjectError) and not error.transient):
            self.has_answered = True
            self.succeeded()

    def throttled(self, retry_after_seconds: float | None, deadline: float = math.inf) -> None:
        """Take note of an answer that asks to slow down.

        All requests wait for as long as the server asked for. When it does not say how long, they wait a little at
        the first throttle and whenever all answers are throttles; occasional throttles only lower the rate. Answers
        to requests that were under way when a pause began do not begin another. `deadline`: until when, by
        time.monotonic(), the throttled request may wait.
        """
        now = time.monotonic()
        with self._lock:
            self._throttles += 1
            self._window_throttles += 1
            self._streak += 1
            end = max(now, self._paused_until)
            if retry_after_seconds is not None:  # the longest wait that was asked for
                asked = now + min(retry_after_seconds, _LONGEST_ASKED_SECONDS)
                end = max(end, min(asked, deadline))
            elif now >= self._paused_until and (
                (self._window_throttles == 1 and not self._warned) or self._streak >= _STREAK
            ):
                self._pauses_in_a_row += 1
                end = max(
                    now,
                    min(
                        now + backoff_seconds(self._pauses_in_a_row, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS),
                        deadline,
                    ),
                )
            pause = end - max(now, self._paused_until)
            self._window_start += pause
            self._long_pause = self._long_pause or pause >= _WINDOW_SECONDS
            self._paused_until = end

    def succeeded(self) -> None:
        """Take note of an answer that did not ask to slow down."""
        if self._streak and time.monotonic() >= self._paused_until:
            self._streak = self._pauses_in_a_row = 0

    def state(self) -> LimiterState:
        """What holds right now."""
        with self._lock:
            return LimiterState(self._rate, max(0.0, self._paused_until - time.monotonic()), self._throttles)

    def _ends_early(self) -> bool:
        """Whether the window need not be full: what is in it says enough, or a pause of its length has passed."""
        bad = self._window_throttles * _CUT >= self._window_requests * _LARGEST_CUT
        return self._long_pause or (bad and self._window_throttles >= _STREAK)

    def _adapt(self, now: float) -> None:
        """Draw the conclusion from the window that ends now."""
        sent = self._window_requests / max(now - self._window_start, 0.001)
        taken = self._taken.rate(now, self._window_requests - self._window_throttles)
        share = self._window_throttles / max(self._window_requests, 1)
        if share > _STRAY:
            base = sent if self._rate is None else min(sent, self._rate)
            # never below what it has taken
            self._rate = self._settled = max(_LEAST_RATE, taken, base * (1 - min(_LARGEST_CUT, _CUT * share)))
        elif self._rate is not None:
            self._rate += max(_LEAST_RATE, _INCREASE * self._settled)
            if self._rate > _FREE_AGAIN * self._settled:
                self._rate = None
        limits = [limit for limit in (self._rate, self._ceiling) if limit is not None]
        self._spacing = 1 / min(limits) if limits else 0.0
        self._long_pause = False
        self._warned = self._window_throttles > 0
        self._window_start, self._window_requests, self._window_throttles = now, 0, 0


def backoff_seconds(attempts: int, first: float, longest: float) -> float:
    """Seconds to wait after failures in a row (at least 1). They double each time, and half of them is random."""
    return min(longest, first * (1 << min(attempts - 1, 16))) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _timeout(deadline: float) -> float:
    """As a lock takes it."""
    return -1 if deadline == math.inf else min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)


@dataclass(slots=True)
class _Taken:
    """How many requests an endpoint takes, by the clock on the wall: pauses count."""

    since: float
    count: int = 0
    before: float = 0.0  # requests a second, in the stretch before this one

    def rate(self, now: float, more: int) -> float:
        """Requests a second with these, in this stretch or in the one before; a stretch has a second at least."""
        self.count += more
        here = self.count / max(now - self.since, 1.0)
        rate = max(here, self.before)
        if now >= self.since + 1.0:
            self.since, self.count, self.before = now, 0, here
        return rate


class Bandwidth:
    """Lets bytes go at the rate that holds at the moment."""

    def __init__(
        self,
        limit_at: Callable[[datetime], int | None],
        stop: StopSignal,
        local_time: Callable[[], datetime] = datetime.now,
    ) -> None:
        """`limit_at` tells bytes a second (None: any number) at a moment of local time."""
        self._limit_at = limit_at
        self._stop = stop
        self._local_time = local_time
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # held by the thread that waits for bytes to be paid for
        self._limit: int | None = None
        self._balance = 0.0  # bytes saved; below 0: still to pay for
        self._counted_at = self._look_at = time.monotonic()

    def reserve(self, size_bytes: int) -> float:
        """Take bytes without waiting, or learn when to ask again.

        Returns: 0.0 when they may go now; else seconds, at most one, after which the caller asks
        again. Nothing is kept for it meanwhile. From any thread.
        """
        with self._lock:
            self._count(time.monotonic())
            if self._limit is None:
                return 0.0
            if self._balance <= -1:
                return min(-self._balance / self._limit, _LOOK_AGAIN_SECONDS)
            self._balance -= size_bytes
            return 0.0

    def take(self, size_bytes: int) -> None:
        """Return when these bytes may go. Raises: Interrupted if asked to stop while waiting."""
        if not self._turn.locked() and not self.reserve(size_bytes):
            return
        with self._turn:  # one thread waits for the bucket, the others for their turn
            while seconds := self.reserve(size_bytes):
                self._stop.sleep(seconds)

    def _count(self, now: float) -> None:
        """Pay for the time since the last count, then see what holds from now on."""
        if self._limit is not None:
            paid = (now - self._counted_at) * self._limit
            self._balance = min(self._balance + paid, self._limit * _SAVED_SECONDS)
        self._counted_at = now
        if now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN_SECONDS
            self._limit = self._limit_at(self._local_time())
            if self._limit is None:
                self._balance = 0.0  # a debt ends with the limit
