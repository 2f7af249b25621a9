"""HTML and charts as inline SVG, put together from elements; text that is not made here is escaped.

Colours are classes, so that the style sheet decides on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import NamedTuple

from mastosync.terminal_text import one_line

_VOID = {"meta"}  # elements of HTML without an end

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_TIME_STEPS = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 3, 7, 14, 28, 91, 182, 364)),
)
_MARKS = 8  # on an axis of time, at most

_WIDTH = 760.0
_LEFT, _RIGHT, _TOP = 62.0, 14.0, 26.0
_PLOT_HEIGHT = 150.0
_LABEL_WIDTH, _FIGURE_WIDTH = 190.0, 150.0
_ROW = 28.0
_DATE_WIDTH = 76.0
_THINNEST = 2.0  # of what is not nothing


class Markup(str):
    """Text that is HTML already. Only this module makes it of anything but literals."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element. Attributes have `_` for `-` (`class_`: class); one that is None is left out."""
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{_escaped(value)}"' for key, value in named.items())
    inner = joined(content)
    return Markup(f"<{name}{written}>" + ("" if name in _VOID else f"{inner}</{name}>"))


def joined(pieces: Iterable[object]) -> Markup:
    """Pieces one after the other; None is nothing."""
    return Markup("".join(_text(piece) for piece in pieces if piece is not None))


def _text(piece: object) -> str:
    return piece if isinstance(piece, Markup) else _escaped(piece)


def _escaped(piece: object) -> str:
    if isinstance(piece, float):
        return f"{piece:.2f}".rstrip("0").rstrip(".")  # a coordinate
    return escape(one_line(str(piece)))


def stylesheet(file: Path) -> Markup:
    """A style of this package, for an element `style`: nothing in it is escaped."""
    return Markup(file.read_text(encoding="utf-8"))


Cell = str | int | Markup


def table(
    head: Sequence[str], rows: Iterable[Sequence[Cell]], *, words: int = 1, foot: Sequence[Cell] | None = None
) -> Markup:
    """A table. The first `words` columns hold words, the others figures; the first cell names its row."""

    def line(name: str, cells: Sequence[Cell], *, naming: int) -> Markup:
        return tag("tr", *(_cell(cell, at >= words, name if at < naming else None) for at, cell in enumerate(cells)))

    return tag(
        "div",
        tag(
            "table",
            tag("thead", line("col", head, naming=len(head))),
            tag("tbody", *(line("row", row, naming=1) for row in rows)),
            tag("tfoot", line("row", foot, naming=1)) if foot else None,
        ),
        class_="wide",
        tabindex=0,  # who has no mouse can move it, too
    )


def figure(caption: str, chart: Markup, legend: Sequence[tuple[str, str]] = ()) -> Markup:
    """A chart; the legend tells what each colour's class means."""
    return tag(
        "figure",
        tag("figcaption", caption),
        chart,
        tag("ul", *(tag("li", _swatch(colour), label) for colour, label in legend), class_="legend")
        if legend
        else None,
    )


def terms(facts: dict[str, str], class_: str | None = None) -> Markup:
    """Names and what they stand for."""
    pairs = (tag("div", tag("dt", name), tag("dd", fact)) for name, fact in facts.items())
    return tag("dl", *pairs, class_=class_)


def section(title: str, *content: Markup | None) -> Markup:
    """A part of the page."""
    return tag("section", tag("h2", title), *content)


def paragraph(*content: object, soft: bool = False) -> Markup:
    """A few words."""
    return tag("p", *content, class_="soft" if soft else None)


def prose(text: str) -> Markup:
    """A message in which what stands between backticks is to be typed."""
    pieces = text.split("`")
    return joined(tag("code", piece) if at % 2 else piece for at, piece in enumerate(pieces))


def _cell(cell: Cell, is_figure: bool, names: str | None) -> Markup:
    told = f"{cell:,}" if isinstance(cell, int) else cell
    return tag("th" if names else "td", told, class_="number" if is_figure else None, scope=names)


def _swatch(colour: str) -> Markup:
    square = tag("rect", class_=colour, width=10, height=10)
    return tag("svg", square, viewBox="0 0 10 10", aria_hidden="true")


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


@dataclass(frozen=True, slots=True)
class Caption:
    """What a chart shows, for who sees it and who does not. `name` is the beginning of its ids."""

    name: str
    title: str
    description: str


class ChartStep(NamedTuple):
    """A figure that held from one moment to another (seconds since the epoch)."""

    begin: float
    end: float
    figure: float


class Share(NamedTuple):
    """A part of a bar: its colour's class, what it is, how much."""

    colour: str
    label: str
    figure: float


class ChartBar(NamedTuple):
    """A bar of parts, with its name before and its figure behind it."""

    label: str
    shares: Sequence[Share]
    told: str


def steps_over_time(caption: Caption, steps: Sequence[ChartStep], unit: str, colour: str) -> Markup:
    """An area as high as the figure at each moment; where there is none, nothing is drawn."""
    begin, end = steps[0].begin, steps[-1].end
    marks = round_marks(max(step.figure for step in steps))
    bottom = _TOP + _PLOT_HEIGHT
    moments = time_marks(begin, end)
    x, y = Scale(begin, end, _LEFT, _WIDTH - _RIGHT), Scale(0, marks[-1], bottom, _TOP)
    return _svg(
        caption,
        bottom + (40 if moments[0][1] else 25),
        tag("text", unit, class_="unit", x=4, y=12),
        *(
            joined(
                (
                    tag(
                        "line", class_="grid" if mark else "axis", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(mark), y2=y(mark)
                    ),
                    tag("text", f"{mark:,.10g}", class_="mark end", x=_LEFT - 8, y=y(mark) + 4),
                )
            )
            for mark in marks
        ),
        *(_moment(x(at), bottom, clock, date) for at, clock, date in moments),
        *(
            _area([ChartStep(x(each.begin), x(each.end), y(each.figure)) for each in run], bottom, colour)
            for run in _runs(steps)
        ),
    )


def bars(caption: Caption, rows: Sequence[ChartBar]) -> Markup:
    """Bars below each other, all by one scale."""
    longest = max((sum(share.figure for share in row.shares) for row in rows), default=0.0)
    scale = Scale(0, longest or 1.0, 0, _WIDTH - _LABEL_WIDTH - _FIGURE_WIDTH)
    drawn = []
    for number, row in enumerate(rows):
        top, at = number * _ROW, _LABEL_WIDTH
        drawn.append(tag("text", row.label, class_="label end", x=_LABEL_WIDTH - 10, y=top + 18))
        for share in row.shares:
            if width := _seen(scale(share.figure)):
                drawn.append(
                    tag("rect", tag("title", share.label), class_=share.colour, x=at, y=top + 5, width=width, height=18)
                )
                at += width
        drawn.append(tag("text", row.told, class_="label", x=at + 8, y=top + 18))
    return _svg(caption, max(len(rows), 1) * _ROW, *drawn)


def shares(caption: Caption, parts: Sequence[Share]) -> Markup:
    """One bar, the whole of which is all parts together."""
    total = sum(part.figure for part in parts)
    scale = Scale(0, total or 1.0, 0, _WIDTH)
    widths = [_seen(scale(part.figure)) for part in parts]
    shrink = _WIDTH / sum(widths) if total else 0.0
    drawn, at = [tag("rect", class_="none", x=0, y=0, width=_WIDTH, height=_ROW)], 0.0
    for part, width in zip(parts, widths, strict=True):
        if width:
            drawn.append(
                tag("rect", tag("title", part.label), class_=part.colour, x=at, y=0, width=width * shrink, height=_ROW)
            )
            at += width * shrink
    return _svg(caption, _ROW, *drawn)


def _seen(width: float) -> float:
    return max(width, _THINNEST) if width else 0.0


def _runs(steps: Sequence[ChartStep]) -> list[list[ChartStep]]:
    """Steps that follow each other without a gap."""
    found: list[list[ChartStep]] = []
    for step in steps:
        if found and step.begin - found[-1][-1].end < (step.end - step.begin) / 2:
            found[-1].append(step)
        else:
            found.append([step])
    return found


def _area(steps: Sequence[ChartStep], bottom: float, colour: str) -> Markup:
    """Places of a figure that goes from step to step, and what lies below it."""
    line = " ".join(f"{each.begin:.2f},{each.figure:.2f} {each.end:.2f},{each.figure:.2f}" for each in steps)
    begin, end = f"{steps[0].begin:.2f},{bottom:.2f}", f"{steps[-1].end:.2f},{bottom:.2f}"
    return joined(
        (
            tag("polygon", class_=f"area {colour}", points=f"{begin} {line} {end}"),
            tag("polyline", class_=f"line {colour}", points=f"{begin} {line} {end}"),
        )
    )


def _moment(x: float, bottom: float, clock: str, date: str) -> Markup:
    middle = min(x, _WIDTH - _DATE_WIDTH / 2)
    return joined(
        (
            tag("line", class_="axis", x1=x, x2=x, y1=bottom, y2=bottom + 5),
            tag("text", clock or date, class_="mark middle", x=middle, y=bottom + 19),
            tag("text", date, class_="mark middle", x=middle, y=bottom + 34) if clock and date else None,
        )
    )


def _svg(caption: Caption, height: float, *content: Markup) -> Markup:
    title, description = f"{caption.name}-title", f"{caption.name}-description"
    return tag(
        "svg",
        tag("title", caption.title, id=title),
        tag("desc", caption.description, id=description),
        *content,
        viewBox=f"0 0 {_WIDTH:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{title} {description}",
    )
