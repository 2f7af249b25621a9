"""Ctrl-C and SIGTERM: once to stop in order, twice to stop at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING

from mastosync.engine.stop import StopSignal
from mastosync.errors import ExitCode, Interrupted
from mastosync.language import tr

if TYPE_CHECKING:
    from mastosync.progress import ProgressListener

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NO_SIGNAL = b"\0"


@contextmanager
def heeding_signals(stop: StopSignal, listener: ProgressListener, *, at_once: bool = False) -> Iterator[None]:
    """Turn signals into a wish to stop, for as long as the block runs.

    `at_once` is for work that is kept whole or not at all: the first signal ends it, wherever it
    is, by raising Interrupted; so is what is done within `stop.breaking_off()`.
    """
    stopping = tr("stopping: what is in flight is finished first; Ctrl-C once more ends at once")
    broken_off = Interrupted(tr("stopped on request, before it was whole"), hint=tr("run the same command again"))

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            _end()
        stop.request()
        if at_once or stop.at_once:
            raise broken_off

    def noticed(times: int) -> None:
        if times > 1:
            _end()
        if not (at_once or stop.at_once):
            with suppress(OSError):  # nobody reads it any more
                listener.message(stopping)

    with _noticing(noticed):
        before = {number: signal.signal(number, handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _end() -> None:
    os._exit(ExitCode.INTERRUPTED)  # as kill -9 would: the manifest is safe against both


@contextmanager
def _noticing(noticed: Callable[[int], None]) -> Iterator[None]:
    """Tell of each signal at once, and how many there were so far, in another thread.

    The handler runs in the main thread, which may be within a library that waits for a store, or hold the lock of a
    stream or a bar in the midst of which it is called. So it says nothing, and does not have the last word.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def notice() -> None:
        times = 0
        while (number := os.read(reading, 1)) != _NO_SIGNAL:
            if number[0] in _SIGNALS:
                times += 1
                noticed(times)

    thread = Thread(target=notice, name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.set_blocking(writing, True)
        os.write(writing, _NO_SIGNAL)
        thread.join()
        os.close(reading)
        os.close(writing)
