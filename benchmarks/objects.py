"""The objects that are copied: keys as Mastodon has them, lognormal sizes, and a manifest that plans them.

The same number and seed give the same objects, byte for byte.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.checking.object_check import composite_etag
from mastosync.manifest import HIGHEST_ID, LOWEST_ID, Manifest, PlanWriter, StoreIdentity
from mastosync.mastodon.catalog import specs_of
from mastosync.mastodon.paperclip import canonical_key, entries_of
from mastosync.model import TABLES, AttachmentSpec, Entry, EntryGroup, MediaRow

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MEAN_BYTES = 57_000
SIGMA = 1.0  # of the logarithm: half of the objects are below 35 KB, one in a hundred is above 350 KB
SEED = 57
_POOL_BYTES = 8 * 1024 * 1024  # every content is a stretch of this, and no object is larger

CONTENT_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "mp4": "video/mp4"}


@dataclass(frozen=True, slots=True)
class BenchObject:
    """One object and the line of the manifest that stands for it."""

    entry: Entry
    key: str
    content: memoryview
    md5: str  # hex
    etag: str  # at the source: the MD5, or that of the parts it was uploaded in
    part_bytes: int = 0  # the size of those

    @property
    def content_type(self) -> str:
        """As the store of the source knows it."""
        return CONTENT_TYPES[self.key.rpartition(".")[2]]


def make_objects(number: int, seed: int = SEED) -> list[BenchObject]:
    """So many objects of a Mastodon instance, most of them media of other servers."""
    chance = random.Random(seed)  # noqa: S311 - repeatable contents are the point
    pool = memoryview(chance.randbytes(_POOL_BYTES))
    objects = []
    for entry in islice(_iter_entries(), number):
        size = object_bytes(chance)
        start = chance.randrange(_POOL_BYTES - size + 1)
        content = pool[start : start + size]
        md5 = _md5(content).hex()
        objects.append(BenchObject(entry, canonical_key(entry, ""), content, md5, md5))
    return objects


def make_large_objects(
    number: int, size_bytes: int, seed: int = SEED, *, part_bytes: int = 0, first: int = 0
) -> list[BenchObject]:
    """So many videos of one size. They share their content: they are to be many, not to fill a disk.

    `part_bytes`: of the parts that they were uploaded in, else each was uploaded whole. `first`: the number of the
    first, so that two lots of them do not have the same keys.
    """
    content = memoryview(random.Random(seed).randbytes(size_bytes))  # noqa: S311
    etag = md5 = _md5(content).hex()
    if part_bytes:
        etag = composite_etag([_md5(content[start : start + part_bytes]) for start in range(0, size_bytes, part_bytes)])
    media, _ = specs_of("media_attachments")
    rows = (_row(each, "mp4", remote=False) for each in range(first, first + number))
    originals = (entry for row in rows for entry in entries_of(media, row) if entry.kind.style == "original")
    return [BenchObject(entry, canonical_key(entry, ""), content, md5, etag, part_bytes) for entry in originals]


def _md5(content: bytes | memoryview) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def object_bytes(chance: random.Random) -> int:
    """The size of one object: lognormal, MEAN_BYTES in the mean."""
    size = chance.lognormvariate(math.log(MEAN_BYTES) - SIGMA**2 / 2, SIGMA)
    return min(max(1, round(size)), _POOL_BYTES)


def _iter_entries() -> Iterator[Entry]:
    for spec, row in iter_rows():
        yield from entries_of(spec, row)


def iter_rows() -> Iterator[tuple[AttachmentSpec, MediaRow]]:
    """Rows without end: of a hundred keys 80 are media, 16 of accounts, 2 of emojis and 2 of preview cards."""
    (site_upload,), (emoji,), (card,) = map(specs_of, ("site_uploads", "custom_emojis", "preview_cards"))
    media, _ = specs_of("media_attachments")
    avatar, header = specs_of("accounts")
    yield site_upload, MediaRow(1, "thumbnail.png", "image/png", var="thumbnail")
    for block in count():
        for number in range(block * 40, block * 40 + 40):
            yield media, _row(number, "jpg", remote=number % 5 > 0)
            if number % 5 == 0:
                yield avatar, _row(number, "png", remote=number % 50 > 0)
                yield header, _row(number, "jpeg", remote=number % 50 > 0)
        yield emoji, _row(block, "png", remote=True)
        for number in (2 * block, 2 * block + 1):
            yield card, MediaRow(number + 1, _file_name(number, "jpg"), "image/jpeg", schema_version=1)


def _row(number: int, extension: str, *, remote: bool) -> MediaRow:
    # snowflakes: milliseconds of 2023 and 16 random-looking bits
    row_id = ((1_700_000_000_000 + number * 90_000) << 16) + (number * 40_503 & 65_535)
    name = _file_name(number, extension)
    return MediaRow(row_id, name, CONTENT_TYPES[extension], schema_version=1 if remote else None, remote=remote)


def _file_name(number: int, extension: str) -> str:
    return f"{hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()[:16]}.{extension}"


def plan_manifest(path: Path, objects: Iterable[BenchObject], source: StoreIdentity, target: StoreIdentity) -> None:
    """Make a manifest as `plan` makes it from a database with the rows of these objects."""
    groups = [EntryGroup.of(each.entry) for each in objects]
    with Manifest.create(path) as manifest, PlanWriter.transaction(manifest, source, target) as writer:
        for table in TABLES:
            writer.merge(table, LOWEST_ID, HIGHEST_ID, [group for group in groups if group.kind.table == table])
        writer.finish(datetime.now(UTC), {})


def upload(objects: Sequence[BenchObject], client: S3Client, bucket: str) -> None:
    """Put them into a bucket."""

    def put(each: BenchObject) -> None:
        client.put_object(Bucket=bucket, Key=each.key, Body=bytes(each.content), ContentType=each.content_type)

    with ThreadPoolExecutor(16) as pool:
        for _ in pool.map(put, objects):
            pass


def write_key_list(path: Path, objects: Iterable[BenchObject]) -> None:
    """One key a line."""
    path.write_text("".join(f"{each.key}\n" for each in objects), encoding="utf-8")


def damaged_in(folder: Path, objects: Iterable[BenchObject]) -> list[str]:
    """The keys of those that do not lie below a folder as they are."""
    return [each.key for each in objects if not _is_whole(folder / each.key, each)]


def _is_whole(path: Path, wanted: BenchObject) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return _md5(content).hex() == wanted.md5
