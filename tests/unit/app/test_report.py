"""A report as the command makes, keeps and compares it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from mastosync.app import report as reports
from mastosync.cli.main import main
from mastosync.errors import UsageError
from mastosync.findings import Grade
from mastosync.manifest import (
    Manifest,
    ManifestReader,
    newest_version,
)
from mastosync.report import NOT_YET
from mastosync.report.page import render_page
from tests.support.manifest_versions import restored
from tests.support.report_evidence import change, context, keep_report


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A manifest with something of everything."""
    return restored(newest_version(), tmp_path / "m.db")


@pytest.mark.parametrize("form", ["json", "html"])
def test_a_report_belongs_to_its_manifest_until_an_entry_changes(path: Path, form: str) -> None:
    report = reports.report(context(path), failures=50)
    kept = path.with_name(f"kept.{form}")
    keep_report(json.dumps(report.as_json()) if form == "json" else render_page(report), kept)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert reports.check_report(context(path), kept).same
    change(path, "UPDATE entries SET size = 12345 WHERE id = 1")
    found = reports.check_report(context(path), kept)
    assert not found.same
    assert found.kept == report.contents.sha256


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"{",
        b'{"format": "mastosync-report", "digest": 7}',
        b"\xff\xfe",
        b"<html><head></head><body><meta name='mastosync-manifest-sha256' content='00'></body></html>",
        b"sha256 0000",
    ],
)
def test_what_is_no_report_is_refused(path: Path, content: bytes) -> None:
    kept = path.with_name("kept")
    kept.write_bytes(content)
    with pytest.raises(UsageError, match="report"):
        reports.check_report(context(path), kept)


def test_a_report_replaces_a_file_only_if_told_to(path: Path) -> None:
    kept = path.with_name("kept")
    kept.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        keep_report("report", kept)
    assert kept.read_text() == "mine"
    keep_report("report", kept, replace=True)
    assert kept.read_text() == "report"


def told(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str, code: int = 0) -> str:
    """What the command says, with a manifest and no configuration."""
    assert main(["--no-progress", "--manifest", str(path), "report", *arguments]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_the_command_needs_nothing_but_the_manifest(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    assert "KEEP THE OLD STORE: SEE not-yet" in told(capsys, path)
    assert json.loads(told(capsys, path, "--format", "json"))["format"] == "mastosync-report"
    assert told(capsys, path, "--format", "html", "--output", "-").startswith("<!DOCTYPE html>")
    assert "mastosync-report.html" in told(capsys, path, "--format", "html")
    assert "exists already" in told(capsys, path, "--format", "html", code=2)
    told(capsys, path, "--format", "html", "--force")
    assert "belongs to" in told(capsys, path, "--check", "mastosync-report.html")
    Path("env").write_text("S3_ENABLED=true\nS3_BUCKET=third\n")
    assert "env names the bucket 'third', and neither the old store nor the new one" in told(
        capsys, path, "--env", "env"
    )
    told(capsys, path, "--format", "json", "--output", "kept.json")
    assert "belongs to" in told(capsys, path, "--check", "kept.json")
    change(path, "UPDATE entries SET size = 12345 WHERE id = 1")
    assert "does not belong to" in told(capsys, path, "--check", "kept.json", code=3)
    assert "--check" in told(capsys, path, "--check", "kept.json", "--format", "json", code=2)


def test_a_manifest_without_a_plan_has_nothing_to_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Manifest.create(tmp_path / "m.db").close()
    path = tmp_path / "m.db"
    assert f"mastosync --manifest {path} plan" in told(capsys, path, code=6), "as it can be typed"


@pytest.mark.parametrize("other", [None, "source", "destination", "exchanged", "one is left"])
def test_a_configuration_of_other_stores_is_refused_as_cutover_does(
    path: Path, other: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mastodon's settings would be held against what is no store of this manifest."""
    monkeypatch.chdir(path.parent)
    with Manifest.open(path) as manifest:
        stores = {role: ManifestReader(manifest).store(role) for role in ("source", "destination")}
    if other == "exchanged":
        stores = dict(zip(stores, reversed(stores.values()), strict=True))
    lines = []
    for role, store in stores.items():
        if store is None or (other == "one is left" and role == "source"):
            continue
        bucket = "quite-another" if other == role else store.bucket
        lines += [f"[s3.{role}]", f"endpoint_url = {store.endpoint}", f"bucket = {bucket}"]
        lines += [f"key_prefix = {store.key_prefix}"] * bool(store.key_prefix)
    path.with_name("config.ini").write_text("\n".join(lines) + "\n")
    said = told(capsys, path, code=6 if other in (*stores, "exchanged") else 0)
    assert ("belongs to another" in said) is (other in (*stores, "exchanged"))


def test_a_pipe_does_not_tell_when_settings_were_changed(path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"S3_ENABLED=true\nS3_BUCKET=x\n")
    os.close(writing)
    (told,) = (
        each
        for each in reports.report(context(path), 0, Path(f"/dev/fd/{reading}")).verdict.findings
        if each.check == "switch"
    )
    os.close(reading)
    assert told.grade is Grade.FAILURE
    assert "when" in told.message


DISK = ("S3_ENABLED=false", "PAPERCLIP_ROOT_PATH=/mastodon/public/system")


@pytest.mark.parametrize(
    ("lines", "to_folder", "grade", "said"),
    [
        (("S3_ENABLED=true", "S3_BUCKET=new", "S3_ENDPOINT=https://s3.example.com"), False, "warning", "names the new"),
        (("S3_ENABLED=true", "S3_BUCKET=old", "S3_ENDPOINT=https://s3.example.com"), False, "not-yet", "still uses"),
        (("S3_ENABLED=true", "S3_BUCKET=new", "S3_ENDPOINT=https://s3.lan"), False, "not-yet", "may be the same"),
        (("S3_ENABLED=true", "S3_BUCKET=third"), False, "not-yet", "neither the old store"),
        (("S3_BUCKET=new",), False, "not-yet", "does not say where"),
        (DISK, False, "not-yet", "the folder /mastodon/public/system, and neither"),
        (DISK, True, "warning", "in a container they may be the same"),
    ],
)
def test_a_manifest_alone_tells_what_mastodons_settings_have_to_name(
    path: Path, lines: tuple[str, ...], to_folder: bool, grade: str, said: str
) -> None:
    bucket = {"endpoint": "https://s3.example.com", "key_prefix": ""}
    stores = {"source": {**bucket, "bucket": "old"}, "destination": {**bucket, "bucket": "new"}}
    if to_folder:
        stores["destination"] = {"endpoint": "file:", "bucket": "/srv/media", "key_prefix": ""}
    for role, identity in stores.items():
        change(path, f"UPDATE meta SET value = '{json.dumps(identity)}' WHERE name = '{role}'")  # noqa: S608
    env = path.with_name(".env.production")
    env.write_text("".join(f"{line}\n" for line in ("LOCAL_DOMAIN=social.example", *lines)))
    change(path, f"UPDATE snapshots SET details = json_set(details, '$.began_at', {time.time() + 60})")  # noqa: S608
    (told,) = (each for each in reports.report(context(path), 0, env).verdict.findings if each.check == "switch")
    assert told.as_json(NOT_YET)["status"] == grade
    assert said in told.message
    if grade == "not-yet" and "still uses" not in said:
        assert "`mastosync report --env FILE`" in told.remedy, "nobody is kept waiting for good"
