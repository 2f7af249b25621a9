"""Fetching from servers that lie, stall and lead astray. Loopback is refused unless a test names it."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_network
from pathlib import Path

import pycurl
import pytest

from mastosync.errors import (
    Interrupted,
    NetworkFailure,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectTooLarge,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.store.http import fetcher as fetching
from mastosync.store.http.fetcher import CurlOriginFetcher
from tests.support.raw_server import RawRequest, RawServer, answer
from tests.support.waiting import PATIENCE_SECONDS

LOOPBACK = (ip_network("127.0.0.0/8"),)
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 100
MOST = 1_000_000


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer(lambda _: answer(200, PNG, content_type="image/png")) as made:
        yield made


@pytest.fixture
def fetcher() -> Iterator[CurlOriginFetcher]:
    with closing(CurlOriginFetcher(allowed=LOOPBACK)) as made:
        yield made


def redirect(to: str, status: int = 302) -> bytes:
    return answer(status, headers=f"Location: {to}\r\n")


def target_of(request: RawRequest) -> str:
    return request.head.split(b" ")[1].decode()


def fetched(fetcher: CurlOriginFetcher, url: str, most: int = MOST) -> bytes:
    found = fetcher.fetch(url, most)
    with closing(found):
        content = found.file.read()
    assert (found.size, found.md5) == (len(content), hashlib.md5(content).digest())
    assert found.head == content[:16]
    return content


def test_a_file_is_fetched_once_and_we_say_who_we_are(server: RawServer, fetcher: CurlOriginFetcher) -> None:
    assert fetched(fetcher, f"{server.endpoint_url}/media/a%20b.png?x=1&y=ü") == PNG
    (request,) = server.requests
    assert target_of(request) == "/media/a%20b.png?x=1&y=%C3%BC"
    assert request.headers["user-agent"].startswith("mastosync/")
    assert "Mastodon" in request.headers["user-agent"]
    assert "accept-encoding" not in request.headers
    assert not {"cookie", "authorization", "referer"} & set(request.headers)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]"])
def test_what_leads_to_this_machine_is_not_connected_to(server: RawServer, host: str) -> None:
    port = server.endpoint_url.rpartition(":")[2]
    with closing(CurlOriginFetcher()) as guarded, pytest.raises(ObjectDenied, match="not asked"):
        guarded.fetch(f"http://{host}:{port}/a.png", MOST)
    assert server.connections == 0


def test_a_name_that_has_another_address_when_it_is_connected_to_is_refused(server: RawServer) -> None:
    """As with DNS rebinding: whatever the name was before, the address that is connected to counts."""
    port = server.endpoint_url.rpartition(":")[2]
    with closing(CurlOriginFetcher()) as guarded:
        guarded._curl.setopt(pycurl.RESOLVE, [f"media.example.com:{port}:127.0.0.1"])
        with pytest.raises(ObjectDenied, match="this machine"):
            guarded.fetch(f"http://media.example.com:{port}/a.png", MOST)
    assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "gopher://127.0.0.1/x",
        "javascript:alert(1)",
        "//example.com/a.png",
        "/a.png",
        "",
        "http://",
        "http://user:word@example.com/",
        "http://example.com:port/",
        "http://[::1/",
        "http://example.com/" + "a" * 5000,
    ],
)
def test_what_is_no_url_to_ask_is_not_asked(fetcher: CurlOriginFetcher, url: str) -> None:
    with pytest.raises(ObjectDenied, match="not asked"):
        fetcher.fetch(url, MOST)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_three_redirects_are_followed_and_a_fourth_is_not(
    server: RawServer, fetcher: CurlOriginFetcher, status: int
) -> None:
    def answers(request: RawRequest) -> bytes:
        left = int(target_of(request).rpartition("/")[2])
        return redirect(f"/{left - 1}", status) if left else answer(200, PNG)

    server.answers = answers
    assert fetched(fetcher, f"{server.endpoint_url}/3") == PNG
    server.requests.clear()
    with pytest.raises(ObjectMissing, match="redirects"):
        fetcher.fetch(f"{server.endpoint_url}/4", MOST)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "to",
    [
        *("file:///etc/passwd", "http://169.254.169.254/latest/", "http://[::1]:80/", "http://u@h/"),
        *("http://[x", "//[::1", "http://h:port/"),
    ],
)
def test_a_redirect_is_looked_at_as_the_first_url_is(server: RawServer, fetcher: CurlOriginFetcher, to: str) -> None:
    server.answers = lambda _: redirect(to)
    with pytest.raises(ObjectDenied):
        fetcher.fetch(f"{server.endpoint_url}/a.png", MOST)


def test_a_redirect_in_letters_of_any_kind_leads_there(server: RawServer, fetcher: CurlOriginFetcher) -> None:
    where = "Location: /gr\u00fc\u00df.png\r\n".encode().decode("latin-1")  # UTF-8, as servers send it
    server.answers = lambda request: answer(302, headers=where) if target_of(request) == "/a" else answer(200, PNG)
    assert fetched(fetcher, f"{server.endpoint_url}/a") == PNG
    assert target_of(server.requests[-1]) == "/gr%C3%BC%C3%9F.png"


def test_nothing_leads_out_of_https() -> None:
    with pytest.raises(ObjectDenied, match="out of https"):
        fetching._plain("http://example.com/a.png", before="https://example.com/")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 204, 206, 304, 302])
def test_what_its_server_does_not_give_is_missing(server: RawServer, fetcher: CurlOriginFetcher, status: int) -> None:
    server.answers = lambda _: answer(status, b"" if status in (204, 304) else b"no")
    with pytest.raises(ObjectMissing, match=str(status)):
        fetcher.fetch(f"{server.endpoint_url}/a.png", MOST)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_server_in_trouble_may_be_asked_again(server: RawServer, fetcher: CurlOriginFetcher, status: int) -> None:
    server.answers = lambda _: answer(status, b"oh")
    with pytest.raises(ServerFailure, match=str(status)):
        fetcher.fetch(f"{server.endpoint_url}/a.png", MOST)


@pytest.mark.parametrize("status", [429, 503])
def test_a_wish_for_patience_is_heard(server: RawServer, fetcher: CurlOriginFetcher, status: int) -> None:
    server.answers = lambda _: answer(status, headers="Retry-After: 7\r\n")
    with pytest.raises(Throttled) as caught:
        fetcher.fetch(f"{server.endpoint_url}/a.png", MOST)
    assert caught.value.retry_after_seconds == 7


def test_more_than_allowed_is_not_taken_whatever_was_announced(server: RawServer, fetcher: CurlOriginFetcher) -> None:
    assert len(fetched(fetcher, f"{server.endpoint_url}/a.png", len(PNG))) == len(PNG)
    with pytest.raises(ObjectTooLarge, match="607"):
        fetcher.fetch(f"{server.endpoint_url}/a.png", len(PNG) - 1)
    server.answers = lambda _: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PNG  # announces nothing
    with pytest.raises(ObjectTooLarge):
        fetcher.fetch(f"{server.endpoint_url}/a.png", len(PNG) - 1)


def test_what_is_cut_off_is_no_file(server: RawServer, fetcher: CurlOriginFetcher) -> None:
    server.answers = lambda _: answer(200, PNG)[:-10]
    with pytest.raises(NetworkFailure):
        fetcher.fetch(f"{server.endpoint_url}/a.png", MOST)


def test_what_is_packed_is_not_unpacked(server: RawServer, fetcher: CurlOriginFetcher) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    server.answers = lambda _: answer(200, bomb, headers="Content-Encoding: gzip\r\n")
    with pytest.raises(ObjectMissing, match="compressed"):
        fetcher.fetch(f"{server.endpoint_url}/a.png", MOST)


def test_an_empty_file_is_none(server: RawServer, fetcher: CurlOriginFetcher) -> None:
    server.answers = lambda _: answer(200)
    with pytest.raises(ObjectMissing, match="empty"):
        fetcher.fetch(f"{server.endpoint_url}/a.png", MOST)


@contextmanager
def trickling(send: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that takes its time: `send` answers one connection, and is told when to end."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                send(connection, over)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/a.png"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    "begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome"], ids=["silent", "stuck"]
)
def test_a_wish_to_stop_breaks_a_fetch_off(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("SILENCE_SECONDS", "WHOLE_SECONDS"):
        monkeypatch.setattr(fetching, limit, 600)
    stopped = threading.Event()

    def stall(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(begun)
        stopped.set()
        over.wait(60)

    began = time.monotonic()
    with trickling(stall) as url, closing(CurlOriginFetcher(allowed=LOOPBACK, stopped=stopped.is_set)) as fetcher:
        with pytest.raises(Interrupted):
            fetcher.fetch(url, MOST)
        assert time.monotonic() - began < PATIENCE_SECONDS, "it waits for no time-out"


def test_silence_ends_after_its_time(fetcher: CurlOriginFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "SILENCE_SECONDS", 1)

    def stall(_: socket.socket, over: threading.Event) -> None:
        over.wait(60)

    with trickling(stall) as url, pytest.raises(NetworkFailure, match="slow"):
        fetcher.fetch(url, MOST)


def test_a_drip_ends_with_the_time_for_the_whole(fetcher: CurlOriginFetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WHOLE_SECONDS", 1)

    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not over.wait(0.02):
            try:
                connection.sendall(b"xx")
            except OSError:
                return

    with trickling(drip) as url, pytest.raises(NetworkFailure, match="timed out"):
        fetcher.fetch(url, MOST)


def test_the_limits_are_those_of_mastodon() -> None:
    limits = (fetching.CONNECT_SECONDS, fetching.SILENCE_SECONDS, fetching.WHOLE_SECONDS, fetching.REDIRECTS_AT_MOST)
    assert limits == (5, 10, 30, 3)


def test_proxies_of_the_environment_are_only_taken_when_asked(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(lambda _: answer(200, b"GIF89a of the proxy")) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.endpoint_url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with closing(CurlOriginFetcher(allowed=LOOPBACK)) as direct:
            assert fetched(direct, f"{server.endpoint_url}/a.png") == PNG
        assert proxy.connections == 0
        with closing(CurlOriginFetcher(through_proxies=True)) as asking:
            assert fetched(asking, "http://media.example.com/a.gif") == b"GIF89a of the proxy"
            for url in ("http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://127.0.0.1/"):
                with pytest.raises(ObjectDenied):
                    asking.fetch(url, MOST)
        assert len(proxy.requests) == 1


SPELLED = (
    *("0x7f.1", "0177.0.0.1", "2130706433", "127.1", "127.0.0.1.", "LocalHost", "a.localhost", "[::1%25lo]"),
    *("0xa9fea9fe", "169.254.43518", "[::ffff:169.254.169.254]", "010.0.0.1", "256.256.256.256", "1.2.3.4.5"),
    *("\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\u2460\u2461\u2466.1", "127.0.0.1\u00ad"),
    *("%31%32%37.1", "%EF%BC%91%32%37.1", "localhost%2e", "a%00b.example", "a%2fb.example", "exa mple.com"),
)
"""Hosts that mean this machine, a private network or nothing at all, in forms that a proxy may understand."""


@pytest.mark.parametrize("host", SPELLED)
def test_no_proxy_is_asked_for_an_address_in_another_form(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    location = f"http://{host}/a.gif".encode().decode("latin-1")  # as a server sends letters of any kind
    with RawServer(lambda _: redirect(location)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.endpoint_url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with closing(CurlOriginFetcher(through_proxies=True)) as asking:
            with pytest.raises(ObjectDenied, match="not asked"):
                asking.fetch(f"http://{host}/a.gif", MOST)
            assert len(proxy.requests) == 0
            with pytest.raises(ObjectDenied, match="not asked"):
                asking.fetch("http://media.example.com/a.gif", MOST)
        assert len(proxy.requests) == 1, "the redirect is not followed"


def test_no_key_in_a_url_is_shown(server: RawServer, fetcher: CurlOriginFetcher) -> None:
    server.answers = lambda _: answer(404)
    with pytest.raises(ObjectError) as caught:
        fetcher.fetch(f"{server.endpoint_url}/a.png?signature=marked-secret", MOST)
    assert "marked-secret" not in caught.value.message


@pytest.mark.parametrize("url", ["http://user:marked-secret@example.com/a.png", "ftp://marked-secret@example.com/"])
def test_no_password_in_a_url_is_shown(fetcher: CurlOriginFetcher, url: str) -> None:
    with pytest.raises(ObjectDenied, match=r"example\.com/") as caught:
        fetcher.fetch(url, MOST)
    assert "marked-secret" not in caught.value.message


def test_no_password_in_a_redirect_is_shown(server: RawServer, fetcher: CurlOriginFetcher) -> None:
    server.answers = lambda _: redirect("http://user:marked-secret@example.com/a.png")
    with pytest.raises(ObjectDenied, match=r"example\.com/") as caught:
        fetcher.fetch(f"{server.endpoint_url}/a.png", MOST)
    assert "marked-secret" not in caught.value.message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("buffer_bytes", [0, 1_000_000], ids=["as it comes", "in the end"])
def test_a_full_disk_here_is_not_laid_to_the_server(
    server: RawServer,
    fetcher: CurlOriginFetcher,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    buffer_bytes: int,
) -> None:
    full = Path("/dev/full").open("wb", buffer_bytes)  # noqa: SIM115 - closed by whom it is given to
    monkeypatch.setattr(fetching, "SpooledTemporaryFile", lambda _: full)
    with pytest.raises(StoreUnusable, match="No space left") as caught:
        fetcher.fetch(f"{server.endpoint_url}/a.png", MOST)
    assert "TMPDIR" in (caught.value.hint or "")
    assert len(server.requests) == 1
    assert capfd.readouterr().err == ""
