"""Secrets of today are kept before Mastodon's settings change, and a configuration is turned round for the way back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from mastosync.app.files import acl_on_the_way_back, is_pinned, new_files, pin, reversed_config
from mastosync.config import Config, load_config
from mastosync.errors import ConfigError, OutputError, UsageError

ENV = """\
LOCAL_DOMAIN=social.example
AWS_ACCESS_KEY_ID=old
AWS_SECRET_ACCESS_KEY="it's $HOME \\\\ \\"quoted\\""
DB_PASS='p w'
"""
CONFIG = """\
# mine
[s3.source]
endpoint_url = https://old.example.com
bucket = media
access_key = env:AWS_ACCESS_KEY_ID
secret_key = env:AWS_SECRET_ACCESS_KEY

[s3.destination]
endpoint_url = https://new.example.com
bucket = media
access_key = new
secret_key_file = {folder}/new-key
acl = private
public_url = https://files.social.example

[pg.database]
host = db.example.com
password = env:DB_PASS

[env]
# Mastodon's
file = {folder}/.env.production
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / ".env.production").write_text(ENV)
    (tmp_path / "new-key").write_text("new secret\n")
    path = tmp_path / "config.ini"
    path.write_text(CONFIG.format(folder=tmp_path))
    path.chmod(0o640)
    return path


def what_it_means(config: Config) -> tuple[object, ...]:
    return config.source, config.destination, config.database


def test_what_is_pinned_stays_whatever_mastodon_is_told(path: Path) -> None:
    before = load_config(path, {})
    assert not is_pinned(before)
    file = pin(before, {})
    assert file == path.with_suffix(".secrets")
    assert file.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_mode & 0o777 == 0o640
    (path.parent / ".env.production").unlink()
    after = load_config(path, {})
    assert what_it_means(after) == what_it_means(before)
    assert is_pinned(after)
    assert after.env.settings == path.parent / ".env.production"
    assert path.read_text().startswith("# mine\n")
    assert "# Mastodon's\n" in path.read_text()
    assert "LOCAL_DOMAIN" not in file.read_text(), "only what is referred to"


def test_the_syntax_of_docker_stays_so(path: Path) -> None:
    path.write_text(path.read_text() + "syntax = docker\n")
    before = load_config(path, {})
    pin(before, {})
    assert what_it_means(load_config(path, {})) == what_it_means(before)


def test_a_second_try_goes_on_where_the_first_was_killed(path: Path) -> None:
    config, text = load_config(path, {}), path.read_text()
    pin(config, {})
    path.write_text(text)
    pin(config, {})
    assert is_pinned(load_config(path, {}))


@pytest.mark.parametrize(
    ("stands", "instead"),
    [("[env]\n", "[env]  # of Mastodon\n"), ("file = ", "FILE: "), ("\n", "\r\n"), ("[env]\n", "[env] \n\n")],
)
def test_however_the_configuration_is_written(path: Path, stands: str, instead: str) -> None:
    path.write_bytes(path.read_bytes().replace(stands.encode(), instead.encode()))
    before = load_config(path, {})
    file = pin(before, {})
    after = load_config(path, {})
    assert (what_it_means(after), after.env.file) == (what_it_means(before), file)


def test_where_the_configuration_cannot_be_changed_nobody_is_told_that_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mastosync.app.files._with_keys", lambda text, _: text)
    with pytest.raises(ConfigError, match="could not be changed") as error:
        pin(load_config(path, {}), {})
    assert f"file = {path.with_suffix('.secrets')}" in error.value.hint


def test_a_file_of_somebody_else_is_not_overwritten(path: Path) -> None:
    path.with_suffix(".secrets").write_text("mine")
    text = path.read_text()
    with pytest.raises(UsageError, match="holds something else"):
        pin(load_config(path, {}), {})
    assert path.with_suffix(".secrets").read_text() == "mine"
    assert path.read_text() == text


def test_a_configuration_behind_a_link_stays_there(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.ini"
    link.symlink_to(path)
    pin(load_config(link, {}), {})
    assert link.is_symlink()
    assert is_pinned(load_config(link, {}))


def test_what_the_environment_overrides_is_not_pinned_in_a_file(path: Path) -> None:
    environ = {"MASTOSYNC_ENV_FILE": str(path.parent / ".env.production")}
    with pytest.raises(ConfigError, match="MASTOSYNC_ENV_FILE"):
        pin(load_config(path, environ), environ)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_changes_nothing(path: Path) -> None:
    text = path.read_text()
    path.parent.chmod(0o500)
    try:
        with pytest.raises(OutputError):
            pin(load_config(path, {}), {})
    finally:
        path.parent.chmod(0o700)
    assert path.read_text() == text


class TestReversed:
    def test_source_and_destination_are_exchanged(self, path: Path) -> None:
        there = load_config(path, {})
        back = path.with_name("back.ini")
        back.write_text(reversed_config(there, Path("back.db"), {}).reveal())
        back.chmod(0o600)
        found = load_config(back, {})
        assert found.source == there.destination.__class__(
            access_key="new",
            secret_key=there.destination.secret_key,
            endpoint_url="https://new.example.com",
            bucket="media",
        )
        assert found.destination == replace(there.source, acl="private"), "what is private stays so"
        assert found.database == there.database
        assert found.manifest.path == Path("back.db")
        assert "it's" not in back.read_text(), "what is referred to is still referred to"
        assert f"secret_key_file = {path.parent}/new-key" in back.read_text()

    @pytest.mark.parametrize("prefixes", [("", "new"), ("old", ""), ("old", "new"), ("old", None)], ids=str)
    def test_each_store_keeps_its_key_prefix(self, path: Path, prefixes: tuple[str, str | None]) -> None:
        source, destination = prefixes
        text = path.read_text()
        if source:
            text = text.replace("[s3.source]\n", f"[s3.source]\nkey_prefix = {source}\n")
        if destination is not None:
            text = text.replace("[s3.destination]\n", f"[s3.destination]\nkey_prefix = {destination}\n")
        path.write_text(text)
        there = load_config(path, {})
        back = path.with_name("back.ini")
        back.write_text(reversed_config(there, Path("back.db"), {}).reveal())
        found = load_config(back, {})
        assert found.source.key_prefix == there.destination.key_prefix
        assert found.destination.key_prefix == there.source.key_prefix

    def test_the_way_back_to_a_disk(self, path: Path) -> None:
        head, rest = path.read_text().split("[s3.source]")
        path.write_text(
            f"{head}[filesystem.source]\npath = /srv/media\n\n[s3.destination]{rest.split('[s3.destination]')[1]}"
        )
        back = path.with_name("back.ini")
        back.write_text(reversed_config(load_config(path, {}), Path("back.db"), {}).reveal())
        found = load_config(back, {})
        assert found.destination_folder.path == Path("/srv/media")
        assert found.source.endpoint_url == "https://new.example.com"

    def test_what_the_environment_says_of_a_store_would_override_it(self, path: Path) -> None:
        environ = {"MASTOSYNC_S3_SOURCE_BUCKET": "other"}
        with pytest.raises(ConfigError) as caught:
            reversed_config(load_config(path, environ), Path("back.db"), environ)
        assert "MASTOSYNC_S3_SOURCE_BUCKET" in caught.value.hint

    @pytest.mark.parametrize("acl", ["auto", "public-read", "none", "private"])
    @pytest.mark.parametrize("permission", [None, "public-read", "private", ""])
    def test_the_acl_of_the_old_store_is_what_mastodon_says_as_long_as_it_uses_that_store(
        self, path: Path, acl: str, permission: str | None
    ) -> None:
        named = "S3_ENABLED=true\nS3_BUCKET=media\nS3_ENDPOINT=https://old.example.com\n"
        told = "" if permission is None else f"S3_PERMISSION={permission}\n"
        (path.parent / ".env.production").write_text(ENV + named + told)
        found, text = self.back(path, f"acl = {acl}")
        by_permission = {"private": "private", "": "none"}.get("-" if permission is None else permission, "auto")
        assert found.destination.acl == ("private" if acl == "private" else by_permission)
        assert "S3_PERMISSION as it was" not in text

    @pytest.mark.parametrize(
        ("acl", "back", "is_known"),
        [("auto", "auto", True), ("public-read", "auto", True), ("none", "auto", False), ("private", "private", True)],
    )
    def test_after_the_switch_only_the_new_store_tells(self, path: Path, acl: str, back: str, is_known: bool) -> None:
        """Otherwise somebody has to look it up, and is told so."""
        found, text = self.back(path, f"acl = {acl}")
        assert (found.destination.acl, "S3_PERMISSION as it was" in text) == (back, not is_known)

    def test_a_disk_tells_nothing_of_the_acl_of_a_bucket(self, path: Path) -> None:
        head, rest = path.read_text().split("[s3.destination]")
        path.write_text(f"{head}[filesystem.destination]\npath = /srv/media\n\n[pg.{rest.split('[pg.')[1]}")
        found, text = self.back(path, "")
        assert (found.source_folder.path, found.destination.acl) == (Path("/srv/media"), "auto")
        assert "S3_PERMISSION as it was" in text
        assert acl_on_the_way_back(load_config(path, {})) is None

    def back(self, path: Path, acl: str) -> tuple[Config, str]:
        """The configuration of the way back, and its text on one line."""
        path.write_text(path.read_text().replace("acl = private", acl))
        back = path.with_name("back.ini")
        back.write_text(reversed_config(load_config(path, {}), Path("back.db"), {}).reveal())
        back.chmod(0o600)
        return load_config(back, {}), " ".join(back.read_text().replace("#", " ").split())


def test_the_second_way_back_has_a_configuration_and_a_manifest_of_one_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`back.db` belongs to `back.ini`, also before its first plan."""
    monkeypatch.chdir(tmp_path)
    for taken, expected in (("", "back"), ("back.ini", "back-2"), ("back-2.db", "back-3"), ("back-3.ini", "back-4")):
        if taken:
            (tmp_path / taken).touch()
        files = new_files()
        assert (files.back, files.back_manifest) == (f"{expected}.ini", f"{expected}.db")
