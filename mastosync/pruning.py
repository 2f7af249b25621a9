"""Removing objects at the destination that have arrived and whose rows have left the database since.

Nothing else in mastosync deletes objects of an instance, so this asks for proof: the plan has to be whole and fresh, a
key that another entry needs stays, and a large part of everything is a mistake unless the user says otherwise. What was
adopted stays unless the user says that it may go: after the switch it may lie nowhere else. What a plan lost by
`--accept-gone` stays until the user says that it was deleted. See docs/design/following.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain, compress, islice
from typing import Any

from mastosync.errors import ExitCode, Interrupted, ManifestError, MastosyncError, ObjectError, StoreUnusable
from mastosync.findings.deleted import PLAN_AT_MOST_OLD, Deleted, unknown_deletions_message
from mastosync.language import deferred, tr
from mastosync.manifest import (
    ALWAYS,
    Manifest,
    ManifestReader,
    count_removable,
    forget_arrival,
    is_wanted,
    iter_removable,
    mark_older_drops,
)
from mastosync.mastodon.paperclip import canonical_key, ids_of_key
from mastosync.model import End, Entry, EntryState, Presence, Record
from mastosync.runtime.outages import FailureCounter
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.steps import BlockingCall, Steps
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool

_log = logging.getLogger(__name__)

FEW = 100  # objects that may be removed, if as many are done
SHARE = 10  # one in ten of those that are done may be removed
_AT_ONCE = 1_000  # objects that S3 deletes in one request
_COMMIT_SECONDS = 0.5
_HINT = deferred("check that the key may delete objects, then run the same command again: what was removed is recorded")


class PlanTooOld(ManifestError):
    """The last plan says too little of what is gone by now."""


class TooMuchGone(MastosyncError):
    """More is gone than is plausible."""

    exit_code = ExitCode.INCOMPLETE


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """What to remove."""

    apply: bool = False  # without it, nothing is
    at_most: int | None = None  # refuse to remove more objects; None: more than a few, or a small part of what is done
    workers: int = 8
    adopted: bool = False  # also what lay there before a copy came to it


@dataclass(slots=True)
class PruneResult:
    """The result of a prune, in objects."""

    applied: bool
    found: int  # gone, and at the destination
    found_bytes: int
    kept: int = 0  # of these: another entry has the same key
    adopted: int = 0  # of these: left alone, as it lay there already
    lost: int = 0  # beside these: left alone, as a plan lost it by --accept-gone
    removed: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)  # of failures
    unknown: str = ""  # up to when deletions are known, for people; empty: all of them are

    def as_json(self) -> dict[str, Any]:
        """The names are part of the interface."""
        return {**asdict(self), "unknown": bool(self.unknown)}


@dataclass(slots=True)
class Pruner:
    """One prune. `prefix` is the destination's key_prefix.

    `opened` gives the access to it, and is asked only when there is something to remove.
    """

    manifest: Manifest
    opened: Callable[[], AbstractContextManager[StoreSession]]
    prefix: str
    options: PruneOptions
    stop: StopSignal
    _removed: list[Entry] = field(init=False, default_factory=list)  # and not recorded yet
    _in_bulk: bool = field(init=False, default=True)  # the store has not refused to delete many objects at once

    def run(self) -> PruneResult:
        """Remove what may be removed, or only count it.

        Raises: ManifestError if the plan is no base for that; TooMuchGone; StoreUnusable; Interrupted when asked to
        stop. What was removed by then is recorded.
        """
        self._require_plan()
        unknown = unknown_deletions_message(Deleted.in_manifest(self.manifest), time.time())
        with self.manifest.transaction():
            mark_older_drops(self.manifest)
        gone = count_removable(self.manifest)
        left_alone = 0 if self.options.adopted else gone.adopted
        result = PruneResult(self.options.apply, *gone[:2], adopted=left_alone, lost=gone.lost, unknown=unknown)
        self._require_likely(result)
        candidates = iter_removable(self.manifest, adopted=self.options.adopted)
        removable = (each for each in candidates if self._may_go(each, result))
        if not self.options.apply:
            for _ in removable:
                self.stop.require_going_on()
            return result
        first = next(removable, None)
        if first is None:
            return result
        with (
            self.opened() as store_session,
            WorkerPool(partial(self._steps, store_session), self.options.workers, self.stop) as pool,
        ):
            try:
                self._remove(store_session, pool, chain((first,), removable), result)
            finally:
                self._record()
        return result

    def _remove(
        self,
        store_session: StoreSession,
        pool: WorkerPool[Record, ObjectError | None],
        records: Iterator[Record],
        result: PruneResult,
    ) -> None:
        recorded_at, failures = time.monotonic(), FailureCounter(hint=_HINT)
        for record, error in self._asked_for(store_session, pool, records):
            if error is None:
                self._removed.append(record.entry)
                result.removed += 1
                failures.answered(End.DESTINATION)
            else:
                result.failed += 1
                _log.warning("not removed: %s", error.message)
                if len(result.examples) < 10:
                    result.examples.append(error.message)
                failures.failed(End.DESTINATION, error.reason, error.message)
            if time.monotonic() - recorded_at >= _COMMIT_SECONDS:
                self._record()
                recorded_at = time.monotonic()
        if self.stop.requested:
            raise Interrupted(
                tr("stopped on request"), hint=tr("run the same command again: it goes on where this one stopped")
            )

    def _asked_for(
        self, store_session: StoreSession, pool: WorkerPool[Record, ObjectError | None], records: Iterator[Record]
    ) -> Iterator[tuple[Record, ObjectError | None]]:
        """Ask for removal, and yield what came of it (None: removed), until somebody asks to stop."""
        while not self.stop.requested and (batch := list(islice(records, _AT_ONCE))):
            keys = [canonical_key(each.entry, self.prefix) for each in batch]
            # what may be there in parts takes another request first
            whole = [not each.presence & Presence.IN_DOUBT for each in batch]
            confirmed = self._deleted_together(RetryingStore(store_session), set(compress(keys, whole)))
            together = [key in confirmed and is_whole for key, is_whole in zip(keys, whole, strict=True)]
            for each in compress(batch, together):
                yield each, None
            for ended in pool.all_ended(each for each, done in zip(batch, together, strict=True) if not done):
                if ended.error is not None:
                    raise ended.error
                yield ended.claim, ended.outcome

    def _deleted_together(self, store: RetryingStore, keys: set[str]) -> frozenset[str]:
        """Delete objects by one request, if the store takes that, and return the keys that it has confirmed.

        The others are deleted one by one, which tells what is wrong with each. After a refusal that goes for the rest
        of the run.
        """
        if not self._in_bulk or len(keys) < 2:
            return frozenset()
        try:
            confirmed = store.delete_objects(sorted(keys))
        except (ObjectError, StoreUnusable) as error:
            self._in_bulk = False
            _log.info("objects are deleted one by one: %s", error.message)
            return frozenset()
        for key in confirmed:
            _log.info("removed %r at %s", key, store.name)
        return confirmed

    def _steps(self, store_session: StoreSession, record: Record) -> Steps[ObjectError | None]:
        """Delete an object; what a store refused is the outcome."""
        key, store = canonical_key(record.entry, self.prefix), RetryingStore(store_session)
        try:
            if Presence.IN_DOUBT in record.presence:  # maybe in parts, of which nobody knows
                yield BlockingCall(partial(store.abort_unfinished, key))
            yield BlockingCall(partial(store.delete, key))
        except ObjectError as error:
            return error
        _log.info("removed %r at %s", key, store_session.store.name)
        return None

    def _may_go(self, record: Record, result: PruneResult) -> bool:
        wanted = is_wanted(self.manifest, record.entry, ids_of_key(record.entry.id))
        result.kept += wanted
        return not wanted

    def _record(self) -> None:
        if self._removed:
            forget_arrival(self.manifest, self._removed)
            self._removed.clear()

    def _require_plan(self) -> None:
        plan = ManifestReader(self.manifest).snapshot()
        if plan is None or not plan.leaves_nothing_out:
            raise ManifestError(
                tr(
                    "nothing is removed: the last plan left something out, and a row that it left out may need "
                    "the same object"
                ),
                hint=tr("run `mastosync plan` without --type, --only and --limit, then prune again"),
            )
        if time.time() - plan.began_at > PLAN_AT_MOST_OLD.total_seconds():
            raise PlanTooOld(
                tr(
                    "nothing is removed: the last plan is more than an hour old, or of a standby that lags"
                    " ({taken_at:%F %T} UTC)",
                    taken_at=plan.taken_at,
                ),
                hint=tr("run `mastosync plan`, then prune again"),
            )

    def _require_likely(self, result: PruneResult) -> None:
        """Refuse to remove a large part of everything: the plan may be of a wrong or empty database."""
        done = sum(line.objects for line in ManifestReader(self.manifest).counts() if line.state is EntryState.DONE)
        likely = max(ALWAYS, min(FEW, done), done // SHARE)
        most = likely if self.options.at_most is None else self.options.at_most
        found = result.found - result.adopted
        if self.options.apply and found > most:
            raise TooMuchGone(
                tr(
                    "nothing was removed: {found:,} objects are gone, {done:,} are done, and at most {most:,} would be"
                    " removed",
                    found=found,
                    done=done,
                    most=most,
                ),
                hint=tr(
                    "check that the last plan read the right database: `mastosync ls --state skipped --reason "
                    "gone` lists the objects. If all of them may be removed, add --at-most {found}",
                    found=found,
                ),
            )
