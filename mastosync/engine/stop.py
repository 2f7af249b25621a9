"""The wish to stop: set by a signal, heeded by every wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mastosync.errors import Interrupted
from mastosync.language import tr


class StopSignal:
    """Set once, from any thread or a signal handler."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.at_once = False  # a signal handler may end what is going on wherever it is

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """For work that is kept whole or not at all, in the thread that gets signals.

        Raises: Interrupted if somebody asked to stop, or asks meanwhile.
        """
        self.at_once = True
        try:
            self.require_going_on()
            yield
        finally:
            self.at_once = False

    def request(self) -> None:
        """Ask everybody to stop after what they are doing."""
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self._event.is_set()

    def sleep(self, seconds: float) -> None:
        """Wait, unless asked to stop. Raises: Interrupted."""
        if seconds > 0 and self._event.wait(seconds):
            raise Interrupted(tr("stopped while waiting"))

    def require_going_on(self) -> None:
        """Raises: Interrupted if somebody asked to stop."""
        if self._event.is_set():
            raise Interrupted(tr("stopped on request"))


@contextmanager
def leaving(what_is_left: str) -> Iterator[None]:
    """For a whole piece of work. Whatever it is stopped at, Interrupted says only this: what has become of it."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(tr("stopped on request"), hint=what_is_left) from error
