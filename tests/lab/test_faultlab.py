"""Hundreds of bad days, made up from their seeds. After each command, every invariant is held against the world."""

from __future__ import annotations

import pytest

from faultlab.invariants import INVARIANTS
from faultlab.many import KINDS
from faultlab.report import REPORT
from faultlab.runner import Runner
from faultlab.scenario import Act, Death, Scenario, scenario_of
from faultlab.weather import Outage
from lab.fault_plan import NO_SUCH_BUCKET

# between them they hold whatever a day can hold; `make faults` has as many more as it is told
DAYS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 22, 42, 56, 77, 97, 98, 161, 177, 224, 250, 252)


@pytest.mark.parametrize("seed", DAYS)
def test_nothing_is_lost_wrong_twice_or_exposed(runner: Runner, seed: int) -> None:
    """Replay one, step by step: `make faults SEED=…`."""
    steps: list[str] = []
    tally = runner.run(scenario_of(seed), steps.append)
    assert not tally.violations, "\n".join([*steps, *tally.violations, f"replay: make faults SEED={seed}"])


def test_the_days_of_the_suite_hold_whatever_a_day_can_hold() -> None:
    suite, many = ([scenario_of(seed) for seed in seeds] for seeds in (DAYS, range(1, 301)))
    assert {act.blow.death for day in suite for act in day.acts if act.blow is not None} == set(Death)
    assert _held_by(suite) == _held_by(many)


def _held_by(days: list[Scenario]) -> set[tuple[object, ...]]:
    acts = [act for day in days for act in day.acts]
    return {
        *((act.arguments[0], act.blow is not None and act.blow.death) for act in acts),
        *((act.arguments[0], role) for act in acts for role, _ in act.outages),
        *(("passes", outage.lasts is not None) for act in acts for _, outage in act.outages),
        *((day.world, day.moto, day.server_side) for day in days),
        *(("patient", day.patient) for day in days),
        *(("hasty", day.hasty) for day in days),
        *(("limited", day.limited) for day in days),
    }


def test_a_source_that_goes_while_the_store_copies_by_itself_stops_the_run(runner: Runner) -> None:
    """What HEAD says of it looks as if each object were missing, and optional ones would never be asked for again."""
    gone = Act(("copy",), outages=(("source", Outage(NO_SUCH_BUCKET, after=4)),))
    day = Scenario(
        seed=980_000,
        world="usual",
        moto=False,
        server_side=True,
        copying={"workers": "4"},
        read_timeout_seconds=60,
        storms={},
        acts=(Act(("plan",)), gone),
    )
    tally = runner.run(day)
    assert not tally.violations
    assert tally.exit_codes[7] == 1


def test_the_figures_of_the_last_run_are_whole_and_good() -> None:
    text = REPORT.read_text(encoding="utf-8")
    assert [name for name in INVARIANTS if text.count(f"| **{name}** | **0** |") != len(KINDS)] == []
