"""Refetching, without any server: what is asked for, how often, and what becomes of it."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from threading import Event
from typing import IO, Any, NoReturn
from urllib.parse import urlsplit

import pytest

from mastosync import refetching
from mastosync.checking.row_check import RowPlace
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import (
    Interrupted,
    NetworkFailure,
    ObjectDenied,
    ObjectMissing,
    ObjectTooLarge,
    StoreUnusable,
    Throttled,
)
from mastosync.manifest import Manifest, ManifestReader, WorkQueue
from mastosync.model import Entry, EntryState, Kind, Outcome, Reason, Record, RemoteFile
from mastosync.progress import NoProgress
from mastosync.refetching import Refetcher, RefetchOptions, RefetchResult, RefetchStatus, RefetchTools
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal
from mastosync.store.http.fetcher import FetchedFile
from mastosync.store.media_types import is_as_named
from tests.support.clock import Clock
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session
from tests.support.waiting import PATIENCE_SECONDS, wait_until

PNG = b"\x89PNG\r\n\x1a\n and so on"
ORIGINAL = Kind("media_attachments", "file", "original", "media_attachments/files", remote=True, cached=True)
SMALL = ORIGINAL._replace(style="small")
Answer = bytes | Exception


class Origins:
    """Servers of others: what is asked of them, and what they give."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def fetch(self, url: str, most_bytes: int) -> FetchedFile:
        assert most_bytes == 99 * 1024 * 1024
        self.asked.append(url)
        answer = self.answers.get(url, PNG)
        if isinstance(answer, Exception):
            raise answer
        return FetchedFile(io.BytesIO(answer), len(answer), hashlib.md5(answer).digest(), answer[:16])

    def close(self) -> None:
        """Nothing to close."""


Run = Callable[..., RefetchResult]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def origins() -> Origins:
    return Origins()


@pytest.fixture
def destination() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run(tmp_path: Path, origins: Origins, destination: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Factory: `run({entry: its row}, **options)` refetches entries that have failed as missing."""
    patience = RetryPolicy(max_attempts=2, first_wait_seconds=0.001, longest_wait_seconds=0.002)
    monkeypatch.setattr(refetching, "_PATIENCE", patience)
    staging = MemoryStore()
    opened: list[Manifest] = []

    @contextmanager
    def holding(key: str, content: IO[bytes]) -> Iterator[None]:
        staging.put(key, content.read())
        yield

    def made(
        rows: Mapping[Entry, RemoteFile | None], *, stop: StopSignal | None = None, **options: object
    ) -> RefetchResult:
        chosen = RefetchOptions(**{"apply": True, "requests_per_second": 1000.0, "workers": 2, **options})  # type: ignore[arg-type]
        manifest = planned(tmp_path / f"{len(opened)}.db", rows)
        opened.append(manifest)
        queue = WorkQueue(manifest)
        claims = list(queue.iter_claimable())
        queue.commit(claims=claims)
        queue.commit(outcomes=[Outcome(each.entry, EntryState.FAILED, Reason.MISSING) for each in claims])
        by_place = {(each.kind.table, each.kind.attachment, each.id): row for each, row in rows.items()}

        def look_up(records: Sequence[Record]) -> dict[RowPlace, RemoteFile]:
            places = [(each.entry.kind.table, each.entry.kind.attachment, each.entry.id) for each in records]
            return {place: row for place in places if (row := by_place.get(place)) is not None}

        transfer = Transfer(
            store_session(staging), store_session(destination), TransferOptions(), MemoryBudget(1 << 30)
        )
        tools = RefetchTools(look_up, lambda: origins, is_as_named, staging, holding, transfer, "")
        work = Refetcher(manifest, tools, chosen, stop or StopSignal(), NoProgress())
        return work.run(ManifestReader(manifest).iter_failures(Reason.MISSING))

    made.manifests = opened  # type: ignore[attr-defined] # for tests that look into them
    yield made
    for manifest in opened:
        manifest.close()


def remote(number: int, *, host: str = "a.example", name: str | None = None, private: bool = False) -> RemoteFile:
    return RemoteFile(name or f"{number}.png", f"https://{host}/{number}.png", private)


def some(count: int, host: str = "a.example", first: int = 1) -> dict[Entry, RemoteFile | None]:
    numbers = range(first, first + count)
    return {entry(number, f"{number}.png", kind=ORIGINAL): remote(number, host=host) for number in numbers}


def fates(result: RefetchResult) -> dict[RefetchStatus, int]:
    return {fate: number for fate, number in result.total().items() if number}


def test_what_comes_is_written_and_is_done(run: Run, destination: MemoryStore) -> None:
    result = run(some(3))
    assert fates(result) == {RefetchStatus.REFETCHED: 3}
    assert result.complete
    assert len(destination.objects) == 3


def test_a_destination_that_is_down_ends_it_before_every_server_was_asked(
    run: Run, origins: Origins, destination: MemoryStore
) -> None:
    destination.fail("write", *[NetworkFailure("refused")] * 1000)
    with pytest.raises(StoreUnusable, match=r"the destination failed .* refused"):
        run(some(200))
    assert len(origins.asked) < 100


def test_who_asks_to_stop_is_told_of_what_may_be_public_and_nothing_that_came_is_forgotten(
    run: Run, destination: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what was being written for another server at that moment: that may have vanished by the next run."""
    stop, removing, came = StopSignal(), Event(), Event()
    write, withdraw = destination.write, destination.withdraw

    def asked(_: str) -> NoReturn:
        assert came.wait(PATIENCE_SECONDS)
        stop.request()
        raise Interrupted("stopped while waiting")

    def failing(key: str) -> bool:
        removing.set()
        return withdraw(key)

    def slow(key: str, *arguments: Any) -> str:  # noqa: ANN401
        if "002" in key:
            came.set()
            assert removing.wait(PATIENCE_SECONDS)
        return write(key, *arguments)

    monkeypatch.setattr(destination, "anybody_reads", asked)
    monkeypatch.setattr(destination, "withdraw", failing)
    monkeypatch.setattr(destination, "write", slow)
    destination.fail("withdraw", ObjectDenied("cannot delete: 403"))
    private = entry(1, "1.png", kind=ORIGINAL, private=True)
    rows = {private: remote(1, private=True), **some(1, "b.example", first=2)}
    with pytest.raises(Interrupted, match=r"^stopped on request; .*may be public: .*cannot delete: 403"):
        run(rows, stop=stop)
    (manifest,) = run.manifests  # type: ignore[attr-defined]
    assert [each.entry.id for each in ManifestReader(manifest).iter_records((EntryState.DONE,))] == [2]


@pytest.mark.parametrize(
    ("apply", "left"),
    [
        (False, "nothing was fetched; the same command begins anew"),
        (True, "what was fetched is in the manifest; the same command goes on"),
    ],
)
def test_who_asks_to_stop_is_told_what_has_come_of_it(run: Run, apply: bool, left: str) -> None:
    stop = StopSignal()
    stop.request()
    with pytest.raises(Interrupted) as told:
        run(some(1, "a.example"), stop=stop, apply=apply)
    assert told.value.hint == left


def test_without_apply_nobody_is_asked(run: Run, origins: Origins, destination: MemoryStore) -> None:
    result = run(some(3), apply=False)
    assert fates(result) == {RefetchStatus.FETCHABLE: 3}
    assert (origins.asked, destination.objects) == ([], {})


@pytest.mark.parametrize(
    ("failure", "fate"),
    [
        (ObjectMissing("404"), RefetchStatus.GONE),
        (ObjectDenied("this machine"), RefetchStatus.REFUSED),
        (ObjectTooLarge("too much"), RefetchStatus.TOO_LARGE),
        (NetworkFailure("nobody there"), RefetchStatus.UNREACHED),
        (b"<html>", RefetchStatus.UNLIKE),
        (b"GIF89a and so on", RefetchStatus.UNLIKE),
    ],
)
def test_what_does_not_come_stays_missing_and_says_why(
    run: Run, origins: Origins, failure: Answer, fate: RefetchStatus
) -> None:
    origins.answers = {"https://a.example/1.png": failure}
    result = run(some(1))
    assert fates(result) == {fate: 1}
    assert not result.complete
    (record,) = ManifestReader(run.manifests[0]).iter_records((EntryState.FAILED,))  # type: ignore[attr-defined]
    assert record.reason is Reason.MISSING
    assert (record.detail or "").startswith(f"refetch: {fate.value}: ")


def test_what_cannot_be_asked_for_is_not(run: Run, origins: Origins) -> None:
    rows: dict[Entry, RemoteFile | None] = {
        entry(1, "1.png", kind=SMALL): remote(1),
        entry(2, "2.png", kind=ORIGINAL): None,
        entry(3, "3.png", kind=ORIGINAL): remote(3, name="another.png"),
        entry(4, "4.png", kind=ORIGINAL): remote(4, private=True),
        entry(5, "5.png", kind=ORIGINAL): RemoteFile("5.png", None, private=False),
        entry(6, "6.png", kind=ORIGINAL): RemoteFile("6.png", " ", private=False),
    }
    result = run(rows)
    assert fates(result) == {RefetchStatus.DERIVED: 1, RefetchStatus.CHANGED: 3, RefetchStatus.NO_ADDRESS: 2}
    assert origins.asked == []
    assert result.complete, "nothing was to be had"


def test_a_server_that_keeps_failing_is_asked_no_more_and_others_are(run: Run, origins: Origins) -> None:
    down = some(10, "down.example")
    origins.answers = {row.address or "": NetworkFailure("no") for row in down.values() if row}
    result = run({**down, **some(5, "up.example", first=100)})
    assert fates(result) == {RefetchStatus.UNREACHED: 10, RefetchStatus.REFETCHED: 5}
    assert sum("down.example" in url for url in origins.asked) == 3 * 2, "three files, each tried twice"


def test_a_server_that_keeps_failing_is_not_asked_again_for_later_entries(
    run: Run, origins: Origins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refetching, "_CHUNK", 4)
    down = some(20, "down.example")
    origins.answers = {row.address or "": NetworkFailure("no") for row in down.values() if row}
    assert fates(run(down)) == {RefetchStatus.UNREACHED: 20}
    assert len(origins.asked) == 3 * 2, "three files, each tried twice"


@pytest.mark.timeout(60)
def test_a_server_that_wants_to_be_asked_much_later_holds_nobody_up(run: Run, origins: Origins) -> None:
    busy = some(5, "busy.example")
    origins.answers = {row.address or "": Throttled("429", retry_after_seconds=86_400) for row in busy.values() if row}
    result = run({**busy, **some(5, "up.example", first=100)})
    assert fates(result) == {RefetchStatus.UNREACHED: 5, RefetchStatus.REFETCHED: 5}
    assert sum("busy.example" in url for url in origins.asked) == 1, "it has said that it wants no more"
    details = {each.detail for each in ManifestReader(run.manifests[0]).iter_records((EntryState.FAILED,))}  # type: ignore[attr-defined]
    assert any("86400 s" in (detail or "") for detail in details), details


def test_each_server_is_asked_for_one_file_at_a_time_and_several_servers_side_by_side(
    run: Run, origins: Origins, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, under_way, most = threading.Barrier(2, timeout=PATIENCE_SECONDS), Counter[str](), Counter[str]()
    fetch = origins.fetch

    def watched(url: str, most_bytes: int) -> FetchedFile:
        host = urlsplit(url).hostname or ""
        under_way[host] += 1
        most[host] = max(most[host], under_way[host])
        if url.endswith("1.png"):
            both.wait()  # breaks, unless two servers are asked at the same time
        under_way[host] -= 1
        return fetch(url, most_bytes)

    monkeypatch.setattr(origins, "fetch", watched)
    one = {each: row._replace(address=f"https://A.example:443/{each.id}.png") for each, row in some(9).items() if row}
    del one[entry(1, "1.png", kind=ORIGINAL)]
    rows = {**one, **some(1), **some(1, "b.example", first=101)}
    assert fates(run(rows)) == {RefetchStatus.REFETCHED: 10}
    assert most == {"a.example": 1, "b.example": 1}


def test_a_server_is_asked_no_faster_than_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    began = clock.now
    run(some(11), requests_per_second=2.0)
    assert clock.now - began == pytest.approx(5, abs=0.5)


def test_urls_that_are_none_end_nothing_and_no_password_in_one_is_shown(run: Run, origins: Origins) -> None:
    rows = some(3)
    urls = ["http://[x/1.png", "https://user:marked-secret@a.example/2.png", "https://a.example/3.png"]
    odd = {each: row._replace(address=url) for (each, row), url in zip(rows.items(), urls, strict=True) if row}
    origins.answers = {urls[0]: ObjectDenied("no URL")}
    for apply in (False, True):
        result = run(odd, apply=apply)
        assert result.by_host == {"": 1, "a.example": 2}
    assert fates(result) == {RefetchStatus.REFUSED: 1, RefetchStatus.REFETCHED: 2}


def test_a_limit_holds_for_what_is_asked_for(run: Run, origins: Origins) -> None:
    result = run({**some(4), **some(4, "b.example", first=50)}, limit=3)
    assert len(origins.asked) == result.by_host.total() == 3


def test_a_wish_to_stop_is_heeded_and_nothing_is_said_of_the_rest(run: Run, origins: Origins) -> None:
    stop = StopSignal()
    stop.request()
    with pytest.raises(Interrupted):
        run(some(3), stop=stop)
    assert origins.asked == []
    records = list(ManifestReader(run.manifests[0]).iter_records((EntryState.FAILED,)))  # type: ignore[attr-defined]
    assert [record.detail for record in records] == [None] * 3


class TestWhatIsFoundIsRecordedTogether:
    """A transaction for each file took longer than many a file."""

    @pytest.fixture
    def transactions(self, monkeypatch: pytest.MonkeyPatch) -> list[Manifest]:
        begun: list[Manifest] = []
        transaction = Manifest.transaction

        def counted(manifest: Manifest) -> AbstractContextManager[sqlite3.Connection]:
            begun.append(manifest)
            return transaction(manifest)

        monkeypatch.setattr(Manifest, "transaction", counted)
        return begun

    def test_of_files_that_cannot_be_had(self, run: Run, transactions: list[Manifest]) -> None:
        before_run = 10  # of a plan, and of what makes them missing
        result = run(dict.fromkeys(some(1000)))
        assert fates(result) == {RefetchStatus.CHANGED: 1_000}
        assert len(transactions) <= before_run + 10
        records = ManifestReader(run.manifests[0]).iter_records((EntryState.FAILED,))  # type: ignore[attr-defined]
        assert all((each.detail or "").startswith("refetch: changed") for each in records)

    def test_and_of_those_that_come(self, run: Run, transactions: list[Manifest], clock: Clock) -> None:
        """By a clock that stands still but for the waits between two files."""
        result = run(
            {each: row for number in range(10) for each, row in some(50, f"{number}.example", 1 + 50 * number).items()}
        )
        assert fates(result) == {RefetchStatus.REFETCHED: 500}
        assert len(transactions) <= 10 + 10 + clock.now - 1000.0

    @pytest.mark.timing
    def test_within_a_second_though_another_server_keeps_everybody_waiting(
        self, run: Run, origins: Origins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fetch = origins.fetch

        def recorded() -> int:
            (manifest,) = run.manifests  # type: ignore[attr-defined]
            with closing(sqlite3.connect(manifest.path)) as reading:
                return int(reading.execute("SELECT count(*) FROM entries WHERE origin IS NOT NULL").fetchone()[0])

        def watched(url: str, most_bytes: int) -> FetchedFile:
            if "slow" in url:
                wait_until(lambda: recorded() == 3, "what the other server gave is recorded")
            return fetch(url, most_bytes)

        monkeypatch.setattr(origins, "fetch", watched)
        result = run({**some(3), **some(1, "slow.example", first=50)})
        assert fates(result) == {RefetchStatus.REFETCHED: 4}

    def test_also_when_an_error_ends_it(
        self, run: Run, destination: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = destination.write

        def ending(key: str, *arguments: Any) -> str:  # noqa: ANN401
            if len(destination.objects) == 5:
                raise StoreUnusable("the bucket is gone")
            return write(key, *arguments)

        monkeypatch.setattr(destination, "write", ending)
        with pytest.raises(StoreUnusable):
            run(some(20))
        (manifest,) = run.manifests  # type: ignore[attr-defined]
        done = list(ManifestReader(manifest).iter_records((EntryState.DONE,)))
        left = manifest.connection.execute("SELECT count(*) FROM claims").fetchone()[0]
        assert len(done) + left == 6, "each that was begun is done, or still claimed as it may have arrived"
        assert done


@pytest.mark.parametrize(
    ("name", "head", "taken"),
    [
        ("a.png", PNG, True),
        ("a.PNG", PNG, True),
        ("a.jpeg", b"\xff\xd8\xff\xe1", True),
        ("a.mp4", b"\x00\x00\x00\x20ftypmp42", True),
        ("a.mp3", b"\xff\xfb\x90\x64", True),
        ("a.mp4", b"GIF89a", False),  # Mastodon had made a video of it
        ("a.jpeg", b"\x00\x00\x00\x1cftypheic", False),  # and a JPEG of this
        ("a.mp4", b"\x00\x00\x00\x14ftypqt  ", False),  # and a video that browsers show of this
        ("a.mp4", b"\x00\x00\x00\x20ftypM4A ", False),
        ("a.avif", b"\x00\x00\x00\x1cftypheic", False),
        ("a.avif", b"\x00\x00\x00\x1cftypavif", True),
        ("a.mp3", b"OggS\x00", False),
        ("a.png", b"\xff\xd8\xff\xe1", False),
        ("a.heic", b"\x00\x00\x00\x1cftypheic", False),  # which browsers do not show
        ("a.svg", b"<svg>", False),
        ("a.html", b"<html>", False),
        ("a.png", b"", False),
        ("a", PNG, False),
    ],
)
def test_only_what_was_stored_without_change_is_taken(name: str, head: bytes, taken: bool) -> None:
    assert is_as_named(name, head) is taken
