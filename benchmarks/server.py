"""The processor time of a PostgreSQL server on this machine."""

from __future__ import annotations

import math
import os
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lab.addresses import DatabaseAddress

_PROC = Path("/proc")
_PARENT, _FIRST_TIME, _AFTER_TIMES = 1, 11, 15  # user, system, and both of children that have ended


@dataclass(frozen=True, slots=True)
class ServerClock:
    """Reads what all processes of a server have used. Linux only: elsewhere it reads NaN."""

    postmaster: int

    @classmethod
    def of(cls, address: DatabaseAddress) -> Self:
        """The server that listens there."""
        if sys.platform != "linux":
            return cls(0)
        with closing(address.connect()) as connection:
            ((backend,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
            return cls(int(_fields(backend)[_PARENT]))

    def cpu_seconds(self) -> float:
        """Since it was started, those of ended connections too."""
        if not self.postmaster:
            return math.nan
        ticks = _ticks(self.postmaster)
        for child in (_PROC / f"{self.postmaster}/task/{self.postmaster}/children").read_text().split():
            with suppress(FileNotFoundError):  # it has just ended
                ticks += _ticks(int(child))
        return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(process: int) -> int:
    return sum(map(int, _fields(process)[_FIRST_TIME:_AFTER_TIMES]))


def _fields(process: int) -> list[str]:
    """Those after the name in parentheses, which may hold anything: state, parent, and so on."""
    return (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
