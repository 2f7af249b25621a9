"""Candidates, partitions and blanks: the rules for which the library itself gives no vectors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastosync.mastodon.catalog import CATALOG, specs_of
from mastosync.mastodon.paperclip import (
    WHITE_SPACE,
    KeyRange,
    SortedSegment,
    canonical_key,
    entries_of,
    groups_of,
    id_partition,
    is_blank,
    iter_candidates,
    iter_segments,
)
from mastosync.model import TABLES, AttachmentSpec, Entry, Kind, MediaColumns, MediaRow
from tests.support.entries import ungrouped

FILE, THUMBNAIL = specs_of("media_attachments")


def entry_of(style: str, row: MediaRow, table: str = "media_attachments") -> Entry:
    (found,) = (each for each in entries_of(specs_of(table)[0], row) if each.kind.style == style)
    return found


def media(content_type: str | None, name: str = "a.jpg", row_id: int = 42, **more: Any) -> MediaRow:  # noqa: ANN401 - fields of every type
    return MediaRow(row_id, name, content_type)._replace(**more)


@pytest.mark.parametrize(
    ("row", "style", "prefix", "candidates"),
    [
        (media("image/jpeg"), "original", "", ["F/000/000/042/original/a.jpg"]),
        (
            media("image/jpeg", remote=True, schema_version=1),
            "original",
            "",
            ["cache/F/000/000/042/original/a.jpg", "F/000/000/042/original/a.jpg"],
        ),
        (
            media("image/jpeg", remote=True, schema_version=0),
            "small",
            "",
            ["F/000/000/042/small/a.jpg", "cache/F/000/000/042/small/a.jpg"],
        ),
        (media("image/gif", "a.gif"), "small", "", ["F/000/000/042/small/a.png", "F/000/000/042/small/a.gif"]),
        (media("image/heic", "a.HEIC"), "small", "", ["F/000/000/042/small/a.jpeg", "F/000/000/042/small/a.HEIC"]),
        (media("image/avif", "a.jpeg"), "small", "", ["F/000/000/042/small/a.jpeg"]),
        (media(None, "a.bmp"), "small", "", ["F/000/000/042/small/a.bmp", "F/000/000/042/small/a.png"]),
        (
            media("image/png", "a.png", 1234567890),
            "original",
            "",
            ["F/001/234/567/890/original/a.png", "F/123/456/789/original/a.png"],
        ),
        (
            media("image/png", "a.png", 12345678901),
            "original",
            "",
            ["F/012/345/678/901/original/a.png", "F/123/456/789/original/a.png"],
        ),
        (media("image/png", "a.png", 123456789012), "original", "", ["F/123/456/789/012/original/a.png"]),
        (
            media("image/jpeg"),
            "original",
            "p/q",
            ["p/q/F/000/000/042/original/a.jpg", "F/000/000/042/original/a.jpg"],
        ),
        (
            media("image/gif", "a.gif", 1234567890, remote=True, schema_version=2),
            "small",
            "p",
            [
                f"{prefix}{cache}F/{partition}/small/a.{extension}"
                for prefix in ("p/", "")
                for partition in ("001/234/567/890", "123/456/789")
                for extension in ("png", "gif")
                for cache in ("cache/", "")
            ],
        ),
    ],
)
def test_candidates_come_in_the_order_of_the_rules(
    row: MediaRow, style: str, prefix: str, candidates: list[str]
) -> None:
    expected = [key.replace("F/", "media_attachments/files/", 1) for key in candidates]
    assert list(iter_candidates(entry_of(style, row), prefix)) == expected


@pytest.mark.parametrize(
    ("content_type", "styles"),
    [
        ("audio/mpeg", {"original"}),
        ("audio/unheard-of", {"original"}),
        ("video/mp4", {"original", "small"}),
        (None, {"original", "small"}),
        ("IMAGE/GIF", {"original", "small"}),
        ("video/x-ms-asf", {"original", "small"}),
    ],
)
def test_small_of_unsupported_media_is_optional(content_type: str | None, styles: set[str]) -> None:
    found = entries_of(FILE, media(content_type))
    assert {each.kind.style for each in found} == styles
    assert not found[0].optional
    if content_type != "video/mp4":
        assert all(each.optional for each in found[1:])


def test_what_mastodon_can_do_without_is_optional_and_nothing_else() -> None:
    required = {
        (spec.table, spec.attachment, style.name) for spec in CATALOG for style in spec.styles if not style.optional
    }
    assert required == {
        ("media_attachments", "file", "original"),
        ("media_attachments", "file", "small"),
        ("media_attachments", "thumbnail", "original"),
        ("accounts", "avatar", "original"),
        ("accounts", "avatar", "static"),  # shown to everybody for whom pictures do not move
        ("accounts", "header", "original"),
        ("accounts", "header", "static"),
        ("custom_emojis", "image", "original"),
        ("custom_emojis", "image", "static"),
        ("preview_cards", "image", "original"),
        ("site_uploads", "file", "original"),
        ("backups", "dump", "original"),
        ("imports", "data", "original"),
    }


def test_backups_are_always_private_and_others_as_their_row_says() -> None:
    (backup,) = entries_of(specs_of("backups")[0], MediaRow(1, "dump.zip"))
    assert backup.private
    for table in TABLES:
        for spec in specs_of(table):
            assert all(each.private for each in entries_of(spec, MediaRow(1, "a.png", private=True)))
            if table != "backups":
                assert not any(each.private for each in entries_of(spec, MediaRow(1, "a.png")))


@pytest.mark.parametrize(
    ("row_id", "partition"),
    [
        (42, "000/000/042"),
        (123456789, "123/456/789"),
        (1234567890, "001/234/567/890"),
        (1234567890123, "123/456/789/012"),
        (98765432109876543, "987/654/321/098/765"),
        (104530971904218116, "104/530/971/904/218/116"),
        (1234567890123456789, "123/456/789/012/345/678"),
        (-99, "000/000"),
    ],
)
def test_partitions(row_id: int, partition: str) -> None:
    assert id_partition(row_id) == partition


@given(st.integers(0, 2**63 - 1))
def test_a_partition_is_whole_groups_of_the_padded_id(row_id: int) -> None:
    groups = id_partition(row_id).split("/")
    assert all(len(group) == 3 and group.isdigit() for group in groups)
    padded = str(row_id).zfill(9 if row_id < 10**9 else 12)
    assert padded.startswith("".join(groups))
    assert len(padded) - 3 * len(groups) < 3


@pytest.mark.parametrize("text", ["", None, *WHITE_SPACE, WHITE_SPACE])
def test_blank_is_what_rails_calls_blank(text: str | None) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", " a ", "\u200b", "\x1c", "\x1f", "\ufeff", "\x00"])
def test_what_only_looks_blank_is_not(text: str) -> None:
    assert not is_blank(text)


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/:"), min_size=1, max_size=40)
rows = st.builds(
    MediaRow,
    id=st.integers(-(2**63), 2**63 - 1),
    file_name=names,
    content_type=st.sampled_from([None, "image/gif", "image/png", "video/mp4", "image/heic", "audio/mpeg", "x"]),
    file_size=st.none(),
    schema_version=st.sampled_from([None, 0, 1, 2]),
    remote=st.booleans(),
    private=st.booleans(),
    var=st.sampled_from([None, "thumbnail", "favicon", "app_icon", "mascot"]),
    updated=st.one_of(st.none(), st.integers(0, 2**32)),
)


@given(st.sampled_from(CATALOG), rows, st.sampled_from(["", "p", "/p", "p/", "a/b"]))
def test_the_first_candidate_is_the_canonical_key_and_none_comes_twice(
    spec: object, row: MediaRow, prefix: str
) -> None:
    for entry in entries_of(spec, row):  # type: ignore[arg-type] # hypothesis draws from the catalog
        candidates = list(iter_candidates(entry, prefix))
        assert candidates[0] == canonical_key(entry, prefix)
        assert len(set(candidates)) == len(candidates)
        assert all(key.split("/")[-1] in (entry.name, entry.fallback) for key in candidates)


@given(st.sampled_from(CATALOG), rows, st.sampled_from([("p", ""), ("", "p"), ("p", "q")]))
def test_what_the_destination_has_in_the_same_bucket_is_no_candidate(
    spec: object, row: MediaRow, prefixes: tuple[str, str]
) -> None:
    """Neither its key nor any other that the entry may have had there."""
    here, there = prefixes
    for entry in entries_of(spec, row):  # type: ignore[arg-type] # hypothesis draws from the catalog
        candidates = list(iter_candidates(entry, here, there))
        assert candidates[0] == canonical_key(entry, here)
        assert canonical_key(entry, there) not in candidates
        elsewhere = list(iter_candidates(entry, here))
        assert candidates == (elsewhere if there else [key for key in elsewhere if key.startswith("p/")])


@given(st.sampled_from(CATALOG), rows)
def test_originals_keep_their_name_and_blank_names_have_no_entry(spec: object, row: MediaRow) -> None:
    found = entries_of(spec, row)  # type: ignore[arg-type] # hypothesis draws from the catalog
    if is_blank(row.file_name):
        assert found == []
    else:
        assert found[0].name == row.file_name
        assert canonical_key(found[0], "").endswith(f"/original/{row.file_name}")


NEARLY_ORDINARY = ["a.jpg", "a.png", "a.jpeg", "a-b_c.gif", "A9.HEIC", "a", "a.", ".a", "a.b.c", "..", "a b.c", "é.png"]
NEARLY_ORDINARY += ["a\nb.c", "a.b\n", "\n", "a/b.c", "a:class.png", " ", "\u2003", "a\x00.b"]


@given(
    st.sampled_from(CATALOG),
    st.lists(st.tuples(rows, st.one_of(st.sampled_from(NEARLY_ORDINARY), names)), min_size=1, max_size=12),
)
def test_rows_together_have_the_entries_that_each_has_alone(
    spec: AttachmentSpec, drawn: list[tuple[MediaRow, str]]
) -> None:
    together = [row._replace(id=number, file_name=name, file_size=number) for number, (row, name) in enumerate(drawn)]
    expected = [entry for row in together for entry in entries_of(spec, row)]
    found = groups_of(spec, MediaColumns(*zip(*together, strict=True)))
    assert ungrouped(found) == sorted(expected, key=lambda each: each[:3])


@given(st.sampled_from([spec for spec in CATALOG if not spec.cacheable]), rows)
def test_tables_that_do_not_know_remote_rows_are_never_cached(spec: object, row: MediaRow) -> None:
    for entry in entries_of(spec, row):  # type: ignore[arg-type] # hypothesis draws from the catalog
        assert not any(key.startswith("cache/") for key in iter_candidates(entry, ""))


@pytest.mark.parametrize(
    ("name", "style", "key"),
    [
        ("a:class.png", "original", "custom_emojis/images/000/000/001/original/acustom_emojis.png"),
        ("a:class.png", "static", "custom_emojis/images/000/000/001/static/acustom_emojis.png"),
        ("x:attachment", "original", "custom_emojis/images/000/000/001/original/ximages"),
        ("x.jpg:large", "original", "custom_emojis/images/000/000/001/original/x.jpg:large"),
    ],
)
def test_tokens_in_a_file_name_are_replaced_as_paperclip_does(name: str, style: str, key: str) -> None:
    assert canonical_key(entry_of(style, MediaRow(1, name), "custom_emojis"), "") == key


SEGMENTS = [
    segment
    for kind in (Kind("accounts", "avatar", "static", "accounts/avatars", remote=True, cached=True),)
    for segment in iter_segments(kind, every_form=True)
]


@pytest.mark.parametrize("segment", SEGMENTS, ids=lambda each: f"{each.head}{each.lowest} {each.form.width}")
def test_keys_that_are_made_together_are_those_of_each(segment: SortedSegment) -> None:
    middle = (segment.lowest + segment.highest) // 2
    ids = sorted({segment.lowest, segment.lowest + 1, middle, middle + 1, middle + 99, segment.highest})
    names = [f"{at},a/b.png" for at in range(len(ids))]
    assert segment.keys_of(ids, names) == [
        f"{segment.head}{id_partition(row_id, segment.form.width)}/static/{name}"
        for row_id, name in zip(ids, names, strict=True)
    ]
    assert segment.keys_of([], []) == []
    folders = [segment.folder(row_id) for row_id in range(middle, middle + segment.unit)]
    assert middle % segment.unit or len(set(folders)) == 1


def test_the_end_of_a_range_is_found_by_its_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look for it among all ids, one folder after the other, would cost each range thousands of them."""
    made = 0
    folder = SortedSegment.folder

    def counted(segment: SortedSegment, row_id: int) -> str:
        nonlocal made
        made += 1
        return folder(segment, row_id)

    monkeypatch.setattr(SortedSegment, "folder", counted)
    cuts = [folder(each, number) for each in SEGMENTS if each.lowest > 10**15 for number in (10**17, each.lowest + 7)]
    everything = (-(2**63), 2**63 - 1)
    for cut in cuts:
        before = made
        for segment in SEGMENTS:
            segment.within(KeyRange(f"{cut}a.png", f"{cut}b.png"), everything)
        assert made - before <= 8 * len(SEGMENTS)
