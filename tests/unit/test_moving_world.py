"""Truth and privacy in a world that moves: whatever happens, in whatever order.

Rows come, change and go; another tool writes and deletes at the destination; the source loses files; requests fail,
uploads arrive damaged, and runs are killed between any two steps. The manifest, the transfer, `verify`, `adopt`,
`prune` and archives are the real ones, carried out in one thread. What has to hold after every step, `World` knows.

`MOVING_WORLD_EXAMPLES=5000` makes a long run of it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import md5
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mastosync import pruning, refetching
from mastosync.checking.object_check import DeepCheck
from mastosync.checking.row_check import RowPlace
from mastosync.copying import digests
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.errors import NetworkFailure, ObjectDenied, ServerFailure
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Manifest,
    ManifestReader,
    PlanWriter,
    WorkQueue,
    recover_claims_now,
    reopen,
    require_same,
    try_again,
)
from mastosync.model import TABLES, Claim, Order, Outcome, Reason, Record, RemoteFile
from mastosync.planning.planner import PlanOptions
from mastosync.progress import NoProgress
from mastosync.pruning import PruneOptions, Pruner
from mastosync.refetching import Refetcher, RefetchOptions, RefetchTools
from mastosync.runtime import outages
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.outages import Downtime
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal
from mastosync.store.http.fetcher import FetchedFile
from mastosync.verifying import adopter, verifier
from mastosync.verifying.adopter import Adopter, AdoptOptions
from mastosync.verifying.verifier import Verifier, VerifyOptions
from tests.support.entries import grouped
from tests.support.lifecycle_model import (
    EVERYTHING,
    LARGE_BYTES,
    PRIVATE,
    PUBLIC,
    WHERE,
    WRITES,
    Death,
    MovingStore,
    OneThread,
    Place,
    Row,
    Trouble,
    World,
    bytes_of,
    key_of,
    one_after_the_other,
    place_of,
)
from tests.support.manifests import DESTINATION, SOURCE, exported, imported
from tests.support.memory_store import MemoryStore

AT_ONCE = RetryPolicy(max_attempts=3, throttle_budget_seconds=0, first_wait_seconds=0, longest_wait_seconds=0)
ALWAYS = AT_ONCE.max_attempts
ENDLESS = 1_000
STREAMED_BYTES = 1_000
EVERY_ROW = PlanOptions().as_details()

errors = st.sampled_from([NetworkFailure, ServerFailure, ObjectDenied, Death])
lost_answers = st.sampled_from([NetworkFailure, Death])
reads = st.sampled_from([EVERYTHING, "head", "read", "streamed", "digest"])
writes = st.sampled_from([WRITES, WRITES, "write_stream", "start_multipart", "anybody_reads", "withdraw"])


def troubles(methods: st.SearchStrategy[str], *, applied: bool = False) -> st.SearchStrategy[Trouble]:
    """Once, after some requests that go well, or for as long as the copy takes."""
    kinds = lost_answers if applied else errors
    passing = st.builds(
        lambda method, kind, times, after: Trouble(method, kind("by script"), applied, times, after),
        methods,
        kinds,
        st.sampled_from([1, ALWAYS]),
        st.sampled_from([0, 0, 1, 2]),
    )
    lasting = st.builds(lambda method, kind: Trouble(method, kind("by script"), applied, ENDLESS), methods, kinds)
    return st.one_of(passing, lasting)


silences = st.builds(
    lambda times, after: Trouble(EVERYTHING, NetworkFailure("by script"), False, times, after),
    st.sampled_from([ALWAYS + 1, ALWAYS + 2, 3 * ALWAYS]),
    st.integers(0, 4),
)
at_source = st.lists(troubles(reads), max_size=1)
at_destination = st.lists(
    st.one_of(troubles(reads), troubles(writes), troubles(st.just(WRITES), applied=True), silences), max_size=2
)
places = st.sampled_from(list(WHERE))
changes = st.sampled_from(["privacy", "privacy", "file", "need", "leave", "turn"])  # what has left comes back


class Weather(NamedTuple):
    """What a copy meets."""

    source: list[Trouble]
    destination: list[Trouble]
    limit: int | None
    batch: int
    killed_at: str | None
    damaged_uploads: int
    patience_seconds: int  # with a store that is down, which comes back after so many questions as its trouble takes


weathers = st.builds(
    Weather,
    source=at_source,
    destination=at_destination,
    limit=st.sampled_from([None, None, 1]),
    batch=st.integers(1, 2),
    killed_at=st.sampled_from([None, None, None, "claim", "outcome"]),
    damaged_uploads=st.sampled_from([0, 0, 1, ALWAYS]),
    patience_seconds=st.sampled_from([0, 600]),
)


class MovingWorld(RuleBasedStateMachine):
    """A manifest on disk, two stores, and what the world knows of them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="world-"))
        self.files = 0
        self.path = self.folder / "m.db"
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(adopter, "side_by_side", one_after_the_other)
        self.patch.setattr(verifier, "side_by_side", one_after_the_other)
        self.patch.setattr(refetching, "side_by_side", one_after_the_other)
        self.patch.setattr(pruning, "WorkerPool", OneThread)
        self.patch.setattr(outages, "FIRST_WAIT_SECONDS", 0)
        self.patch.setattr(digests, "_EARNED_OBJECTS", 1)  # a world has few objects, and each copy begins anew
        self.patch.setattr(digests, "_CONTRADICTED_AT_FIRST", 1)
        self.patch.setattr(digests, "_SAMPLED", 3)
        self.patience_seconds = 0
        self.manifest = Manifest.create(self.path)

    def teardown(self) -> None:
        self.patch.undo()
        self.manifest.close()
        shutil.rmtree(self.folder)

    @initialize(
        acls=st.sampled_from([{PUBLIC, PRIVATE}, {PUBLIC, PRIVATE}, {PUBLIC, PRIVATE}, {PUBLIC}, set()]),
        private=st.sets(places),
        optional=st.sets(places),
        unsized=st.sets(places),
        within=st.sampled_from([False, False, True]),
        streaming=st.booleans(),
        whole_etags=st.booleans(),
        is_copied=st.sampled_from([True, True, False]),
    )
    def begin(
        self,
        acls: set[str],
        private: set[Place],
        optional: set[Place],
        unsized: set[Place],
        within: bool,
        streaming: bool,
        whole_etags: bool,
        is_copied: bool,
    ) -> None:
        rows = {each: Row(1, each in private, each in optional, each not in unsized) for each in WHERE}
        self.world = World(rows, frozenset(acls), whole_etags=whole_etags)
        self.within, self.streaming = within, streaming
        self.world.old.streaming = self.world.new.streaming = streaming
        self._plan()
        if is_copied:
            self.copy_all()

    # rows, and the source

    @rule(place=places, change=changes, seen_by=st.sampled_from(["nobody", "plan", "delta"]))
    def a_row_changes(self, place: Place, change: str, seen_by: str) -> None:
        rows = self.world.rows
        row = rows.get(place)
        if row is None:
            version = self.world.versions[place] + (change == "file")
            self._set(place, Row(version, private=change == "privacy", turned=change == "turn"))
        elif change == "leave":
            del rows[place]
            self.world.old.objects.pop(key_of(place), None)
        elif change == "privacy":
            rows[place] = replace(row, private=not row.private)
        elif change == "need":
            rows[place] = replace(row, optional=not row.optional)
        elif change == "file":
            self._set(place, replace(row, version=row.version + 1))
        elif change == "turn":
            rows[place] = replace(row, turned=not row.turned)
        if seen_by == "plan":
            self._plan()
        elif seen_by == "delta":
            self._delta(place)

    def _set(self, place: Place, row: Row) -> None:
        self.world.rows[place] = row
        self.world.give(place)

    @rule(place=places)
    def the_source_loses_a_file_or_finds_it_again(self, place: Place) -> None:
        if key_of(place) in self.world.old.objects:
            del self.world.old.objects[key_of(place)]
        elif place in self.world.rows:
            self.world.give(place)

    @rule(
        place=places,
        what=st.sampled_from(["the file", "another of its size", "another", "nothing"]),
        acl=st.sampled_from([PUBLIC, PRIVATE, None]),
    )
    def somebody_else_is_at_the_destination(self, place: Place, what: str, acl: str | None) -> None:
        version = self.world.versions[place]
        data = {
            "the file": bytes_of(place, version),
            "another of its size": bytes_of(place, version).replace(b"0", b"x"),
            "another": b"x",
            "nothing": None,
        }[what]
        self.world.touch(place, data, acl)

    # commands

    @rule(how=st.sampled_from(["whole", "killed", "against a wrong database first"]))
    def plan(self, how: str) -> None:
        if how == "killed":
            with suppress(Death), PlanWriter.transaction(self.manifest, SOURCE, DESTINATION) as writer:
                writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(self.world.entries()[:1]))
                raise Death
            self._rise_again()
            return
        if how != "whole":
            rows = dict(self.world.rows)
            self.world.rows.clear()
            self._plan()
            self.world.rows.update(rows)
        self._plan()

    def _plan(self) -> None:
        entries = self.world.entries()
        with PlanWriter.transaction(self.manifest, SOURCE, DESTINATION) as writer:
            for table in TABLES:
                of_table = [each for each in entries if each.kind.table == table]
                writer.merge(table, LOWEST_ID, HIGHEST_ID, grouped(of_table))
            writer.finish(datetime.now(UTC), EVERY_ROW)
        self.world.plan(WHERE)

    def _delta(self, place: Place) -> None:
        """Of its row alone, and of rows of its kind; one that is gone may have been of either."""
        kind, row_id = WHERE[place]
        entries = [each for each in self.world.entries() if place_of(each.kind, each.id) == place]
        remote = entries[0].kind.remote if entries else None
        with PlanWriter.transaction(self.manifest, SOURCE, DESTINATION) as writer:
            writer.merge(kind.table, row_id - 1, row_id, grouped(entries), remote=remote)
            writer.finish(datetime.now(UTC), {**EVERY_ROW, "incremental": True})
        self.world.plan([place])

    @rule()
    def copy_all(self) -> None:
        self._copy(None, batch=2, killed_at=None)
        self.world.check_all_was_copied()

    @rule(weather=weathers)
    def copy_in_bad_weather(self, weather: Weather) -> None:
        self.world.old.troubles, self.world.new.troubles = list(weather.source), list(weather.destination)
        self.world.new.damaged_uploads = weather.damaged_uploads
        self.patience_seconds = weather.patience_seconds
        try:
            self._copy(weather.limit, weather.batch, weather.killed_at)
        except Death:
            self._rise_again()
        finally:
            self._calm_down()

    def _calm_down(self) -> None:
        for store in (self.world.old, self.world.new):
            store.troubles, store.is_dead, store.damaged_uploads = [], False, 0
        self.patience_seconds = 0

    @rule(place=places, change=changes, seen_by=st.sampled_from(["plan", "delta"]), weather=weathers)
    def a_row_changes_and_is_copied_in_bad_weather(
        self, place: Place, change: str, seen_by: str, weather: Weather
    ) -> None:
        """As so much goes on about one entry that the rest need not be waited for."""
        self.a_row_changes(place, change, seen_by)
        self.copy_in_bad_weather(weather)

    @rule(place=places, change=changes, seen_by=st.sampled_from(["plan", "delta"]))
    def a_row_changes_and_is_copied(self, place: Place, change: str, seen_by: str) -> None:
        self.a_row_changes(place, change, seen_by)
        self.copy_all()

    def _copy(self, limit: int | None, batch: int, killed_at: str | None) -> None:
        """As the copier does, with one worker."""
        queue = WorkQueue(self.manifest, order=Order.NEWEST)
        self.manifest.require_plan()
        require_same(self.manifest, SOURCE, DESTINATION)
        queue.start_run(1)
        self.world.runs()
        work = islice(queue.iter_claimable(), limit)
        options = TransferOptions(
            whole_bytes=LARGE_BYTES,
            multipart_threshold=STREAMED_BYTES if self.streaming else LARGE_BYTES,
            source_bucket="old" if self.within else None,
        )
        memory = MemoryBudget(1 << 28)
        with closing(
            Transfer(self._store_session(self.world.old), self._store_session(self.world.new), options, memory)
        ) as transfer:
            while claims := list(islice(work, batch)):
                queue.commit(claims=claims)
                if killed_at == "claim":
                    raise Death
                outcomes = [self._transferred(transfer, each) for each in claims]
                if killed_at == "outcome":
                    raise Death
                queue.commit(outcomes=[outcome for outcome, _ in outcomes])
                for outcome, wrote in outcomes:
                    self.world.records(_place(outcome), outcome, wrote=wrote)
        queue.end_run()

    def _transferred(self, transfer: Transfer, claim: Claim) -> tuple[Outcome, bool]:
        self.world.begins()
        outcome = transfer(claim)
        self.world.ends(_place(claim), outcome)
        return outcome, bool(self.world.new.doubtful)

    def _store_session(self, store: MovingStore) -> StoreSession:
        stop = StopSignal()
        limiter = EndpointLimiter(stop)
        limiter.has_answered = True  # it was found usable
        return StoreSession(store, limiter, AT_ONCE, stop, downtime=Downtime(limiter, stop, self.patience_seconds))

    def _rise_again(self) -> None:
        """The process has died; another one opens the manifest."""
        self.manifest.close()
        self.manifest = Manifest.open(self.path, writing=True)
        self.world.dies(self._claimed())

    @rule(reasons=st.sampled_from([(), (Reason.MISSING,), (Reason.OPTIONAL_MISSING, Reason.PRIVATE), None]))
    def retry(self, reasons: tuple[Reason, ...] | None) -> None:
        """As `retry-failed` does, or (None) a round of `follow`."""
        if reasons is None:
            try_again(self.manifest, 4, 0)
        else:
            reopen(self.manifest, (), reasons)

    @rule(private=st.booleans(), weather=weathers)
    def a_new_file_is_lost_and_fetched_again(self, private: bool, weather: Weather) -> None:
        """Of the small object: the other is a rendition, which nobody gives away."""
        place = "small"
        self._set(place, Row(self.world.versions[place] + 1, private))
        del self.world.old.objects[key_of(place)]
        self._plan()
        self.copy_in_bad_weather(weather)
        self._copy(None, batch=2, killed_at=None)
        self.refetch(weather)

    @rule(weather=weathers)
    def refetch(self, weather: Weather) -> None:
        """What the source has lost comes from elsewhere, as its row has it now."""
        recover_claims_now(self.manifest)
        self.world.runs()
        self.world.new.troubles, self.world.new.damaged_uploads = list(weather.destination), weather.damaged_uploads
        staging, stop = MemoryStore("landing"), StopSignal()
        open_stores = StoreSession(staging, EndpointLimiter(stop), AT_ONCE, stop), self._store_session(self.world.new)
        options = TransferOptions(multipart_threshold=LARGE_BYTES)
        ended: list[tuple[Outcome, bool]] = []
        with closing(Transfer(*open_stores, options, MemoryBudget(1 << 28))) as transfer:

            def transferred(claim: Claim) -> Outcome:
                ended.append(self._transferred(transfer, claim))
                if weather.killed_at == "outcome":
                    raise Death
                return ended[-1][0]

            @contextmanager
            def holding(key: str, file: IO[bytes]) -> Iterator[None]:
                staging.put(key, file.read())
                yield
                del staging.objects[key]

            elsewhere = partial(Elsewhere, self.world)
            tools = RefetchTools(self._rows_now, elsewhere, lambda *_: True, staging, holding, transferred, "")
            made = Refetcher(self.manifest, tools, RefetchOptions(apply=True, workers=1), stop, NoProgress())
            try:
                made.run(ManifestReader(self.manifest).iter_failures(Reason.MISSING, ()))
            except Death:
                self._rise_again()
            else:
                for outcome, wrote in ended:
                    self.world.records(_place(outcome), outcome, wrote=wrote)
            finally:
                self._calm_down()

    def _rows_now(self, records: Sequence[Record]) -> Mapping[RowPlace, RemoteFile]:
        found = {}
        for each in records:
            entry = each.entry
            row = self.world.rows.get(_place(each))
            if row is not None and row == self.world.lying[_place(each)].planned:
                found[entry.kind.table, entry.kind.attachment, entry.id] = RemoteFile(
                    entry.name, f"https://elsewhere/{_place(each)}", row.private
                )
        return found

    @rule(deep=st.booleans())
    def verify(self, deep: bool) -> None:
        recover_claims_now(self.manifest)
        before = self._records()
        store_session, options = self._store_session(self.world.new), VerifyOptions(workers=1, deep=deep)
        made = Verifier(self.manifest, self.path, store_session, "", options, store_session.stop, NoProgress())
        if deep:
            check = DeepCheck(store_session, MemoryBudget(1 << 28), "", LARGE_BYTES)
            made.by_reading(OneThread(check.steps), list(made.iter_done()), made.entries())  # type: ignore[arg-type]
        else:
            made.by_listing()
        self.world.verifies(before, self._records())

    @rule(deep=st.booleans())
    def adopt(self, deep: bool) -> None:
        recover_claims_now(self.manifest)
        before = self._records()
        old, new = self._store_session(self.world.old), self._store_session(self.world.new)
        options = AdoptOptions(workers=1, deep=deep)
        Adopter(self.manifest, self.path, old, new, ("", ""), options, new.stop, NoProgress()).run()
        self.world.adopts(before, self._records())

    @rule(killed_at=st.sampled_from([None, None, "delete", "record"]))
    def prune(self, killed_at: str | None) -> None:
        self._plan()
        store_session = self._store_session(self.world.new)
        if killed_at:
            store_session.store.troubles = [Trouble("delete", Death(), applied=killed_at == "record")]  # type: ignore[attr-defined]
        try:
            MortalPruner(
                self.manifest,
                lambda: nullcontext(store_session),
                "",
                PruneOptions(apply=True, workers=1, adopted=True),
                store_session.stop,
            ).run()
        except Death:
            self._rise_again()
        else:
            self.world.check_all_was_pruned()
        finally:
            self._calm_down()

    @rule()
    def export_and_import(self) -> None:
        archive = exported(self.manifest)
        claimed = self._claimed()
        recover_claims_now(self.manifest)
        before = self._records()
        self.manifest.close()
        self.files += 1
        self.path = self.folder / f"m{self.files}.db"
        self.manifest = imported(archive, self.path)
        assert self._claimed() == claimed
        recover_claims_now(self.manifest)
        assert self._records() == before

    # what has to hold

    @invariant()
    def the_world_agrees(self) -> None:
        self.world.check(self._records(), self._claimed())

    def _records(self) -> dict[Place, Record]:
        records = list(ManifestReader(self.manifest).iter_records())
        found = {_place(each): each for each in records}
        assert len(found) == len(records), "two lines have one key"
        return found

    def _claimed(self) -> set[Place]:
        rows = self.manifest.connection.execute("SELECT kind, id FROM claims")
        return {place_of(self.manifest.kind(kind), row_id) for kind, row_id in rows}


class Elsewhere:
    """The servers that files of rows came from."""

    def __init__(self, world: World) -> None:
        self._world = world

    def fetch(self, url: str, most_bytes: int) -> FetchedFile:
        place = url.rpartition("/")[2]
        data = bytes_of(place, self._world.rows[place].version)
        assert len(data) <= most_bytes
        return FetchedFile(BytesIO(data), len(data), md5(data, usedforsecurity=False).digest(), data[:16])

    def close(self) -> None: ...


class MortalPruner(Pruner):
    """One that a death keeps from recording what it has removed."""

    def _record(self) -> None:
        with self.opened() as store_session:
            store = store_session.store
        assert isinstance(store, MovingStore)
        if not store.is_dead:
            super()._record()


def _place(of: Claim | Outcome | Record) -> Place:
    return place_of(of.entry.kind, of.entry.id)


EXAMPLES = int(os.environ.get("MOVING_WORLD_EXAMPLES", "100"))
pytestmark = pytest.mark.timeout(max(1200, 5 * EXAMPLES))  # much work for one test, where others have the processor too

TestMovingWorld = MovingWorld.TestCase
TestMovingWorld.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_an_upload_in_parts_that_never_began_leaves_what_lay_there_as_it_was_known() -> None:
    """It was stored again, although it lay there as it was wanted."""
    calm = Weather([], [], limit=None, batch=1, killed_at=None, damaged_uploads=0, patience_seconds=0)
    down = Trouble(EVERYTHING, NetworkFailure("by script"), False, 9, 2)
    world = MovingWorld()
    try:
        world.begin(
            acls={PRIVATE, PUBLIC},
            optional=set(),
            is_copied=True,
            unsized=set(),
            within=False,
            streaming=False,
            whole_etags=False,
            private={"large"},
        )
        world.copy_all()
        world.a_row_changes_and_is_copied_in_bad_weather(change="leave", place="large", seen_by="plan", weather=calm)
        world.a_new_file_is_lost_and_fetched_again(private=False, weather=calm._replace(batch=2, damaged_uploads=3))
        world.a_row_changes(change="turn", place="large", seen_by="nobody")
        world.a_new_file_is_lost_and_fetched_again(private=False, weather=calm._replace(destination=[down]))
        world.a_row_changes_and_is_copied(change="privacy", place="large", seen_by="plan")
        world.the_world_agrees()
    finally:
        world.teardown()
