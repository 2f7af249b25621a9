"""The guide is run: every command in it, in its order, on a made-up instance, as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from lab.addresses import DatabaseAddress
from lab.buckets import BucketPair
from lab.faults import FaultProxy
from mastosync.cutover import CommandLine, Step, Switchover, switchover_steps
from mastosync.manifest import StoreIdentity
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import assert_holds, takes_only
from tests.support.shell import Shell

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
S3_ALIAS_HOST=files.social.example
AWS_ACCESS_KEY_ID={store.access_key}
AWS_SECRET_ACCESS_KEY={store.secret_key}
"""
EDITOR = """\
import pathlib, re, sys
path = pathlib.Path(sys.argv[1])
values = {values!r}[path.name]
head, section, rest = path.read_text().partition("[s3.destination]")
for name, value in values.items():
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
        add_emoji(migration.database, row_id)
        for key in keys_of(row_id):
            store_picture(migration.buckets, bucket, key)


def add_emoji(database: DatabaseAddress, row_id: int) -> None:
    with closing(database.connect(autocommit=True)) as connection:
        connection.execute(_NEW_EMOJI, (row_id, f"emoji{row_id}"))


def store_picture(buckets: BucketPair, bucket: str, key: str) -> None:
    """As Mastodon does."""
    buckets.client.put_object(
        Bucket=bucket,
        Key=key,
        Body=b"new",
        ACL="public-read",
        ContentType="image/png",
        CacheControl="public, max-age=315576000, immutable",
    )


def delete(migration: Migration, row_id: int) -> None:
    """Somebody deletes an emoji while Mastodon still stores in the old bucket."""
    with closing(migration.database.connect(autocommit=True)) as connection:
        connection.execute("DELETE FROM custom_emojis WHERE id = %s", (row_id,))
    for key in keys_of(row_id):
        migration.buckets.client.delete_object(Bucket=migration.buckets.source, Key=key)


def keys_of(row_id: int) -> tuple[str, str]:
    """The picture of an emoji, and one that stands still."""
    return key_of(row_id), key_of(row_id).replace("/original/", "/static/")


def key_of(row_id: int) -> str:
    return f"custom_emojis/images/000/{row_id // 1000}/{row_id % 1000:03}/original/new.png"


def blocks(guide: str = "guide.md") -> list[tuple[int, list[str]]]:
    """The commands of each block of the guide, and the exit code of its last one."""
    text = (DOCS / guide).read_text(encoding="utf-8")
    return [
        (int(code or 0), [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")])
        for code, block in re.findall(r"^```console(?: exit=(\d+))?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def test_every_block_of_the_guide_has_commands() -> None:
    assert len(blocks()) > 10
    assert all(commands for _, commands in blocks())


def test_the_guide_has_the_same_commands_in_japanese() -> None:
    assert blocks("ja/guide.md") == blocks()


def told(steps: list[Step]) -> list[str]:
    """What is to be done and the commands that do it, in their order; but for one that has the lines of a file."""
    words = chain.from_iterable((step.what, *step.lines) for step in steps)
    return [each for each in words if "/etc/nginx/snippets" not in each or "include" in each]


OLD = StoreIdentity("https://s3.example.com", "old-media", "")
OLD_FOLDER = StoreIdentity.of_folder(Path(MASTODON, "public/system"))


@pytest.mark.parametrize(
    "way",
    [{}, {"from_folder": True, "system": "location …"}, {"public": False}],
    ids=["bucket to bucket", "from a disk", "to a disk"],
)
@pytest.mark.parametrize(("code", "guide", "day"), [("en", "guide.md", "Day 13"), ("ja", "ja/guide.md", "13 日目")])
def test_the_guide_and_the_screen_tell_the_same_steps(
    way: dict[str, object], code: str, guide: str, day: str, speak: Callable[[str], None]
) -> None:
    speak(code)
    env = Path(MASTODON) / ".env.production"
    steps = Switchover(
        CommandLine(),
        ("cutover", "--media-host", "files.social.example"),
        env=env,
        env_kept=env.with_name(".env.production.before"),
        host="files.social.example",
        old=str(OLD_FOLDER if way.get("from_folder") else OLD),
        secrets=None if way.get("from_folder") else Path("config.secrets"),
        **way,  # type: ignore[arg-type]
    )
    text = " ".join((DOCS / guide).read_text(encoding="utf-8").split(f"## {day}")[1].split())
    at = 0
    for words in told(switchover_steps(steps)):
        found = text.find(words, at)
        assert found >= 0 or (words in text and way), words
        at = max(at, found) if not way else at


def editor_that_fills_in(folder: Path, values: dict[str, dict[str, str]]) -> Path:
    """A program that edits files as an admin does: file → key → value."""
    (folder / "editor.py").write_text(EDITOR.format(values=values))
    editor = folder / "editor"
    editor.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$0.py" "$@"\n')
    editor.chmod(0o700)
    return editor


@pytest.mark.timeout(600)
def test_the_guide_leads_from_the_first_look_to_the_report(
    tmp_path: Path,
    new_migration: MigrationFactory,
    moto_buckets: BucketPair,
    fault_proxy: Callable[..., FaultProxy],
) -> None:
    buckets = moto_buckets
    migration = new_migration(buckets, own_source=True, missing=3)
    live = tmp_path / "live"
    migration.site.config.unlink()
    live.mkdir()
    store = replace(
        buckets.address, endpoint_url=fault_proxy(buckets.address.endpoint_url, takes_only("old")).endpoint_url
    )
    address = replace(store, access_key="old", secret_key="secret-of-old")
    env = ENV.format(database=migration.database, store=address, bucket=buckets.source)
    (live / ".env.production").write_text(env)
    values = {
        "access_key": "new",
        "secret_key": "secret-of-new",
        "endpoint_url": fault_proxy(buckets.address.endpoint_url, takes_only("new")).endpoint_url,
        "bucket": buckets.destination,
    }
    third = f"{buckets.destination}-of-another"  # of the second migration
    buckets.client.create_bucket(Bucket=third)
    next_values = {
        "access_key": "third",
        "secret_key": "secret-of-third",
        "endpoint_url": buckets.address.endpoint_url,
        "bucket": third,
    }
    editor = editor_that_fills_in(tmp_path, {"config.ini": values, "second.ini": next_values})
    secrets = ("secret-of-old", "secret-of-new", "secret-of-third", migration.database.password)
    paths = {MASTODON: str(live), "/srv/mastosync": str(tmp_path / "srv")}
    shell = Shell(migration.site, tmp_path, secrets, {"EDITOR": str(editor)}, paths)
    deleted = 700_003, 700_004  # before the last plan, and between it and the switch

    def switched() -> None:
        """Somebody uploads in the last moment, and somebody as soon as Mastodon is back."""
        upload(migration, buckets.source, 700_005)
        upload(migration, buckets.destination, 700_002)

    life: dict[str, Callable[[], object]] = {
        "mastosync follow --once": lambda: upload(migration, buckets.source, 700_001, *deleted),
        "mastosync verify": lambda: delete(migration, deleted[0]),
        "mastosync cutover": lambda: delete(migration, deleted[1]),
        "systemctl restart mastodon-sidekiq mastodon-web": switched,
    }
    for code, commands in blocks():
        for command in commands:
            if command in life:
                life.pop(command)()
            shell.run(command, code if command == commands[-1] else 0)
    folder = migration.site.folder
    reports = ("report.txt", "report.json", "report.html")
    written = ("mastodon-media.conf", "mastodon-media-cache.conf", "before-cutover.db", "failed.jsonl")
    for name in (*reports, *written):
        assert (folder / name).stat().st_size, name
    assert len((folder / "failed.jsonl").read_text().splitlines()) == 3
    assert not life
    assert f"S3_BUCKET={buckets.destination}\n" in (live / ".env.production").read_text()
    for row in deleted:
        listed = buckets.client.list_objects_v2(Bucket=buckets.destination, Prefix=key_of(row))
        assert not listed["KeyCount"], "what was deleted is nowhere to be read"
    emojis = [line for line in migration.site.listed("--type", "custom_emojis") if line["id"] // 1000 == 700]
    states = {line["id"]: (line["state"], line["origin"]) for line in emojis if line["style"] == "original"}
    assert states.pop(700_003)[0] == states.pop(700_004)[0] == "skipped"
    assert states == {700_001: ("done", "copied"), 700_002: ("done", "adopted"), 700_005: ("done", "copied")}
    for bucket in (buckets.destination, third):
        for each in emojis:
            buckets.client.delete_object(Bucket=bucket, Key=each["key"])
        assert_holds(buckets.client, bucket, migration.instance.at_destination())
    assert f"bucket = {buckets.source}\n" in (folder / "back.ini").read_text().partition("[s3.destination]")[2]
    assert json.loads((folder / "report.json").read_text())["verdict"]["may_go"]
