"""What `plan --accept-gone` has lost is lost until it is found again, or somebody says that it was deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mastosync.cli.main import main
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Checker,
    Manifest,
    ManifestReader,
    PlanWriter,
    StoreIdentity,
    WorkQueue,
    accept_dropped,
    count_dropped,
    forget_arrival,
    mark_older_drops,
)
from mastosync.model import TABLES, Entry, EntryState, Outcome, Reason
from tests.support.entries import entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, exported, imported, planned

EVERY = [entry(row) for row in range(100)]
WHOLE = {"types": list(TABLES), "only": "all", "limit": None}
DELTA = WHOLE | {"incremental": True}
OLDER = WHOLE | {"accepted_gone": 12}
"""The record of a plan by an older version."""


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    """All of it done, but for one that the source has lost, and one that is pending."""
    with planned(tmp_path / "m.db", EVERY) as manifest:
        queue = WorkQueue(manifest)
        done = [Outcome(each.entry, EntryState.DONE, size=1) for each in queue.iter_claimable() if each.entry.id > 1]
        queue.commit(outcomes=[*done, Outcome(EVERY[0], EntryState.FAILED, Reason.MISSING)])
        yield manifest


def plan(
    manifest: Manifest, entries: Sequence[Entry], window: tuple[int, int] = (LOWEST_ID, HIGHEST_ID), **given: bool
) -> None:
    """`accept`: with --accept-gone; `needed`: without it, the plan would be refused."""
    accept, needed = given.get("accept", False), given.get("needed", True)
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION, accepts_losses=accept) as writer:
        writer.merge("accounts", *window, grouped(entries))
        writer.take_back_marks(accepted=accept and needed)
        writer.finish(datetime.now(UTC), WHOLE | {"marks_gone": True})


def test_a_second_plan_of_the_wrong_database_forgets_nothing(manifest: Manifest) -> None:
    plan(manifest, [], accept=True)
    assert count_dropped(manifest) == 99, "what is pending is lost, too, and what the source has lost is not"
    plan(manifest, [])
    plan(manifest, [], accept=True)
    assert count_dropped(manifest) == 99
    plan(manifest, EVERY[:50])  # restored by half
    plan(manifest, EVERY[:50])
    assert count_dropped(manifest) == 50
    plan(manifest, EVERY)
    assert count_dropped(manifest) == 0


def test_what_a_delta_finds_again_is_found(manifest: Manifest) -> None:
    plan(manifest, [], accept=True)
    plan(manifest, [EVERY[7]], (6, 7))
    assert count_dropped(manifest) == 98


def test_what_catches_up_bit_by_bit_says_nothing_of_the_rest(manifest: Manifest) -> None:
    """A standby that lags shows something again, and has not heard of the rest yet."""
    plan(manifest, EVERY[:92], accept=True)
    for shown, lost in ((94, 6), (99, 1)):
        plan(manifest, EVERY[:shown])
        plan(manifest, EVERY[:shown])
        assert count_dropped(manifest) == lost
    accept_dropped(manifest)
    assert count_dropped(manifest) == 0


def test_few_that_an_older_copy_lacks_are_lost_until_they_are_found(manifest: Manifest) -> None:
    plan(manifest, EVERY[:98], accept=True)
    plan(manifest, EVERY[:98])
    plan(manifest, EVERY[:97])  # one was deleted, which says nothing of the others
    assert count_dropped(manifest) == 2
    plan(manifest, EVERY)
    assert count_dropped(manifest) == 0


def test_who_says_so_without_need_loses_what_an_instance_loses(manifest: Manifest) -> None:
    plan(manifest, EVERY[:98], accept=True, needed=False)
    assert count_dropped(manifest) == 0
    plan(manifest, [], accept=True)
    plan(manifest, EVERY[:50])
    plan(manifest, EVERY[:48], accept=True, needed=False)
    assert count_dropped(manifest) >= 50, "nobody knows which of them were lost before"


def test_a_mark_outlives_a_prune_an_export_and_a_check(manifest: Manifest, tmp_path: Path) -> None:
    plan(manifest, [], accept=True)
    forget_arrival(manifest, EVERY)
    assert Checker(manifest).run().faults == []
    with imported(exported(manifest), tmp_path / "imported.db") as brought:
        assert count_dropped(brought) == 99
        plan(brought, EVERY)
        assert count_dropped(brought) == 0
        assert {each.state for each in ManifestReader(brought).iter_records()} == {EntryState.PENDING}


def test_somebody_may_say_that_it_was_deleted(manifest: Manifest) -> None:
    plan(manifest, [], accept=True)
    accept_dropped(manifest)
    assert count_dropped(manifest) == 0
    plan(manifest, [])
    assert count_dropped(manifest) == 0


def record(manifest: Manifest, *plans: dict[str, Any]) -> None:
    """Plans by an older version, which has made everything gone."""
    plan(manifest, [])
    with manifest.transaction() as connection:
        connection.execute("DELETE FROM snapshots")
        for number, details in enumerate(plans):
            taken_at = (datetime.now(UTC) + timedelta(seconds=number)).isoformat()
            connection.execute(
                "INSERT INTO snapshots (taken_at, details) VALUES (?, ?)", (taken_at, json.dumps(details))
            )


@pytest.mark.parametrize(
    ("plans", "lost"),
    [([OLDER], 12), ([WHOLE, OLDER], 12), ([OLDER, DELTA], 12), ([OLDER, WHOLE], 0), ([WHOLE, DELTA], 0)],
)
def test_what_an_older_version_was_told_counts_as_it_did(
    manifest: Manifest, plans: Sequence[dict[str, Any]], lost: int
) -> None:
    record(manifest, *plans)
    assert count_dropped(manifest) == lost
    with manifest.transaction():
        mark_older_drops(manifest)
    assert count_dropped(manifest) == (100 if lost else 0), "which of them is not known: all that is gone"
    plan(manifest, [])
    assert count_dropped(manifest) == (100 if lost else 0)
    plan(manifest, EVERY)
    assert count_dropped(manifest) == 0


def test_what_an_older_version_lost_and_pruned_is_not_forgotten(manifest: Manifest) -> None:
    record(manifest, OLDER)
    forget_arrival(manifest, EVERY)
    with manifest.transaction():
        mark_older_drops(manifest)
    plan(manifest, [])
    assert count_dropped(manifest) == 100


def test_what_an_older_version_was_told_can_be_accepted(manifest: Manifest) -> None:
    record(manifest, OLDER)
    accept_dropped(manifest)
    assert count_dropped(manifest) == 0


def test_accept_gone_says_what_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("old", "new"):
        Path(name).mkdir()
    Path("config.ini").write_text("[filesystem.source]\npath = old\n[filesystem.destination]\npath = new\n")
    stores = [StoreIdentity.of_folder(Path(name).resolve()) for name in ("old", "new")]
    with closing(Manifest.create(Path("mastosync.db"))) as manifest:
        for entries in (EVERY, []):
            with PlanWriter.transaction(manifest, *stores, accepts_losses=True) as writer:
                writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(entries))
                writer.take_back_marks(accepted=True)
                writer.finish(datetime.now(UTC), WHOLE | {"marks_gone": True})

    def run(*arguments: str, code: int = 0) -> str:
        assert main(["accept", *arguments]) == code
        return "".join(capsys.readouterr())

    for wrong in (("--undo",), ("--reason", "missing"), ("--type", "accounts")):
        assert "--gone does not go together with" in run("--gone", *wrong, code=2)
    assert "100 entries would count as deleted" in run("--gone", "--dry-run")
    assert "nothing was accepted before" in run("--undo")
    assert "100 entries count as deleted" in run("--gone")
    assert "is still missing" in run("--gone")
