"""Writing a plan: one window of ids after the other, compared with what the manifest has.

A window is everything of one table with `after < id <= up_to`. What the snapshot has and the
manifest lacks is added; what the manifest has and the snapshot lacks is gone; the rest is not
written to. Nothing but the window is ever in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mastosync.manifest.codes import (
    DONE,
    GONE,
    KEPT_PRIVATE,
    NO_REASON,
    PENDING,
    PRIVATE_FLAG,
    SKIPPED,
    flags_of,
)
from mastosync.manifest.connection import Manifest, translated
from mastosync.manifest.identity import StoreIdentity, remember, require_same
from mastosync.model import Entry

_INSERT_ENTRY = "INSERT INTO entries (kind, id, name, fallback, flags, size) VALUES (?, ?, ?, ?, ?, ?)"
_SELECT_WINDOW = """
SELECT id, name, flags, state, reason, size FROM entries WHERE kind = ? AND id > ? AND id <= ?
"""
_SET_FLAGS = "UPDATE entries SET flags = ? WHERE kind = ? AND id = ? AND name = ?"
_SET_STATE = "UPDATE entries SET state = ?, reason = ? WHERE kind = ? AND id = ? AND name = ?"
_DROP_CLAIM = "DELETE FROM claims WHERE kind = ? AND id = ? AND name = ?"
_INSERT_SNAPSHOT = "INSERT INTO snapshots (taken_at, details) VALUES (?, ?)"

LOWEST_ID = -(2**63)
HIGHEST_ID = 2**63 - 1

Place = tuple[int, int, str]


@dataclass(slots=True)
class PlanDelta:
    """What a plan changed, in entries; bytes where the database knows them."""

    seen: int = 0
    seen_bytes: int = 0
    added: int = 0
    gone: int = 0
    revived: int = 0  # gone before, and back
    reopened: int = 0  # done or skipped, but now of another privacy

    def add(self, other: PlanDelta) -> None:
        """Sum up."""
        for name in ("seen", "seen_bytes", "added", "gone", "revived", "reopened"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class PlanWriter:
    """The hand that writes a plan. Make one with `PlanWriter.transaction`."""

    manifest: Manifest
    _first: bool = field(init=False)

    def __post_init__(self) -> None:
        self._first = not self.manifest.kinds()

    @classmethod
    @contextmanager
    def transaction(cls, manifest: Manifest, source: StoreIdentity, destination: StoreIdentity) -> Iterator[PlanWriter]:
        """Write a plan, whole or not at all.

        The first one is written with a rollback journal, where new pages are written once, and the
        manifest goes over to write-ahead logging when it stands.
        Raises: ManifestError, also if the manifest belongs to other stores.
        """
        require_same(manifest, source, destination)
        with manifest.transaction():
            remember(manifest, source, destination)
            yield cls(manifest)
        with translated(manifest.path):
            manifest.connection.execute("PRAGMA journal_mode = WAL")

    def merge(
        self, table: str, after: int, up_to: int, entries: Iterable[Entry], *, remote: bool | None = None
    ) -> PlanDelta:
        """Bring one window of one table in line with the snapshot.

        `entries` must hold everything that the snapshot has in the window; `remote` says that it
        holds remote rows only (True) or local rows only (False), and the others are left alone.
        """
        kind_id = self.manifest.kind_id
        wanted = {(kind_id(entry.kind), entry.id, entry.name): entry for entry in entries}
        delta = PlanDelta(seen=len(wanted), seen_bytes=sum(entry.size or 0 for entry in wanted.values()))
        if not self._first:
            self._compare(wanted, self._window(table, after, up_to, remote), delta)
        self._add(wanted, delta)
        return delta

    def finish(self, taken_at: datetime, details: Mapping[str, Any]) -> None:
        """Record the snapshot; from here on the manifest has a plan."""
        self.manifest.connection.execute(
            _INSERT_SNAPSHOT, (taken_at.isoformat(timespec="seconds"), json.dumps(dict(details)))
        )

    def _window(
        self, table: str, after: int, up_to: int, remote: bool | None
    ) -> Iterator[tuple[Place, int, int, int, int]]:
        for number, kind in self.manifest.kinds((table,)).items():
            if remote is None or kind.remote == remote:
                for row_id, name, *known in self.manifest.connection.execute(_SELECT_WINDOW, (number, after, up_to)):
                    yield (number, row_id, name), *known

    def _compare(
        self,
        wanted: dict[Place, Entry],
        window: Iterable[tuple[Place, int, int, int, int]],
        delta: PlanDelta,
    ) -> None:
        """Take what the manifest has out of `wanted`, and change what stands differently there."""
        flags_now: list[tuple[int, int, int, str]] = []
        states_now: list[tuple[Place, int, int, int, int, int]] = []
        for place, flags, state, reason, size in window:
            entry = wanted.pop(place, None)
            is_gone = state == SKIPPED and reason == GONE
            if entry is None:
                if not is_gone:
                    states_now.append((place, state, reason, SKIPPED, GONE, size or 0))
                    delta.gone += 1
                continue
            new_flags = flags_of(entry)
            if new_flags != flags:
                flags_now.append((new_flags, *place))
            if is_gone:
                delta.revived += 1
            elif _needs_new_acl(flags ^ new_flags, state, reason):
                delta.reopened += 1
            else:
                continue
            states_now.append((place, state, reason, PENDING, NO_REASON, size or 0))
        self.manifest.connection.executemany(_SET_FLAGS, flags_now)
        self._change_states(states_now)

    def _change_states(self, changes: list[tuple[Place, int, int, int, int, int]]) -> None:
        for place, old_state, old_reason, state, reason, size in changes:
            self.manifest.count(place[0], old_state, old_reason, -1, -size)
            self.manifest.count(place[0], state, reason, 1, size)
        execute = self.manifest.connection.executemany
        execute(_SET_STATE, [(state, reason, *place) for place, _, _, state, reason, _ in changes])
        execute(_DROP_CLAIM, [place for place, _, _, state, _, _ in changes if state == SKIPPED])

    def _add(self, wanted: dict[Place, Entry], delta: PlanDelta) -> None:
        rows = []
        for place, entry in wanted.items():
            rows.append((*place, entry.fallback, flags_of(entry), entry.size))
            self.manifest.count(place[0], PENDING, NO_REASON, 1, entry.size or 0)
        self.manifest.connection.executemany(_INSERT_ENTRY, rows)
        delta.added += len(rows)


def _needs_new_acl(changed_flags: int, state: int, reason: int) -> bool:
    """Whether what stands at the destination, or was kept away from it, is of the wrong privacy."""
    settled = state == DONE or (state == SKIPPED and reason == KEPT_PRIVATE)
    return settled and bool(changed_flags & PRIVATE_FLAG)
