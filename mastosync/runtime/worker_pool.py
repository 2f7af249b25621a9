"""Threads that do many things at once: `WorkerPool` for work in steps, `WriteBatches` for what a store takes
together, `side_by_side` for work that only yields.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from queue import Empty, Full, Queue
from threading import Event, Lock
from typing import Generic, Self, TypeVar

from mastosync.runtime.steps import Ended, Steps
from mastosync.runtime.stop import StopSignal, in_turns
from mastosync.runtime.transfer_loop import Answered, LargeObjectQuota, SharedWork, TransferLoop
from mastosync.store.abilities import BatchingStore, BatchLimits, NewObject
from mastosync.store.base import Multiplexer

C = TypeVar("C")  # what is claimed
R = TypeVar("R")  # its outcome
T = TypeVar("T")

_LOOPS_AT_MOST = 4  # Python's own lock leaves no more to gain
_CORES_A_LOOP = 2  # the copier, hashing and the system want some too: a loop more would only cost
_POLL_SECONDS = 0.1
_RESULTS_AHEAD = 4  # of each thread, that may wait to be taken


class WriteBatches:
    """Small objects on their way to a store that takes several at once. From any thread.

    What comes while a batch is written makes up the next one, so a store that keeps up has one thread, and threads
    are handed little over. Another batch begins beside it when one is full, as far as the store likes that.
    """

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._waiting: deque[tuple[BatchingStore, NewObject, Answered]] = deque()
        self._writers = 0
        self._lock = Lock()

    def add(self, store: BatchingStore, new: NewObject, answered: Answered) -> None:
        """Write an object. All of a run go to one store."""
        limits = store.batch_limits()
        with self._lock:
            self._waiting.append((store, new, answered))
            if self._writers and (len(self._waiting) < limits.objects or self._are_enough(limits)):
                return
            self._writers += 1
        self._threads.submit(self._write)

    def _are_enough(self, limits: BatchLimits) -> bool:
        return limits.at_once is not None and self._writers >= limits.at_once

    def _write(self) -> None:
        while batch := self._next():
            store = batch[0][0]
            try:
                answers: Sequence[object] = store.write_batch([new for _, new, _ in batch])
            except BaseException as error:  # noqa: BLE001 - each of them gets it
                answers = [error] * len(batch)
            for (_, _, answered), answer in zip(batch, answers, strict=True):
                if isinstance(answer, BaseException):
                    answered(None, answer)
                else:
                    answered(answer, None)

    def _next(self) -> list[tuple[BatchingStore, NewObject, Answered]]:
        with self._lock:
            if not self._waiting:
                self._writers -= 1
                return []
            at_most = self._waiting[0][0].batch_limits().objects
            return [self._waiting.popleft() for _ in range(min(at_most, len(self._waiting)))]


class WorkerPool(Generic[C, R]):
    """Moves objects, `workers` of them at once. Use as a context manager: outside of it there are no threads."""

    def __init__(
        self,
        transfer: Callable[[C], Steps[R]],
        workers: int,
        stop: StopSignal,
        multiplexer: Callable[[int], Multiplexer] | None = None,
    ) -> None:
        """`multiplexer` makes one for a number of requests at once; None: every request gets a thread of its own."""
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="blocking")
        self._shared = SharedWork(
            transfer, self._threads, stop, LargeObjectQuota(max(1, workers // 2)), WriteBatches(self._threads).add
        )
        loops = min(workers, (os.cpu_count() or 1) // _CORES_A_LOOP, _LOOPS_AT_MOST)
        widths = _shares(workers, max(1, loops))
        self._pool = ThreadPoolExecutor(len(widths), thread_name_prefix="copy")
        self._loops = [TransferLoop(self._shared, width, multiplexer and multiplexer(width)) for width in widths]
        self._running: list[Future[None]] = []

    def __enter__(self) -> Self:
        """Start the loops. Raises: RuntimeError if the system gives no threads."""
        try:
            for loop in self._loops:
                self._running.append(self._pool.submit(loop.run))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End all threads. After an error they are asked to stop: one that waits would keep the process alive."""
        if kind is not None:
            self._shared.stop.request()
        self.close()

    def submit(self, claims: Iterable[C]) -> None:
        """Hand claims over."""
        for claim in claims:
            self._shared.inbox.put(claim)

    def ended(self, wait_seconds: float) -> list[Ended[C, R]]:
        """What has come to its end; waits for the first of it.

        Raises: what a loop could not report with a claim, which is a bug.
        """
        ended: list[Ended[C, R]] = []
        with suppress(Empty):
            ended += self._shared.ended.get(timeout=wait_seconds)
            while True:
                ended += self._shared.ended.get_nowait()
        if not ended:
            for loop in self._running:
                if loop.done():
                    loop.result()
        return ended

    def all_ended(self, claims: Iterable[C]) -> Iterator[Ended[C, R]]:
        """Iterate over the outcomes of `claims`, of which a few wait at a time. After a stop, only of those begun."""
        work = iter(claims)
        in_work = 0
        while True:
            stopped = self._shared.stop.requested
            new = [] if stopped else list(islice(work, 4 * self.workers - in_work))
            in_work += len(new) - (len(self.take_back()) if stopped else 0)
            self.submit(new)
            if not in_work:
                return
            for ended in self.ended(_POLL_SECONDS):
                in_work -= 1
                yield ended

    def take_back(self) -> list[C]:
        """Take back the claims that no worker has begun."""
        claims: list[C] = []
        with suppress(Empty):
            while True:
                claim = self._shared.inbox.get_nowait()
                if claim is not None:
                    claims.append(claim)
        return claims

    def close(self) -> None:
        """End the loops, and break off what is still under way. Threads that wait are not waited for."""
        self._shared.abandoned = True
        self._shared.inbox.put(None)
        self._pool.shutdown()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _shares(total: int, into: int) -> list[int]:
    """Whole numbers, as equal as can be, that add up."""
    return [total // into + (number < total % into) for number in range(into)]


def side_by_side(
    work: Callable[[T], Iterable[R]],
    items: Sequence[T],
    workers: int,
    stop: StopSignal,
    meanwhile: Callable[[], object] = lambda: None,
) -> Iterator[R]:
    """Yield everything that `work` yields for all items, in no order. Memory is bounded by the number of workers.

    `work` runs in threads, which take turns except in requests to stores. An error in one of them ends all and is
    raised here. That, or an error of the caller, asks all of them to stop, wherever they wait. `meanwhile` is called
    here, between two results and ten times a second.
    """
    results: Queue[R] = Queue(_RESULTS_AHEAD * workers)
    abandoned = Event()

    def work_on(item: T) -> None:
        for result in in_turns(iter(work(item))):
            while not abandoned.is_set():
                with suppress(Full):
                    results.put(result, timeout=_POLL_SECONDS)
                    break
            if abandoned.is_set():
                return

    threads = ThreadPoolExecutor(max(1, min(workers, len(items))), thread_name_prefix="range")
    try:
        with stop.after_errors():  # the other threads may be waiting for a store
            under_way = [threads.submit(work_on, item) for item in items]
            while True:
                meanwhile()
                ended = [future for future in under_way if future.done()]
                under_way = [future for future in under_way if not future.done()]
                for future in ended:
                    future.result()
                if under_way:
                    with suppress(Empty):
                        yield results.get(timeout=_POLL_SECONDS)
                    continue
                while not results.empty():
                    yield results.get_nowait()
                return
    finally:
        abandoned.set()
        threads.shutdown(cancel_futures=True)
