"""Whether the old store may go: what every finding comes to."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mastosync.app import report as reports
from mastosync.cli.commands.report import render_report
from mastosync.findings.deleted import SharedBucket
from mastosync.manifest import (
    CountLine,
    Exposed,
    Gap,
    LastChange,
    PlanRecord,
    Relation,
    Removable,
    StoreIdentity,
    WorkQueue,
)
from mastosync.model import EntryState, Outcome, Reason
from mastosync.report import DeletionEvidence, Report, Switch, assess_deletion
from mastosync.report.page import render_page
from tests.support.entries import REMOTE, entry
from tests.support.manifests import planned
from tests.support.report_evidence import (
    ALL_WELL,
    COPY,
    DAY,
    DELTA,
    DONE,
    ENV,
    FEW,
    LATER,
    LISTED,
    LOOK,
    NOON,
    PART,
    PLAN,
    PUBLIC,
    READ,
    UNASKED,
    UNREAD,
    WHOLE,
    context,
    grades,
    line,
    one_bucket,
    proof,
    run,
)


def test_the_old_store_may_go_when_everything_was_done() -> None:
    assert assess_deletion(ALL_WELL).may_go
    assert grades(ALL_WELL) == {}
    assert all(not each.remedy for each in assess_deletion(ALL_WELL).findings)


@pytest.mark.parametrize(
    ("state", "reason", "found"),
    [
        (EntryState.PENDING, None, {"pending": "not-yet"}),
        (EntryState.FAILED, Reason.MISSING, {"lost": "warning"}),
        *((EntryState.FAILED, reason, {"failed": "not-yet"}) for reason in (Reason.DENIED, Reason.TOO_LARGE)),
        (EntryState.SKIPPED, Reason.PRIVATE, {"private": "not-yet"}),
        (EntryState.SKIPPED, Reason.EXCLUDED, {"excluded": "warning"}),
        (EntryState.SKIPPED, Reason.GONE, {}),
        (EntryState.SKIPPED, Reason.OPTIONAL_MISSING, {}),
    ],
)
def test_what_became_of_entries_decides(state: EntryState, reason: Reason | None, found: dict[str, str]) -> None:
    evidence = replace(ALL_WELL, counts=[DONE, line(state, reason)])
    assert grades(evidence) == found
    assert assess_deletion(evidence).may_go is ("not-yet" not in found.values())
    assert all(each.remedy for each in assess_deletion(evidence).findings if each.grade != "ok")


def test_what_was_read_and_has_no_digest_to_compare_is_told_apart() -> None:
    read = proof(NOON + 5_000, fine=215, checked=217, unproven=2, read={"objects": 217})
    findings = assess_deletion(replace(ALL_WELL, verifications=[LISTED, read, PUBLIC])).findings
    (told,) = (each for each in findings if each.check == "read-back")
    assert "215 with the right digest, 2 without one to compare" in told.message
    assert told.grade.value == "ok"


def test_what_is_missing_is_told_apart_from_what_lies_at_the_new_store_unproven() -> None:
    lost = CountLine(REMOTE, EntryState.FAILED, Reason.MISSING, 3, 0, accepted=3)
    told = replace(ALL_WELL, counts=[DONE, lost], unidentified=1)
    findings = {each.check: each for each in assess_deletion(told).findings}
    assert findings["lost"].message.startswith("2 objects are missing at the old store too, so deleting it loses")
    assert findings["lost"].message.endswith("; you accepted 2 of them as lost")
    assert findings["unproven"].message.startswith("1 object is missing at the source, but the new store has something")
    assert grades(replace(told, unidentified=3)) == {"unproven": "warning"}


def test_before_anything_was_copied_nobody_knows_what_the_old_store_has_lost() -> None:
    assert grades(replace(ALL_WELL, counts=[line(EntryState.PENDING, None)]))["lost"] == "warning"
    assert "lost" not in grades(replace(ALL_WELL, counts=[DONE, line(EntryState.PENDING, None)]))


def test_what_lies_at_the_new_store_for_everybody_does_not_lie_at_the_old_one_alone() -> None:
    counts = [DONE, line(EntryState.SKIPPED, Reason.PRIVATE)]
    assert grades(replace(ALL_WELL, counts=counts, exposed=Exposed(3, 3))) == {"exposed": "not-yet"}
    assert grades(replace(ALL_WELL, counts=counts, exposed=Exposed(1))) == {"exposed": "not-yet", "private": "not-yet"}
    assert grades(replace(ALL_WELL, counts=counts, exposed=Exposed(2, 2))) == {
        "exposed": "not-yet",
        "private": "not-yet",
    }


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda e: replace(e, relation=None), {"apart": "not-yet"}),
        (lambda e: replace(e, relation=Relation.UNKNOWN), {"apart": "not-yet"}),
        (lambda e: replace(e, relation=Relation.ONE_BUCKET), {}),
        (lambda e: replace(e, running=True), {"running": "not-yet"}),
        (lambda e: replace(e, plans=[PlanRecord(1, PLAN.taken_at, WHOLE | {"limit": 9})]), {"plan": "not-yet"}),
        (lambda e: replace(e, plans=[PlanRecord(1, PLAN.taken_at, {})]), {"plan": "not-yet"}),
        (lambda e: replace(e, dropped_by_plan=12), {"plan": "not-yet"}),
        (lambda e: replace(e, dropped_by_plan=12, plans=[PLAN, replace(PLAN, number=2)]), {"plan": "not-yet"}),
        (lambda e: replace(e, plans=[PLAN, replace(DELTA, number=2)]), {}),
        (lambda e: replace(e, now=NOON + 30 * DAY), {"plan": "warning"}),
        (lambda e: replace(e, runs=[COPY, LATER]), {"verify": "not-yet", "read-back": "not-yet"}),
        (lambda e: replace(e, runs=[COPY, run(NOON + 5_000, 60, 0)]), {}),
        (lambda e: replace(e, verifications=[]), {"verify": "not-yet", "read-back": "not-yet", "public": "not-yet"}),
        (lambda e: replace(e, verifications=[READ]), {"public": "not-yet"}),
        (lambda e: replace(e, verifications=[READ, UNASKED]), {"public": "not-yet"}),
        (lambda e: replace(e, verifications=[UNREAD, PART]), {"verify": "not-yet"}),
        (lambda e: replace(e, verifications=[UNREAD, PART, READ]), {}),
        (lambda e: replace(e, verifications=[READ, PUBLIC, UNASKED]), {}),
        (lambda e: replace(e, gap=Gap("entries are missing", "plan")), {"gap": "not-yet"}),
        (lambda e: replace(e, change=LastChange(NOON + 2_500, "adopt")), {"read-back": "not-yet"}),
        (
            lambda e: replace(e, change=LastChange(NOON + 4_000, "apply-settings")),
            {"verify": "not-yet", "read-back": "not-yet", "public": "not-yet"},
        ),
        (
            lambda e: replace(
                e, verifications=[proof(NOON + 900, unread=1), READ, PUBLIC, proof(NOON + 4_000, checked=1)]
            ),
            {},
        ),
        (
            lambda e: replace(e, verifications=[proof(NOON + 900, unread=1, public=LOOK, read={"objects": 1}), FEW]),
            {"verify": "not-yet", "read-back": "not-yet"},
        ),
        (lambda e: replace(e, switch=Switch()), {"switch": "not-yet"}),
        (lambda e: replace(e, switch=Switch(ENV)), {"switch": "not-yet"}),
        (lambda e: replace(e, switch=Switch(ENV, problem="it cannot be read")), {"switch": "not-yet"}),
        (lambda e: replace(e, verifications=[LISTED, PUBLIC]), {"read-back": "not-yet"}),
        (lambda e: replace(e, verifications=[READ], public=False), {"backup": "warning"}),
        (lambda e: replace(e, verifications=[READ], acl="private"), {}),
        (
            lambda e: replace(
                e,
                verifications=[*e.verifications, proof(NOON + 4_000, public={"faults": [{}], "exposed": 1})],
                acl="private",
            ),
            {"verify": "not-yet", "public": "not-yet"},
        ),
        (
            lambda e: replace(e, verifications=[READ, proof(NOON + 4_000, public={"faults": [], "all_private": True})]),
            {"public": "not-yet"},
        ),
        (lambda e: replace(e, counts=[replace(DONE, objects=11)]), {"verify": "not-yet"}),
        (lambda e: replace(e, verifications=[*e.verifications, proof(NOON + 4_000, lost=1)]), {"verify": "not-yet"}),
        (lambda e: replace(e, verifications=[*e.verifications, proof(NOON + 4_000, unread=1)]), {"verify": "not-yet"}),
        (
            lambda e: replace(e, verifications=[*e.verifications, proof(NOON + 4_000, public={"faults": [{}]})]),
            {"verify": "not-yet", "public": "not-yet"},
        ),
        (
            lambda e: replace(
                e, verifications=[*e.verifications, proof(NOON + 4_000, public={"anybody_can_list": True})]
            ),
            {"verify": "not-yet", "public": "not-yet"},
        ),
    ],
)
def test_what_was_done_decides(edit: Callable[[DeletionEvidence], DeletionEvidence], found: dict[str, str]) -> None:
    assert grades(edit(ALL_WELL)) == found


def test_what_was_deleted_and_lies_at_the_new_store_is_told() -> None:
    """It would not be lost with the old store, but whoever knows its address can read it."""
    told = replace(ALL_WELL, gone=Removable(3, 4096))
    assert grades(told) == {"gone": "warning"}
    (finding,) = (each for each in assess_deletion(told).findings if each.check == "gone")
    assert "3 objects (4.0 KiB)" in finding.message
    assert "mastosync prune --apply" in finding.remedy


def test_in_one_bucket_only_the_old_objects_may_go() -> None:
    shared = SharedBucket.of(StoreIdentity("s", "media", "old"), StoreIdentity("s", "media", "new"))
    told = replace(ALL_WELL, gone=Removable(1, 0), shared=shared)
    assert assess_deletion(told).may_go
    findings = {each.check: each for each in assess_deletion(told).findings}
    assert "has to stay" in findings["one-bucket"].message
    assert "'old/'" in findings["one-bucket"].remedy
    assert "prune" not in findings["gone"].remedy
    assert "`mastosync ls --state skipped --reason gone`" in findings["gone"].remedy


@pytest.mark.parametrize("may_go", [False, True])
def test_no_form_of_a_report_says_that_a_bucket_may_go_in_which_the_media_lie(path: Path, may_go: bool) -> None:
    one_bucket(path)
    report = reports.report(context(path), failures=0)
    verdict = assess_deletion(replace(ALL_WELL, shared=report.shared)) if may_go else report.verdict
    report = replace(report, verdict=verdict)
    for text in (render_report(report), render_page(report)):
        assert "old store may be deleted" not in text.lower()
        assert "the bucket has to stay" in text
        assert ("the old objects may be deleted" in text.lower()) is may_go
    assert report.shared is not None
    assert report.as_json()["verdict"]["old_store"] is None
    assert report.shared.prefixes == ("source/",)


@pytest.mark.parametrize("may_go", [False, True])
@pytest.mark.parametrize(
    "old", [StoreIdentity("http://s3.example", "new-a", "p"), StoreIdentity.of_folder(Path("/srv/media"))], ids=str
)
def test_the_verdict_names_the_store_that_it_is_about(path: Path, old: StoreIdentity, may_go: bool) -> None:
    """On the way back the old bucket is the one that was new before."""
    report = replace(reports.report(context(path), failures=0), source=old)
    report = replace(report, verdict=assess_deletion(ALL_WELL) if may_go else report.verdict)
    said = "MAY BE DELETED: " if may_go else "SEE not-yet ("
    assert f"{said}{old}" in render_report(report)
    assert str(old) in html.unescape(render_page(report).split('id="verdict"')[1][:400])
    assert report.as_json()["verdict"]["old_store"] == str(old)


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([{"fault": "headers"}] * 21, "21 objects can be read, with other headers than they should have"),
        ([{"fault": "unreadable"}], "1 public object could not be read without credentials"),
        ([{"fault": "exposed", "exposed": True}] * 2, "2 private objects could be read without credentials"),
        ([{"fault": "unclear"}], "it is unclear who can read 1 object"),
        (
            [{"fault": "unreadable"}, {"fault": "headers"}],
            "1 public object could not be read without credentials; 1 object can be read, with other headers than it"
            " should have",
        ),
        (
            [{"exposed": True}, {}],
            "1 private object could be read without credentials; 1 object was not as it should be without credentials",
        ),
    ],
)
def test_what_was_wrong_without_credentials_is_told_by_its_kind(faults: list[dict[str, Any]], said: str) -> None:
    look = LOOK | {"faults": faults, "exposed": sum("exposed" in each for each in faults)}
    evidence = replace(ALL_WELL, verifications=[*ALL_WELL.verifications, proof(NOON + 4_000, public=look)])
    (told,) = (each for each in assess_deletion(evidence).findings if each.check == "public")
    assert told.message == said


@pytest.mark.parametrize(
    ("look", "mends"),
    [
        ({"faults": [{"fault": "headers"}]}, ["`mastosync copy`", "`mastosync apply-settings`"]),
        ({"faults": [{"fault": "unreadable"}]}, ["policy of the bucket", "`mastosync apply-settings`", "`public_url`"]),
        ({"faults": [{"fault": "exposed", "exposed": True}], "exposed": 1}, ["policy of the bucket", "stores them as"]),
        ({"anybody_can_list": True}, ["s3:ListBucket"]),
        ({"faults": [{"fault": "unclear"}]}, ["correct it"]),
    ],
)
def test_what_mends_it_is_told_before_the_command_that_finds_it_again(look: dict[str, Any], mends: list[str]) -> None:
    evidence = replace(ALL_WELL, verifications=[*ALL_WELL.verifications, proof(NOON + 4_000, public=LOOK | look)])
    (told,) = (each for each in assess_deletion(evidence).findings if each.check == "public")
    for each in mends:
        assert each in told.remedy
    assert told.remedy.endswith("run `mastosync verify --public` again, which names the objects")


def test_a_verification_that_found_faults_is_forgiven_when_a_later_one_finds_none() -> None:
    first = proof(NOON + 500, lost=2)
    assert grades(replace(ALL_WELL, verifications=[first, *ALL_WELL.verifications])) == {}


def test_a_migration_that_was_made_is_judged_from_its_manifest(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with planned(path, [entry(number) for number in (1, 2)]) as manifest:
        queue = WorkQueue(manifest)
        queue.start_run(8)
        for claim in queue.iter_claimable():
            queue.commit(claims=[claim])
            queue.commit(outcomes=[Outcome(claim.entry, EntryState.DONE, size=5, md5=bytes(16))])
        queue.end_run()
    report: Report = reports.report(context(path), failures=0)
    found = {each["check"]: each["status"] for each in report.verdict.as_json()["findings"]}
    assert found["pending"] == found["failed"] == "ok"
    assert found["plan"] == found["verify"] == "not-yet"
    assert report.copied.objects == report.totals.done == 2
