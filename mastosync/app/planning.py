"""From the database to the manifest: all of it, or what has changed since the last plan."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from mastosync.app.stores import transfer_options
from mastosync.engine.planner import DryRun, Planner
from mastosync.engine.survey import Surveyor
from mastosync.language import tr
from mastosync.manifest import DeltaTerms, ManifestReport, SnapshotMark, delta_base
from mastosync.mastodon.changes import Changes

if TYPE_CHECKING:
    from mastosync.config import Config
    from mastosync.engine.planner import PlanOptions, PlanResult
    from mastosync.manifest import DeltaBase, PlanWriter
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.progress import ProgressListener


def count(config: Config, database: MastodonDatabase, options: PlanOptions, listener: ProgressListener) -> PlanResult:
    """What a plan would hold. Raises: DatabaseError, here and below."""
    return Planner(database, options, listener, _surveyor(config)).run(DryRun())


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
    Raises: ManifestError.
    """
    base = _delta_base(config, database, writer, options, listener) if delta else None
    reader = Changes(database, base.since, base.highest) if base else database
    result = Planner(reader, options, listener, _surveyor(config), base).run(writer)
    snapshot, total = result.snapshot, result.total()
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
    writer.finish(snapshot.taken_at, details)
    return result


def _surveyor(config: Config) -> Callable[[float], Surveyor]:
    """What adds up what a plan sees, of a snapshot taken at some time."""
    sizes = transfer_options(config)
    return partial(Surveyor, multipart_threshold=sizes.multipart_threshold, part_size=sizes.part_size)


def _delta_base(
    config: Config, database: MastodonDatabase, writer: PlanWriter, options: PlanOptions, listener: ProgressListener
) -> DeltaBase | None:
    """Where to go on from; None, and the listener knows why: everything has to be read."""
    follow, snapshot = config.follow, database.snapshot(options.types)
    terms = DeltaTerms(timedelta(minutes=follow.overlap_minutes), timedelta(hours=follow.full_every_hours))
    mark = SnapshotMark(snapshot.database, snapshot.snapshot_id)
    report = ManifestReport(writer.manifest)
    base, why = delta_base(report, options.as_details(), mark, snapshot.taken_at, terms)
    if why:
        listener.message(tr("reading all of the database: {why}", why=why))
    return base
