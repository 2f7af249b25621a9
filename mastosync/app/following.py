"""One round of `follow`: what is new is planned and copied."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mastosync.app.same_store import nothing_removed, stores_to_write
from mastosync.app.stores import identities, writing
from mastosync.copying.copier import CopyOptions
from mastosync.errors import PlanRefused, UsageError
from mastosync.findings.deleted import PLAN_AT_MOST_OLD
from mastosync.language import tr
from mastosync.manifest import (
    Manifest,
    ManifestReport,
    in_one_bucket,
    take_over,
    try_again,
    warn_of_gap,
)
from mastosync.progress import CopyProgress
from mastosync.pruning import PruneOptions, Pruner, PruneResult, TooMuchGone
from mastosync.status import status_of

if TYPE_CHECKING:
    from mastosync.app import App
    from mastosync.errors import MastosyncError
    from mastosync.manifest import StoreIdentity
    from mastosync.planning.planner import PlanOptions, PlanResult
    from mastosync.runtime.retry import StoreAccess

_log = logging.getLogger(__name__)

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


def prune(app: App, manifest: Manifest, options: PruneOptions, *, source_gone: bool = False) -> PruneResult:
    """See `App.prune`, for whoever holds the manifest."""
    if in_one_bucket(manifest):
        raise nothing_removed()

    @contextmanager
    def opened() -> Iterator[StoreAccess]:
        pace = CopyOptions(workers=options.workers)
        with stores_to_write(
            *(app.config, manifest, pace, app.stop, ("destination",)),
            some_arrived=True,
            removing=True,
            source_gone=source_gone,
        ) as (store_access,):
            yield store_access

    return Pruner(manifest, opened, app.config.destination.key_prefix, options, app.stop).run()


@dataclass(slots=True)
class Following:
    """Rounds of one `follow`."""

    app: App
    options: FollowOptions
    _reads_all: bool = False
    _access_read: bool = False  # of all that the manifest has, in this round

    def __post_init__(self) -> None:
        self._reads_all = self.options.full

    def go_round(self) -> FollowResult:
        """Plan and copy, with the manifest held from the beginning to the end and for no longer.

        Raises: Interrupted when asked to stop; DatabaseError, StoreUnusable, ManifestError, ConfigError.
        """
        try:
            return self._go_round()
        finally:
            gc.collect()  # clients of stores are made of cycles, megabytes each time, which would lie there for long

    def _go_round(self) -> FollowResult:
        stores, self._access_read = identities(self.app.config), False
        # what ends a round by an error ends its threads, and not the rounds after it
        with self.app.stop.part() as stop:
            return self._go_round_with(replace(self.app, stop=stop), stores)

    def _go_round_with(self, app: App, stores: tuple[StoreIdentity, StoreIdentity]) -> FollowResult:
        with writing(app.config, app.manifest_path, "follow"), Manifest.create(app.manifest_path) as manifest:
            warn_of_gap(manifest.gap)
            self._require_same_scope(ManifestReport(manifest))
            planned, refusal = self._plan(app, manifest, stores)
            copied = CopyProgress(total=0)
            held_back = not self._knows_access(manifest)
            if not held_back:
                try_again(manifest, _RUNS_AT_MOST * app.config.copy.max_attempts, self._since(planned))
                copied = app.copy_from(manifest, self.options.copy)
            if planned is not None:
                change = planned.total()
                new = change.added + change.revived
                _log.info("planned: %d new, %d replaced, %d gone", new, change.reopened, change.gone)
            news = status_of(ManifestReport(manifest)).news_of()
            if self.options.prune is None or planned is None:
                return FollowResult(planned, copied, news, refusal=refusal, held_back=held_back)
            try:
                return FollowResult(planned, copied, news, prune(app, manifest, self.options.prune))
            except TooMuchGone as too_much:
                return FollowResult(planned, copied, news, refusal=too_much)

    def _plan(
        self, app: App, manifest: Manifest, stores: tuple[StoreIdentity, StoreIdentity]
    ) -> tuple[PlanResult | None, PlanRefused | None]:
        """Plan, or tell why not: what is pending, and what is new, is copied, and the next round plans again.

        What is private by now is known even so, unless the database is another one.
        """
        try:
            with self.app.stop.breaking_off():
                planned = app.plan_into(manifest, stores, self.options.plan, delta=not self._reads_all)
        except PlanRefused as refusal:
            _log.warning("not planned: %s", refusal.message)
            take_over(manifest)  # as a plan would have
            with suppress(PlanRefused), self.app.stop.breaking_off():  # of another database, nothing is new
                added = app.add_into(manifest, stores, self.options.plan)
                _log.info("added: %d new", added or 0)
                self._access_read = added is not None
            return None, refusal
        self._reads_all, self._access_read = False, True
        return planned, None

    def _knows_access(self, manifest: Manifest) -> bool:
        """Whether it is known who may read what is pending: by this round, or by a plan of short ago.

        What became private since would be stored for everybody.
        """
        last = ManifestReport(manifest).snapshot()
        if self._access_read or last is None or time.time() - last.began_at <= PLAN_AT_MOST_OLD.total_seconds():
            return True
        _log.warning(
            "not copied: the last plan is over an hour old; until the next one nobody knows what became private"
        )
        return False

    def _require_same_scope(self, report: ManifestReport) -> None:
        """Refuse to widen or narrow by oversight what is migrated: an option of `plan` would be forgotten here."""
        last, wanted = report.snapshot(), self.options.plan.as_details()
        if last is None:
            return
        others = [name for name, value in wanted.items() if last.details.get(name) != value]
        if others:
            raise UsageError(
                tr(
                    "the last plan was made with other options: {names}",
                    names=", ".join(f"--{name.removesuffix('s').replace('_', '-')}" for name in others),
                ),
                hint=tr(
                    "use the same options here, or set them under [plan]; to change what is migrated, run "
                    "`mastosync plan` with the new options first"
                ),
            )

    def _since(self, planned: PlanResult | None) -> int:
        """From when on a file may be so new that its object was not there yet, in seconds since the epoch."""
        overlap = timedelta(minutes=self.app.config.follow.overlap_minutes)
        if planned is None:
            return int((datetime.now(UTC) - overlap).timestamp())
        since = planned.base.since if planned.base else planned.snapshot.taken_at - overlap
        return int(since.timestamp())
