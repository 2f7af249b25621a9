"""How threads wait. Two things: a signal to stop ends every wait, and threads that compute take turns.

`StopSignal` is set when somebody asks to stop, and ends every wait.

Python lets one thread run at a time. Threads that compute all at once keep taking that right from each other, which
costs more time than their work. So threads that compare listings take turns (`in_turns`): one works, and gives up its
turn while it waits for a store (`waiting`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from mastosync.errors import Interrupted
from mastosync.language import tr

R = TypeVar("R")

_turn = threading.Lock()  # one for the process, as Python has one


class _ThisThread(threading.local):
    has_turn = False


_this_thread = _ThisThread()


class StopSignal:
    """Set once, from any thread or a signal handler.

    A handler may interrupt the main thread inside this class. If both waited for one lock, it would never be released.
    So only `sleep` waits for the lock, and `request` releases it.
    """

    def __init__(self) -> None:
        self._requested = False
        self._closed = threading.Lock()  # held until somebody asks; `sleep` waits for it
        self._closed.acquire()
        self._parts: list[StopSignal] = []
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

    @contextmanager
    def part(self) -> Iterator[StopSignal]:
        """A signal for a part of the work: it stops with the whole, and may be stopped alone."""
        part = StopSignal()
        self._parts.append(part)
        if self._requested:  # before it could be reached
            part.request()
        try:
            yield part
        finally:
            self._parts.remove(part)

    @contextmanager
    def after_errors(self) -> Iterator[None]:
        """Ask everybody to stop if the block ends with an error: else a thread that waits keeps the process alive."""
        try:
            yield
        except BaseException:
            self.request()
            raise

    def request(self) -> None:
        """Ask everybody to stop after what they are doing."""
        self._requested = True
        self._open()
        for part in tuple(self._parts):
            part.request()

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self._requested

    def sleep(self, seconds: float) -> None:
        """Wait, unless asked to stop. Raises: Interrupted."""
        if seconds <= 0:
            return
        if self._closed.acquire(timeout=seconds):
            self._open()
        self.require_going_on()

    def _open(self) -> None:
        with suppress(RuntimeError):  # it is open already
            self._closed.release()

    def require_going_on(self) -> None:
        """Raises: Interrupted if somebody asked to stop."""
        if self._requested:
            raise Interrupted(tr("stopped on request"), hint=tr("run the same command again"))


@contextmanager
def leaving(what_is_left: str) -> Iterator[None]:
    """Wrap a piece of work: wherever it is stopped, the hint of Interrupted is `what_is_left`."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(tr("stopped on request"), hint=what_is_left) from error


class FirstAlone:
    """Lets one of many go first: the others wait until it has succeeded, or has ended and the next one goes first."""

    def __init__(self) -> None:
        self.is_over = False  # one has succeeded, as its caller says
        self._first: object | None = None
        self._lock = threading.Lock()

    def may_go(self, one: object) -> bool:
        """Whether nothing has to be waited for. It may have become the turn of this one."""
        with self._lock:
            if self.is_over:
                return True
            if self._first is None:
                self._first = one
            return self._first is one

    def is_first(self, one: object) -> bool:
        """Whether it is the turn of this one."""
        return self._first is one

    def end_turn(self, one: object) -> None:
        """End its turn, if it has it."""
        with self._lock:
            if self._first is one:
                self._first = None


def in_turns(results: Iterator[R]) -> Iterator[R]:
    """Iterate over `results`. While one is computed, no other thread computes one."""
    while True:
        with _turn:
            _this_thread.has_turn = True
            try:
                result = next(results)
            except StopIteration:
                return
            finally:
                _this_thread.has_turn = False
        yield result


@contextmanager
def waiting() -> Iterator[None]:
    """Let others have the turn for as long as the block runs, if it is ours."""
    if not _this_thread.has_turn:
        yield
        return
    _this_thread.has_turn = False
    _turn.release()
    try:
        yield
    finally:
        _turn.acquire()
        _this_thread.has_turn = True
