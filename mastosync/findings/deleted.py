"""What may be deleted after a migration.

Two things:

* Objects whose rows were deleted and which still lie at the destination, and up to when all of them are known
  (`Deleted`). Only a plan that reads whole tables finds that rows are gone; a delta does not, nor does a copy.
* Keys of the source, where both stores are one bucket, which itself has to stay (`SharedBucket`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mastosync.findings import Finding, Grade
from mastosync.language import enumerated, joined, tr, trn
from mastosync.manifest import (
    CountLine,
    Manifest,
    ManifestReader,
    PlanRecord,
    Removable,
    StoreIdentity,
    count_removable,
    in_one_bucket,
)
from mastosync.mastodon.catalog import CATALOG
from mastosync.model import TABLES, EntryState
from mastosync.units import human_bytes, human_seconds

PLAN_AT_MOST_OLD = timedelta(hours=1)
"""How old the last whole plan may be for deletions to count as known."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """Deleted rows whose objects have arrived, as far as the manifest knows."""

    gone: Removable  # objects at the destination whose rows were deleted
    known_at: float | None  # seconds since the epoch: the plan that found them; None: no plan could have
    later: bool  # a copy, or a delta, has been at work since

    @classmethod
    def of(
        cls,
        removable: Removable,
        counts: Sequence[CountLine],
        plans: Sequence[PlanRecord],
        copied_at: float | None,
    ) -> Deleted:
        """`copied_at`: when a copy was last at work, in seconds since the epoch."""
        arrived = {(line.kind.table, line.kind.remote) for line in counts if line.state is EntryState.DONE}
        whole = [plan for plan in plans if not plan.incremental]
        read = [
            max((plan.began_at for plan in whole if plan.takes_in(table, remote=remote)), default=None)
            for table, remote in arrived
        ]
        moments = [moment for moment in read if moment is not None]
        if len(moments) < len(read):
            return cls(removable, None, later=True)
        known_at = min(moments, default=max(plan.began_at for plan in plans))
        since = [copied_at or known_at, *(plan.began_at for plan in plans if plan.incremental)]
        return cls(removable, known_at, later=max(since) > known_at)

    @classmethod
    def in_manifest(cls, manifest: Manifest) -> Deleted:
        """What this manifest says. Raises: ManifestError."""
        report = ManifestReader(manifest)
        return cls.known_from(manifest, report.counts(), list(report.iter_snapshots()))

    @classmethod
    def known_from(cls, manifest: Manifest, counts: Sequence[CountLine], plans: Sequence[PlanRecord]) -> Deleted:
        """`in_manifest`, if counters and plans have been read already. Raises: ManifestError."""
        last_run = ManifestReader(manifest).last_run()
        return cls.of(count_removable(manifest), counts, plans, last_run.updated_at if last_run else None)

    def is_known(self, now: float) -> bool:
        """Whether every deletion up to the last full plan is known, and that plan is recent. `now`: Unix time."""
        return self.known_at is not None and not self.later and now - self.known_at <= PLAN_AT_MOST_OLD.total_seconds()


def unknown_deletions_message(deleted: Deleted, now: float) -> str:
    """That deletions are known only up to a moment; empty: they are known. `now`: seconds since the epoch."""
    if deleted.is_known(now):
        return ""
    if deleted.known_at == 0:  # the lag is unknown
        return tr(
            "objects that were deleted after they were copied are not known: the last whole plan read a standby that"
            " cannot tell how far it is behind"
        )
    if deleted.known_at is None:
        return tr(
            "objects that were deleted after they were copied are not known: no plan has read all of those tables"
        )
    return tr(
        "objects that were deleted since the last whole plan ({age} ago) are not known yet, and may still be at "
        "the destination",
        age=human_seconds(max(now - deleted.known_at, 0)),
    )


def lost_rows_message(lost: int) -> str:
    """How many objects stay at the destination whatever is pruned."""
    return trn(
        "{count:,} object stays: a plan lost it by --accept-gone. If it was really deleted: `mastosync accept --gone`."
        " If not, plan from the right database",
        "{count:,} objects stay: a plan lost them by --accept-gone. If they were really deleted: `mastosync accept"
        " --gone`. If not, plan from the right database",
        lost,
    )


def gone_message(gone: Removable) -> str:
    """How many objects at the destination have no row any more."""
    told = [_removable_message(gone)] if gone.objects else []
    return joined([*told, lost_rows_message(gone.lost)] if gone.lost else told)


def _removable_message(gone: Removable) -> str:
    told = trn(
        "{objects} object{size} is still at the destination although it left the database: anybody who knows its "
        "address can read it",
        "{objects} objects{size} are still at the destination although they left the database: anybody who knows "
        "their addresses can read them",
        gone.objects,
        objects=f"{gone.objects:,}",
        size=f" ({human_bytes(gone.size_bytes)})" if gone.size_bytes else "",
    )
    if not gone.adopted:
        return told
    if gone.adopted == gone.objects:
        return tr(
            "{told}. mastosync has copied none of them: all were adopted, because they were already there", told=told
        )
    return tr(
        "{told}. mastosync has copied {copied} of them, and has adopted {adopted}, which were already there",
        told=told,
        copied=f"{gone.objects - gone.adopted:,}",
        adopted=f"{gone.adopted:,}",
    )


def gone_as_json(gone: Removable) -> dict[str, int]:
    """Objects whose rows are gone, as JSON shows them."""
    return {"objects": gone.objects, "bytes": gone.size_bytes, "adopted": gone.adopted, "lost": gone.lost}


def removal_remedy(gone: Removable, *, by_hand: bool, lost: bool = False) -> str:
    """How to remove objects whose rows are gone.

    `by_hand`: both stores are one bucket, where `prune` removes nothing. `lost`: plans have lost some of it by
    `--accept-gone`, and nobody has said that it was deleted.
    """
    if lost:
        return tr(
            "first find out whether the plan that was accepted (--accept-gone) has read the right database. If it has:"
            " `mastosync accept --gone`. If not: `mastosync plan` of the right one"
        )
    if by_hand:
        return tr("`mastosync ls --state skipped --reason gone` lists what left the database: remove it by hand")
    if not gone.adopted:
        return tr("`mastosync plan`, then `mastosync prune --apply`: it removes them at the destination")
    adopting = adopted_message()
    if gone.adopted == gone.objects:
        return tr("`mastosync plan`, then `mastosync prune --adopted --apply`. {adopting}", adopting=adopting)
    return tr(
        "`mastosync plan`, then `mastosync prune --apply` for what was copied, or `mastosync prune --adopted --apply`"
        " for all of them. {adopting}",
        adopting=adopting,
    )


def adopted_message() -> str:
    """What `prune --adopted` removes as well."""
    return tr(
        "With --adopted it also removes what somebody else has put there: if others use this bucket, they may need it"
    )


_TREES = ("cache/", *(f"{table}/" for table in TABLES))
"""What keys begin with, after the key prefix."""
_DIRECTORIES = tuple(f"{cache}{spec.directory}/" for spec in CATALOG for cache in ("", "cache/"))
"""What keys begin with, after the key prefix, up to the folder of the attachment."""


@dataclass(frozen=True, slots=True)
class SharedBucket:
    """One bucket that is source and destination, under two key prefixes."""

    bucket: str
    old: str  # the key prefix of the source
    prefixes: tuple[str, ...]  # keys that begin so are old ones, and no new one does; empty: nobody can tell by that

    @classmethod
    def of(cls, source: StoreIdentity, destination: StoreIdentity) -> SharedBucket:
        """Of two stores that are known to be one bucket."""
        return cls(source.bucket, source.key_prefix, _old_prefixes(source.key_prefix, destination.key_prefix))

    @property
    def finding(self) -> Finding:
        """That the bucket has to stay."""
        return Finding("one-bucket", Grade.WARNING, self.message, self.remedy)

    @property
    def message(self) -> str:
        """That the bucket has to stay, for people."""
        return tr("source and destination are one bucket, {bucket!r}: the bucket has to stay", bucket=self.bucket)

    @property
    def remedy(self) -> str:
        """Which objects may be removed in the end, for people."""
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
    """The bucket that is both stores of a manifest; None if they are two. Raises: ManifestError."""
    source, destination = (ManifestReader(manifest).store(role) for role in ("source", "destination"))
    if source is None or destination is None or source.is_folder:
        return None
    if not in_one_bucket(manifest):
        return None
    return SharedBucket.of(source, destination)


def _old_prefixes(old: str, new: str) -> tuple[str, ...]:
    """What old keys begin with and new ones do not: the old key prefix, or longer prefixes that set them apart."""
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
    return tr("{names} or {last}", names=enumerated(others), last=last) if others else last
