"""What a plan leaves out on request: files of other servers that Mastodon would fetch again by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress

from mastosync.model import CACHE_TABLES, EntryGroup


def marked(group: EntryGroup, since: float) -> Iterator[EntryGroup]:
    """The same entries, those of the cache that came before `since` (seconds since the epoch) marked as excluded.

    What is of this server stays in, and so do avatars, headers and emojis of others, and what nobody knows the age of.
    """
    if not (group.kind.remote and group.kind.table in CACHE_TABLES and group.updated):
        yield group
        return
    old = [came is not None and came < since for came in group.updated]
    if any(old):
        yield _of(group, old)._replace(excluded=True)
    if not all(old):
        yield _of(group, [not each for each in old])


def _of(group: EntryGroup, chosen: Sequence[bool]) -> EntryGroup:
    """Some entries of a group."""
    if all(chosen):
        return group
    return group._replace(
        ids=tuple(compress(group.ids, chosen)),
        names=tuple(compress(group.names, chosen)),
        fallbacks=group.fallbacks and tuple(compress(group.fallbacks, chosen)),
        sizes=group.sizes and tuple(compress(group.sizes, chosen)),
        updated=group.updated and tuple(compress(group.updated, chosen)),
    )
