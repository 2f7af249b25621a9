"""Keys as the real Paperclip library computes them: every vector, as a required entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mastosync.mastodon.catalog import CATALOG, specs_of
from mastosync.mastodon.paperclip import canonical_key, entries_of, groups_of, is_blank
from mastosync.model import AttachmentSpec, MediaColumns, MediaRow
from tests.support.entries import ungrouped

GOLDEN = Path(__file__).parents[2] / "golden"
VECTORS = [
    json.loads(line) for name in ("keys.jsonl", "prefix.jsonl") for line in (GOLDEN / name).read_text().splitlines()
]


def row_of(spec: AttachmentSpec, vector: dict[str, Any]) -> MediaRow:
    """The row as the database room delivers it."""
    row = vector["row"]
    remote = {
        "accounts": row.get("domain") is not None,
        "custom_emojis": row.get("domain") is not None,
        "media_attachments": not is_blank(row.get("remote_url")),
        "preview_cards": True,
    }.get(spec.table, False)
    return MediaRow(
        id=row["id"],
        file_name=row.get(f"{spec.attachment}_file_name"),
        content_type=row.get(f"{spec.attachment}_content_type"),
        schema_version=row.get(f"{spec.attachment}_storage_schema_version"),
        remote=remote,
        var=row.get("var"),
        updated=row["id"] % 97,
    )


@pytest.mark.parametrize("number", range(len(VECTORS)))
def test_keys_are_those_of_the_real_library(number: int) -> None:
    vector = VECTORS[number]
    expected = {(key["attachment"], key["style"]): key["key"] for key in vector["keys"]}
    prefix = vector.get("S3_KEY_PREFIX", "")
    computed: dict[tuple[str, str], tuple[str, bool]] = {}
    extra: dict[tuple[str, str], tuple[str, bool]] = {}
    for spec in specs_of(vector["table"]):
        for entry in entries_of(spec, row_of(spec, vector)):
            place = (spec.attachment, entry.kind.style)
            (computed if place in expected else extra)[place] = (canonical_key(entry, prefix), entry.optional)
    assert {place: key for place, (key, _) in computed.items()} == expected
    assert all(optional for _, optional in extra.values()), extra
    assert set(extra) <= {("file", "small")}, "only unsupported media have a rendition that the library does not name"


@pytest.mark.parametrize(
    "spec", [spec for spec in CATALOG if spec.table != "imports"], ids=lambda spec: f"{spec.table}.{spec.attachment}"
)
def test_rows_that_are_read_together_have_the_same_keys(spec: AttachmentSpec) -> None:
    rows = [row_of(spec, vector) for vector in VECTORS if vector["table"] == spec.table]
    rows = [row for row in rows if row.file_name]
    expected = [entry for row in rows for entry in entries_of(spec, row)]
    assert ungrouped(groups_of(spec, MediaColumns(*zip(*rows, strict=True)))) == sorted(
        expected, key=lambda each: each[:3]
    )


def test_the_vectors_are_all_here() -> None:
    assert len(VECTORS) == 488
