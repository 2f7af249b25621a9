"""Threads that compare take turns, and give theirs up while they wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mastosync.runtime.stop import StopSignal, in_turns, waiting
from mastosync.runtime.worker_pool import side_by_side
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.timing

THREADS = 4


class Crowd:
    """Counts who is at work at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1


def test_one_compares_at_a_time() -> None:
    crowd = Crowd()

    def work(item: int) -> Iterator[int]:
        for number in range(200):
            with crowd:
                sum(range(200))
            yield item * 200 + number

    assert sorted(side_by_side(work, range(THREADS), THREADS, StopSignal())) == list(range(THREADS * 200))
    assert crowd.most == 1


def test_all_wait_at_the_same_time() -> None:
    together = threading.Barrier(THREADS)

    def work(item: int) -> Iterator[int]:
        with waiting():
            together.wait(PATIENCE_SECONDS)  # nobody comes on alone
        yield item

    assert sorted(side_by_side(work, range(THREADS), THREADS, StopSignal())) == list(range(THREADS))


@pytest.mark.parametrize("whose", ["theirs", "ours"])
def test_an_error_ends_all_threads_wherever_they_wait(whose: str) -> None:
    """A store may have asked one of them to wait for an hour, and Python waits for threads before it ends."""
    stop, before = StopSignal(), set(threading.enumerate())

    def work(item: int) -> Iterator[int]:
        yield item
        if item == 0 and whose == "theirs":
            raise ZeroDivisionError
        with waiting():
            stop.sleep(600)

    began = time.monotonic()

    def take() -> None:
        for number in side_by_side(work, range(THREADS), THREADS, stop):
            assert whose == "theirs", number

    with pytest.raises((ZeroDivisionError, AssertionError)) as error:  # which keeps the frames that it came through
        take()
    assert error.type is (ZeroDivisionError if whose == "theirs" else AssertionError)
    assert set(threading.enumerate()) <= before
    assert time.monotonic() - began < PATIENCE_SECONDS


def test_a_turn_ends_with_an_error_too() -> None:
    def failing() -> Iterator[int]:
        yield 1
        with waiting():
            raise RuntimeError("as it waited")

    with pytest.raises(RuntimeError, match="as it waited"):
        list(in_turns(failing()))
    assert list(in_turns(iter([1, 2]))) == [1, 2]


def test_who_has_no_turn_has_none_to_give_up() -> None:
    with waiting(), waiting():
        assert list(in_turns(iter([1]))) == [1]


def test_an_error_of_one_ends_all_and_leaves_no_thread() -> None:
    before = threading.active_count()
    begun = threading.Barrier(2)

    def work(item: int) -> Iterator[int]:
        with waiting():
            begun.wait(PATIENCE_SECONDS)
        if item == 0:
            raise RuntimeError("the first has failed")
        while True:
            yield item

    with pytest.raises(RuntimeError, match="the first has failed"):
        list(side_by_side(work, range(2), 2, StopSignal()))
    assert threading.active_count() == before
