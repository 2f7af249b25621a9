"""Entries and claims of them, one by one or in the groups in which a plan moves them."""

from __future__ import annotations

from collections.abc import Iterable

from mastosync.manifest import Approach, approach_to, write_started
from mastosync.model import NOTHING, NOTHING_ARRIVED, Arrival, Claim, Entry, EntryGroup, Kind, Presence

LOCAL = Kind("accounts", "avatar", "original", "accounts/avatars", remote=False, cached=False)
REMOTE = Kind("media_attachments", "file", "small", "media_attachments/files", remote=True, cached=True)


def entry(
    row_id: int = 1,
    name: str = "a.png",
    *,
    kind: Kind = LOCAL,
    fallback: str | None = None,
    optional: bool = False,
    private: bool = False,
    updated: int | None = None,
) -> Entry:
    return Entry(kind, row_id, name, fallback, optional, private, None, updated)


def claim(of: Entry, *, left_behind: bool = False) -> Claim:
    """`left_behind`: by a dead run, so that its object may have arrived."""
    return Claim(of, 0, Arrival(write_started(NOTHING, private=of.private)) if left_behind else NOTHING_ARRIVED)


def written_before(of: Entry, presence: Presence, attempts: int = 1) -> Claim:
    """A claim of something that is known to lie at the destination, with this MD5 of nobody's."""
    return Claim(of, attempts, Arrival(presence, b"\0" * 16))


def approach_of(claim: Claim) -> Approach:
    """What a copy does first about what lies at the destination."""
    presence, md5, etag, *_ = claim.arrival
    return approach_to(presence, private=claim.entry.private, has_digest=md5 is not None or etag is not None)


def grouped(entries: Iterable[Entry]) -> list[EntryGroup]:
    """Entries as a plan moves them."""
    alike: dict[tuple[Kind, bool, bool], list[Entry]] = {}
    for each in entries:
        alike.setdefault((each.kind, each.optional, each.private), []).append(each)
    groups = []
    for traits, found in alike.items():
        _, ids, names, fallbacks, _, _, sizes, updated = zip(*found, strict=True)
        groups.append(EntryGroup(*traits, ids, names, fallbacks if any(fallbacks) else None, sizes, updated))
    return groups


def ungrouped(groups: Iterable[EntryGroup]) -> list[Entry]:
    """What groups hold, by kind, id and name."""
    found = []
    for kind, optional, private, ids, names, fallbacks, sizes, updated, _ in groups:
        nothing = [None] * len(ids)
        lines = zip(ids, names, fallbacks or nothing, sizes or nothing, updated or nothing, strict=True)
        found += [
            Entry(kind, row_id, name, other, optional, private, size, since)
            for row_id, name, other, size, since in lines
        ]
    return sorted(found, key=lambda each: each[:3])
