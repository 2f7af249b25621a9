"""Threads that compare take turns, and give theirs up while they wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mastosync.engine.side_by_side import side_by_side
from mastosync.engine.turns import in_turns, waiting
from tests.waiting import PATIENCE_SECONDS

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

    assert sorted(side_by_side(work, range(THREADS), THREADS)) == list(range(THREADS * 200))
    assert crowd.most == 1


def test_all_wait_at_the_same_time() -> None:
    together = threading.Barrier(THREADS)

    def work(item: int) -> Iterator[int]:
        with waiting():
            together.wait(PATIENCE_SECONDS)  # nobody comes on alone
        yield item

    assert sorted(side_by_side(work, range(THREADS), THREADS)) == list(range(THREADS))


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
