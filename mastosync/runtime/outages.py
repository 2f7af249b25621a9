"""Failures of stores, not of objects: a store that is down is waited for; one that only fails ends the run.

`Downtime` knows whether one endpoint is down. If a request keeps failing without an answer, the cause may be its object
or the store. So the store is asked for an object that it does not have. If it does not answer that either, or only asks
to slow down, one thread repeats this question after growing waits, and nothing else is sent to the endpoint. When it
answers, all requests go on. An endpoint that has not answered once in this run is not waited for: its address may be
wrong.

A store that answers the question but fails at the work is not waited for. `FailureCounter` notices it by failures in a
row at one store, with no success between them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from mastosync.errors import NetworkFailure, ObjectError, ServerFailure, StoreUnusable, Throttled, passing
from mastosync.language import deferred, say, tr
from mastosync.manifest import Outage
from mastosync.model import End, EntryState, Kind, Outcome, Reason
from mastosync.runtime.limiter import EndpointLimiter, backoff_seconds
from mastosync.runtime.stop import StopSignal
from mastosync.units import clock, iso

_log = logging.getLogger(__name__)

NO_SUCH_KEY = "mastosync-probe/nothing"
"""What a store is asked for to find out whether it answers."""

FIRST_WAIT_SECONDS = 2.0  # until the question is repeated
LONGEST_WAIT_SECONDS = 120.0
IN_A_ROW = 64  # failures of one store
WRONG_PLACE_AFTER = 1_000  # missing objects, when the source has never given one
GONE_AFTER = 10  # missing objects, when it has given some of their kind in earlier runs

_FAILURES = frozenset({Reason.NETWORK, Reason.SERVER, Reason.THROTTLED})
_MISSING = frozenset({Reason.MISSING, Reason.OPTIONAL_MISSING})
_MESSAGES = {
    (End.SOURCE, False): deferred(
        "the source failed for {in_a_row} objects in a row, so the store itself has a problem: {detail}"
    ),
    (End.SOURCE, True): deferred(
        "the source refused {in_a_row} objects in a row, so its access key seems to lack the right to read: {detail}"
    ),
    (End.DESTINATION, False): deferred(
        "the destination failed for {in_a_row} objects in a row, so the store itself has a problem: {detail}"
    ),
    (End.DESTINATION, True): deferred(
        "the destination refused {in_a_row} objects in a row, so its access key seems to lack the right to write: "
        "{detail}"
    ),
}
_HINT = deferred("when the store works again, run `mastosync retry-failed`: it copies these objects and the rest")


class ProbedStore(Protocol):
    """What is asked whether its endpoint is down: a store, or what stands in its place."""

    @property
    def name(self) -> str:
        """For people."""

    def read(self, key: str, max_bytes: int, /) -> object:
        """Raises: NetworkFailure, ServerFailure or Throttled if it may be down; any other error is an answer."""


class Downtime:
    """Whether one endpoint is down. Shared by all requests to it."""

    def __init__(
        self,
        limiter: EndpointLimiter,
        stop: StopSignal,
        patience_seconds: float,
        probed: ProbedStore | None = None,
    ) -> None:
        """`probed`: what to ask instead of the store whose request has failed."""
        self._probed = probed
        self._limiter = limiter  # of the endpoint
        self._stop = stop
        self._patience_seconds = patience_seconds
        self._asking = threading.Lock()  # held by the one thread that asks
        self._given_up: StoreUnusable | None = None
        self.outage: Outage | None = None
        self.ended_outages = 0

    def wait_if_down(self, store: ProbedStore, failure: ObjectError, ended_outages: int) -> bool:
        """Wait until the endpoint answers, if it is down. Returns: whether it was.

        `failure`: of a request that was never answered; `ended_outages`: how many there were when it began.
        Raises: StoreUnusable when patience is over, and at once if the store says that it cannot be used; Interrupted.
        """
        if not self._patience_seconds or not self._limiter.has_answered:
            return False
        with self._asking:
            if self.ended_outages != ended_outages:
                return True
            if (known := self._given_up) is not None:  # a new error, as this one has its traceback
                raise passing(type(known)(known.message, hint=known.hint), may_pass=known.may_pass)
            self._stop.require_going_on()
            probed = self._probed or store
            if _probe(probed) is None:
                return False
            try:
                self._wait(probed, failure)
            except StoreUnusable as unusable:
                self._given_up = unusable
                raise
            finally:
                self.outage = None
                self._limiter.open()
            return True

    def _wait(self, store: ProbedStore, failure: ObjectError) -> None:
        """Ask until there is an answer. Raises: as `wait_if_down`."""
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
        asked, failures = _asked_seconds(failure), 1
        while (left := began + self._patience_seconds - time.monotonic()) > 0:
            self._stop.sleep(min(left, max(asked, wait_seconds(failures))))
            failures += 1
            answer = _probe(store)
            if answer is None:
                self.ended_outages += 1
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


class FailureCounter:
    """Counts the failures of each store separately. Thread-safe."""

    def __init__(
        self,
        *,
        any_success: bool = False,
        still_gives: Callable[[Kind | None], bool | None] = lambda _: None,
        hint: str = _HINT,
    ) -> None:
        """`any_success`: the source has given something in this run, or need not.

        `still_gives`: whether the source gives what it gave in earlier runs, of one kind or (None) of any; its None:
        that is too little to tell. It is called when the source has given nothing in this run: its access key may have
        changed, or its disk may not be mounted. `hint`: what to do when a store is well again.
        """
        self._any_success = any_success
        self._still_gives = still_gives
        self._hint = hint
        self._in_a_row: Counter[End] = Counter()
        self._missing = 0
        self._asked_of: set[Kind] = set()  # whether the source still gives any
        self._lock = threading.Lock()

    def note(self, outcome: Outcome) -> None:
        """Count what became of an entry.

        Raises: StoreUnusable when going on would only fail entry after entry.
        """
        if outcome.state is EntryState.DONE:
            self.answered(End.DESTINATION)
            if outcome.end is None:
                self._any_success = True
            if outcome.end is not End.DESTINATION:
                self.answered(End.SOURCE)
        elif outcome.reason in _MISSING and outcome.end is not End.DESTINATION:
            self.answered(End.SOURCE)
            self._note_missing(outcome)
        elif outcome.state is EntryState.FAILED and outcome.end and outcome.reason:
            self.failed(outcome.end, outcome.reason, outcome.detail or "")

    def answered(self, end: End) -> None:
        """Note that a store has given an object, or answered that it lacks it: it is not down."""
        with self._lock:
            self._in_a_row[end] = 0

    def failed(self, end: End, reason: Reason, detail: str) -> None:
        """Note that a store has failed at an object. `detail`: the store and its answer. Raises: StoreUnusable."""
        if not self._counts(end, reason):
            self.answered(end)
            return
        with self._lock:
            self._in_a_row[end] += 1
            in_a_row = self._in_a_row[end]
        if in_a_row >= IN_A_ROW:
            if reason is Reason.DENIED and end is End.SOURCE and self._gives():
                return
            said = say(_MESSAGES[end, reason is Reason.DENIED])
            unusable = StoreUnusable(said.format(in_a_row=in_a_row, detail=detail), hint=say(self._hint))
            raise passing(unusable, may_pass=reason in _FAILURES)

    def _counts(self, end: End, reason: Reason) -> bool:
        """Whether a failure may be the store's own.

        A source that gives some objects may refuse others, and may refuse missing objects to a key that may not list.
        At a destination no single keys are refused.
        """
        if reason is Reason.DENIED:
            return end is End.DESTINATION or not self._any_success
        return reason in _FAILURES

    def _gives(self) -> bool:
        """Whether the source has given anything, or still gives what it gave in earlier runs."""
        self._any_success = self._any_success or bool(self._still_gives(None))
        return self._any_success

    def _note_missing(self, outcome: Outcome) -> None:
        self._missing += outcome.reason is Reason.MISSING
        is_lost = outcome.reason is Reason.MISSING and self._missing >= GONE_AFTER and not self._any_success
        if is_lost and outcome.entry.kind not in self._asked_of:
            self._asked_of.add(outcome.entry.kind)
            self._require_that_it_still_gives(outcome)
        if not self._any_success and self._missing >= WRONG_PLACE_AFTER and not self._gives():
            raise StoreUnusable(
                tr(
                    "the source has none of the first {missing} objects, so it seems to be the wrong bucket or folder: "
                    "{detail}",
                    missing=self._missing,
                    detail=outcome.detail,
                ),
                hint=tr(
                    "check endpoint_url, bucket and key_prefix of the source, or its path. If one is wrong, correct it "
                    "and plan into a new manifest (`mastosync --manifest NEW plan`). If all are right, run `mastosync "
                    "retry-failed --reason missing` when the objects are there"
                ),
            )

    def _require_that_it_still_gives(self, outcome: Outcome) -> None:
        still_gives = self._still_gives(outcome.entry.kind)
        self._any_success = bool(still_gives)
        if still_gives is False:
            raise StoreUnusable(
                tr(
                    "the source has none of the first {missing} objects, and none of a few that it gave in earlier "
                    "runs: {detail}",
                    missing=self._missing,
                    detail=outcome.detail,
                ),
                hint=tr(
                    "check that its disk is mounted, and that nobody has emptied it. When the objects are there again, "
                    "run `mastosync retry-failed --reason missing --reason optional_missing`"
                ),
            )


def wait_seconds(failures: int) -> float:
    """How long to wait before another attempt at what cannot be reached. `failures`: in a row, at least 1."""
    return backoff_seconds(failures, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)


def _probe(store: ProbedStore) -> ObjectError | None:
    """Ask for an object that does not exist. Returns: the failure; None: there was an answer. Raises: StoreUnusable."""
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
