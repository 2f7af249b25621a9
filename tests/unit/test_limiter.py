"""Throttling slows a whole endpoint, and the endpoint recovers by itself."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mastosync.engine.limiter import EndpointLimiter
from mastosync.engine.retry import PatientStore, RetryPolicy
from mastosync.engine.stop import StopSignal
from mastosync.errors import Interrupted, NetworkFailure, ObjectMissing, ServerFailure, Throttled
from tests.contract.memory_store import MemoryStore
from tests.unit.engine_kit import IMPATIENT, gate


class Clock:
    """Time that passes when somebody sleeps: for limiter and waits, without waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(StopSignal, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(seconds, 0.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def requests_in(limiter: EndpointLimiter, clock: Clock, seconds: float, cost: float = 0.001) -> int:
    """How many requests get through in a stretch of time, if each takes `cost`."""
    end, count = clock.now + seconds, 0
    while clock.now < end:
        limiter.wait()
        clock.now += cost
        limiter.succeeded()
        count += 1
    return count


def test_nothing_is_limited_before_a_throttle(clock: Clock) -> None:
    assert requests_in(EndpointLimiter(StopSignal()), clock, 2) == pytest.approx(2000, rel=0.01)
    assert not [seconds for seconds in clock.slept if seconds > 0]


def test_retry_after_holds_for_every_request(clock: Clock) -> None:
    limiter = EndpointLimiter(StopSignal())
    begin = clock.now
    limiter.throttled(7)
    limiter.wait()
    assert clock.now >= begin + 7


def test_after_a_throttle_the_rate_is_halved_and_grows_back_to_no_limit(clock: Clock) -> None:
    limiter = EndpointLimiter(StopSignal())
    requests_in(limiter, clock, 5, cost=0.01)
    limiter.throttled(None)
    requests_in(limiter, clock, 2, cost=0.001)
    slowed = limiter.state().rate
    assert slowed is not None
    assert 45 <= slowed <= 70
    requests_in(limiter, clock, 60, cost=0.001)
    assert limiter.state().rate is None


def test_answers_to_requests_under_way_belong_to_one_throttle(clock: Clock) -> None:
    limiter = EndpointLimiter(StopSignal())
    requests_in(limiter, clock, 5, cost=0.01)
    for _ in range(32):
        limiter.throttled(None)
    rate = limiter.state().rate
    assert rate is not None
    assert rate >= 45
    assert limiter.state().throttles == 32


def test_pauses_grow_while_the_endpoint_keeps_throttling(clock: Clock) -> None:
    limiter = EndpointLimiter(StopSignal())
    pauses = []
    for _ in range(10):
        limiter.throttled(None)
        pauses.append(limiter.state().paused_seconds)
        clock.now += pauses[-1]
    assert 0.25 <= pauses[0] <= 0.5
    assert 15 <= pauses[-1] <= 30


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
    patient = PatientStore(gate(store))
    assert patient.head("k").size == 1
    assert patient.retries == 2
    store.fail("head", *[NetworkFailure(str(number)) for number in range(10)])
    with pytest.raises(NetworkFailure, match="2"):
        PatientStore(gate(store)).head("k")
    assert store.count("head") == 3 + IMPATIENT.max_attempts


def test_permanent_failures_are_not_repeated() -> None:
    store = MemoryStore()
    with pytest.raises(ObjectMissing):
        PatientStore(gate(store)).head("k")
    assert store.count("head") == 1


def test_throttles_cost_no_attempt_until_the_budget_is_used_up(clock: Clock) -> None:
    store = MemoryStore()
    store.put("k", b"1")
    policy = RetryPolicy(max_attempts=2, throttle_budget_seconds=600)
    store.fail("head", *[Throttled("503", retry_after_seconds=10)] * 50)
    patient = PatientStore(gate(store, policy=policy))
    assert patient.head("k").size == 1
    assert patient.retries == 50
    store.fail("head", *[Throttled("503", retry_after_seconds=10)] * 100)
    with pytest.raises(Throttled):
        PatientStore(gate(store, policy=policy)).head("k")


def test_waits_between_attempts_grow_and_are_jittered(clock: Clock) -> None:
    waits = []
    for _ in range(50):
        store = MemoryStore()
        store.fail("head", *[NetworkFailure("reset")] * 5)
        clock.slept.clear()
        with pytest.raises(NetworkFailure):
            PatientStore(gate(store, policy=RetryPolicy(max_attempts=5))).head("k")
        waits.append([seconds for seconds in clock.slept if seconds])
    assert {len(each) for each in waits} == {4}
    assert len({tuple(each) for each in waits}) == 50
    assert max(each[3] for each in waits) > max(each[0] for each in waits)
    assert max(seconds for each in waits for seconds in each) <= 30
