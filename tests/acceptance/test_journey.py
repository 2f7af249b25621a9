"""There and back again: what the screen prints is done word for word, in the folder where it was printed.

Between the commands the world lives on: Mastodon uploads to the store that its settings name, and it reads them when it
is restarted. Each store takes its own key only.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.addresses import DatabaseAddress
from lab.buckets import BucketPair
from lab.faults import FaultProxy
from lab.instance_check import iter_keys
from lab.instance_objects import Instance
from mastosync.config.env_file import read_env_file
from tests.acceptance.conftest import MigrationFactory
from tests.acceptance.test_guide import ENV, add_emoji, key_of, keys_of, store_picture
from tests.support.bucket_checks import takes_only
from tests.support.media_folders import iter_files, lay_down
from tests.support.shell import Shell
from tests.support.site import Site
from tests.support.waiting import wait_until

HOST = "files.social.example"
STEP = re.compile(r"^  \d+\. (.*)$")
COMMAND_LINE = re.compile(r"^       (.*)$")


def steps_of(text: str, head: str) -> list[tuple[str, list[str]]]:
    """The steps below a line of the screen, each with its commands."""
    found: list[tuple[str, list[str]]] = []
    for line in text.split(f"\n{head}\n")[1].splitlines():
        if step := STEP.match(line):
            found.append((step[1], []))
        elif command := COMMAND_LINE.match(line):
            found[-1][1].append(command[1])
        else:
            break
    return found


Life = dict[str, Callable[[], object]]

OVER, BACK = "The steps, in this order:", "The way back, if you need it:"
LEFT = "The steps that are left:"


@dataclass
class World:
    """A Mastodon with its settings, and an admin in a folder with a shell."""

    site: Site
    database: DatabaseAddress
    buckets: BucketPair
    stores: dict[str, FaultProxy]  # by bucket
    instance: Instance
    tmp_path: Path
    settings: dict[str, str] = field(default_factory=dict)  # as Mastodon has read them when it was started
    uploaded: set[str] = field(default_factory=set)
    screen: str = ""
    report: str = ""  # the last one

    def __post_init__(self) -> None:
        self.shell = Shell(self.site, self.tmp_path, tuple(f"secret-of-{bucket}" for bucket in self.stores))
        self.restart()

    @property
    def env(self) -> Path:
        return self.tmp_path / "live" / ".env.production"

    def restart(self) -> None:
        """Mastodon reads its settings."""
        found = read_env_file(self.env, "dotenv", {})
        self.settings = {name: each.value.reveal() for name, each in found.variables.items() if each.value is not None}

    def upload(self, row_id: int) -> None:
        """Somebody adds an emoji, and Mastodon stores it where its settings say."""
        add_emoji(self.database, row_id)
        self.uploaded.add(key_of(row_id))
        for key in keys_of(row_id):
            self.store(key)

    def delete(self, row_id: int) -> None:
        """Somebody deletes an emoji; Mastodon deletes its pictures where its settings say."""
        with closing(self.database.connect(autocommit=True)) as connection:
            connection.execute("DELETE FROM custom_emojis WHERE id = %s", (row_id,))
        self.uploaded.discard(key_of(row_id))
        for key in keys_of(row_id):
            self.buckets.client.delete_object(Bucket=self.settings["S3_BUCKET"], Key=key)

    def store(self, key: str) -> None:
        if self.settings.get("S3_ENABLED") != "true":
            live = str(self.env.parent)
            path = Path(self.settings["PAPERCLIP_ROOT_PATH"].replace(":rails_root", live)) / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"new")
            return
        bucket = self.settings["S3_BUCKET"]
        assert self.settings["S3_ENDPOINT"] == self.stores[bucket].endpoint_url
        assert self.settings["AWS_ACCESS_KEY_ID"] == f"key-of-{bucket}"
        store_picture(self.buckets, bucket, key)

    def run(self, line: str, code: int = 0) -> str:
        """A command as it stands there."""
        self.screen = self.shell.run(line, code)
        if line.startswith("systemctl restart"):
            self.restart()
        if line.endswith(" report"):
            self.report = self.screen
        return self.screen

    def follow(self, steps: list[tuple[str, list[str]]], life: Life) -> None:
        """Do what was printed. `life`: what happens before the first command that begins so."""
        for _, commands in steps:
            for command in commands:
                for start in [start for start in life if command.startswith(start)]:
                    life.pop(start)()
                self.run(command)
        assert not life, "everything has happened"


@pytest.fixture
def world(
    tmp_path: Path,
    moto_buckets: BucketPair,
    new_migration: MigrationFactory,
    fault_proxy: Callable[..., FaultProxy],
) -> Iterator[World]:
    migration = new_migration(moto_buckets, own_source=True, accounts=2, media=2, missing=0)
    migration.site.config.unlink()
    stores = {
        bucket: fault_proxy(moto_buckets.address.endpoint_url, takes_only(f"key-of-{bucket}"))
        for bucket in (moto_buckets.source, moto_buckets.destination)
    }
    folder = tmp_path / "the admin's folder"
    folder.mkdir()
    (tmp_path / "live").mkdir()
    old = moto_buckets.source
    lines = ENV.format(database=migration.database, store=moto_buckets.address, bucket=old).splitlines()
    values = {
        "S3_ENDPOINT": stores[old].endpoint_url,
        "AWS_ACCESS_KEY_ID": f"key-of-{old}",
        "AWS_SECRET_ACCESS_KEY": f"secret-of-{old}",
        "S3_ALIAS_HOST": HOST,
    }
    kept = [line for line in lines if line.split("=")[0] not in values]
    text = "\n".join([*kept, *(f"{name}={value}" for name, value in values.items())]) + "\n"
    (tmp_path / "live" / ".env.production").write_text(text)
    yield World(Site(folder), migration.database, moto_buckets, stores, migration.instance, tmp_path)
    expected = migration.instance.at_destination().keys()
    assert set(iter_keys(moto_buckets.client, moto_buckets.destination)) >= expected


def without_cache_control(buckets: BucketPair) -> None:
    """As objects lie there that an old release of Mastodon, or another tool, has stored."""
    client, bucket = buckets.client, buckets.source
    for key in iter_keys(client, bucket):
        grants = client.get_object_acl(Bucket=bucket, Key=key)["Grants"]
        is_public = any("AllUsers" in each["Grantee"].get("URI", "") for each in grants)
        client.copy_object(
            Bucket=bucket,
            Key=key,
            CopySource={"Bucket": bucket, "Key": key},
            MetadataDirective="REPLACE",
            ContentType=client.head_object(Bucket=bucket, Key=key)["ContentType"],
            ACL="public-read" if is_public else "private",
        )


def begin(world: World, new: str) -> None:
    """From the first look to the day of the switch, as the guide has it; the destination is filled in."""
    world.run(f"mastosync init --from-env {shlex.quote(str(world.env))}")
    config = world.site.config
    section = {
        "endpoint_url": world.stores[new].endpoint_url,
        "bucket": new,
        "access_key": f"key-of-{new}",
        "secret_key": f"secret-of-{new}",
    }
    head, name, rest = config.read_text().partition("[s3.destination]")
    for key, value in section.items():
        rest = re.sub(rf"^{key} = CHANGE-ME$", f"{key} = {value}", rest, count=1, flags=re.MULTILINE)
    config.write_text(head + name + rest)
    for command in ("plan", "copy", "verify", "verify --public"):
        world.run(f"mastosync {command}")


@pytest.mark.timeout(600)
def test_from_a_bucket_to_another_and_back(world: World) -> None:
    old, new = world.buckets.source, world.buckets.destination
    without_cache_control(world.buckets)
    before = world.env.read_text()
    begin(world, new)
    told = world.run("mastosync cutover", 3)
    assert "mastosync pin-secrets" in told, "not before the keys of the old store are kept"
    world.run("mastosync pin-secrets")
    told = world.run("mastosync cutover")
    life: Life = {
        "systemctl restart": lambda: world.upload(700_001),  # to the old store, in the last moment
        "mastosync plan": lambda: world.upload(700_002),  # to the new one
    }
    world.follow(steps_of(told, OVER), life)
    assert f"THE OLD STORE MAY BE DELETED: bucket '{old}' at " in world.report
    assert world.settings["S3_BUCKET"] == new
    assert secrets_left(world) == []
    assert uploads(world, new) == world.uploaded

    world.upload(700_003)
    world.delete(700_001)
    again = world.run("mastosync cutover")
    assert "already uses the new store" in again
    left = [command for _, commands in steps_of(again, LEFT) for command in commands]
    assert [command.split()[0] for command in left] == ["sed", "mastosync"], "all is done but the end"
    *bring, over, orphaned = steps_of(again, BACK)
    world.follow(bring, {})
    (over_again,) = over[1]
    life = {
        "systemctl restart": lambda: world.upload(700_004),
        "mastosync -c back.ini --manifest back.db plan": lambda: world.upload(700_005),
    }
    told = world.run(over_again)
    assert "\nGO: " in told
    assert f"delete bucket '{new}' at " in told, "the old bucket is the one that is live by then"
    world.follow(steps_of(told, OVER), life)
    assert f"THE OLD STORE MAY BE DELETED: bucket '{new}' at " in world.report
    world.follow([orphaned], {"mastosync orphans": world.site.long_after})  # it passes over what has just come
    assert set(keys_of(700_001)) <= set(world.screen.splitlines()), "what was deleted meanwhile is told"
    assert world.settings["S3_BUCKET"] == old
    assert uploads(world, old) == world.uploaded | {key_of(700_001)}
    lost = {"S3_HOSTNAME", "S3_PROTOCOL"}  # they are said in another way now, or said at all
    assert {line for line in before.splitlines() if line.split("=")[0] not in lost} - {
        "# This is a file as Mastodon's own setup writes it."
    } <= set(world.env.read_text().splitlines())


@pytest.mark.timeout(600)
def test_from_a_disk_to_a_bucket_and_back(world: World) -> None:
    new, media = world.buckets.destination, world.tmp_path / "live" / "public" / "system"
    media.mkdir(parents=True)
    lay_down(media, world.instance.at_source().values())
    world.shell.run(f"chown -R 4242:4242 {shlex.quote(str(media))}")  # Mastodon's user, and mastosync is root
    lines = world.env.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("S3_", "AWS_"))]
    world.env.write_text("\n".join([*kept, "PAPERCLIP_ROOT_PATH=:rails_root/public/system"]) + "\n")
    world.restart()
    begin(world, new)
    assert "CHANGE-ME" in world.run("mastosync cutover", 3), "nobody knows what browsers will ask"
    told = world.run(f"mastosync cutover --media-host {HOST}")
    assert "THE OLD FOLDER" in told
    assert "pin-secrets" not in told, "the database's password stays as it is"
    life: Life = {
        "systemctl restart": lambda: world.upload(700_001),
        "mastosync plan": lambda: world.upload(700_002),
    }
    world.follow(steps_of(told, OVER), life)
    assert "THE OLD FOLDER MAY BE DELETED" in world.report
    assert uploads(world, new) == world.uploaded

    world.upload(700_003)
    again = world.run("mastosync cutover")
    *bring, over, _ = steps_of(again, BACK)
    world.follow(bring, {})
    (over_again,) = over[1]
    life = {
        "systemctl restart": lambda: world.upload(700_004),
        "mastosync -c back.ini --manifest back.db plan": lambda: world.upload(700_005),
    }
    told = world.run(over_again)
    assert "Add the new folder to your backups" in told
    world.follow(steps_of(told, OVER), life)
    assert world.settings["S3_ENABLED"] == "false"
    assert set(iter_files(media)) >= world.uploaded | world.instance.at_source().keys()
    assert secrets_left(world) == []


def secrets_left(world: World) -> list[str]:
    """Files of settings that the steps have written, and not removed."""
    return [each.name for each in (*world.site.folder.glob("env.*"), *world.env.parent.glob(".env.production?*"))]


def uploads(world: World, bucket: str) -> set[str]:
    listed = world.buckets.client.list_objects_v2(Bucket=bucket, Prefix="custom_emojis/images/000/700/")
    return {each["Key"] for each in listed.get("Contents", ()) if "/original/" in each["Key"]}


def test_who_has_not_kept_the_keys_is_told_so(world: World) -> None:
    """The settings were changed by hand, and the keys of the old store are gone from them."""
    new = world.buckets.destination
    begin(world, new)
    text = world.env.read_text().replace(f"-of-{world.buckets.source}", f"-of-{new}")
    world.env.write_text(text)
    refused = world.site.run("plan", code=0) and world.site.run("copy", code=None)
    world.upload(700_001)
    world.site.run("plan")
    refused = world.site.run("copy", code=7)
    assert "are the keys of the destination now" in refused.stderr
    assert "[s3.source]" in refused.stderr
    assert json.loads(world.site.run("status", "--json").stdout)["totals"]["failed"] == 0


@pytest.mark.timeout(600)
def test_who_has_changed_the_settings_by_hand_is_led_to_the_end(world: World) -> None:
    """They name the new store, with keys that are neither the old ones nor those of the configuration."""
    old, new = world.buckets.source, world.buckets.destination
    begin(world, new)
    text = world.env.read_text().replace(f"-of-{old}", "-of-somebody").replace(f"S3_BUCKET={old}", f"S3_BUCKET={new}")
    world.env.write_text(text.replace(world.stores[old].endpoint_url, world.stores[new].endpoint_url))
    told = world.run("mastosync cutover", 3)
    assert "pin-secrets" not in told, "these keys would be kept as those of the old store"
    assert "write access_key and secret_key of the old store under [s3.source]" in told
    config = world.site.config.read_text()
    for name, value in (("AWS_ACCESS_KEY_ID", f"key-of-{old}"), ("AWS_SECRET_ACCESS_KEY", f"secret-of-{old}")):
        config = config.replace(f"env:{name}", value)
    world.site.config.write_text(config)
    changed = world.env.stat().st_ctime
    wait_until(lambda: int(time.time()) > changed, "an upload is of a later second")
    world.upload(700_001)  # and nobody has restarted Mastodon
    for command in ("plan", "copy", "verify --public", "report"):  # the first emoji of all
        world.run(f"mastosync {command}")
    assert "still runs with the old settings" in world.report
    told = world.run("mastosync cutover")
    world.follow(steps_of(told, LEFT), {"mastosync plan": lambda: world.upload(700_002)})
    assert world.settings["AWS_ACCESS_KEY_ID"] == f"key-of-{new}", "a step has put right what differed"
    assert "still runs with the old settings" not in world.report
    assert uploads(world, new) == world.uploaded
    assert "THE OLD STORE MAY BE DELETED" in world.report
    assert secrets_left(world) == []
    assert "nothing has to change" in world.run("mastosync cutover")
