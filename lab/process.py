"""One server as a child process, with its output in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

POLL_SECONDS = 0.05
LOG_TAIL_BYTES = 4_000


class LabError(Exception):
    """A server of the lab did not start, died or did not stop. Says which, with the end of its log."""


class ServerProcess:
    """A running server. It is stopped by the process id that was got when it was started here."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """Start `command` in `folder`, logging to `folder/NAME.log`; as system user `user` if given."""
        self.name = name
        self.log = folder / f"{name}.log"
        self._stopped = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal goes to a whole session: here the guardian decides when servers end
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Poll `ready`. Raises: LabError when the server dies first, or is not ready in time."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise LabError(f"{self.name} ended with code {self._process.returncode}; its log:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} was not ready after {seconds:g} s; its log:\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def stop(self, signal_number: int = signal.SIGTERM, grace_seconds: float = 5) -> None:
        """Send a signal, and SIGKILL after the grace. On return the process is gone.

        One that had ended by itself is complained of on standard error.
        """
        if self._stopped:
            return
        self._stopped = True
        if self.running:
            self._process.send_signal(signal_number)
        else:
            print(f"{self.name} had ended with code {self._process.returncode}; its log:", file=sys.stderr)
            print(self.log_tail(), file=sys.stderr, flush=True)
        try:
            self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_tail(self) -> str:
        """The end of what the server printed."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")
