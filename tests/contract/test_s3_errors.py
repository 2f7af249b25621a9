"""What goes wrong with an object, in the words of the contract; and nothing but those words, whatever happens."""

from __future__ import annotations

import random
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import pytest

from lab.addresses import S3Address
from lab.buckets import BucketPair, bucket_pair
from lab.fault_plan import (
    ACCESS_DENIED,
    BAD_GATEWAY,
    DAMAGED_DOWNLOAD,
    DAMAGED_UPLOAD,
    INTERNAL_ERROR,
    LOST_ANSWER,
    NO_SUCH_BUCKET,
    NO_SUCH_KEY,
    RESET,
    RESET_IN_BODY,
    TRUNCATED_BODY,
    Fault,
    FaultPlan,
    Kind,
    always,
    answer,
    http_date,
    no_faults,
    seeded,
    slow_down,
    stall,
    too_many_requests,
)
from lab.faults import FaultProxy
from mastosync.config import Secret
from mastosync.errors import (
    AclUnsupported,
    BucketMissing,
    ChecksumRefused,
    CorruptObject,
    MastosyncError,
    NetworkFailure,
    ObjectChanged,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.model import ObjectInfo
from mastosync.store.base import FetchedObject, ObjectStore, PutOptions
from tests.support import raw_server
from tests.support.s3_clients import (
    DATA,
    METHODS,
    PLAIN,
    SECRET_KEY,
    Prepared,
    StoreClass,
    Wire,
    assert_says_where_without_secrets,
    at,
    config_of,
    md5_of,
    opened,
)

READING = ("head", "read", "read_range")
WRITING = ("write", "start_multipart")
PARTS = ("write_part", "complete_multipart")
COPYING = ("copy_from",)
OBJECTS = (*READING, *WRITING, *COPYING, *PARTS)
WITH_WORDS = tuple(method for method in OBJECTS if method != "head")  # a HEAD has no body to say more in


@dataclass
class Weather:
    """A real store behind a proxy, through which the sun shines until a test says otherwise."""

    proxy: FaultProxy
    store: ObjectStore
    store_class: StoreClass
    buckets: BucketPair
    untouched: Prepared  # for faults through which nothing reaches the store

    def prepared(self, key: str | None = None) -> Prepared:
        return Prepared.of(self.buckets.client, self.buckets.source, key or f"{uuid.uuid4().hex}.png")

    def call(self, method: str, fault: Fault) -> object:
        """Call a method on something that exists while a fault befalls each request."""
        prepared = self.untouched if fault.kind in (Kind.ANSWER, Kind.RESET) else self.prepared()
        call = prepared.calls(self.store)[method]
        self.proxy.plan = always(fault)
        return call()


@pytest.fixture(scope="module")
def whole_module(seaweed: S3Address, store_class: StoreClass) -> Iterator[Weather]:
    with (
        closing(seaweed.client()) as client,
        bucket_pair(seaweed, client) as buckets,
        FaultProxy(seaweed.endpoint_url) as proxy,
    ):
        config = replace(at(proxy.endpoint_url, config_of(seaweed, buckets.source)), read_timeout_seconds=5)
        with opened(config, connections=16, kind=store_class) as store:
            yield Weather(proxy, store, store_class, buckets, Prepared.of(client, buckets.source, "untouched.png"))


@pytest.fixture
def weather(whole_module: Weather) -> Iterator[Weather]:
    yield whole_module
    whole_module.proxy.plan = no_faults


def each(methods: tuple[str, ...], fault: Fault, kind: type[MastosyncError]) -> list[tuple[str, Fault, type]]:
    return [(method, fault, kind) for method in methods]


CASES = [
    # the connection
    *each(OBJECTS, RESET, NetworkFailure),
    *each(OBJECTS, LOST_ANSWER, NetworkFailure),
    *each(("read", "read_range"), RESET_IN_BODY, NetworkFailure),
    *each(("read", "read_range"), TRUNCATED_BODY, NetworkFailure),
    *each(("read", "digest"), DAMAGED_DOWNLOAD, CorruptObject),
    *each(("write", "write_part"), DAMAGED_UPLOAD, ChecksumRefused),
    *each((*COPYING, "complete_multipart"), RESET_IN_BODY, NetworkFailure),
    # the server
    *each(OBJECTS, INTERNAL_ERROR, ServerFailure),
    *each(OBJECTS, BAD_GATEWAY, ServerFailure),
    *each(OBJECTS, answer(504, ""), ServerFailure),
    *each(OBJECTS, answer(520, ""), ServerFailure),
    *each(OBJECTS, answer(408, "RequestTimeout"), ServerFailure),
    *each(WITH_WORDS, answer(400, "RequestTimeout"), ServerFailure),
    *each(OBJECTS, answer(503, ""), Throttled),
    *each(OBJECTS, slow_down(), Throttled),
    *each(OBJECTS, too_many_requests(), Throttled),
    *each(OBJECTS, answer(429, ""), Throttled),
    *each(WITH_WORDS, answer(503, "InternalError"), ServerFailure),
    # an error inside of an answer that is none
    *each((*COPYING, "complete_multipart"), answer(200, "InternalError"), ServerFailure),
    *each((*COPYING, "complete_multipart"), answer(200, "SlowDown"), Throttled),
    *each(COPYING, answer(200, "PreconditionFailed"), ObjectChanged),
    *each(("complete_multipart",), answer(200, "NoSuchUpload"), ObjectChanged),
    *each((*COPYING, "complete_multipart"), answer(200, "SomethingElse"), ServerFailure),
    *each((*WRITING, *COPYING, *PARTS, "head"), answer(200, ""), ServerFailure),
    *each(("read", "read_range"), answer(200, ""), ServerFailure),
    # this object
    *each(OBJECTS, ACCESS_DENIED, ObjectDenied),
    *each(OBJECTS, answer(403, ""), ObjectDenied),
    *each(OBJECTS, answer(401, ""), ObjectDenied),
    *each(WITH_WORDS, answer(403, "SignatureDoesNotMatch"), ObjectDenied),
    *each(WITH_WORDS, answer(403, "InvalidObjectState"), ObjectDenied),
    *each((*READING, *COPYING), NO_SUCH_KEY, ObjectMissing),
    *each(("head",), answer(404, ""), ObjectMissing),  # without its body nobody can tell whose answer it is
    *each(("read", "read_range", *COPYING), answer(404, ""), ServerFailure),
    *each(WRITING, answer(404, ""), ObjectRejected),
    *each(PARTS, answer(404, ""), ObjectChanged),
    *each(PARTS, answer(404, "NoSuchUpload"), ObjectChanged),
    *each(("complete_multipart",), answer(400, "InvalidPart"), ObjectChanged),
    *each(("complete_multipart",), answer(400, "EntityTooSmall"), ObjectRejected),
    *each((*COPYING, "read_range"), answer(412, "PreconditionFailed"), ObjectChanged),
    *each(("write", "write_part"), answer(400, "BadDigest"), ChecksumRefused),
    *each(("write", *COPYING, *PARTS), answer(400, "EntityTooLarge"), ObjectTooLarge),
    *each(("write", "write_part"), answer(413, ""), ObjectTooLarge),
    *each(OBJECTS, answer(400, "InvalidRequest"), ObjectRejected),
    *each(OBJECTS, answer(405, "MethodNotAllowed"), ObjectRejected),
    *each(OBJECTS, answer(501, "NotImplemented"), ObjectRejected),
    # the store
    *each(WITH_WORDS, NO_SUCH_BUCKET, BucketMissing),
    *each(("head",), NO_SUCH_BUCKET, ObjectMissing),  # without a body nobody can tell
    *each(WITH_WORDS, answer(403, "InvalidAccessKeyId"), StoreUnusable),
    *each(WITH_WORDS, answer(400, "ExpiredToken"), StoreUnusable),
    *each(WITH_WORDS, answer(403, "RequestTimeTooSkewed"), StoreUnusable),
    *each(WITH_WORDS, answer(403, "QuotaExceeded"), StoreUnusable),
    *each(OBJECTS, answer(507, ""), StoreUnusable),
    *each(OBJECTS, answer(307, "TemporaryRedirect"), StoreUnusable),
]


def named(value: object) -> str | None:
    if isinstance(value, Fault):
        return f"{value.status}-{value.code or 'html'}" if value.status else value.kind.name.lower()
    return value.__name__ if isinstance(value, type) else None


@pytest.mark.parametrize(("method", "fault", "kind"), CASES, ids=named)
def test_a_failure_has_its_name(weather: Weather, method: str, fault: Fault, kind: type[MastosyncError]) -> None:
    with pytest.raises(MastosyncError) as caught:
        weather.call(method, fault)
    assert type(caught.value) is kind
    config = at(weather.proxy.endpoint_url, config_of(weather.buckets.address, weather.buckets.source))
    assert_says_where_without_secrets(caught.value, config)
    assert ".png" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("method", ["write", "write_part"])
def test_what_broke_on_the_way_may_have_been_sent(weather: Weather, method: str) -> None:
    with pytest.raises(NetworkFailure) as caught:
        weather.call(method, RESET)
    assert not caught.value.nothing_sent


def test_what_met_no_connection_was_not_sent(store_class: StoreClass) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with opened(at(f"http://127.0.0.1:{port}"), kind=store_class) as store, pytest.raises(NetworkFailure) as caught:
        store.write("key", DATA, md5_of(DATA), PLAIN)
    assert caught.value.nothing_sent


def test_half_of_a_confirmation_is_none(weather: Weather) -> None:
    with pytest.raises(ObjectError) as caught:
        weather.call("complete_multipart", TRUNCATED_BODY)
    assert caught.value.transient


class TestWaitsThatServersAskFor:
    @pytest.mark.parametrize(
        ("fault", "seconds"),
        [
            (slow_down(), None),
            (slow_down(7), 7.0),
            (too_many_requests(0), 0.0),
            (too_many_requests(amz_retry_after_ms=1500), 1.5),
            (slow_down(60, amz_retry_after_ms=250), 0.25),
            (slow_down("soon"), None),
            (answer(429, "", {"Retry-After": "3"}), 3.0),
        ],
    )
    @pytest.mark.parametrize("method", ["head", "read", "write"])
    def test_they_are_passed_on(self, weather: Weather, method: str, fault: Fault, seconds: float | None) -> None:
        with pytest.raises(Throttled) as caught:
            weather.call(method, fault)
        assert caught.value.retry_after_seconds == seconds

    def test_a_date_is_a_wait_from_now(self, weather: Weather) -> None:
        with pytest.raises(Throttled) as caught:
            weather.call("read", slow_down(http_date(time.time() + 100)))
        assert caught.value.retry_after_seconds == pytest.approx(100, abs=30)


class TestTimeOuts:
    @pytest.mark.parametrize("method", ["read", "read_range"])
    def test_a_body_that_stops_coming_is_a_network_failure(self, weather: Weather, method: str) -> None:
        prepared = weather.prepared()
        weather.proxy.plan = always(stall(30))
        config = replace(
            at(weather.proxy.endpoint_url, config_of(weather.buckets.address, weather.buckets.source)),
            read_timeout_seconds=0.2,
        )
        with opened(config, kind=weather.store_class) as store, pytest.raises(NetworkFailure, match=r"timed? ?out"):
            prepared.calls(store)[method]()


def refusal(status: int, code: str, message: str) -> raw_server.Answers:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return lambda _: raw_server.answer(status, body, content_type="application/xml")


class TestSecretsThatAreWords:
    """A secret may be a word of the store's own: it is hidden where it is shown, and decides what it always does."""

    @pytest.mark.parametrize(
        ("status", "code", "message", "secret", "kind"),
        [
            (403, "QuotaExceeded", "full", "Quota", StoreUnusable),
            (403, "InvalidAccessKeyId", "bad", "Invalid", StoreUnusable),
            (400, "SlowDown", "wait", "SlowDown", Throttled),
            (403, "AccessDenied", "not authorized to perform: s3:PutObjectAcl", "ObjectAcl", AclUnsupported),
            (400, "BadDigest", "other bytes", "Digest", ChecksumRefused),
        ],
    )
    def test_the_kind_is_told_by_what_the_store_said(
        self,
        status: int,
        code: str,
        message: str,
        secret: str,
        kind: type[MastosyncError],
        store_class: StoreClass,
    ) -> None:
        with raw_server.RawServer(refusal(status, code, message)) as server:
            config = replace(at(server.endpoint_url), secret_key=Secret(secret))
            with opened(config, kind=store_class) as store, pytest.raises(kind) as caught:
                store.write("key", DATA, md5_of(DATA), PLAIN._replace(acl="public-read"))
        assert "***" in caught.value.message
        assert secret not in f"{caught.value!r} {caught.value.hint}"

    def test_a_region_that_a_store_names_is_shown_without_a_secret(self, wire: Wire) -> None:
        body = b"<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"
        header = f"x-amz-bucket-region: {SECRET_KEY}\r\n"
        wire.server.answers = lambda _: raw_server.answer(301, body, header, content_type="application/xml")
        with pytest.raises(StoreUnusable) as caught:
            wire.store.write("key", DATA, md5_of(DATA), PLAIN)
        assert SECRET_KEY not in caught.value.hint


class TestAcls:
    WITH_ACL = PLAIN._replace(acl="public-read")

    @pytest.mark.parametrize(
        ("status", "code", "message"),
        [
            (400, "AccessControlListNotSupported", "The bucket does not allow ACLs"),
            (501, "NotImplemented", "Header 'x-amz-acl' with value 'public-read' not implemented"),
            (400, "InvalidRequest", "Unsupported value for canned acl 'public-read'"),
            (403, "AccessDenied", "User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObjectAcl"),
            (403, "AccessDenied", "public access control lists are prevented by the BlockPublicAcls setting"),
        ],
    )
    @pytest.mark.parametrize("in_parts", [False, True])
    def test_a_store_that_takes_none_says_so(
        self, wire: Wire, status: int, code: str, message: str, in_parts: bool
    ) -> None:
        wire.server.answers = refusal(status, code, message)

        def store_it(options: PutOptions) -> str:
            if in_parts:
                return wire.store.start_multipart("key", options)
            return wire.store.write("key", DATA, md5_of(DATA), options)

        with pytest.raises(AclUnsupported, match="key") as caught:
            store_it(self.WITH_ACL)
        assert "acl = none" in caught.value.hint
        with pytest.raises(ObjectError) as caught_without:
            store_it(PLAIN)
        assert type(caught_without.value) is not AclUnsupported

    def test_what_is_wrong_may_stand_in_the_details(self, wire: Wire) -> None:
        """Google's message is the same for every argument."""
        details = "Cannot insert legacy ACL for an object when uniform bucket-level access is enabled."
        body = f"<Error><Code>InvalidArgument</Code><Message>Invalid.</Message><Details>{details}</Details></Error>"
        wire.server.answers = lambda _: raw_server.answer(400, body.encode(), content_type="application/xml")
        with pytest.raises(AclUnsupported, match="uniform bucket-level"):
            wire.store.write("key", DATA, md5_of(DATA), self.WITH_ACL)

    @pytest.mark.parametrize("message", ["Access Denied", "not in the oracle region", "miracle"])
    def test_another_refusal_does_not_blame_the_acl(self, wire: Wire, message: str) -> None:
        wire.server.answers = refusal(403, "AccessDenied", message)
        with pytest.raises(ObjectDenied):
            wire.store.write("key", DATA, md5_of(DATA), self.WITH_ACL)

    def copy_it(self, wire: Wire) -> str:
        return wire.store.copy_from("b", "key", ObjectInfo(1, "etag"), "key", self.WITH_ACL)

    @pytest.mark.parametrize("status", [400, 501])
    def test_a_store_that_cannot_copy_by_itself_does_not_blame_the_acl(self, wire: Wire, status: int) -> None:
        wire.server.answers = refusal(status, "NotImplemented", "A header you provided implies functionality")
        with pytest.raises(ObjectRejected, match="key"):
            self.copy_it(wire)

    def test_a_copy_whose_acl_is_refused_says_so(self, wire: Wire) -> None:
        wire.server.answers = refusal(501, "NotImplemented", "Header 'x-amz-acl' is not implemented")
        with pytest.raises(AclUnsupported, match="key"):
            self.copy_it(wire)
        wire.server.answers = refusal(400, "AccessControlListNotSupported", "")
        with pytest.raises(AclUnsupported, match="key"):
            self.copy_it(wire)


class TestCleaningUp:
    @pytest.mark.parametrize("fault", [NO_SUCH_KEY, answer(404, "NoSuchUpload"), answer(404, "")], ids=named)
    def test_an_upload_that_is_gone_needs_no_abort(self, weather: Weather, fault: Fault) -> None:
        weather.call("abort_multipart", fault)

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [(RESET, NetworkFailure), (slow_down(), Throttled), (INTERNAL_ERROR, ServerFailure)],
        ids=named,
    )
    @pytest.mark.parametrize("method", ["abort_multipart", "abort_unfinished"])
    def test_what_may_pass_is_told(
        self, weather: Weather, method: str, fault: Fault, kind: type[MastosyncError]
    ) -> None:
        with pytest.raises(kind):
            weather.call(method, fault)

    @pytest.mark.parametrize(
        "fault", [ACCESS_DENIED, answer(501, "NotImplemented"), answer(405, ""), answer(404, "")], ids=named
    )
    def test_a_store_that_does_not_list_uploads_has_none(self, weather: Weather, fault: Fault) -> None:
        assert weather.call("abort_unfinished", fault) == 0


class TestRealRefusals:
    def test_a_key_that_may_only_read_is_denied_to_write(self, weather: Weather) -> None:
        address = weather.buckets.address
        reader = replace(
            config_of(address, weather.buckets.source),
            access_key=address.reader_access_key,
            secret_key=Secret(address.reader_secret_key),
        )
        prepared = weather.prepared()
        with opened(reader, kind=weather.store_class) as store:
            calls = prepared.calls(store)
            for method in ("check", "head", "read", "read_range"):
                calls[method]()
            for method in ("write", "start_multipart", "write_part", "complete_multipart"):
                with pytest.raises(ObjectDenied):
                    calls[method]()

    def test_keys_that_are_withdrawn_stop_everything(self, weather: Weather) -> None:
        config = replace(config_of(weather.buckets.address, weather.buckets.source), access_key="withdrawn")
        prepared = weather.prepared()
        with opened(config, kind=weather.store_class) as store:
            for method in WITH_WORDS:
                with pytest.raises(StoreUnusable, match=r"\*\*\*|InvalidAccessKeyId"):
                    prepared.calls(store)[method]()

    def test_a_bucket_that_is_deleted_stops_everything(self, buckets: BucketPair, store_class: StoreClass) -> None:
        prepared = Prepared.of(buckets.client, buckets.source, "key")
        with opened(config_of(buckets.address, buckets.source), kind=store_class) as store:
            store.check()
            buckets.client.delete_bucket(Bucket=buckets.source)
            for method in ("check", "read", "write", "start_multipart"):
                with pytest.raises(StoreUnusable, match="NoSuchBucket"):
                    prepared.calls(store)[method]()

    def test_a_key_that_nobody_can_ask_for_is_rejected(self, weather: Weather) -> None:
        with pytest.raises(ObjectRejected):
            weather.store.read("", 100)


STORM = {
    RESET: 0.04,
    LOST_ANSWER: 0.04,
    RESET_IN_BODY: 0.04,
    TRUNCATED_BODY: 0.04,
    DAMAGED_DOWNLOAD: 0.04,
    DAMAGED_UPLOAD: 0.04,
    INTERNAL_ERROR: 0.04,
    BAD_GATEWAY: 0.04,
    ACCESS_DENIED: 0.04,
    NO_SUCH_BUCKET: 0.02,
    slow_down(1): 0.04,
    too_many_requests(): 0.04,
    answer(200, "InternalError"): 0.02,
    answer(200, ""): 0.02,
    answer(404, ""): 0.02,
    answer(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-north-7"}): 0.02,
    answer(400, "AuthorizationHeaderMalformed"): 0.02,
}


def storm(seed: int) -> FaultPlan:
    """The same in every run: names that a run makes up have no say in it."""
    blow = seeded(seed, STORM)
    return lambda request: blow(replace(request, bucket="", query={}))


@pytest.mark.parametrize("seed", range(12))
def test_in_any_storm_only_errors_of_the_contract_get_out(weather: Weather, seed: int) -> None:
    """And what is handed out or confirmed in spite of it is right."""
    prepared = weather.prepared(f"storm-{seed}.png")
    calls = prepared.calls(weather.store)
    methods = random.Random(seed).sample(METHODS * 3, k=3 * len(METHODS))
    failures = 0
    for method in methods:
        weather.proxy.plan = storm(seed)
        try:
            answered = calls[method]()
        except (ObjectError, StoreUnusable):
            failures += 1
            continue
        if isinstance(answered, FetchedObject) and answered.info.md5:  # else nothing tells damaged bytes
            assert answered.data == DATA
        if method == "write":
            weather.proxy.plan = no_faults
            assert weather.store.read(prepared.key, 1_000_000).data == DATA
    assert 0 < failures < len(methods)


SPOILT_ANSWERS = 60  # of each kind; thousands were tried once
ANSWERS: dict[str, bytes] = {
    "list_page": raw_server.answer(
        200,
        b'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<Name>my-bucket</Name><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
        b"<Contents><Key>a%2Bb+c</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><Size>1</Size>"
        b"<ETag>&quot;5d41402abc4b2a76b9719d911017c592&quot;</ETag></Contents></ListBucketResult>",
    ),
    "check": raw_server.answer(
        200,
        b'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<Name>my-bucket</Name><MaxKeys>1</MaxKeys><KeyCount>1</KeyCount><IsTruncated>true</IsTruncated><Contents>"
        b"<Key>a</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><Size>1</Size></Contents></ListBucketResult>",
    ),
    "read": raw_server.answer(
        200,
        DATA,
        f'ETag: "{md5_of(DATA).hex()}"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nExpires: 0\r\n'
        "x-amz-meta-one: =?UTF-8?B?w6Q=?=\r\nCache-Control: public\r\nx-amz-tagging-count: 1\r\n",
    ),
    "read_range": raw_server.answer(
        206, DATA[10:1010], f'ETag: "{md5_of(DATA).hex()}"\r\nContent-Range: bytes 10-1009/{len(DATA)}\r\n'
    ),
    "write": raw_server.answer(200, b"", f'ETag: "{md5_of(DATA).hex()}"\r\nx-amz-expiration: never\r\n'),
    "copy_from": raw_server.answer(200, b'<CopyObjectResult><ETag>"abc"</ETag></CopyObjectResult>'),
    "start_multipart": raw_server.answer(
        200, b"<InitiateMultipartUploadResult><UploadId>upload</UploadId></InitiateMultipartUploadResult>"
    ),
    "complete_multipart": raw_server.answer(
        200, b'<CompleteMultipartUploadResult><ETag>"abc-1"</ETag></CompleteMultipartUploadResult>'
    ),
    "head": raw_server.answer(
        503,
        b"<Error><Code>SlowDown</Code><Message>Please</Message><Key>key</Key><RequestId>1</RequestId></Error>",
        "Retry-After: 5\r\nx-amz-retry-after: 100\r\n",
    ),
    "write_part": raw_server.answer(
        400,
        b'<?xml version="1.0"?><Error><Code>InvalidRequest</Code><Message>Please</Message></Error>',
        "x-amz-bucket-region: eu-north-7\r\nLocation: http://127.0.0.1:1/\r\n",
    ),
    "abort_unfinished": raw_server.answer(
        200,
        b"<ListMultipartUploadsResult><Upload><Key>key</Key><UploadId>upload</UploadId><Initiated>2024-01-01T00:00:00Z"
        b"</Initiated></Upload><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>",
    ),
}
"""Answers of a store, to be spoilt."""


def spoilt(told: bytes, chance: random.Random) -> bytes:
    """An answer in which a few bytes are changed, lost, doubled or swapped for others, mostly in its head."""
    data = bytearray(told)
    for _ in range(chance.randint(1, 4)):
        at_byte = chance.randrange(max(1, min(len(data), chance.choice((40, 400, 4000)))))
        match chance.randrange(5):
            case 0:
                data[at_byte : at_byte + 1] = chance.randbytes(1)
            case 1:
                del data[at_byte : at_byte + chance.randint(1, 30)]
            case 2:
                data[at_byte:at_byte] = data[at_byte : at_byte + chance.randint(1, 30)]
            case 3:
                data[at_byte:at_byte] = chance.choice((b"\r\n", b"-", b"9" * 30, b"<", b"&", b"\x00", b"\xff", b": "))
            case 4:
                del data[at_byte:]
    return bytes(data)


def spoiling(method: str, seed: int) -> raw_server.Answers:
    return lambda _: spoilt(ANSWERS[method], random.Random(f"{method} {seed}"))


@pytest.mark.filterwarnings("ignore:tzname")  # dateutil's, of dates that nobody can read
@pytest.mark.parametrize("method", ANSWERS)
def test_whatever_a_server_says_only_errors_of_the_contract_get_out(wire: Wire, method: str) -> None:
    call = Prepared.made_up().calls(wire.store)[method]
    for seed in range(SPOILT_ANSWERS):
        wire.server.answers = spoiling(method, seed)
        try:
            answered = call()
        except (ObjectError, StoreUnusable) as error:
            assert_says_where_without_secrets(error, at(wire.server.endpoint_url))
        else:
            if isinstance(answered, FetchedObject) and answered.data is not None and answered.info.md5:
                assert md5_of(answered.data) == answered.md5 == answered.info.md5
