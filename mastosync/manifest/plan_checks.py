"""What refuses a plan: the database of another instance, an older or unfinished copy of the right one, and losses.

A manifest knows the database it was last planned from. Lower ids alone do not prove an older copy, as the newest rows
may have been deleted. They prove it if the tables are not the ones that the last plan read, or are in a state from
before that plan. A plan of a wrong or half-restored database would lose most entries. Entries that were not copied yet
count, too: what is gone is never copied. Rows of this server are rarely deleted by the hundred, so if enough of them
were planned, they alone decide. Files of other servers are a cache, which admins clear.

What a plan has lost by `--accept-gone` is marked (`lifecycle.gone`), and the old store is kept until those rows are
back or `accept --gone` says that they were deleted. Older versions kept no marks, only their number in the record of
the plan. docs/design/planning.md and docs/design/following.md have the reasons and numbers in words.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mastosync.errors import PlanRefused
from mastosync.language import tr, trn
from mastosync.manifest.connection import Manifest
from mastosync.manifest.entry_writer import forget_dropped, mark_dropped
from mastosync.manifest.history import PlanRecord, get_meta, set_meta
from mastosync.manifest.reader import ManifestReader
from mastosync.manifest.rows import DONE, EXCLUDED, GONE, MISSING, OPTIONAL_MISSING, PENDING
from mastosync.manifest.sqlite_errors import sound, translated
from mastosync.model import CACHE_TABLES, DatabaseAge, DatabaseIdentity, Kind

_DATABASE = "database"
_EXPIRING = ("backups", "imports")  # Mastodon itself removes their rows after some days, the last one too

ALWAYS = 10  # entries: a loss of this many says nothing
OWN_PERCENT = 5  # of what is of this server
OWN_ENOUGH = 20  # entries of it: if they are still there, it is the right database, whatever of other servers is gone
OWN_FEW, OWN_FEW_PERCENT = 100, 25  # or this many entries, if they are at most this percentage
PROFILE_PERCENT = 50  # of avatars, headers and emojis of other servers
ALL_PERCENT = 95  # of everything
NEVER_EMPTIED = ("media_attachments", "accounts", "custom_emojis")
"""Tables in which something of this server is left: backups and imports expire, and files of the site are few."""
WEIGHED_ALONE = ("media_attachments", "accounts")
"""Of these, those that lose no more than this server does: many files of one hide what the other has lost. Emojis come
and leave by the pack."""

_WANTED = f"""
SELECT kind, sum(objects) FROM counts WHERE objects > 0
AND (state IN ({PENDING}, {DONE}) OR reason NOT IN ({MISSING}, {OPTIONAL_MISSING}, {EXCLUDED}, {GONE})) GROUP BY kind
"""  # as `lifecycle.Known.may_be_at_source` has it
_MARKED = f"""
SELECT kind, count(*) FROM entries INDEXED BY entries_accepted
WHERE accepted IS NOT NULL AND accepted = {GONE} GROUP BY kind
"""
_NOTE_MARKS = """
UPDATE snapshots SET details = json_set(details, '$.marks_gone', json('true'))
WHERE json_extract(details, '$.accepted_gone') > 0
"""


def remembered_database(manifest: Manifest) -> DatabaseIdentity | None:
    """The database of the last plan; None if an older version made it. Raises: ManifestError."""
    with sound(manifest.path):
        told = get_meta(manifest.connection, _DATABASE)
        if told is None:
            return None
        value = json.loads(told)
        return DatabaseIdentity(**{**value, "accounts": tuple(value["accounts"])})


def remember_database(manifest: Manifest, found: DatabaseIdentity) -> None:
    """Bind the manifest to a database, within the caller's transaction. One without accounts leaves them known."""
    known = remembered_database(manifest)
    if known is not None and not found.accounts:
        found = replace(found, accounts=known.accounts)
    set_meta(manifest.connection, _DATABASE, json.dumps(asdict(found)))


def require_same_database(manifest: Manifest, found: DatabaseIdentity) -> None:
    """Refuse the database of another instance.

    One that was moved, or restored elsewhere, is the same. Raises: PlanRefused that names both; ManifestError.
    """
    known = remembered_database(manifest)
    if known is None or not found.is_other(known):
        return
    raise PlanRefused(
        trn(
            "the manifest {path} belongs to another database: it was planned from {known}, whose oldest account is not"
            " in {found}",
            "the manifest {path} belongs to another database: it was planned from {known}, and none of its {count}"
            " oldest accounts is in {found}",
            len(known.accounts),
            path=manifest.path,
            known=described(known),
            found=described(found),
        ),
        hint=tr(
            "is this the right database? Name the other one in `[pg.database]`, or plan another instance with"
            " --manifest and a new file. If this one is to take its place: `mastosync plan --accept-gone`"
        ),
    )


def described(database: DatabaseIdentity) -> str:
    """For people: its name, and where it is."""
    return tr('database "{name}" at {address}', name=database.name, address=database.address)


def age_details(manifest: Manifest, age: DatabaseAge) -> dict[str, Any]:
    """For the record of a plan. Of tables that it has not looked at, what the one before knew."""
    last = ManifestReader(manifest).snapshot()
    then = {name: newest for name, newest in (_newest(last) if last else {}).items() if name not in age.empty}
    looked_at = {*age.newest, *age.empty}
    accepted = [pair for pair in accepted_wanting(last) if pair[:1] and pair[0] not in looked_at]
    wanting = sorted(map(list, {*accepted, *age.wanting}))
    return {"tables": age.tables, "newest": {**then, **age.newest}, "wanting": wanting}


def require_right(manifest: Manifest, found: DatabaseIdentity, age: DatabaseAge) -> None:
    """Raises: PlanRefused unless this is all of the database of the last plan, and no older copy; ManifestError."""
    last = ManifestReader(manifest).snapshot()
    require_whole(found, age, accepted_wanting(last))
    require_same_database(manifest, found)
    require_not_older(manifest, found, age)


def accepted_wanting(last: PlanRecord | None) -> Collection[tuple[str, ...]]:
    """What the last plan lacked, and went on without because of `plan --accept-gone`."""
    return {tuple(map(str, pair)) for pair in last.details.get("wanting", ())} if last else ()


def require_whole(found: DatabaseIdentity, age: DatabaseAge, accepted: Collection[tuple[str, ...]] = ()) -> None:
    """Raises: PlanRefused if rows that say what is private are not there yet; `accepted`: no more will come."""
    for name, other in age.wanting:
        if (name, other) in accepted:
            continue
        raise PlanRefused(
            tr(
                "{database} is not whole: rows of {table} refer to rows of {other}, and {other} has none, or is not"
                " there. They would say what is private",
                database=described(found),
                table=name,
                other=other,
            ),
            hint=tr(
                "is this the right database, and is a restore still at work? Plan when it has ended. If nothing more"
                " will come: `mastosync plan --accept-gone`; what {other} had made private is public then",
                other=other,
            ),
        )


def require_not_older(manifest: Manifest, found: DatabaseIdentity, age: DatabaseAge) -> None:
    """Raises: PlanRefused if this is an older copy of what the last plan read, or lacks a table; ManifestError."""
    last = ManifestReader(manifest).snapshot()
    if last is None:
        return
    then, is_another = _newest(last), _is_another_state(manifest, last, found, age)
    if not is_another:
        return
    if emptied := sorted(name for name in age.empty if name in then and name not in _EXPIRING):
        raise _lacking(found, last, emptied)
    if back := {name: newest for name, newest in age.newest.items() if newest < then.get(name, newest)}:
        raise _older(found, last, back)


def _lacking(found: DatabaseIdentity, last: PlanRecord, emptied: list[str]) -> PlanRefused:
    return PlanRefused(
        trn(
            "{database} lacks what the last plan read ({taken_at:%F %T} UTC): {tables} had rows, and has none now",
            "{database} lacks what the last plan read ({taken_at:%F %T} UTC): {tables} had rows, and have none now",
            len(emptied),
            database=described(found),
            taken_at=last.taken_at,
            tables=", ".join(emptied),
        ),
        hint=wrong_database_hint(),
    )


def _older(found: DatabaseIdentity, last: PlanRecord, back: Mapping[str, int]) -> PlanRefused:
    then = _newest(last)
    return PlanRefused(
        tr(
            "{database} is older than what the last plan read ({taken_at:%F %T} UTC): {tables}",
            database=described(found),
            taken_at=last.taken_at,
            tables=", ".join(
                tr("the newest id of {table} was {then}, and is {now}", table=name, then=then[name], now=newest)
                for name, newest in back.items()
            ),
        ),
        hint=tr(
            "is it a copy, a backup, or a standby that lags? Name the right database in `[pg.database]`. If this one is"
            " to take its place: `mastosync plan --accept-gone`"
        ),
    )


def _is_another_state(manifest: Manifest, last: PlanRecord, found: DatabaseIdentity, age: DatabaseAge) -> bool:
    """Whether it is another copy than the last plan read, or the same as it was before."""
    known = remembered_database(manifest)
    if known is not None and found.has_moved(known):
        return True
    is_copy = age.tables != last.details.get("tables", age.tables)
    return is_copy or last_transaction(age.snapshot_id) < last_transaction(str(last.details.get("snapshot_id")))


def _newest(plan: PlanRecord) -> dict[str, int]:
    """The newest ids that a plan saw; of an older version's: of rows with files."""
    return dict(plan.details.get("newest") or plan.details.get("highest") or {})


def last_transaction(snapshot_id: str) -> int:
    """The first transaction that a snapshot does not see, nor any later one: `xmin:xmax:list` has it in the middle."""
    middle = snapshot_id.split(":")[1:2]
    return int(middle[0]) if middle and middle[0].isdigit() else 0


@dataclass(slots=True)
class DroppedCount:
    """How many entries that were planned, and that the source may have, are gone."""

    gone: int = 0
    planned: int = 0  # before, whatever had become of them

    def is_likely(self, percent: int, few: int = 0, few_percent: int = 0) -> bool:
        """Whether at most a few entries are gone, or at most this share."""
        share = 100 * self.gone / max(self.planned, 1)
        return self.gone <= ALWAYS or share <= percent or (self.gone <= few and share <= few_percent)

    @property
    def is_likely_of_own(self) -> bool:
        """Whether a server usually loses as many of its own files."""
        return self.is_likely(OWN_PERCENT, OWN_FEW, OWN_FEW_PERCENT)


@dataclass(slots=True)
class Losses:
    """What a plan has lost, of what it has looked at."""

    own: DroppedCount = field(default_factory=DroppedCount)
    profiles: DroppedCount = field(default_factory=DroppedCount)
    cache: DroppedCount = field(default_factory=DroppedCount)
    emptied: dict[str, int] = field(default_factory=dict)  # tables, and how many entries of this server each has lost
    alone: dict[str, DroppedCount] = field(default_factory=dict)  # of this server, by table: too much, and not all

    @classmethod
    def of(cls, counted: Iterable[tuple[Kind, int, int]], came: Collection[str] = ()) -> Losses:
        """Losses by `counted`: kind, entries gone, entries planned. `came`: tables with new entries of this server."""
        losses, tables = cls(), defaultdict[str, DroppedCount](DroppedCount)
        for kind, gone, planned in counted:
            loss = losses.cache if kind.table in CACHE_TABLES else losses.profiles
            for each in (loss,) if kind.remote else (losses.own, tables[kind.table]):
                each.gone += gone
                each.planned += planned
        gone_by_table = ((table, tables[table]) for table in NEVER_EMPTIED if table not in came)
        emptied = ((table, loss.gone) for table, loss in gone_by_table if loss.planned <= loss.gone)
        losses.emptied = {table: gone for table, gone in emptied if gone > ALWAYS}
        weighed = ((table, tables[table]) for table in WEIGHED_ALONE if table not in losses.emptied)
        losses.alone = {table: loss for table, loss in weighed if not loss.is_likely_of_own}
        return losses

    @property
    def all(self) -> DroppedCount:
        """All three groups added up."""
        each = (self.own, self.profiles, self.cache)
        return DroppedCount(sum(loss.gone for loss in each), sum(loss.planned for loss in each))

    @property
    def are_likely(self) -> bool:
        """Whether an instance usually loses as much."""
        if self.emptied or self.alone:
            return False
        if self.own.planned >= OWN_ENOUGH and 100 * self.own.gone <= OWN_PERCENT * self.own.planned:
            return True
        return (
            self.own.is_likely_of_own and self.profiles.is_likely(PROFILE_PERCENT) and self.all.is_likely(ALL_PERCENT)
        )


def wanted_by_kind(manifest: Manifest) -> dict[int, int]:
    """How many entries of each kind are wanted and may be at the source, from the counters alone."""
    with translated(manifest.path):
        return dict(manifest.connection.execute(_WANTED).fetchall())


def least_losses(manifest: Manifest, seen: Mapping[Kind, int], kinds: Iterable[int]) -> Losses:
    """The least that a plan would lose of these kinds; `seen`: how many entries of each kind it has seen."""
    wanted = wanted_by_kind(manifest)
    counted = ((manifest.kind(number), wanted.get(number, 0)) for number in kinds)
    came = {kind.table for kind, objects in seen.items() if objects and not kind.remote}
    return Losses.of(((kind, max(0, objects - seen.get(kind, 0)), objects) for kind, objects in counted), came)


def dropped_entries(manifest: Manifest) -> Losses:
    """What plans have lost by `--accept-gone` and no plan has seen since, compared with what is wanted now.

    Within a transaction the counters have to be written first. Raises: ManifestError.
    """
    with translated(manifest.path):
        marked = dict(manifest.connection.execute(_MARKED).fetchall())
        wanted = dict(manifest.connection.execute(_WANTED).fetchall()) if marked else {}
    return Losses.of(
        (manifest.kind(number), marked.get(number, 0), marked.get(number, 0) + wanted.get(number, 0))
        for number in marked.keys() | wanted.keys()
    )


def require_likely(losses: Losses, database: DatabaseIdentity) -> None:
    """Raises: PlanRefused, which says how much would be gone."""
    if losses.are_likely:
        return
    raise PlanRefused(
        tr(
            "{gone:,} of {planned:,} entries that were planned are not in {database}, {own_gone:,} of {own_planned:,}"
            " of this server{emptied}: they would be gone",
            gone=losses.all.gone,
            planned=losses.all.planned,
            own_gone=losses.own.gone,
            own_planned=losses.own.planned,
            database=described(database),
            emptied="".join(_tables_told(losses)),
        ),
        hint=wrong_database_hint(),
    )


def _tables_told(losses: Losses) -> Iterator[str]:
    for table, lost in losses.emptied.items():
        yield tr(", among them all {count:,} of {table}", count=lost, table=table)
    for table, loss in losses.alone.items():
        yield tr(", among them {count:,} of {planned:,} of {table}", count=loss.gone, planned=loss.planned, table=table)


def wrong_database_hint() -> str:
    """What to do where a database lacks much."""
    return tr(
        "is this the right database, and is all of it restored? If so, and that much was deleted:"
        " `mastosync plan --accept-gone`"
    )


def count_dropped(manifest: Manifest) -> int:
    """How many entries plans have lost by `--accept-gone`. Raises: ManifestError."""
    return dropped_entries(manifest).all.gone or _unmarked(manifest)


def mark_older_drops(manifest: Manifest) -> None:
    """Mark, within a transaction, what is gone by a plan of an older version, if that counted until now."""
    if _unmarked(manifest):
        mark_dropped(manifest)
        manifest.connection.execute(_NOTE_MARKS)


def accept_dropped(manifest: Manifest) -> None:
    """Record that all of it was deleted. Raises: ManifestError."""
    with manifest.transaction():
        mark_older_drops(manifest)
        forget_dropped(manifest)


def _unmarked(manifest: Manifest) -> int:
    """How many entries plans of an older version have lost since the last whole plan, that one included."""
    lost = 0
    for plan in ManifestReader(manifest).iter_snapshots():
        if plan.details.get("marks_gone"):
            break
        lost += plan.accepted_gone
        if plan.whole:
            break
    return lost
