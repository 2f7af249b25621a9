"""Verifying: the destination held against the manifest.

First by listing, range by range side by side; what a listing does not tell as it was recorded is asked
for by itself. Then by reading back, all or a sample. What is lost or different goes back to pending.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mastosync.checking.object_check import (
    FAULTS,
    CheckResult,
    CheckStatus,
    described,
    expected_etag,
    same_etag,
    still_done,
)
from mastosync.checking.privacy_proof import strangers_read
from mastosync.checking.row_check import Opening, Row, RowsNow, made_private
from mastosync.errors import ObjectError
from mastosync.language import deferred, tr
from mastosync.manifest import (
    Manifest,
    ManifestReport,
    SegmentReader,
    correct,
    found_hidden,
    found_misread,
    found_wrong,
)
from mastosync.mastodon.paperclip import KeyRange, canonical_key
from mastosync.model import Entry, EntryState, Outcome, Presence, Reason, Record
from mastosync.progress import CheckProgress, ProgressListener
from mastosync.runtime.parallel import side_by_side
from mastosync.runtime.retry import RetryingStore, StoreAccess
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.store.base import ListedObject
from mastosync.verifying.listing_merge import KeySpace, Listing, Placed, iter_matched, record_at
from mastosync.verifying.public_result import Keeper, PublicFault, PublicResult
from mastosync.verifying.samples import Sample, Ticket

_log = logging.getLogger(__name__)

_BATCH = 1_000  # entries of which a range tells at once
_JUDGEMENTS = 100  # or of so many that are not as recorded
_RANGES_A_WORKER = 4  # some take longer than others
_ASKED_AT_MOST = 1_000  # objects that no listing had and no HEAD found: then the listing is believed
_DONE = (EntryState.DONE,)


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How closely to look."""

    workers: int = 8
    types: tuple[str, ...] = ()  # tables; empty: all
    deep: bool = False  # read objects back
    sample: int | None = None  # so many objects only; None: all


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
    public: PublicResult | None = None  # what anybody gets; None: nobody asked
    seconds: float = 0.0

    def total(self) -> Counter[CheckStatus]:
        """Entries by verdict."""
        return sum(self.by_type.values(), Counter())

    @property
    def checked(self) -> int:
        """Entries that were looked at."""
        return self.total().total()

    @property
    def clean(self) -> bool:
        """Whether everything that was looked at is there, as it was recorded."""
        total = self.total()
        return not any(total[verdict] for verdict in (*FAULTS, CheckStatus.UNREAD)) and (
            self.public is None or self.public.clean
        )

    def as_json(self) -> dict[str, Any]:
        """The contract of `verify --json`."""
        by_type = {
            name: {verdict.value: counts[verdict] for verdict in CheckStatus} for name, counts in self.by_type.items()
        }
        total = self.total()
        return {
            "checked": self.checked,
            "bytes": self.checked_bytes,
            **{verdict.value: total[verdict] for verdict in CheckStatus},
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
    """What a range tells at a time."""

    fine: Counter[int] = field(default_factory=Counter)  # entries by the number of their kind
    fine_bytes: int = 0
    judgements: list[CheckResult] = field(default_factory=list)  # of all others
    drawn: list[tuple[Sample, Ticket, Record]] = field(default_factory=list)


@dataclass(slots=True)
class Verifier:
    """One run of `verify`. The manifest belongs to this thread; others read it with connections of their own."""

    manifest: Manifest
    path: Path
    store_access: StoreAccess
    prefix: str
    options: VerifyOptions
    stop: StopSignal
    listener: ProgressListener
    samples: Sequence[Sample] = ()  # that are drawn while listings pass by
    opening: Opening | None = None  # asks for rows of what is at fault
    result: Verification = field(init=False, default_factory=Verification)
    _progress: CheckProgress = field(init=False)
    _not_found: int = field(init=False, default=0)
    _listing_errs: bool = field(init=False, default=False)  # it left out what is there

    def __post_init__(self) -> None:
        self.result.rows.opening = self.opening

    @property
    def rows(self) -> RowsNow:
        """What rows say of what is at fault."""
        return self.result.rows

    def by_listing(self) -> None:
        """Look for every entry that is done in listings of the destination. Raises: MastosyncError."""
        space = KeySpace(self.options.types)
        way_round = tr("run `mastosync verify --deep`, which needs no listing")
        listing = Listing(RetryingStore(self.store_access), self.prefix, way_round)
        entries = self.entries()
        with SegmentReader.opened(self.path, _DONE) as reader:
            ranges = space.cut(reader, entries, _RANGES_A_WORKER * self.options.workers)
        _log.info("listing %s in %d ranges", self.store_access.store.name, len(ranges))

        def batches(keys: KeyRange) -> Iterator[_EntryBatch]:
            with SegmentReader.opened(self.path, _DONE) as reader:
                yield from self._range(space.iter_placed(reader, keys), listing.iter_range(keys), reader)

        with self._telling("verify", entries):
            for batch in side_by_side(batches, ranges, self.options.workers, self.stop):
                self._take_batch(batch)
        self.result.listed = True

    def by_reading(self, pool: WorkerPool[Record, CheckResult], records: Iterable[Record], objects: int) -> None:
        """Read these objects back. They count anew unless they were counted by a listing. Raises: MastosyncError."""
        with self._telling(deferred("read back"), objects):
            pending: list[CheckResult] = []
            wanted = (each for each in records if each.entry not in self.rows.gone)  # these a listing has counted
            for _, judgement, error in pool.all_ended(wanted):
                if error is not None:
                    raise error
                assert judgement is not None  # noqa: S101 - there is one where there is no error
                self.result.read_objects += 1
                self.result.read_bytes += judgement.size_bytes
                self._count(judgement, again=self.result.listed)
                pending.append(judgement)
                if len(pending) >= _BATCH:
                    self._settle(pending)
                    pending = []
                self._advance(1, judgement.verdict is not CheckStatus.FINE)
            self._settle(pending)
        self.stop.require_going_on()

    def take_public(self, public: PublicResult, exposed: Iterable[Record] = ()) -> None:
        """Put back to pending what only a copy puts right; `exposed`: what was asked for first, see `iter_exposed`."""
        faulty = {(fault.record.entry.kind, fault.record.entry.id, fault.record.entry.name) for fault in public.faults}
        gone = [each for each in exposed if (each.entry.kind, each.entry.id, each.entry.name) not in faulty]
        correct(self.manifest, [(each, hidden(each)) for each in gone])
        rows = self.rows.of([fault.record for fault in public.faults if fault.refused])
        self._heed(rows, public)
        chosen = public.to_be_rewritten
        certain = [each for each in chosen if not each.refused or rows.get(each.record.entry) is Row.PUBLIC]
        self.rows.unasked += len(chosen) - len(certain)
        corrections = [
            (
                fault.record,
                _reopened(fault.record, found_misread(fault.record.presence), f"verify: {fault.detail}"),
            )
            for fault in certain
        ]
        self.result.reopened += correct(self.manifest, corrections)
        for fault in public.faults:
            _log.warning("public: %s: %s", fault.key, fault.detail, extra={"about": {"key": fault.key}})

    def _heed(self, rows: Mapping[Entry, Row], public: PublicResult) -> None:
        """Strangers are not given these at the new store: what Mastodon has hidden or deleted since is no fault."""
        for fault in [each for each in public.faults if rows.get(each.record.entry, Row.PUBLIC) is not Row.PUBLIC]:
            if rows[fault.record.entry] is Row.GONE:
                self.rows.gone.add(fault.record.entry)
                public.drop(fault, Row.GONE)
                continue
            read = self._strangers_read(fault)
            if read is None:  # it stays as it is: public by the manifest, and not to be written
                continue
            self.rows.private += 1
            if not read:
                correct(self.manifest, [(fault.record, _private_by_now(fault.record))])
            if read or fault.keeper is Keeper.OLD_STORE:
                public.expose(fault)
            else:
                public.drop(fault, Row.PRIVATE)

    def _strangers_read(self, fault: PublicFault) -> bool | None:
        """Whether the new store gives it to anybody, whatever another site says; None: that cannot be told."""
        store = RetryingStore(self.store_access)
        try:
            return strangers_read(store, fault.key, store.head(fault.key))
        except ObjectError as error:
            _log.warning(
                "public: %s: its row is private by now, and who reads it cannot be told: %s", fault.key, error.message
            )
            return None

    def iter_done(self) -> Iterator[Record]:
        """Every entry that is done."""
        with SegmentReader.opened(self.path, _DONE) as reader:
            for number in reader.kinds(self.options.types):
                for row in reader.iter_rows(number, -(2**63), 2**63 - 1):
                    yield record_at(reader, Placed("", number, row, canonical=True))

    def entries(self) -> int:
        """How many entries are done, of the types that are looked at."""
        return ManifestReport(self.manifest).entries(states=(EntryState.DONE,), types=self.options.types)

    def _range(
        self, entries: Iterator[Placed], listed: Iterator[ListedObject], reader: SegmentReader
    ) -> Iterator[_EntryBatch]:
        """One range, in a thread of its own."""
        batch = _EntryBatch()
        pairs = ((placed, found) for placed, found in iter_matched(entries, listed) if placed is not None)
        for seen, (placed, found) in enumerate(pairs, 1):
            _, _, _, _, size, _, _, _, md5, etag, *_ = placed.row
            if found is not None and found.size == size and same_etag(found.etag, expected_etag(md5, etag)):
                batch.fine[placed.kind] += 1
                batch.fine_bytes += found.size
                for sample in self.samples:
                    if (ticket := sample.ticket(placed)) is not None:
                        batch.drawn.append((sample, ticket, record_at(reader, placed)))
            else:
                batch.judgements.append(self._judged(record_at(reader, placed), found))
            if seen % _BATCH == 0 or len(batch.judgements) >= _JUDGEMENTS:
                yield batch
                self.stop.require_going_on()
                batch = _EntryBatch()
        yield batch

    def _judged(self, record: Record, found: ListedObject | None) -> CheckResult:
        key = canonical_key(record.entry, self.prefix)
        if found is None and self._not_found >= _ASKED_AT_MOST and not self._listing_errs:
            return CheckResult(record, CheckStatus.LOST, f"no listing has {key!r}")
        judgement = described(RetryingStore(self.store_access), key, record)
        if found is None:
            self._not_found += judgement.verdict is CheckStatus.LOST
            self._listing_errs = self._listing_errs or judgement.verdict is not CheckStatus.LOST
        return judgement

    def _take_batch(self, batch: _EntryBatch) -> None:
        kinds = self.manifest.kinds()
        for number, entries in batch.fine.items():
            self._verdicts(kinds[number].table)[CheckStatus.FINE] += entries
        self.result.checked_bytes += batch.fine_bytes
        for judgement in batch.judgements:
            self._count(judgement)
        self._settle(batch.judgements)
        for sample, ticket, record in batch.drawn:
            sample.take(ticket, record)
        faults = sum(judgement.verdict is not CheckStatus.FINE for judgement in batch.judgements)
        self._advance(batch.fine.total() + len(batch.judgements), faults)

    def _count(self, judgement: CheckResult, *, again: bool = False) -> None:
        verdicts = self._verdicts(judgement.record.entry.kind.table)
        verdicts[judgement.verdict] += 1
        if again:  # the listing found it fine
            verdicts[CheckStatus.FINE] -= 1
        else:
            self.result.checked_bytes += judgement.record.entry.size or 0
        if judgement.verdict is not CheckStatus.FINE:
            self._tell(judgement)

    def _tell(self, judgement: CheckResult) -> None:
        key = canonical_key(judgement.record.entry, self.prefix)
        about = {"key": key, "verdict": judgement.verdict.value}
        _log.warning("%s: %s: %s", judgement.verdict.value, key, judgement.detail, extra={"about": about})
        if len(self.result.examples) < 10:
            self.result.examples.append(judgement)

    def _settle(self, judgements: list[CheckResult]) -> None:
        """Put back to pending what has to be written again, and remember ETags under which objects are fine."""
        rows = self.rows.of([each.record for each in judgements if each.verdict in FAULTS])
        corrections = []
        for each in judgements:
            row, outcome = rows.get(each.record.entry), _outcome_of(each)
            if row is Row.GONE:  # what was deleted is not brought back
                self.rows.gone.add(each.record.entry)
            elif outcome is not None:
                if row is Row.PRIVATE:
                    outcome = outcome._replace(entry=made_private(each.record).entry)
                    self.rows.private += 1
                corrections.append((each.record, outcome))
                self.result.reopened += each.verdict in FAULTS
        if corrections:
            correct(self.manifest, corrections)

    def _verdicts(self, table: str) -> Counter[CheckStatus]:
        return self.result.by_type.setdefault(table, Counter())

    def _telling(self, what: str, total: int) -> _Telling:
        self._progress = CheckProgress(what, total)
        return _Telling(self.listener, self._progress, self.result)

    def _advance(self, checked: int, faults: int) -> None:
        self._progress.checked += checked
        self._progress.found += faults
        self.listener.advanced(self._progress)


class _Telling:
    """Shows progress for as long as the block runs, and takes its time."""

    def __init__(self, listener: ProgressListener, progress: CheckProgress, result: Verification) -> None:
        self._listener, self._progress, self._result = listener, progress, result
        self._began = time.monotonic()

    def __enter__(self) -> None:
        self._listener.started(self._progress)

    def __exit__(self, *_: object) -> None:
        self._listener.finished(self._progress)
        self._result.seconds += time.monotonic() - self._began


def _reopened(record: Record, presence: Presence, detail: str) -> Outcome:
    """What has to be written anew."""
    return Outcome(record.entry, EntryState.PENDING, detail=detail, attempts=0, presence=presence)


def hidden(record: Record) -> Outcome:
    """Of what is private, lay there as public, and is given to nobody who asks."""
    return Outcome(
        record.entry,
        record.state,
        record.reason,
        attempts=0,
        detail=None if record.reason is Reason.PRIVATE else record.detail,  # that of what was kept back: remove it
        presence=found_hidden(record.presence),
    )


def _private_by_now(record: Record) -> Outcome:
    """Of what is public by the last plan and private by its row, and is given to nobody at the new store."""
    return still_done(made_private(record), record.md5, record.etag)


def _outcome_of(judgement: CheckResult) -> Outcome | None:
    """What becomes of the entry; None: nothing."""
    record = judgement.record
    if judgement.verdict in FAULTS:
        detail = f"verify: {judgement.verdict.value}: {judgement.detail}"
        found = found_misread if judgement.exposed else found_wrong
        return _reopened(record, found(record.presence), detail)
    if judgement.verdict is CheckStatus.FINE and judgement.etag is not None:
        return still_done(record, record.md5, judgement.etag)
    return None
