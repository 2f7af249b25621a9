"""The loop that carries on many transfers in one thread, step by step: see `steps`.

It hands requests to a multiplexer, a few dozen side by side. Work that blocks (retries, parts of large objects, the
search for what a dead run left) goes to a pool of threads. It never waits for one transfer while another could go on.
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
from itertools import chain, count, islice
from queue import Empty, Queue
from typing import Generic, TypeAlias

from mastosync.errors import Interrupted, MastosyncError, ObjectError
from mastosync.runtime.steps import LOOK_SECONDS, BlockingCall, C, Ended, LargeTurn, R, Step, Steps, StoreCall, WaitFor
from mastosync.runtime.stop import StopSignal
from mastosync.store.abilities import STREAMING, BatchingStore, NewObject, StreamedObject, is_batching
from mastosync.store.base import Multiplexer

_SENDING = {"write", *STREAMING}  # operations that send as many bytes as their second argument has
_REPORT_SECONDS = 0.02  # how long outcomes may: each report wakes up the copier
_SIGNAL_SECONDS = 0.1  # how long a wish to stop may
_OPEN_SECONDS = 5.0  # how long a body may wait to be sent on: servers close what is idle, some after 15 seconds


@dataclass(slots=True, eq=False)
class _Transfer(Generic[C, R]):
    """A claim on its way."""

    claim: C
    steps: Steps[R]
    step: Step | None = None
    counts_as_large: bool = False  # in `LargeObjectQuota`
    paid: bool = False  # the bandwidth for this step is taken
    may_ask: bool = False  # the source of what is streamed, in this step
    was_parked: bool = False  # before this step
    waits_since: float | None = None  # in a line for an endpoint, by the monotonic clock


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
        # a heap: those that wait for others, and the first of each line for an endpoint
        self._delayed: list[tuple[float, int, _Transfer[C, R]]] = []
        self._order = count()
        self._lines: dict[object, deque[_Transfer[C, R]]] = {}  # none is empty; by limiter or bandwidth
        self._ended: list[Ended[C, R]] = []
        self._reported = 0.0  # when, by the monotonic clock
        self._look_at = 0.0  # when to look for bodies that wait, by the same

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
                    time.sleep(LOOK_SECONDS)  # until claims that have not begun are taken back
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
        if self._shared.stop.requested:
            waiting = [transfer for _, _, transfer in self._delayed]
            waiting += [transfer for line in self._lines.values() for transfer in islice(line, 1, None)]
            self._delayed.clear()
            self._lines.clear()
            for transfer in waiting:
                self._advance(transfer, None, Interrupted("stopped while waiting"))
        now = time.monotonic()
        if self._lines and now >= self._look_at:
            self._look_at = now + _OPEN_SECONDS / 10
            self._close_old_bodies(now)
        while self._delayed and self._delayed[0][0] <= time.monotonic():
            _, _, transfer = heapq.heappop(self._delayed)
            self._begin(transfer)

    def _close_old_bodies(self, now: float) -> None:
        for transfer in chain.from_iterable(self._lines.values()):
            waits_long = transfer.waits_since is not None and now - transfer.waits_since >= _OPEN_SECONDS
            if waits_long and isinstance(transfer.step, StoreCall):
                transfer.step.let_go()

    def _wait_seconds(self) -> float:
        """Seconds to wait for what is under way, before something else has to be looked at."""
        others = self._active > self._under_way or self._shared.parked or (self._open and self._active < self._width)
        longest = LOOK_SECONDS if others else _SIGNAL_SECONDS
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
        if self._shared.stop.requested:
            for transfer, _, error in self._multiplexer.broken_off():
                self._under_way -= 1
                assert isinstance(transfer, _Transfer)  # noqa: S101 - as above
                self._advance(transfer, None, error)

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
        transfer.paid = transfer.may_ask = transfer.was_parked = False
        transfer.waits_since = None
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
        if isinstance(step, WaitFor):
            if step.reached():
                self._advance(transfer, None)
            else:
                self._postpone(transfer, LOOK_SECONDS)
        elif isinstance(step, StoreCall):
            self._begin_call(transfer, step)
        elif isinstance(step, BlockingCall) and not step.large:
            self._run_in_thread(transfer, step.run)
        elif not (transfer.counts_as_large or self._may_move_large()):
            self._park(transfer, step)
        else:
            transfer.counts_as_large = True
            if isinstance(step, LargeTurn):
                self._advance(transfer, transfer.was_parked)
            else:
                self._run_in_thread(transfer, step.run)

    def _park(self, transfer: _Transfer[C, R], step: LargeTurn | BlockingCall) -> None:
        """Set a transfer aside until fewer large objects are moving. Another loop may take it then."""
        if isinstance(step, LargeTurn):
            step.set_aside()  # in this loop, which may have opened a connection for it
        transfer.was_parked = True
        self._active -= 1
        self._shared.parked.append(transfer)

    def _begin_call(self, transfer: _Transfer[C, R], call: StoreCall) -> None:
        multiplexer, store = self._multiplexer, call.store.store_session.store
        if multiplexer is not None and multiplexer.takes(store, call.operation, call.arguments):
            if self._may_send(transfer, call):
                self._multiplex(multiplexer, transfer, call)
            elif transfer.waits_since is None:
                transfer.waits_since = time.monotonic()
        elif call.operation == "write" and is_batching(store):
            if self._may_send(transfer, call):
                answered = partial(self._note_answer, transfer)
                self._shared.write_together(store, NewObject(*call.arguments), answered)
        elif (answer := call.cached_answer()) is None:
            self._run_in_thread(transfer, call.run)  # which asks limiter and bandwidth itself
        else:
            self._advance(transfer, answer)

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

    def _may_send(self, transfer: _Transfer[C, R], call: StoreCall) -> bool:
        """Whether a request may be sent now. If not, it stands in line for that."""
        session = call.store.store_session
        if call.operation in STREAMING and not self._may_ask_source(transfer, call.arguments[1]):
            return False
        if session.bandwidth is not None and call.operation in _SENDING and not transfer.paid:
            ask = partial(session.bandwidth.reserve, len(call.arguments[1]))
            transfer.paid = self._is_let_through(transfer, session.bandwidth, ask)
            if not transfer.paid:
                return False
        return self._is_let_through(transfer, session.limiter, session.limiter.reserve)

    def _may_ask_source(self, transfer: _Transfer[C, R], source: StreamedObject) -> bool:
        """Whether an object that is to be streamed may be asked for, unless it comes already."""
        if source.body is None and not transfer.may_ask:
            transfer.may_ask = self._is_let_through(transfer, source.reserve, source.reserve)
        return source.body is not None or transfer.may_ask

    def _is_let_through(self, transfer: _Transfer[C, R], by: object, ask: Callable[[], float]) -> bool:
        """Whether a limiter or a bandwidth lets a transfer go on; else it stands in line. `ask`: its `reserve`.

        If all in line asked, all would be told the same moment, and all but one would wake up in vain.
        """
        line = self._lines.get(by)  # None: nobody waits, as usual
        if line is not None and line[0] is not transfer:
            line.append(transfer)
            return False
        if wait := ask():
            if line is None:
                self._lines[by] = deque((transfer,))
            self._postpone(transfer, wait)
            return False
        if line is not None:
            line.popleft()
            if line:
                self._postpone(line[0], 0.0)
            else:
                del self._lines[by]
        return True

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
