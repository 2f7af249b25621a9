"""What people are told while a copy runs, and in the end."""

from __future__ import annotations

import fcntl
import io
import os
import select
import struct
import termios
from collections.abc import Iterator

import pytest

from mastosync.cli.copy_results import render_copy
from mastosync.model import End, EntryState, Origin, Outcome
from mastosync.progress import (
    AnyProgress,
    BarProgress,
    CopyProgress,
    EndpointState,
    LineProgress,
    NoProgress,
    described,
    shown,
)
from mastosync.status import Status, Tally
from tests.support.entries import entry

QUIET = EndpointState("source")
RECOVERED = EndpointState("source", throttles=3)
SETTLED = EndpointState("destination", rate=1240.4, throttles=1_200)
PAUSED = EndpointState("destination", rate=240.0, paused_seconds=11.7, throttles=2)
BLINKING = EndpointState("store", rate=240.0, paused_seconds=0.4, throttles=2)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (QUIET, ""),
        (RECOVERED, ""),
        (SETTLED, "destination throttles: settled at 1,240 requests/s"),
        (PAUSED, "destination throttles: waiting 12 s"),
        (BLINKING, "store throttles: settled at 240 requests/s"),
    ],
)
def test_an_endpoint_that_throttles_is_named_with_what_comes_of_it(state: EndpointState, words: str) -> None:
    assert state.described == words


def test_a_line_tells_of_throttling_and_is_silent_without() -> None:
    quiet = described(CopyProgress(10, limits=(QUIET, RECOVERED)))
    assert quiet.endswith("failed 0, skipped 0, throttled 3")
    loud = described(CopyProgress(10, limits=(RECOVERED, SETTLED)))
    assert loud.endswith("throttled 1203, destination throttles: settled at 1,240 requests/s")


def test_lines_tell_of_it() -> None:
    stream = io.StringIO()
    LineProgress(stream).finished(CopyProgress(10, limits=(PAUSED,)))
    assert "destination throttles: waiting 12 s" in stream.getvalue()


@pytest.fixture
def terminal() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """A terminal of 100 columns: where to read what is shown, and where to write."""
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield reader, stream
    os.close(reader)


def drawn_last(reader: int, expected: str) -> str:
    """What the bar shows by now: read until that holds the expected text, or nothing comes any more."""
    shown = last = ""
    while expected not in last and select.select([reader], [], [], 10)[0]:
        shown += os.read(reader, 65_536).decode(errors="replace")
        last = [drawing for drawing in shown.split("\r") if drawing.strip()][-1]
    return last


def test_the_bar_tells_of_it_even_when_nothing_else_happens(terminal: tuple[int, io.TextIOWrapper]) -> None:
    reader, stream = terminal
    progress = CopyProgress(10)
    bar = BarProgress(stream)
    bar.started(progress)
    progress.limits = (PAUSED,)
    bar.advanced(progress)
    stream.flush()
    assert "destination throttles: waiting 12 s" in drawn_last(reader, "waiting 12 s")
    progress.limits = (RECOVERED,)
    bar.finished(progress)
    stream.flush()
    last = drawn_last(reader, "throttled 3")
    assert "throttled 3" in last
    assert "throttles:" not in last


def test_the_summary_names_throttling_once_for_each_endpoint_that_did() -> None:
    status = Status(totals=Tally(), by_type={}, reasons={}, snapshot=None, run=None)
    text = render_copy(CopyProgress(10, limits=(QUIET, SETTLED)), status)
    assert "throttled 1,200" in text
    assert text.count("the destination asked to slow down 1,200 times; it now takes 1,240 requests/s") == 1
    assert "the source" not in text
    assert "the source asked to slow down 3 times\n" in render_copy(CopyProgress(10, limits=(RECOVERED,)), status)
    assert "slow down" not in render_copy(CopyProgress(10, limits=(QUIET,)), status)


def test_what_was_there_already_does_not_count_as_copied() -> None:
    """After a switch Mastodon has uploaded to the destination what the source lacks."""
    status = Status(totals=Tally(), by_type={}, reasons={}, snapshot=None, run=None)
    progress = CopyProgress(4)
    adopted = Outcome(entry(), EntryState.DONE, size=1_000, origin=Origin.ADOPTED, end=End.SOURCE)
    confirmed = Outcome(entry(), EntryState.DONE, size=1_000, end=End.DESTINATION)
    for outcome in (adopted, confirmed):
        progress.count(outcome)
    text = render_copy(progress, status)
    assert text.startswith("copied 0 objects (0 Bytes) in ")
    assert "\n2 objects were at the destination already\n" in text
    progress.count(Outcome(entry(), EntryState.DONE, size=10))
    text = render_copy(progress, status)
    assert text.startswith("copied 1 object (10 Bytes) in ")
    assert progress.done == 3
    assert "already" not in render_copy(CopyProgress(4), status)


def test_progress_ends_with_its_work_well_or_not() -> None:
    class Recording(NoProgress):
        def __init__(self) -> None:
            self.calls: list[str] = []

        def started(self, progress: AnyProgress) -> None:
            self.calls.append("started")

        def finished(self, progress: AnyProgress) -> None:
            self.calls.append("finished")

    listener = Recording()
    with pytest.raises(RuntimeError), shown(CopyProgress(total=1), listener):
        raise RuntimeError("a bug")
    with shown(CopyProgress(total=1), listener):
        assert listener.calls == ["started", "finished", "started"]
    assert listener.calls[2:] == ["started", "finished"]
