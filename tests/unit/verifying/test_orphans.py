"""Which keys an entry may have, asked in the other direction; and how old what is missing is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings

from mastosync.cli.commands.orphans import render_orphans
from mastosync.errors import ManifestError
from mastosync.manifest import HIGHEST_ID, LOWEST_ID, Manifest, PlanWriter, Scratch, SegmentReader
from mastosync.mastodon.paperclip import canonical_key, iter_candidates
from mastosync.model import Entry
from mastosync.progress import NoProgress
from mastosync.runtime.stop import StopSignal
from mastosync.verifying.orphans import (
    OrphanFinder,
    OrphansOptions,
    OrphansResult,
    age_of,
    is_referred_to,
    root_of_copies,
)
from tests.support.entries import LOCAL, REMOTE, entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, planned
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session
from tests.unit.verifying.test_listing_merge import ENTRIES

NOW = datetime(2026, 11, 24, 1, 0, 0, 200_000, tzinfo=UTC)
OVERLAP = timedelta(minutes=15)


@settings(max_examples=80, deadline=None)
@given(entries=ENTRIES)
def test_every_key_an_entry_may_have_is_known(entries: list[Entry]) -> None:
    keys = {key for each in entries for key in iter_candidates(each, "")}
    others = (
        {key + "x" for key in keys}
        | {f"x{key}" for key in keys}
        | {key.replace("/original/", "/small/") for key in keys}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.db"
        with planned(path, entries), SegmentReader.opened(path) as reader:
            assert all(is_referred_to(reader, key) for key in keys)
            assert {key for key in others if is_referred_to(reader, key)} <= keys


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "accounts/avatars",
        "accounts/avatars/000/000/001/original/",
        "accounts/avatars/999/999/999/999/999/999/999/999/original/a.png",
        "accounts/avatars/000/000/001/original/a.png/more",
        "accounts/avatars/001/original/a.png",
        "cache/cache/accounts/avatars/000/000/001/original/a.png",
    ],
)
def test_what_no_entry_means_is_not_known(tmp_path: Path, key: str) -> None:
    with planned(tmp_path / "m.db", [entry()]), SegmentReader.opened(tmp_path / "m.db") as reader:
        assert not is_referred_to(reader, key)


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (0.5, "less than a day"),
        (3, "less than a week"),
        (20, "less than a month"),
        (300, "less than a year"),
        (400, "more than a year"),
    ],
)
def test_ids_of_media_tell_their_age(days: float, told: str) -> None:
    made = int((NOW - timedelta(days=days)).timestamp() * 1000) << 16
    assert age_of(entry(made, kind=REMOTE), NOW) == told


def test_other_ids_do_not(tmp_path: Path) -> None:
    assert age_of(entry(42, kind=REMOTE), NOW) == "unknown"
    made = int(NOW.timestamp() * 1000) << 16
    assert age_of(entry(made, kind=LOCAL._replace(table="custom_emojis")), NOW) == "unknown"


Find = Callable[..., tuple[OrphansResult, list[str], list[str]]]


@pytest.fixture
def find(tmp_path: Path) -> Find:
    """Compares a store with a manifest of these entries: the result, orphans, and names of what is missing."""

    def made(
        store: MemoryStore, *entries: Entry, prefix: str = "", copies: str = "", there: str | None = None
    ) -> tuple[OrphansResult, list[str], list[str]]:
        path = tmp_path / "m.db"
        with planned(path, entries) if not path.exists() else Manifest.open(path), Scratch() as scratch:
            options = OrphansOptions(2, OVERLAP)
            stop, listener = StopSignal(), NoProgress()
            finder = OrphanFinder(
                path, store_session(store), prefix, NOW, len(entries), options, stop, listener, scratch, copies, there
            )
            result = finder.run()
            orphans = [key for key, _, _ in finder.iter_orphans()]
            return result, orphans, [record.entry.name for record in finder.iter_missing()]

    return made


def test_an_object_under_another_key_of_its_entry_is_neither_orphan_nor_missing(find: Find) -> None:
    store = MemoryStore()
    moved = entry(1, "moved.png", kind=REMOTE, fallback="moved.gif")
    store.put("media_attachments/files/000/000/001/small/moved.gif", b"x")  # not under cache/, with the old name
    store.put("media_attachments/files/000/000/002/small/moved.gif", b"xx")
    result, orphans, missing = find(store, moved, entry(3, "lost.png", kind=REMOTE))
    assert orphans == ["media_attachments/files/000/000/002/small/moved.gif"]
    assert missing == ["lost.png"]
    assert result.by_prefix["media_attachments/files/"].as_json() == {"objects": 1, "bytes": 2}
    assert result.listed.as_json() == {"objects": 2, "bytes": 3}


def test_a_copy_in_the_same_bucket_is_no_object_of_the_source(find: Find) -> None:
    """From a prefix to none: without one, a key is what the source may have, unless the destination has it there."""
    store, lost = MemoryStore(), entry(1, "lost.png")
    store.put(canonical_key(lost, ""), b"copied")
    assert find(store, lost, prefix="old")[2] == []
    assert find(store, lost, prefix="old", there="")[2] == ["lost.png"]


def test_under_a_prefix_only_what_is_there_counts(find: Find) -> None:
    """But an object without the prefix is one that its entry has."""
    store = MemoryStore()
    store.put("elsewhere/file", b"x")
    store.put("p/stray", b"x")
    store.put("accounts/avatars/000/000/001/original/bare.png", b"x")
    _, orphans, missing = find(store, entry(1, "bare.png"), entry(2, "lost.png"), prefix="p")
    assert (orphans, missing) == (["p/stray"], ["lost.png"])


def test_a_store_that_lists_in_no_order_makes_no_orphans(find: Find) -> None:
    class Unsorted(MemoryStore):
        """Lists everything at once, the last first."""

        def list_page(self, prefix: str, after: str):  # type: ignore[no-untyped-def] # noqa: ANN202
            page = super().list_page(prefix, "")
            return page._replace(objects=page.objects[::-1])

    store, names = Unsorted(), ["a.png", "b.png", "c.png"]
    for number, name in enumerate(names):
        store.put(f"accounts/avatars/000/000/00{number}/original/{name}", b"x")
    store.put("stray", b"x")
    _, orphans, missing = find(store, *(entry(number, name) for number, name in enumerate(names)))
    assert (orphans, missing) == (["stray"], [])


class Replanned(MemoryStore):
    """A plan ends when it is first asked for something."""

    def __init__(self, method: str, path: Path, entries: Sequence[Entry]) -> None:
        super().__init__()
        self._method, self._path, self._entries = method, path, [entries]

    def _called(self, method: str, key: str = "") -> None:
        super()._called(method, key)
        if method == self._method and self._entries:
            entries = self._entries.pop()
            with (
                Manifest.open(self._path, writing=True) as manifest,
                PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer,
            ):
                writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(entries))
                writer.finish(NOW, {})


@pytest.mark.parametrize("method", ["list_page", "head"])
@pytest.mark.parametrize("others", [(), (entry(1, "lost.png", kind=REMOTE),)], ids=["gone", "remote"])
def test_a_row_that_leaves_or_turns_meanwhile_is_not_missing(
    find: Find, tmp_path: Path, others: tuple[Entry, ...], method: str
) -> None:
    stays = entry(2, "there.png")
    store = Replanned(method, tmp_path / "m.db", [stays, *others])
    store.put(canonical_key(stays, ""), b"x")
    result, _, missing = find(store, entry(1, "lost.png"), stays, entry(3, "too.png"))
    assert (result.missing_total, missing) == (0, [])


def test_after_many_requests_in_vain_a_listing_is_believed(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mastosync.verifying.orphans._ASKED_AT_MOST", 5)
    store = MemoryStore()
    _, _, missing = find(store, *(entry(number, f"{number}.png") for number in range(50)))
    assert len(missing) == 50
    assert store.count("head") == 5


@pytest.mark.parametrize(
    ("source", "destination", "copies"),
    [
        ("", "new", "new/"),
        ("", "/new", "new/"),
        ("old", "new", "new/"),
        ("old", "old/new", "old/new/"),
        ("old", "", ""),  # no copy lies below `old/`
        ("old/er", "old", ""),
        ("", "new/:class", "new/"),
    ],
)
def test_copies_in_the_same_bucket_lie_under_the_prefix_of_the_destination(
    source: str, destination: str, copies: str
) -> None:
    assert root_of_copies(source, destination) == copies


@pytest.mark.parametrize("prefix", ["", "old"])
def test_copies_in_the_same_bucket_are_no_orphans(find: Find, prefix: str) -> None:
    """Who deletes by the list of orphans would delete what was migrated."""
    store, one = MemoryStore(), entry(1, "a.png")
    root = f"{prefix}/" if prefix else ""
    key = "accounts/avatars/000/000/001/original/a.png"
    for each in (root + key, f"{root}new/{key}", f"{root}new/what/mastodon/wrote/since.png", f"{root}newer/stray.png"):
        store.put(each, b"four")
    result, orphans, missing = find(store, one, prefix=prefix, copies=f"{root}new/")
    assert (orphans, missing) == ([f"{root}newer/stray.png"], [])
    told = result.as_json()
    assert (told["listed"]["objects"], told["orphans"]["objects"]) == (4, 1)
    assert told["copies"] == {"objects": 2, "bytes": 8}
    assert "2 more (8 Bytes) have the key prefix of the destination" in render_orphans(result)


@pytest.mark.parametrize(
    ("modified", "is_orphan"),
    [
        ("2026-11-24T00:59:58.500Z", False),  # stored before its row was committed, as Paperclip does
        ("2026-11-24T01:00:00Z", False),
        ("2026-11-24T02:00:00Z", False),
        ("2026-11-24T00:45:00.200000+00:00", False),
        ("2026-11-24T00:45:00.199999+00:00", True),
        ("2026-11-24T00:45:00.199Z", True),
        ("2026-11-24T00:44:59", True),
        ("no moment", True),
    ],
)
def test_what_came_shortly_before_the_plan_may_have_a_row_that_it_did_not_see(
    find: Find, modified: str, is_orphan: bool
) -> None:
    store = MemoryStore()
    store.put("stray", b"xyz")
    store.modified["stray"] = modified
    result, orphans, _ = find(store, entry(1))
    assert orphans == (["stray"] if is_orphan else [])
    assert result.newer.as_json() == ({"objects": 0, "bytes": 0} if is_orphan else {"objects": 1, "bytes": 3})
    assert result.as_json()["newer_than"] == "2026-11-24T00:45:00.200000+00:00"


def test_a_disk_without_room_for_findings_is_told_as_one() -> None:
    with Scratch() as scratch:
        scratch._connection.execute("PRAGMA max_page_count = 5")
        with pytest.raises(ManifestError, match=r"temporary database: .* full") as told:
            scratch.add_orphans((f"{number:0100}", 1, "") for number in range(1_000))
    assert "TMPDIR" in told.value.hint
