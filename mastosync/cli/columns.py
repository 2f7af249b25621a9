"""How wide text is on a terminal, and where its lines may be broken: in East Asia, too, where words have no spaces."""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import category, combining, east_asian_width

_KATAKANA = frozenset(map(chr, range(0x30A1, 0x30FF)))
_NEVER_FIRST = frozenset("ーァィゥェォッャュョぁぃぅぇぉっゃゅょ々")
_CLOSING, _OPENING = {"Pe", "Pf", "Po"}, {"Ps", "Pi"}  # general categories of punctuation


def width_of(text: str) -> int:
    """In columns: most characters of East Asia take two."""
    return len(text) if text.isascii() else sum(map(_width, text))


def padded(text: str, width: int) -> str:
    """With as many spaces behind it as it takes."""
    return text + " " * (width - width_of(text))


def wrapped(text: str, width: int) -> list[str]:
    """One paragraph in lines of so many columns. What cannot be broken is left as it is, however wide."""
    lines = [""]
    for piece in _pieces(text):
        if lines[-1] and width_of(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _pieces(text: str) -> Iterator[str]:
    """What has to stay on one line, with the spaces behind it."""
    begin = 0
    for at in range(1, len(text)):
        before, after = text[at - 1], text[at]
        if after != " " and (before == " " or _may_part(before, after)):
            yield text[begin:at]
            begin = at
    yield text[begin:]


def _may_part(before: str, after: str) -> bool:
    if _width(before) < 2 and _width(after) < 2:
        return False  # within a word that spaces set off
    if before in _KATAKANA and after in _KATAKANA:
        return False  # within a word from another language, which reads badly in halves
    return category(before) not in _OPENING and category(after) not in _CLOSING and after not in _NEVER_FIRST


def _width(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
