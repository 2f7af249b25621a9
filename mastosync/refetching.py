"""Refetching: what the source has lost is fetched again from the address in its row.

Without `apply` this only counts what could be fetched. Files come from servers that the user has not chosen, so each is
checked against the name under which Mastodon stored it; only an original can come back, as it was stored without
change. What comes is staged in a folder and copied from there as from any source, with the same checks and ACLs. See
docs/design/following.md.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from mastosync.checking.row_check import LookUp, RowPlace
from mastosync.errors import (
    Interrupted,
    MayBePublic,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
    PrivacyLost,
    Throttled,
    telling_of,
)
from mastosync.language import deferred, tr
from mastosync.manifest import (
    ACCESS,
    Manifest,
    ManifestReader,
    claim,
    found_wrong,
    note_access,
    record_findings,
    release,
)
from mastosync.mastodon.catalog import spec_of
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Arrival, Claim, Entry, EntryState, Origin, Outcome, Presence, Reason, Record, RemoteFile
from mastosync.progress import CheckProgress, ProgressListener, shown
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.outages import FailureCounter
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.retry_policy import RetryPolicy
from mastosync.runtime.stop import StopSignal, waiting
from mastosync.runtime.worker_pool import side_by_side
from mastosync.store.base import ObjectStore
from mastosync.store.http.fetcher import FetchedFile, OriginFetcher

_CHUNK = 2_000  # entries that are looked up, and then fetched, together
_COMMIT_SECONDS = 0.5  # how long a finding waits to be recorded
_ORIGINAL = "original"
_FAILURES_IN_A_ROW = 3  # after which a server is asked no more
_PATIENCE = RetryPolicy(max_attempts=3, throttle_budget_seconds=60, first_wait_seconds=1, longest_wait_seconds=10)


class RefetchStatus(StrEnum):
    """What became of an entry that the source has lost, or could become of it."""

    FETCHABLE = "fetchable"  # its row has an address; nobody has asked there
    REFETCHED = "refetched"  # it lies at the destination
    DERIVED = "derived"  # Mastodon made this rendition itself, of the original
    NO_ADDRESS = "no_address"  # its row has none, or it was made here
    CHANGED = "changed"  # its row is gone by now, or not as it was planned
    GONE = "gone"  # its server does not give it any more
    UNLIKE = "unlike"  # what its server gives is not what was stored: Mastodon had made something else of it
    REFUSED = "refused"  # its address must not be asked
    TOO_LARGE = "too_large"  # more than Mastodon takes
    UNREACHED = "unreached"  # its server kept failing
    NOT_STORED = "not_stored"  # the destination did not take it


_STATUSES: tuple[tuple[type[ObjectError], RefetchStatus], ...] = (
    (ObjectMissing, RefetchStatus.GONE),
    (ObjectDenied, RefetchStatus.REFUSED),
    (ObjectTooLarge, RefetchStatus.TOO_LARGE),
)


@dataclass(frozen=True, slots=True)
class RefetchOptions:
    """What to fetch, and how."""

    apply: bool = False
    workers: int = 8  # servers that are asked at the same time; each is asked for one file at a time
    types: tuple[str, ...] = ()  # tables; empty: all
    limit: int | None = None  # files; None: all
    requests_per_second: float = 2.0  # to each server


@dataclass(slots=True)
class RefetchResult:
    """The result of a run."""

    applied: bool
    by_type: dict[str, Counter[RefetchStatus]] = field(default_factory=dict)
    by_host: Counter[str] = field(default_factory=Counter)  # files that could be had, or were asked for
    fetched_bytes: int = 0
    examples: list[str] = field(default_factory=list)  # of what could not be had
    seconds: float = 0.0

    def total(self) -> Counter[RefetchStatus]:
        """Entries by status."""
        return sum(self.by_type.values(), Counter())

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for came."""
        total = self.total()
        return not self.applied or total[RefetchStatus.REFETCHED] == self.by_host.total()

    def as_json(self) -> dict[str, Any]:
        """The contract of `refetch --json`."""
        total = self.total()
        return {
            "applied": self.applied,
            "missing": total.total(),
            **{status.value: total[status] for status in RefetchStatus},
            "bytes": self.fetched_bytes,
            "by_type": {
                name: {status.value: counts[status] for status in RefetchStatus}
                for name, counts in self.by_type.items()
            },
            "by_host": dict(self.by_host.most_common()),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class RefetchTools:
    """What a run works with, given by the caller."""

    look_up: LookUp
    fetcher: Callable[[], OriginFetcher]  # a new one, for one thread
    is_as_named: Callable[[str, bytes], bool]  # whether a file that begins like this was stored under this name
    staging: ObjectStore  # of what has come
    staged: Callable[[str, IO[bytes]], AbstractContextManager[None]]  # puts a file there, under a key
    transfer: Callable[[Claim], Outcome]  # from there to the destination
    prefix: str  # of keys, at both


class _Wanted(NamedTuple):
    record: Record
    url: str


class _Examined(NamedTuple):
    record: Record
    status: RefetchStatus
    detail: str | None = None
    outcome: Outcome | None = None  # of what lies at the destination now
    presence: Presence | None = None  # else what may lie there, where it was tried


@dataclass(slots=True)
class Refetcher:
    """One run. The manifest belongs to this thread."""

    manifest: Manifest
    tools: RefetchTools
    options: RefetchOptions
    stop: StopSignal
    listener: ProgressListener
    _failures: FailureCounter = field(default_factory=lambda: FailureCounter(any_success=True))  # of the destination
    _host_failures: Counter[str] = field(default_factory=Counter)  # in a row; of each server in one thread at a time
    _in_doubt: list[MayBePublic] = field(default_factory=list)
    _begun: set[Entry] = field(default_factory=set)  # their objects may arrive
    _findings: list[tuple[Record, Outcome]] = field(default_factory=list)  # not recorded yet: what arrived is claimed
    _recorded_at: float = 0.0  # by the monotonic clock

    def run(self, missing: Iterator[Record]) -> RefetchResult:
        """Look at entries that failed as missing. Raises: MastosyncError; Interrupted when asked to stop."""
        result, began = RefetchResult(self.options.apply), time.monotonic()
        progress = CheckProgress(
            "refetch",
            ManifestReader(self.manifest).entries(reasons=(Reason.MISSING,), types=self.options.types),
            finding=deferred("refetched"),
        )
        try:
            with shown(progress, self.listener):
                while chunk := list(islice(missing, _CHUNK)):
                    with self._all_recorded():
                        for found in self._all_of(chunk, result):
                            self._take(found, result)
                            progress.checked += 1
                            progress.found += found.status is RefetchStatus.REFETCHED
                            self.listener.advanced(progress)
                    if self.stop.requested:
                        raise Interrupted(tr("stopped on request"), hint=self._left())
                    if result.by_host.total() == self.options.limit:
                        break
        except BaseException as error:
            telling_of(self._in_doubt, error)
            raise
        finally:
            result.seconds = time.monotonic() - began
        return result

    def _left(self) -> str:
        """What was done, for people, when the run is stopped."""
        if self.options.apply:
            return tr("what was fetched is in the manifest; the same command goes on")
        return tr("nothing was fetched; the same command begins anew")

    def _all_of(self, chunk: list[Record], result: RefetchResult) -> Iterator[_Examined]:
        files = self.tools.look_up([record for record in chunk if record.entry.kind.style == _ORIGINAL])
        by_host: dict[str, list[_Wanted]] = defaultdict(list)
        for record in chunk:
            found = _sorted(record, files)
            if isinstance(found, _Examined):
                yield found
            elif self.options.limit is None or result.by_host.total() < self.options.limit:
                host = _host_of(found.url)
                result.by_host[host] += 1
                by_host[host].append(found)
        if not self.options.apply:
            for wanted in by_host.values():
                yield from (_Examined(each.record, RefetchStatus.FETCHABLE) for each in wanted)
            return
        # those with the most files first: each is asked for one at a time
        in_turn = sorted(by_host.items(), key=lambda each: len(each[1]), reverse=True)
        with self._claimed([each.record.entry for wanted in by_host.values() for each in wanted]):
            yield from side_by_side(
                self._of_one_host, in_turn, self.options.workers, self.stop, self._record_what_is_due
            )

    @contextmanager
    def _claimed(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Claim entries for the block: the manifest knows before anything arrives. Those not begun are released."""
        with self.manifest.transaction():
            claim(self.manifest, entries)
        try:
            yield
        except PrivacyLost as lost:
            if not lost.lies_there:
                raise
            with self.manifest.transaction():
                note_access(self.manifest, ((each, ACCESS) for each in self._begun))
            raise
        finally:
            with self.manifest.transaction():
                release(self.manifest, (each for each in entries if each not in self._begun))
            self._begun.clear()

    def _of_one_host(self, files: tuple[str, Iterable[_Wanted]]) -> Iterator[_Examined]:
        """Files of one server, one after the other, in a thread of its own."""
        host, wanted = files
        limiter = EndpointLimiter(self.stop, self.options.requests_per_second)
        store_session = StoreSession(self.tools.staging, limiter, _PATIENCE, self.stop)
        with closing(self.tools.fetcher()) as fetcher:
            for each in wanted:
                if self._host_failures[host] >= _FAILURES_IN_A_ROW:
                    yield _Examined(
                        each.record,
                        RefetchStatus.UNREACHED,
                        "its server kept failing for other files, so it was not asked",
                    )
                    continue
                try:
                    self.stop.require_going_on()
                    found = self._one(each, host, store_session, fetcher)
                except Interrupted as error:
                    if isinstance(error, MayBePublic):
                        self._in_doubt.append(error)
                    return
                if found.status is not RefetchStatus.UNREACHED:
                    del self._host_failures[host]
                yield found

    def _one(self, wanted: _Wanted, host: str, store_session: StoreSession, fetcher: OriginFetcher) -> _Examined:
        record, entry = wanted.record, wanted.record.entry
        spec = spec_of(entry.kind.table, entry.kind.attachment)
        try:
            fetched = RetryingStore(store_session).ask(_fetched, fetcher, wanted.url, spec.most_bytes)
        except ObjectError as error:
            status = next((status for kind, status in _STATUSES if isinstance(error, kind)), RefetchStatus.UNREACHED)
            self._host_failures[host] += _FAILURES_IN_A_ROW if isinstance(error, ObjectRejected) else 1
            return _Examined(record, status, error.message)
        with closing(fetched):
            if not self.tools.is_as_named(entry.name, fetched.head):
                return _Examined(
                    record, RefetchStatus.UNLIKE, f"its server gives something else than a file like {entry.name!r}"
                )
            wanted_anew = Claim(entry, record.attempts, Arrival(found_wrong(record.presence)))
            self._begun.add(entry)
            with self.tools.staged(canonical_key(entry, self.tools.prefix), fetched.file), waiting():
                outcome = self.tools.transfer(wanted_anew)
        self._failures.note(outcome)
        if outcome.state is not EntryState.DONE:
            detail = outcome.detail or "the destination cannot keep it private"
            return _Examined(record, RefetchStatus.NOT_STORED, detail, presence=outcome.presence)
        return _Examined(
            record, RefetchStatus.REFETCHED, None, outcome._replace(origin=Origin.REFETCHED, source_key=None)
        )

    def _take(self, found: _Examined, result: RefetchResult) -> None:
        entry = found.record.entry
        result.by_type.setdefault(entry.kind.table, Counter())[found.status] += 1
        outcome = found.outcome
        if outcome is not None:
            result.fetched_bytes += outcome.size or 0
        elif self.options.apply and found.detail is not None:
            outcome = Outcome(
                entry,
                EntryState.FAILED,
                Reason.MISSING,
                detail=f"refetch: {found.status.value}: {found.detail}",
                attempts=0,
                presence=found.presence,
            )
            if len(result.examples) < 10:
                result.examples.append(
                    f"{found.status.value}: {canonical_key(entry, self.tools.prefix)}: {found.detail}"
                )
        if outcome is not None:
            self._findings.append((found.record, outcome))

    @contextmanager
    def _all_recorded(self) -> Iterator[None]:
        """Record what the block has found, however it ends."""
        try:
            yield
        finally:
            self._record()

    def _record_what_is_due(self) -> None:
        if time.monotonic() - self._recorded_at >= _COMMIT_SECONDS:
            self._record()

    def _record(self) -> None:
        self._recorded_at = time.monotonic()
        if self._findings:
            record_findings(self.manifest, self._findings)
            self._findings.clear()


def _host_of(url: str) -> str:
    """The host of a URL; empty if it has none. Without port and user name: all of these are one server."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _fetched(fetcher: OriginFetcher, url: str, most_bytes: int) -> FetchedFile:
    """Fetch a file, with one attempt. Raises: ObjectRejected if its server wants to be asked much later only."""
    try:
        return fetcher.fetch(url, most_bytes)
    except Throttled as error:
        asked = error.retry_after_seconds or 0.0
        if asked <= _PATIENCE.throttle_budget_seconds:
            raise
        raise ObjectRejected(f"{error.message}, and asks to wait {asked:.6g} s") from error


def _sorted(record: Record, files: Mapping[RowPlace, RemoteFile]) -> _Examined | _Wanted:
    """What can be said of an entry before its server is asked."""
    entry = record.entry
    if entry.kind.style != _ORIGINAL:
        return _Examined(record, RefetchStatus.DERIVED)
    found = files.get((entry.kind.table, entry.kind.attachment, entry.id))
    # Paperclip fills names with a colon
    renamed = found is not None and found.file_name != entry.name and ":" not in found.file_name
    if found is None or renamed or found.private != entry.private:
        return _Examined(record, RefetchStatus.CHANGED, "its row is another by now: plan again")
    address = (found.address or "").strip()
    return _Wanted(record, address) if address else _Examined(record, RefetchStatus.NO_ADDRESS)
