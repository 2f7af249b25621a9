"""The table `meta`: what a manifest remembers once, by name. Who a name belongs to says what its value means.

What changes it does so within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from mastosync.manifest.sqlite_errors import translated

if TYPE_CHECKING:
    from mastosync.manifest.connection import Manifest

_SELECT = "SELECT value FROM meta WHERE name = ?"
_REPLACE = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
_DELETE = "DELETE FROM meta WHERE name = ?"
_DELETE_THIS = "DELETE FROM meta WHERE name = ? AND value = ?"

LAST_END = "last_end"
"""Number and exit code of the last run of `copy` that came to its end."""


def get_meta(connection: sqlite3.Connection, name: str) -> str | None:
    """The value of a name; None: it has none. Raises: sqlite3.Error, here and below."""
    row = connection.execute(_SELECT, (name,)).fetchone()
    return str(row[0]) if row else None


def set_meta(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Remember a value, in the place of the one before."""
    connection.execute(_REPLACE, (name, value))


def delete_meta(connection: sqlite3.Connection, name: str, value: str | None = None) -> None:
    """Forget the value of a name; with a `value`, only if it is that."""
    if value is None:
        connection.execute(_DELETE, (name,))
    else:
        connection.execute(_DELETE_THIS, (name, value))


def meta_of(manifest: Manifest, name: str) -> str | None:
    """The value of a name, outside of a transaction, too. Raises: ManifestError."""
    with translated(manifest.path):
        return get_meta(manifest.connection, name)
