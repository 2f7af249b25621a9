"""The table `meta`: what a manifest remembers once, by name. Who a name belongs to says what its value means.

What changes it does so within the caller's transaction.

What a plan or verification has left of itself as JSON: read here alone, and of the types that its readers expect.
"""

from __future__ import annotations

import json
import sqlite3
from types import NoneType
from typing import TYPE_CHECKING, Any

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


_NUMBER, _TEXT, _BITS = (int,), (str,), (bool,)
_IDS = {"*": _NUMBER}
_PLAN = {
    "types?": [_TEXT],
    "only?": _TEXT,
    "limit?": (int, NoneType),
    "added?": _NUMBER,
    "accepted_gone?": _NUMBER,
    "marks_gone?": _BITS,
    "began_at?": (int, float),
    "incremental?": _BITS,
    "newest?": _IDS,
    "wanting?": [[_TEXT]],
    "highest?": _IDS,
    "survey?": {
        "lines": [{"amount": (dict,)}],
        "directories": [{"table": _TEXT, "remote": _BITS, "directories": _NUMBER}],
    },
}
_VERIFICATION = {
    "checked": _NUMBER,
    "fine": _NUMBER,
    "lost?": _NUMBER,
    "different?": _NUMBER,
    "unread?": _NUMBER,
    "unproven?": _NUMBER,
    "listed?": _BITS,
    "read?": {"objects": _NUMBER},
    "public?": {
        "anybody_can_list": _BITS,
        "asked": _NUMBER,
        "asked_private": _NUMBER,
        "exposed?": _NUMBER,
        "sample?": _NUMBER,
        "types?": [_TEXT],
        "by_kind?": [{"type": _TEXT, "asked": _NUMBER, "of?": _NUMBER, "faults": _NUMBER}],
        "faults": [{"key": _TEXT, "type?": _TEXT, "exposed?": _BITS}],
    },
}
_WANTED: dict[str, dict[str, Any]] = {"snapshots": _PLAN, "verifications": _VERIFICATION}
"""By table. Names with a question mark may be missing; `*` stands for any name. Whatever else is there stays."""


def details_of(table: str, text: str) -> dict[str, Any]:
    """Those of a line of this table. Raises: ValueError or TypeError, which say what is wrong."""
    found = json.loads(text)
    _require(found, _WANTED[table], "details")
    return dict(found)


def _require(found: Any, wanted: Any, name: str) -> None:  # noqa: ANN401 - what JSON may hold
    kinds = wanted if isinstance(wanted, tuple) else (type(wanted),)
    if not isinstance(found, kinds):
        raise TypeError(f"{name} is {found!r:.60}")
    if isinstance(found, list):
        for each in found:
            _require(each, wanted[0], name)
    elif isinstance(wanted, dict):
        of_any = wanted.get("*")
        for field in found if of_any else wanted:
            known = field.removesuffix("?")
            if known in found:
                _require(found[known], of_any or wanted[field], f"{name}.{known}")
            elif known == field:
                raise ValueError(f"{name} has no {known}")
