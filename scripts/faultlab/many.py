"""Many scenarios, in several processes at the same time."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from scripts.faultlab.runner import Runner
from scripts.faultlab.scenario import scenario_of
from scripts.faultlab.tally import Tally
from scripts.lab.shared import SharedLab


def live_through(lab_folder: Path, seeds: list[int], jobs: int) -> Tally:
    """Live through scenarios in several processes; tells of each that failed as it fails."""
    total = Tally()
    forks = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(jobs, mp_context=forks) as pool:
        shares = [pool.submit(_share, lab_folder, seeds[job::jobs], len(seeds) == 1) for job in range(jobs)]
        for share in as_completed(shares):
            total.add(share.result())
    return total


def _share(lab_folder: Path, seeds: list[int], in_detail: bool) -> Tally:
    total = Tally()
    with Runner(SharedLab(lab_folder).addresses()) as runner:
        for seed in seeds:
            tally = runner.run(scenario_of(seed), _say if in_detail else lambda _: None)
            for violation in tally.violations:
                _say(f"{violation}\n  replay: make faults SEED={seed}")
            _say(f"seed {seed}: {tally.seconds:.1f} s, {tally.commands} commands")
            total.add(tally)
    return total


def _say(line: str) -> None:
    print(line, flush=True)
