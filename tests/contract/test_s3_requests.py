"""What goes over the wire, and what does not: one request a method, no redirects, no surprises of the SDK."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any

import botocore.handlers
import botocore.session
import pytest
from botocore.exceptions import EndpointConnectionError

from lab.addresses import S3Address
from lab.buckets import BucketPair, bucket_pair
from lab.fault_plan import LOST_ANSWER, RESET, always, no_faults
from lab.fault_plan import answer as fault
from lab.faults import FaultProxy
from mastosync.errors import (
    ClaimedDigestWrong,
    CorruptObject,
    MastosyncError,
    ObjectChanged,
    ObjectError,
    ObjectRejected,
    StoreUnusable,
)
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.store.base import DigestUse, ObjectStore, PutOptions, wrong_md5
from mastosync.store.s3.boto_client import make_client, new_session
from mastosync.store.s3.boto_store import S3Store
from tests.support.raw_server import RawServer, answer
from tests.support.s3_clients import (
    DATA,
    MADE_UP,
    METHODS,
    PLAIN,
    SESSION_TOKEN,
    Prepared,
    StoreClass,
    Wire,
    at,
    config_of,
    md5_of,
    opened,
)

ETAG = f'ETag: "{md5_of(DATA).hex()}"\r\n'
INFO = ObjectInfo(len(DATA), md5_of(DATA).hex(), etag_is_md5=True)
NOWHERE = at("http://127.0.0.1:9")
MADE_UP_OBJECT = Prepared.made_up()
ELSEWHERE = {"x-amz-bucket-region": "eu-north-7"}
TEMPTATIONS = {
    "none": no_faults,
    "reset": always(RESET),
    "lost answer": always(LOST_ANSWER),
    "500": always(fault(500, "InternalError")),
    "503": always(fault(503, "SlowDown", {"x-amz-retry-after": "1"})),
    "429": always(fault(429, "TooManyRequests")),
    "RequestTimeout": always(fault(400, "RequestTimeout")),
    "other region": always(fault(301, "PermanentRedirect", ELSEWHERE)),
    "other region, unnamed": always(fault(301, "PermanentRedirect")),
    "other region, 400": always(fault(400, "", ELSEWHERE)),
    "other region, malformed": always(fault(400, "AuthorizationHeaderMalformed", ELSEWHERE)),
    "other region, opt-in": always(fault(400, "IllegalLocationConstraintException", ELSEWHERE)),
}
"""Answers after which the SDK would like to ask once more."""


@pytest.fixture(scope="module")
def proxied(seaweed: S3Address, store_class: StoreClass) -> Iterator[tuple[FaultProxy, ObjectStore, BucketPair]]:
    """A real store behind a proxy that counts."""
    with (
        closing(seaweed.client()) as client,
        bucket_pair(seaweed, client) as buckets,
        FaultProxy(seaweed.endpoint_url) as proxy,
        opened(at(proxy.endpoint_url, config_of(seaweed, buckets.source)), kind=store_class) as store,
    ):
        yield proxy, store, buckets


class TestOneRequest:
    @pytest.mark.parametrize("temptation", TEMPTATIONS)
    def test_every_method_makes_one_request_whatever_is_answered(
        self, proxied: tuple[FaultProxy, ObjectStore, BucketPair], temptation: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
        monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")
        proxy, store, buckets = proxied
        prepared = Prepared.of(buckets.client, buckets.source, temptation)
        proxy.plan = TEMPTATIONS[temptation]
        made, failed = {}, set()
        for method, call in prepared.calls(store).items():
            before = len(proxy.requests)
            try:
                call()
            except MastosyncError:
                failed.add(method)
            made[method] = len(proxy.requests) - before
        thrown_away = 1 if temptation == "none" else 0  # what start_multipart began
        assert made == {**dict.fromkeys(METHODS, 1), "abort_unfinished": 1 + thrown_away}
        # what the listing of uploads cannot do is done without
        assert failed | {"abort_unfinished"} == (set(METHODS) if temptation != "none" else {"abort_unfinished"})


class TestSessions:
    """What is the same for all sessions is put together once: no client may be the worse for it."""

    def test_they_have_the_handlers_of_botocore(self) -> None:
        ours, theirs = new_session(), botocore.session.get_session()
        assert handlers_of(ours) == handlers_of(theirs)

    def test_what_one_of_them_registers_is_for_no_other(self) -> None:
        first, second = new_session(), new_session()
        before = handlers_of(second)
        first.register("before-call.s3", lambda **_: None)
        assert handlers_of(first) != before == handlers_of(second) == handlers_of(new_session())

    def test_nor_is_what_a_client_registers(self) -> None:
        before = handlers_of(new_session())
        seen: list[str] = []
        with closing(make_client(NOWHERE, 1)) as one, closing(make_client(NOWHERE, 1)) as other:
            events: Any = one.meta.events
            events.register("before-send.s3", lambda event_name, **_: seen.append(event_name))
            for client in (one, other):
                with pytest.raises(EndpointConnectionError):
                    client.head_bucket(Bucket="mine")
        assert seen == ["before-send.s3.HeadBucket"]
        assert handlers_of(new_session()) == before


def handlers_of(session: botocore.session.Session) -> list[list[str]]:
    """Those of whatever botocore handles, and of a request to S3, in their order."""
    emitter: Any = session.get_component("event_emitter")
    events = [event for event, *_ in botocore.handlers.BUILTIN_HANDLERS]
    return [
        [repr(handler) for handler in emitter._emitter._handlers.prefix_search(event)]
        for event in (*events, "before-call.s3.HeadObject", "before-send.s3.HeadObject", "creating-client-class.s3")
    ]


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_none_is_followed(self, wire: Wire, status: int) -> None:
        server, store = wire.server, wire.store
        with RawServer(lambda _: answer(200)) as elsewhere:
            to = f"Location: {elsewhere.endpoint_url}/my-bucket/key\r\n"
            server.answers = lambda _: answer(status, headers=to)
            for call in MADE_UP_OBJECT.calls(store).values():
                with pytest.raises(StoreUnusable, match="my-bucket"):
                    call()
            assert len(server.requests) == len(METHODS)
            assert elsewhere.connections == 0


class TestWhatIsSent:
    @pytest.mark.parametrize("method", ["write", "write_part"])
    def test_bytes_are_sent_at_once_and_as_they_are_with_their_md5(self, wire: Wire, method: str) -> None:
        server, store = wire.server, wire.store
        server.answers = lambda _: answer(200, headers=ETAG)
        MADE_UP_OBJECT.calls(store)[method]()
        (request,) = server.requests
        assert request.body == DATA
        assert request.headers["content-md5"] == base64.b64encode(md5_of(DATA)).decode()
        assert request.headers["content-length"] == str(len(DATA))
        assert not {"expect", "transfer-encoding", "content-encoding", "x-amz-trailer"} & request.headers.keys()

    @pytest.mark.parametrize("digest", DigestUse)
    def test_the_md5_is_sent_or_a_wrong_one_that_shows_what_the_store_does(self, wire: Wire, digest: DigestUse) -> None:
        wire.server.answers = lambda _: answer(200, headers=ETAG)
        wire.store.write("key", DATA, md5_of(DATA), PLAIN, digest)
        (request,) = wire.server.requests
        sent = wrong_md5(md5_of(DATA)) if digest is DigestUse.CONTRADICTED else md5_of(DATA)
        assert request.headers["content-md5"] == base64.b64encode(sent).decode()

    @pytest.mark.parametrize(
        ("code", "error"),
        [("BadDigest", None), ("InvalidRequest", ObjectRejected), ("IncompleteBody", CorruptObject)],
    )
    def test_a_wrong_md5_that_is_refused_is_an_answer(
        self, wire: Wire, code: str, error: type[ObjectError] | None
    ) -> None:
        wire.server.answers = lambda _: answer(400, f"<Error><Code>{code}</Code></Error>".encode())
        with nullcontext() if error is None else pytest.raises(error):
            assert wire.store.write("key", DATA, md5_of(DATA), PLAIN, DigestUse.CONTRADICTED) == ""

    def test_a_store_that_repeats_a_wrong_md5_is_not_corrected(self, wire: Wire) -> None:
        wrong = wrong_md5(md5_of(DATA)).hex()
        wire.server.answers = lambda _: answer(200, headers=f'ETag: "{wrong}"\r\n')
        assert wire.store.write("key", DATA, md5_of(DATA), PLAIN, DigestUse.CONTRADICTED) == wrong

    @pytest.mark.parametrize(
        ("said", "error"), [(md5_of(DATA), ClaimedDigestWrong), (md5_of(b"other"), ClaimedDigestWrong), (None, None)]
    )
    def test_an_etag_that_proves_nothing_has_the_bytes_hashed(
        self, wire: Wire, said: bytes | None, error: type[MastosyncError] | None
    ) -> None:
        """The source claims the MD5 of `said`; the destination answers with an ETag of its own."""
        wire.server.answers = lambda _: answer(200, headers='ETag: "of-its-own"\r\n')
        wrong = b"x" + DATA[1:]
        if error is None:
            assert wire.store.write("key", wrong, md5_of(wrong), PLAIN, DigestUse.CLAIMED) == "of-its-own"
            return
        assert said is not None
        with pytest.raises(error, match=said.hex()):
            wire.store.write("key", wrong, said, PLAIN, DigestUse.CLAIMED)

    @pytest.mark.parametrize("method", METHODS)
    def test_nothing_is_sent_that_stores_are_known_to_refuse(self, wire: Wire, method: str) -> None:
        server, store = wire.server, wire.store
        server.answers = lambda _: b""
        with pytest.raises(MastosyncError):
            MADE_UP_OBJECT.calls(store)[method]()
        (request,) = server.requests
        assert b"checksum" not in request.head.lower()
        signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
        assert not {"accept-encoding", "expect", "user-agent"} & set(signed.split(";"))

    def test_the_token_of_temporary_credentials_goes_along(self, wire: Wire) -> None:
        with pytest.raises(MastosyncError):
            wire.store.head("key")
        (request,) = wire.server.requests
        assert request.headers["x-amz-security-token"] == SESSION_TOKEN
        assert "x-amz-security-token" in request.headers["authorization"]

    def test_a_path_of_the_endpoint_stays_before_the_bucket(self, wire: Wire) -> None:
        with opened(at(f"{wire.server.endpoint_url}/storage/v1/s3")) as store, pytest.raises(MastosyncError):
            store.head("a b/c")
        (request,) = wire.server.requests
        assert request.head.startswith(b"HEAD /storage/v1/s3/my-bucket/a%20b/c HTTP/1.1\r\n")

    def test_no_acl_no_storage_class_and_no_header_is_sent_unless_asked_for(self, wire: Wire) -> None:
        server, store = wire.server, wire.store
        server.answers = lambda _: answer(200, headers=ETAG)
        store.write("key", DATA, md5_of(DATA), PutOptions(ObjectHeaders()))
        store.write("key", DATA, md5_of(DATA), PutOptions(ObjectHeaders("a/b"), "private", "STANDARD_IA"))
        bare, full = (request.headers for request in server.requests)
        assert full.keys() - bare.keys() == {"content-type", "x-amz-acl", "x-amz-storage-class"}


class TestConnections:
    @pytest.fixture
    def lasting(self, wire: Wire) -> Wire:
        wire.server.keep_alive = True
        return wire

    @pytest.mark.parametrize("body", [b"", DATA])
    def test_one_connection_serves_many_requests(self, lasting: Wire, body: bytes) -> None:
        server, store = lasting.server, lasting.store
        etag = f'ETag: "{md5_of(body).hex()}"\r\n'
        server.answers = lambda request: answer(200, b"" if request.head[:3] == b"PUT" else body, etag)
        for number in range(6):
            store.read("key", 1_000_000)
            store.write("key", body, md5_of(body), PLAIN)
            if number == 0:
                connections = server.connections  # one, or one for each direction
        assert server.connections == connections

    def test_a_connection_that_the_server_has_ended_is_not_used(self, lasting: Wire) -> None:
        server, store = lasting.server, lasting.store
        server.answers = lambda request: answer(200, b"" if request.head[:3] == b"PUT" else DATA, ETAG)
        for _ in range(5):
            connections = server.connections
            store.read("key", 1_000_000)
            store.write("key", DATA, md5_of(DATA), PLAIN)
            server.cut_connections()
        assert 1 <= server.connections - connections <= 2
        assert len(server.requests) == 10

    def test_answers_that_are_errors_leave_the_connection_usable(self, lasting: Wire) -> None:
        server, store = lasting.server, lasting.store
        server.answers = lambda request: answer(404, b"" if request.head[:4] == b"HEAD" else b"<html>none</html>")
        for call in (store.head, store.head, lambda key: store.read(key, 1), lambda key: store.read(key, 1)):
            connections = server.connections
            with pytest.raises(MastosyncError):
                call("key")
        assert server.connections == connections

    def test_the_body_of_a_larger_object_is_not_taken_in(self, wire: Wire) -> None:
        server, store = wire.server, wire.store
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {10**15}\r\n{ETAG}\r\n"
        server.answers = lambda _: head.encode() + bytes(100_000)  # to read on would be a broken connection
        fetched = store.read("key", 10**15 - 1)
        assert (fetched.info.size, fetched.data) == (10**15, None)


class TestHeadersOfOtherStores:
    """What SeaweedFS and moto spell in the usual way, but nobody has to."""

    def test_names_of_metadata_are_in_lower_case(self, wire: Wire) -> None:
        wire.server.answers = lambda _: answer(200, DATA, f"X-Amz-Meta-Some-NAME: Value\r\n{ETAG}")
        assert wire.store.read("key", 1_000_000).info.headers.metadata == (("some-name", "Value"),)

    @pytest.mark.parametrize(
        ("told", "is_md5"),
        [
            ("", True),
            ("x-amz-server-side-encryption: AES256\r\n", True),
            ("x-amz-server-side-encryption: aws:kms\r\n", False),
            ("x-amz-server-side-encryption: aws:kms:dsse\r\n", False),
            ("x-amz-server-side-encryption-customer-algorithm: AES256\r\n", False),
        ],
    )
    def test_an_etag_is_no_md5_under_a_key_of_somebody_else(self, wire: Wire, told: str, is_md5: bool) -> None:
        foreign = f'ETag: "{md5_of(b"something else").hex()}"\r\n'
        wire.server.answers = lambda _: answer(200, DATA, told + foreign)
        if is_md5:
            with pytest.raises(CorruptObject, match="key"):
                wire.store.read("key", 1_000_000)
        else:
            assert wire.store.read("key", 1_000_000).md5 == md5_of(DATA)
        wire.server.answers = lambda _: answer(200, headers=told + foreign)
        if is_md5:
            with pytest.raises(CorruptObject, match="key"):
                wire.store.write("key", DATA, md5_of(DATA), PLAIN)
        else:
            assert wire.store.write("key", DATA, md5_of(DATA), PLAIN) == md5_of(b"something else").hex()

    @pytest.mark.parametrize(
        ("etag", "seen"), [('"abc-3"', "abc-3"), ("abc-3", "abc-3"), ('W/"abc-3"', "abc-3"), ('""', "")]
    )
    def test_an_etag_is_told_without_its_quotes(self, wire: Wire, etag: str, seen: str) -> None:
        wire.server.answers = lambda _: answer(200, DATA, f"ETag: {etag}\r\n")
        info = wire.store.read("key", 1_000_000).info
        assert (info.etag, info.md5) == (seen, None)


class TestRangesOfStoresThatDoNotKnowThem:
    def test_if_match_and_range_are_sent(self, wire: Wire) -> None:
        server, store = wire.server, wire.store
        told = f"Content-Range: bytes 2-5/{len(DATA)}\r\n{ETAG}"
        server.answers = lambda _: answer(206, DATA[2:6], told)
        assert store.read_range("key", INFO, 2, 4) == DATA[2:6]
        (request,) = server.requests
        assert request.headers["range"] == "bytes=2-5"
        assert request.headers["if-match"] == f'"{INFO.etag}"'

    @pytest.mark.parametrize(
        ("status", "body", "told"),
        [
            (200, DATA, ""),
            (206, DATA[:4], f"Content-Range: bytes 0-3/{len(DATA)}\r\n"),
            (206, DATA[2:8], f"Content-Range: bytes 2-5/{len(DATA)}\r\n"),
        ],
        ids=["whole object", "other range", "more than it says"],
    )
    def test_bytes_that_were_not_asked_for_are_not_taken(self, wire: Wire, status: int, body: bytes, told: str) -> None:
        server, store = wire.server, wire.store
        server.answers = lambda _: answer(status, body, told + ETAG)
        with pytest.raises(ObjectRejected, match="key") as caught:
            store.read_range("key", INFO, 2, 4)
        assert "multipart_threshold" in caught.value.hint

    def test_the_whole_object_is_a_range_too(self, wire: Wire) -> None:
        server, store = wire.server, wire.store
        server.answers = lambda _: answer(200, DATA, ETAG)
        assert store.read_range("key", INFO, 0, len(DATA)) == DATA

    @pytest.mark.parametrize("status", [206, 416])
    def test_a_replaced_object_is_noticed_without_if_match(self, wire: Wire, status: int) -> None:
        server, store = wire.server, wire.store
        other = 'ETag: "0cc175b9c0f1b6a831c399e269772661"\r\n'
        server.answers = lambda _: answer(status, DATA[2:6], f"Content-Range: bytes 2-5/3200\r\n{other}")
        with pytest.raises(ObjectChanged, match="key"):
            store.read_range("key", INFO, 2, 4)


class TestSurroundings:
    """What the AWS SDK reads from its environment, and what it asks of the machine."""

    @pytest.fixture(autouse=True)
    def _own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")

    @pytest.mark.parametrize("keys_given", [True, False])
    def test_the_machine_is_asked_for_keys_only_if_none_are_given(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch, keys_given: bool
    ) -> None:
        server = wire.server
        server.answers = lambda _: b""
        config = at(server.endpoint_url)
        if not keys_given:
            config = replace(config, access_key=None, secret_key=None, session_token=None)
        with RawServer(lambda _: answer(404)) as machine:
            monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", machine.endpoint_url)
            with opened(config) as store, pytest.raises(MastosyncError):
                store.head("key")
            assert bool(machine.requests) is not keys_given

    def test_keys_of_the_environment_do_not_replace_ours(self, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
        server = wire.server
        server.answers = lambda _: b""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "other-token")
        with opened(replace(at(server.endpoint_url), session_token=None)) as store, pytest.raises(MastosyncError):
            store.head("key")
        (request,) = server.requests
        assert str(MADE_UP.access_key) in request.headers["authorization"]
        assert "x-amz-security-token" not in request.headers

    def test_another_endpoint_in_the_environment_is_not_asked(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", wire.server.endpoint_url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", wire.server.endpoint_url)
        with opened(replace(MADE_UP, region="eu-west-1", addressing_style="auto")) as store:
            assert store.endpoint == "https://s3.eu-west-1.amazonaws.com"

    def test_a_profile_that_is_not_there_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(StoreUnusable, match="nobody") as caught:
            S3Store(at("http://127.0.0.1:9"), role="source", connections=1)
        assert "AWS_" in caught.value.hint

    def test_an_endpoint_that_is_none_is_told(self) -> None:
        with pytest.raises(StoreUnusable, match="not a URL"):
            S3Store(at("not a URL"), role="source", connections=1)
