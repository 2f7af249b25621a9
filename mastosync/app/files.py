"""Files that people name for what is written: whole or not at all, and in nobody's place unless that is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mastosync.manifest import is_there
from mastosync.new_files import appearing, require_room_for, written


def require_new(target: Path, hint: str) -> None:
    """Raises: UsageError if there is such a file already; `hint` says what to do then."""
    require_room_for(target, hint=hint)


@contextmanager
def new_file(target: Path, *, replace: bool = False, mode: int = 0o600, hint: str = "") -> Iterator[TextIO]:
    """A text that takes its name when the block has ended well. `hint`: what to do if there is such a file already.

    Raises: UsageError if there is one that is not to be replaced; OutputError if nothing can be written.
    """
    if not replace:
        require_new(target, hint)
    with appearing(target, replace=replace) as partial, written(target), partial.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        yield file


def manifest_beside(config: Path, path: Path) -> Path | None:
    """The manifest beside the configuration, in full, if none lies where a relative path leads from here."""
    if path.is_absolute() or is_there(path) or not is_there(config.parent / path):
        return None
    return (config.parent / path).resolve()
