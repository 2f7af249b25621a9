"""The digest of a manifest: what every entry is and what became of it, however the file lies on its disk.

It is the SHA-256 of one line for each entry, in the order of `manifest export`: its key at the destination in base64,
state, reason, size, MD5 and, in base64, ETag, with a space between any two; what is not known is empty. Keys stand in
base64 as they may hold anything, and instead of ids as jq before 1.7 rounds those. So whoever doubts it needs no
mastosync but an export: docs/design.md has the line of jq.
"""

from __future__ import annotations

import hashlib
import time
from binascii import b2a_base64
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from mastosync.manifest import ArchiveReader
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, EntryState, Origin

DIGEST_NAME = "mastosync-manifest-sha256"
"""What the digest is called in the head of a document."""

_DONE = EntryState.DONE.value
_AT_ONCE = 2_000  # entries


@dataclass(frozen=True, slots=True)
class Amount:
    """Objects and their bytes."""

    objects: int = 0
    size_bytes: int = 0

    def as_json(self) -> dict[str, int]:
        """For scripts."""
        return {"objects": self.objects, "bytes": self.size_bytes}


@dataclass(slots=True)
class Contents:
    """What one look at every entry tells."""

    sha256: str
    entries: int
    by_origin: dict[Origin, Amount]  # what is done
    newest: dict[Origin, int]  # when the newest of it was uploaded, seconds since the epoch; 0: not known


def contents_of(reader: ArchiveReader, destination_prefix: str, note: Callable[[int], None]) -> Contents:
    """Read every entry, in constant memory. `note` is told how many went by. Raises: ManifestError."""
    digest, entries, now = hashlib.sha256(), 0, time.time()
    objects: Counter[str] = Counter()
    size_bytes: Counter[str] = Counter()
    newest: Counter[str] = Counter()
    fates = reader.iter_fates()
    while some := list(islice(fates, _AT_ONCE)):
        lines = []
        for kind, row_id, name, state, reason, size, md5, etag, origin, updated in some:
            key = canonical_key(Entry(kind, row_id, name, None, False, False, None), destination_prefix)
            known = "" if size is None else size
            tag = _base64(etag) if etag else ""
            lines.append(f"{_base64(key)} {state} {reason} {known} {md5.hex() if md5 else ''} {tag}\n")
            if state == _DONE:
                objects[origin] += 1
                size_bytes[origin] += size or 0
                if updated and newest[origin] < updated <= now:  # clocks may have been wrong
                    newest[origin] = updated
        digest.update("".join(lines).encode("ascii"))
        entries += len(some)
        note(len(some))
    by_origin = {origin: Amount(objects[origin], size_bytes[origin]) for origin in Origin}
    return Contents(digest.hexdigest(), entries, by_origin, {origin: newest[origin] for origin in Origin})


def _base64(text: str) -> str:
    return b2a_base64(text.encode(), newline=False).decode("ascii")
