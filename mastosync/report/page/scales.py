"""From figures to places in a chart, with marks at round figures and at round times of day."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_TIME_STEPS = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 3, 7, 14, 28, 91, 182, 364)),
)
_MARKS = 8  # on an axis of time, at most


@dataclass(frozen=True, slots=True)
class Scale:
    """Figures from `low` to `high` lie evenly between two places."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, figure: float) -> float:
        """The place of a figure."""
        span = self.high - self.low
        return self.begin + (self.end - self.begin) * ((figure - self.low) / span if span else 0.0)


def round_marks(highest: float, count: int = 4) -> list[float]:
    """Round figures from 0 on, the last of which is not less than `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [number * step for number in range(math.ceil(highest / step - 1e-9) + 1)]


def time_marks(begin: float, end: float) -> list[tuple[float, str, str]]:
    """Round moments within a time, in UTC: seconds since the epoch, time of day, and date where it is another one."""
    span = end - begin
    step = next((step for step in _TIME_STEPS if span / step <= _MARKS), _TIME_STEPS[-1])
    moments: list[float] = [number * step for number in range(math.ceil(begin / step), math.floor(end / step) + 1)]
    if step == _TIME_STEPS[-1]:
        moments = moments[:: math.ceil(len(moments) / _MARKS) or 1]
    marks, last_date = [], ""
    for moment in moments or [begin]:
        at = datetime.fromtimestamp(moment, UTC)
        date = f"{at:%Y-%m-%d}"
        clock = "" if step >= _DAY else f"{at:%H:%M}" if step >= _MINUTE else f"{at:%H:%M:%S}"
        marks.append((moment, clock, date if date != last_date else ""))
        last_date = date
    return marks
