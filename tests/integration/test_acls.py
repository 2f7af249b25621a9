"""Which ACL arrives, for every way in which a store may answer to ACLs: on moto, which keeps them.

Rows become entries, entries are transferred by the clients of S3, and what lies at the destination is
looked at as its owner and as anybody would.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from lab.addresses import S3Address
from lab.buckets import BucketPair, bucket_pair
from lab.fault_plan import no_faults
from lab.faults import FaultProxy
from lab.traffic import Exchange
from mastosync.copying.acl import AclMode
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import PrivacyLost, StoreUnusable
from mastosync.mastodon.catalog import specs_of
from mastosync.mastodon.paperclip import canonical_key, entries_of
from mastosync.model import Claim, Entry, MediaRow, Reason
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import ObjectStore
from tests.support.acl_answers import (
    DENIED,
    FATES,
    FINDINGS,
    KEPT_BACK,
    NO_ACL,
    PASSES_OVER_PRIVATE,
    PRIVATE,
    PUBLIC_READ,
    TASTES,
    UNUSABLE,
)
from tests.support.s3_clients import STORES, StoreClass, config_of
from tests.support.transfers import IMPATIENT

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1024 * 1024


def first_entry(table: str, row: MediaRow) -> Entry:
    return entries_of(specs_of(table)[0], row)[0]


PUBLIC_ROW = first_entry("media_attachments", MediaRow(1, "cat.png", "image/png"))
PRIVATE_ROWS = (
    first_entry("backups", MediaRow(2, "dump.zip", "application/zip")),
    first_entry("media_attachments", MediaRow(4, "dog.png", "image/png", private=True)),  # its account is suspended
)
DATA = b"an image, more or less" * 40
CASES = [
    *((mode, "public first") for mode in AclMode),
    *((mode, "private first") for mode in (AclMode.AUTO, AclMode.PUBLIC_READ)),  # the others have nothing to find out
]
STORED = "stored, with one ACL or another"


@dataclass(frozen=True)
class Way:
    """Two buckets on moto, the way to which leads through a proxy, and a client for each."""

    buckets: BucketPair
    proxy: FaultProxy
    source: ObjectStore
    destination: ObjectStore

    def transfer(self, options: TransferOptions) -> Transfer:
        stop = StopSignal()
        source, destination = (
            StoreSession(store, EndpointLimiter(stop), IMPATIENT, stop) for store in (self.source, self.destination)
        )
        return Transfer(source, destination, options, MemoryBudget(1 << 30))


@pytest.fixture(scope="module", params=STORES, ids=lambda kind: kind.__name__)
def module_way(request: pytest.FixtureRequest, moto: S3Address) -> Iterator[Way]:
    """Made once: a client takes longer to make than a test takes."""
    kind = cast("StoreClass", request.param)
    with ExitStack() as stack:
        client = stack.enter_context(closing(moto.client()))
        buckets = stack.enter_context(bucket_pair(moto, client))
        proxy = stack.enter_context(FaultProxy(moto.endpoint_url))
        through = S3Address(proxy.endpoint_url, "key", "secret", "", "")
        opened = (
            stack.enter_context(closing(kind(config_of(through, bucket), role=role, connections=2)))
            for role, bucket in (("source", buckets.source), ("destination", buckets.destination))
        )
        for entry in (PUBLIC_ROW, *PRIVATE_ROWS):
            client.put_object(Bucket=buckets.source, Key=canonical_key(entry, ""), Body=DATA)
        yield Way(buckets, proxy, *opened)


@pytest.fixture
def way(module_way: Way) -> Iterator[Way]:
    """The same with a store that takes everything, unless a test says otherwise."""
    yield module_way
    module_way.proxy.plan = no_faults


@dataclass(frozen=True)
class Copied:
    """What became of an entry, in the words of `tests.support.acl_answers`, and the requests that it took."""

    fate: str
    exchanges: list[Exchange]


def copied(way: Way, transfer: Transfer, entry: Entry) -> Copied:
    before = len(way.proxy.requests)
    fate = _fate_of(transfer, entry)
    exchanges = way.proxy.requests[before:]
    return Copied(acl_sent(exchanges) or NO_ACL if fate == STORED else fate, exchanges)


def _fate_of(transfer: Transfer, entry: Entry) -> str:
    try:
        outcome = transfer(Claim(entry, attempts=0))
    except StoreUnusable:
        return UNUSABLE
    return {None: STORED, Reason.PRIVATE: KEPT_BACK, Reason.DENIED: DENIED}[outcome.reason]


def acl_sent(exchanges: list[Exchange]) -> str | None:
    """The ACL that an object was stored with, whole or in parts: what was begun in vain came before."""
    *_, begun = (
        exchange.request
        for exchange in exchanges
        if exchange.store_status == 200 and exchange.request.operation in ("PutObject", "CreateMultipartUpload")
    )
    return begun.headers.get("x-amz-acl")


def grants_everybody(client: S3Client, bucket: str, key: str) -> list[str]:
    """What everybody may do with an object."""
    grants = client.get_object_acl(Bucket=bucket, Key=key)["Grants"]
    return [grant["Permission"] for grant in grants if "AllUsers" in grant["Grantee"].get("URI", "")]


def assert_stored_as(way: Way, key: str, result: Copied, *, in_parts: bool) -> int:
    """moto gives an object in parts no ACL of the bucket, and lets everybody read what has none.

    Returns: the status that anybody gets who asks for the object.
    """
    stored = result.fate in (PUBLIC_READ, PRIVATE, NO_ACL)
    assert sum(exchange.stored for exchange in result.exchanges) == stored
    status = way.buckets.status_for_anybody(key)
    assert (status == 404) != stored
    if stored and not (in_parts and result.fate == NO_ACL):
        grants = grants_everybody(way.buckets.client, way.buckets.destination, key)
        assert (status, grants) == ((200, ["READ"]) if result.fate == PUBLIC_READ else (403, []))
    return status


@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
@pytest.mark.parametrize("decided", ["skip", "copy"])
@pytest.mark.parametrize("taste", TASTES)
@pytest.mark.parametrize(("mode", "order"), CASES)
def test_every_object_gets_the_acl_that_its_row_asks_for_or_stays_behind(
    way: Way, mode: AclMode, order: str, taste: str, decided: str, in_parts: bool
) -> None:
    way.proxy.plan = TASTES[taste]
    prefix = uuid.uuid4().hex
    transfer = way.transfer(
        TransferOptions(
            destination_prefix=prefix,
            multipart_threshold=1 if in_parts else MIB,
            acl=mode,
            copy_private_without_acl=decided == "copy",
        )
    )
    of_public, *of_private = FATES[mode][taste]
    for entry in (PUBLIC_ROW, *PRIVATE_ROWS) if order == "public first" else (*PRIVATE_ROWS, PUBLIC_ROW):
        key = canonical_key(entry, prefix)
        result = copied(way, transfer, entry)
        expected = of_private[decided == "copy"] if entry.private else of_public
        assert result.fate in expected.split(" or "), key
        status = assert_stored_as(way, key, result, in_parts=in_parts)
        if entry.private and decided == "skip":
            assert status != 200, "nothing private becomes public"
    client, bucket = way.buckets.client, way.buckets.destination
    assert not client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads")
    assert transfer.finding == (FINDINGS[taste] if mode is AclMode.AUTO else None)


def test_an_object_of_several_parts_keeps_its_acl(way: Way) -> None:
    key = canonical_key(PRIVATE_ROWS[0], "large")
    way.buckets.client.put_object(Bucket=way.buckets.source, Key=key, Body=bytes(11 * MIB))
    options = TransferOptions("large", "large", multipart_threshold=MIB, part_size=5 * MIB)
    result = copied(way, way.transfer(options), PRIVATE_ROWS[0])
    assert result.fate == PRIVATE
    assert_stored_as(way, key, result, in_parts=True)
    assert [exchange.request.operation for exchange in result.exchanges].count("UploadPart") == 3


def test_the_destination_is_asked_once_and_costs_no_request_afterwards(way: Way) -> None:
    way.proxy.plan = TASTES["says nothing but 403"]
    transfer = way.transfer(TransferOptions(destination_prefix=uuid.uuid4().hex))
    for entry in (PUBLIC_ROW, *PRIVATE_ROWS):
        copied(way, transfer, entry)
    again = [copied(way, transfer, entry).exchanges for entry in (PUBLIC_ROW, *PRIVATE_ROWS)]
    operations = [[exchange.request.operation for exchange in exchanges] for exchanges in again]
    assert operations == [["GetObject", "PutObject"], [], []]


@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
@pytest.mark.parametrize("mode", [AclMode.AUTO, AclMode.PUBLIC_READ, AclMode.PRIVATE])
def test_a_store_that_takes_acls_and_passes_over_them_keeps_nothing_private(
    way: Way, mode: AclMode, in_parts: bool
) -> None:
    way.proxy.plan = PASSES_OVER_PRIVATE
    prefix = uuid.uuid4().hex
    threshold = 1 if in_parts else MIB
    transfer = way.transfer(TransferOptions(destination_prefix=prefix, multipart_threshold=threshold, acl=mode))
    for entry in PRIVATE_ROWS:
        with pytest.raises(PrivacyLost):
            transfer(Claim(entry, attempts=0))
        assert way.buckets.status_for_anybody(canonical_key(entry, prefix)) == 404
    puts = way.proxy.successful_puts_by_key(way.buckets.destination)
    assert sum(puts[canonical_key(entry, prefix)] for entry in PRIVATE_ROWS) == 1, "the others were never written"


def test_the_proof_of_privacy_is_one_request_without_credentials(way: Way) -> None:
    transfer = way.transfer(TransferOptions(destination_prefix=uuid.uuid4().hex))
    exchanges = [copied(way, transfer, entry).exchanges for entry in (PUBLIC_ROW, *PRIVATE_ROWS)]
    operations = [[exchange.request.operation for exchange in each] for each in exchanges]
    plain = ["GetObject", "PutObject"]
    assert operations == [plain, [*plain, "GetObject"], plain]
    proof = exchanges[1][-1]
    assert proof.request.bucket == way.buckets.destination
    assert "authorization" not in proof.request.headers
    assert proof.status == 403
