"""Objects that a store copies onto themselves: what they keep, who reads them after, and what stops a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mastosync.applying.one_object import ApplyStatus
from mastosync.applying.rewrite import AccessLost, HeadersLost, target_settings
from mastosync.cli.commands.apply_settings import render_applying
from mastosync.errors import (
    Interrupted,
    ObjectDenied,
    ObjectRejected,
    ObjectTooLarge,
    PrivacyLost,
    ServerFailure,
    StoreUnusable,
)
from mastosync.manifest import (
    ACCESS,
    ObjectSettings,
    WorkQueue,
    applied_to,
    note_settings,
    record_findings,
)
from mastosync.manifest.settings import noted_settings
from mastosync.model import (
    CACHE_CONTROL,
    EntryState,
    ObjectHeaders,
    ObjectInfo,
    Origin,
    Outcome,
    Record,
)
from mastosync.runtime.stop import StopSignal
from tests.support.applied_places import (
    NONE,
    OTHER,
    OWN,
    USUAL,
    Dropping,
    Failing,
    Keeping,
    Losing,
    PassingOver,
    Watching,
    data_of,
    reopened,
    some,
    stored,
)
from tests.support.entries import entry
from tests.support.memory_store import MemoryStore


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
        assert place.apply(USUAL._replace(acl="none"), workers=4).counts == {ApplyStatus.APPLIED: 40}
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
        with pytest.raises(AccessLost, match="but nobody can now") as caught:
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
            assert result.counts == {ApplyStatus.APPLIED: 3, ApplyStatus.KEPT_BACK: 2}
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
        assert place.apply(OTHER, acl_taken=True).counts == {ApplyStatus.FAILED: 1, ApplyStatus.APPLIED: 5}


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
        assert place.apply(largest=5, acl_taken=True).counts == {ApplyStatus.FAILED: 1}
        assert not place.store.unfinished()


def test_a_dry_run_looks_and_writes_nothing(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some(), headers={2: OWN}) as place:
        before = noted_settings(place.manifest)
        result = place.apply(dry_run=True)
        assert (result.counts, result.in_line) == ({ApplyStatus.APPLIED: 5, ApplyStatus.IN_LINE: 1}, False)
        assert {method for method, _ in place.store.calls} == {"head", "anybody_finds"}
        assert (noted_settings(place.manifest), applied_to(place.manifest, USUAL)) == (before, None)


def test_what_lies_there_and_is_not_done_keeps_the_old_settings_in_mind(tmp_path: Path) -> None:
    with stored(tmp_path / "m.db", some()) as place:
        record = place.record(3)
        lost = Outcome(record.entry, EntryState.PENDING, presence=record.presence, attempts=0)
        record_findings(place.manifest, [(record, lost)])  # it may be confirmed as it lies
        result = place.apply()
        assert (result.counts, result.left, result.in_line) == ({ApplyStatus.APPLIED: 5}, 0, False)
        assert noted_settings(place.manifest) == (NONE, USUAL)


class TestRule:
    def goal(self, told: str | None, current: str | None, *others: str | None, class_told: str | None = None) -> Any:  # noqa: ANN401
        known = [ObjectSettings(None, "auto", each) for each in others]
        record = Record(entry(), None, EntryState.DONE, None, 0, None, None, None, Origin.COPIED)
        info = ObjectInfo(1, "e", ObjectHeaders(cache_control=told), storage_class=class_told)
        return target_settings(record, info, ObjectSettings(None, "auto", current), tuple(known))

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


def test_many_workers_wait_until_the_first_object_has_been_looked_at(tmp_path: Path) -> None:
    """What it shows of the store holds for all of them."""
    with stored(tmp_path / "m.db", some(40)) as place:
        watching = Watching()
        watching.objects, place.store = place.store.objects, watching
        assert place.apply(workers=16).in_line
        assert watching.looks == 2  # before it was stored again, and after
