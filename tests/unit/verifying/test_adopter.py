"""What `adopt` says of an object at the destination when the source does not say whether it has it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mastosync.errors import NetworkFailure, ObjectDenied, ObjectMissing, ObjectRejected, ServerFailure, Throttled
from mastosync.manifest import ManifestReader, RawRow, record_of
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, Kind, Origin, Record
from mastosync.progress import NoProgress
from mastosync.runtime.stop import StopSignal
from mastosync.verifying import adopter
from mastosync.verifying.adopter import Adopter, AdoptionStatus, AdoptOptions
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session

KEY = canonical_key(entry(), "")
NO_ANSWERS = [
    ObjectDenied("403"),
    ObjectRejected("400"),
    ServerFailure("500"),
    NetworkFailure("reset"),
    Throttled("503"),
]


def adopted(folder: Path, old: MemoryStore, new: MemoryStore, *, deep: bool = False) -> dict[AdoptionStatus, int]:
    stop = StopSignal()
    with planned(folder / "m.db", [entry()]) as manifest:
        stores = store_session(old, stop), store_session(new, stop)
        options = AdoptOptions(workers=1, deep=deep)
        return dict(Adopter(manifest, folder / "m.db", *stores, ("", ""), options, stop, NoProgress()).run().total())


def test_what_two_listings_tell_alike_is_adopted_without_a_request_or_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be millions: a record for each would cost more than all else."""
    old, new, entries = MemoryStore("old"), MemoryStore("new"), [entry(row) for row in range(1, 40)]
    for each in entries:
        for store in (old, new):
            store.put(canonical_key(each, ""), b"bytes%d" % each.id)
    made = list[Record]()

    def noted(kind: Kind, row: RawRow) -> Record:
        made.append(record_of(kind, row))
        return made[-1]

    monkeypatch.setattr(adopter, "record_of", noted)
    new.put(canonical_key(entries[5], ""), b"other")
    stop = StopSignal()
    with planned(tmp_path / "m.db", entries) as manifest:
        stores = store_session(old, stop), store_session(new, stop)
        options = AdoptOptions(workers=1)
        result = Adopter(manifest, manifest.path, *stores, ("", ""), options, stop, NoProgress()).run()
        assert result.total() == {AdoptionStatus.ADOPTED: 38, AdoptionStatus.DIFFERENT: 1}
        assert result.adopted_bytes == sum(len(b"bytes%d" % each.id) for each in entries if each is not entries[5])
        done = list(ManifestReader(manifest).iter_records((EntryState.DONE,)))
    assert [(each.md5, each.etag, each.origin) for each in done] == [
        (hashlib.md5(b"bytes%d" % each.entry.id).digest(), None, Origin.ADOPTED) for each in done
    ]
    assert len(made) == 1
    assert {method for method, _ in old.calls + new.calls} == {"list_page"}


def test_what_the_source_says_that_it_has_not_is_unknown(tmp_path: Path) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    new.put(KEY, b"bytes")
    old.fail("head", ObjectMissing("404", certain=False))
    assert adopted(tmp_path, old, new) == {AdoptionStatus.UNKNOWN: 1}


@pytest.mark.parametrize(
    ("closed", "failure", "fate"),
    [
        (False, None, AdoptionStatus.ADOPTED),
        (True, None, AdoptionStatus.LEFT),
        (False, ObjectMissing("404"), AdoptionStatus.ADOPTED),  # meanwhile
        (False, ObjectDenied("403"), AdoptionStatus.UNREAD),
    ],
)
def test_a_source_that_tells_who_may_read_is_asked_before_anything_is_adopted(
    tmp_path: Path, closed: bool, failure: Exception | None, fate: AdoptionStatus
) -> None:
    old, new, stop = MemoryStore("old"), MemoryStore("new"), StopSignal()
    for store in (old, new):
        store.put(KEY, b"bytes")
    old.objects[KEY].private = closed
    if failure is not None:
        old.fail("head", failure)
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        ends, options = (store_session(old, stop), store_session(new, stop)), AdoptOptions(workers=1)
        finder = Adopter(
            manifest, manifest.path, *ends, ("", ""), options, stop, NoProgress(), source_tells_access=True
        )
        assert dict(finder.run().total()) == {fate: 1}


def test_what_lies_at_the_destination_is_not_compared_with_itself(tmp_path: Path) -> None:
    """Both stores are one bucket, and the destination's prefix is one under which the source may lie as well."""
    store, stop = MemoryStore(), StopSignal()
    store.put(KEY, b"bytes")
    fates = {}
    for one_bucket in (False, True):
        path = tmp_path / f"{one_bucket}.db"
        with planned(path, [entry()]) as manifest:
            ends = store_session(store, stop), store_session(store, stop)
            options = AdoptOptions(workers=1)
            finder = Adopter(manifest, path, *ends, ("old", ""), options, stop, NoProgress(), one_bucket)
            fates[one_bucket] = dict(finder.run().total())
    assert fates == {False: {AdoptionStatus.ADOPTED: 1}, True: {AdoptionStatus.UNKNOWN: 1}}


@pytest.mark.parametrize("error", NO_ANSWERS, ids=lambda error: type(error).__name__)
def test_a_source_that_does_not_answer_lacks_nothing(tmp_path: Path, error: Exception) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    new.put(KEY, b"bytes")
    old.fail("head", *[error] * 1000)
    assert adopted(tmp_path, old, new) == {AdoptionStatus.UNREAD: 1}


@pytest.mark.parametrize("error", NO_ANSWERS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("end", ["old", "new"])
def test_what_could_not_be_read_by_deep_is_not_told_to_need_it(tmp_path: Path, error: Exception, end: str) -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    for store in (old, new):
        store.put(KEY, b"bytes", etag=f"as {store.name} has it")
    (old if end == "old" else new).fail("head", *[error] * 1000)
    assert adopted(tmp_path, old, new, deep=True) == {AdoptionStatus.UNREAD: 1}
