"""How a bandwidth is written: `5M` for good, or a timetable such as `08:00,5M 23:00,off`, as rclone has it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from mastosync.config.values import Format, InvalidValue, parse_size, suggest
from mastosync.language import deferred, tr

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY_MINUTES = 24 * 60
_LEAST = 1024  # bytes a second
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class Timetable:
    """What bandwidth holds when, the same every week."""

    text: str = "off"  # as it was written
    changes: tuple[tuple[int, int | None], ...] = ()  # minute of the week, from when on; bytes a second (None: any)

    def limit_at(self, moment: datetime) -> int | None:
        """Bytes a second at a moment of local time; None: as many as will go."""
        if not self.changes:
            return None
        minute = moment.weekday() * _DAY_MINUTES + moment.hour * 60 + moment.minute
        # before the first change, what was last said in the week before holds
        return self.changes[bisect_right(self.changes, minute, key=itemgetter(0)) - 1][1]

    def __str__(self) -> str:
        return self.text


def _timetable(text: str) -> Timetable:
    text = text.strip().lower()
    if "," not in text:
        limit = _limit(text)
        return Timetable() if limit is None else Timetable(text, ((0, limit),))
    entries = [_entry(each) for each in text.replace(";", " ").split()]
    entries.sort(key=lambda entry: -len(entry[0]))  # what is said of one day is said more exactly, and wins
    changes = {day * _DAY_MINUTES + minute: limit for days, minute, limit in entries for day in days}
    return Timetable(text, tuple(sorted(changes.items(), key=itemgetter(0))))


def _entry(text: str) -> tuple[Sequence[int], int, int | None]:
    """Days of the week, minute of the day, and limit of `[DAY-]HH:MM,RATE`."""
    when, _, rate = text.partition(",")
    name, _, time = when.rpartition("-")
    match = _TIME.fullmatch(time)
    if match is None:
        raise InvalidValue(
            tr("{text!r} does not begin with a time such as 08:00", text=text),
            tr("An entry is 08:00,5M or Mon-08:00,5M."),
        )
    days = [number for number, day in enumerate(_DAYS) if name in (day, day[:3])] if name else range(7)
    if not days:
        raise InvalidValue(tr("{name!r} is no day", name=name), suggest(name, tuple(day[:3] for day in _DAYS)))
    return days, int(match[1]) * 60 + int(match[2]), _limit(rate)


def _limit(text: str) -> int | None:
    if text in ("off", "0"):
        return None
    limit = parse_size(text)
    if text[-1].isdigit():
        raise InvalidValue(
            tr("{text!r} has no unit", text=text),
            tr("Write {text}K for KiB a second (what rclone takes it for), or {text}M.", text=text),
        )
    if limit < _LEAST:
        raise ValueError
    return limit


BANDWIDTH = Format(
    deferred("off, bytes a second such as 5M or 512KiB (at least 1K), or a timetable such as 08:00,5M 23:00,off"),
    _timetable,
)
