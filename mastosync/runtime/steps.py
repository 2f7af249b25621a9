"""Transfers in steps, and the loop that carries on many of them in one thread.

A transfer is a generator: it yields a step, and its driver sends the result back in, or throws the error.
`run_to_end` drives one alone and waits for each step; `TransferLoop` drives many.

The loop hands small requests to a multiplexer, a few dozen side by side. Work that blocks (retries, large objects, the
search for what a dead run left) goes to a pool of threads. The loop never waits for one transfer while another could go
on.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from queue import Empty, Queue
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from mastosync.errors import Interrupted, MastosyncError, ObjectError
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import BatchingStore, Multiplexer, NewObject

C = TypeVar("C")  # what is claimed
R = TypeVar("R")  # its outcome
T = TypeVar("T")

_LOOK_SECONDS = 0.005  # how long results of other threads may wait, while requests are under way
_REPORT_SECONDS = 0.02  # how long outcomes may: each report wakes up the copier
_SIGNAL_SECONDS = 0.1  # how long a wish to stop may


class StoreCall(NamedTuple):
    """One small request of one store, of which many can be under way in one thread."""

    store: RetryingStore
    operation: Literal["read", "write", "head", "copy_from"]  # a method of `ObjectStore`
    arguments: tuple[Any, ...]

    def run(self) -> object:
        """Make the request and wait for the answer. Raises: ObjectError, StoreUnusable, Interrupted."""
        return getattr(self.store, self.operation)(*self.arguments)

    def cached_answer(self) -> object | None:
        """The answer, if the store has it without keeping anybody waiting; else None, and the request has to run."""
        return self.store.read_cached(*self.arguments) if self.operation == "read" else None

    def repeat(self, failure: ObjectError) -> object:
        """As `run`, when a first attempt has failed in a way that may pass."""
        return self.store.repeat(failure, self.operation, self.arguments)


@dataclass(frozen=True, slots=True)
class BlockingCall:
    """Work that blocks, and so gets a thread of its own."""

    work: Callable[[], object]
    large: bool = False  # moves a large object, which must not keep small ones waiting

    def run(self) -> object:
        """Do it. Raises: what it raises."""
        return self.work()


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Wait, without a thread, for another transfer that is under way.

    The waiting transfer keeps its place in the loop and its memory. So the other one must need no more of either.
    """

    reached: Callable[[], bool]  # asked again and again; raises nothing
    stop: StopSignal

    def run(self) -> None:
        """Wait in this thread. Raises: Interrupted; what `reached` raises."""
        while not self.reached():
            self.stop.sleep(_LOOK_SECONDS)


Step: TypeAlias = StoreCall | BlockingCall | WaitFor
Steps: TypeAlias = Generator[Step, Any, T]


def run_to_end(steps: Steps[T]) -> T:
    """Run steps here, one after the other, and return their result. Raises: what they raise."""
    try:
        step = next(steps)
        while True:
            try:
                result = step.run()
            except BaseException as error:  # noqa: BLE001 - the steps decide what becomes of it
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


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
    counts_as_large: bool = False  # in `LargeObjectQuota`
    paid: bool = False  # the bandwidth for this step is taken


class LargeObjectQuota:
    """Limits how many large objects move at once while small ones wait, so that some workers are left for those."""

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


Answered: TypeAlias = Callable[[object, BaseException | None], None]
"""Is given what a write returns, or raises. It may run in any thread, and must not keep it waiting."""


@dataclass(slots=True)
class SharedWork(Generic[C, R]):
    """What all loops of a run share: the work in steps, and the queues to and from the thread that hands it out."""

    transfer: Callable[[C], Steps[R]]  # or whatever else goes step by step
    threads: ThreadPoolExecutor  # for steps that wait on their own
    stop: StopSignal
    large: LargeObjectQuota
    write_together: Callable[[BatchingStore, NewObject, Answered], None]
    inbox: Queue[C | None] = field(default_factory=Queue)  # None: there will be no more
    ended: Queue[list[Ended[C, R]]] = field(default_factory=Queue)
    parked: deque[_Transfer[C, R]] = field(default_factory=deque)  # large objects that give way to small ones
    abandoned: bool = False  # results of transfers under way are not wanted any more


class TransferLoop(Generic[C, R]):
    """Carries on at most `width` transfers."""

    def __init__(self, shared: SharedWork[C, R], width: int, multiplexer: Multiplexer | None) -> None:
        self._shared = shared
        self._width = width
        self._multiplexer = multiplexer
        self._open = True  # more claims may come
        self._active = 0  # transfers that have begun, but for those that are parked
        self._under_way = 0  # requests at the multiplexer
        self._returned = Queue[Callable[[], None]]()  # by the threads: each goes on with a transfer
        self._delayed: list[
            tuple[float, int, _Transfer[C, R]]
        ] = []  # a heap: those that wait for an endpoint or for others
        self._order = count()
        self._ended: list[Ended[C, R]] = []
        self._reported = 0.0  # when, by the monotonic clock

    def run(self) -> None:
        """Work until there is no claim any more. Errors are reported with their claim, not raised."""
        try:
            while (self._open or self._active or self._shared.parked) and not self._shared.abandoned:
                self._take_claims()
                self._take_parked()
                self._send_those_due()
                if self._under_way:
                    self._take_finished()
                    self._take_returned(0.0)
                elif self._active:
                    self._take_returned(self._wait_seconds())
                elif self._shared.stop.requested:
                    time.sleep(_LOOK_SECONDS)  # until claims that have not begun are taken back
                self._report()
        finally:
            self._report(at_once=True)
            if self._multiplexer is not None:
                self._multiplexer.close()

    def _take_claims(self) -> None:
        """Begin as many claims as there is room for. With nothing else to do, wait for one."""
        while self._open and self._active < self._width and not self._shared.stop.requested:
            nothing_to_do = not (self._active or self._shared.parked or self._ended)
            try:
                claim = self._shared.inbox.get(nothing_to_do, _SIGNAL_SECONDS)
            except Empty:
                return
            if claim is None:
                self._open = False
                self._shared.inbox.put(None)  # for the other loops
                return
            self._active += 1
            self._advance(_Transfer(claim, self._shared.transfer(claim)), None)

    def _take_parked(self) -> None:
        while self._shared.parked and self._active < self._width:
            stopped = self._shared.stop.requested
            if not stopped and not self._may_move_large():
                return
            try:
                transfer = self._shared.parked.popleft()
            except IndexError:  # another loop was faster
                if not stopped:
                    self._shared.large.leave()
                return
            self._active += 1
            if stopped:
                self._advance(transfer, None, Interrupted("stopped while waiting"))
            else:
                transfer.counts_as_large = True
                self._begin(transfer)

    def _may_move_large(self) -> bool:
        return self._shared.large.enter(small_ones_wait=not self._shared.inbox.empty())

    def _send_those_due(self) -> None:
        stopped = self._shared.stop.requested
        while self._delayed and (stopped or self._delayed[0][0] <= time.monotonic()):
            _, _, transfer = heapq.heappop(self._delayed)
            if stopped:
                self._advance(transfer, None, Interrupted("stopped while waiting"))
            else:
                self._begin(transfer)

    def _wait_seconds(self) -> float:
        """Seconds to wait for what is under way, before something else has to be looked at."""
        others = self._active > self._under_way or self._shared.parked or (self._open and self._active < self._width)
        longest = _LOOK_SECONDS if others else _SIGNAL_SECONDS
        return max(0.0, min(longest, self._delayed[0][0] - time.monotonic())) if self._delayed else longest

    def _take_returned(self, wait_seconds: float) -> None:
        """Go on with what the threads have done."""
        with suppress(Empty):
            while True:
                go_on = self._returned.get(timeout=wait_seconds) if wait_seconds else self._returned.get_nowait()
                wait_seconds = 0.0
                go_on()

    def _take_finished(self) -> None:
        assert self._multiplexer is not None  # noqa: S101 - nothing is under way without one
        for transfer, result, error in self._multiplexer.finished(self._wait_seconds()):
            self._under_way -= 1
            assert isinstance(transfer, _Transfer)  # noqa: S101 - the tag that `_begin` gave
            self._take_result(transfer, result, error)

    def _take_result(self, transfer: _Transfer[C, R], result: object, error: BaseException | None) -> None:
        """Go on with a first attempt, which is noted and repeated here: see `runtime.retry`."""
        call = transfer.step
        assert isinstance(call, StoreCall)  # noqa: S101 - nothing else goes to the multiplexer, or into batches
        call.store.note(error)
        if isinstance(error, ObjectError) and error.transient:
            self._run_in_thread(transfer, partial(call.repeat, error))
        else:
            self._advance(transfer, result, error)

    def _advance(self, transfer: _Transfer[C, R], result: object, error: BaseException | None = None) -> None:
        """Take a transfer to its next step, or to its end."""
        transfer.paid = False
        try:
            transfer.step = transfer.steps.send(result) if error is None else transfer.steps.throw(error)
        except StopIteration as end:
            self._end(transfer, Ended(transfer.claim, end.value))
        except BaseException as uncaught:  # noqa: BLE001 - the copier decides what becomes of the run
            self._end(transfer, Ended(transfer.claim, None, uncaught))
        else:
            self._begin(transfer)

    def _begin(self, transfer: _Transfer[C, R]) -> None:
        """Begin the step that a transfer wants done."""
        step = transfer.step
        assert step is not None  # noqa: S101 - it has begun
        if isinstance(step, StoreCall):
            self._begin_call(transfer, step)
        elif isinstance(step, WaitFor):
            if step.reached():
                self._advance(transfer, None)
            else:
                self._postpone(transfer, _LOOK_SECONDS)
        elif step.large and not transfer.counts_as_large:
            self._active -= 1
            self._shared.parked.append(transfer)  # to be taken at once, unless too many are moving
        else:
            self._run_in_thread(transfer, step.run)

    def _begin_call(self, transfer: _Transfer[C, R], call: StoreCall) -> None:
        begin = self._together(transfer, call)
        if begin is None:
            answer = call.cached_answer()
            if answer is None:
                self._run_in_thread(transfer, call.run)  # which asks limiter and bandwidth itself
            else:
                self._advance(transfer, answer)
        elif wait := self._delay(transfer, call):
            self._postpone(transfer, wait)
        else:
            begin()

    def _together(self, transfer: _Transfer[C, R], call: StoreCall) -> Callable[[], None] | None:
        """What begins a request beside others, or together with them; None: it has to run by itself."""
        multiplexer, store = self._multiplexer, call.store.store_session.store
        if multiplexer is not None and multiplexer.takes(store, call.operation, call.arguments):
            return partial(self._multiplex, multiplexer, transfer, call)
        if call.operation == "write" and isinstance(store, BatchingStore):
            answered = partial(self._note_answer, transfer)
            return partial(self._shared.write_together, store, NewObject(*call.arguments), answered)
        return None

    def _note_answer(self, transfer: _Transfer[C, R], result: object, error: BaseException | None) -> None:
        self._returned.put(partial(self._take_result, transfer, result, error))

    def _multiplex(self, multiplexer: Multiplexer, transfer: _Transfer[C, R], call: StoreCall) -> None:
        memory = call.store.memory
        room = memory.request if memory is not None else _always
        try:
            multiplexer.begin(transfer, call.store.store_session.store, call.operation, call.arguments, room)
        except MastosyncError as error:
            call.store.note(error)
            self._advance(transfer, None, error)
        else:
            self._under_way += 1

    def _postpone(self, transfer: _Transfer[C, R], seconds: float) -> None:
        heapq.heappush(self._delayed, (time.monotonic() + seconds, next(self._order), transfer))

    def _delay(self, transfer: _Transfer[C, R], call: StoreCall) -> float:
        """Seconds after which to try again to send a request; 0.0: now."""
        store_session = call.store.store_session
        if store_session.bandwidth is not None and call.operation == "write" and not transfer.paid:
            _, data, *_ = call.arguments
            if wait := store_session.bandwidth.reserve(len(data)):
                return wait
            transfer.paid = True
        return store_session.limiter.reserve()

    def _run_in_thread(self, transfer: _Transfer[C, R], work: Callable[[], object]) -> None:
        future = self._shared.threads.submit(work)
        future.add_done_callback(lambda done: self._returned.put(partial(self._take_done, transfer, done)))

    def _take_done(self, transfer: _Transfer[C, R], done: Future[object]) -> None:
        error = done.exception()
        self._advance(transfer, None if error else done.result(), error)

    def _end(self, transfer: _Transfer[C, R], ended: Ended[C, R]) -> None:
        self._active -= 1
        if transfer.counts_as_large:
            self._shared.large.leave()
        self._ended.append(ended)

    def _report(self, *, at_once: bool = False) -> None:
        """Report what has ended: many at once, unless the loop may run out of claims meanwhile."""
        if not self._ended:
            return
        now = time.monotonic()
        if at_once or now - self._reported >= _REPORT_SECONDS or self._shared.inbox.empty():
            self._shared.ended.put(self._ended)
            self._ended = []
            self._reported = now


def _always(_: int) -> bool:
    return True
