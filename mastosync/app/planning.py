"""From the database to the manifest: all of it, or what has changed since the last plan.

On what terms a move is judged before it begins: limits and prices, as configuration and providers tell them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mastosync.app.stores import copies_by_itself, transfer_options
from mastosync.config import Config, FilesystemConfig, Role, Timetable, preset_of
from mastosync.errors import ManifestError, PlanRefused
from mastosync.language import tr
from mastosync.manifest import (
    Manifest,
    ManifestReport,
    SnapshotRecord,
    Writes,
    age_details,
    least_losses,
    mark_older_losses,
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
from mastosync.planning.forecast import Bound, Outlook, Tariff, Terms, outlook
from mastosync.planning.planner import DeltaTerms, DryRun, Planner, SnapshotMark, delta_base
from mastosync.planning.survey import Survey, Surveyor

if TYPE_CHECKING:
    from pathlib import Path

    from mastosync.config import Config
    from mastosync.manifest import PlanWriter
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.model import DatabaseIdentity
    from mastosync.planning.planner import DeltaBase, PlanOptions, PlanResult
    from mastosync.progress import ProgressListener


def count(
    config: Config, database: MastodonDatabase, manifest_path: Path, options: PlanOptions, listener: ProgressListener
) -> PlanResult:
    """What a plan would hold. Raises: DatabaseError, here and below."""
    counter, found, age = DryRun(), identity_of(database), age_of(database, options.types)
    result = Planner(database, options, listener, _surveyor(config)).run(counter)
    try:
        if not options.accept_gone:
            require_whole(found, age)
        with Manifest.glance(manifest_path) as manifest:
            if manifest is not None and not options.accept_gone:
                require_same_database(manifest, found)
                require_not_older(manifest, found, age)
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
    began_at = time.time()  # by the clock of Mastodon's files, which that of the database need not be
    found, age = identity_of(database), age_of(database, options.types)
    word = _Word(options.accept_gone)
    with word.heeded():
        require_right(writer.manifest, found, age)
    mark_older_losses(writer.manifest)
    base = _delta_base(config, database, found, writer, options, listener) if delta else None
    reader = Changes(database, base.since, base.highest) if base else database
    result = Planner(reader, options, listener, _surveyor(config), base).run(writer)
    losses = writer.losses(incremental=base is not None)
    with word.heeded():
        require_likely(losses, found)
    writer.settle_losses(accepted=word.was_needed)
    remember_database(writer.manifest, found)
    details = _details(result, options) | age_details(writer.manifest, age)
    details |= {"accepted_gone": losses.all.gone if options.accept_gone else 0, "marks_gone": True}
    details["began_at"] = began_at
    taken_at = result.snapshot.taken_at
    writer.finish(taken_at, details, whole=SnapshotRecord(0, taken_at, details).whole)
    return result


@dataclass(slots=True)
class _Word:
    """The user's, that a plan goes on whatever is gone."""

    given: bool
    was_needed: bool = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Go on where a plan would be refused, if so told. Raises: PlanRefused otherwise."""
        try:
            yield
        except PlanRefused:
            if not self.given:
                raise
            self.was_needed = True


def add_new(
    config: Config,
    database: MastodonDatabase,
    writer: PlanWriter,
    options: PlanOptions,
    listener: ProgressListener,
) -> int | None:
    """After a plan was refused: add the entries of rows that came or changed since the last one, and hide others.

    What is private by now is marked so, whatever else was refused; no other entry changes, and it makes no plan that
    anything could go on from. Of a copy of the last plan's database all rows are read, and nothing is added.
    Returns: how many were added; None: it is such a copy. Raises: PlanRefused if it is of another instance, or an older
    copy: then nothing is known of who may read what by now; ManifestError.
    """
    found, age = identity_of(database), age_of(database, options.types)
    require_right(writer.manifest, found, age)
    base = _delta_base(config, database, found, writer, options, listener, however_old=True)
    writer.writes = Writes.NEW_AND_HIDDEN if base else Writes.HIDDEN
    reader = Changes(database, base.since, base.highest) if base else database
    added = Planner(reader, options, listener, _surveyor(config), base).run(writer).total().added
    return added if base else None


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
    *,
    however_old: bool = False,
) -> DeltaBase | None:
    """Where to go on from; None, and the listener knows why: everything has to be read."""
    follow, snapshot = config.follow, database.snapshot(options.types)
    full_every = timedelta.max if however_old else timedelta(hours=follow.full_every_hours)
    terms = DeltaTerms(timedelta(minutes=follow.overlap_minutes), full_every)
    known = remembered_database(writer.manifest)
    mark = SnapshotMark(snapshot.database, snapshot.snapshot_id, known is not None and found.has_moved(known))
    report = ManifestReport(writer.manifest)
    base, why = delta_base(report, options.as_details(), mark, snapshot.taken_at, terms)
    if why and not however_old:
        listener.message(tr("reading all of the database: {why}", why=why))
    return base


_ASSUMED_RATE = 100  # objects a second, where nothing is known at all
_WEEK_MINUTES = 7 * 24 * 60
_AWS = ("amazonaws.com", "amazonaws.com.cn")


def outlook_of(
    config: Config,
    survey: Survey,
    *,
    rate: int | None = None,
    bwlimit: Timetable | None = None,
    measured: float | None = None,
) -> Outlook:
    """What a move will take. `rate` and `bwlimit` override the configuration; `measured`: objects a second so far."""
    bounds = [*_rates(config, rate), *_bandwidth(bwlimit or config.copy.bwlimit)]
    if measured:
        bounds.append(
            Bound(tr("the pace of the last copy, {rate} objects/s", rate=f"{measured:,.0f}"), "objects", measured)
        )
    if not bounds:
        name = tr("assumed: {rate} objects/s, as no limit is known", rate=_ASSUMED_RATE)
        bounds.append(Bound(name, "objects", _ASSUMED_RATE))
    within = copies_by_itself(config)
    return outlook(survey, Terms(bounds, _tariff(config, "source"), _tariff(config, "destination"), within))


def measured_rate(manifest: Path) -> float | None:
    """Objects a second in the last copy by this manifest; None if there is none, or it has to be brought up to date."""
    from mastosync.status import status_of

    try:
        with Manifest.glance(manifest) as opened:
            return None if opened is None else status_of(ManifestReport(opened)).rate
    except ManifestError:
        return None  # whoever needs the manifest says what is wrong with it


def _rates(config: Config, rate: int | None) -> Iterator[Bound]:
    """The most requests a second to each end, or to both where they are one endpoint."""
    asked, published = rate or config.copy.rate, config.published_rates()
    roles: tuple[Role, Role] = ("source", "destination")
    buckets = [role for role in roles if not isinstance(config.store(role), FilesystemConfig)]
    shared = len(buckets) == 2 and config.source.endpoint_url == config.destination.endpoint_url
    for role, limit in zip(roles, published, strict=True):
        if role not in buckets or not (most := asked or limit):
            continue
        end = tr("both ends") if shared else {"source": tr("the source"), "destination": tr("the destination")}[role]
        shown = f"{most:,}"
        if asked:
            name = tr("--rate {rate}, at {end}", rate=shown, end=end)
        else:
            name = tr("{rate} requests/s at {end}, as its provider publishes", rate=shown, end=end)
        yield Bound(name, "both" if shared else role, most)
        if shared:
            return


def _bandwidth(timetable: Timetable) -> Iterator[Bound]:
    """What a timetable lets through in a week; nothing if it limits some hours only."""
    starts, limits = [start for start, _ in timetable.changes], [limit for _, limit in timetable.changes]
    if not limits or None in limits:
        return
    ends = [*starts[1:], _WEEK_MINUTES + starts[0]]
    passed = sum((end - start) * (limit or 0) for start, end, limit in zip(starts, ends, limits, strict=True))
    yield Bound(f"--bwlimit {timetable}", "bytes", passed / _WEEK_MINUTES)


def _tariff(config: Config, role: Role) -> Tariff | None:
    """What one end charges, if that is given or published."""
    store, prices = config.store(role), config.prices
    if isinstance(store, FilesystemConfig):
        return None
    if given := prices.given(role):
        return Tariff(prices.currency, tr("by the prices in [prices]"), **given)
    preset = preset_of(getattr(prices, role), store.known.domains if store.endpoint_url else _AWS)
    if preset is None:
        return None
    origin = tr("by list prices of {date} from {source}; check them", date=preset.as_of, source=preset.source)
    return Tariff(
        preset.currency,
        f"{origin} ({preset.note})" if preset.note else origin,
        egress_per_gb=preset.egress_per_gb,
        egress_free_gb=preset.egress_free_gb,
        ingress_per_gb=0.0,
        get_per_1000=preset.get_per_1000,
        put_per_1000=preset.put_per_1000,
        list_per_1000=preset.list_per_1000,
        storage_per_gb_month=preset.storage_per_gb_month,
    )
