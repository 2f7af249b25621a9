"""Objects of the destination, stored there once more by the store itself: with other headers, and no byte travels.

The copy is pinned to the ETag that was seen, and carries its ACL in the same request. What is private is asked for
without credentials, once a run and for each way of storing, as in a copy (`privacy_proof`). What everybody turns out to
read is not removed, as it may lie nowhere else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from mastosync.engine.acl import PUBLIC_READ, AclRule, begin_in_vain
from mastosync.engine.parts import MIB
from mastosync.engine.privacy_proof import PrivacyProof, Storing, strangers_read
from mastosync.engine.retry import Gate, PatientStore
from mastosync.engine.server_side import LARGEST_COPY, Copied, Within, copied_once
from mastosync.engine.settings_rule import Goal
from mastosync.engine.steps import Aside, Ask, Step, Steps, Until
from mastosync.engine.transfer import TransferOptions
from mastosync.errors import (
    CorruptObject,
    MastosyncError,
    ObjectDenied,
    ObjectError,
    ObjectRejected,
    ObjectTooLarge,
    StoreUnusable,
)
from mastosync.language import tr
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, ObjectHeaders, ObjectInfo
from mastosync.store.base import Part, Piece, PutOptions

_PART_BYTES = 1024 * MIB  # at least
_REFUSALS_AT_MOST = 3  # one may be about its object alone, as that is archived


@dataclass(frozen=True, slots=True)
class Found:
    """An object of the destination, as the store describes it, and what it should have."""

    store: PatientStore
    entry: Entry
    key: str
    info: ObjectInfo
    goal: Goal
    read: bool  # everybody can read it


class InPlace:
    """What a run knows of storing in place. Shared by all workers."""

    def __init__(self, destination: Gate, options: TransferOptions, bucket: str, largest: int = LARGEST_COPY) -> None:
        """`bucket`: as the store knows it. `largest`: bytes that it copies in one request."""
        self._destination, self._options, self._bucket, self._largest = destination, options, bucket, largest
        proof = PrivacyProof(destination, self.key_of, refusals_tell=options.serves_strangers, may_remove=False)
        self._acl = AclRule(
            options.acl,
            copy_private_without_acl=options.copy_private_without_acl,
            trial=self._trial,
            taken=options.acl_taken,
            proof=proof,
        )
        self._seen: set[str | None] = set()  # ACLs with which an object was stored, and found as it should be
        self._first = _FirstOne()

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

    def stored(self, one: Found) -> Steps[Copied]:
        """Store exactly this object once more, with what it should have.

        Until one has been found as it should be, there is one at a time. Raises: PrivateKeptBack; PrivacyUnknown;
        PrivacyLost; HeadersLost if the store drops what it was sent; ObjectChanged if another object lies there by now;
        ObjectError; StoreUnusable.
        """
        if not self._first.is_over:
            yield Until(partial(self._first.may_go, one.entry), one.store.gate.stop)
        with self._first.turn_of(one.entry):
            copied = yield from self._stored(one)
            self._first.is_over = True
        return copied

    def _stored(self, one: Found) -> Steps[Copied]:
        yield from self._acl.allow(one.entry)
        goal = one.goal
        options = PutOptions(
            one.info.headers._replace(cache_control=goal.cache_control), storage_class=goal.storage_class
        )
        if one.info.size > self._largest:
            copied = yield from self._in_parts(one, options)
        else:
            copied = yield from self._whole(one, options)
        if goal.acl not in self._seen:
            yield Aside(partial(_require_kept, one, options.headers))
            self._seen.add(goal.acl)
        return copied

    def _whole(self, one: Found, options: PutOptions) -> Steps[Copied]:
        def written(_: ObjectInfo, write: Callable[[PutOptions], Step]) -> Steps[str]:
            etag: str = yield from self._acl.written(one.entry, options, partial(_asked, write), Storing.COPIED)
            return etag

        within = Within(one.store, one.key, one.store, one.key, written)
        try:
            return (yield from copied_once(within, one.info, self._bucket))
        except ObjectTooLarge:  # for one request of this store
            return (yield from self._in_parts(one, options))

    def _in_parts(self, one: Found, options: PutOptions) -> Steps[Copied]:
        store, key = one.store, one.key
        yield Aside(partial(store.abort_unfinished, key))  # a dead run may have left one

        def begun(with_acl: PutOptions) -> Steps[str]:
            upload: str = yield Aside(partial(store.start_multipart, key, with_acl))
            return upload

        def completed(upload: str) -> Steps[str]:
            etag: str = yield Aside(partial(self._fill, one, upload))
            return etag

        etag: str = yield from self._acl.written(one.entry, options, begun, Storing.IN_PARTS, completed)
        there: ObjectInfo = yield Ask(store, "head", (key,))
        if there.size != one.info.size:
            raise CorruptObject(
                f"{key!r} at {store.name} had {one.info.size} bytes, and has {there.size} since the store has copied it"
            )
        return Copied(there.size, there.md5, etag)

    def _fill(self, one: Found, upload: str) -> str:
        """Let the store take the parts of an upload from the object itself, and complete it. Raises: as `stored`."""
        store, whole = one.store, one.info.size
        size = min(max(_PART_BYTES, -(-whole // self._options.parts_at_most)), self._largest)
        try:
            parts: list[Part] = []
            for number, start in enumerate(range(0, whole, size), 1):
                store.gate.stop.require_going_on()
                piece = Piece(self._bucket, one.key, one.info, start, min(size, whole - start))
                parts.append(store.copy_part(one.key, upload, number, piece))
            return store.complete_multipart(one.key, upload, parts)
        except BaseException:
            with suppress(MastosyncError):  # the next run throws it away
                store.gate.store.abort_multipart(one.key, upload)  # this one request waits for nobody
            raise

    def _trial(self, entry: Entry, acl: str | None) -> Step:
        options = PutOptions(ObjectHeaders(), acl=acl, storage_class=self._options.storage_class)
        return Aside(partial(begin_in_vain, PatientStore(self._destination), self.key_of(entry), options))


class _FirstOne:
    """Lets one object go first, and the next one after it was refused."""

    def __init__(self) -> None:
        self.is_over = False  # one was stored in place, and found as it should be
        self._whose: Entry | None = None
        self._refusals = 0
        self._unusable: StoreUnusable | None = None  # what the first ones have shown of the store
        self._lock = threading.Lock()

    def may_go(self, entry: Entry) -> bool:
        """Whether nothing has to be waited for. It may have become this entry's turn."""
        with self._lock:
            if self.is_over or self._unusable is not None:
                return True
            self._whose = self._whose or entry
            return self._whose is entry

    @contextmanager
    def turn_of(self, entry: Entry) -> Iterator[None]:
        """The turn ends with the block. Raises: StoreUnusable if the first ones show that the store cannot do it."""
        if self._unusable is not None:  # raised twice, it tells two stories
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
            with self._lock:
                if self._whose is entry:
                    self._whose = None

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


def _require_kept(one: Found, sent: ObjectHeaders) -> None:
    """Find out a store that drops what it is sent when it copies. Raises: HeadersLost; ObjectError."""
    store, key = one.store, one.key
    there = store.head(key)
    kept = there.headers
    names = {"content_type": "Content-Type", "cache_control": "Cache-Control", "metadata": "metadata"}
    lost = [said for name, said in names.items() if (getattr(kept, name) or None) != (getattr(sent, name) or None)]
    if lost:
        raise HeadersLost(
            tr(
                "{name} does not keep {names} when it copies an object onto itself: {key!r} has lost it",
                name=store.name,
                names=", ".join(lost),
                key=key,
            ),
            hint=tr(
                "there only another upload gives objects other headers: `mastosync copy` stores this one anew; let what"
                " serves the media (nginx, a CDN) set Cache-Control for the others"
            ),
        )
    if one.read and one.goal.acl == PUBLIC_READ and not strangers_read(store, key, there):
        raise HeadersLost(
            tr("everybody could read {key!r} at {name}, and nobody can any more", key=key, name=store.name),
            hint=tr(
                "allow the key to set ACLs (s3:PutObjectAcl), or set `acl = none` if a policy of the bucket lets"
                " everybody read; `mastosync copy` stores this object anew"
            ),
        )


def _asked(write: Callable[[PutOptions], Step], options: PutOptions) -> Steps[str]:
    etag: str = yield write(options)
    return etag
