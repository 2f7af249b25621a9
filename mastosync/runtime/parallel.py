"""Work on several things at the same time, in threads, with one stream of results.

Taking turns: of many threads that compare and wait, one compares at a time.

Python lets one thread run at a time. Those that want to all at once take it from each other again and
again, which takes more time than what they do: so they ask for it once, and give it up when they wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from threading import Event
from typing import TypeVar

from mastosync.runtime.stop import StopSignal

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


T = TypeVar("T")

_POLL_SECONDS = 0.1
_AHEAD = 4  # results of each thread that may wait to be taken


def side_by_side(work: Callable[[T], Iterable[R]], items: Sequence[T], workers: int, stop: StopSignal) -> Iterator[R]:
    """Everything that `work` yields for all items, in no order. Memory is bounded by the number of workers.

    `work` runs in threads, which take turns but for requests of stores; an error of it ends everything and is raised
    here. That, or an error of whoever takes the results, asks all of them to stop, wherever they wait.
    """
    results: Queue[R] = Queue(_AHEAD * workers)
    abandoned = Event()

    def one(item: T) -> None:
        for result in in_turns(iter(work(item))):
            while not abandoned.is_set():
                with suppress(Full):
                    results.put(result, timeout=_POLL_SECONDS)
                    break
            if abandoned.is_set():
                return

    threads = ThreadPoolExecutor(max(1, min(workers, len(items))), thread_name_prefix="range")
    try:
        with stop.after_errors():  # the other threads may wait for a store, for as long as it likes
            under_way = [threads.submit(one, item) for item in items]
            while True:
                ended = [future for future in under_way if future.done()]
                under_way = [future for future in under_way if not future.done()]
                for future in ended:
                    future.result()
                if under_way:
                    with suppress(Empty):
                        yield results.get(timeout=_POLL_SECONDS)
                    continue
                while not results.empty():
                    yield results.get_nowait()
                return
    finally:
        abandoned.set()
        threads.shutdown(cancel_futures=True)
