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
from mastosync.model import End, EntryState, ObjectHeaders, Reason
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import PutOptions
from mastosync.store.s3.curl_store import CurlStore
from tests.support.entries import REMOTE, claim, entry
from tests.support.memory_store import MemoryStore
from tests.support.raw_server import RawRequest, RawServer, answer
from tests.support.s3_clients import at, opened
from tests.support.transfers import IMPATIENT, store_session, transfer

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
        Transfer(store_session(old, stop), store_session(new, stop, patient), TransferOptions(), MemoryBudget(1 << 30))(
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
            here = StoreSession(store, EndpointLimiter(stop), IMPATIENT, stop)
            move = Transfer(here, store_session(MemoryStore("new")), TransferOptions(), MemoryBudget(1 << 30))
            outcome = move(claim(entry(optional=optional)))
        assert (outcome.state, outcome.reason, outcome.end) == (EntryState.FAILED, Reason.SERVER, End.SOURCE)
        assert "404" in (outcome.detail or "")
        assert len(server.requests) == IMPATIENT.max_attempts
