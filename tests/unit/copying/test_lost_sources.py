"""What the source cannot give any more, or gives otherwise than its row says: nothing is lost for it, or left open."""

from __future__ import annotations

from contextlib import closing
from hashlib import md5
from pathlib import Path

import pytest

from mastosync.copying.transfer import TransferOptions
from mastosync.errors import NetworkFailure, ObjectDenied, PrivacyLost, ServerFailure, StoreUnusable
from mastosync.following import Rounds
from mastosync.manifest import ACCESS, ManifestReader, WorkQueue
from mastosync.model import Arrival, Claim, End, EntryState, Outcome, Presence, Reason
from mastosync.runtime.outages import IN_A_ROW, FailureCounter
from mastosync.runtime.stop import StopSignal
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.memory_store import MemoryStore
from tests.support.transfers import transfer

KEY = "accounts/avatars/000/000/001/original/a.png"
WAS_PUBLIC = Arrival(Presence.AS_PUBLIC, md5(b"bytes").digest())


def lost(acl: str = "public-read") -> tuple[MemoryStore, MemoryStore]:
    """A source that has lost an object which the destination has."""
    old, new = MemoryStore("old"), MemoryStore("new")
    new.put(KEY, b"bytes")
    new.objects[KEY].acl = acl
    return old, new


def exposed_remedy() -> Claim:
    return Claim(entry(private=True)._replace(size=5), 1, WAS_PUBLIC)


@pytest.mark.parametrize("answer", ["everybody reads", "nobody can tell"])
def test_the_only_copy_that_is_left_is_never_removed(answer: str) -> None:
    """It is stored again as private, and asked for as a stranger would: a proof that fails is removed otherwise."""
    old, new = lost()
    if answer == "everybody reads":
        new.anybody_reads = lambda key: True  # type: ignore[method-assign]
        with pytest.raises(PrivacyLost, match="it was not removed, because it may be the only copy"):
            transfer(old, new)(exposed_remedy())
    else:
        new.fail("anybody_reads", *[ServerFailure("503")] * 10)
        outcome = transfer(old, new)(exposed_remedy())
        assert outcome.state is EntryState.FAILED
        assert Presence.AS_PUBLIC in (outcome.presence or WAS_PUBLIC.presence), "nobody has seen that it is private"
    assert new.objects[KEY].data == b"bytes"
    assert new.count("withdraw") == new.count("delete") == 0


@pytest.mark.parametrize("etag", ["0" * 32 + "-3", "1" * 32 + "-3"], ids=["as confirmed", "another"])
@pytest.mark.parametrize("private", [True, False])
def test_what_was_proved_by_its_parts_is_known_by_its_etag(etag: str, *, private: bool) -> None:
    """There is no MD5 of it. If it is another object, it is hidden all the same, and not done."""
    old, new = lost("public-read" if private else "private")
    new.objects[KEY].etag, new.objects[KEY].etag_is_md5 = etag, False
    before = Arrival(Presence.AS_PUBLIC if private else Presence.AS_PRIVATE, None, "0" * 32 + "-3")
    outcome = transfer(old, new)(Claim(entry(private=private)._replace(size=5), 1, before))
    is_it = etag.startswith("0")
    assert outcome.state is (EntryState.DONE if is_it else EntryState.FAILED)
    assert new.objects[KEY].acl == ("private" if private or not is_it else "public-read")
    assert outcome.md5 == (md5(b"bytes").digest() if is_it else None)


def test_it_is_the_proof_itself_where_strangers_are_refused() -> None:
    old, new = lost()
    outcome = transfer(old, new)(exposed_remedy())
    assert (outcome.state, outcome.md5, new.objects[KEY].acl) == (EntryState.DONE, md5(b"bytes").digest(), "private")
    assert new.count("anybody_reads") == 1
    assert outcome.end is End.DESTINATION, "no answer of the source's is counted"


def test_what_lies_there_as_private_is_public_again_though_a_disk_says_that_it_is_private() -> None:
    """Its mode at the destination is what a copy gave it, and no word of the source."""
    old, new = lost("private")
    new.objects[KEY].private = True
    again = Claim(entry()._replace(size=5), 1, Arrival(Presence.AS_PRIVATE, md5(b"bytes").digest()))
    outcome = transfer(old, new)(again)
    assert (outcome.state, outcome.entry.private, new.objects[KEY].acl) == (EntryState.DONE, False, "public-read")


def test_a_lost_answer_is_not_forgotten_because_nothing_could_be_stored_again() -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    old.put(KEY, b"bytes")
    new.buckets = {"memory": old}
    new.fail("copy_from", *[NetworkFailure("reset")] * 3)
    old.fail("read", ObjectDenied("no"))
    of = Claim(entry()._replace(size=5), 1, Arrival(Presence.AS_PRIVATE, md5(b"bytes").digest()))
    outcome = transfer(old, new, TransferOptions(source_bucket="memory"))(of)
    assert outcome.state is EntryState.FAILED
    assert outcome.presence == Presence.AS_PRIVATE | Presence.AS_PUBLIC | Presence.IN_DOUBT


@pytest.mark.parametrize("private", [True, False])
def test_what_a_source_keeps_from_everybody_is_known_to_be_private(tmp_path: Path, private: bool) -> None:
    """Else it would count as public, and never be looked at again when its mode changes."""
    old, new = MemoryStore("old"), MemoryStore("new")
    old.put(KEY, b"bytes")
    old.objects[KEY].private = private
    with planned(tmp_path / "m.db", [entry()]) as manifest, closing(transfer(old, new)) as moving:
        queue = WorkQueue(manifest)
        queue.start_run(1)
        (claim,) = queue.iter_claimable()
        queue.commit(claims=[claim])
        queue.commit(outcomes=[moving(claim)])
        (record,) = ManifestReader(manifest).iter_records()
    assert record.state is EntryState.DONE
    assert record.entry.private == private
    assert record.presence == (Presence.AS_PRIVATE if private else Presence.AS_PUBLIC)


def test_a_public_object_left_by_a_death_is_not_taken_for_one_that_the_source_has_closed_since() -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    for store in (old, new):
        store.put(KEY, b"bytes")
    old.objects[KEY].private = True
    outcome = transfer(old, new)(Claim(entry(), 0, Arrival(Presence.AS_PUBLIC | Presence.IN_DOUBT)))
    assert (outcome.state, new.objects[KEY].acl) == (EntryState.DONE, "private")


def test_a_key_that_may_write_and_not_read_writes_what_it_cannot_confirm() -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    for store in (old, new):
        store.put(KEY, b"bytes")
    new.fail("head", ObjectDenied("403"))
    assert transfer(old, new)(Claim(entry()._replace(size=5), 1, WAS_PUBLIC)).state is EntryState.DONE
    assert new.count("write") == 1


def test_an_upload_of_which_nobody_can_tell_who_reads_it_stays_known() -> None:
    """The store has taken it in; that its answer to strangers is a refusal of another kind says nothing of that."""
    old, new = MemoryStore("old"), MemoryStore("new")
    old.put(KEY, b"bytes")
    new.fail("anybody_reads", *[ServerFailure("501")] * 10)
    new.fail("withdraw", *[ObjectDenied("no")] * 10)
    outcome = transfer(old, new)(Claim(entry(private=True), 0))
    assert (outcome.state, outcome.end) == (EntryState.FAILED, End.DESTINATION)
    assert outcome.presence == ACCESS | Presence.IN_DOUBT, "it may be for everybody to read"


def test_what_was_only_confirmed_says_nothing_of_the_source() -> None:
    outages = FailureCounter()
    confirmed = Outcome(entry(), EntryState.DONE, end=End.DESTINATION)
    failed = Outcome(entry(), EntryState.FAILED, Reason.NETWORK, detail="reset", end=End.SOURCE)
    for _ in range(IN_A_ROW - 1):
        outages.note(failed)
        outages.note(confirmed)
    with pytest.raises(StoreUnusable):
        outages.note(failed)


def test_rounds_end_at_once_when_privacy_is_lost() -> None:
    """Each further one would show another private object to everybody."""
    rounds = iter([None, PrivacyLost("anybody can read it")])

    def work() -> None:
        error = next(rounds)
        if error is not None:
            raise error

    with pytest.raises(PrivacyLost):
        list(Rounds(work, 0.0, once=False, stop=StopSignal()))


def test_what_is_not_what_was_confirmed_is_not_laid_open() -> None:
    """Somebody else may have put something private there. It is compared before it is stored again."""
    for body in (b"other", b"other" * 9):
        old, new = lost("private")
        new.put(KEY, body)
        new.objects[KEY].acl = "private"
        claim = Claim(entry()._replace(size=len(body)), 1, Arrival(Presence.AS_PRIVATE, md5(b"bytes").digest()))
        outcome = transfer(old, new, TransferOptions(multipart_threshold=8, part_size=8))(claim)
        assert (outcome.reason, outcome.presence, new.objects[KEY].acl) == (Reason.MISSING, None, "private")


def test_large_objects_are_compared_and_laid_open_again() -> None:
    old, new = lost("private")
    body = b"bytes" * 9
    new.put(KEY, body)
    new.objects[KEY].acl = "private"
    claim = Claim(entry()._replace(size=len(body)), 1, Arrival(Presence.AS_PRIVATE, md5(body).digest()))
    outcome = transfer(old, new, TransferOptions(multipart_threshold=8, part_size=8))(claim)
    assert (outcome.state, new.objects[KEY].acl, new.objects[KEY].data) == (EntryState.DONE, "public-read", body)


def test_what_the_source_may_keep_private_is_not_laid_open_while_the_source_fails() -> None:
    """A disk that gives EIO does not say whether it keeps the file from everybody."""
    old, new = lost("private")
    for operation in ("head", "read"):
        old.fail(operation, *[NetworkFailure("EIO")] * 9)
    claim = Claim(entry()._replace(size=5), 1, Arrival(Presence.AS_PRIVATE, md5(b"bytes").digest()))
    outcome = transfer(old, new)(claim)
    assert (outcome.reason, new.objects[KEY].acl) == (Reason.NETWORK, "private")


def test_what_is_hidden_without_the_source_says_nothing_of_the_source() -> None:
    """So an outage of the source is noticed though some of its objects are hidden at the destination meanwhile."""
    old, new = lost()
    old.fail("read", *[NetworkFailure("down")] * 3)
    outcome = transfer(old, new)(exposed_remedy())
    assert (outcome.state, outcome.end) == (EntryState.DONE, End.DESTINATION)
    assert outcome.attempts == 1 + old.count("read") - 1


def test_what_may_be_read_by_everybody_is_confirmed_as_it_is() -> None:
    """With `private_objects = copy` nobody asks who can read a private object, and it is not sent again."""
    old, new = lost()
    old.put(KEY, b"bytes")
    claim = Claim(entry(private=True)._replace(size=5), 1, Arrival(Presence.AS_PRIVATE, md5(b"bytes").digest()))
    before = new.count("write")
    outcome = transfer(old, new, TransferOptions(copy_private_without_acl=True))(claim)
    assert (outcome.state, new.count("write") - before, new.count("anybody_reads")) == (EntryState.DONE, 0, 0)


def test_who_fails_to_hide_something_says_that_it_lies_open() -> None:
    old, new = lost()
    new.fail("read", ObjectDenied("no"))
    outcome = transfer(old, new)(exposed_remedy())
    assert outcome.state is EntryState.FAILED
    assert "may still be public at" in (outcome.detail or "")
