"""Plan, status, a copy with nothing to do, and what compares a listing with the manifest, on millions of entries."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.database import CONFIG, DESTINATION_URL, SOURCE_URL, fill
from benchmarks.measure import Contestant, Cost, nothing, run
from benchmarks.report import Bar, Section
from benchmarks.stores.listing_store import PAGE, ListingStore
from lab.addresses import DatabaseAddress
from lab.client import ROOT, Lab
from lab.ports import HOST
from mastosync.manifest import Manifest, PlanWriter, Relation, StoreIdentity, WorkQueue, record_relation
from mastosync.model import TABLES, EntryGroup, EntryState, Kind, Outcome

_CHUNK = 20_000
_MD5 = bytes(16)
_SIZE = 57_000
_ROW = 110_000_000_000_000_000


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

    def configure(self, endpoint_url: str, address: DatabaseAddress) -> None:
        """Let both stores be buckets at one address."""
        text = CONFIG.format(address=address)
        for url in (SOURCE_URL, DESTINATION_URL):
            text = text.replace(url, endpoint_url)
        self.config.touch(mode=0o600)
        self.config.write_text(text)

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
    """A plan of many keys, another with nothing new, and the quick commands before and after the copy; then the lists.

    These compare manifest and listing once in as many folders as there are rows, and once in a single one.
    """
    site = _Site(bench, bench.disk)
    with ListingStore(bench.disk / "listing") as store:
        costs, bytes_a_key = _plans(site, store.endpoint_url)
        costs["status"] = site.cost_of("status", "status", 3)
        pending = finish(site.manifest)
        costs["status, all done"] = site.cost_of("status", "status, all done", 3)
        costs["copy, all done"] = site.cost_of("copy", "copy, all done", 3)
        lists, pages = _lists(site, store, pending, "a folder a row")
    with ListingStore(bench.disk / "listing") as store:
        site = _in_one_folder(bench, store.endpoint_url)
        lists |= _lists(site, store, finish(site.manifest), "one folder")[0]
    costs |= lists
    rows = [
        (
            name,
            f"{cost.seconds:.2f}",
            f"{cost.cpu_seconds:.2f}",
            f"{cost.peak_bytes / 1e6:,.0f}",
            f"{bench.keys / cost.seconds:,.0f}" if name in lists or name.endswith("plan") else "",
        )
        for name, cost in costs.items()
    ]
    return Section(
        f"{bench.keys:,} keys",
        f"PostgreSQL on this machine; {bytes_a_key:.0f} bytes a key in the manifest after the first plan. The second"
        " finds nothing new. `verify` finds everything as it was recorded, `orphans` finds nothing, `adopt` finds all"
        " that is pending at both stores; a server of a few lines, which takes its part of the machine, tells them"
        " what the buckets hold. The others are the middle one of three runs.",
        ("command", "seconds", "CPU seconds", "peak RSS, MB", "keys/s"),
        rows,
        [
            *_plan_bars(bench.keys, bytes_a_key, costs["first plan"], costs["second plan"]),
            _quick("status", 0.5, max(costs["status"].seconds, costs["status, all done"].seconds)),
            _quick("copy with nothing to do", 1, costs["copy, all done"].seconds),
            *_list_bars(bench.keys, pages, lists),
        ],
    )


def _lists(site: _Site, store: ListingStore, pending: Path, where: str) -> tuple[dict[str, Cost], int]:
    """What compares a manifest of which all is done, and the same with all `pending`, with a store that has it all.

    Returns: the costs, and how many pages `verify` has listed.
    """
    store.hold(site.words("ls"), _SIZE, _MD5.hex())
    before = store.pages
    costs = {f"verify, {where}": site.cost_of("verify", f"verify, {where}")}
    pages = store.pages - before
    costs[f"orphans, {where}"] = site.cost_of("orphans", f"orphans, {where}")
    pending.replace(site.manifest)
    costs[f"adopt, {where}"] = site.cost_of("adopt", f"adopt, {where}")
    return costs, pages


def _in_one_folder(bench: Bench, endpoint_url: str) -> _Site:
    """A manifest of a row that has every key, which none has: what shares a folder must not cost more."""
    site = _Site(bench, bench.disk / "one-folder")
    site.folder.mkdir()
    site.configure(endpoint_url, DatabaseAddress(host=HOST, port=1, user="", password="", name=""))
    stores = [StoreIdentity(endpoint_url, bucket, "") for bucket in ("old", "new")]
    kind = Kind("media_attachments", "file", "original", "media_attachments/files", remote=True, cached=True)
    with Manifest.create(site.manifest) as manifest, PlanWriter.transaction(manifest, *stores) as writer:
        for start in range(0, bench.keys, _CHUNK):
            names = [f"{number:016x}.jpg" for number in range(start, min(start + _CHUNK, bench.keys))]
            group = EntryGroup(kind, False, False, (_ROW,) * len(names), names, None, None)
            writer.merge(kind.table, _ROW - 1, _ROW, [group])
        writer.finish(datetime.now(UTC), {"types": TABLES, "only": "all", "limit": None}, whole=True)
    return site


def _plans(site: _Site, endpoint_url: str) -> tuple[dict[str, Cost], float]:
    """A first plan and a second one, and the bytes a key after the first."""
    with Lab(site.folder, postgres=True) as lab:
        address = lab.postgres.create_database("bench")
        print(f"  making rows for {site.bench.keys:,} keys ...", flush=True)
        fill(address, site.bench.keys)
        site.configure(endpoint_url, address)
        costs = {"first plan": site.cost_of("plan", "first plan")}
        bytes_a_key = site.manifest.stat().st_size / site.bench.keys
        costs["second plan"] = site.cost_of("plan", "second plan, nothing new")
    return costs, bytes_a_key


def finish(path: Path) -> Path:
    """Record every pending entry as copied, the way a copy records it. Returns: the manifest as it was before."""
    print("  marking every entry as done ...", flush=True)
    with Manifest.open(path) as manifest:
        record_relation(manifest, Relation.TWO, probe_settled=True)  # as a copy has found out by then
    pending = path.with_suffix(".pending")
    shutil.copy(path, pending)
    with Manifest.open(path) as manifest:
        manifest.connection.execute("PRAGMA synchronous = OFF")  # it need not survive anything
        queue = WorkQueue(manifest)
        claims = queue.iter_claimable()
        while chunk := list(islice(claims, _CHUNK)):
            queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=_SIZE, md5=_MD5) for each in chunk])
    return pending


def _plan_bars(keys: int, bytes_a_key: float, first: Cost, second: Cost) -> list[Bar]:
    rate, peak = keys / first.seconds, max(first.peak_bytes, second.peak_bytes) / 1e6
    faster = f"{first.seconds / second.seconds:.2f} times as fast"
    return [
        Bar("first plan", "≥ 200,000 keys/s", f"{rate:,.0f}", rate >= 200_000),
        Bar("second plan", "faster than the first", faster, second.seconds < first.seconds),
        Bar("manifest, all pending", "≤ 140 bytes a key", f"{bytes_a_key:.0f}", bytes_a_key <= 140),
        Bar("peak RSS of a plan", "≤ 250 MB", f"{peak:.0f} MB", peak <= 250),
    ]


def _list_bars(keys: int, pages: int, lists: dict[str, Cost]) -> list[Bar]:
    least = -(-keys // PAGE)
    bars = [
        Bar("pages listed by verify", "≤ 1.05 of the least possible", f"{pages / least:.3f}", pages <= 1.05 * least)
    ]
    for command in ("verify", "adopt", "orphans"):
        costs = [cost for name, cost in lists.items() if name.startswith(command)]
        rates = [keys / cost.cpu_seconds for cost in costs]
        told = "; ".join(f"{rate:,.0f}" for rate in rates)
        peak = max(cost.peak_bytes for cost in costs) / 1e6
        bars += [
            Bar(
                f"{command}, a folder a row and one folder", "≥ 150,000 keys a CPU second", told, min(rates) >= 150_000
            ),
            Bar(f"peak RSS of {command}", "≤ 150 MB, however many keys", f"{peak:.0f} MB", peak <= 150),
        ]
    return bars


def _quick(what: str, most_seconds: float, seconds: float) -> Bar:
    return Bar(f"{what} (at ten million keys)", f"≤ {most_seconds:g} s", f"{seconds:.2f} s", seconds <= most_seconds)
