"""Days on which the truth about an entry, or its privacy, was once lost: each a short story with a name.

Where they came from by chance, `test_moving_world` had found them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mastosync.app.context import identities
from mastosync.cli.main import main
from mastosync.config import load_config
from mastosync.copying.transfer import TransferOptions
from mastosync.errors import (
    ExitCode,
)
from mastosync.manifest import (
    Manifest,
    ManifestReader,
    WorkQueue,
    count_removable,
    reopen,
)
from mastosync.model import Entry, EntryState, Origin, Outcome, Presence, Reason
from mastosync.verifying.adopter import AdoptionStatus
from tests.support.copy_days import AVATAR, DONE, FAILS_ALWAYS, KEY, MISSING, OF_A_DISK, PRIVATE, PUBLIC, WITHHELD, Day
from tests.support.entries import entry
from tests.support.manifests import planned


def test_a_damaged_object_is_never_adopted_with_the_digest_of_the_damage(day: Day) -> None:
    """`verify` finds the damage, and the source has lost the file: what lies there stays wrong, whatever is tried."""
    day.plan(AVATAR)
    day.copy()
    day.new.put(KEY, b"the fi1e")
    del day.old.objects[KEY]
    day.verify_deep()
    for _ in range(2):
        day.retry()
        assert day.fate() == MISSING
        assert Presence.STALE in day.record.presence
    assert day.adopt() == {AdoptionStatus.LEFT: 1}
    day.old.put(KEY, b"the file")
    day.retry()
    assert day.fate() == DONE
    assert day.new.objects[KEY].data == b"the file"


@pytest.mark.parametrize(("acl", "writes"), [(PUBLIC, 1), (PRIVATE, 0)])
def test_what_a_dead_run_had_claimed_as_private_is_written_again_if_strangers_can_read_it(
    day: Day, acl: str, writes: int
) -> None:
    """Somebody else may have stored the same bytes, for everybody to read."""
    day.new.put(KEY, b"the file")
    day.new.objects[KEY].acl = acl
    day.plan(WITHHELD)
    day.die(wrote=False)
    day.copy()
    assert (day.fate(), day.acl, day.writes) == (DONE, PRIVATE, writes)


def test_a_private_object_that_came_back_is_written_again_if_strangers_can_read_it_by_now(day: Day) -> None:
    """Another tool has stored the same bytes meanwhile: their ETag is the one that was confirmed."""
    day.plan(WITHHELD)
    day.copy()
    day.plan()
    day.new.objects[KEY].acl = PUBLIC
    day.plan(WITHHELD)
    assert day.adopt() == {AdoptionStatus.LEFT: 1}
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


def test_a_rewrite_as_private_that_failed_is_not_forgotten_by_a_death(day: Day) -> None:
    day.plan(AVATAR)
    day.copy()
    day.plan(WITHHELD)
    day.new.fail("write", *FAILS_ALWAYS)
    day.copy()
    assert day.fate() == (EntryState.FAILED, Reason.NETWORK)
    reopen(day.manifest)
    day.die(wrote=False)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


def test_what_arrived_as_public_before_a_death_is_written_anew_for_a_row_that_became_private(day: Day) -> None:
    day.plan(AVATAR)
    day.die(wrote=True)
    assert day.acl == PUBLIC
    day.plan(WITHHELD)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


def test_what_arrived_as_private_before_a_death_is_written_anew_for_a_row_that_became_public(day: Day) -> None:
    day.plan(WITHHELD)
    day.die(wrote=True)
    assert day.acl == PRIVATE
    day.plan(AVATAR)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PUBLIC)


def test_what_became_public_and_failed_once_is_not_adopted_as_it_lies_there(day: Day) -> None:
    day.plan(WITHHELD)
    day.copy()
    day.plan(AVATAR)
    day.new.fail("write", *FAILS_ALWAYS)
    day.copy()
    assert day.adopt() == {AdoptionStatus.LEFT: 1}
    day.retry()
    assert (day.fate(), day.acl) == (DONE, PUBLIC)


def test_what_was_kept_back_after_it_had_arrived_is_pruned_when_its_row_goes(day_without_acls: Day) -> None:
    """The destination has no ACLs: what became private lies there as public as before, and that stays known."""
    day = day_without_acls
    day.plan(AVATAR)
    day.copy()
    day.plan(WITHHELD)
    day.copy()
    assert day.fate() == (EntryState.SKIPPED, Reason.PRIVATE)
    assert day.record.presence == Presence.AS_PUBLIC
    day.export_and_import()
    day.plan()
    assert count_removable(day.manifest)[0] == day.prune() == 1
    assert not day.new.objects


def test_what_failed_after_an_older_file_had_arrived_is_pruned_when_its_row_goes(day: Day) -> None:
    day.plan(AVATAR)
    day.copy()
    day.plan(AVATAR._replace(updated=200))
    day.new.fail("write", *FAILS_ALWAYS)
    day.copy()
    day.plan()
    assert day.prune() == 1
    assert not day.new.objects


def test_what_a_dead_run_wrote_is_pruned_when_its_row_goes(day: Day) -> None:
    day.plan(AVATAR)
    day.die(wrote=True)
    day.plan()
    assert day.prune() == 1
    assert not day.new.objects


@pytest.mark.parametrize("optional", [False, True])
def test_a_private_object_that_the_source_has_lost_is_stored_again_as_private(day: Day, optional: bool) -> None:
    """The destination has the very bytes."""
    day.plan(AVATAR._replace(optional=optional))
    day.copy()
    del day.old.objects[KEY]
    day.plan(WITHHELD._replace(optional=optional))
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)
    assert day.new.objects[KEY].data == b"the file"
    assert day.record.md5 == hashlib.md5(b"the file").digest()


@pytest.mark.parametrize("optional", [False, True])
def test_another_file_than_the_wanted_one_is_hidden_too_when_the_source_has_lost_that(day: Day, optional: bool) -> None:
    """What lies there is of a row that is private now; that it is the older file makes it no less so."""
    day.plan(AVATAR._replace(optional=optional))
    day.copy()
    del day.old.objects[KEY]
    day.plan(WITHHELD._replace(optional=optional, updated=200))
    day.copy()
    assert day.fate() == ((EntryState.SKIPPED, Reason.OPTIONAL_MISSING) if optional else MISSING)
    assert day.acl == PRIVATE
    assert Presence.STALE in day.record.presence


def test_the_size_of_a_row_with_another_file_is_taken_over(day_of: Callable[..., Day]) -> None:
    """So what Mastodon itself has stored at the destination since is found by it."""
    day = day_of(old=None)
    day.plan(AVATAR._replace(size=10))
    day.copy()
    assert day.fate() == MISSING
    day.plan(AVATAR._replace(size=99, updated=200))
    assert day.record.entry.size == 99
    day.new.put(KEY, b"x" * 99)
    day.copy()
    assert day.fate() == DONE
    assert day.record.origin is Origin.ADOPTED


def test_the_fallback_of_a_known_row_is_taken_over(day_of: Callable[..., Day]) -> None:
    day = day_of(old=None)
    day.plan(AVATAR)
    day.plan(AVATAR._replace(fallback="a.jpeg"))
    assert day.record.entry.fallback == "a.jpeg"


def test_of_a_size_alone_nobody_takes_an_object_of_parts_for_arrived(day: Day) -> None:
    """The source's ETag is one of parts, and tells nothing of other bytes of the same size."""
    parts = hashlib.md5(hashlib.md5(b"the file").digest()).hexdigest() + "-1"
    day.old.put(KEY, b"the file", etag=parts)
    day.new.put(KEY, b"another!")
    day.plan(AVATAR)
    day.die(wrote=False)
    day.copy()
    assert day.fate() == DONE
    assert day.new.objects[KEY].data == b"the file"


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("row", [AVATAR, WITHHELD])
def test_what_was_gone_and_is_back_is_confirmed_by_one_look(day: Day, row: Entry, archived: bool) -> None:
    """A plan against the wrong database, then one against the right one: nothing is uploaded a second time."""
    day.plan(row)
    day.copy()
    day.plan()
    if archived:
        day.export_and_import()
    day.plan(row)
    day.new.calls.clear()
    day.copy()
    assert day.fate() == DONE
    assert day.new.calls.count(("head", KEY)) == 1
    assert day.writes == 0


def test_what_is_back_is_asked_for_at_the_source_only_where_that_tells_who_may_read_it(day: Day) -> None:
    """A bucket does not."""
    for options, asked in ((TransferOptions(), []), (OF_A_DISK, [("head", KEY)])):
        day.options = options
        day.plan(AVATAR)
        day.copy()
        day.plan()
        day.plan(AVATAR)
        day.old.calls.clear()
        day.copy()
        assert (day.fate(), day.old.calls) == (DONE, asked)
    assert day.writes == 1


def test_what_was_closed_while_its_row_was_gone_is_kept_back_where_nothing_hides_it(day_without_acls: Day) -> None:
    day = day_without_acls
    day.options = replace(day.options, source_tells_access=True)
    day.plan(AVATAR)
    day.copy()
    day.plan()
    day.old.objects[KEY].private = True
    day.plan(AVATAR)
    day.copy()
    assert day.fate() == (EntryState.SKIPPED, Reason.PRIVATE)
    assert "remove it there" in (day.record.detail or "")


def test_adopt_confirms_what_was_gone_and_is_back_from_the_listing(day: Day) -> None:
    day.plan(AVATAR)
    day.copy()
    day.plan()
    day.plan(AVATAR)
    day.new.calls.clear()
    assert day.adopt() == {AdoptionStatus.ADOPTED: 1}
    assert day.fate() == DONE
    assert day.record.origin is Origin.COPIED
    assert {method for method, _ in day.new.calls} == {"list_page"}


def test_retry_failed_reopens_what_was_optional_and_missing(day_of: Callable[..., Day]) -> None:
    day = day_of(old=None)
    day.plan(AVATAR._replace(optional=True))
    day.copy()
    assert day.fate() == (EntryState.SKIPPED, Reason.OPTIONAL_MISSING)
    day.old.put(KEY, b"the file")
    day.retry(Reason.OPTIONAL_MISSING)
    assert day.fate() == DONE


def between_folders(tmp_path: Path, state: EntryState, reason: Reason) -> list[str]:
    """A migration from one folder to another, of whose entries one is in this state; options of its commands."""
    config = tmp_path / "config.ini"
    folders = {role: tmp_path / role for role in ("source", "destination")}
    for folder in folders.values():
        folder.mkdir()
    config.write_text("".join(f"[filesystem.{role}]\npath = {folder}\n" for role, folder in folders.items()))
    stores = identities(load_config(config, {}))
    row = entry(1, optional=True)
    with planned(tmp_path / "m.db", [row], stores) as manifest:
        queue = WorkQueue(manifest)
        queue.start_run(1)
        queue.commit(outcomes=[Outcome(row, state, reason)])
    return ["--config", str(config), "--manifest", str(tmp_path / "m.db"), "--no-progress"]


def states_in(path: Path) -> list[EntryState]:
    with Manifest.open(path) as manifest:
        return [each.state for each in ManifestReader(manifest).iter_records()]


def test_the_command_line_reopens_what_was_optional_and_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = between_folders(tmp_path, EntryState.SKIPPED, Reason.OPTIONAL_MISSING)
    assert main([*options, "retry-failed", "--reason", "optional_missing", "--no-copy"]) == ExitCode.OK
    assert "1 entry is pending again" in capsys.readouterr().out
    assert states_in(tmp_path / "m.db") == [EntryState.PENDING]


@pytest.mark.parametrize("role", ["source", "destination"])
def test_a_retry_changes_nothing_while_a_store_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    options = between_folders(tmp_path, EntryState.FAILED, Reason.NETWORK)
    (tmp_path / "source" / "cache").mkdir()
    (tmp_path / "source" / "cache" / "other").touch()  # a source without a file there is an unmounted disk
    (tmp_path / role).rename(tmp_path / "unmounted")
    assert main([*options, "retry-failed"]) == ExitCode.STORE
    assert role in capsys.readouterr().err
    assert states_in(tmp_path / "m.db") == [EntryState.FAILED]
    (tmp_path / "unmounted").rename(tmp_path / role)
    assert main([*options, "retry-failed"]) == ExitCode.OK, "which found out that its file is missing, and optional"
    told = capsys.readouterr().out
    assert "1 failed entry is pending again" in told
    assert states_in(tmp_path / "m.db") == [EntryState.SKIPPED]


def test_a_retry_of_nothing_asks_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = between_folders(tmp_path, EntryState.FAILED, Reason.NETWORK)
    (tmp_path / "source").rmdir()
    assert main([*options, "retry-failed", "--reason", "denied"]) == ExitCode.INCOMPLETE
    assert "0 failed entries are pending again" in capsys.readouterr().out
