"""How to get a lab: `with Lab(postgres=True, s3=2) as lab: …`."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from lab.addresses import LabAddresses, PostgresAddress, S3Address
from lab.process import LabError

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120  # more than any server takes for itself: the guardian's own word comes first
STOP_SECONDS = 30

# what would steer a server or client of the lab from outside
FOREIGN_SETTINGS = ("WEED_", "PG", "AWS_", "MOTO_")


class Lab:
    """Servers for as long as this object is entered, or its process lives, whichever is shorter.

    `folder` takes their data and logs, in a folder of their own that goes away with them; without
    it they go where temporary files go. All servers are started at the same time.
    Entering raises LabError, with the end of the server's log, when one does not start.
    """

    def __init__(self, folder: Path | None = None, *, postgres: bool = False, s3: int = 0, moto: bool = False) -> None:
        self._command = guardian_command(folder, postgres=postgres, s3=s3, moto=moto)
        self._guardian: subprocess.Popen[str] | None = None
        self._addresses: LabAddresses | None = None

    def __enter__(self) -> Lab:
        self._guardian = start_guardian(self._command, subprocess.PIPE)
        try:
            self._addresses = read_addresses(self._guardian)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all servers and wait until everything is cleaned up. Calling it twice is no error."""
        if self._guardian is None:
            return
        guardian, self._guardian, self._addresses = self._guardian, None, None
        try:
            # closes our end of the pipe, which is what ends the guardian
            guardian.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise LabError(f"the guardian (pid {guardian.pid}) has not ended after {STOP_SECONDS} s") from None

    @property
    def addresses(self) -> LabAddresses:
        """All addresses. Raises: LabError unless the lab is entered."""
        if self._addresses is None:
            raise LabError("the lab is not running")
        return self._addresses

    @property
    def postgres(self) -> PostgresAddress:
        """The database server. Raises: LabError if none was asked for."""
        if self.addresses.postgres is None:
            raise LabError("this lab was started without postgres")
        return self.addresses.postgres

    @property
    def s3(self) -> tuple[S3Address, ...]:
        """The SeaweedFS stores, as many as asked for."""
        return self.addresses.s3

    @property
    def moto(self) -> S3Address:
        """The moto server. Raises: LabError if none was asked for."""
        if self.addresses.moto is None:
            raise LabError("this lab was started without moto")
        return self.addresses.moto

    def stop_server(self, name: str) -> None:
        """Stop one server (postgres, s3-0, …, moto) and leave its data and ports."""
        self._order(f"stop {name}")

    def start_server(self, name: str) -> None:
        """Start a stopped server again, on the same ports. moto comes back empty."""
        self.addresses.pids[name] = self._order(f"start {name}")

    def _order(self, line: str) -> int:
        if self._guardian is None or self._guardian.stdin is None:
            raise LabError("the lab is not running")
        self._guardian.stdin.write(f"{line}\n")
        self._guardian.stdin.flush()
        answer = json.loads(_read_line(self._guardian))
        if "error" in answer:
            raise LabError(f"{line}: {answer['error']}")
        return int(answer["pid"])


def guardian_command(folder: Path | None, *, postgres: bool, s3: int, moto: bool) -> list[str]:
    """The command line of a guardian for these servers."""
    parent = Path(tempfile.gettempdir()) if folder is None else folder.resolve()
    command = [sys.executable, "-m", "lab.guardian", str(parent), f"--s3={s3}"]
    return command + ["--postgres"] * postgres + ["--moto"] * moto


def start_guardian(
    command: list[str], lifeline: int | IO[bytes], complaints: IO[bytes] | None = None
) -> subprocess.Popen[str]:
    """Start a guardian that ends when everyone who can write to `lifeline` has closed it.

    What goes wrong later, it says in `complaints`, or on our standard error.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_SETTINGS)}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**environment, "LC_ALL": "C", "PYTHONUTF8": "1"},  # initdb refuses a locale that is not installed
        stdin=lifeline,
        stdout=subprocess.PIPE,
        stderr=complaints,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # a Ctrl-C in the terminal is not for it
    )


def read_addresses(guardian: subprocess.Popen[str]) -> LabAddresses:
    """Wait for the guardian's first line. Raises: LabError if it is a complaint, or does not come."""
    line = _read_line(guardian)
    value = json.loads(line)
    if "error" in value:
        raise LabError(value["error"])
    return LabAddresses.from_json(line)


def _read_line(guardian: subprocess.Popen[str]) -> str:
    assert guardian.stdout is not None  # noqa: S101 - tells the type checker of start_guardian's PIPE
    ready, _, _ = select.select([guardian.stdout], [], [], START_SECONDS)
    line = guardian.stdout.readline() if ready else ""
    if not line:
        raise LabError(f"the guardian (pid {guardian.pid}) gave no answer; its standard error says more")
    return line
