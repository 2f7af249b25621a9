"""`verify`: check that the destination has every object that the manifest marks done, as it was recorded.

First by listing, several ranges at a time; an object that a listing does not show as recorded is asked for by itself.
Then by reading back, all objects or a sample. What is lost or different goes back to pending. The design is in
docs/design/verifying.md.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress, repeat
from operator import itemgetter, not_
from pathlib import Path
from typing import Any

from mastosync.checking.object_check import (
    FAULTS,
    CheckResult,
    CheckStatus,
    are_as_recorded,
    described,
    still_done,
)
from mastosync.checking.row_check import RowCheck, RowsNow, RowState, made_private
from mastosync.language import deferred, tr
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Manifest,
    ManifestReader,
    SegmentReader,
    found_wrong,
    found_wrong_access,
    record_findings,
    record_of,
)
from mastosync.mastodon.paperclip import KeyRange, canonical_key
from mastosync.model import Entry, EntryState, Outcome, Record
from mastosync.progress import CheckProgress, ProgressListener
from mastosync.runtime.memory import collecting_rarely
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool, side_by_side
from mastosync.store.base import ListedObject
from mastosync.verifying.listing_merge import (
    DrawnEntry,
    KeyedEntry,
    KeySpace,
    Listing,
    Sample,
    Window,
    drawn,
)
from mastosync.verifying.public_check import store_gives, was_removed
from mastosync.verifying.public_result import (
    PublicResult,
    ServedBy,
    hidden,
    private_by_now,
    reopened,
)

_log = logging.getLogger(__name__)

_BATCH = 5_000  # entries whose results a range yields at once, about: to hand them over costs as much as a page
_RESULTS = 100  # or this many that are not as recorded
_RANGES_A_WORKER = 4  # some take longer than others
_ASKED_AT_MOST = 1_000  # objects that no listing had and no HEAD found: then the listing is believed
_DONE = (EntryState.DONE,)
_COLUMNS = "id, name, fallback, flags, size, md5, etag"  # all but the last two as in `EntryRow`, for samples
_RECORDED = itemgetter(4, 5, 6)  # of these
_SIZE, _TOLD = itemgetter(1), itemgetter(1, 2)  # of a listed object: its size, and the ETag beside it
_KEYED = itemgetter(0)
_NOT_LISTED = ListedObject("", -1, "", "")


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How thoroughly to check."""

    workers: int = 8
    types: tuple[str, ...] = ()  # tables; empty: all
    deep: bool = False  # read objects back
    sample: int | None = None  # how many objects; None: all


@dataclass(slots=True)
class Verification:
    """What was found."""

    by_type: dict[str, Counter[CheckStatus]] = field(default_factory=dict)
    checked_bytes: int = 0  # of the objects looked at, as recorded
    read_objects: int = 0  # by `deep`
    read_bytes: int = 0
    listed: bool = False  # every entry was looked for
    reopened: int = 0  # entries that went back to pending
    examples: list[CheckResult] = field(default_factory=list)  # of what is not fine
    rows: RowsNow = field(default_factory=RowsNow)  # of what is at fault
    public: PublicResult | None = None  # what is read without credentials; None: it was not asked for
    seconds: float = 0.0

    def total(self) -> Counter[CheckStatus]:
        """Entries by status."""
        return sum(self.by_type.values(), Counter())

    @property
    def checked(self) -> int:
        """Entries that were looked at."""
        return self.total().total()

    @property
    def clean(self) -> bool:
        """Whether all entries that were checked are there as recorded."""
        total = self.total()
        return not any(total[status] for status in (*FAULTS, CheckStatus.UNREAD)) and (
            self.public is None or self.public.clean
        )

    def as_json(self) -> dict[str, Any]:
        """The contract of `verify --json`."""
        by_type = {
            name: {status.value: counts[status] for status in CheckStatus} for name, counts in self.by_type.items()
        }
        total = self.total()
        return {
            "checked": self.checked,
            "bytes": self.checked_bytes,
            **{status.value: total[status] for status in CheckStatus},
            "by_type": by_type,
            "listed": self.listed,
            "read": {"objects": self.read_objects, "bytes": self.read_bytes},
            "reopened": self.reopened,
            "rows": self.rows.as_json(),
            **({"public": self.public.as_json()} if self.public is not None else {}),
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class _EntryBatch:
    """Results of a part of a range."""

    fine: Counter[int] = field(default_factory=Counter)  # entries by the number of their kind
    fine_bytes: int = 0
    results: list[CheckResult] = field(default_factory=list)  # of all others
    drawn: list[DrawnEntry] = field(default_factory=list)


@dataclass(slots=True)
class Verifier:
    """One run of `verify`. The manifest belongs to this thread; others read it with connections of their own."""

    manifest: Manifest
    path: Path
    store_session: StoreSession
    prefix: str
    options: VerifyOptions
    stop: StopSignal
    listener: ProgressListener
    samples: Sequence[Sample] = ()  # that are drawn while listings pass by
    row_check: RowCheck | None = None  # asks for rows of what is at fault
    result: Verification = field(init=False, default_factory=Verification)
    _progress: CheckProgress = field(init=False)
    _not_found: int = field(init=False, default=0)
    _listing_errs: bool = field(init=False, default=False)  # it left out what is there

    def __post_init__(self) -> None:
        self.result.rows.row_check = self.row_check

    @property
    def rows(self) -> RowsNow:
        """What rows say of what is at fault."""
        return self.result.rows

    def by_listing(self) -> None:
        """Look for every entry that is done in listings of the destination. Raises: MastosyncError."""
        space = KeySpace(self.options.types, columns=_COLUMNS)
        way_round = tr("run `mastosync verify --deep`, which needs no listing")
        listing = Listing(RetryingStore(self.store_session), self.prefix, way_round)
        entries = self.entries()
        with SegmentReader.opened(self.path, _DONE) as reader:
            ranges = space.cut(reader, entries, _RANGES_A_WORKER * self.options.workers)
        _log.info("listing %s in %d ranges", self.store_session.store.name, len(ranges))

        def batches(keys: KeyRange) -> Iterator[_EntryBatch]:
            with SegmentReader.opened(self.path, _DONE) as reader:
                yield from self._range(space.iter_windows(reader, keys, listing.iter_pages(keys)), reader)

        with self._showing("verify", entries), collecting_rarely():
            for batch in side_by_side(batches, ranges, self.options.workers, self.stop):
                self._take_batch(batch)
        self.result.listed = True

    def by_reading(self, pool: WorkerPool[Record, CheckResult], records: Iterable[Record], objects: int) -> None:
        """Read these objects back. They count anew unless they were counted by a listing. Raises: MastosyncError."""
        with self._showing(deferred("read back"), objects):
            pending: list[CheckResult] = []
            wanted = (each for each in records if each.entry not in self.rows.gone)  # these a listing has counted
            for _, result, error in pool.all_ended(wanted):
                if error is not None:
                    raise error
                assert result is not None  # noqa: S101 - there is one where there is no error
                self.result.read_objects += 1
                self.result.read_bytes += result.size_bytes
                self._count(result, again=self.result.listed)
                pending.append(result)
                if len(pending) >= _BATCH:
                    self._settle(pending)
                    pending = []
                self._advance(1, result.verdict is not CheckStatus.FINE)
            self._settle(pending)
        self.stop.require_going_on()

    def take_public(self, public: PublicResult, exposed: Iterable[Record] = ()) -> None:
        """Put entries back to pending that only a copy puts right; `exposed`: see `iter_exposed`, asked for first."""
        faulty = {(fault.record.entry.kind, fault.record.entry.id, fault.record.entry.name) for fault in public.faults}
        refused = [each for each in exposed if (each.entry.kind, each.entry.id, each.entry.name) not in faulty]
        was_hidden = [
            each
            for each in refused
            if public.something_is_given or was_removed(self.store_session, canonical_key(each.entry, self.prefix))
        ]
        record_findings(self.manifest, [(each, hidden(each)) for each in was_hidden])
        rows = self.rows.of([fault.record for fault in public.faults if fault.refused])
        self._drop_hidden_or_deleted(rows, public)
        chosen = public.to_be_rewritten
        certain = [each for each in chosen if not each.refused or rows.get(each.record.entry) is RowState.PUBLIC]
        self.rows.unasked += len(chosen) - len(certain)
        corrections = [
            (
                fault.record,
                reopened(fault.record, found_wrong_access(fault.record.presence), f"verify: {fault.detail}"),
            )
            for fault in certain
        ]
        self.result.reopened += record_findings(self.manifest, corrections)
        for fault in public.faults:
            _log.warning("public: %s: %s", fault.key, fault.detail, extra={"about": {"key": fault.key}})

    def _drop_hidden_or_deleted(self, rows: Mapping[Entry, RowState], public: PublicResult) -> None:
        """Drop faults of refused objects that Mastodon has hidden or deleted since."""
        for fault in [
            each for each in public.faults if rows.get(each.record.entry, RowState.PUBLIC) is not RowState.PUBLIC
        ]:
            if rows[fault.record.entry] is RowState.GONE:
                self.rows.gone.add(fault.record.entry)
                public.drop(fault, RowState.GONE)
                continue
            read = store_gives(self.store_session, fault.key)
            if read is None:  # it stays as it is: public by the manifest, and not to be written
                continue
            self.rows.private += 1
            if not read:
                self.result.reopened += record_findings(self.manifest, [(fault.record, private_by_now(fault.record))])
            if read or fault.served_by is ServedBy.OLD_STORE:
                public.expose(fault, None if read else fault.served_by)
            else:
                public.drop(fault, RowState.PRIVATE)

    def iter_done(self) -> Iterator[Record]:
        """Every entry that is done."""
        with SegmentReader.opened(self.path, _DONE) as reader:
            for number, kind in reader.kinds(self.options.types).items():
                for row in reader.iter_rows(number, LOWEST_ID, HIGHEST_ID):
                    yield record_of(kind, row)

    def entries(self) -> int:
        """How many entries are done, of the types that are looked at."""
        return ManifestReader(self.manifest).entries(states=(EntryState.DONE,), types=self.options.types)

    def _range(self, windows: Iterator[Window], reader: SegmentReader) -> Iterator[_EntryBatch]:
        """One range, in a thread of its own."""
        batch = _EntryBatch()
        for window in windows:
            for keyed, is_listed in self._compare(window, batch, reader):
                if record := reader.record_of(keyed.kind, keyed.row):
                    batch.results.append(self._checked_alone(record, is_listed=is_listed))
                if len(batch.results) >= _RESULTS:
                    yield batch
                    self.stop.require_going_on()
                    batch = _EntryBatch()
            if batch.fine.total() >= _BATCH:
                yield batch
                self.stop.require_going_on()
                batch = _EntryBatch()
        yield batch

    def _compare(self, window: Window, batch: _EntryBatch, reader: SegmentReader) -> Iterable[tuple[KeyedEntry, bool]]:
        """Count what is listed as it was recorded. Returns: all others by key, and whether each is listed."""
        others: list[tuple[KeyedEntry, bool]] = []
        listed = window.listed()
        for run in window.runs:
            found = list(map(listed.get, run.keys, repeat(_NOT_LISTED)))
            fine = are_as_recorded(map(_RECORDED, run.rows), map(_TOLD, found))
            batch.fine[run.kind] += sum(fine)
            batch.fine_bytes += sum(compress(map(_SIZE, found), fine))
            if not all(fine):
                are_listed = map(listed.__contains__, run.keys)
                others += compress(zip(run.entries(), are_listed, strict=True), map(not_, fine))
            if self.samples:
                batch.drawn += drawn(self.samples, compress(run.entries(), fine), reader)
        return sorted(others, key=_KEYED)

    def _checked_alone(self, record: Record, *, is_listed: bool) -> CheckResult:
        key = canonical_key(record.entry, self.prefix)
        if not is_listed and self._not_found >= _ASKED_AT_MOST and not self._listing_errs:
            return CheckResult(record, CheckStatus.LOST, f"no listing has {key!r}")
        result = described(RetryingStore(self.store_session), key, record)
        if not is_listed:
            self._not_found += result.verdict is CheckStatus.LOST
            self._listing_errs = self._listing_errs or result.verdict is not CheckStatus.LOST
        return result

    def _take_batch(self, batch: _EntryBatch) -> None:
        for number, entries in batch.fine.items():
            self._counts_of(self.manifest.kind(number).table)[CheckStatus.FINE] += entries
        self.result.checked_bytes += batch.fine_bytes
        for result in batch.results:
            self._count(result)
        self._settle(batch.results)
        for sample, rank, record in batch.drawn:
            sample.take(rank, record)
        faults = sum(result.verdict is not CheckStatus.FINE for result in batch.results)
        self._advance(batch.fine.total() + len(batch.results), faults)

    def _count(self, result: CheckResult, *, again: bool = False) -> None:
        counts = self._counts_of(result.record.entry.kind.table)
        counts[result.verdict] += 1
        if again:  # the listing found it fine
            counts[CheckStatus.FINE] -= 1
        else:
            self.result.checked_bytes += result.record.entry.size or 0
        if result.verdict is not CheckStatus.FINE:
            self._tell(result)

    def _tell(self, result: CheckResult) -> None:
        key = canonical_key(result.record.entry, self.prefix)
        about = {"key": key, "verdict": result.verdict.value}
        _log.warning("%s: %s: %s", result.verdict.value, key, result.detail, extra={"about": about})
        if len(self.result.examples) < 10:
            self.result.examples.append(result)

    def _settle(self, results: list[CheckResult]) -> None:
        """Put back to pending what has to be written again, and remember ETags under which objects are fine."""
        rows = self.rows.of([each.record for each in results if each.verdict in FAULTS])
        corrections = []
        for each in results:
            row, outcome = rows.get(each.record.entry), _outcome_of(each)
            if row is RowState.GONE:  # what was deleted is not brought back
                self.rows.gone.add(each.record.entry)
            elif outcome is not None:
                if row is RowState.PRIVATE:
                    outcome = outcome._replace(entry=made_private(each.record).entry)
                    self.rows.private += 1
                corrections.append((each.record, outcome))
                self.result.reopened += each.verdict in FAULTS
        if corrections:
            record_findings(self.manifest, corrections)

    def _counts_of(self, table: str) -> Counter[CheckStatus]:
        return self.result.by_type.setdefault(table, Counter())

    @contextmanager
    def _showing(self, what: str, total: int) -> Iterator[None]:
        """Show progress while the block runs, and add its duration to the result."""
        self._progress, began = CheckProgress(what, total), time.monotonic()
        self.listener.started(self._progress)
        try:
            yield
        finally:
            self.listener.finished(self._progress)
            self.result.seconds += time.monotonic() - began

    def _advance(self, checked: int, faults: int) -> None:
        self._progress.checked += checked
        self._progress.found += faults
        self.listener.advanced(self._progress)


def _outcome_of(result: CheckResult) -> Outcome | None:
    """What becomes of the entry; None: nothing."""
    record = result.record
    if result.verdict in FAULTS:
        detail = f"verify: {result.verdict.value}: {result.detail}"
        found = found_wrong_access if result.exposed else found_wrong
        return reopened(record, found(record.presence), detail)
    if result.verdict is CheckStatus.FINE and result.etag is not None:
        return still_done(record, record.md5, result.etag)
    return None
