"""`adopt`: objects that are at the destination already become done without being copied.

Both stores are listed in the order of keys, side by side with what is not done. An object is the source's
if size and ETag are: an MD5 of its bytes, or one of parts of the same sizes.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from mastosync.checking.object_check import expected_etag, is_composite, same_etag
from mastosync.errors import ObjectError, ObjectMissing
from mastosync.language import deferred
from mastosync.manifest import (
    Approach,
    FoundRow,
    Manifest,
    ManifestReader,
    ObjectSettings,
    RawRow,
    SegmentReader,
    approach_to,
    found_row,
    note_settings,
    record_findings,
    record_found,
    record_of,
)
from mastosync.mastodon.paperclip import KeyRange, canonical_key, iter_candidates
from mastosync.model import EntryState, Origin, Outcome, Record, looks_like_md5
from mastosync.progress import CheckProgress, ProgressListener
from mastosync.runtime.memory import collecting_rarely
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import side_by_side
from mastosync.store.base import ListedObject
from mastosync.verifying.listing_merge import (
    KeyedEntry,
    KeySpace,
    Listing,
    ListingLookup,
)

_log = logging.getLogger(__name__)

_BATCH = 500  # entries that are recorded at once
_LONGEST_SECONDS = 1.0  # that something found may wait to be recorded
_CACHE_KIB = 8_192  # of what is written: entries of a range lie beside each other
_KEYED = itemgetter(0)
_RANGES_A_WORKER = 2
_OPEN = (EntryState.PENDING, EntryState.FAILED)


class AdoptionStatus(StrEnum):
    """What `adopt` found for an entry that was not done."""

    ADOPTED = "adopted"
    ABSENT = "absent"  # nothing lies under its key
    DIFFERENT = "different"  # the destination has another object than the source
    UNDECIDED = "undecided"  # the size is right, and the ETags cannot be compared
    UNKNOWN = "unknown"  # the destination has an object, the source has none to compare it with
    UNREAD = "unread"  # an end failed or refused when it was asked: nothing is known of it
    LEFT = "left"  # private by its row or at the source, or to be written anew: adopting would not change its access


@dataclass(frozen=True, slots=True)
class AdoptOptions:
    """How thoroughly to compare."""

    workers: int = 8
    types: tuple[str, ...] = ()  # tables; empty: all
    deep: bool = False  # read at both ends what the ETags do not tell


@dataclass(slots=True)
class Adoption:
    """What was found."""

    by_type: dict[str, Counter[AdoptionStatus]] = field(default_factory=dict)
    adopted_bytes: int = 0
    read_bytes: int = 0  # by `deep`, at both ends
    seconds: float = 0.0

    def total(self) -> Counter[AdoptionStatus]:
        """Entries by status."""
        return sum(self.by_type.values(), Counter())

    def as_json(self) -> dict[str, Any]:
        """The contract of `adopt --json`."""
        total = self.total()
        return {
            "checked": total.total(),
            **{status.value: total[status] for status in AdoptionStatus},
            "bytes": self.adopted_bytes,
            "read_bytes": self.read_bytes,
            "by_type": {
                name: {status.value: counts[status] for status in AdoptionStatus}
                for name, counts in self.by_type.items()
            },
            "seconds": round(self.seconds, 3),
        }


class _Decision(NamedTuple):
    record: Record
    status: AdoptionStatus
    outcome: Outcome | None = None
    read_bytes: int = 0


@dataclass(slots=True)
class _DecisionBatch:
    """Results of a part of a range."""

    absent: Counter[int] = field(default_factory=Counter)  # entries by the number of their kind
    found: list[FoundRow] = field(default_factory=list)  # adopted, as most are, by a look at the columns
    decisions: list[_Decision] = field(default_factory=list)  # of all others

    def __len__(self) -> int:
        return self.absent.total() + len(self.found) + len(self.decisions)


class _SourceObject(NamedTuple):
    """An object at the source."""

    key: str
    size: int
    etag: str
    is_canonical: bool = False  # under the key that Mastodon asks for


@dataclass(slots=True)
class Adopter:
    """One run of `adopt`. The manifest belongs to this thread."""

    manifest: Manifest
    path: Path
    source: StoreSession
    destination: StoreSession
    prefixes: tuple[str, str]  # of source and destination
    options: AdoptOptions
    stop: StopSignal
    listener: ProgressListener
    one_bucket: bool = False  # of source and destination, under two prefixes
    source_tells_access: bool = False  # whether it hides an object, as a disk does by modes
    settings: ObjectSettings | None = None  # of the destination; None: it gives its objects nothing
    _noted: bool = field(init=False, default=False)  # that others have stored some of the objects

    def run(self) -> Adoption:
        """Look at everything that is not done. Raises: MastosyncError."""
        result, began = Adoption(), time.monotonic()
        space = KeySpace(self.options.types)
        listings = self._listings()  # so that nothing is begun that cannot be done
        total = ManifestReader(self.manifest).entries(states=_OPEN, types=self.options.types)
        with SegmentReader.opened(self.path, _OPEN) as reader:
            ranges = space.cut(reader, total, _RANGES_A_WORKER * self.options.workers)
        self.manifest.limit_cache(_CACHE_KIB)
        progress = CheckProgress("adopt", total, finding=deferred("adopted"))
        self.listener.started(progress)

        def decided(keys: KeyRange) -> Iterator[_DecisionBatch]:
            with SegmentReader.opened(self.path, _OPEN) as reader:
                yield from self._range(space, reader, listings, keys)

        try:
            with collecting_rarely():
                for batch in side_by_side(decided, ranges, self.options.workers, self.stop):
                    self._take(batch, result)
                    progress.checked += len(batch)
                    progress.found += len(batch.found)
                    progress.found += sum(decision.status is AdoptionStatus.ADOPTED for decision in batch.decisions)
                    self.listener.advanced(progress)
        finally:
            self.listener.finished(progress)
            result.seconds = time.monotonic() - began
        return result

    def _listings(self) -> tuple[Listing, Listing]:
        here, there = self.prefixes
        return Listing(RetryingStore(self.source), here), Listing(RetryingStore(self.destination), there)

    def _range(
        self, space: KeySpace, reader: SegmentReader, listings: tuple[Listing, Listing], keys: KeyRange
    ) -> Iterator[_DecisionBatch]:
        """One range, in a thread of its own. The source is only listed where the destination has something."""
        source, kinds = ListingLookup(listings[0]), reader.kinds()
        batch, due = _DecisionBatch(), time.monotonic() + _LONGEST_SECONDS
        for window in space.iter_windows(reader, keys, listings[1].iter_pages(keys)):
            present: list[tuple[KeyedEntry, ListedObject]] = []
            listed = window.listed()
            for run in window.runs:
                found = list(map(listed.get, run.keys))
                batch.absent[run.kind] += found.count(None)
                pairs = zip(run.entries(), found, strict=True)
                present += [(keyed, there) for keyed, there in pairs if there is not None]
            for (key, kind, row), there in sorted(present, key=_KEYED):
                if adopted := self._found(key, kind, row, there, source):
                    batch.found.append(adopted)
                else:
                    batch.decisions.append(self._decide(key, record_of(kinds[kind], row), there, source))
                if len(batch.found) + len(batch.decisions) >= _BATCH or time.monotonic() > due:
                    yield batch
                    self.stop.require_going_on()
                    batch, due = _DecisionBatch(), time.monotonic() + _LONGEST_SECONDS
            if batch.absent.total() >= _BATCH:
                yield batch
                self.stop.require_going_on()
                batch, due = _DecisionBatch(), time.monotonic() + _LONGEST_SECONDS
        yield batch

    def _found(self, key: str, kind: int, row: RawRow, there: ListedObject, source: ListingLookup) -> FoundRow | None:
        """What becomes of an entry that two listings alone decide on: both tell the same MD5. None: see `_decide`."""
        if self.source_tells_access or not looks_like_md5(there.etag):
            return None
        found = found_row(kind, row, there.size, bytes.fromhex(there.etag))
        if found is None or (here := source.at(key)) is None:
            return None
        return found if (here.size, here.etag) == (there.size, there.etag) else None

    def _decide(self, key: str, record: Record, there: ListedObject, source: ListingLookup) -> _Decision:
        has_digest = record.md5 is not None or record.etag is not None
        approach = approach_to(record.presence, private=record.entry.private, has_digest=has_digest)
        unknown = approach in (Approach.REWRITE, Approach.EXAMINE)
        if unknown or record.entry.private:  # a listing does not tell who can read it
            return _Decision(record, AdoptionStatus.LEFT)
        try:
            if approach is Approach.CONFIRM and _is_as_confirmed(record, there):
                return self._heeding_source(_confirmed(record))
            here = self._at_source(key, record, source)
            if here is None:
                return _Decision(record, AdoptionStatus.UNKNOWN)
            return self._heeding_source(self._compare(record, here, there))
        except ObjectError as error:
            _log.warning("not adopted: %s", error.message)
            return _Decision(record, AdoptionStatus.UNREAD)

    def _heeding_source(self, decision: _Decision) -> _Decision:
        """`decision`, unless the source itself hides the object: then it is not adopted. Raises: ObjectError."""
        if decision.outcome is None or not self.source_tells_access:
            return decision
        key = decision.outcome.source_key or canonical_key(decision.record.entry, self.prefixes[0])
        try:
            closed = RetryingStore(self.source).head(key).private
        except ObjectMissing:  # it has been removed since, or the source has lost it
            closed = False
        return _Decision(decision.record, AdoptionStatus.LEFT, read_bytes=decision.read_bytes) if closed else decision

    def _compare(self, record: Record, here: _SourceObject, there: ListedObject) -> _Decision:
        """Compare two objects by their listings, and by their bytes with `deep`. Raises: ObjectError."""
        if here.size != there.size:
            return _Decision(record, AdoptionStatus.DIFFERENT)
        is_md5 = looks_like_md5(there.etag)
        told_by_bytes = is_md5 or is_composite(there.etag)  # a disk's is made of other things
        if told_by_bytes and same_etag(here.etag, there.etag):
            return self._adopted(record, here, there, bytes.fromhex(there.etag) if is_md5 else None)
        if self.options.deep:
            return self._read(record, here, there)
        comparable = is_md5 and looks_like_md5(here.etag)
        return _Decision(record, AdoptionStatus.DIFFERENT if comparable else AdoptionStatus.UNDECIDED)

    def _at_source(self, key: str, record: Record, source: ListingLookup) -> _SourceObject | None:
        """The source's object that a copy would take; None: there is none. Raises: ObjectError if that is unclear."""
        listed = source.at(key)
        if listed is not None:
            return _SourceObject(f"{source.root}{key}", listed.size, listed.etag, is_canonical=True)
        store, copies = RetryingStore(self.source), self.prefixes[1] if self.one_bucket else None
        for candidate in iter_candidates(record.entry, self.prefixes[0], copies):
            try:
                info = store.head(candidate)
            except ObjectMissing:
                continue
            # the first may be there after all: a listing may spell it otherwise
            return _SourceObject(candidate, info.size, info.etag, candidate == f"{source.root}{key}")
        return None

    def _adopted(
        self, record: Record, here: _SourceObject, there: ListedObject, md5: bytes | None, read_bytes: int = 0
    ) -> _Decision:
        told_by_md5 = md5 is not None and same_etag(there.etag, md5.hex())
        outcome = Outcome(
            record.entry,
            EntryState.DONE,
            size=there.size,
            md5=md5,
            etag=None if told_by_md5 else there.etag,
            source_key=None if here.is_canonical else here.key,
            attempts=0,
            origin=Origin.ADOPTED,
        )
        return _Decision(record, AdoptionStatus.ADOPTED, outcome, read_bytes)

    def _read(self, record: Record, here: _SourceObject, there: ListedObject) -> _Decision:
        """Compare the bytes themselves. Raises: ObjectError."""
        source, destination = RetryingStore(self.source), RetryingStore(self.destination)
        key = canonical_key(record.entry, self.prefixes[1])
        info = destination.head(key)
        md5 = destination.digest(key, info)
        wanted = source.digest(here.key, source.head(here.key))
        read_bytes = here.size + there.size
        if md5 != wanted:
            return _Decision(record, AdoptionStatus.DIFFERENT, read_bytes=read_bytes)
        return self._adopted(record, here, there._replace(etag=info.etag), md5, read_bytes)

    def _take(self, batch: _DecisionBatch, result: Adoption) -> None:
        if batch.found:
            self._note_others()
            record_found(self.manifest, batch.found)
        corrections = [(each.record, each.outcome) for each in batch.decisions if each.outcome is not None]
        if corrections:
            self._note_others()
            record_findings(self.manifest, corrections)
        found = Counter((each.record.entry.kind.table, each.status) for each in batch.decisions)
        for status, kinds in (
            (AdoptionStatus.ABSENT, +batch.absent),
            (AdoptionStatus.ADOPTED, Counter(each.kind for each in batch.found)),
        ):
            for number, entries in kinds.items():
                found[self.manifest.kind(number).table, status] += entries
        for (table, status), entries in found.items():
            result.by_type.setdefault(table, Counter())[status] += entries
        result.read_bytes += sum(each.read_bytes for each in batch.decisions)
        result.adopted_bytes += sum(outcome.size or 0 for _, outcome in corrections)
        result.adopted_bytes += sum(each.size for each in batch.found)

    def _note_others(self) -> None:
        """Note that others have stored some of the objects, before the first of them counts as done."""
        if self.settings is not None and not self._noted:
            note_settings(self.manifest, self.settings, by_others=True)
            self._noted = True


def _is_as_confirmed(record: Record, there: ListedObject) -> bool:
    return there.size == record.entry.size and same_etag(there.etag, expected_etag(record.md5, record.etag))


def _confirmed(record: Record) -> _Decision:
    """The object is as it was confirmed before its row was gone, or had another privacy, for a while."""
    seen = (record.entry.size, record.md5, record.etag, record.source_key, 0, None, record.origin or Origin.COPIED)
    return _Decision(record, AdoptionStatus.ADOPTED, Outcome(record.entry, EntryState.DONE, None, *seen))
