"""Where the manifest lies: what kind of disk it is, and how much of it is free."""

from __future__ import annotations

import re
import shutil
from pathlib import Path, PurePosixPath

from mastosync.engine.doctor.findings import Chart, Finding
from mastosync.units import human_bytes

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3"}
)
_LOCAL_FUSE = frozenset({"fuse.ext2", "fuse.ntfs", "fuse.ntfs-3g", "fuse.mergerfs", "fuse.fuse-overlayfs", "fuseblk"})
_MEMORY = frozenset({"tmpfs", "ramfs"})
_ESCAPED = re.compile(r"\\([0-7]{3})")

_BYTES_PER_ENTRY = 150  # in the file, once its object is done
_LOG_SHARE = 1.25  # the write-ahead log holds what has changed since it was last taken over
_LEAST_BYTES = 64 * 1024 * 1024


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system that an absolute path lies in, by the text of /proc/self/mountinfo; "" if none fits."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if len(fields := before.split()) < 5 or not after:
            continue
        place = PurePosixPath(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        if path.is_relative_to(place) and len(place.parts) >= best:  # the last one of a place is what is seen
            best, kind = len(place.parts), after.split()[0]
    return kind


def check_file_system(chart: Chart, folder: Path) -> Finding:
    """SQLite's write-ahead log wants a disk of this machine, and a manifest wants to outlive it being switched off."""
    try:
        kind = file_system(folder.resolve(), _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:  # another system than Linux
        kind = ""
    if not kind:
        return next(iter(chart.skipped(("file-system",), "this system does not tell what kind it is")))
    if kind in _NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE):
        said = f"{folder} is on a network ({kind}), where locks and the write-ahead log of SQLite cannot be relied on"
        return chart.warning(
            "file-system", said, "use a local disk: --manifest, or `[manifest] path`, names another place"
        )
    if kind in _MEMORY:
        said = f"{folder} is in memory ({kind}): the manifest is gone when the machine restarts"
        return chart.warning("file-system", said, "use a disk: --manifest, or `[manifest] path`, names another place")
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
