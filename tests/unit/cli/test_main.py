"""How runs end: what the log, the screen and `status` say of it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from mastosync.cli import main as main_module
from mastosync.cli.commands.follow import render_failure
from mastosync.cli.commands.refetch import render_refetching
from mastosync.cli.commands.status import render_status
from mastosync.cli.copy_results import failed_lines
from mastosync.cli.invocation import Invocation
from mastosync.cli.main import COMMANDS, main
from mastosync.copying.copier import Copier, CopyOptions
from mastosync.errors import DatabaseError, ExitCode, Interrupted, StoreUnusable
from mastosync.following import Round
from mastosync.manifest import Manifest, ManifestReader, WorkQueue, record_findings, writer_lock
from mastosync.model import Claim, EntryState, Outcome, Reason
from mastosync.progress import NoProgress
from mastosync.refetching import RefetchResult, RefetchStatus
from mastosync.runtime.stop import StopSignal
from mastosync.status import Status, status_of
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.unit.copying.test_copier import pool

ARGUMENTS = {
    "accept": ["accept", "--undo"],
    "manifest": ["manifest", "backup"],
    "completion": [],
    "man": [],
    "init": [],
}
"""Of commands that need more than their name, or nothing."""


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MASTOSYNC_CONFIG", raising=False)
    monkeypatch.delenv("MASTOSYNC_MANIFEST", raising=False)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("command", [name for name in COMMANDS if ARGUMENTS.get(name, [name])])
def test_the_log_ends_with_what_ended_the_run_also_if_it_was_refused_at_the_start(
    capsys: pytest.CaptureFixture[str], command: str, form: str
) -> None:
    code = main(["--log-file", "run.log", "--log-format", form, *ARGUMENTS.get(command, [command])])
    told = capsys.readouterr().err.splitlines()
    assert code == 4, told
    last = Path("run.log").read_text().splitlines()[-1]
    message, remedy = told[0].removeprefix("mastosync: "), told[1].strip()
    if form == "json":
        event = json.loads(last)
        assert (event["level"], event["message"], event["exit_code"]) == ("error", message, 4)
        assert remedy in event["hint"]
    else:
        assert f"ERROR {message}: {remedy}" in last


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (RuntimeError, ExitCode.BUG, "unexpected RuntimeError: no such thing; an object may be public"),
        (KeyboardInterrupt, ExitCode.INTERRUPTED, "stopped; an object may be public"),
    ],
)
def test_what_was_noted_of_the_run_is_told_with_a_bug_too(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: type[BaseException],
    code: ExitCode,
    told: str,
) -> None:
    def broken(*_: object, **__: object) -> NoReturn:
        ending = error("no such thing")
        ending.add_note("an object may be public")
        raise ending

    monkeypatch.setattr(main_module.cli, "main", broken)
    assert main([]) == code
    assert told in capsys.readouterr().err


def test_a_log_that_cannot_be_written_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--log-file", "no/folder/run.log", "--manifest", "m.db", "manifest", "check"])
    assert capsys.readouterr().err.count("no/folder/run.log") == 1


def copied(manifest: Manifest, ending: Exception | None, stop: StopSignal) -> None:
    def work(claim: Claim) -> Outcome:
        if isinstance(ending, Interrupted):
            stop.request()
        if ending is not None:
            raise ending
        return Outcome(claim.entry, EntryState.DONE, size=1, md5=bytes(16))

    Copier(WorkQueue(manifest), pool(work, 1, stop), CopyOptions(workers=1), stop, NoProgress()).run()


def shown(manifest: Manifest) -> tuple[Status, str]:
    status = status_of(ManifestReader(manifest))
    (line,) = (line for line in render_status(status, manifest.path).splitlines() if line.startswith("last copy"))
    return status, line


@pytest.mark.parametrize(
    ("ending", "code", "told"),
    [
        (None, ExitCode.OK, ""),
        (StoreUnusable("gone"), ExitCode.STORE, "a store cannot be used"),
        (Interrupted("stop"), ExitCode.INTERRUPTED, "interrupted"),
        (ZeroDivisionError(), ExitCode.BUG, "a bug"),
    ],
)
def test_status_says_how_the_last_copy_ended(
    tmp_path: Path, ending: Exception | None, code: ExitCode, told: str
) -> None:
    with planned(tmp_path / "m.db", [entry(1)]) as manifest:
        if ending is None:
            copied(manifest, None, StopSignal())
        else:
            with pytest.raises(type(ending)):
                copied(manifest, ending, StopSignal())
        status, line = shown(manifest)
    assert status.as_json()["run"]["exit_code"] == code
    assert f"): {told}" in line if told else line.endswith(")")


def test_how_an_earlier_copy_ended_says_nothing_of_one_that_died(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry(1)]) as manifest:
        with pytest.raises(StoreUnusable):
            copied(manifest, StoreUnusable("gone"), StopSignal())
        WorkQueue(manifest).start_run(1)
        status, line = shown(manifest)
    assert status.as_json()["run"]["exit_code"] is None
    assert "killed or crashed" in line


def test_a_copy_whose_process_has_died_is_not_at_work(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with planned(path, [entry(1)]) as manifest:
        with writer_lock(path, "copy"):
            WorkQueue(manifest).start_run(1)
            assert status_of(ManifestReader(manifest)).running
        assert not status_of(ManifestReader(manifest)).running
        with writer_lock(path, "verify"):
            status = status_of(ManifestReader(manifest))
        assert not status.running, "somebody else is at work"
        assert status.eta_seconds is None


def test_a_copy_that_gives_no_sign_for_long_is_at_work_as_long_as_it_holds_the_manifest(tmp_path: Path) -> None:
    """One large object may take minutes."""
    path = tmp_path / "m.db"
    with planned(path, [entry(1)]) as manifest, writer_lock(path, "copy"):
        WorkQueue(manifest).start_run(1)
        later = time.time() + 3_600
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: later)
            assert status_of(ManifestReader(manifest)).running


def told_of_failed(path: Path, *reasons: Reason) -> list[str]:
    with planned(path, [entry(number) for number, _ in enumerate(reasons)]) as manifest:
        assert failed_lines(status_of(ManifestReader(manifest))) == []
        records = list(ManifestReader(manifest).iter_records())
        states = [EntryState.SKIPPED if each is Reason.OPTIONAL_MISSING else EntryState.FAILED for each in reasons]
        became = zip(records, states, reasons, strict=True)
        record_findings(manifest, [(each, Outcome(each.entry, state, reason)) for each, state, reason in became])
        return failed_lines(status_of(ManifestReader(manifest)))


def test_why_entries_failed_is_told_by_reason(tmp_path: Path) -> None:
    reasons, remedy, again = told_of_failed(tmp_path / "m.db", *[Reason.SERVER] * 2, Reason.OPTIONAL_MISSING)
    assert reasons.endswith("server 2")
    assert "mastosync ls --new" in remedy
    assert "`mastosync retry-failed`" in again


def test_nobody_is_told_to_try_again_what_the_source_has_lost(tmp_path: Path) -> None:
    *_, what_to_do = told = told_of_failed(tmp_path / "m.db", Reason.MISSING, Reason.MISSING)
    assert "missing 2" in told[0]
    assert "retry-failed" not in "".join(told)
    assert "mastosync plan" in what_to_do
    assert "mastosync refetch" in what_to_do
    assert "mastosync accept" in what_to_do


def test_beside_what_is_missing_only_the_rest_is_tried_again(tmp_path: Path) -> None:
    _, _, again, missing = told_of_failed(tmp_path / "m.db", Reason.MISSING, Reason.NETWORK, Reason.SERVER)
    assert "`mastosync retry-failed --reason network --reason server`" in again
    assert "mastosync refetch" in missing


@pytest.mark.parametrize("brought", [False, True])
def test_who_has_fetched_nothing_need_not_verify(brought: bool) -> None:
    fate = RefetchStatus.REFETCHED if brought else RefetchStatus.GONE
    result = RefetchResult(applied=True)
    result.by_type["accounts"] = Counter({fate: 1})
    assert ("mastosync verify" in render_refetching(result)) is brought


def test_a_round_that_failed_is_told_with_what_to_do() -> None:
    down = DatabaseError("cannot connect to the database", hint="look whether PostgreSQL runs")
    told = render_failure(Round(2, None, down, failures=1, seconds=0.1, wait_seconds=60.0))
    assert told.startswith(
        "round 2 failed (1 in a row): cannot connect to the database; look whether PostgreSQL runs; next at 20"
    )
    assert told.endswith(" UTC")


@pytest.mark.parametrize(
    ("applied", "told"), [(False, "1 file could be fetched from 1 server: a.example 1"), (True, "of 1 file (")]
)
def test_one_file_of_one_server_is_told_as_one(applied: bool, told: str) -> None:
    result = RefetchResult(applied=applied)
    result.by_type["accounts"] = Counter({RefetchStatus.REFETCHED if applied else RefetchStatus.FETCHABLE: 1})
    result.by_host["a.example"] = 1
    text = render_refetching(result)
    assert told in text
    assert "1 files" not in text
    assert "1 servers" not in text


def test_who_is_stopped_before_work_begins_is_told_of_nothing_that_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mastosync.cli.commands.init._write", stopped)
    assert main(["init"]) == 130
    told = capsys.readouterr().err
    assert "run the same command again" in told
    assert "goes on" not in told
    assert not Path("config.ini").exists()


@pytest.mark.parametrize("command", ["ls", "status", "cutover"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_only_reads_is_told_so_by_either_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr(Invocation, "context_to_read", lambda _: os.kill(os.getpid(), number))
    assert main(["--manifest", "m.db", command]) == 130
    assert capsys.readouterr().err.split("\n") == ["", "mastosync: stopped", "  run the same command again", ""]
    assert signal.getsignal(number) is before


def test_whoever_is_stopped_while_waiting_is_told_what_to_do() -> None:
    stop = StopSignal()
    stop.request()
    with pytest.raises(Interrupted) as told:
        stop.require_going_on()
    assert told.value.hint == "run the same command again"


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("-q", "-q"),
        ("-c", "-c FILE"),
        ("--log-file", "--log-file FILE"),
        ("--log-format", "--log-format text|json"),
        ("--manifest", "--manifest FILE"),
    ],
)
def test_an_option_of_the_whole_tool_after_the_command_is_shown_its_place(
    capsys: pytest.CaptureFixture[str], option: str, shown: str
) -> None:
    assert main(["copy", option]) == 2
    assert f"mastosync {shown} copy …" in capsys.readouterr().err
    assert main(["copy", "--wrokers"]) == 2
    assert "before the command" not in capsys.readouterr().err


def told_of(manifest: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["--manifest", str(manifest), "status"]) == 6
    return capsys.readouterr().err


def test_a_damaged_manifest_is_not_named_as_where_the_next_plan_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands in messages are written with the manifest of this run."""
    path = tmp_path / "m.db"
    planned(path, [entry()]).close()
    with path.open("r+b") as file:
        file.seek(110)  # in the schema, behind the file's own head
        file.write(b"\xff" * 2_000)
    told = told_of(path, capsys)
    assert f"move the damaged file away, then run `mastosync --manifest {path} plan`" in told
    assert "new file" not in told


def test_what_is_no_manifest_is_not_said_to_be_made_by_a_plan_of_that_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("no database, and long enough to be read as the head of one. " * 4)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE strangers (id)")
    for path in (text, other):
        told = told_of(path, capsys)
        assert "must name a manifest" in told
        assert f"{path} plan" not in told


def test_a_folder_that_was_removed_under_somebodys_feet_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["-c", str(tmp_path / "config.ini"), "cutover"]) == 4
    told = capsys.readouterr().err
    assert "was removed" in told
    assert "bug" not in told


@pytest.mark.parametrize("where", ["lend_to_libraries", "set_command_prefix", "show_error"])
def test_whoever_stops_a_command_before_it_begins_or_as_it_ends_sees_no_traceback(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_it_is, calls = getattr(main_module, where), Counter[str]()

    def stopped(*arguments: object, **options: object) -> object:
        calls[where] += 1
        if calls[where] == 1:
            raise KeyboardInterrupt
        return as_it_is(*arguments, **options)

    monkeypatch.setattr(main_module, where, stopped)
    assert main(["--manifest", str(tmp_path / "none.db"), "status"]) == ExitCode.INTERRUPTED
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["man"], ["completion", "bash"]])
def test_without_a_home_folder_nothing_is_installed_and_that_is_said(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container, a user may be nothing but a number."""
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 45_678)
    assert main([*command, "--install"]) == ExitCode.OUTPUT
    told = capsys.readouterr().err
    assert "no home folder" in told
    assert "without --install" in told


def test_a_link_that_leads_to_itself_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "man/man1/mastosync.1"
    page.parent.mkdir(parents=True)
    page.symlink_to(page.name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert main(["man", "--install"]) == ExitCode.OK
    assert ".TH" in page.read_text(encoding="utf-8")
