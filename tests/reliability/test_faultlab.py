"""Hundreds of bad days, made up from their seeds. After each command, every invariant is held against the world."""

from __future__ import annotations

import pytest

from scripts.faultlab.runner import Runner
from scripts.faultlab.scenario import scenario_of

RUNS = 300


@pytest.mark.parametrize("seed", range(1, RUNS + 1))
def test_nothing_is_lost_wrong_twice_or_exposed(runner: Runner, seed: int) -> None:
    """Replay one, step by step: `make faults SEED=…`."""
    steps: list[str] = []
    tally = runner.run(scenario_of(seed), steps.append)
    assert not tally.violations, "\n".join([*steps, *tally.violations, f"replay: make faults SEED={seed}"])
