"""What a store makes of answers to somebody without credentials: given the object, refused, or nothing is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mastosync.errors import MastosyncError, NetworkFailure, ObjectRejected, ServerFailure, Throttled
from mastosync.store.s3.boto_store import S3Store
from mastosync.store.s3.curl_store import CurlStore
from tests.support.raw_server import RawRequest, RawServer, answer
from tests.support.s3_clients import DATA, StoreClass, Wire, at, md5_of, opened

KEY = "accounts/avatars/000/000/001/original/a.png"
ETAG = f'ETag: "{md5_of(DATA).hex()}"\r\n'
OBJECT = answer(200, DATA, ETAG, "image/png")
PAGE = answer(200, b"<html>log in, please</html>")
ELSEWHERE = "/login"


@pytest.fixture(params=[S3Store, CurlStore], ids=lambda kind: kind.__name__)
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    kind: StoreClass = request.param
    with RawServer(lambda _: b"") as server, opened(at(server.endpoint_url), kind=kind) as store:
        yield Wire(server, store)


def reads(wire: Wire, told: bytes, elsewhere: bytes = PAGE, described: bytes = answer(200, b"", ETAG)) -> bool:
    """What is known when strangers are told this, and at `ELSEWHERE` that; whoever has a key finds the object."""
    length = f"Content-Length: {len(DATA)}\r\n".encode()

    def answers(request: RawRequest) -> bytes:
        method, target, _ = request.head.decode().split(" ", 2)
        if method == "HEAD":
            assert "authorization" in request.headers
            return described.replace(b"Content-Length: 0\r\n", length)
        assert "authorization" not in request.headers
        return elsewhere if target.endswith(ELSEWHERE) else told

    wire.server.answers = answers
    return wire.store.anybody_reads(KEY)


def redirect(status: int, to: str = ELSEWHERE) -> bytes:
    return answer(status, b"", f"Location: {to}\r\n")


@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.parametrize("headers", [ETAG, "", 'ETag: "another"\r\n'])
def test_who_is_given_as_many_bytes_reads_it(wire: Wire, status: int, headers: str) -> None:
    assert reads(wire, answer(status, DATA, headers, "image/png"))


@pytest.mark.parametrize("described", [answer(403), answer(404), answer(501)])
def test_who_is_given_anything_reads_it_where_nobody_can_describe_the_object(wire: Wire, described: bytes) -> None:
    assert reads(wire, PAGE, described=described)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 451])
def test_who_is_refused_does_not(wire: Wire, status: int) -> None:
    assert not reads(wire, answer(status, b"no"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_as_everybody_does(wire: Wire, status: int) -> None:
    """What can be had at its end can be had; a page that asks for a name and a password is a refusal."""
    assert reads(wire, redirect(status), elsewhere=OBJECT)
    assert not reads(wire, redirect(status), elsewhere=PAGE)
    assert not reads(wire, redirect(status), elsewhere=answer(403))
    wire.server.requests.clear()
    assert not reads(wire, redirect(status, f"{wire.server.endpoint_url}{ELSEWHERE}"), elsewhere=answer(404))
    assert len(wire.server.requests) == 2


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (PAGE, ObjectRejected),  # a proxy's, which others may pass
        (answer(200, b"{}", content_type="application/json"), ObjectRejected),
        (answer(204), ObjectRejected),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ObjectRejected),
        (answer(300), ServerFailure),
        (answer(304), ServerFailure),
        (answer(302), ServerFailure),  # to nowhere
        (answer(407), ObjectRejected),  # a proxy of ours
        (answer(408), ServerFailure),
        (answer(421), ObjectRejected),
        (answer(425), ObjectRejected),
        (answer(429), Throttled),
        (answer(500), ServerFailure),
        (answer(501), ObjectRejected),
        (answer(503), Throttled),
        (b"", NetworkFailure),
    ],
    ids=lambda told: told[9:12].decode() if isinstance(told, bytes) else "",
)
def test_any_other_answer_says_nothing(wire: Wire, told: bytes, kind: type[MastosyncError]) -> None:
    with pytest.raises(kind) as caught:
        reads(wire, told)
    assert caught.value.hint
    assert repr(KEY) in caught.value.message
    assert wire.server.endpoint_url in caught.value.message


@pytest.mark.parametrize(
    "elsewhere",
    [
        answer(500),
        answer(304),
        *map(answer, (407, 408, 421, 425)),
        answer(200, b"{}", content_type="application/json"),
        b"",
    ],
)
def test_a_redirect_to_somewhere_that_says_nothing_says_nothing(wire: Wire, elsewhere: bytes) -> None:
    with pytest.raises((ServerFailure, ObjectRejected, NetworkFailure)):
        reads(wire, redirect(302), elsewhere=elsewhere)


def test_redirects_in_a_circle_say_nothing(wire: Wire) -> None:
    with pytest.raises(NetworkFailure):
        reads(wire, redirect(302), elsewhere=redirect(302))


def test_a_redirect_is_followed_without_a_word_of_the_session(wire: Wire) -> None:
    config = replace(at(wire.server.endpoint_url), access_key="AKIDENTIFIED")
    with opened(config) as store:
        assert not reads(Wire(wire.server, store), redirect(302))
    assert all(b"AKIDENTIFIED" not in request.head for request in wire.server.requests)
