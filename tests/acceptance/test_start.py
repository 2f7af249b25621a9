"""What a copy loads: boto3 takes longer than hundreds of objects, so it waits until somebody needs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.site import shown

IMPORTED = re.compile(r"^import time:.*\|\s*(\S+)$", re.MULTILINE)
BOTO3 = {"boto3", "botocore", "urllib3"}
LATE = {*BOTO3, "tqdm", "psycopg", "paramiko"}
"""Packages that take a while to load."""
COPY = ("--no-progress", "copy", "--type", "preview_cards", "--type", "imports")
"""Three small objects, each under its first key."""


@pytest.fixture
def planned(buckets: BucketPair, new_migration: MigrationFactory, tmp_path: Path) -> Migration:
    """The home and environment of somebody who has told the AWS SDK nothing.

    Something was copied: the first copy of a manifest looks whether the stores are two, which takes boto3.
    """
    migration = new_migration(buckets, missing=0)
    migration.site.environ["HOME"] = str(tmp_path)
    migration.site.run("plan")
    migration.site.run("copy", "--type", "custom_emojis", code=None)
    return migration


def loaded_by(migration: Migration, *arguments: str, expected: str = "pycurl") -> set[str]:
    """The packages of `LATE` that a command has loaded when it has ended well."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mastosync", *arguments],
        cwd=migration.site.folder,
        env=migration.site.environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, shown(done)
    loaded = {name.partition(".")[0] for name in IMPORTED.findall(done.stderr)}
    assert expected in loaded, "or there is nothing to be seen"
    return loaded & LATE


def all_done(migration: Migration) -> bool:
    """Whether all that `COPY` copies has arrived."""
    by_type = migration.site.status()["by_type"]
    return all(by_type[name]["done"] == by_type[name]["total"] > 0 for name in ("preview_cards", "imports"))


def test_an_ordinary_copy_of_small_objects_loads_no_boto3(planned: Migration) -> None:
    assert loaded_by(planned, *COPY) == set()
    assert all_done(planned)


def test_large_objects_are_left_to_boto3(planned: Migration) -> None:
    planned.site.configure(copy={"multipart_threshold": "1"})
    assert loaded_by(planned, *COPY) == BOTO3
    assert all_done(planned)


def test_so_is_the_way_to_the_stores_where_it_is_told_something(planned: Migration) -> None:
    planned.site.environ["AWS_CONFIG_FILE"] = "/dev/null"
    assert loaded_by(planned, *COPY) == BOTO3
    assert all_done(planned)


def test_nothing_of_it_is_loaded_where_there_is_nothing_to_copy(planned: Migration) -> None:
    planned.site.run(*COPY)
    assert loaded_by(planned, *COPY, expected="sqlite3") == set()
