"""Credentials from wherever an admin keeps them, at a store that checks signatures."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.addresses import S3Address
from lab.buckets import BucketPair
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.site import Site, shown

ROLES = ("SOURCE", "DESTINATION")
WAYS = ("config", "environment", "files", "aws-environment", "aws-profile", "aws-default-profile", "aws-process")


@pytest.fixture
def migration(buckets: BucketPair, new_migration: MigrationFactory, tmp_path: Path) -> Migration:
    """A small instance, planned; the home of whoever migrates it is empty."""
    migration = new_migration(buckets, accounts=2, media=2, missing=0)
    home = tmp_path / "home"
    home.mkdir()
    migration.site.environ.update({"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"})
    migration.site.run("plan")
    return migration


def keep(site: Site, way: str, address: S3Address, secret: str) -> None:
    """Give both stores' credentials in one way and no other."""
    key, environ, home = address.access_key, site.environ, Path(site.environ["HOME"])
    for role in ("s3.source", "s3.destination"):
        for name in ("access_key", "secret_key"):
            site.sections[role].pop(name)
    if way == "config":
        pair = {"access_key": key, "secret_key": secret}
        site.configure(s3_source=pair, s3_destination=pair)
        return
    site.configure()
    aws = f"aws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    if way == "environment":
        for role in ROLES:
            environ |= {f"MASTOSYNC_S3_{role}_ACCESS_KEY": key, f"MASTOSYNC_S3_{role}_SECRET_KEY": secret}
    elif way == "files":
        for name, text in (("ACCESS_KEY", key), ("SECRET_KEY", secret)):
            file = home / name.lower()
            file.touch(mode=0o600)
            file.write_text(text + "\n")  # as every editor and `echo` ends it
            environ |= {f"MASTOSYNC_S3_{role}_{name}_FILE": str(file) for role in ROLES}
    elif way == "aws-environment":
        environ |= {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    elif way == "aws-profile":
        (home / ".aws").mkdir()
        (home / ".aws" / "credentials").write_text(f"[default]\n{aws.replace(key, 'another')}\n[media]\n{aws}")
        environ["AWS_PROFILE"] = "media"
    elif way == "aws-default-profile":
        (home / ".aws").mkdir()
        (home / ".aws" / "credentials").write_text(f"[default]\n{aws}")
    else:
        (home / ".aws").mkdir()
        script = home / "credentials.sh"
        script.write_text(
            f'#!/bin/sh\necho \'{{"Version": 1, "AccessKeyId": "{key}", "SecretAccessKey": "{secret}"}}\'\n'
        )
        script.chmod(0o700)
        (home / ".aws" / "config").write_text(f"[default]\ncredential_process = {script}\n")


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_works_with_credentials_from(migration: Migration, seaweed: S3Address, way: str) -> None:
    keep(migration.site, way, seaweed, seaweed.secret_key)
    done = migration.site.run("copy", code=None)
    assert migration.site.status()["totals"]["done"] == len(migration.instance.present), shown(done)
    assert seaweed.secret_key not in done.stdout + done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_wrong_ones_end_with_a_remedy(migration: Migration, seaweed: S3Address, way: str) -> None:
    keep(migration.site, way, seaweed, "marked-wrong-secret")
    refused = migration.site.run("--debug", "copy", code=7)
    assert "secret_key" in refused.stderr, shown(refused)
    assert "marked-wrong-secret" not in refused.stdout + refused.stderr
    assert migration.site.status()["totals"]["failed"] == 0


def test_none_at_all_end_with_a_remedy(migration: Migration, seaweed: S3Address) -> None:
    keep(migration.site, "environment", seaweed, "unused")
    for name in [name for name in migration.site.environ if name.startswith("MASTOSYNC_")]:
        del migration.site.environ[name]
    refused = migration.site.run("copy", code=7)
    assert "no usable credentials" in refused.stderr
    assert "access_key" in refused.stderr


def test_a_file_that_is_not_there_is_told_without_its_name(migration: Migration, seaweed: S3Address) -> None:
    """Somebody may have put the secret itself where the name of the file belongs."""
    keep(migration.site, "files", seaweed, seaweed.secret_key)
    migration.site.environ["MASTOSYNC_S3_SOURCE_SECRET_KEY_FILE"] = "marked-wrong-secret"
    refused = migration.site.run("--debug", "copy", code=4)
    assert "MASTOSYNC_S3_SOURCE_SECRET_KEY_FILE" in refused.stderr
    assert "marked-wrong-secret" not in refused.stderr


def test_the_password_of_the_database_may_lie_in_a_file(migration: Migration) -> None:
    site = migration.site
    file = site.folder / "password"
    file.touch(mode=0o600)
    file.write_text(site.sections["pg.database"].pop("password") + "\r\n")
    site.configure()
    site.environ["MASTOSYNC_PG_DATABASE_PASSWORD_FILE"] = str(file)
    site.run("plan")
    file.write_text("marked-wrong-secret\n")
    refused = site.run("--debug", "plan", code=5)
    assert "password" in refused.stderr
    assert "marked-wrong-secret" not in refused.stderr
