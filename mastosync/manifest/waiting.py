"""Which stores a run waits for right now, for whoever looks on. It counts for nothing once that run has ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.meta import delete_meta, meta_of, set_meta
from mastosync.manifest.sqlite_errors import sound

_WAITING = "waiting"


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
            set_meta(manifest.connection, _WAITING, json.dumps([each._asdict() for each in outages]))
        else:
            delete_meta(manifest.connection, _WAITING)


def waiting_for(manifest: Manifest) -> tuple[Outage, ...]:
    """What the last run has noted. Raises: ManifestError."""
    found = meta_of(manifest, _WAITING)
    with sound(manifest.path):
        return tuple(Outage(**each) for each in json.loads(found)) if found else ()
