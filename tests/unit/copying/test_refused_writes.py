"""What is known of the destination after writes that were refused, lost, or confirmed for nothing: no more, no less."""

from __future__ import annotations

import pytest

from mastosync.copying.acl import AclMode
from mastosync.copying.transfer import TransferOptions
from mastosync.errors import (
    CorruptObject,
    MastosyncError,
    NetworkFailure,
    ObjectChanged,
    ObjectDenied,
    ObjectMissing,
    ObjectTooLarge,
    ServerFailure,
)
from mastosync.model import NOTHING, Arrival, Claim, Entry, EntryState, ObjectInfo, Presence, Reason
from mastosync.store.base import PutOptions, UploadedPart
from tests.support.entries import entry
from tests.support.memory_store import MemoryStore
from tests.support.transfers import transfer

KEY = "accounts/avatars/000/000/001/original/a.png"
DOUBT = Presence.AS_PUBLIC | Presence.IN_DOUBT
WHOLE, IN_PARTS = TransferOptions(), TransferOptions(multipart_threshold=4, part_size=4)
WITHIN = TransferOptions(source_bucket="memory")


def left_by(
    new: MemoryStore, options: TransferOptions, of: Entry | None = None, before: Presence = NOTHING
) -> Presence:
    """What is known to lie there after a copy that fails."""
    old = MemoryStore("old")
    old.put(KEY, b"0123456789")
    new.buckets["memory"] = old
    outcome = transfer(old, new, options)(Claim(of or entry(), 0, Arrival(before)))
    assert outcome.state is EntryState.FAILED
    assert new.unfinished() == []
    return before if outcome.presence is None else outcome.presence


@pytest.mark.parametrize("before", [NOTHING, Presence.AS_PRIVATE])
@pytest.mark.parametrize("options", [WHOLE, IN_PARTS, WITHIN])
def test_refusals_leave_nothing_however_many_there_are(options: TransferOptions, before: Presence) -> None:
    """With an ACL, then without; by the store itself, then by us: each said no."""
    new = MemoryStore("new")
    for method in ("write", "start_multipart", "copy_from"):
        new.fail(method, *[ObjectDenied("403")] * 9)
    assert left_by(new, options, before=before) == before
    assert len(new.calls) > 1


@pytest.mark.parametrize("refusal", [ObjectDenied("403"), ObjectTooLarge("quota"), ObjectChanged("no such upload")])
@pytest.mark.parametrize("method", ["write_part", "complete_multipart"])
def test_an_upload_in_parts_that_is_refused_leaves_nothing(method: str, refusal: MastosyncError) -> None:
    new = MemoryStore("new")
    new.fail(method, *[refusal] * 9)
    assert left_by(new, IN_PARTS) == NOTHING


@pytest.mark.parametrize("method", ["write", "complete_multipart"])
def test_a_refusal_after_a_lost_answer_leaves_a_doubt(method: str) -> None:
    new = MemoryStore("new")
    new.fail(method, NetworkFailure("the answer is lost"), *[ObjectDenied("403")] * 9)
    assert left_by(new, WHOLE if method == "write" else IN_PARTS) == DOUBT


@pytest.mark.parametrize(
    ("options", "method", "failure"),
    [
        (WHOLE, "write", NetworkFailure("reset")),
        (WHOLE, "write", ServerFailure("502")),
        (WHOLE, "write", CorruptObject("the ETag is another")),
        (IN_PARTS, "complete_multipart", NetworkFailure("reset")),
    ],
)
def test_what_is_no_refusal_leaves_a_doubt(options: TransferOptions, method: str, failure: MastosyncError) -> None:
    new = MemoryStore("new")
    new.fail(method, *[failure] * 9)
    assert left_by(new, options) == DOUBT


class Damaging(MemoryStore):
    """Puts something else together, and lets nobody read it, or write anything more."""

    def __init__(self, *, reads: bool) -> None:
        super().__init__("new")
        self.reads = reads

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:
        super().complete_multipart(key, upload_id, parts)
        self.objects[key].data = b"!" + self.objects[key].data[1:]
        self.fail("start_multipart", *[ObjectDenied("the right to write is gone")] * 9)
        return f"{'0' * 32}-3"

    def digest(self, key: str, info: ObjectInfo) -> bytes:
        if not self.reads:
            raise ObjectDenied("the key may not read")
        return super().digest(key, info)


@pytest.mark.parametrize("reads", [True, False])
def test_what_was_put_together_stays_known_whatever_is_refused_afterwards(reads: bool) -> None:
    new = Damaging(reads=reads)
    assert left_by(new, IN_PARTS) == DOUBT
    assert KEY in new.objects


def test_what_the_store_has_copied_wrongly_stays_known_when_our_own_write_is_refused() -> None:
    class Copying(MemoryStore):
        def copy_from(
            self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
        ) -> str:
            super().copy_from(source_bucket, source_key, info, key, options)
            self.objects[KEY].data += b"more"
            return f"{'0' * 32}-1"

    new = Copying("new")
    new.fail("write", *[ObjectDenied("403")] * 9)
    assert left_by(new, WITHIN) == DOUBT


def test_a_private_object_that_was_refused_leaves_nothing() -> None:
    new = MemoryStore("new")
    new.fail("write", ObjectDenied("403"))
    options = TransferOptions(acl=AclMode.PRIVATE)
    assert left_by(new, options, entry(private=True)) == NOTHING


def test_an_upload_that_was_begun_in_vain_and_not_given_up_is_given_up_by_the_next_attempt() -> None:
    """Whether the store takes `private` is found out by an upload in parts that is begun for nothing."""
    old, new = MemoryStore("old"), MemoryStore("new")
    old.put(KEY, b"0123456789")
    for method in ("abort_multipart", "abort_unfinished"):
        new.fail(method, *[ServerFailure("502")] * 3)
    copy, of = transfer(old, new), entry(private=True)
    failed = copy(Claim(of, 0))
    assert (failed.reason, failed.presence) == (Reason.SERVER, Presence.AS_PRIVATE | Presence.IN_DOUBT)
    assert len(new.unfinished()) == 1
    assert copy(Claim(of, 1, Arrival(failed.presence or NOTHING))).state is EntryState.DONE
    assert new.unfinished() == []


def test_an_upload_that_was_begun_in_vain_says_nothing_of_what_lay_there_before() -> None:
    """What was public is as public as before: only a part of an upload may be left, which nobody completes."""
    old, new = MemoryStore("old"), MemoryStore("new")
    old.put(KEY, b"0123456789")
    copy = transfer(old, new)
    done = copy(Claim(entry(), 0))
    for method in ("abort_multipart", "abort_unfinished"):
        new.fail(method, *[ServerFailure("502")] * 3)
    arrival = Arrival(Presence.AS_PUBLIC, done.md5, done.etag)
    failed = transfer(old, new)(Claim(entry(private=True), 0, arrival))
    assert (failed.reason, failed.presence) == (Reason.SERVER, DOUBT)


@pytest.mark.parametrize("method", ["write_part", "complete_multipart"])
def test_an_upload_that_failed_and_could_not_be_given_up_is_given_up_by_the_next_attempt(method: str) -> None:
    """Where its row leaves meanwhile, `prune` does: it asks for what is in doubt."""
    old, new = MemoryStore("old"), MemoryStore("new")
    old.put(KEY, b"0123456789")
    new.fail(method, ObjectDenied("403"))
    for give_up in ("abort_multipart", "abort_unfinished"):
        new.fail(give_up, *[ServerFailure("502")] * 3)
    copy = transfer(old, new, IN_PARTS)
    failed = copy(Claim(entry(), 0))
    assert (failed.reason, failed.presence) == (Reason.DENIED, DOUBT)
    assert len(new.unfinished()) == 1
    assert copy(Claim(entry(), 1, Arrival(DOUBT))).state is EntryState.DONE
    assert new.unfinished() == []


def test_an_upload_that_is_none_any_more_needs_not_be_given_up() -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    old.put(KEY, b"0123456789")
    new.fail("write_part", ObjectDenied("403"))
    new.fail("abort_multipart", ObjectMissing("no such upload"))
    assert transfer(old, new, IN_PARTS)(Claim(entry(), 0)).presence is None


def test_who_may_not_give_up_an_upload_learns_nothing_of_acls_from_that() -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    old.put(KEY, b"0123456789")
    new.fail("abort_multipart", *[ObjectDenied("403")] * 3)
    assert transfer(old, new)(Claim(entry(private=True), 0)).state is EntryState.DONE
    assert new.objects[KEY].acl == "private"
