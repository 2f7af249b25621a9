"""The cut-over of a small instance: from no-go to go, over, and back again."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.buckets import BucketPair
from lab.certificates import certificate
from lab.faults import FaultProxy
from lab.nginx import NginxServer, why_no_nginx
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import takes_only
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.site import COMMAND, NOWHERE, Site, s3_section


@pytest.fixture
def migration(
    moto_buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy]
) -> Migration:
    migration = new_migration(moto_buckets, own_source=True, accounts=6, media=8, missing=0, all_oddities=True)
    address = moto_buckets.address
    migration.through(destination=fault_proxy(address.endpoint_url, takes_only(address.access_key)).endpoint_url)
    migration.site.run("plan")
    return migration


@pytest.fixture
def offline(tmp_path: Path) -> Site:
    """A site with a plan of two objects, whose stores nobody asks."""
    stores = {role: s3_section(NOWHERE, f"{role}-media") for role in ("source", "destination")}
    site = Site(tmp_path).configure(s3_source=stores["source"], s3_destination=stores["destination"])
    with planned(site.manifest, [entry(1), entry(2)]) as manifest, manifest.transaction() as sql:
        for role in stores:
            identity = {"endpoint": NOWHERE.endpoint_url, "bucket": f"{role}-media", "key_prefix": ""}
            sql.execute("UPDATE meta SET value = ? WHERE name = ?", (json.dumps(identity), role))
    return site


def cutover(site: Site, *arguments: str, code: int = 0, host: str = "files.social.example") -> dict[str, Any]:
    named = ("--media-host", host, *arguments) if host else arguments
    found: dict[str, Any] = json.loads(site.run("cutover", "--json", *named, code=code).stdout)
    return found


def grades(found: dict[str, Any]) -> dict[str, str]:
    return {each["check"]: each["status"] for each in found["findings"]}


def in_shell(site: Site, command: str) -> None:
    """A command as it was told, word for word."""
    path = f"{COMMAND.parent}:{os.environ['PATH']}"
    environ = {**site.environment(), "PATH": path}
    subprocess.run(command, shell=True, cwd=site.folder, env=environ, check=True, capture_output=True)  # noqa: S602


def test_it_is_go_when_all_that_is_of_this_server_has_arrived(migration: Migration) -> None:
    site = migration.site
    found = cutover(site, code=3)
    assert found["verdict"] == "no-go"
    assert grades(found) == {
        "pending": "no-go",
        "cache": "warning",
        "failed": "ok",
        "lost": "warning",
        "apart": "no-go",
        "plan": "ok",
        "gone": "ok",
        "verify": "no-go",
        "public": "no-go",
    }
    assert "NO-GO: do not switch yet" in site.run("cutover", code=3).stdout
    own = sum(not entry["key"].startswith("cache/") for entry in site.listed("--state", "pending"))
    site.run("copy", "--limit", str(own))  # which begins with what is of this server
    assert cutover(site, code=3)["verdict"] == "no-go", "nobody has looked whether it is there"
    site.run("verify")
    assert cutover(site, code=3)["verdict"] == "no-go", "nobody has tried to read it"
    site.run("verify", "--public", code=None)
    found = cutover(site)
    assert found["verdict"] == "go-with-fallback"
    assert grades(found)["cache"] == "warning"
    assert "GO, with the fallback" in site.run("cutover", "--media-host", "files.social.example").stdout
    site.run("copy")
    site.run("verify")
    found = cutover(site)
    assert found["verdict"] == "go"
    assert grades(found)["verify"] == "ok"


def test_the_lines_of_mastodon_are_those_that_have_to_change(offline: Site) -> None:
    site = offline
    (site.folder / ".env.production").write_text(
        "# Mastodon\nLOCAL_DOMAIN=social.example\nS3_ENABLED=true\nS3_BUCKET=old\nS3_CLOUDFRONT_HOST=d1.example.net\n"
        f"export S3_ALIAS_HOST='media.social.example'\nAWS_SECRET_ACCESS_KEY={NOWHERE.secret_key}\n"
    )
    found = cutover(site, "--env", ".env.production", code=3, host="")
    settings = {each["name"]: each["value"] for each in found["settings"]}
    assert settings == {
        "S3_BUCKET": "destination-media",
        "S3_REGION": "us-east-1",
        "S3_ENDPOINT": "http://127.0.0.1:9",
        "S3_PROTOCOL": "https",
        "S3_HOSTNAME": "127.0.0.1:9",
        "S3_CLOUDFRONT_HOST": None,
        "S3_PERMISSION": "public-read",
        "AWS_ACCESS_KEY_ID": None,  # a secret
    }
    assert found["media_host"] == "media.social.example"
    assert found["cors"]["CORSRules"][0]["AllowedOrigins"] == ["https://social.example"]
    told = site.run("cutover", "--env", ".env.production", code=3)
    assert "AWS_ACCESS_KEY_ID=<access_key of [s3.destination]>" in told.stdout
    assert "without these lines: S3_CLOUDFRONT_HOST" in told.stdout
    (site.folder / "link").symlink_to(".env.production")
    for option in ("--new-env", "--nginx"):
        refused = site.run("cutover", "--env", ".env.production", option, "link", "--force", code=2)
        assert "link holds Mastodon's settings as they are" in refused.stderr
    refused = site.run("cutover", "--env", "nowhere", code=4)
    assert "nowhere cannot be read" in refused.stderr


def test_the_media_host_is_one_that_nginx_takes(offline: Site, tmp_path: Path) -> None:
    site = offline
    asked = ("cutover", "--media-host", "files.social.example", "--source-url", "https://old.example/media")
    site.run(*asked, "--nginx", "media.conf", code=3)
    text = (site.folder / "media.conf").read_text()
    assert site.run(*asked, "--nginx", "-", code=3).stdout.strip() == text.strip()
    assert "https://old.example/media/$mastodon_media_files_social_example;" in text
    assert "http://127.0.0.1:9/destination-media/$mastodon_media_files_social_example;" in text
    refused = site.run(*asked, "--nginx", "media.conf", code=2)
    assert "exists already" in refused.stderr
    assert "--force replaces this one" in refused.stderr
    again = ("cutover", "--media-host", "other.social.example:8443", *asked[3:], "--nginx", "media.conf", "--force")
    site.run(*again, code=3)
    replaced = (site.folder / "media.conf").read_text()
    other = text.replace("files.social.example/", "other.social.example/")  # of the certificate, which has no port
    other = other.replace("server_name files", "server_name other").replace(":443 ssl", ":8443 ssl")
    other = other.replace(" 443 ssl", " 8443 ssl").replace("files_social_example", "other_social_example_8443")
    assert replaced == other.replace("files.social.example", "other.social.example-8443").replace(
        "server_name other.social.example-8443", "server_name other.social.example"
    )
    assert (site.folder / "media.conf").stat().st_mode & 0o777 == 0o644
    refused = site.run(*again, "--source-url", "https://old.example/$x", code=2)
    assert "cannot be written for nginx" in refused.stderr
    assert (site.folder / "media.conf").read_text() == replaced, "whole, or not at all"
    refused = site.run("cutover", "--media-host", "old.example", *asked[3:], "--nginx", "other.conf", code=2)
    assert "would ask itself" in refused.stderr
    assert not (site.folder / "other.conf").exists()
    refused = site.run("cutover", "--media-host", "CHANGE-ME", code=2)
    assert "still CHANGE-ME" in refused.stderr
    if why_no_nginx():
        pytest.skip(why_no_nginx())
    pem = certificate(tmp_path, "files.social.example", days=10)
    for there, here in (
        ("/etc/letsencrypt/live/files.social.example/fullchain.pem", pem),
        ("/etc/letsencrypt/live/files.social.example/privkey.pem", pem),
        ("/var/cache/mastodon-media-files.social.example", tmp_path / "cache"),
        ("/var/log/nginx/mastodon-media-files.social.example-fallback.log", tmp_path / "fallback.log"),
    ):
        assert f'"{there}"' in text or f" {there}" in text
        text = text.replace(there, str(here))
    server = NginxServer(tmp_path / "nginx", text, 443)
    looked = subprocess.run([*server.command, "-t"], capture_output=True, text=True, check=False)
    assert looked.returncode == 0 or "bind() to" in looked.stderr, looked.stderr  # who is not root has no port 443


def test_the_way_back_brings_what_was_written_since(migration: Migration) -> None:
    """With the commands that were told. What the new store alone has is what Mastodon has written there."""
    site, buckets = migration.site, migration.buckets
    site.configure(s3_destination={"acl": "auto", "cache_control": "max-age=1"})
    site.run("copy")
    (entry, *_) = site.listed("--type", "media_attachments", "--state", "done")
    buckets.client.delete_object(Bucket=buckets.source, Key=entry["key"])
    exchange, bring, over, _ = cutover(site, code=3)["back"]
    for command in (*exchange["commands"], *bring["commands"]):
        if not command.endswith(("doctor", "--public")):  # as anybody may list what moto has
            in_shell(site, command)
    read = buckets.client.get_object(Bucket=buckets.source, Key=entry["key"])
    with read["Body"] as body:
        assert len(body.read()) == entry["size"]
    assert (site.folder / "back.ini").stat().st_mode & 0o077 == 0
    back = json.loads(site.run("-c", "back.ini", "--manifest", "back.db", "status", "--json").stdout)
    assert back["totals"]["pending"] == back["totals"]["failed"] == 0
    origins = {each["origin"] for each in back_entries(site)}
    assert origins == {"adopted", "copied"}
    (command,) = over["commands"]
    site.run(*shlex.split(command)[1:], "--nginx", "back.conf", code=3)
    text = (site.folder / "back.conf").read_text()
    assert f"/{buckets.source}/$mastodon_media" in text.split("location @old")[0]


def back_entries(site: Site) -> list[dict[str, Any]]:
    done = site.run("-c", "back.ini", "--manifest", "back.db", "ls", "--state", "done", "--format", "jsonl")
    return [json.loads(line) for line in done.stdout.splitlines()]
