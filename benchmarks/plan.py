"""How fast `mastosync plan` is: once into an empty manifest, and once more with nothing new.

    python -m benchmarks.plan --keys 2000000

Starts a PostgreSQL of its own with Mastodon's tables. Each plan is the command itself in a process
of its own, so that CPU seconds and memory are the plan's; start-up of the interpreter is included,
the server's CPU is not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from scripts.lab.addresses import DatabaseAddress
from scripts.lab.client import ROOT, Lab

SCHEMA = ROOT / "scripts" / "lab" / "schema.sql"

_FUNCTIONS = """
SET synchronous_commit = off;
-- snowflakes: milliseconds since April 2017 and 16 random-looking bits
CREATE FUNCTION snowflake(i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS $$ SELECT ((1492000000000 + i * 90000) << 16) + (i * 40503 & 65535) $$;
CREATE FUNCTION file_name(i bigint, extension text) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT substr(md5(i::text), 1, 16) || '.' || extension $$;
"""

_ROWS = {
    "accounts": (
        0.08,  # rows a key; each has two keys
        """
INSERT INTO accounts (id, username, domain, suspended_at, created_at, updated_at,
    avatar_file_name, avatar_content_type, avatar_file_size, avatar_storage_schema_version,
    header_file_name, header_content_type, header_file_size, header_storage_schema_version)
SELECT snowflake(i), 'user' || i, CASE WHEN i % 50 > 0 THEN 'host' || i % 999 || '.example' END,
    CASE WHEN i % 200 = 0 THEN now() END, now(), now(),
    file_name(i, 'png'), 'image/png', 20000 + i % 50000, CASE WHEN i % 50 > 0 THEN 1 END,
    file_name(-i, 'jpeg'), 'image/jpeg', 60000 + i % 90000, CASE WHEN i % 50 > 0 THEN 1 END
FROM generate_series(1, %s) i""",
    ),
    "media_attachments": (
        0.4,  # two keys each
        """
INSERT INTO media_attachments (id, account_id, remote_url, created_at, updated_at,
    file_file_name, file_content_type, file_file_size, file_storage_schema_version)
SELECT snowflake(i), snowflake(1 + i % 500), CASE WHEN i % 5 > 0 THEN 'https://host.example/' || i ELSE '' END,
    now(), now(), file_name(i, kind[1]), kind[2], 30000 + i % 900000, CASE WHEN i % 5 > 0 THEN 1 END
FROM generate_series(1, %s) i, LATERAL (SELECT CASE
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
SELECT 'emoji' || i, 'host.example', now(), now(), file_name(i, 'png'), 'image/png', 9000, 1
FROM generate_series(1, %s) i""",
    ),
    "preview_cards": (
        0.02,
        """
INSERT INTO preview_cards (url, created_at, updated_at, image_file_name, image_content_type, image_file_size,
    image_storage_schema_version)
SELECT 'https://host.example/' || i, now(), now(), file_name(i, 'jpg'), 'image/jpeg', 40000, 1
FROM generate_series(1, %s) i""",
    ),
}

CONFIG = """\
[s3.source]
endpoint_url = http://127.0.0.1:1
bucket = old
access_key = a
secret_key = b
[s3.destination]
endpoint_url = http://127.0.0.1:2
bucket = new
access_key = a
secret_key = b
[pg.database]
host = {address.host}
port = {address.port}
user = {address.user}
password = {address.password}
database = {address.name}
sslmode = disable
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a command took. Memory is the peak of what it had resident."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def main() -> None:
    """Fill a database, plan twice, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path, help="for servers and manifest; default: where temporary files go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name, Lab(options.folder, postgres=True) as lab:
        folder = Path(name)
        address = lab.postgres.create_database("bench")
        print(f"making rows for {options.keys:,} keys ...", flush=True)
        fill(address, options.keys)
        config, manifest = folder / "config.ini", folder / "mastosync.db"
        config.touch(mode=0o600)
        config.write_text(CONFIG.format(address=address))
        command = [sys.executable, "-m", "mastosync", "-q", "--config", str(config), "--manifest", str(manifest)]
        for what in ("first plan", "second plan"):
            cost = cost_of([*command, "plan"])
            file_bytes = manifest.stat().st_size
            print(
                f"{what:<12} {options.keys / cost.seconds:9,.0f} keys/s {cost.seconds:7.2f} s "
                f"{cost.cpu_seconds:7.2f} s CPU {file_bytes / options.keys:6.1f} bytes/key "
                f"{cost.peak_bytes / 2**20:6.0f} MiB RSS",
                flush=True,
            )
        for what in ("status", "status"):
            cost = cost_of([*command, what])
            print(f"{what:<12} {cost.seconds:.2f} s {cost.cpu_seconds:.2f} s CPU", flush=True)


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
