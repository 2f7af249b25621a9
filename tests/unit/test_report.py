"""The final report: what it counts, its pace, its verdict, and the digest that says to which manifest it belongs."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mastosync.app import App
from mastosync.cli.main import main
from mastosync.cli.render_report import render_report
from mastosync.config import Config
from mastosync.engine.old_objects import SharedBucket
from mastosync.engine.report import Evidence, Proof, Report, Run, Switch, judge
from mastosync.engine.report.history import PACES, Sample, paces_of, runs_of
from mastosync.engine.stop import StopSignal
from mastosync.errors import ExitCode, ManifestError, UsageError
from mastosync.manifest import (
    CountLine,
    Exposed,
    Gap,
    LastChange,
    Manifest,
    ManifestReport,
    Relation,
    SnapshotRecord,
    StoreIdentity,
    WorkQueue,
    newest_version,
)
from mastosync.model import TABLES, EntryState, Outcome, Reason
from mastosync.page.report_page import render_page
from mastosync.progress import Silence
from tests.unit.engine_kit import LOCAL, REMOTE, entry, planned
from tests.unit.manifests import restored


def app(path: Path) -> App:
    return App(Config(), path, Silence(), StopSignal())


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
    report = app(path).report(failures=50)
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
    report = app(path).report(failures=3)
    assert len(report.failures) == 3
    assert "missing" not in {each["reason"] for each in report.failures}
    everything = app(path).report(failures=50).failures
    assert [each["reason"] for each in everything][-1] == "missing"


def test_a_manifest_whose_counters_are_wrong_gives_no_report(path: Path) -> None:
    change(path, "UPDATE counts SET objects = objects + 1 WHERE state = 1")
    with pytest.raises(ManifestError, match="counters say") as error:
        app(path).report(failures=0)
    assert "manifest check" in error.value.hint


# --- the digest ---


def digest_by_hand(archive: bytes) -> str:
    """As docs/design.md says, of what `manifest export` writes."""
    digest = hashlib.sha256()
    for line in archive.splitlines()[1:-1]:
        each = json.loads(line)
        fields = [base64.b64encode(each["key"].encode()).decode(), each["state"], each["reason"], each["size"]]
        fields += [each["md5"], base64.b64encode((each["etag"] or "").encode()).decode()]
        digest.update((" ".join("" if field is None else str(field) for field in fields) + "\n").encode())
    return digest.hexdigest()


def exported(path: Path) -> bytes:
    target = path.with_suffix(".jsonl")
    app(path).export(target, replace=True)
    return target.read_bytes()


@pytest.fixture
def odd(path: Path) -> Path:
    """Ids beyond 2^53, sizes beyond 2^32, and names that hold what names can hold."""
    change(path, "UPDATE entries SET name = 'a b' || char(10, 9, 127, 8238) || 'ü€😀\"\\.png' WHERE id = 3")
    change(path, "UPDATE entries SET size = 5497558138880, etag = 'W/\"odd tag\"' WHERE id = 2 AND state = 1")
    return path


def test_the_digest_can_be_computed_from_an_export_by_hand(odd: Path) -> None:
    report = app(odd).report(failures=0)
    assert report.contents.sha256 == digest_by_hand(exported(odd))
    assert report.contents.entries == report.totals.total


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("sha256sum")), reason="needs jq and sha256sum")
def test_the_line_of_jq_in_the_page_computes_it(odd: Path) -> None:
    page = render_page(app(odd).report(failures=0))
    line = page.partition("<pre>")[2].partition("</pre>")[0].replace("&#x27;", "'").replace("&quot;", '"')
    _, _, rest = line.partition("mastosync manifest export | ")
    exported(odd)
    done = subprocess.run(
        ["sh", "-c", f"cat {odd.with_suffix('.jsonl')} | {rest}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == app(odd).report(failures=0).contents.sha256


def test_the_digest_is_that_of_the_entries_and_not_of_the_file(path: Path) -> None:
    before = app(path).report(failures=0).contents.sha256
    app(path).back_up(path.with_name("copy.db"))
    change(path, "UPDATE entries SET attempts = attempts + 1, detail = 'another'")
    change(path, "VACUUM")
    exported(path)
    again = path.with_name("again.db")
    app(again).import_archive(path.with_suffix(".jsonl"))
    assert {app(each).report(failures=0).contents.sha256 for each in (path, again, path.with_name("copy.db"))} == {
        before
    }


@pytest.mark.parametrize(
    "field", ["state = 1", "reason = 3", "size = 7", "md5 = x'00'", "etag = 'other'", "id = 99", "name = 'x.png'"]
)
def test_every_field_of_every_entry_counts(path: Path, field: str) -> None:
    before = app(path).report(failures=0).contents.sha256
    change(path, f"UPDATE entries SET {field} WHERE name = '0000000000000005.png'")  # noqa: S608
    assert app(path).report(failures=0).contents.sha256 != before


@pytest.mark.parametrize("form", ["json", "html"])
def test_a_report_belongs_to_its_manifest_until_an_entry_changes(path: Path, form: str) -> None:
    report = app(path).report(failures=50)
    kept = path.with_name(f"kept.{form}")
    app(path).keep_report(json.dumps(report.as_json()) if form == "json" else render_page(report), kept)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert app(path).check_report(kept).same
    change(path, "UPDATE entries SET size = 12345 WHERE id = 1")
    found = app(path).check_report(kept)
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
        app(path).check_report(kept)


def test_a_report_replaces_a_file_only_if_told_to(path: Path) -> None:
    kept = path.with_name("kept")
    kept.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        app(path).keep_report("report", kept)
    assert kept.read_text() == "mine"
    app(path).keep_report("report", kept, replace=True)
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


def test_a_folder_that_is_no_more_is_told_as_such(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = path.with_name("gone")
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["status"]) == ExitCode.CONFIG
    said = capsys.readouterr().err
    assert "change to a folder that is there" in said
    assert "bug" not in said


# --- the pace ---

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
HOUR, DAY = 3_600.0, 86_400.0


def run(begin: float, seconds: float, done: int = 0, *, samples: tuple[Sample, ...] = ()) -> Run:
    return Run(1, begin, begin + seconds, begin + seconds, 8, done, 0, 0, done * 1_000, samples)


def steadily(begin: float, seconds: float, each_minute: int) -> Run:
    minutes = range(int(seconds / 60) + 1)
    samples = tuple(Sample(begin + 60 * at, each_minute * at, each_minute * at * 1_000) for at in minutes)
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
    samples = (Sample(NOON, 0, 0), Sample(NOON + 60, 60, 0), Sample(NOON + 120, 660, 0))
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
    samples = (Sample(NOON, 0, 0), Sample(NOON - 500, 10, 10), Sample(NOON + 60, 60, 60))
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
ACCEPTED = SnapshotRecord(1, PLAN.taken_at, WHOLE | {"accepted_gone": 12})
DELTA = SnapshotRecord(1, PLAN.taken_at, WHOLE | {"incremental": True})
COPY = run(NOON + 60, 60, 10)


def proof(at: float, **details: Any) -> Proof:  # noqa: ANN401
    return Proof(at, at + 1, {"checked": 10, "fine": 10, "listed": True, "read": {"objects": 0}, **details})


LISTED = proof(NOON + 1_000)
READ = proof(NOON + 2_000, read={"objects": 5})
LOOK = {"faults": [], "anybody_can_list": False, "sample": 100, "types": list(TABLES)}
PUBLIC = proof(NOON + 3_000, public=LOOK)
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
    switch=Switch(ENV, done=True),
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
        (lambda e: replace(e, plans=[ACCEPTED]), {"plan": "not-yet"}),
        (lambda e: replace(e, plans=[PLAN, replace(ACCEPTED, number=2)]), {"plan": "not-yet"}),
        (lambda e: replace(e, plans=[ACCEPTED, replace(DELTA, number=2)]), {"plan": "not-yet"}),
        (lambda e: replace(e, plans=[ACCEPTED, replace(PLAN, number=2)]), {}),
        (lambda e: replace(e, now=NOON + 30 * DAY), {"plan": "warning"}),
        (lambda e: replace(e, runs=[COPY, LATER]), {"verify": "not-yet", "read-back": "not-yet"}),
        (lambda e: replace(e, runs=[COPY, run(NOON + 5_000, 60, 0)]), {}),
        (lambda e: replace(e, proofs=[]), {"verify": "not-yet", "read-back": "not-yet", "public": "not-yet"}),
        (lambda e: replace(e, proofs=[READ]), {"public": "not-yet"}),
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


def test_what_was_deleted_and_lies_at_the_new_store_is_told() -> None:
    """It would not be lost with the old store, but whoever knows its address can read it."""
    told = replace(ALL_WELL, gone=(3, 4096))
    assert grades(told) == {"gone": "warning"}
    (finding,) = (each for each in judge(told).findings if each.check == "gone")
    assert "3 objects (4.0 KiB)" in finding.message
    assert "mastosync prune --apply" in finding.remedy


def test_in_one_bucket_only_the_old_objects_may_go() -> None:
    shared = SharedBucket.of(StoreIdentity("s", "media", "old"), StoreIdentity("s", "media", "new"))
    told = replace(ALL_WELL, gone=(1, 0), shared=shared)
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
    report = app(path).report(failures=0)
    verdict = judge(replace(ALL_WELL, shared=report.shared)) if may_go else report.verdict
    report = replace(report, verdict=verdict)
    for text in (render_report(report), render_page(report)):
        assert "old store may be deleted" not in text.lower()
        assert "the bucket has to stay" in text
        assert ("the old objects may be deleted" in text.lower()) is may_go
    assert report.shared is not None
    assert report.shared.prefixes == ("source/",)


def test_what_is_gone_is_counted_in_the_manifest(path: Path) -> None:
    report = app(path).report(failures=0)
    with closing(sqlite3.connect(path)) as connection:
        gone = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM entries WHERE state = 3 AND reason = 11"
            " AND coalesce(md5, etag) IS NOT NULL"
        ).fetchone()
    assert report.as_json()["gone"] == {"objects": gone[0], "bytes": gone[1]}


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
    report: Report = app(path).report(failures=0)
    found = {each.check: each.grade.value for each in report.verdict.findings}
    assert found["pending"] == found["failed"] == "ok"
    assert found["plan"] == found["verify"] == "not-yet"
    assert report.copied.objects == report.totals.done == 2
