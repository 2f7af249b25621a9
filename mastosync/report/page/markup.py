"""HTML and SVG, put together from elements: what is not made here is text of others, and is escaped.

What sections are made of: tables, and charts with their legends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from mastosync.terminal_text import one_line

_VOID = {"meta"}  # elements of HTML without an end


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
    """Rows of so many columns of words, and figures in the others; the first cell names its row."""

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
