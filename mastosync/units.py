"""Numbers and times as people read them, in their language, and moments as JSON has them.

The door of humanize, which is loaded when it is needed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import ModuleType

from mastosync.language import deferred, say, spoken

_NOW = deferred("now")  # which humanize has not got in every language
_STEPS = {"seconds": 60, "minutes": 3_600, "hours": 86_400}
"""Units of time, and the seconds from which on the next one is used."""


def iso(seconds: float) -> str:
    """A moment, given in seconds since the epoch, as all JSON has it: ISO 8601, in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def clock(seconds: float) -> str:
    """A moment, given in seconds since the epoch, as people read it everywhere: in UTC, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%F %T} UTC"


def human_bytes(count: float) -> str:
    """Bytes with a binary unit: 512 Bytes, 1.5 KiB."""
    size: str = _humanize().naturalsize(count, binary=True)
    return size


def human_seconds(seconds: float) -> str:
    """A duration in one unit: 1.5 seconds, 2.1 minutes, 3.2 days."""
    unit = next((unit for unit, end in _STEPS.items() if round(seconds, 1) < end), "days")
    duration: str = _humanize().precisedelta(
        timedelta(seconds=seconds), minimum_unit=unit, suppress=("months", "years"), format="%.1f"
    )
    return _spaced(duration)


def human_ago(moment: datetime) -> str:
    """How long ago an aware moment was: 3 hours ago."""
    ago: str = _humanize().naturaltime(moment)
    return say(_NOW) if ago == _NOW else _spaced(ago)


def _spaced(text: str) -> str:
    """As our catalogs write numbers: with a space before a unit in Japanese, too."""
    return re.sub(r"(?<=\d)(?=[^\x00-\x7f])", " ", text).replace("ヶ", "か")


def _humanize() -> ModuleType:
    """humanize, set to the language of this thread: it keeps a language for each thread."""
    import humanize  # noqa: PLC0415 - most runs show neither

    humanize.activate(_locale(Path(humanize.__file__).with_name("locale"), spoken()))
    return humanize


@cache
def _locale(folder: Path, language: str | None) -> str | None:
    """What the library calls a language, whose names have countries: ja_JP for ja. None: English, or unknown to it."""
    if language is None:
        return None
    names = sorted(each.name for each in folder.iterdir())
    return next((name for name in names if name == language or name.startswith(f"{language}_")), None)
