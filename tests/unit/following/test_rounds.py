"""Round after round: when the next one is, what ends them, and what is only told."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from mastosync.config import DURATION
from mastosync.errors import (
    ConfigError,
    DatabaseError,
    Interrupted,
    ManifestInUse,
    MastosyncError,
    StoreUnusable,
    passing,
)
from mastosync.following import FAILURES_ENOUGH, Round, Rounds
from mastosync.runtime.stop import StopSignal
from tests.support.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def rounds(work: Callable[[], str], stop: StopSignal | None = None, *, once: bool = False) -> Rounds[str]:
    return Rounds(work, 600.0, once, stop or StopSignal())


class Script:
    """Work that takes some seconds each time, or fails; then somebody asks to stop."""

    def __init__(self, clock: Clock, stop: StopSignal, *steps: float | MastosyncError) -> None:
        self._clock, self._stop, self._steps = clock, stop, list(steps)

    def __call__(self) -> str:
        step = self._steps.pop(0)
        if not self._steps:
            self._stop.request()
        if isinstance(step, MastosyncError):
            raise step
        self._clock.now += step
        return "worked"


def lived_through(clock: Clock, *steps: float | MastosyncError) -> list[Round[str]]:
    stop = StopSignal()
    seen: list[Round[str]] = []
    with pytest.raises(Interrupted):
        seen.extend(rounds(Script(clock, stop, *steps), stop))
    return seen


def test_a_round_begins_so_long_after_the_last_one_began(clock: Clock) -> None:
    seen = lived_through(clock, 30, 100, 0)
    assert [each.number for each in seen] == [1, 2, 3]
    assert clock.slept[:2] == [570, 500]


def test_what_takes_too_long_is_followed_at_once_and_nothing_is_made_up_for(clock: Clock) -> None:
    lived_through(clock, 5_000, 10, 0)
    assert clock.slept[:2] == [0, 590]


def test_one_round_is_one_round(clock: Clock) -> None:
    (only,) = rounds(Script(clock, StopSignal(), 5, 5), once=True)
    assert (only.result, only.wait_seconds) == ("worked", None)
    assert not clock.slept


@pytest.mark.parametrize("error", [DatabaseError("away"), StoreUnusable("away"), ManifestInUse("held")])
def test_what_may_pass_is_told_and_tried_again(clock: Clock, error: MastosyncError) -> None:
    seen = lived_through(clock, 1, error, error, 1, error, 1)
    assert [(each.result, each.failures) for each in seen] == [
        ("worked", 0),
        (None, 1),
        (None, 2),
        ("worked", 0),
        (None, 1),
        ("worked", 0),
    ]


@pytest.mark.parametrize("once", [True, False])
def test_what_is_refused_in_the_first_round_ends_it(clock: Clock, once: bool) -> None:
    with pytest.raises(DatabaseError):
        list(rounds(Script(clock, StopSignal(), DatabaseError("no such database"), 1), once=once))


@pytest.mark.parametrize("kind", [DatabaseError, StoreUnusable])
def test_what_is_out_of_reach_in_the_first_rounds_is_told_and_tried_again(
    clock: Clock, kind: type[MastosyncError]
) -> None:
    away = passing(kind("out of reach"))
    assert [each.failures for each in lived_through(clock, away, away, 1, away, 1)] == [1, 2, 0, 1, 0]
    assert clock.slept[:2] == [600, 600]


def test_a_single_round_that_finds_something_out_of_reach_ends_with_it(clock: Clock) -> None:
    with pytest.raises(DatabaseError):
        list(rounds(Script(clock, StopSignal(), passing(DatabaseError("away")), 1), once=True))


def test_what_is_refused_before_anything_has_worked_ends_it_in_a_later_round_too(clock: Clock) -> None:
    with pytest.raises(StoreUnusable):
        list(rounds(Script(clock, StopSignal(), passing(DatabaseError("away")), StoreUnusable("no such key"), 1)))


def test_what_does_not_pass_ends_it_at_once(clock: Clock) -> None:
    with pytest.raises(ConfigError):
        list(rounds(Script(clock, StopSignal(), 1, ConfigError("wrong"), 1)))


def test_too_many_failures_in_a_row_are_for_somebody_to_look_into(clock: Clock) -> None:
    stop = StopSignal()
    script = Script(clock, stop, 1, *[DatabaseError("away")] * FAILURES_ENOUGH, 1)
    with pytest.raises(DatabaseError):
        list(rounds(script, stop))
    assert len(clock.slept) == FAILURES_ENOUGH


def test_a_wait_ends_when_somebody_asks_to_stop() -> None:
    stop = StopSignal()
    following = iter(rounds(lambda: "worked", stop))
    next(following)
    stop.request()
    with pytest.raises(Interrupted):
        next(following)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("1h30m", 5_400), ("45s", 45), ("1d", 86_400), ("2H 5s", 7_205), ("90m", 5_400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert DURATION.parse(text) == seconds
    assert DURATION.parse(DURATION.show(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "0m", "5m1h", "-5m", "1.5h", "10 minutes"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        DURATION.parse(text)


class TestWhatCannotBeReached:
    """It is waited for as a store is in a copy, in any round."""

    def seen(self, clock: Clock, every_seconds: float, away_seconds: float, patience_seconds: float) -> list[float]:
        """When a round began, after the first, which worked. Raises: what ended them."""
        began, stop = list[float](), StopSignal()

        def work() -> str:
            began.append(clock.now)
            if len(began) > 1:
                if clock.now < began[1] + away_seconds:
                    raise DatabaseError("connection refused")
                stop.request()
            return "worked"

        with pytest.raises(Interrupted):
            list(Rounds(work, every_seconds, once=False, stop=stop, patience_seconds=patience_seconds))
        return [each - began[1] for each in began[1:]]

    @pytest.mark.parametrize("every_seconds", [10, 600, 86_400])
    def test_is_tried_again_after_growing_waits_whatever_the_pace(self, clock: Clock, every_seconds: float) -> None:
        began = self.seen(clock, every_seconds, 3000, 3600)
        waits = [later - before for before, later in itertools.pairwise(began)]
        assert 1 <= waits[0] <= 2
        assert max(waits) <= min(120, every_seconds) + 1e-6  # moments are sums
        assert began[-1] < 3000 + 121

    def test_is_left_to_people_when_patience_is_over_and_rounds_enough_have_failed(self, clock: Clock) -> None:
        with pytest.raises(DatabaseError):
            self.seen(clock, 60, 10**6, 3600)
        assert 3600 <= clock.now - 1060 <= 3600 + 121
        with pytest.raises(DatabaseError):
            self.seen(clock, 600, 10**6, 60)
        assert clock.slept[-1] > 120, "at its own pace again"

    def test_is_tried_with_the_next_round_if_patience_is_off(self, clock: Clock) -> None:
        assert self.seen(clock, 600, 3000, 0) == [600.0 * number for number in range(6)]
