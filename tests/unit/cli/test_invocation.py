"""A configuration and a manifest of other places than the usual: what is told works where it is told."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from mastosync.cli.main import main
from mastosync.manifest import StoreIdentity
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.unit.test_new_files_written import CONFIG

_STORES = StoreIdentity("http://127.0.0.1:9", "old", ""), StoreIdentity("https://s3.example.com", "new", "")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration and its manifest; commands run in an empty folder beside it."""
    home = tmp_path / "my site"
    home.mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("MASTOSYNC_CONFIG", "MASTOSYNC_MANIFEST", "MASTOSYNC_MANIFEST_PATH"):
        monkeypatch.delenv(name, raising=False)
    (home / "config.ini").write_text(CONFIG)
    (home / "config.ini").chmod(0o600)
    planned(home / "mastosync.db", [entry(1)], _STORES).close()
    return home


@pytest.mark.parametrize("command", [["cutover", "--json"], ["report", "--format", "json"]], ids=lambda each: each[0])
def test_remedies_for_programs_name_the_configuration_and_the_manifest(
    home: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["-c", str(home / "config.ini"), "--manifest", str(home / "mastosync.db")]
    main([*options, *command])
    told = json.loads(capsys.readouterr().out)
    findings = told["findings"] if command[0] == "cutover" else told["verdict"]["findings"]
    remedies = " ".join(found["remedy"] for found in findings)
    assert f"{shlex.join(['mastosync', *options])} verify" in remedies
    assert "`mastosync verify" not in remedies


@pytest.mark.parametrize("command", ["status", "plan", "follow", "cutover", "doctor"])
def test_a_manifest_beside_the_configuration_is_named_and_no_second_one_is_made(
    home: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config, manifest = home / "config.ini", home / "mastosync.db"
    assert main(["-c", str(config), command]) == 6
    told = capsys.readouterr().err
    assert f"there is no manifest at mastosync.db, but one beside the configuration: {manifest}\n" in told
    assert shlex.join(["mastosync", "-c", str(config), "--manifest", str(manifest), "status"]) in told
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("name", ["--manifest", "MASTOSYNC_MANIFEST", "MASTOSYNC_MANIFEST_PATH"])
def test_who_names_a_manifest_of_this_folder_means_it(
    home: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    option = [name, "mastosync.db"] if name.startswith("--") else []
    if not option:
        monkeypatch.setenv(name, "mastosync.db")
    assert main(["-c", str(home / "config.ini"), *option, "status"]) == 6
    assert "there is no manifest at mastosync.db\n" in capsys.readouterr().err


def test_a_manifest_in_this_folder_comes_before_one_beside_the_configuration(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(Path("mastosync.db"), [entry(1), entry(2)], _STORES).close()
    assert main(["-c", str(home / "config.ini"), "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["total"] == 2


@pytest.mark.parametrize("reverse", [[], ["--reverse"]], ids=["new", "reversed"])
def test_a_configuration_of_another_folder_names_its_manifest_so_that_it_is_found_from_anywhere(
    home: Path, reverse: list[str]
) -> None:
    assert main(["-c", str(home / "config.ini"), "init", *reverse, "--output", "../my site/my conf.ini"]) == 0
    assert f"path = {home / 'my conf.db'}" in (home / "my conf.ini").read_text().splitlines()
