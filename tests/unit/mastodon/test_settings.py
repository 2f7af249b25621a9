"""What `.env.production` has to say of a store, and which store it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mastosync.config import FilesystemConfig, S3Config, Secret
from mastosync.mastodon.settings import Setting, changed, names_store, storage_settings
from tests.support.cutover_evidence import BUCKET


def lines(store: S3Config | FilesystemConfig, *, acls: bool = True) -> dict[str, str | None]:
    settings = storage_settings(store, "files.example.com", acls=acls)
    return {each.name: None if each.value is None else each.line.partition("=")[2] for each in settings}


def test_a_bucket_is_told_of_as_mastodon_names_things() -> None:
    assert lines(BUCKET) == {
        "S3_ENABLED": "true",
        "S3_BUCKET": "media",
        "S3_REGION": "us-east-1",
        "S3_ENDPOINT": "https://s3.example.com",
        "S3_PROTOCOL": "https",
        "S3_HOSTNAME": "s3.example.com",
        "S3_ALIAS_HOST": "files.example.com",
        "S3_CLOUDFRONT_HOST": None,
        "S3_OVERRIDE_PATH_STYLE": None,
        "S3_PERMISSION": "public-read",
        "S3_STORAGE_CLASS": None,
        "S3_KEY_PREFIX": None,
        "AWS_ACCESS_KEY_ID": "<access_key of [s3.destination]>",
        "AWS_SECRET_ACCESS_KEY": "<secret_key of [s3.destination]>",
    }


@pytest.mark.parametrize(
    ("changes", "acls", "permission"),
    [
        ({}, True, "public-read"),
        ({}, False, ""),
        ({"acl": "none"}, True, ""),
        ({"acl": "private"}, False, "private"),
        ({"acl": "public-read"}, True, "public-read"),
    ],
)
def test_the_permission_is_empty_where_there_are_no_acls(changes: dict[str, str], acls: bool, permission: str) -> None:
    assert lines(replace(BUCKET, **changes), acls=acls)["S3_PERMISSION"] == permission  # type: ignore[arg-type]


def test_what_the_destination_has_beside_is_told_as_well() -> None:
    told = lines(replace(BUCKET, addressing_style="virtual", storage_class="STANDARD_IA", key_prefix="a b"))
    assert told["S3_OVERRIDE_PATH_STYLE"] == "true"
    assert told["S3_STORAGE_CLASS"] == "STANDARD_IA"
    assert told["S3_KEY_PREFIX"] == "'a b'"


def test_amazon_is_known_by_its_region_and_may_be_asked_without_keys() -> None:
    told = lines(S3Config(bucket="media", region="eu-central-1"))
    assert told["S3_HOSTNAME"] == "s3.eu-central-1.amazonaws.com"
    assert told["S3_ENDPOINT"] is told["AWS_ACCESS_KEY_ID"] is told["AWS_SECRET_ACCESS_KEY"] is None


def test_a_folder_needs_no_line_of_s3(tmp_path: Path) -> None:
    told = lines(FilesystemConfig(path=tmp_path))
    given = {name: value for name, value in told.items() if value is not None}
    assert given == {
        "S3_ENABLED": "false",
        "PAPERCLIP_ROOT_PATH": str(tmp_path),
        "PAPERCLIP_ROOT_URL": "https://files.example.com",
    }
    assert {"S3_BUCKET", "S3_ALIAS_HOST", "AWS_SECRET_ACCESS_KEY"} <= told.keys() - given.keys()


def test_only_what_differs_has_to_change() -> None:
    current = {"S3_BUCKET": Secret("media"), "S3_REGION": Secret("eu"), "A": Secret("b")}
    settings = [Setting("S3_BUCKET", "media"), Setting("S3_REGION", "us"), Setting("S3_STORAGE_CLASS", None)]
    assert changed(settings, current) == settings[1:2]
    assert changed([Setting("S3_REGION", None)], current) == [Setting("S3_REGION", None)]
    assert changed([Setting("AWS_ACCESS_KEY_ID", Secret("eu"))], {"AWS_ACCESS_KEY_ID": Secret("eu")}) == []


def test_a_folder_is_named_by_its_path_or_by_none(tmp_path: Path) -> None:
    folder = tmp_path / "public" / "system"
    env, store = tmp_path / ".env.production", FilesystemConfig(path=folder)
    assert names_store({}, store, env)
    assert names_store({"PAPERCLIP_ROOT_PATH": Secret(":rails_root/public/system/")}, store, env)
    assert not names_store({"S3_ENABLED": Secret("true")}, store, env)
    assert not names_store({"PAPERCLIP_ROOT_PATH": Secret("/srv/media")}, store, env)


@pytest.mark.parametrize(
    ("endpoint", "configured", "same"),
    [
        ("https://S3.example.com:443/", "https://s3.example.com", True),
        ("https://media.s3.example.com", "https://s3.example.com", True),
        ("", "https://s3.eu-west-1.amazonaws.com", True),
        ("https://s3.example.com:9000", "https://s3.example.com", False),
        ("https://other.example.com", "https://s3.example.com", False),
    ],
)
def test_an_endpoint_is_known_however_it_is_written(endpoint: str, configured: str, same: bool) -> None:
    current = {"S3_ENABLED": Secret("true"), "S3_BUCKET": Secret("media"), "S3_ENDPOINT": Secret(endpoint)}
    store = replace(BUCKET, bucket="media", endpoint_url=configured)
    assert names_store(current, store, Path("/live/.env.production")) is same


@pytest.mark.parametrize("endpoint", ["https://[old", "https://old:90000", "minio:9000"])
def test_an_odd_endpoint_is_no_bug(endpoint: str) -> None:
    current = {"S3_ENABLED": Secret("true"), "S3_BUCKET": Secret("media"), "S3_ENDPOINT": Secret(endpoint)}
    assert not names_store(current, replace(BUCKET, bucket="media", endpoint_url=None), Path("/live/.env.production"))
