"""Text that others wrote, as it may be shown: on a terminal it moves nothing, and a line stays one line.

Keys and file names come from strangers, and stores and databases say what they like. Whatever leaves
for people goes through here; what leaves for programs as JSON is exact and just as harmless.
"""

from __future__ import annotations

import json
import re

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
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def one_line(text: str) -> str:
    """The text on one line, with what does more than to be read spelled out as Python has it."""
    return _UNSAFE.sub(_spelled, text)


def several_lines(text: str) -> str:
    """The same for a text that has lines on purpose."""
    return _UNSAFE_BUT_LINES.sub(_spelled, text)


def as_json(value: object, indent: int | None = None) -> str:
    """JSON that says exactly what `value` is, and is safe to look at."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _spelled(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
