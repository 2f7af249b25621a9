"""When a plan may read only what has changed, and what a plan that did counts for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mastosync.errors import ManifestError
from mastosync.manifest import Manifest, ManifestReader, PlanWriter
from mastosync.planning.planner import DeltaBase, DeltaTerms, PlanOptions, SnapshotMark, delta_base
from tests.support.manifests import DESTINATION, SOURCE

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
TERMS = DeltaTerms(overlap=timedelta(minutes=15), full_every=timedelta(hours=24))
OPTIONS = PlanOptions().as_details()
HIGHEST = {"accounts": 7}
MARK = SnapshotMark("mastodon", "100:105:")


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    with Manifest.create(tmp_path / "m.db") as manifest:
        yield manifest


def plan(manifest: Manifest, hours: float = 0, **details: object) -> None:
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
        of_snapshot = {"database": "mastodon", "snapshot_id": "90:95:91"}
        found = {**of_snapshot, **OPTIONS, "incremental": False, "highest": HIGHEST, **details}
        writer.finish(NOON + timedelta(hours=hours), {name: value for name, value in found.items() if value != "none"})


def base(manifest: Manifest, hours: float = 1, options: dict[str, Any] = OPTIONS) -> DeltaBase | None:
    found, why = delta_base(ManifestReader(manifest), options, MARK, NOON + timedelta(hours=hours), TERMS)
    assert (found is None) == bool(why)
    return found


def test_a_delta_goes_on_from_the_last_plan_a_little_before_it(manifest: Manifest) -> None:
    plan(manifest)
    plan(manifest, 0.5, incremental=True, highest={"accounts": 9})
    assert base(manifest) == DeltaBase(NOON + timedelta(minutes=15), {"accounts": 9})


@pytest.mark.parametrize(
    "details",
    [
        {"highest": "none"},  # of an earlier version
        {"only": "local"},
        {"types": ["accounts"]},
        {"limit": 10},
        {"database": "another"},
        {"snapshot_id": "110:200:"},  # of a later state than the database is in now
    ],
)
def test_what_another_plan_read_is_no_base(manifest: Manifest, details: dict[str, object]) -> None:
    plan(manifest)
    assert base(manifest)
    plan(manifest, 0.5, **details)
    assert base(manifest) is None


def test_everything_is_read_without_a_plan_with_a_limit_and_once_a_day(manifest: Manifest) -> None:
    assert base(manifest) is None
    plan(manifest)
    plan(manifest, 23, incremental=True)
    assert base(manifest, 23.9)
    assert base(manifest, 24) is None
    assert base(manifest, options={**OPTIONS, "limit": 10}) is None


def test_a_clock_that_went_back_is_no_base(manifest: Manifest) -> None:
    plan(manifest, 2)
    assert base(manifest, 1) is None


def test_a_delta_is_no_whole_plan(manifest: Manifest) -> None:
    report = ManifestReader(manifest)
    with pytest.raises(ManifestError):
        report.whole_snapshot()
    plan(manifest)
    plan(manifest, 1, incremental=True)
    assert report.whole_snapshot().taken_at == NOON
    last = report.snapshot()
    reading = report.last_reading()
    assert last is not None
    assert last.incremental
    assert reading is not None
    assert reading.taken_at == NOON


@pytest.mark.parametrize("microsecond", [0, 1, 999_999])
def test_the_moment_of_a_plan_is_kept_to_the_microsecond(manifest: Manifest, microsecond: int) -> None:
    moment = NOON.replace(microsecond=microsecond)
    plan(manifest, (moment - NOON) / timedelta(hours=1))
    assert ManifestReader(manifest).whole_snapshot().taken_at == moment
    assert base(manifest) == DeltaBase(moment - timedelta(minutes=15), HIGHEST)


def test_a_moment_to_the_second_is_read_as_well(manifest: Manifest) -> None:
    """As earlier versions wrote it."""
    plan(manifest)
    manifest.connection.execute("UPDATE snapshots SET taken_at = '2026-11-28T12:00:00+00:00'")
    assert ManifestReader(manifest).whole_snapshot().taken_at == NOON
