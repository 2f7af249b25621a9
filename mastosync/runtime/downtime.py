"""Waiting for an endpoint that is down, and telling that from objects that fail.

A request that keeps failing for want of an answer may do so for the sake of its object, or its store is down. So the
store is asked for something else, which it has not got. If it does not answer that either, or only asks to slow down,
nothing is sent to its endpoint but this question, again and again after growing waits, by one for all. When it answers
everybody goes on. An endpoint that has never answered in this run is not waited for: it may be a wrong one.

A store that answers the question, and fails at the work, is not waited for: `runtime.outage` ends such a run.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Protocol

from mastosync.errors import NetworkFailure, ObjectError, ServerFailure, StoreUnusable, Throttled, passing
from mastosync.language import tr
from mastosync.manifest import Outage
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.stop import StopSignal
from mastosync.units import clock, iso

_log = logging.getLogger(__name__)

NO_SUCH_KEY = "mastosync-probe/nothing"
"""What a store is asked for to find out whether it answers."""

FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 120.0


class Questioned(Protocol):
    """Who is asked whether its endpoint is down: a store, or what stands in its place."""

    @property
    def name(self) -> str:
        """For people."""

    def read(self, key: str, max_bytes: int, /) -> object:
        """Raises: NetworkFailure, ServerFailure or Throttled if that may be; whatever else it does is an answer."""


class Downtime:
    """What is known of one endpoint. Shared by all who ask it."""

    def __init__(
        self,
        limiter: EndpointLimiter,
        stop: StopSignal,
        patience_seconds: float,
        instead: Questioned | None = None,
    ) -> None:
        """`instead`: whom to ask in the place of the store whose request has failed."""
        self._instead = instead
        self._limiter = limiter  # of the endpoint
        self._stop = stop
        self._patience_seconds = patience_seconds
        self._asking = threading.Lock()  # of whoever asks for all
        self._given_up: StoreUnusable | None = None
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self.outage: Outage | None = None
        self.outlasted = 0  # outages that are over

    def outlast(self, store: Questioned, failure: ObjectError, outlasted: int) -> bool:
        """Wait until the endpoint answers, if it is down; whether it was.

        `failure`: of a request that was never answered, and had begun when so many outages were `outlasted`.
        Raises: StoreUnusable when patience is over, and at once if the store says that it cannot be used; Interrupted.
        """
        if not self._patience_seconds or not self._limiter.has_answered:
            return False
        with self._asking:
            if self.outlasted != outlasted:
                return True
            if (known := self._given_up) is not None:  # raised twice, it tells two stories
                raise passing(type(known)(known.message, hint=known.hint), may_pass=known.may_pass)
            self._stop.require_going_on()
            asked = self._instead or store
            if _answer(asked) is None:
                return False
            try:
                self._wait(asked, failure)
            except StoreUnusable as unusable:
                self._given_up = unusable
                raise
            finally:
                self.outage = None
                self._limiter.open()
            return True

    def _wait(self, store: Questioned, failure: ObjectError) -> None:
        """Ask until there is an answer. Raises: as `outlast`."""
        began, since = time.monotonic(), time.time()
        self._limiter.close()
        self.outage = down = Outage(store.name, since, since + self._patience_seconds, failure.message)
        _log.warning(
            "%s",
            tr(
                "the {store} is down, and asked again until {until}: {answer}",
                store=store.name,
                until=clock(down.until),
                answer=failure.message,
            ),
            extra={"about": {"store": store.name, "since": iso(since), "until": iso(down.until)}},
        )
        wait, asked = FIRST_WAIT_SECONDS, _asked_seconds(failure)
        while (left := began + self._patience_seconds - time.monotonic()) > 0:
            self._stop.sleep(min(left, max(asked, wait * self._random.uniform(0.5, 1.0))))
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            answer = _answer(store)
            if answer is None:
                self.outlasted += 1
                _log.warning("%s", tr("the {store} answers again: going on", store=store.name))
                return
            asked = _asked_seconds(answer)
            self.outage = down = down._replace(answer=answer.message)
        unusable = StoreUnusable(
            tr(
                "the {store} has been down since {since}: {answer}",
                store=store.name,
                since=clock(since),
                answer=down.answer,
            ),
            hint=tr(
                "when it answers again, run the same command again: what had to wait is not failed, and goes on. "
                "`[copy] outage_patience` says how long a store is waited for"
            ),
        )
        raise passing(unusable)


def _answer(store: Questioned) -> ObjectError | None:
    """What becomes of a request that asks for nothing; None: it is answered. Raises: StoreUnusable."""
    try:
        store.read(NO_SUCH_KEY, 0)
    except (NetworkFailure, ServerFailure, Throttled) as failure:
        return failure
    except ObjectError:
        pass
    return None


def _asked_seconds(error: ObjectError) -> float:
    """How long a store asks to be left alone; 0.0 if it does not say."""
    return (error.retry_after_seconds or 0.0) if isinstance(error, Throttled) else 0.0
