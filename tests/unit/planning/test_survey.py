"""What a plan adds up of what it sees, and what it leaves out on request."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import assume, given
from hypothesis import strategies as st

from mastosync.mastodon.catalog import CATALOG, spec_of
from mastosync.mastodon.paperclip import canonical_key, entries_of, groups_of, id_partition
from mastosync.model import Entry, EntryGroup, Kind, MediaColumns, MediaRow
from mastosync.planning.planner import marked
from mastosync.planning.survey import AGES, DAY_SECONDS, DirectoryCount, Estimate, Survey, Surveyor
from tests.support.entries import grouped, ungrouped

NOW = 1_800_000_000
MIB = 1024**2
ORIGINAL = Kind("media_attachments", "file", "original", "media_attachments/files", remote=True, cached=True)
SMALL = ORIGINAL._replace(style="small")


def days_ago(days: float) -> int:
    return round(NOW - days * DAY_SECONDS)


def surveyed(*batches: list[EntryGroup]) -> Survey:
    surveyor = Surveyor(NOW, multipart_threshold=16 * MIB, part_size=10 * MIB)
    for batch in batches:
        surveyor.take(batch)
    return surveyor.survey()


def media(
    row_id: int, size: int | None, updated: int | None, *, kind: Kind = ORIGINAL, optional: bool = False
) -> Entry:
    return Entry(kind, row_id, f"{row_id}.jpg", None, optional, private=False, size=size, updated=updated)


def amount_of(survey: Survey, age: str) -> Estimate:
    (line,) = (line for line in survey.lines if line.age == age)
    return line.amount


times = st.one_of(st.none(), st.integers(0, 500 * DAY_SECONDS).map(lambda before: NOW - before))


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 40 * MIB)), times), max_size=30))
def test_objects_and_bytes_are_counted_by_age(files: list[tuple[int | None, int | None]]) -> None:
    survey = surveyed(grouped(media(number, size, updated) for number, (size, updated) in enumerate(files, 1)))
    expected: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for size, updated in files:
        days = None if updated is None else (NOW - updated) / DAY_SECONDS
        age = (
            "unknown"
            if days is None
            else next((f"under_{most}_days" for most in (7, 30, 90, 365) if days <= most), "older")
        )
        expected[age] += 1
        sizes[age] += size or 0
    assert {line.age: line.amount.objects for line in survey.lines} == expected
    assert {line.age: line.amount.known_bytes for line in survey.lines} == {age: sizes[age] for age in expected}
    assert survey.total().large == sum((size or 0) > 16 * MIB for size, _ in files)
    assert survey.total().unsized == sum(not size for size, _ in files)


def test_a_file_that_is_just_as_old_as_is_asked_for_stays_in_and_is_counted_so() -> None:
    survey = surveyed(
        grouped([media(1, 1, days_ago(30)), media(2, 1, days_ago(30) + 1), media(3, 1, days_ago(30) - 1)])
    )
    assert amount_of(survey, "under_30_days").objects == 2
    assert amount_of(survey, "under_90_days").objects == 1
    (group,) = grouped([media(1, 1, days_ago(30))])
    assert not any(each.excluded for each in marked(group, days_ago(30)))


def test_sizes_that_nobody_knows_are_estimated_by_the_originals_of_the_same_attachment() -> None:
    originals = [media(number, 400_000, days_ago(1)) for number in (1, 2)]
    smalls = [media(number, None, days_ago(1), kind=SMALL) for number in (1, 2)]
    amount = surveyed(grouped([*originals, *smalls, media(3, None, days_ago(1))])).total()
    assert (amount.objects, amount.known_bytes, amount.unsized) == (5, 800_000, 3)
    assert amount.estimated_bytes == 400_000 + 2 * 50_000


def test_a_large_film_has_no_large_picture() -> None:
    amount = surveyed(grouped([media(1, 90 * MIB, days_ago(1)), media(1, None, days_ago(1), kind=SMALL)])).total()
    assert amount.estimated_bytes == 150 * 1024
    assert (amount.large, amount.parts) == (1, 9)


def test_what_is_optional_or_left_out_is_told_apart() -> None:
    kept, left = grouped([media(1, 5, days_ago(1), optional=True), media(2, 7, days_ago(100))])
    survey = surveyed([kept, left._replace(excluded=True)])
    assert survey.total().optional == 1
    assert survey.total(excluded=True).known_bytes == 7
    assert survey.total(excluded=False).known_bytes == 5


def test_a_survey_comes_back_from_json_as_it_was() -> None:
    survey = surveyed(grouped([media(1, 5, days_ago(1)), media(2, None, None)]))
    assert Survey.of_json(json.loads(json.dumps(survey.as_json()))) == survey
    assert {line.age for line in survey.lines} <= set(AGES)


def test_styles_of_the_same_rows_are_aged_alike() -> None:
    columns = MediaColumns(
        [1, 2],
        ["a.jpg", "b.jpg"],
        ["image/jpeg"] * 2,
        [10, 20],
        [1, 1],
        [True] * 2,
        [False] * 2,
        [None] * 2,
        [days_ago(1), days_ago(400)],
    )
    survey = surveyed(groups_of(spec_of("media_attachments", "file"), columns))
    assert amount_of(survey, "under_7_days").objects == amount_of(survey, "older").objects == 2


# --- directories ---

ids = st.one_of(
    st.integers(1, 3000),
    st.integers(10**9 - 5, 10**9 + 2000),
    st.integers(110_000_000_000_000_000, 110_000_000_003_000_000),
    st.integers(1_100_000_000_000_000_000, 1_100_000_000_000_900_000),
)


@given(st.data())
def test_directories_are_those_of_the_keys(data: st.DataObject) -> None:
    """Of a table that is one batch: all but the few above all ids."""
    first = data.draw(ids)
    found = sorted(data.draw(st.sets(st.integers(first, first + 5000), min_size=1, max_size=40)))
    assume(len({len(str(each)) for each in found}) == 1)  # ids of one batch are taken to be as long as its highest
    assume(len(set(map(id_partition, found))) == len(found))  # of nineteen digits the last one is dropped
    rows = [MediaRow(each, f"{each}.jpg", "image/jpeg", 5, 1, remote=True) for each in found]
    spec = spec_of("media_attachments", "file")
    entries = [entry for row in rows for entry in entries_of(spec, row)]
    count = DirectoryCount()
    count.take(grouped(entries))
    directories = set()
    for entry in entries:
        path = canonical_key(entry, "").split("/")[:-1]
        directories |= {"/".join(path[:end]) for end in range(4, len(path) + 1)}  # below cache/class/attachment
    assert list(count.by_type()) == [("media_attachments", True, len(directories))]


def test_the_directories_of_a_long_table_are_counted_by_samples() -> None:
    """Snowflakes of a steady instance: within a few in a hundred of what there is."""
    count, expected = DirectoryCount(), set()
    for batch in range(100):
        numbers = [
            ((1_500_000_000_000 + 90_000 * (batch * 50 + each)) << 16) + each * 40_503 % 65_536 for each in range(50)
        ]
        count.take(grouped(media(number, 5, days_ago(1)) for number in numbers))
        for number in numbers:
            digits = str(number)
            expected |= {digits[:end] for end in range(3, len(digits) + 1, 3)} | {f"{number}/original"}
    ((_, _, found),) = count.by_type()
    assert abs(found / len(expected) - 1) < 0.05


# --- what is left out ---


def test_only_the_cache_of_others_ages() -> None:
    old = days_ago(100)
    kept_back = set()
    for spec in CATALOG:
        for remote in (False, True):
            row = MediaRow(1, "a.jpg", "image/jpeg", 5, 1, remote=remote, updated=old)
            for group in grouped(entries_of(spec, row)):
                if any(each.excluded for each in marked(group, days_ago(30))):
                    kept_back.add((group.kind.table, group.kind.remote))
    assert kept_back == {("media_attachments", True), ("preview_cards", True)}


@given(st.lists(st.tuples(times, st.sampled_from([None, "a.gif"])), min_size=1, max_size=12))
def test_what_is_left_out_and_what_stays_are_all_there_was(files: list[tuple[int | None, str | None]]) -> None:
    entries = [
        Entry(SMALL, number, "a.png", fallback, optional=False, private=False, size=None, updated=updated)
        for number, (updated, fallback) in enumerate(files, 1)
    ]
    (group,) = grouped(entries)
    parts = list(marked(group, days_ago(30)))
    assert ungrouped(parts) == entries
    for part in parts:
        assert all(
            part.excluded == (entry.updated is not None and entry.updated < days_ago(30)) for entry in ungrouped([part])
        )
