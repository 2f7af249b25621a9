"""Rows of Mastodon's database that belong to entries of the manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.manifest import Manifest, require_right
from mastosync.mastodon.catalog import spec_of
from mastosync.mastodon.identity import age_of, identity_of
from mastosync.model import TABLES

if TYPE_CHECKING:
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.model import Record, RemoteFile

Databases = Callable[[], AbstractContextManager["MastodonDatabase"]]


def files_of(databases: Databases, records: Sequence[Record]) -> dict[tuple[str, str, int], RemoteFile]:
    """Files as their rows have them now, by table, attachment and id; rows that are gone are not there.

    The database is open for a moment only: what is done with the answer may take hours. Raises: DatabaseError.
    """
    ids: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in records:
        kind = record.entry.kind
        ids[kind.table, kind.attachment].append(record.entry.id)
    if not ids:
        return {}
    with databases() as database:
        return {
            (table, attachment, row_id): found
            for (table, attachment), wanted in ids.items()
            for row_id, found in database.remote_files(spec_of(table, attachment), wanted).items()
        }


@contextmanager
def right_database(manifest_path: Path, databases: Databases) -> Iterator[MastodonDatabase]:
    """Mastodon's database. Another one, or half of it, would say that everybody may read what is private.

    Each connection is asked, from any thread: a restore may be at work since the last one. Raises: PlanRefused;
    DatabaseError; ManifestError.
    """
    with databases() as database:
        found, age = identity_of(database), age_of(database, TABLES)
        with Manifest.open(manifest_path) as manifest:
            require_right(manifest, found, age)
        yield database
