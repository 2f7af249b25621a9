"""What libcurl does of its own accord, and must do as boto3 does it: beside the tests that both clients share."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from mastosync.errors import (
    MastosyncError,
    NetworkFailure,
    ObjectDenied,
    ObjectMissing,
    ObjectRejected,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.store.base import ObjectStore, PutOptions
from mastosync.store.s3.boto_client import credentials_of, make_client, route_to
from mastosync.store.s3.curl_store import CurlStore
from tests.support.object_stores import ODD_KEYS
from tests.support.raw_server import RawRequest, RawServer, answer
from tests.support.s3_clients import DATA, MADE_UP, PLAIN, STORES, StoreClass, at, md5_of, opened
from tests.support.waiting import PATIENCE_SECONDS, open_sockets, wait_until

ETAG = f'ETag: "{md5_of(DATA).hex()}"\r\n'
FULL = PutOptions(
    ObjectHeaders(
        "a/b", "no-cache", 'inline; filename="ä  🐘.png"', "de", "gzip", (("none", ""), ("one", "ünï"), ("two", "2  3"))
    ),
    "public-read",
    "STANDARD_IA",
)


def good(request: RawRequest) -> bytes:
    return answer(200, b"" if request.head.startswith(b"PUT") else DATA, ETAG)


def cut_off(told: bytes, _: RawRequest) -> bytes:
    return told


def hang_up(_: RawRequest) -> bytes:
    raise ConnectionError


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer(good, keep_alive=True) as server:
        yield server


@pytest.fixture
def store(server: RawServer) -> Iterator[ObjectStore]:
    with opened(at(server.endpoint_url), kind=CurlStore) as store:
        yield store


def read(store: ObjectStore, key: str = "key") -> None:
    assert store.read(key, 1_000_000).data == DATA


def write(store: ObjectStore, key: str = "key", options: PutOptions = PLAIN) -> None:
    store.write(key, DATA, md5_of(DATA), options)


class TestSameRequests:
    """What arrives is what boto3 sends."""

    def sent(self, server: RawServer, store_class: StoreClass, key: str, options: PutOptions) -> list[RawRequest]:
        server.requests.clear()
        with opened(at(server.endpoint_url), kind=store_class) as store:
            read(store, key)
            write(store, key, options)
        return list(server.requests)

    def test_every_key_has_the_same_address(self, server: RawServer) -> None:
        asked = []
        for store_class in STORES:
            server.requests.clear()
            with opened(at(server.endpoint_url), kind=store_class) as store:
                for key in ODD_KEYS:
                    read(store, key)
                    write(store, key)
            asked.append([request.head.partition(b"\r\n")[0] for request in server.requests])
        assert asked[0] == asked[1] == asked[2]
        assert len(asked[0]) == 2 * len(ODD_KEYS)

    @pytest.mark.parametrize("style", ["path", "virtual"])
    @pytest.mark.parametrize("path", ["", "/a/b"])
    def test_a_store_is_checked_in_the_same_way(
        self, server: RawServer, monkeypatch: pytest.MonkeyPatch, style: str, path: str
    ) -> None:
        monkeypatch.setenv("http_proxy", server.endpoint_url)  # which is told the whole address
        server.answers = lambda _: answer(200, b"<ListBucketResult><Name>my-bucket</Name></ListBucketResult>")
        for store_class in STORES:
            with opened(replace(at(f"http://store.invalid{path}"), addressing_style=style), kind=store_class) as store:
                store.check()
        asked = [urlsplit(request.head.split()[1].decode()) for request in server.requests]
        assert len(asked) == len(STORES)
        assert len({(url.netloc, url.path or "/", frozenset(parse_qsl(url.query))) for url in asked}) == 1

    @pytest.mark.parametrize("options", [FULL, PLAIN, PutOptions(ObjectHeaders())], ids=["full", "plain", "none"])
    def test_every_header_is_the_same(self, server: RawServer, options: PutOptions) -> None:
        own = {"accept", "accept-encoding", "user-agent", "amz-sdk-request", "amz-sdk-invocation-id"}
        own |= {"authorization", "x-amz-date", "x-amz-content-sha256"}
        theirs, *others = (self.sent(server, kind, "key", options) for kind in STORES)
        for ours in others:
            for their, our in zip(theirs, ours, strict=True):
                assert dict(their.headers.items() - own_of(their, own)) == dict(our.headers.items() - own_of(our, own))
                assert their.body == our.body

    def test_compressed_bytes_are_asked_for_as_they_are(self, server: RawServer, store: ObjectStore) -> None:
        read(store)
        (request,) = server.requests
        assert request.headers["accept-encoding"] == "identity"
        assert b"accept-encoding" not in request.headers["authorization"].encode()

    def test_a_header_of_two_lines_is_never_sent(self, server: RawServer, store: ObjectStore) -> None:
        for headers in (ObjectHeaders("a/b\r\nx-amz-acl: public-read"), ObjectHeaders(cache_control="a\nb")):
            with pytest.raises(ObjectRejected, match="key"):
                write(store, options=PutOptions(headers))
        assert server.requests == []


def own_of(request: RawRequest, names: set[str]) -> set[tuple[str, str]]:
    return {(name, value) for name, value in request.headers.items() if name in names}


class TestAddresses:
    @pytest.mark.parametrize(
        ("endpoint_url", "bucket", "style", "url"),
        [
            ("https://s3.example.com", "media", "path", "https://s3.example.com/media/"),
            ("https://s3.example.com", "media", "virtual", "https://media.s3.example.com/"),
            ("https://s3.example.com", "media.example.com", "auto", "https://s3.example.com/media.example.com/"),
            ("https://s3.example.com:8443/a/b", "media", "path", "https://s3.example.com:8443/a/b/media/"),
            ("http://127.0.0.1:9000", "media", "auto", "http://127.0.0.1:9000/media/"),
            (None, "media", "auto", "https://media.s3.eu-west-1.amazonaws.com/"),
            (None, "media", "path", "https://s3.eu-west-1.amazonaws.com/media/"),
        ],
    )
    def test_a_bucket_lies_where_boto3_looks_for_it(
        self, endpoint_url: str | None, bucket: str, style: str, url: str
    ) -> None:
        config = replace(MADE_UP, endpoint_url=endpoint_url, bucket=bucket, addressing_style=style, region="eu-west-1")
        with closing(make_client(config, 1)) as client:
            route = route_to(client, bucket)
        assert (route.url, route.region) == (url, "eu-west-1")

    def test_to_look_for_it_asks_nobody(self, server: RawServer) -> None:
        with opened(at(server.endpoint_url), kind=CurlStore) as store:
            assert server.connections == 0
            server.answers = lambda _: answer(400)
            with pytest.raises(StoreUnusable):
                store.check()
            server.answers = lambda _: answer(404)
            with pytest.raises(ObjectMissing):
                store.head("key")  # and boto3 asks as before
        assert len(server.requests) == 2

    @pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
    @pytest.mark.parametrize(("exception", "by_proxy"), [("", True), ("example.org", True), ("store.invalid", False)])
    def test_a_proxy_of_the_environment_is_used_as_by_boto3(
        self, server: RawServer, monkeypatch: pytest.MonkeyPatch, name: str, exception: str, by_proxy: bool
    ) -> None:
        for other in ("http_proxy", "HTTP_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(other, raising=False)
        monkeypatch.setenv(name, server.endpoint_url)
        monkeypatch.setenv("no_proxy", exception)
        for store_class in STORES:
            server.requests.clear()
            with opened(at("http://store.invalid"), kind=store_class) as store:
                if by_proxy:
                    read(store)
                else:
                    with pytest.raises(NetworkFailure):
                        read(store)
            assert [request.head.split()[1] for request in server.requests] == (
                [b"http://store.invalid/my-bucket/key"] if by_proxy else []
            )


class TestCredentials:
    def test_those_that_are_renewed_are_taken_anew(
        self, server: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A process hands out keys that expire at once, so that each request needs new ones."""
        count = tmp_path / "count"
        script, settings = tmp_path / "credentials", tmp_path / "config"
        script.write_text(
            f"""#!/bin/sh
            echo x >> {count}
            n=$(wc -l < {count})
            soon=$(date -u -d '+60 seconds' +%Y-%m-%dT%H:%M:%SZ)
            echo '{{"Version": 1, "AccessKeyId": "KEY'$n'", "SecretAccessKey": "S", "SessionToken": "T'$n'",'
            echo '"Expiration": "'$soon'"}}'
            """
        )
        script.chmod(0o700)
        settings.write_text(f"[default]\ncredential_process = {script}\n")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        config = replace(at(server.endpoint_url), access_key=None, secret_key=None, session_token=None)
        with opened(config, kind=CurlStore) as store:
            read(store)
            read(store)
        tokens = [request.headers["x-amz-security-token"] for request in server.requests]
        keys = [
            request.headers["authorization"].partition("Credential=")[2].partition("/")[0]
            for request in server.requests
        ]
        assert len(set(tokens)) == 2
        assert [key.replace("KEY", "T") for key in keys] == tokens

    def test_those_of_a_file_are_read_again_as_soon_as_it_is_another(
        self, server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_class: StoreClass
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        config = replace(at(server.endpoint_url), access_key=None, secret_key=None, session_token=None)
        for name in ("FIRST", "OTHER"):
            (tmp_path / "new").write_text(f"[default]\naws_access_key_id = {name}\naws_secret_access_key = S\n")
            (tmp_path / "new").replace(tmp_path / "credentials")
            with opened(config, kind=store_class) as store:
                read(store)
            assert f"Credential={name}/" in server.requests[-1].headers["authorization"]

    def test_keys_may_hold_any_character(self, server: RawServer) -> None:
        config = replace(at(server.endpoint_url), access_key="with:colon")
        with opened(config, kind=CurlStore) as store:
            read(store)
        (request,) = server.requests
        assert "Credential=with:colon/" in request.headers["authorization"]

    def test_those_of_the_configuration_are_told_as_they_are(self) -> None:
        with closing(make_client(at("http://127.0.0.1:9"), 1)) as client:
            found = credentials_of(client)
        assert (found.access_key, found.token) == (MADE_UP.access_key, MADE_UP.session_token.reveal())  # type: ignore[union-attr]


def refusing(status: int, code: str) -> bytes:
    return answer(status, f"<Error><Code>{code}</Code></Error>".encode(), content_type="application/xml")


PAGE = b"<html><body>Who are you?<br></body></html>"


class TestRemovals:
    """A removal that is taken for one that it is not leaves an object that nobody knows of."""

    @pytest.mark.parametrize(
        ("told", "error"),
        [
            (answer(204), None),
            (answer(200), None),
            (answer(200, b"<DeleteResult/>"), None),
            (refusing(404, "NoSuchKey"), None),
            (answer(404), None),
            (refusing(404, "NoSuchBucket"), StoreUnusable),
            (answer(404, PAGE), ServerFailure),
            (answer(404, PAGE + b" " * 400_000), ServerFailure),
            (refusing(200, "InternalError"), ServerFailure),
            (refusing(200, "SlowDown"), Throttled),
            (answer(200, PAGE), ServerFailure),
            (answer(200, PAGE + b" " * 400_000), ServerFailure),
            (answer(200, b'{"error": "login"}', content_type="application/json"), ServerFailure),
            (answer(301, b"", "Location: http://127.0.0.1:9/\r\n"), StoreUnusable),
            (refusing(403, "AccessDenied"), ObjectDenied),
            (refusing(405, "MethodNotAllowed"), ObjectRejected),
            (refusing(409, "OperationAborted"), ServerFailure),
            (refusing(429, "TooManyRequests"), Throttled),
            (refusing(503, "SlowDown"), Throttled),
            (b"", NetworkFailure),
        ],
    )
    def test_each_is_what_the_store_says(
        self, server: RawServer, store_class: StoreClass, told: bytes, error: type[MastosyncError] | None
    ) -> None:
        server.answers = partial(cut_off, told)
        with closing(store_class(at(server.endpoint_url), role="destination", connections=1)) as store:
            if error is None:
                store.delete("a/b.png")
            else:
                with pytest.raises(error):
                    store.delete("a/b.png")
        assert [request.head.split(b" ")[0] for request in server.requests] == [b"DELETE"]


@pytest.mark.parametrize("size", [10, 400_000])
@pytest.mark.parametrize("length", ["told", "chunked", "until the end"])
def test_a_page_with_404_does_not_say_that_an_object_is_missing(
    store_class: StoreClass, size: int, length: str
) -> None:
    """Whatever its size, and whether it is told: it is of somebody in between, who knows of no objects."""
    page = PAGE + b" " * size
    head = b"HTTP/1.1 404 No\r\nContent-Type: text/html\r\n"
    told = {
        "told": answer(404, page),
        "chunked": head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(page), page),
        "until the end": head + b"Connection: close\r\n\r\n" + page,
    }[length]
    with RawServer(partial(cut_off, told)) as server, opened(at(server.endpoint_url), kind=store_class) as store:
        with pytest.raises(ServerFailure):
            store.read("key", 1_000_000)
        with pytest.raises(ServerFailure):
            store.digest("key", ObjectInfo(1, "e"))


class TestConnections:
    @pytest.mark.parametrize("use", [read, write])
    def test_a_request_whose_connection_ends_is_not_sent_again(
        self, server: RawServer, store: ObjectStore, use: object
    ) -> None:
        """By itself, libcurl takes a connection that was used before for one that was closed meanwhile."""
        assert callable(use)
        use(store)
        server.answers = hang_up
        with pytest.raises(NetworkFailure):
            use(store)
        assert len(server.requests) == 2
        server.answers = good
        use(store)
        assert len(server.requests) == 3

    def test_after_a_transfer_that_broke_the_next_one_is_whole(self, server: RawServer, store: ObjectStore) -> None:
        server.keep_alive = False
        told = good(RawRequest(b"GET", b""))
        for length in (0, 10, len(told) - len(DATA), len(told) - 1):
            server.answers = partial(cut_off, told[:length])
            with pytest.raises(NetworkFailure):
                read(store)
            server.answers = good
            read(store)
            write(store)

    def test_an_endless_error_is_not_read_to_its_end(self, server: RawServer, store: ObjectStore) -> None:
        head = f"HTTP/1.1 404 Not Found\r\nContent-Length: {10**12}\r\n\r\n"
        server.answers = lambda _: head.encode() + bytes(100_000)
        with pytest.raises(ServerFailure):
            store.read("key", 10)
        with pytest.raises(ObjectRejected):
            write(store)

    def test_each_thread_has_connections_of_its_own_which_end_with_it(
        self, server: RawServer, store: ObjectStore
    ) -> None:
        everybody = threading.Barrier(16)

        def work(number: int) -> None:
            everybody.wait(PATIENCE_SECONDS)
            for _ in range(10):
                read(store, f"key-{number}")
                write(store, f"key-{number}")

        before = open_sockets()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(16)))
        assert server.connections == 32
        assert len(server.requests) == 320
        del pool
        gc.collect()
        assert end_of_all_but(before)

    def test_closing_ends_the_connections_of_every_thread(self, server: RawServer) -> None:
        before = open_sockets()
        store = CurlStore(at(server.endpoint_url), role="source", connections=4)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: read(store), range(40)))
            assert open_sockets() > before
            store.close()
            store.close()
            assert end_of_all_but(before)
            with pytest.raises(NetworkFailure):
                pool.submit(read, store).result()


def end_of_all_but(sockets: int) -> bool:
    """Whether no more than these are open after a while: the other ends are ours too, and go when they notice."""
    wait_until(lambda: open_sockets() <= sockets, "the others are closed")
    return True
