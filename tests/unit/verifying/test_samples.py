"""Who is in a sample: of what anybody is asked for, and of what is read back."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from mastosync.manifest import Manifest
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, Kind, Record
from mastosync.progress import NoProgress
from mastosync.runtime.stop import StopSignal
from mastosync.verifying.listing_merge import RandomSample, Sample
from mastosync.verifying.public_check import PublicSample
from mastosync.verifying.verifier import Verifier, VerifyOptions
from tests.support.entries import LOCAL, REMOTE, entry
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session
from tests.unit.verifying.test_verifier import PREFIX, copied, many

IMPORT = Kind("imports", "data", "original", "imports/data", remote=False, cached=False)
UPLOAD = Kind("site_uploads", "file", "@1x", "site_uploads/files", remote=False, cached=False)
ODD = ("a b.png", "写真.png", "100%41.png", "a+b.png", "100% 写.png")
FEW = [
    *(entry(10**6 + number, name) for number, name in enumerate(ODD)),
    entry(2_000_001, kind=UPLOAD),
    entry(2_000_002, private=True),
    entry(2_000_003, kind=REMOTE, private=True),
    entry(2_000_004, "c d.png", kind=REMOTE, private=True),
]
CROWD = [*many(3_000), *FEW]


def drawn(manifest: Manifest, store: MemoryStore, sample: Sample, workers: int = 4) -> list[Record]:
    stop, options = StopSignal(), VerifyOptions(workers=workers)
    made = Verifier(manifest, manifest.path, store_session(store, stop), PREFIX, options, stop, NoProgress(), [sample])
    made.by_listing()
    return sample.records()


def entries(records: list[Record]) -> set[Entry]:
    assert len({record.entry[:3] for record in records}) == len(records), "nobody is asked for twice"
    return {record.entry._replace(size=None) for record in records}


def test_the_sample_is_the_same_for_the_same_manifest_and_has_one_of_each(tmp_path: Path) -> None:
    entries_in_any_order = random.Random(1).sample(CROWD, len(CROWD))
    with (
        copied(tmp_path / "a.db", CROWD) as (manifest, store),
        copied(tmp_path / "b.db", entries_in_any_order) as other,
    ):
        first = entries(drawn(manifest, store, PublicSample(20, manifest.kinds())))
        assert entries(drawn(*other, PublicSample(20, other[0].kinds()), workers=1)) == first
        assert set(FEW) <= first
        assert Counter(each.private for each in first) == {False: 20, True: 3}
        assert {each.kind for each in first} == {LOCAL, REMOTE, UPLOAD}
        larger = entries(drawn(manifest, store, PublicSample(40, manifest.kinds())))
        assert first < larger, "a larger one holds a smaller one"
        assert len(entries(drawn(manifest, store, PublicSample(2, manifest.kinds())))) == 4, "so many of each privacy"


def test_what_was_wrong_the_last_time_comes_on_top(tmp_path: Path) -> None:
    crowd = many(500)
    with copied(tmp_path / "m.db", crowd) as (manifest, store):
        before = entries(drawn(manifest, store, PublicSample(5, manifest.kinds())))
        wrong = next(each for each in crowd if each not in before)
        again = {canonical_key(wrong, ""), canonical_key(next(iter(before)), ""), "accounts/of/nobody.png"}
        assert entries(drawn(manifest, store, PublicSample(5, manifest.kinds(), again))) == before | {wrong}


def test_what_mastodon_reads_by_itself_is_asked_for_only_if_it_is_private(tmp_path: Path) -> None:
    """The media host serves no imports, and nobody misses them."""
    both = [entry(1, kind=IMPORT), entry(2, kind=IMPORT, private=True)]
    with copied(tmp_path / "m.db", both) as (manifest, store):
        assert entries(drawn(manifest, store, PublicSample(5, manifest.kinds()))) == {both[1]}
        all_private = PublicSample(5, manifest.kinds(), unshown=())
        assert entries(drawn(manifest, store, all_private)) == set(both), "then everybody has to be refused"
        assert entries(drawn(manifest, store, RandomSample(5))) == set(both), "but they are read back"


@pytest.mark.parametrize("size", [0, 400])
def test_what_is_read_back_is_drawn_from_everywhere(tmp_path: Path, size: int) -> None:
    with copied(tmp_path / "m.db", many(8_000)) as (manifest, store):
        found = entries(drawn(manifest, store, RandomSample(size)))
        assert len(found) == size
        assert 0.3 * size <= sum(each.kind == LOCAL for each in found) <= 0.7 * size, "half of the entries are"
