"""In which order pending entries are handed out: by age across kinds, and every one of them once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mastosync.manifest import WorkQueue
from mastosync.manifest.work_queue import merged, stages
from mastosync.model import Claim, Entry, Kind, Order
from tests.support.entries import LOCAL, REMOTE, entry
from tests.support.manifests import planned

CARD = Kind("preview_cards", "image", "original", "preview_cards/images", remote=True, cached=True)
ICON = Kind("preview_card_providers", "icon", "original", "preview_card_providers/icons", remote=False, cached=False)
UPLOAD = Kind("site_uploads", "file", "original", "site_uploads/files", remote=False, cached=False)
MEDIA = Kind("media_attachments", "file", "original", "media_attachments/files", remote=False, cached=False)


def handed_out(path: Path, entries: Sequence[Entry], order: Order = Order.LOCAL_FIRST) -> list[Entry]:
    with planned(path, entries) as manifest:
        return [claim.entry for claim in WorkQueue(manifest, order=order).iter_claimable()]


def snowflake(seconds: int) -> int:
    return (seconds * 1000) << 16


@pytest.mark.parametrize(
    ("order", "times"),
    [(Order.NEWEST, [60, 50, 40, 30, 20, 10]), (Order.OLDEST, [10, 20, 30, 40, 50, 60])],
)
def test_age_decides_across_types(tmp_path: Path, order: Order, times: list[int]) -> None:
    kinds = [LOCAL, REMOTE, CARD, UPLOAD, ICON, LOCAL]
    entries = [entry(10 + row, kind=kind, updated=10 * row) for row, kind in enumerate(kinds, 1)]
    assert [each.updated for each in handed_out(tmp_path / "m.db", entries, order)] == times


def test_what_nobody_could_fetch_again_comes_first_whatever_its_age(tmp_path: Path) -> None:
    entries = [
        entry(row, kind=kind, updated=row) for row, kind in enumerate([UPLOAD, MEDIA, LOCAL, ICON, CARD, REMOTE])
    ]
    found = handed_out(tmp_path / "m.db", entries)
    assert [each.kind for each in found] == [LOCAL, MEDIA, UPLOAD, REMOTE, CARD, ICON]


def test_an_id_tells_the_age_where_the_row_does_not_and_what_has_none_comes_last(tmp_path: Path) -> None:
    old, new = entry(snowflake(1_000), kind=REMOTE), entry(snowflake(3_000), kind=REMOTE)
    entries = [old, new, entry(5, kind=CARD, updated=2_000), entry(6, kind=UPLOAD)]
    for order, expected in ((Order.NEWEST, [1, 2, 0, 3]), (Order.OLDEST, [0, 2, 1, 3])):
        path = tmp_path / f"{order}.db"
        assert handed_out(path, entries, order) == [entries[at] for at in expected]


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_an_old_row_with_a_new_file_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Old accounts change their avatars; whatever comes after them by id is not to wait for that."""
    monkeypatch.setattr("mastosync.manifest.work_queue._CHUNK", chunk)
    avatars = [entry(1, updated=10), entry(2, updated=900), entry(3, updated=30), entry(4, updated=40)]
    media = [entry(5, kind=REMOTE, updated=20), entry(6, kind=REMOTE, updated=500)]
    found = handed_out(tmp_path / "m.db", [*avatars, *media], Order.OLDEST)
    assert [each.updated for each in found] == [10, 20, 900, 30, 40, 500]


rows = st.dictionaries(
    st.integers(-5, 200), st.one_of(st.none(), st.integers(0, 1_000)), max_size=30
)  # ids and times, of one kind


@settings(max_examples=150, deadline=None)
@given(of_kinds=st.lists(rows, min_size=1, max_size=4), chunk=st.integers(1, 7), newest=st.booleans())
def test_every_row_comes_once_in_the_order_of_its_kind(
    of_kinds: list[dict[int, int | None]], chunk: int, newest: bool
) -> None:
    lists = {kind: _claims(kind, ids, newest=newest) for kind, ids in zip(KINDS, of_kinds, strict=False)}
    found = list(merged({kind: chunked(each, chunk) for kind, each in lists.items()}, newest=newest))
    for kind, each in lists.items():
        assert [claim for claim in found if claim.entry.kind == kind] == each


@settings(max_examples=150, deadline=None)
@given(of_kinds=st.lists(st.sets(st.integers(0, 10_000), max_size=30), min_size=1, max_size=4), newest=st.booleans())
def test_where_ids_follow_time_so_does_the_work(of_kinds: list[set[int]], newest: bool) -> None:
    lists = {
        kind: _claims(kind, dict(enumerate(sorted(times))), newest=newest)
        for kind, times in zip(KINDS, of_kinds, strict=False)
    }
    found = merged({kind: chunked(each, 5) for kind, each in lists.items()}, newest=newest)
    times = [claim.entry.updated or 0 for claim in found]
    assert times == sorted(times, reverse=newest)


KINDS = (LOCAL, REMOTE, CARD, UPLOAD)


def _claims(kind: Kind, ids: dict[int, int | None], *, newest: bool) -> list[Claim]:
    return [Claim(entry(row_id, kind=kind, updated=ids[row_id]), 0) for row_id in sorted(ids, reverse=newest)]


def chunked(claims: list[Claim], size: int) -> Iterator[list[Claim]]:
    return (claims[at : at + size] for at in range(0, len(claims), size))


def test_stages_leave_nothing_out() -> None:
    kinds = dict(enumerate((ICON, REMOTE, UPLOAD, LOCAL)))
    assert stages(kinds, Order.LOCAL_FIRST) == [{2: UPLOAD, 3: LOCAL}, {0: ICON, 1: REMOTE}]
    assert stages(kinds, Order.NEWEST) == [kinds]
