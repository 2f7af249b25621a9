"""Large objects in parts from bucket to bucket: by real servers, as they come, and proved by the ETags of the parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from hashlib import md5

import pytest

from lab.addresses import S3Address
from lab.buckets import BucketPair, bucket_pair
from lab.fault_plan import (
    DAMAGED_DOWNLOAD,
    DAMAGED_UPLOAD,
    INTERNAL_ERROR,
    LOST_ANSWER,
    RESET_IN_BODY,
    RESET_IN_UPLOAD,
    TRUNCATED_BODY,
    Fault,
    FaultPlan,
    Request,
    answer,
    first,
    no_faults,
    other_header,
    slow_down,
)
from lab.faults import FaultProxy
from mastosync.copying.digests import DigestMode
from mastosync.copying.kept_uploads import KeptUpload, KeptUploads
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.model import Claim, EntryState, ObjectInfo, Outcome, Reason
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.store.abilities import FirstPart, StreamedDigest, StreamedObject
from mastosync.store.base import PutOptions, UploadedPart
from mastosync.store.s3.curl_multiplexer import CurlMultiplexer
from mastosync.store.s3.curl_store import CurlStore
from tests.support.entries import claim, entry
from tests.support.object_stores import MIB, PART_BYTES, PLAIN, bytes_of, md5_of
from tests.support.s3_clients import at, config_of

PATIENT = RetryPolicy(max_attempts=4, throttle_budget_seconds=20, first_wait_seconds=0.01, longest_wait_seconds=0.05)
SIZE = 2 * PART_BYTES + 1000
DATA = bytes_of(SIZE)
PARTS = [DATA[:PART_BYTES], DATA[PART_BYTES : 2 * PART_BYTES], DATA[2 * PART_BYTES :]]
IN_PARTS = f"{md5(b''.join(map(md5_of, PARTS)), usedforsecurity=False).hexdigest()}-3"


def key_of(number: int) -> str:
    return f"accounts/avatars/000/000/{number:03}/original/a.png"


KEY = key_of(1)


@dataclass
class Ways:
    """Two buckets of one server, each behind a proxy of its own."""

    server: str
    pair: BucketPair
    source_proxy: FaultProxy
    destination_proxy: FaultProxy
    old: CurlStore  # these two by the proxies
    new: CurlStore
    uploads: KeptUploads = field(default_factory=KeptUploads)  # as the manifest has them

    def put_in_parts(self, key: str = KEY, parts: list[bytes] = PARTS) -> str:
        """Store an object at the source as its own uploader did."""
        client, bucket = self.pair.client, self.pair.source
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        sent = [
            client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=data)["ETag"]
            for number, data in enumerate(parts, 1)
        ]
        named = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(sent, 1)]
        done = client.complete_multipart_upload(
            Bucket=bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": named},  # type: ignore[typeddict-item]
        )
        return done["ETag"].strip('"')

    def put_whole(self, key: str = KEY, data: bytes = DATA) -> None:
        self.pair.client.put_object(Bucket=self.pair.source, Key=key, Body=data)

    def arrived(self, key: str = KEY) -> bytes:
        return self.pair.client.get_object(Bucket=self.pair.destination, Key=key)["Body"].read()

    def etag(self, key: str = KEY) -> str:
        return self.pair.client.head_object(Bucket=self.pair.destination, Key=key)["ETag"].strip('"')

    def copy(
        self, *claims: Claim, digest: DigestMode = DigestMode.PROOF, least: int = PART_BYTES, threshold: int = 1
    ) -> list[Outcome]:
        stop = StopSignal()
        source, destination = (
            StoreSession(store, EndpointLimiter(stop), PATIENT, stop) for store in (self.old, self.new)
        )
        options = TransferOptions(
            whole_bytes=1, multipart_threshold=threshold, part_size=6 * MIB, least_part_size=least, digest=digest
        )
        self.budget = MemoryBudget(64 * MIB)
        with (
            closing(Transfer(source, destination, options, self.budget)) as transfer,
            WorkerPool(transfer.steps, 4, stop, CurlMultiplexer) as pool,
        ):
            transfer.uploads.take_over(self.uploads.noted())
            self.uploads = transfer.uploads
            ended = list(pool.all_ended(claims or (claim(entry(1)),)))
        assert self.budget._free == self.budget.total_bytes
        for each in ended:
            if each.error is not None:
                raise each.error
        return [each.outcome for each in ended if each.outcome is not None]

    def one(self, **options: object) -> Outcome:
        (outcome,) = self.copy(**options)  # type: ignore[arg-type]
        return outcome

    def assert_arrived(self, outcome: Outcome, *, hashed: bool, parts: int = 3) -> None:
        assert (outcome.state, outcome.size, outcome.detail) == (EntryState.DONE, SIZE, None)
        assert outcome.md5 == (md5_of(DATA) if hashed else None)
        assert self.arrived() == DATA
        assert self.etag() == outcome.etag
        assert outcome.etag.endswith(f"-{parts}")
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        left = self.pair.client.list_multipart_uploads(Bucket=self.pair.destination)
        assert not left.get("Uploads")

    def plan(self, source: FaultPlan = no_faults, destination: FaultPlan = no_faults) -> None:
        self.source_proxy.plan, self.destination_proxy.plan = source, destination


@pytest.fixture(params=["seaweed", "moto"])
def ways(request: pytest.FixtureRequest) -> Iterator[Ways]:
    address: S3Address = request.getfixturevalue(request.param)
    with ExitStack() as stack:
        client = stack.enter_context(closing(address.client()))
        pair = stack.enter_context(bucket_pair(address, client))
        proxies = [stack.enter_context(FaultProxy(address.endpoint_url)) for _ in range(2)]
        stores = [
            stack.enter_context(
                closing(CurlStore(at(proxy.endpoint_url, config_of(address, bucket)), role=role, connections=4))
            )
            for proxy, bucket, role in zip(
                proxies, (pair.source, pair.destination), ("source", "destination"), strict=True
            )
        ]
        yield Ways(request.param, pair, proxies[0], proxies[1], stores[0], stores[1])


def test_an_object_is_cut_as_its_own_upload_was_and_nothing_is_hashed(ways: Ways) -> None:
    assert ways.put_in_parts() == IN_PARTS
    outcome = ways.one()
    ways.assert_arrived(outcome, hashed=False)
    assert outcome.etag == IN_PARTS
    assert outcome.attempts == 1
    assert ways.source_proxy.count("HeadObject") == 1
    assert ways.destination_proxy.count("UploadPart") == 3
    sent = [each.request.headers for each in ways.destination_proxy.requests if each.request.operation == "UploadPart"]
    assert not [headers for headers in sent if "content-md5" in headers], "it could repeat them"


def test_whatever_its_etag_an_object_that_was_stored_whole_is_hashed(ways: Ways) -> None:
    ways.put_whole()
    ways.assert_arrived(ways.one(), hashed=True, parts=2)
    assert ways.source_proxy.count("HeadObject") == 0


def test_every_object_is_hashed_where_somebody_wants_that(ways: Ways) -> None:
    ways.put_in_parts()
    ways.assert_arrived(ways.one(digest=DigestMode.ALWAYS), hashed=True, parts=2)


def test_parts_that_the_destination_does_not_want_are_not_sent(ways: Ways) -> None:
    ways.put_in_parts()
    ways.assert_arrived(ways.one(least=PART_BYTES + 1), hashed=True, parts=2)


def test_an_upload_in_one_part_goes_in_one_part(ways: Ways) -> None:
    ways.put_in_parts(parts=[DATA])
    ways.assert_arrived(ways.one(), hashed=False, parts=1)


def test_parts_of_unequal_sizes_are_hashed(ways: Ways) -> None:
    first_two = 2 * PART_BYTES + 10
    ways.put_in_parts(parts=[DATA[: PART_BYTES + 10], DATA[PART_BYTES + 10 : first_two], DATA[first_two:]])
    outcome = ways.one()
    assert (outcome.state, ways.arrived()) == (EntryState.DONE, DATA)
    ways.assert_nothing_left()


def test_many_at_once_are_not_mixed_up(ways: Ways) -> None:
    numbers = range(1, 7)
    data = {number: bytes([number]) * PART_BYTES + bytes_of(1000 + number) for number in numbers}
    for number, each in data.items():
        if number % 2:
            ways.put_in_parts(key_of(number), [each[:PART_BYTES], each[PART_BYTES:]])
        else:
            ways.put_whole(key_of(number), each)
    outcomes = ways.copy(*(claim(entry(number)) for number in numbers))
    assert {outcome.state for outcome in outcomes} == {EntryState.DONE}
    assert {number: ways.arrived(key_of(number)) for number in numbers} == data
    assert ways.budget.peak_bytes <= 12 * MIB, "no part is held in memory"


BREAKS = [RESET_IN_BODY, TRUNCATED_BODY, INTERNAL_ERROR, slow_down()]


@pytest.mark.parametrize("fault", BREAKS, ids=str)
@pytest.mark.parametrize("whole", [False, True], ids=["in parts", "whole"])
def test_a_part_whose_reading_is_broken_off_is_read_again_and_no_other(
    ways: Ways, fault: Fault, *, whole: bool
) -> None:
    (ways.put_whole if whole else ways.put_in_parts)()
    ways.plan(source=lambda request: fault if "range" in request.headers and request.nth == 2 else None)
    outcome = ways.one()
    ways.assert_arrived(outcome, hashed=whole, parts=2 if whole else 3)
    assert outcome.attempts == 2
    assert ways.destination_proxy.count("CreateMultipartUpload") == 1
    assert ways.source_proxy.count("GetObject") == 1 + (2 if whole else 3) + 1


def test_a_source_that_asks_to_slow_down_costs_time_and_no_attempts(ways: Ways) -> None:
    ways.put_in_parts()
    more = PATIENT.max_attempts + 3
    ways.plan(source=lambda request: slow_down() if "range" in request.headers and request.nth <= more else None)
    ways.assert_arrived(ways.one(), hashed=False)


@pytest.mark.parametrize("fault", [RESET_IN_UPLOAD, LOST_ANSWER, INTERNAL_ERROR, slow_down()], ids=str)
@pytest.mark.parametrize("whole", [False, True], ids=["in parts", "whole"])
def test_a_part_whose_writing_fails_is_written_again_and_no_other(ways: Ways, fault: Fault, *, whole: bool) -> None:
    (ways.put_whole if whole else ways.put_in_parts)()
    ways.plan(destination=first(1, fault, operation="UploadPart"))
    outcome = ways.one()
    ways.assert_arrived(outcome, hashed=whole, parts=2 if whole else 3)
    assert ways.destination_proxy.count("CreateMultipartUpload") == 1


@pytest.mark.parametrize("whole", [False, True], ids=["in parts", "whole"])
@pytest.mark.parametrize("end", ["source", "destination"])
def test_damage_on_either_way_is_found_before_anything_is_put_together(ways: Ways, end: str, *, whole: bool) -> None:
    (ways.put_whole if whole else ways.put_in_parts)()
    damaged: list[str] = []

    def once(request: Request) -> Fault | None:
        reads = request.operation == "GetObject" and "range" in request.headers
        if damaged or not (reads if end == "source" else request.operation == "UploadPart"):
            return None
        damaged.append(request.operation)
        return DAMAGED_DOWNLOAD if end == "source" else DAMAGED_UPLOAD

    ways.plan(once, no_faults) if end == "source" else ways.plan(no_faults, once)
    outcome = ways.one()
    assert damaged
    assert outcome.attempts == 2
    ways.assert_arrived(outcome, hashed=True, parts=2)
    assert ways.destination_proxy.count("CompleteMultipartUpload") == 1


def test_an_object_that_is_replaced_between_two_parts_is_copied_as_it_is_now(ways: Ways) -> None:
    ways.put_in_parts()
    other = bytes_of(SIZE + 1)[:-1]
    assert other != DATA

    def replacing(request: Request) -> Fault | None:
        if request.headers.get("range", "").startswith(f"bytes={PART_BYTES}-"):
            ways.put_whole(data=other)
        return None

    ways.plan(source=replacing)
    outcome = ways.one()
    assert (outcome.state, outcome.md5, ways.arrived()) == (EntryState.DONE, md5_of(other), other)
    ways.assert_nothing_left()


@pytest.mark.parametrize("threshold", [1, SIZE])
def test_a_store_that_serves_no_ranges_is_found_out_before_its_bytes_are_taken(ways: Ways, threshold: int) -> None:
    """Up to the threshold, the object goes whole then."""
    if ways.server == "seaweed":
        pytest.skip("it checks the signature of the header that is not to reach it")
    ways.put_in_parts()

    def passed_over(request: Request) -> Fault | None:
        return other_header("range", "") if "range" in request.headers else None

    ways.plan(source=passed_over)
    outcome = ways.one(threshold=threshold)
    if threshold == SIZE:
        assert (outcome.state, outcome.md5, ways.arrived()) == (EntryState.DONE, md5_of(DATA), DATA)
        return
    assert (outcome.state, "asked for bytes" in str(outcome.detail)) == (EntryState.FAILED, True)
    assert not ways.destination_proxy.count("UploadPart")
    ways.assert_nothing_left()


@pytest.mark.parametrize(
    ("operation", "refusal"),
    [
        ("UploadPart", answer(403, "AccessDenied")),
        ("UploadPart", answer(400, "InvalidRequest")),
        ("CompleteMultipartUpload", answer(400, "EntityTooSmall")),
        ("CompleteMultipartUpload", answer(400, "InvalidRequest")),
    ],
)
def test_a_store_that_refuses_parts_without_their_md5_gets_them_from_memory(
    ways: Ways, operation: str, refusal: Fault
) -> None:
    ways.put_in_parts()
    with_md5: set[str] = set()

    def refuses(request: Request) -> Fault | None:
        if "content-md5" in request.headers:
            with_md5.add(request.operation)
        is_refused = request.operation == operation and not with_md5 and "content-md5" not in request.headers
        return refusal if is_refused else None

    ways.plan(destination=refuses)
    ways.assert_arrived(ways.one(), hashed=True, parts=2)


def test_what_keeps_failing_leaves_nothing(ways: Ways) -> None:
    ways.put_in_parts()
    ways.plan(destination=lambda request: INTERNAL_ERROR if request.query.get("partNumber") == "2" else None)
    outcome = ways.one()
    assert (outcome.state, outcome.reason) == (EntryState.FAILED, Reason.SERVER)
    assert not ways.pair.client.list_objects_v2(Bucket=ways.pair.destination).get("Contents")
    ways.assert_nothing_left()


def test_what_a_dead_run_left_is_thrown_away(ways: Ways) -> None:
    ways.put_in_parts()
    upload = ways.new.start_multipart(KEY, PLAIN)
    ways.new.write_part(KEY, upload, 1, PARTS[0][::-1], md5_of(PARTS[0][::-1]))
    (outcome,) = ways.copy(claim(entry(1), left_behind=True))
    ways.assert_arrived(outcome, hashed=False)


@pytest.mark.parametrize(
    "fault", [answer(400, "InvalidRequest"), answer(501, "NotImplemented"), INTERNAL_ERROR], ids=str
)
@pytest.mark.parametrize("usual", [(PART_BYTES, 8 * MIB), (PART_BYTES, 5_000_000)], ids=["one", "several"])
def test_a_source_that_does_not_tell_its_parts_is_known_by_what_uploaders_use(
    ways: Ways, monkeypatch: pytest.MonkeyPatch, fault: Fault, usual: tuple[int, ...]
) -> None:
    """Where several sizes give as many parts of this object, it is hashed."""
    monkeypatch.setattr("mastosync.checking.object_check._USUAL_SIZES", usual)
    ways.put_in_parts()
    ways.plan(source=lambda request: fault if request.operation == "HeadObject" else None)
    is_known = usual[1] == 8 * MIB
    for _ in range(2):
        ways.assert_arrived(ways.one(), hashed=not is_known, parts=3 if is_known else 2)


class TestAfterADeath:
    """An upload that a dead run has begun and the manifest has noted is gone on with; no part is sent twice."""

    @staticmethod
    def dead_run(ways: Ways, sent: list[bytes], options: PutOptions | None = None, **noted: object) -> str:
        """What it has left: parts of an upload, and a note of what it was begun for."""
        options = options or PutOptions(ways.old.head(KEY).headers, acl="public-read")
        upload = ways.new.start_multipart(KEY, options)
        for number, data in enumerate(sent, 1):
            ways.new.write_part(KEY, upload, number, data, md5_of(data))
        kept = KeptUpload.of(upload, ways.old.head(KEY), PART_BYTES, options)._replace(**noted)  # type: ignore[arg-type]
        ways.uploads = KeptUploads()
        ways.uploads.begun(KEY, kept)
        ways.destination_proxy.traffic.forget()
        return upload

    def copied(self, ways: Ways, *, private: bool = False) -> Outcome:
        (outcome,) = ways.copy(claim(entry(1, private=private), left_behind=True))
        ways.assert_nothing_left()
        assert ways.uploads.noted() is None
        return outcome

    @pytest.mark.parametrize("arrived", [0, 1, 2, 3])
    def test_parts_that_have_arrived_are_not_sent_again(self, ways: Ways, arrived: int) -> None:
        ways.put_in_parts()
        self.dead_run(ways, PARTS[:arrived])
        ways.assert_arrived(self.copied(ways), hashed=False)
        assert ways.destination_proxy.count("UploadPart") == 3 - arrived
        assert ways.destination_proxy.count("CreateMultipartUpload") == 0

    def test_other_bytes_under_the_same_number_are_found_out_and_all_is_sent_again(self, ways: Ways) -> None:
        ways.put_in_parts()
        self.dead_run(ways, [PARTS[0][::-1], PARTS[1]])
        ways.assert_arrived(self.copied(ways), hashed=True, parts=2)
        assert ways.destination_proxy.count("CompleteMultipartUpload") == 1

    def test_a_part_of_another_length_is_sent_again(self, ways: Ways) -> None:
        ways.put_in_parts()
        self.dead_run(ways, [PARTS[0], PARTS[1] + b"x"])
        ways.assert_arrived(self.copied(ways), hashed=False)
        assert ways.destination_proxy.count("UploadPart") == 2

    @pytest.mark.parametrize(
        "noted", [{"etag": "0" * 32 + "-3"}, {"part_size": PART_BYTES + 1}, {"made_with": "other"}], ids=str
    )
    def test_an_upload_for_anything_else_is_thrown_away(self, ways: Ways, noted: dict[str, object]) -> None:
        ways.put_in_parts()
        self.dead_run(ways, PARTS[:2], None, **noted)
        ways.assert_arrived(self.copied(ways), hashed=False)
        assert ways.destination_proxy.count("UploadPart") == 3

    def test_an_upload_with_another_acl_is_never_completed(self, ways: Ways) -> None:
        ways.put_in_parts()
        upload = self.dead_run(ways, PARTS)
        if ways.server == "seaweed":
            pytest.skip("SeaweedFS shows no ACL of an object")
        outcome = self.copied(ways, private=True)
        assert outcome.state is EntryState.DONE
        requests = [each.request for each in ways.destination_proxy.requests]
        about_it = {request.operation for request in requests if request.query.get("uploadId") == upload}
        assert about_it == {"AbortMultipartUpload"}
        grants = ways.pair.client.get_object_acl(Bucket=ways.pair.destination, Key=KEY)["Grants"]
        assert not [grant for grant in grants if "URI" in grant["Grantee"]]

    def test_an_upload_that_is_gone_is_begun_anew(self, ways: Ways) -> None:
        ways.put_in_parts()
        ways.new.abort_multipart(KEY, self.dead_run(ways, PARTS[:2]))
        ways.assert_arrived(self.copied(ways), hashed=False)

    @pytest.mark.parametrize("fault", [answer(501, "NotImplemented"), answer(403, "AccessDenied")], ids=str)
    def test_a_store_that_lists_no_parts_is_sent_all_of_them(self, ways: Ways, fault: Fault) -> None:
        ways.put_in_parts()
        self.dead_run(ways, PARTS[:2])
        ways.plan(destination=first(9, fault, operation="ListParts"))
        ways.assert_arrived(self.copied(ways), hashed=False)
        assert ways.destination_proxy.count("UploadPart") == 3

    def test_an_object_that_has_arrived_is_found_and_its_other_uploads_are_thrown_away(self, ways: Ways) -> None:
        ways.put_in_parts()
        assert ways.one().state is EntryState.DONE
        self.dead_run(ways, PARTS[:1])
        outcome = self.copied(ways)
        assert (outcome.state, ways.destination_proxy.count("UploadPart")) == (EntryState.DONE, 0)

    @pytest.mark.parametrize("case", ["other etag", "gone", "no parts told", "private now"])
    def test_an_upload_that_is_not_gone_on_with_is_thrown_away_by_its_id(self, ways: Ways, case: str) -> None:
        """The key may not list uploads."""
        ways.put_in_parts()
        self.dead_run(ways, PARTS[:1], None, **({"etag": "0" * 32 + "-3"} if case == "other etag" else {}))
        if case == "gone":
            ways.pair.client.delete_object(Bucket=ways.pair.source, Key=KEY)

        def refuses(request: Request) -> Fault | None:
            if case == "private now" and "x-amz-acl" in request.headers:
                return answer(400, "AccessControlListNotSupported")
            denied = {"ListMultipartUploads", "ListParts"} if case == "no parts told" else {"ListMultipartUploads"}
            return answer(403, "AccessDenied") if request.operation in denied else None

        ways.plan(destination=refuses)
        ways.copy(claim(entry(1, private=case == "private now"), left_behind=True))
        ways.assert_nothing_left()
        assert ways.uploads.noted() is None


class TestOnePart:
    """`stream_part` and `first_part` by themselves, in a thread."""

    def test_a_part_of_any_range_arrives(self, ways: Ways) -> None:
        ways.put_whole()
        info = ways.old.head(KEY)
        upload = ways.new.start_multipart(KEY, PLAIN)
        ranges = [(3, PART_BYTES), (SIZE - 1, 1)]
        parts: list[UploadedPart] = []
        for number, (start, length) in enumerate(ranges, 1):
            part = _part(ways.old, info, start, length)
            sent = ways.new.stream_part(KEY, part, upload, number)
            wanted = DATA[start : start + length]
            assert (sent.etag, sent.etag_is_md5) == (md5_of(wanted).hex(), True)
            parts.append(UploadedPart(number, f'"{sent.etag}"', bytes.fromhex(sent.etag)))
        ways.new.complete_multipart(KEY, upload, parts)
        assert ways.arrived() == DATA[3 : 3 + PART_BYTES] + DATA[-1:]

    def test_a_source_tells_the_size_of_the_first_part(self, ways: Ways) -> None:
        ways.put_in_parts()
        told = ways.old.first_part(KEY)
        assert told.size == PART_BYTES
        assert told.parts in (3, None)

    def test_of_what_was_stored_whole_the_first_part_is_all(self, ways: Ways) -> None:
        ways.put_whole()
        if ways.server == "seaweed":
            pytest.skip("SeaweedFS tells of the pieces that it keeps an object in")
        assert ways.old.first_part(KEY) == FirstPart(SIZE, None)


def _part(store: CurlStore, info: ObjectInfo, start: int, length: int) -> StreamedObject:
    return StreamedObject(
        store, KEY, info, lambda: StreamedDigest(None, None), lambda: False, lambda: 0.0, start=start, length=length
    )
