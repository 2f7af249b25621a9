"""Days on which the world moves: rows change, other tools write, and every invariant is held after each command."""

from __future__ import annotations

from itertools import pairwise

import pytest

from faultlab.moves import Move, Wrong
from faultlab.moving_days import moving_day_of
from faultlab.runner import Runner
from faultlab.scenario import Death

RUNS = 100


@pytest.mark.parametrize("seed", range(1, RUNS + 1))
def test_what_is_called_done_is_true_and_nothing_is_forgotten_while_the_world_moves(runner: Runner, seed: int) -> None:
    """Replay one, step by step: `make faults SEED=… ARGUMENTS='--kind moving'`."""
    steps: list[str] = []
    tally = runner.run(moving_day_of(seed), steps.append)
    replay = f"replay: make faults SEED={seed} ARGUMENTS='--kind moving'"
    assert not tally.violations, "\n".join([*steps, *tally.violations, replay])


def test_the_same_seed_is_the_same_moving_day() -> None:
    assert [moving_day_of(seed) for seed in range(50)] == [moving_day_of(seed) for seed in range(50)]
    assert len({str(moving_day_of(seed)) for seed in range(50)}) == 50


def test_the_moving_days_of_the_suite_hold_every_move_and_command() -> None:
    acts = [act for seed in range(1, RUNS + 1) for act in moving_day_of(seed).acts]
    before = {change.move for act in acts for change in act.changes}
    meanwhile = {change.move for act in acts if act.turn is not None for change in act.turn.changes}
    assert before == meanwhile == set(Move)
    assert {act.wrong for act in acts} == {None, *Wrong}
    assert {" ".join(act.arguments) for act in acts} >= {
        *("plan", "plan --delta", "copy", "retry-failed", "verify", "verify --deep", "adopt", "adopt --deep"),
        *("prune --apply --at-most 100", "manifest import archive.jsonl"),
    }
    deaths = {act.blow.death for act in acts if act.blow is not None}
    assert deaths == set(Death) - {Death.RESTART}  # the server is everybody's


def test_nobody_prunes_after_a_plan_of_the_wrong_database() -> None:
    for seed in range(1, 301):
        acts = moving_day_of(seed).acts
        for wrong, right in pairwise(acts):
            if wrong.wrong is not None:
                assert right.arguments[0] == "plan"
                assert (right.wrong, right.blow) == (None, None)


def test_what_is_imported_is_what_was_exported_just_before() -> None:
    for seed in range(1, 301):
        acts = moving_day_of(seed).acts
        for exported, imported in pairwise(acts):
            if exported.arguments[:2] == ("manifest", "export"):
                assert imported.arguments[:2] == ("manifest", "import")
                assert not imported.changes
