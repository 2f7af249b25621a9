"""A store that goes down in the midst of a copy, and comes back or does not."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable

import pytest

from lab.buckets import BucketPair
from lab.fault_plan import LOST_ANSWER, RESET, Fault, Request
from lab.faults import FaultProxy
from mastosync.copying.same_store import FOLDER
from mastosync.runtime.outages import NO_SUCH_KEY
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import assert_holds, stored
from tests.support.site import shown
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.timing

Proxies = Callable[..., FaultProxy]


class Power:
    """Goes off with an upload, or with a download, whose answer is the last thing that is lost; and comes on again."""

    def __init__(self, operation: str, nth: int, questions: int) -> None:
        self._operation, self._nth, self._questions = operation, nth, questions
        self._seen = self._asked = 0
        self._lost: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Fault | None:
        """The fault of a request. Some of what is on its way is taken in, and no answer given."""
        if not request.key or (FOLDER in request.key and request.key != NO_SUCH_KEY):
            return None
        with self._lock:
            self._seen += request.operation == self._operation
            if self._seen < self._nth or self._asked > self._questions:
                return None
            self._asked += request.key == NO_SUCH_KEY
            if self._asked > self._questions:
                return None
            if request.operation == self._operation and request.key not in self._lost and len(self._lost) < 4:
                self._lost.add(request.key)
                return LOST_ANSWER
        return RESET


@pytest.fixture
def migration(buckets: BucketPair, new_migration: MigrationFactory) -> Migration:
    migration = new_migration(buckets, missing=0, accounts=10, media=10)
    migration.site.configure(copy={"max_attempts": "2"})
    return migration


@pytest.mark.parametrize(("role", "operation"), [("source", "GetObject"), ("destination", "PutObject")])
def test_a_store_that_comes_back_costs_time_and_nothing_else(
    migration: Migration, fault_proxy: Proxies, role: str, operation: str
) -> None:
    proxies = {name: fault_proxy(migration.buckets.address.endpoint_url) for name in ("source", "destination")}
    migration.through(**{name: proxy.endpoint_url for name, proxy in proxies.items()})
    migration.site.run("plan")
    proxies[role].plan = Power(operation, 10, questions=2)
    log = migration.site.folder / "copy.log"
    done = migration.site.run("--log-file", str(log), "--log-format", "json", "copy", "--workers", "8")
    assert f"the {role} bucket" in done.stderr, shown(done)
    assert "is down, and asked again until" in done.stderr
    assert "answers again" in done.stderr
    (told,) = [line for line in map(json.loads, log.read_text().splitlines()) if "since" in line]
    assert told["store"].startswith(role)
    assert told["until"] > told["since"]
    assert_holds(migration.buckets.client, migration.buckets.destination, migration.instance.at_destination())
    assert migration.site.listed("--state", "failed") == []
    assert {key: count for key, count in stored(proxies["destination"]).items() if count > 1} == {}


def test_one_that_stays_away_ends_the_run_when_patience_is_over_and_fails_nothing(
    migration: Migration, fault_proxy: Proxies
) -> None:
    proxy = fault_proxy(migration.buckets.address.endpoint_url)
    migration.through(destination=proxy.endpoint_url)
    migration.site.configure(copy={"outage_patience": "1s"})
    migration.site.run("plan")
    proxy.plan = Power("PutObject", 10, questions=10**6)
    done = migration.site.run("copy", "--workers", "8", code=7)
    assert "has been down since" in done.stderr
    assert "outage_patience" in done.stderr
    assert migration.site.status()["totals"]["failed"] == 0
    proxy.plan = lambda _: None
    migration.site.run("copy")
    assert_holds(migration.buckets.client, migration.buckets.destination, migration.instance.at_destination())
    assert {key: count for key, count in stored(proxy).items() if count > 1} == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_wait_ends_with_a_signal(migration: Migration, fault_proxy: Proxies, number: signal.Signals) -> None:
    proxy = fault_proxy(migration.buckets.address.endpoint_url)
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    proxy.plan = Power("PutObject", 10, questions=10**6)
    process = migration.site.start("copy", "--workers", "8")
    wait_until(lambda: proxy.count("GetObject", NO_SUCH_KEY) > 0, "the store is asked whether it is there")
    wait_until(lambda: bool(migration.site.status()["waiting"]), "status tells that the copy waits")
    (waits,) = migration.site.status()["waiting"]
    assert waits["store"].startswith("destination")
    assert "asked again until" in migration.site.run("status").stdout
    process.send_signal(number)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, told
    status = migration.site.status()
    assert (status["waiting"], status["totals"]["failed"]) == ([], 0)
