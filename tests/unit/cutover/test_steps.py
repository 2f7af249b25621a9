"""The steps of a cut-over and of the way back."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mastosync.cutover import (
    CommandLine,
    Failback,
    NewFiles,
    Switchover,
    failback_steps,
    switchover_steps,
)
from tests.support.cutover_evidence import NEW, OLD


def test_the_steps_name_configuration_and_manifest_again() -> None:
    way = Switchover(CommandLine(("-c", "my.ini")), ("cutover", "--media-host", "m"), public=False)
    commands = [command for step in switchover_steps(way) for command in step.lines]
    assert "mastosync -c my.ini cutover --media-host m --nginx mastodon-media.conf" in commands
    assert "mastosync -c my.ini cutover --media-host m --fallback cache --nginx mastodon-media-cache.conf" in commands
    assert "mastosync -c my.ini copy" in commands
    assert "mastosync -c my.ini prune --apply" in commands
    assert not any("--public" in command for command in commands)
    (written,) = switchover_steps(Switchover(CommandLine(), ("cutover",), Path("my conf"), host="m.example:8443"))[
        0
    ].lines
    assert written.startswith(
        "cp --backup=numbered 'my conf' /etc/nginx/conf.d/mastodon-media-m.example-8443.conf && nginx -t"
    )


def test_the_way_back_is_told_with_names_that_are_free() -> None:
    files, again = NewFiles(back="back-2.ini", back_manifest="back 2.db"), ("cutover", "--media-host", "m")
    way = Failback(CommandLine(("-c", "my.ini")), again, Path("my.ini"), OLD, NEW, 15, folders=True, files=files)
    exchange, bring, over, _ = failback_steps(way)
    assert exchange.lines == ("mastosync -c my.ini init --reverse --output back-2.ini",)
    assert "mastosync -c back-2.ini --manifest 'back 2.db' adopt --deep" in bring.lines
    assert over.lines == ("mastosync -c back-2.ini --manifest 'back 2.db' cutover --media-host m",)
    assert not failback_steps(replace(way, config=None))[0].commands


def test_the_way_back_says_which_store_is_which_and_when_its_orphans_can_be_told() -> None:
    way = Failback(CommandLine(), ("cutover",), Path("my.ini"), OLD, NEW, 15, folders=False)
    _, bring, over, orphaned = failback_steps(way)
    assert f"the new store is {OLD}" in over.what
    assert f"deleted at the end, is {NEW}" in over.what
    assert f"still at {OLD}" in orphaned.what
    assert "at least 15 minutes after the last upload" in orphaned.what
    words = [str(command) for command in bring.commands]
    assert words.index("mastosync -c back.ini --manifest back.db copy") + 1 == words.index(
        "mastosync -c back.ini --manifest back.db apply-settings"
    ), "what lies there has the headers of whoever stored it"
    to_folder = failback_steps(replace(way, public=False))[1]
    assert "apply-settings" not in str(to_folder.lines), "a disk keeps no headers"


@pytest.mark.parametrize("from_folder", [False, True])
def test_the_last_step_names_what_is_deleted(from_folder: bool) -> None:
    way = Switchover(CommandLine(), ("cutover",), old=OLD, from_folder=from_folder, secrets=Path("config.secrets"))
    *_, report, secrets = switchover_steps(way)
    assert OLD in report.what
    assert "remove config.secrets, too" in secrets.what
    assert OLD in secrets.what
    assert not secrets.commands, "the way back needs it"


def test_who_waits_for_the_log_of_the_fallback_is_told_where_it_is() -> None:
    way = Switchover(CommandLine(), ("cutover",), host="m.example:8443")
    log = "/var/log/nginx/mastodon-media-m.example-8443-fallback.log"
    assert any(log in step.what for step in switchover_steps(way))


def test_when_all_is_done_only_the_end_is_told() -> None:
    """A fallback that was taken down would be put back, to a bucket that may be deleted already."""
    way = Switchover(CommandLine(), ("cutover",), old=OLD, switched=True, changes=False, new_host=False, done=True)
    commands = [command for step in switchover_steps(way) for command in step.lines]
    assert [command.split()[0] for command in commands] == ["sed", "mastosync"]
    assert commands[-1] == "mastosync report"


def test_no_settings_are_emptied_where_new_ones_cannot_be_written(tmp_path: Path) -> None:
    """The commands stand on one line: the next runs only if the one before has done its work."""
    env = tmp_path / ".env.production"
    env.write_text("SECRET_KEY_BASE=1\n")
    way = Switchover(CommandLine(), ("cutover",), env=env, env_kept=tmp_path / "kept")
    (command,) = next(step.lines for step in switchover_steps(way) if "--new-env" in str(step.lines))
    subprocess.run(["bash", "-c", f"mastosync() {{ false; }}; {command}"], cwd=tmp_path, check=False)
    assert env.read_text() == "SECRET_KEY_BASE=1\n"
