"""Rounds of `follow`, which plan and copy what is new, and `prune`, which removes what is gone."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mastosync.app.context import identities
from mastosync.app.copy import copy_pending
from mastosync.app.plan import add_into, plan_into
from mastosync.app.stores import nothing_removed, stores_to_write
from mastosync.copying.copier import CopyOptions
from mastosync.errors import PlanRefused, UsageError
from mastosync.following import Rounds
from mastosync.language import enumerated, tr
from mastosync.manifest import ManifestReader, in_one_bucket, recover_claims_now, try_again
from mastosync.mastodon.standby import LAG_AT_MOST
from mastosync.progress import CopyProgress
from mastosync.pruning import PlanTooOld, PruneOptions, Pruner, PruneResult, TooMuchGone
from mastosync.status import status_of

if TYPE_CHECKING:
    from mastosync.app.context import Context
    from mastosync.errors import MastosyncError
    from mastosync.following import Round
    from mastosync.manifest import Manifest, StoreIdentity
    from mastosync.planning.planner import PlanOptions, PlanResult
    from mastosync.runtime.retry import StoreSession

_log = logging.getLogger(__name__)

_PRIVACY_KNOWN_FOR = timedelta(hours=1)  # after a plan that has read it
_RUNS_AT_MOST = 10  # in which an entry uses up its attempts, before it is left to `retry-failed`


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """How each round is done."""

    plan: PlanOptions
    copy: CopyOptions
    every_seconds: float  # from the beginning of a round to that of the next one
    once: bool = False
    full: bool = False  # the first round reads everything
    prune: PruneOptions | None = None


@dataclass(frozen=True, slots=True)
class FollowResult:
    """What a round has come to."""

    plan: PlanResult | None  # None: it was refused
    copy: CopyProgress
    news: dict[str, int]  # entries that stand as failed now, and that nobody has accepted, by reason
    pruning: PruneResult | None = None
    refusal: MastosyncError | None = None  # why nothing was planned, or nothing was pruned
    held_back: bool = False  # nothing was copied, as nobody knows who may read it


def follow(context: Context, options: FollowOptions) -> Iterator[Round[FollowResult]]:
    """Plan and copy in rounds; yields each when it has ended. Raises: Interrupted when asked to stop."""
    following = Following(context, options)
    patience = context.config.copy.outage_patience
    return iter(Rounds(following.go_round, options.every_seconds, options.once, context.stop, patience))


def prune(context: Context, options: PruneOptions, *, source_gone: bool = False) -> PruneResult:
    """Remove at the destination what is gone; unless `options.apply`, only count it.

    `source_gone`: the source is another store, even if it cannot be asked any more.
    Raises: Interrupted when asked to stop; TooMuchGone; StoreUnusable; UsageError if both stores are one bucket.
    """
    with context.writing_planned("prune") as manifest:
        return _prune(context, manifest, options, context.config.copy.rate, source_gone=source_gone)


def _prune(
    context: Context, manifest: Manifest, options: PruneOptions, rate: int | None, *, source_gone: bool = False
) -> PruneResult:
    if in_one_bucket(manifest):
        raise nothing_removed()

    @contextmanager
    def opened() -> Iterator[StoreSession]:
        pace = CopyOptions(workers=options.workers, rate=rate)
        with stores_to_write(
            context, manifest, pace, ("destination",), some_arrived=True, removing=True, source_gone=source_gone
        ) as (store_session,):
            yield store_session

    return Pruner(manifest, opened, context.config.destination.key_prefix, options, context.stop).run()


@dataclass(slots=True)
class Following:
    """Rounds of one `follow`."""

    context: Context
    options: FollowOptions
    _reads_all: bool = False
    _privacy_is_current: bool = False  # of all that the manifest has, in this round

    def __post_init__(self) -> None:
        self._reads_all = self.options.full

    def go_round(self) -> FollowResult:
        """Plan and copy, with the manifest locked for the length of the round.

        Raises: Interrupted when asked to stop; DatabaseError, StoreUnusable, ManifestError, ConfigError.
        """
        try:
            return self._go_round()
        finally:
            gc.collect()  # clients of stores are cycles of megabytes, which would stay for long

    def _go_round(self) -> FollowResult:
        stores, self._privacy_is_current = identities(self.context.config), False
        # an error that stops the threads of this round must not stop the next one
        with self.context.stop.part() as stop:
            return self._go_round_with(replace(self.context, stop=stop), stores)

    def _go_round_with(self, context: Context, stores: tuple[StoreIdentity, StoreIdentity]) -> FollowResult:
        with context.writing("follow", create=True) as manifest:
            self._require_same_scope(ManifestReader(manifest))
            planned, refusal = self._plan(context, manifest, stores)
            copied = CopyProgress(total=0)
            held_back = not self._knows_access(manifest)
            if not held_back:
                try_again(manifest, _RUNS_AT_MOST * context.config.copy.max_attempts, self._since(planned))
                copied = copy_pending(context, manifest, self.options.copy)
            if planned is not None:
                change = planned.total()
                new = change.added + change.revived
                _log.info("planned: %d new, %d replaced, %d gone", new, change.reopened, change.gone)
            news = status_of(ManifestReader(manifest)).news_of()
            if self.options.prune is None or planned is None or held_back:
                return FollowResult(planned, copied, news, refusal=refusal, held_back=held_back)
            try:
                pruned = _prune(context, manifest, self.options.prune, self.options.copy.rate)
            except (TooMuchGone, PlanTooOld) as refused:  # the next round may
                return FollowResult(planned, copied, news, refusal=refused)
            return FollowResult(planned, copied, news, pruned)

    def _plan(
        self, context: Context, manifest: Manifest, stores: tuple[StoreIdentity, StoreIdentity]
    ) -> tuple[PlanResult | None, PlanRefused | None]:
        """Plan, or say why not. Pending and new entries are copied even so, and the next round plans again.

        After a refusal, what is private by now is still read, unless the database is another one.
        """
        try:
            with self.context.stop.breaking_off():
                planned = plan_into(context, manifest, stores, self.options.plan, delta=not self._reads_all)
        except PlanRefused as refusal:
            _log.warning("not planned: %s", refusal.message)
            recover_claims_now(manifest)  # as a plan would have
            with suppress(PlanRefused), self.context.stop.breaking_off():  # of another database, nothing is new
                added = add_into(context, manifest, stores, self.options.plan)
                _log.info("added: %d new", added or 0)
                self._privacy_is_current = added is not None
            return None, refusal
        self._reads_all = False
        self._privacy_is_current = planned.snapshot.lag_seconds <= LAG_AT_MOST.total_seconds()
        return planned, None

    def _knows_access(self, manifest: Manifest) -> bool:
        """Whether this round, or a plan of less than an hour ago, has read which entries are private.

        What became private since would be stored for everybody.
        """
        last = ManifestReader(manifest).snapshot()
        if (
            self._privacy_is_current
            or last is None
            or time.time() - last.began_at <= _PRIVACY_KNOWN_FOR.total_seconds()
        ):
            return True
        _log.warning(
            "not copied: nobody knows what became private: the last plan is over an hour old, or of a standby that lags"
        )
        return False

    def _require_same_scope(self, report: ManifestReader) -> None:
        """Refuse options that differ from those of the last plan: they would change what is migrated by oversight."""
        last, wanted = report.snapshot(), self.options.plan.as_details()
        if last is None:
            return
        others = [name for name, value in wanted.items() if last.details.get(name) != value]
        if others:
            raise UsageError(
                tr(
                    "the last plan was made with other options: {names}",
                    names=enumerated(f"--{name.removesuffix('s').replace('_', '-')}" for name in others),
                ),
                hint=tr(
                    "use the same options here, or set them under [plan]; to change what is migrated, run "
                    "`mastosync plan` with the new options first"
                ),
            )

    def _since(self, planned: PlanResult | None) -> int:
        """Since when a file may be too new for its object to be there, in seconds since the epoch."""
        overlap = timedelta(minutes=self.context.config.follow.overlap_minutes)
        if planned is None:
            return int((datetime.now(UTC) - overlap).timestamp())
        since = planned.base.since if planned.base else planned.snapshot.taken_at - overlap
        return int(since.timestamp())
