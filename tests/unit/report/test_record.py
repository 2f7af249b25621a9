"""What a report counts, and the digest that says to which manifest it belongs."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mastosync.app import manifest as app_manifest
from mastosync.app import report as reports
from mastosync.errors import ManifestError
from mastosync.manifest import (
    LIES_THERE,
    ArchiveReader,
    Manifest,
    ManifestReader,
    WorkQueue,
)
from mastosync.model import EntryState, Origin, Outcome, Reason
from mastosync.report import Switch, evidence_of, may_delete_old_store, record
from mastosync.report.page import render_page
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.report_evidence import ALL_WELL, HOUR, NOON, change, context, digest_by_hand, exported


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
    app_manifest.back_up(context(path), path.with_name("copy.db"))
    change(path, "UPDATE entries SET attempts = attempts + 1, detail = 'another'")
    change(path, "VACUUM")
    exported(path)
    again = path.with_name("again.db")
    app_manifest.import_archive(context(again), path.with_suffix(".jsonl"))
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


def test_what_lies_unproven_is_counted_in_the_manifest(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(number) for number in (1, 2)]) as manifest:
        queue = WorkQueue(manifest)
        for number, claim in enumerate(queue.iter_claimable()):
            queue.commit(claims=[claim])
            detail = "cannot find it" + f"; {LIES_THERE}new" * number
            queue.commit(outcomes=[Outcome(claim.entry, EntryState.FAILED, Reason.MISSING, detail=detail)])
        assert ManifestReader(manifest).lying_there().total() == 1


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


def test_what_is_gone_is_counted_in_the_manifest(path: Path) -> None:
    report = reports.report(context(path), failures=0)
    with closing(sqlite3.connect(path)) as connection:
        gone = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM entries WHERE state = 3 AND reason = 11"
            " AND coalesce(md5, etag) IS NOT NULL"
        ).fetchone()
    assert report.as_json()["gone"] == {"objects": gone[0], "bytes": gone[1], "adopted": 0, "lost": 0}


def test_the_verdict_alone_reads_all_entries_only_if_they_may_decide(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    whole = record.sound_contents_of

    def counted(reader: ArchiveReader, prefix: str, note: Callable[[int], None]) -> record.Contents:
        reads.append(1)
        return whole(reader, prefix, note)

    monkeypatch.setattr(record, "sound_contents_of", counted)
    with Manifest.open(path) as manifest, ArchiveReader.opened(manifest) as reader:
        assert not may_delete_old_store(reader, evidence_of(manifest, reader, Switch(), ""))
        assert not reads
        assert may_delete_old_store(reader, replace(ALL_WELL, newest={}))
        unplanned = ALL_WELL.switch._replace(changed_at=NOON + HOUR)
        assert not may_delete_old_store(reader, replace(ALL_WELL, newest={}, switch=unplanned))
        assert len(reads) == 2
