"""Ctrl-C and SIGTERM: once to stop in order, twice to stop at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING

from mastosync.engine.stop import StopSignal
from mastosync.errors import ExitCode, Interrupted
from mastosync.language import tr

if TYPE_CHECKING:
    from mastosync.progress import ProgressListener

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heeding_signals(stop: StopSignal, listener: ProgressListener, *, at_once: bool = False) -> Iterator[None]:
    """Turn signals into a wish to stop, for as long as the block runs.

    `at_once` is for work that is kept whole or not at all: the first signal ends it, wherever it
    is, by raising Interrupted; so is what is done within `stop.breaking_off()`.
    """
    stopping = tr("stopping in order; the same signal again stops at once")
    broken_off = Interrupted(tr("stopped on request, before it was whole"), hint=tr("run the same command again"))

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            os._exit(ExitCode.INTERRUPTED)  # as kill -9 would: the manifest is safe against both
        stop.request()
        if at_once or stop.at_once:
            raise broken_off
        tell(stopping)

    with _teller(listener) as tell:
        before = {number: signal.signal(number, handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _teller(listener: ProgressListener) -> Iterator[Callable[[str], None]]:
    """Tells people what a signal handler has to say, from another thread.

    Streams and bars have locks, which the main thread may hold when the handler runs in the midst of it.
    """
    messages: SimpleQueue[str | None] = SimpleQueue()  # may be put into at any moment

    def tell() -> None:
        while (text := messages.get()) is not None:
            with suppress(OSError):  # nobody reads it any more
                listener.message(text)

    thread = Thread(target=tell, name="signals", daemon=True)
    thread.start()
    try:
        yield messages.put
    finally:
        messages.put(None)
        thread.join()
