"""Telling a store that fails from objects that fail: by failures in a row at one store, with no answer in between."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from mastosync.errors import StoreUnusable, passing
from mastosync.language import deferred, say, tr
from mastosync.model import End, EntryState, Outcome, Reason

IN_A_ROW = 64  # failures of one store
WRONG_PLACE_AFTER = 1_000  # missing objects, when the source has never given one

_FAILURES = frozenset({Reason.NETWORK, Reason.SERVER, Reason.THROTTLED})
_MISSING = frozenset({Reason.MISSING, Reason.OPTIONAL_MISSING})
_SAID = {
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


class Outages:
    """Counts for each store by itself: what one of them answers says nothing of the other. Thread-safe."""

    def __init__(
        self, *, any_success: bool = False, still_gives: Callable[[], bool] = lambda: False, hint: str = _HINT
    ) -> None:
        """`any_success`: the source has given something in this run, or need not.

        `still_gives`: whether it gives what it gave in earlier runs, to be asked when it has given nothing in this one:
        its key may be another by now. `hint`: what to do when a store is well again.
        """
        self._any_success = any_success
        self._still_gives = still_gives
        self._hint = hint
        self._in_a_row: Counter[End] = Counter()
        self._missing = 0
        self._lock = threading.Lock()

    def note(self, outcome: Outcome) -> None:
        """Draw the conclusion from what became of an entry.

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
        """A store has given what it was asked for, or said that it has not got it: it is there."""
        with self._lock:
            self._in_a_row[end] = 0

    def failed(self, end: End, reason: Reason, detail: str) -> None:
        """A store has failed at an object. `detail` names the store, and what it answers. Raises: StoreUnusable."""
        if not self._counts(end, reason):
            self.answered(end)
            return
        with self._lock:
            self._in_a_row[end] += 1
            in_a_row = self._in_a_row[end]
        if in_a_row >= IN_A_ROW:
            if reason is Reason.DENIED and end is End.SOURCE and self._gives():
                return
            said = say(_SAID[end, reason is Reason.DENIED])
            unusable = StoreUnusable(said.format(in_a_row=in_a_row, detail=detail), hint=say(self._hint))
            raise passing(unusable, may_pass=reason in _FAILURES)

    def _counts(self, end: End, reason: Reason) -> bool:
        """Whether a failure may be the store's own.

        A source from which something comes may keep other objects closed, and a key that may not list it is refused
        what is missing. Nobody closes single keys of a destination.
        """
        if reason is Reason.DENIED:
            return end is End.DESTINATION or not self._any_success
        return reason in _FAILURES

    def _gives(self) -> bool:
        """Whether the source has given anything, or still gives what it gave in earlier runs."""
        self._any_success = self._any_success or self._still_gives()
        return self._any_success

    def _note_missing(self, outcome: Outcome) -> None:
        self._missing += outcome.reason is Reason.MISSING
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
