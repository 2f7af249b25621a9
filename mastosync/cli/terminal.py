"""Colours on standard output: who has one, and who sees it.

A text is painted where it is made and coloured where it leaves, and between the two it is looked at for what others
have written (`plain.several_lines`), which spells out every escape. So what stands for our own escapes has to pass
there, and nobody else may be able to write it: it is made up anew in every run.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from functools import cache

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
"""How states, grades, verdicts and fates are painted. What is not here is plain."""


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
