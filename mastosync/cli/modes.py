"""Files that should be nobody else's business."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from pathlib import Path


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
            what = "written" if mode & stat.S_IWOTH else "read"
            yield f"{file} can be {what} by everybody on this machine: chmod 600 {shlex.quote(str(file))}"
