"""From the database to the manifest: all of it, or what has changed since the last plan."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from mastosync.app.stores import transfer_options
from mastosync.engine.planner import DryRun, Planner
from mastosync.engine.survey import Surveyor
from mastosync.errors import ManifestError, PlanRefused
from mastosync.language import tr
from mastosync.manifest import (
    DeltaTerms,
    Manifest,
    ManifestReport,
    SnapshotMark,
    delta_base,
    least_losses,
    remember_database,
    remembered_database,
    require_likely,
    require_same_database,
)
from mastosync.mastodon.changes import Changes
from mastosync.mastodon.identity import identity_of

if TYPE_CHECKING:
    from pathlib import Path

    from mastosync.config import Config
    from mastosync.engine.planner import PlanOptions, PlanResult
    from mastosync.manifest import DeltaBase, PlanWriter
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.model import DatabaseIdentity
    from mastosync.progress import ProgressListener


def count(
    config: Config, database: MastodonDatabase, manifest_path: Path, options: PlanOptions, listener: ProgressListener
) -> PlanResult:
    """What a plan would hold. Raises: DatabaseError, here and below."""
    counter, found = DryRun(), identity_of(database)
    result = Planner(database, options, listener, _surveyor(config)).run(counter)
    try:
        with Manifest.glance(manifest_path) as manifest:
            if manifest is not None and not options.accept_gone:
                require_same_database(manifest, found)
                kinds = manifest.kinds(options.types).items() if options.limit is None else ()
                scope = [number for number, kind in kinds if options.takes_in(kind)]
                require_likely(least_losses(manifest, counter.seen, scope), found)
    except PlanRefused as refusal:
        result.refusal = refusal
    except ManifestError:
        pass  # whoever needs the manifest says what is wrong with it
    return result


def plan(
    config: Config,
    database: MastodonDatabase,
    writer: PlanWriter,
    options: PlanOptions,
    listener: ProgressListener,
    *,
    delta: bool,
) -> PlanResult:
    """Bring the manifest in line with the database, in the writer's transaction.

    `delta`: read only what has changed since the last plan, where that will do; the listener hears why it does not.
    Raises: PlanRefused if the database cannot be the right one, and that is not accepted; ManifestError.
    """
    found = identity_of(database)
    if not options.accept_gone:
        require_same_database(writer.manifest, found)
    base = _delta_base(config, database, found, writer, options, listener) if delta else None
    reader = Changes(database, base.since, base.highest) if base else database
    result = Planner(reader, options, listener, _surveyor(config), base).run(writer)
    losses = writer.losses(incremental=base is not None)
    if not options.accept_gone:
        require_likely(losses, found)
    remember_database(writer.manifest, found)
    accepted = losses.all.gone if options.accept_gone else 0
    writer.finish(result.snapshot.taken_at, {**_details(result, options), "accepted_gone": accepted})
    return result


def _details(result: PlanResult, options: PlanOptions) -> dict[str, Any]:
    """For the record of the snapshot."""
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
    """What adds up what a plan sees, of a snapshot taken at some time."""
    sizes = transfer_options(config)
    return partial(Surveyor, multipart_threshold=sizes.multipart_threshold, part_size=sizes.part_size)


def _delta_base(
    config: Config,
    database: MastodonDatabase,
    found: DatabaseIdentity,
    writer: PlanWriter,
    options: PlanOptions,
    listener: ProgressListener,
) -> DeltaBase | None:
    """Where to go on from; None, and the listener knows why: everything has to be read."""
    follow, snapshot = config.follow, database.snapshot(options.types)
    terms = DeltaTerms(timedelta(minutes=follow.overlap_minutes), timedelta(hours=follow.full_every_hours))
    known = remembered_database(writer.manifest)
    mark = SnapshotMark(snapshot.database, snapshot.snapshot_id, known is not None and found.has_moved(known))
    report = ManifestReport(writer.manifest)
    base, why = delta_base(report, options.as_details(), mark, snapshot.taken_at, terms)
    if why:
        listener.message(tr("reading all of the database: {why}", why=why))
    return base
