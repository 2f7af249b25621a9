"""Verifying many entries in many ranges, against a store in memory."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mastosync.checking.object_check import CheckStatus, DeepCheck
from mastosync.errors import Interrupted, ObjectDenied, ServerFailure, StoreUnusable
from mastosync.manifest import Manifest, ManifestReader, record_findings
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, EntryState, Origin, Outcome, Record
from mastosync.progress import CheckProgress, NoProgress
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.steps import run_to_end
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.store.base import Page
from mastosync.verifying.verifier import Verification, Verifier, VerifyOptions
from tests.support.entries import LOCAL, REMOTE, entry
from tests.support.manifests import planned
from tests.support.memory_store import MemoryStore
from tests.support.transfers import IMPATIENT, store_session

PREFIX = "p"


def data_of(of: Entry) -> bytes:
    return f"{of.kind.table} {of.id}".encode()


def many(count: int) -> list[Entry]:
    """Of two kinds, whose keys lie far apart, with ids of many lengths."""
    spread = random.Random(count)
    ids = spread.sample(range(1, 10**6), count // 2) + spread.sample(range(10**17, 10**18), count - count // 2)
    return [entry(row_id, f"{row_id:x}.png", kind=spread.choice((LOCAL, REMOTE))) for row_id in ids]


@contextmanager
def copied(path: Path, entries: list[Entry]) -> Iterator[tuple[Manifest, MemoryStore]]:
    """A manifest in which all of these are done, and the store that has them."""
    store = MemoryStore()
    with planned(path, entries) as manifest:
        outcomes = []
        for record in ManifestReader(manifest).iter_records():
            data = data_of(record.entry)
            store.put(canonical_key(record.entry, PREFIX), data)
            md5 = hashlib.md5(data).digest()
            outcomes.append((record, Outcome(record.entry, EntryState.DONE, size=len(data), md5=md5)))
        record_findings(manifest, outcomes)
        yield manifest, store


class Telling(NoProgress):
    """Remembers how far it came."""

    checked = 0

    def advanced(self, progress: object) -> None:
        assert isinstance(progress, CheckProgress)
        self.checked = progress.checked


def verifier(
    manifest: Manifest,
    store: MemoryStore,
    *,
    workers: int = 4,
    stop: StopSignal | None = None,
    listener: Telling | None = None,
) -> Verifier:
    stop = stop or StopSignal()
    options = VerifyOptions(workers=workers)
    return Verifier(manifest, manifest.path, store_session(store, stop), PREFIX, options, stop, listener or Telling())


def listed(manifest: Manifest, store: MemoryStore, workers: int = 4) -> Verification:
    made = verifier(manifest, store, workers=workers)
    made.by_listing()
    return made.result


def pending(manifest: Manifest) -> set[int]:
    return {record.entry.id for record in ManifestReader(manifest).iter_records(states=(EntryState.PENDING,))}


def read(made: Verifier, records: Iterable[Record], objects: int) -> Verification:
    check = DeepCheck(made.store_session, MemoryBudget(1 << 20), PREFIX, 1 << 16)
    with WorkerPool(check.steps, 4, made.stop) as pool:
        made.by_reading(pool, records, objects)
    return made.result


@pytest.mark.parametrize("seed", range(4))
def test_exactly_what_is_lost_or_different_is_found_in_many_ranges(tmp_path: Path, seed: int) -> None:
    entries = many(9_000)
    with copied(tmp_path / "m.db", entries) as (manifest, store):
        store.page_keys = 700
        chosen = random.Random(seed)
        harmed = chosen.sample(entries, 60)
        for number, each in enumerate(harmed):
            key = canonical_key(each, PREFIX)
            if number % 3 == 0:
                del store.objects[key]
            elif number % 3 == 1:
                store.put(key, b"?" * len(data_of(each)))
            else:
                store.put(key, data_of(each) + b"!")
        for number in range(500):
            store.put(f"p/stray/{number}", b"x")
        result = listed(manifest, store)
        total = result.total()
        assert (total[CheckStatus.LOST], total[CheckStatus.DIFFERENT], total[CheckStatus.FINE]) == (20, 40, 9_000 - 60)
        assert result.reopened == 60
        assert pending(manifest) == {each.id for each in harmed}
        assert store.count("list_page") > 4 * 2, "ranges are listed by themselves"
        assert store.count("head") == 60, "only what a listing does not tell as recorded"
        again = listed(manifest, store)
        assert (again.checked, again.clean) == (9_000 - 60, True)


def test_ranges_cost_hardly_more_pages_than_one(tmp_path: Path) -> None:
    with copied(tmp_path / "m.db", many(8_000)) as (manifest, store):
        assert listed(manifest, store, workers=16).total()[CheckStatus.FINE] == 8_000
        assert store.count("list_page") <= 8 + 2 * 4


def test_a_listing_that_leaves_things_out_is_no_proof(tmp_path: Path) -> None:
    class Forgetful(MemoryStore):
        def list_page(self, prefix: str, after: str) -> Page:
            page = super().list_page(prefix, after)
            return Page([found for found in page.objects if hash(found.key) % 2], page.is_last)

    with copied(tmp_path / "m.db", many(3_000)) as (manifest, store):
        forgetful = Forgetful()
        forgetful.objects = store.objects
        assert listed(manifest, forgetful).clean
        assert not pending(manifest)


def test_after_many_requests_in_vain_a_listing_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million requests for what is not there would take a day."""
    monkeypatch.setattr("mastosync.verifying.verifier._ASKED_AT_MOST", 50)
    with copied(tmp_path / "m.db", many(3_000)) as (manifest, store):
        store.objects.clear()
        assert listed(manifest, store).total()[CheckStatus.LOST] == 3_000
        assert store.count("head") < 50 + 4
        assert len(pending(manifest)) == 3_000


def test_what_a_store_keeps_failing_at_is_told_and_stays_done(tmp_path: Path) -> None:
    entries = many(20)
    with copied(tmp_path / "m.db", entries) as (manifest, store):
        store.put(canonical_key(entries[0], PREFIX), b"other bytes")
        store.fail("head", *[ServerFailure("it fails")] * IMPATIENT.max_attempts)
        result = listed(manifest, store)
        assert (result.total()[CheckStatus.UNREAD], result.clean, result.reopened) == (1, False, 0)
        assert not pending(manifest)


def test_who_may_not_list_is_told_what_to_do(tmp_path: Path) -> None:
    with copied(tmp_path / "m.db", many(20)) as (manifest, store):
        store.fail("list_page", ObjectDenied("may not list"))
        with pytest.raises(StoreUnusable) as refused:
            listed(manifest, store)
    assert "s3:ListBucket" in refused.value.hint
    assert "verify --deep" in refused.value.hint


def test_a_wish_to_stop_ends_it(tmp_path: Path) -> None:
    stop = StopSignal()
    with copied(tmp_path / "m.db", many(20)) as (manifest, store):
        stop.request()
        with pytest.raises(Interrupted):
            verifier(manifest, store, stop=stop).by_listing()
        made = verifier(manifest, store, stop=stop)
        with pytest.raises(Interrupted):
            read(made, made.iter_done(), 20)


def test_progress_comes_to_all_of_them(tmp_path: Path) -> None:
    listener = Telling()
    with copied(tmp_path / "m.db", many(3_000)) as (manifest, store):
        made = verifier(manifest, store, listener=listener)
        made.by_listing()
        assert listener.checked == 3_000
        read(made, made.iter_done(), made.entries())
        assert listener.checked == 3_000


def test_reading_back_compares_bytes(tmp_path: Path) -> None:
    entries = many(300)
    with copied(tmp_path / "m.db", entries) as (manifest, store):
        rotten, gone = entries[0], entries[1]
        key = canonical_key(rotten, PREFIX)
        rotted = bytes([data_of(rotten)[0] ^ 1]) + data_of(rotten)[1:]
        store.put(key, rotted, etag=hashlib.md5(data_of(rotten)).hexdigest())
        assert listed(manifest, store).clean, "no listing tells"
        del store.objects[canonical_key(gone, PREFIX)]
        made = verifier(manifest, store)
        result = read(made, made.iter_done(), 300)
        assert (result.total()[CheckStatus.DIFFERENT], result.total()[CheckStatus.LOST]) == (1, 1)
        assert result.read_objects == 300
        assert pending(manifest) == {rotten.id, gone.id}


@pytest.mark.parametrize("deep", [False, True])
def test_what_another_tool_has_stored_again_is_asked_for_by_each_check(deep: bool, tmp_path: Path) -> None:
    """Strangers may be refused everything for a while; the object may be for everybody all the same."""

    def checked(store: MemoryStore) -> set[int]:
        made = verifier(manifest, store)
        if deep:
            read(made, made.iter_done(), made.entries())
        else:
            made.by_listing()
        return pending(manifest)

    private = entry(private=True)
    with copied(tmp_path / "m.db", [private]) as (manifest, store):
        key = canonical_key(private, PREFIX)
        store.put(key, data_of(private), etag="another-1")
        store.objects[key].acl = "private"  # as it looks to strangers
        assert not checked(store)
        store.objects[key].acl = "public-read"
        assert checked(store) == {private.id}


@pytest.mark.parametrize(
    ("origin", "said"), [(Origin.ADOPTED, "Mastodon, or another tool, wrote it"), (None, "copied")]
)
def test_what_has_no_digest_says_who_wrote_it(origin: Origin | None, said: str) -> None:
    store = MemoryStore()
    store.put("accounts/avatars/000/000/001/original/a.png", b"1234", etag="changed")
    record = Record(entry()._replace(size=4), None, EntryState.DONE, None, 1, None, "old", None, origin)
    check = DeepCheck(store_session(store), MemoryBudget(1 << 20), "", 100)
    judgement = run_to_end(check.steps(record))
    assert judgement.verdict is CheckStatus.UNPROVEN
    assert said in (judgement.detail or "")
