"""The final report: what it counts, its pace, its verdict, and the digest that says to which manifest it belongs."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mastosync.app import manifest as upkeep
from mastosync.app import report as reports
from mastosync.app.context import Context
from mastosync.app.files import new_file
from mastosync.cli.commands.report import render_report
from mastosync.cli.main import main
from mastosync.config import Config
from mastosync.errors import ManifestError, UsageError
from mastosync.findings.deleted import SharedBucket
from mastosync.manifest import (
    LIES_THERE,
    CountLine,
    Exposed,
    Gap,
    LastChange,
    Manifest,
    ManifestReport,
    Relation,
    Removable,
    SnapshotRecord,
    StoreIdentity,
    WorkQueue,
    newest_version,
)
from mastosync.model import TABLES, EntryState, Origin, Outcome, Reason
from mastosync.progress import NoProgress
from mastosync.report import Evidence, Proof, Report, Run, Switch, judge
from mastosync.report.history import PACES, ProgressSample, paces_of, runs_of
from mastosync.report.page.document import render_page
from mastosync.runtime.stop import StopSignal
from tests.support.entries import LOCAL, REMOTE, entry
from tests.support.manifest_versions import restored
from tests.support.manifests import planned


def context(path: Path) -> Context:
    return Context(Config(), path, NoProgress(), StopSignal())


def keep_report(text: str, target: Path, *, replace: bool = False) -> None:
    with new_file(target, replace=replace) as file:
        file.write(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A manifest with something of everything."""
    return restored(newest_version(), tmp_path / "m.db")


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


# --- what it counts ---


def test_it_counts_what_the_manifest_has(path: Path) -> None:
    report = reports.report(context(path), failures=50)
    with closing(sqlite3.connect(path)) as connection:
        entries, done_bytes = connection.execute(
            "SELECT count(*), sum(size) FILTER (WHERE state = 1) FROM entries"
        ).fetchone()
        failed = connection.execute("SELECT count(*) FROM entries WHERE state = 2").fetchone()[0]
    told = report.as_json()
    assert sum(each["objects"] for each in told["counts"]) == told["totals"]["total"] == entries
    assert sum(each["bytes"] for each in told["counts"] if each["state"] == "done") == done_bytes
    assert told["failures"]["total"] == len(told["failures"]["listed"]) == failed
    assert {name: origin["objects"] for name, origin in told["origins"].items()} == {
        "copied": told["totals"]["done"] - 1,
        "adopted": 1,
        "refetched": 0,
    }
    assert [plan["number"] for plan in told["plans"]] == [1, 2]
    assert [run["number"] for run in told["runs"]] == [1, 2, 3]
    assert json.loads(json.dumps(told)) == told


def test_what_the_old_store_may_still_have_is_listed_first(path: Path) -> None:
    report = reports.report(context(path), failures=3)
    assert len(report.failures) == 3
    assert "missing" not in {each["reason"] for each in report.failures}
    everything = reports.report(context(path), failures=50).failures
    assert [each["reason"] for each in everything][-1] == "missing"


def test_a_manifest_whose_counters_are_wrong_gives_no_report(path: Path) -> None:
    change(path, "UPDATE counts SET objects = objects + 1 WHERE state = 1")
    with pytest.raises(ManifestError, match="counters say") as error:
        reports.report(context(path), failures=0)
    assert "manifest check" in error.value.hint


# --- the digest ---


def digest_by_hand(archive: bytes) -> str:
    """As docs/design/report.md says, of what `manifest export` writes."""
    digest = hashlib.sha256()
    for line in archive.splitlines()[1:-1]:
        each = json.loads(line)
        fields = [base64.b64encode(each["key"].encode()).decode(), each["state"], each["reason"], each["size"]]
        fields += [each["md5"], base64.b64encode((each["etag"] or "").encode()).decode()]
        digest.update((" ".join("" if field is None else str(field) for field in fields) + "\n").encode())
    return digest.hexdigest()


def exported(path: Path) -> bytes:
    target = path.with_suffix(".jsonl")
    upkeep.export(context(path), target, replace=True)
    return target.read_bytes()


@pytest.fixture
def odd(path: Path) -> Path:
    """Ids beyond 2^53, sizes beyond 2^32, and names that hold what names can hold."""
    change(path, "UPDATE entries SET name = 'a b' || char(10, 9, 127, 8238) || 'ü€😀\"\\.png' WHERE id = 3")
    change(path, "UPDATE entries SET size = 5497558138880, etag = 'W/\"odd tag\"' WHERE id = 2 AND state = 1")
    return path


def test_the_digest_can_be_computed_from_an_export_by_hand(odd: Path) -> None:
    report = reports.report(context(odd), failures=0)
    assert report.contents.sha256 == digest_by_hand(exported(odd))
    assert report.contents.entries == report.totals.total


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("sha256sum")), reason="needs jq and sha256sum")
def test_the_line_of_jq_in_the_page_computes_it(odd: Path) -> None:
    page = render_page(reports.report(context(odd), failures=0))
    line = page.partition("<pre>")[2].partition("</pre>")[0].replace("&#x27;", "'").replace("&quot;", '"')
    _, _, rest = line.partition("mastosync manifest export | ")
    exported(odd)
    done = subprocess.run(
        ["sh", "-c", f"cat {odd.with_suffix('.jsonl')} | {rest}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == reports.report(context(odd), failures=0).contents.sha256


def test_the_digest_is_that_of_the_entries_and_not_of_the_file(path: Path) -> None:
    before = reports.report(context(path), failures=0).contents.sha256
    upkeep.back_up(context(path), path.with_name("copy.db"))
    change(path, "UPDATE entries SET attempts = attempts + 1, detail = 'another'")
    change(path, "VACUUM")
    exported(path)
    again = path.with_name("again.db")
    upkeep.import_archive(context(again), path.with_suffix(".jsonl"))
    assert {
        reports.report(context(each), failures=0).contents.sha256 for each in (path, again, path.with_name("copy.db"))
    } == {before}


@pytest.mark.parametrize(
    "field", ["state = 1", "reason = 3", "size = 7", "md5 = x'00'", "etag = 'other'", "id = 99", "name = 'x.png'"]
)
def test_every_field_of_every_entry_counts(path: Path, field: str) -> None:
    before = reports.report(context(path), failures=0).contents.sha256
    change(path, f"UPDATE entries SET {field} WHERE name = '0000000000000005.png'")  # noqa: S608
    assert reports.report(context(path), failures=0).contents.sha256 != before


@pytest.mark.parametrize("form", ["json", "html"])
def test_a_report_belongs_to_its_manifest_until_an_entry_changes(path: Path, form: str) -> None:
    report = reports.report(context(path), failures=50)
    kept = path.with_name(f"kept.{form}")
    keep_report(json.dumps(report.as_json()) if form == "json" else render_page(report), kept)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert reports.check_report(context(path), kept).same
    change(path, "UPDATE entries SET size = 12345 WHERE id = 1")
    found = reports.check_report(context(path), kept)
    assert not found.same
    assert found.kept == report.contents.sha256


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"{",
        b'{"format": "mastosync-report", "digest": 7}',
        b"\xff\xfe",
        b"<html><head></head><body><meta name='mastosync-manifest-sha256' content='00'></body></html>",
        b"sha256 0000",
    ],
)
def test_what_is_no_report_is_refused(path: Path, content: bytes) -> None:
    kept = path.with_name("kept")
    kept.write_bytes(content)
    with pytest.raises(UsageError, match="report"):
        reports.check_report(context(path), kept)


def test_a_report_replaces_a_file_only_if_told_to(path: Path) -> None:
    kept = path.with_name("kept")
    kept.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        keep_report("report", kept)
    assert kept.read_text() == "mine"
    keep_report("report", kept, replace=True)
    assert kept.read_text() == "report"


# --- the command ---


def told(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str, code: int = 0) -> str:
    """What the command says, with a manifest and no configuration."""
    assert main(["--no-progress", "--manifest", str(path), "report", *arguments]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_the_command_needs_nothing_but_the_manifest(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    assert "KEEP THE OLD STORE: SEE not-yet" in told(capsys, path)
    assert json.loads(told(capsys, path, "--format", "json"))["format"] == "mastosync-report"
    assert told(capsys, path, "--format", "html", "--output", "-").startswith("<!DOCTYPE html>")
    assert "mastosync-report.html" in told(capsys, path, "--format", "html")
    assert "exists already" in told(capsys, path, "--format", "html", code=2)
    told(capsys, path, "--format", "html", "--force")
    assert "belongs to" in told(capsys, path, "--check", "mastosync-report.html")
    Path("env").write_text("S3_ENABLED=true\nS3_BUCKET=third\n")
    assert "env names the bucket 'third', and neither the old store nor the new one" in told(
        capsys, path, "--env", "env"
    )
    told(capsys, path, "--format", "json", "--output", "kept.json")
    assert "belongs to" in told(capsys, path, "--check", "kept.json")
    change(path, "UPDATE entries SET size = 12345 WHERE id = 1")
    assert "does not belong to" in told(capsys, path, "--check", "kept.json", code=3)
    assert "--check" in told(capsys, path, "--check", "kept.json", "--format", "json", code=2)


def test_a_manifest_without_a_plan_has_nothing_to_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Manifest.create(tmp_path / "m.db").close()
    path = tmp_path / "m.db"
    assert f"mastosync --manifest {path} plan" in told(capsys, path, code=6), "as it can be typed"


@pytest.mark.parametrize("other", [None, "source", "destination", "exchanged", "one is left"])
def test_a_configuration_of_other_stores_is_refused_as_cutover_does(
    path: Path, other: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mastodon's settings would be held against what is no store of this manifest."""
    monkeypatch.chdir(path.parent)
    with Manifest.open(path) as manifest:
        stores = {role: ManifestReport(manifest).store(role) for role in ("source", "destination")}
    if other == "exchanged":
        stores = dict(zip(stores, reversed(stores.values()), strict=True))
    lines = []
    for role, store in stores.items():
        if store is None or (other == "one is left" and role == "source"):
            continue
        bucket = "quite-another" if other == role else store.bucket
        lines += [f"[s3.{role}]", f"endpoint_url = {store.endpoint}", f"bucket = {bucket}"]
        lines += [f"key_prefix = {store.key_prefix}"] * bool(store.key_prefix)
    path.with_name("config.ini").write_text("\n".join(lines) + "\n")
    said = told(capsys, path, code=6 if other in (*stores, "exchanged") else 0)
    assert ("belongs to another" in said) is (other in (*stores, "exchanged"))


# --- the pace ---

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
HOUR, DAY = 3_600.0, 86_400.0


def run(begin: float, seconds: float, done: int = 0, *, samples: tuple[ProgressSample, ...] = ()) -> Run:
    return Run(1, begin, begin + seconds, begin + seconds, 8, done, 0, 0, done * 1_000, samples)


def steadily(begin: float, seconds: float, each_minute: int) -> Run:
    minutes = range(int(seconds / 60) + 1)
    samples = tuple(ProgressSample(begin + 60 * at, each_minute * at, each_minute * at * 1_000) for at in minutes)
    return run(begin, seconds, each_minute * (len(samples) - 1), samples=samples)


def moved(runs: list[Run]) -> float:
    """Objects that the pace adds up to, where a run is always at work."""
    return sum((pace.end - pace.begin) * pace.objects_per_second for pace in paces_of(runs))


def test_no_run_and_a_run_of_no_time_have_no_pace() -> None:
    assert paces_of([]) == []
    assert paces_of([run(NOON, 0, 5)]) == []
    assert run(NOON, 0, 5).objects_per_second is None


def test_a_run_of_a_second_has_one() -> None:
    (pace,) = paces_of([run(NOON, 1, 30)])
    assert pace == (NOON, NOON + 1, 30, 30_000)


def test_a_run_that_left_no_samples_is_told_as_a_whole() -> None:
    paces = paces_of([run(NOON, HOUR, 7_200)])
    assert len(paces) == 60
    assert {round(pace.objects_per_second, 6) for pace in paces} == {2.0}


def test_a_steady_run_has_a_steady_pace() -> None:
    paces = paces_of([steadily(NOON, 12 * HOUR, 120)])
    assert len(paces) == PACES
    assert all(pace.objects_per_second == pytest.approx(2) for pace in paces)
    assert moved([steadily(NOON, 12 * HOUR, 120)]) == pytest.approx(12 * 60 * 120)


def test_a_change_of_pace_is_seen_where_it_was() -> None:
    samples = (ProgressSample(NOON, 0, 0), ProgressSample(NOON + 60, 60, 0), ProgressSample(NOON + 120, 660, 0))
    assert [round(pace.objects_per_second) for pace in paces_of([run(NOON, 120, 660, samples=samples)])] == [1, 10]


def test_where_nobody_was_at_work_there_is_no_pace() -> None:
    runs = [steadily(NOON, 5 * HOUR, 60), steadily(NOON + 6 * DAY, HOUR, 600), steadily(NOON + 14 * DAY, 600, 60)]
    paces = paces_of(runs)
    assert len(paces) < PACES / 10
    assert {round(pace.objects_per_second, 3) for pace in paces} == {1.0, 10.0}
    worked = [(each.started_at, each.updated_at) for each in runs]
    assert all(any(begin < pace.end and pace.begin < end for begin, end in worked) for pace in paces)
    gaps = [after.begin - before.end for before, after in pairwise(paces)]
    assert sum(gap > DAY for gap in gaps) == 2


def test_hundreds_of_runs_make_no_more_figures() -> None:
    assert 0 < len(paces_of([run(NOON + 600 * at, 20, 40) for at in range(2_000)])) <= PACES


def test_a_clock_that_was_put_back_breaks_nothing() -> None:
    samples = (ProgressSample(NOON, 0, 0), ProgressSample(NOON - 500, 10, 10), ProgressSample(NOON + 60, 60, 60))
    assert moved([run(NOON, 60, 60, samples=samples)]) == pytest.approx(60)


def test_samples_are_those_of_their_run() -> None:
    row = {"started_at": 1.0, "updated_at": 2.0, "ended_at": None, "workers": 8, "done": 3, "failed": 0, "skipped": 0}
    runs = runs_of(
        [{"id": number, "bytes": 9, **row} for number in (1, 2)], [{"run": 2, "at": 1.5, "done": 1, "bytes": 3}]
    )
    assert [len(each.samples) for each in runs] == [0, 1]


# --- the verdict ---

DONE = CountLine(LOCAL, EntryState.DONE, None, 10, 100)
WHOLE = {"types": list(TABLES), "only": "all", "limit": None}
PLAN = SnapshotRecord(1, datetime.fromtimestamp(NOON, UTC), WHOLE)
DELTA = SnapshotRecord(1, PLAN.taken_at, WHOLE | {"incremental": True})
COPY = run(NOON + 60, 60, 10)


def proof(at: float, **details: Any) -> Proof:  # noqa: ANN401
    return Proof(at, at + 1, {"checked": 10, "fine": 10, "listed": True, "read": {"objects": 0}, **details})


LISTED = proof(NOON + 1_000)
READ = proof(NOON + 2_000, read={"objects": 5})
LOOK = {"faults": [], "anybody_can_list": False, "sample": 100, "types": list(TABLES)}
PUBLIC = proof(NOON + 3_000, public=LOOK)
UNREAD = proof(NOON + 1_000, unread=2, fine=8)
PART = proof(NOON + 1_500, checked=3, fine=3, read={"objects": 3}, public=LOOK)
UNASKED = proof(NOON + 4_000, public={"faults": [], "anybody_can_list": False, "asked": 0})
ENV = Path("/home/mastodon/live/.env.production")
ALL_WELL = Evidence(
    [DONE],
    [PLAN],
    [COPY],
    [LISTED, READ, PUBLIC],
    running=False,
    public=True,
    now=NOON + DAY,
    relation=Relation.TWO,
    switch=Switch(ENV, left=True, changed_at=NOON),
    newest={Origin.COPIED: int(NOON - HOUR), Origin.ADOPTED: int(NOON + HOUR)},
)


def line(state: EntryState, reason: Reason | None) -> CountLine:
    return CountLine(REMOTE, state, reason, 3, 30)


def grades(evidence: Evidence) -> dict[str, str]:
    """What is not all right."""
    return {each.check: each.grade.value for each in judge(evidence).findings if each.grade != "ok"}


def test_the_old_store_may_go_when_everything_was_done() -> None:
    assert judge(ALL_WELL).may_go
    assert grades(ALL_WELL) == {}
    assert all(not each.remedy for each in judge(ALL_WELL).findings)


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
    assert judge(evidence).may_go is ("not-yet" not in found.values())
    assert all(each.remedy for each in judge(evidence).findings if each.grade != "ok")


def test_what_was_read_and_has_no_digest_to_compare_is_told_apart() -> None:
    read = proof(NOON + 5_000, fine=215, checked=217, unproven=2, read={"objects": 217})
    findings = judge(replace(ALL_WELL, proofs=[LISTED, read, PUBLIC])).findings
    (told,) = (each for each in findings if each.check == "read-back")
    assert "215 with the right digest, 2 without one to compare" in told.message
    assert told.grade.value == "ok"


def test_what_is_missing_is_told_apart_from_what_lies_at_the_new_store_unproven() -> None:
    lost = CountLine(REMOTE, EntryState.FAILED, Reason.MISSING, 3, 0, accepted=3)
    told = replace(ALL_WELL, counts=[DONE, lost], lying_there=1)
    findings = {each.check: each for each in judge(told).findings}
    assert findings["lost"].message.startswith("2 objects are missing at the old store too, so deleting it loses")
    assert findings["lost"].message.endswith("; you accepted 2 of them as lost")
    assert findings["unproven"].message.startswith("1 object is missing at the source, but the new store has something")
    assert grades(replace(told, lying_there=3)) == {"unproven": "warning"}


def test_what_lies_unproven_is_counted_in_the_manifest(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(number) for number in (1, 2)]) as manifest:
        queue = WorkQueue(manifest)
        for number, claim in enumerate(queue.iter_claimable()):
            queue.commit(claims=[claim])
            detail = "cannot find it" + f"; {LIES_THERE}new" * number
            queue.commit(outcomes=[Outcome(claim.entry, EntryState.FAILED, Reason.MISSING, detail=detail)])
        assert ManifestReport(manifest).lying_there().total() == 1


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


LATER = run(NOON + 5_000, 60, 1)
FEW = proof(NOON + 4_000, checked=1, fine=1)


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda e: replace(e, relation=None), {"apart": "not-yet"}),
        (lambda e: replace(e, relation=Relation.UNKNOWN), {"apart": "not-yet"}),
        (lambda e: replace(e, relation=Relation.ONE_BUCKET), {}),
        (lambda e: replace(e, running=True), {"running": "not-yet"}),
        (lambda e: replace(e, plans=[SnapshotRecord(1, PLAN.taken_at, WHOLE | {"limit": 9})]), {"plan": "not-yet"}),
        (lambda e: replace(e, plans=[SnapshotRecord(1, PLAN.taken_at, {})]), {"plan": "not-yet"}),
        (lambda e: replace(e, lost=12), {"plan": "not-yet"}),
        (lambda e: replace(e, lost=12, plans=[PLAN, replace(PLAN, number=2)]), {"plan": "not-yet"}),
        (lambda e: replace(e, plans=[PLAN, replace(DELTA, number=2)]), {}),
        (lambda e: replace(e, now=NOON + 30 * DAY), {"plan": "warning"}),
        (lambda e: replace(e, runs=[COPY, LATER]), {"verify": "not-yet", "read-back": "not-yet"}),
        (lambda e: replace(e, runs=[COPY, run(NOON + 5_000, 60, 0)]), {}),
        (lambda e: replace(e, proofs=[]), {"verify": "not-yet", "read-back": "not-yet", "public": "not-yet"}),
        (lambda e: replace(e, proofs=[READ]), {"public": "not-yet"}),
        (lambda e: replace(e, proofs=[READ, UNASKED]), {"public": "not-yet"}),
        (lambda e: replace(e, proofs=[UNREAD, PART]), {"verify": "not-yet"}),
        (lambda e: replace(e, proofs=[UNREAD, PART, READ]), {}),
        (lambda e: replace(e, proofs=[READ, PUBLIC, UNASKED]), {}),
        (lambda e: replace(e, gap=Gap("entries are missing", "plan")), {"gap": "not-yet"}),
        (lambda e: replace(e, change=LastChange(NOON + 2_500, "adopt")), {"read-back": "not-yet"}),
        (
            lambda e: replace(e, change=LastChange(NOON + 4_000, "apply-settings")),
            {"verify": "not-yet", "read-back": "not-yet", "public": "not-yet"},
        ),
        (
            lambda e: replace(e, proofs=[proof(NOON + 900, unread=1), READ, PUBLIC, proof(NOON + 4_000, checked=1)]),
            {},
        ),
        (
            lambda e: replace(e, proofs=[proof(NOON + 900, unread=1, public=LOOK, read={"objects": 1}), FEW]),
            {"verify": "not-yet", "read-back": "not-yet"},
        ),
        (lambda e: replace(e, switch=Switch()), {"switch": "not-yet"}),
        (lambda e: replace(e, switch=Switch(ENV)), {"switch": "not-yet"}),
        (lambda e: replace(e, switch=Switch(ENV, problem="it cannot be read")), {"switch": "not-yet"}),
        (lambda e: replace(e, proofs=[LISTED, PUBLIC]), {"read-back": "not-yet"}),
        (lambda e: replace(e, proofs=[READ], public=False), {"backup": "warning"}),
        (lambda e: replace(e, proofs=[READ], switch=e.switch._replace(acl="private")), {}),
        (
            lambda e: replace(
                e,
                proofs=[*e.proofs, proof(NOON + 4_000, public={"faults": [{}], "exposed": 1})],
                switch=e.switch._replace(acl="private"),
            ),
            {"verify": "not-yet", "public": "not-yet"},
        ),
        (
            lambda e: replace(e, proofs=[READ, proof(NOON + 4_000, public={"faults": [], "all_private": True})]),
            {"public": "not-yet"},
        ),
        (lambda e: replace(e, counts=[replace(DONE, objects=11)]), {"verify": "not-yet"}),
        (lambda e: replace(e, proofs=[*e.proofs, proof(NOON + 4_000, lost=1)]), {"verify": "not-yet"}),
        (lambda e: replace(e, proofs=[*e.proofs, proof(NOON + 4_000, unread=1)]), {"verify": "not-yet"}),
        (
            lambda e: replace(e, proofs=[*e.proofs, proof(NOON + 4_000, public={"faults": [{}]})]),
            {"verify": "not-yet", "public": "not-yet"},
        ),
        (
            lambda e: replace(e, proofs=[*e.proofs, proof(NOON + 4_000, public={"anybody_can_list": True})]),
            {"verify": "not-yet", "public": "not-yet"},
        ),
    ],
)
def test_what_was_done_decides(edit: Callable[[Evidence], Evidence], found: dict[str, str]) -> None:
    assert grades(edit(ALL_WELL)) == found


@pytest.mark.parametrize(
    ("copied", "found", "grade", "said"),
    [
        (-1, 1, "ok", "the newest upload (2026-11-01 13:00:00 UTC) was found at the new store"),
        (2, 1, "not-yet", "(2026-11-01 14:00:00 UTC, after that file was changed) came from the old store"),
        (1, -1, "not-yet", "still runs with the old settings"),
        (-1, -2, "warning", "the file alone does not tell"),  # nothing was uploaded since
        (-2, -1, "warning", "the file alone does not tell"),  # `adopt` has found it
        (1, 1, "warning", "the file alone does not tell"),  # in one second
    ],
)
def test_where_the_newest_upload_was_found_tells_whether_mastodon_was_restarted(
    copied: int, found: int, grade: str, said: str
) -> None:
    newest = {Origin.COPIED: int(NOON + copied * HOUR), Origin.ADOPTED: int(NOON + found * HOUR)}
    for switch in (ALL_WELL.switch, Switch(ENV, changed_at=NOON, unsure="a container's path", left=True)):
        looked_at = replace(ALL_WELL, newest=newest, switch=switch)
        (told,) = (each for each in judge(looked_at).findings if each.check == "switch")
        assert told.grade.value == grade
        assert said in told.message
        assert bool(told.remedy) is (grade != "ok")


def test_where_a_bucket_may_be_another_only_an_upload_proves_that_it_is_the_new_store() -> None:
    switch = Switch(ENV, changed_at=NOON, unsure="a container's address", left=True, alike=True)
    assert grades(replace(ALL_WELL, switch=switch)) == {}
    unknown = replace(ALL_WELL, switch=switch, newest={})
    assert grades(unknown) == {"switch": "not-yet"}
    (told,) = (each for each in judge(unknown).findings if each.check == "switch")
    assert "upload a picture" in told.remedy
    assert "`mastosync report --env FILE`" in told.remedy


@pytest.mark.parametrize(
    ("plans", "grade"),
    [
        ([(HOUR, WHOLE)], "ok"),
        ([(-HOUR, WHOLE), (HOUR, WHOLE | {"incremental": True})], "ok"),
        ([(-HOUR, WHOLE)], "not-yet"),
        ([(-HOUR, WHOLE), (HOUR, WHOLE | {"types": ["accounts"]})], "not-yet"),
        ([(-HOUR, WHOLE), (HOUR, WHOLE | {"only": "remote"})], "not-yet"),
        ([(HOUR, WHOLE | {"began_at": NOON - HOUR})], "not-yet"),  # the clock of the database is ahead
        ([(-HOUR, WHOLE | {"began_at": NOON + HOUR})], "ok"),
    ],
)
def test_what_came_to_the_old_store_until_the_switch_has_to_be_planned(
    plans: list[tuple[float, dict[str, Any]]], grade: str
) -> None:
    taken = [(datetime.fromtimestamp(NOON + after, UTC), details) for after, details in plans]
    records = [SnapshotRecord(number, *each) for number, each in enumerate(taken, 1)]
    for switch in (ALL_WELL.switch, Switch(ENV, changed_at=NOON, unsure="a container's path", left=True)):
        looked_at = replace(ALL_WELL, plans=records, switch=switch)
        assert grades(looked_at) == ({} if grade == "ok" else {"switch": "not-yet"})
        (told,) = (each for each in judge(looked_at).findings if each.check == "switch")
        assert ("2026-11-01 12:00:00 UTC" in told.message) is (grade != "ok")
        assert ("`mastosync plan`" in told.remedy) is (grade != "ok")


def test_a_pipe_does_not_tell_when_settings_were_changed(path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"S3_ENABLED=true\nS3_BUCKET=x\n")
    os.close(writing)
    (told,) = (
        each
        for each in reports.report(context(path), 0, Path(f"/dev/fd/{reading}")).verdict.findings
        if each.check == "switch"
    )
    os.close(reading)
    assert told.grade.value == "not-yet"
    assert "when" in told.message


def test_the_newest_upload_is_that_of_the_manifest(tmp_path: Path) -> None:
    """Of what has arrived, and has no time that is still to come."""
    entries = [entry(number)._replace(updated=1_000 * number) for number in (1, 2, 3)]
    entries.append(entry(4)._replace(updated=2**40))
    origins = {1: Origin.COPIED, 2: Origin.ADOPTED, 3: Origin.COPIED, 4: Origin.COPIED}
    with planned(tmp_path / "m.db", entries) as manifest:
        queue = WorkQueue(manifest)
        queue.start_run(8)
        for claim in queue.iter_claimable():
            queue.commit(claims=[claim])
            state = EntryState.FAILED if claim.entry.id == 3 else EntryState.DONE
            reason = Reason.NETWORK if claim.entry.id == 3 else None
            queue.commit(outcomes=[Outcome(claim.entry, state, reason, 5, bytes(16), origin=origins[claim.entry.id])])
        queue.end_run()
    newest = reports.report(context(tmp_path / "m.db"), failures=0).contents.newest
    assert newest == {Origin.COPIED: 1_000, Origin.ADOPTED: 2_000, Origin.REFETCHED: 0}


DISK = ("S3_ENABLED=false", "PAPERCLIP_ROOT_PATH=/mastodon/public/system")


@pytest.mark.parametrize(
    ("lines", "to_folder", "grade", "said"),
    [
        (("S3_ENABLED=true", "S3_BUCKET=new", "S3_ENDPOINT=https://s3.example.com"), False, "warning", "names the new"),
        (("S3_ENABLED=true", "S3_BUCKET=old", "S3_ENDPOINT=https://s3.example.com"), False, "not-yet", "still uses"),
        (("S3_ENABLED=true", "S3_BUCKET=new", "S3_ENDPOINT=https://s3.lan"), False, "not-yet", "may be the same"),
        (("S3_ENABLED=true", "S3_BUCKET=third"), False, "not-yet", "neither the old store"),
        (("S3_BUCKET=new",), False, "not-yet", "does not say where"),
        (DISK, False, "not-yet", "the folder /mastodon/public/system, and neither"),
        (DISK, True, "warning", "in a container they may be the same"),
    ],
)
def test_a_manifest_alone_tells_what_mastodons_settings_have_to_name(
    path: Path, lines: tuple[str, ...], to_folder: bool, grade: str, said: str
) -> None:
    bucket = {"endpoint": "https://s3.example.com", "key_prefix": ""}
    stores = {"source": {**bucket, "bucket": "old"}, "destination": {**bucket, "bucket": "new"}}
    if to_folder:
        stores["destination"] = {"endpoint": "file:", "bucket": "/srv/media", "key_prefix": ""}
    for role, identity in stores.items():
        change(path, f"UPDATE meta SET value = '{json.dumps(identity)}' WHERE name = '{role}'")  # noqa: S608
    env = path.with_name(".env.production")
    env.write_text("".join(f"{line}\n" for line in ("LOCAL_DOMAIN=social.example", *lines)))
    change(path, f"UPDATE snapshots SET details = json_set(details, '$.began_at', {time.time() + 60})")  # noqa: S608
    (told,) = (each for each in reports.report(context(path), 0, env).verdict.findings if each.check == "switch")
    assert told.grade.value == grade
    assert said in told.message
    if grade == "not-yet" and "still uses" not in said:
        assert "`mastosync report --env FILE`" in told.remedy, "nobody is kept waiting for good"


def test_what_was_deleted_and_lies_at_the_new_store_is_told() -> None:
    """It would not be lost with the old store, but whoever knows its address can read it."""
    told = replace(ALL_WELL, gone=Removable(3, 4096))
    assert grades(told) == {"gone": "warning"}
    (finding,) = (each for each in judge(told).findings if each.check == "gone")
    assert "3 objects (4.0 KiB)" in finding.message
    assert "mastosync prune --apply" in finding.remedy


def test_in_one_bucket_only_the_old_objects_may_go() -> None:
    shared = SharedBucket.of(StoreIdentity("s", "media", "old"), StoreIdentity("s", "media", "new"))
    told = replace(ALL_WELL, gone=Removable(1, 0), shared=shared)
    assert judge(told).may_go
    findings = {each.check: each for each in judge(told).findings}
    assert "has to stay" in findings["one-bucket"].message
    assert "'old/'" in findings["one-bucket"].remedy
    assert "prune" not in findings["gone"].remedy
    assert "`mastosync ls --state skipped --reason gone`" in findings["gone"].remedy


def one_bucket(path: Path) -> None:
    for role in ("source", "destination"):
        identity = json.dumps({"endpoint": "https://s3.example.com", "bucket": "media", "key_prefix": role})
        change(path, f"UPDATE meta SET value = '{identity}' WHERE name = '{role}'")  # noqa: S608


@pytest.mark.parametrize("may_go", [False, True])
def test_no_form_of_a_report_says_that_a_bucket_may_go_in_which_the_media_lie(path: Path, may_go: bool) -> None:
    one_bucket(path)
    report = reports.report(context(path), failures=0)
    verdict = judge(replace(ALL_WELL, shared=report.shared)) if may_go else report.verdict
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
    report = replace(report, verdict=judge(ALL_WELL) if may_go else report.verdict)
    said = "MAY BE DELETED: " if may_go else "SEE not-yet ("
    assert f"{said}{old}" in render_report(report)
    assert str(old) in html.unescape(render_page(report).split('id="verdict"')[1][:400])
    assert report.as_json()["verdict"]["old_store"] == str(old)


def test_what_is_gone_is_counted_in_the_manifest(path: Path) -> None:
    report = reports.report(context(path), failures=0)
    with closing(sqlite3.connect(path)) as connection:
        gone = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM entries WHERE state = 3 AND reason = 11"
            " AND coalesce(md5, etag) IS NOT NULL"
        ).fetchone()
    assert report.as_json()["gone"] == {"objects": gone[0], "bytes": gone[1], "adopted": 0, "lost": 0}


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
    evidence = replace(ALL_WELL, proofs=[*ALL_WELL.proofs, proof(NOON + 4_000, public=look)])
    (told,) = (each for each in judge(evidence).findings if each.check == "public")
    assert told.message == said


def test_a_verification_that_found_faults_is_forgiven_when_a_later_one_finds_none() -> None:
    first = proof(NOON + 500, lost=2)
    assert grades(replace(ALL_WELL, proofs=[first, *ALL_WELL.proofs])) == {}


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
    found = {each.check: each.grade.value for each in report.verdict.findings}
    assert found["pending"] == found["failed"] == "ok"
    assert found["plan"] == found["verify"] == "not-yet"
    assert report.copied.objects == report.totals.done == 2
