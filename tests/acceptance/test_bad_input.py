"""Everything a user can get wrong ends with a clear text, the exit code of the table, and no traceback."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.addresses import DatabaseAddress, S3Address
from lab.buckets import BucketPair
from mastosync.manifest import Manifest
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.raw_server import RawServer, answer
from tests.support.site import NOWHERE, Site, pg_section, python_module, s3_section, shown

SECRETS = ("marked-secret", "marked-password")


def assert_clear(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The exit code, a text that holds these words, a hint, and neither a traceback nor a secret."""
    told = done.stdout + done.stderr
    assert done.returncode == code, shown(done)
    assert "Traceback" not in told
    assert not [secret for secret in SECRETS if secret in told]
    assert not [word for word in words if word.lower() not in told.lower()], shown(done)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A complete configuration of things that are not there."""
    return Site(tmp_path).configure(
        s3_source=s3_section(NOWHERE, "old-media"),
        s3_destination=s3_section(NOWHERE, "new-media"),
        pg_database={"host": "127.0.0.1", "port": "9", "password": "marked-password"},
    )


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses connections for as long as the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def planned_site(site: Site) -> Site:
    """A site whose manifest was planned for the stores of its configuration."""
    _plan_for(site)
    return site


def _plan_for(site: Site, *, count: int = 1) -> None:
    """Plan without a database: what is under test here comes after it."""
    stores = {role: site.sections[f"s3.{role}"] for role in ("source", "destination")}
    with planned(site.manifest, [entry(number) for number in range(count)]) as manifest, manifest.transaction() as sql:
        for role, keys in stores.items():
            identity = (
                f'{{"endpoint": "{keys["endpoint_url"]}", "bucket": "{keys["bucket"]}", '
                f'"key_prefix": "{keys.get("key_prefix", "")}"}}'
            )
            sql.execute("UPDATE meta SET value = ? WHERE name = ?", (identity, role))


# --- the command line: 2 ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["copy", "--workers", "0"], ["--workers", "0"]),
        (["copy", "--workers", "many"], ["--workers", "many"]),
        (["plan", "--type", "toots"], ["toots", "media_attachments"]),
        (["plan", "--only", "some"], ["some", "local"]),
        (["plan", "--limit", "0"], ["--limit"]),
        (["ls", "--state", "lost"], ["lost", "pending"]),
        (["retry-failed", "--reason", "gone"], ["gone", "missing"]),
        (["cpoy"], ["cpoy"]),
    ],
)
def test_a_wrong_command_line_is_explained(site: Site, arguments: list[str], words: list[str]) -> None:
    assert_clear(site.run(*arguments, code=None), 2, *words)


def test_python_m_is_the_same_command(site: Site) -> None:
    done = subprocess.run([*python_module(), "--version"], capture_output=True, text=True, check=True, cwd=site.folder)
    assert done.stdout == site.run_installed("--version").stdout


# --- the configuration: 4 ---


def test_no_configuration_names_the_places_looked_at_and_init(tmp_path: Path) -> None:
    done = Site(tmp_path).run_installed("plan", code=None)
    assert_clear(done, 4, "config.ini", "mastosync init", "MASTOSYNC_CONFIG")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not an ini file", ["config.ini"]),
        ("[s3.source]\nbukcet = x\n", ["bukcet", "bucket"]),
        ("[s3.sauce]\nbucket = x\n", ["s3.sauce", "s3.source"]),
        ("[copy]\nworkers = 0\n", ["workers", "0"]),
        ("[s3.source]\nbucket = b\naccess_key = k\n", ["secret_key"]),
        ("[s3.source]\nsecret_key\n  marked-secret\n", ["config.ini"]),
    ],
)
def test_a_broken_configuration_names_the_place_and_the_remedy(tmp_path: Path, text: str, words: list[str]) -> None:
    site = Site(tmp_path)
    site.config.write_text(text)
    assert_clear(site.run("plan", code=None), 4, *words)


def test_an_explicit_configuration_that_is_not_there(site: Site) -> None:
    assert_clear(site.run("-c", "other.ini", "status", code=None), 4, "other.ini")


def test_source_and_destination_must_differ(site: Site) -> None:
    site.configure(s3_destination={"bucket": "old-media"})
    assert_clear(site.run("plan", code=None), 4, "same", "old-media")


def test_a_configuration_that_others_can_read_gets_a_warning(planned_site: Site) -> None:
    planned_site.config.chmod(0o644)
    done = planned_site.run("status")
    assert "chmod 600" in done.stderr


def test_init_writes_a_file_that_only_its_owner_reads_and_never_overwrites(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.run("init")
    assert site.config.stat().st_mode & 0o777 == 0o600
    assert_clear(site.run("init", code=None), 2, "exists")
    assert_clear(site.run("plan", code=None), 4, "CHANGE-ME")


# --- the database: 5 ---


def test_a_database_that_is_down(site: Site, closed_port: int) -> None:
    site.configure(pg_database={"port": str(closed_port)})
    assert_clear(site.run("plan", code=None), 5, "127.0.0.1", str(closed_port), "refused")
    assert not Manifest.open(site.manifest).kinds()


def test_a_database_host_that_does_not_exist(site: Site) -> None:
    site.configure(pg_database={"host": "no-such-host.invalid"})
    assert_clear(site.run("plan", code=None), 5, "no-such-host.invalid")


def test_a_wrong_database_password(site: Site, database: DatabaseAddress) -> None:
    site.configure(pg_database=pg_section(database) | {"password": "marked-password"})
    assert_clear(site.run("plan", code=None), 5, "password", database.user)


def test_a_database_without_mastodon_tables(site: Site, database: DatabaseAddress) -> None:
    site.configure(pg_database=pg_section(database))
    assert_clear(site.run("plan", code=None), 5, "no Mastodon tables", database.name)
    for command in ("copy", "status", "ls", "retry-failed"):
        assert_clear(site.run(command, code=None), 6, "no plan")


# --- the manifest: 6 ---


@pytest.mark.parametrize("command", [["copy"], ["status"], ["retry-failed"], ["ls"]])
def test_no_plan_yet(site: Site, command: list[str]) -> None:
    assert_clear(site.run(*command, code=None), 6, "mastosync.db", "mastosync plan")


@pytest.mark.parametrize("command", [["plan"], ["copy"], ["status"], ["ls"]])
def test_a_manifest_that_is_no_sqlite_file(site: Site, command: list[str]) -> None:
    site.manifest.write_bytes(b"certainly not a database, but long enough to look like a file " * 20)
    before = site.manifest.read_bytes()
    assert_clear(site.run(*command, code=None), 6, "mastosync.db", "not a SQLite database")
    assert site.manifest.read_bytes() == before


@pytest.mark.parametrize("command", [["plan"], ["status"]])
def test_a_sqlite_file_of_something_else(site: Site, command: list[str]) -> None:
    with sqlite3.connect(site.manifest) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    assert_clear(site.run(*command, code=None), 6, "another program")


@pytest.mark.parametrize("command", [["plan"], ["copy"], ["status"], ["ls"], ["retry-failed"]])
def test_a_manifest_of_a_newer_version(planned_site: Site, command: list[str]) -> None:
    connection = sqlite3.connect(planned_site.manifest)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    assert_clear(planned_site.run(*command, code=None), 6, "newer", "999", "upgrade")


@pytest.mark.parametrize(("role", "key"), [("source", "bucket"), ("destination", "bucket"), ("source", "key_prefix")])
def test_a_manifest_of_other_stores(planned_site: Site, role: str, key: str) -> None:
    planned_site.configure(**{f"s3_{role}": {key: "another"}})
    assert_clear(planned_site.run("copy", code=None), 6, role, "another", "belongs to another")
    assert_clear(planned_site.run("retry-failed", code=None), 6, "belongs to another")


def test_a_folder_that_does_not_exist(site: Site) -> None:
    assert_clear(site.run("--manifest", "no/such/m.db", "plan", code=None), 6, "no/such")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(site: Site) -> None:
    folder = site.folder / "locked"
    folder.mkdir(mode=0o500)
    assert_clear(site.run("--manifest", str(folder / "m.db"), "plan", code=None), 6, "locked", "writable")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="only Linux has a folder that nobody may write to")
def test_a_folder_that_nobody_may_write_to(site: Site) -> None:
    assert_clear(site.run("--manifest", "/proc/m.db", "plan", code=None), 6, "/proc/m.db")


# --- the stores: 7 ---


def test_a_wrong_secret(planned_site: Site, seaweed: S3Address, buckets: BucketPair) -> None:
    wrong = s3_section(seaweed, buckets.source) | {"secret_key": "marked-secret"}
    planned_site.configure(s3_source=wrong, s3_destination=s3_section(seaweed, buckets.destination))
    _plan_for_again(planned_site)
    assert_clear(planned_site.run("copy", code=None), 7, buckets.source, "secret_key", "source")


def test_an_unknown_access_key(planned_site: Site, seaweed: S3Address, buckets: BucketPair) -> None:
    wrong = s3_section(seaweed, buckets.destination) | {"access_key": "nobody"}
    planned_site.configure(s3_source=s3_section(seaweed, buckets.source), s3_destination=wrong)
    _plan_for_again(planned_site)
    assert_clear(planned_site.run("copy", code=None), 7, buckets.destination, "access_key", "destination")


def test_a_bucket_that_does_not_exist(planned_site: Site, seaweed: S3Address, buckets: BucketPair) -> None:
    missing = s3_section(seaweed, "no-such-bucket")
    planned_site.configure(s3_source=s3_section(seaweed, buckets.source), s3_destination=missing)
    _plan_for_again(planned_site)
    assert_clear(planned_site.run("copy", code=None), 7, "no-such-bucket", "does not exist")


def test_a_store_that_cannot_be_reached(planned_site: Site, closed_port: int) -> None:
    planned_site.configure(s3_source={"endpoint_url": f"http://127.0.0.1:{closed_port}"})
    _plan_for_again(planned_site)
    done = planned_site.run("copy", code=None)
    assert_clear(done, 7, f"127.0.0.1:{closed_port}", "old-media", "network")
    assert planned_site.status()["totals"]["pending"] == 1


def test_debug_shows_where_an_error_comes_from(site: Site) -> None:
    done = site.run("--debug", "copy", code=None)
    assert done.returncode == 6
    assert "Traceback" in done.stderr


def test_a_traceback_holds_no_secret(planned_site: Site) -> None:
    """A store that repeats the secret in its answer: our message is scrubbed, and so is what led to it."""
    echo = "<Error><Code>InvalidAccessKeyId</Code><Message>not marked-secret</Message></Error>"
    told = answer(403, echo.encode(), content_type="application/xml")
    with RawServer(lambda _: told) as server:
        planned_site.configure(s3_source={"endpoint_url": server.endpoint_url})
        _plan_for_again(planned_site)
        done = planned_site.run("--debug", "copy", code=7)
    assert "Traceback" in done.stderr
    assert "not ***" in done.stderr
    assert "marked-secret" not in done.stderr


def _plan_for_again(site: Site) -> None:
    for file in site.folder.glob("mastosync.db*"):
        file.unlink()
    _plan_for(site)
