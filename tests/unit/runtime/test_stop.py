"""The wish to stop reaches everybody who waits, from a signal handler too, whatever the main thread is at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mastosync.cli.signals import handling_signals
from mastosync.errors import Interrupted
from mastosync.progress import NoProgress
from mastosync.runtime.stop import FirstAlone, StopSignal

pytestmark = pytest.mark.timing

ROOT = Path(__file__).parents[3]
DEADLINE_SECONDS = 30.0

STUCK = """
import ctypes
from mastosync.cli.signals import handling_signals
from mastosync.runtime.stop import FirstAlone, StopSignal
from mastosync.progress import MessagesOnly

lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
lock(mutex)
with handling_signals(StopSignal(), MessagesOnly()):
    print("stuck", flush=True)
    lock(mutex)  # which never ends, and heeds no signal
"""

MANY_PROCESSES = """
import os, random, signal, sys, time
from mastosync.runtime.stop import FirstAlone, StopSignal

def napping():
    if child := os.fork():
        return child
    stop = StopSignal()
    signal.signal(signal.SIGALRM, lambda *_: stop.request())
    signal.setitimer(signal.ITIMER_REAL, 0.002 + random.random() * 0.02)
    try:
        while True:
            stop.sleep(0.00001)
    finally:
        os._exit(0)

for _ in range(25):
    deadline = time.monotonic() + 20
    for child in [napping() for _ in range(8)]:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                sys.exit("it hangs")
            time.sleep(0.001)
"""


def ends_when_interrupted_anywhere(work: Callable[[], None], interruption: Callable[[], None]) -> bool:
    """Run `work` again and again, interrupted before each of its lines in turn, as by a signal handler."""

    def interrupted_at(line: int) -> bool:
        passed = 0

        def trace(_frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401 - itself
            nonlocal passed
            passed += event == "line"
            if event == "line" and passed == line:
                interruption()
            return trace

        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(None)
        return passed >= line

    def at_every_line() -> None:
        line = 1
        while interrupted_at(line):
            line += 1

    return ends(at_every_line)


def ends(work: Callable[[], None]) -> bool:
    """Whether work comes to its end, in a thread that keeps nobody waiting if it does not."""
    ended = threading.Event()

    def whole() -> None:
        work()
        ended.set()

    threading.Thread(target=whole, daemon=True).start()
    return ended.wait(DEADLINE_SECONDS)


class TestASignalHandler:
    def test_may_ask_to_stop_in_the_midst_of_whatever_the_signal_does(self) -> None:
        """The handler runs in the thread that is at it: a lock that is held there would never be given back."""
        stop = StopSignal()

        def everything() -> None:
            stop.__init__()  # type: ignore[misc] # the same object, as it was in the beginning
            try:
                with stop.part() as part:
                    part.sleep(0.0001)
                    stop.sleep(0.0001)
                    stop.request()
                    stop.sleep(1)
            except Interrupted:
                pass

        assert ends_when_interrupted_anywhere(everything, stop.request)

    def test_never_hangs_a_process_that_sleeps(self) -> None:
        """Two hundred of them, which do little else than fall asleep."""
        subprocess.run(
            [sys.executable, "-c", MANY_PROCESSES], cwd=ROOT, check=True, timeout=300, env=os.environ | {"LC_ALL": "C"}
        )

    def test_shows_nothing_itself(self) -> None:
        """Whoever shows a message takes locks, of streams and bars, which the main thread may hold at that moment."""
        told: list[tuple[str, threading.Thread]] = []

        class Telling(NoProgress):
            def message(self, text: str) -> None:
                told.append((text, threading.current_thread()))

        stop = StopSignal()
        with handling_signals(stop, Telling()):
            signal.raise_signal(signal.SIGTERM)
            assert stop.requested
        ((text, thread),) = told
        assert "once more" in text or "again" in text
        assert thread is not threading.main_thread()

    def test_is_said_once_and_a_second_signal_ends_the_process_though_its_main_thread_is_stuck(self) -> None:
        """As in a library that waits for a store which stalls: there no handler of Python's runs."""
        process = subprocess.Popen(
            [sys.executable, "-c", STUCK], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "stuck\n"
            process.send_signal(signal.SIGINT)
            said = process.stderr.readline()
            assert "stopping" in said
            assert "Ctrl-C once more" in said
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_SECONDS) == 130
            assert process.stderr.read() == ""
        finally:
            process.kill()
            process.communicate()

    def test_is_one_however_often_a_terminal_closes(self) -> None:
        """Its shell says it once more, and whoever ends a session says SIGTERM as well."""
        stop = StopSignal()
        with handling_signals(stop, NoProgress()):
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)  # as systemd does
            assert stop.requested

    def test_is_not_one_where_hangups_were_ignored_before(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            stop = StopSignal()
            with handling_signals(stop, NoProgress()):
                signal.raise_signal(signal.SIGHUP)
                assert not stop.requested
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_leaves_no_thread_and_no_handler_behind(self) -> None:
        before = signal.getsignal(signal.SIGTERM), set(threading.enumerate())
        with pytest.raises(ZeroDivisionError), handling_signals(StopSignal(), NoProgress()):
            raise ZeroDivisionError
        assert (signal.getsignal(signal.SIGTERM), set(threading.enumerate())) == before

    def test_ends_at_once_what_is_kept_whole_or_not_at_all(self) -> None:
        with (
            handling_signals(StopSignal(), NoProgress(), at_once=True),
            pytest.raises(Interrupted, match="before it was complete"),
        ):
            signal.raise_signal(signal.SIGINT)
        stop = StopSignal()
        with (
            handling_signals(stop, NoProgress()),
            stop.breaking_off(),
            pytest.raises(Interrupted, match="before it was complete"),
        ):
            signal.raise_signal(signal.SIGINT)


class TestEverybodyWhoWaits:
    def test_is_woken_at_once(self) -> None:
        stop = StopSignal()
        began = time.monotonic()

        def wait() -> bool:
            with pytest.raises(Interrupted):
                stop.sleep(600)
            return stop.requested

        with ThreadPoolExecutor(20) as threads:
            waiting = [threads.submit(wait) for _ in range(20)]
            stop.request()
            assert all(each.result(DEADLINE_SECONDS) for each in waiting)
        with pytest.raises(Interrupted):
            stop.sleep(600)  # whoever comes later does not even begin
        assert time.monotonic() - began < DEADLINE_SECONDS

    def test_is_let_go_on_when_the_time_has_come(self) -> None:
        stop = StopSignal()
        stop.sleep(0.001)
        stop.sleep(-1)
        assert not stop.requested

    def test_for_next_to_nothing_is_not_forgotten(self) -> None:
        """A time-out may be over before the wait has begun."""

        def naps() -> None:
            for _ in range(5_000):
                StopSignal().sleep(0.000001)

        assert ends(naps)

    def test_waits_for_no_queue_that_forgets_him(self) -> None:
        """Until Python 3.13 a `SimpleQueue` waits for ever if its time-out is over when it begins to."""
        users = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mastosync").rglob("*.py")}
        users = {path for path in users if "SimpleQueue" in (ROOT / path).read_text(encoding="utf-8")}
        assert not users

    def test_for_a_part_stops_with_the_whole(self) -> None:
        stop = StopSignal()
        with stop.part() as part:
            stop.request()
            with pytest.raises(Interrupted):
                part.sleep(600)
        with stop.part() as late, pytest.raises(Interrupted):
            late.sleep(600)

    def test_for_the_whole_does_not_stop_with_a_part(self) -> None:
        stop = StopSignal()
        with stop.part() as part:
            part.request()
            with pytest.raises(Interrupted):
                part.require_going_on()
        stop.require_going_on()
        stop.sleep(0.001)

    def test_is_told_of_an_error_that_ended_the_work(self) -> None:
        stop = StopSignal()
        with pytest.raises(ZeroDivisionError), stop.after_errors():
            raise ZeroDivisionError
        assert stop.requested
        well = StopSignal()
        with well.after_errors():
            pass
        assert not well.requested


def test_the_first_one_goes_alone_until_one_has_succeeded() -> None:
    turn, first, second = FirstAlone(), object(), object()
    assert turn.may_go(first)
    assert not turn.may_go(second)
    turn.end_turn(second)  # it has none
    assert turn.is_first(first)
    turn.end_turn(first)
    assert turn.may_go(second)  # the first one has failed
    assert not turn.may_go(first)
    turn.is_over = True
    assert turn.may_go(first)
