"""Files that people name for what is written: one cause has one exit code, whichever command it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mastosync.cli.main import main
from mastosync.manifest import StoreIdentity
from tests.support.entries import entry
from tests.support.manifests import planned

CONFIG = """
[s3.source]
bucket = old
endpoint_url = http://127.0.0.1:9
access_key = a
secret_key = b
[s3.destination]
bucket = new
endpoint_url = https://s3.example.com
access_key = a
secret_key = b
public_url = https://files.example.com
"""
WRITERS = {
    "init": ["init", "--output"],
    "cutover": [
        *("cutover", "--source-url", "https://old.example/media", "--destination-url", "https://new.example/media"),
        "--nginx",
    ],
    "settings": ["cutover", "--env", "mastodon.env", "--new-env"],
    "report": ["report", "--format", "json", "--output"],
    "backup": ["manifest", "backup"],
    "export": ["manifest", "export"],
}


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration and a planned manifest, in which commands run."""
    monkeypatch.chdir(tmp_path)
    for name in ("MASTOSYNC_CONFIG", "MASTOSYNC_MANIFEST"):
        monkeypatch.delenv(name, raising=False)
    Path("config.ini").write_text(CONFIG)
    Path("config.ini").chmod(0o600)
    Path("mastodon.env").write_text("LOCAL_DOMAIN=social.example\n")
    stores = StoreIdentity("http://127.0.0.1:9", "old", ""), StoreIdentity("https://s3.example.com", "new", "")
    planned(tmp_path / "mastosync.db", [entry(1)], stores).close()
    return tmp_path


@pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS)
def test_a_file_that_is_there_is_a_wrong_command_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("there").write_text("precious")
    assert main([*command, "there"]) == 2
    told = capsys.readouterr().err
    assert "exists already" in told
    assert ("--force" in told) is (command[0] != "init"), "which never replaces a file"
    assert Path("there").read_text() == "precious"


@pytest.mark.parametrize("command", [["--log-file", "no/folder/file", "manifest", "check"], *WRITERS.values()])
def test_a_file_that_cannot_be_written_is_output_that_cannot(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command if "no/folder/file" in command else [*command, "no/folder/file"]) == 8
    assert "cannot write" in capsys.readouterr().err


def test_new_settings_are_their_owners_alone_whatever_stood_there() -> None:
    """They hold secrets."""
    command, file = [*WRITERS["settings"], "new.env"], Path("new.env")
    for force in ([], ["--force"]):
        assert main([*command, *force]) == 3, "nobody has looked yet whether anything has arrived"
        assert "AWS_SECRET_ACCESS_KEY=b\n" in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        file.chmod(0o644)


def test_an_import_beside_a_manifest_names_the_option_for_another(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["manifest", "export", "all.jsonl"])
    before = {file.name for file in site.iterdir()}
    assert main(["manifest", "import", "all.jsonl"]) == 2
    assert "--manifest" in capsys.readouterr().err
    assert {file.name for file in site.iterdir()} == before


def test_an_import_that_is_refused_leaves_nothing_behind(site: Path) -> None:
    Path("broken.jsonl").write_text("{}")
    before = {file.name for file in site.iterdir()}
    assert main(["--manifest", "new.db", "manifest", "import", "broken.jsonl"]) == 6
    assert {file.name for file in site.iterdir()} == before


@pytest.mark.parametrize("beginning", [[], ["--from-env", "mastodon.env"]], ids=["a sample", "Mastodon's settings"])
def test_a_second_configuration_in_a_folder_has_a_manifest_of_its_own(beginning: list[str]) -> None:
    Path("apart").mkdir()
    for name, line in {"second.ini": "path = second.db", "apart/config.ini": "# path = mastosync.db"}.items():
        assert main(["init", *beginning, "--output", name]) == 0
        assert line in Path(name).read_text().splitlines()
