"""The keys of how objects are copied."""

# ruff: noqa: RUF009 - `key` only wraps `field()`; its defaults are immutable

from __future__ import annotations

from dataclasses import dataclass

from mastosync.config.keys import key
from mastosync.config.timetable import BANDWIDTH, Timetable
from mastosync.config.values import ORDER, PATIENCE, choice, seconds, size, whole

_MIB = 1024**2
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class CopyConfig:
    """How objects are copied."""

    workers: int = key(8, whole(1), "How many objects are copied at the same time.")
    rate: int | None = key(
        None,
        whole(1),
        "At most so many requests a second to each endpoint, whatever it would take: reading and writing count for"
        " their own endpoint, repeated requests and parts count as well. Below that, the rate follows what the"
        " endpoint takes. Default: the provider's limit, where one is known, else none.",
    )
    bwlimit: Timetable = key(
        Timetable(),
        BANDWIDTH,
        "At most so many bytes of objects a second, each counted once: read at this rate and written at this rate."
        " A timetable is in local time, and what was last said holds on; Mon-08:00,5M speaks of one day only."
        " 5M is 5 MiB and 5MB are 5,000,000 bytes.",
    )
    order: str = key(
        "local-first", ORDER, "What to begin with: what no other server has, or just the newest or oldest."
    )
    max_attempts: int = key(5, whole(1), "How often an object is tried in one run before it counts as failed.")
    throttle_budget_seconds: float = key(
        900.0, seconds(0), "How long an object may wait for a store that asks to slow down before it fails."
    )
    outage_patience: float = key(
        3600.0,
        PATIENCE,
        "How long a store is waited for that was there and does not answer any more, or answers 503 to everything."
        " Nothing fails meanwhile: what was on its way waits, the store is asked now and then, and the run goes on when"
        " it answers. Then the run stops. So long `follow` also tries again soon after a round that could not reach a"
        " store or the database. off: a run stops when so many objects in a row have failed that it is not the"
        " objects.",
    )
    multipart_threshold: int = key(16 * _MIB, size(1, 5 * _GIB), "Objects larger than this travel in parts.")
    part_size: int = key(16 * _MIB, size(5 * _MIB, 5 * _GIB), "Size of a part. Several of one object travel at once.")
    server_side: str = key(
        "auto",
        choice("auto", "never"),
        "Whether a store may copy by itself, so that no bytes travel through this machine. auto: where source and"
        " destination have the same endpoint_url and access_key, as long as the store does not refuse. bwlimit does"
        " not hold then. never: every byte is read and written here.",
    )
    memory: int = key(
        256 * _MIB,
        size(16 * _MIB, 1024 * _GIB),
        "How much of objects is in memory at once, whatever the workers and sizes. At least as much as part_size"
        " and multipart_threshold.",
    )
    private_objects: str = key(
        "skip",
        choice("skip", "copy"),
        "What to do with objects that must stay private where no ACL can keep them so. skip leaves them out, until"
        " `copy` is run with copy, which copies them all the same. Choose that only if nobody can read the bucket"
        " without credentials.",
    )
