"""What `refetch` found, as text for people."""

from __future__ import annotations

from mastosync.cli.colours import PAINT_OF
from mastosync.cli.render import table
from mastosync.engine.refetcher import Fate, Refetching
from mastosync.language import deferred, say, tr
from mastosync.units import human_bytes, human_seconds

_HOSTS = 10
_MEANING = {
    Fate.DERIVED: deferred(
        "Mastodon makes these of the original: `tootctl media refresh` and `tootctl accounts refresh` on its server do;"
        " those of emojis, and of pictures of this server, come when the picture comes anew"
    ),
    Fate.NO_ADDRESS: deferred("uploaded here, or of a kind whose URL Mastodon does not keep"),
    Fate.CHANGED: deferred("the row is gone, or another by now: `mastosync plan` tells"),
    Fate.GONE: deferred("the server that had it does not give it any more"),
    Fate.UNLIKE: deferred("what comes is of another type than what was stored, which Mastodon had made of it"),
    Fate.REFUSED: deferred("the URL leads where nobody must be asked"),
    Fate.TOO_LARGE: deferred("more than Mastodon takes"),
    Fate.UNREACHED: deferred("the server failed: the same command asks it again"),
    Fate.NOT_STORED: deferred("the destination did not take it"),
}


def render_refetching(result: Refetching) -> str:
    """What `refetch` found, or brought."""
    total = result.total()
    if not total:
        return tr("nothing failed as missing")
    first = Fate.REFETCHED if result.applied else Fate.FETCHABLE
    fates = [first, *(fate for fate in Fate if fate is not first and total[fate])]
    rows = [
        (name, *(f"{counts[fate]:,}" for fate in fates))
        for name, counts in [*sorted(result.by_type.items()), (tr("total"), total)]
    ]
    lines = [table((tr("missing"), *fates), rows, (None, *map(PAINT_OF.get, fates))), ""]
    lines += [f"{fate.value}: {say(meaning)}" for fate, meaning in _MEANING.items() if total[fate]]
    lines += result.examples
    asked = result.by_host.total()
    most = ", ".join(f"{host} {files:,}" for host, files in result.by_host.most_common(_HOSTS))
    if result.applied:
        lines.append(
            tr(
                "fetched {fetched:,} of {asked:,} files ({size}) from {servers:,} servers in {duration}",
                fetched=total[first],
                asked=asked,
                size=human_bytes(result.fetched_bytes),
                servers=len(result.by_host),
                duration=human_seconds(result.seconds),
            )
        )
        if total[first]:
            lines.append(tr("next: mastosync verify"))
    else:
        lines.append(
            tr(
                "{asked:,} files could be asked for at {servers:,} servers{most}",
                asked=asked,
                servers=len(result.by_host),
                most=f": {most}" if most else "",
            )
        )
        lines.append(tr("nobody was asked, and nothing was written: `mastosync refetch --apply` does it"))
    return "\n".join(lines)
