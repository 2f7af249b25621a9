"""How fast `mastosync plan` is: into an empty manifest, and once more with nothing new.

    python -m benchmarks.plan --keys 2000000 --rounds 3

Then how fast `status` is, a `copy` with nothing to do, and a plan of what has changed. Starts a
PostgreSQL of its own with Mastodon's tables. Each command runs in a process of its own, so that
seconds, CPU seconds and memory are the command's, with the start of the interpreter; the CPU seconds
of the server are told beside them. At the end every bar is held against the middle one of the rounds.
"""

from __future__ import annotations

import argparse
import math
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.database import CONFIG, fill
from benchmarks.measure import Cost, compiled
from lab.addresses import DatabaseAddress
from lab.client import ROOT, Lab
from mastosync.manifest import Manifest, Relation, record_relation

_CHANGES = """
INSERT INTO media_attachments (id, account_id, remote_url, created_at, updated_at,
    file_file_name, file_content_type, file_file_size, file_storage_schema_version, file_updated_at)
SELECT snowflake(100000000 + i), snowflake(1 + i), 'https://host.example/' || i, utc, utc, file_name(-i, 'jpg'),
    'image/jpeg', 40000, 1, utc FROM generate_series(1, 1000) i, (SELECT now() AT TIME ZONE 'UTC' AS utc) t;
UPDATE media_attachments SET updated_at = now() AT TIME ZONE 'UTC', description = 'other'
    WHERE id IN (SELECT snowflake(i * 100) FROM generate_series(1, 200) i);
UPDATE media_attachments SET updated_at = now() AT TIME ZONE 'UTC', file_file_name = 'renamed' || file_file_name
    WHERE id IN (SELECT snowflake(i * 101 + 7) FROM generate_series(1, 100) i);
"""

_PROC = Path("/proc")
_PARENT, _FIRST_TIME, _AFTER_TIMES = 1, 11, 15  # user, system, and both of children that have ended


@dataclass(frozen=True, slots=True)
class PlanBench:
    """Runs commands on one database and one manifest, and tells what each took."""

    keys: int
    command: Sequence[str]
    manifest: Path
    clock: ServerClock

    def plan(self, what: str, *arguments: str) -> Cost:
        """Plan, and print what it took."""
        before = self.clock.cpu_seconds()
        cost = cost_of([*self.command, "plan", *arguments])
        print(
            f"{what:<12} {self.keys / cost.seconds:9,.0f} keys/s {cost.seconds:7.2f} s {cost.cpu_seconds:7.2f} s CPU"
            f" {self.clock.cpu_seconds() - before:6.2f} s server CPU {self.bytes_per_key:6.1f} bytes/key"
            f" {cost.peak_bytes / 1e6:5.0f} MB RSS",
            flush=True,
        )
        return cost

    def quick(self, what: str, command: str, rounds: int) -> float:
        """Run a command that should take no time, and return the middle of its seconds."""
        costs = [cost_of([*self.command, command]) for _ in range(rounds)]
        told = ", ".join(f"{cost.seconds:.2f}" for cost in costs)
        print(f"{what:<25} {told} s; {costs[0].cpu_seconds:.2f} s CPU", flush=True)
        return statistics.median(cost.seconds for cost in costs)

    @property
    def bytes_per_key(self) -> float:
        """Of the manifest as it lies on the disk, with what was written ahead."""
        files = self.manifest.parent.glob(f"{self.manifest.name}*")
        return sum(file.stat().st_size for file in files) / self.keys


@dataclass(frozen=True, slots=True)
class PlanBar:
    """What was promised, and whether it was kept."""

    what: str
    figure: str
    is_met: bool

    def __str__(self) -> str:
        return f"{'met' if self.is_met else 'NOT MET':<8} {self.what:<46} {self.figure}"


def main() -> None:
    """Fill a database, plan, ask and copy, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for servers and manifest; default: where temporary files go")
    options = parser.parse_args()
    compiled(ROOT)
    with tempfile.TemporaryDirectory(dir=options.folder) as name, Lab(options.folder, postgres=True) as lab:
        folder = Path(name)
        address = lab.postgres.create_database("bench")
        print(f"making rows for {options.keys:,} keys ...", flush=True)
        fill(address, options.keys)
        config, manifest = folder / "config.ini", folder / "mastosync.db"
        config.touch(mode=0o600)
        config.write_text(CONFIG.format(address=address))
        command = [sys.executable, "-m", "mastosync", "-q", "--config", str(config), "--manifest", str(manifest)]
        bench = PlanBench(options.keys, command, manifest, ServerClock.of(address))
        bars = [*planning(bench, options.rounds), *asking(bench, options.rounds), following(bench, address)]
    print(f"\nthe middle of {options.rounds} rounds, {options.keys:,} keys:", *bars, sep="\n")


def planning(bench: PlanBench, rounds: int) -> list[PlanBar]:
    """Plan into an empty manifest and once more, again and again; the last manifest stays."""
    first: list[Cost] = []
    second: list[Cost] = []
    for _ in range(rounds):
        for file in bench.manifest.parent.glob(f"{bench.manifest.name}*"):
            file.unlink()
        first.append(bench.plan("first plan"))
        second.append(bench.plan("second plan"))
    rates = [bench.keys / cost.seconds for cost in first]
    ratios = [one.seconds / other.seconds for one, other in zip(first, second, strict=True)]
    rate, ratio, size = statistics.median(rates), statistics.median(ratios), bench.bytes_per_key
    peak = max(cost.peak_bytes for cost in (*first, *second)) / 1e6
    return [
        PlanBar("first plan: 200,000 keys/s", f"{rate:,.0f} ({min(rates):,.0f} to {max(rates):,.0f})", rate >= 200_000),
        PlanBar("second plan: faster than the first", f"{ratio:.2f} times as fast", ratio > 1),
        PlanBar("manifest, all pending: 140 bytes a key at most", f"{size:.1f}", size <= 140),
        PlanBar("memory of a plan: 250 MB at most", f"{peak:.0f} MB", peak <= 250),
    ]


def asking(bench: PlanBench, rounds: int) -> list[PlanBar]:
    """`status` before and after everything is done, and a `copy` that finds nothing to do."""
    planned = bench.quick("status", "status", rounds)
    finish(bench.manifest)
    done = bench.quick("status, all done", "status", rounds)
    copy = bench.quick("copy, nothing to do", "copy", rounds)
    status = max(planned, done)
    return [
        PlanBar("status: 0.5 s at most on ten million keys", f"{status:.2f} s", status <= 0.5),
        PlanBar("copy, nothing to do: 1 s at most on as many", f"{copy:.2f} s", copy <= 1),
    ]


def following(bench: PlanBench, address: DatabaseAddress) -> PlanBar:
    """A plan of what has changed: 1,000 new rows, 200 that changed otherwise, and 100 with other names."""
    with closing(address.connect(autocommit=True)) as connection:
        connection.execute(_CHANGES.encode())
    cost = bench.plan("delta", "--delta")
    return PlanBar("a delta of 1,300 rows: 5 s at most", f"{cost.seconds:.2f} s", cost.seconds <= 5)


def finish(manifest: Path) -> None:
    """Say of every entry that it was copied, with size and digest, and count anew: what a copy leaves behind.

    Kind by kind, so that the write-ahead log does not grow as large as the manifest.
    """
    with closing(sqlite3.connect(manifest, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")  # it need not survive a power cut
        for (kind,) in connection.execute("SELECT id FROM kinds").fetchall():
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "UPDATE entries SET state = 1, size = coalesce(size, 57000), md5 = randomblob(16) WHERE kind = ?",
                (kind,),
            )
            connection.execute("DELETE FROM counts WHERE kind = ?", (kind,))
            connection.execute(
                "INSERT INTO counts SELECT kind, state, reason, count(*), sum(size) FROM entries WHERE kind = ?"
                " GROUP BY kind, state, reason",
                (kind,),
            )
            connection.execute("COMMIT")
    with Manifest.open(manifest) as finished:  # a copy has looked at both stores by then
        record_relation(finished, Relation.TWO, probe_settled=True)


def cost_of(command: list[str]) -> Cost:
    """Run a command to its end. Raises: CalledProcessError."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


@dataclass(frozen=True, slots=True)
class ServerClock:
    """Reads what all processes of a server have used. Linux only: elsewhere it reads NaN."""

    postmaster: int

    @classmethod
    def of(cls, address: DatabaseAddress) -> Self:
        """The server that listens there."""
        if sys.platform != "linux":
            return cls(0)
        with closing(address.connect()) as connection:
            ((backend,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
            return cls(int(_fields(backend)[_PARENT]))

    def cpu_seconds(self) -> float:
        """Since it was started, those of ended connections too."""
        if not self.postmaster:
            return math.nan
        ticks = _ticks(self.postmaster)
        for child in (_PROC / f"{self.postmaster}/task/{self.postmaster}/children").read_text().split():
            with suppress(FileNotFoundError):  # it has just ended
                ticks += _ticks(int(child))
        return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(process: int) -> int:
    return sum(map(int, _fields(process)[_FIRST_TIME:_AFTER_TIMES]))


def _fields(process: int) -> list[str]:
    """Those after the name in parentheses, which may hold anything: state, parent, and so on."""
    return (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()


if __name__ == "__main__":
    main()
