"""An older copy of the right database, a backup say, is not taken for it, nor one that is not whole yet.

What came since, and what it lacks, would be gone; and what is private would be taken for public where the rows that say
so are not there.

The newest rows may be deleted, so that lower ids alone say nothing. They do where the tables are not the very ones that
the last plan read, or are seen as they were before it. docs/design/following.md says what that cannot see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mastosync.errors import PlanRefused
from mastosync.language import tr, trn
from mastosync.manifest.connection import Manifest
from mastosync.manifest.losses import asking_for_the_right_one
from mastosync.manifest.reader import ManifestReport, SnapshotRecord
from mastosync.manifest.snapshots import described, last_transaction, remembered_database, require_same_database
from mastosync.model import DatabaseAge, DatabaseIdentity

_EXPIRING = ("backups", "imports")  # Mastodon itself removes their rows after some days, the last one too


def age_details(manifest: Manifest, age: DatabaseAge) -> dict[str, Any]:
    """For the record of a plan. Of tables that it has not looked at, what the one before knew."""
    last = ManifestReport(manifest).snapshot()
    then = {name: newest for name, newest in (_newest(last) if last else {}).items() if name not in age.empty}
    return {"tables": age.tables, "newest": {**then, **age.newest}, "wanting": sorted(map(list, age.wanting))}


def require_right(manifest: Manifest, found: DatabaseIdentity, age: DatabaseAge) -> None:
    """Raises: PlanRefused unless this is all of the database of the last plan, and no older copy; ManifestError."""
    last = ManifestReport(manifest).snapshot()
    require_whole(found, age, accepted_wanting(last))
    require_same_database(manifest, found)
    require_not_older(manifest, found, age)


def accepted_wanting(last: SnapshotRecord | None) -> Collection[tuple[str, str]]:
    """What the last plan lacked, and went on without, as somebody has accepted it (`plan --accept-gone`)."""
    return {(str(name), str(other)) for name, other in last.details.get("wanting", ())} if last else ()


def require_whole(found: DatabaseIdentity, age: DatabaseAge, accepted: Collection[tuple[str, str]] = ()) -> None:
    """Raises: PlanRefused where the rows are not there yet that say what is private; `accepted`: no more will come."""
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
    last = ManifestReport(manifest).snapshot()
    if last is None:
        return
    then, is_another = _newest(last), _is_another_state(manifest, last, found, age)
    if not is_another:
        return
    if emptied := sorted(name for name in age.empty if name in then and name not in _EXPIRING):
        raise _lacking(found, last, emptied)
    if back := {name: newest for name, newest in age.newest.items() if newest < then.get(name, newest)}:
        raise _older(found, last, back)


def _lacking(found: DatabaseIdentity, last: SnapshotRecord, emptied: list[str]) -> PlanRefused:
    return PlanRefused(
        trn(
            "{database} lacks what the last plan read ({taken_at:%F %T} UTC): {tables} had rows, and has none now",
            "{database} lacks what the last plan read ({taken_at:%F %T} UTC): {tables} had rows, and have none now",
            len(emptied),
            database=described(found),
            taken_at=last.taken_at,
            tables=", ".join(emptied),
        ),
        hint=asking_for_the_right_one(),
    )


def _older(found: DatabaseIdentity, last: SnapshotRecord, back: Mapping[str, int]) -> PlanRefused:
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


def _is_another_state(manifest: Manifest, last: SnapshotRecord, found: DatabaseIdentity, age: DatabaseAge) -> bool:
    """Whether it is another copy than the last plan read, or the same as it was before."""
    known = remembered_database(manifest)
    if known is not None and found.has_moved(known):
        return True
    is_copy = age.tables != last.details.get("tables", age.tables)
    return is_copy or last_transaction(age.snapshot_id) < last_transaction(str(last.details.get("snapshot_id")))


def _newest(plan: SnapshotRecord) -> dict[str, int]:
    """The newest ids that a plan saw; of an older version's: of rows with files."""
    return dict(plan.details.get("newest") or plan.details.get("highest") or {})
