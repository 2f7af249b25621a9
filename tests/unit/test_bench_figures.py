"""What `make bench` computes, and the objects it makes up."""

from __future__ import annotations

import hashlib
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.measure import (
    Contestant,
    Cost,
    Figures,
    RunFailed,
    Spread,
    count_requests,
    nothing,
    ratios,
    run,
    run_in_turn,
)
from benchmarks.objects import MEAN_BYTES, make_large_objects, make_objects, object_bytes
from benchmarks.report import COPY_HEAD, Bar, Section, copy_rows, requests_text


def figures(name: str, *seconds: float, objects: int = 100) -> Figures:
    return Figures(name, objects, [Cost(each, each / 2, 50_000_000) for each in seconds])


def python(code: str) -> Contestant:
    return Contestant("python", (sys.executable, "-c", code), nothing, nothing)


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([10, 30, 20], [10, 10, 10]) == Spread(2, 1, 3)
    assert ratios([10, 30, 20], [5]) == Spread(2, 2, 2), "a rival may take part in fewer rounds"


def test_a_spread_says_how_far_figures_lie_apart() -> None:
    assert Spread.of([1_500, 1_000, 3_000]).text() == "1,500 (1,000 to 3,000)"
    assert Spread.of([0.5]).text(".2f") == "0.50"


def test_figures_are_those_of_an_object() -> None:
    of = figures("x", 2, 4)
    assert of.rates == [50, 25]
    assert of.cpu_milliseconds == [10, 20]
    assert of.peak_megabytes == 50


def test_a_table_compares_the_first_client_with_the_others() -> None:
    requests = {"ours": Counter(GetObject=100, PutObject=100, ListObjects=2)}
    rows = copy_rows([figures("ours", 1, 2), figures("theirs", 2, 2)], requests, 100)
    text = "2.02 (GetObject 1.00, PutObject 1.00, ListObjects 0.02)"
    assert rows == [
        ("ours", "75 (50 to 100)", "7.50 (5.00 to 10.00)", "50", text, ""),
        ("theirs", "50", "10.00", "50", "", "1.50 (1.00 to 2.00)"),
    ]
    assert requests_text(Counter(), 100) == "0.00"
    section = Section("Title", "Text.", COPY_HEAD, rows, [Bar("speed", "≥ 2", "1.50", met=False)])
    assert section.markdown().endswith("| speed | ≥ 2 | 1.50 | **no** |\n")


def test_the_same_number_gives_the_same_objects() -> None:
    objects, again = make_objects(250), make_objects(250)
    assert objects == again
    assert len({each.key for each in objects}) == len({each.md5 for each in objects}) == 250
    assert all(hashlib.md5(each.content).hexdigest() == each.md5 for each in objects)
    kinds = Counter(each.entry.kind.table for each in objects)
    assert kinds.most_common(2) == [("media_attachments", kinds["media_attachments"]), ("accounts", kinds["accounts"])]
    assert len(kinds) == 5
    assert any("@" in each.key for each in objects), "a character that clients encode"


def test_sizes_are_lognormal_around_57_kilobytes() -> None:
    chance = random.Random(1)
    sizes = sorted(object_bytes(chance) for _ in range(20_000))
    assert sum(sizes) / len(sizes) == pytest.approx(MEAN_BYTES, rel=0.03)
    # of a lognormal distribution the median is the mean times exp(-sigma²/2)
    assert sizes[10_000] == pytest.approx(MEAN_BYTES * 0.6065, rel=0.03)
    assert sizes[0] >= 1


def test_large_objects_are_many_and_share_their_content() -> None:
    objects = make_large_objects(3, 1_000)
    assert len({each.key for each in objects}) == 3
    assert {len(each.content) for each in objects} == {1_000}
    assert len({each.md5 for each in objects}) == 1


def test_a_run_is_charged_for_its_children_and_not_for_the_memory_of_whoever_measures(tmp_path: Path) -> None:
    ours = bytearray(200_000_000)  # zeros: touched by writing them
    burn = "import time\\nwhile time.process_time() < 0.2: pass"
    cost = run(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{burn}'])"), tmp_path / "log")
    assert cost.cpu_seconds >= 0.2
    assert cost.seconds >= 0.2
    assert 5_000_000 < cost.peak_bytes < 100_000_000 < len(ours)


def test_a_run_that_fails_says_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"python ended with code 3:\nno store"):
        run(python("print('no store'); raise SystemExit(3)"), tmp_path / "log")
    lost = Contestant("lost", (str(tmp_path / "nowhere"),), nothing, nothing)
    with pytest.raises(RunFailed, match="lost could not be run"):
        run(lost, tmp_path / "log")


def test_clients_run_in_turn_each_prepared_and_checked(tmp_path: Path) -> None:
    told: list[str] = []

    def client(name: str, rounds: int = 9) -> Contestant:
        return Contestant(
            name,
            (sys.executable, "-S", "-c", ""),
            lambda: told.append(f"{name}?"),
            lambda: told.append(f"{name}!"),
            rounds,
        )

    ours, theirs = run_in_turn([client("a"), client("b", rounds=1)], 10, 2, tmp_path / "log")
    assert told == ["a?", "a!", "b?", "b!", "a?", "a!"]
    assert (len(ours.costs), len(theirs.costs)) == (2, 1)
    assert ratios(ours.rates, theirs.rates).median > 0


def test_requests_are_counted_for_each_client(tmp_path: Path) -> None:
    so_far: Counter[str] = Counter(GetObject=5)
    more = Contestant(
        "more", (sys.executable, "-S", "-c", ""), nothing, lambda: so_far.update(GetObject=2, PutObject=1)
    )
    none = Contestant("none", (sys.executable, "-S", "-c", ""), nothing, nothing)
    counts = count_requests([more, none], so_far.copy, tmp_path / "log")
    assert counts == {"more": Counter(GetObject=2, PutObject=1), "none": Counter()}
