"""What a check of the manifest found, as text and as JSON."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mastosync.units import human_bytes

if TYPE_CHECKING:
    from mastosync.manifest import Soundness

_TOLD = 20  # of one part


def render_soundness(found: Soundness, manifest: Path) -> str:
    """All of it for people."""
    what = f"{manifest}: version {found.version}, {human_bytes(found.size_bytes)}, {found.entries:,} entries"
    if not found.faults:
        return "\n".join(filter(None, (what, found.repaired, "sound")))
    lines = [what]
    for part, faults in groupby(found.faults, key=lambda fault: fault.part):
        of_part = list(faults)
        lines += [f"{part}: {fault.message}" for fault in of_part[:_TOLD]]
        if len(of_part) > _TOLD:
            lines.append(f"{part}: and {len(of_part) - _TOLD:,} more")
        lines += [f"  -> {remedy}" for remedy in dict.fromkeys(fault.remedy for fault in of_part)]
    lines.append("not sound")
    return "\n".join(lines)


def soundness_as_json(found: Soundness) -> dict[str, Any]:
    """The names are part of the interface."""
    return {
        "sound": not found.faults,
        "version": found.version,
        "entries": found.entries,
        "size_bytes": found.size_bytes,
        "faults": [
            {"part": fault.part.value, "message": fault.message, "remedy": fault.remedy} for fault in found.faults
        ],
        "repaired": found.repaired or None,
    }
