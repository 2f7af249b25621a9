"""What lies at the destination already is found, adopted or written again, on stores in memory."""

from __future__ import annotations

from hashlib import md5

import pytest

from mastosync.errors import (
    NetworkFailure,
    ObjectDenied,
    ObjectMissing,
    ServerFailure,
)
from mastosync.manifest import ACCESS
from mastosync.model import Claim, End, EntryState, Origin, Presence, Reason
from mastosync.runtime.steps import StoreCall
from tests.support.entries import REMOTE, claim, entry, written_before
from tests.support.transfers import transfer
from tests.unit.copying.test_transfer import KEY, PLAIN, stores

STORED = "Tue, 24 Nov 2026 00:00:00 GMT"
STORED_AT = 1_795_478_400
IN_DOUBT = Presence.AS_PUBLIC | Presence.IN_DOUBT
SIZED = entry()._replace(size=4)


def test_what_the_source_lacks_and_the_destination_has_is_adopted_and_not_missing() -> None:
    """After a switch, Mastodon itself has stored it there."""
    old, new = stores()
    new.put(KEY, b"new home")
    outcome = transfer(old, new)(claim(entry()._replace(size=8)))
    assert (outcome.state, outcome.origin, outcome.size) == (EntryState.DONE, Origin.ADOPTED, 8)
    assert outcome.md5 == md5(b"new home").digest()
    assert [call for call in new.calls if call[0] != "head"] == [], "nothing is written"


@pytest.mark.parametrize("acl", ["private", "public-read"])
@pytest.mark.parametrize(
    "private",
    [
        claim(entry(private=True, updated=STORED_AT)),  # its row does not tell its size: it came with it
        claim(entry(private=True)._replace(size=8)),
    ],
)
def test_what_is_private_and_only_the_destination_has_is_stored_there_as_private(private: Claim, acl: str) -> None:
    """Another tool may have stored it for everybody; that strangers are refused for a while does not tell."""
    old, new = stores()
    new.put(KEY, b"new home")
    new.objects[KEY].acl, new.objects[KEY].last_modified = acl, STORED
    outcome = transfer(old, new)(private)
    assert (outcome.state, outcome.origin, outcome.size) == (EntryState.DONE, Origin.ADOPTED, 8)
    assert (new.objects[KEY].acl, new.objects[KEY].data) == ("private", b"new home")
    assert new.count("anybody_reads") == 1


def test_what_cannot_be_stored_there_as_private_is_not_adopted() -> None:
    old, new = stores()
    new.put(KEY, b"new home")
    new.fail("anybody_reads", *[ServerFailure("502")] * 100)
    outcome = transfer(old, new)(claim(entry(private=True)._replace(size=8)))
    assert (outcome.state, outcome.presence) == (EntryState.FAILED, ACCESS | Presence.IN_DOUBT)
    assert "cannot tell whether" in (outcome.detail or "")
    assert new.objects[KEY].data == b"new home", "it may be the only copy"


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (9, "it has 8 bytes, and its row says 9"),
        (None, "it has 8 bytes, and its row does not tell how many it should have"),
    ],
)
def test_what_lies_there_and_cannot_be_proven_stays_missing_and_the_failure_tells_of_it(
    size: int | None, said: str
) -> None:
    old, new = stores()
    new.put(KEY, b"new home")
    new.objects[KEY].acl, new.objects[KEY].last_modified = "private", STORED
    came = STORED_AT if size else STORED_AT - 200_000
    outcome = transfer(old, new)(claim(entry(private=True, updated=came)._replace(size=size)))
    assert (outcome.state, outcome.reason, outcome.end) == (EntryState.FAILED, Reason.MISSING, End.SOURCE)
    assert f"stored at {STORED}, probably by Mastodon itself: {said}" in (outcome.detail or "")
    assert not new.count("write")


def test_what_was_there_before_the_file_of_its_row_came_is_not_told_of() -> None:
    old, new = stores()
    new.put(KEY, b"new home")
    new.objects[KEY].last_modified = STORED
    outcome = transfer(old, new)(claim(entry(updated=STORED_AT + 90_000)._replace(size=9)))
    assert "lies at" not in (outcome.detail or "")


@pytest.mark.parametrize(
    "of",
    [
        claim(entry(private=True)),  # nobody knows who can read what is there
        written_before(entry(), Presence.AS_PUBLIC | Presence.STALE),  # it lay there, and was not what was wanted
        written_before(entry(), Presence.AS_PUBLIC),  # it lay there, and was another object
        claim(entry()._replace(size=9)),
        claim(entry()),  # nobody knows its size, nor when it came
        claim(entry(updated=1_000)),  # it was not stored when the file of its row came
    ],
)
def test_what_lies_there_is_no_answer_if_it_may_not_be_what_is_wanted(of: Claim) -> None:
    old, new = stores()
    new.put(KEY, b"new home")
    outcome = transfer(old, new)(of)
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.MISSING)


def test_what_is_missing_stays_so_if_the_destination_does_not_answer() -> None:
    old, new = stores()
    new.fail("head", *[ObjectDenied("403")] * 100)
    outcome = transfer(old, new)(claim(entry()))
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.MISSING)


@pytest.mark.parametrize(
    ("failure", "reason", "end"),
    [
        (NetworkFailure("reset"), Reason.NETWORK, End.DESTINATION),
        (ServerFailure("500"), Reason.SERVER, End.DESTINATION),
        (ObjectDenied("403"), Reason.MISSING, End.SOURCE),
    ],
)
def test_where_a_dead_run_has_left_a_doubt_a_failure_that_passes_stays_one(
    failure: Exception, reason: Reason, end: End
) -> None:
    """What may be confirmed by the next attempt is not told as lost."""
    old, new = stores()
    new.put(KEY, b"data", etag="00" * 16)
    new.fail("head", *[failure] * 100)
    outcome = transfer(old, new)(written_before(SIZED, IN_DOUBT))
    assert (outcome.reason, outcome.end) == (reason, end)


@pytest.mark.parametrize("before", [written_before(SIZED, IN_DOUBT), claim(SIZED)], ids=["in doubt", "never written"])
def test_what_is_done_though_the_source_lacks_it_tells_that_the_source_has_answered(before: Claim) -> None:
    """Else failures before and after it would count as one outage; and it has given nothing."""
    old, new = stores()
    new.put(KEY, b"data", etag="00" * 16)
    outcome = transfer(old, new)(before)
    assert (outcome.state, outcome.end) == (EntryState.DONE, End.SOURCE)
    assert old.count("read")


def test_a_claim_left_by_a_dead_run_is_first_looked_for_at_the_destination() -> None:
    old, new = stores()
    old.put(KEY, b"bytes")
    new.put(KEY, b"bytes")
    outcome = transfer(old, new)(claim(entry(), left_behind=True))
    assert (outcome.state, outcome.size, outcome.md5) == (EntryState.DONE, 5, md5(b"bytes").digest())
    assert new.calls == [("abort_unfinished", KEY), ("head", KEY), ("digest", KEY)]  # its ETag is not proved yet
    assert old.calls == [("head", KEY)]


def test_whoever_goes_on_to_the_next_candidate_holds_no_memory() -> None:
    """The words of a refusal take some. Who wants all that there is would wait for it, and it for them, for ever."""
    steps = transfer(*stores()).steps(claim(entry(kind=REMOTE)))
    first = next(steps)
    assert isinstance(first, StoreCall)
    assert first.store.memory is not None
    assert first.store.memory.request(200)
    second = steps.throw(ObjectMissing("404"))
    assert isinstance(second, StoreCall)
    assert second.arguments[0] == PLAIN
    assert first.store.memory.reserved_bytes == 0
    steps.close()


@pytest.mark.parametrize("failing", ["old", "new"])
def test_what_could_not_be_looked_for_stays_in_doubt(failing: str) -> None:
    """Who tries it again has to look first, or an object that has arrived is uploaded twice."""
    old, new = stores()
    old.put(KEY, b"bytes")
    new.put(KEY, b"bytes")
    (old if failing == "old" else new).fail("head", *[NetworkFailure("reset")] * 3)
    outcome = transfer(old, new)(claim(entry(), left_behind=True))
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.NETWORK)
    assert outcome.presence is None, "what is known of the destination stays known"
    assert new.count("write") == 0


def test_what_was_looked_for_and_fails_afterwards_is_in_no_more_doubt() -> None:
    old, new = stores()
    old.put(KEY, b"bytes")
    old.fail("read", ObjectDenied("no"))
    outcome = transfer(old, new)(claim(entry(), left_behind=True))
    assert (outcome.state, outcome.presence) == (EntryState.FAILED, None), "no more doubt than there was"


def test_what_was_done_before_and_is_wanted_again_is_written_again() -> None:
    """It may have become private: the same bytes with another ACL are not the same."""
    old, new = stores()
    old.put(KEY, b"bytes")
    new.put(KEY, b"bytes")
    again = written_before(entry(private=True), Presence.AS_PUBLIC)
    assert transfer(old, new)(again).state is EntryState.DONE
    assert new.objects[KEY].acl == "private"


@pytest.mark.parametrize("there", [None, b"other", b"bytes and more"])
def test_a_claim_left_by_a_dead_run_is_copied_when_it_did_not_arrive(there: bytes | None) -> None:
    old, new = stores()
    old.put(KEY, b"bytes")
    if there is not None:
        new.put(KEY, there)
    outcome = transfer(old, new)(claim(entry(), left_behind=True))
    assert outcome.state is EntryState.DONE
    assert new.objects[KEY].data == b"bytes"


@pytest.mark.parametrize("there", [b"bytes and more", b"other"])
def test_sizes_alone_prove_nothing_where_an_etag_is_of_parts(there: bytes) -> None:
    old, new = stores()
    old.put(KEY, b"bytes", etag=f"{md5(md5(b'bytes').digest()).hexdigest()}-1")
    new.put(KEY, there)
    outcome = transfer(old, new)(claim(entry(), left_behind=True))
    assert (outcome.state, new.objects[KEY].data) == (EntryState.DONE, b"bytes")
    outcome = transfer(old, new)(claim(entry(), left_behind=True))
    assert (outcome.state, outcome.md5) == (EntryState.DONE, md5(b"bytes").digest())
    assert new.count("write") == 1


def test_equal_etags_of_parts_are_proof_enough() -> None:
    old, new = stores()
    of_parts = "0" * 32 + "-2"
    for store in (old, new):
        store.put(KEY, b"bytes", etag=of_parts)
    outcome = transfer(old, new)(claim(entry(), left_behind=True))
    assert (outcome.state, outcome.etag, new.count("write"), old.count("digest")) == (EntryState.DONE, of_parts, 0, 0)


@pytest.mark.parametrize(("here", "there"), [(None, "of-a-disk"), ("of-a-disk", None), ("a-disk", "another")])
def test_what_tells_no_md5_is_read_before_it_counts_as_arrived(here: str | None, there: str | None) -> None:
    old, new = stores()
    old.put(KEY, b"bytes", etag=here)
    new.put(KEY, b"other", etag=there)
    outcome = transfer(old, new)(claim(entry(), left_behind=True))
    assert (outcome.state, new.objects[KEY].data, new.count("write")) == (EntryState.DONE, b"bytes", 1)
    new.put(KEY, b"bytes", etag=there)
    outcome = transfer(old, new)(claim(entry(), left_behind=True))
    assert (outcome.state, outcome.md5, new.count("write")) == (EntryState.DONE, md5(b"bytes").digest(), 1)
