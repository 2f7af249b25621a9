"""Figures of many scenarios, as they stand in docs/reliability.md."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import subprocess
from datetime import UTC, datetime

import pycurl

from faultlab.invariants import INVARIANTS
from faultlab.tally import Tally
from lab.client import ROOT
from mastosync import __version__

REPORT = ROOT / "docs" / "reliability.md"


def figures(tally: Tally, minutes: float, command: str, commit: str) -> str:
    """How it was made, and tables of what was done, what went wrong on purpose, and what must be 0."""
    libcurl = pycurl.version_info()[1]
    made_with = (
        f"mastosync {__version__}, Python {platform.python_version()}, libcurl {libcurl}, "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()}"
    )
    about = [
        ("scenarios", f"{tally.scenarios:,}"),
        ("commands run", f"{tally.commands:,}"),
        ("requests to stores", f"{tally.requests:,}"),
        ("objects to move", f"{tally.entries:,}"),
        ("faults injected", f"{tally.faults.total():,}"),
        ("changes of rows and writes of other tools", f"{tally.moves.total():,}"),
        ("deaths survived", f"{tally.deaths.total():,}"),
        ("objects stored again, as the answer had been lost", f"{tally.stored_again:,}"),
    ]
    held = [(f"**{name}**", f"**{tally.wrong[name]}**") for name in INVARIANTS]
    return "\n\n".join(
        [
            f"{datetime.now(UTC):%Y-%m-%d}, {minutes:.1f} minutes, `{command}`, commit {commit}, {made_with}.",
            _table(("", "last run"), [*about, *held]),
            *(
                _table((what, "times"), [(name, f"{times:,}") for name, times in counted.most_common() if times])
                for what, counted in (("change", tally.moves), ("death", tally.deaths), ("fault", tally.faults))
                if counted
            ),
        ]
    )


def commit() -> str:
    """Of this checkout; with a + where something in it is changed."""
    if shutil.which("git") is None:
        return "unknown"
    words = ("git", "describe", "--always", "--exclude=*", "--dirty=+")
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def write_report(kind: str, text: str) -> None:
    """Put the figures of one kind of days where they stand; those of others stay."""
    REPORT.write_text(with_figures(REPORT.read_text(encoding="utf-8"), kind, text), encoding="utf-8")


def with_figures(page: str, kind: str, text: str) -> str:
    """The page with these figures between the two marks of their kind. Raises: ValueError if it lacks the marks."""
    begin = f"<!-- begin of figures of {kind} days: written by make faults -->"
    end = f"<!-- end of figures of {kind} days -->"
    before, has_begin, rest = page.partition(begin)
    _, has_end, after = rest.partition(end)
    if not (has_begin and has_end):
        raise ValueError(f"{REPORT.name} has no place for figures of {kind} days")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [head, ("---", "---:"), *rows]
    return "\n".join(f"| {left} | {right} |" for left, right in lines)
