"""`plan`: from the database to the manifest, all of it, or what has changed since the last plan."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from mastosync.app.context import identities
from mastosync.app.stores import transfer_options
from mastosync.errors import ManifestError, PlanRefused
from mastosync.language import joined, say, tr
from mastosync.manifest import (
    Manifest,
    ManifestReader,
    PlanRecord,
    PlanWriter,
    Writes,
    accepted_wanting,
    age_details,
    least_losses,
    mark_older_drops,
    remember_database,
    remembered_database,
    require_likely,
    require_not_older,
    require_right,
    require_same_database,
    require_whole,
)
from mastosync.mastodon.changes import Changes
from mastosync.mastodon.identity import age_of, identity_of
from mastosync.mastodon.standby import LAG_REMEDY, behind
from mastosync.planning.planner import DeltaTerms, DryRun, Planner, SnapshotMark, delta_base
from mastosync.planning.survey import Surveyor

if TYPE_CHECKING:
    from mastosync.app.context import Context
    from mastosync.config import Config
    from mastosync.manifest import StoreIdentity
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.model import DatabaseIdentity
    from mastosync.planning.planner import DeltaBase, PlanOptions, PlanResult

_log = logging.getLogger(__name__)


def plan(context: Context, options: PlanOptions, *, dry_run: bool = False, delta: bool = False) -> PlanResult:
    """Snapshot the database into the manifest, whole or not at all; a dry run only counts.

    `delta`: read only what has changed since the last plan, where that will do. Raises: PlanRefused; DatabaseError.
    """
    if dry_run:
        return _count(context, options)
    stores = identities(context.config)
    with context.writing("plan", create=True) as manifest:
        return plan_into(context, manifest, stores, options, delta=delta)


def _count(context: Context, options: PlanOptions) -> PlanResult:
    """Count what a plan would write."""
    with context.database() as database:
        counter, found, age = DryRun(), identity_of(database), age_of(database, options.types)
        result = Planner(database, options, context.listener, _surveyor(context.config)).run(counter)
        try:
            with Manifest.glance(context.manifest_path) as manifest:
                last = ManifestReader(manifest).snapshot() if manifest else None
                if not options.accept_gone:
                    require_whole(found, age, accepted_wanting(last))
                if manifest is not None and not options.accept_gone:
                    require_same_database(manifest, found)
                    require_not_older(manifest, found, age)
                    kinds = manifest.kinds(options.types).items() if options.limit is None else ()
                    scope = [number for number, kind in kinds if options.takes_in(kind)]
                    require_likely(least_losses(manifest, counter.seen, scope), found)
        except PlanRefused as refusal:
            result.refusal = refusal
        except ManifestError:
            pass  # the commands that need the manifest say what is wrong with it
    return result


def plan_into(
    context: Context,
    manifest: Manifest,
    stores: tuple[StoreIdentity, StoreIdentity],
    options: PlanOptions,
    *,
    delta: bool,
) -> PlanResult:
    """Plan into a manifest that is open already, in one transaction.

    `delta`: read only what has changed since the last plan, where that will do; the listener hears why it does not.
    Raises: PlanRefused if the database cannot be the right one, and that is not accepted; ManifestError; DatabaseError.
    """
    writing_plan = PlanWriter.transaction(manifest, *stores, accepts_losses=options.accept_gone)
    with writing_plan as writer, context.database() as database:
        if lag := behind(database):
            _log.warning("%s", joined([lag, say(LAG_REMEDY)]))
        found, age = identity_of(database), age_of(database, options.types)
        accepted = _Acceptance(options.accept_gone)
        with accepted.respected():
            require_right(manifest, found, age)
        mark_older_drops(manifest)
        base = _delta_base(context, database, found, manifest, options) if delta else None
        result = _planner(context, database, options, base).run(writer)
        losses = writer.losses(incremental=base is not None)
        with accepted.respected():
            require_likely(losses, found)
        writer.take_back_marks(accepted=accepted.was_needed)
        remember_database(manifest, found)
        details = _details(result, options) | age_details(manifest, age)
        details |= {"accepted_gone": losses.all.gone if options.accept_gone else 0, "marks_gone": True}
        # by the clock of Mastodon's files, which that of the database need not be
        details["began_at"] = max(database.began_at - database.lag_seconds, 0.0)
        taken_at = result.snapshot.taken_at
        writer.finish(taken_at, details, whole=PlanRecord(0, taken_at, details).whole)
        return result


def add_into(
    context: Context, manifest: Manifest, stores: tuple[StoreIdentity, StoreIdentity], options: PlanOptions
) -> int | None:
    """After `plan_into` was refused: add the entries of rows that came or changed since, and hide others.

    What is private by now is marked so, whatever else was refused; no other entry changes, and it makes no plan that
    anything could go on from. Of a copy of the last plan's database all rows are read, and nothing is added.
    Returns: how many were added; None: it is such a copy, or a standby far behind. Raises: PlanRefused if it is of
    another instance, or an older copy: then nothing is known of who may read what by now; ManifestError; DatabaseError.
    """
    with PlanWriter.transaction(manifest, *stores) as writer, context.database() as database:
        found, age = identity_of(database), age_of(database, options.types)
        require_right(manifest, found, age)
        base = _delta_base(context, database, found, manifest, options, however_old=True)
        writer.writes = Writes.NEW_AND_HIDDEN if base else Writes.HIDDEN
        added = _planner(context, database, options, base).run(writer).total().added
        return added if base and not behind(database) else None


def _planner(context: Context, database: MastodonDatabase, options: PlanOptions, base: DeltaBase | None) -> Planner:
    reader = Changes(database, base.since, base.highest) if base else database
    return Planner(reader, options, context.listener, _surveyor(context.config), base)


@dataclass(slots=True)
class _Acceptance:
    """Whether the user accepts that a plan goes on, whatever is gone."""

    given: bool
    was_needed: bool = False

    @contextmanager
    def respected(self) -> Iterator[None]:
        """Go on where a plan would be refused, if that is accepted. Raises: PlanRefused otherwise."""
        try:
            yield
        except PlanRefused as refusal:
            if not self.given:
                raise PlanRefused(
                    tr("{refusal}; nothing was changed", refusal=refusal.message), hint=refusal.hint
                ) from refusal
            self.was_needed = True


def _details(result: PlanResult, options: PlanOptions) -> dict[str, Any]:
    """What the manifest records of the snapshot."""
    snapshot, base, total = result.snapshot, result.base, result.total()
    details = {
        "database": snapshot.database,
        "server_version": snapshot.server_version,
        "snapshot_id": snapshot.snapshot_id,
        **options.as_details(),
        "incremental": base is not None,
        "since": base.since.isoformat() if base else None,
        "highest": result.highest,
        "seen": total.seen,
        "added": total.added,
        "gone": total.gone,
        "excluded": total.excluded,
    }
    if base is None and options.limit is None:  # else it has seen a part
        details["survey"] = result.survey.as_json()
    return details


def _surveyor(config: Config) -> Callable[[float], Surveyor]:
    """Makes the surveyor of a snapshot, from the time at which it was taken."""
    sizes = transfer_options(config)
    return partial(Surveyor, multipart_threshold=sizes.multipart_threshold, part_size=sizes.part_size)


def _delta_base(
    context: Context,
    database: MastodonDatabase,
    found: DatabaseIdentity,
    manifest: Manifest,
    options: PlanOptions,
    *,
    however_old: bool = False,
) -> DeltaBase | None:
    """Where an incremental plan starts; None: everything has to be read, and the listener is told why."""
    follow, snapshot = context.config.follow, database.snapshot(options.types)
    full_every = timedelta.max if however_old else timedelta(hours=follow.full_every_hours)
    terms = DeltaTerms(timedelta(minutes=follow.overlap_minutes), full_every)
    known = remembered_database(manifest)
    mark = SnapshotMark(snapshot.database, snapshot.snapshot_id, known is not None and found.has_moved(known))
    report = ManifestReader(manifest)
    base, why = delta_base(report, options.as_details(), mark, snapshot.taken_at, terms)
    if why and not however_old:
        context.listener.message(tr("reading all of the database: {why}", why=why))
    return base
