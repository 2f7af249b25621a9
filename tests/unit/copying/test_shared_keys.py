"""Rows that turn local or remote and keep their keys: what is known of a key goes with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mastosync.copying.transfer import TransferOptions
from mastosync.manifest import Checker, Manifest, ManifestReader, repair_counters
from mastosync.manifest.rows import GONE, REASON_CODE, SKIPPED, STATE_CODE
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, EntryState, Presence, Reason
from tests.support.copy_days import AVATAR, DONE, KEY, MISSING, PRIVATE, PUBLIC, Day
from tests.support.entries import LOCAL

ABROAD = AVATAR._replace(kind=LOCAL._replace(remote=True))
TURNS = [(ABROAD, AVATAR), (AVATAR, ABROAD)]


class TurningDay(Day):
    """One on which a row is first this, then that."""

    was: Entry
    now: Entry


@pytest.fixture(params=TURNS, ids=["turned local", "turned remote"])
def day(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TurningDay]:
    made = TurningDay(tmp_path)
    made.was, made.now = request.param
    assert canonical_key(made.was, "") == canonical_key(made.now, "")
    yield made
    assert not Checker(made.manifest, False, lambda _: None, lambda: False).run().faults
    made.manifest.close()


def test_nothing_is_written_again_and_nothing_is_gone(day: TurningDay) -> None:
    day.plan(day.was)
    day.copy()
    day.plan(day.was._replace(id=2), day.now)  # whichever kind comes first
    assert [each.state for each in ManifestReader(day.manifest).iter_records() if each.entry.id == 1] == [DONE[0]]
    day.plan(day.now)
    day.manifest.connection.execute("DELETE FROM entries WHERE id = 2")
    repair_counters(day.manifest)
    assert day.record.entry.kind == day.now.kind
    day.plan(day.was)
    assert (day.fate(), day.record.entry.kind) == (DONE, day.was.kind)
    day.copy()
    assert day.writes == 1


def test_what_became_private_meanwhile_is_hidden_though_the_source_has_lost_it(day: TurningDay) -> None:
    day.plan(day.was)
    day.copy()
    del day.old.objects[KEY]
    day.plan(day.now._replace(private=True))
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


def test_what_stays_open_is_told(day: TurningDay) -> None:
    day.options = TransferOptions(acl_taken=False)
    day.plan(day.was)
    day.copy()
    day.plan(day.now._replace(private=True))
    day.copy()
    assert day.fate() == (EntryState.SKIPPED, Reason.PRIVATE)
    assert day.record.presence == Presence.AS_PUBLIC
    assert "may still be public at" in (day.record.detail or "")


def test_what_a_dead_run_had_claimed_is_looked_for(day: TurningDay) -> None:
    day.plan(day.was)
    day.die(wrote=True)
    day.plan(day.now)
    day.copy()
    assert (day.fate(), day.writes) == (DONE, 1)


def test_a_line_that_was_gone_comes_back_under_the_other_kind(day: TurningDay) -> None:
    day.plan(day.was)
    day.copy()
    day.plan()
    day.plan(day.now)
    day.copy()
    assert (day.fate(), day.writes) == (DONE, 1)


def test_another_file_is_written(day: TurningDay) -> None:
    day.plan(day.was)
    day.copy()
    day.old.put(KEY, b"newer file")
    day.plan(day.now._replace(updated=200))
    day.copy()
    assert (day.fate(), day.new.objects[KEY].data) == (DONE, b"newer file")


def test_a_plan_of_one_kind_alone_takes_the_line_too(day: TurningDay) -> None:
    day.plan(day.was)
    day.copy()
    day.plan(day.now, remote=day.now.kind.remote)
    assert (day.fate(), day.record.entry.kind) == (DONE, day.now.kind)


def left_by_an_older_version(
    day: TurningDay, state: EntryState, reason: Reason | None, presence: Presence | None
) -> None:
    """Two lines of one key: a public object arrived, its row became another, and this came of that."""
    day.plan(day.was)
    day.copy()
    day.plan()
    hidden = day.now._replace(private=True)
    with day.manifest.transaction() as connection:
        number = day.manifest.kind_id(hidden.kind)
        values = (number, hidden.id, hidden.name, 2, 100, STATE_CODE[state], REASON_CODE[reason])
        arrived = None if presence is None else presence.value
        connection.execute(
            "INSERT INTO entries (kind, id, name, flags, updated, state, reason, arrived)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, arrived),
        )
        day.manifest.count(number, STATE_CODE[state], REASON_CODE[reason], 1, 0)
    assert len(lines(day.manifest)) == 2


def lines(manifest: Manifest) -> list[tuple[int, int]]:
    return manifest.connection.execute("SELECT state, reason FROM entries").fetchall()


@pytest.mark.parametrize(
    ("state", "reason", "presence"),
    [
        (EntryState.FAILED, Reason.MISSING, None),
        (EntryState.PENDING, None, None),
        (EntryState.FAILED, Reason.NETWORK, Presence.AS_PRIVATE | Presence.IN_DOUBT),
        (EntryState.DONE, None, None),
    ],
)
def test_of_two_lines_that_an_older_version_left_one_stays_and_knows_what_either_knew(
    day: TurningDay, state: EntryState, reason: Reason | None, presence: Presence | None
) -> None:
    left_by_an_older_version(day, state, reason, presence)
    if state is EntryState.DONE:
        day.new.objects[KEY].acl = PRIVATE
    day.plan(day.now._replace(private=True))
    assert len(lines(day.manifest)) == 1
    day.retry()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)
    assert not day.manifest.connection.execute(
        "SELECT count(*) FROM entries WHERE state = ? AND reason = ?", (SKIPPED, GONE)
    ).fetchone()[0]
    assert sum(line.objects for line in ManifestReader(day.manifest).counts()) == 1


def test_what_the_other_line_needs_is_not_pruned(day: TurningDay) -> None:
    day.plan(day.was)
    day.copy()
    day.plan(day.now)
    assert day.prune() == 0
    assert day.acl == PUBLIC
    day.plan()
    assert day.prune() == 1
    assert not day.new.objects


def test_what_is_missing_stays_missing(day: TurningDay) -> None:
    del day.old.objects[KEY]
    day.plan(day.was)
    day.copy()
    day.plan(day.now)
    assert day.fate() == MISSING
