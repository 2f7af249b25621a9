"""Days on which it mattered who can read an object, or whose write had ended how: each a short story with a name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from mastosync.copying.transfer import TransferOptions
from mastosync.errors import (
    AclUnsupported,
    ManifestError,
    ObjectDenied,
    ObjectRejected,
    PrivacyLost,
)
from mastosync.manifest import (
    ACCESS,
    WorkQueue,
)
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, EntryState, ObjectHeaders, Origin, Presence, Reason
from mastosync.verifying.adopter import AdoptionStatus
from tests.support.copy_days import (
    AVATAR,
    DONE,
    FAILS_ALWAYS,
    KEY,
    MISSING,
    OF_A_DISK,
    PENDING,
    PRIVATE,
    PUBLIC,
    WITHHELD,
    Day,
    _fails,
)
from tests.support.entries import entry
from tests.support.memory_store import MemoryStore, StoredObject

# found by test_moving_world, or beside it


def test_what_everybody_can_read_is_written_anew_as_private_even_if_it_had_failed_before(day: Day) -> None:
    """It failed while it was public; that it is private now is news, and calls for another attempt."""
    day.plan(AVATAR)
    day.copy()
    day.plan(AVATAR._replace(updated=200))
    day.old.fail("read", *FAILS_ALWAYS)
    day.copy()
    assert day.fate() == (EntryState.FAILED, Reason.NETWORK)
    day.plan(WITHHELD._replace(updated=200))
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


@pytest.mark.parametrize("refusal", [ObjectDenied("refused"), *FAILS_ALWAYS[:1]])
def test_what_became_private_is_hidden_when_the_source_fails(day: Day, refusal: Exception) -> None:
    """Whatever the source has to say: the destination has what is to be hidden."""
    day.plan(AVATAR)
    day.copy()
    day.plan(WITHHELD)
    day.old.fail("read", *[refusal] * 3)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


@pytest.mark.parametrize("optional", [False, True])
def test_what_became_private_is_hidden_within_one_bucket_too(day_of: Callable[..., Day], optional: bool) -> None:
    """Source and destination are two prefixes of it, so that whoever fails has one name."""
    day = day_of(None, TransferOptions(source_prefix="old", destination_prefix="new"))
    day.old = day.new
    row = AVATAR._replace(optional=optional)
    day.new.put(canonical_key(row, "old"), b"the file")
    day.plan(row)
    day.copy()
    del day.new.objects[canonical_key(row, "old")]
    day.plan(row._replace(private=True))
    day.copy()
    assert day.fate() == DONE
    assert day.new.objects[canonical_key(row, "new")].acl == PRIVATE


def test_an_older_file_is_not_done_for_being_stored_again(day: Day) -> None:
    """A death left it in doubt, and then its row had another file: the digest is that of the older one."""
    day.plan(AVATAR)
    day.copy()
    day.plan(WITHHELD)
    day.die(wrote=False)
    day.plan(WITHHELD._replace(updated=200))
    day.old.put(KEY, b"newer file")
    day.old.fail("read", *FAILS_ALWAYS)
    day.copy()
    assert (day.fate(), day.acl) == ((EntryState.FAILED, Reason.NETWORK), PRIVATE)
    day.retry()
    assert day.fate() == DONE
    assert day.new.objects[KEY].data == b"newer file"


def test_adopt_takes_no_private_object_that_somebody_else_has_stored(day: Day) -> None:
    """Its row was gone and is back, and meanwhile another tool has put the same number of bytes there."""
    day.plan(WITHHELD)
    day.copy()
    day.plan()
    day.old.put(KEY, b"the FILE")
    day.new.put(KEY, b"the FILE")
    day.new.objects[KEY].acl = PUBLIC
    day.plan(WITHHELD)
    assert day.adopt() == {AdoptionStatus.LEFT: 1}
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


def test_what_was_refused_before_it_was_stored_is_not_taken_for_something_that_lies_there(day: Day) -> None:
    """The destination takes `public-read` and refuses `private`: then a public object is not uploaded a second time."""
    day.new.refused[PRIVATE] = AclUnsupported("no ACL private", only_this=True)
    day.plan(AVATAR, entry(2))
    day.old.put(canonical_key(entry(2), ""), b"another")
    day.copy()
    day.plan(WITHHELD, entry(2))
    day.copy()
    day.plan(AVATAR, entry(2))
    day.new.calls.clear()
    day.copy()
    assert day.writes == 0


def test_what_a_dead_run_wrote_is_not_uploaded_again_after_an_import(day: Day) -> None:
    day.plan(AVATAR)
    day.die(wrote=True)
    day.export_and_import()
    day.new.calls.clear()
    day.copy()
    assert day.fate() == DONE
    assert day.writes == 0


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("acl", "fate"), [(PUBLIC, PENDING), (PRIVATE, DONE)])
def test_verify_looks_as_a_stranger_at_what_others_have_stored_again(
    day: Day, acl: str, fate: tuple[EntryState, None], deep: bool
) -> None:
    """The bytes are the same, and their ETag is another. Nothing is asked for whose ETag is the one we know."""
    day.plan(WITHHELD)
    day.copy()
    day.new.calls.clear()
    day.verify_deep() if deep else day.verify()
    assert "anybody_reads" not in {method for method, _ in day.new.calls}
    day.new.put(KEY, b"the file", etag="0" * 32 + "-1")
    day.new.objects[KEY].acl = acl
    day.verify_deep() if deep else day.verify()
    assert day.fate() == fate
    del day.old.objects[KEY]
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


@pytest.mark.parametrize("deep", [False, True])
def test_verify_calls_nothing_fine_of_which_it_cannot_tell_who_reads_it(day: Day, deep: bool) -> None:
    day.plan(WITHHELD)
    day.copy()
    day.new.put(KEY, b"the file", etag="0" * 32 + "-1")
    day.new.fail("anybody_reads", *FAILS_ALWAYS)
    day.verify_deep() if deep else day.verify()
    assert (day.fate(), day.record.etag) == (DONE, None), "the new ETag is not taken over"


def test_what_everybody_reads_stays_known_when_it_cannot_be_removed(day: Day) -> None:
    """The run stops with exit code 7. What its message says is not forgotten by the next one, whatever that may do."""
    day.new.open_to_all = True
    day.plan(WITHHELD)
    day.new.fail("withdraw", ObjectDenied("the key may not delete"))
    assert isinstance(day.run_copy(), PrivacyLost)
    day.options = TransferOptions(acl_taken=False)
    day.copy()
    assert day.fate() == (EntryState.SKIPPED, Reason.PRIVATE)
    assert day.record.presence & ACCESS == ACCESS
    assert "remove it there" in (day.record.detail or "")
    day.plan()
    assert day.prune() == 1
    assert not day.new.objects


@pytest.mark.parametrize("wrote", [False, True])
@pytest.mark.parametrize(
    ("before", "row"), [(AVATAR, WITHHELD), (WITHHELD, AVATAR), (AVATAR, AVATAR), (WITHHELD, WITHHELD)]
)
def test_what_was_confirmed_once_is_done_though_a_run_died_and_the_source_has_lost_it(
    day: Day, before: Entry, row: Entry, wrote: bool
) -> None:
    day.plan(before)
    day.copy()
    if before == row:
        day.plan()  # gone, and back
    day.plan(row)
    day.die(wrote=wrote)
    del day.old.objects[KEY]
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE if row.private else PUBLIC)
    assert day.new.objects[KEY].data == b"the file"


@pytest.mark.parametrize("before", [AVATAR, WITHHELD])
def test_what_was_confirmed_once_is_not_done_if_a_dead_run_has_left_something_else(day: Day, before: Entry) -> None:
    day.plan(before)
    day.copy()
    day.plan()
    day.plan(before)
    day.die(wrote=False)
    day.new.objects[KEY] = replace(day.new.objects[KEY], data=b"damaged!", etag=hashlib.md5(b"damaged!").hexdigest())
    del day.old.objects[KEY]
    day.copy()
    assert day.fate() == (EntryState.FAILED, Reason.MISSING)


def test_what_everybody_reads_is_told_though_the_manifest_cannot_end_the_run(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    day.new.open_to_all = True
    day.plan(WITHHELD)
    day.new.fail("withdraw", ObjectDenied("the key may not delete"))
    monkeypatch.setattr(WorkQueue, "end_run", _fails)
    assert isinstance(day.run_copy(), PrivacyLost)


def test_what_everybody_reads_is_told_when_the_manifest_cannot_note_it(
    day: Day, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    day.new.open_to_all = True
    day.plan(WITHHELD)
    day.new.fail("withdraw", ObjectDenied("the key may not delete"))
    commit = WorkQueue.commit

    def commit_but_notes(queue: WorkQueue, *, access: Sequence[tuple[Entry, Presence]] = (), **what: Any) -> None:  # noqa: ANN401
        if access:
            raise ManifestError("the disk is full")
        commit(queue, access=access, **what)

    monkeypatch.setattr(WorkQueue, "commit", commit_but_notes)
    assert isinstance(day.run_copy(), PrivacyLost)
    assert "the disk is full" in caplog.text


def test_what_everybody_reads_and_cannot_be_removed_is_written_anew_once_the_store_keeps_acls(day: Day) -> None:
    day.new.open_to_all = True
    day.plan(WITHHELD)
    day.new.fail("withdraw", ObjectDenied("the key may not delete"))
    day.run_copy()
    day.new.open_to_all = False
    day.new.objects[KEY].acl = PUBLIC
    del day.old.objects[KEY]
    day.copy()
    assert day.acl == PRIVATE


def test_what_cannot_be_looked_at_and_not_be_removed_stays_known_as_maybe_public(day: Day) -> None:
    day.plan(WITHHELD)
    day.new.fail("anybody_reads", ObjectRejected("501"))
    day.new.fail("withdraw", ObjectDenied("the key may not delete"))
    day.copy()
    assert day.fate() == (EntryState.FAILED, Reason.SERVER)
    assert day.record.presence == ACCESS | Presence.IN_DOUBT
    day.new.objects[KEY].acl = PUBLIC
    day.retry()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(("row", "acl"), [(AVATAR, PUBLIC), (WITHHELD, PRIVATE)])
def test_what_a_dead_run_of_version_3_had_claimed_is_not_written_for_nothing(
    day: Day, row: Entry, acl: str, lost: bool
) -> None:
    """Its claims do not tell the privacy. Strangers do: of what is public, and they can read. Private ones are few."""
    row = row._replace(size=8)
    day.plan(row)
    day.die(wrote=True)
    day.manifest.connection.execute("UPDATE claims SET access = 3")
    if lost:
        del day.old.objects[KEY]
    day.copy()
    assert day.acl == acl
    assert day.fate() == ((EntryState.FAILED, Reason.MISSING) if lost else DONE)
    assert day.writes == 1 + row.private


@pytest.mark.parametrize("row", [AVATAR, WITHHELD])
def test_what_a_dead_run_wrote_is_not_called_done_when_the_source_has_lost_it(day: Day, row: Entry) -> None:
    """It has the size that its row tells. But a store may have taken bytes that were damaged on their way."""
    day.plan(row._replace(size=8))
    day.die(wrote=True)
    day.new.objects[KEY].data = b"damaged!"
    del day.old.objects[KEY]
    day.copy()
    assert day.fate() == (EntryState.FAILED, Reason.MISSING)
    assert day.record.presence & Presence.IN_DOUBT
    assert day.acl == (PRIVATE if row.private else PUBLIC)
    day.plan()
    assert day.prune() == 1


def test_what_a_dead_run_of_version_3_left_and_strangers_cannot_read_is_written_anew(day: Day) -> None:
    """It had been claimed for a private row, which is public by now."""
    day.plan(WITHHELD)
    day.die(wrote=True)
    day.manifest.connection.execute("UPDATE claims SET access = 3")
    day.plan(AVATAR)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PUBLIC)


def test_what_strangers_cannot_read_is_not_adopted_because_the_source_has_lost_it(day: Day) -> None:
    """It lies there as a private object, its row is public by now, and nobody is told that nobody can read it."""
    day.plan(WITHHELD._replace(size=8))
    day.die(wrote=True)
    day.manifest.connection.execute("UPDATE claims SET access = 3")
    del day.old.objects[KEY]
    day.plan(AVATAR._replace(size=8))
    day.copy()
    assert (day.fate(), day.acl) == (MISSING, PRIVATE)
    detail = day.record.detail or ""
    assert f"cannot find {KEY!r} at old" in detail
    assert f"{KEY!r} may still be private at {day.new.name}, so others may be unable to read it" in detail
    day.old.put(KEY, b"the file")
    day.retry()
    assert (day.fate(), day.acl) == (DONE, PUBLIC)


def test_a_file_that_the_source_keeps_closed_is_not_copied_again_by_each_plan(day: Day) -> None:
    """Its row is public, and each plan says so. The source is asked again, and tells when that has changed."""
    day.options = OF_A_DISK
    day.old.objects[KEY].private = True
    day.plan(AVATAR)
    day.copy()
    for _ in range(3):
        day.plan(AVATAR)
        day.old.calls.clear()
        day.copy()
        assert (day.fate(), day.acl) == (DONE, PRIVATE)
        assert day.old.calls == [("head", KEY)]
    assert day.writes == 1
    day.old.objects[KEY].private = False
    day.plan(AVATAR)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PUBLIC)


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize(
    ("row", "closed", "acl", "writes"),
    [
        (AVATAR, False, PUBLIC, 2),  # opened meanwhile: it has to be written anew
        (AVATAR, True, PRIVATE, 1),
        (WITHHELD, True, PRIVATE, 1),
        (WITHHELD, False, PRIVATE, 1),
    ],
)
def test_what_a_dead_run_wrote_of_a_closed_file_is_known_to_be_private(
    day: Day, monkeypatch: pytest.MonkeyPatch, row: Entry, closed: bool, acl: str, writes: int, in_parts: bool
) -> None:
    """It had been claimed for a public row. It is neither done with 403 for everybody, nor written for nothing."""
    day.options = replace(OF_A_DISK, multipart_threshold=4 if in_parts else 1 << 20, part_size=1 << 20)
    day.old.objects[KEY].private = True
    day.plan(AVATAR)
    day.die_in_copier(monkeypatch)
    assert day.acl == PRIVATE
    day.old.objects[KEY].private = closed
    day.plan(row)
    day.run_copy()
    assert (day.fate(), day.acl) == (DONE, acl)
    assert day.new.count("complete_multipart" if in_parts else "write") == writes


def test_what_a_disk_does_not_close_costs_no_second_upload_after_a_death(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    day.options = OF_A_DISK
    day.plan(AVATAR)
    day.die_in_copier(monkeypatch)
    day.run_copy()
    assert (day.fate(), day.acl, day.writes) == (DONE, PUBLIC, 1)


def test_nobody_waits_for_a_note_that_a_full_disk_keeps_from_the_manifest(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    day.old.objects[KEY].private = True
    day.plan(AVATAR)
    commit = WorkQueue.commit

    def refuses(queue: WorkQueue, **what: Any) -> None:  # noqa: ANN401 - as `commit` takes them
        if what.get("access"):
            raise ManifestError("the disk is full")
        commit(queue, **what)

    monkeypatch.setattr(WorkQueue, "commit", refuses)
    assert isinstance(day.run_copy(), ManifestError)
    assert day.writes == 0, "what is not known to be private is not written as such"


class TestAfterTheSwitch:
    """Mastodon stores at the new store now, and the old one has what was under the same key before."""

    THEN = 1_700_000_000
    NOW = THEN + 86_400

    @pytest.fixture
    def replaced_day(self, day_of: Callable[..., Day]) -> Callable[..., Day]:
        """An avatar was copied, and then it was replaced under its name."""

        def begin(*, private: bool = False, options: TransferOptions | None = None) -> Day:
            day = day_of(b"the older", options)
            day.new.buckets["memory"] = day.old
            day.old.objects[KEY].last_modified = formatdate(self.THEN, usegmt=True)
            day.plan(AVATAR._replace(updated=self.THEN, private=private))
            day.copy()
            day.plan(AVATAR._replace(updated=self.NOW, private=private, size=9))
            return day

        return begin

    def replaced(self, store: MemoryStore) -> None:
        store.objects[KEY] = replace(
            store.objects.get(KEY) or StoredObject(b"", ObjectHeaders(), ""),
            data=b"the newer",
            etag=hashlib.md5(b"the newer", usedforsecurity=False).hexdigest(),
            last_modified=formatdate(self.NOW + 1, usegmt=True),
        )

    @pytest.mark.parametrize("bucket", [None, "memory"], ids=["through here", "by the store itself"])
    def test_a_newer_file_at_the_new_store_is_not_overwritten_by_the_older_one(
        self, replaced_day: Callable[..., Day], bucket: str | None
    ) -> None:
        day = replaced_day(options=TransferOptions(source_bucket=bucket))
        self.replaced(day.new)
        day.copy()
        assert day.new.objects[KEY].data == b"the newer"
        record = day.record
        assert (record.entry.size, record.state, record.origin) == (9, EntryState.DONE, Origin.ADOPTED)

    def test_nor_if_it_is_private_and_it_is_told(self, replaced_day: Callable[..., Day]) -> None:
        day = replaced_day(private=True)
        self.replaced(day.new)
        day.copy()
        assert day.new.objects[KEY].data == b"the newer"
        record = day.record
        assert (record.state, record.reason) == (EntryState.FAILED, Reason.MISSING)
        assert "an older file" in (record.detail or "")

    def test_before_the_switch_it_is_copied(self, replaced_day: Callable[..., Day]) -> None:
        day = replaced_day()
        self.replaced(day.old)
        day.copy()
        assert day.new.objects[KEY].data == b"the newer"
        assert day.record.origin is Origin.COPIED

    def test_what_we_have_copied_is_no_newer_file(self, replaced_day: Callable[..., Day]) -> None:
        """However late that was: nobody has stored the newer one anywhere, and what there is is what there was."""
        day = replaced_day()
        day.new.objects[KEY].last_modified = formatdate(self.NOW - 1, usegmt=True)
        day.copy()
        assert day.record.origin is Origin.COPIED
        assert day.new.count("write") == 2
