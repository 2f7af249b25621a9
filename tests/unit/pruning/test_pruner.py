"""What may be removed at the destination, and all that keeps it from being removed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastosync.cli.commands.prune import render_pruning
from mastosync.errors import (
    Interrupted,
    ManifestError,
    NetworkFailure,
    ObjectDenied,
    ObjectMissing,
    ObjectRejected,
    StoreUnusable,
)
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Approach,
    Manifest,
    ManifestReader,
    PlanWriter,
    WorkQueue,
    accept_dropped,
    count_removable,
    record_findings,
)
from mastosync.mastodon.paperclip import canonical_key, id_partition, ids_of_key
from mastosync.model import Entry, EntryState, Origin, Outcome, Presence, Reason
from mastosync.planning.planner import PlanOptions
from mastosync.pruning import FEW, PruneOptions, Pruner, PruneResult, TooMuchGone
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.stop import StopSignal
from tests.support.entries import LOCAL, approach_of, entry, grouped
from tests.support.manifests import DESTINATION, SOURCE
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session

ROOT = Path(__file__).parents[3] / "mastosync"
WHOLE = PlanOptions().as_details()
NOW_REMOTE = LOCAL._replace(remote=True)  # of a schema that knows no cache/: the key is the same
APPLY = PruneOptions(apply=True, workers=4)


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    with Manifest.create(tmp_path / "m.db") as manifest:
        yield manifest


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("new")


def plan(
    manifest: Manifest, entries: Sequence[Entry], hours_ago: float = 0, *, accept: bool = False, **details: object
) -> None:
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION, accepts_losses=accept) as writer:
        writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(entries))
        writer.take_back_marks(accepted=accept)
        writer.finish(datetime.now(UTC) - timedelta(hours=hours_ago), {**WHOLE, **details})


def copy_all(manifest: Manifest, store: MemoryStore) -> None:
    queue = WorkQueue(manifest)
    claims = list(queue.iter_claimable())
    for claim in claims:
        store.put(canonical_key(claim.entry, "p"), b"data")
    queue.commit(outcomes=[Outcome(claim.entry, EntryState.DONE, size=4, md5=b"\1" * 16) for claim in claims])


def prune(
    manifest: Manifest, store: MemoryStore, options: PruneOptions = APPLY, stop: StopSignal | None = None
) -> PruneResult:
    opened: list[str] = []

    def open_store_session() -> AbstractContextManager[StoreSession]:
        opened.append("destination")
        return nullcontext(store_session(store))

    result = Pruner(manifest, open_store_session, "p", options, stop or StopSignal()).run()
    assert len(opened) == bool(result.removed + result.failed), "a store is asked if there is something to remove"
    return result


def counts(result: PruneResult) -> tuple[int, int, int, int]:
    return result.found, result.kept, result.removed, result.failed


def test_what_is_gone_is_removed_once_and_what_stays_stays(manifest: Manifest, store: MemoryStore) -> None:
    plan(manifest, [entry(1), entry(2), entry(3)])
    copy_all(manifest, store)
    plan(manifest, [entry(2)])
    assert counts(prune(manifest, store, PruneOptions())) == (2, 0, 0, 0)
    assert len(store.objects) == 3
    assert counts(prune(manifest, store)) == (2, 0, 2, 0)
    assert list(store.objects) == [canonical_key(entry(2), "p")]
    assert counts(prune(manifest, store)) == (0, 0, 0, 0)


def test_what_was_adopted_stays_until_somebody_says_that_it_may_go(manifest: Manifest, store: MemoryStore) -> None:
    """After the switch it may lie nowhere else."""
    uploaded = [entry(row) for row in range(2, 20)]
    plan(manifest, [entry(1), *uploaded])
    copy_all(manifest, store)
    for record in list(ManifestReader(manifest).iter_records()):
        if record.entry.id > 1:
            found = Outcome(record.entry, EntryState.DONE, size=4, md5=b"\1" * 16, origin=Origin.ADOPTED)
            record_findings(manifest, [(record, found)])
    plan(manifest, [])
    dry = prune(manifest, store, PruneOptions())
    assert (dry.found, dry.adopted) == (19, 18)
    assert "prune --adopted" in render_pruning(dry, adopted=False)
    assert [prune(manifest, store).removed for _ in range(2)] == [1, 0]
    assert len(store.objects) == 18
    with pytest.raises(TooMuchGone):
        prune(manifest, store, PruneOptions(apply=True, adopted=True))
    assert prune(manifest, store, PruneOptions(apply=True, at_most=18, adopted=True)).removed == 18


@pytest.mark.parametrize("adopted", [False, True])
def test_what_a_plan_lost_stays_until_somebody_says_that_it_was_deleted(
    manifest: Manifest, store: MemoryStore, adopted: bool
) -> None:
    """After the switch it may lie at the destination alone."""
    alive, ended, wrong = [entry(row) for row in range(30)], entry(40), entry(12345678901234599)
    same_key = entry(12345678901234567)
    plan(manifest, [*alive, ended, same_key])
    copy_all(manifest, store)
    for record in list(ManifestReader(manifest).iter_records()):
        if adopted and record.entry.id < 30:
            found = Outcome(record.entry, EntryState.DONE, size=4, md5=b"\1" * 16, origin=Origin.ADOPTED)
            record_findings(manifest, [(record, found)])
    plan(manifest, [*alive, wrong])
    copy_all(manifest, store)
    plan(manifest, [], accept=True, marks_gone=True)
    everything = PruneOptions(apply=True, at_most=100, adopted=adopted)
    assert count_removable(manifest) == (2, 8, 0, 31)
    result = prune(manifest, store, everything)
    assert (*counts(result), result.lost) == (2, 1, 1, 0, 31), "one has the key of what stays"
    assert "31 objects stay: a plan lost them by --accept-gone" in render_pruning(result, adopted=adopted)
    assert len(store.objects) == 31
    accept_dropped(manifest)
    assert prune(manifest, store, everything).removed == 32


def test_what_a_plan_lost_stays_where_only_the_destination_may_have_it(manifest: Manifest, store: MemoryStore) -> None:
    """Its file was replaced after the switch, so that the source has none of this name."""
    for updated in (5, 7):
        plan(manifest, [entry(1, updated=updated), entry(2, updated=updated)])
        if updated == 5:
            copy_all(manifest, store)
    queue = WorkQueue(manifest)
    queue.commit(
        outcomes=[Outcome(each.entry, EntryState.FAILED, Reason.MISSING) for each in list(queue.iter_claimable())]
    )
    plan(manifest, [], accept=True, marks_gone=True)
    assert count_removable(manifest) == (0, 0, 0, 2)


def test_what_an_older_version_lost_stays_too(manifest: Manifest, store: MemoryStore) -> None:
    """It kept no marks, and its plan may be of short ago."""
    plan(manifest, [entry(row) for row in range(12)])
    copy_all(manifest, store)
    plan(manifest, [], accepted_gone=12)
    for options in (PruneOptions(), PruneOptions(apply=True, at_most=12)):
        result = prune(manifest, store, options)
        assert (*counts(result), result.lost) == (0, 0, 0, 0, 12)
    assert len(store.objects) == 12


def test_what_was_removed_and_comes_back_is_copied_as_if_it_had_never_been_there(
    manifest: Manifest, store: MemoryStore
) -> None:
    plan(manifest, [entry(1)])
    copy_all(manifest, store)
    plan(manifest, [])
    prune(manifest, store)
    plan(manifest, [entry(1)])
    (claim,) = WorkQueue(manifest).iter_claimable()
    assert approach_of(claim) is Approach.WRITE


def test_what_never_arrived_is_not_asked_for(manifest: Manifest, store: MemoryStore) -> None:
    plan(manifest, [entry(1)])
    plan(manifest, [])
    assert counts(prune(manifest, store)) == (0, 0, 0, 0)
    assert store.count("delete") == 0


@pytest.mark.parametrize(
    ("gone", "alive"),
    [
        (entry(12345678901234567), entry(12345678901234599)),  # the last digits are in no key
        (entry(-99), entry(-98)),
    ],
)
def test_a_key_that_another_entry_has_stays(manifest: Manifest, store: MemoryStore, gone: Entry, alive: Entry) -> None:
    assert canonical_key(gone, "p") == canonical_key(alive, "p")
    plan(manifest, [gone])
    copy_all(manifest, store)
    plan(manifest, [alive])
    assert counts(prune(manifest, store)) == (1, 1, 0, 0)
    assert store.objects
    plan(manifest, [])
    assert prune(manifest, store).removed == 1


def test_a_row_that_became_remote_has_the_line_it_had(manifest: Manifest, store: MemoryStore) -> None:
    """Its key is the same, so that nothing is gone."""
    plan(manifest, [entry(7)])
    copy_all(manifest, store)
    plan(manifest, [entry(7, kind=NOW_REMOTE)])
    assert counts(prune(manifest, store)) == (0, 0, 0, 0)
    assert store.objects
    plan(manifest, [])
    assert prune(manifest, store).removed == 1


@given(row_id=st.integers(-(10**8) + 1, 2**63 - 1))
def test_ids_of_a_key_are_all_that_share_its_digits(row_id: int) -> None:
    lowest, highest = ids_of_key(row_id)
    assert lowest <= row_id <= highest
    same = [each for each in range(row_id - 120, row_id + 120) if id_partition(each) == id_partition(row_id)]
    assert set(same) <= set(range(lowest, highest + 1))
    assert highest - lowest < 100


@pytest.mark.parametrize("details", [{"only": "local"}, {"types": ["accounts"]}, {"limit": 5}])
def test_a_plan_that_left_something_out_is_no_base(
    manifest: Manifest, store: MemoryStore, details: dict[str, Any]
) -> None:
    plan(manifest, [entry(1)])
    copy_all(manifest, store)
    plan(manifest, [], **details)
    with pytest.raises(ManifestError, match="left something out"):
        prune(manifest, store)
    assert not store.calls


def test_nor_is_an_old_one(manifest: Manifest, store: MemoryStore) -> None:
    plan(manifest, [entry(1)])
    copy_all(manifest, store)
    plan(manifest, [], hours_ago=1.1)
    with pytest.raises(ManifestError, match="more than an hour"):
        prune(manifest, store)
    plan(manifest, [], incremental=True)
    assert prune(manifest, store).removed == 1


def test_nor_is_one_of_a_standby_that_lags(manifest: Manifest, store: MemoryStore) -> None:
    plan(manifest, [entry(1)])
    copy_all(manifest, store)
    plan(manifest, [], began_at=0.0)
    with pytest.raises(ManifestError, match="of a standby that lags"):
        prune(manifest, store)


def test_a_large_part_of_everything_is_refused_until_somebody_says_how_much_it_is(
    manifest: Manifest, store: MemoryStore
) -> None:
    plan(manifest, [entry(row) for row in range(FEW + 1)])
    copy_all(manifest, store)
    plan(manifest, [])
    with pytest.raises(TooMuchGone) as refused:
        prune(manifest, store)
    assert refused.value.exit_code == 3
    assert f"--at-most {FEW + 1}" in refused.value.hint
    assert not store.calls
    assert prune(manifest, store, PruneOptions()).found == FEW + 1
    assert prune(manifest, store, PruneOptions(apply=True, at_most=FEW + 1)).removed == FEW + 1


@pytest.mark.parametrize(("gone", "done", "refused"), [(10, 0, False), (11, 10, True), (11, 11, False)])
def test_of_few_objects_no_more_go_than_stay(
    manifest: Manifest, store: MemoryStore, gone: int, done: int, refused: bool
) -> None:
    plan(manifest, [entry(row) for row in range(gone + done)])
    copy_all(manifest, store)
    plan(manifest, [entry(row) for row in range(done)])
    if refused:
        with pytest.raises(TooMuchGone):
            prune(manifest, store)
    else:
        assert prune(manifest, store).removed == gone


def test_what_a_store_refuses_is_told_and_tried_again_by_the_next_one(manifest: Manifest, store: MemoryStore) -> None:
    plan(manifest, [entry(1), entry(2)])
    copy_all(manifest, store)
    plan(manifest, [])
    store.fail("delete", ObjectDenied("no"), NetworkFailure("passes"))
    result = prune(manifest, store)
    assert counts(result) == (2, 0, 1, 1)
    assert result.examples == ["no"]
    assert counts(prune(manifest, store)) == (1, 0, 1, 0)


def test_a_key_that_may_not_delete_is_no_thousand_failures(manifest: Manifest, store: MemoryStore) -> None:
    plan(manifest, [entry(row) for row in range(90)])
    copy_all(manifest, store)
    plan(manifest, [])
    store.fail("delete", *[ObjectDenied("no")] * 90)
    with pytest.raises(StoreUnusable, match="in a row"):
        prune(manifest, store, PruneOptions(apply=True, at_most=90))


@pytest.mark.parametrize("error", [StoreUnusable("gone"), Interrupted("stopped")])
def test_what_ends_a_prune_leaves_recorded_what_was_removed(
    manifest: Manifest, store: MemoryStore, error: Exception
) -> None:
    plan(manifest, [entry(row) for row in range(30)])
    copy_all(manifest, store)
    plan(manifest, [])
    store.fail("delete", error)
    all_of_them = PruneOptions(apply=True, at_most=30)
    with pytest.raises(type(error)):
        prune(manifest, store, all_of_them)
    left = sum(
        record.md5 is not None
        for record in ManifestReader(manifest).iter_records((EntryState.SKIPPED,), (), (Reason.GONE,))
    )
    assert left >= len(store.objects)  # nothing is recorded as removed that is there
    assert prune(manifest, store, all_of_them).removed == left
    assert not store.objects


class BulkStore(MemoryStore):
    """Deletes many at once. It confirms none of `refusing`, though some of these may be gone."""

    def __init__(self, *refusing: str) -> None:
        super().__init__("new")
        self.refusing = frozenset(refusing)
        self.batches: list[list[str]] = []

    def delete_objects(self, keys: Sequence[str]) -> frozenset[str]:
        self._called("delete_objects")
        self.batches.append(list(keys))
        for key in keys:
            if key not in self.refusing:
                self.objects.pop(key, None)
        return frozenset(keys) - self.refusing


class TestManyAtOnce:
    """A thousand objects cost one request, where the store takes that; what it does not confirm is deleted alone."""

    ALL = PruneOptions(apply=True, at_most=10_000, workers=4)

    def gone(self, manifest: Manifest, store: MemoryStore, count: int) -> None:
        plan(manifest, [entry(row) for row in range(1, count + 1)])
        copy_all(manifest, store)
        plan(manifest, [])

    def test_a_thousand_objects_are_one_request(self, manifest: Manifest) -> None:
        store = BulkStore()
        self.gone(manifest, store, 2_500)
        assert counts(prune(manifest, store, self.ALL)) == (2_500, 0, 2_500, 0)
        assert [len(batch) for batch in store.batches] == [1000, 1000, 500]
        assert not store.objects
        assert store.count("delete") == 0
        assert counts(prune(manifest, store, self.ALL)) == (0, 0, 0, 0), "all of it was recorded"

    def test_one_is_deleted_as_before(self, manifest: Manifest) -> None:
        store = BulkStore()
        self.gone(manifest, store, 1)
        assert prune(manifest, store, self.ALL).removed == 1
        assert (store.count("delete_objects"), store.count("delete")) == (0, 1)

    def test_what_is_not_confirmed_is_deleted_alone_and_told_as_before(self, manifest: Manifest) -> None:
        keys = [canonical_key(entry(row), "p") for row in range(1, 6)]
        store = BulkStore(*keys[:2])
        self.gone(manifest, store, 5)
        store.fail("delete", ObjectDenied("no"))
        result = prune(manifest, store, self.ALL)
        assert counts(result) == (5, 0, 4, 1)
        assert result.examples == ["no"]
        assert len(store.objects) == 1
        assert [len(batch) for batch in store.batches] == [5]
        assert counts(prune(manifest, store, self.ALL)) == (1, 0, 1, 0)

    @pytest.mark.parametrize(
        "refusal", [ObjectRejected("501"), ObjectDenied("403"), StoreUnusable("405"), ObjectMissing("404")]
    )
    def test_a_store_that_cannot_is_asked_once_a_run(self, manifest: Manifest, refusal: Exception) -> None:
        store = BulkStore()
        self.gone(manifest, store, 2_100)
        store.fail("delete_objects", refusal)
        assert counts(prune(manifest, store, self.ALL)) == (2_100, 0, 2_100, 0)
        assert (store.count("delete_objects"), store.count("delete")) == (1, 2_100)

    def test_what_may_pass_is_repeated_before_the_store_is_said_to_be_unable(self, manifest: Manifest) -> None:
        store = BulkStore()
        self.gone(manifest, store, 10)
        store.fail("delete_objects", NetworkFailure("reset"))
        assert prune(manifest, store, self.ALL).removed == 10
        assert (store.count("delete_objects"), store.count("delete")) == (2, 0)
        self.gone(manifest, store, 10)
        store.fail("delete_objects", *[NetworkFailure("reset")] * 3)
        assert prune(manifest, store, self.ALL).removed == 10
        assert store.count("delete") == 10

    def test_a_key_that_another_entry_has_is_not_among_them(self, manifest: Manifest) -> None:
        same, wanted = entry(12345678901234567), entry(12345678901234599)
        store = BulkStore()
        plan(manifest, [entry(1), entry(2), same])
        copy_all(manifest, store)
        plan(manifest, [wanted])
        assert counts(prune(manifest, store, self.ALL)) == (3, 1, 2, 0)
        assert store.batches == [[canonical_key(entry(1), "p"), canonical_key(entry(2), "p")]]
        assert list(store.objects) == [canonical_key(wanted, "p")]

    def test_what_may_be_there_in_parts_is_looked_at_first_and_goes_alone(self, manifest: Manifest) -> None:
        store = BulkStore()
        plan(manifest, [entry(row) for row in range(1, 5)])
        queue = WorkQueue(manifest)
        claims = list(queue.iter_claimable())
        for claim in claims:
            store.put(canonical_key(claim.entry, "p"), b"data")
        done = [Outcome(claim.entry, EntryState.DONE, size=4, md5=b"\1" * 16) for claim in claims[1:]]
        broken = Outcome(claims[0].entry, EntryState.FAILED, Reason.NETWORK, presence=Presence.IN_DOUBT)
        queue.commit(outcomes=[*done, broken])
        plan(manifest, [])
        assert prune(manifest, store, self.ALL).removed == 4
        in_doubt = canonical_key(claims[0].entry, "p")
        assert [each for each in store.calls if each[1] == in_doubt] == [
            ("abort_unfinished", in_doubt),
            ("delete", in_doubt),
        ]
        assert [len(batch) for batch in store.batches] == [3]

    @pytest.mark.parametrize("error", [Interrupted("stopped"), ZeroDivisionError()])
    def test_what_ends_a_prune_leaves_recorded_what_was_confirmed(self, manifest: Manifest, error: Exception) -> None:
        store = BulkStore()
        self.gone(manifest, store, 1_500)

        class Breaking(BulkStore):
            def delete_objects(self, keys: Sequence[str]) -> frozenset[str]:
                if self.batches:
                    raise error
                return super().delete_objects(keys)

        breaking = Breaking()
        breaking.objects = store.objects
        with pytest.raises(type(error)):
            prune(manifest, breaking, self.ALL)
        assert len(store.objects) == 500
        assert prune(manifest, store, self.ALL).removed == 500

    def test_a_wish_to_stop_is_heeded_between_two_requests(self, manifest: Manifest) -> None:
        stop = StopSignal()

        class Stopping(BulkStore):
            def delete_objects(self, keys: Sequence[str]) -> frozenset[str]:
                stop.request()
                return super().delete_objects(keys)

        store = Stopping()
        self.gone(manifest, store, 1_500)
        with pytest.raises(Interrupted, match="stopped"):
            prune(manifest, store, self.ALL, stop)
        assert len(store.objects) == 500
        assert prune(manifest, store, self.ALL).removed == 500


def test_only_the_pruner_and_probes_delete() -> None:
    """Whoever else asked a store to delete something would have to explain it here."""
    asking = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("delete", "delete_object", "delete_objects")
    }
    elsewhere = {each for each in asking if not each.startswith(("store/", "doctor/"))}
    assert elsewhere == {"copying/same_store.py", "pruning.py", "runtime/retry.py"}


def test_what_only_a_whole_plan_would_have_found_deleted_is_told_as_unknown(
    manifest: Manifest, store: MemoryStore
) -> None:
    plan(manifest, [entry(1)])
    copy_all(manifest, store)
    assert not prune(manifest, store).unknown
    plan(manifest, [entry(1)], incremental=True)
    result = prune(manifest, store)
    assert "are not known" in result.unknown
    assert result.as_json()["unknown"] is True
    assert "mastosync plan" in render_pruning(result, adopted=False)
    plan(manifest, [entry(1)])
    assert not prune(manifest, store).unknown
