"""The site that everybody reads, at a server that says what a test wants."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lab.certificates import certificate
from mastosync.errors import NetworkFailure, ObjectRejected, ServerFailure, StoreUnusable, Throttled
from mastosync.store.http.public_site import HttpPublicSite
from tests.contract.test_s3_check import tls_server
from tests.support.raw_server import Answers, RawRequest, RawServer, answer
from tests.support.s3_clients import MADE_UP

LISTING = b"<?xml version='1.0'?><ListBucketResult><Name>bucket</Name></ListBucketResult>"


@contextmanager
def site(answers: Answers, path: str = "/bucket") -> Iterator[HttpPublicSite]:
    with RawServer(answers) as server, closing(at(server.endpoint_url + path)) as made:
        yield made


def at(url: str) -> HttpPublicSite:
    return HttpPublicSite(url, MADE_UP, connections=2)


def test_an_object_is_read_as_it_comes() -> None:
    asked: list[RawRequest] = []

    def told(request: RawRequest) -> bytes:
        asked.append(request)
        return answer(200, b"data", "Cache-Control: public, max-age=1\r\n", content_type="image/png")

    with site(told) as made:
        found = made.read("a b/ü+%?#.png")
    assert (found.status, found.size, found.content_type, found.cache_control) == (
        200,
        4,
        "image/png",
        "public, max-age=1",
    )
    assert found.md5 == hashlib.md5(b"data").digest()
    assert not found.is_elsewhere
    assert not found.is_encoded
    assert asked[0].head.startswith(b"GET /bucket/a%20b/%C3%BC%2B%25%3F%23.png HTTP/1.1")
    assert "authorization" not in asked[0].headers
    assert not found.from_old


def test_a_media_host_is_told_whether_its_cache_will_do() -> None:
    asked: list[bool] = []

    def told(request: RawRequest) -> bytes:
        asked.append("x-media-fresh" in request.headers)
        return answer(200, b"data")

    with site(told) as made:
        for fresh in (True, False):
            made.read("a", fresh=fresh)
    assert asked == [True, False]


@pytest.mark.parametrize(("store", "from_old"), [("old", True), ("new", False), ("none", False)])
def test_a_media_host_says_whose_the_object_is(store: str, from_old: bool) -> None:
    with site(lambda _: answer(200, b"data", f"X-Media-Store: {store}\r\n")) as made:
        assert made.read("a").from_old is from_old


def test_no_word_of_a_library_tells_a_secret() -> None:
    """A redirect that repeats one, again and again, which the library then shows."""
    assert MADE_UP.secret_key is not None
    secret = MADE_UP.secret_key.reveal()
    with (
        site(lambda _: answer(302, b"", f"Location: /{secret}\r\n")) as made,
        pytest.raises(NetworkFailure, match="too many redirects") as raised,
    ):
        made.read("a")
    assert secret.lower() not in raised.value.message.lower()
    assert "***" in raised.value.message
    assert secret not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("place", ["http://[::1", "http://h:port/", "ftp://h/", "http://h:99999/", "//"])
def test_a_place_that_nobody_can_ask_is_a_fault_of_the_server(place: str) -> None:
    with (
        site(lambda _: answer(302, b"", f"Location: {place}\r\n")) as made,
        pytest.raises((ServerFailure, NetworkFailure)),
    ):
        made.read("a")


@pytest.mark.parametrize("status", [301, 401, 403, 404])
def test_a_refusal_is_an_answer(status: int) -> None:
    with site(lambda _: answer(status)) as made:
        assert made.read("a").status == status


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (answer(503, b"", "Retry-After: 7\r\n"), Throttled),
        (answer(429), Throttled),
        (answer(408), ServerFailure),
        (answer(407), ObjectRejected),
        (answer(421), ObjectRejected),
        (answer(425), ObjectRejected),
        (answer(500), ServerFailure),
        (answer(200, b"data")[:-2], NetworkFailure),
        (b"", NetworkFailure),
        (b"nonsense\r\n\r\n", NetworkFailure),
    ],
)
def test_what_may_pass_or_says_nothing_is_an_error(told: bytes, error: type[Exception]) -> None:
    with site(lambda _: told) as made, pytest.raises(error):
        made.read("a")


def test_nobody_there_is_an_error() -> None:
    with closing(at("http://127.0.0.1:9")) as made, pytest.raises(NetworkFailure, match=r"127\.0\.0\.1:9"):
        made.lists()


def test_somebody_is_sent_on_by_a_cdn_but_not_for_ever() -> None:
    def once(request: RawRequest) -> bytes:
        sent_on = request.head.startswith(b"GET /elsewhere")
        return answer(200, b"data") if sent_on else answer(302, headers="Location: /elsewhere\r\n")

    with site(once) as made:
        found = made.read("a")
        assert (found.status, found.size, found.is_elsewhere) == (200, 4, True)
    with site(lambda _: answer(302, headers="Location: /again\r\n")) as made, pytest.raises(NetworkFailure):
        made.read("a")


def lists_at(path: str) -> Callable[[RawRequest], bytes]:
    return lambda request: answer(200, LISTING) if request.head.split(b" ")[1] == path.encode() else answer(403)


@pytest.mark.parametrize("query", ["", "?list-type=2&max-keys=1", "?max-keys=1"])
def test_a_listing_is_found_however_it_is_asked_for(query: str) -> None:
    with site(lists_at(f"/bucket/{query}")) as made:
        assert made.lists()


def test_a_page_of_welcome_is_no_listing() -> None:
    with site(lambda _: answer(200, b"<html>welcome</html>")) as made:
        assert not made.lists()


# --- certificates ---


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a site whose certificate no public authority has signed, and that certificate."""
    file = certificate(tmp_path, "localhost", days=100)
    with tls_server(file, answer(200, b"data")) as server:
        yield f"https://localhost:{server.port}/bucket", file


def read_at(url: str, **keys: object) -> None:
    with closing(HttpPublicSite(url, replace(MADE_UP, **keys), connections=2)) as made:  # type: ignore[arg-type]
        assert made.read("key").size == 4


def test_an_unknown_authority_is_refused_with_what_to_name(secure: tuple[str, Path]) -> None:
    with pytest.raises(StoreUnusable, match="localhost") as caught:
        read_at(secure[0])
    assert "ca_bundle" in caught.value.hint


def test_that_of_the_configuration_is_trusted_for_its_own_name(secure: tuple[str, Path]) -> None:
    url, file = secure
    read_at(url, ca_bundle=file)
    with pytest.raises(StoreUnusable):
        read_at(url.replace("localhost", "127.0.0.1"), ca_bundle=file)


def test_a_site_of_a_public_authority_passes_beside_a_store_of_ones_own(
    secure: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias host is often a CDN, with another certificate than the store behind it."""
    url, public = secure
    monkeypatch.setenv("AWS_CA_BUNDLE", str(public))
    read_at(url, ca_bundle=certificate(tmp_path, "store.example", days=100))


def test_without_verification_anybody_is_believed(secure: tuple[str, Path]) -> None:
    read_at(secure[0].replace("localhost", "127.0.0.1"), verify_tls=False)
