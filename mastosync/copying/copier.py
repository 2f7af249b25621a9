"""The copier: the loop that works through pending entries and owns the manifest while it does.

Its thread alone talks to the manifest; workers move the objects. It hands them claims, of which only a limited number
is out at any time, and gets outcomes back. A claim is in the manifest before a worker sees it. An outcome is in the
manifest within a second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from mastosync.copying.acl import AccessNotes
from mastosync.copying.digests import DigestTrust
from mastosync.copying.kept_uploads import KeptUploads
from mastosync.errors import (
    ExitCode,
    Interrupted,
    MastosyncError,
    MayBePublic,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    PrivacyLost,
    StoreUnusable,
    telling_of,
)
from mastosync.language import english, tr
from mastosync.manifest import ACCESS, Manifest, Outage, WorkQueue, some_done
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Claim, Kind, Order, Origin, Outcome
from mastosync.progress import CopyProgress, EndpointState, ProgressListener, described, shown
from mastosync.runtime.outages import FailureCounter
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool

_log = logging.getLogger(__name__)
_trust_log = logging.getLogger(f"{__name__}.trust")  # of which people hear, see `cli.logs`

COMMIT_SECONDS = 0.5  # outcomes wait this long at most, half of what is promised
COMMIT_OUTCOMES = 1_000
HEARTBEAT_SECONDS = 5.0  # large objects take longer; the record of the run says that it is alive
_WINDOW_AT_MOST = 1_000  # claims beyond those in work: what a dead run leaves to look at
_POLL_SECONDS = 0.1  # how long a signal may wait for this loop
_OF_EACH_END = 4  # objects of a kind that are asked for: the oldest, and the newest
_ENOUGH = 3  # that are gone: rows go, and their files with them


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How one run works."""

    workers: int = 8
    limit: int | None = None  # entries; None: all
    rate: int | None = None  # requests a second to each endpoint; None: what it takes
    bwlimit: Callable[[datetime], int | None] | None = None  # bytes a second at a local time (None: any)
    order: Order = Order.LOCAL_FIRST


@dataclass(slots=True)
class Copier:
    """One run of `copy`."""

    queue: WorkQueue
    pool: WorkerPool[Claim, Outcome]
    options: CopyOptions
    stop: StopSignal
    listener: ProgressListener
    limits: Callable[[], tuple[EndpointState, ...]] = tuple
    notes: AccessNotes = field(default_factory=AccessNotes)  # of the workers
    uploads: KeptUploads = field(default_factory=KeptUploads)  # of the workers
    trust: DigestTrust | None = None  # of the workers
    still_gives: Callable[[Kind | None], bool | None] = lambda _: None  # see the function of this name
    _in_work: int = field(init=False, default=0)  # claims that the workers have
    _outcomes: list[Outcome] = field(init=False, default_factory=list)
    _failures: FailureCounter = field(init=False)
    _fatal: BaseException | None = field(init=False, default=None)
    _in_doubt: list[MayBePublic] = field(init=False, default_factory=list)
    _believed: dict[Kind, tuple[int, int]] = field(init=False, default_factory=dict)  # lowest and highest id
    _disbelieved: int = field(init=False, default=0)  # entries, which are pending again
    _recorded_outages: list[Outage] = field(init=False, default_factory=list)  # as the manifest has them

    def run(self) -> CopyProgress:
        """Copy until nothing is pending, somebody asks to stop, or a store turns out unusable.

        Raises: StoreUnusable, ManifestError, and Interrupted after what was in flight is recorded.
        """
        try:
            with self.pool:
                progress = self._run()
            self.queue.end_run(self._exit_code())
        except BaseException as error:
            with suppress(Exception):  # a bug of a worker, which is this error or says less
                self._collect(0)  # a worker may have found an exposed object meanwhile
            if not isinstance(self._fatal, PrivacyLost):
                telling_of(self._in_doubt, error)
                raise
            _log.error("%s", _named(error))
            raise telling_of(self._in_doubt, self._fatal) from error
        if self._fatal is not None:
            raise telling_of(self._in_doubt, self._fatal)
        if self.stop.requested:
            raise telling_of(
                self._in_doubt,
                Interrupted(
                    tr("stopped on request"), hint=tr("run the same command again: it goes on where this one stopped")
                ),
            )
        return progress

    def _exit_code(self) -> ExitCode:
        """How this run ends; entries that failed are counted elsewhere."""
        if self._fatal is not None:
            return self._fatal.exit_code if isinstance(self._fatal, MastosyncError) else ExitCode.BUG
        return ExitCode.INTERRUPTED if self.stop.requested else ExitCode.OK

    def _run(self) -> CopyProgress:
        self._failures = FailureCounter(still_gives=self.still_gives)
        pending = self.queue.pending()
        progress = CopyProgress(total=min(pending, self.options.limit) if self.options.limit is not None else pending)
        _log.info("copying %d entries with %d workers", progress.total, self.options.workers)
        claimable = self.queue.iter_claimable()
        work = islice(claimable, self.options.limit)
        try:
            with shown(progress, self.listener):
                self.queue.start_run(self.options.workers)
                self._work_through(work, progress)
                self._wind_down(progress)
        finally:
            with english():
                _log.info("%s", described(progress))
        return progress

    def _work_through(self, work: Iterator[Claim], progress: CopyProgress) -> None:
        window = 2 * self.options.workers
        exhausted = False
        last_commit = time.monotonic()
        while not self.stop.requested and self._fatal is None:
            new: list[Claim] = []
            if not exhausted and self._in_work <= window // 2:
                new = list(islice(work, window - self._in_work))
                exhausted = not new
                if time.monotonic() - last_commit < COMMIT_SECONDS:  # a larger window, fewer commits
                    window = min(2 * window, _WINDOW_AT_MOST + self.options.workers)
            waited = time.monotonic() - last_commit
            due = waited >= COMMIT_SECONDS or len(self._outcomes) >= COMMIT_OUTCOMES
            told = self._outcomes or self.uploads.changed
            if new or (due and told) or self.notes.any_waiting or waited >= HEARTBEAT_SECONDS:
                self._commit(new, progress)
                last_commit = time.monotonic()
            self._in_work += len(new)
            self.pool.submit(new)
            if exhausted and not self._in_work:
                if self._outcomes:
                    self._commit([], progress)
                if not self._disbelieved or self.options.limit is not None:
                    return
                work, exhausted, self._disbelieved = self.queue.iter_claimable(), False, 0
            self._collect(_POLL_SECONDS)
            if not self._outcomes:
                self._show(progress)  # also when nothing has ended: a store may have asked to wait

    def _collect(self, wait_seconds: float) -> None:
        """Take in what has ended; wait for the first of it."""
        for ended in self.pool.ended(wait_seconds):
            self._in_work -= 1
            if ended.outcome is not None:
                self._take_in(ended.outcome)
            elif isinstance(ended.error, MayBePublic):
                self._in_doubt.append(ended.error)
            elif not isinstance(ended.error, Interrupted):  # that leaves its claim: the object may have arrived
                self._end_with(ended.error)
                if isinstance(ended.error, PrivacyLost) and ended.error.lies_there:
                    self.notes.add(ended.claim.entry, ACCESS)

    def _end_with(self, error: BaseException | None) -> None:
        """Keep the first error, which ends the run. An exposed private object takes its place: the other is logged."""
        before = self._fatal
        if before is None:
            self._fatal = error
        elif isinstance(error, PrivacyLost) and not isinstance(before, PrivacyLost):
            _log.error("%s", _named(before))
            self._fatal, error.__context__ = error, before

    def _take_in(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        try:
            self._failures.note(outcome)
        except StoreUnusable as unusable:
            self._fatal = self._fatal or unusable

    def _wind_down(self, progress: CopyProgress) -> None:
        """Release claims that no worker has begun, wait for those in flight, and record their outcomes."""
        released = self.pool.take_back()
        self._in_work -= len(released)
        if self._fatal is not None:
            self.stop.request()  # no more attempts: they may take hours, and would be in vain
        while self._in_work:
            self._collect(_POLL_SECONDS)
            if self._outcomes:
                self._commit([], progress)
        self._commit([], progress, released)

    def _commit(self, claims: list[Claim], progress: CopyProgress, released: list[Claim] | None = None) -> None:
        for outcome in self._outcomes:
            if outcome.believed:
                lowest, highest = self._believed.get(outcome.entry.kind, (outcome.entry.id, outcome.entry.id))
                self._believed[outcome.entry.kind] = min(lowest, outcome.entry.id), max(highest, outcome.entry.id)
        disbelieved = self._believed if self.trust is not None and self.trust.disproved else {}
        with self.notes.recording() as access:
            reopened = self.queue.commit(
                outcomes=self._outcomes,
                claims=claims,
                released=released or (),
                access=access,
                disbelieved=disbelieved,
            )
        if self.uploads.changed:
            self.queue.note_uploads(self.uploads.noted())
        for outcome in self._outcomes:
            progress.count(outcome)
        if disbelieved:
            self._begin_anew(reopened, progress)
        self._outcomes.clear()
        self._show(progress)

    def _begin_anew(self, reopened: int, progress: CopyProgress) -> None:
        """Take in that what this run has believed is to be copied again."""
        assert self.trust is not None  # noqa: S101 - it has said so
        self._believed.clear()
        self._disbelieved += reopened
        if self.options.limit is None:
            progress.total += reopened
        _trust_log.warning(
            "%s",
            tr(
                "the ETags of the {store} prove nothing: every object is hashed here from now on, and {entries} entries"
                " that may have been done by such a proof are pending again, for this copy or the next",
                store=self.trust.destination,
                entries=reopened,
            ),
        )

    def _show(self, progress: CopyProgress) -> None:
        progress.limits = self.limits()
        outages = [limit.outage for limit in progress.limits if limit.outage is not None]
        if outages != self._recorded_outages:  # once a question, at most
            self.queue.note_waiting(outages)
            self._recorded_outages = outages
        self.listener.advanced(progress)


def _named(error: BaseException) -> str:
    """An error for the log. One that is not ours is only named, as it may hold a secret; --debug shows it without."""
    return str(error) if isinstance(error, MastosyncError) else type(error).__name__


def still_gives(source: StoreSession, manifest: Manifest, prefix: str, kind: Kind | None) -> bool | None:
    """Whether the source still gives anything that it gave in earlier runs; None: too little is known.

    Asked when the source has given nothing in this run: its access key or its contents may have changed. Of `kind`, its
    table is looked at, cached or not, as these have folders of their own; None stands for all. What was adopted, it may
    never have had: that tells something only if it is there.

    Raises: StoreUnusable.
    """
    copied = 0
    for record in some_done(manifest, _OF_EACH_END):
        of = record.entry.kind
        is_asked = kind is None or (of.table, of.cached) == (kind.table, kind.cached)
        if not is_asked or record.origin is Origin.REFETCHED:
            continue
        try:
            RetryingStore(source).head(record.source_key or canonical_key(record.entry, prefix))
        except (ObjectMissing, ObjectDenied):
            copied += record.origin is not Origin.ADOPTED
            continue
        except (ObjectError, Interrupted):  # nobody can tell
            pass
        return True
    return False if copied >= _ENOUGH else None
