"""The workers of a run: how many transfers are under way, and that none keeps another waiting."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest

from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import Interrupted, MastosyncError, NetworkFailure, ServerFailure, StoreUnusable, Throttled
from mastosync.model import Claim, EntryState, ObjectInfo, Outcome
from mastosync.runtime.limiter import Bandwidth, EndpointLimiter
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.steps import BlockingCall, Ended, Steps
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.store.abilities import BatchLimits, NewObject
from mastosync.store.base import Buffer, CompletedRequest, DigestUse, FetchedObject, Multiplexer, ObjectStore
from tests.support.entries import claim, entry
from tests.support.memory_store import MemoryStore
from tests.support.transfers import IMPATIENT, store_session
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.timing

IN_PARTS = TransferOptions(multipart_threshold=10, part_size=4)
PATIENT = RetryPolicy()


class MemoryMultiplexer:
    """Makes requests of stores in memory, a few at a time: what is left over waits, as on a network."""

    most = 0  # requests that were under way at once, in all of them

    def __init__(self, width: int) -> None:
        self.width = width
        self._begun: list[tuple[object, Callable[[], object]]] = []

    def takes(self, store: ObjectStore, operation: str, arguments: tuple[Any, ...]) -> bool:
        return True

    def begin(
        self, tag: object, store: ObjectStore, operation: str, arguments: tuple[Any, ...], room: Callable[[int], bool]
    ) -> None:
        self._begun.append((tag, partial(getattr(store, operation), *arguments)))
        type(self).most = max(self.most, len(self._begun))

    def finished(self, wait_seconds: float) -> list[CompletedRequest]:
        now, self._begun = self._begun[:3], self._begun[3:]
        return [_finished(tag, request) for tag, request in now]

    def broken_off(self) -> list[CompletedRequest]:
        return []

    def close(self) -> None: ...


def _finished(tag: object, request: Callable[[], object]) -> CompletedRequest:
    try:
        return CompletedRequest(tag, request(), None)
    except MastosyncError as error:
        return CompletedRequest(tag, None, error)


Copying = WorkerPool[Claim, Outcome]
Copied = Ended[Claim, Outcome]


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    MemoryMultiplexer.most = 0
    monkeypatch.setattr("mastosync.copying.digests._CONTRADICTED_AT_FIRST", 1_000_000)  # none: each is written once


def objects(*numbers: int, size: int = 5) -> MemoryStore:
    old = MemoryStore("old")
    for number in numbers:
        old.put(f"accounts/avatars/000/000/{number:03}/original/a.png", b"%d" % number * size)
    return old


@contextmanager
def pool(
    steps: Callable[[Claim], Steps[Outcome]],
    workers: int,
    stop: StopSignal | None = None,
    multiplexer: Callable[[int], Multiplexer] | None = MemoryMultiplexer,
) -> Iterator[Copying]:
    with WorkerPool(steps, workers, stop or StopSignal(), multiplexer) as made:
        yield made


def all_ended(of: Copying, count: int) -> list[Copied]:
    found: list[Copied] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} came to an end"
        found += of.ended(0.05)
    return found


def copied(transfer: Transfer, *numbers: int, workers: int = 4, stop: StopSignal | None = None) -> list[Copied]:
    with pool(transfer.steps, workers, stop) as made:
        made.submit([claim(entry(number)) for number in numbers])
        return all_ended(made, len(numbers))


def states(ended: list[Copied]) -> set[EntryState | None]:
    return {each.outcome.state if each.outcome else None for each in ended}


def transfer(old: MemoryStore, new: MemoryStore, options: TransferOptions | None = None) -> Transfer:
    return Transfer(store_session(old), store_session(new), options or TransferOptions(), MemoryBudget(1 << 20))


@pytest.mark.parametrize("workers", [1, 2, 7, 32])
def test_every_claim_ends_and_no_more_than_the_workers_are_under_way(workers: int) -> None:
    numbers = range(1, 200)
    old, new = objects(*numbers), MemoryStore("new")
    assert states(copied(transfer(old, new), *numbers, workers=workers)) == {EntryState.DONE}
    assert {key: stored.data for key, stored in new.objects.items()} == {
        key: stored.data for key, stored in old.objects.items()
    }
    assert (old.count("read"), new.count("write")) == (199, 199)
    assert 0 < MemoryMultiplexer.most <= workers


def test_a_failure_that_passes_is_repeated_beside_the_others_and_counted() -> None:
    old, new = objects(1, 2, 3), MemoryStore("new")
    old.fail("read", NetworkFailure("reset"), NetworkFailure("reset"))
    new.fail("write", ServerFailure("500"))
    ended = copied(transfer(old, new), 1, 2, 3)
    assert states(ended) == {EntryState.DONE}
    assert sum(each.outcome.attempts for each in ended if each.outcome) == 3 + 3


def test_a_throttled_endpoint_is_asked_less_and_nothing_fails() -> None:
    stop = StopSignal()
    old, new = objects(*range(1, 40)), MemoryStore("new")
    old.fail("read", Throttled("slow down", retry_after_seconds=0.3))
    limiter = EndpointLimiter(stop)
    moving = Transfer(
        StoreSession(old, limiter, PATIENT, stop), store_session(new), TransferOptions(), MemoryBudget(1 << 20)
    )
    started = time.monotonic()
    assert states(copied(moving, *range(1, 40), stop=stop)) == {EntryState.DONE}
    assert time.monotonic() - started >= 0.3
    assert limiter.state().throttles == 1


def test_a_ceiling_holds_for_all_loops_together() -> None:
    stop = StopSignal()
    old, new = objects(*range(1, 31)), MemoryStore("new")
    moving = Transfer(
        StoreSession(old, EndpointLimiter(stop, ceiling=60.0), IMPATIENT, stop),
        store_session(new),
        TransferOptions(),
        MemoryBudget(99),
    )
    started = time.monotonic()
    assert states(copied(moving, *range(1, 31), workers=8, stop=stop)) == {EntryState.DONE}
    assert time.monotonic() - started >= 0.3


def test_bandwidth_is_paid_once_for_each_object() -> None:
    stop = StopSignal()
    old, new = objects(*range(10, 40), size=500), MemoryStore("new")  # of 1,000 bytes each
    writing = StoreSession(new, EndpointLimiter(stop), IMPATIENT, stop, Bandwidth(lambda _: 100_000, stop))
    moving = Transfer(store_session(old), writing, TransferOptions(), MemoryBudget(1 << 20))
    started = time.monotonic()
    assert states(copied(moving, *range(10, 40), stop=stop)) == {EntryState.DONE}
    assert 0.15 <= time.monotonic() - started < 3.0


def test_who_waits_for_an_endpoint_is_interrupted_and_keeps_its_claim() -> None:
    stop = StopSignal()
    old = objects(1, 2, 3)
    old.fail("read", Throttled("slow down", retry_after_seconds=600.0))
    limiter = EndpointLimiter(stop)
    moving = Transfer(
        StoreSession(old, limiter, PATIENT, stop),
        store_session(MemoryStore()),
        TransferOptions(),
        MemoryBudget(1 << 20),
    )
    with pool(moving.steps, 1, stop) as made:
        made.submit([claim(entry(1)), claim(entry(2))])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not limiter.state().throttles and time.monotonic() < deadline:
            assert not made.ended(0.01)
        stop.request()
        assert [claim.entry.id for claim in made.take_back()] == [2]
        (ended,) = all_ended(made, 1)
    assert isinstance(ended.error, Interrupted)


def test_what_no_entry_survives_is_told_with_its_claim() -> None:
    old, new = objects(1), MemoryStore("new")
    old.fail("read", StoreUnusable("the bucket is gone"))
    (ended,) = copied(transfer(old, new), 1)
    assert isinstance(ended.error, StoreUnusable)

    def buggy(_: Claim) -> Steps[Outcome]:
        yield BlockingCall(lambda: None)
        raise ZeroDivisionError

    with pool(buggy, 2) as made:
        made.submit([claim(entry(1))])
        (ended,) = all_ended(made, 1)
    assert isinstance(ended.error, ZeroDivisionError)


class TestLargeObjects:
    """Large ones wait in threads; small ones are done at once."""

    def test_they_leave_half_of_the_workers_to_small_ones(self) -> None:
        moving, most = threading.Semaphore(0), 0
        under_way = 0
        lock = threading.Lock()

        def large() -> None:
            nonlocal under_way, most
            with lock:
                under_way += 1
                most = max(most, under_way)
            assert moving.acquire(timeout=PATIENCE_SECONDS)
            with lock:
                under_way -= 1

        def steps(of: Claim) -> Steps[Outcome]:
            if of.entry.name == "large":
                yield BlockingCall(large, large=True)
            else:
                yield BlockingCall(lambda: None)
            return Outcome(of.entry, EntryState.DONE)

        claims = [claim(entry(number, "large")) for number in range(8)]
        claims += [claim(entry(number)) for number in range(40)]
        with pool(steps, 4) as made:
            made.submit(claims)
            ended = all_ended(made, 40)
            assert {each.claim.entry.name for each in ended} == {"a.png"}
            deadline = time.monotonic() + PATIENCE_SECONDS
            while most < 4 and time.monotonic() < deadline:  # now that nobody else wants them, all workers are theirs
                assert not made.ended(0.01)
            assert most == 4
            moving.release(8)
            assert len(all_ended(made, 8)) == 8

    def test_those_that_wait_their_turn_have_begun_nothing_when_a_run_is_stopped(self) -> None:
        stop = StopSignal()
        old, new = objects(*range(1, 6), size=50), MemoryStore("new")
        go_on, begun = threading.Event(), threading.Event()
        read_range = old.read_range

        def slow(key: str, info: ObjectInfo, start: int, length: int) -> Buffer:
            begun.set()
            assert go_on.wait(PATIENCE_SECONDS)
            return read_range(key, info, start, length)

        old.read_range = slow  # type: ignore[method-assign]
        small = [claim(entry(number, "missing.png")) for number in range(100, 200)]
        with pool(transfer(old, new, IN_PARTS).steps, 1, stop) as made:
            made.submit([claim(entry(number)) for number in range(1, 6)] + small)
            assert begun.wait(PATIENCE_SECONDS)
            stop.request()
            taken_back = made.take_back()
            go_on.set()
            ended = all_ended(made, 105 - len(taken_back))
        assert new.unfinished() == []
        assert {type(each.error) for each in ended} <= {type(None), Interrupted}

    def test_a_run_that_is_broken_off_ends_though_they_wait(self) -> None:
        go_on, begun = threading.Event(), threading.Event()

        def stuck(of: Claim) -> Steps[Outcome]:
            yield BlockingCall(lambda: begun.set() or go_on.wait(PATIENCE_SECONDS))  # type: ignore[func-returns-value]
            return Outcome(of.entry, EntryState.DONE)

        started = time.monotonic()
        try:
            with pool(stuck, 2) as made:
                made.submit([claim(entry(1))])
                assert begun.wait(PATIENCE_SECONDS)
            assert time.monotonic() - started < PATIENCE_SECONDS / 2
        finally:
            go_on.set()


class TestHoweverARunEnds:
    """Python waits for every thread before it ends: one that is left keeps the command there after its last word."""

    def test_there_is_no_thread_before_it_begins(self) -> None:
        before = set(threading.enumerate())
        WorkerPool(transfer(objects(), MemoryStore("new")).steps, 4, StopSignal())
        assert set(threading.enumerate()) <= before

    def test_no_loop_is_left_when_one_cannot_begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before, start = set(threading.enumerate()), threading.Thread.start
        started: list[threading.Thread] = []
        monkeypatch.setattr("mastosync.runtime.worker_pool.os.cpu_count", lambda: 8)

        def only_one(thread: threading.Thread) -> None:
            if started:
                raise RuntimeError("can't start new thread")
            started.append(thread)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", only_one)
        with pytest.raises(RuntimeError), WorkerPool(transfer(objects(), MemoryStore("new")).steps, 4, StopSignal()):
            pytest.fail("it began")
        monkeypatch.undo()
        assert len(started) == 1
        assert set(threading.enumerate()) <= before

    def test_an_error_ends_what_waits_for_a_store(self) -> None:
        stop, waiting, before = StopSignal(), threading.Event(), set(threading.enumerate())

        def patient(of: Claim) -> Steps[Outcome]:
            yield BlockingCall(lambda: waiting.set() or stop.sleep(600))  # type: ignore[func-returns-value]
            return Outcome(of.entry, EntryState.DONE)

        with suppress(ZeroDivisionError), pool(patient, 2, stop) as made:
            made.submit([claim(entry(1))])
            assert waiting.wait(PATIENCE_SECONDS)
            raise ZeroDivisionError
        wait_until(lambda: set(threading.enumerate()) <= before, "all threads have ended")

    def test_a_run_that_is_well_asks_nobody_to_stop(self) -> None:
        stop = StopSignal()
        with pool(transfer(objects(), MemoryStore("new")).steps, 2, stop):
            pass
        assert not stop.requested


class TestAllEnded:
    """Many claims, of which no more than a few wait."""

    def test_all_of_them_end(self) -> None:
        numbers = range(1, 100)
        old, new = objects(*numbers), MemoryStore("new")
        with pool(transfer(old, new).steps, 3) as made:
            ended = list(made.all_ended(claim(entry(number)) for number in numbers))
        assert (len(ended), states(ended)) == (99, {EntryState.DONE})

    def test_claims_are_asked_for_as_they_are_needed(self) -> None:
        numbers = range(1, 100)
        old, new = objects(*numbers), MemoryStore("new")
        asked = iter([claim(entry(number)) for number in numbers])
        with pool(transfer(old, new).steps, 2) as made:
            next(made.all_ended(asked))
            assert len(list(asked)) > 99 - 3 * 4 * 2

    def test_a_wish_to_stop_ends_it_with_what_has_begun(self) -> None:
        numbers = range(1, 100)
        old, new, stop = objects(*numbers), MemoryStore("new"), StopSignal()
        with pool(transfer(old, new).steps, 2, stop) as made:
            seen = 0
            for _ in made.all_ended(claim(entry(number)) for number in numbers):
                seen += 1
                stop.request()
        assert 0 < seen < 99


class TakesNothing(MemoryMultiplexer):
    """As libcurl does with a disk."""

    def takes(self, store: ObjectStore, operation: str, arguments: tuple[Any, ...]) -> bool:
        return False


class Meter(Bandwidth):
    """Lets everything go, and counts it."""

    def __init__(self) -> None:
        super().__init__(lambda now: None, StopSignal())
        self.taken_bytes = 0

    def reserve(self, size_bytes: int) -> float:
        self.taken_bytes += size_bytes
        return 0.0


class CachingMemoryStore(MemoryStore):
    """Has the objects with an even number at hand."""

    def read_cached(
        self, key: str, max_bytes: int, room: Callable[[int], bool], digest: DigestUse = DigestUse.COMPUTED
    ) -> FetchedObject | None:
        assert threading.current_thread().name.startswith("copy"), "a loop asks by itself"
        stored = self.objects[key]
        if int(key.split("/")[4]) % 2 or not room(len(stored.data)):
            return None
        return FetchedObject(stored.info, stored.data, hashlib.md5(stored.data, usedforsecurity=False).digest())


class WritingMultiplexer(MemoryMultiplexer):
    """Leaves what is read to the store."""

    def takes(self, store: ObjectStore, operation: str, arguments: tuple[Any, ...]) -> bool:
        return operation == "write"


def test_what_a_store_has_at_hand_is_taken_without_another_thread() -> None:
    numbers = range(1, 100)
    old, new, memory = CachingMemoryStore("old"), MemoryStore("new"), MemoryBudget(1 << 30)
    old.objects = objects(*numbers).objects
    moved = Transfer(store_session(old), store_session(new), TransferOptions(), memory)
    with pool(moved.steps, 8, multiplexer=WritingMultiplexer) as made:
        made.submit([claim(entry(number)) for number in numbers])
        assert states(all_ended(made, len(numbers))) == {EntryState.DONE}
    assert {key: stored.data for key, stored in new.objects.items()} == {
        key: stored.data for key, stored in old.objects.items()
    }
    assert old.count("read") == 50, "the others were not at hand"
    assert memory.reserve().request(memory.total_bytes), "everything was given back"


def test_what_the_multiplexer_does_not_take_pays_for_its_bandwidth_once() -> None:
    old, new, meter = objects(*range(1, 20)), MemoryStore("new"), Meter()
    moved = Transfer(store_session(old), store_session(new, bandwidth=meter), TransferOptions(), MemoryBudget(1 << 20))
    with pool(moved.steps, 4, multiplexer=TakesNothing) as made:
        made.submit([claim(entry(number)) for number in range(1, 20)])
        assert states(all_ended(made, 19)) == {EntryState.DONE}
    assert meter.taken_bytes == sum(len(stored.data) for stored in new.objects.values())


class BatchingMemoryStore(MemoryStore):
    """Takes several objects at once; notes how many came together, and in how many threads."""

    def __init__(self, limits: BatchLimits, gate: threading.Event | None = None) -> None:
        super().__init__("new")
        self.limits, self.gate = limits, gate
        self.batches: list[int] = []
        self.threads = set[int]()
        self.under_way = self.most = 0
        self._counting = threading.Lock()

    def batch_limits(self) -> BatchLimits:
        return self.limits

    def write_batch(self, objects: Sequence[NewObject]) -> list[str | MastosyncError]:
        with self._counting:
            self.batches.append(len(objects))
            self.threads.add(threading.get_ident())
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        if self.gate is not None:
            assert self.gate.wait(PATIENCE_SECONDS)
        answers = [self._answer(each) for each in objects]
        with self._counting:
            self.under_way -= 1
        return answers

    def _answer(self, each: NewObject) -> str | MastosyncError:
        try:
            return self.write(*each)
        except MastosyncError as error:
            return error


class TestWritesTogether:
    """A store that takes several objects at once gets them so."""

    def test_what_comes_while_a_batch_is_written_is_the_next_one(self) -> None:
        """Threads are handed little over: two batches for all objects that are under way."""
        gate = threading.Event()
        old, new = objects(*range(1, 17)), BatchingMemoryStore(BatchLimits(objects=16, at_once=1), gate)
        with pool(transfer(old, new).steps, 16, multiplexer=MemoryReads) as made:
            made.submit([claim(entry(number)) for number in range(1, 17)])
            wait_until(lambda: old.count("read") == 16 and len(new.batches) == 1, "the others wait for the first")
            gate.set()
            assert states(all_ended(made, 16)) == {EntryState.DONE}
        assert sum(new.batches) == 16
        assert len(new.batches) <= 3, "what came last may have missed the second"
        assert len(new.threads) == 1

    @pytest.mark.parametrize(("limits", "most"), [(BatchLimits(2, 2), 2), (BatchLimits(1, None), 6)])
    def test_more_batches_are_written_at_once_where_the_store_likes_that(self, limits: BatchLimits, most: int) -> None:
        gate = threading.Event()
        old, new = objects(*range(1, 7)), BatchingMemoryStore(limits, gate)
        with pool(transfer(old, new).steps, 8, multiplexer=MemoryReads) as made:
            made.submit([claim(entry(number)) for number in range(1, 7)])
            wait_until(lambda: new.under_way == most, "as many are written as may be")
            gate.set()
            assert states(all_ended(made, 6)) == {EntryState.DONE}
        assert new.most == most
        assert max(new.batches) <= limits.objects

    def test_a_failure_of_one_is_repeated_and_counted_and_the_others_are_done(self) -> None:
        old, new = objects(1, 2, 3), BatchingMemoryStore(BatchLimits(16, 1))
        new.fail("write", ServerFailure("a bad block"))
        with pool(transfer(old, new).steps, 4, multiplexer=MemoryReads) as made:
            made.submit([claim(entry(number)) for number in (1, 2, 3)])
            ended = all_ended(made, 3)
        assert states(ended) == {EntryState.DONE}
        assert sum(each.outcome.attempts for each in ended if each.outcome) == 3 + 1

    def test_an_error_that_nobody_foresaw_is_told_with_every_claim(self) -> None:
        old, new = objects(1, 2), BatchingMemoryStore(BatchLimits(16, 1))
        new.fail("write", RuntimeError("a bug"), RuntimeError("a bug"))
        with pool(transfer(old, new).steps, 2, multiplexer=MemoryReads) as made:
            made.submit([claim(entry(number)) for number in (1, 2)])
            assert {type(each.error) for each in all_ended(made, 2)} == {RuntimeError}

    def test_bandwidth_is_paid_once(self) -> None:
        old, new, meter = objects(*range(1, 20)), BatchingMemoryStore(BatchLimits(4, 1)), Meter()
        paying = store_session(new, bandwidth=meter)
        moved = Transfer(store_session(old), paying, TransferOptions(), MemoryBudget(1 << 20))
        with pool(moved.steps, 4, multiplexer=MemoryReads) as made:
            made.submit([claim(entry(number)) for number in range(1, 20)])
            assert states(all_ended(made, 19)) == {EntryState.DONE}
        assert meter.taken_bytes == sum(len(stored.data) for stored in new.objects.values())


class MemoryReads(MemoryMultiplexer):
    """Leaves what is written to the store."""

    def takes(self, store: ObjectStore, operation: str, arguments: tuple[Any, ...]) -> bool:
        return operation == "read"
