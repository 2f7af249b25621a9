"""What leaves this machine without encryption is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from mastosync.doctor.checks import Reporter, drained, is_this_machine
from mastosync.doctor.database import DatabaseTarget, check_database
from mastosync.errors import DatabaseError
from mastosync.findings import CheckSubject, Finding, Grade
from mastosync.mastodon.identity import ServerFacts
from mastosync.model import DatabaseIdentity, Entry
from tests.support.doctor_sites import examined, site_without_stores
from tests.support.raw_server import RawServer, answer

LISTING = answer(
    200,
    b"<ListBucketResult><Name>new-media</Name><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>",
    content_type="application/xml",
)


@pytest.mark.parametrize("host", ["", "localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "/run/postgresql"])
def test_these_are_this_machine(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", ["10.0.0.5", "192.168.1.1", "db", "db.example", "localhost.example", "2001:db8::1"])
def test_these_may_be_any(host: str) -> None:
    assert not is_this_machine(host)


class Answering:
    """An open database that has nothing to say."""

    name = 'database "mastodon" at db.example:5432 as user "mastodon"'

    def __init__(self, unencrypted_to: str) -> None:
        self.unencrypted_to = unencrypted_to

    def server(self) -> ServerFacts:
        raise DatabaseError("gone", hint="later")

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        return {}

    def refusals(self, tables: Sequence[str]) -> list[DatabaseError]:
        return []

    def identity(self) -> DatabaseIdentity:
        return DatabaseIdentity("", "")

    def estimated_entries(self, tables: Sequence[str]) -> int:
        return 0

    def sample(self) -> list[Entry]:
        return []


def connection_to(unencrypted_to: str) -> Finding:
    way = DatabaseTarget("", lambda: nullcontext(None), lambda _: nullcontext(cast("Any", Answering(unencrypted_to))))
    findings, _ = drained(check_database(Reporter(CheckSubject.DATABASE), way, ()))
    return next(found for found in findings if found.check == "connection")


def test_a_database_without_encryption_elsewhere_is_a_warning() -> None:
    found = connection_to("203.0.113.7")
    assert found.grade is Grade.WARNING
    assert "203.0.113.7" in found.message
    assert "sslmode = require" in found.remedy


@pytest.mark.parametrize("where", ["", "127.0.0.1", "/run/postgresql"])
def test_one_that_is_encrypted_or_here_is_none(where: str) -> None:
    assert connection_to(where).grade is Grade.OK


@pytest.mark.parametrize(("host", "grade"), [("store.invalid", Grade.WARNING), ("127.0.0.1", Grade.OK)])
def test_a_store_that_is_asked_in_clear_elsewhere_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, grade: Grade
) -> None:
    """Reached through a proxy, so that the name need not exist."""
    with RawServer(lambda _: LISTING) as server:
        monkeypatch.setenv("http_proxy", server.endpoint_url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        site = site_without_stores(tmp_path)
        site.configure(s3_source={"endpoint_url": f"http://{host}:{server.port}"})
        found = examined(site).source["endpoint"]
    assert found.grade is grade
    assert "not encrypted" in found.message
    assert ("https://" in found.remedy) is (grade is Grade.WARNING)
