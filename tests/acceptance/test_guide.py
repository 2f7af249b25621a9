"""The guide is run: every command in it, in its order, on a made-up instance, as it stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from scripts.lab.buckets import BucketPair
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.acceptance.site import COMMAND
from tests.acceptance.stores import assert_holds

DOCS = Path(__file__).parents[2] / "docs"
MASTODON = "/home/mastodon/live"
ENV = """\
# This is a file as Mastodon's own setup writes it.
LOCAL_DOMAIN=social.example
DB_HOST={database.host}
DB_PORT={database.port}
DB_NAME={database.name}
DB_USER={database.user}
DB_PASS='{database.password}'
S3_ENABLED=true
S3_BUCKET={bucket}
S3_REGION=us-east-1
S3_ENDPOINT={store.endpoint_url}
S3_HOSTNAME=files.social.example
AWS_ACCESS_KEY_ID={store.access_key}
AWS_SECRET_ACCESS_KEY={store.secret_key}
"""
EDITOR = """\
import pathlib, re, sys
path = pathlib.Path(sys.argv[1])
head, section, rest = path.read_text().partition("[s3.destination]")
for name, value in {values!r}.items():
    rest, count = re.subn(rf"^(# )?{{name}} =.*$", f"{{name}} = {{value}}", rest, count=1, flags=re.M)
    assert count, name
path.write_text(head + section + rest)
"""

_NEW_EMOJI = (
    b"INSERT INTO custom_emojis (id, shortcode, image_file_name, image_content_type, image_file_size, image_updated_at,"
    b" created_at, updated_at) VALUES (%s, %s, 'new.png', 'image/png', 3, now() AT TIME ZONE 'utc', now(), now())"
)


def upload(migration: Migration, bucket: str, *row_ids: int) -> None:
    """Somebody adds some emojis, and Mastodon stores them in its bucket of today."""
    for row_id in row_ids:
        with closing(migration.database.connect(autocommit=True)) as connection:
            connection.execute(_NEW_EMOJI, (row_id, f"emoji{row_id}"))
        migration.buckets.client.put_object(Bucket=bucket, Key=key_of(row_id), Body=b"new", ContentType="image/png")


def delete(migration: Migration, row_id: int) -> None:
    """Somebody deletes an emoji while Mastodon still stores in the old bucket."""
    with closing(migration.database.connect(autocommit=True)) as connection:
        connection.execute("DELETE FROM custom_emojis WHERE id = %s", (row_id,))
    migration.buckets.client.delete_object(Bucket=migration.buckets.source, Key=key_of(row_id))


def key_of(row_id: int) -> str:
    return f"custom_emojis/images/000/{row_id // 1000}/{row_id % 1000:03}/original/new.png"


def blocks() -> list[tuple[int, list[str]]]:
    """The commands of each block of the guide, and the exit code of its last one."""
    text = (DOCS / "guide.md").read_text(encoding="utf-8")
    return [
        (int(code or 0), [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")])
        for code, block in re.findall(r"^```console(?: exit=(\d+))?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def test_every_block_of_the_guide_has_commands() -> None:
    assert len(blocks()) > 10
    assert all(commands for _, commands in blocks())


@pytest.mark.timeout(600)
def test_the_guide_leads_from_the_first_look_to_the_report(
    tmp_path: Path, new_migration: MigrationFactory, buckets: BucketPair
) -> None:
    migration = new_migration(buckets, own_source=True, missing=3)
    folder, live = migration.site.folder, tmp_path / "live"
    migration.site.config.unlink()
    live.mkdir()
    env = ENV.format(database=migration.database, store=buckets.address, bucket=buckets.source)
    (live / ".env.production").write_text(env)
    address = buckets.address
    values = {
        "access_key": address.access_key,
        "secret_key": address.secret_key,
        "endpoint_url": address.endpoint_url,
        "bucket": buckets.destination,
    }
    (tmp_path / "editor.py").write_text(EDITOR.format(values=values))
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$0.py" "$@"\n')
    editor.chmod(0o700)
    environ = migration.site.environment() | {
        "EDITOR": str(editor),
        "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
        "MASTOSYNC_COPY_SERVER_SIDE": "never",
    }
    deleted = 700_003, 700_004  # before the last plan, and between it and the switch
    life: dict[str, Callable[[], object]] = {
        "mastosync follow --once": lambda: upload(migration, buckets.source, 700_001, *deleted),
        "mastosync verify": lambda: delete(migration, deleted[0]),
        "mastosync cutover": lambda: delete(migration, deleted[1]),
        "mastosync follow --once --full": lambda: upload(migration, buckets.destination, 700_002),  # after the switch
    }
    for code, commands in blocks():
        for command in commands:
            if command in life:
                life.pop(command)()
            expected = code if command == commands[-1] else 0
            line = command.replace(MASTODON, shlex.quote(str(live)))
            done = subprocess.run(
                ["bash", "-c", line], cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=240
            )
            told = f"{command}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}"
            assert done.returncode == expected, told
            assert address.secret_key not in done.stdout + done.stderr, command
    reports = ("report.txt", "report.json", "report.html")
    for name in (*reports, "media.conf", "media-cache.conf", "before-cutover.db", "failed.jsonl"):
        assert (folder / name).stat().st_size, name
    assert len((folder / "failed.jsonl").read_text().splitlines()) == 3
    assert not life
    for row in deleted:
        listed = buckets.client.list_objects_v2(Bucket=buckets.destination, Prefix=key_of(row))
        assert not listed["KeyCount"], "what was deleted is nowhere to be read"
    emojis = [line for line in migration.site.listed("--type", "custom_emojis") if line["id"] in (700_001, 700_002)]
    states = {line["id"]: (line["state"], line["origin"]) for line in emojis if line["style"] == "original"}
    assert states == {700_001: ("done", "copied"), 700_002: ("done", "adopted")}
    for each in emojis:
        buckets.client.delete_object(Bucket=buckets.destination, Key=each["key"])
    assert_holds(buckets.client, buckets.destination, migration.instance.at_destination())
    assert json.loads((folder / "report.json").read_text())["verdict"]["may_go"]
