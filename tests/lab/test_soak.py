"""A short soak, and whether a soak would notice."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from faultlab.soak import MIB, Sample, Soak, soak

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process is watched through /proc")


def soak_of(**growing: int) -> Soak:
    """A hundred samples, of which some grow by so much each."""
    flat = {"memory_bytes": 100 * MIB, "open_files": 40, "threads": 8, "manifest_bytes": 4 * MIB}
    samples = [
        Sample(
            float(nth),
            **{name: value + growing.get(name, 0) * nth for name, value in flat.items()},
            at_rest=nth % 10 == 0,
        )
        for nth in range(100)
    ]
    return Soak(tuple(samples), 3, 300, 900, 30)


def test_what_stays_as_it_is_is_flat() -> None:
    assert soak_of().growing() == []


def test_connections_of_a_running_command_are_no_growth() -> None:
    quiet = soak_of()
    busy = tuple(
        each if each.at_rest else each._replace(open_files=60, threads=20) if each.seconds > 90 else each
        for each in quiet.samples
    )
    assert replace(quiet, samples=busy).growing() == []


@pytest.mark.parametrize(
    ("name", "each_second"),
    [("memory_bytes", MIB), ("open_files", 1), ("threads", 1), ("manifest_bytes", MIB // 4)],
)
def test_what_grows_is_named(name: str, each_second: int) -> None:
    assert soak_of(**{name: each_second}).growing() == [name]


@LINUX
def test_one_process_copies_round_after_round_and_nothing_grows() -> None:
    said: list[str] = []
    result = soak(0.3, accounts=6, media=10, workers=8, say=said.append)
    assert result.growing() == [], result.table()
    assert result.rounds >= 6
    assert result.faults > 0
    assert result.objects > 100 * result.rounds
