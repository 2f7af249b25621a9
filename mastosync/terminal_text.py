"""Text as people see it: harmless, whoever wrote it, and in lines of so many columns.

Keys and file names come from strangers, and stores and databases say what they like. Whatever leaves
for people goes through here; what leaves for programs as JSON is exact and just as harmless.
In East Asia characters are two columns wide, and lines break between them, as words have no spaces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from unicodedata import category, combining, east_asian_width

_NOT_IN_JSON = (
    "\x7f-\x9f"  # DEL, and C1: some terminals take U+009B for the beginning of a command
    "\u2028\u2029"  # line ends to some programs, as U+0085 is
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of text
    "\ufeff\ufff9-\ufffb"  # invisible
    "\ud800-\udfff"  # halves of characters, which cannot be written at all
)
_UNSAFE = re.compile(f"[\x00-\x1f{_NOT_IN_JSON}]")
_UNSAFE_BUT_LINES = re.compile(f"[\x00-\x09\x0b-\x1f{_NOT_IN_JSON}]")
_UNSAFE_IN_JSON = re.compile(f"[{_NOT_IN_JSON}]")  # what comes before a space JSON escapes itself
_KATAKANA = frozenset(map(chr, range(0x30A1, 0x30FF)))
_NEVER_FIRST = frozenset("ーァィゥェォッャュョぁぃぅぇぉっゃゅょ々")
_CLOSING, _OPENING = {"Pe", "Pf", "Po"}, {"Ps", "Pi"}  # general categories of punctuation
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def one_line(text: str) -> str:
    """The text on one line, with what does more than to be read spelled out as Python has it."""
    return _UNSAFE.sub(_spelled, text)


def several_lines(text: str) -> str:
    """`one_line` for a text that has lines on purpose: they stay."""
    return _UNSAFE_BUT_LINES.sub(_spelled, text)


def as_json(value: object, indent: int | None = None) -> str:
    """JSON that says exactly what `value` is, and is safe to look at."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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


def _spelled(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


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
