"""Ctrl-C and SIGTERM: once to stop in order, twice to stop at once. SIGHUP: to stop in order, however often it comes.

A terminal that closes sends SIGHUP, and its shell sends it again. If SIGHUP was ignored at the start, as `nohup` does,
it stays ignored.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING

from mastosync.errors import ExitCode, Interrupted
from mastosync.language import tr
from mastosync.runtime.stop import StopSignal

if TYPE_CHECKING:
    from mastosync.progress import ProgressListener

_log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TWICE = (signal.SIGINT, signal.SIGTERM)  # end at once, the second time
_NO_SIGNAL = b"\0"


@contextmanager
def handling_signals(stop: StopSignal, listener: ProgressListener, *, at_once: bool = False) -> Iterator[None]:
    """Turn signals into requests to stop, while the block runs.

    `at_once` is for work that is kept whole or not at all: the first signal ends it, wherever it
    is, by raising Interrupted; so is what is done within `stop.breaking_off()`.
    """
    stopping = tr("stopping: what is in flight is finished first; Ctrl-C once more ends at once")
    broken_off = Interrupted(tr("stopped on request, before it was complete"), hint=tr("run the same command again"))
    terminals = [each for each in (1, 2) if os.isatty(each)]
    hung_up = False  # and nobody has asked to stop otherwise

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal hung_up
        if number == signal.SIGHUP:
            _let_go(terminals)
        if stop.requested:
            if number in _TWICE and not hung_up:
                _end()
            hung_up = hung_up and number not in _TWICE
            return
        hung_up = number == signal.SIGHUP
        stop.request()
        if at_once or stop.at_once:
            raise broken_off

    def noticed(times: int) -> None:
        if times > 1:
            _end()
        if not (at_once or stop.at_once):
            with suppress(OSError):  # the terminal may be gone
                listener.message(stopping)

    with _noticing(noticed):
        heeded = [number for number in _SIGNALS if not _is_ignored(number)]
        before = {number: signal.signal(number, handle) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, where nothing else handles signals. Only in the main thread."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_ignored(number: signal.Signals) -> bool:
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def _let_go(terminals: list[int]) -> None:
    """Redirect a terminal that is gone to /dev/null: writing to it would fail."""
    if not terminals:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    while terminals:
        os.dup2(nowhere, terminals.pop())
    os.close(nowhere)


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
                _log.info("asked to stop by %s", signal.Signals(number[0]).name)
                times += number[0] in _TWICE
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
