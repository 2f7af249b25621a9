"""Rows of a made-up Mastodon, and the objects that follow from them as they are added."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from lab.instance_objects import DEFAULT_HEADERS, InstanceObject, Place, StoredObject

Row = dict[str, Any]

LOCAL_DOMAIN = "mastodon.example"
FIRST_MILLISECOND, LAST_MILLISECOND = 1_492_000_000_000, 1_760_000_000_000  # April 2017, when snowflakes came, to 2025
LARGEST_USUAL_BYTES = 160_000  # sizes are true to life up to here, and quick to copy

DIRECTORIES = {
    ("accounts", "avatar"): "accounts/avatars",
    ("accounts", "header"): "accounts/headers",
    ("custom_emojis", "image"): "custom_emojis/images",
    ("media_attachments", "file"): "media_attachments/files",
    ("media_attachments", "thumbnail"): "media_attachments/thumbnails",
    ("preview_cards", "image"): "preview_cards/images",
    ("preview_card_providers", "icon"): "preview_card_providers/icons",
    ("site_uploads", "file"): "site_uploads/files",
    ("backups", "dump"): "backups/dumps",
    ("imports", "data"): "imports/data",
}

CAN_BE_CACHED = ("accounts", "custom_emojis", "media_attachments", "preview_cards")


@dataclass(frozen=True, slots=True)
class Rendition:
    """One style of an attachment, and where it really lies."""

    style: str
    name: str  # last segment of the canonical key
    content_type: str
    optional: bool = False
    present: bool = True
    other_name: str | None = None  # it lies under this name instead
    other_cache: bool = False  # it lies without `cache/` though its row asks for it, or the other way round
    nine_digits: bool = False  # its id is padded to nine digits, as it was in old releases
    bare: bool = False  # it lies without the S3_KEY_PREFIX that came later
    size: int | None = None  # bytes; None: something usual
    headers: Mapping[str, Any] | None = None  # None: what Mastodon sets


@dataclass(slots=True)
class InstanceBuilder:
    """Collects rows, their objects, and what else lies at the source. The same seed makes the same instance."""

    seed: int
    key_prefix: str = ""
    rows: dict[str, list[Row]] = field(default_factory=dict)
    objects: list[InstanceObject] = field(default_factory=list)
    strays: list[StoredObject] = field(default_factory=list)
    suspended: set[int] = field(default_factory=set)  # accounts
    removed: set[int] = field(default_factory=set)  # statuses that moderators removed and the server keeps
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def row(self, table: str, row_id: int | None = None, **columns: Any) -> Row:  # noqa: ANN401 - column values
        """Add a row; without an id it gets a snowflake. Columns that are not named are at their defaults."""
        millisecond = self.random.randrange(FIRST_MILLISECOND, LAST_MILLISECOND)
        if row_id is None:
            row_id = (millisecond << 16) + self.random.randrange(1 << 16)
        written_at = datetime.fromtimestamp(millisecond / 1000, UTC).replace(tzinfo=None)
        row = {"id": row_id, "created_at": written_at, "updated_at": written_at, **columns}
        self.rows.setdefault(table, []).append(row)
        if row.get("suspended_at") is not None:
            self.suspended.add(row_id)
        if row.get("deleted_at") is not None:
            self.removed.add(row_id)
        return row

    def account(self, row_id: int | None = None, *, domain: str | None = None, **columns: Any) -> Row:  # noqa: ANN401
        """Add an account without pictures."""
        name = columns.pop("username", None) or f"user_{self.word()}"
        host = domain or LOCAL_DOMAIN
        urls = {"uri": f"https://{host}/users/{name}", "url": f"https://{host}/@{name}"}
        inbox = f"https://{host}/users/{name}/inbox"
        return self.row("accounts", row_id, username=name, domain=domain, inbox_url=inbox, **urls, **columns)

    def attach(self, table: str, row: Row, attachment: str, renditions: Sequence[Rendition]) -> None:
        """Fill the row's columns of one attachment from its first rendition, the original, and add the objects.

        The row says by itself whether it is remote, private, and of which storage schema: `cache/` and ACL follow.
        """
        original = renditions[0]
        size = self.size() if original.size is None else original.size
        row.setdefault(f"{attachment}_content_type", original.content_type)
        row[f"{attachment}_file_name"] = original.name
        row[f"{attachment}_file_size"] = size
        row[f"{attachment}_updated_at"] = row["created_at"]
        cached = is_remote(table, row) and (row.get(f"{attachment}_storage_schema_version") or 0) >= 1
        place = Place(self.key_prefix, DIRECTORIES[table, attachment], row["id"], cached)
        private = table == "backups" or row.get("account_id") in self.suspended or row.get("status_id") in self.removed
        for each in renditions:
            key = place.key(each.style, each.name)
            stored = StoredObject(
                key=_real_place(place, each).key(each.style, each.other_name or each.name),
                size=size if each is original else each.size or max(200, size // 4),
                content_type=each.content_type,
                seed=f"{self.seed} {key}",
                private=private,
                headers=DEFAULT_HEADERS if each.headers is None else each.headers,
            )
            self.objects.append(
                InstanceObject(table, row["id"], attachment, each.style, key, each.optional, stored, each.present)
            )

    def stray(self, key: str, content_type: str = "image/png") -> None:
        """Add something at the source that no row asks for. `key` is without the prefix."""
        full = f"{self.key_prefix}/{key}".removeprefix("/") if self.key_prefix else key
        self.strays.append(StoredObject(full, self.size(), content_type, f"{self.seed} stray {full}"))

    def size(self) -> int:
        """Bytes of a usual file: most have some ten thousand, few have many more."""
        return max(400, min(LARGEST_USUAL_BYTES, int(self.random.lognormvariate(10.3, 0.9))))

    def chance(self, probability: float) -> bool:
        """Whether it happens this time."""
        return self.random.random() < probability

    def word(self) -> str:
        """Sixteen hex digits, as Mastodon names files."""
        return f"{self.random.getrandbits(64):016x}"


def _real_place(place: Place, rendition: Rendition) -> Place:
    return replace(
        place,
        prefix="" if rendition.bare else place.prefix,
        cached=place.cached != rendition.other_cache,
        digits=9 if rendition.nine_digits else None,
    )


def is_remote(table: str, row: Row) -> bool:
    """Whether a row is of another server, as Mastodon decides it."""
    if table == "media_attachments":
        return bool(row.get("remote_url", "").strip())
    return table == "preview_cards" or (table in CAN_BE_CACHED and row.get("domain") is not None)
