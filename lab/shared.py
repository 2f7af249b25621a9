"""One lab for a whole test session, however many processes the session has.

The process that outlives the others (pytest's controller) calls `open`, which starts nothing: it
makes a folder with a FIFO and holds the FIFO's writing end. Whoever needs servers first starts the
guardian with the reading end as its standard input; so the guardian ends with the controller, in
whatever way that ends, and not with the worker that happened to need it first.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab.addresses import LabAddresses
from lab.client import STOP_SECONDS, guardian_command, read_addresses, start_guardian
from lab.process import POLL_SECONDS, LabError


class SharedLab:
    """PostgreSQL, one SeaweedFS and moto, started when the first process asks for addresses."""

    def __init__(self, folder: Path, lifeline: int | None = None) -> None:
        """Join the lab of a `folder` that another process got from `open`."""
        self.folder = folder
        self._lifeline = lifeline
        self._guardian: subprocess.Popen[str] | None = None  # kept: a forgotten child is a ResourceWarning

    @classmethod
    def open(cls) -> SharedLab:
        """Prepare a lab that ends with this process. Nothing is started yet."""
        folder = Path(tempfile.mkdtemp(prefix="lab-session-"))
        fifo = folder / "lifeline"
        os.mkfifo(fifo)
        # a FIFO opens for writing only while someone reads it
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        lifeline = os.open(fifo, os.O_WRONLY)
        os.close(reader)
        return cls(folder, lifeline)

    def addresses(self) -> LabAddresses:
        """Where the servers are; the first process that asks waits for their start, the others for it.

        Raises: LabError if they do not start, to everyone who asks.
        """
        answer = self.folder / "answer.json"
        with (self.folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not answer.exists():
                text = self._start()
                # written whole or not at all, should this process die here
                draft = answer.with_suffix(".draft")
                draft.write_text(text, encoding="utf-8")
                draft.replace(answer)
        text = answer.read_text(encoding="utf-8")
        value = json.loads(text)
        if "error" in value:
            raise LabError(value["error"])
        return LabAddresses.from_json(text)

    def close(self) -> None:
        """End the lab, if this process opened it, and wait until nothing is left of it."""
        if self._lifeline is None:
            return
        os.close(self._lifeline)
        self._lifeline = None
        deadline = time.monotonic() + STOP_SECONDS
        while any(self.folder.glob("lab-*")) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if self._guardian is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guardian.communicate(timeout=STOP_SECONDS)
        with contextlib.suppress(FileNotFoundError):
            sys.stderr.write(self._complaints.read_text(encoding="utf-8", errors="replace"))
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _complaints(self) -> Path:
        return self.folder / "complaints.log"

    def _start(self) -> str:
        command = guardian_command(self.folder, postgres=True, s3=1, moto=True)
        lifeline = os.open(self.folder / "lifeline", os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(lifeline, True)  # it had to open at once, but is to be read with patience
        with self._complaints.open("ab") as complaints:
            try:
                self._guardian = start_guardian(command, lifeline, complaints)
            finally:
                os.close(lifeline)
        try:
            return read_addresses(self._guardian).to_json()
        except LabError as error:
            return json.dumps({"error": str(error)})
