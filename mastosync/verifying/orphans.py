"""`orphans`: source objects that no row refers to, and rows whose objects the source lacks. Nothing is changed.

The source is listed in the order of keys, beside every key under which an entry's object may lie. Somebody may delete
by this list: an object is an orphan only if the manifest, asked for its key in another way, does not know it either.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import compress, islice
from operator import itemgetter, not_
from pathlib import Path
from typing import Any

from mastosync.errors import ObjectError, ObjectMissing
from mastosync.language import deferred
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    SNOWFLAKE_TABLES,
    EntryPlace,
    Orphan,
    Scratch,
    SegmentReader,
    record_of,
)
from mastosync.mastodon.paperclip import KeyRange, iter_candidates, root_of
from mastosync.model import Entry, Record
from mastosync.progress import CheckProgress, ProgressListener
from mastosync.runtime.memory import collecting_rarely
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import side_by_side
from mastosync.store.base import ListedObject
from mastosync.verifying.listing_merge import EntryRun, KeySpace, Listing, Window

_BATCH = 5_000  # objects whose results a range yields at once, about: to hand them over costs as much as a page
_COLUMNS = "id, name, fallback"
_SIZE = itemgetter(ListedObject._fields.index("size"))
_RANGES_A_WORKER = 4
_ASKED_AT_MOST = 1_000  # entries that no listing had and no request found: then the listing is believed
_ASKED_AT_ONCE = 200
_FOLDERS = re.compile(r"((?:\d{3}/)+)([^/]+)/")  # the id of a key, and its style
_DEPTH = 2  # folders of a prefix that is counted

_PREFIXES, _OTHERS = 1_000, "(others)"  # prefixes that are counted apart

AGES = (
    (deferred("less than a day"), 1),
    (deferred("less than a week"), 7),
    (deferred("less than a month"), 30),
    (deferred("less than a year"), 365),
)
"""Age groups: a name, and the days that entries of the group are younger than."""

AGE_NAMES = (*(name for name, _ in AGES), deferred("more than a year"), deferred("unknown"))

_FIRST_SNOWFLAKE = datetime(2016, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OrphansOptions:
    """How to compare."""

    workers: int = 8
    overlap: timedelta = timedelta(minutes=15)  # an object may be stored this long before its row is seen


@dataclass(slots=True)
class ObjectTotal:
    """Objects and their bytes."""

    objects: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int, objects: int = 1) -> None:
        """One more, or several."""
        self.objects += objects
        self.size_bytes += size_bytes

    def as_json(self) -> dict[str, int]:
        """Its part of `orphans --json`."""
        return {"objects": self.objects, "bytes": self.size_bytes}


@dataclass(slots=True)
class OrphansResult:
    """What was found."""

    planned_at: datetime
    newer_than: datetime  # what came later may have a row that the plan could not see
    listed: ObjectTotal = field(default_factory=ObjectTotal)  # everything at the source
    orphans: ObjectTotal = field(default_factory=ObjectTotal)
    newer: ObjectTotal = field(default_factory=ObjectTotal)  # no row of the plan refers to them, but they are that new
    copies: ObjectTotal = field(default_factory=ObjectTotal)  # under the destination's key prefix in the same bucket
    by_prefix: dict[str, ObjectTotal] = field(default_factory=dict)  # orphans
    missing: dict[str, Counter[str]] = field(default_factory=dict)  # required entries by type and age
    optional_missing: int = 0  # that Mastodon can do without
    seconds: float = 0.0

    @property
    def missing_total(self) -> int:
        """Required entries that the source does not have."""
        return sum(ages.total() for ages in self.missing.values())

    def as_json(self) -> dict[str, Any]:
        """The contract of `orphans --json`."""
        return {
            "planned_at": self.planned_at.isoformat(),
            "newer_than": self.newer_than.isoformat(),
            "listed": self.listed.as_json(),
            "orphans": self.orphans.as_json(),
            "newer": self.newer.as_json(),
            "copies": self.copies.as_json(),
            "by_prefix": {prefix: total.as_json() for prefix, total in sorted(self.by_prefix.items())},
            "missing": {
                "objects": self.missing_total,
                "by_type": {name: dict(ages) for name, ages in sorted(self.missing.items())},
            },
            "optional_missing": self.optional_missing,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class _KeyBatch:
    """Results of a part of a range."""

    listed: ObjectTotal = field(default_factory=ObjectTotal)
    orphans: list[Orphan] = field(default_factory=list)
    newer: ObjectTotal = field(default_factory=ObjectTotal)
    copies: ObjectTotal = field(default_factory=ObjectTotal)
    absent: list[EntryPlace] = field(default_factory=list)  # not under the canonical key
    elsewhere: list[EntryPlace] = field(default_factory=list)  # under another one

    def __len__(self) -> int:
        return self.listed.objects + len(self.absent)

    def take(self, window: Window) -> list[ListedObject]:
        """Count what is listed, and remember which entries have an object. Returns: the objects that none has."""
        self.listed.add(sum(map(_SIZE, window.objects)), len(window.objects))
        listed = window.listed()
        matched = {key for run in window.runs for key in self._note(run, listed)}
        if len(matched) == len(listed):
            return []
        return [found for found in window.objects if found.key not in matched]

    def _note(self, run: EntryRun, listed: Container[str]) -> Iterator[str]:
        """Remember which entries have, or have not, an object. Returns: the keys of these objects."""
        there = list(map(listed.__contains__, run.keys))
        if run.canonical and not all(there):
            self.absent += [(run.kind, row_id, name) for row_id, name, _ in compress(run.rows, map(not_, there))]
        elif not run.canonical and any(there):
            self.elsewhere += [(run.kind, row_id, name) for row_id, name, _ in compress(run.rows, there)]
        return compress(run.keys, there)


@dataclass(slots=True)
class OrphanFinder:
    """One comparison. What is found is in `scratch` afterwards."""

    path: Path  # of the manifest
    store_session: StoreSession
    prefix: str
    planned_at: datetime
    entries: int  # about how many the manifest has
    options: OrphansOptions
    stop: StopSignal
    listener: ProgressListener
    scratch: Scratch
    copies: str = ""  # what keys of the destination begin with, if they are listed with the source's; empty: none are
    destination_prefix: str | None = None  # if it lies in the same bucket; None: it does not

    def run(self) -> OrphansResult:
        """List the source, and compare. Raises: MastosyncError."""
        result, began = OrphansResult(self.planned_at, self._newer_than), time.monotonic()
        listing = Listing(RetryingStore(self.store_session), self.prefix)
        with SegmentReader.opened(self.path) as reader:
            space = KeySpace(every_form=True, columns=_COLUMNS).with_renamed(reader)
            ranges = space.cut(reader, self.entries, _RANGES_A_WORKER * self.options.workers)
        progress = CheckProgress("orphans", 0, finding=deferred("that no row refers to"))
        self.listener.started(progress)

        def batches(keys: KeyRange) -> Iterator[_KeyBatch]:
            with SegmentReader.opened(self.path) as reader:
                yield from self._range(space, reader, listing, keys)

        try:
            with collecting_rarely():
                for batch in side_by_side(batches, ranges, self.options.workers, self.stop):
                    self._take(batch, result)
                    progress.checked, progress.found = result.listed.objects, result.orphans.objects
                    self.listener.advanced(progress)
            self._ask_for_missing()
            for _, record in self._iter_missing():
                self._count_missing(record.entry, result)
        finally:
            self.listener.finished(progress)
            result.seconds = time.monotonic() - began
        return result

    @property
    def _newer_than(self) -> datetime:
        """Mastodon stores a file before it commits the row; clocks differ, and standbys lag."""
        return self.planned_at - self.options.overlap

    def iter_orphans(self) -> Iterator[Orphan]:
        """Objects that no row refers to, by their keys at the source."""
        root = root_of(self.prefix) or ""
        return ((f"{root}{key}", size, modified) for key, size, modified in self.scratch.iter_orphans())

    def iter_missing(self) -> Iterator[Record]:
        """Required entries without an object at the source, by type and id."""
        for _, record in self._iter_missing():
            if not record.entry.optional:
                yield record

    def _iter_missing(self) -> Iterator[tuple[EntryPlace, Record]]:
        with SegmentReader.opened(self.path) as reader:
            for place in self.scratch.iter_missing():
                self.stop.require_going_on()
                if record := reader.record_of(place[0], place[1:]):
                    yield place, record

    def _ask_for_missing(self) -> None:
        """Ask for the first ones by themselves, in case they are there.

        Listings may be late, or spell a key otherwise; and under a prefix there are keys without it, which
        are not listed.
        """
        missing, not_found = self._iter_missing(), 0
        while some := list(islice(missing, min(_ASKED_AT_ONCE, _ASKED_AT_MOST - not_found))):
            there = list(side_by_side(self._places_of_found, some, self.options.workers, self.stop))
            self.scratch.add_elsewhere(there)
            not_found += len(some) - len(there)

    def _places_of_found(self, missing: tuple[EntryPlace, Record]) -> Iterator[EntryPlace]:
        place, record = missing
        if self._lies_somewhere(record.entry):
            yield place

    def _lies_somewhere(self, entry: Entry) -> bool:
        store = RetryingStore(self.store_session)
        for key in iter_candidates(entry, self.prefix, self.destination_prefix):
            try:
                store.head(key)
            except ObjectMissing:
                continue
            except ObjectError:
                return False  # it cannot be read, at any rate
            return True
        return False

    def _range(self, space: KeySpace, reader: SegmentReader, listing: Listing, keys: KeyRange) -> Iterator[_KeyBatch]:
        """One range, in a thread of its own."""
        batch = _KeyBatch()
        for window in space.iter_windows(reader, keys, listing.iter_pages(keys)):
            for found in batch.take(window):
                self._judge(found, reader, batch)
            if len(batch) >= _BATCH:
                yield batch
                self.stop.require_going_on()
                batch = _KeyBatch()
        yield batch

    def _judge(self, found: ListedObject, reader: SegmentReader, batch: _KeyBatch) -> None:
        """Decide on an object whose key no entry has."""
        if self._is_copy(found.key):
            batch.copies.add(found.size)
        elif not is_referred_to(reader, found.key):
            if _is_newer(found.modified, self._newer_than):
                batch.newer.add(found.size)
            else:
                batch.orphans.append((found.key, found.size, found.modified))

    def _is_copy(self, key: str) -> bool:
        """Whether this is an object of the destination, which must not be deleted as an orphan."""
        return bool(self.copies) and f"{root_of(self.prefix) or ''}{key}".startswith(self.copies)

    def _take(self, batch: _KeyBatch, result: OrphansResult) -> None:
        self.scratch.add_orphans(batch.orphans)
        self.scratch.add_absent(batch.absent)
        self.scratch.add_elsewhere(batch.elsewhere)
        for total, more in (
            (result.listed, batch.listed),
            (result.newer, batch.newer),
            (result.copies, batch.copies),
        ):
            total.add(more.size_bytes, more.objects)
        for key, size, _ in batch.orphans:
            result.orphans.add(size)
            folder = f"{root_of(self.prefix) or ''}{_folder_of(key)}"
            if folder not in result.by_prefix and len(result.by_prefix) >= _PREFIXES:
                folder = _OTHERS
            result.by_prefix.setdefault(folder, ObjectTotal()).add(size)

    def _count_missing(self, entry: Entry, result: OrphansResult) -> None:
        if entry.optional:
            result.optional_missing += 1
            return
        age = age_of(entry, datetime.now(UTC))
        result.missing.setdefault(entry.kind.table, Counter())[age] += 1


def root_of_copies(source_prefix: str, destination_prefix: str) -> str:
    """The prefix of copies that are listed with the source, if both stores are one bucket; empty: none are.

    Where the source lies below the prefix of the destination, its listing holds no copies.
    """
    root = root_of(destination_prefix)
    if root is None:  # each attachment has one of its own
        root = destination_prefix.partition(":")[0].removeprefix("/")
    return "" if (root_of(source_prefix) or "").startswith(root) else root


def is_referred_to(reader: SegmentReader, key: str) -> bool:
    """Whether any entry may have its object under this key, which is without prefix.

    The id is read from the key, and all keys of every entry that may have this id are compared.
    """
    bare = key.removeprefix("cache/")
    for number, kind in reader.kinds().items():
        if not bare.startswith(f"{kind.directory}/"):
            continue
        folders = _FOLDERS.match(bare, len(kind.directory) + 1)
        if folders is None or folders[2] != kind.style:
            continue
        digits = int(folders[1].replace("/", ""))
        spans = [(digits * scale, digits * scale + scale - 1) for scale in (1, 10, 100)]  # of dropped digits
        for lowest, highest in [*spans, (LOWEST_ID, -1)]:
            if lowest > HIGHEST_ID:
                continue
            for row in reader.iter_rows(number, lowest, min(highest, HIGHEST_ID)):
                if key in iter_candidates(record_of(kind, row).entry, ""):
                    return True
    return False


def age_of(entry: Entry, now: datetime) -> str:
    """The age group of a row, by its id: ids of accounts and media carry their time."""
    if entry.kind.table not in SNOWFLAKE_TABLES or entry.id >> 16 < _FIRST_SNOWFLAKE.timestamp() * 1000:
        return "unknown"
    days = (now.timestamp() - (entry.id >> 16) / 1000) / 86_400
    return next((name for name, limit in AGES if days < limit), AGE_NAMES[-2])


def _is_newer(modified: str, moment: datetime) -> bool:
    """Whether an object was stored at this moment or later. One without a time counts as old."""
    try:
        when = datetime.fromisoformat(modified)
    except ValueError:
        return False
    return when.replace(tzinfo=when.tzinfo or UTC) >= moment


def _folder_of(key: str) -> str:
    """The group of an orphan: the first folders of its key."""
    folders = key.split("/")[:-1]
    depth = _DEPTH + (folders[:1] == ["cache"])
    return "".join(f"{folder}/" for folder in folders[:depth]) or deferred("(no folder)")
