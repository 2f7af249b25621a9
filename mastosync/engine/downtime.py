"""Waiting for an endpoint that is down, and telling that from objects that fail.

A request that keeps failing for want of an answer may do so for the sake of its object, or its store is down. So the
store is asked for something else, which it has not got. If it does not answer that either, or only asks to slow down,
nothing is sent to its endpoint but this question, again and again after growing waits, by one for all. When it answers
everybody goes on. If it answers, it may still fail at one kind of request: see `engine.breaker`. An endpoint that has
never answered in this run is not waited for: it may be a wrong one.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from enum import Enum, auto
from typing import Protocol

from mastosync.engine import breaker
from mastosync.engine.breaker import Breakers, Row, asked_seconds
from mastosync.engine.limiter import EndpointLimiter
from mastosync.engine.stop import StopSignal
from mastosync.errors import (
    MastosyncError,
    NetworkFailure,
    ObjectError,
    ServerFailure,
    StoreUnusable,
    Throttled,
    passing,
)
from mastosync.language import tr
from mastosync.manifest import Outage
from mastosync.units import clock, iso

_log = logging.getLogger(__name__)

NO_SUCH_KEY = "mastosync-probe/nothing"
"""What a store is asked for to find out whether it answers."""

AT_SOURCE = frozenset({"read", "read_range", "head"})  # what gives way to others in a copy
AT_DESTINATION = frozenset({"write", "start_multipart", "write_part", "complete_multipart"})
_IN_PLACE = frozenset({"read_range", "write_part", "complete_multipart"})  # that much has arrived is worth more


class GivesWay(MastosyncError):
    """A request has used up its attempts, and nobody knows yet whether its object is the reason: others will tell.

    Never leaves `engine.transfer`.
    """

    def __init__(self, failure: ObjectError, row: Row) -> None:
        super().__init__(failure.message, hint=failure.hint)
        self.row = row  # of failures, which it belongs to


class Cause(Enum):
    """Why a request has used up its attempts."""

    OBJECT = auto()  # others succeed, or it alone was tried
    UNKNOWN = auto()  # nothing of its kind has succeeded meanwhile: others will tell
    KIND = auto()  # everything of its kind fails, and waits for a success
    ENDPOINT = auto()  # it was down, and answers again


class Questioned(Protocol):
    """Who is asked whether its endpoint is down: a store, or what stands in its place."""

    @property
    def name(self) -> str:
        """For people."""

    def read(self, key: str, max_bytes: int, /) -> object:
        """Raises: NetworkFailure or ServerFailure if that may be; whatever else it does is an answer."""


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
        self._breakers = Breakers(patience_seconds)
        self._asking = threading.Lock()  # of whoever asks for all
        self._given_up: StoreUnusable | None = None
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._down: Outage | None = None
        self.outlasted = 0  # outages that are over

    @property
    def outage(self) -> Outage | None:
        """What is waited for right now."""
        return self._down or self._breakers.outage

    def row(self, store: Questioned, operation: str) -> Row | None:
        """The row of failures that one belongs to; None: nothing is waited for."""
        return self._breakers.row(store.name, operation) if self._is_patient else None

    def delay(self, store: Questioned, operation: str) -> float:
        """Seconds after which to ask again whether a request of this kind may go out; 0.0: now, and it must."""
        return 0.0 if self._breakers.are_closed else self._breakers.delay(store.name, operation)

    def note(self, store: Questioned, operation: str, error: BaseException | None, sent_at: float) -> None:
        """Take note of how a request has ended; None: well. `sent_at`: by time.monotonic()."""
        if not self._breakers.are_closed and self._breakers.note(store.name, operation, error, sent_at) is not None:
            self.outlasted += 1
            _log.warning("%s", tr("the {store} works again: going on", store=store.name))

    def is_over(
        self, store: Questioned, failure: ObjectError, outlasted: int, row: Row | None, about: tuple[str, str, bool]
    ) -> bool:
        """Whether a request that has used up its attempts has met an outage, and may be made anew.

        `failure`: of the last attempt. The first one failed when so many outages were `outlasted`; the one before the
        last belongs to `row` (None: others have succeeded where this one failed). `about`: its operation, its key, and
        whether it may give way. Raises: GivesWay; StoreUnusable when patience is over, and at once if the store says
        that it cannot be used; Interrupted.
        """
        operation, key, may_give_way = about
        cause = self._cause(store, failure, outlasted, row, key)
        alone = cause is Cause.UNKNOWN or (cause is Cause.KIND and operation not in _IN_PLACE)
        if row is not None and alone and may_give_way:
            raise GivesWay(failure, row) from failure
        return cause in (Cause.KIND, Cause.ENDPOINT)

    def _cause(self, store: Questioned, failure: ObjectError, outlasted: int, row: Row | None, key: str) -> Cause:
        """Why a request has failed. If its endpoint is down, this waits until it answers."""
        if not self._is_patient:
            return Cause.OBJECT
        if row is not None and row.is_down:
            return self._cause_in(store, failure, row, key)
        if isinstance(failure, Throttled) and (row is None or row.ended):
            return Cause.OBJECT
        with self._asking:
            if self.outlasted != outlasted:
                return Cause.ENDPOINT
            self._require_patience()
            self._stop.require_going_on()
            asked = self._instead or store
            if _answer(asked) is not None:
                self._outlast(asked, failure)
                return Cause.ENDPOINT
        return Cause.OBJECT if row is None else self._cause_in(store, failure, row, key)

    @property
    def _is_patient(self) -> bool:
        return self._patience_seconds > 0 and self._limiter.has_answered

    def _require_patience(self) -> None:
        """Raises: StoreUnusable if it is over. Raised twice, one error would tell two stories."""
        if (known := self._given_up) is not None:
            raise passing(type(known)(known.message, hint=known.hint), may_pass=known.may_pass)

    def _cause_in(self, store: Questioned, failure: ObjectError, row: Row, key: str) -> Cause:
        """As `_cause`, of a store that answers other requests."""
        self._require_patience()
        if row.ended:
            return Cause.OBJECT if row.outage is None else Cause.ENDPOINT
        if self._breakers.is_over_patience(row) and row.outage is not None:
            self._given_up = _useless(store.name, row.outage)
            raise self._given_up
        came_round = key in row.objects
        row.objects.add(key)
        if self._breakers.open_after(row, failure) and row.outage is not None:
            said = tr(
                "the {store} answers, but fails at every request of one kind; it is asked again until {until}: "
                "{answer}",
                **_named(row.outage),
            )
            _tell(row.outage, said)
        if row.is_down:
            return Cause.KIND
        return Cause.OBJECT if came_round else Cause.UNKNOWN

    def _outlast(self, asked: Questioned, failure: ObjectError) -> None:
        try:
            self._wait(asked, failure)
        except StoreUnusable as unusable:
            self._given_up = unusable
            raise
        finally:
            self._down = None
            self._limiter.open()

    def _wait(self, store: Questioned, failure: ObjectError) -> None:
        """Ask until there is an answer. Raises: as `is_over`."""
        began, since = time.monotonic(), time.time()
        self._limiter.close()
        self._down = down = Outage(store.name, since, since + self._patience_seconds, failure.message)
        _tell(down, tr("the {store} is down, and asked again until {until}: {answer}", **_named(down)))
        wait, asked = breaker.FIRST_WAIT_SECONDS, asked_seconds(failure)
        while (left := began + self._patience_seconds - time.monotonic()) > 0:
            self._stop.sleep(min(left, max(asked, wait * self._random.uniform(0.5, 1.0))))
            wait = min(2 * wait, breaker.LONGEST_WAIT_SECONDS)
            answer = _answer(store)
            if answer is None:
                self.outlasted += 1
                _log.warning("%s", tr("the {store} answers again: going on", store=store.name))
                return
            asked = asked_seconds(answer)
            self._down = down = down._replace(answer=answer.message)
        raise _unusable(store.name, down)


def _tell(outage: Outage, text: str) -> None:
    about = {"store": outage.store, "since": iso(outage.since), "until": iso(outage.until)}
    _log.warning("%s", text, extra={"about": about})


def _named(outage: Outage) -> dict[str, str]:
    """What texts for people name."""
    return {"store": outage.store, "until": clock(outage.until), "answer": outage.answer}


def _unusable(store: str, outage: Outage) -> StoreUnusable:
    """The end of patience with a store that does not answer."""
    unusable = StoreUnusable(
        tr(
            "the {store} has been down since {since}: {answer}",
            store=store,
            since=clock(outage.since),
            answer=outage.answer,
        ),
        hint=tr(
            "when it answers again, run the same command again: what had to wait is not failed, and goes on. "
            "`[copy] outage_patience` says how long a store is waited for"
        ),
    )
    return passing(unusable)


def _useless(store: str, outage: Outage) -> StoreUnusable:
    """The end of patience with a store that answers, and fails at one kind of request."""
    unusable = StoreUnusable(
        tr(
            "the {store} answers, but has failed at every request of one kind since {since}: {answer}",
            store=store,
            since=clock(outage.since),
            answer=outage.answer,
        ),
        hint=tr(
            "when it works again, run the same command again: what had to wait is not failed, and goes on. If it works "
            "and fails at these objects alone, set `[copy] outage_patience = off`: then they count as failed"
        ),
    )
    return passing(unusable)


def _answer(store: Questioned) -> ObjectError | None:
    """What becomes of a request that asks for nothing; None: it is answered. Raises: StoreUnusable."""
    try:
        store.read(NO_SUCH_KEY, 0)
    except (NetworkFailure, ServerFailure, Throttled) as failure:
        return failure
    except ObjectError:
        pass
    return None
