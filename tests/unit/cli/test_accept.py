"""Losses that somebody has accepted: what is news then, and who is told of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mastosync.cli.main import main
from mastosync.cutover.arrival import failed, losses_of, missing
from mastosync.findings import Grade
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    ArchiveReader,
    CountLine,
    Manifest,
    ManifestReader,
    PlanWriter,
    StoreIdentity,
    accept,
    record_findings,
    writer_lock,
)
from mastosync.manifest.reader import _SELECT_ACCEPTED
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, EntryState, Outcome, Reason
from mastosync.report import Switch, assess_deletion, evidence_of
from mastosync.status import status_of
from tests.support.entries import LOCAL, entry, grouped
from tests.support.manifests import planned

CONFIG = """
[filesystem.source]
path = {folder}/old
[filesystem.destination]
path = {folder}/new
"""
THERE, LOST, LOST_TOO = entry(1, "there.png"), entry(2, "lost.png"), entry(3, "lost.png")
Run = Callable[..., tuple[str, str]]
QUIET = ("", "")


def lay_down(each: Entry) -> None:
    file = Path("old") / canonical_key(each, "")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"picture")
    file.chmod(0o644)


def plan(*entries: Entry) -> None:
    source, destination = (StoreIdentity.of_folder(Path(name).resolve()) for name in ("old", "new"))
    with (
        Manifest.create(Path("mastosync.db")) as manifest,
        PlanWriter.transaction(manifest, source, destination) as writer,
    ):
        writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(entries))
        writer.finish(datetime.now(UTC), {})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command where one of two files is lost, and return what it says to standard output and error."""
    monkeypatch.chdir(tmp_path)
    for name in ("old", "new"):
        Path(name).mkdir()
    Path("config.ini").write_text(CONFIG.format(folder=tmp_path), encoding="utf-8")
    lay_down(THERE)
    plan(THERE, LOST)

    def command(*arguments: str, code: int = 0) -> tuple[str, str]:
        ended = main(list(arguments))
        said = capsys.readouterr()
        assert ended == code, said
        return said.out, said.err

    return command


def status(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("status", "--json")[0])
    return found


def attempts_at(each: Entry) -> int:
    with closing(sqlite3.connect("mastosync.db")) as connection:
        return int(connection.execute("SELECT attempts FROM entries WHERE id = ?", (each.id,)).fetchone()[0])


def test_exit_code_3_is_news_and_quiet_tells_it_in_one_line(run: Run) -> None:
    out, err = run("-q", "copy", code=3)
    assert out == ""
    assert err.count("\n") == 1
    assert "1 entry failed" in err
    assert "missing 1" in err
    assert "mastosync ls --new" in err
    assert run("-q", "accept", "--reason", "missing") == QUIET
    assert run("-q", "copy") == QUIET
    plan(THERE, LOST, LOST_TOO)
    assert "1 entry failed" in run("-q", "copy", code=3)[1]
    assert run("ls", "--new")[0] == f"{canonical_key(LOST_TOO, '')}\n"
    assert run("ls", "--accepted")[0] == f"{canonical_key(LOST, '')}\n"
    assert run("ls", "--accepted", "--reason", "denied") == QUIET
    lines = map(json.loads, run("ls", "--format", "jsonl")[0].splitlines())
    assert {line["id"]: line["accepted"] for line in lines} == {1: False, 2: True, 3: False}


def test_what_is_accepted_is_counted_stays_failed_and_can_be_taken_back(run: Run) -> None:
    assert "accept --reason missing" in run("copy", code=3)[0]
    would = run("accept", "--dry-run")[0]
    assert "1 entry can be accepted as lost" in would
    assert "nothing was changed" in would
    assert status(run)["accepted"] == {}
    said = run("accept", "--reason", "missing", "--type", "accounts")[0]
    assert "1 entry is accepted as lost" in said
    assert "accept --undo" in said
    found = status(run)
    assert (found["totals"]["failed"], found["totals"]["accepted"]) == (1, 1)
    assert (found["reasons"], found["accepted"], found["news"]) == ({"missing": 1}, {"missing": 1}, {})
    assert "accepted as lost: missing 1" in run("copy")[0]
    assert "there are no other failures" in run("accept", "--reason", "missing")[0]
    assert "1 entry would count as new again" in run("accept", "--undo", "--dry-run")[0]
    assert "1 entry counts as new again" in run("accept", "--undo", "--reason", "missing")[0]
    assert "nothing was accepted" in run("accept", "--undo")[0]
    assert status(run)["news"] == {"missing": 1}
    run("copy", code=3)


def test_a_dry_look_waits_for_nobody(run: Run) -> None:
    run("copy", code=3)
    with writer_lock(Path("mastosync.db"), "copy"):
        run("accept", "--dry-run")
        assert "in use" in run("accept", "--undo", code=6)[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["accept"], "accept --reason missing"),
        (["accept", "--reason", "missing", "--reason", "network"], "retry-failed --reason network"),
        (["accept", "--undo", "--reason", "server"], "retry-failed --reason server"),
        (["accept", "--reason", "gone"], "gone"),
    ],
)
def test_what_passes_and_what_nobody_names_is_not_accepted(run: Run, arguments: list[str], told: str) -> None:
    assert told in run(*arguments, code=2)[1]


def test_retry_failed_leaves_alone_what_was_accepted_unless_asked(run: Run) -> None:
    run("copy", code=3)
    run("accept", "--reason", "missing")
    tried = attempts_at(LOST)
    assert "--accepted" in run("retry-failed")[0]
    assert attempts_at(LOST) == tried
    assert run("-q", "retry-failed", "--accepted") == QUIET
    assert attempts_at(LOST) > tried
    assert status(run)["accepted"] == {"missing": 1}, "the same loss need not be accepted again"
    run("manifest", "check")
    lay_down(LOST)
    run("retry-failed", "--accepted")
    assert status(run)["totals"] | {"done": 2, "failed": 0, "accepted": 0} == status(run)["totals"]
    for file in ("old", "new"):
        (Path(file) / canonical_key(LOST, "")).unlink()
    run("verify", code=3)
    assert "missing 1" in run("-q", "copy", code=3)[1], "lost once more, after it had arrived"


def test_another_file_of_the_row_or_another_reason_is_news(tmp_path: Path) -> None:
    def became(reason: Reason) -> dict[str, int]:
        records = list(ManifestReader(manifest).iter_records())
        record_findings(manifest, [(each, Outcome(each.entry, EntryState.FAILED, reason)) for each in records])
        return status_of(ManifestReader(manifest)).news_of()

    row = entry(1, updated=100)
    with planned(tmp_path / "m.db", [row]) as manifest:
        assert became(Reason.MISSING) == {"missing": 1}
        accept(manifest, (), [Reason.MISSING])
        assert became(Reason.NETWORK) == {"network": 1}
        assert became(Reason.MISSING) == {}
        assert became(Reason.CORRUPT) == {"corrupt": 1}
        assert status_of(ManifestReader(manifest)).news_of(("backups",)) == {}
    expected: list[tuple[int, dict[str, int]]] = [(100, {}), (200, {"missing": 1})]
    for updated, news in expected:
        with planned(tmp_path / "m.db", [row._replace(updated=updated)]) as manifest:
            assert became(Reason.MISSING) == news


def test_what_is_accepted_is_counted_in_its_own_index(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(1)]) as manifest:
        steps = manifest.connection.execute(f"EXPLAIN QUERY PLAN {_SELECT_ACCEPTED}").fetchall()
    assert [step[3] for step in steps] == ["SCAN entries USING COVERING INDEX entries_accepted"]


@pytest.mark.parametrize(("accepted", "command"), [(0, "retry-failed;"), (1, "retry-failed --accepted;")])
def test_what_tries_again_what_failed_passes_over_nothing(tmp_path: Path, accepted: int, command: str) -> None:
    (told,) = failed([CountLine(LOCAL, EntryState.FAILED, Reason.CORRUPT, 3, 0, accepted=accepted)])
    assert told.remedy.startswith(f"mastosync {command}")
    assert ("1 of them is accepted" in told.message) == bool(accepted)
    with planned(tmp_path / "m.db", [entry(1)]) as manifest:
        (record,) = ManifestReader(manifest).iter_records()
        record_findings(manifest, [(record, Outcome(record.entry, EntryState.FAILED, Reason.CORRUPT))])
        if accepted:
            accept(manifest, (), [Reason.CORRUPT])
        with ArchiveReader.opened(manifest) as reader:
            report = assess_deletion(evidence_of(manifest, reader, Switch(), ""))
    (told_of_old,) = (each for each in report.findings if each.check == "failed")
    assert told_of_old.remedy == told.remedy


def test_report_and_cutover_name_what_was_accepted_and_count_it_as_lost(run: Run) -> None:
    line = CountLine(LOCAL, EntryState.FAILED, Reason.MISSING, 3, 0, accepted=1)
    (lost,) = missing(losses_of([line]), [line])
    assert "lost 3 objects" in lost.message
    assert "1 of them is accepted" in lost.message
    run("copy", code=3)
    run("accept", "--reason", "missing")
    report = json.loads(run("report", "--format", "json")[0])
    (found,) = (each for each in report["verdict"]["findings"] if each["check"] == "lost")
    assert found["status"] == Grade.WARNING
    assert "1 object is missing" in found["message"]
    assert "accepted" in found["message"]
