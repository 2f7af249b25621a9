"""How `doctor` asks: hardly patient, as it is to be done within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mastosync.errors import Interrupted, ObjectError, Throttled
from mastosync.language import tr
from mastosync.runtime.stop import StopSignal

P = ParamSpec("P")
T = TypeVar("T")

_SLOW_SECONDS = 3.0
_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 5.0  # whatever a store asks for


class Patience:
    """Makes a request, and makes it once more if what went wrong may pass by itself.

    A copy has far more patience; what fails twice in a row here is worth knowing before it. What
    took its time to fail, a time-out above all, is not repeated.
    """

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop

    def __call__(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises: what the request raises; Interrupted if asked to stop before or in between."""
        if self._stop.requested:
            raise stopped()
        begin = time.monotonic()
        try:
            return request(*args, **kwargs)
        except ObjectError as error:
            if not error.transient or time.monotonic() - begin > _SLOW_SECONDS:
                raise
            self._stop.sleep(_wait_after(error))
        return request(*args, **kwargs)


def stopped() -> Interrupted:
    """The end, if somebody asked for it."""
    return Interrupted(tr("stopped on request"), hint=tr("nothing is left to clean up: run the same command again"))


def _wait_after(error: ObjectError) -> float:
    asked = error.retry_after_seconds if isinstance(error, Throttled) else None
    return min(_WAIT_SECONDS if asked is None else asked, _LONGEST_WAIT_SECONDS)
