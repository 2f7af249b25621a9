"""Bringing one object of the destination in line with the settings, and what becomes of its entry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from mastosync.applying.rewrite import InPlaceRewriter, RewriteTask, target_settings
from mastosync.checking.object_check import expected_etag, same_etag, still_done
from mastosync.checking.privacy_proof import PrivacyUnknown, strangers_read
from mastosync.checking.row_check import RowAnswer, RowCheck, RowState, made_private
from mastosync.copying.acl import PRIVATE, PUBLIC_READ, PrivateKeptBack
from mastosync.copying.server_side import CopiedObject
from mastosync.errors import CorruptObject, ObjectChanged, ObjectError, ObjectMissing
from mastosync.manifest import Noted, ObjectSettings, found_wrong, found_wrong_access
from mastosync.model import Entry, EntryState, ObjectInfo, Outcome, Presence, Record
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.steps import BlockingCall, Steps, StoreCall

_ATTEMPTS = 3  # at an object that keeps changing


class ApplyStatus(StrEnum):
    """What became of an object."""

    IN_LINE = "in_line"  # it had what it should have
    APPLIED = "applied"  # it was stored again, or would be
    KEPT_BACK = "kept_back"  # it is private, and only an ACL that is not sent would keep it so
    CLOSED = "closed"  # it would be opened, and its row is private or gone by now
    HIDDEN = "hidden"  # its row is public, it was stored as public, and nobody can read it
    DIFFERENT = "different"  # another object lies there than was recorded, or none
    FAILED = "failed"  # the store refused or kept failing


LEFT = frozenset({ApplyStatus.HIDDEN, ApplyStatus.DIFFERENT, ApplyStatus.FAILED})
"""What is not in line afterwards, and should be."""


class Applied(NamedTuple):
    """What became of an object, and what the manifest is to know of it."""

    status: ApplyStatus
    detail: str = ""  # for people
    copied: CopiedObject | None = None  # its ETag is another one now, or its MD5 is known
    found: Presence | None = None  # what lies there has to be stored anew
    error: ObjectError | None = None
    private: bool = False  # its row is, which the manifest does not know yet

    @property
    def is_gone(self) -> bool:
        """Whether its row is, so that it stays as it was stored: it may come back."""
        return self.status is ApplyStatus.CLOSED and not self.private


@dataclass(frozen=True, slots=True)
class ObjectApplier:
    """Brings objects in line, any number of them at once."""

    store_session: StoreSession
    in_place: InPlaceRewriter
    current: ObjectSettings
    others: Noted  # under which they may have been stored
    dry_run: bool = False  # ask, and write nothing
    row_check: RowCheck | None = None  # asked before anything is opened to everybody; None: nothing is

    @property
    def finding(self) -> str | None:
        """What people should know of the destination that nobody knew before the run."""
        return self.in_place.finding

    def steps(self, record: Record, answer: RowAnswer | None = None) -> Steps[Applied]:
        """Bring one object in line; `answer`: what its row said, as `row_check` has it.

        Raises: StoreUnusable and DatabaseError, after which no other would fare better; Interrupted.
        """
        key, store = self.in_place.key_of(record.entry), RetryingStore(self.store_session)
        try:
            return (yield from self._brought_in_line(record, key, store, answer))
        except PrivateKeptBack:
            return Applied(ApplyStatus.KEPT_BACK)
        except PrivacyUnknown as unknown:
            message = unknown.failure.message
            was_written = bool(unknown.failure.store)
            return Applied(
                ApplyStatus.FAILED, message, found=found_wrong_access(record.presence) if was_written else None
            )
        except (ObjectMissing, ObjectChanged) as error:
            return Applied(ApplyStatus.DIFFERENT, error.message)
        except ObjectError as error:
            damaged = found_wrong(record.presence) if isinstance(error, CorruptObject) else None
            return Applied(ApplyStatus.FAILED, error.message, found=damaged, error=error)

    def _brought_in_line(
        self, record: Record, key: str, store: RetryingStore, answer: RowAnswer | None
    ) -> Steps[Applied]:
        for attempt in range(_ATTEMPTS):
            info: ObjectInfo = yield StoreCall(store, "head", (key,))
            if not _is_recorded(record, info):
                return Applied(ApplyStatus.DIFFERENT, f"another object lies under {key!r} than was recorded")
            target = target_settings(record, info, self.current, self.others)
            is_public = target.acl == PUBLIC_READ
            # what is private is always stored again, so that somebody asks who reads it
            if target.acl != PRIVATE and not (target.differs or target.acl_in_question):
                return _in_line(info)
            read: bool = is_public and (yield BlockingCall(partial(strangers_read, store, key, info)))
            answer = (yield from self._fresh(record, answer)) if is_public else answer
            if is_public and (closed := _closed_by(record, answer, read=read)):
                return (yield from self._hidden(closed, record, key, store, info))
            if is_public and not (read or target.acl_in_question) and (yield from self._was_hidden(record.entry)):
                return Applied(
                    ApplyStatus.HIDDEN, f"{key!r} was stored as public, and nobody reads it without credentials"
                )
            if is_public and read and not target.differs:
                return _in_line(info)
            try:
                stored = yield from self._store(RewriteTask(store, record.entry, key, info, target, read))
                answer = (yield from self._fresh(record, answer)) if is_public else answer
                hidden = _closed_by(record, answer, read=True) if is_public else None  # while it waited in a request
                return hidden if hidden and hidden.private else stored
            except ObjectChanged:  # by somebody else, or by a request of ours whose answer was lost
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _fresh(self, record: Record, answer: RowAnswer | None) -> Steps[RowAnswer | None]:
        if self.row_check is None or answer is None:
            return None
        return (yield from self.row_check.fresh(record, answer))

    def _hidden(
        self, closed: Applied, record: Record, key: str, store: RetryingStore, info: ObjectInfo
    ) -> Steps[Applied]:
        """Store what is private by now as private, whatever else hides it. Returns: `closed`, with what came of that.

        If it cannot be stored so, a copy sees to it.
        """
        if not closed.private or closed.found is not None:
            return closed
        hidden = made_private(record)
        target = target_settings(hidden, info, self.current, self.others)
        try:
            stored = yield from self._store(RewriteTask(store, hidden.entry, key, info, target, is_read=False))
        except (PrivateKeptBack, PrivacyUnknown, ObjectError):
            return closed._replace(found=found_wrong_access(record.presence))
        return closed._replace(copied=stored.copied)

    def _store(self, task: RewriteTask) -> Steps[Applied]:
        if self.dry_run:
            self.in_place.require_allowed(task.entry)
            return Applied(ApplyStatus.APPLIED)
        copied = yield from self.in_place.store(task)
        return Applied(ApplyStatus.APPLIED, copied=copied)

    def _was_hidden(self, entry: Entry) -> Steps[bool]:
        """Whether somebody has hidden what was certainly stored as public: Mastodon does so, after the switch."""
        return self.dry_run or (yield from self.in_place.opens(entry))


def _is_recorded(record: Record, info: ObjectInfo) -> bool:
    """Whether this is the very object that was recorded: by its ETag, or by its MD5 if the store tells that now."""
    if info.size != record.entry.size:
        return False
    same_bytes = info.md5 is not None and info.md5 == record.md5
    return same_bytes or same_etag(info.etag, expected_etag(record.md5, record.etag))


def _closed_by(record: Record, answer: RowAnswer | None, *, read: bool) -> Applied | None:
    """What becomes of a public object whose row says otherwise by now; None: it says the same, or was not asked."""
    return None if answer is None or answer.row is RowState.PUBLIC else _closed(record, answer.row, read=read)


def _closed(record: Record, row: RowState, *, read: bool) -> Applied:
    """Nothing is opened. What everybody reads although its row is private has to be stored anew."""
    is_private = row is RowState.PRIVATE
    detail = "its row is private by now" if is_private else "its row is gone by now, or has another file"
    found = found_wrong_access(record.presence) if is_private and read else None
    return Applied(ApplyStatus.CLOSED, detail, found=found, private=is_private)


def _in_line(info: ObjectInfo) -> Applied:
    """Nothing is to be done; a dead run may have stored it so, and not recorded under which ETag."""
    return Applied(ApplyStatus.IN_LINE, copied=CopiedObject(info.size, info.md5, info.etag))


def outcome_of(record: Record, applied: Applied) -> Outcome | None:
    """What becomes of the entry; None: nothing."""
    if applied.private:
        record = made_private(record)
    if applied.found is not None:
        return to_be_stored(record, applied.found, applied.detail)
    copied = applied.copied
    if copied is None:
        return None
    md5 = record.md5 or copied.md5
    is_md5 = md5 is not None and copied.etag.lower() == md5.hex()
    etag = None if is_md5 else copied.etag
    if (md5, etag) == (record.md5, record.etag) and not applied.private:
        return None
    return still_done(record, md5, etag)


def to_be_stored(record: Record, presence: Presence, detail: str) -> Outcome:
    """It has to be stored anew."""
    said = f"apply-settings: {detail}"
    return Outcome(record.entry, EntryState.PENDING, detail=said, attempts=0, presence=presence)
