"""`python -m faultlab.soak`: one process that copies for as long as told, on a bad day, and stays as it is.

Round after round it copies everything, the lab throws away what has arrived, and `verify` finds that
out, so that everything is pending again in the same manifest. Memory, open files, threads and the
manifest's size are looked at all the time: what grows from one half of the time to the other is a leak.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from faultlab.command import LongLived, Order
from faultlab.manifest_copy import read_copy
from faultlab.weather import Sky, Storm
from lab.addresses import S3Address
from lab.buckets import BucketPair, bucket_pair, delete_bucket
from lab.client import Lab
from lab.configuration import pg_section, s3_section, write_config
from lab.fault_plan import (
    DAMAGED_DOWNLOAD,
    DAMAGED_UPLOAD,
    INTERNAL_ERROR,
    LOST_ANSWER,
    RESET,
    TRUNCATED_BODY,
    no_faults,
    slow_down,
)
from lab.faults import FaultProxy
from lab.instance import populate

MIB = 1024 * 1024
_SAMPLE_SECONDS = 0.25
_LEAST_ROUNDS = 6  # two while it warms up, and two in each half
_WARM_UP = 1 / 3  # of the time: what is loaded late, pools that fill
_CHANCES = {RESET: 0.01, INTERNAL_ERROR: 0.01, LOST_ANSWER: 0.005, slow_down(amz_retry_after_ms=5): 0.005}
_DOWNLOADS = {DAMAGED_DOWNLOAD: 0.01, TRUNCATED_BODY: 0.01}
_UPLOADS = {DAMAGED_UPLOAD: 0.01}


class Sample(NamedTuple):
    """What a process has at a moment."""

    seconds: float  # since the start
    memory_bytes: int  # resident
    open_files: int
    threads: int
    manifest_bytes: int  # with what SQLite has beside it
    at_rest: bool = False  # between two rounds: no command runs


class Bound(NamedTuple):
    """How much the most of the second half may exceed the most of the first."""

    share: float
    absolute: int
    at_rest: bool = False  # look between two rounds alone: while a command runs, connections come and go


BOUNDS = {
    "memory_bytes": Bound(0.05, 12 * MIB),
    "open_files": Bound(0.0, 8, at_rest=True),
    "threads": Bound(0.0, 2, at_rest=True),
    "manifest_bytes": Bound(0.02, MIB),
}


@dataclass(frozen=True, slots=True)
class Soak:
    """What a soak has come to."""

    samples: tuple[Sample, ...]
    rounds: int
    objects: int  # copied, one counted in each round
    requests: int
    faults: int

    def halves(self) -> tuple[list[Sample], list[Sample]]:
        """What was seen when everything was warm, in two halves by time."""
        total = self.samples[-1].seconds
        begin = total * _WARM_UP
        middle = (begin + total) / 2
        warm = [sample for sample in self.samples if sample.seconds >= begin]
        return [each for each in warm if each.seconds < middle], [each for each in warm if each.seconds >= middle]

    def growing(self) -> list[str]:
        """The names of what was not flat."""
        first, second = self.halves()
        found = []
        for name, bound in BOUNDS.items():
            before, after = (
                max(getattr(sample, name) for sample in half if sample.at_rest or not bound.at_rest)
                for half in (first, second)
            )
            if after > before * (1 + bound.share) + bound.absolute:
                found.append(name)
        return found

    def table(self) -> str:
        """The most of each, over time, in ten steps."""
        total = self.samples[-1].seconds
        lines = ["  minutes   RSS MiB  open files  threads  manifest KiB"]
        for step in range(10):
            part = [each for each in self.samples if total * step / 10 <= each.seconds <= total * (step + 1) / 10]
            if part:
                memory, files, threads, manifest = (max(column) for column in list(zip(*part, strict=True))[1:5])
                lines.append(
                    f"{part[-1].seconds / 60:9.2f} {memory / MIB:9.1f} {files:11d} {threads:8d} {manifest // 1024:13d}"
                )
        return "\n".join(lines)


def soak(minutes: float, *, accounts: int, media: int, workers: int, say: Callable[[str], None]) -> Soak:
    """Copy for as long as told. Raises: RuntimeError when a command ends as it must not."""
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(postgres=True, s3=1))
        client = stack.enter_context(contextlib.closing(lab.s3[0].client()))
        pair = stack.enter_context(bucket_pair(lab.s3[0], client))
        database = lab.postgres.create_database("soak")
        populate(database, client, pair.source, accounts=accounts, media=media, missing=0, large_video_bytes=6 * MIB)
        proxies = [stack.enter_context(FaultProxy(lab.s3[0].endpoint_url, no_faults)) for _ in range(2)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        sections = {**_sections(lab.s3[0], pair, proxies), "pg.database": pg_section(database)}
        copying = {"workers": str(workers), "multipart_threshold": "5MiB", "part_size": "5MiB"}
        write_config(folder / "config.ini", {**sections, "copy": copying})
        process = LongLived(Order((), folder, "soak", hasty=True))
        stack.callback(process.end)
        rounds = _Rounds(process, pair, proxies, folder, say)
        rounds.run("plan", expected=(0,))
        with _watched(process.pid, folder / "mastosync.db") as watched:
            deadline = time.monotonic() + minutes * 60
            while time.monotonic() < deadline or rounds.count < _LEAST_ROUNDS:
                rounds.go_round()
                watched.look(at_rest=True)
            samples = sorted(watched.samples)
        return Soak(tuple(samples), rounds.count, rounds.objects, rounds.requests, rounds.faults)


@dataclass(slots=True)
class _Rounds:
    process: LongLived
    pair: BucketPair
    proxies: Sequence[FaultProxy]
    folder: Path
    say: Callable[[str], None]
    count: int = 0
    objects: int = 0
    requests: int = 0
    faults: int = 0

    def go_round(self) -> None:
        """Copy everything in bad weather, lose it all, and find that out."""
        self.count += 1
        storms = {
            bucket: Storm(f"soak {self.count} {bucket}", _CHANCES, _DOWNLOADS, _UPLOADS)
            for bucket in (self.pair.source, self.pair.destination)
        }
        for proxy in self.proxies:
            proxy.plan = Sky(storms)
        self.run("copy", expected=(0, 3))
        self.run("retry-failed", expected=(0, 3))
        for proxy in self.proxies:
            proxy.plan = no_faults
            seen = proxy.traffic.forget()
            self.requests += len(seen)
            self.faults += sum(each.fault is not None for each in seen)
        done = sum(1 for _ in read_copy(self.folder / "mastosync.db").in_state("done"))
        self.objects += done
        self.say(f"round {self.count}: {done} objects are there")
        delete_bucket(self.pair.client, self.pair.destination)
        self.pair.client.create_bucket(Bucket=self.pair.destination)
        self.run("verify", expected=(3,))

    def run(self, command: str, expected: tuple[int, ...]) -> None:
        code = self.process.run("--no-progress", command)
        if code not in expected:
            raise RuntimeError(f"{command} ended with {code}:\n{self.process.order.output()[-4_000:]}")


@dataclass(slots=True)
class _Watched:
    pid: int
    manifest: Path
    began: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)

    def look(self, *, at_rest: bool = False) -> None:
        self.samples.append(_sample(self.pid, self.manifest, time.monotonic() - self.began)._replace(at_rest=at_rest))


@contextlib.contextmanager
def _watched(pid: int, manifest: Path) -> Iterator[_Watched]:
    """A process that is looked at all the time for as long as the block runs."""
    watched = _Watched(pid, manifest)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            watched.look()

    watcher = threading.Thread(target=watch, name="watcher")
    watcher.start()
    try:
        yield watched
    finally:
        over.set()
        watcher.join()


def _sample(pid: int, manifest: Path, seconds: float) -> Sample:
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
    sizes = 0
    for path in manifest.parent.glob(f"{manifest.name}*"):
        with contextlib.suppress(FileNotFoundError):  # what SQLite keeps beside it comes and goes
            sizes += path.stat().st_size
    return Sample(
        seconds,
        int(status["VmRSS"].split()[0]) * 1024,
        sum(1 for _ in (process / "fd").iterdir()),
        int(status["Threads"]),
        sizes,
    )


def _sections(address: S3Address, pair: BucketPair, proxies: Sequence[FaultProxy]) -> dict[str, dict[str, str]]:
    """Both stores, each behind its proxy."""
    source, destination = proxies
    return {
        "s3.source": {**s3_section(address, pair.source), "endpoint_url": source.endpoint_url},
        "s3.destination": {**s3_section(address, pair.destination), "endpoint_url": destination.endpoint_url},
    }


def main() -> int:
    """Returns: the exit code, 0 when everything was flat."""
    parser = argparse.ArgumentParser(prog="python -m faultlab.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to copy (default: 5)")
    options = parser.parse_args()
    result = soak(options.minutes, accounts=150, media=250, workers=16, say=print)
    print(f"\n{result.table()}\n")
    print(
        f"{result.objects:,} objects in {result.rounds} rounds, {result.requests:,} requests, {result.faults:,} faults"
    )
    growing = result.growing()
    print(f"NOT FLAT: {', '.join(growing)}" if growing else "flat")
    return 1 if growing else 0


if __name__ == "__main__":
    sys.exit(main())
