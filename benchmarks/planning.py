"""Plan, status, and a copy with nothing to do, on millions of entries."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measure import Contestant, nothing, run
from benchmarks.plan import CONFIG, Cost, fill
from benchmarks.report import Bar, Row, Section
from mastosync.manifest import Manifest, WorkQueue
from mastosync.model import EntryState, Outcome
from scripts.lab.client import ROOT, Lab

_CHUNK = 20_000
_MD5 = bytes(16)


def planning(bench: Bench) -> Section:
    """Each command as a process of its own, once."""
    folder = bench.disk / "planning"
    folder.mkdir()
    config, manifest = folder / "config.ini", folder / "mastosync.db"

    def cost_of(what: str, command: str) -> Cost:
        files = (f"--config={config}", f"--manifest={manifest}")
        words = (sys.executable, "-m", "mastosync", "-q", *files, command)
        cost = run(Contestant(what, words, prepare=nothing, check=nothing, folder=ROOT), bench.log)
        print(
            f"  {what:<24} {cost.seconds:7.2f} s {cost.cpu_seconds:7.2f} s CPU {cost.peak_bytes / 1e6:6.0f} MB",
            flush=True,
        )
        return cost

    with Lab(bench.disk, postgres=True) as lab:
        address = lab.postgres.create_database("bench")
        print(f"  making rows for {bench.keys:,} keys ...", flush=True)
        fill(address, bench.keys)
        config.touch(mode=0o600)
        config.write_text(CONFIG.format(address=address))
        first = cost_of("first plan", "plan")
        bytes_a_key = manifest.stat().st_size / bench.keys
        second = cost_of("second plan", "plan")
    status = cost_of("status", "status")
    print("  marking every entry as done ...", flush=True)
    finish(manifest)
    done = cost_of("status of what is done", "status")
    copy = cost_of("copy with nothing to do", "copy")
    plans = {"first plan": first, "second plan, nothing new": second}
    others = {"status": status, "status, all done": done, "copy, all done": copy}
    return Section(
        f"{bench.keys:,} keys",
        f"PostgreSQL on this machine; {bytes_a_key:.0f} bytes a key in the manifest after the first plan.",
        ("command", "seconds", "CPU seconds", "peak RSS, MB", "keys/s"),
        [
            *(_row(name, cost, f"{bench.keys / cost.seconds:,.0f}") for name, cost in plans.items()),
            *(_row(name, cost, "") for name, cost in others.items()),
        ],
        [
            *_plan_bars(bench.keys, bytes_a_key, first, second),
            _quick("status", 0.5, max(status.seconds, done.seconds)),
            _quick("copy with nothing to do", 1, copy.seconds),
        ],
    )


def finish(path: Path) -> None:
    """Record every pending entry as copied, the way a copy records it."""
    with Manifest.open(path) as manifest:
        manifest.connection.execute("PRAGMA synchronous = OFF")  # it need not survive anything
        queue = WorkQueue(manifest)
        claims = queue.iter_claimable()
        while chunk := list(islice(claims, _CHUNK)):
            queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=57_000, md5=_MD5) for each in chunk])


def _row(name: str, cost: Cost, rate: str) -> Row:
    return name, f"{cost.seconds:.2f}", f"{cost.cpu_seconds:.2f}", f"{cost.peak_bytes / 1e6:,.0f}", rate


def _plan_bars(keys: int, bytes_a_key: float, first: Cost, second: Cost) -> list[Bar]:
    rate, peak = keys / first.seconds, max(first.peak_bytes, second.peak_bytes) / 1e6
    faster = f"{first.seconds / second.seconds:.2f} times as fast"
    return [
        Bar("first plan", "≥ 200,000 keys/s", f"{rate:,.0f}", rate >= 200_000),
        Bar("second plan", "faster than the first", faster, second.seconds < first.seconds),
        Bar("manifest", "≤ 140 bytes a key", f"{bytes_a_key:.0f}", bytes_a_key <= 140),
        Bar("peak RSS of a plan", "≤ 250 MB", f"{peak:.0f} MB", peak <= 250),
    ]


def _quick(what: str, most_seconds: float, seconds: float) -> Bar:
    return Bar(f"{what} (at ten million keys)", f"≤ {most_seconds:g} s", f"{seconds:.2f} s", seconds <= most_seconds)
