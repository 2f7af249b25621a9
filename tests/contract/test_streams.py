"""Objects that go from the answer of one request into another request, at servers that misbehave.

Whatever happens: it ends, it says who is at fault, nothing but the whole object is stored, and nothing is left open.
"""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, cast

import pytest

from lab.buckets import BucketPair
from lab.certificates import certificate
from mastosync.errors import (
    AclUnsupported,
    BodyInterrupted,
    CorruptObject,
    Interrupted,
    MastosyncError,
    NetworkFailure,
    ObjectChanged,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.store.abilities import STREAM_BYTES, StreamAnswer, StreamedDigest, StreamedObject
from mastosync.store.base import Buffer, DigestUse, FetchedObject, PutOptions
from mastosync.store.s3.curl_multiplexer import CurlMultiplexer
from mastosync.store.s3.curl_store import CurlStore
from tests.support.s3_clients import MADE_UP, PLAIN, at, config_of, md5_of, opened
from tests.support.talking_server import Talk, TalkingServer
from tests.support.waiting import PATIENCE_SECONDS, open_sockets, wait_until

pytestmark = [pytest.mark.timing, pytest.mark.timeout(90)]

WHOLE, MOST = 2 << 20, 8 << 20  # bytes: what is larger than the first is streamed, and than the second is not
DATA = random.Random(5).randbytes(5_000_000)
MD5 = md5_of(DATA)
ETAG = f'ETag: "{MD5.hex()}"\r\n'
INFO = ObjectInfo(len(DATA), MD5.hex(), etag_is_md5=True)
OTHER = md5_of(b"another")
AFTER_IT = b"after the object"


def always(_: int) -> bool:
    return True


class Digest:
    """Looks at what passes."""

    def __init__(self, refused: ObjectError | None = None) -> None:
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.refused = refused

    def update(self, data: Buffer) -> None:
        self.md5.update(data)

    def require_plausible(self) -> None:
        if self.refused is not None:
            raise self.refused


@dataclass
class Stream:
    """One object on its way, and how it is looked at."""

    digest: Digest | None = None
    sent: bytes | None = MD5
    stopped: bool = False
    begun: int = 0
    options: PutOptions = PLAIN

    def source(self, store: CurlStore, info: ObjectInfo = INFO, key: str = "object") -> StreamedObject:
        return StreamedObject(store, key, info, self.begin, lambda: self.stopped, lambda: 0.0)

    def stop_after(self, event: threading.Event) -> None:
        event.wait(PATIENCE_SECONDS)
        self.stopped = True

    def begin(self) -> StreamedDigest:
        self.begun += 1
        return StreamedDigest(self.sent, self.digest)


@dataclass
class Ends:
    """Two servers, a store at each, and a multiplexer."""

    old: TalkingServer
    new: TalkingServer
    source: CurlStore
    destination: CurlStore
    multiplexer: CurlMultiplexer
    stored: list[bytes] = field(default_factory=list)

    def give(self, talk: Talk) -> None:
        """As a source does."""
        talk.answer(200, DATA, ETAG)

    def take(self, talk: Talk) -> None:
        """As a destination does, which checks and computes."""
        body = talk.receive()
        if len(body) == talk.length:
            self.stored.append(body)
            talk.answer(200, headers=f'ETag: "{md5_of(body).hex()}"\r\n')


Move: TypeAlias = Callable[[Ends, Stream], StreamAnswer]


def results(multiplexer: CurlMultiplexer, count: int, seconds: float = PATIENCE_SECONDS) -> dict[object, object]:
    """Results, or errors, of so many requests."""
    found: dict[object, object] = {}
    deadline = time.monotonic() + seconds
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {found.keys()} came to an end"
        found |= {tag: error or result for tag, result, error in multiplexer.finished(0.05)}
    return found


def opened_body(ends: Ends, key: str = "object") -> FetchedObject:
    """The answer of an `open`. Raises: its error."""
    ends.multiplexer.begin("open", ends.source, "open", (key, WHOLE, DigestUse.CLAIMED, MOST), always)
    result = results(ends.multiplexer, 1)["open"]
    if isinstance(result, MastosyncError):
        raise result
    return cast("FetchedObject", result)


def written(ends: Ends, stream: Stream, source: StreamedObject) -> StreamAnswer:
    ends.multiplexer.begin("write", ends.destination, "write_stream", ("object", source, stream.options), always)
    result = results(ends.multiplexer, 1)["write"]
    if isinstance(result, MastosyncError):
        raise result
    return cast("StreamAnswer", result)


def from_open_body(ends: Ends, stream: Stream) -> StreamAnswer:
    """The body of the first request is sent on."""
    fetched = opened_body(ends)
    assert fetched.body is not None
    source = replace(stream.source(ends.source, fetched.info), body=fetched.body)
    return written(ends, stream, source)


def beside_others(ends: Ends, stream: Stream) -> StreamAnswer:
    """It is asked for again, in the thread of others."""
    return written(ends, stream, stream.source(ends.source))


def alone(ends: Ends, stream: Stream) -> StreamAnswer:
    """It has a thread of its own."""
    return ends.destination.write_stream("object", stream.source(ends.source), stream.options)


WAYS: list[Move] = [from_open_body, beside_others, alone]
REOPENED: list[Move] = [beside_others, alone]


@pytest.fixture
def ends() -> Iterator[Ends]:
    yield from _ends(MADE_UP.read_timeout_seconds)


@pytest.fixture
def impatient_ends() -> Iterator[Ends]:
    yield from _ends(1)


def _ends(read_timeout_seconds: float, tls: ssl.SSLContext | None = None, ca: Path | None = None) -> Iterator[Ends]:
    config = replace(MADE_UP, read_timeout_seconds=read_timeout_seconds, ca_bundle=ca)
    before = open_sockets()
    with ExitStack() as stack:
        old = stack.enter_context(TalkingServer(lambda _: None, tls))
        new = stack.enter_context(TalkingServer(lambda _: None, tls))
        source = stack.enter_context(opened(at(old.endpoint_url, config), kind=CurlStore))
        destination = stack.enter_context(opened(at(new.endpoint_url, config), kind=CurlStore))
        multiplexer = stack.enter_context(closing(CurlMultiplexer(16)))
        made = Ends(old, new, cast("CurlStore", source), cast("CurlStore", destination), multiplexer)
        old.talk, new.talk = made.give, made.take
        yield made
        assert not multiplexer._transits
        assert not multiplexer._open
        assert not multiplexer._under_way
    wait_until(lambda: open_sockets() <= before, "all connections are closed")


def assert_still_usable(ends: Ends) -> None:
    """Another object can be moved, by the same connections and handles."""
    ends.old.talk, ends.new.talk = ends.give, ends.take
    ends.stored.clear()
    assert from_open_body(ends, Stream()).etag == MD5.hex()
    assert ends.stored == [DATA]


def interrupted(ends: Ends, move: Move, stream: Stream | None = None) -> ObjectError:
    """How the source has failed."""
    with pytest.raises(BodyInterrupted) as caught:
        move(ends, stream or Stream())
    assert caught.value.failure.store == ends.source.name
    assert not ends.stored
    return caught.value.failure


# what goes well


@pytest.mark.parametrize("move", WAYS)
def test_an_object_takes_one_request_each_way(ends: Ends, move: Move) -> None:
    digest = Digest()
    assert move(ends, Stream(digest)) == StreamAnswer(MD5.hex(), etag_is_md5=True)
    assert ends.stored == [DATA]
    assert digest.md5.digest() == MD5
    assert (ends.old.requests, ends.new.requests) == (["GET object"], ["PUT object"])
    assert_still_usable(ends)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
@pytest.mark.parametrize("digest", [False, True], ids=["claimed", "hashed"])
def test_many_objects_travel_side_by_side_and_connections_are_used_again(
    digest: bool, tls: bool, tmp_path: Path
) -> None:
    context = authority = None
    if tls:
        authority = certificate(tmp_path, "127.0.0.1", 10)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority)
    for ends in _ends(10, context, authority):
        sizes = {f"{number}": WHOLE + 1 + number * 97_001 for number in range(16)}
        bodies = {key: random.Random(size).randbytes(size) for key, size in sizes.items()}
        kept: dict[str, bytes] = {}

        def give(talk: Talk, bodies: dict[str, bytes] = bodies) -> None:
            body = bodies[talk.key]
            talk.answer(200, body, f'ETag: "{md5_of(body).hex()}"\r\n')

        def take(talk: Talk, kept: dict[str, bytes] = kept) -> None:
            kept[talk.key] = body = talk.receive()
            assert talk.headers.get("content-md5")
            talk.answer(200, headers=f'ETag: "{md5_of(body).hex()}"\r\n')

        ends.old.talk, ends.new.talk = give, take
        for _ in range(2):
            kept.clear()
            for key in bodies:
                ends.multiplexer.begin(key, ends.source, "open", (key, WHOLE, DigestUse.CLAIMED, MOST), always)
            opened_bodies = results(ends.multiplexer, 16)
            for key, body in bodies.items():
                fetched = opened_bodies[key]
                assert isinstance(fetched, FetchedObject)
                assert fetched.body is not None
                stream = Stream(Digest() if digest else None, md5_of(body))
                source = replace(stream.source(ends.source, fetched.info, key), body=fetched.body)
                ends.multiplexer.begin(key, ends.destination, "write_stream", (key, source, PLAIN), always)
            answers = results(ends.multiplexer, 16)
            assert {key: cast("StreamAnswer", each).etag for key, each in answers.items()} == {
                key: md5_of(body).hex() for key, body in bodies.items()
            }
            assert kept == bodies
        assert (ends.old.opened, ends.new.opened) == (16, 16)


def test_small_objects_overtake_a_body_that_nobody_takes(ends: Ends) -> None:
    def give(talk: Talk) -> None:
        body = DATA if talk.key == "object" else AFTER_IT
        talk.answer(200, body, f'ETag: "{md5_of(body).hex()}"\r\n')

    ends.old.talk = give
    fetched = opened_body(ends)
    assert fetched.body is not None
    for number in range(20):
        assert opened_body(ends, f"small{number}").data == AFTER_IT
    source = replace(Stream().source(ends.source, fetched.info), body=fetched.body)
    assert written(ends, Stream(), source).etag == MD5.hex()
    assert ends.stored == [DATA]


def test_of_a_body_no_more_than_a_bounded_number_of_bytes_is_taken_in(ends: Ends) -> None:
    """Whether nobody takes it, or a destination that is slow."""
    go_on, sent = threading.Event(), []

    def give(talk: Talk) -> None:
        talk.answer(200, headers=ETAG, length=len(DATA))
        for start in range(0, len(DATA), 50_000):
            talk.send(DATA[start : start + 50_000])
            sent.append(50_000)

    def take(talk: Talk) -> None:
        go_on.wait(PATIENCE_SECONDS)
        ends.take(talk)

    ends.old.talk, ends.new.talk = give, take
    taken_in: list[int] = []
    fetched = opened_body(ends)
    assert fetched.body is not None
    for _ in range(20):
        ends.multiplexer.finished(0.01)
    curl = next(iter(ends.multiplexer._open))
    taken_in.append(ends.multiplexer._open[curl].reading.handle.stream._buffered)  # type: ignore[union-attr]
    source = replace(Stream().source(ends.source, fetched.info), body=fetched.body)
    ends.multiplexer.begin("write", ends.destination, "write_stream", ("object", source, PLAIN), always)
    for _ in range(20):
        assert not ends.multiplexer.finished(0.01)
    taken_in.append(ends.multiplexer._transits[curl].flow.reading.handle.stream._buffered)  # type: ignore[union-attr]
    assert max(taken_in) <= 2 * STREAM_BYTES
    go_on.set()
    assert isinstance(results(ends.multiplexer, 1)["write"], StreamAnswer)
    assert ends.stored == [DATA]


@pytest.mark.parametrize(
    ("size", "is_whole", "is_open"),
    [(WHOLE, True, False), (WHOLE + 1, False, True), (MOST, False, True), (MOST + 1, False, False)],
)
def test_limits_are_part_of_what_they_limit(ends: Ends, size: int, is_whole: bool, is_open: bool) -> None:
    body = b"x" * size
    ends.old.talk = lambda talk: talk.answer(200, body, f'ETag: "{md5_of(body).hex()}"\r\n')
    fetched = opened_body(ends)
    assert (fetched.data is not None, fetched.body is not None) == (is_whole, is_open)
    assert fetched.info.size == size
    if fetched.body is not None:
        stream = Stream(sent=md5_of(body))
        source = replace(stream.source(ends.source, fetched.info), body=fetched.body)
        assert written(ends, stream, source).etag == md5_of(body).hex()
        assert ends.stored == [body]


# sources


@pytest.mark.parametrize("move", WAYS)
@pytest.mark.parametrize("after", [0, 100, STREAM_BYTES, 3 * STREAM_BYTES, len(DATA) - 1])
@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_source_that_breaks_off_is_at_fault(ends: Ends, move: Move, after: int, how: str) -> None:
    def give(talk: Talk) -> None:
        talk.answer(200, DATA[:after], ETAG, len(DATA))
        if how == "reset":
            talk.reset()
        else:
            talk.hang_up()

    ends.old.talk = give
    may_be_early = how == "reset" or after <= STREAM_BYTES  # a reset takes away what has come and was not read
    if move is from_open_body and may_be_early:  # the `open` may have met it already
        with pytest.raises((NetworkFailure, BodyInterrupted)):
            move(ends, Stream())
    else:
        assert isinstance(interrupted(ends, move), NetworkFailure)
    assert_still_usable(ends)


@pytest.mark.parametrize("move", WAYS)
@pytest.mark.parametrize("after", [100, 2 * STREAM_BYTES, len(DATA) - 1])
def test_a_source_that_stalls_is_at_fault(impatient_ends: Ends, move: Move, after: int) -> None:
    ends, over = impatient_ends, threading.Event()

    def give(talk: Talk) -> None:
        talk.answer(200, DATA[:after], ETAG, len(DATA))
        over.wait(PATIENCE_SECONDS)
        talk.hang_up()

    ends.old.talk = give
    try:
        failure = interrupted(ends, move)
    finally:
        over.set()
    assert isinstance(failure, NetworkFailure)
    assert_still_usable(ends)


@pytest.mark.parametrize("move", WAYS)
def test_what_a_source_sends_beyond_what_it_announced_is_not_part_of_the_object(ends: Ends, move: Move) -> None:
    def give(talk: Talk) -> None:
        talk.answer(200, DATA + AFTER_IT, ETAG, len(DATA))
        talk.hang_up()

    ends.old.talk = give
    assert move(ends, Stream()).etag == MD5.hex()
    assert ends.stored == [DATA]
    assert_still_usable(ends)


@pytest.mark.parametrize("move", REOPENED)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((412, b"", ""), ObjectChanged),
        ((200, DATA, f'ETag: "{OTHER.hex()}"\r\n'), ObjectChanged),
        ((200, DATA[1:], ETAG), ObjectChanged),
        ((200, DATA + b"x", ETAG), ObjectChanged),
        ((200, DATA * 2, ETAG), ObjectChanged),
        ((200, b"", ETAG), ObjectChanged),
        ((200, AFTER_IT, ETAG), ObjectChanged),
        ((404, b"<Error><Code>NoSuchKey</Code></Error>", ""), ObjectMissing),
        ((403, b"<Error><Code>AccessDenied</Code></Error>", ""), ObjectDenied),
        ((403, b"x" * 2_000_000, ""), ObjectDenied),
        ((503, b"<Error><Code>SlowDown</Code></Error>", "Retry-After: 1\r\n"), Throttled),
        ((500, b"", ""), ServerFailure),
        ((500, b"x" * len(DATA), ETAG), ServerFailure),
        ((206, DATA, ETAG), ObjectError),
        ((200, DATA, ""), ServerFailure),
    ],
    ids=lambda each: str(each[0]) if isinstance(each, tuple) else "",
)
def test_a_source_that_gives_another_answer_when_it_is_asked_again(
    ends: Ends, move: Move, answer: tuple[int, bytes, str], kind: type[ObjectError]
) -> None:
    ends.old.talk = lambda talk: talk.answer(*answer)
    assert isinstance(interrupted(ends, move), kind)
    assert ends.new.requests == []
    assert_still_usable(ends)


@pytest.mark.parametrize("move", WAYS)
@pytest.mark.parametrize(
    "answer",
    [
        (404, b"<Error><Code>NoSuchBucket</Code></Error>"),
        (301, b"", "Location: http://127.0.0.1:1/elsewhere\r\n"),
    ],
    ids=["no bucket", "redirect"],
)
def test_a_source_that_is_elsewhere_is_no_fault_of_an_object(ends: Ends, move: Move, answer: tuple[int, bytes]) -> None:
    ends.old.talk = lambda talk: talk.answer(*answer)
    with pytest.raises(StoreUnusable):
        move(ends, Stream())
    assert_still_usable(ends)


@pytest.mark.parametrize("move", WAYS)
def test_a_source_that_announces_no_length_is_none(ends: Ends, move: Move) -> None:
    def give(talk: Talk) -> None:
        head = f"HTTP/1.1 200 OK\r\n{ETAG}Transfer-Encoding: chunked\r\n\r\n"
        talk.send(head.encode() + b"%x\r\n" % len(DATA) + DATA + b"\r\n0\r\n\r\n")

    ends.old.talk = give
    with pytest.raises((ServerFailure, BodyInterrupted), match="none of an S3 store"):
        move(ends, Stream())
    assert not ends.stored
    assert_still_usable(ends)


@pytest.mark.parametrize("move", WAYS)
def test_without_the_right_digest_the_last_byte_is_never_sent(ends: Ends, move: Move) -> None:
    refused = CorruptObject("not the bytes of the object")
    assert interrupted(ends, move, Stream(Digest(refused))) is refused
    wait_until(lambda: ends.new.cut == 1, "the destination has noticed")
    assert_still_usable(ends)


# destinations


@pytest.mark.parametrize("move", WAYS)
@pytest.mark.parametrize("lingers", [True, False], ids=["lingers", "closes"])
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "AccessControlListNotSupported", AclUnsupported),
        (403, "AccessDenied", ObjectDenied),
        (400, "BadDigest", CorruptObject),
        (400, "InvalidArgument", ObjectRejected),
        (501, "NotImplemented", AclUnsupported),
        (503, "SlowDown", Throttled),
        (500, "InternalError", ServerFailure),
    ],
)
def test_a_destination_that_refuses_before_it_has_read_a_body_is_understood(
    ends: Ends, move: Move, status: int, code: str, kind: type[ObjectError], lingers: bool
) -> None:
    over = threading.Event()

    def give(talk: Talk) -> None:
        talk.answer(200, DATA[:200_000], ETAG, len(DATA))
        over.wait(PATIENCE_SECONDS)  # the rest never comes
        talk.hang_up()

    def take(talk: Talk) -> None:
        talk.answer(status, f"<Error><Code>{code}</Code></Error>".encode(), "Connection: close\r\n")
        if lingers:
            talk.receive()
        talk.hang_up()

    if code in ("AccessDenied", "SlowDown"):
        ends.old.talk = give
    ends.new.talk = take
    options = PutOptions(ObjectHeaders(content_type="image/png"), "public-read")
    began = time.monotonic()
    try:
        with pytest.raises(ObjectError) as caught:
            move(ends, Stream(options=options))
    finally:
        over.set()
    assert isinstance(caught.value, kind if lingers else (kind, NetworkFailure))
    assert time.monotonic() - began < MADE_UP.read_timeout_seconds
    assert_still_usable(ends)


@pytest.mark.parametrize("move", WAYS)
@pytest.mark.parametrize("after", [0, 200_000, len(DATA)])
def test_a_destination_that_breaks_off_is_at_fault(ends: Ends, move: Move, after: int) -> None:
    def take(talk: Talk) -> None:
        talk.receive(after)
        talk.reset()

    ends.new.talk = take
    with pytest.raises(NetworkFailure) as caught:
        move(ends, Stream())
    assert not caught.value.nothing_sent
    assert_still_usable(ends)


@pytest.mark.parametrize("move", WAYS)
@pytest.mark.parametrize("after", [0, 200_000, len(DATA)])
def test_a_destination_that_stalls_is_at_fault(impatient_ends: Ends, move: Move, after: int) -> None:
    ends, over = impatient_ends, threading.Event()

    def take(talk: Talk) -> None:
        talk.receive(after)
        over.wait(PATIENCE_SECONDS)
        talk.hang_up()

    ends.new.talk = take
    try:
        with pytest.raises(NetworkFailure, match="timed out"):
            move(ends, Stream())
    finally:
        over.set()
    assert_still_usable(ends)


@pytest.mark.parametrize("move", WAYS)
def test_a_success_that_is_told_before_the_body_was_sent_is_told_as_it_is(ends: Ends, move: Move) -> None:
    """Its ETag decides: a store that computes it cannot know that of the object."""

    def take(talk: Talk) -> None:
        talk.receive(1000)
        talk.answer(200, headers=f'ETag: "{OTHER.hex()}"\r\n')
        talk.receive()

    ends.new.talk = take
    assert move(ends, Stream()) == StreamAnswer(OTHER.hex(), etag_is_md5=True)
    assert_still_usable(ends)


@pytest.mark.parametrize("move", WAYS)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ('ETag: "abc-1"\r\n', StreamAnswer("abc-1", etag_is_md5=False)),
        (f'ETag: "{OTHER.hex()}"\r\n', StreamAnswer(OTHER.hex(), etag_is_md5=True)),
        (
            f'ETag: "{OTHER.hex()}"\r\nx-amz-server-side-encryption: aws:kms\r\n',
            StreamAnswer(OTHER.hex(), etag_is_md5=False),
        ),
        ("", None),
    ],
)
def test_what_a_destination_answers_is_told(
    ends: Ends, move: Move, headers: str, expected: StreamAnswer | None
) -> None:
    def take(talk: Talk) -> None:
        talk.receive()
        talk.answer(200, headers=headers)

    ends.new.talk = take
    if expected is None:
        with pytest.raises(ServerFailure):
            move(ends, Stream())
    else:
        assert move(ends, Stream()) == expected
    assert_still_usable(ends)


@pytest.mark.parametrize("hanging_up", ["source", "destination", "both"])
def test_connections_that_were_closed_meanwhile_are_not_used(ends: Ends, hanging_up: str) -> None:
    """As a server closes what has been idle for a while: nothing of that is told."""
    assert_still_usable(ends)
    for _ in range(3):
        before = (ends.old.opened, ends.new.opened)
        for name, server in (("source", ends.old), ("destination", ends.new)):
            if hanging_up in (name, "both"):
                server.hang_up()
        for move in (from_open_body, beside_others):
            ends.stored.clear()
            assert move(ends, Stream()).etag == MD5.hex()
            assert ends.stored == [DATA]
        assert ends.old.opened - before[0] == (hanging_up != "destination")
        assert ends.new.opened - before[1] == (hanging_up != "source")


# breaking off


@pytest.mark.parametrize("move", REOPENED)
@pytest.mark.parametrize("stalls", ["source", "destination", "nobody"])
def test_a_wish_to_stop_breaks_off(ends: Ends, move: Move, stalls: str) -> None:
    over, arrived = threading.Event(), threading.Event()

    def give(talk: Talk) -> None:
        talk.answer(200, DATA[:-1], ETAG, len(DATA))
        arrived.set()
        if stalls != "destination":
            over.wait(PATIENCE_SECONDS)
        talk.send(DATA[-1:])

    def take(talk: Talk) -> None:
        talk.receive(0 if stalls == "destination" else None)
        arrived.set()
        over.wait(PATIENCE_SECONDS)
        talk.hang_up()

    ends.old.talk, ends.new.talk = give, take
    stream = Stream()
    try:
        if move is alone:
            stopping = threading.Thread(target=stream.stop_after, args=(arrived,))
            stopping.start()
            began = time.monotonic()
            with pytest.raises(Interrupted):
                move(ends, stream)
            stopping.join()
            assert time.monotonic() - began < MADE_UP.read_timeout_seconds
        else:
            source = stream.source(ends.source)
            ends.multiplexer.begin("write", ends.destination, "write_stream", ("object", source, PLAIN), always)
            while not arrived.is_set():
                assert not ends.multiplexer.finished(0.01)
            ((tag, _, error),) = ends.multiplexer.broken_off()
            assert tag == "write"
            assert isinstance(error, Interrupted)
    finally:
        over.set()
    wait_until(lambda: not ends.new.requests or ends.new.cut == 1, "the destination has noticed")
    assert not ends.stored
    assert_still_usable(ends)


def test_both_ends_may_break_off_at_once(ends: Ends) -> None:
    """Both are told together, the one after the other."""
    arrived, over = threading.Barrier(3), threading.Barrier(3)

    def give(talk: Talk) -> None:
        talk.answer(200, DATA[:1000], ETAG, len(DATA))
        arrived.wait(PATIENCE_SECONDS)
        talk.reset()
        talk.connection.shutdown(socket.SHUT_RDWR)
        over.wait(PATIENCE_SECONDS)

    def take(talk: Talk) -> None:
        talk.receive(100)
        arrived.wait(PATIENCE_SECONDS)
        talk.reset()
        talk.connection.shutdown(socket.SHUT_RDWR)
        over.wait(PATIENCE_SECONDS)

    ends.old.talk, ends.new.talk = give, take
    source = Stream().source(ends.source)
    ends.multiplexer.begin("write", ends.destination, "write_stream", ("object", source, PLAIN), always)
    while arrived.n_waiting < 2:
        assert not ends.multiplexer.finished(0.01)
    arrived.wait(PATIENCE_SECONDS)
    over.wait(PATIENCE_SECONDS)
    assert isinstance(results(ends.multiplexer, 1)["write"], ObjectError)
    assert_still_usable(ends)


def test_bodies_that_nobody_takes_can_be_dropped_and_their_handles_used_again(ends: Ends) -> None:
    for number in range(30):
        fetched = opened_body(ends)
        assert fetched.body is not None
        if number % 3 == 1:
            ends.multiplexer.finished(0.01)
        fetched.body.close()
        fetched.body.close()
    assert len(ends.multiplexer._idle[ends.source, "GET"]) == 1
    assert_still_usable(ends)


def test_closing_a_multiplexer_breaks_off_what_is_under_way(ends: Ends) -> None:
    over = threading.Event()

    def take(talk: Talk) -> None:
        over.wait(PATIENCE_SECONDS)
        talk.hang_up()

    ends.new.talk = take
    before = open_sockets()
    multiplexer = CurlMultiplexer(4)
    for number in range(3):
        source = Stream().source(ends.source)
        multiplexer.begin(number, ends.destination, "write_stream", ("object", source, PLAIN), always)
    multiplexer.begin("open", ends.source, "open", ("object", WHOLE, DigestUse.CLAIMED, MOST), always)
    assert "open" in results(multiplexer, 1)
    wait_until(lambda: not multiplexer.finished(0.01) and len(ends.new.requests) == 3, "all have begun")
    multiplexer.close()
    over.set()
    wait_until(lambda: open_sockets() <= before, "all connections are closed")


# real stores


@pytest.mark.parametrize("store", ["seaweed", "moto"])
@pytest.mark.parametrize("move", WAYS)
def test_a_real_store_keeps_the_whole_object_or_nothing(request: pytest.FixtureRequest, move: Move, store: str) -> None:
    pair: BucketPair = request.getfixturevalue("buckets" if store == "seaweed" else "moto_buckets")
    pair.client.put_object(Bucket=pair.source, Key="object", Body=DATA)
    with (
        opened(config_of(pair.address, pair.source), kind=CurlStore) as source,
        opened(config_of(pair.address, pair.destination), kind=CurlStore) as destination,
        closing(CurlMultiplexer(2)) as multiplexer,
        TalkingServer(lambda _: None) as nobody,
    ):
        real = Ends(nobody, nobody, cast("CurlStore", source), cast("CurlStore", destination), multiplexer)
        refused = CorruptObject("not the bytes of the object")
        with pytest.raises(BodyInterrupted):
            move(real, Stream(Digest(refused)))
        assert "Contents" not in pair.client.list_objects_v2(Bucket=pair.destination)
        if store == "seaweed":  # moto compares nothing
            with pytest.raises(CorruptObject):
                move(real, Stream(sent=OTHER))
        assert "Contents" not in pair.client.list_objects_v2(Bucket=pair.destination)
        for sent in (None, MD5):
            assert move(real, Stream(sent=sent)) == StreamAnswer(MD5.hex(), etag_is_md5=True)
            assert pair.client.get_object(Bucket=pair.destination, Key="object")["Body"].read() == DATA
