"""A copy that is killed, stopped or doubled: nothing is lost, and nothing arrives twice."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import random
import signal
import sqlite3
import struct
import subprocess
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

from faultlab.manifest_copy import complaints_of
from lab.buckets import BucketPair
from lab.fault_plan import Fault, FaultPlan, Kind, Request, delay
from lab.faults import FaultProxy
from mastosync.copying.same_store import FOLDER
from mastosync.model import Presence
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.bucket_checks import assert_holds, stored
from tests.support.site import COMMAND, shown
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.timing


def slowly(request: Request) -> Fault | None:
    """Every upload takes a moment, so that there is a middle to be killed in."""
    return delay(0.05) if request.operation == "PutObject" else None


def assert_intact(manifest: Path) -> None:
    with contextlib.closing(sqlite3.connect(manifest)) as connection:
        assert complaints_of(connection) == ()


def ever_more_slowly(proxy: FaultProxy) -> FaultPlan:
    """Uploads whose end is far away, however long a busy machine takes to look at their middle.

    Whoever has seen enough gives the proxy another plan.
    """

    def plan(request: Request) -> Fault | None:
        if request.operation != "PutObject":
            return None
        return delay(0.1 if uploads(proxy) < 40 else 3)

    return plan


class Middle:
    """Lets so many uploads through, and holds the next ones until it is released: the middle lasts that long."""

    def __init__(self, proxy: FaultProxy, goal: int) -> None:
        self._proxy, self._goal = proxy, goal
        self._released = threading.Event()
        proxy.plan = self._plan

    def wait(self) -> None:
        """Return in the middle."""
        wait_until(lambda: uploads(self._proxy) >= self._goal, f"{self._goal} objects have arrived")

    def release(self) -> None:
        """Let what was held and all that follows arrive."""
        self._released.set()
        self._proxy.plan = slowly

    def _plan(self, request: Request) -> Fault | None:
        if request.operation == "PutObject" and uploads(self._proxy) >= self._goal:
            self._released.wait(PATIENCE_SECONDS)
        return slowly(request)


@pytest.fixture
def slow_migration(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy]
) -> tuple[Migration, FaultProxy]:
    """A planned migration whose uploads pass through a proxy that counts and delays them."""
    migration = new_migration(buckets, missing=0, accounts=25, media=40)
    proxy = fault_proxy(buckets.address.endpoint_url, slowly)
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    return migration, proxy


def uploads(proxy: FaultProxy) -> int:
    return sum(stored(proxy).values())


def finish(migration: Migration, proxy: FaultProxy) -> None:
    """Copy to the end, and hold everything against what must be there."""
    done = migration.site.run("copy", "--workers", "8", code=None)
    assert done.returncode == (3 if migration.instance.missing else 0), shown(done)
    assert_holds(migration.buckets.client, migration.buckets.destination, migration.instance.at_destination())
    assert_intact(migration.site.manifest)
    twice = {key: count for key, count in stored(proxy).items() if count > 1}
    assert twice == {}
    totals = migration.site.status()["totals"]
    assert (totals["pending"], totals["done"]) == (0, len(migration.instance.present))


def test_a_copy_killed_again_and_again_loses_nothing_and_uploads_nothing_twice(
    slow_migration: tuple[Migration, FaultProxy],
) -> None:
    migration, proxy = slow_migration
    total = len(migration.instance.present)
    for nth in range(1, 6):
        middle = Middle(proxy, total * nth // 8)
        process = migration.site.start("copy", "--workers", "8")
        middle.wait()
        process.kill()
        process.communicate()
        middle.release()
        assert process.returncode == -signal.SIGKILL
        assert_intact(migration.site.manifest)
        # the next copy begins at once, and can only find what has arrived by then
        wait_until(lambda: proxy.is_idle, "what was under way has arrived")
    finish(migration, proxy)


def test_a_large_object_goes_on_with_the_parts_that_a_dead_run_has_sent(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy]
) -> None:
    """It lies at the source in parts of one size, as Mastodon uploads it."""
    migration = new_migration(buckets, own_source=True, missing=0, accounts=2, media=2)
    key = next(each.key for each in migration.instance.present if not (each.private or each.relocated))
    data = random.Random(key).randbytes(22_000_000)
    migration.buckets.client.upload_fileobj(
        io.BytesIO(data), migration.buckets.source, key, Config=TransferConfig(multipart_chunksize=5 << 20)
    )
    proxy, go_on = fault_proxy(buckets.address.endpoint_url), threading.Event()

    def hold(request: Request) -> Fault | None:
        """The fourth part waits until the run is dead, and does not arrive."""
        if request.query.get("partNumber") != "4" or go_on.is_set():
            return None
        go_on.wait(PATIENCE_SECONDS)
        return Fault(Kind.RESET)

    proxy.plan = hold
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    process = migration.site.start("copy", "--workers", "8")
    wait_until(lambda: len(parts_of(proxy)) == 3 and uploads(proxy) > 0, "three parts have arrived")
    wait_until(lambda: noted_uploads(migration.site.manifest) == [key], "the manifest knows the upload")
    process.kill()
    process.communicate()
    go_on.set()
    wait_until(lambda: proxy.is_idle, "what was under way has come to its end")
    done = migration.site.run("copy", "--workers", "8", code=None)
    assert done.returncode == 0, shown(done)
    assert parts_of(proxy) == ["1", "2", "3", "4", "5"], "none was sent twice"
    assert proxy.count("CreateMultipartUpload", key) == 1
    answer = migration.buckets.client.get_object(Bucket=migration.buckets.destination, Key=key)
    assert answer["Body"].read() == data
    assert noted_uploads(migration.site.manifest) == []
    assert_intact(migration.site.manifest)


def parts_of(proxy: FaultProxy) -> list[str]:
    """The numbers of the parts that the store has confirmed."""
    return [
        each.request.query["partNumber"]
        for each in proxy.requests
        if each.request.operation == "UploadPart" and each.store_status == 200
    ]


def noted_uploads(manifest: Path) -> list[str]:
    """The keys whose uploads in parts are under way, as the manifest has it."""
    with contextlib.closing(sqlite3.connect(manifest)) as connection:
        found = connection.execute("SELECT value FROM meta WHERE name = 'uploads'").fetchone()
    return list(json.loads(found[0])) if found else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_finishes_what_is_in_flight_and_the_next_copy_goes_on(
    slow_migration: tuple[Migration, FaultProxy], number: signal.Signals
) -> None:
    migration, proxy = slow_migration
    middle = Middle(proxy, 20)
    process = migration.site.start("copy", "--workers", "4")
    middle.wait()
    process.send_signal(number)
    middle.release()
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, told
    assert "goes on" in told
    assert "Traceback" not in told
    status = migration.site.status()
    assert status["totals"]["pending"] > 0
    assert status["totals"]["done"] == uploads(proxy)
    with contextlib.closing(sqlite3.connect(migration.site.manifest)) as connection:
        # what has waited for the proof that the first private object is private is claimed, and looked for first
        assert {access for (access,) in connection.execute("SELECT access FROM claims")} <= {Presence.AS_PRIVATE}
    finish(migration, proxy)


class Terminal:
    """A command in a session of its own, as a shell or SSH starts it, until the terminal closes."""

    def __init__(self, migration: Migration, *arguments: str, ignoring_hangups: bool = False) -> None:
        self._screen, end = os.openpty()
        os.set_blocking(self._screen, False)
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.seen = b""

        def takes_terminal() -> None:
            fcntl.ioctl(2, termios.TIOCSCTTY, 0)
            if ignoring_hangups:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)

        out = subprocess.DEVNULL if ignoring_hangups else end  # nohup writes to a file
        self.process = subprocess.Popen(
            [str(COMMAND), *arguments],
            cwd=migration.site.folder,
            env=migration.site.environment(),
            stdin=end,
            stdout=out,
            stderr=end,
            start_new_session=True,
            preexec_fn=takes_terminal,  # noqa: PLW1509 - before any thread of the test's
        )
        os.close(end)

    def read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            self.seen += os.read(self._screen, 65_536)
        return self.seen

    def close(self) -> None:
        os.close(self._screen)


def test_a_terminal_that_closes_ends_a_copy_in_order(slow_migration: tuple[Migration, FaultProxy]) -> None:
    """As a dropped SSH connection does: what is in flight arrives, and what is shown of it fails nothing."""
    migration, proxy = slow_migration
    middle = Middle(proxy, 20)
    log = migration.site.folder / "copy.log"
    terminal = Terminal(migration, "--log-file", str(log), "copy", "--workers", "4")
    wait_until(lambda: b"obj/s" in terminal.read() and uploads(proxy) >= 20, "20 objects have arrived, and it shows")
    terminal.close()
    wait_until(lambda: "SIGHUP" in log.read_text(), "the hangup was noticed")
    terminal.process.send_signal(signal.SIGHUP)  # as the shell does, once more
    middle.release()
    assert terminal.process.wait(PATIENCE_SECONDS) == 130, log.read_text()
    status = migration.site.status()
    assert (status["totals"]["failed"], status["totals"]["done"]) == (0, uploads(proxy))
    finish(migration, proxy)


def test_a_copy_that_ignores_hangups_goes_on_without_its_terminal(
    slow_migration: tuple[Migration, FaultProxy],
) -> None:
    migration, proxy = slow_migration
    terminal = Terminal(migration, "copy", "--workers", "8", ignoring_hangups=True)
    wait_until(lambda: b"obj/s" in terminal.read() and uploads(proxy) >= 10, "10 objects have arrived, and it shows")
    terminal.close()
    assert terminal.process.wait(PATIENCE_SECONDS) == 0
    assert migration.site.status()["totals"]["pending"] == 0


def test_two_signals_stop_at_once(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy]
) -> None:
    migration = new_migration(buckets, missing=0)
    proxy = fault_proxy(
        buckets.address.endpoint_url,
        lambda request: delay(600) if request.operation == "PutObject" and FOLDER not in request.key else None,
    )
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    process = migration.site.start("copy", "--workers", "4")
    wait_until(lambda: _claimed(migration) >= 4, "uploads have begun")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert_intact(migration.site.manifest)


@pytest.mark.parametrize("probes", [False, True])
def test_a_pause_for_throttling_ends_with_the_first_signal(
    buckets: BucketPair, new_migration: MigrationFactory, fault_proxy: Callable[..., FaultProxy], probes: bool
) -> None:
    """Of objects, or of the probe that comes before them."""
    migration = new_migration(buckets, missing=0)
    slow_down = Fault(Kind.ANSWER, status=503, code="SlowDown", headers=(("Retry-After", "600"),))
    proxy = fault_proxy(
        buckets.address.endpoint_url,
        lambda request: slow_down if request.operation == "PutObject" and (FOLDER in request.key) == probes else None,
    )
    migration.through(destination=proxy.endpoint_url)
    migration.site.run("plan")
    process = migration.site.start("copy", "--workers", "4")
    wait_until(lambda: any(each.status == 503 for each in proxy.requests), "the store has throttled")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, told


def test_a_second_copy_says_who_holds_the_manifest(slow_migration: tuple[Migration, FaultProxy]) -> None:
    migration, proxy = slow_migration
    proxy.plan = ever_more_slowly(proxy)
    process = migration.site.start("copy", "--workers", "2")
    wait_until(lambda: uploads(proxy) >= 1, "the first copy is at work")
    for command in (["copy"], ["plan"], ["retry-failed"]):
        second = migration.site.run(*command, code=6)
        assert f"process {process.pid}" in second.stderr
        assert "mastosync copy" in second.stderr
    running = migration.site.status()["run"]
    assert running["running"] is True
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    proxy.plan = slowly
    finish(migration, proxy)


def test_a_plan_that_is_killed_leaves_no_half_plan(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets, missing=0)
    with migration.database.connect() as blocker:
        blocker.execute("LOCK TABLE site_uploads IN ACCESS EXCLUSIVE MODE")
        process = migration.site.start("plan")
        wait_until(lambda: _waiting_for_lock(migration), "the plan waits for a table in its middle")
        process.kill()
        process.communicate()
    assert "no plan" in migration.site.run("copy", code=6).stderr
    assert "no plan" in migration.site.run("status", code=6).stderr
    migration.site.run("plan")
    assert {line["key"] for line in migration.site.listed()} == {each.key for each in migration.instance.objects}


def test_a_plan_that_is_stopped_ends_at_once_and_leaves_no_half_plan(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, missing=0)
    with migration.database.connect() as blocker:
        blocker.execute("LOCK TABLE site_uploads IN ACCESS EXCLUSIVE MODE")
        process = migration.site.start("plan")
        wait_until(lambda: _waiting_for_lock(migration), "the plan waits for a table in its middle")
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "no plan" in migration.site.run("copy", code=6).stderr


def _claimed(migration: Migration) -> int:
    connection = sqlite3.connect(migration.site.manifest)
    try:
        return int(connection.execute("SELECT count(*) FROM claims").fetchone()[0])
    finally:
        connection.close()


def _waiting_for_lock(migration: Migration) -> bool:
    with migration.database.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return connection.execute(query).fetchone() != (0,)
