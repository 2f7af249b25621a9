"""Go or no-go, what Mastodon has to be told, and what nginx must not be: without a store, a database or a server."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mastosync.app.cutover import CutoverOptions, cutover_from
from mastosync.app.doctor import way_to
from mastosync.app.files import pin
from mastosync.app.mastodon_settings import system_redirect
from mastosync.cli.commands.cutover import render_cutover, render_written
from mastosync.config import Config, FilesystemConfig, S3Config, Secret, load_config
from mastosync.config.env_file import assignment
from mastosync.cutover import (
    Cutover,
    CutoverVerdict,
    Evidence,
    Fallback,
    Finding,
    Grade,
    LossOutcome,
    Mastosync,
    MediaHost,
    NewFiles,
    PublicBucket,
    PublicFolder,
    Secrets,
    WayBack,
    WayOver,
    judge,
    steps_back,
    steps_over,
)
from mastosync.doctor import StoreWay
from mastosync.errors import ConfigError, UsageError
from mastosync.findings.deleted import Deleted, SharedBucket, shared_bucket
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    CountLine,
    Exposed,
    Gap,
    LastChange,
    Manifest,
    ObjectSettings,
    PlanWriter,
    Relation,
    Removable,
    SnapshotRecord,
    StoreIdentity,
    VerificationRecord,
    WorkQueue,
    record_relation,
)
from mastosync.mastodon.settings import Setting, changed, current_settings, names_store, storage_settings
from mastosync.model import TABLES, EntryState, Kind, Outcome, Reason
from tests.support.entries import LOCAL, REMOTE, entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, planned

NAMED = CutoverOptions(media_host="files.example.com")
NOW = 1_800_000_000.0
HOUR, DAY = 3_600.0, 86_400.0
CARD = Kind("preview_cards", "image", "original", "preview_cards/images", remote=True, cached=True)
BACKUP = Kind("backups", "dump", "original", "backups/dumps", remote=False, cached=False)
ICON = Kind("preview_card_providers", "icon", "original", "preview_card_providers/icons", remote=False, cached=False)
FAVICON = Kind("site_uploads", "file", "48", "site_uploads/files", remote=False, cached=False)
WHOLE = {"types": list(TABLES), "only": "all", "limit": None, "added": 0}
ARRIVED = CountLine(LOCAL, EntryState.DONE, None, 10, 1024)


def failed(kind: Kind, reason: Reason, objects: int = 1) -> CountLine:
    return CountLine(kind, EntryState.FAILED, reason, objects, 0)


def plan(ago: float = HOUR, **details: object) -> SnapshotRecord:
    return SnapshotRecord(1, datetime.fromtimestamp(NOW - ago, UTC), {**WHOLE, **details})


def proof(fine: int = 10, checked: int = 10, *, ago: float = HOUR, **details: object) -> VerificationRecord:
    found = {"fine": fine, "checked": checked, "read": {"objects": 0}, **details}
    return VerificationRecord(NOW - ago - 1, NOW - ago, found)


def public(asked: int = 10, faults: int = 0, *, exposed: int = 0, listed: bool = False) -> dict[str, Any]:
    return {
        "asked": asked,
        "asked_private": 0,
        "exposed": exposed,
        "anybody_can_list": listed,
        "faults": [{}] * faults,
        "sample": 100,
        "types": list(TABLES),
    }


def evidence(*counts: CountLine, plans: Sequence[SnapshotRecord] = (), **known: Any) -> Evidence:  # noqa: ANN401
    """All is well but for what is said."""
    known = {"verifications": [proof(public=public())], "running": False, "done_since": 0, "public": True, **known}
    known.setdefault("relation", Relation.TWO)
    known.setdefault("deleted", Deleted(Removable(0, 0), NOW - HOUR, later=False))
    return Evidence([ARRIVED, *counts], plans or [plan()], now=NOW, **known)


def found(looked_at: Evidence) -> dict[str, Finding]:
    return {each.check: each for each in judge(looked_at).findings}


def test_when_all_is_well_it_is_go() -> None:
    result = judge(evidence())
    assert result.verdict is CutoverVerdict.GO
    assert {each.grade for each in result.findings} == {Grade.OK}
    assert not result.losses


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (CountLine(LOCAL, EntryState.PENDING, None, 1, 0), CutoverVerdict.NO_GO),
        (CountLine(BACKUP, EntryState.PENDING, None, 1, 0), CutoverVerdict.NO_GO),
        (CountLine(REMOTE, EntryState.PENDING, None, 1, 0), CutoverVerdict.GO_WITH_FALLBACK),
        (CountLine(CARD, EntryState.PENDING, None, 1, 0), CutoverVerdict.GO_WITH_FALLBACK),
        *(
            (failed(LOCAL, reason), CutoverVerdict.NO_GO)
            for reason in (Reason.DENIED, Reason.CORRUPT, Reason.TOO_LARGE)
        ),
        (failed(REMOTE, Reason.NETWORK), CutoverVerdict.GO_WITH_FALLBACK),
        # what is lost is lost: to wait does not bring it back
        (failed(LOCAL, Reason.MISSING), CutoverVerdict.GO),
        (failed(REMOTE, Reason.MISSING), CutoverVerdict.GO),
        (CountLine(BACKUP, EntryState.SKIPPED, Reason.PRIVATE, 1, 0), CutoverVerdict.GO),
        (CountLine(LOCAL, EntryState.SKIPPED, Reason.GONE, 1, 0), CutoverVerdict.GO),
        (CountLine(LOCAL, EntryState.SKIPPED, Reason.EXCLUDED, 1, 0), CutoverVerdict.GO_WITH_FALLBACK),
    ],
    ids=str,
)
def test_what_has_not_arrived_decides_by_whether_somebody_would_miss_it(
    line: CountLine, verdict: CutoverVerdict
) -> None:
    assert judge(evidence(line)).verdict is verdict


@pytest.mark.parametrize("reason", [Reason.MISSING, Reason.OPTIONAL_MISSING])  # the second as an older plan had it
@pytest.mark.parametrize("place", [("accounts", "avatar"), ("accounts", "header"), ("custom_emojis", "image")])
@pytest.mark.parametrize("remote", [False, True])
def test_a_lost_picture_that_stands_still_is_a_loss(reason: Reason, place: tuple[str, str], remote: bool) -> None:
    """It is what everybody sees who has not turned on that pictures move."""
    kind = Kind(*place, "static", f"{place[0]}/{place[1]}s", remote, cached=remote)
    state = EntryState.FAILED if reason is Reason.MISSING else EntryState.SKIPPED
    result = judge(evidence(CountLine(kind, state, reason, 1, 0)))
    assert result.losses == {(place[0], remote, LossOutcome.FETCHABLE if remote else LossOutcome.FOR_GOOD): 1}


def test_what_may_lie_at_the_new_store_is_not_called_lost() -> None:
    result = judge(evidence(failed(BACKUP, Reason.MISSING, 2), lying_there={BACKUP: 2}))
    assert result.losses == {("backups", False, LossOutcome.UNPROVEN): 2}
    told = {each.check: each for each in result.findings}
    assert "lost" not in told
    assert "the new store has something" in told["unproven"].message
    assert result.verdict is CutoverVerdict.GO
    part = judge(evidence(failed(BACKUP, Reason.MISSING, 2), lying_there={BACKUP: 1}))
    assert part.losses == {("backups", False, LossOutcome.UNPROVEN): 1, ("backups", False, LossOutcome.FOR_GOOD): 1}


def test_what_has_no_digest_to_compare_is_found_as_well_as_it_can_be() -> None:
    """A verification more would find no more."""
    looked = proof(8, 10, unproven=2, read={"objects": 10}, public=public())
    told = found(evidence(verifications=[looked]))["verify"]
    assert told.grade is Grade.OK
    assert "10 of 10 were fine, 2 of them without a digest to compare; 10 were read back" in told.message


def test_what_the_source_has_lost_is_told_by_what_becomes_of_it() -> None:
    lines = [failed(kind, Reason.MISSING, 2) for kind in (LOCAL, REMOTE, CARD, BACKUP, ICON)]
    optional = CountLine(FAVICON, EntryState.SKIPPED, Reason.OPTIONAL_MISSING, 3, 0)
    result = judge(evidence(*lines, optional))
    assert result.losses == {
        ("media_attachments", True, LossOutcome.FETCHABLE): 2,
        ("accounts", False, LossOutcome.FOR_GOOD): 2,
        ("preview_cards", True, LossOutcome.DISPENSABLE): 2,
        ("preview_card_providers", False, LossOutcome.DISPENSABLE): 2,
        ("site_uploads", False, LossOutcome.DISPENSABLE): 3,
        ("backups", False, LossOutcome.FOR_GOOD): 2,
    }
    told = {each.check: each for each in result.findings}
    assert told["lost"].grade is told["fetchable"].grade is Grade.WARNING
    assert "4 objects of this server" in told["lost"].message
    assert "2 objects that other servers" in told["fetchable"].message


@pytest.mark.parametrize(
    ("plans", "grade"),
    [
        ([plan(DAY - 1)], Grade.OK),
        ([plan(DAY + 1)], Grade.WARNING),
        ([plan(7 * DAY + 1)], Grade.NO_GO),
        ([plan(HOUR), plan(9 * DAY)], Grade.OK),
        ([plan(HOUR, types=["accounts"]), plan(2 * DAY)], Grade.WARNING),  # the rest is as old as it was
        ([plan(HOUR, limit=10), plan(2 * DAY)], Grade.WARNING),
        ([plan(HOUR, only="local"), plan(9 * DAY)], Grade.OK),  # the cache's age is told apart
        ([plan(HOUR, types=[t for t in TABLES if t != "imports"]), plan(9 * DAY)], Grade.OK),
    ],
)
def test_a_plan_ages(plans: list[SnapshotRecord], grade: Grade) -> None:
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
def test_what_no_plan_took_in_is_not_forgotten(plans: list[SnapshotRecord], verdict: CutoverVerdict) -> None:
    assert judge(evidence(plans=plans)).verdict is verdict


def test_an_old_plan_of_the_cache_is_no_obstacle() -> None:
    result = judge(evidence(plans=[plan(HOUR, only="local"), plan(9 * DAY)]))
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
        ({"verifications": []}, Grade.NO_GO),
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
    told = judge(evidence(public=False, **known))
    assert next(each.grade for each in told.findings if each.check == "verify") is grade
    assert told.verdict is (CutoverVerdict.NO_GO if grade is Grade.NO_GO else CutoverVerdict.GO)


@pytest.mark.parametrize(
    ("asked", "grade"),
    [
        (None, Grade.NO_GO),
        (public(0), Grade.NO_GO),  # nothing was done then
        (public(0, listed=True), Grade.NO_GO),
        (public(), Grade.OK),
        (public(10, 1), Grade.WARNING),
        (public(10, 10), Grade.NO_GO),  # nobody would see anything
        (public(10, 1, exposed=1), Grade.NO_GO),
        (public(listed=True), Grade.NO_GO),
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
        assert (told.grade, told.remedy) == (Grade.NO_GO, "mastosync verify --public")
        assert "too few objects of accounts" in told.message
    told = found(evidence(verifications=[whole], change=LastChange(NOW - 1.5 * HOUR, "apply-settings")))["public"]
    assert told.message.startswith("no objects of accounts were tried")
    assert found(evidence(verifications=[few, whole]))["public"].grade is Grade.OK


def test_a_manifest_that_lacks_its_newest_entries_is_a_no_go() -> None:
    told = judge(evidence(gap=Gap("entries are missing", "run `mastosync plan`")))
    assert told.verdict is CutoverVerdict.NO_GO
    assert told.findings[0].as_json() | {"needs_fallback": False} == {
        "check": "gap",
        "status": "no-go",
        "message": "entries are missing",
        "remedy": "run `mastosync plan`",
        "needs_fallback": False,
    }


@pytest.mark.parametrize(("exposed", "said"), [(1, "1 private object"), (1_200, "1,200 private objects")])
def test_how_many_private_objects_anybody_could_read_is_told(exposed: int, said: str) -> None:
    looked = proof(public=public(2_000, exposed, exposed=exposed))
    assert found(evidence(verifications=[looked]))["public"].message.endswith(f"anybody could read {said}")


# --- what was deleted ---


def test_what_left_the_database_and_lies_at_the_destination_is_told_with_what_removes_it() -> None:
    told = found(evidence(deleted=Deleted(Removable(3, 4096), NOW - HOUR, later=False)))["gone"]
    assert told.grade is Grade.WARNING
    assert "3 objects (4.0 KiB)" in told.message
    assert "mastosync prune --apply" in told.remedy
    assert judge(evidence(deleted=Deleted(Removable(3, 4096), NOW - HOUR, later=False))).verdict is CutoverVerdict.GO


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
    assert judge(evidence(deleted=deleted)).verdict is CutoverVerdict.GO


def test_settings_that_have_changed_since_a_copy_are_a_warning_with_what_puts_it_right() -> None:
    now = ObjectSettings("max-age=60", "private")
    told = found(evidence(settings=now, other_settings=(ObjectSettings("max-age=1", "private"),)))["settings"]
    assert (told.grade, "another cache_control than" in told.message) == (Grade.WARNING, True)
    assert "mastosync apply-settings" in told.remedy
    of_others = found(evidence(settings=now, other_settings=(None,)))["settings"]
    assert of_others.message == "adopted objects were not checked for cache_control, acl and storage_class"
    assert "settings" not in found(evidence(settings=now))


def moment(ago: float) -> float:
    return NOW - ago


@pytest.mark.parametrize(
    ("plans", "copied", "known_at", "later"),
    [
        ([plan(HOUR)], None, moment(HOUR), False),
        ([plan(HOUR)], moment(2 * HOUR), moment(HOUR), False),
        ([plan(HOUR)], moment(60), moment(HOUR), True),
        ([plan(60, incremental=True), plan(HOUR)], None, moment(HOUR), True),  # a delta sees no deletion
        ([plan(60, incremental=True)], None, None, True),
        ([plan(60, limit=5), plan(HOUR)], None, moment(HOUR), False),
        ([plan(60, only="remote"), plan(HOUR, only="local")], None, moment(HOUR), False),  # accounts here are local
        ([plan(60, types=["media_attachments"]), plan(HOUR)], None, moment(HOUR), False),
        ([plan(60, types=["accounts"]), plan(HOUR)], None, moment(60), False),  # nothing else has arrived
    ],
)
def test_deletions_are_known_up_to_the_last_plan_that_read_all_of_what_has_arrived(
    plans: list[SnapshotRecord], copied: float | None, known_at: float | None, later: bool
) -> None:
    assert Deleted.of(Removable(), [ARRIVED], plans, copied) == Deleted(Removable(0, 0), known_at, later=later)


def done(manifest: Manifest) -> None:
    """A copy of everything that is pending."""
    queue = WorkQueue(manifest)
    queue.start_run(1)
    claims = list(queue.iter_claimable())
    queue.commit(claims=claims)
    queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=7, md5=bytes(16)) for each in claims])
    queue.end_run()


def test_a_row_that_was_deleted_after_its_copy_is_found_in_the_manifest(tmp_path: Path) -> None:
    whole = {**WHOLE, "added": 2}
    with planned(tmp_path / "manifest.db", [entry(1), entry(2)], details=whole) as manifest:
        done(manifest)
        report = cutover_from(configured(tmp_path), manifest, CutoverOptions())
        assert "deletions" in {each.check for each in report.cutover.findings}, "a copy has been at work since"
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped([entry(2)]))
            writer.finish(datetime.now(UTC), WHOLE)
        report = cutover_from(configured(tmp_path), manifest, CutoverOptions())
    told = {each.check: each for each in report.cutover.findings}
    assert "1 object (7 Bytes)" in told["gone"].message
    assert report.as_json()["gone"] == {"objects": 1, "bytes": 7, "adopted": 0, "lost": 0}


# --- one bucket with two prefixes ---


def in_one(old: str, new: str) -> tuple[StoreIdentity, StoreIdentity]:
    return StoreIdentity("https://s3", "media", old), StoreIdentity("https://s3", "media", new)


def shared(old: str, new: str) -> SharedBucket:
    return SharedBucket.of(*in_one(old, new))


TREES = ("cache/", *(f"{table}/" for table in TABLES))


@pytest.mark.parametrize(
    ("old", "new", "prefixes"),
    [
        ("old", "new", ("old/",)),
        ("old", "older", ("old/",)),
        ("old/", "new", ("old//",)),
        ("/old", "new", ("old/",)),
        ("", "new", TREES),
        ("a", "a/b", tuple(f"a/{tree}" for tree in TREES)),
        ("a/b", "a", ("a/b/",)),
        ("", "cache", TREES[1:]),  # what lies under cache/ is both old and new
        ("old", "", ("old/",)),
        ("accounts", "", tuple(f"accounts/{tree}" for tree in TREES)),  # the new avatars are in accounts/avatars/
        (":class", "new", ()),
        ("old", ":class", ()),
    ],
)
def test_in_one_bucket_only_what_is_under_the_old_prefix_may_go(old: str, new: str, prefixes: tuple[str, ...]) -> None:
    assert shared(old, new).prefixes == prefixes


@pytest.mark.parametrize(
    ("stores", "are_one"),
    [
        ((SOURCE, DESTINATION), False),
        ((StoreIdentity("https://s3", "a", ""), StoreIdentity("https://s3", "b", "")), False),
        ((StoreIdentity.of_folder(Path("/a")), StoreIdentity.of_folder(Path("/b"))), False),
        (in_one("", "new"), True),
    ],
)
def test_a_manifest_knows_whether_its_stores_are_one_bucket(
    tmp_path: Path, stores: tuple[StoreIdentity, StoreIdentity], are_one: bool
) -> None:
    with planned(tmp_path / "manifest.db", [entry()], stores) as manifest:
        assert (shared_bucket(manifest) is not None) is are_one


def test_one_bucket_that_a_look_has_found_is_one_whatever_its_names_are(tmp_path: Path) -> None:
    stores = (
        StoreIdentity("https://s3.example", "media", "old"),
        StoreIdentity("https://alias.example", "media", "new"),
    )
    with planned(tmp_path / "manifest.db", [entry()], stores) as manifest:
        record_relation(manifest, Relation.TWO, probe_settled=True)
        assert shared_bucket(manifest) is None
        record_relation(manifest, Relation.ONE_BUCKET, probe_settled=True)
        assert shared_bucket(manifest) is not None


@pytest.mark.parametrize(
    ("seen", "grade"),
    [
        (None, Grade.NO_GO),
        (Relation.UNKNOWN, Grade.WARNING),
        (Relation.ONE_BUCKET, Grade.OK),
        (Relation.TWO, Grade.OK),
    ],
)
def test_nobody_is_switched_over_before_somebody_has_looked_at_both_stores(seen: Relation | None, grade: Grade) -> None:
    finding = found(evidence(relation=seen))["apart"]
    assert finding.grade is grade
    assert bool(finding.remedy) is (grade is not Grade.OK)


def test_what_was_kept_back_and_lies_there_for_everybody_is_told_apart() -> None:
    kept_back = CountLine(LOCAL, EntryState.SKIPPED, Reason.PRIVATE, 5, 0)
    told = found(evidence(kept_back, exposed=Exposed(2, 2)))
    assert told["exposed"].grade is Grade.NO_GO
    assert "2 private objects are at the destination" in told["exposed"].message
    assert "`mastosync verify --public`" in told["exposed"].remedy
    assert "3 private objects were not copied" in told["private"].message
    assert "private" not in found(evidence(kept_back, exposed=Exposed(5, 5)))


def test_what_is_private_and_lies_there_for_everybody_is_a_no_go_whatever_became_of_it() -> None:
    denied = CountLine(LOCAL._replace(remote=True, cached=True), EntryState.FAILED, Reason.DENIED, 1, 0)
    told = found(evidence(denied, exposed=Exposed(1)))
    assert told["exposed"].grade is Grade.NO_GO
    assert "`mastosync retry-failed`" in told["exposed"].remedy


def test_before_anything_was_copied_nobody_knows_what_the_source_has_lost() -> None:
    pending = CountLine(LOCAL, EntryState.PENDING, None, 3, 0)
    lost = found(replace(evidence(), counts=[pending]))["lost"]
    assert (lost.grade, lost.remedy) == (Grade.WARNING, "mastosync copy")
    assert "is not known yet" in lost.message
    assert found(evidence(pending))["lost"].grade is Grade.OK


def test_in_one_bucket_nobody_is_told_to_delete_it(tmp_path: Path) -> None:
    config = configured(tmp_path, bucket="old", key_prefix="new")
    with planned(tmp_path / "manifest.db", [entry()], in_one("pre fix", "new")) as manifest:
        report = cutover_from(config, manifest, CutoverOptions())
    told = {each.check: each for each in report.cutover.findings}
    assert "has to stay" in told["one-bucket"].message
    assert "'pre fix/'" in told["one-bucket"].remedy
    last = report.over[-1].what
    assert "old store" not in last
    assert "the bucket has to stay" in last
    assert not any("prune" in command for step in report.over for command in step.lines), "it removes nothing there"
    assert "`mastosync ls --state skipped --reason gone`" in "".join(step.what for step in report.over)


def test_in_one_bucket_what_is_gone_is_removed_by_hand(tmp_path: Path) -> None:
    told = found(evidence(deleted=Deleted(Removable(3, 0), NOW - HOUR, later=True), shared=shared("old", "new")))
    for check in ("gone", "deletions"):
        assert "prune" not in told[check].remedy
        assert "mastosync ls --state skipped --reason gone" in told[check].remedy


def test_a_copy_at_work_is_told() -> None:
    assert found(evidence(running=True))["running"].grade is Grade.WARNING


# --- .env.production ---

BUCKET = S3Config(
    access_key="AKIA-marked", secret_key=Secret("marked"), endpoint_url="https://s3.example.com", bucket="media"
)


def lines(store: S3Config | FilesystemConfig, *, acls: bool = True) -> dict[str, str | None]:
    settings = storage_settings(store, "files.example.com", acls=acls)
    return {each.name: None if each.value is None else each.line.partition("=")[2] for each in settings}


def test_a_bucket_is_told_of_as_mastodon_names_things() -> None:
    assert lines(BUCKET) == {
        "S3_ENABLED": "true",
        "S3_BUCKET": "media",
        "S3_REGION": "us-east-1",
        "S3_ENDPOINT": "https://s3.example.com",
        "S3_PROTOCOL": "https",
        "S3_HOSTNAME": "s3.example.com",
        "S3_ALIAS_HOST": "files.example.com",
        "S3_CLOUDFRONT_HOST": None,
        "S3_OVERRIDE_PATH_STYLE": None,
        "S3_PERMISSION": "public-read",
        "S3_STORAGE_CLASS": None,
        "S3_KEY_PREFIX": None,
        "AWS_ACCESS_KEY_ID": "<access_key of [s3.destination]>",
        "AWS_SECRET_ACCESS_KEY": "<secret_key of [s3.destination]>",
    }


@pytest.mark.parametrize(
    ("changes", "acls", "permission"),
    [
        ({}, True, "public-read"),
        ({}, False, ""),
        ({"acl": "none"}, True, ""),
        ({"acl": "private"}, False, "private"),
        ({"acl": "public-read"}, True, "public-read"),
    ],
)
def test_the_permission_is_empty_where_there_are_no_acls(changes: dict[str, str], acls: bool, permission: str) -> None:
    assert lines(replace(BUCKET, **changes), acls=acls)["S3_PERMISSION"] == permission  # type: ignore[arg-type]


def test_what_the_destination_has_beside_is_told_as_well() -> None:
    told = lines(replace(BUCKET, addressing_style="virtual", storage_class="STANDARD_IA", key_prefix="a b"))
    assert told["S3_OVERRIDE_PATH_STYLE"] == "true"
    assert told["S3_STORAGE_CLASS"] == "STANDARD_IA"
    assert told["S3_KEY_PREFIX"] == "'a b'"


def test_amazon_is_known_by_its_region_and_may_be_asked_without_keys() -> None:
    told = lines(S3Config(bucket="media", region="eu-central-1"))
    assert told["S3_HOSTNAME"] == "s3.eu-central-1.amazonaws.com"
    assert told["S3_ENDPOINT"] is told["AWS_ACCESS_KEY_ID"] is told["AWS_SECRET_ACCESS_KEY"] is None


def test_a_folder_needs_no_line_of_s3(tmp_path: Path) -> None:
    told = lines(FilesystemConfig(path=tmp_path))
    given = {name: value for name, value in told.items() if value is not None}
    assert given == {
        "S3_ENABLED": "false",
        "PAPERCLIP_ROOT_PATH": str(tmp_path),
        "PAPERCLIP_ROOT_URL": "https://files.example.com",
    }
    assert {"S3_BUCKET", "S3_ALIAS_HOST", "AWS_SECRET_ACCESS_KEY"} <= told.keys() - given.keys()


def test_only_what_differs_has_to_change() -> None:
    current = {"S3_BUCKET": Secret("media"), "S3_REGION": Secret("eu"), "A": Secret("b")}
    settings = [Setting("S3_BUCKET", "media"), Setting("S3_REGION", "us"), Setting("S3_STORAGE_CLASS", None)]
    assert changed(settings, current) == settings[1:2]
    assert changed([Setting("S3_REGION", None)], current) == [Setting("S3_REGION", None)]
    assert changed([Setting("AWS_ACCESS_KEY_ID", Secret("eu"))], {"AWS_ACCESS_KEY_ID": Secret("eu")}) == []


# --- nginx, and the steps ---


@pytest.mark.parametrize(
    ("name", "new", "old"),
    [
        ("files.example.com; }", "https://new.example/b/", "/old"),
        ("files.example.com:0", "https://new.example/b/", "/old"),
        ("files.example.com:65536", "https://new.example/b/", "/old"),
        ("files.example.com:443;", "https://new.example/b/", "/old"),
        ("files.example.com.", "https://new.example/b/", "/old"),
        ("https://files.example.com", "https://new.example/b/", "/old"),
        ("2001:db8::1", "https://new.example/b/", "/old"),
        ("files.example.com", "https://new.example/b/;", "/old"),
        ("files.example.com", "https://new.example/$b/", "/old"),
        ("files.example.com", "https://new.example/b/", "/ol$d"),
        ("files.example.com", "https://new.example/b/", "/ol\nd"),
    ],
)
def test_nginx_is_told_nothing_that_it_would_read_otherwise(name: str, new: str, old: str) -> None:
    with pytest.raises(UsageError):
        MediaHost(name, PublicBucket(new), PublicFolder(Path(old)), ("127.0.0.1",)).render()


@pytest.mark.parametrize(
    ("public_url", "media_host", "listen", "server_name", "alias", "protocol"),
    [
        ("https://files.example", None, "443 ssl", "files.example", "files.example", "https"),
        ("https://files.example:8443", None, "8443 ssl", "files.example", "files.example:8443", "https"),
        ("http://files.example", None, "80", "files.example", "files.example", "http"),
        ("http://127.0.0.1:8080", None, "8080", "127.0.0.1", "127.0.0.1:8080", "http"),
        ("http://[::1]:8080", None, "8080", "[::1]", "[::1]:8080", "http"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "8080", "127.0.0.1", "127.0.0.1:8080", "http"),
        (None, "files.example:8443", "8443 ssl", "files.example", "files.example:8443", "https"),
        ("https://cdn.example:1", "files.example:8443", "8443 ssl", "files.example", "files.example:8443", "https"),
    ],
)
def test_the_media_host_answers_at_its_own_port(
    tmp_path: Path,
    public_url: str | None,
    media_host: str | None,
    listen: str,
    server_name: str,
    alias: str,
    protocol: str,
) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(
            configured(tmp_path, public_url=public_url), manifest, CutoverOptions(media_host=media_host)
        )
    text = report.require_fallback().render()
    assert re.findall(r"^ *listen (.*);$", text, re.MULTILINE) == [listen, f"[::]:{listen}"]
    assert f" server_name {server_name};" in text
    assert ("ssl_certificate" in text) is (protocol == "https")
    if protocol == "https":
        assert f'"/etc/letsencrypt/live/{server_name}/fullchain.pem"' in text
    told = {each.name: each.value for each in report.settings}
    assert (told["S3_ALIAS_HOST"], told["S3_PROTOCOL"]) == (alias, protocol)


@pytest.mark.parametrize(
    ("root", "told"),
    [(None, "^~ /system/ "), ("/media-files", "^~ /media-files/ "), ("https://files.example", None), ("/a b", None)],
)
def test_only_who_leaves_a_disk_is_told_to_send_browsers_on(tmp_path: Path, root: str | None, told: str | None) -> None:
    env = tmp_path / ".env"
    env.write_text("LOCAL_DOMAIN=a.example\n" + (f"PAPERCLIP_ROOT_URL='{root}'\n" if root else ""))
    options = CutoverOptions(media_host="files.example:8443", env=env)
    folder = Config(source_folder=FilesystemConfig(path=tmp_path), destination=replace(BUCKET, key_prefix="a b"))
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        over = cutover_from(folder, manifest, options).over
        assert not any("snippets" in step.what for step in cutover_from(configured(tmp_path), manifest, options).over)
    (*found,) = [step for step in over if "snippets" in step.what]
    assert len(found) == (told is not None)
    if told:
        (command,) = [command for command in found[0].lines if "printf" in command]
        assert told in command
        assert "301 https://files.example:8443/a%20b/$mastodon_medium;" in command


@pytest.mark.parametrize(
    "word",
    [
        "127.0.0.1;",
        "127.0.0.1 valid=1s; include /etc/passwd",
        "127.0.0.1\nevil",
        "ns.example.com",
        "$host",
        "[::1",
        "::1",  # nginx would read a port
        "[fe80::1%eth0]",
        "127.0.0.1:0",
        "127.0.0.1:66000",
        "",
    ],
)
def test_nor_of_name_servers_that_are_no_addresses(word: str) -> None:
    with pytest.raises(UsageError, match="name server"):
        MediaHost("files.example.com", PublicBucket("https://new/b/"), PublicFolder(Path("/old")), (word,)).render()


@pytest.mark.parametrize(
    ("text", "taken", "left_out"),
    [
        ("nameserver 192.0.2.1\nnameserver 2001:db8::1\n", ("192.0.2.1", "[2001:db8::1]"), 0),
        ("nameserver [2001:db8::1]:5353\nnameserver 192.0.2.1:53\n", ("[2001:db8::1]:5353", "192.0.2.1:53"), 0),
        ("nameserver [::1]\nnameserver 2001:DB8:0:0::1\n", ("[::1]", "[2001:db8::1]"), 0),
        ("nameserver fe80::1%eth0\nnameserver 192.0.2.1\n", ("192.0.2.1",), 1),
        ("nameserver 192.0.2.1;include /etc/shadow;\nnameserver 192.0.2.2\n", ("192.0.2.2",), 1),
        ("nameserver 192.0.2.1} # comment\n", ("127.0.0.53",), 1),
        ("nameserver $remote_addr\nnameserver 'x\nnameserver ns.example.com\n", ("127.0.0.53",), 3),
        ("nameserver 127.1\nnameserver 0x7f.1\n", ("127.0.0.53",), 2),
        ("search example.com\nnameserver\n# nameserver 192.0.2.9\n", ("127.0.0.53",), 0),
    ],
)
def test_of_resolv_conf_only_addresses_are_taken_and_the_rest_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
    taken: tuple[str, ...],
    left_out: int,
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(text)
    monkeypatch.setattr("mastosync.app.mastodon_settings._RESOLV_CONF", path)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(configured(tmp_path), manifest, NAMED)
    host = report.require_fallback()
    assert host.resolvers == taken
    assert f"resolver {' '.join(taken)} valid=60s;" in host.render()
    assert len([each for each in caplog.records if "no address" in each.getMessage()]) == left_out


@pytest.mark.parametrize("prefix", ['a"b', "a\\b", "a$b", "a\nb", "a;b}", "a'b", "a{b"])
def test_a_key_prefix_stays_within_its_quotes(prefix: str, tmp_path: Path) -> None:
    host = MediaHost(
        "files.example.com", PublicBucket("https://new/b/"), PublicFolder(tmp_path), ("127.0.0.1",), (quote(prefix),)
    )
    (line,) = [each for each in host.render().split("\n    ") if "mastodon_path>" in each]
    quoted = re.fullmatch(r'"((?:[^"\\]|\\.)*)" /\$mastodon_path;\n}', line.partition("\n\n")[0], re.DOTALL)
    assert quoted, line
    pattern = re.sub(r"\\(.)", lambda each: each[1] if each[1] in '"\\' else each[0], quoted[1], flags=re.DOTALL)
    assert re.match(pattern.removeprefix("~").replace("(?<", "(?P<"), f"/{prefix}accounts")


REMOTE_OUTSIDE = REMOTE._replace(cached=False)  # of a schema before `cache/`, as are all thumbnails before Mastodon 4.6


@pytest.mark.parametrize(
    ("line", "fallback", "told"),
    [
        (CountLine(REMOTE, EntryState.PENDING, None, 2, 0), Fallback.ALL, False),
        (CountLine(REMOTE, EntryState.PENDING, None, 2, 0), Fallback.CACHE, False),
        (CountLine(REMOTE, EntryState.PENDING, None, 2, 0), Fallback.NONE, True),
        (CountLine(REMOTE_OUTSIDE, EntryState.PENDING, None, 2, 0), Fallback.ALL, False),
        (CountLine(REMOTE_OUTSIDE, EntryState.PENDING, None, 2, 0), Fallback.CACHE, True),
        (CountLine(REMOTE_OUTSIDE, EntryState.SKIPPED, Reason.EXCLUDED, 2, 0), Fallback.CACHE, True),
        (failed(REMOTE_OUTSIDE, Reason.NETWORK, 2), Fallback.CACHE, True),
        (failed(REMOTE_OUTSIDE, Reason.MISSING, 2), Fallback.NONE, False),
        (CountLine(LOCAL, EntryState.PENDING, None, 2, 0), Fallback.CACHE, False),  # which is no-go already
    ],
)
def test_what_the_chosen_fallback_would_not_bring_is_told(line: CountLine, fallback: Fallback, told: bool) -> None:
    findings = found(evidence(line, fallback=fallback))
    assert ("fallback" in findings) is told
    if told:
        assert findings["fallback"].grade is Grade.WARNING
        assert "2 objects" in findings["fallback"].message


def test_what_users_delete_stays_readable_no_longer_than_the_switch_takes(tmp_path: Path) -> None:
    """Until both old processes have gone uploads may still come to the old store, so all of it is asked; then not."""
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(configured(tmp_path), manifest, CutoverOptions(media_host="files.example.com"))
    commands = [command for step in report.over for command in step.lines]
    proof = "mastosync verify --deep --sample 1000"
    narrow = "mastosync cutover --media-host files.example.com --fallback cache --nginx mastodon-media-cache.conf"
    assert commands.index("mastosync copy") < commands.index(narrow)
    installed = "/etc/nginx/conf.d/mastodon-media-files.example.com.conf && nginx -t && nginx -s reload"
    assert f"cp --backup=numbered mastodon-media-cache.conf {installed}" in commands
    assert commands.index(narrow) < commands.index("mastosync prune --apply") < commands.index(proof)
    plans = [at for at, command in enumerate(commands) if command == "mastosync plan"]
    assert commands.index("mastosync copy") < plans[-1] < commands.index("mastosync prune --apply")


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ([Finding("pending", Grade.NO_GO, "")], "NO-GO"),
        ([Finding("cache", Grade.WARNING, "", needs_fallback=True)], "GO, with the fallback"),
        ([], "GO"),
    ],
)
def test_who_writes_a_file_is_sent_to_no_lines_that_are_not_shown(
    findings: list[Finding], said: str, tmp_path: Path
) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = replace(cutover_from(configured(tmp_path), manifest, NAMED), cutover=Cutover(findings))
    *_, verdict = render_written(report, Path("media.conf"), None).splitlines()
    assert verdict.startswith(f"{said}: ")
    assert not {"above", "below"} & set(re.findall(r"[a-z]+", verdict))


@pytest.mark.parametrize("fallback", [Fallback.CACHE, Fallback.NONE])
def test_who_has_chosen_a_narrower_fallback_is_not_told_to_narrow_it(tmp_path: Path, fallback: Fallback) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(configured(tmp_path), manifest, replace(NAMED, fallback=fallback))
    commands = [command for step in report.over for command in step.lines]
    named = [command for command in commands if "--fallback" in command]
    assert named == [
        f"mastosync cutover --media-host files.example.com --fallback {fallback} --nginx mastodon-media.conf"
    ]
    assert "upload" in report.over[0].what, "it is said that new uploads are not shown for a while"


@pytest.mark.parametrize(
    ("host", "told"), [("files.example.com", True), ("files.example.com:8443", True), ("a;} location / {#", False)]
)
def test_what_sends_browsers_on_from_a_disk_is_no_line_of_somebody_elses(host: str, told: bool, tmp_path: Path) -> None:
    config = replace(configured(tmp_path), source=S3Config(), source_folder=FilesystemConfig(path=tmp_path))
    redirect = system_redirect(config, {}, f"https://{host}")
    assert (redirect is not None) is told


def test_without_a_fallback_the_old_store_is_no_part_of_the_media_host(tmp_path: Path) -> None:
    config = replace(configured(tmp_path), source=replace(BUCKET, endpoint_url="https://abc.r2.cloudflarestorage.com"))
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, replace(NAMED, fallback=Fallback.NONE))
    text = report.require_fallback().render()
    assert "r2.cloudflarestorage.com" not in text
    assert "@old" not in text
    assert not any("@old" in command for step in report.over for command in step.lines)


def configured(tmp_path: Path, **destination: Any) -> Config:  # noqa: ANN401
    source = replace(BUCKET, bucket="old", key_prefix="pre fix")
    return Config(source=source, destination=replace(BUCKET, **destination), path=tmp_path / "config.ini")


@pytest.mark.parametrize(
    ("changes", "options", "asked"),
    [
        ({}, {}, "https://s3.example.com/media/"),
        ({"addressing_style": "virtual"}, {}, "https://media.s3.example.com/"),
        ({"endpoint_url": None, "region": "eu-west-1"}, {}, "https://media.s3.eu-west-1.amazonaws.com/"),
        ({"endpoint_url": None, "bucket": "a.b"}, {}, "https://s3.us-east-1.amazonaws.com/a.b/"),
        ({"key_prefix": "x/"}, {}, "https://s3.example.com/media/x//"),
        ({"public_url": "https://cdn.example.com"}, {}, "https://s3.example.com/media/"),
        ({"public_url": "https://cdn.example.com"}, {"media_host": "files.example.com"}, "https://cdn.example.com/"),
        ({}, {"destination_url": "https://pub.r2.dev"}, "https://pub.r2.dev/"),
        ({"public_url": "https://cdn.example.com/media"}, {}, "https://cdn.example.com/media/"),
    ],
)
def test_nginx_asks_where_everybody_reads(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, str], asked: str
) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        named = options or (
            {} if changes.get("public_url") == "https://cdn.example.com" else {"media_host": "m.example"}
        )
        named = {"media_host": "m.example", **named} if "destination_url" in named else named
        report = cutover_from(configured(tmp_path, **changes), manifest, CutoverOptions(**named))  # type: ignore[arg-type]
    text, own = report.require_fallback().render(), re.sub(r"\W", "_", report.media_host or "")
    assert f"proxy_pass {asked}$mastodon_media_{own};" in text
    assert f"proxy_pass https://s3.example.com/old/pre%20fix/$mastodon_media_{own};" in text


def test_where_nobody_can_tell_it_is_asked_for(tmp_path: Path) -> None:
    there = {"endpoint_url": "https://abc.r2.cloudflarestorage.com"}
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(configured(tmp_path, **there), manifest, NAMED)
    with pytest.raises(UsageError) as caught:
        report.require_fallback()
    assert "--destination-url" in caught.value.hint
    assert report.as_json()["nginx"] is None
    assert "S3_PERMISSION=" in [each.line for each in report.settings]


def test_a_folder_is_asked_as_one(tmp_path: Path) -> None:
    config = Config(source=BUCKET, destination_folder=FilesystemConfig(path=tmp_path), path=tmp_path / "config.ini")
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, CutoverOptions(media_host="files.example.com"))
    assert report.require_fallback().new == PublicFolder(tmp_path)
    assert report.cors is None
    assert "public" not in {each.check for each in report.cutover.findings}
    assert any(command.endswith("adopt --deep") for step in report.back for command in step.lines)


def test_the_steps_name_configuration_and_manifest_again() -> None:
    way = WayOver(Mastosync(("-c", "my.ini")), ("cutover", "--media-host", "m"), public=False)
    commands = [command for step in steps_over(way) for command in step.lines]
    assert "mastosync -c my.ini cutover --media-host m --nginx mastodon-media.conf" in commands
    assert "mastosync -c my.ini cutover --media-host m --fallback cache --nginx mastodon-media-cache.conf" in commands
    assert "mastosync -c my.ini copy" in commands
    assert "mastosync -c my.ini prune --apply" in commands
    assert not any("--public" in command for command in commands)
    (written,) = steps_over(WayOver(Mastosync(), ("cutover",), Path("my conf"), host="m.example:8443"))[0].lines
    assert written.startswith(
        "cp --backup=numbered 'my conf' /etc/nginx/conf.d/mastodon-media-m.example-8443.conf && nginx -t"
    )


OLD, NEW = "bucket 'old-a' at https://s3.example.com", "bucket 'new-a' at https://s3.example.com"


def test_the_way_back_is_told_with_names_that_are_free() -> None:
    files, again = NewFiles(back="back-2.ini", back_manifest="back 2.db"), ("cutover", "--media-host", "m")
    way = WayBack(Mastosync(("-c", "my.ini")), again, Path("my.ini"), OLD, NEW, 15, folders=True, files=files)
    exchange, bring, over, _ = steps_back(way)
    assert exchange.lines == ("mastosync -c my.ini init --reverse --output back-2.ini",)
    assert "mastosync -c back-2.ini --manifest 'back 2.db' adopt --deep" in bring.lines
    assert over.lines == ("mastosync -c back-2.ini --manifest 'back 2.db' cutover --media-host m",)
    assert not steps_back(replace(way, config=None))[0].commands


def test_the_way_back_says_which_store_is_which_and_when_its_orphans_can_be_told() -> None:
    way = WayBack(Mastosync(), ("cutover",), Path("my.ini"), OLD, NEW, 15, folders=False)
    _, bring, over, orphaned = steps_back(way)
    assert f"the new store is {OLD}" in over.what
    assert f"deleted at the end, is {NEW}" in over.what
    assert f"still at {OLD}" in orphaned.what
    assert "at least 15 minutes after the last upload" in orphaned.what
    words = [str(command) for command in bring.commands]
    assert words.index("mastosync -c back.ini --manifest back.db copy") + 1 == words.index(
        "mastosync -c back.ini --manifest back.db apply-settings"
    ), "what lies there has the headers of whoever stored it"
    to_folder = steps_back(replace(way, public=False))[1]
    assert "apply-settings" not in str(to_folder.lines), "a disk keeps no headers"


@pytest.mark.parametrize("from_folder", [False, True])
def test_the_last_step_names_what_is_deleted(from_folder: bool) -> None:
    way = WayOver(Mastosync(), ("cutover",), old=OLD, from_folder=from_folder, secrets=Path("config.secrets"))
    *_, report, secrets = steps_over(way)
    assert OLD in report.what
    assert "remove config.secrets, too" in secrets.what
    assert OLD in secrets.what
    assert not secrets.commands, "the way back needs it"


def test_who_waits_for_the_log_of_the_fallback_is_told_where_it_is() -> None:
    way = WayOver(Mastosync(), ("cutover",), host="m.example:8443")
    log = "/var/log/nginx/mastodon-media-m.example-8443-fallback.log"
    assert any(log in step.what for step in steps_over(way))


def test_when_all_is_done_only_the_end_is_told() -> None:
    """A fallback that was taken down would be put back, to a bucket that may be deleted already."""
    way = WayOver(Mastosync(), ("cutover",), old=OLD, switched=True, changes=False, new_host=False, done=True)
    commands = [command for step in steps_over(way) for command in step.lines]
    assert [command.split()[0] for command in commands] == ["sed", "mastosync"]
    assert commands[-1] == "mastosync report"


# --- secrets and hosts ---


@pytest.mark.parametrize("secrets", [Secrets.UNPINNED, Secrets.LOST])
def test_who_would_lose_the_keys_of_the_old_store_may_not_switch(secrets: Secrets) -> None:
    result = judge(evidence(secrets=secrets))
    assert result.verdict is CutoverVerdict.NO_GO
    assert {each.check for each in result.findings if each.grade is not Grade.OK} == {"secrets"}


def test_without_a_media_host_nobody_may_switch() -> None:
    assert judge(evidence(media_host=False)).verdict is CutoverVerdict.NO_GO


def env_of(folder: Path, *lines: str) -> Path:
    path = folder / ".env.production"
    path.write_text("LOCAL_DOMAIN=social.example\n" + "".join(f"{line}\n" for line in lines))
    return path


def with_env(tmp_path: Path, *lines: str, **destination: Any) -> Config:  # noqa: ANN401
    """A configuration whose source takes its keys from Mastodon's file."""
    env = env_of(tmp_path, "AWS_ACCESS_KEY_ID=old", "AWS_SECRET_ACCESS_KEY=old", *lines)
    (tmp_path / "config.ini").write_text(
        "[s3.source]\nendpoint_url = https://old.example.com\nbucket = was\naccess_key = env:AWS_ACCESS_KEY_ID\n"
        "secret_key = env:AWS_SECRET_ACCESS_KEY\n[s3.destination]\nendpoint_url = https://s3.example.com\n"
        f"bucket = media\naccess_key = {destination.get('access_key', 'new')}\nsecret_key = s3cret\n"
        f"public_url = https://files.example.com\n[env]\nfile = {env}\n"
    )
    return load_config(tmp_path / "config.ini", {})


def test_a_doctor_knows_what_a_switch_may_have_done_to_the_keys(tmp_path: Path) -> None:
    config = with_env(tmp_path, access_key="old")
    way = way_to(config, "source")
    assert isinstance(way, StoreWay)
    assert "are the keys of the destination now. Write those of the old store under [s3.source]" in way.of_keys
    assert way_to(config, "destination").of_keys == ""  # type: ignore[union-attr]


def test_the_keys_are_kept_before_it_is_go(tmp_path: Path) -> None:
    config = with_env(tmp_path)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, CutoverOptions(global_options=("-c", "config.ini")))
        (told,) = (each for each in report.cutover.findings if each.check == "secrets")
        assert (told.grade, told.remedy) == (Grade.NO_GO, "mastosync pin-secrets")
        assert "pin-secrets" not in str(report.over), "it is no step that comes once this says GO"
        assert f"remove {tmp_path / 'config.secrets'}, too" in report.over[-1].what
        pin(config, {})
        report = cutover_from(load_config(tmp_path / "config.ini", {}), manifest, CutoverOptions())
    assert report.env == tmp_path / ".env.production"
    assert "secrets" not in {each.check for each in report.cutover.findings}
    assert "pin-secrets" not in str(report.over)


def test_keys_that_stay_as_they_are_are_kept_too(tmp_path: Path) -> None:
    """Of two buckets of one account. Once Mastodon is switched over nobody can tell whose keys its file has."""
    config, path = with_env(tmp_path, access_key="old"), tmp_path / "config.ini"
    path.write_text(path.read_text().replace("s3cret", "old"))
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        before = cutover_from(load_config(path, {}), manifest, CutoverOptions())
        assert "secrets" in {found.check for found in before.cutover.findings}
        pin(load_config(path, {}), {})
        report = cutover_from(load_config(path, {}), manifest, CutoverOptions())
        (tmp_path / ".env.production").write_text(report.new_env().reveal())
        after = cutover_from(load_config(path, {}), manifest, CutoverOptions())
    assert after.switched
    assert after.over
    for each in (report, after):
        assert "secrets" not in {found.check for found in each.cutover.findings}
    assert config.source == load_config(path, {}).source


@pytest.mark.parametrize("alias", [(), ("S3_ALIAS_HOST=files.example.com",)], ids=["new host", "same host"])
def test_keys_of_a_file_that_names_the_new_store_are_not_taken_for_those_of_the_old(
    tmp_path: Path, alias: tuple[str, ...]
) -> None:
    """Mastodon has a key of its own there, which is not the one that the configuration has."""
    lines = ("S3_ENABLED=true", "S3_BUCKET=media", "S3_ENDPOINT=https://s3.example.com")
    config, path = with_env(tmp_path, *lines, *alias), tmp_path / "config.ini"
    with pytest.raises(ConfigError, match="already names the new store"):
        pin(config, {})
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, CutoverOptions())
        (told,) = (each for each in report.cutover.findings if each.check == "secrets")
        assert (told.grade, report.over) == (Grade.NO_GO, [])
        assert "under [s3.source]" in told.remedy
        path.write_text(re.sub(r"env:AWS_\w+", "kept", path.read_text()))  # what the remedy says
        report = cutover_from(load_config(path, {}), manifest, CutoverOptions())
        assert "secrets" not in {each.check for each in report.cutover.findings}
        *host, settings, restart = report.over[: 2 if alias else 3]
        assert ["--nginx" in each.lines[0] for each in host] == ([] if alias else [True]), "before browsers ask it"
        assert "--new-env" in settings.lines[0], "what still differs has a step"
        assert restart.lines == ("systemctl restart mastodon-sidekiq mastodon-web",)
        (tmp_path / ".env.production").write_text(report.new_env().reveal())
        report = cutover_from(load_config(path, {}), manifest, CutoverOptions())
    assert report.settings == []
    assert "--new-env" not in str(report.over)


@pytest.mark.parametrize("lines", [[], ["S3_ENABLED=true"]], ids=["nothing", "no bucket"])
def test_what_a_container_may_have_in_its_environment_is_no_obstacle(tmp_path: Path, lines: list[str]) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(with_env(tmp_path, *lines), manifest, CutoverOptions())
    (told,) = (each for each in report.cutover.findings if each.check == "settings")
    assert told.grade is Grade.WARNING
    assert "does not say where Mastodon keeps its media" in told.message
    assert "container" in told.remedy


def test_a_folder_that_a_container_knows_by_another_path_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    folder = FilesystemConfig(path=tmp_path / "media")
    config = Config(source=BUCKET, destination_folder=folder, path=tmp_path / "config.ini")
    env = env_of(tmp_path, "S3_ENABLED=false", "PAPERCLIP_ROOT_PATH=/mastodon/public/system")
    options = CutoverOptions(media_host="files.example.com", env=env)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, options)
        before = cutover_from(
            config, manifest, replace(options, env=env_of(tmp_path, "S3_ENABLED=true", "S3_BUCKET=media"))
        )
    assert report.switched
    assert "PAPERCLIP_ROOT_PATH" not in {each.name for each in report.settings}
    (told,) = (each for each in report.cutover.findings if each.check == "settings")
    assert told.grade is Grade.WARNING
    assert "/mastodon/public/system" in told.message
    assert not before.switched
    assert any("PAPERCLIP_ROOT_PATH the path" in step.what for step in before.over), "before it is restarted"


def test_a_folder_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    config = Config(source=BUCKET, destination_folder=FilesystemConfig(path=tmp_path / "gone"), path=tmp_path / "c.ini")
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, NAMED)
    (told,) = (each for each in report.cutover.findings if each.check == "owner")
    assert told.grade is Grade.WARNING
    assert "gone" in told.message
    assert told.remedy


def test_no_file_with_secrets_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = with_env(tmp_path, "S3_ENABLED=true", "S3_BUCKET=was")
    pin(config, {})
    env, kept = tmp_path / ".env.production", tmp_path / ".env.production.before"
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(load_config(tmp_path / "config.ini", {}), manifest, CutoverOptions())
        (command,) = next(step.lines for step in report.over if "--new-env" in str(step.lines))
        assert command.endswith("> " + str(env) + " && rm env.production.new")
        assert report.over[-2].lines == (f"rm {kept}",)
        kept.write_text(env.read_text())
        env.write_text(report.new_env().reveal())
        (tmp_path / "env.production.new").write_text("left by whoever has written it by hand")
        report = cutover_from(load_config(tmp_path / "config.ini", {}), manifest, CutoverOptions())
        assert report.over[-2].lines == (f"rm env.production.new {kept}",)
        kept.unlink()
        (tmp_path / "env.production.new").unlink()
        report = cutover_from(load_config(tmp_path / "config.ini", {}), manifest, CutoverOptions())
    assert not any("rm " in line for step in report.over for line in step.lines)


def test_no_steps_are_told_that_cannot_work(tmp_path: Path) -> None:
    """Mastodon was switched over already, and nobody kept the keys of the old store."""
    config = with_env(tmp_path, access_key="old")
    lines = [
        assignment(each.name, each.secret, "dotenv")
        for each in storage_settings(config.destination, "files.example.com", acls=True)
        if each.secret is not None
    ]
    env_of(tmp_path, *(line.replace("s3cret", "old") for line in lines))
    config = replace(load_config(tmp_path / "config.ini", {}), destination=config.destination)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, CutoverOptions())
    (told,) = (each for each in report.cutover.findings if each.check == "secrets")
    assert told.grade is Grade.NO_GO
    assert "[s3.source]" in told.remedy
    assert (report.over, report.back) == ([], [])


def test_the_new_settings_are_the_old_ones_with_other_lines(tmp_path: Path) -> None:
    config = with_env(tmp_path, "S3_ENABLED=true", "S3_CLOUDFRONT_HOST=cdn.example.net", "OTHER='a b' # stays")
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        text = cutover_from(config, manifest, CutoverOptions()).new_env().reveal()
    assert "OTHER='a b' # stays\n" in text
    assert "S3_CLOUDFRONT_HOST" not in text
    assert "AWS_SECRET_ACCESS_KEY=s3cret\n" in text
    current = current_settings(Secret(text), tmp_path / ".env.production", "dotenv")
    assert names_store(current, config.destination, tmp_path / ".env.production")
    assert not names_store(current, config.source, tmp_path / ".env.production")


def test_what_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(configured(tmp_path), manifest, CutoverOptions())
    assert report.cutover.verdict is CutoverVerdict.NO_GO
    assert "S3_ALIAS_HOST=CHANGE-ME" in [each.line for each in report.settings]
    assert report.as_json()["nginx"] is None
    assert report.cors is None
    commands = [command for step in (*report.over, *report.back) for command in step.lines]
    asking = [command for command in commands if " cutover" in command]
    assert asking
    assert all("--media-host CHANGE-ME" in command for command in asking)
    for ask in (report.require_fallback, report.new_env):
        with pytest.raises(UsageError):
            ask()


def test_a_folder_is_named_by_its_path_or_by_none(tmp_path: Path) -> None:
    folder = tmp_path / "public" / "system"
    env, store = tmp_path / ".env.production", FilesystemConfig(path=folder)
    assert names_store({}, store, env)
    assert names_store({"PAPERCLIP_ROOT_PATH": Secret(":rails_root/public/system/")}, store, env)
    assert not names_store({"S3_ENABLED": Secret("true")}, store, env)
    assert not names_store({"PAPERCLIP_ROOT_PATH": Secret("/srv/media")}, store, env)


def test_who_has_switched_is_told_the_steps_that_are_left(tmp_path: Path) -> None:
    """The full fallback would show again what users have deleted since."""
    config = with_env(tmp_path)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        text = cutover_from(config, manifest, CutoverOptions()).new_env().reveal()
        pin(config, {})
        (tmp_path / ".env.production").write_text(text)
        report = cutover_from(load_config(tmp_path / "config.ini", {}), manifest, CutoverOptions())
    assert report.switched
    commands = [command for step in report.over for command in step.lines]
    assert commands[:3] == [
        "systemctl restart mastodon-sidekiq mastodon-web",  # nobody knows whether it has read its settings
        "mastosync plan",
        "mastosync copy",
    ]
    assert not any("--new-env" in command for command in commands)
    assert "already uses the new store" in render_cutover(report)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["S3_ENABLED=true", "S3_BUCKET=was"], ""),
        (["S3_ENABLED=true", "S3_BUCKET=media", "S3_ENDPOINT=https://s3.example.com"], ""),
        (["S3_ENABLED=true", "S3_BUCKET=media"], "may be the same"),
        (["S3_ENABLED=true", "S3_BUCKET=third"], "'third'"),
        (["S3_ENABLED=false"], "disk"),
    ],
)
def test_a_mastodon_that_uses_neither_store_is_not_switched(tmp_path: Path, lines: list[str], told: str) -> None:
    """In one folder there may be configurations of several migrations."""
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(with_env(tmp_path, *lines), manifest, CutoverOptions())
    messages = [each.message for each in report.cutover.findings if each.check == "settings"]
    assert [told in each for each in messages] == ([True] if told else [])


def test_where_nothing_was_copied_it_is_no_go() -> None:
    nothing = replace(evidence(), counts=[])
    assert {each.check for each in judge(nothing).findings if each.grade is Grade.NO_GO} == {"pending"}


@pytest.mark.parametrize("host", ["https://files.example/", "files example", "files.example/media"])
def test_what_is_no_host_is_refused_whatever_is_asked_for(tmp_path: Path, host: str) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest, pytest.raises(UsageError):
        cutover_from(configured(tmp_path), manifest, CutoverOptions(media_host=host))


def test_keys_of_the_new_store_are_not_kept_as_those_of_the_old(tmp_path: Path) -> None:
    config = with_env(tmp_path)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        text = cutover_from(config, manifest, CutoverOptions()).new_env().reveal()
    (tmp_path / ".env.production").write_text(text)
    with pytest.raises(ConfigError, match="already names the new store"):
        pin(load_config(tmp_path / "config.ini", {}), {})
    assert not (tmp_path / "config.secrets").exists()


def test_what_somebody_has_given_up_keeps_nobody_from_switching() -> None:
    line = replace(failed(LOCAL, Reason.CORRUPT, 2), accepted=2)
    assert judge(evidence(line)).verdict is CutoverVerdict.GO
    assert judge(evidence(replace(line, accepted=1))).verdict is CutoverVerdict.NO_GO


@pytest.mark.parametrize(
    ("endpoint", "configured", "same"),
    [
        ("https://S3.example.com:443/", "https://s3.example.com", True),
        ("https://media.s3.example.com", "https://s3.example.com", True),
        ("", "https://s3.eu-west-1.amazonaws.com", True),
        ("https://s3.example.com:9000", "https://s3.example.com", False),
        ("https://other.example.com", "https://s3.example.com", False),
    ],
)
def test_an_endpoint_is_known_however_it_is_written(endpoint: str, configured: str, same: bool) -> None:
    current = {"S3_ENABLED": Secret("true"), "S3_BUCKET": Secret("media"), "S3_ENDPOINT": Secret(endpoint)}
    store = replace(BUCKET, bucket="media", endpoint_url=configured)
    assert names_store(current, store, Path("/live/.env.production")) is same


def test_media_that_mastodon_keeps_private_are_not_opened(tmp_path: Path) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(with_env(tmp_path, "S3_PERMISSION=private"), manifest, CutoverOptions())
    assert {each.grade for each in report.cutover.findings if each.check == "permission"} == {Grade.NO_GO}


def test_where_nginx_cannot_be_told_it_is_no_go_if_the_fallback_is_needed(tmp_path: Path) -> None:
    told = ("nginx cannot be told", "write it by hand")
    waiting = CountLine(REMOTE, EntryState.PENDING, None, 1, 0)
    assert judge(evidence(waiting, by_hand=told)).verdict is CutoverVerdict.NO_GO
    assert judge(evidence(by_hand=told)).verdict is CutoverVerdict.GO
    steps = steps_over(WayOver(Mastosync(), ("cutover",), by_hand="nginx cannot be told"))
    assert not any("--nginx" in command for step in steps for command in step.lines)


def test_no_settings_are_emptied_where_new_ones_cannot_be_written(tmp_path: Path) -> None:
    """The commands stand on one line: the next runs only if the one before has done its work."""
    env = tmp_path / ".env.production"
    env.write_text("SECRET_KEY_BASE=1\n")
    way = WayOver(Mastosync(), ("cutover",), env=env, env_kept=tmp_path / "kept")
    (command,) = next(step.lines for step in steps_over(way) if "--new-env" in str(step.lines))
    subprocess.run(["bash", "-c", f"mastosync() {{ false; }}; {command}"], cwd=tmp_path, check=False)
    assert env.read_text() == "SECRET_KEY_BASE=1\n"


def test_one_key_for_both_stores_is_never_lost(tmp_path: Path) -> None:
    """Both sections take the same variables: of two regions of one provider, say."""
    path = tmp_path / "config.ini"
    with_env(tmp_path)
    text = path.read_text().replace(
        "access_key = new\nsecret_key = s3cret",
        "access_key = env:AWS_ACCESS_KEY_ID\nsecret_key = env:AWS_SECRET_ACCESS_KEY",
    )
    path.write_text(text)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        new = cutover_from(load_config(path, {}), manifest, CutoverOptions()).new_env().reveal()
        (tmp_path / ".env.production").write_text(new)
        report = cutover_from(load_config(path, {}), manifest, CutoverOptions())
    assert "secrets" not in {each.check for each in report.cutover.findings}
    assert report.back


def test_where_all_is_private_nobody_has_to_be_able_to_read_it() -> None:
    assert judge(evidence(verifications=[proof()], acl="private")).verdict is CutoverVerdict.GO
    for wrong in ({"listed": True}, {"exposed": 1, "faults": 1}):
        looked = evidence(verifications=[proof(public=public(**wrong))], acl="private")
        assert judge(looked).verdict is CutoverVerdict.NO_GO
    assert judge(evidence(verifications=[proof(public=public(faults=9))], acl="private")).verdict is CutoverVerdict.GO


def test_a_look_at_what_was_all_private_does_not_tell_that_everybody_can_read() -> None:
    looked = evidence(verifications=[proof(public={**public(), "all_private": True})], acl="auto")
    assert found(looked)["public"].remedy == "mastosync verify --public"
    assert judge(looked).verdict is CutoverVerdict.NO_GO


@pytest.mark.parametrize("acl", ["private", "auto"])
def test_no_step_asks_everybody_to_read_what_nobody_may(acl: str, tmp_path: Path) -> None:
    destination = replace(BUCKET, bucket="new", acl=acl)
    config = Config(source=BUCKET, destination=destination, path=tmp_path / "config.ini")
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, CutoverOptions(media_host="files.example.com"))
    for steps in (report.over, report.back):
        asked = [command for step in steps for command in step.commands if str(command).endswith("verify --public")]
        assert len(asked) == (acl == "auto")
    assert ("public" in {each.check for each in report.cutover.findings}) is (acl == "auto")
    assert (report.refusal is not None) is (acl == "private"), "nginx has no key of its own"


def test_nginx_asks_a_bucket_that_nobody_reads_where_somebody_says_that_it_may(tmp_path: Path) -> None:
    config = Config(source=BUCKET, destination=replace(BUCKET, bucket="new", acl="private"), path=tmp_path / "c.ini")
    options = CutoverOptions(media_host="files.example.com", destination_url="https://inside.example.com/new")
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        assert cutover_from(config, manifest, options).require_fallback()


@pytest.mark.parametrize("endpoint", ["https://[old", "https://old:90000", "minio:9000"])
def test_an_odd_endpoint_is_no_bug(endpoint: str) -> None:
    current = {"S3_ENABLED": Secret("true"), "S3_BUCKET": Secret("media"), "S3_ENDPOINT": Secret(endpoint)}
    assert not names_store(current, replace(BUCKET, bucket="media", endpoint_url=None), Path("/live/.env.production"))
