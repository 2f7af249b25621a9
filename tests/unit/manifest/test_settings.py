"""What a manifest remembers of a fault, or of a doubt: no command clears it that has not looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Manifest,
    ObjectSettings,
    PlanWriter,
    Relation,
    WorkQueue,
    end_applying,
    in_one_bucket,
    note_settings,
    other_settings,
    record_relation,
    relation,
)
from mastosync.model import Entry, EntryState, Outcome
from tests.support.entries import entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, exported, imported, planned

EVERY = [entry(row) for row in range(4)]
THEN, NOW = ObjectSettings("max-age=1"), ObjectSettings("max-age=1", acl="private")


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    """All of it was copied, as the settings were then."""
    with planned(tmp_path / "m.db", EVERY) as manifest:
        note_settings(manifest, THEN)
        queue = WorkQueue(manifest)
        queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=1) for each in queue.iter_claimable()])
        yield manifest


def plan(manifest: Manifest, entries: Sequence[Entry]) -> None:
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
        writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(entries))
        writer.finish(datetime.now(UTC), {})


def apply_all(manifest: Manifest) -> None:
    """As `apply-settings` ends: what is gone is not looked at."""
    for _ in range(2):
        assert end_applying(manifest, NOW, left=0)
        assert other_settings(manifest, NOW) == ()


def test_what_was_gone_while_settings_were_applied_comes_back_as_it_was_stored(manifest: Manifest) -> None:
    """A copy confirms it by one look, and would leave it for everybody to read."""
    plan(manifest, EVERY[:2])
    apply_all(manifest)
    plan(manifest, EVERY[:2])
    assert other_settings(manifest, NOW) == (), "nothing is back"
    plan(manifest, EVERY[:3])
    assert other_settings(manifest, NOW) == (THEN,)
    apply_all_when_done(manifest)
    plan(manifest, EVERY)
    assert other_settings(manifest, NOW) == (THEN,), "one was gone still"
    apply_all_when_done(manifest)
    plan(manifest, EVERY[:3])
    plan(manifest, EVERY)
    assert other_settings(manifest, NOW) == (), "each was brought in line"


def apply_all_when_done(manifest: Manifest) -> None:
    queue = WorkQueue(manifest)
    queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=1) for each in queue.iter_claimable()])
    apply_all(manifest)


def test_an_older_version_noted_no_settings_of_what_is_gone_by_now(manifest: Manifest) -> None:
    with manifest.transaction() as connection:
        connection.execute("DELETE FROM meta WHERE name = 'settings'")
    plan(manifest, [])
    usual = ObjectSettings("public, max-age=315576000, immutable")
    note_settings(manifest, usual)
    plan(manifest, EVERY)
    apply_nothing = other_settings(manifest, usual)
    assert apply_nothing == (), "nothing is done"
    queue = WorkQueue(manifest)
    queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=1) for each in queue.iter_claimable()])
    assert other_settings(manifest, usual) == (ObjectSettings(None),)


def test_an_archive_has_the_settings_of_what_is_gone(manifest: Manifest, tmp_path: Path) -> None:
    plan(manifest, EVERY[:2])
    apply_all(manifest)
    with imported(exported(manifest), tmp_path / "imported.db") as brought:
        plan(brought, EVERY)
        assert other_settings(brought, NOW) == (THEN,)


def test_one_bucket_stays_one_when_the_source_tells_nothing_any_more(manifest: Manifest) -> None:
    record_relation(manifest, Relation.ONE_BUCKET, probe_settled=True)
    record_relation(manifest, Relation.UNKNOWN, probe_settled=True)
    assert in_one_bucket(manifest), "nothing may be removed there, whatever the user says of the source"
    record_relation(manifest, Relation.TWO, probe_settled=True)
    assert relation(manifest) is Relation.TWO
