"""The one retry layer: a store whose requests are repeated, and the one account of attempts.

A request that fails in a way that may pass is repeated after a growing, jittered wait, a bounded
number of times. A throttled one costs no attempt: it is repeated, through the endpoint's limiter,
until its budget of time is used up; no request waits longer than what is left of it, whatever the store
asks for. What keeps failing because its store is down waits until that answers again (`runtime.outages`),
and is repeated as if it had just begun. Every wait ends when somebody asks to stop.

Most callers wait here, from the first attempt on. The transfer loop makes first attempts itself, many at once: it
reports each to `RetryingStore.note`, and hands what failed to `repeat`. Both ways, every attempt is noted and counted
here; only `Job.restart` counts too, when a whole object is begun again.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from tenacity import Retrying, retry_if_exception

from mastosync.errors import (
    BodyInterrupted,
    CorruptObject,
    NetworkFailure,
    ObjectError,
    ServerFailure,
    StoreRecovered,
    Throttled,
)
from mastosync.model import ObjectInfo
from mastosync.runtime.limiter import Bandwidth, EndpointLimiter
from mastosync.runtime.memory import Reservation
from mastosync.runtime.outages import Downtime
from mastosync.runtime.retry_policy import AttemptBudget, RetryPolicy, WaitUnlessAsked
from mastosync.runtime.stop import StopSignal, waiting
from mastosync.store.abilities import (
    STREAMING,
    ArrivedPart,
    BulkDeletingStore,
    FirstPart,
    PartStreamingStore,
    StreamAnswer,
    StreamedObject,
    StreamingStore,
    is_caching,
)
from mastosync.store.base import Buffer, DigestUse, FetchedObject, ObjectStore, Page, Piece, PutOptions, UploadedPart

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreSession:
    """What all requests to one store share."""

    store: ObjectStore
    limiter: EndpointLimiter
    policy: RetryPolicy
    stop: StopSignal
    bandwidth: Bandwidth | None = None  # of what is written; None: not limited
    downtime: Downtime | None = None  # of the endpoint; None: a store that is down is not waited for


class RetryingStore:
    """A store whose requests are repeated within the policy: the same contract.

    One is made for each entry, so that `retries` tells what that entry cost.
    """

    __slots__ = (
        "_counting",
        "_looks_first",
        "memory",
        "read_damaged",
        "retries",
        "retries_in_outages",
        "store_session",
    )

    def __init__(
        self, store_session: StoreSession, memory: Reservation | None = None, *, looks_first: bool = False
    ) -> None:
        """`memory`: where room for whole objects is taken from; None: it is not counted.

        `looks_first`: a write that began before its store was down is not repeated: it raises StoreRecovered.
        """
        self.store_session = store_session
        self.memory = memory
        self.retries = 0
        self.read_damaged = False  # bytes came that did not have the MD5 of their ETag
        self.retries_in_outages = 0  # of these: while the store was down
        self._looks_first = looks_first
        self._counting = threading.Lock()  # parts of one object are repeated in several threads

    @property
    def name(self) -> str:  # noqa: D102 - see ObjectStore, here and below
        return self.store_session.store.name

    @property
    def computes_digests(self) -> bool:  # noqa: D102
        return self.store_session.store.computes_digests

    @property
    def endpoint(self) -> str:  # noqa: D102
        return self.store_session.store.endpoint

    def check(self) -> None:  # noqa: D102
        self.ask(self.store_session.store.check)

    def list_page(self, prefix: str, after: str) -> Page:  # noqa: D102
        return self.ask(self.store_session.store.list_page, prefix, after)

    def head(self, key: str) -> ObjectInfo:  # noqa: D102
        return self.ask(self.store_session.store.head, key)

    def read(  # noqa: D102
        self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED
    ) -> FetchedObject:
        self._make_room(max_bytes)
        return self._fitted(self.ask(self.store_session.store.read, key, max_bytes, digest))

    def open(  # noqa: D102 - of a store that is asked alone, the body of a large object cannot stay open
        self, key: str, max_bytes: int, digest: DigestUse, open_bytes: int
    ) -> FetchedObject:
        return self.read(key, max_bytes, digest)

    def write_once(self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse) -> str:
        """`write` without another attempt. Raises: as it does; what may pass as well."""
        write = self.store_session.store.write
        with waiting():
            self._pay(write, (key, data))
            return self._send(write, key, data, md5, options, digest)

    def write_stream(self, key: str, source: StreamedObject, options: PutOptions) -> StreamAnswer:  # noqa: D102
        store = self.store_session.store
        assert isinstance(store, StreamingStore)  # noqa: S101 - else nobody streams to it
        return self.ask(store.write_stream, key, source, options)

    def stream_part(self, key: str, source: StreamedObject, upload_id: str, number: int) -> StreamAnswer:  # noqa: D102
        store = self.store_session.store
        assert isinstance(store, PartStreamingStore)  # noqa: S101 - as above
        return self.ask(store.stream_part, key, source, upload_id, number)

    def first_part(self, key: str) -> FirstPart:  # noqa: D102
        store = self.store_session.store
        assert isinstance(store, PartStreamingStore)  # noqa: S101 - as above
        return self.ask(store.first_part, key)

    def arrived_parts(self, key: str, upload_id: str) -> list[ArrivedPart]:  # noqa: D102
        store = self.store_session.store
        assert isinstance(store, PartStreamingStore)  # noqa: S101 - as above
        return self.ask(store.arrived_parts, key, upload_id)

    def pause(self, attempt: int) -> None:
        """Wait before another attempt at a whole object, longer each time (`attempt`: 0, 1, …). Raises: Interrupted."""
        policy = self.store_session.policy
        self.store_session.stop.sleep(min(policy.first_wait_seconds * 2**attempt, policy.longest_wait_seconds))

    def read_cached(self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED) -> FetchedObject | None:
        """The result of `read`, or None if store, limiter or memory would have to be waited for. Raises: nothing."""
        store, memory = self.store_session.store, self.memory
        if not is_caching(store) or self.store_session.limiter.reserve():
            return None
        fetched = store.read_cached(key, max_bytes, memory.request if memory is not None else lambda _: True, digest)
        if fetched is not None:
            self.store_session.limiter.succeeded()
        return fetched

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> Buffer:  # noqa: D102
        return self.ask(self.store_session.store.read_range, key, info, start, length)

    def digest(self, key: str, info: ObjectInfo) -> bytes:  # noqa: D102
        return self.ask(self.store_session.store.digest, key, info)

    def write(  # noqa: D102
        self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = DigestUse.COMPUTED
    ) -> str:
        return self.ask(self.store_session.store.write, key, data, md5, options, digest)

    def copy_from(  # noqa: D102
        self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
    ) -> str:
        return self.ask(self.store_session.store.copy_from, source_bucket, source_key, info, key, options)

    def start_multipart(self, key: str, options: PutOptions) -> str:  # noqa: D102
        return self.ask(self.store_session.store.start_multipart, key, options)

    def write_part(self, key: str, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:  # noqa: D102
        return self.ask(self.store_session.store.write_part, key, upload_id, number, data, md5)

    def copy_part(self, key: str, upload_id: str, number: int, piece: Piece) -> UploadedPart:  # noqa: D102
        return self.ask(self.store_session.store.copy_part, key, upload_id, number, piece)

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:  # noqa: D102
        return self.ask(self.store_session.store.complete_multipart, key, upload_id, parts)

    def abort_multipart(self, key: str, upload_id: str) -> None:  # noqa: D102
        self.ask(self.store_session.store.abort_multipart, key, upload_id)

    def abort_unfinished(self, key: str) -> int:  # noqa: D102
        return self.ask(self.store_session.store.abort_unfinished, key)

    def delete(self, key: str) -> None:  # noqa: D102
        self.ask(self.store_session.store.delete, key)

    def delete_objects(self, keys: Sequence[str]) -> frozenset[str]:  # noqa: D102 - none, where the store has no such request
        store = self.store_session.store
        return self.ask(store.delete_objects, keys) if isinstance(store, BulkDeletingStore) else frozenset()

    def anybody_reads(self, key: str) -> bool:  # noqa: D102
        return self.ask(self.store_session.store.anybody_reads, key)

    def anybody_finds(self, key: str, info: ObjectInfo) -> bool:  # noqa: D102
        return self.ask(self.store_session.store.anybody_finds, key, info)

    def withdraw(self, key: str) -> bool:  # noqa: D102
        return self.ask(self.store_session.store.withdraw, key)

    def close(self) -> None:  # noqa: D102
        self.store_session.store.close()

    def ask(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Send a request to this store, or another one to its endpoint, and repeat it as the policy says.

        Most succeed at once and never meet the policy: that keeps them cheap.
        """
        with waiting():
            self._pay(request, args)
            try:
                return self._send(request, *args, **kwargs)
            except ObjectError as error:
                failure = _require_transient(error)
            return self._repeat(failure, request, *args, **kwargs)

    def note(self, error: BaseException | None, throttled_since: float | None = None) -> None:
        """Tell the limiter how an attempt has ended (None: well), and give an error the name of its store.

        `throttled_since`: see `RetryPolicy.patience_ends`.
        """
        access = self.store_session
        if isinstance(error, BodyInterrupted):  # by the other store; this one has answered nothing yet
            return
        access.limiter.note(error, access.policy.patience_ends(throttled_since))
        if isinstance(error, ObjectError):
            error.store = access.store.name
            self.read_damaged = self.read_damaged or isinstance(error, CorruptObject)

    def repeat(self, failure: ObjectError, operation: str, arguments: tuple[Any, ...]) -> object:
        """Repeat a method of `ObjectStore` whose first attempt failed with `failure`; the bandwidth of that is paid."""
        if operation not in ("read", "open"):
            return self._repeat(failure, getattr(self.store_session.store, operation), *arguments)
        key, max_bytes, *digest = arguments[:3]
        self._make_room(max_bytes)
        return self._fitted(self._repeat(failure, self.store_session.store.read, key, max_bytes, *digest))

    def _make_room(self, size_bytes: int) -> None:
        """Reserve memory for an object of a size that is not known yet."""
        if self.memory is not None:
            self.memory.release()  # of an attempt that failed
            self.memory.wait(size_bytes, self.store_session.stop)

    def _fitted(self, fetched: FetchedObject) -> FetchedObject:
        """Reserve no more than what came."""
        if self.memory is not None:
            self.memory.request(len(fetched.data or b""))
        return fetched

    def _pay(self, request: Callable[..., object], args: tuple[Any, ...], failure: ObjectError | None = None) -> None:
        """Wait for the bandwidth of a request. Bytes count when they are written: so reading keeps to it as well.

        They count each time that they are sent. `failure`: of the attempt before, which may have sent nothing.
        """
        store, bandwidth = self.store_session.store, self.store_session.bandwidth
        if bandwidth is None or (isinstance(failure, NetworkFailure) and failure.nothing_sent):
            return
        if request == store.write or getattr(request, "__name__", "") in STREAMING:
            bandwidth.take(len(args[1]))
        elif request == store.write_part:
            bandwidth.take(len(args[3]))

    def _repeat(self, failure: ObjectError, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Repeat a request whose first attempt failed in a way that may pass; begin anew after its store was down."""
        # with a deadline outages are not waited for: they may last longer than the time that is left
        downtime = self.store_session.downtime if self.store_session.policy.deadline == math.inf else None
        while True:
            series = _Series(0 if downtime is None else downtime.ended_outages)
            try:
                return self._repeat_within_policy(series, failure, request, *args, **kwargs)
            except (NetworkFailure, ServerFailure, Throttled) as error:
                if downtime is None or not downtime.wait_if_down(self.store_session.store, error, series.ended_outages):
                    raise
                failure = error
            self._require_nothing_written(series, failure, request)
            with self._counting:
                self.retries_in_outages += series.retries + 1
                self.retries += 1
            self._pay(request, args, failure)
            try:
                return self._send(request, *args, **kwargs)
            except ObjectError as error:
                failure = _require_transient(error)

    def _require_nothing_written(self, series: _Series, failure: ObjectError, request: Callable[P, T]) -> None:
        """Raises: StoreRecovered, if a write may have arrived before its store was down: look for it first."""
        downtime = self.store_session.downtime
        if downtime is None or downtime.ended_outages == series.ended_outages:
            return
        if self._looks_first and getattr(request, "__name__", "") in ("write", "write_stream"):
            raise StoreRecovered(failure.message) from failure

    def _repeat_within_policy(
        self, series: _Series, failure: ObjectError, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        last, is_first = failure, True  # the first call raises the failure anew, so that tenacity counts it
        policy = self.store_session.policy
        budget = AttemptBudget(policy)

        def attempt() -> T:
            nonlocal last, is_first
            if is_first:
                is_first = False
                raise last
            self._pay(request, args, last)
            if not self.store_session.limiter.wait(policy.deadline):
                raise last
            self._require_nothing_written(series, last, request)
            with self._counting:
                self.retries += 1
            series.retries += 1
            try:
                return self._attempt(budget.throttled_since, request, *args, **kwargs)
            except ObjectError as error:
                last = error
                raise

        repeated = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, ObjectError) and error.transient),
            stop=budget,
            wait=WaitUnlessAsked(policy),
            sleep=self.store_session.stop.sleep,
            reraise=True,
        )
        return repeated(attempt)

    def _send(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make an attempt as soon as the limiter lets it through."""
        self.store_session.limiter.wait()
        return self._attempt(None, request, *args, **kwargs)

    def _attempt(self, throttled_since: float | None, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make one attempt that the limiter has let through, and take note of how it ends."""
        try:
            answer = request(*args, **kwargs)
        except ObjectError as error:
            self.note(error, throttled_since)
            raise
        self.note(None)
        return answer


@dataclass(slots=True)
class _Series:
    """One series of attempts at a request, none of which was answered."""

    ended_outages: int  # of the endpoint, when the first one had failed
    retries: int = 0


def _require_transient(error: ObjectError) -> ObjectError:
    """Return a transient error, raise any other."""
    if not error.transient:
        raise error
    return error
