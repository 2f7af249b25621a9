"""Which keys may be deleted in the end when source and destination are one bucket, which has to stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mastosync.language import tr
from mastosync.manifest import Manifest, ManifestReport, StoreIdentity, in_one_bucket
from mastosync.mastodon.catalog import CATALOG
from mastosync.model import TABLES

_TREES = ("cache/", *(f"{table}/" for table in TABLES))
"""What keys begin with, after the key prefix."""
_DIRECTORIES = tuple(f"{cache}{spec.directory}/" for spec in CATALOG for cache in ("", "cache/"))
"""The same to the last segment that is known."""


@dataclass(frozen=True, slots=True)
class SharedBucket:
    """A bucket that is source and destination, under two key prefixes."""

    bucket: str
    old: str  # the key prefix of the source
    prefixes: tuple[str, ...]  # keys that begin so are old ones, and no new one does; empty: nobody can tell by that

    @classmethod
    def of(cls, source: StoreIdentity, destination: StoreIdentity) -> SharedBucket:
        """Of two stores that are known to be one bucket."""
        return cls(source.bucket, source.key_prefix, _apart(source.key_prefix, destination.key_prefix))

    @property
    def message(self) -> str:
        """What is to be known, for people."""
        return tr("source and destination are one bucket, {bucket!r}: the bucket has to stay", bucket=self.bucket)

    @property
    def remedy(self) -> str:
        """What may be removed in the end, for people."""
        if not self.prefixes:
            return tr(
                "old and new keys begin alike (the old key prefix is {prefix!r}): remove only objects whose key "
                "is a source_key, and no key, in `mastosync ls --format jsonl`",
                prefix=self.old,
            )
        return tr(
            "in the end, remove only objects whose keys begin with {prefixes}",
            prefixes=_one_of([repr(prefix) for prefix in self.prefixes]),
        )


def shared_bucket(manifest: Manifest) -> SharedBucket | None:
    """The bucket that both stores of a manifest are; None if they are two. Raises: ManifestError."""
    source, destination = (ManifestReport(manifest).store(role) for role in ("source", "destination"))
    if source is None or destination is None or source.is_folder:
        return None
    if not in_one_bucket(manifest):
        return None
    return SharedBucket.of(source, destination)


def _apart(old: str, new: str) -> tuple[str, ...]:
    """What old keys begin with and new ones do not: the old key prefix, or as much below it as can be told apart."""
    if ":" in old or ":" in new:
        return ()  # such a prefix is another one for each attachment
    taken = [_head(new) + directory for directory in _DIRECTORIES]
    below = tuple(_head(old) + tree for tree in _TREES)
    return tuple(head for head in ((_head(old),) if _is_free(_head(old), taken) else below) if _is_free(head, taken))


def _head(prefix: str) -> str:
    """What a key prefix makes of the beginning of keys."""
    return f"{prefix}/".removeprefix("/") if prefix else ""


def _is_free(head: str, taken: Sequence[str]) -> bool:
    return not any(other.startswith(head) or head.startswith(other) for other in taken)


def _one_of(names: Sequence[str]) -> str:
    *others, last = names
    return tr("{names} or {last}", names=", ".join(others), last=last) if others else last
