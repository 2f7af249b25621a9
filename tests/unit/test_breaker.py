"""A store that answers, and fails at every request of one kind, is waited for; objects that fail are not."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mastosync.engine import breaker
from mastosync.engine.breaker import ENOUGH
from mastosync.engine.downtime import NO_SUCH_KEY
from mastosync.engine.retry import PatientStore, RetryPolicy
from mastosync.engine.transfer import TransferOptions
from mastosync.errors import NetworkFailure, ObjectError, ServerFailure, StoreUnusable, Throttled
from mastosync.manifest import ManifestReport
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, Record
from mastosync.progress import AnyProgress, CopyProgress, Silence
from tests.contract.memory_store import MemoryStore
from tests.unit.engine_kit import Clock, gate
from tests.unit.test_downtime import HOUR, ONE, World

pytestmark = pytest.mark.timing

MINUTE = 60.0


class Partly(MemoryStore):
    """Fails at one method from one call on, for so many calls, and at some keys always; all else it answers."""

    def __init__(
        self, name: str, method: str, *, after: int = 0, fails: int = 0, error: ObjectError | None = None
    ) -> None:
        super().__init__(name)
        self.methods, self.after, self.fails = method.split(), after, fails
        self.error = error or ServerFailure("the store answers 500")
        self.bad: set[str] = set()
        self.good = 0
        self.asked_at: list[float] = []
        self._guard = threading.Lock()

    def _called(self, method: str, key: str = "") -> None:
        super()._called(method, key)
        if method not in self.methods or key == NO_SUCH_KEY:
            return
        with self._guard:
            self.asked_at.append(time.monotonic())
            if key in self.bad:
                raise ServerFailure(f"cannot {method} {key!r}: the store answers 500")
            if self.good >= self.after and self.fails:
                self.fails -= 1
                raise self.error
            self.good += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "clock" in request.fixturenames:
        return
    monkeypatch.setattr(breaker, "FIRST_WAIT_SECONDS", 0.005)
    monkeypatch.setattr(breaker, "LONGEST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(breaker, "_LOOK_SECONDS", 0.002)
    monkeypatch.setattr("mastosync.engine.limiter._CLOSED_SECONDS", 0.01)


def world_with(tmp_path: Path, role: str, store: Partly, objects: int = 120) -> World:
    old = store if role == "old" else MemoryStore("old")
    new = store if role == "new" else MemoryStore("new")
    return World(tmp_path, old, new, objects=objects)


@pytest.mark.parametrize(("workers", "after"), [(1, 0), (1, 47), (16, 47)])
@pytest.mark.parametrize(("role", "method"), [("new", "write"), ("old", "read")])
@pytest.mark.parametrize("error", [ServerFailure("500"), NetworkFailure("timed out")], ids=["500", "network"])
def test_a_store_that_fails_at_one_kind_of_request_costs_time_and_nothing_else(
    tmp_path: Path, role: str, method: str, after: int, workers: int, error: ObjectError
) -> None:
    store = Partly(role, method, after=after, fails=80, error=error)
    world = world_with(tmp_path, role, store)
    assert world.copy(workers=workers).done == len(world.entries)
    world.assert_all_is_well()
    assert store.fails == 0


@pytest.mark.parametrize("methods", ["write start_multipart", "write write_part"])
def test_large_objects_are_waited_for_with_the_small_ones(tmp_path: Path, methods: str) -> None:
    store = Partly("new", methods, after=30, fails=100)
    world = world_with(tmp_path, "new", store, objects=130)
    world.copy(workers=4, writing=TransferOptions(multipart_threshold=2, part_size=4))  # from 100 on, they are large
    world.assert_all_is_well()
    assert (store.fails, store.unfinished()) == (0, [])


@pytest.mark.parametrize("workers", [1, 16])
@pytest.mark.parametrize(("role", "method"), [("new", "write"), ("old", "read")])
def test_objects_that_always_fail_among_good_ones_are_no_outage(
    tmp_path: Path, role: str, method: str, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = Partly(role, method)
    world = world_with(tmp_path, role, store)
    store.bad = {canonical_key(world.entries[number], "") for number in (*range(30, 34), 77, 78, 0, 119)}
    with caplog.at_level(logging.WARNING, "mastosync.engine.downtime"):
        progress = world.copy(workers=workers)
    assert (progress.failed, progress.done) == (8, 112)
    assert not [each for each in caplog.records if each.name == "mastosync.engine.downtime"]
    assert {canonical_key(each.entry, "") for each in failed(world)} == store.bad


@pytest.mark.parametrize("workers", [1, 16])
def test_bad_objects_do_not_keep_a_store_that_works_again_from_being_found_out(tmp_path: Path, workers: int) -> None:
    store = Partly("new", "write", after=20, fails=60)
    world = world_with(tmp_path, "new", store)
    store.bad = {canonical_key(world.entries[number], "") for number in range(60, 100, 4)}
    progress = world.copy(workers=workers)
    assert progress.done + progress.failed == len(world.entries)
    assert {canonical_key(each.entry, "") for each in failed(world)} == store.bad


def test_few_objects_that_all_fail_are_failed_as_nobody_can_tell(tmp_path: Path) -> None:
    store = Partly("new", "write", fails=10_000)
    world = world_with(tmp_path, "new", store, objects=ENOUGH - 1)
    assert world.copy(workers=2).failed == ENOUGH - 1


def failed(world: World) -> Iterator[Record]:
    return ManifestReport(world.manifest).iter_records((EntryState.FAILED,))


def test_while_it_fails_one_request_at_a_time_asks_and_progress_tells(tmp_path: Path) -> None:
    store = Partly("new", "write", after=30, fails=100)
    world = world_with(tmp_path, "new", store, objects=200)
    seen: list[tuple[int, int, bool]] = []

    class Looking(Silence):
        def advanced(self, progress: AnyProgress) -> None:
            assert isinstance(progress, CopyProgress)
            claims = world.manifest.connection.execute("SELECT count(*) FROM claims").fetchone()[0]
            seen.append((claims, progress.failed, bool(progress.throttling)))

    world.copy(Looking())
    world.assert_all_is_well()
    while_down = [claims for claims, _, is_down in seen if is_down]
    assert while_down, "it was told"
    assert while_down == sorted(while_down, reverse=True), "nothing is claimed meanwhile"


class TestOneRequest:
    def asked(self, store: MemoryStore, patience_seconds: float = HOUR, policy: RetryPolicy = ONE) -> PatientStore:
        made = gate(store, policy=policy, patience_seconds=patience_seconds)
        made.limiter.has_answered = True
        return PatientStore(made)

    def fail_at(self, store: PatientStore, count: int) -> None:
        for number in range(count):
            with pytest.raises(ObjectError):
                store.head(f"{number}")

    def test_is_asked_after_growing_waits_that_have_a_longest(self, clock: Clock) -> None:
        store = Partly("new", "head", fails=ENOUGH + 11)
        store.put("k", b"data")
        asked = self.asked(store)
        self.fail_at(asked, ENOUGH - 1)
        store.asked_at.clear()
        assert asked.head("k").size == 4
        waits = [later - before for before, later in itertools.pairwise(store.asked_at)]
        assert 1 <= waits[0] <= 2
        assert max(waits) <= 121
        assert waits[-1] >= 60

    def test_ends_the_run_when_patience_is_over(self, clock: Clock) -> None:
        store = Partly("new", "head", fails=100_000)
        asked = self.asked(store)
        self.fail_at(asked, ENOUGH - 1)
        with pytest.raises(StoreUnusable, match="has failed at every request of one kind since") as unusable:
            asked.head("k")
        assert unusable.value.may_pass
        assert clock.now == pytest.approx(1000 + HOUR, abs=2)

    def test_fails_at_once_if_patience_is_off(self, clock: Clock) -> None:
        store = Partly("new", "head", fails=100)
        self.fail_at(self.asked(store, patience_seconds=0), 3 * ENOUGH)
        assert not clock.slept

    def test_of_no_object_needs_no_company(self, clock: Clock) -> None:
        store = Partly("new", "list_page", fails=5)
        assert self.asked(store).list_page("", "").is_last


def test_writes_that_all_get_503_are_waited_for_as_well(clock: Clock) -> None:
    store = Partly("new", "delete", fails=10**6, error=Throttled("503"))
    made = gate(store, policy=RetryPolicy(), patience_seconds=HOUR)
    made.limiter.has_answered = True
    for number in range(ENOUGH - 1):
        with pytest.raises(Throttled):
            PatientStore(made).delete(f"{number}")
    began = clock.now
    with pytest.raises(StoreUnusable):
        PatientStore(made).delete("k")
    assert clock.now >= began + 15 * MINUTE + HOUR


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
        made = gate(store, policy=RetryPolicy(), patience_seconds=patience_seconds)
        made.limiter.has_answered = True
        store.put("k", b"data")
        return lambda: PatientStore(made).head("k")

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
            PatientStore(gate(store, policy=RetryPolicy(), patience_seconds=HOUR)).check()
        assert clock.now == pytest.approx(1000 + 15 * MINUTE, abs=31)

    def test_fails_as_before_if_patience_is_off(self, clock: Clock) -> None:
        with pytest.raises(Throttled):
            self.copy(Gateway(clock, 40 * MINUTE), patience_seconds=0)()
        assert clock.now == pytest.approx(1000 + 15 * MINUTE, abs=31)


def test_one_key_that_is_throttled_alone_uses_up_its_budget(tmp_path: Path) -> None:
    store = Partly("new", "write")
    world = world_with(tmp_path, "new", store)
    key = canonical_key(world.entries[50], "")
    write = store.write
    counts: Counter[str] = Counter()

    def throttled(at: str, *arguments: object) -> str:
        counts[at] += 1
        if at == key:
            raise Throttled("the store answers 503")
        return write(at, *arguments)  # type: ignore[arg-type]

    store.write = throttled  # type: ignore[method-assign, assignment]
    progress = world.copy(workers=4)
    assert (progress.failed, progress.done) == (1, 119)
