"""Where the manifest lies: what kind of disk it is, and how much of it is free."""

from __future__ import annotations

import shutil
from pathlib import Path

from mastosync.engine.doctor.findings import Chart, Finding
from mastosync.manifest import is_memory, is_network, kind_of_disk
from mastosync.units import human_bytes

_BYTES_PER_ENTRY = 150  # in the file, once its object is done
_LOG_SHARE = 1.25  # the write-ahead log holds what has changed since it was last taken over
_LEAST_BYTES = 64 * 1024 * 1024


def check_file_system(chart: Chart, folder: Path, *, network_allowed: bool) -> Finding:
    """SQLite's write-ahead log wants a disk of this machine, and a manifest wants to outlive it being switched off."""
    kind = kind_of_disk(folder)
    if not kind:
        return next(iter(chart.skipped(("file-system",), "this system does not tell what kind it is")))
    remedy = "use a local disk: --manifest, or `[manifest] path`, names another place"
    if is_network(kind):
        said = f"{folder} is on a network ({kind}), where locks and the write-ahead log of SQLite cannot be relied on"
        if network_allowed:
            return chart.warning("file-system", said, remedy)
        risk = "`[manifest] network_filesystem = allow` takes the risk"
        return chart.failure("file-system", f"{said}: nothing would be written", f"{remedy}; {risk}")
    if is_memory(kind):
        said = f"{folder} is in memory ({kind}): the manifest is gone when the machine restarts"
        return chart.warning("file-system", said, remedy.replace("local disk", "disk"))
    return chart.ok("file-system", f"{folder} is on {kind}, a local disk")


def check_disk(chart: Chart, path: Path, entries: int) -> Finding:
    """Whether a manifest of so many entries (0: nobody knows) has room. What it already takes up counts as free."""
    try:
        taken = path.stat().st_size if path.exists() else 0
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        return chart.failure("disk", f"{path.parent} does not tell what is free: {error.strerror}", "check the disk")
    needed = max(_LEAST_BYTES, round(entries * _BYTES_PER_ENTRY * _LOG_SHARE) - taken)
    for_what = (
        f"about {entries:,} entries need {human_bytes(needed)} more" if entries else "how many entries, nobody knows"
    )
    said = f"{human_bytes(free)} are free; {for_what}"
    remedy = "free some space, or name another place with --manifest or `[manifest] path`"
    if free < needed:
        return chart.failure("disk", said, remedy)
    if free < 2 * needed:
        return chart.warning("disk", f"{said}, which leaves little", remedy)
    return chart.ok("disk", said)
