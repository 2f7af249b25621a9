"""Numbers as people read them."""

from __future__ import annotations

from datetime import timedelta


def human_bytes(count: float) -> str:
    """Bytes with a binary unit: 512 B, 1.5 KiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} PiB"


def human_seconds(seconds: float) -> str:
    """A duration: seconds when short, days, hours and minutes when not."""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
