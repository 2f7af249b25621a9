"""Round after round of the same work, with a wait between them, until somebody asks to stop.

A round that fails because something cannot be reached is logged and tried again, soon at first and then with the next
one. Before any round has succeeded it is different: what was refused may never have worked, so it ends the run, as a
single command would. See docs/design/following.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from mastosync.errors import DatabaseError, ManifestInUse, MastosyncError, PrivacyLost, StoreUnusable
from mastosync.runtime.outages import wait_seconds
from mastosync.runtime.stop import StopSignal

_log = logging.getLogger(__name__)

W = TypeVar("W")

FAILURES_ENOUGH = 10  # rounds in a row, after which people have to look into it
_MAY_PASS = (DatabaseError, StoreUnusable, ManifestInUse)


@dataclass(frozen=True, slots=True)
class Round(Generic[W]):
    """One round."""

    number: int  # from 1
    result: W | None  # None: it failed
    error: MastosyncError | None
    failures: int  # in a row, with this one
    seconds: float
    wait_seconds: float | None  # until the next one; None: it was the last


@dataclass(frozen=True, slots=True)
class Rounds(Generic[W]):
    """Repeats `work`: a round begins `every_seconds` after the last one began, or when that ended if it took longer."""

    work: Callable[[], W]
    every_seconds: float
    once: bool
    stop: StopSignal
    patience_seconds: float = 0.0  # how long what cannot be reached is tried again before the next round

    def __iter__(self) -> Iterator[Round[W]]:
        """Each round as it has ended; then the wait.

        Raises: Interrupted when asked to stop; the last of too many failures in a row; and at once whatever does not
        pass by itself. Before anything has worked that is also what somebody has refused.
        """
        failures, worked, failing_since = 0, False, 0.0
        for number in count(1):
            self.stop.require_going_on()
            began = time.monotonic()
            result, error = None, None
            try:
                result, failures, worked = self.work(), 0, True
            except _MAY_PASS as failure:
                failures += 1
                failing_since = began if failures == 1 else failing_since
                lasting = self.once or self._is_lasting(failures, began - failing_since)
                lasting = lasting or isinstance(failure, PrivacyLost)
                if lasting or not (worked or failure.may_pass):
                    raise
                error = failure
                _log.warning("round %d failed: %s", number, failure.message)
            seconds = time.monotonic() - began
            # one wait, from now on: rounds that a sleeping machine missed are not made up for
            wait = None if self.once else max(0.0, self.every_seconds - seconds)
            if wait is not None and error is not None and began + seconds - failing_since < self.patience_seconds:
                wait = min(wait, wait_seconds(failures))
            yield Round(number, result, error, failures, seconds, wait)
            if wait is None:
                return
            self.stop.sleep(wait)

    def _is_lasting(self, failures: int, seconds: float) -> bool:
        """Whether failures have lasted so that people should look into them. `failures`: in a row."""
        span = max(self.patience_seconds, (FAILURES_ENOUGH - 1) * self.every_seconds) if self.patience_seconds else 0.0
        return failures >= FAILURES_ENOUGH and seconds >= span
