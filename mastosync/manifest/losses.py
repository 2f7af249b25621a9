"""How much of what was planned a plan may lose: a wrong database, and one that was restored by half, lack most of it.

What was not copied yet counts as what is done: what is gone is never copied, and nobody would ask for it. What is of
this server hardly ever leaves by the hundred, so where enough of it was planned, it alone tells. Files of other servers
are a cache, which admins clear. docs/design/planning.md has these numbers in words.

What plans have lost by `--accept-gone`: the old store is kept until it is back, or somebody says it was deleted.

Each such entry is marked (`lifecycle.gone`), so that no later plan of the same wrong database clears anything. An older
version kept no marks, and only the number of entries in the record of its plan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mastosync.errors import PlanRefused
from mastosync.language import tr
from mastosync.manifest.codes import DONE, EXCLUDED, GONE, MISSING, OPTIONAL_MISSING, PENDING
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.entry_writer import forget_lost, mark_lost
from mastosync.manifest.reader import ManifestReport
from mastosync.manifest.snapshots import described
from mastosync.model import CACHE_TABLES, DatabaseIdentity, Kind

ALWAYS = 10  # entries: so few say nothing
OWN_PERCENT = 5  # of what is of this server
OWN_ENOUGH = 20  # entries of it: if they are still there, it is the right database, whatever of other servers is gone
OWN_FEW, OWN_FEW_PERCENT = 100, 25  # or so few entries, if they are no more than this
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


@dataclass(slots=True)
class LostRows:
    """So many entries that were planned, and that the source may have, are gone."""

    gone: int = 0
    planned: int = 0  # before, whatever had become of them

    def is_likely(self, percent: int, few: int = 0, few_percent: int = 0) -> bool:
        """Whether it is no more than a few, or than this share."""
        share = 100 * self.gone / max(self.planned, 1)
        return self.gone <= ALWAYS or share <= percent or (self.gone <= few and share <= few_percent)

    @property
    def is_likely_of_own(self) -> bool:
        """Whether files of this server leave like that."""
        return self.is_likely(OWN_PERCENT, OWN_FEW, OWN_FEW_PERCENT)


@dataclass(slots=True)
class Losses:
    """What a plan has lost, of what it has looked at."""

    own: LostRows = field(default_factory=LostRows)
    profiles: LostRows = field(default_factory=LostRows)
    cache: LostRows = field(default_factory=LostRows)
    emptied: dict[str, int] = field(default_factory=dict)  # tables, and how many entries of this server each has lost
    alone: dict[str, LostRows] = field(default_factory=dict)  # of this server, by table: too much, and not all

    @classmethod
    def of(cls, counted: Iterable[tuple[Kind, int, int]], came: Collection[str] = ()) -> Losses:
        """Of entries that are gone, and that were planned, by kind. `came`: tables with new ones of this server."""
        losses, tables = cls(), defaultdict[str, LostRows](LostRows)
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
    def all(self) -> LostRows:
        """Together."""
        each = (self.own, self.profiles, self.cache)
        return LostRows(sum(loss.gone for loss in each), sum(loss.planned for loss in each))

    @property
    def are_likely(self) -> bool:
        """Whether an instance loses as much as that."""
        if self.emptied or self.alone:
            return False
        if self.own.planned >= OWN_ENOUGH and 100 * self.own.gone <= OWN_PERCENT * self.own.planned:
            return True
        return (
            self.own.is_likely_of_own and self.profiles.is_likely(PROFILE_PERCENT) and self.all.is_likely(ALL_PERCENT)
        )


def wanted_by_kind(manifest: Manifest) -> dict[int, int]:
    """How many entries of each kind are wanted, and may be at the source, of the counters alone."""
    with translated(manifest.path):
        return dict(manifest.connection.execute(_WANTED).fetchall())


def least_losses(manifest: Manifest, seen: Mapping[Kind, int], kinds: Iterable[int]) -> Losses:
    """What a plan that has seen so many entries of each kind would lose at least, of these kinds."""
    wanted = wanted_by_kind(manifest)
    counted = ((manifest.kind(number), wanted.get(number, 0)) for number in kinds)
    came = {kind.table for kind, objects in seen.items() if objects and not kind.remote}
    return Losses.of(((kind, max(0, objects - seen.get(kind, 0)), objects) for kind, objects in counted), came)


def marked_losses(manifest: Manifest) -> Losses:
    """What plans have lost by `--accept-gone`, and none has seen since, beside what is wanted now.

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
    """Raises: PlanRefused that says how much would be gone."""
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
        hint=asking_for_the_right_one(),
    )


def _tables_told(losses: Losses) -> Iterator[str]:
    for table, lost in losses.emptied.items():
        yield tr(", among them all {count:,} of {table}", count=lost, table=table)
    for table, loss in losses.alone.items():
        yield tr(", among them {count:,} of {planned:,} of {table}", count=loss.gone, planned=loss.planned, table=table)


def asking_for_the_right_one() -> str:
    """What to do where a database lacks much."""
    return tr(
        "is this the right database, and is all of it restored? If so, and that much was deleted:"
        " `mastosync plan --accept-gone`"
    )


_NOTE_MARKS = """
UPDATE snapshots SET details = json_set(details, '$.marks_gone', json('true'))
WHERE json_extract(details, '$.accepted_gone') > 0
"""


def count_lost(manifest: Manifest) -> int:
    """How many entries are lost so. Raises: ManifestError."""
    return marked_losses(manifest).all.gone or _unmarked(manifest)


def mark_older_losses(manifest: Manifest) -> None:
    """Mark, within a transaction, what is gone by a plan of an older version, if that counted until now."""
    if _unmarked(manifest):
        mark_lost(manifest)
        manifest.connection.execute(_NOTE_MARKS)


def accept_lost(manifest: Manifest) -> None:
    """Record that all of it was deleted. Raises: ManifestError."""
    with manifest.transaction():
        mark_older_losses(manifest)
        forget_lost(manifest)


def _unmarked(manifest: Manifest) -> int:
    """How many entries plans of an older version have lost since the last whole plan, that one included."""
    lost = 0
    for plan in ManifestReport(manifest).iter_snapshots():
        if plan.details.get("marks_gone"):
            break
        lost += plan.accepted_gone
        if plan.whole:
            break
    return lost
