"""What the world does by itself on a moving day: words for it, and when it happens. Nothing here does anything."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Move(Enum):
    """One thing that happens to a row and its file, or that another tool does at the destination."""

    COMES = "a row comes"
    LEAVES = "a row leaves"
    RETURNS = "a row returns as it was"
    RETURNS_OTHER = "a row returns with another file of the same name"
    REPLACED = "a file is replaced under the same name"
    RENAMED = "a file is replaced under another name"
    RESIZED = "a row tells another size of the same file"
    TOUCHED = "a row tells another time of the same file"
    SUSPENDS = "an account is suspended"
    UNSUSPENDS = "an account is no longer suspended"
    LOCALISED = "a remote row becomes local"
    BYTES_IN_PUBLIC = "another tool writes what is private, for everybody to read"
    OTHER_BYTES = "another tool writes other bytes of the same size"
    DELETES = "another tool deletes an object"

    @property
    def at_destination(self) -> bool:
        """Whether it is another tool that does it."""
        return self in (Move.BYTES_IN_PUBLIC, Move.OTHER_BYTES, Move.DELETES)


@dataclass(frozen=True, slots=True)
class Change:
    """A move, and which row or object it is about: what it can be about stands in some order, and `pick` counts on."""

    move: Move
    pick: int

    def __str__(self) -> str:
        """As it is shown to whoever replays a scenario."""
        return self.move.value


class Wrong(Enum):
    """A database that a plan is made of by mistake."""

    EMPTY = "an empty database"
    HALF = "a database that is restored by half"
