"""The budget of memory: never more than there is, nothing lost, nobody forgotten, and every wait ends."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastosync.errors import Interrupted
from mastosync.runtime.memory import MemoryBudget, Reservation, collecting_rarely
from mastosync.runtime.stop import StopSignal
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.timing

TOTAL = 100


def is_whole(budget: MemoryBudget) -> bool:
    """Whether nothing is reserved, and nobody stands in line before whoever comes next."""
    reservation = budget.reserve()
    try:
        return reservation.request(budget.total_bytes)
    finally:
        reservation.release()


@contextmanager
def waiting(reservation: Reservation, size: int, stop: StopSignal) -> Iterator[threading.Thread]:
    """A thread that stands in line for this much, and ends with the block."""

    def wait() -> None:
        try:
            reservation.wait(size, stop)
        except Interrupted:
            reservation.release()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        wait_until(lambda: reservation.wanted_bytes == size, "it stands in line")
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
    reservations = [budget.reserve() for _ in range(6)]
    line: list[int] = []  # who waits, the first first
    for number, size in steps:
        before = [reservation.reserved_bytes for reservation in reservations]
        granted = reservations[number].request(size)
        assert granted == (
            reservations[number].reserved_bytes == min(size, TOTAL) and not reservations[number].wanted_bytes
        )
        if min(size, TOTAL) <= before[number]:
            assert granted, "to reserve less needs nobody's leave"
            line = [waiter for waiter in line if waiter != number]
        elif number not in line:
            line.append(number)
        served = [waiter for waiter in line if not reservations[waiter].wanted_bytes]
        assert served == line[: len(served)], "the first in line is served first"
        line = line[len(served) :]
        others = set(range(6)) - {number, *served}
        assert all(reservations[other].reserved_bytes == before[other] for other in others)
        assert sum(reservation.reserved_bytes for reservation in reservations) <= budget.peak_bytes <= TOTAL
    for reservation in reservations:
        reservation.release()
    assert is_whole(budget)


def test_who_gives_up_waiting_leaves_the_line() -> None:
    budget = MemoryBudget(TOTAL)
    first, second, third = budget.reserve(), budget.reserve(), budget.reserve()
    assert first.request(TOTAL)
    assert not second.request(60)
    second.release()
    first.release()
    assert (second.reserved_bytes, second.wanted_bytes) == (0, 0)
    assert third.request(TOTAL)


def test_more_than_there_is_means_all_of_it() -> None:
    budget = MemoryBudget(TOTAL)
    reservation = budget.reserve()
    assert reservation.request(5 * TOTAL)
    assert reservation.reserved_bytes == budget.peak_bytes == TOTAL
    reservation.release()
    assert is_whole(budget)


def test_what_is_held_may_grow_and_shrink() -> None:
    budget = MemoryBudget(TOTAL)
    reservation, other = budget.reserve(), budget.reserve()
    assert reservation.request(40)
    assert reservation.request(70)
    assert not other.request(50)
    assert reservation.request(30)
    assert other.reserved_bytes == 50
    reservation.release()
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
        reservation = budget.reserve()
        for _ in range(200):
            size = min(chance.choice([1, 5, 20, 60, TOTAL, 3 * TOTAL]), TOTAL)
            reservation.wait(size, stop)
            note(size)
            less = chance.randrange(size + 1)
            note(less - size)  # first, as others may have it from then on
            assert reservation.request(less)
            note(-less)
            reservation.release()

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
        reservation = budget.reserve()
        while not served.is_set():
            reservation.wait(30, stop)
            reservation.release()

    def large() -> None:
        reservation = budget.reserve()
        for _ in range(50):
            reservation.wait(TOTAL, stop)
            reservation.release()
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
    first, second = budget.reserve(), budget.reserve()
    assert first.request(80)
    with waiting(second, 50, stop):
        stop.request()
    first.release()
    assert is_whole(budget)


def test_who_waits_is_served_as_soon_as_there_is_enough() -> None:
    budget, stop = MemoryBudget(TOTAL), StopSignal()
    first, second = budget.reserve(), budget.reserve()
    assert first.request(80)
    with waiting(second, 50, stop) as thread:
        assert first.request(60)
        assert second.wanted_bytes
        assert first.request(50)
        thread.join(PATIENCE_SECONDS)
    assert (first.reserved_bytes, second.reserved_bytes) == (50, 50)


def test_the_garbage_collector_rests_unless_something_grows() -> None:
    usual = gc.get_threshold()
    with suppress(KeyError), collecting_rarely():
        assert gc.isenabled()
        assert gc.get_threshold()[0] > 100 * usual[0]
        raise KeyError
    assert gc.get_threshold() == usual
