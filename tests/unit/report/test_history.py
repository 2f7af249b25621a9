"""The pace of runs: by the progress that they have left."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mastosync.report import CopyRun
from mastosync.report.history import PACES, ProgressSample, paces_of, runs_of
from tests.support.report_evidence import DAY, HOUR, NOON, run, steadily


def moved(runs: list[CopyRun]) -> float:
    """Objects that the pace adds up to, where a run is always at work."""
    return sum((pace.end - pace.begin) * pace.objects_per_second for pace in paces_of(runs))


def test_no_run_and_a_run_of_no_time_have_no_pace() -> None:
    assert paces_of([]) == []
    assert paces_of([run(NOON, 0, 5)]) == []
    assert run(NOON, 0, 5).objects_per_second is None


def test_a_run_of_a_second_has_one() -> None:
    (pace,) = paces_of([run(NOON, 1, 30)])
    assert pace == (NOON, NOON + 1, 30, 30_000)


def test_a_run_that_left_no_samples_is_told_as_a_whole() -> None:
    paces = paces_of([run(NOON, HOUR, 7_200)])
    assert len(paces) == 60
    assert {round(pace.objects_per_second, 6) for pace in paces} == {2.0}


def test_a_steady_run_has_a_steady_pace() -> None:
    paces = paces_of([steadily(NOON, 12 * HOUR, 120)])
    assert len(paces) == PACES
    assert all(pace.objects_per_second == pytest.approx(2) for pace in paces)
    assert moved([steadily(NOON, 12 * HOUR, 120)]) == pytest.approx(12 * 60 * 120)


def test_a_change_of_pace_is_seen_where_it_was() -> None:
    samples = (ProgressSample(NOON, 0, 0), ProgressSample(NOON + 60, 60, 0), ProgressSample(NOON + 120, 660, 0))
    assert [round(pace.objects_per_second) for pace in paces_of([run(NOON, 120, 660, samples=samples)])] == [1, 10]


def test_where_nobody_was_at_work_there_is_no_pace() -> None:
    runs = [steadily(NOON, 5 * HOUR, 60), steadily(NOON + 6 * DAY, HOUR, 600), steadily(NOON + 14 * DAY, 600, 60)]
    paces = paces_of(runs)
    assert len(paces) < PACES / 10
    assert {round(pace.objects_per_second, 3) for pace in paces} == {1.0, 10.0}
    worked = [(each.started_at, each.updated_at) for each in runs]
    assert all(any(begin < pace.end and pace.begin < end for begin, end in worked) for pace in paces)
    gaps = [after.begin - before.end for before, after in pairwise(paces)]
    assert sum(gap > DAY for gap in gaps) == 2


def test_hundreds_of_runs_make_no_more_figures() -> None:
    assert 0 < len(paces_of([run(NOON + 600 * at, 20, 40) for at in range(2_000)])) <= PACES


def test_a_clock_that_was_put_back_breaks_nothing() -> None:
    samples = (ProgressSample(NOON, 0, 0), ProgressSample(NOON - 500, 10, 10), ProgressSample(NOON + 60, 60, 60))
    assert moved([run(NOON, 60, 60, samples=samples)]) == pytest.approx(60)


def test_samples_are_those_of_their_run() -> None:
    row = {"started_at": 1.0, "updated_at": 2.0, "ended_at": None, "workers": 8, "done": 3, "failed": 0, "skipped": 0}
    runs = runs_of(
        [{"id": number, "bytes": 9, **row} for number in (1, 2)], [{"run": 2, "at": 1.5, "done": 1, "bytes": 3}]
    )
    assert [len(each.samples) for each in runs] == [0, 1]
