"""A manifest knows the database it was last planned from, and takes none of another instance for it.

Whether a plan may read only what has changed since the last one, and from where on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from mastosync.errors import PlanRefused
from mastosync.language import tr, trn
from mastosync.manifest.connection import Manifest
from mastosync.manifest.meta import get_meta, set_meta
from mastosync.manifest.reader import ManifestReport
from mastosync.manifest.sqlite_errors import sound
from mastosync.model import DatabaseIdentity

_DATABASE = "database"


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


def delta_base(
    report: ManifestReport, options: Mapping[str, Any], snapshot: SnapshotMark, now: datetime, terms: DeltaTerms
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


def last_transaction(snapshot_id: str) -> int:
    """The first transaction that a snapshot does not see, nor any later one: `xmin:xmax:list` has it in the middle."""
    middle = snapshot_id.split(":")[1:2]
    return int(middle[0]) if middle and middle[0].isdigit() else 0
