"""Any sequence of plans, claims, outcomes, crashes and retries keeps what the manifest promises."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Manifest,
    ManifestReader,
    PlanWriter,
    StoreIdentity,
    WorkQueue,
    reopen,
    write_started,
)
from mastosync.model import FAILURE_REASONS, NOTHING, Claim, Entry, EntryState, Kind, Outcome, Presence, Reason
from tests.support.entries import grouped
from tests.support.manifests import with_short_statements

SOURCE = StoreIdentity("https://old.example", "media", "")
DESTINATION = StoreIdentity("https://new.example", "media", "")

LOCAL = Kind("accounts", "avatar", "original", "accounts/avatars", remote=False, cached=False)
REMOTE = Kind("accounts", "avatar", "original", "accounts/avatars", remote=True, cached=True)
EMOJI = Kind("custom_emojis", "image", "static", "custom_emojis/images", remote=True, cached=True)
TABLES = ("accounts", "custom_emojis")

Place = tuple[Kind, int, str]


@dataclass(frozen=True)
class Expected:
    """What the manifest must say of one entry."""

    entry: Entry
    state: EntryState = EntryState.PENDING
    reason: Reason | None = None
    claimed: bool = False  # by a run that is at work or has died
    presence: Presence = NOTHING  # at the destination, of what is not done
    excluded: bool = False  # by the last plan, whatever became of it before
    tried: bool = False


def access(entry: Entry) -> Presence:
    return Presence.AS_PRIVATE if entry.private else Presence.AS_PUBLIC


def place_of(entry: Entry) -> Place:
    return entry.kind, entry.id, entry.name


entries = st.builds(
    Entry,
    kind=st.sampled_from([LOCAL, REMOTE, EMOJI]),
    id=st.integers(-3, 12),
    name=st.sampled_from(["a.png", "b.png", "ü%.gif"]),
    fallback=st.sampled_from([None, "a.gif"]),
    optional=st.booleans(),
    private=st.booleans(),
    size=st.one_of(st.none(), st.integers(0, 1000)),
    updated=st.sampled_from([None, 1_000, 2_000]),
)
snapshots = st.lists(entries, max_size=12, unique_by=place_of)


class ManifestMachine(RuleBasedStateMachine):
    """A manifest on disk beside a dictionary that says what it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="manifest-"))
        self.path = self.folder / "mastosync.db"
        self.expected: dict[Place, Expected] = {}
        self.planned = False
        self.in_work: list[Claim] = []
        self.manifest = with_short_statements(Manifest.create(self.path))
        self.queue: WorkQueue | None = None

    def teardown(self) -> None:
        assert self.manifest.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        self.manifest.close()
        shutil.rmtree(self.folder)

    def _plan(
        self, snapshot: list[Entry], *, only: bool | None, window: int, cut_off: bool, left_out: frozenset[int]
    ) -> None:
        try:
            with PlanWriter.transaction(self.manifest, SOURCE, DESTINATION) as writer:
                for table in TABLES:
                    after = LOWEST_ID
                    chosen = [
                        entry
                        for entry in sorted(snapshot, key=lambda entry: entry.id)
                        if entry.kind.table == table and (only is None or entry.kind.remote == only)
                    ]
                    while chosen:
                        up_to = max(entry.id for entry in chosen[:window])
                        batch = [entry for entry in chosen if entry.id <= up_to]
                        chosen = [entry for entry in chosen if entry.id > up_to]
                        kept = [entry for entry in batch if entry.id not in left_out]
                        others = [entry for entry in batch if entry.id in left_out]
                        groups = [*grouped(kept), *(group._replace(excluded=True) for group in grouped(others))]
                        writer.merge(table, after, up_to, groups, remote=only)
                        after = up_to
                    writer.merge(table, after, HIGHEST_ID, [], remote=only)
                if cut_off:
                    raise ConnectionError("the database went away")
                writer.finish(datetime.now(UTC), {})
        except ConnectionError:
            return
        self._expect_plan(snapshot, only, left_out)

    def _take_over(self) -> None:
        """What a dead run has claimed may have arrived."""
        for place, known in self.expected.items():
            if known.claimed:
                presence = known.presence | Presence.IN_DOUBT | access(known.entry)
                self.expected[place] = replace(known, claimed=False, presence=presence)

    def _expect_plan(self, snapshot: list[Entry], only: bool | None, left_out: frozenset[int]) -> None:
        self.planned = True
        self._take_over()
        wanted = {place_of(entry): entry for entry in snapshot if only is None or entry.kind.remote == only}
        for place, known in self.expected.items():
            if only is not None and place[0].remote != only:
                continue
            entry = wanted.pop(place, None)
            gone = known.state is EntryState.SKIPPED and known.reason is Reason.GONE
            if entry is None:
                if not gone:
                    presence = access(known.entry) if known.state is EntryState.DONE else known.presence
                    self.expected[place] = replace(
                        known, state=EntryState.SKIPPED, reason=Reason.GONE, presence=presence
                    )
                continue
            excluded = entry.id in left_out
            presence = access(known.entry) if known.state is EntryState.DONE else known.presence
            untouched = not (presence or known.tried)
            other_privacy = entry.private != known.entry.private
            other_need = entry.optional != known.entry.optional
            times = {known.entry.updated, entry.updated}
            replaced = len(times) > 1 and None not in times
            tried = known.state in (EntryState.DONE, EntryState.FAILED) or known.reason is Reason.OPTIONAL_MISSING
            if replaced and presence:
                presence |= Presence.STALE
            kept = entry._replace(size=entry.size if replaced or not presence else known.entry.size)
            settled = presence or known.reason is Reason.PRIVATE
            lost = known.reason in (Reason.MISSING, Reason.OPTIONAL_MISSING)
            other_scope = excluded != known.excluded
            newly_left_out = excluded and known.state is EntryState.PENDING and other_scope
            taken_in = known.reason is Reason.EXCLUDED and not excluded
            state: EntryState
            reason: Reason | None
            if untouched and ((gone and excluded) or newly_left_out):
                state, reason = EntryState.SKIPPED, Reason.EXCLUDED
            elif gone or taken_in or (replaced and tried) or (other_privacy and settled) or (other_need and lost):
                state, reason = EntryState.PENDING, None
            else:
                state, reason = known.state, known.reason
            if state is EntryState.DONE:
                presence = NOTHING
            self.expected[place] = replace(
                known, entry=kept, state=state, reason=reason, excluded=excluded, presence=presence
            )
        for place, entry in wanted.items():
            new = Expected(entry)
            if entry.id in left_out:
                new = Expected(entry, EntryState.SKIPPED, Reason.EXCLUDED, excluded=True)
            self.expected[place] = new
        # what is planned while claims are open is worked on by the next run, which looks at them first
        self.in_work.clear()
        self.queue = None

    @rule(
        snapshot=snapshots,
        window=st.integers(1, 5),
        only=st.sampled_from([None, True, False]),
        cut_off=st.booleans(),
        left_out=st.one_of(st.just(frozenset()), st.frozensets(st.integers(-3, 12))),
    )
    def plan(
        self, snapshot: list[Entry], window: int, only: bool | None, cut_off: bool, left_out: frozenset[int]
    ) -> None:
        self._plan(snapshot, only=only, window=window, cut_off=cut_off, left_out=left_out)

    @rule(left_out=st.frozensets(st.integers(-3, 12)))
    def plan_the_same_with_others_left_out(self, left_out: frozenset[int]) -> None:
        """Files age, or somebody wants them after all. Nothing that is done is touched."""
        known = [each.entry for each in self.expected.values() if each.reason is not Reason.GONE]
        done = {place for place, each in self.expected.items() if each.state is EntryState.DONE}
        self._plan(known, only=None, window=3, cut_off=False, left_out=left_out)
        assert all(self.expected[place].state is EntryState.DONE for place in done)
        assert all(each.entry.id in left_out for each in self.expected.values() if each.reason is Reason.EXCLUDED)

    @rule(window=st.integers(1, 5))
    def plan_the_same_again(self, window: int) -> None:
        """Nothing changes but what was gone stays gone and what is there stays as it is."""
        gone = {place for place, known in self.expected.items() if known.reason is Reason.GONE}
        self._take_over()  # but for what a run had claimed: nobody is at work any more
        before = dict(self.expected)
        there = [known for place, known in before.items() if place not in gone]
        left_out = frozenset(known.entry.id for known in there if known.excluded)
        assume(all(known.excluded == (known.entry.id in left_out) for known in there))  # it is told by the id
        self._plan([known.entry for known in there], only=None, window=window, cut_off=False, left_out=left_out)
        assert self.expected == before

    @rule(data=st.data())
    def plan_the_same_with_other_privacy(self, data: st.DataObject) -> None:
        """Accounts are suspended and come back: what stands at the destination must follow."""
        flipped = [
            known.entry._replace(private=known.entry.private != data.draw(st.booleans()))
            for known in self.expected.values()
            if known.reason is not Reason.GONE
        ]
        self._plan(flipped, only=None, window=3, cut_off=False, left_out=frozenset())

    @precondition(lambda self: self.planned)
    @rule(count=st.integers(1, 6))
    def claim(self, count: int) -> None:
        if self.queue is None:
            self.queue = WorkQueue(self.manifest)
            self.queue.start_run(4)
            self._take_over()
            self.claimable = self.queue.iter_claimable()
        claims = list(islice(self.claimable, count))
        for claim in claims:
            known = self.expected[place_of(claim.entry)]
            assert known.state is EntryState.PENDING
            assert claim.arrival.presence == known.presence
            assert claim.entry == known.entry
            self.expected[place_of(claim.entry)] = replace(known, claimed=True)
        self.queue.commit(claims=claims)
        self.in_work += claims

    @precondition(lambda self: self.in_work)
    @rule(
        data=st.data(),
        state=st.sampled_from([EntryState.DONE, EntryState.DONE, EntryState.FAILED, EntryState.SKIPPED]),
        size=st.integers(0, 5000),
    )
    def finish(self, data: st.DataObject, state: EntryState, size: int) -> None:
        claim = self.in_work.pop(data.draw(st.integers(0, len(self.in_work) - 1)))
        reason = {
            EntryState.DONE: None,
            EntryState.FAILED: data.draw(st.sampled_from(FAILURE_REASONS)),
            EntryState.SKIPPED: data.draw(st.sampled_from([Reason.PRIVATE, Reason.OPTIONAL_MISSING])),
        }[state]
        done = state is EntryState.DONE
        begun = write_started(claim.arrival.presence, private=claim.entry.private)
        wrote = None if done or not data.draw(st.booleans()) else begun
        md5 = b"\1" * 16 if done else None
        outcome = Outcome(claim.entry, state, reason, size=size if done else None, md5=md5, presence=wrote)
        assert self.queue is not None
        self.queue.commit(outcomes=[outcome])
        entry = claim.entry._replace(size=size) if done else claim.entry
        known = self.expected[place_of(entry)]
        presence = NOTHING if done else known.presence if wrote is None else wrote
        self.expected[place_of(entry)] = Expected(
            entry, state, reason, presence=presence, excluded=known.excluded, tried=True
        )

    @precondition(lambda self: self.planned)
    @rule(data=st.data())
    def copy_everything(self, data: st.DataObject) -> None:
        self.claim(100)
        while self.in_work:
            self.finish(data, data.draw(st.sampled_from([EntryState.DONE, EntryState.SKIPPED])), 5)

    @precondition(lambda self: self.in_work)
    @rule()
    def release(self) -> None:
        claim = self.in_work.pop()
        assert self.queue is not None
        self.queue.commit(released=[claim])
        known = self.expected[place_of(claim.entry)]
        self.expected[place_of(claim.entry)] = replace(known, claimed=False)

    @rule()
    def crash(self) -> None:
        """The process dies: what was committed is there, claims stay behind."""
        self.manifest.connection.close()
        self.manifest = with_short_statements(Manifest.open(self.path))
        self.in_work.clear()
        self.queue = None

    @rule(
        types=st.sampled_from([(), ("accounts",), ("custom_emojis",)]),
        reasons=st.lists(st.sampled_from([*FAILURE_REASONS, Reason.PRIVATE]), max_size=2, unique=True),
    )
    def retry_failed(self, types: tuple[str, ...], reasons: list[Reason]) -> None:
        self.crash()
        reopened = 0
        for place, known in self.expected.items():
            chosen = known.reason in reasons if reasons else known.state is EntryState.FAILED
            if chosen and (not types or place[0].table in types):
                self.expected[place] = replace(known, state=EntryState.PENDING, reason=None)
                reopened += 1
        assert reopen(self.manifest, types, tuple(reasons)) == reopened

    @invariant()
    def entries_are_as_expected(self) -> None:
        found = {
            place_of(record.entry): (record.entry, record.state, record.reason, record.presence)
            for record in ManifestReader(self.manifest).iter_records()
        }
        assert found == {
            place: (
                known.entry,
                known.state,
                known.reason,
                access(known.entry) if known.state is EntryState.DONE else known.presence,
            )
            for place, known in self.expected.items()
        }

    @invariant()
    def counters_agree_with_the_entries(self) -> None:
        counted: dict[tuple[Kind, EntryState, Reason | None], tuple[int, int]] = {}
        for known in self.expected.values():
            where = (known.entry.kind, known.state, known.reason)
            objects, size = counted.get(where, (0, 0))
            counted[where] = (objects + 1, size + (known.entry.size or 0))
        lines = ManifestReader(self.manifest).counts()
        assert {(line.kind, line.state, line.reason): (line.objects, line.size_bytes) for line in lines} == counted

    @invariant()
    def only_pending_entries_are_claimed(self) -> None:
        claimed = {
            (self.manifest.kind(kind), row_id, name)
            for kind, row_id, name in self.manifest.connection.execute("SELECT kind, id, name FROM claims")
        }
        assert claimed == {place for place, known in self.expected.items() if known.claimed}
        assert all(self.expected[place].state is EntryState.PENDING for place in claimed)


TestManifestMachine = ManifestMachine.TestCase
TestManifestMachine.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
