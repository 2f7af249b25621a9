"""The keys of keeping pace with an instance that lives on."""

from __future__ import annotations

from dataclasses import dataclass

from mastosync.config.keys import key
from mastosync.config.values import DURATION, whole


@dataclass(frozen=True, slots=True)
class FollowConfig:
    """When is read what has changed."""

    every: float = key(600.0, DURATION, "How long from the beginning of a round to that of the next one.")
    overlap_minutes: int = key(
        15,
        whole(1, 24 * 60),
        "What changed so long before the last plan is read again. A row says when it changed and is seen when its"
        " transaction ends, and clocks differ: longer than the longest transaction, and than a standby lags behind.",
    )
    full_every_hours: int = key(
        24,
        whole(1, 24 * 365),
        "How often everything is read: only that finds rows that were deleted, or changed without a word.",
    )
