"""`status`: how much is done, what is left, and when; also again and again."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mastosync.cli.commands.status import render_status, render_watched
from mastosync.cli.main import main
from mastosync.manifest import (
    Manifest,
    ManifestReader,
    Outage,
    WorkQueue,
    record_findings,
    record_verification,
    writer_lock,
)
from mastosync.model import EntryState, Outcome
from mastosync.status import Status, Tally, status_of
from mastosync.units import clock
from tests.support.cutover_evidence import public
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.site import COMMAND

FAULT = {"key": "k", "detail": "d"}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")


def moments_in(value: Any, name: str = "") -> list[tuple[str, object]]:  # noqa: ANN401 - JSON
    """Whatever is called by a name of times."""
    if isinstance(value, dict):
        return [each for key, within in value.items() for each in moments_in(within, key)]
    if isinstance(value, list):
        return [each for within in value for each in moments_in(within, name)]
    return [(name, value)] if name.endswith("_at") or name == "last_reading" else []


def become_done(manifest: Manifest, count: int) -> None:
    records = list(ManifestReader(manifest).iter_records((EntryState.PENDING,)))[:count]
    done = [(each, Outcome(each.entry, EntryState.DONE, size=1, md5=bytes(16))) for each in records]
    record_findings(manifest, done)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three entries, of which one is done."""
    with planned(tmp_path / "m.db", [entry(number)._replace(size=512) for number in (1, 2, 3)]) as manifest:
        become_done(manifest, 1)
    return tmp_path / "m.db"


def test_every_time_in_json_has_one_form(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Manifest.open(path, writing=True) as manifest:
        queue = WorkQueue(manifest)
        queue.start_run(1)
        queue.end_run()
        record_verification(manifest, 1793502100.5, 1793502101.25, {"fine": 1, "checked": 1})
    assert main(["--manifest", str(path), "status", "--json"]) == 0
    found = moments_in(json.loads(capsys.readouterr().out))
    assert {"started_at", "updated_at", "ended_at", "taken_at", "last_reading"} == {name for name, _ in found}
    for name, moment in found:
        assert isinstance(moment, str), name
        assert ISO.fullmatch(moment), (name, moment)


@pytest.mark.parametrize(
    ("tally", "percent"),
    [
        (Tally(), None),
        (Tally(skipped=9, failed=4, accepted=4), None),
        (Tally(done=3, skipped=9, failed=4, accepted=4), 100.0),
        (Tally(done=3, failed=1), 75.0),
        (Tally(done=10_000_000 - 1, pending=1), 99.99),
        (Tally(pending=1), 0.0),
    ],
)
def test_only_when_nothing_is_left_all_is_done(tally: Tally, percent: float | None) -> None:
    assert tally.percent_done == percent


def test_what_is_left_is_told_at_a_glance(path: Path) -> None:
    with Manifest.open(path) as manifest:
        status = status_of(ManifestReader(manifest))
    text = render_status(status, path)
    assert "33.33 % done, pending 2 (1.0 KiB known)" in text
    assert status.as_json()["percent_done"] == 33.33
    assert status.as_json()["totals"]["bytes_pending"] == 1024


def test_time_is_left_while_a_copy_is_at_work_and_something_is_pending(path: Path) -> None:
    with Manifest.open(path, writing=True) as manifest, writer_lock(path, "copy"):
        WorkQueue(manifest).start_run(1)
        manifest.connection.execute("UPDATE runs SET updated_at = started_at + 2, done = 1")
        status = status_of(ManifestReader(manifest))
        assert status.eta_seconds == pytest.approx(4)
        assert "4 seconds to go" in render_status(status, path)
        become_done(manifest, 2)
        assert status_of(ManifestReader(manifest)).eta_seconds is None
    with Manifest.open(path) as manifest:
        status = status_of(ManifestReader(manifest))
    assert (status.running, status.eta_seconds) == (False, None), "killed just now"
    assert "killed or crashed" in render_status(status, path)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            public(9) | {"faults": [FAULT] * 2},
            ": 2 of 9 objects were not as they should be without credentials; ",
        ),
        (public(9, listed=True), ": anybody can list the bucket; "),
        (public(9), ""),
    ],
)
def test_what_strangers_cannot_read_as_they_should_is_told(path: Path, found: dict[str, Any], said: str) -> None:
    """Also when another look has found everything in its place since."""
    with Manifest.open(path, writing=True) as manifest:
        record_verification(manifest, 1793502100.5, 1793502101.25, {"fine": 1, "checked": 1, "public": found})
        record_verification(manifest, 1793502200.5, 1793502201.25, {"fine": 1, "checked": 1})
        text = render_status(status_of(ManifestReader(manifest)), path)
    lines = [line for line in text.splitlines() if line.startswith("public ")]
    assert [said in line and "`mastosync verify --public` tells which" in line for line in lines] == [True] * bool(said)


def test_who_only_looks_keeps_no_writer_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
    with writer_lock(path, "copy"):
        pass


# --- again and again ---


@pytest.fixture
def finishing(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """While nobody looks, one more is done; tells how often that was."""
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        with Manifest.open(path, writing=True) as manifest:
            become_done(manifest, 1)

    monkeypatch.setattr(time, "sleep", wait)
    return lambda: len(waits)


def test_without_a_terminal_a_watch_adds_lines_until_nothing_is_left(
    path: Path, finishing: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--manifest", str(path), "status", "--watch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert finishing() == 2
    assert [line.split("  ")[1].split(",")[0] for line in lines] == ["33.33 % done", "66.66 % done", "100.00 % done"]
    assert all(ISO.match(line) for line in lines)
    assert main(["--manifest", str(path), "status", "--watch", "--json"]) == 0
    (document,) = capsys.readouterr().out.splitlines()
    assert json.loads(document)["percent_done"] == 100


def test_on_a_terminal_a_watch_draws_anew_and_ends_by_ctrl_c(path: Path) -> None:
    terminal, end = pty.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [COMMAND, "--manifest", path, "status", "--watch"], stdout=end, stderr=end, start_new_session=True
        )
        os.close(end)
        shown = b""
        while b"\x1b[J" not in shown:
            shown += screen.read(4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert shown.startswith(b"\x1b[H")
    assert b"33.33 % done" in shown


def test_nothing_is_watched_for_where_nothing_moves() -> None:
    def status(**known: Any) -> Status:  # noqa: ANN401
        return Status(Tally(**known), {}, {}, None, None)

    assert status(done=1, failed=3).at_rest
    assert not status(pending=1).at_rest


# --- while a copy waits for a store ---

DOWN = Outage("destination bucket 'new'", 1793502120.0, 1793505720.0, "cannot write 'a.png': connection refused")


@pytest.fixture
def waiting(path: Path) -> Iterator[Path]:
    """A copy is at work, and waits."""
    with Manifest.open(path, writing=True) as manifest, writer_lock(path, "copy"):
        queue = WorkQueue(manifest)
        queue.start_run(1)
        queue.note_waiting([DOWN])
        yield path


def test_an_outage_that_a_copy_waits_for_is_told(waiting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--manifest", str(waiting), "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["waiting"] == [
        {
            "store": DOWN.store,
            "since": "2026-11-01T03:02:00+00:00",
            "until": "2026-11-01T04:02:00+00:00",
            "answer": DOWN.answer,
        }
    ]
    assert main(["--manifest", str(waiting), "status"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("waiting")]
    assert clock(DOWN.since) == "2026-11-01 03:02:00 UTC", "as all the other moments"
    for told in (DOWN.store, DOWN.answer, clock(DOWN.since), clock(DOWN.until)):
        assert told in line
    with Manifest.open(waiting) as manifest:
        assert DOWN.answer in render_watched(status_of(ManifestReader(manifest)))


def test_an_outage_is_forgotten_when_it_is_over_and_when_its_run_has_ended_or_died(path: Path) -> None:
    with Manifest.open(path, writing=True) as manifest:
        queue, report = WorkQueue(manifest), ManifestReader(manifest)
        with writer_lock(path, "copy"):
            queue.start_run(1)
            queue.note_waiting([DOWN])
            assert status_of(report).waiting == (DOWN,)
            queue.note_waiting([])
            assert status_of(report).waiting == ()
            queue.note_waiting([DOWN])
        assert status_of(report).waiting == (), "nobody is at work: it was killed"
        with writer_lock(path, "copy"):
            queue.start_run(1)
            assert status_of(report).waiting == (), "the next run knows nothing of it"
            queue.note_waiting([DOWN])
            queue.end_run()
            assert status_of(report).waiting == ()
