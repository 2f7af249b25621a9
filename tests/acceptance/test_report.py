"""`mastosync report` after a migration of a made-up instance, as an admin runs it before the old bucket goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lab.buckets import BucketPair
from lab.faults import FaultProxy
from tests.acceptance.conftest import MigrationFactory
from tests.support.bucket_checks import takes_only
from tests.support.report_evidence import digest_by_hand


def test_a_migration_is_told_kept_and_found_to_belong_to_its_manifest(
    moto_buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy]
) -> None:
    migration, address = new_migration(moto_buckets, own_source=True, missing=1), moto_buckets.address
    endpoint = fault_proxy(address.endpoint_url, takes_only(address.access_key)).endpoint_url
    migration.through(destination=endpoint)
    site = migration.site
    site.run("plan")
    site.run("copy", code=3)
    site.run("verify", "--deep", "--sample", "5")
    grades = grades_of(json.loads(site.run("report", "--format", "json").stdout))
    assert grades["public"] == "not-yet", "nobody has tried"
    assert grades["switch"] == "not-yet", "nobody knows"
    site.run("verify", "--public")
    env = site.folder / ".env.production"
    env.write_text(f"S3_ENABLED=true\nS3_BUCKET={moto_buckets.destination}\nS3_ENDPOINT={endpoint}\n")
    told = json.loads(site.run("report", "--format", "json", "--env", str(env)).stdout)
    assert not told["verdict"]["may_go"], "nobody has planned what was uploaded until the switch"
    assert grades_of(told)["switch"] == "not-yet"
    site.run("plan")
    site.run("copy", code=None)
    told = json.loads(site.run("report", "--format", "json", "--env", str(env)).stdout)
    assert told["verdict"]["may_go"], "what was verified need not be verified again"
    site.configure(env={"mastodon_file": str(env)})

    told = json.loads(site.run("report", "--format", "json").stdout)
    totals = site.status()["totals"]
    assert told["totals"] == totals
    assert told["runs"][0]["done"] == totals["done"]
    assert told["runs"][0]["bytes"] == totals["bytes_done"]
    assert [each["read_back"] for each in told["verifications"]] == [5, 0]
    assert [each["reason"] for each in told["failures"]["listed"]] == ["missing"]
    grades = grades_of(told)
    assert told["verdict"]["may_go"] is True
    assert {name for name, grade in grades.items() if grade != "ok"} == {"lost", "switch"}
    assert grades["switch"] == "warning", "nothing was uploaded since the file was written"

    text = site.run("report").stdout
    assert "THE OLD STORE MAY BE DELETED" in text
    assert told["digest"]["sha256"] in text
    site.run("manifest", "export", "all.jsonl")
    assert told["digest"]["sha256"] == digest_by_hand((site.folder / "all.jsonl").read_bytes())

    site.run("report", "--format", "html")
    site.run("report", "--check", "mastosync-report.html")
    site.run("retry-failed", "--no-copy")
    assert "does not belong" in site.run("report", "--check", "mastosync-report.html", code=3).stderr


def grades_of(report: dict[str, Any]) -> dict[str, str]:
    return {each["check"]: each["status"] for each in report["verdict"]["findings"]}
