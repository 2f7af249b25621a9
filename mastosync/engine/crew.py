"""The workers of a run: a few lanes, and a pool of threads for what waits on its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty

from mastosync.engine.lane import Ended, Lane, LaneSetting, LargeQuota
from mastosync.engine.steps import Steps
from mastosync.engine.stop import StopSignal
from mastosync.model import Claim, Outcome
from mastosync.store.base import Multiplexer

_LANES_AT_MOST = 4  # Python's own lock leaves no more to gain
_CORES_A_LANE = 2  # the copier, hashing and the system want some too: a lane more would only cost


class Crew:
    """Moves objects, `workers` of them at once. Use as a context manager."""

    def __init__(
        self,
        transfer: Callable[[Claim], Steps[Outcome]],
        workers: int,
        stop: StopSignal,
        multiplexer: Callable[[int], Multiplexer] | None = None,
    ) -> None:
        """`multiplexer` makes one for so many requests at once; None: every request waits in a thread of its own."""
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="aside")
        self._setting = LaneSetting(transfer, self._threads, stop, LargeQuota(max(1, workers // 2)))
        lanes = min(workers, (os.cpu_count() or 1) // _CORES_A_LANE, _LANES_AT_MOST)
        widths = _shares(workers, max(1, lanes))
        self._pool = ThreadPoolExecutor(len(widths), thread_name_prefix="copy")
        self._lanes = [
            self._pool.submit(Lane(self._setting, width, multiplexer and multiplexer(width)).run) for width in widths
        ]

    def submit(self, claims: Iterable[Claim]) -> None:
        """Hand claims over."""
        for claim in claims:
            self._setting.inbox.put(claim)

    def ended(self, wait_seconds: float) -> list[Ended]:
        """What has come to its end; waits for the first of it.

        Raises: what a lane could not tell with a claim, which is a bug.
        """
        ended: list[Ended] = []
        with suppress(Empty):
            ended += self._setting.ended.get(timeout=wait_seconds)
            while True:
                ended += self._setting.ended.get_nowait()
        if not ended:
            for lane in self._lanes:
                if lane.done():
                    lane.result()
        return ended

    def take_back(self) -> list[Claim]:
        """Claims that nobody has begun, and nobody will."""
        claims = []
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
