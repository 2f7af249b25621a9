"""Taking turns: of many threads that compare and wait, one compares at a time.

Python lets one thread run at a time. Those that want to all at once take it from each other again and
again, which takes more time than what they do: so they ask for it once, and give it up when they wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

R = TypeVar("R")

_turn = threading.Lock()  # one for the process, as Python has one


class _Mine(threading.local):
    is_held = False  # this thread has the turn


_mine = _Mine()


def in_turns(results: Iterator[R]) -> Iterator[R]:
    """The same results, each worked out while no other thread works one out."""
    while True:
        with _turn:
            _mine.is_held = True
            try:
                result = next(results)
            except StopIteration:
                return
            finally:
                _mine.is_held = False
        yield result


@contextmanager
def waiting() -> Iterator[None]:
    """Let others have the turn for as long as the block runs, if it is ours."""
    if not _mine.is_held:
        yield
        return
    _mine.is_held = False
    _turn.release()
    try:
        yield
    finally:
        _turn.acquire()
        _mine.is_held = True
