"""Stores whose certificate no public authority has signed: refused, unless they are vouched for or every run warns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from lab.certificates import certificate
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.contract.test_s3_check import tls_server
from tests.support.doctor_sites import odd_store
from tests.support.raw_server import RawServer
from tests.support.site import shown

WARNING = "verify_tls is false"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate for localhost, signed by itself."""
    return certificate(tmp_path, "localhost", days=10)


@pytest.fixture
def front(buckets: BucketPair, authority: Path) -> Iterator[RawServer]:
    """A real store, behind TLS."""
    with odd_store(buckets.address.endpoint_url, lambda _, told: told) as store, tls_server(authority) as server:
        server.answers = store.answers
        yield server


@pytest.fixture
def migration(buckets: BucketPair, new_migration: MigrationFactory, front: RawServer) -> Migration:
    """A small instance, planned, whose stores are reached by TLS."""
    migration = new_migration(buckets, accounts=2, media=3, missing=0)
    endpoint = f"https://localhost:{front.port}"
    migration.through(source=endpoint, destination=endpoint)
    migration.site.run("plan")
    return migration


def trusting(migration: Migration, **keys: str) -> None:
    migration.site.configure(s3_source=keys, s3_destination=keys)


def grades(migration: Migration, code: int | None = None) -> dict[tuple[str, str], tuple[str, str]]:
    """What the doctor says of each check: its grade and remedy."""
    told = json.loads(migration.site.run("doctor", "--json", code=code).stdout)
    return {(each["subject"], each["check"]): (each["status"], each["remedy"]) for each in told["checks"]}


def test_an_unknown_authority_is_refused_by_every_command_that_asks_a_store(
    migration: Migration, front: RawServer
) -> None:
    for command in ("copy", "verify", "adopt", "orphans"):
        refused = migration.site.run(command, code=7)
        assert "ca_bundle" in refused.stderr, shown(refused)
        assert "source" in refused.stderr or "destination" in refused.stderr
        assert "Traceback" not in refused.stderr
    found = grades(migration, 7)
    for role in ("source", "destination"):
        status, remedy = found[role, "endpoint"]
        assert status == "failure"
        assert "ca_bundle" in remedy
    assert front.requests == [], "no request has gone out"
    assert migration.site.status()["totals"]["failed"] == 0


def test_with_its_authority_named_everything_works_and_nothing_warns(migration: Migration, authority: Path) -> None:
    trusting(migration, ca_bundle=str(authority))
    found = grades(migration, 0)
    assert found["source", "endpoint"] == found["destination", "endpoint"] == ("ok", "")
    copied = migration.site.run("copy", code=None)
    verified = migration.site.run("verify")
    assert "warning" not in copied.stderr + verified.stderr
    totals = migration.site.status()["totals"]
    assert totals["done"] == len(migration.instance.present)


def test_a_certificate_for_another_name_is_refused(migration: Migration, authority: Path, front: RawServer) -> None:
    trusting(migration, ca_bundle=str(authority), endpoint_url=f"https://127.0.0.1:{front.port}")
    for file in migration.site.folder.glob("mastosync.db*"):
        file.unlink()
    migration.site.run("plan")
    assert "127.0.0.1" in migration.site.run("copy", code=7).stderr
    assert front.requests == []


def test_an_authority_that_is_not_there_is_named(migration: Migration) -> None:
    trusting(migration, ca_bundle="no-such.pem")
    for command in (["copy"], ["doctor"]):
        refused = migration.site.run(*command, code=7)
        assert "no-such.pem" in refused.stdout + refused.stderr


def test_without_verification_every_run_warns_whatever_its_options(migration: Migration, tmp_path: Path) -> None:
    trusting(migration, verify_tls="false")
    log = tmp_path / "run.log"
    for options in ([], ["-q"], ["-v"], ["--no-progress"], ["--debug"], ["-q", "--log-file", str(log)]):
        for command in (["copy"], ["verify"], ["status"]):
            done = migration.site.run(*options, *command, code=None)
            assert done.returncode in (0, 3), shown(done)
            for role in ("s3.source", "s3.destination"):
                assert done.stderr.count(f"mastosync: warning: [{role}] {WARNING}") == 1, shown(done)
            assert "InsecureRequestWarning" not in done.stderr
    logged = [line for line in log.read_text().splitlines() if WARNING in line]
    assert len(logged) >= 4, "each run that logs says so for both stores"
    assert all(" WARNING " in line for line in logged)


def test_the_doctor_warns_of_it_with_a_better_way(migration: Migration) -> None:
    trusting(migration, verify_tls="no")
    found = grades(migration, 0)
    for role in ("source", "destination"):
        status, remedy = found[role, "endpoint"]
        assert status == "warning"
        assert "ca_bundle" in remedy
