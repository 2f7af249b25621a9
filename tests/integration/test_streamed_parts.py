"""Copies of large objects part by part, by whole runs of workers, between two servers that misbehave.

The objects of the source were uploaded in parts. Every test has a deadline, as in `test_streams`.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from hashlib import md5
from typing import cast
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from mastosync.copying.kept_uploads import KeptUpload, KeptUploads
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import Interrupted
from mastosync.model import NOTHING, Arrival, Claim, EntryState, Outcome, Presence
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.steps import Ended
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import PutOptions
from tests.integration.test_streams import KIB, MIB, PATIENT, SECONDS, Bucket, Site, key_of, served
from tests.support.entries import entry
from tests.support.talking_server import Talk

pytestmark = [pytest.mark.timing, pytest.mark.timeout(120)]

PART = 200 * KIB
OPTIONS = TransferOptions(
    whole_bytes=64 * KIB, multipart_threshold=4 * MIB, part_size=MIB, least_part_size=KIB, acl_taken=True
)
HASHED = replace(OPTIONS, multipart_threshold=OPTIONS.whole_bytes, part_size=PART)
"""Of objects that were stored whole: all are large enough to go in parts, which are hashed as they pass."""
SIZES = {number: 3 * PART + number for number in range(1, 31)}  # 4 parts each


def composite(body: bytes, part_size: int) -> str:
    """The ETag of an object that was uploaded in parts of this size."""
    digests = [md5(body[start : start + part_size]).digest() for start in range(0, len(body), part_size)]
    return f"{md5(b''.join(digests)).hexdigest()}-{len(digests)}"


@dataclass
class Upload:
    """One that is not complete."""

    key: str
    acl: str
    parts: dict[int, bytes] = field(default_factory=dict)


class PartsBucket(Bucket):
    """A bucket that knows ranges, uploads in parts, and who may read what."""

    def __init__(self) -> None:
        super().__init__()
        self.etags: dict[str, str] = {}
        self.acls: dict[str, str] = {}
        self.uploads: dict[str, Upload] = {}
        self.arrived: Counter[tuple[str, int]] = Counter()  # parts that were confirmed
        self.ranges: Counter[tuple[str, int]] = Counter()  # by key and first byte
        self.tells_parts = 206  # the status of an answer to `?partNumber=1`
        self.lists_parts = True
        self.serves_ranges = True
        self.damage: Callable[[str, bytes], bytes] = lambda key, data: data  # of a part that comes

    def lay_down(self, key: str, body: bytes) -> None:
        self.objects[key], self.etags[key] = body, composite(body, PART)

    def talk(self, talk: Talk) -> None:
        if not self.faults(talk):
            self.serve(talk)

    def serve(self, talk: Talk) -> None:
        url = urlsplit(talk.head.split()[1].decode())
        key, query = unquote(url.path).split("/", 2)[2:], dict(parse_qsl(url.query, keep_blank_values=True))
        name = key[0] if key else ""
        if "uploads" in query:
            self._begin(talk, name) if talk.method == "POST" else self._list_uploads(talk, query.get("prefix", ""))
        elif "uploadId" in query:
            self._in_upload(talk, query)
        elif talk.method == "PUT":
            self._put(talk, name)
            self.acls[name] = talk.headers.get("x-amz-acl", "")
            self.etags[name] = md5(self.objects[name]).hexdigest() if name in self.objects else ""
        elif talk.method == "DELETE":
            self.objects.pop(name, None)
            talk.answer(204)
        else:
            self._give(talk, name, query)

    def _give(self, talk: Talk, key: str, query: dict[str, str]) -> None:
        body, etag = self.objects.get(key), f'"{self.etags.get(key)}"'
        if body is None:
            talk.answer(404, b"<Error><Code>NoSuchKey</Code></Error>" if talk.method == "GET" else b"")
        elif "authorization" not in talk.headers and self.acls.get(key) != "public-read":
            talk.answer(403, b"<Error><Code>AccessDenied</Code></Error>" if talk.method == "GET" else b"")
        elif talk.headers.get("if-match", etag) != etag:
            talk.answer(412)
        elif "partNumber" in query and self.tells_parts != 200:
            parts = f"x-amz-mp-parts-count: {self.etags[key].partition('-')[2]}\r\n"
            known = self.tells_parts == 206
            talk.answer(self.tells_parts, headers=f"ETag: {etag}\r\n{parts}" if known else "", length=PART * known)
        elif (asked := talk.headers.get("range")) and self.serves_ranges:
            first, last = (int(each) for each in re.findall(r"\d+", asked))
            with self.lock:
                self.ranges[key, first] += 1
            told = f"ETag: {etag}\r\nContent-Range: bytes {first}-{last}/{len(body)}\r\n"
            talk.answer(206, headers=told, length=last + 1 - first)
            self.pieces(talk, body[first : last + 1])
        else:
            with self.lock:
                self.gets[key] += talk.method == "GET"
            talk.answer(200, headers=f"ETag: {etag}\r\n", length=len(body))
            if talk.method == "GET":
                self.pieces(talk, body)

    def _begin(self, talk: Talk, key: str) -> None:
        talk.receive()
        with self.lock:
            upload_id = f"upload-{key.split('/')[4]}-{random.randrange(1 << 60):x}"
            self.uploads[upload_id] = Upload(key, talk.headers.get("x-amz-acl", ""))
        answer = f"<InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
        talk.answer(200, answer.encode())

    def _list_uploads(self, talk: Talk, prefix: str) -> None:
        with self.lock:
            found = [(each.key, name) for name, each in self.uploads.items() if each.key.startswith(prefix)]
        listed = "".join(f"<Upload><Key>{key}</Key><UploadId>{name}</UploadId></Upload>" for key, name in found)
        talk.answer(200, f"<ListMultipartUploadsResult>{listed}</ListMultipartUploadsResult>".encode())

    def _in_upload(self, talk: Talk, query: dict[str, str]) -> None:
        data = talk.receive()
        if len(data) < talk.length:
            return
        upload_id = query["uploadId"]
        upload = self.uploads.get(upload_id)
        if upload is None:
            talk.answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")
        elif talk.method == "PUT":
            number = int(query["partNumber"])
            data = self.damage(upload.key, data)
            with self.lock:
                upload.parts[number] = data
                self.arrived[upload.key, number] += 1
            talk.answer(200, headers=f'ETag: "{md5(data).hexdigest()}"\r\n')
        elif talk.method == "DELETE":
            self.uploads.pop(upload_id, None)
            talk.answer(204)
        elif talk.method == "GET":
            self._list_parts(talk, upload)
        else:
            self._complete(talk, upload_id, upload)

    def _list_parts(self, talk: Talk, upload: Upload) -> None:
        if not self.lists_parts:
            talk.answer(501, b"<Error><Code>NotImplemented</Code></Error>")
            return
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><Size>{len(data)}</Size><ETag>{md5(data).hexdigest()}</ETag></Part>"
            for number, data in sorted(upload.parts.items())
        )
        talk.answer(200, f"<ListPartsResult><IsTruncated>false</IsTruncated>{parts}</ListPartsResult>".encode())

    def _complete(self, talk: Talk, upload_id: str, upload: Upload) -> None:
        parts = [data for _, data in sorted(upload.parts.items())]
        made = md5(b"".join(md5(data).digest() for data in parts)).hexdigest()
        with self.lock:
            del self.uploads[upload_id]
            self.objects[upload.key], self.acls[upload.key] = b"".join(parts), upload.acl
            self.etags[upload.key] = etag = f"{made}-{len(parts)}"
        answer = f"<CompleteMultipartUploadResult><ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>"
        talk.answer(200, answer.encode())


@dataclass
class PartsSite(Site):
    """Two buckets that know parts."""

    noted: str | None = None  # as the manifest has it
    presence: Presence = NOTHING  # what the manifest knows of each object
    uploads: KeptUploads = field(default_factory=KeptUploads)  # of the run that has begun last

    @property
    def source_bucket(self) -> PartsBucket:
        return cast("PartsBucket", self.old)

    @property
    def bucket(self) -> PartsBucket:
        return cast("PartsBucket", self.new)

    def lay_down(self, sizes: dict[int, int]) -> None:
        for number, size in sizes.items():
            self.source_bucket.lay_down(key_of(number), random.Random(number).randbytes(size))

    def lay_down_whole(self, sizes: dict[int, int]) -> None:
        """Their ETags are MD5s."""
        self.lay_down(sizes)
        self.source_bucket.etags = {key: md5(body).hexdigest() for key, body in self.old.objects.items()}

    def transfer(self, options: TransferOptions = OPTIONS) -> Transfer:
        made = super().transfer(options)
        made.uploads.take_over(self.noted)
        self.uploads = made.uploads
        return made

    def claim(self, number: int) -> Claim:
        return Claim(entry(number, private=self.private), 0, Arrival(self.presence))

    def copied_in_parts(
        self,
        options: TransferOptions = OPTIONS,
        meanwhile: Callable[[list[Ended[Claim, Outcome]]], None] = lambda _: None,
        workers: int = 16,
    ) -> list[Ended[Claim, Outcome]]:
        numbers = [int(key.split("/")[4]) for key in self.old.objects]
        return self.copied(numbers, options, workers, meanwhile)

    def assert_nothing_left(self) -> None:
        assert not self.bucket.uploads
        assert self.uploads.noted() is None
        assert self.budget._free == self.budget.total_bytes

    def assert_parts_once(self) -> None:
        assert set(self.bucket.arrived.values()) == {1}
        assert len(self.bucket.arrived) == 4 * len(SIZES)


@pytest.fixture(params=[1, 3], ids=["one loop", "three loops"])
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PartsSite]:
    monkeypatch.setattr("os.cpu_count", lambda: 2 * request.param)
    monkeypatch.setattr("mastosync.checking.object_check._USUAL_SIZES", (PART, PART - 10))
    old, new = PartsBucket(), PartsBucket()
    with served(old, new) as (servers, (source, destination)):
        yield PartsSite(old, new, servers, source, destination)


def hashed(ended: list[Ended[Claim, Outcome]]) -> int:
    return sum(each.outcome.md5 is not None for each in ended if each.outcome)


def test_parts_go_once_each_and_nothing_is_hashed(site: PartsSite) -> None:
    site.lay_down(SIZES)
    ended = site.copied_in_parts()
    site.assert_all_done(ended)
    site.assert_parts_once()
    site.assert_nothing_left()
    assert hashed(ended) == 0
    assert site.bucket.etags == site.source_bucket.etags


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("mebibytes", [3, 4, 8])
def test_with_little_memory_everything_still_comes_to_its_end(site: PartsSite, mebibytes: int, private: bool) -> None:
    """No object that waits for the memory of its parts, or for the proof of privacy, holds some."""
    site.private = private
    site.budget = MemoryBudget(mebibytes * MIB)
    site.lay_down(SIZES)
    site.assert_all_done(site.copied_in_parts(replace(OPTIONS, acl_taken=None)))
    site.assert_nothing_left()
    assert site.budget.peak_bytes <= mebibytes * MIB


def test_parts_that_are_held_in_memory_may_take_all_of_it(site: PartsSite) -> None:
    """No ETag of a part is an MD5 here, so none proves a part that is streamed."""

    def another_etag(talk: Talk) -> bool:
        if "partNumber" not in talk.head.split()[1].decode() or "content-md5" in talk.headers:
            return False
        talk.receive()
        talk.answer(200, headers='ETag: "something-else"\r\n')
        return True

    site.new.faults = another_etag
    site.budget = MemoryBudget(MIB)
    site.lay_down(SIZES)
    ended = site.copied_in_parts()
    site.assert_all_done(ended)
    site.assert_nothing_left()
    assert hashed(ended) == len(SIZES)


@pytest.mark.parametrize("status", [200, 400, 501])
def test_a_source_that_does_not_tell_its_parts_is_known_by_what_uploaders_use(
    site: PartsSite, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where more than one size would do, the object is streamed whole, and hashed."""
    site.source_bucket.tells_parts = status
    site.lay_down(SIZES)
    ended = site.copied_in_parts()
    site.assert_all_done(ended)
    site.assert_nothing_left()
    assert hashed(ended) == len(SIZES)
    assert not site.bucket.arrived
    monkeypatch.setattr("mastosync.checking.object_check._USUAL_SIZES", (PART, 2 * PART))
    site.new.objects.clear()
    again = site.copied_in_parts()
    site.assert_all_done(again)
    site.assert_parts_once()
    assert hashed(again) == 0


def test_a_source_without_ranges_gives_its_objects_whole(site: PartsSite) -> None:
    site.source_bucket.serves_ranges = False
    site.lay_down(SIZES)
    ended = site.copied_in_parts()
    site.assert_all_done(ended)
    site.assert_nothing_left()
    assert hashed(ended) == len(SIZES)


@pytest.mark.parametrize("again_in_parts", [False, True])
def test_an_object_that_is_replaced_between_two_parts_arrives_as_it_is_then(
    site: PartsSite, again_in_parts: bool
) -> None:
    """Of no object the parts of two are put together, though both have the same size and cut."""
    old = site.source_bucket
    replaced: set[str] = set()

    def replaces(talk: Talk) -> bool:
        key = unquote(urlsplit(talk.head.split()[1].decode()).path).split("/", 2)[2]
        with old.lock:
            if key not in replaced and talk.headers.get("range", "").startswith(f"bytes={2 * PART}-"):
                replaced.add(key)
                body = random.Random(key).randbytes(len(old.objects[key]))
                old.lay_down(key, body)
                if not again_in_parts:
                    old.etags[key] = md5(body).hexdigest()
        return False

    old.faults = replaces
    site.lay_down(SIZES)
    ended = site.copied_in_parts()
    site.assert_all_done(ended)
    site.assert_nothing_left()
    assert len(replaced) == len(SIZES)
    assert {each.outcome.attempts for each in ended if each.outcome} == {2}


@pytest.mark.parametrize("whole", [False, True], ids=["in parts", "whole"])
@pytest.mark.parametrize("end", ["source", "destination"])
def test_damage_on_either_way_is_found_before_anything_is_put_together(site: PartsSite, end: str, whole: bool) -> None:
    """Of every fifth part, over http. Nothing that is damaged can ever be read at the destination."""
    chance, lock, damaged = random.Random(5), threading.Lock(), [0]

    def flipped(data: bytes) -> bytes:
        with lock:
            if len(data) < KIB or chance.random() > 0.2:
                return data
            damaged[0] += 1
            at_byte = chance.randrange(len(data))
        return data[:at_byte] + bytes([data[at_byte] ^ 1]) + data[at_byte + 1 :]

    completed: list[bool] = []
    complete = site.bucket._complete

    def looked_at(talk: Talk, upload_id: str, upload: Upload) -> None:
        complete(talk, upload_id, upload)
        completed.append(site.new.objects[upload.key] == site.old.objects[upload.key])

    site.bucket._complete = looked_at  # type: ignore[method-assign]
    if end == "source":
        site.old.pieces = lambda talk, body: talk.send(flipped(body))
    else:
        site.bucket.damage = lambda _, data: flipped(data)
    site.lay_down_whole(SIZES) if whole else site.lay_down(SIZES)
    ended = site.copied_in_parts(HASHED if whole else OPTIONS)
    failed = [each.outcome for each in ended if each.outcome and each.outcome.state is not EntryState.DONE]
    assert all(re.search("MD5|bytes|ETag", outcome.detail or "") for outcome in failed)
    assert damaged[0] > 5
    assert all(completed), "only what is whole was put together"
    site.assert_nothing_wrong()
    assert not site.bucket.uploads


def test_the_source_is_asked_within_its_limits_though_parts_are_repeated(site: PartsSite) -> None:
    failed: set[str] = set()

    def fails_once(talk: Talk) -> bool:
        path = talk.head.split()[1].decode()
        with site.new.lock:
            is_first = "partNumber" in path and path not in failed
            failed.add(path)
        if is_first:
            talk.receive()
            talk.answer(500)
        return is_first

    site.new.faults = fails_once
    site.lay_down(SIZES)
    site.assert_all_done(site.copied_in_parts())
    asked = site.source_bucket.ranges.total() + site.old.gets.total() + len(SIZES)  # and for the first part of each
    assert site.source_bucket.ranges.total() == 2 * 4 * len(SIZES)
    assert site.slots[site.source.name] >= asked


@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_wish_to_stop_ends_parts_in_the_middle_and_leaves_no_upload(site: PartsSite, end: str) -> None:
    """Though neither end would ever go on. The next run completes what has no outcome."""
    over, stuck_since, stopped = threading.Event(), Counter[str](), list[float]()

    def stuck(talk: Talk) -> bool:
        path = talk.head.split()[1].decode()
        is_third = "partNumber=3" in path or talk.headers.get("range", "").startswith(f"bytes={2 * PART}-")
        if over.is_set() or not is_third:
            return False
        stuck_since[path] += 1
        if talk.method == "PUT":
            talk.receive(100 * KIB)
        else:
            _broken_off(site.source_bucket, talk, 100 * KIB)
        over.wait(SECONDS)
        talk.hang_up()
        return True

    def meanwhile(_: list[Ended[Claim, Outcome]]) -> None:
        if not stopped and len(stuck_since) >= 8:
            stopped.append(time.monotonic())
            site.stop.request()

    (site.old if end == "source" else site.new).faults = stuck
    site.lay_down(SIZES)
    try:
        ended = site.copied_in_parts(meanwhile=meanwhile)
        assert time.monotonic() - stopped[0] < 1.5  # before any of the servers was found to be silent
    finally:
        over.set()
    assert all(isinstance(each.error, Interrupted) for each in ended if each.outcome is None)
    site.assert_nothing_left()
    site.assert_nothing_wrong()
    site.stop = StopSignal()
    site.assert_all_done(site.copied_in_parts())
    site.assert_nothing_left()


@pytest.mark.parametrize("whole", [False, True], ids=["in parts", "whole"])
@pytest.mark.parametrize("seed", range(4))
def test_a_storm_is_survived(site: PartsSite, seed: int, whole: bool) -> None:
    """Parts are broken off at any byte, on either side, and answers are lost: only those parts are sent again."""
    chance = random.Random(seed)

    def storm(bucket: PartsBucket) -> Callable[[Talk], bool]:
        def faults(talk: Talk) -> bool:
            with bucket.lock:
                what = chance.choice(["fine"] * 10 + ["reset", "cut", "500", "503", "hang up", "early", "lost"])
                after = chance.randrange(PART)
            if what in ("500", "503", "early"):
                if what != "early":
                    talk.receive()
                talk.answer(503 if what == "503" else 500, b"", "Connection: close\r\n")
                talk.hang_up()
                return True
            if what in ("reset", "cut"):
                if talk.method == "PUT":
                    talk.receive(after)
                elif talk.method == "GET" and bucket is site.old:
                    _broken_off(bucket, talk, after)
                talk.reset() if what == "reset" else talk.hang_up()
                return True
            if what == "hang up":
                talk.hang_up()
            if what == "lost" and talk.method == "PUT":
                bucket.serve(_Mute(talk))
                talk.reset()
                return True
            return False

        return faults

    site.policy = replace(PATIENT, max_attempts=40)
    site.old.faults, site.new.faults = storm(site.source_bucket), storm(site.bucket)
    site.budget = MemoryBudget((4 if seed % 2 else 40) * MIB)
    site.lay_down_whole(SIZES) if whole else site.lay_down(SIZES)
    ended = site.copied_in_parts(HASHED if whole else OPTIONS)
    site.old.faults = site.new.faults = lambda _: False
    site.assert_all_done(ended)
    site.assert_nothing_left()
    assert hashed(ended) == (len(SIZES) if whole else 0), "a part that is broken off is sent again by itself"


def _broken_off(bucket: PartsBucket, talk: Talk, after: int) -> None:
    """Announce what was asked for, and send some of it."""
    key = unquote(urlsplit(talk.head.split()[1].decode()).path).split("/", 2)[2]
    body = bucket.objects.get(key, b"")
    first, last = 0, len(body) - 1
    told = f'ETag: "{bucket.etags.get(key)}"\r\n'
    if asked := talk.headers.get("range"):
        first, last = (int(each) for each in re.findall(r"\d+", asked))
        told += f"Content-Range: bytes {first}-{last}/{len(body)}\r\n"
    wanted = body[first : last + 1]
    if wanted:
        talk.answer(206 if asked else 200, wanted[: after % len(wanted)], told, len(wanted))


class _Mute(Talk):
    """A request whose answer is lost."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.__dict__.update({name: value for name, value in talk.__dict__.items() if name != "received"})
        self.received = talk.received

    def receive(self, at_most: int | None = None) -> bytes:
        data = self._talk.receive(at_most)
        self.received = self._talk.received
        return data

    def send(self, data: bytes) -> None:
        pass


@pytest.mark.parametrize("lists_parts", [True, False])
def test_after_a_death_in_the_middle_only_what_has_not_arrived_is_sent(site: PartsSite, lists_parts: bool) -> None:
    """The dead run is gone on with from what it had noted and what the store had then."""
    site.lay_down(SIZES)
    left: list[tuple[dict[str, Upload], dict[str, bytes], str | None]] = []

    def meanwhile(ended: list[Ended[Claim, Outcome]]) -> None:
        with site.new.lock:
            if not left and site.bucket.arrived.total() >= 2 * len(SIZES):
                there = deepcopy(site.bucket.uploads), dict(site.new.objects), site.uploads.noted()
                left.append(there)
        if left:
            site.stop.request()

    def slow(_: Talk) -> bool:
        time.sleep(0.003)
        return False

    site.new.faults = slow
    site.copied_in_parts(meanwhile=meanwhile)
    site.new.faults = lambda _: False
    (uploads, objects, noted), site.stop = left[0], StopSignal()
    site.bucket.uploads, site.new.objects, site.noted = uploads, dict(objects), noted
    assert noted is not None
    known = {each.key: len(each.parts) for name, each in uploads.items() if name in noted}
    assert sum(known.values()) > 0
    site.bucket.etags = {key: composite(body, PART) for key, body in objects.items()}
    site.bucket.lists_parts, site.presence = lists_parts, Presence.AS_PUBLIC | Presence.IN_DOUBT
    site.bucket.arrived.clear()
    ended = site.copied_in_parts()
    site.assert_all_done(ended)
    site.assert_nothing_left()
    sent = site.bucket.arrived.total()
    assert sent == 4 * (len(SIZES) - len(objects)) - (sum(known.values()) if lists_parts else 0)
    assert set(site.bucket.arrived.values()) == {1}


@pytest.mark.parametrize("acl_taken", [True, None])
@pytest.mark.parametrize("doubt", [NOTHING, Presence.IN_DOUBT], ids=["confirmed", "in doubt"])
def test_a_private_object_takes_the_place_of_a_public_one(
    site: PartsSite, doubt: Presence, acl_taken: bool | None
) -> None:
    """The upload is private from its beginning, though one for the public object was noted and has all its parts."""
    site.lay_down(SIZES)
    keys = list(site.old.objects)
    for number, key in enumerate(keys):
        body = site.old.objects[key]
        site.new.objects[key], site.bucket.etags[key] = body, site.source_bucket.etags[key]
        site.bucket.acls[key] = "public-read"
        parts = {at + 1: body[start : start + PART] for at, start in enumerate(range(0, len(body), PART))}
        site.bucket.uploads[f"of-a-dead-run-{number}"] = Upload(key, "public-read", parts)
    site.noted = _noted_as_public(site)
    site.private, site.presence = True, Presence.AS_PUBLIC | doubt
    ended = site.copied_in_parts(replace(OPTIONS, acl_taken=acl_taken))
    site.assert_all_done(ended)
    site.assert_nothing_left()
    assert set(site.bucket.acls.values()) == {"private"}


def _noted_as_public(site: PartsSite) -> str | None:
    """What a run notes that copies all of it as public."""
    kept = KeptUploads()
    for number, key in enumerate(site.old.objects):
        info = site.source.head(key)
        options = PutOptions(info.headers, acl="public-read")
        kept.begun(key, KeptUpload.of(f"of-a-dead-run-{number}", info, PART, options))
    return kept.noted()
