"""A configuration and a manifest of other places than the usual: what is told works where it is told."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from mastosync.cli.main import main
from mastosync.manifest import StoreIdentity
from tests.unit.engine_kit import entry, planned
from tests.unit.test_written_files import CONFIG

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
