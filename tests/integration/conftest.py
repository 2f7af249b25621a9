"""Servers that only some of these tests need."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.addresses import DatabaseAddress
from lab.ports import accepts_connections
from tests.support.waiting import wait_until


@pytest.fixture
def pgbouncer(database: DatabaseAddress) -> Iterator[DatabaseAddress]:
    """A real pooler in front of the database: by transactions, and a single connection for all of them."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed; that nothing it forbids is sent is checked without it as well")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="pgbouncer-")))
        users, settings = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{database.user}" "{database.password}"\n')
        settings.write_text(
            f"[databases]\n* = host={database.host} port={database.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\ndefault_pool_size = 1\n"
        )
        other_user = []
        if os.geteuid() == 0:  # as root it refuses to run
            other_user = ["-u", "nobody"]
            for path in (folder, users, settings):
                shutil.chown(path, "nobody")
        log = cleanup.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen([program, *other_user, settings], stdout=log, stderr=subprocess.STDOUT)
        cleanup.callback(process.wait, 10)
        cleanup.callback(process.terminate)
        wait_until(lambda: process.poll() is not None or accepts_connections(port), "pgbouncer listens or has ended")
        assert process.poll() is None, (folder / "log").read_text()
        yield replace(database, port=port)
