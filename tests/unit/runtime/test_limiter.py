"""Throttling slows a whole endpoint, and the endpoint recovers by itself."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from mastosync.errors import (
    Interrupted,
    MastosyncError,
    NetworkFailure,
    ObjectChanged,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.model import ObjectInfo
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal
from tests.support.clock import Clock
from tests.support.memory_store import MemoryStore
from tests.support.transfers import IMPATIENT, store_session

pytestmark = pytest.mark.timing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Endpoint:
    """A store by the clock: takes so many requests a second, and throttles what comes above."""

    def __init__(
        self, clock: Clock, takes: float, throttled_by_chance: float = 0.0, ceiling: float | None = None
    ) -> None:
        self.clock = clock
        self.limiter = EndpointLimiter(StopSignal(), ceiling)
        self.takes = takes
        self.chance = throttled_by_chance
        self.random = random.Random(1)
        self._second, self._in_second = 0, 0

    def ask(self, seconds: float, cost: float = 0.001) -> tuple[int, int]:
        """Ask as fast as the limiter lets us; returns how many requests were taken, and how many throttled."""
        end, taken, throttled = self.clock.now + seconds, 0, 0
        while self.clock.now < end:
            self.limiter.wait()
            self.clock.now += cost
            if self._refuses():
                throttled += 1
                self.limiter.throttled(None)
            else:
                taken += 1
                self.limiter.succeeded()
        return taken, throttled

    def _refuses(self) -> bool:
        if int(self.clock.now) != self._second:
            self._second, self._in_second = int(self.clock.now), 0
        self._in_second += 1
        return self._in_second > self.takes or self.random.random() < self.chance


def test_nothing_is_limited_before_a_throttle(clock: Clock) -> None:
    taken, _ = Endpoint(clock, takes=10_000).ask(2)
    assert taken == pytest.approx(2000, rel=0.01)
    assert not [seconds for seconds in clock.slept if seconds > 0]


def test_retry_after_holds_for_every_request(clock: Clock) -> None:
    limiter = EndpointLimiter(StopSignal())
    begin = clock.now
    limiter.throttled(7)
    limiter.wait()
    assert clock.now >= begin + 7


def test_the_longest_wait_that_anybody_was_asked_for_holds(clock: Clock) -> None:
    limiter = EndpointLimiter(StopSignal())
    begin = clock.now
    for asked in (3, 10, 1):
        limiter.throttled(asked)
    limiter.wait()
    assert clock.now == pytest.approx(begin + 10)


def test_a_hard_limit_is_found_and_mostly_used(clock: Clock) -> None:
    endpoint = Endpoint(clock, takes=100)
    endpoint.ask(10)
    taken, throttled = endpoint.ask(60)
    assert taken >= 0.7 * 60 * 100
    assert throttled <= 0.1 * taken


def test_a_store_that_throttles_by_chance_is_hardly_slowed_down(clock: Clock) -> None:
    endpoint = Endpoint(clock, takes=10_000, throttled_by_chance=0.01)
    taken, _ = endpoint.ask(60, cost=0.01)
    assert taken >= 0.5 * 60 * 100


def test_a_second_full_of_throttles_halves_the_rate_and_quiet_ones_lift_the_limit(clock: Clock) -> None:
    endpoint = Endpoint(clock, takes=0)
    for _ in range(100):
        endpoint.limiter.wait()
        clock.now += 0.009
    for _ in range(50):
        endpoint.limiter.throttled(None)
    clock.now += 0.5  # the pause is over
    endpoint.takes = 10_000
    endpoint.ask(0.001)
    rate = endpoint.limiter.state().rate
    assert rate is not None
    assert 35 <= rate <= 50
    assert endpoint.limiter.state().throttles == 50
    endpoint.ask(60)
    assert endpoint.limiter.state().rate is None


def test_pauses_grow_while_the_endpoint_keeps_throttling(clock: Clock) -> None:
    limiter = EndpointLimiter(StopSignal())
    pauses = []
    for _ in range(10):
        limiter.throttled(None)
        pauses.append(limiter.state().paused_seconds)
        clock.now += pauses[-1]
    assert 0.1 <= pauses[0] <= 0.2
    assert 15 <= pauses[-1] <= 30


def test_a_ceiling_holds_from_the_first_request_on(clock: Clock) -> None:
    taken, _ = Endpoint(clock, takes=10_000, ceiling=50).ask(10)
    assert taken == pytest.approx(500, abs=5)  # what an idle time may be made up for


def test_below_a_ceiling_the_rate_follows_the_endpoint(clock: Clock) -> None:
    endpoint = Endpoint(clock, takes=100, ceiling=300)
    endpoint.ask(10)
    taken, throttled = endpoint.ask(60)
    assert taken >= 0.7 * 60 * 100
    assert throttled <= 0.1 * taken


def test_a_ceiling_still_holds_when_the_endpoint_has_recovered(clock: Clock) -> None:
    endpoint = Endpoint(clock, takes=0, ceiling=100)
    endpoint.ask(2)
    endpoint.takes = 10_000
    endpoint.ask(60)
    assert endpoint.limiter.state().rate is None
    taken, _ = endpoint.ask(10)
    assert taken == pytest.approx(1000, rel=0.01)


def test_an_idle_time_is_made_up_for_by_a_twentieth_of_a_second_at_most(clock: Clock) -> None:
    limiter = EndpointLimiter(StopSignal(), ceiling=100)
    limiter.wait()
    clock.now += 3600
    at_once = 0
    while not limiter.reserve():
        at_once += 1
    assert 5 <= at_once <= 6


def test_whoever_may_not_go_yet_learns_when_to_ask_again(clock: Clock) -> None:
    limiter = EndpointLimiter(StopSignal(), ceiling=1)
    assert limiter.reserve() == 0.0
    assert limiter.reserve() == pytest.approx(1)
    clock.now += 0.95
    assert limiter.reserve() == pytest.approx(0.05)
    limiter.throttled(5)
    assert limiter.reserve() == pytest.approx(5)
    clock.now += 5.001
    assert limiter.reserve() == 0.0


def test_many_threads_keep_to_the_ceiling_and_use_it() -> None:
    limiter = EndpointLimiter(StopSignal(), ceiling=400)
    begin = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: limiter.wait(), range(400)))
    seconds = time.monotonic() - begin
    assert seconds >= (400 - 1) / 400 - 0.05  # what the first may catch up on
    assert seconds < 3


@dataclass
class Refusals:
    """A store that takes so many requests in each second of its clock, and/or refuses some by chance."""

    in_a_second: float = math.inf
    by_chance: float = 0.0
    retry_after: float | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(1)
        self._second, self._taken = -1, 0

    def refuses(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._taken = int(now), 0
        self._taken += 1
        return self._taken > self.in_a_second or self._random.random() < self.by_chance


class Crowd:
    """Workers by the clock, each with a request under way for 20 ms or waiting for the limiter."""

    def __init__(self, clock: Clock, store: Refusals, workers: int) -> None:
        self.clock, self.store = clock, store
        self.limiter = EndpointLimiter(StopSignal())
        self._random = random.Random(1)
        self._ids = itertools.count()
        self._events: list[tuple[float, int, bool]] = []  # when, which, whether it is an answer
        for _ in range(workers):
            self._later(0.0, answer=False)

    def _later(self, seconds: float, *, answer: bool) -> None:
        heapq.heappush(self._events, (self.clock.now + seconds, next(self._ids), answer))

    def work(self, seconds: float) -> tuple[float, float]:
        """Returns: how many requests a second were taken, and how many throttled."""
        end, taken, throttled = self.clock.now + seconds, 0, 0
        while self._events[0][0] < end:
            self.clock.now, _, answer = heapq.heappop(self._events)
            if not answer:
                wait = self.limiter.reserve()
                self._later(wait or 0.02 * self._random.uniform(0.7, 1.3), answer=not wait)
                continue
            if self.store.refuses(self.clock.now):
                throttled += 1
                self.limiter.throttled(self.store.retry_after)
            else:
                taken += 1
                self.limiter.succeeded()
            self._later(0.0, answer=False)
        self.clock.now = end
        return taken / seconds, throttled / seconds


@pytest.mark.parametrize(
    ("limit", "workers"), [(5, 1), (40, 1), (5, 16), (40, 16), (240, 16), (5, 64), (40, 64), (240, 64)]
)
def test_a_hard_limit_is_found_within_seconds_however_many_are_under_way(
    clock: Clock, limit: int, workers: int
) -> None:
    crowd = Crowd(clock, Refusals(in_a_second=limit), workers)
    crowd.work(8)
    taken, throttled = crowd.work(40)
    assert taken >= 0.85 * limit
    assert throttled <= 0.1 * taken + 1
    rate = crowd.limiter.state().rate
    assert rate is not None
    assert 0.7 * limit <= rate <= 2 * limit + 1


def test_a_hard_limit_that_says_how_long_to_wait_is_found_as_well(clock: Clock) -> None:
    crowd = Crowd(clock, Refusals(in_a_second=240, retry_after=1), workers=64)
    crowd.work(10)
    taken, throttled = crowd.work(60)
    assert taken >= 0.7 * 240
    assert throttled <= 0.05 * taken


def test_stray_throttles_hardly_slow_a_crowd_down(clock: Clock) -> None:
    at_full_speed, _ = Crowd(clock, Refusals(), workers=64).work(10)
    crowd = Crowd(clock, Refusals(by_chance=0.01), workers=64)
    taken, _ = crowd.work(30)
    assert taken >= 0.9 * at_full_speed
    assert crowd.limiter.state().rate is None


def test_an_endpoint_that_recovers_is_soon_asked_at_full_speed_again(clock: Clock) -> None:
    store = Refusals(in_a_second=40)
    crowd = Crowd(clock, store, workers=16)
    crowd.work(20)
    store.in_a_second = math.inf
    crowd.work(15)
    taken, throttled = crowd.work(10)
    assert crowd.limiter.state().rate is None
    assert taken >= 700
    assert not throttled


def test_one_throttled_thread_makes_the_others_wait() -> None:
    limiter = EndpointLimiter(StopSignal())
    limiter.throttled(0.3)
    begin = time.monotonic()

    def wait_and_look(_: int) -> float:
        limiter.wait()
        return time.monotonic()

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(wait_and_look, range(4)))
    assert min(ended) - begin >= 0.29


def test_a_pause_ends_at_once_when_somebody_asks_to_stop() -> None:
    stop = StopSignal()
    limiter = EndpointLimiter(stop)
    limiter.throttled(3600)
    threading.Timer(0.05, stop.request).start()
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        limiter.wait()
    assert time.monotonic() - begin < 5


def test_transient_failures_are_repeated_up_to_the_limit() -> None:
    store = MemoryStore()
    store.put("k", b"1")
    store.fail("head", NetworkFailure("1"), ServerFailure("2"))
    patient = RetryingStore(store_session(store))
    assert patient.head("k").size == 1
    assert patient.retries == 2
    store.fail("head", *[NetworkFailure(str(number)) for number in range(10)])
    with pytest.raises(NetworkFailure, match="2"):
        RetryingStore(store_session(store)).head("k")
    assert store.count("head") == 3 + IMPATIENT.max_attempts


def test_permanent_failures_are_not_repeated() -> None:
    store = MemoryStore()
    with pytest.raises(ObjectMissing):
        RetryingStore(store_session(store)).head("k")
    assert store.count("head") == 1


def test_throttles_cost_no_attempt_until_the_budget_is_used_up(clock: Clock) -> None:
    store = MemoryStore()
    store.put("k", b"1")
    policy = RetryPolicy(max_attempts=2, throttle_budget_seconds=600)
    store.fail("head", *[Throttled("503", retry_after_seconds=10)] * 50)
    patient = RetryingStore(store_session(store, policy=policy))
    assert patient.head("k").size == 1
    assert patient.retries == 50
    store.fail("head", *[Throttled("503", retry_after_seconds=10)] * 100)
    with pytest.raises(Throttled):
        RetryingStore(store_session(store, policy=policy)).head("k")


@pytest.mark.parametrize("asked", [86_400.0, 100.0, None], ids=["a day", "less than an hour", "no time"])
def test_no_pause_lasts_longer_than_the_budget_of_who_was_told_to_wait(clock: Clock, asked: float | None) -> None:
    store, begin = MemoryStore(), clock.now
    store.fail("head", *[Throttled("503", retry_after_seconds=asked)] * 1000)
    waiting = store_session(store, policy=RetryPolicy(throttle_budget_seconds=5, longest_wait_seconds=1))
    with pytest.raises(Throttled):
        RetryingStore(waiting).head("k")
    assert clock.now - begin == pytest.approx(5, abs=1.1)
    assert store.count("head") > 1, "it is asked once more when the budget is used up"
    assert waiting.limiter.state().paused_seconds == 0


def test_a_store_that_asks_for_more_than_the_budget_may_change_its_mind(clock: Clock) -> None:
    store, begin = MemoryStore(), clock.now
    store.put("k", b"1")
    store.fail("head", Throttled("503", retry_after_seconds=86_400))
    assert RetryingStore(store_session(store, policy=RetryPolicy(throttle_budget_seconds=5))).head("k").size == 1
    assert clock.now - begin == pytest.approx(5, abs=0.1)


def test_what_the_multiplexer_brings_pauses_for_no_longer_than_the_budget(clock: Clock) -> None:
    waiting = store_session(MemoryStore(), policy=RetryPolicy(throttle_budget_seconds=5))
    RetryingStore(waiting).note(Throttled("503", retry_after_seconds=86_400))
    assert waiting.limiter.state().paused_seconds == pytest.approx(5)


@pytest.mark.parametrize(
    "failure",
    [Throttled("503", retry_after_seconds=86_400), Throttled("503"), NetworkFailure("reset"), ServerFailure("500")],
    ids=["throttled for a day", "throttled", "network", "server"],
)
def test_nothing_is_repeated_or_waited_for_after_a_deadline(clock: Clock, failure: ObjectError) -> None:
    """However many requests share it."""
    store, begin = MemoryStore(), clock.now
    store.fail("head", *[failure] * 1000)
    policy = RetryPolicy(max_attempts=100, throttle_budget_seconds=900).within(60)
    for _ in range(3):
        with pytest.raises(type(failure)):
            RetryingStore(store_session(store, policy=policy)).head("k")
        assert clock.now - begin <= 60.001
    assert clock.now - begin > 30


@pytest.mark.parametrize("failure", [Throttled("503"), ServerFailure("500")], ids=["throttled", "server"])
def test_nobody_waits_for_a_slot_that_comes_after_the_deadline(clock: Clock, failure: ObjectError) -> None:
    store, begin = MemoryStore(), clock.now
    store.fail("head", *[failure] * 1000)
    slow = replace(
        store_session(store, policy=RetryPolicy(max_attempts=100).within(25)),
        limiter=EndpointLimiter(StopSignal(), ceiling=0.1),
    )
    with pytest.raises(type(failure)):
        RetryingStore(slow).head("k")
    assert store.count("head") == 3
    assert clock.now - begin == pytest.approx(25)


@pytest.mark.parametrize("asked_for", [60, 120, 86_400])
def test_who_has_waited_until_the_deadline_may_ask_once_more(clock: Clock, asked_for: int) -> None:
    """What a pause was cut to is the moment at which the store may be well again."""
    store, begin = MemoryStore(), clock.now
    store.put("k", b"data")
    store.fail("head", Throttled("503", retry_after_seconds=asked_for))
    assert RetryingStore(store_session(store, policy=RetryPolicy(100, 900).within(60))).head("k").size == 4
    assert clock.now - begin == pytest.approx(60)


def test_nor_does_it_count_when_the_pause_is_noted(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine time passes between the answer and that: the pause ends at the deadline all the same."""
    note = EndpointLimiter.note

    def late(limiter: EndpointLimiter, error: BaseException | None, deadline: float) -> None:
        clock.now += 0.5
        note(limiter, error, deadline)

    monkeypatch.setattr(EndpointLimiter, "note", late)
    store, begin = MemoryStore(), clock.now
    store.put("k", b"data")
    store.fail("head", Throttled("503", retry_after_seconds=86_400))
    assert RetryingStore(store_session(store, policy=RetryPolicy(100, 900).within(60))).head("k").size == 4
    assert clock.now - begin == pytest.approx(60.5)  # with the second answer


def test_nor_for_a_turn(clock: Clock) -> None:
    limiter = EndpointLimiter(StopSignal(), ceiling=0.1)
    assert limiter.wait()
    with limiter._turn:
        assert not limiter.wait(clock.now + 0.01)
    assert limiter.wait(clock.now + 11)


def test_a_key_that_is_throttled_for_good_is_asked_less_and_less_often(clock: Clock) -> None:
    """The others go well, so the endpoint is not closed: only this request has to wait."""
    refusing = store_session(MemoryStore(), policy=RetryPolicy(throttle_budget_seconds=600))

    class Refusing(MemoryStore):
        def head(self, key: str) -> ObjectInfo:
            clock.now += 1
            for _ in range(99):
                refusing.limiter.wait()
                refusing.limiter.succeeded()
            self.calls.append(("head", key))
            raise Throttled("503")

    store = Refusing()
    with pytest.raises(Throttled):
        RetryingStore(replace(refusing, store=store)).head("k")
    assert 20 <= store.count("head") <= 100
    assert refusing.limiter.state().rate is None


def test_waits_between_attempts_grow_and_are_jittered(clock: Clock) -> None:
    waits = []
    for _ in range(50):
        store = MemoryStore()
        store.fail("head", *[NetworkFailure("reset")] * 5)
        clock.slept.clear()
        with pytest.raises(NetworkFailure):
            RetryingStore(store_session(store, policy=RetryPolicy(max_attempts=5))).head("k")
        waits.append([seconds for seconds in clock.slept if seconds])
    assert {len(each) for each in waits} == {4}
    assert len({tuple(each) for each in waits}) == 50
    assert max(each[3] for each in waits) > max(each[0] for each in waits)
    assert max(seconds for each in waits for seconds in each) <= 30


class TestARefusalIsAnAnswer:
    """A 404, 403, 400 or 412 took the endpoint's time as any other answer, and did not ask to slow down."""

    REFUSALS = (ObjectMissing("404"), ObjectDenied("403"), ObjectRejected("400"), ObjectChanged("412"))

    @pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: error.message)
    def test_stray_throttles_hardly_slow_down_who_gets_nothing_else(self, clock: Clock, refusal: ObjectError) -> None:
        """Sources that lack many objects, or deltas that look for what is gone, meet nothing but refusals."""

        class Refusing(MemoryStore):
            random = random.Random(1)

            def head(self, key: str) -> ObjectInfo:
                clock.now += 0.002
                raise Throttled("503") if self.random.random() < 0.01 else refusal

        refusing, begin, asked = store_session(Refusing()), clock.now, 0
        while clock.now < begin + 20:
            with pytest.raises(type(refusal)):
                RetryingStore(refusing).head("k")
            asked += 1
        assert asked >= 0.8 * 20 * 500
        assert refusing.limiter.state().paused_seconds < 1

    def test_what_the_multiplexer_brings_counts_as_well(self, clock: Clock) -> None:
        limiter = EndpointLimiter(StopSignal())
        for _ in range(3):
            limiter.throttled(None)
            clock.now += limiter.state().paused_seconds
        limiter.note(self.REFUSALS[0])
        limiter.throttled(None)
        assert limiter.state().paused_seconds <= 0.2  # the first of a new row

    @pytest.mark.parametrize("failure", [NetworkFailure("reset"), ServerFailure("500"), StoreUnusable("gone")])
    def test_a_failure_is_none(self, clock: Clock, failure: MastosyncError) -> None:
        limiter = EndpointLimiter(StopSignal())
        pauses = []
        for _ in range(8):
            limiter.throttled(None)
            limiter.note(failure)
            pauses.append(limiter.state().paused_seconds)
            clock.now += pauses[-1]
        assert pauses[-1] > 5 * pauses[0]


def test_an_error_tells_whose_it_is() -> None:
    store = MemoryStore("old")
    with pytest.raises(ObjectMissing) as missing:
        RetryingStore(store_session(store)).head("k")
    assert missing.value.store == store.name
