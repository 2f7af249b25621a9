"""What every scenario is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from benchmarks.measure import Contestant
from benchmarks.objects import BenchObject, make_objects
from benchmarks.report import Section
from benchmarks.rivals import Maker, Stage, mastosync

WORKERS = 32


@dataclass(frozen=True)
class Bench:
    """What all scenarios are given."""

    memory: Path  # a folder in memory, if there is such a place: for objects
    disk: Path  # a folder on disk: for what clients keep
    number: int  # of small objects
    rounds: int | None = None  # instead of each scenario's own
    keys: int = 2_000_000  # of a plan
    against: tuple[Path, ...] = ()  # other checkouts of mastosync that take part

    @cached_property
    def objects(self) -> list[BenchObject]:
        """The small objects."""
        return make_objects(self.number)

    @property
    def real_objects(self) -> list[BenchObject]:
        """As many of them as SeaweedFS takes in reasonable time."""
        return self.objects[:2_000]

    @property
    def counted_objects(self) -> list[BenchObject]:
        """Those of the runs whose requests are counted."""
        return self.objects[:300]

    @property
    def log(self) -> Path:
        """What the last command has printed."""
        return self.disk / "output.log"

    def ours(self) -> list[Maker]:
        """mastosync, and other checkouts of it."""
        return [mastosync, *(partial(mastosync, checkout=checkout) for checkout in self.against)]


Scenario = Callable[[Bench], Section]
"""Starts what it needs, measures, and leaves nothing."""


def made(makers: Sequence[Maker], stage: Stage) -> list[Contestant]:
    """All of them for one stage."""
    return [make(stage) for make in makers]
