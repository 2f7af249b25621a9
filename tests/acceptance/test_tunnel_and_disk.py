"""A plan through an SSH tunnel, a configuration of the older tool, and a disk that is full."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.buckets import BucketPair
from lab.sshd import SshServer
from tests.acceptance.conftest import Migration, MigrationFactory
from tests.support.site import COMMAND, Site, shown
from tests.support.waiting import wait_until

BLOCK = 1024


@pytest.fixture
def tunnelled(
    tmp_path: Path, buckets: BucketPair, new_migration: MigrationFactory, ssh_server: Callable[..., SshServer]
) -> tuple[Migration, SshServer]:
    """A migration whose database is reached through an SSH server by password."""
    migration = new_migration(buckets, accounts=4, media=4)
    server = ssh_server(password="marked-password")
    tunnel = {
        "enabled": "true",
        "ssh_host": "127.0.0.1",
        "ssh_port": str(server.port),
        "ssh_user": server.username,
        "known_hosts": str(tmp_path / "known_hosts"),
    }
    migration.site.configure(pg_tunnel=tunnel)
    migration.site.environ["MASTOSYNC_PG_TUNNEL_SSH_PASSWORD"] = "marked-password"
    return migration, server


def test_an_unknown_ssh_host_is_refused_with_the_line_to_add(tunnelled: tuple[Migration, SshServer]) -> None:
    migration, server = tunnelled
    refused = migration.site.run("plan", code=5)
    line = f"[127.0.0.1]:{server.port} {' '.join(server.host_public_key.split()[:2])}"
    assert line in refused.stderr, shown(refused)
    assert server.forwardings == 0
    (migration.site.folder / "known_hosts").write_text(line + "\n")
    planned = migration.site.run("plan")
    assert server.forwardings >= 1
    wait_until(lambda: server.open_forwardings == 0, "the tunnel is closed")
    assert "marked-password" not in refused.stdout + refused.stderr + planned.stdout + planned.stderr
    assert len(migration.site.listed()) == len(migration.instance.objects)
    migration.site.run("copy", code=3)
    assert server.connections <= 4, "copying needs no database"


def test_a_file_of_the_older_celery_tool_plans_and_copies_as_it_is(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    """Its sections, an empty tunnel and Celery's own settings among them, from ./private as its users have it."""
    migration = new_migration(buckets, accounts=4, media=4, missing=0)
    site = migration.site
    site.configure(
        pg_tunnel={
            "enabled": "false",
            "ssh_host": "",
            "ssh_port": "22",
            "ssh_user": "",
            "ssh_password": "",
            "ssh_key": "",
            "local_host": "127.0.0.1",
            "local_port": "5433",
        },
        celery={
            "broker": "redis://localhost:6379/0",
            "backend": "redis://localhost:6379/1",
            "concurrency": "4",
            "log_level": "INFO",
        },
    )
    (site.folder / "private").mkdir()
    site.config.rename(site.folder / "private" / "instance.ini")
    site.environ["CONFIG_FILE_NAME"] = "instance.ini"
    site.run("plan")
    site.run("copy", code=None)
    assert site.status()["totals"]["done"] == len(migration.instance.present)


def run_with_little_disk(site: Site, limit_bytes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command where no file may grow beyond a size, as on a disk that is full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.run(
        [str(COMMAND), *arguments],
        cwd=site.folder,
        env=site.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )


def assert_disk_trouble(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 6, shown(done)
    assert "disk" in done.stderr
    assert "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_up_during_a_plan_leaves_no_half_plan(
    buckets: BucketPair, new_migration: MigrationFactory
) -> None:
    migration = new_migration(buckets, accounts=60, media=60)
    assert_disk_trouble(run_with_little_disk(migration.site, 72 * BLOCK, "plan"))
    assert "no plan" in migration.site.run("copy", code=6).stderr
    migration.site.run("plan")
    assert len(migration.site.listed()) == len(migration.instance.objects)


def test_a_disk_that_fills_up_during_a_copy_loses_nothing(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    migration = new_migration(buckets, accounts=60, media=60, missing=0)
    site = migration.site
    site.run("plan")
    assert_disk_trouble(run_with_little_disk(site, 40 * BLOCK, "copy"))
    assert site.status()["totals"]["failed"] == 0
    site.run("copy", code=None)
    totals = site.status()["totals"]
    assert (totals["pending"], totals["done"]) == (0, len(migration.instance.present))
