"""Standard output, standard error or a log that takes no more, as on a full disk: one exit code, no word of a bug."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mastosync.cli.logs import logging_to
from mastosync.cli.main import main
from mastosync.errors import OutputError
from mastosync.manifest import StoreIdentity
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.unit.test_new_files_written import CONFIG

FULL = Path("/dev/full")
LISTS = [
    *(["ls"], ["ls", "--format", "jsonl"], ["ls", "--format", "csv"], ["ls", "--print0"]),
    *(["status"], ["status", "--json"], ["report"], ["report", "--format", "json"], ["manifest", "check"]),
    *(["cutover", "--fallback", "none"], ["cutover", "--json"], ["completion", "bash"], ["man"]),
    *(["--help"], ["copy", "--help"], ["--version"], ["manifest", "export"]),
]

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MASTOSYNC_CONFIG", "MASTOSYNC_MANIFEST"):
        monkeypatch.delenv(name, raising=False)
    Path("config.ini").write_text(CONFIG)
    Path("config.ini").chmod(0o600)
    stores = StoreIdentity("http://127.0.0.1:9", "old", ""), StoreIdentity("https://s3.example.com", "new", "")
    planned(tmp_path / "mastosync.db", [entry(1)], stores).close()


@contextmanager
def full(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with FULL.open("w") as stream:
        monkeypatch.setattr(sys, name, stream)
        yield


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_a_result_that_cannot_be_written_is_no_success(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with full("stdout", monkeypatch):
        assert main(command) == 8
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "run the same command again" in told
    assert "bug" not in told


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["ls"], 0),  # which says nothing there
        (["manifest", "check"], 8),  # whose progress nobody can read
        (["-q", "manifest", "check"], 0),
        (["-c", "nowhere.ini", "ls"], 4),
        (["frobnicate"], 2),
        (["copy", "--wrokers"], 2),
    ],
    ids=str,
)
def test_words_that_cannot_be_written_end_nothing(
    command: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full("stderr", monkeypatch):
        assert main(command) == code


def test_who_reads_no_more_words_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert main(["manifest", "check"]) == 0


def test_streams_are_given_back() -> None:
    before = sys.stdout, sys.stderr
    main(["--version"])
    assert (sys.stdout, sys.stderr) == before


def test_a_log_that_takes_no_more_is_told_once_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, told, write, room = logging.getLogger("mastosync.test"), list[OutputError](), os.write, [12]

    def short(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, os.strerror(28))
        written = write(fd, data[: room[0]])
        room[0] -= written
        return written

    with logging_to(tmp_path / "run.log", "text", lost=told.append):
        monkeypatch.setattr(os, "write", short)
        for number in range(3):
            log.warning("lost %s", number)
        room[0] = 1_000_000
        log.warning("found")
        monkeypatch.setattr(os, "write", write)
    assert len(told) == 1
    half, gap, found = (tmp_path / "run.log").read_text().splitlines()
    assert len(half) == 12
    assert gap.endswith("could not be written: 3 records")
    assert found.endswith("found")


def test_a_record_without_words_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(tmp_path / "run.log", "text"):
        logging.getLogger("mastosync.test").warning("%d", "no number")
    assert "no number" in capsys.readouterr().err
