"""What `doctor` asks of a store, where only a server that says what a test wants can tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from mastosync.errors import MastosyncError, NetworkFailure, ObjectDenied, ServerFailure
from mastosync.store.probe import RefusalCause, Removal
from mastosync.store.s3.boto_store import S3Store
from mastosync.store.s3.probe import S3Probe
from tests.support.raw_server import RawServer, answer
from tests.support.s3_clients import MADE_UP, at


def error(status: int, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>some words</Message></Error>"
    return answer(status, body.encode(), content_type="application/xml")


@pytest.fixture(scope="module")
def _server() -> Iterator[RawServer]:
    with RawServer(lambda _: b"") as server:
        yield server


@pytest.fixture
def server(_server: RawServer) -> RawServer:
    _server.forget()
    return _server


@pytest.fixture(scope="module")
def probe(_server: RawServer) -> Iterator[S3Probe]:
    with closing(S3Probe(at(_server.endpoint_url), role="source")) as made:
        yield made


class TestAddress:
    @pytest.mark.parametrize(
        ("style", "url"),
        [("path", "https://s3.example.com/my-bucket/"), ("virtual", "https://my-bucket.s3.example.com/")],
    )
    def test_the_style_is_told_by_where_requests_go(self, style: str, url: str) -> None:
        config = replace(at("https://s3.example.com"), addressing_style=style, region="eu-west-7")
        with closing(S3Probe(config, role="source")) as made:
            assert (made.address.url, made.address.style, made.address.region) == (url, style, "eu-west-7")

    def test_a_proxy_is_told_without_its_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://user:marked-password@proxy.example.com:3128")
        with closing(S3Probe(at("https://s3.example.com"), role="source")) as made:
            assert made.address.proxy == "proxy.example.com:3128"
            assert "marked-password" not in repr(made.address)


class TestStrangers:
    def test_they_have_no_credentials(self, server: RawServer, probe: S3Probe) -> None:
        server.answers = lambda _: error(403, "AccessDenied")
        assert not probe.greet().lists
        assert not probe.is_public("key", "etag")
        with pytest.raises(ObjectDenied):
            probe.keys("", 1)
        *unsigned, signed = server.requests
        assert len(unsigned) == 2
        assert all("authorization" not in request.headers for request in unsigned)
        assert "authorization" in signed.headers

    @pytest.mark.parametrize("status", [200, 204, 301, 400, 403, 404, 500, 503])
    @pytest.mark.parametrize("body", [b"<html>Welcome</html>", b""])
    def test_any_answer_is_a_greeting(self, server: RawServer, probe: S3Probe, status: int, body: bytes) -> None:
        server.answers = lambda _: answer(status, b"" if status == 204 else body)
        greeting = probe.greet()
        assert (greeting.lists, greeting.clock_ahead_seconds) == (False, None)

    def test_none_at_all_is_a_failure(self, server: RawServer, probe: S3Probe) -> None:
        server.answers = lambda _: b""
        with pytest.raises(NetworkFailure):
            probe.greet()

    @pytest.mark.parametrize("date", ["yesterday", "", "Mon, 99 Nov 2026 23:00:00 GMT"])
    def test_a_date_that_is_none_tells_no_time(self, server: RawServer, probe: S3Probe, date: str) -> None:
        server.answers = lambda _: answer(403, b"", f"Date: {date}\r\n")
        assert probe.greet().clock_ahead_seconds is None

    @pytest.mark.parametrize(
        ("told", "public"),
        [
            (answer(200, b"data", 'ETag: "e7a6"\r\n'), True),
            (answer(200, b"data", 'ETag: "another"\r\n'), False),
            (answer(200, b"<html>log in</html>"), False),
            (answer(302, b"", "Location: https://example.com/login\r\n"), False),
            (answer(401), False),
            (answer(404), False),
            (error(400, "InvalidArgument"), False),
        ],
    )
    def test_an_object_is_public_if_it_is_sent(
        self, server: RawServer, probe: S3Probe, told: bytes, public: bool
    ) -> None:
        server.answers = lambda _: told
        assert probe.is_public("key", "e7a6") == public

    def test_a_store_in_trouble_does_not_tell(self, server: RawServer, probe: S3Probe) -> None:
        server.answers = lambda _: answer(500)
        with pytest.raises(ServerFailure):
            probe.is_public("key", "etag")


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        (error(403, "SignatureDoesNotMatch"), RefusalCause.CREDENTIALS),
        (error(403, "InvalidAccessKeyId"), RefusalCause.CREDENTIALS),
        (error(400, "AuthorizationHeaderMalformed"), RefusalCause.CREDENTIALS),
        (error(401, "Unauthorized"), RefusalCause.CREDENTIALS),
        (error(403, "RequestTimeTooSkewed"), RefusalCause.CREDENTIALS),
        (error(404, "NoSuchBucket"), RefusalCause.BUCKET),
        (error(404, "NoSuchKey"), RefusalCause.BUCKET),
        (answer(301), RefusalCause.BUCKET),
        (answer(403, b"<html>no</html>"), RefusalCause.ENDPOINT),
        (answer(200, b"<html>hello</html>"), RefusalCause.ENDPOINT),
        (answer(503), RefusalCause.ENDPOINT),
        (b"", RefusalCause.ENDPOINT),
    ],
)
def test_who_is_to_blame_for_a_store_that_cannot_be_used(
    server: RawServer, probe: S3Probe, told: bytes, cause: RefusalCause
) -> None:
    server.answers = lambda _: told
    with (
        closing(S3Store(at(server.endpoint_url), role="source", connections=1)) as store,
        pytest.raises(MastosyncError) as caught,
    ):
        store.check()
    assert probe.cause_of(caught.value) is cause


def test_nothing_to_sign_with_is_a_matter_of_credentials(monkeypatch: pytest.MonkeyPatch, probe: S3Probe) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    nobody = replace(MADE_UP, endpoint_url="http://127.0.0.1:9", access_key=None, secret_key=None, session_token=None)
    with (
        closing(S3Store(nobody, role="source", connections=1)) as store,
        pytest.raises(MastosyncError) as caught,
    ):
        store.check()
    assert probe.cause_of(caught.value) is RefusalCause.CREDENTIALS


class TestDelete:
    def test_a_store_without_versions_is_asked_for_one_deletion(self, server: RawServer, probe: S3Probe) -> None:
        server.answers = lambda request: answer(
            204 if request.head.startswith(b"DELETE") else 200, b"", 'ETag: "e"\r\n'
        )
        assert probe.delete("key") is Removal.GONE
        assert [request.head.partition(b" ")[0] for request in server.requests] == [b"HEAD", b"DELETE"]
        assert b"versionId" not in server.requests[1].head

    def test_what_is_not_there_is_left_alone(self, server: RawServer, probe: S3Probe) -> None:
        server.answers = lambda _: answer(404)
        assert probe.delete("key") is Removal.GONE
        assert [request.head.partition(b" ")[0] for request in server.requests] == [b"HEAD"]

    def test_a_key_that_may_not_look_deletes_all_the_same(self, server: RawServer, probe: S3Probe) -> None:
        server.answers = lambda request: answer(204 if request.head.startswith(b"DELETE") else 403)
        assert probe.delete("key") is Removal.GONE
        assert server.requests[-1].head.startswith(b"DELETE")

    @pytest.mark.parametrize("status", [403, 500, 503])
    def test_a_bucket_that_hides_what_cannot_be_looked_at_keeps_versions(
        self, server: RawServer, probe: S3Probe, status: int
    ) -> None:
        server.answers = lambda request: (
            answer(204, b"", "x-amz-delete-marker: true\r\n") if request.head.startswith(b"DELETE") else answer(status)
        )
        assert probe.delete("key") is Removal.HIDDEN

    @pytest.mark.parametrize(("version", "became"), [("v1", Removal.VERSIONS_GONE), ("null", Removal.GONE)])
    def test_what_came_while_the_bucket_kept_versions_tells_so(
        self, server: RawServer, probe: S3Probe, version: str, became: Removal
    ) -> None:
        answers = iter([answer(200, b"", f'ETag: "e"\r\nx-amz-version-id: {version}\r\n'), answer(204), answer(404)])
        server.answers = lambda _: next(answers)
        assert probe.delete("key") is became
        assert f"versionId={version}".encode() in server.requests[1].head

    def test_versions_without_end_are_given_up(self, server: RawServer, probe: S3Probe) -> None:
        version = 'ETag: "e"\r\nx-amz-version-id: v1\r\n'
        server.answers = lambda request: answer(204 if request.head.startswith(b"DELETE") else 200, b"", version)
        assert probe.delete("key") is Removal.HIDDEN
        assert len(server.requests) < 100


class TestWrongMd5:
    @pytest.mark.parametrize(
        ("told", "taken"),
        [
            (answer(200, b"", 'ETag: "e"\r\n'), True),
            (error(400, "BadDigest"), False),
            (error(400, "InvalidDigest"), False),
            (error(400, "InvalidRequest"), False),
        ],
    )
    def test_a_store_refuses_it_or_not(self, server: RawServer, probe: S3Probe, told: bytes, taken: bool) -> None:
        server.answers = lambda _: told
        assert probe.write_damaged("key", b"data") == taken
        assert "content-md5" in server.requests[0].headers

    def test_a_key_that_may_not_write_tells_nothing(self, server: RawServer, probe: S3Probe) -> None:
        server.answers = lambda _: error(403, "AccessDenied")
        with pytest.raises(ObjectDenied):
            probe.write_damaged("key", b"data")
