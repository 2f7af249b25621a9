"""What a worker does with one claim, on stores in memory."""

from __future__ import annotations

from hashlib import md5

import pytest

from mastosync.copying.acl import AclMode
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import (
    AclUnsupported,
    CorruptObject,
    Interrupted,
    NetworkFailure,
    ObjectChanged,
    ObjectDenied,
    ObjectMissing,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.model import Claim, End, EntryState, ObjectHeaders, Origin, Presence, Reason
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry import RetryPolicy, StoreAccess
from mastosync.runtime.steps import StoreCall
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import PutOptions
from mastosync.store.s3.curl import CurlStore
from tests.contract.memory_store import MemoryStore
from tests.contract.raw_server import RawRequest, RawServer, answer
from tests.contract.s3_kit import at, opened
from tests.unit.engine_kit import IMPATIENT, REMOTE, claim, entry, store_access, transfer, written_before

KEY = "accounts/avatars/000/000/001/original/a.png"
CACHED = "cache/media_attachments/files/000/000/001/small/a.png"
PLAIN = "media_attachments/files/000/000/001/small/a.png"
IN_PARTS = TransferOptions(multipart_threshold=10, part_size=4)


def stores() -> tuple[MemoryStore, MemoryStore]:
    return MemoryStore("old"), MemoryStore("new")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few bytes: the rounding to whole MiB has a test of its own."""
    monkeypatch.setattr("mastosync.copying.large_objects.MIB", 1)


def test_a_fresh_entry_costs_one_read_and_one_write() -> None:
    old, new = stores()
    old.put(KEY, b"bytes")
    outcome = transfer(old, new)(claim(entry()))
    assert (outcome.state, outcome.size, outcome.attempts) == (EntryState.DONE, 5, 1)
    assert outcome.md5 == md5(b"bytes").digest()
    assert (old.calls, new.calls) == ([("read", KEY)], [("write", KEY)])


def test_headers_travel_and_cache_control_is_filled_in_only_where_it_is_absent() -> None:
    old, new = stores()
    headers = ObjectHeaders("image/png", None, "inline", "ja", "gzip", (("a", "b"),))
    old.put(KEY, b"1", headers)
    options = TransferOptions(cache_control="public, max-age=315576000, immutable")
    transfer(old, new, options)(claim(entry()))
    assert new.objects[KEY].headers == ObjectHeaders(
        "image/png", "public, max-age=315576000, immutable", "inline", "ja", "gzip", (("a", "b"),)
    )
    old.put(KEY, b"1", ObjectHeaders(cache_control="no-store"))
    transfer(old, new, options)(claim(entry()))
    assert new.objects[KEY].headers.cache_control == "no-store"


def test_an_object_under_another_candidate_is_stored_under_its_canonical_key() -> None:
    old, new = stores()
    old.put(PLAIN, b"old schema")
    outcome = transfer(old, new)(claim(entry(kind=REMOTE)))
    assert (outcome.state, outcome.source_key) == (EntryState.DONE, PLAIN)
    assert list(new.objects) == [CACHED]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ObjectDenied("403"), Reason.DENIED),
        (ServerFailure("500"), Reason.SERVER),
        (NetworkFailure("reset"), Reason.NETWORK),
        (Throttled("503"), Reason.THROTTLED),
    ],
)
def test_only_a_true_404_leads_to_the_next_candidate(error: Exception, reason: Reason) -> None:
    old, new = stores()
    old.put(PLAIN, b"must not be taken")
    old.fail("read", *[error] * 100_000)
    outcome = transfer(old, new)(claim(entry(kind=REMOTE)))
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, reason)
    assert {key for _, key in old.calls} == {CACHED}
    assert not new.objects


def test_a_missing_object_is_a_failure_and_a_missing_optional_one_is_skipped() -> None:
    old, new = stores()
    outcome = transfer(old, new)(claim(entry()))
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.MISSING)
    assert KEY in (outcome.detail or "")
    outcome = transfer(old, new)(claim(entry(optional=True)))
    assert (outcome.state, outcome.reason) == (EntryState.SKIPPED, Reason.OPTIONAL_MISSING)


def test_what_the_source_lacks_and_the_destination_has_is_adopted_and_not_missing() -> None:
    """After a switch, Mastodon itself has stored it there."""
    old, new = stores()
    new.put(KEY, b"new home")
    outcome = transfer(old, new)(claim(entry()._replace(size=8)))
    assert (outcome.state, outcome.origin, outcome.size) == (EntryState.DONE, Origin.ADOPTED, 8)
    assert outcome.md5 == md5(b"new home").digest()
    assert [call for call in new.calls if call[0] != "head"] == [], "nothing is written"


STORED = "Tue, 24 Nov 2026 00:00:00 GMT"
STORED_AT = 1_795_478_400


@pytest.mark.parametrize(
    "private",
    [
        claim(entry(private=True, updated=STORED_AT)),  # its row does not tell its size: it came with it
        claim(entry(private=True)._replace(size=8)),
    ],
)
def test_what_is_private_and_only_the_destination_has_is_adopted_if_strangers_are_refused(private: Claim) -> None:
    old, new = stores()
    new.put(KEY, b"new home")
    new.objects[KEY].acl, new.objects[KEY].last_modified = "private", STORED
    outcome = transfer(old, new)(private)
    assert (outcome.state, outcome.origin, outcome.size) == (EntryState.DONE, Origin.ADOPTED, 8)
    assert new.count("anybody_reads") == 1
    assert not new.count("write")


@pytest.mark.parametrize(
    ("acl", "error", "size", "said"),
    [
        ("public-read", None, 8, "it is private, but anybody can read it"),
        ("private", ServerFailure("502"), 8, "cannot tell whether"),
        ("private", None, 9, "it has 8 bytes, and its row says 9"),
        ("private", None, None, "it has 8 bytes, and its row does not tell how many it should have"),
    ],
)
def test_what_lies_there_and_cannot_be_proven_stays_missing_and_the_failure_tells_of_it(
    acl: str, error: Exception | None, size: int | None, said: str
) -> None:
    old, new = stores()
    new.put(KEY, b"new home")
    new.objects[KEY].acl, new.objects[KEY].last_modified = acl, STORED
    new.fail("anybody_reads", *[error] * 100 if error else ())
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


IN_DOUBT = Presence.AS_PUBLIC | Presence.IN_DOUBT
SIZED = entry()._replace(size=4)


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


def test_failures_that_pass_are_retried_and_counted() -> None:
    old, new = stores()
    old.put(KEY, b"bytes")
    old.fail("read", NetworkFailure("reset"), CorruptObject("truncated"))
    new.fail("write", ServerFailure("500"))
    outcome = transfer(old, new)(claim(entry()))
    assert (outcome.state, outcome.attempts) == (EntryState.DONE, 4)


def test_bytes_that_stay_damaged_are_never_stored() -> None:
    old, new = stores()
    old.put(KEY, b"bytes")
    old.fail("read", *[CorruptObject("MD5 differs")] * 3)
    outcome = transfer(old, new)(claim(entry()))
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.CORRUPT)
    assert not new.objects


def test_a_large_object_travels_in_parts_and_leaves_no_upload_behind() -> None:
    old, new = stores()
    data = bytes(range(23))
    old.put(KEY, data)
    outcome = transfer(old, new, IN_PARTS)(claim(entry()))
    assert (outcome.state, outcome.size, outcome.md5) == (EntryState.DONE, 23, md5(data).digest())
    assert outcome.etag == new.objects[KEY].etag
    assert outcome.etag.endswith("-6")
    assert new.objects[KEY].data == data
    assert not new.unfinished()


def test_a_part_that_keeps_failing_aborts_the_upload() -> None:
    old, new = stores()
    old.put(KEY, bytes(23))
    new.fail("write_part", *[ServerFailure("500")] * 100)
    outcome = transfer(old, new, IN_PARTS)(claim(entry()))
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.SERVER)
    assert not new.unfinished()
    assert not new.objects


def test_a_large_object_replaced_while_it_is_read_is_read_again_from_the_start() -> None:
    old, new = stores()
    old.put(KEY, bytes(23))
    old.fail("read_range", ObjectChanged("412"))
    outcome = transfer(old, new, IN_PARTS)(claim(entry()))
    assert (outcome.state, outcome.attempts) == (EntryState.DONE, 2)
    assert new.objects[KEY].data == bytes(23)
    assert not new.unfinished()


def test_a_large_object_whose_etag_is_not_its_md5_after_all_is_corrupt() -> None:
    old, new = stores()
    old.put(KEY, bytes(23))
    old.objects[KEY].etag = "0" * 32
    outcome = transfer(old, new, IN_PARTS)(claim(entry()))
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.CORRUPT)
    assert not new.objects
    assert not new.unfinished()


@pytest.mark.parametrize("options", [TransferOptions(), IN_PARTS])
def test_damage_on_the_way_is_noticed_where_an_etag_fits_its_parts(options: TransferOptions) -> None:
    old, new = stores()
    data = bytes(range(23))
    old.put(KEY, data, etag=f"{md5(md5(data).digest()).hexdigest()}-1")
    old.damaged_reads = 1
    outcome = transfer(old, new, options)(claim(entry()))
    assert (outcome.state, outcome.attempts) == (EntryState.DONE, 2)
    assert new.objects[KEY].data == data
    assert outcome.md5 == md5(data).digest()


@pytest.mark.parametrize("options", [TransferOptions(part_size=4), IN_PARTS])
def test_an_etag_of_unusual_parts_is_checked_by_a_second_reading(options: TransferOptions) -> None:
    old, new = stores()
    data = bytes(range(23))
    old.put(KEY, data, etag="0" * 32 + "-3")
    assert transfer(old, new, options)(claim(entry())).attempts == 1
    assert old.count("digest") == 1
    old.damaged_reads = 1
    assert transfer(old, new, options)(claim(entry())).state is EntryState.DONE
    assert new.objects[KEY].data == data
    assert not new.unfinished()


def test_what_came_encrypted_is_not_read_twice() -> None:
    old, new = stores()
    old.endpoint = "https://memory"
    old.put(KEY, bytes(23), etag="0" * 32 + "-3")
    assert transfer(old, new, IN_PARTS)(claim(entry())).state is EntryState.DONE
    assert old.count("read_range") == 6


def test_bytes_that_differ_at_every_reading_are_never_stored() -> None:
    old, new = stores()
    old.put(KEY, bytes(23), etag=f"{md5(md5(bytes(23)).digest()).hexdigest()}-1")
    old.damaged_reads = 1_000
    outcome = transfer(old, new, IN_PARTS)(claim(entry()))
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.CORRUPT)
    assert not new.objects
    assert not new.unfinished()


def test_a_claim_left_by_a_dead_run_is_first_looked_for_at_the_destination() -> None:
    old, new = stores()
    old.put(KEY, b"bytes")
    new.put(KEY, b"bytes")
    outcome = transfer(old, new)(claim(entry(), left_behind=True))
    assert (outcome.state, outcome.size, outcome.md5) == (EntryState.DONE, 5, md5(b"bytes").digest())
    assert new.calls == [("abort_unfinished", KEY), ("head", KEY)]
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


def test_parts_of_a_dead_run_are_thrown_away() -> None:
    old, new = stores()
    old.put(KEY, bytes(23))
    new.start_multipart(KEY, PutOptions(ObjectHeaders()))
    outcome = transfer(old, new, IN_PARTS)(claim(entry(), left_behind=True))
    assert outcome.state is EntryState.DONE
    assert not new.unfinished()


def test_an_upload_whose_beginning_was_answered_too_late_is_thrown_away() -> None:
    old, new = stores()
    old.put(KEY, bytes(23))
    new.start_multipart(KEY, PutOptions(ObjectHeaders()))  # begun, and the answer lost
    new.fail("start_multipart", NetworkFailure("reset"))
    assert transfer(old, new, IN_PARTS)(claim(entry())).state is EntryState.DONE
    assert not new.unfinished()


def test_a_lost_answer_to_the_completion_does_not_lose_the_object() -> None:
    """The retried completion finds no upload any more: the transfer starts again, and ends done."""
    old, new = stores()
    old.put(KEY, bytes(23))
    new.fail("complete_multipart", ObjectChanged("NoSuchUpload"))
    outcome = transfer(old, new, IN_PARTS)(claim(entry()))
    assert outcome.state is EntryState.DONE
    assert new.objects[KEY].data == bytes(23)


def test_public_rows_are_written_public_and_private_rows_private() -> None:
    old, new = stores()
    old.put(KEY, b"1")
    transfer(old, new)(claim(entry()))
    assert new.objects[KEY].acl == "public-read"
    transfer(old, new)(claim(entry(private=True)))
    assert new.objects[KEY].acl == "private"
    transfer(old, new, TransferOptions(acl=AclMode.PRIVATE))(claim(entry()))
    assert new.objects[KEY].acl == "private"
    transfer(old, new, TransferOptions(acl=AclMode.NONE))(claim(entry()))
    assert new.objects[KEY].acl is None


def test_where_no_acl_is_sent_private_objects_stay_behind_unless_asked_for() -> None:
    old, new = stores()
    old.put(KEY, b"1")
    outcome = transfer(old, new, TransferOptions(acl=AclMode.NONE))(claim(entry(private=True)))
    assert (outcome.state, outcome.reason) == (EntryState.SKIPPED, Reason.PRIVATE)
    assert not old.calls
    assert not new.calls
    options = TransferOptions(acl=AclMode.NONE, copy_private_without_acl=True)
    assert transfer(old, new, options)(claim(entry(private=True))).state is EntryState.DONE


def test_auto_finds_out_once_that_a_store_takes_no_acl() -> None:
    old, new = stores()
    for number in (1, 2, 3):
        old.put(KEY.replace("001", f"00{number}"), b"1")
    new.fail("write", AclUnsupported("AccessControlListNotSupported"))
    copy = transfer(old, new)
    assert copy(claim(entry(1))).state is EntryState.DONE
    assert copy(claim(entry(2))).state is EntryState.DONE
    outcome = copy(claim(entry(3, private=True)))
    assert (outcome.state, outcome.reason) == (EntryState.SKIPPED, Reason.PRIVATE)
    assert new.count("write") == 3
    assert all(stored.acl is None for stored in new.objects.values())


def test_a_private_object_that_meets_a_store_without_acl_first_is_kept_back() -> None:
    old, new = stores()
    old.put(KEY, b"1")
    new.fail("write", AclUnsupported("AccessControlListNotSupported"))
    outcome = transfer(old, new)(claim(entry(private=True)))
    assert (outcome.state, outcome.reason) == (EntryState.SKIPPED, Reason.PRIVATE)
    assert not new.objects


def test_a_demanded_acl_that_the_store_refuses_stops_the_run() -> None:
    old, new = stores()
    old.put(KEY, b"1")
    new.fail("write", AclUnsupported("AccessControlListNotSupported"))
    with pytest.raises(StoreUnusable, match="AccessControlListNotSupported"):
        transfer(old, new, TransferOptions(acl=AclMode.PUBLIC_READ))(claim(entry()))


def test_prefixes_of_source_and_destination_are_their_own() -> None:
    old, new = stores()
    old.put(f"was/{KEY}", b"1")
    options = TransferOptions(source_prefix="was", destination_prefix="will/be")
    assert transfer(old, new, options)(claim(entry())).source_key is None
    assert list(new.objects) == [f"will/be/{KEY}"]


def test_a_wait_cut_short_raises_so_that_the_claim_stays() -> None:
    old, new = stores()
    old.put(KEY, b"1")
    new.fail("write", *[NetworkFailure("reset")] * 3)
    stop = StopSignal()
    stop.request()
    patient = RetryPolicy(first_wait_seconds=60, longest_wait_seconds=60)
    with pytest.raises(Interrupted):
        Transfer(store_access(old, stop), store_access(new, stop, patient), TransferOptions(), MemoryBudget(1 << 30))(
            claim(entry())
        )


@pytest.mark.parametrize("in_parts", [False, True])
def test_what_the_source_keeps_from_everybody_is_private_whatever_its_row_says(in_parts: bool) -> None:
    """A disk has modes: a moderator was faster than the next plan, or whoever closed the file knew why."""
    old, new = stores()
    old.put(KEY, b"0123456789ab")
    old.objects[KEY].private = True
    outcome = transfer(old, new, IN_PARTS if in_parts else TransferOptions())(claim(entry()))
    assert outcome.state is EntryState.DONE
    assert outcome.entry.private, "what was written is told"
    assert new.objects[KEY].acl == "private"


def test_what_the_source_keeps_from_everybody_is_kept_back_where_no_acl_can() -> None:
    old, new = stores()
    old.put(KEY, b"bytes")
    old.objects[KEY].private = True
    new.refused = {acl: AclUnsupported("no ACLs") for acl in ("public-read", "private")}
    outcome = transfer(old, new)(claim(entry()))
    assert (outcome.state, outcome.reason) == (EntryState.SKIPPED, Reason.PRIVATE)
    assert not new.objects


class TestABare404:
    """One that does not say what is missing: it may be the bucket, or somebody in between who has lost the store."""

    BARE = staticmethod(lambda: ObjectMissing("404", certain=False))

    @pytest.mark.parametrize("optional", [False, True])
    def test_is_believed_once_the_bucket_was_seen(self, optional: bool) -> None:
        old, new = stores()
        move = transfer(old, new)
        for _ in range(20):
            old.fail("read", self.BARE())
            assert move(claim(entry(optional=optional))).reason in (Reason.MISSING, Reason.OPTIONAL_MISSING)
        assert old.count("check") == 1

    @pytest.mark.parametrize("optional", [False, True])
    def test_of_a_bucket_that_cannot_be_seen_is_no_missing_object(self, optional: bool) -> None:
        old, new = stores()
        old.fail("read", self.BARE())
        old.fail("check", *[NetworkFailure("reset")] * IMPATIENT.max_attempts)
        outcome = transfer(old, new)(claim(entry(optional=optional)))
        assert (outcome.state, outcome.reason, outcome.end) == (EntryState.FAILED, Reason.NETWORK, End.SOURCE)

    @pytest.mark.parametrize("optional", [False, True])
    def test_of_a_bucket_that_is_gone_stops_the_run(self, optional: bool) -> None:
        old, new = stores()
        old.fail("read", self.BARE())
        old.fail("check", StoreUnusable("no such bucket"))
        with pytest.raises(StoreUnusable):
            transfer(old, new)(claim(entry(optional=optional)))

    def test_asks_for_nothing_more_where_another_candidate_is_found(self) -> None:
        old, new = stores()
        old.put(PLAIN, b"old schema")
        old.fail("read", self.BARE())
        assert transfer(old, new)(claim(entry(kind=REMOTE))).state is EntryState.DONE
        assert not old.count("check")

    def test_in_a_stores_own_words_needs_no_look_at_the_bucket(self) -> None:
        old, new = stores()
        assert transfer(old, new)(claim(entry())).reason is Reason.MISSING
        assert not old.count("check")

    @pytest.mark.parametrize("optional", [False, True])
    def test_of_a_proxy_on_the_way_to_a_store_that_is_well_may_pass(self, optional: bool) -> None:
        """The bucket can be listed, and whatever lies in it is answered by a page: nothing is known of the object."""
        listing = b"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>"

        def answers(request: RawRequest) -> bytes:
            if b"list-type" in request.head:
                return answer(200, listing, content_type="application/xml")
            return answer(404, b"<html><h1>404 Not Found</h1>nginx default backend</html>")

        with RawServer(answers) as server, opened(at(server.endpoint_url), kind=CurlStore) as store:
            stop = StopSignal()
            here = StoreAccess(store, EndpointLimiter(stop), IMPATIENT, stop)
            move = Transfer(here, store_access(MemoryStore("new")), TransferOptions(), MemoryBudget(1 << 30))
            outcome = move(claim(entry(optional=optional)))
        assert (outcome.state, outcome.reason, outcome.end) == (EntryState.FAILED, Reason.SERVER, End.SOURCE)
        assert "404" in (outcome.detail or "")
        assert len(server.requests) == IMPATIENT.max_attempts
