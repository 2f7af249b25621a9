"""The workers of a run: a few lanes, and a pool of threads for what waits on its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from queue import Empty
from typing import Generic, Self, TypeVar

from mastosync.runtime.steps import Steps
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.transfer_loop import Ended, LargeQuota, LoopSettings, TransferLoop
from mastosync.store.base import Multiplexer

C = TypeVar("C")
R = TypeVar("R")

_LANES_AT_MOST = 4  # Python's own lock leaves no more to gain
_POLL_SECONDS = 0.1
_CORES_A_LANE = 2  # the copier, hashing and the system want some too: a lane more would only cost


class WorkerPool(Generic[C, R]):
    """Moves objects, `workers` of them at once. Use as a context manager: outside of it there are no threads."""

    def __init__(
        self,
        transfer: Callable[[C], Steps[R]],
        workers: int,
        stop: StopSignal,
        multiplexer: Callable[[int], Multiplexer] | None = None,
    ) -> None:
        """`multiplexer` makes one for so many requests at once; None: every request waits in a thread of its own."""
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="aside")
        self._setting = LoopSettings(transfer, self._threads, stop, LargeQuota(max(1, workers // 2)))
        lanes = min(workers, (os.cpu_count() or 1) // _CORES_A_LANE, _LANES_AT_MOST)
        widths = _shares(workers, max(1, lanes))
        self._pool = ThreadPoolExecutor(len(widths), thread_name_prefix="copy")
        self._to_run = [TransferLoop(self._setting, width, multiplexer and multiplexer(width)) for width in widths]
        self._lanes: list[Future[None]] = []

    def __enter__(self) -> Self:
        """Let the lanes begin. Raises: RuntimeError if the system gives no threads."""
        try:
            for lane in self._to_run:
                self._lanes.append(self._pool.submit(lane.run))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let all threads go. After an error they are asked to stop: what waits would keep the process from ending."""
        if kind is not None:
            self._setting.stop.request()
        self.close()

    def submit(self, claims: Iterable[C]) -> None:
        """Hand claims over."""
        for claim in claims:
            self._setting.inbox.put(claim)

    def ended(self, wait_seconds: float) -> list[Ended[C, R]]:
        """What has come to its end; waits for the first of it.

        Raises: what a lane could not tell with a claim, which is a bug.
        """
        ended: list[Ended[C, R]] = []
        with suppress(Empty):
            ended += self._setting.ended.get(timeout=wait_seconds)
            while True:
                ended += self._setting.ended.get_nowait()
        if not ended:
            for lane in self._lanes:
                if lane.done():
                    lane.result()
        return ended

    def all_ended(self, claims: Iterable[C]) -> Iterator[Ended[C, R]]:
        """What becomes of these claims, a few of which wait at a time. After a stop, only those begun come."""
        work = iter(claims)
        in_work = 0
        while True:
            stopped = self._setting.stop.requested
            new = [] if stopped else list(islice(work, 4 * self.workers - in_work))
            in_work += len(new) - (len(self.take_back()) if stopped else 0)
            self.submit(new)
            if not in_work:
                return
            for ended in self.ended(_POLL_SECONDS):
                in_work -= 1
                yield ended

    def take_back(self) -> list[C]:
        """Claims that nobody has begun, and nobody will."""
        claims: list[C] = []
        with suppress(Empty):
            while True:
                claim = self._setting.inbox.get_nowait()
                if claim is not None:
                    claims.append(claim)
        return claims

    def close(self) -> None:
        """Let the lanes go, and break off what is still under way. Threads that wait are not waited for."""
        self._setting.abandoned = True
        self._setting.inbox.put(None)
        self._pool.shutdown()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _shares(total: int, into: int) -> list[int]:
    """Whole numbers, as equal as can be, that add up."""
    return [total // into + (number < total % into) for number in range(into)]
