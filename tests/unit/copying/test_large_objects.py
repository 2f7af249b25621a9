"""Large objects in parts: several at once, in bounded memory, whole in the end, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import md5

import pytest

from mastosync.copying.large_objects import MIB, PARTS_AT_ONCE, LargeObjects
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import Interrupted, NetworkFailure, ObjectTooLarge, ServerFailure, StoreUnusable, Throttled
from mastosync.model import Claim, EntryState, ObjectHeaders, ObjectInfo, Outcome, Reason
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import Buffer, PutOptions, UploadedPart
from tests.support.entries import claim, entry
from tests.support.memory_store import MemoryStore
from tests.support.transfers import IMPATIENT, store_session
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from tests.unit.runtime.test_memory import is_whole

pytestmark = pytest.mark.timing

SIZE = 40
PART = 4
DATA = bytes(range(SIZE))


def key_of(number: int) -> str:
    return f"accounts/avatars/000/000/{number:03}/original/a.png"


KEY = key_of(1)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few bytes: the rounding to whole MiB has a test of its own."""
    monkeypatch.setattr("mastosync.copying.large_objects.MIB", 1)


class Watched(MemoryStore):
    """A store that counts the parts on their way at once, and lets a test hold them up."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.watch = threading.Lock()
        self.under_way = 0
        self.most_under_way = 0
        self.while_reading: Callable[[int], None] = lambda number: None
        self.while_writing: Callable[[int], None] = lambda number: None

    def _begins(self) -> None:
        with self.watch:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)

    def _ends(self) -> None:
        with self.watch:
            self.under_way -= 1

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> Buffer:
        self._begins()
        try:
            self.while_reading(1 + start // PART)
            return super().read_range(key, info, start, length)
        finally:
            self._ends()

    def write_part(self, key: str, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:
        self._begins()
        try:
            self.while_writing(number)
            return super().write_part(key, upload_id, number, data, md5)
        finally:
            self._ends()


@dataclass
class Copying:
    """One transfer in parts between two watched stores, and all that it shares."""

    at_once: int = 8
    memory_bytes: int = 1 << 20
    policy: RetryPolicy = IMPATIENT
    old: Watched = field(default_factory=lambda: Watched("old"))
    new: Watched = field(default_factory=lambda: Watched("new"))
    stop: StopSignal = field(default_factory=StopSignal)

    def __post_init__(self) -> None:
        self.budget = MemoryBudget(self.memory_bytes)
        options = TransferOptions(multipart_threshold=PART, part_size=PART, parts_at_once=self.at_once)
        self.source = store_session(self.old, self.stop, self.policy)
        self.destination = store_session(self.new, self.stop, self.policy)
        self.transfer = Transfer(self.source, self.destination, options, self.budget)
        self.old.put(KEY, DATA)

    def __call__(self, of: Claim | None = None) -> Outcome:
        return self.transfer(of or claim(entry()))

    def assert_arrived(self, outcome: Outcome) -> None:
        assert (outcome.state, outcome.size, outcome.md5) == (EntryState.DONE, SIZE, md5(DATA).digest())
        assert self.new.objects[KEY].data == DATA
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        assert not self.new.unfinished()
        assert is_whole(self.budget)


def meeting(parties: int) -> Callable[[int], None]:
    """What only goes on when so many are there at the same time."""
    barrier = threading.Barrier(parties, timeout=PATIENCE_SECONDS)

    def meet(number: int) -> None:
        if number <= parties:
            barrier.wait()

    return meet


def test_several_parts_of_one_object_are_on_their_way_at_once() -> None:
    copying = Copying()
    copying.old.while_reading = meeting(PARTS_AT_ONCE)
    outcome = copying()
    assert copying.old.most_under_way == PARTS_AT_ONCE
    assert copying.budget.peak_bytes == PARTS_AT_ONCE * PART
    copying.assert_arrived(outcome)


def test_no_more_parts_are_on_their_way_than_there_are_threads_for_them() -> None:
    copying = Copying(at_once=2)
    for number in range(1, 7):
        copying.old.put(key_of(number), DATA)
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(copying, [claim(entry(number)) for number in range(1, 7)]))
    assert {outcome.state for outcome in outcomes} == {EntryState.DONE}
    assert copying.old.most_under_way <= 2
    assert copying.new.most_under_way <= 2
    copying.assert_nothing_left()


@pytest.mark.parametrize("memory", [PART, 2 * PART + 1, 5 * PART])
def test_many_large_objects_share_a_memory_that_is_short_and_all_arrive(memory: int) -> None:
    copying = Copying(memory_bytes=memory)
    numbers = range(1, 17)
    for number in numbers:
        copying.old.put(key_of(number), DATA)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(copying, claim(entry(number))) for number in numbers]
        outcomes = [future.result(PATIENCE_SECONDS) for future in futures]
    assert {outcome.state for outcome in outcomes} == {EntryState.DONE}
    assert all(copying.new.objects[key_of(number)].data == DATA for number in numbers)
    assert copying.budget.peak_bytes <= memory
    copying.assert_nothing_left()


def test_parts_may_arrive_in_any_order() -> None:
    copying = Copying()
    last_first = {number: threading.Event() for number in range(1, 5)}

    def backwards(number: int) -> None:
        if number < 4:
            assert last_first[number + 1].wait(PATIENCE_SECONDS)
        if number <= 4:
            last_first[number].set()

    copying.new.while_writing = backwards
    copying.assert_arrived(copying())


def test_one_part_that_fails_waits_for_the_others_before_the_upload_is_thrown_away() -> None:
    copying = Copying()
    aborted = threading.Event()
    abort, meet, too_early = copying.new.abort_multipart, meeting(PARTS_AT_ONCE), []

    def first_fails(number: int) -> None:
        meet(number)
        if number == 1:
            raise StoreUnusable("the bucket is gone")
        if number <= PARTS_AT_ONCE:
            too_early.append(aborted.wait(0.2))  # as long as a part takes that has begun

    def noted(key: str, upload_id: str) -> None:
        aborted.set()
        abort(key, upload_id)

    copying.new.while_writing = first_fails
    copying.new.abort_multipart = noted  # type: ignore[method-assign]
    with pytest.raises(StoreUnusable, match="the bucket is gone"):
        copying()
    assert aborted.is_set()
    assert too_early == [False] * (PARTS_AT_ONCE - 1)
    assert not copying.new.objects
    copying.assert_nothing_left()


@pytest.mark.parametrize("failing", ["read_range", "write_part", "complete_multipart"])
def test_whatever_keeps_failing_leaves_nothing(failing: str) -> None:
    copying = Copying()
    store = copying.old if failing == "read_range" else copying.new
    store.fail(failing, *[ServerFailure("500")] * 100)
    outcome = copying()
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.SERVER)
    assert not copying.new.objects
    copying.assert_nothing_left()


def test_a_wish_to_stop_ends_the_waits_and_throws_the_upload_away() -> None:
    copying = Copying(policy=RetryPolicy(first_wait_seconds=60, longest_wait_seconds=60))
    copying.new.fail("write_part", *[NetworkFailure("reset")] * 100)
    copying.new.while_writing = lambda number: copying.stop.request()
    with pytest.raises(Interrupted):
        copying()
    copying.assert_nothing_left()


def test_an_upload_is_thrown_away_although_its_store_asked_for_a_pause() -> None:
    copying = Copying(policy=RetryPolicy(throttle_budget_seconds=600))

    def pause(number: int) -> None:
        copying.destination.limiter.throttled(600)
        copying.stop.request()
        raise Throttled("503", retry_after_seconds=600)

    copying.new.while_writing = pause
    with pytest.raises(Interrupted):
        copying()
    copying.assert_nothing_left()


def test_a_wait_for_memory_ends_with_a_wish_to_stop_and_leaves_nothing() -> None:
    copying = Copying(memory_bytes=10 * PART)
    other = copying.budget.reserve()
    with ThreadPoolExecutor(1) as pool:

        def take_all(_: int) -> None:
            other.request(10 * PART)

        copying.new.while_writing = take_all
        future = pool.submit(copying)
        wait_until(lambda: other.reserved_bytes == 10 * PART, "another has taken all there is")
        copying.stop.request()
        with pytest.raises(Interrupted):
            future.result(PATIENCE_SECONDS)
    other.release()
    copying.assert_nothing_left()


def test_beginnings_whose_answers_were_lost_are_thrown_away() -> None:
    copying = Copying()
    copying.new.start_multipart(KEY, PutOptions(ObjectHeaders()))  # the one that did begin
    copying.new.fail("start_multipart", *[NetworkFailure("reset")] * 100)
    assert copying().reason is Reason.NETWORK
    copying.assert_nothing_left()


def test_what_an_earlier_run_could_not_throw_away_is_thrown_away_by_the_next() -> None:
    copying = Copying()
    copying.new.start_multipart(KEY, PutOptions(ObjectHeaders()))  # never completed, so never used
    copying.assert_arrived(copying(Claim(entry(), attempts=3)))


def test_what_cannot_be_thrown_away_for_a_wish_to_stop_is_left_to_the_next_run() -> None:
    copying = Copying()
    copying.new.start_multipart(KEY, PutOptions(ObjectHeaders()))  # the one whose answer is lost
    copying.new.fail("start_multipart", NetworkFailure("reset"))
    copying.new.fail("abort_unfinished", Interrupted("stopped while waiting"))
    with pytest.raises(Interrupted):
        copying()
    assert len(copying.new.unfinished()) == 1
    copying.assert_arrived(copying(claim(entry(), left_behind=True)))


def test_a_fresh_large_object_costs_no_request_but_those_of_its_parts() -> None:
    copying = Copying()
    copying.assert_arrived(copying())
    assert {method for method, _ in copying.new.calls} == {"start_multipart", "write_part", "complete_multipart"}
    assert {method for method, _ in copying.old.calls} == {"read", "read_range"}


def test_retries_of_all_parts_are_counted() -> None:
    copying = Copying(policy=RetryPolicy(max_attempts=50, first_wait_seconds=0, longest_wait_seconds=0))
    copying.old.fail("read_range", *[NetworkFailure("reset")] * 20)
    copying.new.fail("write_part", *[ServerFailure("500")] * 30)
    outcome = copying()
    copying.assert_arrived(outcome)
    assert outcome.attempts == 51


class TestEtagOfTheDestination:
    """Where it has the form of one made of parts, it is held against them."""

    @staticmethod
    def putting_together(store: MemoryStore, etag: str, data: bytes | None = None) -> None:
        """Let a store answer another ETag for what it puts together, or put together something else."""
        complete = store.complete_multipart

        def otherwise(key: str, upload_id: str, parts: list[UploadedPart]) -> str:
            complete(key, upload_id, parts)
            store.objects[key].etag = etag
            if data is not None:
                store.objects[key].data = data
            return etag

        store.complete_multipart = otherwise  # type: ignore[method-assign]

    def test_what_was_put_together_wrongly_is_corrupt(self) -> None:
        copying = Copying()
        self.putting_together(copying.new, "0" * 32 + "-10", DATA[::-1])
        outcome = copying()
        assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.CORRUPT)
        assert "0000-10" in (outcome.detail or "")
        assert copying.new.count("complete_multipart") == 3, "another upload could have helped"
        copying.assert_nothing_left()

    def test_a_store_with_etags_of_its_own_is_found_out_once(self) -> None:
        copying = Copying()
        self.putting_together(copying.new, "0" * 32 + "-10")
        copying.assert_arrived(copying())
        copying.assert_arrived(copying())
        assert copying.new.count("digest") == 1

    def test_a_store_whose_etags_did_fit_is_believed_when_one_does_not(self) -> None:
        copying = Copying()
        copying.assert_arrived(copying())
        self.putting_together(copying.new, "0" * 32 + "-10", DATA[::-1])
        assert copying().reason is Reason.CORRUPT
        assert not copying.new.count("digest")

    @pytest.mark.parametrize("etag", ["opaque", "0" * 32, "abc-3"])
    def test_an_etag_of_another_form_tells_nothing(self, etag: str) -> None:
        copying = Copying()
        self.putting_together(copying.new, etag)
        copying.assert_arrived(copying())
        assert not copying.new.count("digest")


class TestSizesOfParts:
    @pytest.fixture(autouse=True)
    def small_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mastosync.copying.large_objects.MIB", MIB)

    @pytest.mark.parametrize(
        ("size", "parts_at_most", "expected"),
        [
            (17 * MIB, 10_000, 16 * MIB),
            (160_000 * MIB, 10_000, 16 * MIB),
            (160_000 * MIB + 1, 10_000, 17 * MIB),
            (5 * 1024 * 1024 * MIB, 10_000, 525 * MIB),
            (16_000 * MIB, 1_000, 16 * MIB),
            (16_001 * MIB, 1_000, 17 * MIB),
        ],
    )
    def test_parts_grow_so_that_no_more_are_needed_than_the_store_takes(
        self, size: int, parts_at_most: int, expected: int
    ) -> None:
        with ThreadPoolExecutor(1) as threads:
            large = LargeObjects(MemoryBudget(1024 * MIB), threads, 16 * MIB, parts_at_most)
            assert large.part_size_for(size, "key", "a store") == expected
        assert -(-size // expected) <= parts_at_most

    def test_an_object_whose_parts_do_not_fit_into_memory_is_too_large(self) -> None:
        with ThreadPoolExecutor(1) as threads:
            large = LargeObjects(MemoryBudget(256 * MIB), threads, 16 * MIB, 1_000)
            assert large.part_size_for(256_000 * MIB, "key", "a store") == 256 * MIB
            with pytest.raises(ObjectTooLarge, match=r"'key' at a store.* 257 MiB .* are 256") as raised:
                large.part_size_for(256_001 * MIB, "key", "a store")
        assert "257MiB" in raised.value.hint

    def test_it_fails_before_anything_is_begun(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mastosync.copying.large_objects.MIB", 1)
        old, new = MemoryStore("old"), MemoryStore("new")
        old.put(KEY, DATA)
        options = TransferOptions(multipart_threshold=PART, part_size=PART, parts_at_most=2)
        outcome = Transfer(store_session(old), store_session(new), options, MemoryBudget(10))(claim(entry()))
        assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.TOO_LARGE)
        assert not new.calls


class TestARunThatIsOver:
    """As after an error of the manifest: nobody waits for what is under way, and it must come to its end."""

    def _broken_off(self, copying: Copying, at_part: int) -> None:
        """Let go of the threads while this part is being written, and wait for the transfer to end."""
        begun, go_on = threading.Event(), threading.Event()

        def held_up(number: int) -> None:
            if number == at_part:
                begun.set()
                assert go_on.wait(PATIENCE_SECONDS)

        copying.new.while_writing = held_up
        with ThreadPoolExecutor(1) as thread:
            outcome = thread.submit(copying)
            assert begun.wait(PATIENCE_SECONDS)
            copying.stop.request()
            copying.transfer.close()
            go_on.set()
            assert isinstance(outcome.exception(PATIENCE_SECONDS), Interrupted | RuntimeError)
        assert is_whole(copying.budget)

    @pytest.mark.parametrize("at_part", [1, 2, 5])
    def test_waits_for_no_part_that_will_never_begin(self, at_part: int) -> None:
        self._broken_off(Copying(at_once=1), at_part)

    @pytest.mark.parametrize("at_part", [1, 2, 5])
    def test_waits_for_no_memory_that_such_a_part_holds(self, at_part: int) -> None:
        self._broken_off(Copying(at_once=1, memory_bytes=2 * PART), at_part)
