"""What `refetch` found, as text for people."""

from __future__ import annotations

from mastosync.cli.colours import PAINT_OF
from mastosync.cli.render import table
from mastosync.engine.refetcher import Fate, Refetching
from mastosync.units import human_bytes, human_seconds

_HOSTS = 10
_MEANING = {
    Fate.DERIVED: "Mastodon makes these of the original: `tootctl media refresh` on its server does",
    Fate.NO_ADDRESS: "uploaded here, or of a kind whose URL Mastodon does not keep",
    Fate.CHANGED: "the row is gone, or another by now: `mastosync plan` tells",
    Fate.GONE: "the server that had it does not give it any more",
    Fate.UNLIKE: "what comes is of another type than what was stored, which Mastodon had made of it",
    Fate.REFUSED: "the URL leads where nobody must be asked",
    Fate.TOO_LARGE: "more than Mastodon takes",
    Fate.UNREACHED: "the server failed: the same command asks it again",
    Fate.NOT_STORED: "the destination did not take it",
}


def render_refetching(result: Refetching) -> str:
    """What `refetch` found, or brought."""
    total = result.total()
    if not total:
        return "nothing failed as missing"
    first = Fate.REFETCHED if result.applied else Fate.FETCHABLE
    fates = [first, *(fate for fate in Fate if fate is not first and total[fate])]
    rows = [
        (name, *(f"{counts[fate]:,}" for fate in fates))
        for name, counts in [*sorted(result.by_type.items()), ("total", total)]
    ]
    lines = [table(("missing", *fates), rows, (None, *map(PAINT_OF.get, fates))), ""]
    lines += [f"{fate.value}: {meaning}" for fate, meaning in _MEANING.items() if total[fate]]
    lines += result.examples
    asked = result.by_host.total()
    most = ", ".join(f"{host} {files:,}" for host, files in result.by_host.most_common(_HOSTS))
    if result.applied:
        lines.append(
            f"fetched {total[first]:,} of {asked:,} files ({human_bytes(result.fetched_bytes)}) from"
            f" {len(result.by_host):,} servers in {human_seconds(result.seconds)}"
        )
        lines.append("next: mastosync verify")
    else:
        lines.append(
            f"{asked:,} files could be asked for at {len(result.by_host):,} servers{f': {most}' if most else ''}"
        )
        lines.append("nobody was asked, and nothing was written: `mastosync refetch --apply` does it")
    return "\n".join(lines)
