"""`mastosync report` after a migration of a made-up instance, as an admin runs it before the old bucket goes."""

from __future__ import annotations

import json

from scripts.lab.buckets import BucketPair
from tests.acceptance.conftest import MigrationFactory
from tests.unit.test_report import digest_by_hand


def test_a_migration_is_told_kept_and_found_to_belong_to_its_manifest(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, missing=1)
    site = migration.site
    site.run("plan")
    site.run("copy", code=3)
    site.run("verify", "--deep", "--sample", "5")

    told = json.loads(site.run("report", "--format", "json").stdout)
    totals = site.status()["totals"]
    assert told["totals"] == totals
    assert told["runs"][0]["done"] == totals["done"]
    assert told["runs"][0]["bytes"] == totals["bytes_done"]
    assert told["verifications"][0]["read_back"] == 5
    assert [each["reason"] for each in told["failures"]["listed"]] == ["missing"]
    grades = {each["check"]: each["status"] for each in told["verdict"]["findings"]}
    assert told["verdict"]["may_go"] is True
    assert {name for name, grade in grades.items() if grade != "ok"} == {"lost", "public"}

    text = site.run("report").stdout
    assert "THE OLD STORE MAY BE DELETED" in text
    assert told["digest"]["sha256"] in text
    site.run("manifest", "export", "all.jsonl")
    assert told["digest"]["sha256"] == digest_by_hand((site.folder / "all.jsonl").read_bytes())

    site.run("report", "--format", "html")
    site.run("report", "--check", "mastosync-report.html")
    site.run("retry-failed", "--no-copy")
    assert "does not belong" in site.run("report", "--check", "mastosync-report.html", code=3).stderr
