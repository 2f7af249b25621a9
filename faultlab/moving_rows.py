"""Rows of a moving world as values: what a row is at one moment, and the objects that Mastodon asks for with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import Any, NamedTuple, TypeAlias

from lab.instance_objects import InstanceObject, Place, StoredObject
from lab.instance_rows import DIRECTORIES

RowId: TypeAlias = tuple[str, int]
"""Table and id. No row of a moving world has more than one file."""


class Asked(NamedTuple):
    """One object that Mastodon asks for: what an entry of the manifest is of."""

    table: str
    row_id: int
    attachment: str
    style: str
    key: str
    remote: bool


class Style(NamedTuple):
    """One rendition."""

    name: str
    content_type: str = ""  # empty: as the file
    extension: str = ""  # empty: as the file
    optional: bool = False


_ORIGINAL, _STATIC = Style("original"), Style("static", "image/png", "png")
STYLES: Mapping[tuple[str, str], tuple[Style, ...]] = {
    ("accounts", "image/png"): (_ORIGINAL,),
    ("accounts", "image/gif"): (_ORIGINAL, _STATIC),
    ("backups", "application/zip"): (_ORIGINAL,),
    ("custom_emojis", "image/png"): (_ORIGINAL, _STATIC),
    ("media_attachments", "image/jpeg"): (_ORIGINAL, Style("small")),
    ("media_attachments", "video/mp4"): (_ORIGINAL, Style("small", "image/png", "png")),
    ("media_attachments", "audio/mpeg"): (_ORIGINAL,),
    ("preview_cards", "image/jpeg"): (_ORIGINAL,),
}
"""Renditions of the files that there are, by table and content type."""

ATTACHMENTS = {
    "accounts": "avatar",
    "backups": "dump",
    "custom_emojis": "image",
    "media_attachments": "file",
    "preview_cards": "image",
}
EXTENSIONS = {
    "application/zip": "zip",
    "audio/mpeg": "mp3",
    "image/gif": "gif",
    "image/jpeg": "jpeg",
    "image/png": "png",
    "video/mp4": "mp4",
}
CAN_BE_LOCAL = ("custom_emojis", "media_attachments")


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row with its file."""

    table: str
    row_id: int
    word: str  # its file is called so
    content_type: str
    size: int  # bytes
    updated: int  # when the file came: seconds since the epoch
    version: int = 1  # of the bytes
    told_size: int | None = None  # what the row says of the size
    remote: bool = False
    schema: int | None = None  # 1: a remote one lies under `cache/`
    account: int | None = None  # which it belongs to, and whose suspension makes it private
    private: bool = False
    lost: frozenset[str] = frozenset()  # styles that the source has not

    @property
    def id(self) -> RowId:
        """What stays the same, whatever happens to it."""
        return self.table, self.row_id

    @property
    def attachment(self) -> str:
        """The one that it has."""
        return ATTACHMENTS[self.table]

    @property
    def file_name(self) -> str:
        """As the row says."""
        return f"{self.word}.{EXTENSIONS[self.content_type]}"

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """All by which a plan can tell this row from what it was: nothing has to be written again while that stays."""
        return self.updated, self.told_size, self.remote, self.private

    def objects(self, day: int, prefix: str) -> dict[Asked, InstanceObject]:
        """What Mastodon asks for."""
        place = Place(prefix, DIRECTORIES[self.table, self.attachment], self.row_id, self.remote and self.schema == 1)
        found = {}
        for style in STYLES[self.table, self.content_type]:
            key = place.key(style.name, f"{self.word}.{style.extension}" if style.extension else self.file_name)
            stored = StoredObject(
                key,
                self.size if style is _ORIGINAL else max(200, self.size // 4),
                style.content_type or self.content_type,
                f"moving {day} {self.table} {self.row_id} {style.name} {self.version}",
                self.private,
            )
            asked = Asked(self.table, self.row_id, self.attachment, style.name, key, self.remote)
            found[asked] = InstanceObject(*asked[:5], style.optional, stored, present=style.name not in self.lost)
        return found

    def columns(self, now: datetime) -> dict[str, Any]:
        """The row as the database has it, changed now."""
        name, when = self.attachment, datetime.fromtimestamp(self.updated, UTC).replace(tzinfo=None)
        columns = {
            "id": self.row_id,
            "created_at": when,
            "updated_at": now,
            f"{name}_file_name": self.file_name,
            f"{name}_content_type": self.content_type,
            f"{name}_file_size": self.told_size,
            f"{name}_updated_at": when,
        }
        if self.table != "backups":
            columns[f"{name}_storage_schema_version"] = self.schema
        match self.table:
            case "accounts":
                columns |= {"username": f"user{self.row_id}", "domain": _domain(self)}
            case "backups":
                columns |= {"user_id": 1, "processed": True}
            case "custom_emojis":
                columns |= {"shortcode": f"emoji{self.row_id}", "domain": _domain(self)}
            case "media_attachments":
                remote_url = f"https://far.example/{self.row_id}" if self.remote else ""
                columns |= {"account_id": self.account, "remote_url": remote_url}
            case "preview_cards":
                columns |= {"url": f"https://news.example/{self.row_id}", "title": "News"}
        return columns


@dataclass(frozen=True)
class State:
    """All rows at one moment, and the objects that they stand for."""

    rows: Mapping[RowId, FileRow]
    day: int  # its seed
    prefix: str

    @cached_property
    def objects(self) -> dict[Asked, InstanceObject]:
        """Everything that Mastodon asks for."""
        return {asked: each for row in self.rows.values() for asked, each in row.objects(self.day, self.prefix).items()}

    @cached_property
    def by_key(self) -> dict[str, tuple[FileRow, InstanceObject]]:
        """The same by key, with the row that it is asked for by."""
        return {asked.key: (self.rows[asked[:2]], each) for asked, each in self.objects.items()}

    @cached_property
    def at_destination(self) -> dict[str, StoredObject]:
        """What a finished copy leaves there, by key."""
        return {each.key: each.source for each in self.objects.values() if each.present}

    def seen_by_delta(self, earlier: State) -> State:
        """What a plan knows that has read what changed since an earlier one: rows that left are not noticed."""
        return State({**earlier.rows, **self.rows}, self.day, self.prefix)


def md5_of(stored: StoredObject) -> str:
    """The digest of an object's bytes, worked out once."""
    return _md5(stored.seed, stored.size, stored.content_type)


@cache
def _md5(seed: str, size: int, content_type: str) -> str:
    body = StoredObject("", size, content_type, seed).body()
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _domain(row: FileRow) -> str | None:
    return "far.example" if row.remote else None
