"""What findings come to, and how they are shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mastosync.cli.commands.doctor import render_findings, render_summary
from mastosync.doctor.buckets import CheckedStore, _refused
from mastosync.doctor.checks import Diagnosis, Findings, OneRetry, Reporter, drained
from mastosync.doctor.folder import CheckedFolder, _disk
from mastosync.errors import ConfigError, ExitCode, Interrupted, NetworkFailure, ObjectDenied, StoreUnusable, Throttled
from mastosync.findings import CheckSubject, Finding, Grade
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import DiskSpace
from mastosync.store.probe import RefusalCause
from tests.support.memory_store import MemoryStore

SOURCE, DATABASE = Reporter(CheckSubject.SOURCE), Reporter(CheckSubject.DATABASE)


class TestExitCode:
    def test_that_of_the_first_failure_counts(self) -> None:
        found = [SOURCE.ok("a", "fine"), DATABASE.failure("b", "no", "do"), SOURCE.failure("c", "no", "do")]
        assert Diagnosis(found).exit_code == ExitCode.DATABASE

    def test_warnings_are_no_failures(self) -> None:
        found = [SOURCE.warning("a", "hm", "do"), *SOURCE.skipped(["b", "c"], "later")]
        assert Diagnosis(found).exit_code == ExitCode.OK

    @pytest.mark.parametrize("subject", CheckSubject)
    def test_every_subject_has_one_and_what_is_not_configured_another(self, subject: CheckSubject) -> None:
        reporter = Reporter(subject)
        assert reporter.failure("a", "no", "do").exit_code in (4, 5, 6, 7)
        assert reporter.failure("a", ConfigError("no", hint="do")).exit_code == ExitCode.CONFIG

    def test_an_error_brings_its_remedy_unless_there_is_a_better_one(self) -> None:
        error = StoreUnusable("no", hint="do this")
        assert SOURCE.failure("a", error).remedy == "do this"
        assert SOURCE.failure("a", error, "do that").remedy == "do that"


def test_scripts_get_the_subject_of_a_finding_and_all_grades_counted() -> None:
    told = Diagnosis([SOURCE.failure("a", "no", "do")]).as_json()
    assert json.dumps(told["checks"]) == (
        '[{"check": "a", "subject": "source", "status": "failure", "message": "no", "remedy": "do"}]'
    )
    assert told["summary"] == {"ok": 0, "warning": 0, "failure": 1, "skipped": 0, "exit_code": ExitCode.STORE}


def test_checks_hand_on_what_they_found_out() -> None:
    def checks() -> Findings[int]:
        yield SOURCE.ok("a", "fine")
        return 42

    assert drained(checks()) == ([SOURCE.ok("a", "fine")], 42)


@pytest.mark.parametrize("of_keys", ["", "the keys are of another store now"])
def test_a_refused_key_is_told_with_what_may_have_happened_to_it(of_keys: str) -> None:
    end = CheckedStore(SOURCE, MemoryStore(), cast("Any", None), cast("Any", None), "", of_keys)  # neither is asked
    told, *_ = _refused(end, StoreUnusable("no", hint="check `access_key`"), RefusalCause.CREDENTIALS)
    assert told.remedy == "check `access_key`" + (f"; {of_keys}" if of_keys else "")


GIB = 1 << 30


@pytest.mark.parametrize(
    ("rooms", "grade", "told"),
    [
        ([(80, 40), (25, 60)], Grade.FAILURE, "folder 1: 25.0 GiB are free"),  # together they would do
        ([(100, 101), (1000, 900)], Grade.FAILURE, "folder 0: 100.0 GiB are free"),
        ([(5, 0), (100, 90)], Grade.WARNING, "folder 1: 100.0 GiB are free"),
        ([(0, 0), (100, 10)], Grade.OK, "folder 1: 100.0 GiB are free"),  # to a full one goes nothing
        ([(80, 0), (25, 0)], Grade.OK, "folder 1: 25.0 GiB are free"),
        ([(80, 10)], Grade.OK, "80.0 GiB are free"),
    ],
)
def test_of_several_disks_the_one_counts_that_is_filled_most(
    rooms: list[tuple[int, int]], grade: Grade, told: str
) -> None:
    found = [DiskSpace(f"folder {number}", free * GIB, pending * GIB) for number, (free, pending) in enumerate(rooms)]
    probe: Any = SimpleNamespace(disks=lambda _: found)
    store: Any = None
    finding = _disk(CheckedFolder(SOURCE, store, probe, OneRetry(StopSignal())), 0, {})
    assert (finding.grade, finding.message.startswith(told)) == (grade, True)


class TestRendering:
    def test_a_line_for_each_check_and_the_remedy_below(self) -> None:
        found: list[Finding] = [
            SOURCE.ok("endpoint", "answers"),
            SOURCE.failure("credentials", "refused", "check them\nand again"),
            *SOURCE.skipped(["bucket", "read"], "correct the credentials first"),
            *SOURCE.skipped(["ranges"], "for another reason"),
        ]
        assert render_findings(found).splitlines() == [
            "source",
            "  ok       endpoint       answers",
            "  failure  credentials    refused",
            "                          -> check them",
            "                          -> and again",
            "  skipped  bucket, read: correct the credentials first",
            "  skipped  ranges: for another reason",
        ]
        assert render_summary(Diagnosis(found)).startswith("ok 1, warning 0, failure 1, skipped 3")


class TestPatience:
    def failing(self, *errors: Exception) -> tuple[list[int], Callable[[], str]]:
        """A request that fails so many times, and how often it was made."""
        calls: list[int] = []
        left = list(errors)

        def request() -> str:
            calls.append(1)
            if left:
                raise left.pop(0)
            return "answer"

        return calls, request

    def test_what_may_pass_is_asked_once_more(self) -> None:
        calls, request = self.failing(Throttled("slow", retry_after_seconds=0.0))
        assert OneRetry(StopSignal())(request) == "answer"
        assert len(calls) == 2

    def test_and_not_twice(self) -> None:
        slow = Throttled("slow", retry_after_seconds=0.0)
        calls, request = self.failing(slow, slow, slow)
        with pytest.raises(Throttled):
            OneRetry(StopSignal())(request)
        assert len(calls) == 2

    def test_what_will_not_pass_is_not_asked_again(self) -> None:
        calls, request = self.failing(ObjectDenied("no"))
        with pytest.raises(ObjectDenied):
            OneRetry(StopSignal())(request)
        assert len(calls) == 1

    def test_a_wait_ends_when_somebody_asks_to_stop(self) -> None:
        stop = StopSignal()
        calls, request = self.failing(Throttled("slow", retry_after_seconds=60.0))
        timer = threading.Timer(0.05, stop.request)
        timer.start()
        with pytest.raises(Interrupted):
            OneRetry(stop)(request)
        timer.join()
        assert len(calls) == 1

    def test_nothing_is_asked_once_somebody_asked_to_stop(self) -> None:
        stop = StopSignal()
        stop.request()
        calls, request = self.failing(NetworkFailure("no"))
        with pytest.raises(Interrupted):
            OneRetry(stop)(request)
        assert not calls
