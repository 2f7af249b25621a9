"""What is known of whether source and destination are two stores, for whoever is about to give one of them up."""

from __future__ import annotations

from typing import NamedTuple

from mastosync.language import tr
from mastosync.manifest import Relation


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
