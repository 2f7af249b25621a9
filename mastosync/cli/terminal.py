"""Text on a terminal: columns and colours.

Text is painted where it is made and coloured where it leaves. Between the two it is searched for what others have
written (`terminal_text.several_lines`), which spells out every escape. So what stands for our own escapes has to pass
there, and nobody else may be able to write it: it is made up anew in every run.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from itertools import repeat, zip_longest
from typing import TypeVar

from mastosync.language import tr
from mastosync.terminal_text import one_line, width_of

S = TypeVar("S", bound=StrEnum)


_ESCAPE = os.urandom(8).hex()
"""In place of the two characters that begin a colour, until `coloured` puts them there."""


class Paint(StrEnum):
    """What a text is, and the attributes that show it (ECMA-48, SGR)."""

    HEADING = "1"
    GOOD = "32"
    BAD = "31"
    WAITING = "33"


PAINT_OF: dict[str, Paint] = {
    **dict.fromkeys(("done", "ok", "fine", "adopted", "refetched"), Paint.GOOD),
    **dict.fromkeys(("pending", "warning", "unproven", "unread", "undecided", "unreached"), Paint.WAITING),
    **dict.fromkeys(("failed", "failure", "lost", "different", "not_stored"), Paint.BAD),
}
"""How states, grades and verdicts are painted. What is not here is plain."""


def paint(text: str, how: Paint | None) -> str:
    """The text as `how` has it, if standard output shows colours; it must be one line."""
    return f"{_ESCAPE}{how}m{text}{_ESCAPE}0m" if how and text and shows_colours() else text


def coloured(text: str) -> str:
    """Painted text as a terminal wants it."""
    return text.replace(_ESCAPE, "\x1b[")


@cache
def shows_colours() -> bool:
    """Whether standard output is a terminal that shows colours, and nobody wants it otherwise.

    `NO_COLOR` is heeded first (no-color.org), then `FORCE_COLOR` and `CLICOLOR_FORCE`, then `CLICOLOR=0`.
    """
    wish = os.environ.get
    if wish("NO_COLOR"):
        return False
    if wish("FORCE_COLOR", "0") not in ("", "0") or wish("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return sys.stdout.isatty() and wish("TERM") != "dumb" and wish("CLICOLOR") != "0"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], paints: Sequence[Paint | None] = ()) -> str:
    """Columns as wide as they need to be, words to the left and numbers to the right.

    `paints`: how the first columns are painted, where there is anything but a zero.
    """
    rows = [tuple(map(one_line, row)) for row in rows]
    numbers = [all(row[column][:1].isdigit() or not row[column] for row in rows) for column in range(len(head))]
    numbers[0] = False
    widths = [max(width_of(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str], paints: Iterable[Paint | None]) -> str:
        cells = zip(row, widths, paints, numbers, strict=False)
        return "  ".join(_cell(text, width, how, right=right) for text, width, how, right in cells).rstrip()

    of_columns = [how for how, _ in zip_longest(paints, head)]
    return "\n".join([line(head, repeat(Paint.HEADING)), *(line(row, of_columns) for row in rows)])


def _cell(text: str, width: int, how: Paint | None, *, right: bool) -> str:
    padding, painted = " " * (width - width_of(text)), paint(text, how if text != "0" else None)
    return padding + painted if right else painted + padding


def status_table(head: str, statuses: Sequence[S], by_type: Mapping[str, Counter[S]]) -> str:
    """How many entries of each type have each of these statuses, with totals below."""
    rows = [*sorted(by_type.items()), (tr("total"), sum(by_type.values(), Counter[S]()))]
    counts = [(name, *(f"{of_type[status]:,}" for status in statuses)) for name, of_type in rows]
    return table((head, *statuses), counts, (None, *map(PAINT_OF.get, statuses)))
