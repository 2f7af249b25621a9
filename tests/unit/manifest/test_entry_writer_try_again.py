"""What later rounds of `follow` try again, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mastosync.manifest import Checker, Manifest, ManifestReader, WorkQueue, try_again
from mastosync.model import Entry, EntryState, Outcome, Reason
from tests.support.entries import entry
from tests.support.manifests import planned


def fail(manifest: Manifest, reason: Reason, attempts: int = 1) -> None:
    queue = WorkQueue(manifest)
    claims = list(queue.iter_claimable())
    queue.commit(claims=claims)
    state = EntryState.SKIPPED if reason is Reason.OPTIONAL_MISSING else EntryState.FAILED
    queue.commit(outcomes=[Outcome(claim.entry, state, reason, attempts=attempts) for claim in claims])


def known(row_id: int = 1, updated: int | None = None) -> Entry:
    return entry(row_id, updated=updated)._replace(size=7)


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        (Reason.NETWORK, 2),
        (Reason.SERVER, 2),
        (Reason.THROTTLED, 2),
        (Reason.DENIED, 0),
        (Reason.CORRUPT, 0),
        (Reason.MISSING, 0),
        (Reason.OPTIONAL_MISSING, 0),
    ],
)
def test_what_failed_in_a_way_that_may_pass_is_pending_again(tmp_path: Path, reason: Reason, again: int) -> None:
    with planned(tmp_path / "m.db", [known(1), known(2)]) as manifest:
        fail(manifest, reason)
        assert try_again(manifest, attempts=5, since=1_000) == again
        assert WorkQueue(manifest).pending() == again
        assert len(list(WorkQueue(manifest).iter_claimable())) == again
        assert not Checker(manifest, False, lambda _: None, lambda: False).run().faults


def test_but_not_for_ever(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [known()]) as manifest:
        fail(manifest, Reason.NETWORK, attempts=4)
        assert try_again(manifest, attempts=5, since=0) == 1
        fail(manifest, Reason.NETWORK, attempts=4)
        assert try_again(manifest, attempts=5, since=0) == 0


def test_a_missing_object_is_looked_for_again_while_its_file_is_new(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [known(1, updated=999), known(2, updated=1_000), known(3)]) as manifest:
        fail(manifest, Reason.MISSING)
        assert try_again(manifest, attempts=5, since=1_000) == 1
        (record,) = ManifestReader(manifest).iter_records((EntryState.PENDING,))
        assert record.entry.id == 2
