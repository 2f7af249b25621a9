"""Figures of many scenarios, as they stand in docs/reliability.md."""

from __future__ import annotations

import platform
import re
import sqlite3
from datetime import UTC, datetime

import pycurl

from mastosync import __version__
from scripts.faultlab.invariants import INVARIANTS
from scripts.faultlab.tally import Tally
from scripts.lab.client import ROOT

REPORT = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- begin of figures: written by make faults -->", "<!-- end of figures -->"


def figures(tally: Tally, minutes: float) -> str:
    """Tables of what was done, what went wrong on purpose, and what must be 0."""
    libcurl = pycurl.version_info()[1]
    made_with = (
        f"mastosync {__version__}, Python {platform.python_version()}, libcurl {libcurl}, "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()}"
    )
    about = [
        ("scenarios", f"{tally.scenarios:,}"),
        ("of these on which the world moves", f"{tally.moving:,}"),
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
            f"{datetime.now(UTC):%Y-%m-%d}, {minutes:.1f} minutes, {made_with}.",
            _table(("", "last run"), [*about, *held]),
            *(
                _table((what, "times"), [(name, f"{times:,}") for name, times in counted.most_common() if times])
                for what, counted in (("change", tally.moves), ("death", tally.deaths), ("fault", tally.faults))
                if counted
            ),
        ]
    )


def write_report(tally: Tally, minutes: float) -> None:
    """Put the figures where they stand, between the two marks."""
    text = REPORT.read_text(encoding="utf-8")
    block = f"{_BEGIN}\n\n{figures(tally, minutes)}\n\n{_END}"
    pattern = re.compile(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", re.DOTALL)
    REPORT.write_text(pattern.sub(lambda _: block, text), encoding="utf-8")


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [head, ("---", "---:"), *rows]
    return "\n".join(f"| {left} | {right} |" for left, right in lines)
