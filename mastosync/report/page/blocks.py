"""What sections are made of: tables, and charts with their legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mastosync.report.page.markup import Markup, joined, tag

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
