"""Where the manifest lies: what kind of disk it is, and how much of it is free."""

from __future__ import annotations

import shutil
from pathlib import Path

from mastosync.doctor.findings import Chart, Finding
from mastosync.language import tr
from mastosync.manifest import is_memory, is_network, kind_of_disk
from mastosync.model import MANIFEST_BYTES_PER_ENTRY
from mastosync.units import human_bytes

_LOG_SHARE = 1.25  # the write-ahead log holds what has changed since it was last taken over
_LEAST_BYTES = 64 * 1024 * 1024


def check_file_system(chart: Chart, folder: Path, *, network_allowed: bool) -> Finding:
    """SQLite's write-ahead log wants a disk of this machine, and a manifest wants to outlive it being switched off."""
    kind = kind_of_disk(folder)
    if not kind:
        return next(
            iter(chart.skipped(("file-system",), tr("this system does not say what kind of file system it is")))
        )
    remedy = tr("use a local disk: --manifest, or `[manifest] path`, names another place")
    if is_network(kind):
        said = tr(
            "{folder} is on a network ({kind}), where locks and the write-ahead log of SQLite cannot be relied on",
            folder=folder,
            kind=kind,
        )
        if network_allowed:
            return chart.warning("file-system", said, remedy)
        risk = tr("`[manifest] network_filesystem = allow` allows it, at your own risk")
        return chart.failure("file-system", tr("{said}: nothing would be written", said=said), f"{remedy}; {risk}")
    if is_memory(kind):
        said = tr(
            "{folder} is in memory ({kind}): the manifest is gone when the machine restarts", folder=folder, kind=kind
        )
        return chart.warning(
            "file-system", said, tr("use a disk: --manifest, or `[manifest] path`, names another place")
        )
    return chart.ok("file-system", tr("{folder} is on {kind}, a local disk", folder=folder, kind=kind))


def check_disk(chart: Chart, path: Path, entries: int) -> Finding:
    """Whether a manifest of so many entries (0: nobody knows) has room. What it already takes up counts as free."""
    try:
        taken = path.stat().st_size if path.exists() else 0
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        return chart.failure(
            "disk",
            tr("cannot find out how much is free in {parent}: {strerror}", parent=path.parent, strerror=error.strerror),
            tr("check the disk"),
        )
    needed = max(_LEAST_BYTES, round(entries * MANIFEST_BYTES_PER_ENTRY * _LOG_SHARE) - taken)
    for_what = (
        tr("about {entries:,} entries need {size} more", entries=entries, size=human_bytes(needed))
        if entries
        else tr("how many entries there will be is not known")
    )
    said = tr("{size} are free; {for_what}", size=human_bytes(free), for_what=for_what)
    remedy = tr("free some space, or name another place with --manifest or `[manifest] path`")
    if free < needed:
        return chart.failure("disk", said, remedy)
    if free < 2 * needed:
        return chart.warning("disk", tr("{said}; that leaves little room", said=said), remedy)
    return chart.ok("disk", said)
