"""Inserting in a thread of its own: every line arrives, every error is told, nothing goes on behind the plan."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import pytest

from mastosync.errors import Interrupted, ManifestError
from mastosync.manifest import HIGHEST_ID, LOWEST_ID, Manifest, ManifestReader, PlanDelta, PlanWriter
from mastosync.model import Entry
from tests.support.entries import LOCAL, REMOTE, entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, with_short_statements
from tests.support.waiting import PATIENCE_SECONDS

# every other one is of the same kind
ENTRIES = [entry(row_id, kind=kind, private=row_id % 3 == 0) for row_id in range(25) for kind in (LOCAL, REMOTE)]


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    with with_short_statements(Manifest.create(tmp_path / "m.db")) as manifest:
        yield manifest


def plan(manifest: Manifest, *windows: list[Entry], error: Exception | None = None) -> PlanDelta:
    with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
        for entries in windows or (ENTRIES,):
            delta = writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(entries))
        if error:
            raise error
        writer.finish(datetime.now(UTC), {})
    return delta


def lines_of(manifest: Manifest) -> int:
    (count,) = manifest.connection.execute("SELECT count(*) FROM entries").fetchone()
    return int(count)


def loading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("manifest")]


@contextmanager
def held_up(manifest: Manifest) -> Iterator[threading.Event]:
    """Stop SQLite in the middle of a load until the event is set."""
    go_on = threading.Event()

    def wait() -> int:
        if threading.current_thread().name.startswith("manifest") and not go_on.wait(PATIENCE_SECONDS):
            go_on.set()
        return 0

    manifest.connection.set_progress_handler(wait, 5)
    yield go_on
    manifest.connection.set_progress_handler(None, 0)


@pytest.mark.parametrize("variables", [12, 13, 60, 300, 32_766])
def test_every_line_arrives_however_many_fit_into_a_statement(manifest: Manifest, variables: int) -> None:
    manifest.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, variables)
    assert plan(manifest).added == len(ENTRIES)
    assert sorted(record.entry for record in ManifestReader(manifest).iter_records()) == sorted(ENTRIES)
    assert plan(manifest) == PlanDelta(seen=len(ENTRIES))
    assert not loading_threads()


@pytest.mark.parametrize("variables", [12, 32_766])
def test_lines_with_and_without_a_fallback_or_a_size_keep_what_they_have(manifest: Manifest, variables: int) -> None:
    manifest.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, variables)
    columns = itertools.product([(None, None), (None, "a.gif"), ("a.gif", "b.gif")], [(None, None), (0, None), (7, 8)])
    windows = [
        [entry(10 * number + i, fallback=fallbacks[i % 2])._replace(size=sizes[i % 2]) for i in range(7)]
        for number, (fallbacks, sizes) in enumerate(columns)
    ]
    plan(manifest, *windows)
    assert [record.entry for record in ManifestReader(manifest).iter_records()] == list(itertools.chain(*windows))


def test_an_error_of_the_thread_is_the_plans_and_leaves_nothing(manifest: Manifest) -> None:
    with pytest.raises(ManifestError):
        plan(manifest, ENTRIES, ENTRIES)  # what is there cannot be inserted
    assert (lines_of(manifest), loading_threads()) == (0, [])
    assert plan(manifest).added == len(ENTRIES)


def test_a_plan_that_is_stopped_waits_for_its_thread_before_it_forgets_everything(manifest: Manifest) -> None:
    with held_up(manifest) as go_on:
        threading.Timer(0.1, go_on.set).start()
        with pytest.raises(Interrupted):
            plan(manifest, ENTRIES[::2], error=Interrupted("stopped"))
        assert go_on.is_set()
    assert (lines_of(manifest), loading_threads()) == (0, [])
    assert plan(manifest).added == len(ENTRIES)


def test_a_signal_while_a_failed_plan_waits_for_its_thread_changes_nothing(manifest: Manifest) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted("stopped")

    def interrupt_and_go_on(go_on: threading.Event) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        threading.Timer(0.1, go_on.set).start()

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with held_up(manifest) as go_on:
            threading.Timer(0.1, interrupt_and_go_on, (go_on,)).start()
            with pytest.raises(Interrupted):
                plan(manifest, ENTRIES[::2], error=ConnectionError("the database went away"))
            assert go_on.is_set()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (lines_of(manifest), loading_threads()) == (0, [])
    assert plan(manifest).added == len(ENTRIES)
