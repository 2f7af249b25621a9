"""`mastosync doctor`, as an admin runs it before a migration."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import Fault, Request, delay
from lab.faults import FaultProxy
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.site import COMMAND, Site, shown


def checks_of(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, str]]:
    """What `--json` says, by subject and check."""
    parsed: dict[str, Any] = json.loads(done.stdout)
    assert set(parsed) == {"checks", "summary"}
    assert all(set(each) == {"check", "subject", "status", "message", "remedy"} for each in parsed["checks"])
    assert parsed["summary"]["exit_code"] == done.returncode
    for status in ("ok", "warning", "failure", "skipped"):
        assert parsed["summary"][status] == sum(each["status"] == status for each in parsed["checks"])
    return {(each["subject"], each["check"]): each for each in parsed["checks"]}


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """On a disk."""
    return disk_path


@pytest.fixture
def migration(moto_buckets: BucketPair, new_migration: MigrationFactory) -> Migration:
    """A site where everything works; moto lets everybody list, and does not look at Content-MD5."""
    return new_migration(moto_buckets, accounts=4, media=4, missing=0, key_prefix="mastodon")


def test_a_healthy_site_is_fit_before_and_after_its_plan(migration: Migration) -> None:
    site, client = migration.site, migration.buckets.client
    done = site.run("doctor")
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if line and not line.startswith(" ")][:-1] == [
        "source",
        "destination",
        "database",
        "manifest",
        "machine",
    ]
    assert "failure 0" in done.stdout.splitlines()[-1]
    assert "no Cache-Control at the source get public, max-age=315576000, immutable" in done.stdout
    assert not site.manifest.exists()
    site.run("plan")
    site.run("copy", code=None)
    before = client.list_objects_v2(Bucket=migration.buckets.destination)["KeyCount"]
    checks = checks_of(site.run("doctor", "--json"))
    bad = {check for check, each in checks.items() if each["status"] != "ok"}
    assert bad == {("source", "anonymous-list"), ("destination", "anonymous-list")}
    assert "0 pending" in checks["manifest", "manifest"]["message"]
    assert "mastodon/" in checks["source", "read"]["message"]
    assert checks["destination", "apart"]["status"] == "ok"
    assert client.list_objects_v2(Bucket=migration.buckets.destination)["KeyCount"] == before


def test_a_source_that_has_nothing_of_what_the_database_names(migration: Migration) -> None:
    migration.site.configure(s3_source={"key_prefix": "another", "bucket": migration.buckets.destination})
    read = checks_of(migration.site.run("doctor", "--json", code=7))["source", "read"]
    assert read["status"] == "failure"
    assert "another/" in read["message"]
    assert "key_prefix" in read["remedy"]


def test_everything_that_is_broken_is_told_at_once_and_the_first_decides(migration: Migration) -> None:
    site = migration.site
    site.configure(
        s3_source={"bucket": "no-such-bucket"},
        s3_destination={"acl": "none"},
        pg_database={"password": "marked-password"},
        copy={"private_objects": "copy"},
    )
    arguments = ("--manifest", "no/such/m.db", "doctor")
    done = site.run(*arguments, code=7)
    assert "marked-password" not in done.stdout + done.stderr
    checks = checks_of(site.run("--manifest", "no/such/m.db", "doctor", "--json", code=7))
    failures = {check for check, each in checks.items() if each["status"] == "failure"}
    assert failures == {("source", "bucket"), ("database", "connection"), ("manifest", "folder")}
    assert checks["destination", "write"]["status"] == "ok"
    site.configure(s3_source={"bucket": migration.buckets.source})
    site.run(*arguments, code=5)
    del site.sections["s3.source"]
    site.configure().run(*arguments, code=4)


def test_what_is_no_configuration_ends_as_it_does_everywhere(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert "mastosync init" in site.run("doctor", code=4).stderr
    site.config.write_text("[s3.source]\nbukcet = x\n")
    assert "bukcet" in site.run("doctor", code=4).stderr


def test_quiet_tells_failures_alone(migration: Migration) -> None:
    assert migration.site.run("-q", "doctor").stdout == ""
    migration.site.configure(pg_database={"password": "marked-password"})
    told = migration.site.run("-q", "doctor", code=5).stdout
    assert "DB_PASS" in told
    assert "endpoint" not in told


@pytest.mark.parametrize(("files", "status", "code"), [(110, "failure", 4), (180, "warning", 0)])
def test_too_few_files_for_the_workers(migration: Migration, files: int, status: str, code: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    site = migration.site.configure(copy={"workers": "40"})
    done = subprocess.run(
        [str(COMMAND), "doctor", "--json"],
        cwd=site.folder,
        env=site.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == code, shown(done)
    found = checks_of(done)["machine", "files"]
    assert found["status"] == status
    assert "ulimit -n 210" in found["remedy"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_doctor_who_is_stopped_removes_his_probes(
    migration: Migration, fault_proxy: Callable[..., FaultProxy], number: signal.Signals
) -> None:
    under_way, written = threading.Event(), []

    def slow(request: Request) -> Fault | None:
        if request.method in ("PUT", "POST"):
            written.append(request.key)
        if request.operation == "CompleteMultipartUpload":
            under_way.set()
            return delay(1.0)
        return None

    proxy = fault_proxy(migration.buckets.address.endpoint_url, slow)
    migration.site.configure(s3_destination={"endpoint_url": proxy.endpoint_url})
    process = migration.site.start("doctor")
    try:
        assert under_way.wait(60)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, stdout + stderr
    assert len(set(written)) >= 4
    client, bucket = migration.buckets.client, migration.buckets.destination
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    assert "Traceback" not in stderr
