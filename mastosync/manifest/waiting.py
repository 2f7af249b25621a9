"""Which stores a run waits for right now, for whoever looks on. It counts for nothing once that run has ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from mastosync.manifest.complaints import sound
from mastosync.manifest.connection import Manifest, translated

_SELECT = "SELECT value FROM meta WHERE name = 'waiting'"
_REPLACE = "INSERT OR REPLACE INTO meta (name, value) VALUES ('waiting', ?)"
_DELETE = "DELETE FROM meta WHERE name = 'waiting'"


class Outage(NamedTuple):
    """A store that is waited for."""

    store: str  # for people
    since: float  # seconds since the epoch, as the following
    until: float  # it is waited for
    answer: str  # what became of the request that was sent last


def note_waiting(manifest: Manifest, outages: Sequence[Outage]) -> None:
    """Note them all, within the caller's transaction. Raises: ManifestError."""
    with translated(manifest.path):
        if outages:
            manifest.connection.execute(_REPLACE, (json.dumps([each._asdict() for each in outages]),))
        else:
            manifest.connection.execute(_DELETE)


def waiting_for(manifest: Manifest) -> tuple[Outage, ...]:
    """What the last run has noted. Raises: ManifestError."""
    with translated(manifest.path):
        found = manifest.connection.execute(_SELECT).fetchone()
    with sound(manifest.path):
        return tuple(Outage(**each) for each in json.loads(found[0])) if found else ()
