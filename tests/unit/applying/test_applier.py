"""Bringing objects in line with other settings, at a store in memory that copies by itself."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mastosync.app.context import Context
from mastosync.applying.applier import Applier, Applying, ApplyOptions
from mastosync.applying.one_object import ApplyStatus, Bringing
from mastosync.applying.rewrite import AccessLost, HeadersLost, InPlace, goal_of, opens
from mastosync.checking.row_check import Opening, Row
from mastosync.cli.commands.apply_settings import render_applying
from mastosync.config import Config
from mastosync.copying.acl import AclMode
from mastosync.copying.transfer import TransferOptions
from mastosync.errors import (
    AclUnsupported,
    DatabaseError,
    Interrupted,
    NetworkFailure,
    ObjectChanged,
    ObjectDenied,
    ObjectRejected,
    ObjectTooLarge,
    PlanRefused,
    PrivacyLost,
    ServerFailure,
    StoreUnusable,
)
from mastosync.manifest import (
    ACCESS,
    HIGHEST_ID,
    LOWEST_ID,
    LastChange,
    Manifest,
    ManifestReport,
    Noted,
    ObjectSettings,
    PlanWriter,
    WorkQueue,
    applied_to,
    correct,
    last_change,
    note_settings,
    noted_settings,
    other_settings,
    remember_database,
    take_back_change,
)
from mastosync.manifest import AppliedUpTo as Reached
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import (
    CACHE_CONTROL,
    DatabaseAge,
    DatabaseIdentity,
    Entry,
    EntryState,
    ObjectHeaders,
    ObjectInfo,
    Origin,
    Outcome,
    Record,
    RemoteFile,
)
from mastosync.progress import NoProgress
from mastosync.runtime.steps import run_to_end
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import PutOptions
from tests.support.clock import Clock
from tests.support.entries import REMOTE, entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, planned
from tests.support.memory_store import MemoryStore, StoredObject
from tests.support.transfers import store_access

NONE, USUAL, OTHER = ObjectSettings(), ObjectSettings(CACHE_CONTROL), ObjectSettings("max-age=60")
OWN = ObjectHeaders("image/png", "no-store", "inline", metadata=(("a", "b"),))
PLAIN = ObjectHeaders("image/png")


def data_of(of: Entry) -> bytes:
    return f"{of.kind.table} {of.id}".encode()


def md5_of(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


class Stopping(NoProgress):
    """Asks to stop when so many objects have gone by."""

    def __init__(self, stop: StopSignal, after: int) -> None:
        self.stop, self.after = stop, after

    def advanced(self, progress: Any) -> None:  # noqa: ANN401
        if progress.checked >= self.after:
            self.stop.request()


@dataclass
class AppliedUpTo:
    """A manifest in which everything is done, and the store that has it."""

    manifest: Manifest
    store: MemoryStore = field(default_factory=MemoryStore)
    rows: dict[int, RemoteFile | None] = field(default_factory=dict)  # that are others than the plan saw; None: gone
    asked: list[int] = field(default_factory=list)  # how many rows at once

    def look_up(self, records: Sequence[Record]) -> dict[tuple[str, str, int], RemoteFile]:
        """As the database answers."""
        self.asked.append(len(records))
        found = {each.entry.id: RemoteFile(each.entry.name, None, each.entry.private) for each in records} | self.rows
        kind = entry().kind
        return {(kind.table, kind.attachment, row_id): file for row_id, file in found.items() if file}

    def key(self, row_id: int) -> str:
        return canonical_key(entry(row_id), "")

    def object(self, row_id: int) -> StoredObject:
        return self.store.objects[self.key(row_id)]

    def record(self, row_id: int) -> Record:
        return next(each for each in ManifestReport(self.manifest).iter_records() if each.entry.id == row_id)

    def apply(
        self,
        current: ObjectSettings = USUAL,
        *,
        workers: int = 4,
        stop_after: int | None = None,
        largest: int = 1 << 40,
        dry_run: bool = False,
        stop: StopSignal | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Applying:
        applier = self.applier(current, workers, stop_after, largest, dry_run, stop, **options)
        return applier.run()

    def applier(
        self,
        current: ObjectSettings,
        workers: int = 4,
        stop_after: int | None = None,
        largest: int = 1 << 40,
        dry_run: bool = False,
        stop: StopSignal | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Applier:
        stop = stop or StopSignal()
        others = other_settings(self.manifest, current)
        given = TransferOptions(acl=AclMode(current.acl), storage_class=current.storage_class, **options)
        at = store_access(self.store, stop)
        opening = Opening(self.look_up) if opens(current, others) and not dry_run else None
        bringing = Bringing(at, InPlace(at, given, "memory", largest), current, others, dry_run, opening)
        listener = NoProgress() if stop_after is None else Stopping(stop, stop_after)
        how = ApplyOptions(workers, dry_run)
        return Applier(self.manifest, at, bringing, current, others, how, stop, listener)


@contextmanager
def stored(
    path: Path, entries: list[Entry], under: ObjectSettings = NONE, headers: dict[int, ObjectHeaders] | None = None
) -> Iterator[AppliedUpTo]:
    """As a copy leaves it."""
    with planned(path, entries) as manifest:
        place, outcomes = AppliedUpTo(manifest), []
        note_settings(manifest, under)
        for record in ManifestReport(manifest).iter_records():
            of = record.entry
            data, own = data_of(of), (headers or {}).get(of.id, PLAIN)
            acl = None if under.acl == "none" else "private" if of.private or under.acl == "private" else "public-read"
            given = own._replace(cache_control=own.cache_control or under.cache_control)
            place.store.write(canonical_key(of, ""), data, md5_of(data), PutOptions(given, acl, under.storage_class))
            outcomes.append((record, Outcome(of, EntryState.DONE, size=len(data), md5=md5_of(data))))
        correct(manifest, outcomes)
        place.store.calls.clear()
        place.store.asked.clear()
        yield place


def some(count: int = 6, **traits: Any) -> list[Entry]:  # noqa: ANN401
    return [entry(number, **traits) for number in range(1, count + 1)]


@pytest.mark.parametrize(("pending", "said"), [(1, "1 object is pending"), (10, "10 objects are pending")])
def test_what_is_pending_is_told_with_what_brings_it(pending: int, said: str) -> None:
    told = render_applying(Applying(USUAL, (NONE,), dry_run=False, pending=pending))
    assert told.endswith(f"{said}: run `mastosync copy`, then this again")


def test_what_has_none_or_what_was_configured_before_gets_another_cache_control(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(), headers={2: OWN, 3: PLAIN._replace(cache_control="max-age=1")}) as place:
        note_settings(place.manifest, ObjectSettings("max-age=1"))
        result = place.apply()
        assert (result.fates, result.in_line) == ({ApplyStatus.APPLIED: 5, ApplyStatus.IN_LINE: 1}, True)
        assert place.object(1).headers == place.object(3).headers == PLAIN._replace(cache_control=CACHE_CONTROL)
        assert place.object(2).headers == OWN
        assert {place.object(number).acl for number in range(1, 7)} == {"public-read"}
        assert not {"read", "write", "write_part", "read_range"} & {method for method, _ in place.store.calls}
        assert noted_settings(place.manifest) == (USUAL,)
        place.store.calls.clear()
        assert place.apply().others == ()


def test_whatever_was_verified_before_says_nothing_of_what_is_stored_again(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(1)) as place:
        before = last_change(place.manifest)
        place.apply(dry_run=True)
        assert last_change(place.manifest) == before
        now = time.time()
        place.apply()
        after = last_change(place.manifest)
        assert (after.command, after.at >= now) == ("apply-settings", True)


def test_what_was_verified_still_holds_if_nothing_was_stored_anew(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(3)) as place:
        note_settings(place.manifest, USUAL)
        for number in (1, 2, 3):
            place.object(number).headers = PLAIN._replace(cache_control=CACHE_CONTROL)
        before = last_change(place.manifest)
        assert place.apply().fates == {ApplyStatus.IN_LINE: 3}
        assert last_change(place.manifest) == before
        take_back_change(place.manifest, LastChange())
        note_settings(place.manifest, NONE)
        place.apply()
        assert last_change(place.manifest) == LastChange()


def test_what_may_have_been_stored_anew_is_a_change(tmp_path: Path) -> None:
    """The first answer is lost, and what lies there is as it should be."""
    with stored(tmp_path / "m.db", some(1)) as place:
        key, copy = place.key(1), place.store.copy_from

        def unanswered(*asked: Any) -> str:  # noqa: ANN401
            copy(*asked)
            raise ObjectChanged("412")

        place.store.copy_from = unanswered  # type: ignore[method-assign,assignment]
        assert place.apply().fates == {ApplyStatus.IN_LINE: 1}
        assert place.store.objects[key].headers.cache_control == CACHE_CONTROL
        assert last_change(place.manifest).command == "apply-settings"


def test_headers_and_metadata_stay(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(1), headers={1: OWN._replace(cache_control=None)}) as place:
        place.apply()
        assert place.object(1).headers == OWN._replace(cache_control=CACHE_CONTROL)


@pytest.mark.parametrize("acl", ["auto", "none"])
def test_what_is_in_line_is_not_stored_again(acl: str, tmp_path: Path) -> None:
    under, wanted = NONE._replace(acl=acl), USUAL._replace(acl=acl)
    with stored(tmp_path / "m.db", some(3), under, {2: OWN}) as place:
        assert place.apply(wanted).fates == {ApplyStatus.APPLIED: 2, ApplyStatus.IN_LINE: 1}
        note_settings(place.manifest, under)
        assert place.apply(wanted).fates == {ApplyStatus.IN_LINE: 3}


def test_given_and_empty_takes_away_what_was_given(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(2), USUAL, {2: OWN}) as place:
        place.apply(NONE)
        assert [place.object(number).headers.cache_control for number in (1, 2)] == [None, "no-store"]


def test_another_etag_is_recorded_and_nothing_else_of_the_entry_changes(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(1)) as place:
        record, there = place.record(1), place.object(1)
        there.etag, there.etag_is_md5 = "abc-2", False  # stored in parts, as large objects are
        outcome = Outcome(record.entry, EntryState.DONE, size=len(there.data), md5=record.md5, etag="abc-2", attempts=0)
        correct(place.manifest, [(record, outcome)])
        before = place.record(1)
        place.apply()
        assert place.record(1) == replace(before, etag=None)  # a copy in one request: its ETag is the MD5


def test_what_a_dead_run_has_stored_under_another_etag_is_known_by_its_md5(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(1)) as place:
        record, there = place.record(1), place.object(1)
        outcome = Outcome(record.entry, EntryState.DONE, size=len(there.data), md5=record.md5, etag="abc-2", attempts=0)
        correct(place.manifest, [(record, outcome)])  # what lies there has the MD5 as its ETag, and no header yet
        assert place.apply().in_line
        assert (place.record(1).etag, place.record(1).state) == (None, EntryState.DONE)


@pytest.mark.parametrize("change", ["another", "none"])
def test_another_object_than_was_recorded_is_left_alone(change: str, tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some()) as place:
        if change == "none":
            del place.store.objects[place.key(3)]
        else:
            place.store.put(place.key(3), b"x" * len(data_of(entry(3))), PLAIN)
        result = place.apply()
        assert (result.fates[ApplyStatus.DIFFERENT], result.left, result.in_line) == (1, 1, False)
        assert change == "none" or place.object(3).headers == PLAIN
        assert NONE in (noted_settings(place.manifest) or ())  # it is asked for again
        assert applied_to(place.manifest, USUAL) is None


def test_an_object_that_is_replaced_meanwhile_is_looked_at_again(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(1)) as place:
        place.store.fail("copy_from", ObjectChanged("412"), NetworkFailure("reset"))
        assert place.apply().fates == {ApplyStatus.APPLIED: 1}
        assert place.store.count("head") == 3  # and one for the first of a run


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", [*some(40), *some(40, kind=REMOTE)]) as place:
        with pytest.raises(Interrupted, match="stopped"):
            place.apply(stop_after=50, workers=2)
        reached = applied_to(place.manifest, USUAL)
        assert reached is not None
        copied = place.store.count("copy_from")
        place.store.calls.clear()
        result = place.apply()
        assert (result.goes_on, result.in_line) == (True, True)
        assert copied + result.fates[ApplyStatus.APPLIED] == 80
        assert result.fates.total() < 40


def test_what_was_left_by_an_earlier_run_is_not_forgotten_by_the_one_that_ends(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(60)) as place:
        del place.store.objects[place.key(1)]
        with pytest.raises(Interrupted):
            place.apply(stop_after=30, workers=1)
        result = place.apply()
        assert (result.left, result.left_before, result.in_line) == (1, 1, False)
        assert place.apply().fates[ApplyStatus.DIFFERENT] == 1


def test_what_a_store_refused_that_is_well_again_is_not_left(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(), USUAL) as place:
        place.store.fail("copy_from", *[ObjectRejected("501")] * 3)
        with pytest.raises(StoreUnusable):
            place.apply(OTHER, workers=1, acl_taken=True)
        assert place.apply(OTHER).in_line


@pytest.mark.parametrize("private", [False, True])
def test_everything_becomes_private_and_the_first_of_it_is_asked_for(private: bool, tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(private=private), USUAL) as place:
        result = place.apply(USUAL._replace(acl="private"))
        assert result.in_line
        assert {place.object(number).acl for number in range(1, 7)} == {"private"}
        assert set(place.store.asked) == {("copy_from", "private")}  # in the same request
        assert place.store.count("anybody_reads") == 1


def test_what_everybody_turns_out_to_read_stops_the_run_and_is_not_removed(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(private=True)) as place:
        place.store.open_to_all = True
        with pytest.raises(PrivacyLost, match="it may be the only copy"):
            place.apply(acl_taken=None)
        assert len(place.store.objects) == 6
        assert place.store.count("copy_from") == 1
        pending = [each for each in ManifestReport(place.manifest).iter_records() if each.state is EntryState.PENDING]
        assert [each.presence for each in pending] == [ACCESS]  # `status` and `cutover` tell of it, a copy writes it


def test_without_an_answer_who_reads_it_nothing_private_is_stored_and_the_rest_goes_on(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", [*some(3), *(entry(row_id, private=True) for row_id in (7, 8, 9))]) as place:
        place.store.fail("anybody_reads", *[ServerFailure("503")] * 10)
        result = place.apply(workers=1)
        assert result.fates == {ApplyStatus.APPLIED: 3, ApplyStatus.FAILED: 3}
        assert [acl for _, acl in place.store.asked].count("private") == 1
        assert [place.record(row_id).state for row_id in (7, 8, 9)].count(EntryState.PENDING) == 1  # which was stored
        assert len(place.store.objects) == 6


def test_who_stops_while_that_is_asked_is_told_the_name_of_what_may_be_public(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(2, private=True)) as place:
        place.store.fail("anybody_reads", Interrupted("stopped while waiting"))
        with pytest.raises(Interrupted, match="may be public: it was not removed, because it may be the only copy"):
            place.apply(workers=1, stop_after=0)
        assert len(place.store.objects) == 2
        assert WorkQueue(place.manifest).pending() == 1


def test_what_is_private_never_goes_without_its_acl(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", [*some(3), entry(9, private=True)]) as place:
        assert place.apply().fates == {ApplyStatus.APPLIED: 4}
        assert place.object(9).acl == "private"
        assert {acl for method, acl in place.store.asked if method == "copy_from"} == {"public-read", "private"}


def test_what_somebody_has_hidden_since_is_not_opened_again(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some()) as place:
        place.object(4).acl = "private"  # as Mastodon does after the switch, when an account is suspended
        result = place.apply()
        assert (result.fates[ApplyStatus.HIDDEN], result.in_line) == (1, False)
        assert (place.object(4).acl, place.object(4).headers) == ("private", PLAIN)


def test_where_nobody_reads_anything_nobody_has_hidden_it(tmp_path: Path) -> None:
    """A store that passes over ACLs, or one that everybody reads through somebody else."""
    with stored(tmp_path / "m.db", some(200)) as place:
        for there in place.store.objects.values():
            there.acl = None
        with pytest.raises(StoreUnusable, match="all were stored as public"):
            place.apply()
        assert not place.store.count("copy_from")
        assert place.store.count("head") < 150
        assert place.apply(USUAL._replace(acl="none")).fates == {ApplyStatus.APPLIED: 200}


def test_where_no_acl_opens_anything_the_bucket_decides(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some()) as place:
        for there in place.store.objects.values():
            there.acl = None  # and everybody reads elsewhere
        place.store.refused["public-read"] = AclUnsupported("it takes none")
        result = place.apply()
        assert (result.fates, result.in_line) == ({ApplyStatus.APPLIED: 6}, True)
        assert result.finding is not None


def file(name: str = "a.png", *, private: bool = False) -> RemoteFile:
    return RemoteFile(name, None, private)


def test_only_what_is_public_by_its_row_now_is_opened(tmp_path: Path) -> None:
    """However old the plan is. What is private by now is known as such from then on, and no copy opens it."""
    with stored(tmp_path / "m.db", some(), USUAL._replace(acl="private")) as place:
        place.rows = {2: file(private=True), 3: None, 4: file("b.png"), 5: file()}
        result = place.apply()
        assert (result.fates, result.left, result.in_line) == ({ApplyStatus.APPLIED: 3, ApplyStatus.CLOSED: 3}, 0, True)
        assert [place.object(number).acl == "public-read" for number in range(1, 7)] == [
            *(True, False, False, False, True, True)
        ]
        assert place.asked == [6]
        assert [(each.state, each.entry.private) for each in map(place.record, (2, 3, 4))] == [
            *((EntryState.DONE, True), (EntryState.DONE, False), (EntryState.DONE, False))
        ]
        assert "3 objects are left as they are: their rows" in render_applying(result)


def test_what_everybody_reads_although_its_row_is_private_by_now_is_to_be_hidden(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(2), NONE._replace(acl="private")) as place:
        place.object(1).acl = "public-read"  # by somebody else
        place.rows = {1: file(private=True)}
        assert place.apply().fates == {ApplyStatus.APPLIED: 1, ApplyStatus.CLOSED: 1}
        hidden = place.record(1)
        assert (hidden.state, hidden.entry.private, hidden.presence) == (EntryState.PENDING, True, ACCESS)
        assert "private by now" in (hidden.detail or "")


def test_so_is_what_has_the_headers_that_it_should_have(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(2), NONE._replace(acl="private")) as place:
        place.object(1).acl = place.object(2).acl = "public-read"
        place.rows = {1: file(private=True)}
        assert place.apply(NONE).fates == {ApplyStatus.IN_LINE: 1, ApplyStatus.CLOSED: 1}
        hidden = place.record(1)
        assert (hidden.state, hidden.entry.private, hidden.presence) == (EntryState.PENDING, True, ACCESS)


@pytest.mark.parametrize("stops", [False, True])
def test_what_comes_back_after_its_row_was_gone_is_not_taken_for_public(stops: bool, tmp_path: Path) -> None:
    """It was stored as private, and left so: the settings that it was stored under stay known."""
    entries = some(40)
    under = USUAL._replace(acl="private")
    with stored(tmp_path / "m.db", entries, under) as place:
        place.rows = {1: None}
        if stops:
            with pytest.raises(Interrupted):
                place.apply(stop_after=20, workers=1)
            assert (reached := applied_to(place.manifest, USUAL)) is not None
            assert reached.gone == 1
        assert place.apply().in_line
        assert other_settings(place.manifest, USUAL) == ()
        for seen in (entries[1:], entries):
            plan(place.manifest, seen)
        assert under in other_settings(place.manifest, USUAL)
        assert place.object(1).acl == "private"


def plan(manifest: Manifest, entries: list[Entry]) -> None:
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
        writer.merge(entries[0].kind.table, LOWEST_ID, HIGHEST_ID, grouped(entries))
        writer.finish(datetime.now(UTC), {})


@pytest.mark.parametrize(("dry_run", "said"), [(True, "to be stored again"), (False, "stored again")])
def test_progress_tells_what_is_done_apart_from_what_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool, said: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr(NoProgress, "started", lambda _, progress: told.append(progress.finding))
    with stored(tmp_path / "m.db", some(), USUAL._replace(acl="private")) as place:
        place.apply(dry_run=dry_run)
    assert told == [said]


def test_a_dry_run_asks_no_database(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(), USUAL._replace(acl="private")) as place:
        assert place.apply(dry_run=True).fates == {ApplyStatus.APPLIED: 6}
        assert not place.asked


def test_a_database_that_fails_ends_the_run_and_nothing_more_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored(tmp_path / "m.db", some(), USUAL._replace(acl="private")) as place:
        monkeypatch.setattr("mastosync.checking.row_check._AT_ONCE", 2)
        answers = iter([place.look_up, place.look_up])

        def failing(records: Sequence[Record]) -> dict[tuple[str, str, int], RemoteFile]:
            try:
                return next(answers)(records)
            except StopIteration:
                raise DatabaseError("out of reach") from None

        place.look_up = failing  # type: ignore[method-assign]
        with pytest.raises(DatabaseError, match="out of reach"):
            place.apply(workers=1)
        opened = [each.acl for each in place.store.objects.values()].count("public-read")
        assert opened <= 4
        place.look_up = AppliedUpTo.look_up.__get__(place)  # type: ignore[method-assign]
        assert place.apply().in_line


OURS = DatabaseIdentity("mastodon_production", "db:5432", None, ("a",))
WHOLE = DatabaseAge("", "", {})


@pytest.mark.parametrize(
    ("found", "age", "told"),
    [
        (replace(OURS, accounts=("b",)), WHOLE, "another database"),
        (
            replace(OURS, accounts=()),  # nobody can tell whose it is
            replace(WHOLE, empty={"accounts"}, wanting=(("media_attachments", "accounts"),)),
            "accounts has none",
        ),
    ],
)
def test_another_database_or_half_of_it_opens_nothing(
    found: DatabaseIdentity, age: DatabaseAge, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late in a run: each connection is asked."""
    with stored(tmp_path / "m.db", some(), USUAL._replace(acl="private")) as place:
        monkeypatch.setattr("mastosync.checking.row_check._AT_ONCE", 2)
        with place.manifest.transaction():
            remember_database(place.manifest, OURS)
        identities, ages = iter([OURS]), iter([WHOLE])
        monkeypatch.setattr("mastosync.mastodon.identity.identity_of", lambda _: next(identities, found))
        monkeypatch.setattr("mastosync.mastodon.identity.age_of", lambda *_: next(ages, age))
        monkeypatch.setattr(Context, "database", lambda _: nullcontext())
        context, look_up = Context(Config(), tmp_path / "m.db", NoProgress(), StopSignal()), place.look_up

        def looked_up(records: Sequence[Record]) -> dict[tuple[str, str, int], RemoteFile]:
            with context.right_database():
                return look_up(records)

        place.look_up = looked_up  # type: ignore[method-assign]
        with pytest.raises(PlanRefused, match=told):
            place.apply(workers=1)
        opened = [each.acl for each in place.store.objects.values()].count("public-read")
        assert opened <= 2
        assert len(place.asked) == 1


def test_an_answer_that_has_grown_old_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = Clock(monkeypatch), []

    def look_up(records: Sequence[Record]) -> dict[tuple[str, str, int], RemoteFile]:
        asked.append([each.entry.id for each in records])
        kind = entry().kind
        return {(kind.table, kind.attachment, each.entry.id): file(private=len(asked) > 2) for each in records}

    opening = Opening(look_up)
    records = [Record(each, None, EntryState.DONE, None, 1, None, None, None, None) for each in some(3)]
    claims = opening.answered((Reached(1, each.entry.id, each.entry.name), each) for each in records)
    first = next(claims)
    clock.now += 61  # the workers were slow
    second = next(claims)
    assert run_to_end(opening.row(second[1], second[2])) is Row.PUBLIC
    clock.now += 61  # the store was down
    assert run_to_end(opening.row(second[1], second[2])) is Row.PRIVATE
    assert asked == [[1, 2, 3], [2, 3], [2]]
    assert first[2].row is Row.PUBLIC


def reopened(place: AppliedUpTo) -> list[Record]:
    return [each for each in ManifestReport(place.manifest).iter_records() if each.state is EntryState.PENDING]


@pytest.mark.parametrize("large", ["none", "from the start", "by the store"])
@pytest.mark.parametrize("hidden", [0, 20])
def test_a_copy_without_an_acl_hides_one_object_at_most(large: str, hidden: int, tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(40), NONE) as place:
        for number in range(1, hidden + 1):
            place.object(number).acl = "private"
        if large == "by the store":
            place.store.fail("copy_from", *[ObjectTooLarge("400 EntityTooLarge")] * 100)
        with pytest.raises(AccessLost, match=r"everybody could read .* but nobody can now") as caught:
            place.apply(USUAL._replace(acl="none"), workers=8, largest=5 if large == "from the start" else 1 << 40)
        assert "`acl = auto`" in (caught.value.hint or "")
        read = [number for number in range(1, 41) if place.object(number).acl == "public-read"]
        assert len(read) == 39 - hidden
        (lost,) = reopened(place)
        assert lost.presence == ACCESS
        assert place.key(lost.entry.id) in caught.value.message
        assert lost.entry.id not in read


def test_large_objects_are_asked_for_although_small_ones_stay_public(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(40), NONE) as place:
        keeping = Keeping()
        keeping.objects, place.store = place.store.objects, keeping
        largest = len(data_of(entry(1)))  # those with two digits are larger
        with pytest.raises(AccessLost):
            place.apply(USUAL._replace(acl="none"), largest=largest)
        assert [there.acl for there in keeping.objects.values()].count("public-read") == 39
        assert len(reopened(place)) == 1


@pytest.mark.parametrize("opened_by", ["policy", "ACL that a copy keeps"])
def test_what_stays_public_without_an_acl_is_asked_for_once(opened_by: str, tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(40), NONE) as place:
        keeping = MemoryStore() if opened_by == "policy" else Keeping()
        keeping.objects, place.store = place.store.objects, keeping
        keeping.open_to_all = opened_by == "policy"
        assert place.apply(USUAL._replace(acl="none"), workers=4).fates == {ApplyStatus.APPLIED: 40}
        assert keeping.count("anybody_finds") <= 4 + 1 + 4


@pytest.mark.parametrize(
    ("trouble", "error"), [(ServerFailure("503"), AccessLost), (Interrupted("stopped"), Interrupted)]
)
def test_what_may_have_been_hidden_is_told_and_stops_the_run(
    trouble: Exception, error: type[Exception], tmp_path: Path
) -> None:
    with stored(tmp_path / "m.db", some(40), NONE) as place:
        failing = Failing(trouble, stop := StopSignal())
        failing.objects, place.store = place.store.objects, failing
        with pytest.raises(error, match="accounts/avatars") as caught:
            place.apply(USUAL._replace(acl="none"), stop=stop)
        assert failing.count("copy_from") == 1
        (lost,) = reopened(place)
        assert lost.presence == ACCESS
        assert place.key(lost.entry.id) in str(caught.value)


def test_what_was_hidden_is_told_although_something_public_ends_the_run(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(), NONE) as place:
        applier = place.applier(USUAL)
        for error in (PrivacyLost("one is public"), AccessLost("one is hidden")):
            applier._end_with(place.record(1), error)
        with pytest.raises(PrivacyLost, match="one is public; one is hidden"):
            applier._require_ended()


def test_a_failure_that_was_a_success_is_asked_for_too(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(40), NONE) as place:
        losing = Losing()
        losing.objects, place.store = place.store.objects, losing
        with pytest.raises(AccessLost):
            place.apply(USUAL._replace(acl="none"))
        assert [there.acl for there in losing.objects.values()].count("public-read") == 39
        assert len(reopened(place)) == 1


def test_a_store_that_passes_over_the_acl_of_a_copy_hides_one_object_at_most(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(40), NONE) as place:
        for number in range(1, 11):
            place.object(number).acl = None
        note_settings(place.manifest, USUAL._replace(acl="private"))  # so these are opened first
        passing = PassingOver()
        passing.objects, place.store = place.store.objects, passing
        with pytest.raises(AccessLost, match="nobody can now") as caught:
            place.apply(workers=1)
        assert "s3:PutObjectAcl" in (caught.value.hint or "")
        assert "acl = none" not in (caught.value.hint or "")
        assert [there.acl for there in passing.objects.values()].count("public-read") == 29


def test_private_objects_that_are_kept_back_are_told_alike_by_a_dry_run(tmp_path: Path) -> None:
    entries = [*some(3), *(entry(row_id, private=True) for row_id in (7, 8))]
    with stored(tmp_path / "m.db", entries, NONE) as place:
        place.store.open_to_all = True
        for dry_run in (True, False):
            result = place.apply(USUAL._replace(acl="none"), dry_run=dry_run)
            assert result.fates == {ApplyStatus.APPLIED: 3, ApplyStatus.KEPT_BACK: 2}
            assert "2 private objects are left as they are" in render_applying(result)


def test_what_was_private_is_opened_as_its_row_asks(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", [*some(3), entry(9, private=True)], USUAL._replace(acl="private")) as place:
        assert place.apply().in_line
        assert [place.object(number).acl for number in (1, 2, 3, 9)] == ["public-read"] * 3 + ["private"]


@pytest.mark.parametrize("refusal", [ObjectRejected("501 NotImplemented"), ObjectDenied("403 AccessDenied")])
def test_a_store_that_does_not_copy_is_noticed_by_the_first_objects(refusal: Exception, tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(50), USUAL) as place:
        place.store.fail("copy_from", *[refusal] * 100)
        with pytest.raises(StoreUnusable, match="does not copy objects onto themselves"):
            place.apply(OTHER, workers=8, acl_taken=True)
        assert place.store.count("copy_from") == 3
        assert noted_settings(place.manifest) == (USUAL, OTHER)


def test_one_archived_object_does_not_stop_the_others(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(), USUAL) as place:
        place.store.fail("copy_from", ObjectDenied("403 InvalidObjectState"))
        assert place.apply(OTHER, acl_taken=True).fates == {ApplyStatus.FAILED: 1, ApplyStatus.APPLIED: 5}


class Dropping(MemoryStore):
    """Takes a copy for one of the bytes alone."""

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        return super().copy_from(source_bucket, source_key, info, key, PutOptions(ObjectHeaders(), options.acl))


def test_a_store_that_drops_headers_costs_one_object_which_a_copy_brings_again(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(50)) as place:
        dropping = Dropping()
        dropping.objects, place.store = place.store.objects, dropping
        with pytest.raises(HeadersLost, match="does not keep Content-Type, Cache-Control"):
            place.apply(workers=8)
        assert dropping.count("copy_from") == 1
        assert WorkQueue(place.manifest).pending() == 1


def test_a_store_that_fails_ends_the_run(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(200)) as place:
        place.store.fail("head", *[ObjectDenied("403")] * 1000)
        with pytest.raises(StoreUnusable, match="in a row"):
            place.apply()
        assert place.store.count("head") < 150


@pytest.mark.parametrize("noticed", ["by its size", "by the store"])
def test_a_large_object_goes_in_parts_that_the_store_takes_itself(noticed: str, tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", [entry(1), entry(2, private=True)]) as place:
        if noticed == "by the store":
            place.store.fail("copy_from", *[ObjectTooLarge("400 EntityTooLarge")] * 2)
        assert place.apply(largest=5 if noticed == "by its size" else 1 << 40).in_line
        assert [place.object(number).acl for number in (1, 2)] == ["public-read", "private"]
        assert place.object(1).headers.cache_control == CACHE_CONTROL
        assert place.record(1).etag == place.object(1).etag
        assert place.object(1).etag.endswith("-2" if noticed == "by its size" else "-1")
        assert not place.store.unfinished()
        assert {"write", "write_part", "read"}.isdisjoint(method for method, _ in place.store.calls)


def test_parts_of_an_object_that_fails_are_thrown_away(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(1)) as place:
        place.store.fail("copy_part", ObjectDenied("403"))
        assert place.apply(largest=5, acl_taken=True).fates == {ApplyStatus.FAILED: 1}
        assert not place.store.unfinished()


def test_a_dry_run_looks_and_writes_nothing(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(), headers={2: OWN}) as place:
        before = noted_settings(place.manifest)
        result = place.apply(dry_run=True)
        assert (result.fates, result.in_line) == ({ApplyStatus.APPLIED: 5, ApplyStatus.IN_LINE: 1}, False)
        assert {method for method, _ in place.store.calls} == {"head", "anybody_finds"}
        assert (noted_settings(place.manifest), applied_to(place.manifest, USUAL)) == (before, None)


def test_what_lies_there_and_is_not_done_keeps_the_old_settings_in_mind(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some()) as place:
        record = place.record(3)
        lost = Outcome(record.entry, EntryState.PENDING, presence=record.presence, attempts=0)
        correct(place.manifest, [(record, lost)])  # it may be confirmed as it lies
        result = place.apply()
        assert (result.fates, result.left, result.in_line) == ({ApplyStatus.APPLIED: 5}, 0, False)
        assert noted_settings(place.manifest) == (NONE, USUAL)


class TestNotes:
    def test_nothing_is_told_before_anything_is_done(self, tmp_path: Path) -> None:
        with planned(tmp_path / "m.db", some()) as manifest:
            note_settings(manifest, OTHER)
            assert other_settings(manifest, USUAL) == ()

    @pytest.mark.parametrize(("current", "others"), [(USUAL, (NONE,)), (OTHER, ()), (NONE, ())])
    def test_an_older_manifest_is_taken_for_one_without_the_usual_default(
        self, tmp_path: Path, current: ObjectSettings, others: Noted
    ) -> None:
        with stored(tmp_path / "m.db", some()) as place:
            with place.manifest.transaction() as connection:
                connection.execute("DELETE FROM meta WHERE name = 'settings'")
            assert other_settings(place.manifest, current) == others
            note_settings(place.manifest, current)
            assert other_settings(place.manifest, current) == others

    def test_a_copy_under_other_settings_lets_the_next_run_begin_anew(self, tmp_path: Path) -> None:
        with stored(tmp_path / "m.db", some(60)) as place:
            with pytest.raises(Interrupted):
                place.apply(stop_after=30, workers=1)
            note_settings(place.manifest, USUAL)
            assert applied_to(place.manifest, USUAL)
            note_settings(place.manifest, NONE)
            assert applied_to(place.manifest, USUAL) is None

    def test_so_does_what_a_copy_may_confirm_as_it_lies(self, tmp_path: Path) -> None:
        with stored(tmp_path / "m.db", some(60)) as place:
            with pytest.raises(Interrupted):
                place.apply(stop_after=30, workers=1)
            record = place.record(2)
            lost = Outcome(record.entry, EntryState.PENDING, presence=record.presence, attempts=0)
            correct(place.manifest, [(record, lost)])
            note_settings(place.manifest, USUAL)
            assert applied_to(place.manifest, USUAL) is None

    def test_what_others_have_stored_has_settings_that_nobody_knows(self, tmp_path: Path) -> None:
        with stored(tmp_path / "m.db", some(), USUAL) as place:
            record = place.record(2)
            adopted = Outcome(record.entry, EntryState.DONE, size=record.entry.size, md5=record.md5, attempts=0)
            correct(place.manifest, [(record, adopted._replace(origin=Origin.ADOPTED))])
            place.object(2).acl = None
            note_settings(place.manifest, USUAL, by_others=True)
            assert other_settings(place.manifest, USUAL) == (None,)
            assert place.apply().fates == {ApplyStatus.IN_LINE: 5, ApplyStatus.APPLIED: 1}
            assert place.object(2).acl == "public-read"
            assert other_settings(place.manifest, USUAL) == ()


class TestRule:
    def goal(self, told: str | None, current: str | None, *others: str | None, class_told: str | None = None) -> Any:  # noqa: ANN401
        known = [ObjectSettings(None, "auto", each) for each in others]
        record = Record(entry(), None, EntryState.DONE, None, 0, None, None, None, Origin.COPIED)
        info = ObjectInfo(1, "e", ObjectHeaders(cache_control=told), storage_class=class_told)
        return goal_of(record, info, ObjectSettings(None, "auto", current), tuple(known))

    @pytest.mark.parametrize(
        ("told", "current", "others", "goal"),
        [
            (None, "COLD", [None], ("COLD", True)),
            ("COLD", "COLD", [None], ("COLD", False)),
            ("COLD", None, ["COLD"], (None, True)),
            ("GLACIER", "COLD", [None], ("GLACIER", False)),  # moved there by a rule of the bucket
            ("GLACIER", None, ["COLD"], ("GLACIER", False)),
            (None, "COLD", ["COLD"], ("COLD", False)),  # the store may just not tell
        ],
    )
    def test_storage_classes(
        self, told: str | None, current: str | None, others: list[str | None], goal: tuple[str | None, bool]
    ) -> None:
        found = self.goal(None, current, *others, class_told=told)
        assert (found.storage_class, found.differs) == goal


class Keeping(MemoryStore):
    """Keeps the ACL of what it copies onto itself, unless that goes in parts."""

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        kept = options._replace(acl=options.acl or self.objects[key].acl)
        return super().copy_from(source_bucket, source_key, info, key, kept)


class Losing(MemoryStore):
    """Copies, and finds another ETag by the time it is asked again, as the answer was lost."""

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        super().copy_from(source_bucket, source_key, info, key, options)
        raise ObjectChanged("412")


class PassingOver(MemoryStore):
    """Takes an ACL with a copy, and passes over it."""

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        return super().copy_from(source_bucket, source_key, info, key, options._replace(acl=None))


class Failing(MemoryStore):
    """Answers no stranger any more once it has copied something."""

    def __init__(self, trouble: Exception, stop: StopSignal) -> None:
        super().__init__()
        self._trouble, self._stop = trouble, stop

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        self.fail("anybody_finds", *[self._trouble] * 100)
        if isinstance(self._trouble, Interrupted):
            self._stop.request()
        return super().copy_from(source_bucket, source_key, info, key, options)


class Watching(MemoryStore):
    """Takes note of what had become of the first copy when the second one was asked for."""

    first = ""
    looks = -1  # at the first object, by then

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        if not self.first:
            self.first = key
        elif self.looks < 0:
            self.looks = self.calls.count(("head", self.first))
        return super().copy_from(source_bucket, source_key, info, key, options)


def test_many_workers_wait_until_the_first_object_has_been_looked_at(tmp_path: Path) -> None:
    """What it shows of the store holds for all of them."""
    with stored(tmp_path / "m.db", some(40)) as place:
        watching = Watching()
        watching.objects, place.store = place.store.objects, watching
        assert place.apply(workers=16).in_line
        assert watching.looks == 2  # before it was stored again, and after
