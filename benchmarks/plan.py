"""How fast `mastosync plan` is: into an empty manifest, and once more with nothing new.

    python -m benchmarks.plan --keys 2000000 --rounds 3

Then how fast `status` is, a `copy` with nothing to do, and a plan of what has changed. Starts a
PostgreSQL of its own with Mastodon's tables. Each command runs in a process of its own, so that
seconds, CPU seconds and memory are the command's, with the start of the interpreter; the CPU seconds
of the server are told beside them. At the end every bar is held against the middle one of the rounds.
"""

from __future__ import annotations

import argparse
import compileall
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.server import ServerClock
from lab.addresses import DatabaseAddress
from lab.client import ROOT, Lab
from mastosync.manifest import Manifest, Relation, record_relation

SCHEMA = ROOT / "lab" / "schema.sql"

_FUNCTIONS = """
SET synchronous_commit = off;
-- snowflakes: milliseconds since April 2017 and 16 random-looking bits
CREATE FUNCTION snowflake(i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS $$ SELECT ((1492000000000 + i * 90000) << 16) + (i * 40503 & 65535) $$;
CREATE FUNCTION yesterday() RETURNS timestamp LANGUAGE sql STABLE
    AS $$ SELECT (now() AT TIME ZONE 'UTC') - interval '1 day' $$;
CREATE FUNCTION file_name(i bigint, extension text) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT substr(md5(i::text), 1, 16) || '.' || extension $$;
CREATE FUNCTION days_ago(days bigint) RETURNS timestamp LANGUAGE sql STABLE
    AS $$ SELECT (now() AT TIME ZONE 'utc')::timestamp - days * interval '1 day' $$;
"""

_ROWS = {
    "accounts": (
        0.08,  # rows a key; each has two keys
        """
INSERT INTO accounts (id, username, domain, suspended_at, created_at, updated_at,
    avatar_file_name, avatar_content_type, avatar_file_size, avatar_storage_schema_version, avatar_updated_at,
    header_file_name, header_content_type, header_file_size, header_storage_schema_version, header_updated_at)
SELECT snowflake(i), 'user' || i, CASE WHEN i % 50 > 0 THEN 'host' || i % 999 || '.example' END,
    CASE WHEN i % 200 = 0 THEN now() END, yesterday(), yesterday(),
    file_name(i, 'png'), 'image/png', 20000 + i % 50000, CASE WHEN i % 50 > 0 THEN 1 END, days_ago(i * 7919 % 900),
    file_name(-i, 'jpeg'), 'image/jpeg', 60000 + i % 90000, CASE WHEN i % 50 > 0 THEN 1 END, days_ago(i * 7919 % 900)
FROM generate_series(1::bigint, %s) i""",
    ),
    "statuses": (
        0.4,  # one of each of the media; of a few thousand one was removed by a moderator
        """
INSERT INTO statuses (id, account_id, created_at, updated_at, deleted_at)
SELECT snowflake(i), snowflake(1 + i % 500), yesterday(), yesterday(), CASE WHEN i % 4000 = 0 THEN yesterday() END
FROM generate_series(1::bigint, %s) i""",
    ),
    "media_attachments": (
        0.4,  # two keys each
        """
INSERT INTO media_attachments (id, account_id, remote_url, created_at, updated_at,
    file_file_name, file_content_type, file_file_size, file_storage_schema_version, file_updated_at, status_id)
SELECT snowflake(i), snowflake(1 + i % 500), CASE WHEN i % 5 > 0 THEN 'https://host.example/' || i ELSE '' END,
    yesterday(), yesterday(), file_name(i, kind[1]), kind[2], 30000 + i % 900000, CASE WHEN i % 5 > 0 THEN 1 END,
    days_ago(900 - 900 * i / %s), snowflake(i)
FROM generate_series(1::bigint, %s) i, LATERAL (SELECT CASE
    WHEN i % 20 = 0 THEN ARRAY['mp4', 'video/mp4']
    WHEN i % 20 = 1 THEN ARRAY['png', 'image/png']
    WHEN i % 50 = 2 THEN ARRAY['gif', 'image/gif']
    ELSE ARRAY['jpg', 'image/jpeg'] END AS kind) kinds""",
    ),
    "custom_emojis": (
        0.01,  # two keys each
        """
INSERT INTO custom_emojis (shortcode, domain, created_at, updated_at, image_file_name, image_content_type,
    image_file_size, image_storage_schema_version)
SELECT 'emoji' || i, 'host.example', yesterday(), yesterday(), file_name(i, 'png'), 'image/png', 9000, 1
FROM generate_series(1::bigint, %s) i""",
    ),
    "preview_cards": (
        0.02,
        """
INSERT INTO preview_cards (url, created_at, updated_at, image_file_name, image_content_type, image_file_size,
    image_storage_schema_version)
SELECT 'https://host.example/' || i, yesterday(), yesterday(), file_name(i, 'jpg'), 'image/jpeg', 40000, 1
FROM generate_series(1::bigint, %s) i""",
    ),
}

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

DESTINATION_URL = "http://127.0.0.1:2"
CONFIG = f"""\
[s3.source]
endpoint_url = http://127.0.0.1:1
bucket = old
access_key = a
secret_key = b
[s3.destination]
endpoint_url = {DESTINATION_URL}
bucket = new
access_key = a
secret_key = b
[pg.database]
host = {{address.host}}
port = {{address.port}}
user = {{address.user}}
password = {{address.password}}
database = {{address.name}}
sslmode = disable
[follow]
overlap_minutes = 1
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a command took. Memory is the peak of what it had resident."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Bench:
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
class Bar:
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
        bench = Bench(options.keys, command, manifest, ServerClock.of(address))
        bars = [*planning(bench, options.rounds), *asking(bench, options.rounds), following(bench, address)]
    print(f"\nthe middle of {options.rounds} rounds, {options.keys:,} keys:", *bars, sep="\n")


def compiled(checkout: Path) -> None:
    """Compile mastosync, as its installation does: an environment may keep Python from keeping what it compiles."""
    compileall.compile_dir(checkout / "mastosync", quiet=2)


def planning(bench: Bench, rounds: int) -> list[Bar]:
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
        Bar("first plan: 200,000 keys/s", f"{rate:,.0f} ({min(rates):,.0f} to {max(rates):,.0f})", rate >= 200_000),
        Bar("second plan: faster than the first", f"{ratio:.2f} times as fast", ratio > 1),
        Bar("manifest, all pending: 140 bytes a key at most", f"{size:.1f}", size <= 140),
        Bar("memory of a plan: 250 MB at most", f"{peak:.0f} MB", peak <= 250),
    ]


def asking(bench: Bench, rounds: int) -> list[Bar]:
    """`status` before and after everything is done, and a `copy` that finds nothing to do."""
    planned = bench.quick("status", "status", rounds)
    finish(bench.manifest)
    done = bench.quick("status, all done", "status", rounds)
    copy = bench.quick("copy, nothing to do", "copy", rounds)
    status = max(planned, done)
    return [
        Bar("status: 0.5 s at most on ten million keys", f"{status:.2f} s", status <= 0.5),
        Bar("copy, nothing to do: 1 s at most on as many", f"{copy:.2f} s", copy <= 1),
    ]


def following(bench: Bench, address: DatabaseAddress) -> Bar:
    """A plan of what has changed: 1,000 new rows, 200 that changed otherwise, and 100 with other names."""
    with closing(address.connect(autocommit=True)) as connection:
        connection.execute(_CHANGES.encode())
    cost = bench.plan("delta", "--delta")
    return Bar("a delta of 1,300 rows: 5 s at most", f"{cost.seconds:.2f} s", cost.seconds <= 5)


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


def fill(address: DatabaseAddress, keys: int) -> None:
    """Mastodon's tables, with rows for this many keys."""
    with closing(address.connect(autocommit=True)) as connection:
        connection.execute(SCHEMA.read_bytes())
        connection.execute(_FUNCTIONS)
        for table, (rows_per_key, statement) in _ROWS.items():
            connection.execute(statement.replace("%s", str(round(keys * rows_per_key))).encode())
            connection.execute(f"VACUUM ANALYZE {table}".encode())


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


if __name__ == "__main__":
    main()
