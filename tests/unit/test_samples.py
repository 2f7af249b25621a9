"""A run leaves its pace behind, about once a minute."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mastosync.manifest import WorkQueue
from mastosync.model import EntryState, Outcome, Reason
from tests.unit.engine_kit import entry, planned


def test_a_run_leaves_how_far_it_had_come_at_its_begin_each_minute_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    with planned(tmp_path / "m.db", [entry(number) for number in range(1, 5)]) as manifest:
        queue = WorkQueue(manifest)
        queue.start_run(8)
        for claim in queue.iter_claimable():
            now += 20
            queue.commit(claims=[claim])
            state, reason = (EntryState.DONE, None) if claim.entry.id > 1 else (EntryState.FAILED, Reason.MISSING)
            queue.commit(outcomes=[Outcome(claim.entry, state, reason, size=10)])
        now += 5
        queue.end_run()
        samples = manifest.connection.execute("SELECT run, at, done, failed, skipped, bytes FROM samples").fetchall()
    assert samples == [(1, 1_000, 0, 0, 0, 0), (1, 1_060, 2, 0, 0, 20), (1, 1_085, 3, 1, 0, 30)]
