"""A lane: one thread that carries on many transfers.

Small requests go to the multiplexer, a few dozen side by side; what waits on its own (retries, large
objects, looking for what a dead run left) goes to a pool of threads. The lane itself never waits for
one transfer while another could go on.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from queue import Empty, Queue
from typing import Generic, NamedTuple, TypeVar

from mastosync.errors import Interrupted, MastosyncError, ObjectError
from mastosync.runtime.steps import BlockingCall, Step, Steps, StoreCall, Until
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import Multiplexer

C = TypeVar("C")  # what is claimed
R = TypeVar("R")  # its outcome

_ELSEWHERE_SECONDS = 0.005  # how long what comes from another thread may lie here, while requests are under way
_REPORT_SECONDS = 0.02  # how long what has ended may: whoever takes it in has to be woken up each time
_SIGNAL_SECONDS = 0.1  # how long a wish to stop may


class Ended(NamedTuple, Generic[C, R]):
    """What became of a claim: an outcome, or the error that ended it."""

    claim: C
    outcome: R | None
    error: BaseException | None = None


@dataclass(slots=True, eq=False)
class _Transfer(Generic[C, R]):
    """A claim on its way."""

    claim: C
    steps: Steps[R]
    step: Step | None = None
    counts_as_large: bool = False
    paid: bool = False  # the bandwidth for this step is taken


class LargeQuota:
    """How many large objects move at once while small ones wait: the rest is for those."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._moving = 0
        self._lock = threading.Lock()

    def enter(self, *, small_ones_wait: bool) -> bool:
        """Whether one more may move; if so it counts until `leave`."""
        with self._lock:
            if small_ones_wait and self._moving >= self._at_once:
                return False
            self._moving += 1
            return True

    def leave(self) -> None:
        """One of them has come to its end."""
        with self._lock:
            self._moving -= 1


@dataclass(slots=True)
class LoopSettings(Generic[C, R]):
    """What all lanes of a run share. What they carry on are transfers of claims, or whatever else goes step by step."""

    transfer: Callable[[C], Steps[R]]
    threads: ThreadPoolExecutor  # for steps that wait on their own
    stop: StopSignal
    large: LargeQuota
    inbox: Queue[C | None] = field(default_factory=Queue)  # None: there will be no more
    ended: Queue[list[Ended[C, R]]] = field(default_factory=Queue)
    parked: deque[_Transfer[C, R]] = field(default_factory=deque)  # large objects that give way to small ones
    abandoned: bool = False  # nobody waits for what is under way any more


class TransferLoop(Generic[C, R]):
    """Carries on `width` transfers at most."""

    def __init__(self, setting: LoopSettings[C, R], width: int, multiplexer: Multiplexer | None) -> None:
        self._setting = setting
        self._width = width
        self._multiplexer = multiplexer
        self._open = True  # more claims may come
        self._active = 0  # transfers that have begun, but for those that are parked
        self._under_way = 0  # requests at the multiplexer
        self._returned: Queue[tuple[_Transfer[C, R], Future[object]]] = Queue()  # from the threads
        self._later: list[tuple[float, int, _Transfer[C, R]]] = []  # heap: those who wait for an endpoint or for others
        self._order = count()
        self._ended: list[Ended[C, R]] = []
        self._reported = 0.0  # when, by the monotonic clock

    def run(self) -> None:
        """Work until there is no claim any more. Errors are told with their claim, not raised."""
        try:
            while (self._open or self._active or self._setting.parked) and not self._setting.abandoned:
                self._take_claims()
                self._take_parked()
                self._send_those_due()
                if self._under_way:
                    self._take_finished()
                    self._take_returned(0.0)
                elif self._active:
                    self._take_returned(self._patience())
                elif self._setting.stop.requested:
                    time.sleep(_ELSEWHERE_SECONDS)  # until the claims that nobody has begun are taken back
                self._report()
        finally:
            self._report(at_once=True)
            if self._multiplexer is not None:
                self._multiplexer.close()

    def _take_claims(self) -> None:
        """Begin what there is room for. With nothing else to do, wait for it."""
        while self._open and self._active < self._width and not self._setting.stop.requested:
            nothing_to_do = not (self._active or self._setting.parked or self._ended)
            try:
                claim = self._setting.inbox.get(nothing_to_do, _SIGNAL_SECONDS)
            except Empty:
                return
            if claim is None:
                self._open = False
                self._setting.inbox.put(None)  # for the other lanes
                return
            self._active += 1
            self._go_on(_Transfer(claim, self._setting.transfer(claim)), None)

    def _take_parked(self) -> None:
        while self._setting.parked and self._active < self._width:
            stopped = self._setting.stop.requested
            if not stopped and not self._may_move_large():
                return
            try:
                transfer = self._setting.parked.popleft()
            except IndexError:  # another lane was faster
                if not stopped:
                    self._setting.large.leave()
                return
            self._active += 1
            if stopped:
                self._go_on(transfer, None, Interrupted("stopped while waiting"))
            else:
                transfer.counts_as_large = True
                self._make(transfer)

    def _may_move_large(self) -> bool:
        return self._setting.large.enter(small_ones_wait=not self._setting.inbox.empty())

    def _send_those_due(self) -> None:
        stopped = self._setting.stop.requested
        while self._later and (stopped or self._later[0][0] <= time.monotonic()):
            _, _, transfer = heapq.heappop(self._later)
            if stopped:
                self._go_on(transfer, None, Interrupted("stopped while waiting"))
            else:
                self._make(transfer)

    def _patience(self) -> float:
        """Seconds to wait for what is under way, before something else has to be looked at."""
        others = self._active > self._under_way or self._setting.parked or (self._open and self._active < self._width)
        patience = _ELSEWHERE_SECONDS if others else _SIGNAL_SECONDS
        return max(0.0, min(patience, self._later[0][0] - time.monotonic())) if self._later else patience

    def _take_returned(self, wait_seconds: float) -> None:
        """Go on with what the threads have done."""
        with suppress(Empty):
            while True:
                transfer, future = (
                    self._returned.get(timeout=wait_seconds) if wait_seconds else self._returned.get_nowait()
                )
                wait_seconds = 0.0
                error = future.exception()
                self._go_on(transfer, None if error else future.result(), error)

    def _take_finished(self) -> None:
        assert self._multiplexer is not None  # noqa: S101 - nothing is under way without one
        for transfer, result, error in self._multiplexer.finished(self._patience()):
            self._under_way -= 1
            assert isinstance(transfer, _Transfer)  # noqa: S101 - the tag that `_make` gave
            self._take_result(transfer, result, error)

    def _take_result(self, transfer: _Transfer[C, R], result: object, error: MastosyncError | None) -> None:
        ask = transfer.step
        assert isinstance(ask, StoreCall)  # noqa: S101 - nothing else goes to the multiplexer
        ask.store.store_access.note(error)
        if isinstance(error, ObjectError) and error.transient:
            self._set_aside(transfer, partial(ask.carry_out_after, error))
        else:
            self._go_on(transfer, result, error)

    def _go_on(self, transfer: _Transfer[C, R], result: object, error: BaseException | None = None) -> None:
        """Take a transfer to its next step, or to its end."""
        transfer.paid = False
        try:
            transfer.step = transfer.steps.send(result) if error is None else transfer.steps.throw(error)
        except StopIteration as end:
            self._end(transfer, Ended(transfer.claim, end.value))
        except BaseException as uncaught:  # noqa: BLE001 - the copier decides what becomes of the run
            self._end(transfer, Ended(transfer.claim, None, uncaught))
        else:
            self._make(transfer)

    def _make(self, transfer: _Transfer[C, R]) -> None:
        step = transfer.step
        assert step is not None  # noqa: S101 - it has begun
        if isinstance(step, BlockingCall) and step.large and not transfer.counts_as_large:
            self._active -= 1
            self._setting.parked.append(transfer)  # to be taken at once, unless too many are moving
            return
        if isinstance(step, BlockingCall):
            self._set_aside(transfer, step.carry_out)
            return
        if isinstance(step, Until):
            if step.reached():
                self._go_on(transfer, None)
            else:
                self._put_off(transfer, _ELSEWHERE_SECONDS)
            return
        multiplexer = self._multiplexer
        if multiplexer is None or not multiplexer.takes(step.store.store_access.store, step.operation, step.arguments):
            answer = step.answer_at_hand()
            if answer is None:
                self._set_aside(transfer, step.carry_out)  # which asks limiter and bandwidth itself
            else:
                self._go_on(transfer, answer)
            return
        store_access = step.store.store_access
        if wait := self._delay(transfer, step):
            self._put_off(transfer, wait)
            return
        memory = step.store.memory
        room = memory.ask if memory is not None else _always
        try:
            multiplexer.begin(transfer, store_access.store, step.operation, step.arguments, room)
        except MastosyncError as error:
            store_access.note(error)
            self._go_on(transfer, None, error)
        else:
            self._under_way += 1

    def _put_off(self, transfer: _Transfer[C, R], seconds: float) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), transfer))

    def _delay(self, transfer: _Transfer[C, R], ask: StoreCall) -> float:
        """Seconds after which to try again to send a request; 0.0: now."""
        store_access = ask.store.store_access
        if store_access.bandwidth is not None and ask.operation == "write" and not transfer.paid:
            _, data, *_ = ask.arguments
            if wait := store_access.bandwidth.reserve(len(data)):
                return wait
            transfer.paid = True
        return store_access.limiter.reserve()

    def _set_aside(self, transfer: _Transfer[C, R], work: Callable[[], object]) -> None:
        future = self._setting.threads.submit(work)
        future.add_done_callback(lambda done: self._returned.put((transfer, done)))

    def _end(self, transfer: _Transfer[C, R], ended: Ended[C, R]) -> None:
        self._active -= 1
        if transfer.counts_as_large:
            self._setting.large.leave()
        self._ended.append(ended)

    def _report(self, *, at_once: bool = False) -> None:
        """Tell what has ended: many at once, unless the lane may run out of claims meanwhile."""
        if not self._ended:
            return
        now = time.monotonic()
        if at_once or now - self._reported >= _REPORT_SECONDS or self._setting.inbox.empty():
            self._setting.ended.put(self._ended)
            self._ended = []
            self._reported = now


def _always(_: int) -> bool:
    return True
