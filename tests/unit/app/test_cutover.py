"""A cut-over as it is told from a manifest, a configuration and Mastodon's own settings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mastosync.app.cutover import CutoverOptions, cutover_from
from mastosync.app.files import pin
from mastosync.cli.commands.cutover import render_cutover, render_written
from mastosync.config import Config, FilesystemConfig, Secret, load_config
from mastosync.config.env_file import assignment
from mastosync.cutover import (
    CutoverAssessment,
    CutoverVerdict,
    Fallback,
)
from mastosync.errors import ConfigError, UsageError
from mastosync.findings import Finding, Grade
from mastosync.mastodon.settings import current_settings, names_store, storage_settings
from tests.support.cutover_evidence import BUCKET, NAMED, configured, env_of, in_one, with_env
from tests.support.entries import entry
from tests.support.manifests import planned


def test_in_one_bucket_nobody_is_told_to_delete_it(tmp_path: Path) -> None:
    config = configured(tmp_path, bucket="old", key_prefix="new")
    with planned(tmp_path / "manifest.db", [entry()], in_one("pre fix", "new")) as manifest:
        report = cutover_from(config, manifest, CutoverOptions())
    told = {each.check: each for each in report.cutover.findings}
    assert "has to stay" in told["one-bucket"].message
    assert "'pre fix/'" in told["one-bucket"].remedy
    last = report.over[-1].what
    assert "old store" not in last
    assert "the bucket has to stay" in last
    assert not any("prune" in command for step in report.over for command in step.lines), "it removes nothing there"
    assert "`mastosync ls --state skipped --reason gone`" in "".join(step.what for step in report.over)


def test_what_users_delete_stays_readable_no_longer_than_the_switch_takes(tmp_path: Path) -> None:
    """Until both old processes have gone uploads may still come to the old store, so all of it is asked; then not."""
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(configured(tmp_path), manifest, CutoverOptions(media_host="files.example.com"))
    commands = [command for step in report.over for command in step.lines]
    proof = "mastosync verify --deep --sample 1000"
    narrow = "mastosync cutover --media-host files.example.com --fallback cache --nginx mastodon-media-cache.conf"
    assert commands.index("mastosync copy") < commands.index(narrow)
    installed = "/etc/nginx/conf.d/mastodon-media-files.example.com.conf && nginx -t && nginx -s reload"
    assert f"cp --backup=numbered mastodon-media-cache.conf {installed}" in commands
    assert commands.index(narrow) < commands.index("mastosync prune --apply") < commands.index(proof)
    plans = [at for at, command in enumerate(commands) if command == "mastosync plan"]
    assert commands.index("mastosync copy") < plans[-1] < commands.index("mastosync prune --apply")


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ([Finding("pending", Grade.FAILURE, "")], "NO-GO"),
        ([Finding("cache", Grade.WARNING, "", needs_fallback=True)], "GO, with the fallback"),
        ([], "GO"),
    ],
)
def test_who_writes_a_file_is_sent_to_no_lines_that_are_not_shown(
    findings: list[Finding], said: str, tmp_path: Path
) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = replace(cutover_from(configured(tmp_path), manifest, NAMED), cutover=CutoverAssessment(findings))
    *_, verdict = render_written(report, Path("media.conf"), None).splitlines()
    assert verdict.startswith(f"{said}: ")
    assert not {"above", "below"} & set(re.findall(r"[a-z]+", verdict))


@pytest.mark.parametrize("fallback", [Fallback.CACHE, Fallback.NONE])
def test_who_has_chosen_a_narrower_fallback_is_not_told_to_narrow_it(tmp_path: Path, fallback: Fallback) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(configured(tmp_path), manifest, replace(NAMED, fallback=fallback))
    commands = [command for step in report.over for command in step.lines]
    named = [command for command in commands if "--fallback" in command]
    assert named == [
        f"mastosync cutover --media-host files.example.com --fallback {fallback} --nginx mastodon-media.conf"
    ]
    assert "upload" in report.over[0].what, "it is said that new uploads are not shown for a while"


def test_the_keys_are_kept_before_it_is_go(tmp_path: Path) -> None:
    config = with_env(tmp_path)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, CutoverOptions(global_options=("-c", "config.ini")))
        (told,) = (each for each in report.cutover.findings if each.check == "secrets")
        assert (told.grade, told.remedy) == (Grade.FAILURE, "mastosync pin-secrets")
        assert "pin-secrets" not in str(report.over), "it is no step that comes once this says GO"
        assert f"remove {tmp_path / 'config.secrets'}, too" in report.over[-1].what
        pin(config, {})
        report = cutover_from(load_config(tmp_path / "config.ini", {}), manifest, CutoverOptions())
    assert report.env == tmp_path / ".env.production"
    assert "secrets" not in {each.check for each in report.cutover.findings}
    assert "pin-secrets" not in str(report.over)


def test_keys_that_stay_as_they_are_are_kept_too(tmp_path: Path) -> None:
    """Of two buckets of one account. Once Mastodon is switched over nobody can tell whose keys its file has."""
    config, path = with_env(tmp_path, access_key="old"), tmp_path / "config.ini"
    path.write_text(path.read_text().replace("s3cret", "old"))
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        before = cutover_from(load_config(path, {}), manifest, CutoverOptions())
        assert "secrets" in {found.check for found in before.cutover.findings}
        pin(load_config(path, {}), {})
        report = cutover_from(load_config(path, {}), manifest, CutoverOptions())
        (tmp_path / ".env.production").write_text(report.new_env().reveal())
        after = cutover_from(load_config(path, {}), manifest, CutoverOptions())
    assert after.switched
    assert after.over
    for each in (report, after):
        assert "secrets" not in {found.check for found in each.cutover.findings}
    assert config.source == load_config(path, {}).source


@pytest.mark.parametrize("alias", [(), ("S3_ALIAS_HOST=files.example.com",)], ids=["new host", "same host"])
def test_keys_of_a_file_that_names_the_new_store_are_not_taken_for_those_of_the_old(
    tmp_path: Path, alias: tuple[str, ...]
) -> None:
    """Mastodon has a key of its own there, which is not the one that the configuration has."""
    lines = ("S3_ENABLED=true", "S3_BUCKET=media", "S3_ENDPOINT=https://s3.example.com")
    config, path = with_env(tmp_path, *lines, *alias), tmp_path / "config.ini"
    with pytest.raises(ConfigError, match="already names the new store"):
        pin(config, {})
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, CutoverOptions())
        (told,) = (each for each in report.cutover.findings if each.check == "secrets")
        assert (told.grade, report.over) == (Grade.FAILURE, [])
        assert "under [s3.source]" in told.remedy
        path.write_text(re.sub(r"env:AWS_\w+", "kept", path.read_text()))  # what the remedy says
        report = cutover_from(load_config(path, {}), manifest, CutoverOptions())
        assert "secrets" not in {each.check for each in report.cutover.findings}
        *host, settings, restart = report.over[: 2 if alias else 3]
        assert ["--nginx" in each.lines[0] for each in host] == ([] if alias else [True]), "before browsers ask it"
        assert "--new-env" in settings.lines[0], "what still differs has a step"
        assert restart.lines == ("systemctl restart mastodon-sidekiq mastodon-web",)
        (tmp_path / ".env.production").write_text(report.new_env().reveal())
        report = cutover_from(load_config(path, {}), manifest, CutoverOptions())
    assert report.settings == []
    assert "--new-env" not in str(report.over)


@pytest.mark.parametrize("lines", [[], ["S3_ENABLED=true"]], ids=["nothing", "no bucket"])
def test_what_a_container_may_have_in_its_environment_is_no_obstacle(tmp_path: Path, lines: list[str]) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(with_env(tmp_path, *lines), manifest, CutoverOptions())
    (told,) = (each for each in report.cutover.findings if each.check == "settings")
    assert told.grade is Grade.WARNING
    assert "does not say where Mastodon keeps its media" in told.message
    assert "container" in told.remedy


def test_a_folder_that_a_container_knows_by_another_path_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    folder = FilesystemConfig(path=tmp_path / "media")
    config = Config(source=BUCKET, destination_folder=folder, path=tmp_path / "config.ini")
    env = env_of(tmp_path, "S3_ENABLED=false", "PAPERCLIP_ROOT_PATH=/mastodon/public/system")
    options = CutoverOptions(media_host="files.example.com", env=env)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, options)
        before = cutover_from(
            config, manifest, replace(options, env=env_of(tmp_path, "S3_ENABLED=true", "S3_BUCKET=media"))
        )
    assert report.switched
    assert "PAPERCLIP_ROOT_PATH" not in {each.name for each in report.settings}
    (told,) = (each for each in report.cutover.findings if each.check == "settings")
    assert told.grade is Grade.WARNING
    assert "/mastodon/public/system" in told.message
    assert not before.switched
    assert any("PAPERCLIP_ROOT_PATH the path" in step.what for step in before.over), "before it is restarted"


def test_a_folder_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    config = Config(source=BUCKET, destination_folder=FilesystemConfig(path=tmp_path / "gone"), path=tmp_path / "c.ini")
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, NAMED)
    (told,) = (each for each in report.cutover.findings if each.check == "owner")
    assert told.grade is Grade.WARNING
    assert "gone" in told.message
    assert told.remedy


def test_no_file_with_secrets_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = with_env(tmp_path, "S3_ENABLED=true", "S3_BUCKET=was")
    pin(config, {})
    env, kept = tmp_path / ".env.production", tmp_path / ".env.production.before"
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(load_config(tmp_path / "config.ini", {}), manifest, CutoverOptions())
        (command,) = next(step.lines for step in report.over if "--new-env" in str(step.lines))
        assert command.endswith("> " + str(env) + " && rm env.production.new")
        assert report.over[-2].lines == (f"rm {kept}",)
        kept.write_text(env.read_text())
        env.write_text(report.new_env().reveal())
        (tmp_path / "env.production.new").write_text("left by whoever has written it by hand")
        report = cutover_from(load_config(tmp_path / "config.ini", {}), manifest, CutoverOptions())
        assert report.over[-2].lines == (f"rm env.production.new {kept}",)
        kept.unlink()
        (tmp_path / "env.production.new").unlink()
        report = cutover_from(load_config(tmp_path / "config.ini", {}), manifest, CutoverOptions())
    assert not any("rm " in line for step in report.over for line in step.lines)


def test_no_steps_are_told_that_cannot_work(tmp_path: Path) -> None:
    """Mastodon was switched over already, and nobody kept the keys of the old store."""
    config = with_env(tmp_path, access_key="old")
    lines = [
        assignment(each.name, each.secret, "dotenv")
        for each in storage_settings(config.destination, "files.example.com", acls=True)
        if each.secret is not None
    ]
    env_of(tmp_path, *(line.replace("s3cret", "old") for line in lines))
    config = replace(load_config(tmp_path / "config.ini", {}), destination=config.destination)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, CutoverOptions())
    (told,) = (each for each in report.cutover.findings if each.check == "secrets")
    assert told.grade is Grade.FAILURE
    assert "[s3.source]" in told.remedy
    assert (report.over, report.back) == ([], [])


def test_the_new_settings_are_the_old_ones_with_other_lines(tmp_path: Path) -> None:
    config = with_env(tmp_path, "S3_ENABLED=true", "S3_CLOUDFRONT_HOST=cdn.example.net", "OTHER='a b' # stays")
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        text = cutover_from(config, manifest, CutoverOptions()).new_env().reveal()
    assert "OTHER='a b' # stays\n" in text
    assert "S3_CLOUDFRONT_HOST" not in text
    assert "AWS_SECRET_ACCESS_KEY=s3cret\n" in text
    current = current_settings(Secret(text), tmp_path / ".env.production", "dotenv")
    assert names_store(current, config.destination, tmp_path / ".env.production")
    assert not names_store(current, config.source, tmp_path / ".env.production")


def test_what_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(configured(tmp_path), manifest, CutoverOptions())
    assert report.cutover.verdict is CutoverVerdict.NO_GO
    assert "S3_ALIAS_HOST=CHANGE-ME" in [each.line for each in report.settings]
    assert report.as_json()["nginx"] is None
    assert report.cors is None
    commands = [command for step in (*report.over, *report.back) for command in step.lines]
    asking = [command for command in commands if " cutover" in command]
    assert asking
    assert all("--media-host CHANGE-ME" in command for command in asking)
    for ask in (report.require_fallback, report.new_env):
        with pytest.raises(UsageError):
            ask()


def test_who_has_switched_is_told_the_steps_that_are_left(tmp_path: Path) -> None:
    """The full fallback would show again what users have deleted since."""
    config = with_env(tmp_path)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        text = cutover_from(config, manifest, CutoverOptions()).new_env().reveal()
        pin(config, {})
        (tmp_path / ".env.production").write_text(text)
        report = cutover_from(load_config(tmp_path / "config.ini", {}), manifest, CutoverOptions())
    assert report.switched
    commands = [command for step in report.over for command in step.lines]
    assert commands[:3] == [
        "systemctl restart mastodon-sidekiq mastodon-web",  # nobody knows whether it has read its settings
        "mastosync plan",
        "mastosync copy",
    ]
    assert not any("--new-env" in command for command in commands)
    assert "already uses the new store" in render_cutover(report)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["S3_ENABLED=true", "S3_BUCKET=was"], ""),
        (["S3_ENABLED=true", "S3_BUCKET=media", "S3_ENDPOINT=https://s3.example.com"], ""),
        (["S3_ENABLED=true", "S3_BUCKET=media"], "may be the same"),
        (["S3_ENABLED=true", "S3_BUCKET=third"], "'third'"),
        (["S3_ENABLED=false"], "disk"),
    ],
)
def test_a_mastodon_that_uses_neither_store_is_not_switched(tmp_path: Path, lines: list[str], told: str) -> None:
    """In one folder there may be configurations of several migrations."""
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(with_env(tmp_path, *lines), manifest, CutoverOptions())
    messages = [each.message for each in report.cutover.findings if each.check == "settings"]
    assert [told in each for each in messages] == ([True] if told else [])


def test_keys_of_the_new_store_are_not_kept_as_those_of_the_old(tmp_path: Path) -> None:
    config = with_env(tmp_path)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        text = cutover_from(config, manifest, CutoverOptions()).new_env().reveal()
    (tmp_path / ".env.production").write_text(text)
    with pytest.raises(ConfigError, match="already names the new store"):
        pin(load_config(tmp_path / "config.ini", {}), {})
    assert not (tmp_path / "config.secrets").exists()


def test_media_that_mastodon_keeps_private_are_not_opened(tmp_path: Path) -> None:
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(with_env(tmp_path, "S3_PERMISSION=private"), manifest, CutoverOptions())
    assert {each.grade for each in report.cutover.findings if each.check == "permission"} == {Grade.FAILURE}


def test_one_key_for_both_stores_is_never_lost(tmp_path: Path) -> None:
    """Both sections take the same variables: of two regions of one provider, say."""
    path = tmp_path / "config.ini"
    with_env(tmp_path)
    text = path.read_text().replace(
        "access_key = new\nsecret_key = s3cret",
        "access_key = env:AWS_ACCESS_KEY_ID\nsecret_key = env:AWS_SECRET_ACCESS_KEY",
    )
    path.write_text(text)
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        new = cutover_from(load_config(path, {}), manifest, CutoverOptions()).new_env().reveal()
        (tmp_path / ".env.production").write_text(new)
        report = cutover_from(load_config(path, {}), manifest, CutoverOptions())
    assert "secrets" not in {each.check for each in report.cutover.findings}
    assert report.back


@pytest.mark.parametrize("acl", ["private", "auto"])
def test_no_step_asks_everybody_to_read_what_nobody_may(acl: str, tmp_path: Path) -> None:
    destination = replace(BUCKET, bucket="new", acl=acl)
    config = Config(source=BUCKET, destination=destination, path=tmp_path / "config.ini")
    with planned(tmp_path / "manifest.db", [entry()]) as manifest:
        report = cutover_from(config, manifest, CutoverOptions(media_host="files.example.com"))
    for steps in (report.over, report.back):
        asked = [command for step in steps for command in step.commands if str(command).endswith("verify --public")]
        assert len(asked) == (acl == "auto")
    assert ("public" in {each.check for each in report.cutover.findings}) is (acl == "auto")
    assert (report.refusal is not None) is (acl == "private"), "nginx has no key of its own"
