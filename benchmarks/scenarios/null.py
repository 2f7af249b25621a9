"""Copies between buckets of the null store: what the client can do, by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bench import WORKERS, Bench, made
from benchmarks.measure import Spread, count_requests, ratios, run_in_turn
from benchmarks.objects import BenchObject, make_big_objects
from benchmarks.report import COPY_HEAD, Bar, Section, copy_rows, requests_text
from benchmarks.rivals import Stage, boto3_threads, rclone_fastest
from benchmarks.stores.ends import Bucket
from benchmarks.stores.null_store import DELAY_SECONDS, DESTINATION, LOST, SOURCE, Door, NullStore

DELAYED_WORKERS = 64
BIG_WORKERS, BIG_OBJECTS, BIG_BYTES = 16, 40, 80_000_000


def null(bench: Bench) -> Section:
    """Small objects between buckets of a store that costs almost nothing: what the client can do."""
    makers = [*bench.ours(), rclone_fastest, boto3_threads]
    with NullStore(bench.memory / "null", bench.objects) as store:
        stage = _null_stage(bench, store, store.plain, bench.objects, WORKERS)
        figures = run_in_turn(made(makers, stage), len(bench.objects), bench.rounds or 5, bench.log)
        counted = _null_stage(bench, store, store.counted, bench.counted_objects, WORKERS)
        requests = count_requests(made(makers, counted), store.requests, bench.log)
    size = sum(len(each.content) for each in bench.objects) / len(bench.objects)
    ours, rclone = figures[0], figures[len(bench.ours())]
    ratio, cpu = ratios(ours.rates, rclone.rates), Spread.of(ours.cpu_milliseconds)
    few = len(bench.counted_objects)
    asked = requests[ours.name].copy()
    lists = asked.pop("ListObjects", 0)
    return Section(
        f"Small objects, {WORKERS} workers, null store",
        f"{len(bench.objects):,} objects of {size / 1000:.0f} KB in the mean, from one nginx here to itself."
        " It looks at no signature. Both ends answer the MD5 of the object as ETag.",
        COPY_HEAD,
        copy_rows(figures, requests, few),
        [
            Bar(
                "objects/s, against rclone with its fastest flags",
                "≥ 1.5 times",
                ratio.text(".2f"),
                ratio.median >= 1.5,
            ),
            Bar("CPU an object", "≤ 0.45 ms", cpu.text(".2f"), cpu.median <= 0.45),
            Bar(
                "requests of a fresh entry, beside one LIST of each store in a run",
                "1 GET, 1 PUT",
                requests_text(asked, few),
                lists == 2 and asked == {"GetObject": few, "PutObject": few},
            ),
        ],
    )


def delay(bench: Bench) -> Section:
    """A store that lets every request wait."""
    makers = [*bench.ours(), rclone_fastest]
    with NullStore(bench.memory / "null", bench.objects) as store:
        stage = _null_stage(bench, store, store.delayed, bench.objects, DELAYED_WORKERS)
        figures = run_in_turn(made(makers, stage), len(bench.objects), bench.rounds or 2, bench.log)
    most = DELAYED_WORKERS / (2 * DELAY_SECONDS)
    share = Spread.of([rate / most for rate in figures[0].rates])
    return Section(
        f"{DELAY_SECONDS * 1000:.0f} ms a request, {DELAYED_WORKERS} workers, null store",
        f"The same, but nginx waits {DELAY_SECONDS * 1000:.0f} ms before it looks at a request for an object. By"
        f" Little's law no client with {DELAYED_WORKERS} objects in flight can copy more than {most:,.0f} a second.",
        (*COPY_HEAD[:4], "of what is possible", COPY_HEAD[5]),
        [
            (*row[:4], Spread.of([rate / most for rate in of.rates]).text(".0%"), row[5])
            for row, of in zip(copy_rows(figures, {}, 1), figures, strict=True)
        ],
        [Bar("of what Little's law allows", "≥ 90 %", share.text(".0%"), share.median >= 0.9)],
    )


def big(bench: Bench) -> Section:
    """Objects that are large, for the memory they take."""
    objects = make_big_objects(BIG_OBJECTS, BIG_BYTES)
    few = objects[: BIG_OBJECTS // 10]
    makers = [*bench.ours(), rclone_fastest]
    with NullStore(bench.memory / "null", objects) as store:
        stage = _big_stage(bench, store, objects)
        figures = run_in_turn(made(makers, stage), BIG_OBJECTS, bench.rounds or 2, bench.log)
        counted = _big_stage(bench, store, few)
        requests = count_requests(made(makers, counted), store.requests, bench.log)
    megabytes = BIG_OBJECTS * BIG_BYTES / 1e6
    peak = figures[0].peak_megabytes
    return Section(
        f"{BIG_OBJECTS} objects of {BIG_BYTES / 1e6:.0f} MB, {BIG_WORKERS} workers, null store",
        "For the memory. What is uploaded is counted and thrown away. mastosync sends parts, and takes the MD5 of each"
        " and of the whole; rclone sends objects of this size whole, and goes by their ETags. A read with If-Match"
        " passes twice through this store: nginx has to ask itself.",
        (COPY_HEAD[0], "MB/s", "CPU s a GB", *COPY_HEAD[3:]),
        [
            (
                row[0],
                Spread.of([megabytes / seconds for seconds in of.seconds]).text(),
                Spread.of([1000 * cost.cpu_seconds / megabytes for cost in of.costs]).text(".2f"),
                *row[3:],
            )
            for row, of in zip(copy_rows(figures, requests, len(few)), figures, strict=True)
        ],
        [Bar("peak RSS", "≤ 400 MB", f"{peak:,.0f} MB", peak <= 400)],
    )


@dataclass(slots=True)
class _Uploads:
    """What came to the bucket that keeps nothing."""

    store: NullStore
    wanted_bytes: int  # by each run
    before_bytes: int = 0

    def begin(self) -> None:
        self.before_bytes = self.store.uploaded_bytes()

    def missing(self) -> list[str]:
        came = self.store.uploaded_bytes() - self.before_bytes
        return [] if came >= self.wanted_bytes else [f"some of {came:,} bytes"]


def _big_stage(bench: Bench, store: NullStore, objects: Sequence[BenchObject]) -> Stage:
    uploads = _Uploads(store, sum(len(each.content) for each in objects))
    return Stage(
        bench.disk / f"stage-{len(objects)}",
        objects,
        Bucket(store.counted.source, SOURCE),
        Bucket(store.counted.destination, LOST),
        BIG_WORKERS,
        uploads.begin,
        uploads.missing,
    ).set_up()


def _null_stage(bench: Bench, store: NullStore, door: Door, objects: Sequence[BenchObject], workers: int) -> Stage:
    return Stage(
        bench.disk / f"stage-{len(objects)}",
        objects,
        Bucket(door.source, SOURCE),
        Bucket(door.destination, DESTINATION),
        workers,
        store.empty,
        lambda: store.damaged(objects),
    ).set_up()
