"""A store that is down for a while is waited for: nothing fails, nothing is uploaded twice, and it is told."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from mastosync.errors import (
    BucketMissing,
    Interrupted,
    NetworkFailure,
    ObjectDenied,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.manifest import ManifestReader
from mastosync.model import EntryState
from mastosync.progress import AnyProgress, CopyProgress, NoProgress
from mastosync.runtime import outages
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.outages import NO_SUCH_KEY, Downtime
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import DigestUse, PutOptions
from tests.support.clock import Clock
from tests.support.copy_world import HOUR, World
from tests.support.memory_store import MemoryStore
from tests.support.transfers import IMPATIENT, store_session
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.timing

ONE = RetryPolicy(max_attempts=1)
MINUTE = 60.0


@pytest.fixture(autouse=True)
def _write_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No object is tried with a wrong MD5 first."""
    monkeypatch.setattr("mastosync.copying.digests._CONTRADICTED_AT_FIRST", 1_000_000)


class Unsteady(MemoryStore):
    """Down from one call on, until it was asked so many times for what it has not got; then, it may be, again."""

    def __init__(self, name: str, after: int = 0, questions: int = 3, times: int = 1) -> None:
        super().__init__(name)
        self.after, self.questions, self.times = after, questions, times
        self.loses_answers = 0  # of so many writes that it takes in before it is down
        self.stored: Counter[str] = Counter()  # writes, by key
        self.asked_at: list[float] = []
        self.at_once = self.most_at_once = 0  # calls while it is down and is being asked whether it is there
        self._seen = 0
        self._asked = 0
        self._guard = threading.Lock()

    @property
    def is_down(self) -> bool:
        return self.times > 0 and self._seen > self.after

    def _called(self, method: str, key: str = "") -> None:
        super()._called(method, key)
        with self._guard:
            if key == NO_SUCH_KEY:
                self.asked_at.append(time.monotonic())
                self._asked += 1
                if self._asked > self.questions and self.is_down:
                    self.times, self._asked, self._seen = self.times - 1, 0, 0
            else:
                self._seen += 1
            if self.is_down and not (method == "write" and self.loses_answers and not self.stored[key]):
                raise NetworkFailure(f"cannot {method} {key!r}: connection refused")

    def write(
        self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = DigestUse.COMPUTED
    ) -> str:
        etag = super().write(key, data, md5, options, digest)
        with self._guard:
            self.stored[key] += 1
            if self.is_down and self.loses_answers:
                self.loses_answers -= 1
                raise NetworkFailure(f"cannot write {key!r}: the answer is lost")
        return etag


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "FIRST_WAIT_SECONDS", 0.005)
    monkeypatch.setattr(outages, "LONGEST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr("mastosync.runtime.limiter._CLOSED_SECONDS", 0.01)


class TestOneRequest:
    def asked(self, store: MemoryStore, patience_seconds: float = HOUR, policy: RetryPolicy = ONE) -> RetryingStore:
        """A store that has answered once."""
        made = store_session(store, policy=policy, patience_seconds=patience_seconds)
        made.limiter.has_answered = True
        return RetryingStore(made)

    def test_waits_until_its_store_answers_and_is_repeated(self, clock: Clock) -> None:
        store = Unsteady("new", questions=12)
        store.put("k", b"data")
        assert self.asked(store).head("k").size == 4
        waits = [later - before for before, later in itertools.pairwise(store.asked_at)]
        assert len(waits) == 12
        assert 1 <= waits[0] <= 2
        assert max(waits) <= 120
        assert waits[-1] >= 60

    def test_fails_after_one_question_if_its_store_answers_that(self, clock: Clock) -> None:
        store = MemoryStore()
        store.fail("head", *[ServerFailure("500")] * 5)
        with pytest.raises(ServerFailure):
            self.asked(store, policy=IMPATIENT).head("k")
        assert store.calls == [("head", "k")] * 3 + [("read", NO_SUCH_KEY)]

    def test_is_repeated_if_an_outage_has_ended_before_it_was_looked_at(self, clock: Clock) -> None:
        """Another thread has waited for it, and others are answered again already."""
        asked = self.asked(MemoryStore(), policy=IMPATIENT)
        down, attempts = asked.store_session.downtime, 0
        assert down is not None

        def fails_while_it_is_down(key: str) -> str:
            nonlocal attempts
            attempts += 1
            if attempts > IMPATIENT.max_attempts:
                return key
            if attempts == IMPATIENT.max_attempts:
                down.ended_outages += 1
                asked.store_session.limiter.note(None)
            raise NetworkFailure("refused")

        assert asked.ask(fails_while_it_is_down, "k") == "k"

    def test_is_not_waited_for_if_that_is_refused(self, clock: Clock) -> None:
        store = MemoryStore()
        store.fail("head", NetworkFailure("reset"))
        store.fail("read", ObjectDenied("403"))
        with pytest.raises(NetworkFailure):
            self.asked(store).head("k")

    def test_waits_as_well_if_that_gets_503(self, clock: Clock) -> None:
        store = MemoryStore()
        store.put("k", b"data")
        store.fail("head", NetworkFailure("reset"))
        store.fail("read", *[Throttled("503")] * 4)
        assert self.asked(store).head("k").size == 4
        assert store.count("read") == 5

    def test_ends_the_run_when_patience_is_over(self, clock: Clock) -> None:
        store = Unsteady("new", questions=1_000)
        asked = self.asked(store)
        with pytest.raises(StoreUnusable, match=r"bucket 'memory' .* has been down since .*refused") as unusable:
            asked.head("k")
        assert (unusable.value.exit_code, "outage_patience" in unusable.value.hint) == (7, True)
        assert clock.now == pytest.approx(1000 + HOUR)
        questions = len(store.asked_at)
        with pytest.raises(StoreUnusable) as told_again:  # and nobody else waits once more
            asked.head("k")
        assert len(store.asked_at) == questions
        assert unusable.value.may_pass, "so `follow` tries again in its next round"
        assert told_again.value.may_pass, "whoever of its workers is heard first"

    def test_ends_the_run_when_the_store_comes_back_without_its_bucket(self, clock: Clock) -> None:
        store = MemoryStore()
        store.fail("head", NetworkFailure("reset"))
        store.fail("read", NetworkFailure("reset"), BucketMissing("no such bucket"))
        asked = self.asked(store)
        with pytest.raises(BucketMissing):
            asked.head("k")
        store.fail("head", NetworkFailure("reset"))
        with pytest.raises(BucketMissing) as told_again:
            asked.head("k")
        assert not told_again.value.may_pass

    def test_is_told_at_once_if_the_store_has_never_answered(self, clock: Clock) -> None:
        store = Unsteady("new")
        with pytest.raises(NetworkFailure):
            RetryingStore(store_session(store, policy=ONE, patience_seconds=HOUR)).check()
        assert not clock.slept

    def test_is_told_at_once_if_patience_is_off(self, clock: Clock) -> None:
        with pytest.raises(NetworkFailure):
            self.asked(Unsteady("new"), patience_seconds=0).head("k")

    def test_is_told_at_its_own_deadline(self, clock: Clock) -> None:
        with pytest.raises(NetworkFailure):
            self.asked(Unsteady("new"), policy=ONE.within(60)).head("k")

    def test_is_given_all_its_attempts_again_and_what_the_outage_took_does_not_count(self, clock: Clock) -> None:
        store = MemoryStore()
        store.put("k", b"data")
        store.fail("head", *[NetworkFailure("reset")] * 4)
        store.fail("read", *[NetworkFailure("reset")] * 2)
        asked = self.asked(store, policy=IMPATIENT)
        assert asked.head("k").size == 4
        assert asked.retries - asked.retries_in_outages == 1

    def test_ends_at_once_when_somebody_asks_to_stop(self, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outages, "FIRST_WAIT_SECONDS", 600)
        store, stop = Unsteady("new"), StopSignal()
        made = store_session(store, stop, ONE, patience_seconds=HOUR)
        made.limiter.has_answered = True
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                RetryingStore(made).head("k")
            except BaseException as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: made.downtime is not None and made.downtime.outage is not None, "it is waited for")
        stop.request()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert [type(error) for error in errors] == [Interrupted] * 3

    def test_is_told_in_the_log_with_its_store_since_when_and_until_when(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = Unsteady("new")
        store.put("k", b"data")
        with caplog.at_level(logging.WARNING, "mastosync.runtime.outages"):
            self.asked(store).head("k")
        begun, ended = caplog.records
        assert "is down, and asked again until" in begun.getMessage()
        assert "connection refused" in begun.getMessage()
        assert {"store", "since", "until"} == begun.about.keys()  # type: ignore[attr-defined]
        assert "answers again" in ended.getMessage()


@pytest.mark.parametrize("workers", [1, 16])
@pytest.mark.parametrize(("role", "after"), [("old", 0), ("old", 57), ("new", 0), ("new", 57), ("new", 201)])
def test_a_store_that_is_down_for_a_while_costs_time_and_nothing_else(
    world_of: Callable[..., World], quick: None, role: str, after: int, workers: int
) -> None:
    old = Unsteady("old", after, times=2) if role == "old" else MemoryStore("old")
    new = Unsteady("new", after, times=2) if role == "new" else Unsteady("new", times=0)
    world = world_of(old, new)
    assert world.copy(workers=workers).done == len(world.entries)
    world.assert_all_is_well()
    assert set(new.stored.values()) == {1}


def test_what_was_taken_in_before_its_answer_was_lost_is_not_uploaded_again(
    world_of: Callable[..., World], quick: None
) -> None:
    new = Unsteady("new", 50)
    new.loses_answers = 10
    world = world_of(MemoryStore("old"), new)
    world.copy()
    world.assert_all_is_well()
    assert set(new.stored.values()) == {1}


def test_while_it_is_down_it_is_asked_one_question_at_a_time_and_nothing_else_is_claimed(
    world_of: Callable[..., World], quick: None
) -> None:
    new = Unsteady("new", 30, questions=20)
    world = world_of(MemoryStore("old"), new, objects=400)
    seen: list[tuple[int, int]] = []

    class Looking(NoProgress):
        def advanced(self, progress: AnyProgress) -> None:
            assert isinstance(progress, CopyProgress)
            if progress.throttling:
                claims = world.manifest.connection.execute("SELECT count(*) FROM claims").fetchone()[0]
                seen.append((claims, progress.failed))

    world.copy(Looking())
    world.assert_all_is_well()
    assert seen, "it was told"
    assert {failed for _, failed in seen} == {0}
    while_down = new.calls[: max(n for n, call in enumerate(new.calls) if call[1] == NO_SUCH_KEY)]
    first = next(n for n, call in enumerate(while_down) if call[1] == NO_SUCH_KEY)
    others = [call for call in while_down[first:] if call[1] != NO_SUCH_KEY]
    assert len(others) <= 16, "but for those that were on their way"


class Gateway(MemoryStore):
    """Answers 503 to everything until a moment."""

    def __init__(self, clock: Clock, seconds: float, retry_after_seconds: float | None = None) -> None:
        super().__init__("new")
        self.clock, self.until, self.retry_after_seconds = clock, clock.now + seconds, retry_after_seconds

    def _called(self, method: str, key: str = "") -> None:
        super()._called(method, key)
        if self.clock.now < self.until:
            raise Throttled("cannot do it: 503", retry_after_seconds=self.retry_after_seconds)


class TestAGatewayThatAnswers503ToEverything:
    def copy(self, store: MemoryStore, patience_seconds: float = HOUR) -> Callable[[], object]:
        made = store_session(store, policy=RetryPolicy(), patience_seconds=patience_seconds)
        made.limiter.has_answered = True
        store.put("k", b"data")
        return lambda: RetryingStore(made).head("k")

    @pytest.mark.parametrize("retry_after_seconds", [None, 30.0, 7200.0])
    def test_is_waited_for_as_long_as_a_store_that_is_down(
        self, clock: Clock, retry_after_seconds: float | None
    ) -> None:
        assert self.copy(Gateway(clock, 40 * MINUTE, retry_after_seconds))()

    def test_is_not_waited_for_longer(self, clock: Clock) -> None:
        store = Gateway(clock, 3 * HOUR)
        with pytest.raises(StoreUnusable, match="503"):
            self.copy(store)()
        assert clock.now < 1000 + HOUR + 16 * MINUTE
        assert clock.now >= 1000 + HOUR

    def test_is_asked_no_sooner_than_it_says(self, clock: Clock) -> None:
        store = Gateway(clock, 40 * MINUTE, 300.0)
        self.copy(store)()
        assert len([key for _, key in store.calls if key == NO_SUCH_KEY]) <= 40 * MINUTE / 300

    def test_is_not_waited_for_if_it_has_never_answered_anything_else(self, clock: Clock) -> None:
        store = Gateway(clock, 40 * MINUTE)
        with pytest.raises(Throttled):
            RetryingStore(store_session(store, policy=RetryPolicy(), patience_seconds=HOUR)).check()
        assert clock.now == pytest.approx(1000 + 15 * MINUTE, abs=31)

    def test_fails_as_before_if_patience_is_off(self, clock: Clock) -> None:
        with pytest.raises(Throttled):
            self.copy(Gateway(clock, 40 * MINUTE), patience_seconds=0)()
        assert clock.now == pytest.approx(1000 + 15 * MINUTE, abs=31)


def test_one_endpoint_for_both_is_one_outage_and_two_are_two(clock: Clock) -> None:
    stop = StopSignal()
    shared = EndpointLimiter(stop)
    shared.has_answered = True
    down = Downtime(shared, stop, HOUR)
    old, new = Unsteady("old"), MemoryStore("new")
    old.put("k", b"data")
    open_stores = [StoreSession(store, shared, ONE, stop, downtime=down) for store in (old, new)]
    RetryingStore(open_stores[0]).head("k")
    assert down.ended_outages == 1
    other = store_session(new, stop, ONE, patience_seconds=HOUR)
    assert other.downtime is not None
    assert (other.limiter.reserve(), other.downtime.outage) == (0, None)


def test_a_run_that_has_lost_patience_leaves_what_was_on_its_way_to_the_next(
    world_of: Callable[..., World], quick: None
) -> None:
    new = Unsteady("new", 50, questions=10**6)
    new.loses_answers = 10
    world = world_of(MemoryStore("old"), new)
    world.open_stores = [
        store_session(store, world.stop, IMPATIENT, patience_seconds=0.05) for store in (world.old, new)
    ]
    for each in world.open_stores:
        each.limiter.has_answered = True
    with pytest.raises(StoreUnusable, match="has been down since"):
        world.copy()
    states = Counter(record.state for record in ManifestReader(world.manifest).iter_records())
    assert states[EntryState.FAILED] == 0
    new.times, world.stop = 0, StopSignal()
    world.open_stores = [store_session(store, world.stop, IMPATIENT) for store in (world.old, new)]
    world.copy()
    world.assert_all_is_well()
    assert set(new.stored.values()) == {1}
