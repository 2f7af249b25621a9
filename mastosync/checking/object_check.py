"""The check that an object is the one that the manifest records: by its size, its ETag, its bytes, and who can read it.

`CompositeCheck` checks the ETag of an object that was uploaded in parts. It is the MD5 of the parts' MD5s, a dash, and
the number of parts. The size of the parts is not recorded. But uploaders have habits: for a given number of parts and
size of the object few sizes are likely, and each is tried as the bytes pass by. See docs/design/verifying.md.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from mastosync.checking.privacy_proof import strangers_read
from mastosync.errors import CorruptObject, ObjectChanged, ObjectError, ObjectMissing
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, ObjectInfo, Origin, Outcome, Record
from mastosync.runtime.memory import MemoryBudget, Reservation
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.steps import BlockingCall, Steps, StoreCall
from mastosync.store.abilities import is_streaming_parts
from mastosync.store.base import Buffer, FetchedObject

_COMPOSITE = re.compile(r"([0-9a-f]{32})-(\d{1,5})\Z", re.IGNORECASE)
_MIB = 1024 * 1024
_MEGABYTE = 1_000_000

# 5 MiB is Mastodon's own uploader and rclone, 8 boto and the AWS CLI, 15 Paperclip, 16 mc, 50 s5cmd
_USUAL_SIZES = tuple(
    unit * number for unit in (_MIB, _MEGABYTE) for number in (5, 6, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256)
)
_RANGE_BYTES = 16 * _MIB  # of a large object in memory


class CheckStatus(StrEnum):
    """What was found of an object."""

    FINE = "fine"
    LOST = "lost"  # nothing lies under its key
    DIFFERENT = "different"  # its size or its bytes are not the recorded ones
    UNPROVEN = "unproven"  # its size is right, and no digest of its bytes is known
    UNREAD = "unread"  # the store kept failing at it


FAULTS = frozenset({CheckStatus.LOST, CheckStatus.DIFFERENT})
"""After these an object has to be written again."""


class CheckResult(NamedTuple):
    """What was found of an object, and by what."""

    record: Record
    verdict: CheckStatus
    detail: str | None = None  # for people
    etag: str | None = None  # of the object, if it is fine under another ETag than the recorded one
    size_bytes: int = 0  # that were read
    exposed: bool = False  # it is private, and everybody can read it


def expected_etag(md5: bytes | None, etag: str | None) -> str | None:
    """The ETag that an object had when it was recorded."""
    return etag or (md5.hex() if md5 else None)


def same_etag(etag: str, expected: str | None) -> bool:
    """Whether these are one ETag: some stores write it in capitals, some in small letters."""
    return expected is not None and (etag == expected or etag.lower() == expected.lower())


def are_as_recorded(
    recorded: Iterable[tuple[int | None, bytes | None, str | None]], told: Iterable[tuple[int, str]]
) -> list[bool]:
    """Whether objects are as they were recorded. Mostly all are: one comparison tells.

    `recorded`: size, MD5 and ETag of each; `told`: size and ETag, as a listing has them.
    """
    wanted, there = [(size, expected_etag(md5, etag)) for size, md5, etag in recorded], list(told)
    if wanted == there:
        return [True] * len(there)
    return [
        size == wanted_size and same_etag(etag, wanted_etag)
        for (wanted_size, wanted_etag), (size, etag) in zip(wanted, there, strict=True)
    ]


def described(store: RetryingStore, key: str, record: Record) -> CheckResult:
    """Check an object that a listing does not show as it was recorded.

    A listing may be behind, incomplete or spell keys differently, and an ETag may change without the bytes. So the
    object is asked for by itself, and read if only its bytes can decide.
    Raises: StoreUnusable, Interrupted.
    """
    try:
        info = store.head(key)
        result = _by_description(record, info) or _by_content(store, key, record, info)
        return _by_access(store, key, info, result)
    except ObjectError as error:
        return _of_failure(record, key, error)


class DeepCheck:
    """Reads objects back, any number of them at once."""

    def __init__(self, store_session: StoreSession, memory: MemoryBudget, prefix: str, whole_bytes: int) -> None:
        """`whole_bytes`: objects up to this size are read in one request."""
        self._store_session, self._memory, self._prefix, self._whole_bytes = store_session, memory, prefix, whole_bytes

    def steps(self, record: Record) -> Steps[CheckResult]:
        """Check one object by its bytes. Raises: StoreUnusable, Interrupted."""
        key = canonical_key(record.entry, self._prefix)
        memory = self._memory.reserve()
        store = RetryingStore(self._store_session, memory)
        try:
            fetched: FetchedObject = yield StoreCall(store, "read", (key, self._whole_bytes))
            if fetched.info.size != record.entry.size:
                return _of_other_size(record, fetched.info)
            if fetched.data is not None and fetched.md5 is not None and record.md5 is not None:
                result = _by_digest(record, fetched.md5, fetched.info)
            else:
                check = partial(_by_bytes, store, memory, key, record, fetched)
                result = yield BlockingCall(check, large=fetched.data is None)
            if _may_be_exposed(fetched.info, result):
                result = yield BlockingCall(partial(_by_access, store, key, fetched.info, result))
        except ObjectError as error:
            return _of_failure(record, key, error)
        finally:
            memory.release()
        return result


def _may_be_exposed(info: ObjectInfo, result: CheckResult) -> bool:
    """Whether an object is private and was stored again by another tool since it was confirmed."""
    record = result.record
    is_ours = same_etag(info.etag, expected_etag(record.md5, record.etag))
    return record.entry.private and not is_ours and result.verdict not in FAULTS


def _by_access(store: RetryingStore, key: str, info: ObjectInfo, result: CheckResult) -> CheckResult:
    """`result`, or DIFFERENT if anybody can read what is private. Raises: ObjectError, StoreUnusable.

    If strangers are refused, the new ETag is not learned: the refusal may pass, so the next check asks again.
    """
    if not _may_be_exposed(info, result):
        return result
    if not strangers_read(store, key):
        return result._replace(etag=None)
    detail = "it is private, another tool has stored it again since, and anybody can read it"
    return result._replace(verdict=CheckStatus.DIFFERENT, detail=detail, etag=None, exposed=True)


def _by_bytes(
    store: RetryingStore, memory: Reservation, key: str, record: Record, fetched: FetchedObject
) -> CheckResult:
    """Check a large object, or one without a recorded MD5: its ETag alone was compared when it arrived."""
    if record.md5 is None and fetched.data is None and is_composite(record.etag or ""):
        memory.wait(_RANGE_BYTES, store.store_session.stop)
    return _by_content(store, key, record, fetched.info, fetched.data)


def _by_content(
    store: RetryingStore, key: str, record: Record, info: ObjectInfo, data: bytes | None = None
) -> CheckResult:
    """Check an object by its bytes, which are read unless they are there. At most one range of it is in memory.

    Where there is no MD5, they have to make the recorded ETag of parts. If the object is still under that ETag, the
    store may tell the size of the parts; else those count that uploaders use. What mastosync copies without an MD5 has
    such a size; what a store has copied by itself may have another.
    """
    if record.md5 is not None:
        return _by_digest(record, store.digest(key, info), info)
    is_same = same_etag(info.etag, record.etag)
    told = _part_size_told(store, key, info) if is_same else None
    check = CompositeCheck(record.etag or "", info.size, told)
    if not check.applies:
        return _unproven(record)
    for start in range(0, info.size, _RANGE_BYTES) if data is None else ():
        check.update(store.read_range(key, info, start, min(_RANGE_BYTES, info.size - start)))
    check.update(data or b"")
    if check.fits():
        return CheckResult(record, CheckStatus.FINE, etag=None if is_same else info.etag, size_bytes=info.size)
    is_certain = told is not None or not (is_same or record.origin is Origin.ADOPTED)
    if not (is_certain and check.has_sizes):
        return _unproven(record)
    detail = f"its bytes do not make the ETag {record.etag} that was recorded"
    return CheckResult(record, CheckStatus.DIFFERENT, detail, size_bytes=info.size)


def _part_size_told(store: RetryingStore, key: str, info: ObjectInfo) -> int | None:
    """The size of the parts of an object as its store tells it; None: it does not."""
    number, asked = parts_of(info.etag), store.store_session.store
    if not number or not is_streaming_parts(asked) or not asked.streams(key):
        return None
    try:
        first = store.first_part(key)
    except ObjectError:
        return None
    fits = 0 < first.size < info.size and -(-info.size // first.size) == number and first.parts in (None, number)
    return first.size if fits else None


def _by_description(record: Record, info: ObjectInfo) -> CheckResult | None:
    """The result by size and ETag; None: the bytes have to be read."""
    if info.size != record.entry.size:
        return _of_other_size(record, info)
    if same_etag(info.etag, expected_etag(record.md5, record.etag)):
        return CheckResult(record, CheckStatus.FINE)
    if record.md5 is None:
        return None if is_composite(record.etag or "") else _unproven(record)
    if info.md5 is not None:
        return _by_digest(record, info.md5, info, read=False)
    return None


def _by_digest(record: Record, md5: bytes, info: ObjectInfo, *, read: bool = True) -> CheckResult:
    size_bytes = info.size if read else 0
    if md5 != record.md5:
        recorded = record.md5.hex() if record.md5 else "none"
        return CheckResult(
            record, CheckStatus.DIFFERENT, f"its MD5 is {md5.hex()}, but {recorded} was recorded", size_bytes=size_bytes
        )
    learned = None if same_etag(info.etag, expected_etag(record.md5, record.etag)) else info.etag
    return CheckResult(record, CheckStatus.FINE, etag=learned, size_bytes=size_bytes)


def _of_failure(record: Record, key: str, error: ObjectError) -> CheckResult:
    """The result of an object that could not be read."""
    if isinstance(error, ObjectMissing):
        return CheckResult(record, CheckStatus.LOST, f"there is no object under {key!r}")
    is_different = isinstance(error, CorruptObject | ObjectChanged)
    return CheckResult(record, CheckStatus.DIFFERENT if is_different else CheckStatus.UNREAD, error.message)


def _of_other_size(record: Record, info: ObjectInfo) -> CheckResult:
    return CheckResult(
        record, CheckStatus.DIFFERENT, f"it has {info.size} bytes, but {record.entry.size} were recorded"
    )


def _unproven(record: Record) -> CheckResult:
    if record.origin is Origin.ADOPTED:
        detail = "Mastodon, or another tool, wrote it: there is no digest to compare"
    else:
        detail = "its ETag alone was compared when it was copied, and no digest of it is known"
    return CheckResult(record, CheckStatus.UNPROVEN, detail)


def still_done(record: Record, md5: bytes | None, etag: str | None) -> Outcome:
    """The outcome of an object that is unchanged, with the digests that are known now."""
    return Outcome(
        record.entry,
        EntryState.DONE,
        size=record.entry.size,
        md5=md5,
        etag=etag,
        source_key=record.source_key,
        attempts=0,
        detail=record.detail,
        origin=record.origin or Origin.COPIED,
    )


def is_composite(etag: str) -> bool:
    """Whether an ETag is one of an object that was uploaded in parts."""
    return _COMPOSITE.match(etag) is not None


def composite_etag(md5s: Iterable[bytes]) -> str:
    """The ETag of an object that is put together of parts with these MD5s."""
    parts = list(md5s)
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


class CompositeCheck:
    """Takes an object's bytes in order, in pieces of any size, and decides whether they fit its ETag."""

    def __init__(self, etag: str, size: int, part_size: int | None = None) -> None:
        """`part_size`: of each part but the last; None: it is not known."""
        found = _COMPOSITE.match(etag)
        self.applies = found is not None  # False: the ETag is of another kind, and tells nothing
        self._wanted = found[1].lower() if found else ""
        sizes = ([part_size] if part_size else possible_sizes(size, int(found[2]))) if found else []
        self.has_sizes = bool(sizes)  # that may be those of its parts
        self._guesses = [_PartSizeGuess(part_size) for part_size in sizes]

    def copied(self) -> CompositeCheck:
        """One that has taken in the same, and goes on by itself."""
        copied = copy.copy(self)
        copied._guesses = [guess.copied() for guess in self._guesses]
        return copied

    def update(self, data: Buffer) -> None:
        """Take in the next bytes."""
        for guess in self._guesses:
            guess.update(data)

    def fits(self) -> bool:
        """Whether the bytes are those that the ETag was made of.

        False may also mean that they came in parts of an unusual size.
        """
        return any(guess.digest() == self._wanted for guess in self._guesses)


class _PartSizeGuess:
    """The composite MD5 for one size of parts."""

    def __init__(self, part_size: int) -> None:
        self._part_size = part_size
        self._room = part_size  # bytes until the part that is open is full
        self._part = hashlib.md5(usedforsecurity=False)
        self._parts = hashlib.md5(usedforsecurity=False)
        self._closed = 0

    def copied(self) -> _PartSizeGuess:
        copied = copy.copy(self)
        copied._part, copied._parts = self._part.copy(), self._parts.copy()
        return copied

    def update(self, data: Buffer) -> None:
        view = memoryview(data)
        while view:
            piece, view = view[: self._room], view[self._room :]
            self._part.update(piece)
            self._room -= len(piece)
            if not self._room:
                self._close_part()

    def digest(self) -> str:
        if self._room < self._part_size or not self._closed:  # an empty object has one empty part
            self._close_part()
        return self._parts.hexdigest()

    def _close_part(self) -> None:
        self._parts.update(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._room = self._part_size
        self._closed += 1


def parts_of(etag: str) -> int | None:
    """The number of parts that an ETag says; None: it is not one of parts."""
    found = _COMPOSITE.match(etag)
    return int(found[2]) if found else None


def possible_sizes(size: int, parts: int) -> list[int]:
    """Sizes of parts that make this number of them; a single part is as large as the object."""
    if parts == 1:
        return [max(size, 1)]
    return [usual for usual in _USUAL_SIZES if -(-size // usual) == parts]
