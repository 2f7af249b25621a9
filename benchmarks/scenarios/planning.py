"""Plan, status, a copy with nothing to do, and a verification, on millions of entries."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.database import CONFIG, DESTINATION_URL, fill
from benchmarks.measure import Contestant, Cost, nothing, run
from benchmarks.report import Bar, Section
from benchmarks.stores.listing_store import PAGE, ListingStore
from lab.client import ROOT, Lab
from mastosync.manifest import Manifest, Relation, WorkQueue, record_relation
from mastosync.model import EntryState, Outcome

_CHUNK = 20_000
_MD5 = bytes(16)
_SIZE = 57_000


@dataclass(frozen=True, slots=True)
class _Site:
    """Where the commands run."""

    bench: Bench
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.ini"

    @property
    def manifest(self) -> Path:
        return self.folder / "mastosync.db"

    def words(self, *arguments: str) -> tuple[str, ...]:
        """A command line of this site."""
        return (
            *(sys.executable, "-m", "mastosync"),
            *(f"--config={self.config}", f"--manifest={self.manifest}"),
            *arguments,
        )

    def cost_of(self, command: str, what: str, times: int = 1) -> Cost:
        """Run a command as a process of its own, so many times: the one in the middle."""
        words = self.words("-q", command)
        contestant = Contestant(what, words, prepare=nothing, check=nothing, folder=ROOT)
        runs = sorted((run(contestant, self.bench.log) for _ in range(times)), key=lambda cost: cost.seconds)
        cost = runs[times // 2]
        print(
            f"  {what:<26}{cost.seconds:7.2f} s {cost.cpu_seconds:7.2f} s CPU {cost.peak_bytes / 1e6:6.0f} MB",
            flush=True,
        )
        return cost


def planning(bench: Bench) -> Section:
    """A plan of many keys, another with nothing new, and the quick commands before and after the copy; then a proof."""
    site = _Site(bench, bench.disk)
    with ListingStore(bench.disk / "listing") as store:
        costs, bytes_a_key = _plans(site, store.endpoint_url)
        costs["status"] = site.cost_of("status", "status", 3)
        print("  marking every entry as done ...", flush=True)
        finish(site.manifest)
        costs["status, all done"] = site.cost_of("status", "status, all done", 3)
        costs["copy, all done"] = site.cost_of("copy", "copy, all done", 3)
        store.hold(site.words("ls"), _SIZE, _MD5.hex())
        before = store.pages
        costs["verify"] = site.cost_of("verify", "verify, all is well")
        pages = store.pages - before
    rows = [
        (
            name,
            f"{cost.seconds:.2f}",
            f"{cost.cpu_seconds:.2f}",
            f"{cost.peak_bytes / 1e6:,.0f}",
            f"{bench.keys / cost.seconds:,.0f}" if name.endswith(("plan", "verify")) else "",
        )
        for name, cost in costs.items()
    ]
    return Section(
        f"{bench.keys:,} keys",
        f"PostgreSQL on this machine; {bytes_a_key:.0f} bytes a key in the manifest after the first plan. The second"
        " finds nothing new. `verify` finds everything as it was recorded; a server of a few lines, which takes its"
        " part of the machine, tells it what the bucket holds. The others are the middle one of three runs.",
        ("command", "seconds", "CPU seconds", "peak RSS, MB", "keys/s"),
        rows,
        [
            *_plan_bars(bench.keys, bytes_a_key, costs["first plan"], costs["second plan"]),
            _quick("status", 0.5, max(costs["status"].seconds, costs["status, all done"].seconds)),
            _quick("copy with nothing to do", 1, costs["copy, all done"].seconds),
            *_verify_bars(bench.keys, pages, costs["verify"]),
        ],
    )


def _plans(site: _Site, endpoint_url: str) -> tuple[dict[str, Cost], float]:
    """A first plan and a second one, and the bytes a key after the first."""
    with Lab(site.folder, postgres=True) as lab:
        address = lab.postgres.create_database("bench")
        print(f"  making rows for {site.bench.keys:,} keys ...", flush=True)
        fill(address, site.bench.keys)
        site.config.touch(mode=0o600)
        site.config.write_text(CONFIG.format(address=address).replace(DESTINATION_URL, endpoint_url))
        costs = {"first plan": site.cost_of("plan", "first plan")}
        bytes_a_key = site.manifest.stat().st_size / site.bench.keys
        costs["second plan"] = site.cost_of("plan", "second plan, nothing new")
    return costs, bytes_a_key


def finish(path: Path) -> None:
    """Record every pending entry as copied, the way a copy records it."""
    with Manifest.open(path) as manifest:
        manifest.connection.execute("PRAGMA synchronous = OFF")  # it need not survive anything
        queue = WorkQueue(manifest)
        claims = queue.iter_claimable()
        while chunk := list(islice(claims, _CHUNK)):
            queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=_SIZE, md5=_MD5) for each in chunk])
        record_relation(manifest, Relation.TWO, probe_settled=True)  # as a copy has found out by then


def _plan_bars(keys: int, bytes_a_key: float, first: Cost, second: Cost) -> list[Bar]:
    rate, peak = keys / first.seconds, max(first.peak_bytes, second.peak_bytes) / 1e6
    faster = f"{first.seconds / second.seconds:.2f} times as fast"
    return [
        Bar("first plan", "≥ 200,000 keys/s", f"{rate:,.0f}", rate >= 200_000),
        Bar("second plan", "faster than the first", faster, second.seconds < first.seconds),
        Bar("manifest, all pending", "≤ 140 bytes a key", f"{bytes_a_key:.0f}", bytes_a_key <= 140),
        Bar("peak RSS of a plan", "≤ 250 MB", f"{peak:.0f} MB", peak <= 250),
    ]


def _verify_bars(keys: int, pages: int, cost: Cost) -> list[Bar]:
    least = -(-keys // PAGE)
    peak = cost.peak_bytes / 1e6
    return [
        Bar("pages listed by verify", "≤ 1.05 of the least possible", f"{pages / least:.3f}", pages <= 1.05 * least),
        Bar("peak RSS of verify", "≤ 150 MB, however many keys", f"{peak:.0f} MB", peak <= 150),
    ]


def _quick(what: str, most_seconds: float, seconds: float) -> Bar:
    return Bar(f"{what} (at ten million keys)", f"≤ {most_seconds:g} s", f"{seconds:.2f} s", seconds <= most_seconds)
