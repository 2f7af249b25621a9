"""Time that passes as soon as somebody sleeps."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest

from mastosync.runtime.stop import StopSignal

MONDAY = datetime(2026, 11, 23)


class Clock:
    """Time that passes when somebody sleeps: for limits and waits, without waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(StopSignal, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(seconds, 0.0)

    def local_time(self) -> datetime:
        """It begins on a Monday at midnight."""
        return MONDAY + timedelta(seconds=self.now - 1000)
