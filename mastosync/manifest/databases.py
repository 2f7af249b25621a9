"""A manifest knows the database it was last planned from, and takes none of another instance for it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from mastosync.errors import PlanRefused
from mastosync.language import tr, trn
from mastosync.manifest.connection import Manifest
from mastosync.manifest.meta import get_meta, set_meta
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
            " in {found}; nothing was changed",
            "the manifest {path} belongs to another database: it was planned from {known}, and none of its {count}"
            " oldest accounts is in {found}; nothing was changed",
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
