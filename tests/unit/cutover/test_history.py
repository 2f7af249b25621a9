"""Plans, deletions, settings and verifications: what they mean for a switch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mastosync.cutover import (
    CutoverVerdict,
    assess_cutover,
)
from mastosync.findings import Grade
from mastosync.findings.deleted import Deleted
from mastosync.manifest import (
    CountLine,
    LastChange,
    ObjectSettings,
    PlanRecord,
    Relation,
    Removable,
)
from mastosync.model import TABLES, EntryState
from tests.support.cutover_evidence import DAY, HOUR, NOW, evidence, found, plan, proof, public, shared
from tests.support.entries import LOCAL


def test_what_has_no_digest_to_compare_is_found_as_well_as_it_can_be() -> None:
    """A verification more would find no more."""
    looked = proof(8, 10, unproven=2, read={"objects": 10}, public=public())
    told = found(evidence(verifications=[looked]))["verify"]
    assert told.grade is Grade.OK
    assert "10 of 10 were fine, 2 of them without a digest to compare; 10 were read back" in told.message


@pytest.mark.parametrize(
    ("plans", "grade"),
    [
        ([plan(DAY - 1)], Grade.OK),
        ([plan(DAY + 1)], Grade.WARNING),
        ([plan(7 * DAY + 1)], Grade.FAILURE),
        ([plan(HOUR), plan(9 * DAY)], Grade.OK),
        ([plan(HOUR, types=["accounts"]), plan(2 * DAY)], Grade.WARNING),  # the rest is as old as it was
        ([plan(HOUR, limit=10), plan(2 * DAY)], Grade.WARNING),
        ([plan(HOUR, only="local"), plan(9 * DAY)], Grade.OK),  # the cache's age is told apart
        ([plan(HOUR, types=[t for t in TABLES if t != "imports"]), plan(9 * DAY)], Grade.OK),
    ],
)
def test_a_plan_ages(plans: list[PlanRecord], grade: Grade) -> None:
    assert found(evidence(plans=plans))["plan"].grade is grade


@pytest.mark.parametrize(
    ("plans", "verdict"),
    [
        ([plan(limit=10)], CutoverVerdict.NO_GO),
        ([plan(only="remote")], CutoverVerdict.NO_GO),
        ([plan(types=["accounts"])], CutoverVerdict.NO_GO),
        ([plan(only="local")], CutoverVerdict.GO_WITH_FALLBACK),
        ([plan(types=[table for table in TABLES if table != "preview_cards"])], CutoverVerdict.GO_WITH_FALLBACK),
        ([plan(types=[table for table in TABLES if table != "imports"])], CutoverVerdict.GO),
        ([plan(only="local"), plan(only="remote")], CutoverVerdict.GO),
        ([plan(types=[table]) for table in TABLES], CutoverVerdict.GO),
    ],
)
def test_what_no_plan_took_in_is_not_forgotten(plans: list[PlanRecord], verdict: CutoverVerdict) -> None:
    assert assess_cutover(evidence(plans=plans)).verdict is verdict


def test_an_old_plan_of_the_cache_is_no_obstacle() -> None:
    result = assess_cutover(evidence(plans=[plan(HOUR, only="local"), plan(9 * DAY)]))
    assert result.verdict is CutoverVerdict.GO_WITH_FALLBACK
    assert "9 days" in next(each.message for each in result.findings if each.check == "cache-plan")


def test_how_much_was_new_tells_how_much_has_come_since() -> None:
    message = found(evidence(plans=[plan(2 * HOUR, added=1_000), plan(12 * HOUR)]))["plan"].message
    assert message == (
        "planned 2 hours ago; 1,000 objects were new since the plan before, made 10 hours earlier, so about 200 may"
        " have come since"
    )


@pytest.mark.parametrize(
    ("known", "grade"),
    [
        ({"verifications": []}, Grade.FAILURE),
        ({"verifications": [proof()]}, Grade.OK),
        ({"verifications": [proof()], "done_since": 3}, Grade.WARNING),
        ({"verifications": [proof()], "change": LastChange(NOW - HOUR / 2, "apply-settings")}, Grade.WARNING),
        ({"verifications": [proof()], "change": LastChange(NOW - 2 * HOUR, "adopt")}, Grade.OK),
        ({"verifications": [proof(9, 10)]}, Grade.WARNING),
        ({"verifications": [proof(4, 4)]}, Grade.WARNING),  # some types only
        ({"verifications": [proof(9, 10), proof()]}, Grade.WARNING),  # the last word counts
    ],
)
def test_what_arrived_should_be_verified(known: dict[str, Any], grade: Grade) -> None:
    told = assess_cutover(evidence(public=False, **known))
    assert next(each.grade for each in told.findings if each.check == "verify") is grade
    assert told.verdict is (CutoverVerdict.NO_GO if grade is Grade.FAILURE else CutoverVerdict.GO)


@pytest.mark.parametrize(
    ("asked", "grade"),
    [
        (None, Grade.FAILURE),
        (public(0), Grade.FAILURE),  # nothing was done then
        (public(0, listed=True), Grade.FAILURE),
        (public(), Grade.OK),
        (public(10, 1), Grade.WARNING),
        (public(10, 10), Grade.FAILURE),  # nobody would see anything
        (public(10, 1, exposed=1), Grade.FAILURE),
        (public(listed=True), Grade.FAILURE),
    ],
)
def test_everybody_has_to_be_able_to_read_what_is_public_alone(asked: dict[str, Any] | None, grade: Grade) -> None:
    proofs = [proof(), proof(ago=2 * HOUR, public=asked)] if asked else [proof()]
    assert found(evidence(verifications=proofs))["public"].grade is grade
    assert "public" not in found(evidence(verifications=proofs, public=False))


@pytest.mark.parametrize("pending", [True, False])
def test_where_a_copy_puts_right_what_everybody_gets_it_is_named_first(pending: bool) -> None:
    lines = [CountLine(LOCAL, EntryState.PENDING, None, 8, 0)] if pending else []
    remedy = found(evidence(*lines, verifications=[proof(public=public(faults=8))]))["public"].remedy
    assert remedy.startswith("`mastosync copy`" if pending else "correct it")
    assert "`mastosync verify --public`" in remedy


def test_a_look_of_few_and_one_from_before_objects_were_stored_anew_prove_nothing() -> None:
    few = proof(public=public(1) | {"sample": 1, "types": ["custom_emojis"]})
    whole = proof(ago=2 * HOUR, public=public())
    for proofs, change in (([few], LastChange()), ([few, whole], LastChange(NOW - 1.5 * HOUR, "apply-settings"))):
        told = found(evidence(verifications=proofs, change=change))["public"]
        assert (told.grade, told.remedy) == (Grade.FAILURE, "mastosync verify --public")
        assert "too few objects of accounts" in told.message
    told = found(evidence(verifications=[whole], change=LastChange(NOW - 1.5 * HOUR, "apply-settings")))["public"]
    assert told.message.startswith("no objects of accounts were tried")
    assert found(evidence(verifications=[few, whole]))["public"].grade is Grade.OK


@pytest.mark.parametrize(("exposed", "said"), [(1, "1 private object"), (1_200, "1,200 private objects")])
def test_how_many_private_objects_anybody_could_read_is_told(exposed: int, said: str) -> None:
    looked = proof(public=public(2_000, exposed, exposed=exposed))
    assert found(evidence(verifications=[looked]))["public"].message.endswith(f"anybody could read {said}")


def test_what_left_the_database_and_lies_at_the_destination_is_told_with_what_removes_it() -> None:
    told = found(evidence(deleted=Deleted(Removable(3, 4096), NOW - HOUR, later=False)))["gone"]
    assert told.grade is Grade.WARNING
    assert "3 objects (4.0 KiB)" in told.message
    assert "mastosync prune --apply" in told.remedy
    assert (
        assess_cutover(evidence(deleted=Deleted(Removable(3, 4096), NOW - HOUR, later=False))).verdict
        is CutoverVerdict.GO
    )


@pytest.mark.parametrize(
    ("deleted", "told"),
    [
        (Deleted(Removable(0, 0), NOW - HOUR, later=True), "1 hour ago"),  # a copy or a delta has been at work since
        (Deleted(Removable(0, 0), NOW - 2 * HOUR, later=False), "2 hours ago"),  # prune would not believe it either
        (Deleted(Removable(0, 0), None, later=True), "no plan"),
    ],
)
def test_what_was_deleted_since_the_last_whole_plan_is_not_known(deleted: Deleted, told: str) -> None:
    findings = found(evidence(deleted=deleted))
    assert findings["deletions"].grade is Grade.WARNING
    assert told in findings["deletions"].message
    assert "mastosync plan && mastosync prune" in findings["deletions"].remedy
    assert "gone" not in findings, "nobody knows"
    assert assess_cutover(evidence(deleted=deleted)).verdict is CutoverVerdict.GO


def test_settings_that_have_changed_since_a_copy_are_a_warning_with_what_puts_it_right() -> None:
    now = ObjectSettings("max-age=60", "private")
    told = found(evidence(settings=now, other_settings=(ObjectSettings("max-age=1", "private"),)))["settings"]
    assert (told.grade, "another cache_control than" in told.message) == (Grade.WARNING, True)
    assert "mastosync apply-settings" in told.remedy
    of_others = found(evidence(settings=now, other_settings=(None,)))["settings"]
    assert of_others.message == "adopted objects were not checked for cache_control, acl and storage_class"
    assert "settings" not in found(evidence(settings=now))


@pytest.mark.parametrize(
    ("seen", "grade"),
    [
        (None, Grade.FAILURE),
        (Relation.UNKNOWN, Grade.WARNING),
        (Relation.ONE_BUCKET, Grade.OK),
        (Relation.TWO, Grade.OK),
    ],
)
def test_nobody_is_switched_over_before_somebody_has_looked_at_both_stores(seen: Relation | None, grade: Grade) -> None:
    finding = found(evidence(relation=seen))["apart"]
    assert finding.grade is grade
    assert bool(finding.remedy) is (grade is not Grade.OK)


def test_in_one_bucket_what_is_gone_is_removed_by_hand(tmp_path: Path) -> None:
    told = found(evidence(deleted=Deleted(Removable(3, 0), NOW - HOUR, later=True), shared=shared("old", "new")))
    for check in ("gone", "deletions"):
        assert "prune" not in told[check].remedy
        assert "mastosync ls --state skipped --reason gone" in told[check].remedy


def test_a_look_at_what_was_all_private_does_not_tell_that_everybody_can_read() -> None:
    looked = evidence(verifications=[proof(public={**public(), "all_private": True})], acl="auto")
    assert found(looked)["public"].remedy == "mastosync verify --public"
    assert assess_cutover(looked).verdict is CutoverVerdict.NO_GO


@pytest.mark.parametrize(
    ("lag", "grade", "deletions"),
    [
        (0.0, Grade.OK, ""),
        (2 * HOUR, Grade.OK, "are not known"),
        (8 * DAY, Grade.FAILURE, "are not known"),
        (None, Grade.WARNING, "a standby that cannot tell how far it is behind"),
    ],
)
def test_a_plan_of_a_standby_counts_up_to_what_it_had_heard_of(lag: float | None, grade: Grade, deletions: str) -> None:
    read = plan(60.0, began_at=0.0 if lag is None else NOW - 60 - lag)
    told = found(evidence(plans=[read], deleted=Deleted.of(Removable(), [], [read], NOW - HOUR)))
    assert told["plan"].grade is grade
    assert ("cannot tell how far it is behind" in told["plan"].message) is (lag is None)
    assert deletions in (told["deletions"].message if deletions else told["gone"].message)
    assert ("gone" in told) is (not deletions), "that nothing is left is said only if it is known"
