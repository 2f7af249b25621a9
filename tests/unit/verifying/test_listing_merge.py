"""Entries in the order in which stores list, cut into ranges, and merged with a listing."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mastosync.errors import ConfigError, StoreUnusable
from mastosync.manifest import RawRow, SegmentReader
from mastosync.mastodon.paperclip import KeyRange, canonical_key, iter_candidates, root_of
from mastosync.model import Entry, Kind
from mastosync.runtime.retry import RetryingStore
from mastosync.store.base import Page
from mastosync.store.s3.listing import checked_page
from mastosync.verifying.listing_merge import KeyedEntry, KeySpace, Listing, ListingLookup, Window
from tests.support.manifests import planned
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session

KINDS = [
    Kind("accounts", "avatar", style, "accounts/avatars", remote=remote, cached=cached)
    for style in ("original", "static")
    for remote, cached in ((False, False), (True, False), (True, True))
] + [
    Kind("media_attachments", "file", style, "media_attachments/files", remote=remote, cached=remote)
    for style in ("original", "small")
    for remote in (False, True)
]
IDS = st.one_of(
    st.integers(0, 30),
    st.integers(1, 18).flatmap(lambda digits: st.integers(10**digits - 20, min(10**digits + 20, 2**63 - 1))),
    st.integers(0, 2**63 - 1),
    st.integers(10**16, 10**16 + 300),  # of which ten share a folder
    st.sampled_from([-99, -1, -100_000, 2**63 - 1, 0]),
)
NAMES = st.one_of(
    st.sampled_from(["a.png", "b.png", "-", "é.png", "🐘", "a b/c.png", "\U0010ffff"]), st.text(min_size=1)
)
ENTRIES = st.lists(
    st.builds(
        Entry,
        st.sampled_from(KINDS),
        IDS,
        NAMES.filter(lambda name: "\0" not in name),
        st.none() | st.sampled_from(["a.gif", "zz"]),
        optional=st.just(False),
        private=st.just(False),
        size=st.none(),
        updated=st.none() | st.integers(0, 2**40),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda entry: entry[:3],
)
PREFIXES = st.sampled_from(["", "p", "p/", "/p", "cache", "a/b"])


@contextmanager
def reading(entries: list[Entry]) -> Iterator[SegmentReader]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.db"
        with planned(path, entries), SegmentReader.opened(path) as reader:
            yield reader


@settings(max_examples=150, deadline=None)
@given(entries=ENTRIES, every_form=st.booleans(), data=st.data())
def test_entries_come_in_the_order_of_their_keys(entries: list[Entry], every_form: bool, data: st.DataObject) -> None:
    """All of them, in whatever ranges they are read."""
    wanted = sorted(
        key for entry in entries for key in (iter_candidates(entry, "") if every_form else [canonical_key(entry, "")])
    )
    cuts = data.draw(st.lists(st.one_of(st.sampled_from(wanted), st.text()), max_size=4).map(sorted))
    ranges = [KeyRange(*bounds) for bounds in pairwise(["", *cuts, None])]  # type: ignore[arg-type]
    space = KeySpace(every_form=every_form)
    with reading(entries) as reader:
        windows = [window for keys in ranges for window in space.iter_windows(reader, keys, iter(()))]
        found = [sorted(placed_in(window)) for window in windows]
        assert [placed.key for window in found for placed, _ in window] == wanted
        for placed, canonical in chain.from_iterable(found):
            record = reader.record_of(placed.kind, placed.row)
            assert record is not None
            entry = record.entry
            assert placed.key in iter_candidates(entry, "")
            assert canonical == (placed.key == canonical_key(entry, ""))


def placed_in(window: Window) -> list[tuple[KeyedEntry, bool]]:
    """The entries of a window; and whether these are the keys that Mastodon asks for."""
    assert all(run.keys == sorted(run.keys) for run in window.runs)
    return [(entry, run.canonical) for run in window.runs for entry in run.entries()]


@given(entry=ENTRIES.map(lambda entries: entries[0]), prefix=PREFIXES)
def test_a_prefix_goes_before_every_key(entry: Entry, prefix: str) -> None:
    assert canonical_key(entry, prefix) == f"{root_of(prefix)}{canonical_key(entry, '')}"


def test_ranges_hold_evenly_many_entries(tmp_path: Path) -> None:
    """However ids are spread, and however many kinds there are."""
    kind = KINDS[0]
    few_and_far = [Entry(kind, 10**17 + number * 10**13, "a.png", None, False, False, None) for number in range(8_000)]
    many = [Entry(KINDS[-1], number, "b.png", None, False, False, None) for number in range(16_000)]
    with planned(tmp_path / "m.db", [*few_and_far, *many]), SegmentReader.opened(tmp_path / "m.db") as reader:
        space = KeySpace()
        ranges = space.cut(reader, 24_000, 8)
        assert len(ranges) == 8
        assert (ranges[0].after, ranges[-1].up_to) == ("", None)
        assert all(left.up_to == right.after for left, right in pairwise(ranges))
        held = [sum(len(placed_in(window)) for window in space.iter_windows(reader, keys, iter(()))) for keys in ranges]
        assert sum(held) == 24_000
        assert max(held) < 1.5 * 24_000 / 8
        assert len(space.cut(reader, 24_000, 1000)) <= 12, "a range is worth at least two pages"


def test_a_manifest_of_little_is_one_range(tmp_path: Path) -> None:
    with (
        planned(tmp_path / "m.db", [Entry(KINDS[0], 1, "a", None, False, False, None)]),
        SegmentReader.opened(tmp_path / "m.db") as reader,
    ):
        assert KeySpace().cut(reader, 1, 16) == [KeyRange("", None)]


def test_a_prefix_that_paperclip_fills_in_has_no_order() -> None:
    with pytest.raises(ConfigError, match="colon"):
        listing(MemoryStore(), "files/:id")


def listing(store: MemoryStore, prefix: str = "") -> Listing:
    return Listing(RetryingStore(store_session(store)), prefix)


@pytest.mark.parametrize("page_keys", [1, 2, 3, 1000])
def test_a_range_is_listed_from_its_begin_to_its_end(page_keys: int) -> None:
    store = MemoryStore()
    store.page_keys = page_keys
    for key in ("a", "p/b", "p/c", "p/d", "p/e", "p0", "q"):
        store.put(key, b"x")

    def keys_of(prefix: str, keys: KeyRange) -> list[str]:
        return [found.key for page in listing(store, prefix).iter_pages(keys) for found in page]

    assert keys_of("", KeyRange("", None)) == sorted(store.objects)
    assert keys_of("p", KeyRange("", None)) == ["b", "c", "d", "e"]
    assert keys_of("p", KeyRange("b", "d")) == ["c", "d"]
    assert keys_of("", KeyRange("p0", None)) == ["q"]
    assert keys_of("", KeyRange("q", None)) == []


@given(
    there=st.sets(st.text("abc", min_size=1, max_size=3), max_size=12),
    wanted=st.sets(st.text("abc", min_size=1, max_size=3), max_size=12),
    page_keys=st.integers(1, 5),
    prefix=st.sampled_from(["", "p"]),
)
def test_a_follower_finds_what_is_there(there: set[str], wanted: set[str], page_keys: int, prefix: str) -> None:
    store = MemoryStore()
    store.page_keys = page_keys
    for key in there:
        store.put(f"{root_of(prefix)}{key}", key.encode())
    follower = ListingLookup(listing(store, prefix))
    found = {key: follower.at(key) for key in sorted(wanted)}
    assert {key for key, each in found.items() if each is not None} == there & wanted
    assert all(each is None or each.key == key for key, each in found.items())


@pytest.mark.parametrize("page_keys", [1, 2, 1000])
def test_an_object_that_is_named_as_the_prefix_is_listed_once(page_keys: int) -> None:
    store = MemoryStore()
    store.page_keys = page_keys
    for key in ("p/", "p/a", "p/b"):
        store.put(key, b"")
    pages = islice(listing(store, "p").iter_pages(KeyRange("", None)), 10)
    assert [each.key for page in pages for each in page] == ["", "a", "b"]
    lookup = ListingLookup(listing(store, "p"))
    assert [lookup.at(key) is not None for key in ("a", "ab", "b", "c")] == [True, False, True, False]


class OddStore(MemoryStore):
    """Changes the page that comes after a key."""

    def __init__(self, after: str, change: Callable[[Page], Page]) -> None:
        super().__init__()
        self.page_keys = 3
        self._after, self._change = after, change
        for number in range(10):
            self.put(f"{number:03}", b"")

    def list_page(self, prefix: str, after: str) -> Page:
        page = super().list_page(prefix, after)
        return checked_page(self.name, after, self._change(page) if after == self._after else page)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda page: page._replace(objects=[*page.objects, page.objects[0]._replace(key="000")]), "ends with '000'"),
        (lambda page: page._replace(objects=[page.objects[0]._replace(key="000"), *page.objects]), "begins with '000'"),
        (lambda _: Page([], is_last=False), "says that more follow, after '002'"),
    ],
    ids=["ends before it begins", "begins anew", "empty"],
)
def test_a_listing_that_would_never_end_or_leave_the_rest_out_is_refused(
    change: Callable[[Page], Page], said: str
) -> None:
    store = OddStore("002", change)
    with pytest.raises(StoreUnusable, match=re.escape(said)) as refused:
        list(islice(listing(store).iter_pages(KeyRange("", None)), 20))
    assert "s3:ListBucket" not in refused.value.hint
    lookup = ListingLookup(listing(store))
    with pytest.raises(StoreUnusable, match=re.escape(said)):
        assert all(lookup.at(f"{number:03}") for number in range(10))


def test_names_of_the_last_character_of_all_are_in_one_range_each() -> None:
    entries = [
        Entry(KINDS[0], row, f"\U0010ffff{name}", None, optional=False, private=False, size=None, updated=None)
        for row in (1, 10**16, 10**16 + 1)
        for name in ("", "a.png", "b.png", "\U0010ffff", "\U0010ffffa")
    ]
    keys = sorted(canonical_key(each, "") for each in entries)
    with reading(entries) as reader:
        for cut in keys:
            ranges = [KeyRange("", cut), KeyRange(cut, None)]
            windows = [window for each in ranges for window in KeySpace().iter_windows(reader, each, iter(()))]
            assert [placed.key for window in windows for placed, _ in sorted(placed_in(window))] == keys


def test_a_follower_does_not_list_what_lies_between() -> None:
    store = MemoryStore()
    store.page_keys = 10
    for number in range(1000):
        store.put(f"{number:03}", b"x")
    follower = ListingLookup(listing(store))
    assert follower.at("005")
    assert follower.at("900")
    assert follower.at("901")
    assert store.count("list_page") == 2


NUMBERS = st.lists(st.integers(0, 3_000), unique=True, max_size=60).map(sorted)


@settings(max_examples=60, deadline=None)
@given(wanted=NUMBERS, there=NUMBERS, page_keys=st.integers(1, 20), shared=st.booleans())
def test_what_has_the_same_key_comes_together(
    wanted: list[int], there: list[int], page_keys: int, shared: bool
) -> None:
    """In windows that follow each other, whatever a page holds; two rows that share a folder may have one key."""
    base = 10**16 if shared else 10**17
    entries = [Entry(kind, base + number, "a", None, False, False, None) for number in wanted for kind in KINDS[:2]]
    store = MemoryStore()
    store.page_keys = page_keys
    for number in there:
        store.put(canonical_key(Entry(KINDS[0], base + number, "a", None, False, False, None), ""), b"x")
    with reading(entries or [Entry(KINDS[-1], 1, "a", None, False, False, None)]) as reader:
        space = KeySpace(("accounts",))
        keys = KeyRange("", None)
        windows = list(space.iter_windows(reader, keys, listing(store).iter_pages(keys)))
    matched = {entry.key for window in windows for entry, _ in placed_in(window) if entry.key in window.listed()}
    assert matched == {canonical_key(each, "") for each in entries} & set(store.objects)
    spans = [[*window.listed(), *(entry.key for entry, _ in placed_in(window))] for window in windows]
    assert all(max(left) < min(right) for left, right in pairwise(spans))
    assert sorted(key for span in spans for key in span) == sorted(
        [*store.objects, *(canonical_key(each, "") for each in entries)]
    )


@pytest.mark.parametrize("where", ["one folder", "many folders"])
def test_windows_are_small_however_little_is_listed(tmp_path: Path, where: str) -> None:
    """And each range reads its own lines only, also where one folder holds all of them: it would take the square."""
    ids = [10**17] * 6_000 if where == "one folder" else range(10**17, 10**17 + 6_000)
    entries = [Entry(KINDS[0], row_id, f"{at:05}", None, False, False, None) for at, row_id in enumerate(ids)]
    read = 0

    class Counting(SegmentReader):
        """Counts the lines that it gives."""

        def iter_runs(self, *asked: Any, **more: Any) -> Iterator[list[RawRow]]:  # noqa: ANN401 - as they are
            nonlocal read
            for rows in super().iter_runs(*asked, **more):
                read += len(rows)
                yield rows

    with planned(tmp_path / "m.db", entries), Counting.opened(tmp_path / "m.db") as reader:
        ranges = KeySpace().cut(reader, 6_000, 8)
        assert len(ranges) == 3
        windows = [window for keys in ranges for window in KeySpace().iter_windows(reader, keys, iter(()))]
    assert sum(len(placed_in(window)) for window in windows) == 6_000
    assert max(len(placed_in(window)) for window in windows) <= 2_000
    assert read <= 6_000 + len(ranges)
