"""Files that should be nobody else's business."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from mastosync.language import tr


def open_to_all(*files: Path | None) -> Iterator[str]:
    """A warning for each file that everybody on this machine may read or write.

    They were made for their owner alone. A group that was let in later is somebody's decision, and left alone; so is
    the mode itself, in case the whole world was meant.
    """
    for file in files:
        if file is None:
            continue
        try:
            mode = file.stat().st_mode
        except OSError:
            continue  # whoever opens it tells
        if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
            command = f"chmod 600 {shlex.quote(str(file))}"
            yield (
                tr("{file} can be written by everybody on this machine: {command}", file=file, command=command)
                if mode & stat.S_IWOTH
                else tr("{file} can be read by everybody on this machine: {command}", file=file, command=command)
            )
