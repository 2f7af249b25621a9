"""Mastodon's own settings, in whatever file and by whatever name they come: what is made of them."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mastosync.app.cutover import CutoverOptions, CutoverReport, cutover_from
from mastosync.app.files import is_pinned
from mastosync.app.mastodon_settings import own_settings
from mastosync.app.report import _switch
from mastosync.config import Config, FilesystemConfig, load_config
from mastosync.cutover import CommandLine, Secrets, Switchover, switchover_steps
from tests.support.entries import entry
from tests.support.manifests import planned

ENV = """\
LOCAL_DOMAIN=social.example
S3_ENABLED=true
S3_BUCKET={bucket}
S3_ENDPOINT={endpoint}
S3_ALIAS_HOST=files.example.com
AWS_ACCESS_KEY_ID=old
AWS_SECRET_ACCESS_KEY=0ld
SECRET_KEY_BASE=stays
"""
CONFIG = """\
[s3.source]
endpoint_url = https://old.example.com
bucket = {source}
access_key = env:AWS_ACCESS_KEY_ID
secret_key = env:AWS_SECRET_ACCESS_KEY
[s3.destination]
endpoint_url = http://127.0.0.1:9000
bucket = media
access_key = {keys[0]}
secret_key = {keys[1]}
public_url = https://files.example.com
[env]
file = {env}
"""


def env_in(folder: Path, bucket: str = "was", endpoint: str = "https://old.example.com") -> Path:
    env = folder / ".env.production"
    env.write_text(ENV.format(bucket=bucket, endpoint=endpoint))
    return env


def configured(env: Path, *lines: str, source: str = "was", keys: tuple[str, str] = ("new", "n3w")) -> Config:
    path = env.parent / "config.ini"
    path.write_text(CONFIG.format(env=env, source=source, keys=keys) + "".join(f"{line}\n" for line in lines))
    return load_config(path, {})


def told(config: Config, folder: Path, options: CutoverOptions | None = None) -> CutoverReport:
    with planned(folder / "manifest.db", [entry()]) as manifest:
        return cutover_from(config, manifest, options or CutoverOptions())


def grades(report: CutoverReport) -> dict[str, str]:
    return {each["check"]: each["status"] for each in report.cutover.as_json()["findings"]}


def lines_of(report: CutoverReport) -> list[str]:
    return [line for step in report.over for line in step.lines]


# --- a file that is no file ---


@contextmanager
def piped(text: str) -> Iterator[Path]:
    """As a shell names what `<(cat FILE)` prints."""
    reading, writing = os.pipe()
    with open(writing, "w") as file:  # noqa: PTH123 - it has a number alone
        file.write(text)
    yield Path(f"/dev/fd/{reading}")
    os.close(reading)


def test_settings_that_can_be_read_once_alone_come_whole_into_the_new_ones(tmp_path: Path) -> None:
    env = env_in(tmp_path)
    with piped(env.read_text()) as pipe:
        report = told(configured(env), tmp_path, CutoverOptions(env=pipe))
    assert "SECRET_KEY_BASE=stays\n" in report.new_env().reveal()
    assert "S3_BUCKET=media\n" in report.new_env().reveal()
    assert "/dev/fd" not in str((lines_of(report), report.back)), "nobody finds it there again"


def test_a_name_of_standard_input_is_gone_with_the_command(tmp_path: Path) -> None:
    env = env_in(tmp_path)
    with env.open() as file:
        found = own_settings(configured(env), Path(f"/dev/fd/{file.fileno()}"))
    assert found.place is None
    assert own_settings(configured(env), env).place == env


# --- a file with two names ---


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_file_with_two_names_is_one(tmp_path: Path, link: str) -> None:
    env, other = env_in(tmp_path), tmp_path / "other name"
    getattr(other, link)(env)
    config = configured(env, f"mastodon_file = {other}")
    assert not is_pinned(config)
    report = told(config, tmp_path)
    assert grades(report)["secrets"] == "no-go"
    assert "mastosync pin-secrets" in {each.remedy for each in report.cutover.findings}


def test_who_names_the_file_of_the_secrets_itself_would_overwrite_them(tmp_path: Path) -> None:
    """Another one is Mastodon's by the configuration."""
    env = env_in(tmp_path)
    (tmp_path / "live").mkdir()
    config = configured(env, f"mastodon_file = {env_in(tmp_path / 'live')}")
    assert "secrets" not in grades(told(config, tmp_path))
    (tmp_path / "m").mkdir()
    report = told(config, tmp_path / "m", CutoverOptions(env=tmp_path / "live" / ".." / ".env.production"))
    assert grades(report)["secrets"] == "no-go"


def test_a_file_that_the_configuration_names_is_not_to_be_removed(tmp_path: Path) -> None:
    """It is Mastodon's own, and `mastodon_file` a copy of it; only what `pin-secrets` has made may go."""
    env = env_in(tmp_path, "new", "http://127.0.0.1:9000")
    (tmp_path / "copy").mkdir()
    report = told(configured(env, f"mastodon_file = {env_in(tmp_path / 'copy')}"), tmp_path)
    assert not any(str(env) in step.what for step in report.over)


# --- when they were changed ---


def changed_at(env: Path, folder: Path) -> float:
    with planned(folder / "manifest.db", [entry()]) as manifest:
        return _switch(configured(env), manifest, env).changed_at


def test_a_link_in_the_way_to_the_file_tells_when_it_was_changed(tmp_path: Path) -> None:
    """Releases in folders, and a link `current` to one of them."""
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        env_in(tmp_path / release)
    (tmp_path / "current").symlink_to("one")
    (tmp_path / "live").symlink_to("current")
    time.sleep(0.05)
    before = time.time()
    time.sleep(0.05)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "current")
    for link in ("current", "live"):
        (tmp_path / link[0]).mkdir()
        assert changed_at(tmp_path / link / ".env.production", tmp_path / link[0]) > before
    (tmp_path / "o").mkdir()
    assert changed_at(tmp_path / "two" / ".env.production", tmp_path / "o") < before


def test_a_change_by_a_clock_that_was_ahead_may_be_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And an mtime that somebody has set is of no moment."""
    env, now = env_in(tmp_path), time.time()
    os.utime(env, (now + 9_000, now + 9_000))
    assert now - 60 < changed_at(env, tmp_path) < now + 60
    monkeypatch.setattr("mastosync.app.report.time.time", lambda: now - 3_600)
    (tmp_path / "m").mkdir()
    assert changed_at(env, tmp_path / "m") == now - 3_600


# --- one key for both stores ---


def test_one_key_for_both_stores_is_no_proof_that_another_was_lost(tmp_path: Path) -> None:
    """Mastodon was switched over, and nobody has pinned the keys."""
    config = configured(env_in(tmp_path, "media", "http://127.0.0.1:9000"), keys=("old", "0ld"))
    report = told(config, tmp_path)
    assert report.switched
    assert grades(report)["secrets"] == "warning"
    (found,) = (each for each in report.cutover.findings if each.check == "secrets")
    assert "the same keys" in found.message
    assert "[s3.source]" in found.remedy
    assert {"mastosync copy", "mastosync prune --apply"} <= set(lines_of(report))
    assert not any("pin-secrets" in line for line in lines_of(report)), "it would refuse"


def test_other_keys_than_those_of_the_new_store_are_at_stake(tmp_path: Path) -> None:
    config = configured(env_in(tmp_path, "media", "http://127.0.0.1:9000"), keys=("old", "other"))
    report = told(config, tmp_path)
    assert grades(report)["secrets"] == "no-go"
    assert Secrets.LOST.value == "lost"
    assert report.over == []


# --- a store that a container knows by another address ---


def test_a_container_may_know_the_new_store_by_another_endpoint(tmp_path: Path) -> None:
    config = configured(env_in(tmp_path, "media", "http://minio:9000"), keys=("old", "0ld"))
    report = told(config, tmp_path)
    assert report.switched, "the old store has another name"
    (found,) = (each for each in report.cutover.findings if each.check == "settings")
    assert found.grade.value == "warning"
    assert "minio:9000" in found.message
    assert "127.0.0.1:9000" in found.message
    assert not {"S3_ENDPOINT", "S3_HOSTNAME"} & {each.name for each in report.settings}


def test_nobody_can_tell_by_its_name_alone_which_of_two_of_one_name_it_is(tmp_path: Path) -> None:
    config = configured(env_in(tmp_path, "media", "http://minio:9000"), source="media")
    report = told(config, tmp_path)
    assert not report.switched
    (found,) = (each for each in report.cutover.findings if each.check == "settings")
    assert found.grade.value == "warning"
    assert "minio:9000" in found.message
    assert "--env" in found.remedy
    copy = tmp_path / "as-it-is-here"
    copy.write_text(ENV.format(bucket="media", endpoint="http://127.0.0.1:9000"))
    (tmp_path / "m").mkdir()
    assert told(config, tmp_path / "m", CutoverOptions(env=copy)).switched


def test_another_key_prefix_is_another_place(tmp_path: Path) -> None:
    env = env_in(tmp_path, "media", "http://127.0.0.1:9000")
    env.write_text(env.read_text() + "S3_KEY_PREFIX=elsewhere\n")
    assert not told(configured(env), tmp_path).switched


# --- commands ---


def test_the_report_is_asked_with_the_file_that_was_named(tmp_path: Path) -> None:
    env = env_in(tmp_path)
    report = told(configured(env), tmp_path, CutoverOptions(("-c", "my.ini"), env=env))
    assert f"mastosync -c my.ini report --env {env}" in lines_of(report)
    (tmp_path / "m").mkdir()
    assert "mastosync report" in lines_of(told(configured(env), tmp_path / "m"))


def test_a_redirect_to_one_media_host_does_not_overwrite_that_to_another(tmp_path: Path) -> None:
    """Two instances are served by one nginx, and either may have been written before."""
    commands = []
    for host in ("files.one.example", "files.two.example:8443"):
        way = Switchover(CommandLine(), ("cutover",), host=host, from_folder=True, system=f"# {host}", env=None)
        (step,) = (step for step in switchover_steps(way) if "snippets" in step.what)
        file = f"/etc/nginx/snippets/mastodon-system-{host.replace(':', '-')}.conf"
        assert f"include {file};" in step.what
        commands += [line.replace("/etc/nginx", f"{tmp_path}/nginx") for line in step.lines if file in line]
    for command in (*commands, commands[0].replace("# files.one", "# again.one")):
        subprocess.run(["bash", "-c", command], check=True)
    found = {each.name: each.read_text() for each in (tmp_path / "nginx" / "snippets").iterdir()}
    assert found == {
        "mastodon-system-files.one.example.conf": "# again.one.example\n",
        "mastodon-system-files.one.example.conf.~1~": "# files.one.example\n",
        "mastodon-system-files.two.example-8443.conf": "# files.two.example:8443\n",
    }


def test_media_hosts_of_two_instances_share_nothing_in_one_nginx(tmp_path: Path) -> None:
    """Neither a variable, nor a cache or its folder, nor a log: nginx refuses some twice, and mixes others up."""
    names = []
    for host in ("a-b.example", "a.b.example", "a.b.example:8443"):
        folder = tmp_path / host
        folder.mkdir()
        report = told(
            configured(env_in(folder)), folder, CutoverOptions(media_host=host, source_url="https://o.example")
        )
        text = report.require_fallback().render()
        pattern = r"^map \S+ (\S+)|keys_zone=(\w+)|proxy_cache_path (\S+)|access_log (/?\"\S+)"
        names.append({name for found in re.findall(pattern, text, re.MULTILINE) for name in found if name})
    assert [len(each) for each in names] == [6, 6, 6]
    assert len(set.union(*names)) == 18


def test_a_folder_in_a_container_is_still_told(tmp_path: Path) -> None:
    config = configured(env_in(tmp_path))
    folder = replace(config, destination_folder=FilesystemConfig(path=tmp_path))
    assert not own_settings(folder).doubt(folder.store("source"), folder.store("destination"))
