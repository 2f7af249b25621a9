"""How fast an endpoint may be asked: one limiter an endpoint, shared by every worker.

Nothing is limited until the endpoint throttles. Then everybody pauses for as long as it asked for
(or a growing time of our own), and goes on at half the rate that was too much. Each second without
a throttle adds a little (additive increase, multiplicative decrease), and the limit falls away
once the rate is well above the one that was too much.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from mastosync.engine.stop import StopSignal

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0  # of our own; a server may ask for more
_LONGEST_ASKED_SECONDS = 3600.0
_LEAST_RATE = 1.0  # requests a second
_INCREASE = 0.05  # of the rate that was too much, each second
_FREE_AGAIN = 1.5  # times the rate that was too much: no limit any more


@dataclass(frozen=True, slots=True)
class LimiterState:
    """For people: what an endpoint lets through at the moment."""

    rate: float | None  # requests a second; None: not limited
    paused_seconds: float  # still to wait
    throttles: int  # answers that asked to slow down, so far


class EndpointLimiter:
    """Lets requests to one endpoint through, as fast as it has shown it will take them."""

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._rate: float | None = None
        self._too_much = 0.0  # the rate at the last throttle
        self._next_slot = 0.0
        self._paused_until = 0.0
        self._pauses_in_a_row = 0
        self._throttles = 0
        self._window_start = time.monotonic()
        self._in_window = 0
        self._measured = 0.0

    def wait(self) -> None:
        """Return when a request may go out. Raises: Interrupted if asked to stop while waiting."""
        while True:
            with self._lock:
                now = time.monotonic()
                paused = now < self._paused_until
                begin = self._paused_until if paused else self._take_slot(now)
            if begin > now:
                self._stop.sleep(begin - now)
            if not paused and time.monotonic() >= self._paused_until:  # no pause has begun meanwhile
                return

    def _take_slot(self, now: float) -> float:
        self._measure(now)
        if self._rate is None:
            return now
        begin = max(now, self._next_slot)
        self._next_slot = begin + 1 / self._rate
        return begin

    def _measure(self, now: float) -> None:
        """Count requests, and once a second let the rate grow."""
        self._in_window += 1
        elapsed = now - self._window_start
        if elapsed < 1.0:
            return
        self._measured = self._in_window / elapsed
        self._window_start, self._in_window = now, 0
        if self._rate is not None:
            self._rate += max(_LEAST_RATE, _INCREASE * self._too_much)
            if self._rate > _FREE_AGAIN * self._too_much:
                self._rate = None

    def throttled(self, retry_after_seconds: float | None) -> None:
        """Take note of an answer that asks to slow down: everybody waits, then goes slower.

        Answers to requests that were under way when the pause began belong to the same throttle.
        """
        now = time.monotonic()
        with self._lock:
            self._throttles += 1
            if now >= self._paused_until:
                rate_now = self._rate or max(self._measured, self._in_window / max(now - self._window_start, 0.1))
                self._too_much = max(rate_now, 2 * _LEAST_RATE)
                self._rate = max(_LEAST_RATE, self._too_much / 2)
                self._pauses_in_a_row += 1
                self._next_slot = 0.0
                self._paused_until = now + (self._own_pause() if retry_after_seconds is None else 0.0)
            if retry_after_seconds is not None:  # the longest that anybody was asked to wait
                asked = min(retry_after_seconds, _LONGEST_ASKED_SECONDS)
                self._paused_until = max(self._paused_until, now + asked)

    def _own_pause(self) -> float:
        doublings = min(self._pauses_in_a_row - 1, 16)
        longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * (1 << doublings))
        return longest * self._random.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        """Take note of an answer that did not ask to slow down."""
        if self._pauses_in_a_row and time.monotonic() >= self._paused_until:
            self._pauses_in_a_row = 0

    def state(self) -> LimiterState:
        """What holds right now."""
        with self._lock:
            return LimiterState(self._rate, max(0.0, self._paused_until - time.monotonic()), self._throttles)
