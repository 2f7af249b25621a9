"""Planning: from one snapshot of the database to the manifest, table by table, window by window.

A plan may leave out files of other servers that Mastodon would fetch again by itself (`marked`), and may read only what
has changed since the last one (`delta_base`). docs/design/planning.md and docs/design/following.md have the reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mastosync.language import tr
from mastosync.manifest import HIGHEST_ID, LOWEST_ID, ManifestReader, PlanDelta, last_transaction
from mastosync.mastodon.paperclip import groups_of
from mastosync.model import CACHE_TABLES, TABLES, EntryGroup, Kind
from mastosync.planning.survey import DAY_SECONDS, Survey, Surveyor
from mastosync.progress import PlanProgress, ProgressListener, shown
from mastosync.runtime.memory import collecting_rarely

if TYPE_CHECKING:
    from mastosync.errors import PlanRefused
    from mastosync.mastodon.database import RowBatch, SnapshotInfo
    from mastosync.mastodon.queries import Scope


class SnapshotReader(Protocol):
    """What a plan needs of the database."""

    def snapshot(self, tables: tuple[str, ...]) -> SnapshotInfo:
        """Describe the snapshot."""
        ...

    def estimated_rows(self, table: str) -> int:
        """About how many rows a table has."""
        ...

    def iter_rows(self, table: str, *, limit: int | None, only: Scope) -> Iterator[RowBatch]:
        """Stream a table by ascending id, in windows that say all of what they span."""
        ...


class EntrySink(Protocol):
    """Where a plan goes: the manifest, or a counter for a dry run."""

    def merge(
        self, table: str, after: int, up_to: int, groups: list[EntryGroup], *, remote: bool | None = None
    ) -> PlanDelta:
        """Take in everything the snapshot has of a table with ids in (`after`, `up_to`]."""
        ...

    def merge_rows(
        self, table: str, ids: Sequence[int], groups: list[EntryGroup], *, remote: bool | None = None
    ) -> PlanDelta:
        """Take in everything the snapshot has of these rows of a table, by ascending ids."""
        ...


class DryRun:
    """Counts what a plan would hold, and writes nothing."""

    def __init__(self) -> None:
        self.seen: Counter[Kind] = Counter()

    def merge_rows(  # noqa: D102 - see EntrySink, here and below
        self, table: str, ids: Sequence[int], groups: list[EntryGroup], *, remote: bool | None = None
    ) -> PlanDelta:
        return self.merge(table, ids[0] - 1, ids[-1], groups, remote=remote)

    def merge(  # noqa: D102
        self, table: str, after: int, up_to: int, groups: list[EntryGroup], *, remote: bool | None = None
    ) -> PlanDelta:
        seen_bytes = sum(size or 0 for group in groups for size in group.sizes or ())
        excluded = sum(len(group.ids) for group in groups if group.excluded)
        for group in groups:
            self.seen[group.kind] += len(group.ids)
        return PlanDelta(seen=sum(len(group.ids) for group in groups), seen_bytes=seen_bytes, excluded=excluded)


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What to plan."""

    types: tuple[str, ...] = TABLES
    only: Scope = "all"
    limit: int | None = None  # rows of each table; None: all
    max_age: int | None = None  # days: what is older of the files that are a cache is left out; None: nothing is
    accept_gone: bool = False  # however much of what was planned is gone, and whatever database it is

    def takes_in(self, kind: Kind) -> bool:
        """Whether it looks at entries of a kind."""
        return kind.table in self.types and self.only in ("all", "remote" if kind.remote else "local")

    def as_details(self) -> dict[str, Any]:
        """For the record of the snapshot."""
        return {"types": list(self.types), "only": self.only, "limit": self.limit, "max_age": self.max_age}


@dataclass(frozen=True, slots=True)
class DeltaTerms:
    """When a plan may be incremental."""

    overlap: timedelta = timedelta(minutes=15)  # read again: a change is seen when its transaction has ended
    full_every: timedelta = timedelta(hours=24)  # the last plan that read everything is not older


@dataclass(frozen=True, slots=True)
class DeltaBase:
    """What an incremental plan goes on from."""

    since: datetime  # rows that changed from then on have to be read
    highest: Mapping[str, int]  # id that was seen, by table; all above have to be read


class SnapshotMark(NamedTuple):
    """By what is known whether a database is the one that was read before, and not as it was before that."""

    database: str
    snapshot_id: str  # in PostgreSQL's notation
    moved: bool = False  # of the same name, on another server than the last plan's


@dataclass(slots=True)
class PlanResult:
    """What a plan found and changed."""

    snapshot: SnapshotInfo
    by_table: dict[str, PlanDelta] = field(default_factory=dict)
    base: DeltaBase | None = None  # where it began, if it is incremental
    highest: dict[str, int] = field(default_factory=dict)  # id that was seen, by table
    survey: Survey = field(default_factory=lambda: Survey((), ()))
    refusal: PlanRefused | None = None  # of a dry run: with which a plan would certainly end

    def as_json(self) -> dict[str, Any]:
        """The names are part of the interface."""
        snapshot = self.snapshot
        return {
            "snapshot": {
                "database": snapshot.database,
                "server_version": snapshot.server_version,
                "snapshot_id": snapshot.snapshot_id,
                "taken_at": snapshot.taken_at.isoformat(),
            },
            "by_type": {table: asdict(delta) for table, delta in self.by_table.items()},
            "total": asdict(self.total()),
            "survey": self.survey.as_json(),
            "refusal": self.refusal and self.refusal.message,
        }

    def total(self) -> PlanDelta:
        """All tables together."""
        total = PlanDelta()
        for delta in self.by_table.values():
            total.add(delta)
        return total


class _Run(NamedTuple):
    """What one plan adds to, table by table."""

    sink: EntrySink
    result: PlanResult
    surveyor: Surveyor
    since: float | None  # what is older is left out, where that may be
    progress: PlanProgress


@dataclass(frozen=True, slots=True)
class Planner:
    """Reads a snapshot into a sink."""

    database: SnapshotReader
    options: PlanOptions
    listener: ProgressListener
    surveyor: Callable[[float], Surveyor]  # of a snapshot taken at this time
    base: DeltaBase | None = None  # the database gives only what has changed since

    def run(self, sink: EntrySink) -> PlanResult:
        """Plan every table that was asked for.

        Raises: DatabaseError, ManifestError; after any error the sink must forget everything.
        """
        result = PlanResult(self.database.snapshot(self.options.types), base=self.base)
        result.highest |= self.base.highest if self.base else {}
        estimate = sum(self.database.estimated_rows(table) for table in self.options.types)
        progress = PlanProgress(total=estimate)
        taken_at = result.snapshot.taken_at.timestamp()
        since = None if self.options.max_age is None else taken_at - self.options.max_age * DAY_SECONDS
        run = _Run(sink, result, self.surveyor(taken_at), since, progress)
        with shown(progress, self.listener), collecting_rarely():
            for table in self.options.types:
                progress.table = table
                result.by_table[table] = self._plan_table(table, run)
            result.survey = run.surveyor.survey()
        return result

    def _plan_table(self, table: str, run: _Run) -> PlanDelta:
        """Windows follow each other without a gap, so what lies between two batches is gone; unless it is a delta."""
        sink, result, surveyor, since, progress = run
        highest = result.highest
        remote = {"all": None, "local": False, "remote": True}[self.options.only]
        total = PlanDelta()
        after = LOWEST_ID
        for batch in self.database.iter_rows(table, limit=self.options.limit, only=self.options.only):
            groups = _groups_of(batch, since)
            surveyor.take(groups)
            after = LOWEST_ID if batch.after_id is None else batch.after_id
            if batch.rows_read is None:
                total.add(sink.merge(table, after, batch.last_id, groups, remote=remote))
            else:
                total.add(sink.merge_rows(table, batch.rows_read, groups, remote=remote))
            after = batch.last_id
            highest[table] = max(after, highest.get(table, after))
            progress.rows += max((len(media.ids) for _, media in batch.media), default=0)
            progress.entries += sum(len(group.ids) for group in groups)
            self.listener.advanced(progress)
        if self.options.limit is None and self.base is None:  # else nothing is said of the ids after the last one
            total.add(sink.merge(table, after, HIGHEST_ID, [], remote=remote))
        return total


def delta_base(
    report: ManifestReader, options: Mapping[str, Any], snapshot: SnapshotMark, now: datetime, terms: DeltaTerms
) -> tuple[DeltaBase | None, str]:
    """From where on to read, or None and the reason why everything has to be read.

    `options` and `snapshot` are those of the plan to be made, `now` is by the clock of its server. What was planned
    with other options says nothing of what these take in. Raises: ManifestError.
    """
    if options.get("limit") is not None:
        return None, tr("with --limit, not every row is planned")
    last = whole = None
    for plan in report.iter_snapshots():
        if "highest" not in plan.details or not _has(plan.details, options):
            break
        last = last or plan
        if not plan.incremental:
            whole = plan
            break
    if last is None or whole is None:
        return None, tr("no plan with these options has read all of it yet")
    if now - whole.taken_at >= terms.full_every:
        return None, tr("the last plan that read all of it is too old")
    if last.taken_at > now or not _follows(snapshot, last.details):
        return None, tr("it is another database, or was restored to an earlier state")
    return DeltaBase(last.taken_at - terms.overlap, dict(last.details["highest"])), ""


def _has(details: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    return all(details.get(name) == value for name, value in options.items())


def _follows(snapshot: SnapshotMark, earlier: Mapping[str, Any]) -> bool:
    """Whether a snapshot is of the same database, and not from before."""
    same = snapshot.database == earlier.get("database") and not snapshot.moved
    return same and last_transaction(snapshot.snapshot_id) >= last_transaction(str(earlier.get("snapshot_id")))


def _groups_of(batch: RowBatch, since: float | None) -> list[EntryGroup]:
    """The entries of a batch; what is older than `since`, where that may be left out, is marked."""
    groups = [group for spec, media in batch.media for group in groups_of(spec, media)]
    return groups if since is None else [each for group in groups for each in marked(group, since)]


def marked(group: EntryGroup, since: float) -> Iterator[EntryGroup]:
    """Mark entries of the cache that came before `since` (seconds since the epoch) as excluded; yield all entries.

    Not excluded are files of this server, avatars, headers and emojis of others, and files of unknown age.
    """
    if not (group.kind.remote and group.kind.table in CACHE_TABLES and group.updated):
        yield group
        return
    old = [came is not None and came < since for came in group.updated]
    if any(old):
        yield _of(group, old)._replace(excluded=True)
    if not all(old):
        yield _of(group, [not each for each in old])


def _of(group: EntryGroup, chosen: Sequence[bool]) -> EntryGroup:
    """Some entries of a group."""
    if all(chosen):
        return group
    return group._replace(
        ids=tuple(compress(group.ids, chosen)),
        names=tuple(compress(group.names, chosen)),
        fallbacks=group.fallbacks and tuple(compress(group.fallbacks, chosen)),
        sizes=group.sizes and tuple(compress(group.sizes, chosen)),
        updated=group.updated and tuple(compress(group.updated, chosen)),
    )
