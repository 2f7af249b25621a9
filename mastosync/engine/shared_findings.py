"""What `cutover` and `report` both look at, and `status` too, in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mastosync.language import tr, trn
from mastosync.manifest import CountLine, Relation
from mastosync.model import EntryState


class Apart(NamedTuple):
    """What is known, for people."""

    message: str
    remedy: str = ""  # empty where nothing need be done


def apart_told(found: Relation | None) -> Apart:
    """What a look has found; None: nobody has looked."""
    if found is None:
        return Apart(
            tr("not checked yet: are source and destination two stores, or one store under two names?"),
            tr("`mastosync copy` checks it, also when nothing is left to copy"),
        )
    if found is Relation.UNKNOWN:
        return Apart(
            tr("the source does not say whether an object is missing: it may be the destination under another name"),
            tr(
                "allow the key of the source to list the bucket (s3:ListBucket), and run `mastosync copy`: it "
                "checks again, also when nothing is left to copy"
            ),
        )
    if found is Relation.ONE_BUCKET:
        return Apart(tr("source and destination are one bucket with two key prefixes"))
    return Apart(tr("source and destination are two stores: what was written to one was not found at the other"))


def exposed_told(objects: int) -> str:
    """How much of what is private lies at the destination as it was stored when it was public."""
    return trn(
        "{objects} private object is at the destination, where everybody may be able to read it",
        "{objects} private objects are at the destination, where everybody may be able to read them",
        objects,
        objects=f"{objects:,}",
    )


def hiding() -> str:
    """What hides them."""
    return tr(
        "run `mastosync copy` for those that are pending, and `mastosync retry-failed` for those that failed: "
        "both store them again as private. For the rest, run `mastosync verify --public`: remove at the "
        "destination what it can read, and run it again. Or, if nobody can read the bucket without credentials, "
        "set `[copy] private_objects = copy`, and copy again"
    )


def untried(counts: Sequence[CountLine]) -> bool:
    """Whether something is to be copied, and nothing was tried yet: nothing is done, and nothing failed."""
    objects = {state: sum(line.objects for line in counts if line.state is state) for state in EntryState}
    return objects[EntryState.PENDING] > 0 and not objects[EntryState.DONE] and not objects[EntryState.FAILED]


def losses_unknown_told() -> str:
    """For people."""
    return tr("what the source has lost is not known yet, as nothing was copied so far")
