"""Copies from and to a disk, beside the same copies between buckets of the null store."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from benchmarks.bench import WORKERS, Bench, made
from benchmarks.measure import Contestant, ratios, run_in_turn
from benchmarks.objects import damaged_in
from benchmarks.report import COPY_HEAD, Bar, Section, copy_rows
from benchmarks.rivals import Maker, Stage, rclone_fastest
from benchmarks.stores.ends import Bucket, Folder
from benchmarks.stores.null_store import DESTINATION, SOURCE, NullStore


def disk(bench: Bench) -> Section:
    """Small objects that lie on this machine, or are to lie there."""
    with NullStore(bench.memory / "null", bench.objects) as store:
        between = Stage(
            bench.disk / "between",
            bench.objects,
            Bucket(store.plain.source, SOURCE),
            Bucket(store.plain.destination, DESTINATION),
            WORKERS,
            store.empty,
            lambda: store.damaged(bench.objects),
        )
        files = bench.disk / "files"
        shutil.copytree(store.bucket(SOURCE), files)

        def at_hand() -> None:
            store.empty()
            damaged_in(files, bench.objects)  # which reads all of them: the system may have let go of some

        from_disk = replace(between, folder=bench.disk / "from", source=Folder(files), clear=at_hand)
        ours = bench.ours()
        contestants = [
            *_contestants("disk to store", [*ours, rclone_fastest], from_disk),
            *_contestants("store to store", ours, between),
            *_contestants("store to disk, fsync = never", [*ours, rclone_fastest], _to_disk(bench, between, "never")),
            *_contestants("store to disk, fsync = always", ours, _to_disk(bench, between, "always")),
        ]
        figures = run_in_turn(contestants, len(bench.objects), bench.rounds or 3, bench.log)
    from_a_disk, between_buckets = figures[0], figures[len(ours) + 1]
    flushing_nothing, (rclone, flushing_all) = figures[2 * len(ours) + 1], figures[3 * len(ours) + 1 :][:2]
    return Section(
        f"Small objects from and to a disk, {WORKERS} workers, null store",
        "Objects of the null store, and files on this machine's disk, beside the manifests. Files that are copied from"
        " there are read before each run, so that the system has them at hand: a cold disk is not what is measured."
        " What has arrived there is emptied before the next run, and removed at the end. rclone flushes nothing.",
        COPY_HEAD,
        copy_rows(figures, {}, 1),
        [
            _bar("objects/s from a disk, against those between buckets", from_a_disk.rates, between_buckets.rates, 0.9),
            _bar(
                "CPU an object from a disk, against that between buckets",
                from_a_disk.cpu_milliseconds,
                between_buckets.cpu_milliseconds,
                1.1,
                at_most=True,
            ),
            _bar("objects/s to a disk, fsync = never, against rclone", flushing_nothing.rates, rclone.rates, 1.5),
            _bar("objects/s to a disk, fsync = always, against rclone", flushing_all.rates, rclone.rates, 1.0),
        ],
    )


def _bar(what: str, ours: Sequence[float], theirs: Sequence[float], wanted: float, *, at_most: bool = False) -> Bar:
    ratio = ratios(ours, theirs)
    met = ratio.median <= wanted if at_most else ratio.median >= wanted
    return Bar(what, f"{'≤' if at_most else '≥'} {wanted:g} times", ratio.text(".2f"), met)


def _to_disk(bench: Bench, between: Stage, fsync: Literal["always", "never"]) -> Stage:
    folder = bench.disk / f"arrived-{fsync}"

    def clear() -> None:
        if folder.exists():
            _put_aside(folder)
        folder.mkdir()

    return replace(
        between,
        folder=bench.disk / f"to-{fsync}",
        destination=Folder(folder, fsync),
        clear=clear,
        damaged=lambda: damaged_in(folder, bench.objects),
    )


def _put_aside(folder: Path) -> None:
    """Make room for the next run, and remove nothing.

    For minutes ext4 passes over inodes that were freed, one by one (`recently_deleted`): after the removal of as many
    files, the system would take most of the time.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)
    folder.rename(folder.with_name(f"{folder.name}-before-{time.monotonic_ns()}"))
    os.sync()


def _contestants(way: str, makers: Sequence[Maker], stage: Stage) -> list[Contestant]:
    return [replace(each, name=f"{each.name}, {way}") for each in made(makers, stage.set_up())]
