"""HTML and SVG, put together from elements: what is not made here is text of others, and is escaped."""

from __future__ import annotations

from collections.abc import Iterable
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
