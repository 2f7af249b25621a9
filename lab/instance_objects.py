"""The objects of a made-up Mastodon: each one's key, bytes and headers are known before it is stored.

Nothing here asks mastosync for anything: what a test expects must not come from what it tests.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

DEFAULT_HEADERS: Mapping[str, Any] = {"CacheControl": "public, max-age=315576000, immutable"}
"""What Mastodon sets on every object beside its type, in boto3's words."""

MIB = 1024 * 1024

BEGINNINGS = {
    "image/png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\x00\x10\x00\x00WEBPVP8 ",
    "image/heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00",
    "image/avif": b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00",
    "image/svg+xml": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "image/x-icon": b"\x00\x00\x01\x00",
    "video/mp4": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00",
    "video/quicktime": b"\x00\x00\x00\x14ftypqt  ",
    "video/webm": b"\x1a\x45\xdf\xa3",
    "video/x-ms-asf": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "audio/mpeg": b"ID3\x04\x00\x00",
    "audio/ogg": b"OggS\x00\x02",
    "application/zip": b"PK\x03\x04\x14\x00",
    "text/csv": b"Account address,Show boosts\n",
}
"""How files of a type begin. The rest of a body is noise: nobody looks at it but `md5`."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it lies, or could lie, at the source."""

    key: str
    size: int  # bytes
    content_type: str
    seed: str  # of its bytes
    private: bool = False
    headers: Mapping[str, Any] = field(default_factory=lambda: DEFAULT_HEADERS)

    def body(self) -> bytes:
        """Its bytes, made anew each time: a large instance need not fit into memory."""
        beginning = BEGINNINGS.get(self.content_type, b"")[: self.size]
        return beginning + random.Random(self.seed).randbytes(self.size - len(beginning))

    @property
    def md5(self) -> str:
        """Hex digest of the bytes. What was uploaded in parts has another ETag."""
        return hashlib.md5(self.body(), usedforsecurity=False).hexdigest()

    @property
    def acl(self) -> str:
        """As Mastodon sets it: all may be read by everyone but backups, and media of the suspended and the removed."""
        return "private" if self.private else "public-read"

    def put_arguments(self) -> dict[str, Any]:
        """What boto3's put_object takes beside bucket, key and body."""
        return {"ContentType": self.content_type, "ACL": self.acl, **self.headers}


@dataclass(frozen=True, slots=True)
class InstanceObject:
    """One object that Mastodon will ask for: one entry of a plan."""

    table: str
    row_id: int
    attachment: str
    style: str
    key: str  # canonical: what Mastodon asks for
    optional: bool  # Mastodon can do without
    source: StoredObject  # its key is another than the canonical one where it lies elsewhere
    present: bool = True  # False: the row is there, the object is not

    @property
    def private(self) -> bool:
        """Whether it must never become public."""
        return self.source.private

    @property
    def relocated(self) -> bool:
        """Whether it lies under another candidate than the canonical key."""
        return self.source.key != self.key


@dataclass(frozen=True, slots=True)
class Instance:
    """A populated instance: everything a migration of it must come to."""

    bucket: str
    objects: tuple[InstanceObject, ...]  # every object that the database stands for
    strays: tuple[StoredObject, ...]  # at the source too, but no row asks for them: not to be copied

    @property
    def present(self) -> list[InstanceObject]:
        """Those that a copy can bring: `done` in the end."""
        return [each for each in self.objects if each.present]

    @property
    def missing(self) -> list[InstanceObject]:
        """Required, and not at the source under any candidate: `failed` as `missing`."""
        return [each for each in self.objects if not each.present and not each.optional]

    @property
    def optional_absent(self) -> list[InstanceObject]:
        """Not at the source either, but nobody minds: `skipped` as `optional_missing`."""
        return [each for each in self.objects if not each.present and each.optional]

    @property
    def relocated(self) -> list[InstanceObject]:
        """Those that lie under an older candidate; a copy stores them under their canonical key."""
        return [each for each in self.present if each.relocated]

    @property
    def private(self) -> list[InstanceObject]:
        """Those that must never become public."""
        return [each for each in self.present if each.private]

    def at_source(self) -> dict[str, StoredObject]:
        """Everything that lies at the source, strays too, by its key there."""
        return {stored.key: stored for stored in (*(each.source for each in self.present), *self.strays)}

    def at_destination(self, also: Iterable[InstanceObject] = ()) -> dict[str, StoredObject]:
        """What a finished copy leaves at the destination, by key, to the last object: each with some Cache-Control.

        `also` are missing ones that were put at the source meanwhile.
        """
        return {
            each.key: replace(each.source, headers={**DEFAULT_HEADERS, **each.source.headers})
            for each in (*self.present, *also)
        }


@dataclass(frozen=True, slots=True)
class Place:
    """The parts of a key that follow from the row."""

    prefix: str  # S3_KEY_PREFIX
    directory: str  # accounts/avatars
    row_id: int
    cached: bool = False
    digits: int | None = None  # what the id is padded to; None: what Mastodon does today

    def key(self, style: str, name: str) -> str:
        """The key of one rendition."""
        width = self.digits or (9 if self.row_id < 10**9 else 12)
        # word for word what Paperclip does, down to dropping what does not fill a group
        partition = "/".join(re.findall(r"\d{3}", f"{self.row_id:0{width}d}"))
        cache = "cache/" if self.cached else ""
        prefix = f"{self.prefix}/" if self.prefix else ""
        return f"{prefix}{cache}{self.directory}/{partition}/{style}/{name}".removeprefix("/")
