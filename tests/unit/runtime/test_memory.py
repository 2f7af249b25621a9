"""The budget of memory: never more than there is, nothing lost, nobody forgotten, and every wait ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastosync.errors import Interrupted
from mastosync.runtime.memory import MemoryBudget, Reservation
from mastosync.runtime.stop import StopSignal
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.timing

TOTAL = 100


def is_whole(budget: MemoryBudget) -> bool:
    """Whether nobody holds anything, and nobody stands in line before whoever comes next."""
    hold = budget.hold()
    try:
        return hold.ask(budget.total_bytes)
    finally:
        hold.release()


@contextmanager
def waiting(hold: Reservation, size: int, stop: StopSignal) -> Iterator[threading.Thread]:
    """A thread that stands in line for this much, and ends with the block."""

    def wait() -> None:
        try:
            hold.wait(size, stop)
        except Interrupted:
            hold.release()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        wait_until(lambda: hold.wanted_bytes == size, "it stands in line")
        yield thread
    finally:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, TOTAL + 20)), max_size=60)


@given(STEPS)
def test_whoever_asks_in_whatever_order_no_more_is_held_than_there_is_and_nothing_is_lost(
    steps: list[tuple[int, int]],
) -> None:
    budget = MemoryBudget(TOTAL)
    holds = [budget.hold() for _ in range(6)]
    line: list[int] = []  # who waits, the first first
    for number, size in steps:
        before = [hold.held_bytes for hold in holds]
        granted = holds[number].ask(size)
        assert granted == (holds[number].held_bytes == min(size, TOTAL) and not holds[number].wanted_bytes)
        if min(size, TOTAL) <= before[number]:
            assert granted, "to hold less needs nobody's leave"
            line = [waiter for waiter in line if waiter != number]
        elif number not in line:
            line.append(number)
        served = [waiter for waiter in line if not holds[waiter].wanted_bytes]
        assert served == line[: len(served)], "the first in line is served first"
        line = line[len(served) :]
        others = set(range(6)) - {number, *served}
        assert all(holds[other].held_bytes == before[other] for other in others)
        assert sum(hold.held_bytes for hold in holds) <= budget.peak_bytes <= TOTAL
    for hold in holds:
        hold.release()
    assert is_whole(budget)


def test_who_gives_up_waiting_leaves_the_line() -> None:
    budget = MemoryBudget(TOTAL)
    first, second, third = budget.hold(), budget.hold(), budget.hold()
    assert first.ask(TOTAL)
    assert not second.ask(60)
    second.release()
    first.release()
    assert (second.held_bytes, second.wanted_bytes) == (0, 0)
    assert third.ask(TOTAL)


def test_more_than_there_is_means_all_of_it() -> None:
    budget = MemoryBudget(TOTAL)
    hold = budget.hold()
    assert hold.ask(5 * TOTAL)
    assert hold.held_bytes == budget.peak_bytes == TOTAL
    hold.release()
    assert is_whole(budget)


def test_what_is_held_may_grow_and_shrink() -> None:
    budget = MemoryBudget(TOTAL)
    hold, other = budget.hold(), budget.hold()
    assert hold.ask(40)
    assert hold.ask(70)
    assert not other.ask(50)
    assert hold.ask(30)
    assert other.held_bytes == 50
    hold.release()
    other.release()
    assert is_whole(budget)


@pytest.mark.parametrize("seed", range(4))
def test_many_threads_never_hold_more_than_there_is_and_all_come_to_their_end(seed: int) -> None:
    budget, stop = MemoryBudget(TOTAL), StopSignal()
    lock = threading.Lock()
    held = most = 0

    def note(size: int) -> None:
        nonlocal held, most
        with lock:
            held += size
            most = max(most, held)

    def work(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        hold = budget.hold()
        for _ in range(200):
            size = min(chance.choice([1, 5, 20, 60, TOTAL, 3 * TOTAL]), TOTAL)
            hold.wait(size, stop)
            note(size)
            less = chance.randrange(size + 1)
            note(less - size)  # first, as others may hold it from then on
            assert hold.ask(less)
            note(-less)
            hold.release()

    with ThreadPoolExecutor(12) as pool:
        for future in [pool.submit(work, number) for number in range(12)]:
            future.result(PATIENCE_SECONDS)
    assert most <= budget.peak_bytes <= TOTAL
    assert held == 0
    assert is_whole(budget)


def test_a_large_wish_is_not_passed_over_for_ever_by_small_ones() -> None:
    budget, stop = MemoryBudget(TOTAL), StopSignal()
    served = threading.Event()

    def small() -> None:
        hold = budget.hold()
        while not served.is_set():
            hold.wait(30, stop)
            hold.release()

    def large() -> None:
        hold = budget.hold()
        for _ in range(50):
            hold.wait(TOTAL, stop)
            hold.release()
        served.set()

    with ThreadPoolExecutor(7) as pool:
        futures = [pool.submit(small) for _ in range(6)] + [pool.submit(large)]
        try:
            assert served.wait(PATIENCE_SECONDS)
        finally:
            served.set()
        for future in futures:
            future.result(PATIENCE_SECONDS)
    assert is_whole(budget)


def test_a_wait_ends_when_somebody_asks_to_stop_and_leaves_nothing_behind() -> None:
    budget, stop = MemoryBudget(TOTAL), StopSignal()
    first, second = budget.hold(), budget.hold()
    assert first.ask(80)
    with waiting(second, 50, stop):
        stop.request()
    first.release()
    assert is_whole(budget)


def test_who_waits_is_served_as_soon_as_there_is_enough() -> None:
    budget, stop = MemoryBudget(TOTAL), StopSignal()
    first, second = budget.hold(), budget.hold()
    assert first.ask(80)
    with waiting(second, 50, stop) as thread:
        assert first.ask(60)
        assert second.wanted_bytes
        assert first.ask(50)
        thread.join(PATIENCE_SECONDS)
    assert (first.held_bytes, second.held_bytes) == (50, 50)
