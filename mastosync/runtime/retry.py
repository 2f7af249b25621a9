"""The one retry layer: a store with patience around it.

A request that fails in a way that may pass is repeated after a growing, jittered wait, a bounded
number of times. A throttled one costs no attempt: it is repeated, through the endpoint's limiter,
until its budget of time is used up, and no store is given more than what is left of it, whatever it
asks for. What keeps failing because its store is down waits until that answers again (`runtime.downtime`),
and is repeated as if it had just begun. Every wait ends when somebody asks to stop.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from mastosync.errors import NetworkFailure, ObjectError, ServerFailure, StoreBack, Throttled
from mastosync.model import ObjectInfo
from mastosync.runtime.limiter import Bandwidth, EndpointLimiter
from mastosync.runtime.memory import Reservation
from mastosync.runtime.outages import Downtime
from mastosync.runtime.parallel import waiting
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import Buffer, CachingStore, FetchedObject, ObjectStore, Page, Piece, PutOptions, UploadedPart

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How much patience one request is given."""

    max_attempts: int = 5
    throttle_budget_seconds: float = 900.0
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0
    deadline: float = math.inf  # by time.monotonic(): what fails then is not repeated, and nobody waits beyond it

    def within(self, seconds: float) -> RetryPolicy:
        """The same for requests that have so much time from now on, all together: then nothing is repeated."""
        return replace(self, deadline=time.monotonic() + seconds)

    def patience_ends(self, throttled_since: float | None) -> float:
        """Until when, by time.monotonic(), a request may be kept waiting. `throttled_since`: likewise; None: now."""
        since = time.monotonic() if throttled_since is None else throttled_since
        return min(since + self.throttle_budget_seconds, self.deadline)


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """What all requests to one store share."""

    store: ObjectStore
    limiter: EndpointLimiter
    policy: RetryPolicy
    stop: StopSignal
    bandwidth: Bandwidth | None = None  # of what is written; None: not limited
    downtime: Downtime | None = None  # of the endpoint; None: a store that is down is not waited for

    def note(self, error: BaseException | None, throttled_since: float | None = None) -> None:
        """Take note of how a request has ended (None: well): the limiter learns by it, an error learns whose it is.

        `throttled_since`: see `RetryPolicy.patience_ends`.
        """
        self.limiter.note(error, self.policy.patience_ends(throttled_since))
        if isinstance(error, ObjectError):
            error.store = self.store.name


class RetryingStore:
    """A store as it is to be asked: the same contract, repeated within the policy.

    One is made for each entry, so that `retries` tells what that entry cost.
    """

    __slots__ = ("_begins_anew", "_counting", "in_vain", "memory", "retries", "store_access")

    def __init__(
        self, store_access: StoreAccess, memory: Reservation | None = None, *, begins_anew: bool = False
    ) -> None:
        """`memory`: where room for whole objects is taken from; None: nobody counts it.

        `begins_anew`: a write that was begun before its store was down is not repeated: it raises StoreBack.
        """
        self.store_access = store_access
        self.memory = memory
        self.retries = 0
        self.in_vain = 0  # of these: while the store was down
        self._begins_anew = begins_anew
        self._counting = threading.Lock()  # parts of one object are repeated in several threads

    @property
    def name(self) -> str:  # noqa: D102 - see ObjectStore, here and below
        return self.store_access.store.name

    @property
    def endpoint(self) -> str:  # noqa: D102
        return self.store_access.store.endpoint

    def check(self) -> None:  # noqa: D102
        self._patiently(self.store_access.store.check)

    def list_page(self, prefix: str, after: str) -> Page:  # noqa: D102
        return self._patiently(self.store_access.store.list_page, prefix, after)

    def head(self, key: str) -> ObjectInfo:  # noqa: D102
        return self._patiently(self.store_access.store.head, key)

    def read(self, key: str, max_bytes: int) -> FetchedObject:  # noqa: D102
        self._make_room(max_bytes)
        return self._fitted(self._patiently(self.store_access.store.read, key, max_bytes))

    def read_cached(self, key: str, max_bytes: int) -> FetchedObject | None:
        """What `read` gives, if nothing has to be waited for: the store, its limiter, memory. Raises: nothing."""
        store, memory = self.store_access.store, self.memory
        if not isinstance(store, CachingStore) or self.store_access.limiter.reserve():
            return None
        fetched = store.read_cached(key, max_bytes, memory.ask if memory is not None else lambda _: True)
        if fetched is not None:
            self.store_access.limiter.succeeded()
        return fetched

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> Buffer:  # noqa: D102
        return self._patiently(self.store_access.store.read_range, key, info, start, length)

    def digest(self, key: str, info: ObjectInfo) -> bytes:  # noqa: D102
        return self._patiently(self.store_access.store.digest, key, info)

    def write(self, key: str, data: bytes, md5: bytes, options: PutOptions) -> str:  # noqa: D102
        self._take(data)
        return self._patiently(self.store_access.store.write, key, data, md5, options)

    def copy_from(  # noqa: D102
        self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
    ) -> str:
        return self._patiently(self.store_access.store.copy_from, source_bucket, source_key, info, key, options)

    def start_multipart(self, key: str, options: PutOptions) -> str:  # noqa: D102
        return self._patiently(self.store_access.store.start_multipart, key, options)

    def write_part(self, key: str, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:  # noqa: D102
        self._take(data)
        return self._patiently(self.store_access.store.write_part, key, upload_id, number, data, md5)

    def copy_part(self, key: str, upload_id: str, number: int, piece: Piece) -> UploadedPart:  # noqa: D102
        return self._patiently(self.store_access.store.copy_part, key, upload_id, number, piece)

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:  # noqa: D102
        return self._patiently(self.store_access.store.complete_multipart, key, upload_id, parts)

    def abort_multipart(self, key: str, upload_id: str) -> None:  # noqa: D102
        self._patiently(self.store_access.store.abort_multipart, key, upload_id)

    def abort_unfinished(self, key: str) -> int:  # noqa: D102
        return self._patiently(self.store_access.store.abort_unfinished, key)

    def delete(self, key: str) -> None:  # noqa: D102
        self._patiently(self.store_access.store.delete, key)

    def anybody_reads(self, key: str) -> bool:  # noqa: D102
        return self._patiently(self.store_access.store.anybody_reads, key)

    def anybody_finds(self, key: str, info: ObjectInfo) -> bool:  # noqa: D102
        return self._patiently(self.store_access.store.anybody_finds, key, info)

    def withdraw(self, key: str) -> bool:  # noqa: D102
        return self._patiently(self.store_access.store.withdraw, key)

    def close(self) -> None:  # noqa: D102
        self.store_access.store.close()

    def ask(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What another request to the same endpoint gives, with the same patience."""
        return self._patiently(request, *args, **kwargs)

    def again(self, failure: ObjectError, operation: str, arguments: tuple[Any, ...]) -> object:
        """What a method of `ObjectStore` gives whose first attempt has failed like this, its bandwidth being paid."""
        request = getattr(self.store_access.store, operation)
        if operation != "read":
            return self._after(failure, request, *arguments)
        _, max_bytes = arguments
        self._make_room(max_bytes)
        return self._fitted(self._after(failure, request, *arguments))

    def _make_room(self, size_bytes: int) -> None:
        """Hold memory for an object of a size that is not known yet."""
        if self.memory is not None:
            self.memory.release()  # of an attempt that failed
            self.memory.wait(size_bytes, self.store_access.stop)

    def _fitted(self, fetched: FetchedObject) -> FetchedObject:
        """Hold no more than what came."""
        if self.memory is not None:
            self.memory.ask(len(fetched.data or b""))
        return fetched

    def _take(self, data: Buffer) -> None:
        """Wait for the bandwidth. Bytes count when they are written, once: so reading keeps to it as well."""
        if self.store_access.bandwidth is not None:
            self.store_access.bandwidth.take(len(data))

    def _patiently(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Most requests succeed at once and never meet the policy: that keeps them cheap."""
        with waiting():
            try:
                return self._sent(request, *args, **kwargs)
            except ObjectError as error:
                failure = _passing(error)
            return self._after(failure, request, *args, **kwargs)

    def _after(self, failure: ObjectError, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Repeat a request whose first attempt failed in a way that may pass, and anew when its store was down."""
        downtime = self.store_access.downtime if self.store_access.policy.deadline == math.inf else None
        while True:
            spell = _Spell(0 if downtime is None else downtime.outlasted)
            try:
                return self._repeated(spell, failure, request, *args, **kwargs)
            except (NetworkFailure, ServerFailure, Throttled) as error:
                if downtime is None or not downtime.outlast(self.store_access.store, error, spell.outlasted):
                    raise
                failure = error
            self._look_first(spell, failure, request)
            with self._counting:
                self.in_vain += spell.retries + 1
                self.retries += 1
            try:
                return self._sent(request, *args, **kwargs)
            except ObjectError as error:
                failure = _passing(error)

    def _look_first(self, spell: _Spell, failure: ObjectError, request: Callable[P, T]) -> None:
        """Raises: StoreBack, if what a write may have stored before its store was down is to be looked for."""
        downtime = self.store_access.downtime
        if downtime is None or downtime.outlasted == spell.outlasted:
            return
        if self._begins_anew and request == self.store_access.store.write:
            raise StoreBack(failure.message) from failure

    def _repeated(
        self, spell: _Spell, failure: ObjectError, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same, within the policy."""
        last, is_first = failure, True
        policy = self.store_access.policy
        budget = _Budget(policy)

        def attempt() -> T:
            nonlocal last, is_first
            if is_first or not self.store_access.limiter.wait(policy.deadline):
                is_first = False
                raise last
            self._look_first(spell, last, request)
            with self._counting:
                self.retries += 1
            spell.retries += 1
            try:
                return self._answered(budget.throttled_since, request, *args, **kwargs)
            except ObjectError as error:
                last = error
                raise

        patience = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=budget,
            wait=_WaitUnlessAsked(policy),
            sleep=self.store_access.stop.sleep,
            reraise=True,
        )
        return patience(attempt)

    def _sent(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Send a request as soon as the limiter lets it through."""
        self.store_access.limiter.wait()
        return self._answered(None, request, *args, **kwargs)

    def _answered(self, throttled_since: float | None, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Send a request that the limiter has let through, and take note of how it ends."""
        try:
            answer = request(*args, **kwargs)
        except ObjectError as error:
            self.store_access.note(error, throttled_since)
            raise
        self.store_access.note(None)
        return answer


@dataclass(slots=True)
class _Spell:
    """One row of attempts at a request, none of which was answered."""

    outlasted: int  # times that the endpoint had been down when the first one had failed
    retries: int = 0


def _passing(error: ObjectError) -> ObjectError:
    """The same error. Raises: it, if it does not pass."""
    if not error.transient:
        raise error
    return error


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, ObjectError) and error.transient


class _Budget:
    """Tenacity's `stop`: attempts for failures, time for throttles."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failures = 0
        self.throttled_since: float | None = None

    def __call__(self, state: RetryCallState) -> bool:
        now = time.monotonic()
        if isinstance(_failure_of(state), Throttled):
            if self.throttled_since is None:
                self.throttled_since = now
            return now >= self._policy.patience_ends(self.throttled_since)
        self._failures += 1
        return self._failures >= self._policy.max_attempts or now >= self._policy.deadline


class _WaitUnlessAsked:
    """Tenacity's `wait`: where the server says how long, the limiter waits, and everybody with it.

    Other throttles count for the request as well: it may be its key alone that is throttled, and to
    repeat it at once would take the rate from all the others.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._growing = wait_random_exponential(multiplier=policy.first_wait_seconds, max=policy.longest_wait_seconds)

    def __call__(self, state: RetryCallState) -> float:
        failure = _failure_of(state)
        asked = isinstance(failure, Throttled) and failure.retry_after_seconds is not None
        return 0.0 if asked else min(self._growing(state), max(0.0, self._policy.deadline - time.monotonic()))


def _failure_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
