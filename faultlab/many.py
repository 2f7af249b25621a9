"""Many scenarios, in several processes at the same time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TypeAlias

from faultlab.moving_days import moving_day_of
from faultlab.runner import Runner
from faultlab.scenario import Scenario, scenario_of
from faultlab.tally import Tally
from lab.shared import SharedLab

Name: TypeAlias = tuple[str, int]
"""Kind and seed of a day."""

KINDS: Mapping[str, Callable[[int], Scenario]] = {"still": scenario_of, "moving": moving_day_of}
"""How a day of each kind is made up from its seed."""


def live_through(lab_folder: Path, days: list[Name], jobs: int, *, in_detail: bool) -> Tally:
    """Live through scenarios in several processes; tells of each that failed as it fails."""
    total = Tally()
    forks = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(jobs, mp_context=forks) as pool:
        shares = [pool.submit(_share, lab_folder, days[job::jobs], in_detail) for job in range(jobs)]
        for share in as_completed(shares):
            total.add(share.result())
    return total


def _share(lab_folder: Path, days: list[Name], in_detail: bool) -> Tally:
    total = Tally()
    with Runner(SharedLab(lab_folder).addresses()) as runner:
        for kind, seed in days:
            tally = runner.run(KINDS[kind](seed), _say if in_detail else lambda _: None)
            for violation in tally.violations:
                _say(f"{violation}\n  replay: make faults SEED={seed} ARGUMENTS='--kind {kind}'")
            _say(f"{kind} day {seed}: {tally.seconds:.1f} s, {tally.commands} commands")
            total.add(tally)
    return total


def _say(line: str) -> None:
    print(line, flush=True)
