"""An older copy of the right database, a backup say, is not taken for it: what came since would be gone.

The newest rows may be deleted, so that lower ids alone say nothing. They do where the tables are not the very ones that
the last plan read, or are seen as they were before it. docs/design.md says what that cannot see.
"""

from __future__ import annotations

from typing import Any

from mastosync.errors import PlanRefused
from mastosync.language import tr
from mastosync.manifest.connection import Manifest
from mastosync.manifest.databases import described, remembered_database
from mastosync.manifest.deltas import last_transaction
from mastosync.manifest.report import ManifestReport, SnapshotRecord
from mastosync.model import DatabaseAge, DatabaseIdentity


def age_details(manifest: Manifest, age: DatabaseAge) -> dict[str, Any]:
    """For the record of a plan. Of tables that it has not looked at, what the one before knew."""
    last = ManifestReport(manifest).snapshot()
    return {"tables": age.tables, "newest": {**(_newest(last) if last else {}), **age.newest}}


def require_not_older(manifest: Manifest, found: DatabaseIdentity, age: DatabaseAge) -> None:
    """Raises: PlanRefused if this is an older copy of what the last plan read; ManifestError."""
    last = ManifestReport(manifest).snapshot()
    if last is None or not _is_another_state(manifest, last, found, age):
        return
    then = _newest(last)
    back = {name: newest for name, newest in age.newest.items() if newest < then.get(name, newest)}
    if not back:
        return
    raise PlanRefused(
        tr(
            "{database} is older than what the last plan read ({taken_at:%F %T} UTC): {tables}; nothing was changed",
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
