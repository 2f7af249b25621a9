"""Bringing what lies at the destination in line with its settings: Cache-Control, ACL and storage class.

Each object that is done is described (`one_object`), and where it should have other settings the store copies it onto
itself (`rewrite`). Only the very object that was recorded is touched: of any other, `verify` decides. The manifest
knows how far a run has come, so the same command goes on where it stopped, however that was. See
docs/design/verifying.md.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import starmap
from typing import Any, NamedTuple

from mastosync.applying.one_object import LEFT, Applied, ApplyStatus, ObjectApplier, outcome_of, to_be_stored
from mastosync.applying.rewrite import AccessLost, HeadersLost
from mastosync.checking.row_check import RowAnswer
from mastosync.errors import (
    DatabaseError,
    Interrupted,
    MastosyncError,
    MayBeHidden,
    MayBePublic,
    PlanRefused,
    PrivacyLost,
    StoreUnusable,
    telling_of,
)
from mastosync.language import deferred, tr
from mastosync.manifest import (
    AppliedUpTo,
    Manifest,
    ManifestReader,
    Noted,
    ObjectSettings,
    applied_to,
    begin_applying,
    end_applying,
    found_wrong,
    found_wrong_access,
    iter_done_after,
    last_change,
    note_applied,
    noted_as_json,
    record_findings,
    take_back_change,
)
from mastosync.model import End, EntryState, Outcome, Record
from mastosync.progress import CheckProgress, ProgressListener, shown
from mastosync.runtime.outages import IN_A_ROW, FailureCounter
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.steps import Ended, Steps
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.store.base import Multiplexer

_log = logging.getLogger(__name__)

_COMMIT_SECONDS = 0.5
_STORED, _TO_BE_STORED = deferred("stored again"), deferred("to be stored again")
_EXAMPLES = 10
_HINT = deferred("when the store is well again, run the same command: it goes on where it stopped")


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How to go about it."""

    workers: int = 8
    dry_run: bool = False  # ask, and write nothing


@dataclass(slots=True)
class ApplyResult:
    """What a run has come to."""

    settings: ObjectSettings
    others: Noted  # under which something may have been stored; empty: nothing was looked at
    dry_run: bool
    counts: Counter[ApplyStatus] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)  # of what is left
    goes_on: bool = False  # where an earlier run had stopped
    left_before: int = 0  # by that run
    in_line: bool = False  # everything is, now
    pending: int = 0  # objects that are still to be copied, which were not looked at
    finding: str | None = None  # about the destination, for people
    seconds: float = 0.0

    @property
    def left(self) -> int:
        """Objects that are not in line, and should be."""
        return self.left_before + sum(self.counts[status] for status in LEFT)

    def as_json(self) -> dict[str, Any]:
        """The names are part of the interface."""
        return {
            "dry_run": self.dry_run,
            "settings": self.settings._asdict(),
            "others": noted_as_json(self.others),
            "checked": self.counts.total(),
            **{status.value: self.counts[status] for status in ApplyStatus},
            "left": self.left,
            "pending": self.pending,
            "all_in_line": self.in_line,
            "seconds": round(self.seconds, 3),
        }


class _Claim(NamedTuple):
    place: AppliedUpTo
    record: Record
    answer: RowAnswer | None = None  # what its row says; None: nothing is made public, so nobody has asked


@dataclass(slots=True)
class Applier:
    """One run. The manifest belongs to this thread."""

    manifest: Manifest
    store_session: StoreSession
    object_applier: ObjectApplier
    current: ObjectSettings
    others: Noted
    options: ApplyOptions
    stop: StopSignal
    listener: ProgressListener
    multiplexer: Callable[[int], Multiplexer] | None = None  # as `WorkerPool` has it
    result: ApplyResult = field(init=False)
    _checkpoint: _Checkpoint = field(init=False)
    _corrections: list[tuple[Record, Outcome]] = field(init=False, default_factory=list)
    _to_report: list[MastosyncError] = field(init=False, default_factory=list)
    _fatal: BaseException | None = field(init=False, default=None)
    _failures: FailureCounter = field(init=False)

    def __post_init__(self) -> None:
        self.result = ApplyResult(self.current, self.others, self.options.dry_run)
        self._failures = FailureCounter(any_success=True, hint=_HINT)

    def run(self) -> ApplyResult:
        """Look at everything that is done.

        Raises: ManifestError; PlanRefused; DatabaseError; StoreUnusable; PrivacyLost; Interrupted.
        """
        began = time.monotonic()
        place, change = applied_to(self.manifest, self.current), last_change(self.manifest)
        if not self.options.dry_run:
            begin_applying(self.manifest, self.current)
        self.result.goes_on, self.result.left_before = place is not None, place.left if place else 0
        self._checkpoint = _Checkpoint(place)
        done = ManifestReader(self.manifest).entries(states=(EntryState.DONE,))
        progress = CheckProgress("apply-settings", done, finding=_TO_BE_STORED if self.options.dry_run else _STORED)
        try:
            with shown(progress, self.listener):
                self._work(progress)
        finally:
            self._record()
            if not (self.options.dry_run or self.object_applier.in_place.has_begun):
                take_back_change(self.manifest, change)
            self.result.seconds = time.monotonic() - began
            self.result.finding = self.object_applier.finding
        self._require_ended()
        if not self.options.dry_run:
            self.result.in_line = end_applying(
                self.manifest, self.current, left=self.result.left, gone=self._checkpoint.gone
            )
        self.result.pending = ManifestReader(self.manifest).entries(states=(EntryState.PENDING,))
        return self.result

    def _work(self, progress: CheckProgress) -> None:
        recorded_at = time.monotonic()
        with WorkerPool(self._steps, self.options.workers, self.stop, self.multiplexer) as pool:
            for ended in pool.all_ended(self._checkpoint.claims(self._iter_claims())):
                self._take(ended, progress)
                if time.monotonic() - recorded_at >= _COMMIT_SECONDS:
                    self._record()
                    recorded_at = time.monotonic()

    def _steps(self, claim: _Claim) -> Steps[Applied]:
        return self.object_applier.steps(claim.record, claim.answer)

    def _iter_claims(self) -> Iterator[_Claim]:
        claims, row_check = iter_done_after(self.manifest, self._checkpoint.place), self.object_applier.row_check
        if row_check is None:
            yield from starmap(_Claim, claims)
            return
        try:
            yield from starmap(_Claim, row_check.with_answers(claims))
        except (DatabaseError, PlanRefused) as error:
            self._end_all(error)

    def _take(self, ended: Ended[_Claim, Applied], progress: CheckProgress) -> None:
        place, record, _ = ended.claim
        if ended.outcome is None:
            self._end_with(record, ended.error)
            return
        applied = ended.outcome
        self._checkpoint.ended(place, applied)
        self.result.counts[applied.status] += 1
        if applied.status in LEFT:
            _log.warning("%s: %s", applied.status.value, applied.detail)
            if len(self.result.examples) < _EXAMPLES:
                self.result.examples.append(applied.detail)
        if not self.options.dry_run and (outcome := outcome_of(record, applied)):
            self._corrections.append((record, outcome))
        self._note_outage(applied)
        self._require_some_public()
        progress.checked += 1
        progress.found += applied.status is ApplyStatus.APPLIED
        self.listener.advanced(progress)

    def _note_outage(self, applied: Applied) -> None:
        try:
            if applied.error is None:
                self._failures.answered(End.DESTINATION)
            else:
                self._failures.failed(End.DESTINATION, applied.error.reason, applied.error.message)
        except StoreUnusable as unusable:
            self._end_all(unusable)

    def _require_some_public(self) -> None:
        """End a run that would find everything hidden: nobody has hidden that, and everybody reads elsewhere."""
        counts = self.result.counts
        if counts[ApplyStatus.HIDDEN] != IN_A_ROW or counts[ApplyStatus.APPLIED] or counts[ApplyStatus.IN_LINE]:
            return
        self._end_all(
            StoreUnusable(
                tr(
                    "none of {count} objects at {name} can be read without credentials, although all were stored as"
                    " public",
                    count=IN_A_ROW,
                    name=self.store_session.store.name,
                ),
                hint=tr(
                    "if they should be public here, run `mastosync verify --public`, which finds them, then `mastosync"
                    " copy`, which stores them again as public. Set `acl = none` only if a CDN or proxy reads them"
                    " with its own key"
                ),
            )
        )

    def _end_with(self, record: Record, error: BaseException | None) -> None:
        """An object was not brought to its end. What others read than should, or may, is to be stored anew."""
        if isinstance(error, (MayBePublic, MayBeHidden, AccessLost)):
            self._to_report.append(error)
        if isinstance(error, (MayBePublic, MayBeHidden, AccessLost)) or (
            isinstance(error, PrivacyLost) and error.lies_there
        ):
            self._corrections.append((record, to_be_stored(record, found_wrong_access(record.presence), error.message)))
        elif isinstance(error, HeadersLost):
            self._corrections.append((record, to_be_stored(record, found_wrong(record.presence), error.message)))
        if not isinstance(error, Interrupted):
            self._end_all(error)

    def _end_all(self, error: BaseException | None) -> None:
        if self._fatal is None or (isinstance(error, PrivacyLost) and not isinstance(self._fatal, PrivacyLost)):
            self._fatal = error
        self.stop.request()

    def _record(self) -> None:
        """Let the manifest know what was found, and then how far everything has come."""
        if self._corrections:
            record_findings(self.manifest, self._corrections)
            self._corrections.clear()
        place = self._checkpoint.to_record()
        if place is not None and not self.options.dry_run:
            note_applied(self.manifest, self.current, place)

    def _require_ended(self) -> None:
        """Raises: what has ended the run."""
        if self._fatal is not None:
            raise telling_of([each for each in self._to_report if each.message != str(self._fatal)], self._fatal)
        if self.stop.requested:
            hint = tr("run the same command again: it goes on where this one stopped")
            raise telling_of(self._to_report, Interrupted(tr("stopped on request"), hint=hint))


class _Checkpoint:
    """Up to where all objects have ended, while many are worked on at the same time."""

    def __init__(self, place: AppliedUpTo | None) -> None:
        self.place = place  # up to which all have ended; not beyond those that failed last
        self._left = place.left if place else 0
        self.gone = place.gone if place else 0
        self._begun: deque[AppliedUpTo] = deque()
        self._ended: dict[AppliedUpTo, Applied] = {}
        self._recorded = place

    def claims(self, claims: Iterator[_Claim]) -> Iterator[_Claim]:
        """Hand on `claims`; each counts as begun from then on."""
        for claim in claims:
            self._begun.append(claim.place)
            yield claim

    def ended(self, place: AppliedUpTo, applied: Applied) -> None:
        """One has ended.

        If it failed, the store may have, and not the object: unless another one fares better, the next run begins with
        it.
        """
        self._ended[place] = applied
        while self._begun and self._begun[0] in self._ended:
            reached = self._begun.popleft()
            applied = self._ended.pop(reached)
            self._left += applied.status in LEFT
            self.gone += applied.is_gone
            if applied.status is not ApplyStatus.FAILED:
                self.place = reached._replace(left=self._left, gone=self.gone)

    def to_record(self) -> AppliedUpTo | None:
        """The place to record; None: the same as before."""
        before, self._recorded = self._recorded, self.place
        return None if self.place == before else self.place
