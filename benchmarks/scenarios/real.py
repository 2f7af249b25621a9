"""Copies between SeaweedFS servers: the real thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.bench import WORKERS, Bench, made
from benchmarks.measure import Contestant, Figures, Spread, count_requests, ratios, run, run_in_turn
from benchmarks.objects import BenchObject
from benchmarks.report import COPY_HEAD, Bar, Section, copy_rows, requests_text
from benchmarks.rivals import (
    Maker,
    boto3_threads,
    mastosync,
    mastosync_again,
    rclone_again,
    rclone_fastest,
    rclone_server_side,
    rclone_usual,
    s5cmd,
)
from benchmarks.stores.real_stores import RealStores


def seaweed(bench: Bench) -> Section:
    """Small objects from one real store to another."""
    makers = [*bench.ours(), rclone_fastest, rclone_usual, boto3_threads]
    return Section(
        f"Small objects, {WORKERS} workers, SeaweedFS to SeaweedFS",
        f"The first {len(bench.real_objects):,} of those objects, between two servers on this machine, which take"
        " most of its time. `rclone --fast-list` is rclone as people run it, with its 4 transfers.",
        COPY_HEAD,
        copy_rows(*_between_real_stores(bench, makers, stores=2)),
    )


def server_side(bench: Bench) -> Section:
    """From one bucket to another of the same store."""
    makers = [*bench.ours(), s5cmd, rclone_server_side]
    figures, requests, counted = _between_real_stores(bench, makers, stores=1)
    ratio = ratios(figures[0].rates, figures[-1].rates)
    return Section(
        f"Small objects, {WORKERS} workers, two buckets of one SeaweedFS",
        f"The first {len(bench.real_objects):,} of those objects. A client may ask the store to copy them by itself.",
        COPY_HEAD,
        copy_rows(figures, requests, counted),
        [Bar.at_least("objects/s, against rclone with its fastest flags", 1.3, ratio)],
    )


def resume(bench: Bench) -> Section:
    """Once more, when everything has been copied."""
    with RealStores(bench, 2) as stores:
        measured, counted = (
            _finished(bench, stores, bench.real_objects),
            _finished(bench, stores, bench.counted_objects, counted=True),
        )
        figures = run_in_turn(measured, len(bench.real_objects), bench.rounds or 3, bench.log)
        requests = count_requests(counted, stores.requests, bench.log)
    ours = figures[0]
    return Section(
        "Again, with nothing to do, SeaweedFS to SeaweedFS",
        f"The first {len(bench.real_objects):,} of those objects, which the same client has copied before.",
        ("client", "seconds", "CPU seconds", "peak RSS, MB", "requests an object", "seconds, mastosync / it"),
        [
            (
                of.name,
                Spread.of(of.seconds).text(".2f"),
                Spread.of([cost.cpu_seconds for cost in of.costs]).text(".2f"),
                f"{of.peak_megabytes:,.0f}",
                requests_text(requests[of.name], len(bench.counted_objects)),
                "" if of is ours else ratios(ours.seconds, of.seconds).text(".2f"),
            )
            for of in figures
        ],
    )


def _finished(
    bench: Bench, stores: RealStores, objects: Sequence[BenchObject], *, counted: bool = False
) -> list[Contestant]:
    """Ours and rclone, where each has copied everything."""
    kind = "counted" if counted else "measured"
    ours = stores.stage(f"ours-{kind}", objects, WORKERS, counted=counted)
    theirs = stores.stage(f"theirs-{kind}", objects, WORKERS, counted=counted)
    run(mastosync(ours), bench.log)
    run(rclone_usual(theirs), bench.log)
    return [mastosync_again(ours), *rclone_again(theirs)]


def _between_real_stores(
    bench: Bench, makers: Sequence[Maker], stores: int
) -> tuple[list[Figures], dict[str, Counter[str]], int]:
    """The figures, the requests, and how many objects are behind those."""
    objects, few = bench.real_objects, bench.counted_objects
    with RealStores(bench, stores) as real:
        stage = real.stage("measured", objects, WORKERS)
        figures = run_in_turn(made(makers, stage), len(objects), bench.rounds or 3, bench.log)
        counted = real.stage("counted", few, WORKERS, counted=True)
        requests = count_requests(made(makers, counted), real.requests, bench.log)
    return figures, requests, len(few)
