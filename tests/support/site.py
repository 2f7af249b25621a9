"""A folder with a configuration, and commands run in it as a user runs them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from faultlab.command import Command, Order
from lab.addresses import S3Address
from lab.configuration import pg_section, s3_section, write_config

__all__ = ["COMMAND", "NOWHERE", "Site", "pg_section", "python_module", "s3_section", "shown"]

COMMAND = Path(sysconfig.get_path("scripts")) / "mastosync"
"""The console script of the environment the tests run in."""

NOWHERE = S3Address("http://127.0.0.1:9", "key", "marked-secret", "", "")
"""A store that nobody asks: for commands that fail, or succeed, before they would."""

END_SECONDS = 240  # of one command: far more than any takes


@dataclass(frozen=True)
class Site:
    """Where one instance is migrated. Sections are what `config.ini` holds."""

    folder: Path
    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def manifest(self) -> Path:
        return self.folder / "mastosync.db"

    @property
    def config(self) -> Path:
        return self.folder / "config.ini"

    def configure(self, **sections: Mapping[str, str]) -> Site:
        """Write `config.ini`, with some sections changed: `configure(copy={"workers": "4"})`."""
        for name, keys in sections.items():
            section = self.sections.setdefault(name.replace("_", ".", 1), {})
            section.update(keys)
        write_config(self.config, self.sections)
        return self

    def environment(self) -> dict[str, str]:
        """The environment of a user who has set nothing of ours."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MASTOSYNC_", "AWS_", "PG"))}
        return kept | self.environ

    def run(self, *arguments: str, code: int | None = 0, umask: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; `code` is the exit code to expect (None: any), `umask` another than our own.

        It is a process of its own, forked from one that has loaded everything: a start of the
        interpreter costs more than most commands. What depends on one: `run_installed`.
        """
        with tempfile.TemporaryDirectory() as folder:  # not the site's own, whose disk may be full
            order = Order(
                arguments,
                self.folder,
                f"{folder}/forked",
                environ=self.environ,
                umask=_umask() if umask is None else umask,
            )
            command = Command(order)
            try:
                ended_with = command.wait(END_SECONDS)
                assert ended_with is not None, f"{arguments} does not end:\n{order.output()}"
                done = subprocess.CompletedProcess(
                    arguments, ended_with, order.out.read_text("utf-8"), order.err.read_text("utf-8")
                )
            finally:
                command.end()
        return expecting(done, code)

    def run_installed(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """The same with the installed script, in an interpreter of its own, as a user runs it."""
        done = subprocess.run(
            [str(COMMAND), *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
            check=False,
        )
        return expecting(done, code)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run the installed script beside the test. Whoever starts it ends it."""
        return subprocess.Popen(
            [str(COMMAND), *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def long_after(self) -> None:
        """Let all plans be of tomorrow: as if what a test has laid down had lain there for long when they were made."""
        with closing(sqlite3.connect(self.manifest)) as connection, connection:
            moment = datetime.now(UTC) + timedelta(days=1)
            connection.execute("UPDATE snapshots SET taken_at = ?", (moment.isoformat(),))

    def status(self) -> dict[str, Any]:
        """`status --json`, parsed."""
        parsed: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return parsed

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """`ls --format jsonl`, parsed."""
        return [json.loads(line) for line in self.run("ls", "--format", "jsonl", *arguments).stdout.splitlines()]


def expecting(done: subprocess.CompletedProcess[str], code: int | None) -> subprocess.CompletedProcess[str]:
    """The same, if it has ended with this exit code (None: with any)."""
    assert code is None or done.returncode == code, f"{done.args} ended with {done.returncode}:\n{shown(done)}"
    return done


def shown(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed, for a failing test."""
    return f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"


def python_module() -> list[str]:
    """The other way to run the command."""
    return [sys.executable, "-m", "mastosync"]


def _umask() -> int:
    """Our own, which can be read by setting it only. No other thread of a test makes files at that moment."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
