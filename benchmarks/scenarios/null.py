"""Copies between buckets of the null store: what the client can do, by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.bench import WORKERS, Bench, made
from benchmarks.measure import Contestant, Figures, Spread, count_requests, ratios, run_in_turn
from benchmarks.objects import BenchObject, make_large_objects
from benchmarks.report import COPY_HEAD, Bar, Row, Section, copy_rows, requests_text
from benchmarks.rivals import Stage, boto3_threads, rclone_fastest, rclone_parts, rclone_whole
from benchmarks.stores.null_store import DELAY_SECONDS, DESTINATION, LOST, SOURCE, Door, NullStore

DELAYED_WORKERS = 64
LARGE_WORKERS, LARGE_OBJECTS, LARGE_BYTES = 16, 40, 80_000_000
PART_BYTES = 5 * 1024 * 1024  # Mastodon's own


def null(bench: Bench) -> Section:
    """Small objects between buckets of a store that costs almost nothing: what the client can do."""
    return _small(bench, "null store", lambda store: (store.plain, store.counted))


def null_tls(bench: Bench) -> Section:
    """The same by TLS."""
    return _small(bench, "null store by TLS", lambda store: (store.secure, store.secure_counted))


def _small(bench: Bench, where: str, doors: Callable[[NullStore], tuple[Door, Door]]) -> Section:
    """`doors`: the one that is measured, and the one that counts."""
    makers = [*bench.ours(), rclone_fastest, boto3_threads]
    with NullStore(bench.memory / "null", bench.objects) as store:
        measured, counting = doors(store)
        stage = small_stage(bench, store, measured, bench.objects, WORKERS)
        figures = run_in_turn(made(makers, stage), len(bench.objects), bench.rounds or 5, bench.log)
        counted = small_stage(bench, store, counting, bench.counted_objects, WORKERS)
        requests = count_requests(made(makers, counted), store.requests, bench.log)
    size = sum(len(each.content) for each in bench.objects) / len(bench.objects)
    ours, rclone = figures[0], figures[len(bench.ours())]
    few = len(bench.counted_objects)
    asked = requests[ours.name].copy()
    lists = asked.pop("ListObjects", 0)
    cpu = "CPU an object"
    return Section(
        f"Small objects, {WORKERS} workers, {where}",
        f"{len(bench.objects):,} objects of {size / 1000:.0f} KB in the mean, from one nginx here to itself."
        " It looks at no signature. Both ends answer the MD5 of the object as ETag. s5cmd takes no part: it cannot copy"
        " between two stores.",
        COPY_HEAD,
        copy_rows(figures, requests, few),
        [
            Bar.at_least("objects/s, against rclone with its fastest flags", 1.4, ratios(ours.rates, rclone.rates)),
            Bar.at_most(f"{cpu}, against its", 0.4, ratios(ours.cpu_milliseconds, rclone.cpu_milliseconds)),
            Bar.at_most(cpu, 0.2, Spread.of(ours.cpu_milliseconds), " ms"),
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
        stage = small_stage(bench, store, store.delayed, bench.objects, DELAYED_WORKERS)
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
        [Bar.at_least("of what Little's law allows", 0.95, share, "", ".0%")],
    )


def large(bench: Bench) -> Section:
    """Large objects: what they cost, and the memory they take."""
    section, _ = _large(bench, "null store", lambda store: store.counted)
    return section


def large_tls(bench: Bench) -> Section:
    """The same by TLS, as all of them go in the world."""
    section, pairs = _large(bench, "null store by TLS", lambda store: store.secure_counted)
    bars = [
        bar
        for ours, rclone in pairs
        for bar in (
            Bar.at_most(
                f"CPU a GB: {ours.name} / {rclone.name}", 1.5, ratios(ours.cpu_milliseconds, rclone.cpu_milliseconds)
            ),
            Bar.at_most(f"time: {ours.name} / {rclone.name}", 1.25, ratios(ours.seconds, rclone.seconds)),
        )
    ]
    return replace(section, bars=[*bars, *section.bars])


def _large(
    bench: Bench, where: str, door: Callable[[NullStore], Door]
) -> tuple[Section, list[tuple[Figures, Figures]]]:
    """The section, and ours with the rclone to compare it with, for both sorts of objects."""
    whole = make_large_objects(LARGE_OBJECTS, LARGE_BYTES)
    in_parts = make_large_objects(LARGE_OBJECTS, LARGE_BYTES, part_bytes=PART_BYTES, first=LARGE_OBJECTS)
    few = LARGE_OBJECTS // 10
    with NullStore(bench.memory / "null", whole + in_parts) as store:
        store.warm_up()
        contestants = _large_contestants(bench, store, door(store), whole, in_parts)
        figures = run_in_turn(contestants, LARGE_OBJECTS, bench.rounds or 2, bench.log)
        counted = _large_contestants(bench, store, door(store), whole[:few], in_parts[:few])
        requests = count_requests(counted, store.requests, bench.log)
    ours = len(bench.ours())
    peak = max(figures[0].peak_megabytes, figures[ours + 2].peak_megabytes)
    section = Section(
        f"{LARGE_OBJECTS} objects of {LARGE_BYTES / 1e6:.0f} MB, {LARGE_WORKERS} workers, {where}",
        "What is uploaded is counted and thrown away. Objects that were uploaded whole have their MD5 as ETag; those"
        f" that were uploaded in parts, of {PART_BYTES >> 20} MiB as Mastodon has them, an ETag of those. rclone has"
        " its fastest flags; with --s3-upload-cutoff=5G it sends each object by one PUT, with 0 in parts.",
        (COPY_HEAD[0], "MB/s", "CPU s a GB", *COPY_HEAD[3:5], f"{figures[0].name} / it"),
        _large_rows(figures, requests, few),
        [Bar("peak RSS", "≤ 200 MB", f"{peak:,.0f} MB", peak <= 200)],
    )
    return section, [(figures[0], figures[ours]), (figures[ours + 2], figures[2 * ours + 2])]


def _large_rows(figures: Sequence[Figures], requests: dict[str, Counter[str]], few: int) -> list[Row]:
    megabytes = LARGE_OBJECTS * LARGE_BYTES / 1e6
    return [
        (
            row[0],
            Spread.of([megabytes / seconds for seconds in of.seconds]).text(),
            Spread.of([1000 * cost.cpu_seconds / megabytes for cost in of.costs]).text(".2f"),
            *row[3:],
        )
        for row, of in zip(copy_rows(figures, requests, few), figures, strict=True)
    ]


def _large_contestants(
    bench: Bench, store: NullStore, door: Door, whole: Sequence[BenchObject], in_parts: Sequence[BenchObject]
) -> list[Contestant]:
    """Ours, rclone by one PUT and rclone in parts, on what was uploaded whole; then the first two on the rest."""
    of_whole, of_parts = large_stage(bench, store, door, whole), large_stage(bench, store, door, in_parts)
    makers = [*bench.ours(), rclone_whole]
    return [
        *made([*makers, rclone_parts], of_whole),
        *(replace(each, name=f"{each.name}, ETag of parts") for each in made(makers, of_parts)),
    ]


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


def large_stage(bench: Bench, store: NullStore, door: Door, objects: Sequence[BenchObject]) -> Stage:
    """From the bucket of the source to the one that keeps nothing, by a door that counts."""
    uploads = _Uploads(store, sum(len(each.content) for each in objects))
    kind = "in-parts" if objects[0].part_bytes else "whole"
    return Stage(
        bench.disk / f"stage-{len(objects)}-{kind}",
        objects,
        door.bucket(SOURCE),
        door.bucket(LOST),
        LARGE_WORKERS,
        uploads.begin,
        uploads.missing,
    ).set_up()


def small_stage(bench: Bench, store: NullStore, door: Door, objects: Sequence[BenchObject], workers: int) -> Stage:
    """From the bucket of the source to one that keeps what comes, so that it can be compared."""
    return Stage(
        bench.disk / f"stage-{len(objects)}",
        objects,
        door.bucket(SOURCE),
        door.bucket(DESTINATION),
        workers,
        store.empty,
        lambda: store.damaged(objects),
    ).set_up()
