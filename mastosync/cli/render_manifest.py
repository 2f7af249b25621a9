"""What a check of the manifest found, as text and as JSON."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mastosync.language import tr
from mastosync.units import human_bytes

if TYPE_CHECKING:
    from mastosync.manifest import Soundness

_TOLD = 20  # of one part


def render_soundness(found: Soundness, manifest: Path) -> str:
    """All of it for people."""
    what = tr(
        "{manifest}: version {version}, {size}, {entries:,} entries",
        manifest=manifest,
        version=found.version,
        size=human_bytes(found.size_bytes),
        entries=found.entries,
    )
    if not found.faults:
        return "\n".join(filter(None, (what, found.repaired, tr("sound: nothing is wrong with it"))))
    lines = [what]
    for part, faults in groupby(found.faults, key=lambda fault: fault.part):
        of_part = list(faults)
        lines += [f"{part}: {fault.message}" for fault in of_part[:_TOLD]]
        if len(of_part) > _TOLD:
            lines.append(tr("{part}: and {number:,} more", part=part, number=len(of_part) - _TOLD))
        lines += [f"  -> {remedy}" for remedy in dict.fromkeys(fault.remedy for fault in of_part)]
    lines.append(tr("not sound: see above"))
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
