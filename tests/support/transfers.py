"""Transfers between stores in memory, which wait for milliseconds where a user's would wait for minutes."""

from __future__ import annotations

from mastosync.copying.acl import NoteAccess
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.runtime.limiter import Bandwidth, EndpointLimiter
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.outages import Downtime
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal
from tests.support.memory_store import MemoryStore

IMPATIENT = RetryPolicy(
    max_attempts=3, throttle_budget_seconds=0.2, first_wait_seconds=0.001, longest_wait_seconds=0.01
)


def store_session(
    store: MemoryStore,
    stop: StopSignal | None = None,
    policy: RetryPolicy = IMPATIENT,
    bandwidth: Bandwidth | None = None,
    patience_seconds: float = 0,
) -> StoreSession:
    stop = stop or StopSignal()
    limiter = EndpointLimiter(stop)
    return StoreSession(store, limiter, policy, stop, bandwidth, Downtime(limiter, stop, patience_seconds))


def transfer(
    old: MemoryStore,
    new: MemoryStore,
    options: TransferOptions | None = None,
    note: NoteAccess | None = None,
    policy: RetryPolicy = IMPATIENT,
) -> Transfer:
    ends = store_session(old, policy=policy), store_session(new, policy=policy)
    return Transfer(*ends, options or TransferOptions(), MemoryBudget(1 << 30), note)
