"""What `cutover` and `report` both look at, and `status` too, in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mastosync.language import tr, trn
from mastosync.manifest import CountLine, Noted, Relation, Settings
from mastosync.model import EntryState


class Apart(NamedTuple):
    """What is known, for people."""

    message: str
    remedy: str = ""  # empty where nothing need be done


def apart_told(found: Relation | None) -> Apart:
    """What a look has found; None: nobody has looked."""
    if found is None:
        return Apart(
            tr("nobody has looked whether source and destination are two stores, or one under two names"),
            tr("`mastosync copy` looks, also if nothing is left to copy"),
        )
    if found is Relation.UNKNOWN:
        return Apart(
            tr("the source does not tell what it does not have: it may be the destination under another name"),
            tr(
                "allow the key of the source to list the bucket (s3:ListBucket), and run `mastosync copy`: it looks"
                " once more, also if nothing is left to copy"
            ),
        )
    if found is Relation.ONE_BUCKET:
        return Apart(tr("source and destination are one bucket with two key prefixes"))
    return Apart(tr("source and destination are two stores: what was written to one was not found at the other"))


def exposed_told(objects: int) -> str:
    """How much of what is private lies at the destination as it was stored when it was public."""
    return trn(
        "{objects} private object lies at the destination, where everybody may be able to read it",
        "{objects} private objects lie at the destination, where everybody may be able to read them",
        objects,
        objects=f"{objects:,}",
    )


def hiding() -> str:
    """What hides them."""
    return tr(
        "`mastosync copy` stores anew what is pending, `mastosync retry-failed` what failed. For the rest, `mastosync"
        " verify --public` asks first: remove there what it can read, and run it once more; or, if nobody can read the"
        " bucket without credentials: `[copy] private_objects = copy`, and copy again"
    )


def settings_told(current: Settings | None, others: Noted) -> Apart | None:
    """What may lie at the destination under `others` than the `current` settings; None: nothing does."""
    if current is None or not others:
        return None
    names = [
        name
        for name, value in current._asdict().items()
        if any(each is None or getattr(each, name) != value for each in others)
    ]
    return Apart(
        tr("some objects at the destination may have another {names} than is configured now", names=", ".join(names)),
        tr("`mastosync apply-settings` puts that right, and uploads nothing"),
    )


def cache_control_told(cache_control: str | None, *, from_disk: bool) -> str:
    """What objects are given that have no Cache-Control of their own, for people. `from_disk`: the source is one."""
    if not cache_control:
        return (
            tr("objects get no Cache-Control, as a disk keeps none: browsers ask for each again and again")
            if from_disk
            else tr("objects that have no Cache-Control at the source get none")
        )
    return (
        tr("all objects get the Cache-Control {value}, as a disk keeps none", value=cache_control)
        if from_disk
        else tr("objects that have no Cache-Control at the source get {value}", value=cache_control)
    )


def untried(counts: Sequence[CountLine]) -> bool:
    """Whether something is to be copied, and nothing was tried yet: nothing is done, and nothing failed."""
    objects = {state: sum(line.objects for line in counts if line.state is state) for state in EntryState}
    return objects[EntryState.PENDING] > 0 and not objects[EntryState.DONE] and not objects[EntryState.FAILED]


def losses_unknown_told() -> str:
    """For people."""
    return tr("nobody knows yet what the source has lost: nothing was copied so far")
