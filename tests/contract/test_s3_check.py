"""Whether a store can be used at all, and what is said when it cannot."""

from __future__ import annotations

import datetime
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import botocore.auth
import pytest

from lab.buckets import BucketPair
from lab.certificates import certificate
from mastosync.config import S3Config, Secret
from mastosync.errors import BucketMissing, MastosyncError, NetworkFailure, ServerFailure, StoreUnusable, Throttled
from mastosync.store.s3.boto_store import S3Store
from mastosync.store.s3.curl_store import CurlStore
from tests.support.raw_server import RawServer, answer
from tests.support.s3_clients import (
    ACCESS_KEY,
    DATA,
    MADE_UP,
    SECRET_KEY,
    SESSION_TOKEN,
    MultiplexedStore,
    Prepared,
    StoreClass,
    Wire,
    at,
    config_of,
    md5_of,
    opened,
)
from tests.support.s3_clients import assert_says_where_without_secrets as assert_says_where

XML = "application/xml"
ETAG = f'ETag: "{md5_of(DATA).hex()}"\r\n'
LISTING = answer(
    200,
    b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>my-bucket</Name>'
    b"<KeyCount>0</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>",
    content_type=XML,
)
ANSWERS = {"check": LISTING, "read": answer(200, DATA, ETAG), "write": answer(200, headers=ETAG)}


def check_of(wire: Wire, told: bytes, kind: type[MastosyncError]) -> MastosyncError:
    """The error of a check that is answered with these bytes."""
    wire.server.answers = lambda _: told
    with pytest.raises(kind) as caught:
        wire.store.check()
    return examined(caught.value, at(wire.server.endpoint_url), kind)


@pytest.fixture
def good(buckets: BucketPair) -> S3Config:
    return config_of(buckets.address, buckets.source)


Way = tuple[StoreClass, str]
BY_BOTO3: Way = (S3Store, "check")
BY_LIBCURL: Way = (CurlStore, "check")
WAYS: tuple[Way, ...] = (BY_BOTO3, BY_LIBCURL, (CurlStore, "read"), (CurlStore, "write"), (MultiplexedStore, "read"))
"""A client of S3 and a method of its own."""


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0].__name__}-{way[1]}")
def way(request: pytest.FixtureRequest) -> Way:
    return cast("Way", request.param)


def use(config: S3Config, way: Way = BY_BOTO3) -> None:
    store_class, method = way
    with opened(config, kind=store_class) as store:
        Prepared.made_up().calls(store)[method]()


def refused(config: S3Config, kind: type[MastosyncError] = StoreUnusable, way: Way = BY_BOTO3) -> MastosyncError:
    """The error of a store with this configuration, as it is made or used."""
    with pytest.raises(kind) as caught:
        use(config, way)
    return examined(caught.value, config, kind)


def examined(error: MastosyncError, config: S3Config, kind: type[MastosyncError]) -> MastosyncError:
    """The same error, which always says where and what to do, and never a secret."""
    assert type(error) is kind
    assert_says_where(error, config)
    assert error.hint
    return error


def error_body(code: str, message: str = "some words") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


class TestRealStore:
    @pytest.fixture(params=[BY_BOTO3, BY_LIBCURL], ids=["boto3", "libcurl"])
    def way(self, request: pytest.FixtureRequest) -> Way:
        return cast("Way", request.param)

    def test_a_usable_bucket_passes(self, way: Way, good: S3Config) -> None:
        use(good, way)

    def test_a_key_that_may_only_read_passes(self, way: Way, good: S3Config, buckets: BucketPair) -> None:
        address = buckets.address
        reader = replace(good, access_key=address.reader_access_key, secret_key=Secret(address.reader_secret_key))
        use(reader, way)

    def test_a_wrong_secret_key_is_named(self, way: Way, good: S3Config) -> None:
        assert "secret_key" in refused(replace(good, secret_key=Secret(SECRET_KEY)), way=way).hint

    def test_an_unknown_access_key_is_named(self, way: Way, good: S3Config) -> None:
        assert "access_key" in refused(replace(good, access_key=ACCESS_KEY), way=way).hint

    def test_a_missing_bucket_is_named(self, way: Way, good: S3Config) -> None:
        assert "bucket" in refused(replace(good, bucket="there-is-no-such-bucket"), BucketMissing, way).hint

    @pytest.mark.parametrize("name", ["a bucket", "a/b", ""])
    def test_an_impossible_bucket_is_refused(self, way: Way, good: S3Config, name: str) -> None:
        refused(replace(good, bucket=name), way=way)

    @pytest.mark.parametrize("hours", [-1, 1])
    def test_a_clock_that_is_off_is_named(self, good: S3Config, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
        if not hasattr(botocore.auth, "get_current_datetime"):
            pytest.skip("this release of botocore takes the time in another way")
        wrong = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: wrong)
        assert "clock" in refused(good).hint


class TestUnreachable:
    def test_a_closed_port_may_be_open_later(self, way: Way) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            refused(at(f"http://127.0.0.1:{unused.getsockname()[1]}"), NetworkFailure, way)

    def test_a_name_that_nobody_knows_may_be_known_later(self, way: Way) -> None:
        assert "endpoint_url" in refused(at("http://store.invalid"), NetworkFailure, way).hint

    def test_a_server_that_says_nothing_is_a_network_failure(self, way: Way) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            config = replace(at(f"http://127.0.0.1:{silent.getsockname()[1]}"), read_timeout_seconds=0.2)
            assert re.search("timed? ?out", refused(config, NetworkFailure, way).message.lower())


class TestNoStore:
    @pytest.mark.parametrize("status", [200, 201, 204, 400, 401, 403, 404, 405, 410, 501])
    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("text/html", b"<!DOCTYPE html><title>Welcome<p>unclosed"),
            ("text/html", b"<html><body><h1>Welcome</h1></body></html>"),
            ("application/json", b'{"ok": true}'),
            ("text/plain", b""),
        ],
        ids=["html", "xhtml", "json", "empty"],
    )
    def test_an_endpoint_that_speaks_no_s3_is_unusable(
        self, wire: Wire, status: int, content_type: str, body: bytes
    ) -> None:
        told = answer(status, b"" if status == 204 else body, content_type=content_type)
        assert "endpoint_url" in check_of(wire, told, StoreUnusable).hint

    @pytest.mark.parametrize("garbage", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1\r\n\r\n"])
    def test_an_endpoint_that_speaks_no_http_is_a_network_failure(self, wire: Wire, garbage: bytes) -> None:
        check_of(wire, garbage, NetworkFailure)

    def test_a_bucket_within_the_endpoint_is_suspected(self, wire: Wire) -> None:
        told = answer(404, error_body("NoSuchKey"), content_type=XML)
        assert "`endpoint_url` seems to hold the bucket's name" in check_of(wire, told, StoreUnusable).hint

    @pytest.mark.parametrize(
        ("status", "kind"), [(500, ServerFailure), (502, ServerFailure), (504, ServerFailure), (503, Throttled)]
    )
    @pytest.mark.parametrize("body", [b"<html>trouble</html>", b"<!doctype html>trouble", b""])
    def test_a_gateway_in_trouble_may_recover(
        self, wire: Wire, status: int, kind: type[MastosyncError], body: bytes
    ) -> None:
        check_of(wire, answer(status, body), kind)


class TestAnswers:
    @pytest.mark.parametrize(
        "body",
        [
            b"<ListBucketResult><Name>my-bucket</Name></ListBucketResult>",
            b"<?xml version='1.0' encoding='UTF-8'?>\n<ListBucketResult xmlns='x'>\n <IsTruncated>true</IsTruncated>"
            b"\n <Contents><Key>a</Key></Contents></ListBucketResult>\n",
            b"<s3:ListBucketResult xmlns:s3='x'><s3:MaxKeys>1</s3:MaxKeys></s3:ListBucketResult>",
            b"<!-- hello --><ListBucketResult><MaxKeys>1</MaxKeys></ListBucketResult>",
            b"<Listing><Name>my-bucket</Name></Listing>",
        ],
    )
    def test_a_listing_passes_however_it_is_spelled(self, wire: Wire, body: bytes) -> None:
        for told in (LISTING, answer(200, body, content_type=XML)):
            wire.server.answers = lambda _, told=told: told  # type: ignore[misc]
            wire.store.check()
        assert len(wire.server.requests) == 2

    @pytest.mark.parametrize(
        "body",
        [
            b"<ListBucketResult><Nothing/></ListBucketResult>",
            b"<ListAllMyBucketsResult><Buckets><Bucket><Name>x</Name></Bucket></Buckets></ListAllMyBucketsResult>",
            b"<html><body><ListBucketResult><Name>x</Name></ListBucketResult></body></html>",
            b"\n<?xml version='1.0'?><ListBucketResult><Name>my-bucket</Name></ListBucketResult>",
            b"<Error xmlns='x'><Code>SlowDown</Code></Error>",
        ],
    )
    def test_what_only_looks_like_one_does_not(self, wire: Wire, body: bytes) -> None:
        check_of(wire, answer(200, body, content_type=XML), StoreUnusable)

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("SlowDown", Throttled),
            ("InternalError", ServerFailure),
            ("", ServerFailure),
            ("InvalidAccessKeyId", StoreUnusable),
        ],
    )
    def test_an_error_that_calls_itself_a_success_is_one_all_the_same(
        self, wire: Wire, code: str, kind: type[MastosyncError]
    ) -> None:
        check_of(wire, answer(200, error_body(code), content_type=XML), kind)

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_nobody_is_followed(self, wire: Wire, status: int) -> None:
        elsewhere = f"Location: {wire.server.endpoint_url}/elsewhere\r\n"
        check_of(wire, answer(status, b"", elsewhere), StoreUnusable)
        assert len(wire.server.requests) == 1

    def test_a_key_that_may_not_list_passes(self, wire: Wire) -> None:
        wire.server.answers = lambda _: answer(403, error_body("AccessDenied"), content_type=XML)
        wire.store.check()

    @pytest.mark.parametrize(
        ("status", "code", "message", "named"),
        [
            (403, "SignatureDoesNotMatch", "the signature we calculated…", "secret_key"),
            (403, "AccessDenied", "Forbidden: Invalid signature", "secret_key"),
            (401, "Unauthorized", "Unauthorized", "access_key"),
            (400, "ExpiredToken", "expired", "token"),
            (400, "AuthorizationHeaderMalformed", "expecting 'eu-west-1'", "region"),
            (403, "RequestTimeTooSkewed", "too large", "clock"),
            (403, "QuotaExceeded", "", "full"),
            (507, "", "", "full"),
        ],
    )
    def test_the_hint_names_what_to_look_at(self, wire: Wire, status: int, code: str, message: str, named: str) -> None:
        told = answer(status, error_body(code, message), content_type=XML)
        assert named in check_of(wire, told, StoreUnusable).hint

    def test_the_region_of_a_bucket_elsewhere_is_told(self, wire: Wire) -> None:
        told = answer(301, error_body("PermanentRedirect"), "x-amz-bucket-region: eu-north-7\r\n", XML)
        assert "eu-north-7" in check_of(wire, told, StoreUnusable).hint

    def test_secrets_are_cut_out_of_what_a_server_says(self, wire: Wire) -> None:
        words = f"key {ACCESS_KEY} with {SECRET_KEY} and {SESSION_TOKEN} is\n\nunknown"
        told = answer(403, error_body("InvalidAccessKeyId", words), content_type=XML)
        assert "key *** with *** and *** is unknown" in check_of(wire, told, StoreUnusable).message


def tls_server(file: Path, told: bytes = LISTING, noise: bytes = b"") -> RawServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return RawServer(lambda _: told, tls=context, noise=noise)


class TestTls:
    @pytest.fixture
    def secure(self, tmp_path: Path, way: Way) -> Iterator[tuple[S3Config, Path]]:
        file = certificate(tmp_path, "localhost", days=100)
        with tls_server(file, ANSWERS[way[1]]) as server:
            yield at(f"https://localhost:{server.port}"), file

    @pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
    def test_a_certificate_that_is_trusted_passes(
        self, secure: tuple[S3Config, Path], monkeypatch: pytest.MonkeyPatch, way: Way, variable: str
    ) -> None:
        config, file = secure
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        monkeypatch.setenv(variable, str(file))
        use(config, way)

    def test_a_certificate_of_ones_own_is_explained(self, secure: tuple[S3Config, Path], way: Way) -> None:
        error = refused(secure[0], way=way)
        assert "certificate" in error.message
        assert "ca_bundle" in error.hint

    def test_a_certificate_for_another_name_is_explained(
        self, secure: tuple[S3Config, Path], monkeypatch: pytest.MonkeyPatch, way: Way
    ) -> None:
        config, file = secure
        monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
        error = refused(at(str(config.endpoint_url).replace("localhost", "127.0.0.1")), way=way)
        assert "127.0.0.1" in error.message
        assert "endpoint_url" in error.hint

    def test_a_certificate_that_has_expired_is_explained(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way
    ) -> None:
        file = certificate(tmp_path, "localhost", days=-1)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
        with tls_server(file) as server:
            assert "expired" in refused(at(f"https://localhost:{server.port}"), way=way).message

    def test_the_authority_of_the_configuration_is_trusted(self, secure: tuple[S3Config, Path], way: Way) -> None:
        config, file = secure
        use(replace(config, ca_bundle=file), way)

    def test_its_certificates_are_for_their_own_names_only(self, secure: tuple[S3Config, Path], way: Way) -> None:
        config, file = secure
        elsewhere = str(config.endpoint_url).replace("localhost", "127.0.0.1")
        refused(replace(config, endpoint_url=elsewhere, ca_bundle=file), way=way)

    def test_another_authority_is_none(self, secure: tuple[S3Config, Path], tmp_path: Path, way: Way) -> None:
        other = certificate(tmp_path, "other.example", days=100)
        assert "certificate" in refused(replace(secure[0], ca_bundle=other), way=way).message

    @pytest.mark.parametrize("content", [None, b"", b"no certificate at all"])
    def test_an_authority_that_cannot_be_read_is_named(
        self, secure: tuple[S3Config, Path], tmp_path: Path, way: Way, content: bytes | None
    ) -> None:
        file = tmp_path / "authority.pem"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(StoreUnusable, match="ca_bundle") as caught:
            use(replace(secure[0], ca_bundle=file), way)
        assert str(file) in caught.value.message
        assert "PEM" in caught.value.hint

    def test_without_verification_any_certificate_passes(
        self, secure: tuple[S3Config, Path], tmp_path: Path, way: Way
    ) -> None:
        elsewhere = str(secure[0].endpoint_url).replace("localhost", "127.0.0.1")
        use(replace(secure[0], endpoint_url=elsewhere, verify_tls=False), way)
        expired = certificate(tmp_path, "expired.example", days=-1)
        with tls_server(expired, ANSWERS[way[1]]) as server:
            use(replace(at(f"https://localhost:{server.port}"), verify_tls=False), way)

    @pytest.mark.parametrize(
        "environ",
        [
            {"AWS_CA_BUNDLE": ""},
            {"REQUESTS_CA_BUNDLE": ""},
            {"AWS_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": ""},
            {"AWS_CA_BUNDLE": " "},
            {"AWS_CONFIG_FILE": "[default]\nca_bundle =\n"},
            {"AWS_CONFIG_FILE": "[default]\nverify = false\nverify_ssl = false\n"},
            {"CURL_CA_BUNDLE": "", "SSL_CERT_FILE": "/dev/null", "PYTHONHTTPSVERIFY": "0"},
        ],
        ids=str,
    )
    def test_nothing_else_switches_verification_off(
        self,
        secure: tuple[S3Config, Path],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        way: Way,
        environ: dict[str, str],
    ) -> None:
        """An empty name of a bundle may be the wish to look at no certificate, to some release of botocore."""
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            if name == "AWS_CONFIG_FILE":
                (tmp_path / "aws").write_text(value)
                monkeypatch.setenv(name, str(tmp_path / "aws"))
            else:
                monkeypatch.setenv(name, value)
        with pytest.raises(MastosyncError):
            use(secure[0], way)

    def test_https_at_a_server_that_speaks_http_is_explained(self, way: Way) -> None:
        with RawServer(lambda _: answer(400), hasty=True) as server:
            error = refused(at(f"https://127.0.0.1:{server.port}"), way=way)
        assert "https" in error.hint

    def test_http_at_a_server_that_speaks_https_is_a_network_failure(
        self, secure: tuple[S3Config, Path], way: Way
    ) -> None:
        refused(at(str(secure[0].endpoint_url).replace("https", "http")), NetworkFailure, way)

    @pytest.mark.parametrize(
        "way", [*((S3Store, method) for method in ("read", "read_range", "head", "check")), *WAYS[1:]], ids=str
    )
    def test_encryption_that_breaks_off_is_a_network_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way
    ) -> None:
        file = certificate(tmp_path, "localhost", days=100)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
        etag = f'ETag: "{md5_of(DATA).hex()}"\r\nContent-Range: bytes 10-1009/{len(DATA)}'
        half = f"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n{etag}\r\n\r\n".encode() + bytes(100)
        told = half if way[1].startswith("read") else half[:50]
        with tls_server(file, told, noise=b"\x17\x03\x03\x00\x20" + bytes(32)) as server:
            config = at(f"https://localhost:{server.port}")
            refused(config, NetworkFailure, way)


class TestNoCredentials:
    """Without keys in the configuration, those count that the AWS SDK finds."""

    NOBODY = replace(MADE_UP, endpoint_url="http://127.0.0.1:9", access_key=None, secret_key=None, session_token=None)

    @pytest.fixture(autouse=True)
    def _nothing_to_find(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def test_it_is_said_that_there_are_none(self, way: Way) -> None:
        assert "access_key" in refused(self.NOBODY, way=way).hint

    @pytest.mark.parametrize(
        "process",
        [
            """echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"2000-01-01T00:00:00Z"}'""",
            "false",
        ],
        ids=["expired", "failing"],
    )
    def test_those_that_cannot_be_used_are_as_good_as_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way, process: str
    ) -> None:
        script = tmp_path / "credentials"
        script.write_text(f"#!/bin/sh\n{process}\n")
        script.chmod(0o700)
        settings = tmp_path / "config"
        settings.write_text(f"[default]\ncredential_process = {script}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
        assert "AWS SDK" in refused(self.NOBODY, way=way).hint
