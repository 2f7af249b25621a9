"""From keys to paths below the root, and back.

A key is its own path, as Paperclip has it on a disk. What no path can be (a segment that is empty, a
dot or two, or longer than 255 bytes; a NUL) has a path of its own under the reserved folder: its bytes
in hexadecimal digits, which fold, escape and leave the root nowhere. So does a key with a segment of
that folder's own name, so no two keys have one path. Digits keep the order of keys.
"""

from __future__ import annotations

import unicodedata

RESERVED = b".mastosync"
"""The one name that no folder of a key has: what is made here, and is no object, lies there."""

ESCAPED = RESERVED + b"/keys"
"""The folder of keys that no path can be."""

WORK = RESERVED + b"/work"
"""The folder of what is not whole yet."""

_LONGEST_SEGMENT = 255  # bytes: NAME_MAX of every usual file system
_DIGITS = 240  # of an escaped key, in one segment
_GOES_ON = b"+"  # ends a segment that others follow: it is a folder, and never the file of another key


def path_of(key: str) -> bytes:
    """The path of a key, relative to the root. No two keys have one. Raises: ValueError if this is no key."""
    name = key.encode()
    if not name:
        raise ValueError("it is empty")
    segments = name.split(b"/")
    if all(map(_can_be, segments)) and b"\0" not in name:
        return name
    digits = name.hex().encode()
    pieces = [digits[start : start + _DIGITS] for start in range(0, len(digits), _DIGITS)]
    return b"/".join((ESCAPED, *(piece + _GOES_ON for piece in pieces[:-1]), pieces[-1]))


def key_of_escaped(path: bytes) -> str | None:
    """The key of a path below `ESCAPED`; None if it is no key's."""
    try:
        key = bytes.fromhex(path.replace(_GOES_ON + b"/", b"").decode()).decode()
        return key if path_of(key) == ESCAPED + b"/" + path else None
    except ValueError:
        return None


def namesake(name: str, names: list[str]) -> str | None:
    """Another name that a disk takes for this one, if it folds case and forms of Unicode."""
    if name in names:
        return None
    return next((other for other in names if _folded(other) == _folded(name)), None)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _can_be(segment: bytes) -> bool:
    return 0 < len(segment) <= _LONGEST_SEGMENT and segment not in (b".", b"..") and segment.lower() != RESERVED
