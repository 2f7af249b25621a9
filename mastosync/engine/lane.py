"""A lane: one thread that carries on many transfers.

Small requests go to the multiplexer, a few dozen side by side; what waits on its own (retries, large
objects, looking for what a dead run left) goes to a pool of threads. The lane itself never waits for
one transfer while another could go on.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from queue import Empty, SimpleQueue

from mastosync.engine.steps import Aside, Ask, Step, Steps
from mastosync.engine.stop import StopSignal
from mastosync.errors import Interrupted, MastosyncError, ObjectError, Throttled
from mastosync.model import Claim, Outcome
from mastosync.store.base import Multiplexer

_ELSEWHERE_SECONDS = 0.005  # how long what comes from another thread may lie here, while requests are under way
_SIGNAL_SECONDS = 0.1  # how long a wish to stop may


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a claim: an outcome, or the error that ended it."""

    claim: Claim
    outcome: Outcome | None
    error: BaseException | None = None


@dataclass(slots=True, eq=False)
class _Transfer:
    """A claim on its way."""

    claim: Claim
    steps: Steps[Outcome]
    step: Step | None = None


@dataclass(slots=True)
class LaneSetting:
    """What all lanes of a run share."""

    transfer: Callable[[Claim], Steps[Outcome]]
    threads: ThreadPoolExecutor  # for steps that wait on their own
    stop: StopSignal
    inbox: SimpleQueue[Claim | None]  # None: there will be no more
    ended: SimpleQueue[list[Ended]]


class Lane:
    """Carries on `width` transfers at most."""

    def __init__(self, setting: LaneSetting, width: int, multiplexer: Multiplexer | None) -> None:
        self._setting = setting
        self._width = width
        self._multiplexer = multiplexer
        self._open = True  # more claims may come
        self._active = 0
        self._under_way = 0  # requests at the multiplexer
        self._returned: SimpleQueue[tuple[_Transfer, Future[object]]] = SimpleQueue()  # from the threads
        self._later: list[tuple[float, int, _Transfer]] = []  # heap: those whose endpoint wants them to wait
        self._order = count()
        self._ended: list[Ended] = []

    def run(self) -> None:
        """Work until there is no claim any more. Nothing is raised: errors are told with their claim."""
        try:
            while self._open or self._active:
                self._take_claims()
                self._take_returned()
                self._send_those_due()
                self._take_finished()
                self._report()
        finally:
            self._report()
            if self._multiplexer is not None:
                self._multiplexer.close()

    def _take_claims(self) -> None:
        """Begin what there is room for; with nothing else to do, wait for it."""
        while self._open and self._active < self._width:
            try:
                claim = self._setting.inbox.get(block=not self._active)
            except Empty:
                return
            if claim is None:
                self._open = False
                self._setting.inbox.put(None)  # for the other lanes
                return
            self._active += 1
            transfer = _Transfer(claim, self._setting.transfer(claim))
            self._go_on(transfer, None)
            self._report()

    def _take_returned(self) -> None:
        """Go on with what the threads have done; with nothing else to do, wait for it."""
        idle = self._active and not self._under_way and not self._later
        wait = idle and (self._active == self._width or not self._open)
        try:
            while True:
                transfer, future = self._returned.get(timeout=_SIGNAL_SECONDS if wait else 0)
                wait = False
                error = future.exception()
                self._go_on(transfer, None if error else future.result(), error)
        except Empty:
            return

    def _send_those_due(self) -> None:
        now = time.monotonic()
        while self._later and (self._later[0][0] <= now or self._setting.stop.requested):
            _, _, transfer = heapq.heappop(self._later)
            if self._setting.stop.requested:
                self._go_on(transfer, None, Interrupted("stopped while waiting"))
            else:
                self._make(transfer)

    def _take_finished(self) -> None:
        if self._multiplexer is None or not (self._under_way or self._later):
            return
        wait = _SIGNAL_SECONDS
        if self._active > self._under_way or (self._open and self._active < self._width):
            wait = _ELSEWHERE_SECONDS
        if not self._under_way:
            self._setting.stop.wait(max(0.0, min(wait, self._later[0][0] - time.monotonic())))
            return
        for transfer, result, error in self._multiplexer.finished(wait):
            self._under_way -= 1
            assert isinstance(transfer, _Transfer)  # noqa: S101 - the tag that `_make` gave
            self._take_result(transfer, result, error)

    def _take_result(self, transfer: _Transfer, result: object, error: MastosyncError | None) -> None:
        ask = transfer.step
        assert isinstance(ask, Ask)  # noqa: S101 - nothing else goes to the multiplexer
        limiter = ask.store.gate.limiter
        if isinstance(error, Throttled):
            limiter.throttled(error.retry_after_seconds)
        else:
            limiter.succeeded()
        if isinstance(error, ObjectError) and error.transient:
            failure = error
            self._set_aside(transfer, lambda: ask.carry_out_after(failure))
        else:
            self._go_on(transfer, result, error)

    def _go_on(self, transfer: _Transfer, result: object, error: BaseException | None = None) -> None:
        """Take a transfer to its next step, or to its end."""
        try:
            transfer.step = transfer.steps.send(result) if error is None else transfer.steps.throw(error)
        except StopIteration as end:
            self._end(Ended(transfer.claim, end.value))
        except BaseException as uncaught:  # noqa: BLE001 - the copier decides what becomes of the run
            self._end(Ended(transfer.claim, None, uncaught))
        else:
            self._make(transfer)

    def _make(self, transfer: _Transfer) -> None:
        step = transfer.step
        if isinstance(step, Aside) or self._multiplexer is None:
            assert step is not None  # noqa: S101
            self._set_aside(transfer, step.carry_out)
            return
        assert isinstance(step, Ask)  # noqa: S101
        gate = step.store.gate
        wait = gate.limiter.reserve()
        if wait > 0:
            heapq.heappush(self._later, (time.monotonic() + wait, next(self._order), transfer))
            return
        memory = step.store.memory
        room = memory.ask if memory is not None else _always
        try:
            begun = self._multiplexer.begin(transfer, gate.store, step.operation, step.arguments, room)
        except MastosyncError as error:
            self._go_on(transfer, None, error)
            return
        if begun:
            self._under_way += 1
        else:
            self._set_aside(transfer, step.carry_out)

    def _set_aside(self, transfer: _Transfer, work: Callable[[], object]) -> None:
        future = self._setting.threads.submit(work)
        future.add_done_callback(lambda done: self._returned.put((transfer, done)))

    def _end(self, ended: Ended) -> None:
        self._active -= 1
        self._ended.append(ended)

    def _report(self) -> None:
        if self._ended:
            self._setting.ended.put(self._ended)
            self._ended = []


def _always(_: int) -> bool:
    return True
