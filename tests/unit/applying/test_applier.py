"""Bringing objects in line with other settings, at a store in memory that copies by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mastosync.app.context import Context
from mastosync.applying.applier import ApplyResult
from mastosync.applying.one_object import ApplyStatus
from mastosync.checking.row_check import RowCheck, RowState
from mastosync.cli.commands.apply_settings import render_applying
from mastosync.config import Config
from mastosync.errors import (
    AclUnsupported,
    DatabaseError,
    Interrupted,
    NetworkFailure,
    ObjectChanged,
    ObjectDenied,
    ObjectRejected,
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
    ManifestReader,
    Noted,
    ObjectSettings,
    PlanWriter,
    WorkQueue,
    applied_to,
    last_change,
    note_settings,
    other_settings,
    record_findings,
    remember_database,
    take_back_change,
)
from mastosync.manifest import AppliedUpTo as Reached
from mastosync.manifest.settings import noted_settings
from mastosync.model import (
    CACHE_CONTROL,
    DatabaseAge,
    DatabaseIdentity,
    Entry,
    EntryState,
    ObjectInfo,
    Origin,
    Outcome,
    Record,
    RemoteFile,
)
from mastosync.progress import NoProgress
from mastosync.runtime.steps import run_to_end
from mastosync.runtime.stop import StopSignal
from tests.support.applied_places import NONE, OTHER, OWN, PLAIN, USUAL, Place, data_of, file, some, stored
from tests.support.clock import Clock
from tests.support.entries import REMOTE, entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, planned
from tests.support.memory_store import MemoryStore


@pytest.mark.parametrize(("pending", "said"), [(1, "1 object is pending"), (10, "10 objects are pending")])
def test_what_is_pending_is_told_with_what_brings_it(pending: int, said: str) -> None:
    told = render_applying(ApplyResult(USUAL, (NONE,), dry_run=False, pending=pending))
    assert told.endswith(f"{said}: run `mastosync copy`, then this again")


def test_what_has_none_or_what_was_configured_before_gets_another_cache_control(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(), headers={2: OWN, 3: PLAIN._replace(cache_control="max-age=1")}) as place:
        note_settings(place.manifest, ObjectSettings("max-age=1"))
        result = place.apply()
        assert (result.counts, result.in_line) == ({ApplyStatus.APPLIED: 5, ApplyStatus.IN_LINE: 1}, True)
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
        assert place.apply().counts == {ApplyStatus.IN_LINE: 3}
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
        assert place.apply().counts == {ApplyStatus.IN_LINE: 1}
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
        assert place.apply(wanted).counts == {ApplyStatus.APPLIED: 2, ApplyStatus.IN_LINE: 1}
        note_settings(place.manifest, under)
        assert place.apply(wanted).counts == {ApplyStatus.IN_LINE: 3}


def test_given_and_empty_takes_away_what_was_given(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(2), USUAL, {2: OWN}) as place:
        place.apply(NONE)
        assert [place.object(number).headers.cache_control for number in (1, 2)] == [None, "no-store"]


def test_another_etag_is_recorded_and_nothing_else_of_the_entry_changes(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(1)) as place:
        record, there = place.record(1), place.object(1)
        there.etag, there.etag_is_md5 = "abc-2", False  # stored in parts, as large objects are
        outcome = Outcome(record.entry, EntryState.DONE, size=len(there.data), md5=record.md5, etag="abc-2", attempts=0)
        record_findings(place.manifest, [(record, outcome)])
        before = place.record(1)
        place.apply()
        assert place.record(1) == before._replace(etag=None)  # a copy in one request: its ETag is the MD5


def test_what_a_dead_run_has_stored_under_another_etag_is_known_by_its_md5(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(1)) as place:
        record, there = place.record(1), place.object(1)
        outcome = Outcome(record.entry, EntryState.DONE, size=len(there.data), md5=record.md5, etag="abc-2", attempts=0)
        record_findings(
            place.manifest, [(record, outcome)]
        )  # what lies there has the MD5 as its ETag, and no header yet
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
        assert (result.counts[ApplyStatus.DIFFERENT], result.left, result.in_line) == (1, 1, False)
        assert change == "none" or place.object(3).headers == PLAIN
        assert NONE in (noted_settings(place.manifest) or ())  # it is asked for again
        assert applied_to(place.manifest, USUAL) is None


def test_an_object_that_is_replaced_meanwhile_is_looked_at_again(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(1)) as place:
        place.store.fail("copy_from", ObjectChanged("412"), NetworkFailure("reset"))
        assert place.apply().counts == {ApplyStatus.APPLIED: 1}
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
        assert copied + result.counts[ApplyStatus.APPLIED] == 80
        assert result.counts.total() < 40


def test_what_was_left_by_an_earlier_run_is_not_forgotten_by_the_one_that_ends(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(60)) as place:
        del place.store.objects[place.key(1)]
        with pytest.raises(Interrupted):
            place.apply(stop_after=30, workers=1)
        result = place.apply()
        assert (result.left, result.left_before, result.in_line) == (1, 1, False)
        assert place.apply().counts[ApplyStatus.DIFFERENT] == 1


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
        pending = [each for each in ManifestReader(place.manifest).iter_records() if each.state is EntryState.PENDING]
        assert [each.presence for each in pending] == [ACCESS]  # `status` and `cutover` tell of it, a copy writes it


def test_without_an_answer_who_reads_it_nothing_private_is_stored_and_the_rest_goes_on(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", [*some(3), *(entry(row_id, private=True) for row_id in (7, 8, 9))]) as place:
        place.store.fail("anybody_reads", *[ServerFailure("503")] * 10)
        result = place.apply(workers=1)
        assert result.counts == {ApplyStatus.APPLIED: 3, ApplyStatus.FAILED: 3}
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
        assert place.apply().counts == {ApplyStatus.APPLIED: 4}
        assert place.object(9).acl == "private"
        assert {acl for method, acl in place.store.asked if method == "copy_from"} == {"public-read", "private"}


def test_what_somebody_has_hidden_since_is_not_opened_again(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some()) as place:
        place.object(4).acl = "private"  # as Mastodon does after the switch, when an account is suspended
        result = place.apply()
        assert (result.counts[ApplyStatus.HIDDEN], result.in_line) == (1, False)
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
        assert place.apply(USUAL._replace(acl="none")).counts == {ApplyStatus.APPLIED: 200}


def test_where_no_acl_opens_anything_the_bucket_decides(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some()) as place:
        for there in place.store.objects.values():
            there.acl = None  # and everybody reads elsewhere
        place.store.refused["public-read"] = AclUnsupported("it takes none")
        result = place.apply()
        assert (result.counts, result.in_line) == ({ApplyStatus.APPLIED: 6}, True)
        assert result.finding is not None


def test_only_what_is_public_by_its_row_now_is_opened(tmp_path: Path) -> None:
    """However old the plan is. What is private by now is known as such from then on, and no copy opens it."""
    with stored(tmp_path / "m.db", some(), USUAL._replace(acl="private")) as place:
        place.rows = {2: file(private=True), 3: None, 4: file("b.png"), 5: file()}
        result = place.apply()
        assert (result.counts, result.left, result.in_line) == (
            {ApplyStatus.APPLIED: 3, ApplyStatus.CLOSED: 3},
            0,
            True,
        )
        assert [place.object(number).acl == "public-read" for number in range(1, 7)] == [
            *(True, False, False, False, True, True)
        ]
        assert place.asked == [6]
        assert [(each.state, each.entry.private) for each in map(place.record, (2, 3, 4))] == [
            *((EntryState.DONE, True), (EntryState.DONE, False), (EntryState.DONE, False))
        ]
        assert "3 objects are not opened: their rows" in render_applying(result)


class Closed(MemoryStore):
    """Refuses all strangers whatever the ACLs are, as a firewall does, or Block Public Access."""

    def anybody_reads(self, key: str) -> bool:
        self._called("anybody_reads", key)
        return False

    def anybody_finds(self, key: str, info: ObjectInfo) -> bool:
        return self.anybody_reads(key)


@pytest.mark.parametrize("refusal", [None, ObjectDenied("no")])
def test_what_is_private_by_now_is_stored_as_private_although_everything_is_refused(
    refusal: ObjectDenied | None, tmp_path: Path
) -> None:
    """`acl = private` was begun, and taken back: what it had not come to lies there as public."""
    with stored(tmp_path / "m.db", some(3), USUAL._replace(acl="private")) as place:
        objects, place.store = place.store.objects, Closed()
        place.store.objects = objects
        place.object(1).acl = "public-read"
        place.rows = {1: file(private=True)}
        if refusal:
            place.store.refused["private"] = refusal
        place.apply()
        hidden = place.record(1)
        assert hidden.entry.private
        if refusal:
            assert (hidden.state, hidden.presence) == (EntryState.PENDING, ACCESS), "a copy sees to it"
        else:
            assert (hidden.state, place.object(1).acl) == (EntryState.DONE, "private")
            assert place.object(1).headers.cache_control == CACHE_CONTROL, "in line, as all that is done is"


def test_what_everybody_reads_although_its_row_is_private_by_now_is_to_be_hidden(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(2), NONE._replace(acl="private")) as place:
        place.object(1).acl = "public-read"  # by somebody else
        place.rows = {1: file(private=True)}
        assert place.apply().counts == {ApplyStatus.APPLIED: 1, ApplyStatus.CLOSED: 1}
        hidden = place.record(1)
        assert (hidden.state, hidden.entry.private, hidden.presence) == (EntryState.PENDING, True, ACCESS)
        assert "private by now" in (hidden.detail or "")


def test_so_is_what_has_the_headers_that_it_should_have(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(2), NONE._replace(acl="private")) as place:
        place.object(1).acl = place.object(2).acl = "public-read"
        place.rows = {1: file(private=True)}
        assert place.apply(NONE).counts == {ApplyStatus.IN_LINE: 1, ApplyStatus.CLOSED: 1}
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
        assert place.apply(dry_run=True).counts == {ApplyStatus.APPLIED: 6}
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
        place.look_up = Place.look_up.__get__(place)  # type: ignore[method-assign]
        assert place.apply().in_line


class Lagging:
    """A standby, or none."""

    name = "the database"

    def __init__(self, lag_seconds: float) -> None:
        self.lag_seconds = lag_seconds


OURS = DatabaseIdentity("mastodon_production", "db:5432", None, ("a",))

WHOLE = DatabaseAge("", "", {})


@pytest.mark.parametrize(
    ("found", "age", "lag", "told"),
    [
        (replace(OURS, accounts=("b",)), WHOLE, 0.0, "another database"),
        (
            replace(OURS, accounts=()),  # nobody can tell whose it is
            replace(WHOLE, empty={"accounts"}, wanting=(("media_attachments", "accounts"),)),
            0.0,
            "accounts has none",
        ),
        (OURS, WHOLE, 3_700.0, "a standby that may be more than an hour behind"),
    ],
)
def test_another_database_or_half_of_it_opens_nothing(
    found: DatabaseIdentity, age: DatabaseAge, lag: float, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late in a run: each connection is asked."""
    with stored(tmp_path / "m.db", some(), USUAL._replace(acl="private")) as place:
        monkeypatch.setattr("mastosync.checking.row_check._AT_ONCE", 2)
        with place.manifest.transaction():
            remember_database(place.manifest, OURS)
        identities, ages = iter([OURS]), iter([WHOLE])
        monkeypatch.setattr("mastosync.mastodon.identity.identity_of", lambda _: next(identities, found))
        monkeypatch.setattr("mastosync.mastodon.identity.age_of", lambda *_: next(ages, age))
        databases = iter([Lagging(0.0)])
        monkeypatch.setattr(Context, "database", lambda _: nullcontext(next(databases, Lagging(lag))))
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


class Waiting(MemoryStore):
    """Is down in the midst of a request, and meanwhile somebody is suspended."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def copy_from(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        self.meanwhile()
        return super().copy_from(*arguments, **options)


def test_what_was_hidden_while_its_own_request_waited_is_pending_as_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored(tmp_path / "m.db", some(3), USUAL._replace(acl="private")) as place:
        clock = Clock(monkeypatch)

        def meanwhile() -> None:
            clock.now += 61
            place.rows = {2: file(private=True), 3: None}

        objects, place.store = place.store.objects, Waiting(meanwhile)
        place.store.objects = objects
        place.apply(workers=1)
        hidden = [each for each in map(place.record, (1, 2, 3)) if each.state is EntryState.PENDING]
        opened = {number for number in (1, 2, 3) if place.object(number).acl == "public-read"}
        assert {each.entry.id for each in hidden} == opened & {2}
        assert all(each.entry.private and each.presence == ACCESS for each in hidden)


def test_an_answer_that_has_grown_old_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = Clock(monkeypatch), []

    def look_up(records: Sequence[Record]) -> dict[tuple[str, str, int], RemoteFile]:
        asked.append([each.entry.id for each in records])
        kind = entry().kind
        return {(kind.table, kind.attachment, each.entry.id): file(private=len(asked) > 2) for each in records}

    row_check = RowCheck(look_up)
    records = [Record(each, None, EntryState.DONE, None, 1, None, None, None, None) for each in some(3)]
    claims = row_check.with_answers((Reached(1, each.entry.id, each.entry.name), each) for each in records)
    first = next(claims)
    clock.now += 61  # the workers were slow
    second = next(claims)
    assert run_to_end(row_check.fresh(second[1], second[2])).row is RowState.PUBLIC
    clock.now += 61  # the store was down
    assert run_to_end(row_check.fresh(second[1], second[2])).row is RowState.PRIVATE
    assert asked == [[1, 2, 3], [2, 3], [2]]
    assert first[2].row is RowState.PUBLIC


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
            record_findings(place.manifest, [(record, lost)])
            note_settings(place.manifest, USUAL)
            assert applied_to(place.manifest, USUAL) is None

    def test_what_others_have_stored_has_settings_that_nobody_knows(self, tmp_path: Path) -> None:
        with stored(tmp_path / "m.db", some(), USUAL) as place:
            record = place.record(2)
            adopted = Outcome(record.entry, EntryState.DONE, size=record.entry.size, md5=record.md5, attempts=0)
            record_findings(place.manifest, [(record, adopted._replace(origin=Origin.ADOPTED))])
            place.object(2).acl = None
            note_settings(place.manifest, USUAL, by_others=True)
            assert other_settings(place.manifest, USUAL) == (None,)
            assert place.apply().counts == {ApplyStatus.IN_LINE: 5, ApplyStatus.APPLIED: 1}
            assert place.object(2).acl == "public-read"
            assert other_settings(place.manifest, USUAL) == ()
