"""Objects of the destination, stored there once more by the store itself: with other headers, and no byte travels.

The copy is pinned to the ETag that was seen, and carries its ACL in the same request. What is private is asked for
without credentials, once a run and for each write method, as in a copy (`privacy_proof`). What everybody turns out to
read is not removed, as it may lie nowhere else. What everybody reads is asked for, too, before the first one is stored
again and after: a copy without an ACL is private at most stores, whatever the object was before.

Only what the settings of this tool have given is taken away again: any other value is the object's own, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from mastosync.checking.privacy_proof import WriteMethod, strangers_read
from mastosync.copying.acl import PRIVATE, PUBLIC_READ, AclMode, AclRule
from mastosync.copying.large_objects import MIB
from mastosync.copying.server_side import LARGEST_COPY, CopiedObject, check_copy
from mastosync.copying.transfer import TransferOptions
from mastosync.errors import (
    CorruptObject,
    Interrupted,
    MastosyncError,
    MayBeHidden,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
    StoreUnusable,
)
from mastosync.language import enumerated, tr
from mastosync.manifest import Noted, ObjectSettings
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, ObjectHeaders, ObjectInfo, Origin, Record
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.steps import BlockingCall, Steps, StoreCall, WaitFor
from mastosync.runtime.stop import FirstAlone
from mastosync.store.base import Piece, PutOptions, UploadedPart

_USUAL_CLASS = "STANDARD"  # which no store names
_PART_BYTES = 1024 * MIB  # at least
_REFUSALS_AT_MOST = 3  # one may be about its object alone, as that is archived


class TargetSettings(NamedTuple):
    """The settings that one object should have."""

    cache_control: str | None
    storage_class: str | None  # None: the bucket's own
    differs: bool  # from what it has, as far as the store tells
    acl: str | None
    acl_in_question: bool  # it may have been stored with another one, which no store tells


def acl_of(settings: ObjectSettings, *, private: bool) -> str | None:
    """The ACL that these settings give a row."""
    if settings.acl == AclMode.NONE:
        return None
    return PRIVATE if private or settings.acl == AclMode.PRIVATE else PUBLIC_READ


def target_settings(record: Record, info: ObjectInfo, current: ObjectSettings, noted: Noted) -> TargetSettings:
    """What an object should have that the store describes so. `noted`: all that it may have been stored under."""
    known = [each for each in noted if each is not None]
    cache_control = _own_or(info.headers.cache_control, {each.cache_control for each in known}, current.cache_control)
    described = info.storage_class or _USUAL_CLASS  # or the store names none
    given = {_USUAL_CLASS, *(each.storage_class for each in known)}
    storage_class = current.storage_class if described in given else described
    moves = (storage_class or _USUAL_CLASS) != described and any(each.storage_class != storage_class for each in known)
    private = record.entry.private
    acl = acl_of(current, private=private)
    by_others = None in noted and record.origin is Origin.ADOPTED
    return TargetSettings(
        cache_control,
        storage_class,
        moves or cache_control != (info.headers.cache_control or None),
        acl,
        by_others or any(acl_of(each, private=private) != acl for each in known),
    )


def opens(current: ObjectSettings, noted: Noted) -> bool:
    """Whether objects become readable to everybody that were stored otherwise, as far as is known."""
    acl = acl_of(current, private=False)
    return acl == PUBLIC_READ and any(each is None or acl_of(each, private=False) != acl for each in noted)


def _own_or(described: str | None, given: set[str | None], current: str | None) -> str | None:
    return current if not described or described in given else described


@dataclass(frozen=True, slots=True)
class RewriteTask:
    """An object of the destination, as the store describes it, and what it should have."""

    store: RetryingStore
    entry: Entry
    key: str
    info: ObjectInfo
    target: TargetSettings
    is_read: bool  # everybody can read it


class InPlaceRewriter:
    """Stores objects onto themselves. Shared by all workers: what one finds out of the store holds for all."""

    def __init__(
        self, destination: StoreSession, options: TransferOptions, bucket: str, largest: int = LARGEST_COPY
    ) -> None:
        """`bucket`: as the store knows it. `largest`: bytes that it copies in one request."""
        self._destination, self._options, self._bucket, self._largest = destination, options, bucket, largest
        self._whole_at_most = largest  # less once the store has found an object too large
        self._acl = AclRule.of_run(destination, self.key_of, options, in_place=True)
        self._seen: set[str | None] = set()  # ACLs with which an object was stored, and found as it should be
        self.has_begun = False  # something was stored, or may have been
        self._first = _First()
        self._first_read = {
            WriteMethod.COPIED: _First(),
            WriteMethod.IN_PARTS: _First(),
        }  # of what everybody reads

    @property
    def finding(self) -> str | None:
        """What people should know of the destination that nobody knew before the run."""
        return self._acl.finding

    def key_of(self, entry: Entry) -> str:
        """Where an entry lies at the destination."""
        return canonical_key(entry, self._options.destination_prefix)

    def opens(self, entry: Entry) -> Steps[bool]:
        """Whether an ACL of its own makes a public object readable to everybody."""
        return self._acl.opens(entry)

    def require_allowed(self, entry: Entry) -> None:
        """Raises: PrivateKeptBack if it is known, without a request, that storing it would open it to everybody."""
        self._acl.require_allowed(entry)

    def store(self, task: RewriteTask) -> Steps[CopiedObject]:
        """Store exactly this object once more, with what it should have.

        Until one has been found as it should be, there is one at a time. Raises: PrivateKeptBack; PrivacyUnknown;
        PrivacyLost; HeadersLost if the store drops what it was sent; AccessLost if nobody can read any more what
        everybody could; MayBeHidden; ObjectChanged if another object lies there by now; ObjectError; StoreUnusable.
        """
        self.has_begun = True
        if task.info.size <= self._whole_at_most:
            try:
                return (yield from self._in_turn(task, WriteMethod.COPIED))
            except ObjectTooLarge:  # for one request of this store
                self._whole_at_most = min(self._whole_at_most, task.info.size - 1)
        return (yield from self._in_turn(task, WriteMethod.IN_PARTS))

    def _in_turn(self, task: RewriteTask, method: WriteMethod) -> Steps[CopiedObject]:
        """Store it when it may go. What everybody reads waits for the first of it as well."""
        is_asked = task.target.acl is None and not task.entry.private and self._options.serves_strangers
        if is_asked and not self._first_read[method].is_over:
            task = replace(task, is_read=(yield BlockingCall(partial(strangers_read, task.store, task.key, task.info))))
        steps = self._store(task, method)
        if task.is_read:
            steps = self._first_read[method].before_others(task, steps)
        return (yield from self._first.before_others(task, steps))

    def _store(self, task: RewriteTask, method: WriteMethod) -> Steps[CopiedObject]:
        yield from self._acl.allow(task.entry)
        target = task.target
        options = PutOptions(
            task.info.headers._replace(cache_control=target.cache_control), storage_class=target.storage_class
        )
        steps, there = (self._in_parts if method is WriteMethod.IN_PARTS else self._whole)(task, options), None
        if task.is_read and not self._first_read[method].is_over:
            copied, there = yield from _asked_after(task, steps)
        else:
            copied = yield from steps
        if target.acl not in self._seen:
            yield BlockingCall(partial(_require_kept, task, options.headers, there))
            self._seen.add(target.acl)
        return copied

    def _whole(self, task: RewriteTask, options: PutOptions) -> Steps[CopiedObject]:
        def copy(with_acl: PutOptions) -> Steps[str]:
            etag: str = yield StoreCall(
                task.store, "copy_from", (self._bucket, task.key, task.info, task.key, with_acl)
            )
            return etag

        etag = yield from self._acl.write(task.entry, options, copy, WriteMethod.COPIED)
        return (yield from check_copy(task.store, task.key, task.key, task.info, etag))

    def _in_parts(self, task: RewriteTask, options: PutOptions) -> Steps[CopiedObject]:
        store, key = task.store, task.key
        yield BlockingCall(partial(store.abort_unfinished, key))  # a dead run may have left one

        def begin(with_acl: PutOptions) -> Steps[str]:
            upload: str = yield BlockingCall(partial(store.start_multipart, key, with_acl))
            return upload

        def complete(upload: str) -> Steps[str]:
            etag: str = yield BlockingCall(partial(self._fill, task, upload))
            return etag

        etag: str = yield from self._acl.write(task.entry, options, begin, WriteMethod.IN_PARTS, complete)
        there: ObjectInfo = yield StoreCall(store, "head", (key,))
        if there.size != task.info.size:
            raise CorruptObject(
                f"{key!r} at {store.name} had {task.info.size} bytes, and has {there.size} since the store has "
                "copied it"
            )
        return CopiedObject(there.size, there.md5, etag)

    def _fill(self, task: RewriteTask, upload: str) -> str:
        """Let the store take the parts of an upload from the object itself, and complete it. Raises: as `store`."""
        store, whole = task.store, task.info.size
        size = min(max(_PART_BYTES, -(-whole // self._options.parts_at_most)), self._largest)
        try:
            parts: list[UploadedPart] = []
            for number, start in enumerate(range(0, whole, size), 1):
                store.store_session.stop.require_going_on()
                piece = Piece(self._bucket, task.key, task.info, start, min(size, whole - start))
                parts.append(store.copy_part(task.key, upload, number, piece))
            return store.complete_multipart(task.key, upload, parts)
        except BaseException:
            with suppress(MastosyncError):  # the next run throws it away
                store.store_session.store.abort_multipart(task.key, upload)  # this one request waits for nobody
            raise


class _First(FirstAlone):
    """Lets one object go first, and the next one only after that was refused."""

    def __init__(self) -> None:
        super().__init__()
        self._refusals = 0
        self._unusable: StoreUnusable | None = None  # what the first ones have shown of the store

    def before_others(self, task: RewriteTask, steps: Steps[CopiedObject]) -> Steps[CopiedObject]:
        """The result of steps that store one, which goes first or waits until another has gone."""
        if not self.is_over:
            yield WaitFor(partial(self.may_go, task.entry), task.store.store_session.stop)
            task.store.store_session.stop.require_going_on()  # whoever went first may have been stopped
        with self.turn_of(task.entry):
            copied = yield from steps
            self.is_over = True
        return copied

    def may_go(self, one: object) -> bool:
        return self._unusable is not None or super().may_go(one)

    @contextmanager
    def turn_of(self, entry: Entry) -> Iterator[None]:
        """The turn ends with the block. Raises: StoreUnusable if the first ones show that the store cannot do it."""
        if self._unusable is not None:  # a new error, as this one has its traceback
            raise StoreUnusable(self._unusable.message, hint=self._unusable.hint)
        try:
            yield
        except (ObjectDenied, ObjectRejected) as error:
            if not self.is_over:
                self._refused(error)
            raise
        except StoreUnusable as error:
            self._unusable = self._unusable or error
            raise
        finally:
            self.end_turn(entry)

    def _refused(self, error: ObjectError) -> None:
        self._refusals += 1
        if self._refusals < _REFUSALS_AT_MOST:
            return
        self._unusable = StoreUnusable(
            tr("the store does not copy objects onto themselves, or the key may not: {message}", message=error.message),
            hint=tr(
                "allow the key to read and write at the destination (s3:GetObject, s3:PutObject, s3:PutObjectAcl); a"
                " store that cannot copy gives objects other settings only with another upload"
            ),
        )
        raise self._unusable from error


class HeadersLost(StoreUnusable):
    """What was stored in place is not as it was before, and should be. No other object would fare better."""


class AccessLost(StoreUnusable):
    """Everybody could read an object before it was stored in place; now nobody can, or it is not known who can."""


def _asked_after(task: RewriteTask, steps: Steps[CopiedObject]) -> Steps[tuple[CopiedObject, ObjectInfo]]:
    """The result of steps that store what everybody reads, and what lies there then, once everybody still reads it.

    They are asked after a failure, too: a lost answer may have been a success. Raises: AccessLost; MayBeHidden; what
    `steps` raise.
    """
    try:
        copied = yield from steps
    except Interrupted as error:
        raise _may_be_hidden(task) from error
    except (ObjectMissing, ObjectTooLarge):  # nothing was stored
        raise
    except ObjectError:
        yield BlockingCall(partial(_require_read, task, described=False))
        raise
    return copied, (yield BlockingCall(partial(_require_read, task)))


def _require_read(task: RewriteTask, *, described: bool = True) -> ObjectInfo | None:
    """What lies there now, if it is to be `described`, and is still read. Raises: AccessLost; MayBeHidden."""
    store, key = task.store, task.key
    hint = _without_acl_hint() if task.target.acl is None else _with_acl_hint()
    try:
        there = store.head(key) if described else None
        if strangers_read(store, key, there):
            return there
    except Interrupted as error:
        raise _may_be_hidden(task) from error
    except (ObjectError, StoreUnusable) as error:
        message = tr(
            "everybody could read {key!r} at {name}, and mastosync cannot tell who can now: {message}",
            key=key,
            name=store.name,
            message=error.message,
        )
        raise AccessLost(message, hint=hint) from error
    raise AccessLost(
        tr("everybody could read {key!r} at {name}, but nobody can now", key=key, name=store.name), hint=hint
    )


def _may_be_hidden(task: RewriteTask) -> MayBeHidden:
    said = tr(
        "{key!r} at {name} may be hidden: stopped before mastosync could ask who reads it",
        key=task.key,
        name=task.store.name,
    )
    return MayBeHidden(said, hint=tr("`mastosync verify --public` shows whether anybody can read it"))


def _without_acl_hint() -> str:
    return tr(
        "with `acl = none` this store makes private whatever it copies onto itself: set `acl = auto` for the"
        " destination, then run `mastosync plan`, `mastosync copy`, which stores this object anew for everybody to"
        " read, and `mastosync apply-settings`"
    )


def _with_acl_hint() -> str:
    return tr(
        "allow the key to set ACLs (s3:PutObjectAcl); then `mastosync copy` stores this object anew, and"
        " `mastosync apply-settings` goes on"
    )


def _require_kept(task: RewriteTask, sent: ObjectHeaders, there: ObjectInfo | None) -> None:
    """Find out a store that drops what it is sent when it copies. `there`: None if it is not described yet.

    Raises: HeadersLost; ObjectError.
    """
    store, key = task.store, task.key
    kept = (there or store.head(key)).headers
    names = {"content_type": "Content-Type", "cache_control": "Cache-Control", "metadata": "metadata"}
    lost = [said for name, said in names.items() if (getattr(kept, name) or None) != (getattr(sent, name) or None)]
    if lost:
        raise HeadersLost(
            tr(
                "{name} does not keep {names} when it copies an object onto itself: {key!r} has lost it",
                name=store.name,
                names=enumerated(lost),
                key=key,
            ),
            hint=tr(
                "at this store, only another upload changes headers: `mastosync copy` stores this object again. For"
                " the others, let the server of the media (nginx, a CDN) set Cache-Control"
            ),
        )
