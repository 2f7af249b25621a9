"""The guardian: a small process that owns the lab's servers and outlives whoever asked for them.

    python -m lab.guardian FOLDER [--postgres] [--s3 N] [--moto]

Its standard input is a pipe (or FIFO) whose other end is held by whoever needs the servers. When that end
is closed, by a decent exit or by SIGKILL, the guardian reads end-of-file, stops every server that
it started and removes their data. On standard output it writes one JSON line: the addresses when everything
is ready (`LabAddresses`), or {"error": …}. Then it takes lines `stop NAME` and `start NAME`, and
answers each with one JSON line: {"pid": …} or {"error": …}. Names: postgres, s3-0, s3-1, …, moto.

Only a SIGKILL of the guardian itself leaves servers behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from lab.addresses import LabAddresses
from lab.moto_server import MotoServer
from lab.postgres import PostgresServer
from lab.process import LabError
from lab.seaweed import SeaweedServer

FOLDER_PREFIX = "lab-"


class Server(Protocol):
    """What the guardian needs of a server."""

    def start(self) -> None:
        """Start it, and return when it is ready."""

    def stop(self) -> None:
        """Stop it so that `start` can bring it back."""

    def close(self) -> None:
        """Stop it for good."""

    @property
    def pid(self) -> int:
        """Process id since the last start."""
        ...


def main() -> int:
    """Start what is asked for, serve until end-of-file, clean up. Returns the exit code."""
    options = _parse()
    # Ctrl-C is for the one who holds the pipe; the other two end the guardian as end-of-file does
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGHUP, _exit)
    try:
        with _folder(options.folder) as folder, _servers(options, folder) as servers:
            _in_parallel(servers, "start")
            _say(_addresses(folder, servers).to_json())
            for line in sys.stdin:
                _say(json.dumps(_obey(line, servers)))
    except (LabError, OSError) as error:
        _say(json.dumps({"error": str(error)}))
        return 1
    except Exception as error:
        # a bug, but whoever waits must not wait in vain
        _say(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        raise
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs the lab's servers until standard input is closed.")
    parser.add_argument("folder", type=Path, help="where the servers' data and logs go, in a new folder")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--s3", type=int, default=0, metavar="N", help="how many S3 stores")
    parser.add_argument("--moto", action="store_true")
    return parser.parse_args()


@contextlib.contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    """A new folder, removed at the end. The last thing to go: others wait for that."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent.resolve()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _servers(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Server]]:
    """The servers, not started yet; closed at the end whether they were started or not."""
    servers: dict[str, Server] = {}
    try:
        if options.postgres:
            servers["postgres"] = PostgresServer(_made(folder / "postgres"))
        for number in range(options.s3):
            servers[f"s3-{number}"] = SeaweedServer(_made(folder / f"s3-{number}"))
        if options.moto:
            servers["moto"] = MotoServer(_made(folder / "moto"))
        yield servers
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # nothing interrupts the cleaning up
        _in_parallel(servers, "close")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _in_parallel(servers: Mapping[str, Server], action: str) -> None:
    """Do it with all of them at once; raises the first error when all are through."""
    with ThreadPoolExecutor(max_workers=max(1, len(servers))) as pool:
        for future in [pool.submit(getattr(server, action)) for server in servers.values()]:
            future.result()


def _addresses(folder: Path, servers: Mapping[str, Server]) -> LabAddresses:
    postgres, moto = servers.get("postgres"), servers.get("moto")
    return LabAddresses(
        folder=str(folder),
        guardian_pid=os.getpid(),
        postgres=postgres.address if isinstance(postgres, PostgresServer) else None,
        s3=tuple(server.address for server in servers.values() if isinstance(server, SeaweedServer)),
        moto=moto.address if isinstance(moto, MotoServer) else None,
        pids={name: server.pid for name, server in servers.items()},
    )


def _obey(line: str, servers: Mapping[str, Server]) -> dict[str, object]:
    match line.split():
        case ["stop" | "start" as action, name] if name in servers:
            try:
                getattr(servers[name], action)()
            except (LabError, OSError) as error:
                return {"error": str(error)}
            return {"pid": servers[name].pid}
    return {"error": f"no such command: {line.strip()!r} (servers: {', '.join(servers)})"}


def _say(line: str) -> None:
    # whoever asked may have gone, and that is for end-of-file to tell
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)


def _exit(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
