"""Transfers that wait in one loop: for a limiter, for bandwidth, and for as long as nobody asks to stop."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from mastosync.errors import Interrupted
from mastosync.model import ObjectHeaders
from mastosync.runtime.limiter import Bandwidth, EndpointLimiter
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.steps import Ended, Steps, StoreCall
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.store.base import CompletedRequest, ObjectStore, PutOptions
from tests.support.memory_store import MemoryStore
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.timing

WAITING = 64
LOOPS = 4


class InstantMultiplexer:
    """Answers at once, and keeps account of what was sent when."""

    sent: list[tuple[float, str]]  # when, and to which endpoint; of all loops

    def __init__(self, width: int) -> None:
        self._begun: list[object] = []

    def takes(self, store: ObjectStore, operation: str, arguments: tuple[Any, ...]) -> bool:
        return True

    def begin(
        self, tag: object, store: ObjectStore, operation: str, arguments: tuple[Any, ...], room: Callable[[int], bool]
    ) -> None:
        self.sent.append((time.monotonic(), store.endpoint))
        self._begun.append(tag)

    def finished(self, wait_seconds: float) -> list[CompletedRequest]:
        now, self._begun = self._begun, []
        return [CompletedRequest(tag, None, None) for tag in now]

    def broken_off(self) -> list[CompletedRequest]:
        return []

    def close(self) -> None: ...


class CountingLimiter(EndpointLimiter):
    asks = 0

    def reserve(self) -> float:
        self.asks += 1
        return super().reserve()


class CountingBandwidth(Bandwidth):
    asks = 0

    def reserve(self, size_bytes: int) -> float:
        self.asks += 1
        return super().reserve(size_bytes)


@pytest.fixture(autouse=True)
def _nothing_sent() -> None:
    InstantMultiplexer.sent = []


@pytest.fixture(params=[1, LOOPS])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("mastosync.runtime.worker_pool.os.cpu_count", lambda: 2 * request.param)
    return int(request.param)


def session(
    limiter: EndpointLimiter, stop: StopSignal, name: str = "s", bandwidth: Bandwidth | None = None
) -> StoreSession:
    return StoreSession(MemoryStore(name), limiter, RetryPolicy(), stop, bandwidth)


def heads(session: StoreSession) -> Callable[[int], Steps[int]]:
    def steps(number: int) -> Steps[int]:
        yield StoreCall(RetryingStore(session), "head", (str(number),))
        return number

    return steps


@contextmanager
def pool(steps: Callable[[int], Steps[int]], stop: StopSignal) -> Iterator[WorkerPool[int, int]]:
    with WorkerPool(steps, WAITING, stop, InstantMultiplexer) as made:
        yield made


def all_ended(of: WorkerPool[int, int], count: int) -> list[Ended[int, int]]:
    found: list[Ended[int, int]] = []
    wait_until(lambda: found.extend(of.ended(0.05)) or len(found) >= count, f"{count} have ended")  # type: ignore[func-returns-value]
    return found


class TestTheFirstInLineAsksAlone:
    """Each that waits would else be told the same moment, and all but one would wake up in vain."""

    def test_under_a_ceiling_a_request_costs_two_questions(self, loops: int) -> None:
        """More loops each have a line of their own."""
        stop = StopSignal()
        limiter = CountingLimiter(stop, ceiling=400)
        with pool(heads(session(limiter, stop)), stop) as made:
            assert len(list(made.all_ended(iter(range(200))))) == 200
        assert limiter.asks <= (1 + loops) * 200 + loops

    def test_under_a_limit_of_bandwidth_as_well(self, loops: int) -> None:
        stop = StopSignal()
        bandwidth = CountingBandwidth(lambda _: 400_000, stop)
        writing = session(EndpointLimiter(stop), stop, bandwidth=bandwidth)

        def steps(number: int) -> Steps[int]:
            arguments = (str(number), bytes(1000), b"", PutOptions(ObjectHeaders()))
            yield StoreCall(RetryingStore(writing), "write", arguments)
            return number

        with pool(steps, stop) as made:
            assert len(list(made.all_ended(iter(range(200))))) == 200
        assert bandwidth.asks <= (1 + loops) * 200 + loops

    def test_and_of_threads(self) -> None:
        stop = StopSignal()
        limiter, bandwidth = CountingLimiter(stop, ceiling=400), CountingBandwidth(lambda _: 400_000, stop)
        with ThreadPoolExecutor(200) as threads:
            list(threads.map(lambda _: limiter.wait(), range(200)))
            list(threads.map(lambda _: bandwidth.take(1000), range(200)))
        assert max(limiter.asks, bandwidth.asks) <= 2 * 200 + WAITING

    def test_who_came_first_goes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mastosync.runtime.worker_pool.os.cpu_count", lambda: 2)
        stop = StopSignal()
        with pool(heads(session(EndpointLimiter(stop, ceiling=1000), stop)), stop) as made:
            made.submit(range(WAITING))
            assert [each.outcome for each in all_ended(made, WAITING)] == list(range(WAITING))


def test_who_waits_for_one_endpoint_keeps_nobody_from_another(loops: int) -> None:
    stop = StopSignal()
    slow, fast = EndpointLimiter(stop), EndpointLimiter(stop)
    slow.throttled(600)
    closed, open_ = heads(session(slow, stop, "slow")), heads(session(fast, stop, "fast"))
    with pool(lambda number: (open_ if number % 2 else closed)(number), stop) as made:
        made.submit(range(WAITING))
        assert {each.claim % 2 for each in all_ended(made, WAITING // 2)} == {1}
        stop.request()
        left = len(made.take_back())
        assert {type(each.error) for each in all_ended(made, WAITING // 2 - left)} <= {Interrupted}
    assert Counter(endpoint for _, endpoint in InstantMultiplexer.sent) == {"memory://fast": WAITING // 2}


def test_a_throttle_holds_for_those_that_wait_already(loops: int) -> None:
    stop = StopSignal()
    limiter = EndpointLimiter(stop, ceiling=50)
    with pool(heads(session(limiter, stop)), stop) as made:
        made.submit(range(30))
        wait_until(lambda: len(InstantMultiplexer.sent) >= 3, "a few were sent")
        throttled = time.monotonic()
        limiter.throttled(0.4)
        all_ended(made, 30)
    times = sorted(at for at, _ in InstantMultiplexer.sent)
    assert len(times) == 30
    assert len([at for at in times if throttled + 0.05 < at < throttled + 0.4]) == 0
    assert times[-1] >= throttled + 0.4 + 15 / 50, "the ceiling holds after the pause as well"


def test_a_closed_endpoint_is_asked_by_few_and_goes_on_when_it_opens(loops: int) -> None:
    stop = StopSignal()
    limiter = CountingLimiter(stop)
    limiter.close()
    with pool(heads(session(limiter, stop)), stop) as made:
        made.submit(range(WAITING))
        wait_until(lambda: limiter.asks >= 3 * loops, "it was asked now and then")
        assert not InstantMultiplexer.sent
        asks = limiter.asks
        limiter.open()
        all_ended(made, WAITING)
    assert limiter.asks <= asks + WAITING + loops


def test_a_wish_to_stop_reaches_all_that_wait(loops: int) -> None:
    stop = StopSignal()
    limiter = EndpointLimiter(stop)
    limiter.throttled(600)
    cleaned: list[int] = []

    def steps(number: int) -> Steps[int]:
        try:
            yield StoreCall(RetryingStore(session(limiter, stop)), "head", (str(number),))
        except Interrupted:
            cleaned.append(number)
            raise
        return number

    began = time.monotonic()
    with pool(steps, stop) as made:
        made.submit(range(WAITING))
        wait_until(made._shared.inbox.empty, "all have begun")
        threading.Timer(0.05, stop.request).start()
        ended = all_ended(made, WAITING)
    assert time.monotonic() - began < PATIENCE_SECONDS / 2
    assert {type(each.error) for each in ended} == {Interrupted}
    assert sorted(cleaned) == sorted(each.claim for each in ended) == list(range(WAITING))
    assert not InstantMultiplexer.sent
