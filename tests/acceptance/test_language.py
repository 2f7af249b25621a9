"""What people meet when they speak Japanese, in real processes; and that nothing breaks for it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from mastosync.terminal_text import width_of
from tests.acceptance.conftest import MigrationFactory
from tests.support.site import COMMAND, Site

ROOT = Path(__file__).parents[2]
JAPANESE = {"LANG": "ja_JP.UTF-8", "PYTHONUTF8": "1"}
KANA = re.compile("[\u3040-\u30ff]")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A folder without a configuration, of somebody who speaks Japanese."""
    return Site(tmp_path, environ={**JAPANESE, "COLUMNS": "80"})


@pytest.mark.parametrize("command", [(), ("copy",), ("verify",), ("manifest",), ("manifest", "export"), ("doctor",)])
def test_help_is_japanese_from_its_first_word_and_fits_the_screen(site: Site, command: tuple[str, ...]) -> None:
    lines = site.run(*command, "--help").stdout.splitlines()
    assert lines[0].startswith("使い方: mastosync")
    assert {"オプション:", "  -h, --help"} <= {line[:12].rstrip() for line in lines}
    described = [line for line in lines[1:] if line.endswith(("する", "。")) or KANA.search(line)]
    assert described
    assert not [line for line in described if width_of(line) > 80]
    assert not [line for line in lines if line.lstrip().startswith(("、", "。", "ー"))]


def test_errors_are_japanese_and_keep_their_exit_codes(site: Site) -> None:
    assert site.run("copy", "--wrokers", "8", code=2).stderr.startswith("使い方: mastosync copy")
    assert site.run_installed("status", code=4).stderr.startswith("mastosync: 設定がありません\n")
    gone = site.run("--manifest", "m.db", "status", code=6).stderr
    assert (
        gone
        == "mastosync: マニフェストが m.db にありません\n  先に `mastosync --manifest m.db plan` を実行してください\n"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "euc_jp"])
def test_a_new_configuration_is_explained_in_japanese_and_is_utf_8_on_every_terminal(site: Site, encoding: str) -> None:
    site.environ["PYTHONIOENCODING"] = encoding
    subprocess.run(
        [str(COMMAND), "init"], cwd=site.folder, env=site.environment(), capture_output=True, timeout=240, check=True
    )
    assert (site.folder / "config.ini").read_bytes() == (ROOT / "docs/ja/config.sample.ini").read_bytes()
    assert "CHANGE-ME" in site.run("status", code=4).stderr


def test_a_migration_is_told_in_japanese_and_what_programs_read_in_english(
    moto_buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    site = new_migration(moto_buckets, accounts=2, media=2, missing=1).site
    site.environ.update(JAPANESE)
    assert "証明書" not in site.run("doctor").stdout
    assert "ストアが受け付けました" in site.run("doctor").stdout
    checks = json.loads(site.run("doctor", "--json").stdout)["checks"]
    assert not [check for check in checks if KANA.search(check["message"] + check["remedy"])]
    assert "次: mastosync copy" in site.run("plan").stdout
    copied = site.run("--log-file", "log", "copy", code=3)
    assert "コピーしました" in copied.stdout
    assert re.search(r"copy: \d+/\d+ 件", copied.stderr)
    assert not KANA.search((site.folder / "log").read_text("utf-8"))
    assert not KANA.search("".join(entry["detail"] or "" for entry in site.listed("--state", "failed")))
    status = site.run("status").stdout
    assert "移行元" in status
    assert "media_attachments" in status
    assert site.status()["totals"]["failed"] == 1


@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "iso8859-1", "LC_ALL": "ja_JP.ISO8859-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX"},
        {"LANGUAGE": "en:ja"},
        {"LANG": "xx_XX.UTF-8"},
    ],
    ids=str,
)
def test_whoever_cannot_read_japanese_is_told_in_english(site: Site, environ: dict[str, str]) -> None:
    site.environ.update(environ)
    assert site.run_installed("status", code=4).stderr.startswith("mastosync: there is no configuration\n")
    assert site.run_installed("--help").stdout.startswith("Usage: mastosync")


def test_a_terminal_with_an_older_encoding_is_told_in_its_bytes(site: Site) -> None:
    site.environ.update(LANG="ja_JP.eucJP", PYTHONIOENCODING="euc_jp", PYTHONUTF8="0")
    done = subprocess.run(
        [str(COMMAND), "--help"], cwd=site.folder, env=site.environment(), capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 0
    assert done.stdout.decode("euc_jp").startswith("使い方: mastosync")
