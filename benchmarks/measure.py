"""Running commands in turn, what each run cost, and the figures made of it."""

from __future__ import annotations

import compileall
import os
import signal
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# what would steer a client from outside
FOREIGN_SETTINGS = (
    "MASTOSYNC_",
    "AWS_",
    "RCLONE_",
    "S3_",
    "PG",
    "GOMAXPROCS",
    "GOGC",
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
)
LOG_TAIL_BYTES = 4_000
TIMED = Path(__file__).with_name("timed.py")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a command took. Memory is the peak of what it had resident."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


class RunFailed(Exception):
    """A command did not do what it was to do. Says which, with the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A client that takes part: one command, run again and again."""

    name: str
    command: Sequence[str | Path]
    prepare: Callable[[], None]  # before each run, unmeasured
    check: Callable[[], None]  # after each run, unmeasured; raises RunFailed
    rounds: int = sys.maxsize  # takes part in so many rounds at most: some are slow
    folder: Path | None = None  # to run in


@dataclass(slots=True)
class Figures:
    """What the runs of one contestant cost, in the order of the rounds."""

    name: str
    objects: int  # copied in each run
    costs: list[Cost] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """Of each run, from start to end of the process."""
        return [cost.seconds for cost in self.costs]

    @property
    def rates(self) -> list[float]:
        """Objects a second, of each run."""
        return [self.objects / cost.seconds for cost in self.costs]

    @property
    def cpu_milliseconds(self) -> list[float]:
        """Processor time of the client an object, of each run."""
        return [1000 * cost.cpu_seconds / self.objects for cost in self.costs]

    @property
    def peak_megabytes(self) -> float:
        """The most that any run had resident, in millions of bytes."""
        return max(cost.peak_bytes for cost in self.costs) / 1e6


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some figures, and how far they lie apart."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises: StatisticsError if there are none."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, form: str = ",.0f") -> str:
        """`median (lowest to highest)`, or the one value there is."""
        if self.lowest == self.highest:
            return f"{self.median:{form}}"
        return f"{self.median:{form}} ({self.lowest:{form}} to {self.highest:{form}})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times theirs ours is, round by round: what disturbs a round disturbs both.

    Rounds in which one of them took no part count for nothing.
    """
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=False)])


def run_in_turn(contestants: Sequence[Contestant], objects: int, rounds: int, log: Path) -> list[Figures]:
    """Run each once, then each once more, and so on. Raises: RunFailed."""
    figures = [Figures(contestant.name, objects) for contestant in contestants]
    for number in range(rounds):
        for contestant, of_it in zip(contestants, figures, strict=True):
            if number >= contestant.rounds:
                continue
            cost = run(contestant, log)
            of_it.costs.append(cost)
            print(
                f"  round {number + 1}  {contestant.name:<36} {cost.seconds:7.2f} s {of_it.rates[-1]:9,.0f} objects/s"
                f" {of_it.cpu_milliseconds[-1]:7.3f} ms CPU an object {cost.peak_bytes / 1e6:6,.0f} MB",
                flush=True,
            )
    return figures


def count_requests(
    contestants: Sequence[Contestant], so_far: Callable[[], Counter[str]], log: Path
) -> dict[str, Counter[str]]:
    """The requests of each contestant in one run more, by name and operation. Raises: RunFailed.

    `so_far` tells of all requests until now.
    """
    counts = {}
    for contestant in contestants:
        before = so_far()
        run(contestant, log)
        counts[contestant.name] = so_far() - before
    return counts


def run(contestant: Contestant, log: Path) -> Cost:
    """Prepare, run the command to its end, check. What it prints goes to `log`. Raises: RunFailed."""
    contestant.prepare()
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN_SETTINGS)}
    result = log.with_suffix(".cost")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", TIMED, result, *contestant.command],
            cwd=contestant.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # the client as well
            process.wait()
            raise
    if process.returncode:
        raise RunFailed(f"{contestant.name} could not be run:\n{_tail(log)}")
    seconds, user, system, peak, code = map(float, result.read_text().split())
    if code:
        raise RunFailed(f"{contestant.name} ended with code {code:.0f}:\n{_tail(log)}")
    contestant.check()
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(seconds, user + system, int(peak) * unit)


def compiled(checkout: Path) -> None:
    """Compile mastosync, as its installation does: an environment may keep Python from keeping what it compiles."""
    compileall.compile_dir(checkout / "mastosync", quiet=2)


def nothing() -> None:
    """To prepare nothing, to check nothing."""


def _tail(log: Path) -> str:
    return log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
