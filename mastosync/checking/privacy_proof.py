"""Proof that the destination keeps private what is written as private.

Some stores take an ACL and ignore it, and a policy of the bucket may let everybody read an object in spite of its ACL.
The answer to a write does not show that. So the first object of a run that is written as private is asked for without
credentials. Until it is refused, no other one is written by the same method. If it is given, it is removed and the run
stops. If the endpoint refuses strangers everything, a refusal is no proof, and nothing is written as private.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from mastosync.errors import (
    Interrupted,
    MastosyncError,
    MayBePublic,
    ObjectError,
    ObjectMissing,
    PrivacyLost,
    ServerFailure,
    StoreUnusable,
)
from mastosync.language import deferred, english, say, tr
from mastosync.model import Entry, ObjectInfo
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.steps import BlockingCall, LargeTurn, Steps, T, WaitFor
from mastosync.runtime.stop import FirstAlone, StopSignal

_log = logging.getLogger(__name__)

_REMOVAL_SECONDS = 60.0  # after which a removal is not tried again

PRIVATE_IS_PUBLIC_REMEDY = deferred(
    "the store ignores ACLs, or a policy of the bucket lets everybody read: remove this right from everybody, or "
    "set `acl = none` for the destination and `[copy] private_objects = skip`, which does not copy private objects"
)
_UNKNOWN_REMEDY = deferred(
    "requests without credentials to {name} are not answered by the store, but by a proxy, a firewall or a "
    "gateway: correct that, or set `acl = none` for the destination and `[copy] private_objects = skip`, which "
    "does not copy private objects; then run `mastosync retry-failed`"
)


class PrivacyUnknown(Exception):
    """It is not known whether the destination keeps objects private, so none is written as private."""

    def __init__(self, failure: ObjectError, *, removed: bool = False) -> None:
        """`failure`: the error of the one object that was asked for; for all others it names no store.

        `removed`: the object that was being written lies there no longer.
        """
        super().__init__(failure.message)
        self.failure, self.removed = failure, removed


class _Removal(NamedTuple):
    """What became of an object that others read, or may."""

    removed: bool
    words: str  # deferred
    message: str = ""  # of what kept it from being removed, or looked at

    @property
    def said(self) -> str:
        """For people."""
        return say(self.words).format(message=self.message)


_NOT_REMOVED = _Removal(
    False,
    deferred("it was not removed, because it may be the only copy: make it private at the store yourself"),
)
_STILL_READ = _Removal(
    False, deferred("mastosync tried to remove it, but anybody can still read it: remove it there at once")
)
_KEPT_AS_OLD = _Removal(True, deferred("it was removed, but the bucket keeps an old version of it: remove that there"))
_REMOVED = _Removal(True, deferred("it was removed"))
_FAILED = deferred("it could not be removed, so remove it there at once: {message}")
_UNASKED = deferred("it was removed, but mastosync cannot check whether anybody can still read it: {message}")


def strangers_read(store: RetryingStore, key: str, info: ObjectInfo | None = None) -> bool:
    """Whether somebody without credentials is given an object of the destination.

    `info`: its description, by which it is recognized without reading it; None: its first byte is asked for, as a proof
    of privacy needs. Raises: ObjectError and StoreUnusable, with a remedy, if there is no clear answer; Interrupted.
    """
    try:
        return store.anybody_reads(key) if info is None else store.anybody_finds(key, info)
    except ObjectMissing:  # a disk says so
        return False
    except (ObjectError, StoreUnusable) as error:
        said = f"cannot tell whether {key!r} at {store.name} is private: {error.message}"
        if isinstance(error, StoreUnusable):
            raise StoreUnusable(said, hint=error.hint) from error
        # as an answer of the destination that says nothing of the object
        unknown = (type(error) if error.transient else ServerFailure)(
            said, hint=say(_UNKNOWN_REMEDY).format(name=store.name)
        )
        unknown.store = store.name
        raise unknown from error


def cannot_check(name: str) -> StoreUnusable:
    """Why nothing is written as private to a destination whose endpoint refuses all strangers. `name`: the store's."""
    return StoreUnusable(
        tr(
            "mastosync cannot check whether private objects stay private at {name}: its endpoint refuses every "
            "request without credentials, whatever the ACL, and the public reads at another address",
            name=name,
        ),
        hint=tr(
            "set `acl = auto` for the destination, as its provider has no ACLs: private objects are not copied "
            "then. If nobody can read the bucket without credentials, set also `[copy] private_objects = copy`: "
            "then they are copied"
        ),
    )


class WriteMethod(StrEnum):
    """How an object gets to the destination. A store may keep ACLs with one method and ignore them with another."""

    WHOLE = "whole"
    IN_PARTS = "in parts"
    COPIED = "copied within the store"


class PrivacyProof:
    """What a run knows of the destination's privacy. Shared by all workers."""

    def __init__(
        self,
        destination: StoreSession,
        key_of: Callable[[Entry], str],
        *,
        refusals_prove: bool = True,
        may_remove: bool = True,
    ) -> None:
        """`key_of`: under which key an entry lies at the destination.

        `refusals_prove`: its endpoint gives strangers what is public.
        `may_remove`: an exposed object may be removed, as the source still has it.
        """
        self._destination = destination
        self._key_of = key_of
        self._proofs = {method: FirstAlone() for method in WriteMethod}
        self._refusal: ObjectError | StoreUnusable | None = (
            None if refusals_prove else cannot_check(destination.store.name)
        )
        self._may_remove = may_remove
        self._only_copies: set[Entry] = set()  # whose objects exist nowhere else
        self._lock = threading.Lock()

    def never_remove(self, entry: Entry) -> None:
        """Never remove the object of this entry: it exists nowhere else."""
        with self._lock:
            self._only_copies.add(entry)

    def is_given(self, method: WriteMethod) -> bool:
        """Whether there is a proof that objects written as private by this method are private."""
        return self._proofs[method].is_over

    @property
    def finding(self) -> str | None:
        """Why nothing private was written, for people; None: it was."""
        unknown = self._refusal
        return f"{unknown.message}; {unknown.hint}" if isinstance(unknown, ObjectError) else None

    def require_possible(self) -> None:
        """Raises: the error of the object of this run that was to be the proof, if it failed."""
        if self._refusal is not None:
            # a new one: raised again, the same would show the first traceback too
            again = type(self._refusal)(self._refusal.message, hint=self._refusal.hint)
            raise PrivacyUnknown(again) if isinstance(again, ObjectError) else again

    def prove(self, entry: Entry, method: WriteMethod, steps: Steps[T]) -> Steps[T]:
        """Take steps that store an entry as private, and return their result when strangers are known to be refused.

        Raises: PrivacyLost if anybody can; PrivacyUnknown and StoreUnusable if that cannot be told: then the object
        has been removed, unless the error says otherwise, and no other is written. What `steps` raise.
        """
        if method is WriteMethod.IN_PARTS:
            # take a place among the large objects before the turn: objects that wait for this one keep their places
            yield LargeTurn(lambda: None)  # nothing is held yet
        proof = self._proofs[method]
        yield WaitFor(lambda: self._refusal is not None or proof.may_go(entry), self._destination.stop)
        try:
            self.require_possible()
            result = yield from steps
            if proof.is_first(entry):
                yield BlockingCall(partial(self._look, entry))
                proof.is_over = True
            return result
        finally:
            proof.end_turn(entry)

    def _look(self, entry: Entry) -> None:
        """Ask for an object without credentials. Raises: as `prove`; Interrupted."""
        key = self._key_of(entry)
        name = self._destination.store.name
        try:
            if not strangers_read(RetryingStore(self._destination), key):
                return
        except Interrupted:
            removal = self._remove(entry, key)
            with english():  # as the log is
                _log.warning("%r at %s may be public: %s", key, name, removal.said)
            if removal.removed or (removal is _NOT_REMOVED and self._may_remove):
                raise
            raise MayBePublic(
                tr("{key!r} at {name} may be public: {removed}", key=key, name=name, removed=removal.said),
                hint=tr("`mastosync verify --public` shows whether anybody can read it"),
            ) from None
        except (ObjectError, StoreUnusable) as error:
            removal = self._remove(entry, key)
            with english():  # as all that went wrong with one object
                said = f"{error.message}; {removal.said}; so nothing private is written"
            self._refusal = type(error)(said, hint=error.hint)
            if isinstance(self._refusal, ObjectError):
                self._refusal.store = name
                raise PrivacyUnknown(self._refusal, removed=removal.removed) from error
            raise self._refusal from error
        removal = self._remove(entry, key, ask_again=True)
        lost = self._refusal = PrivacyLost(
            tr(
                "anybody can read {key!r} at {name}, although it was written as private; {removed}",
                key=key,
                name=name,
                removed=removal.said,
            ),
            hint=tr(
                "{remedy}; `mastosync verify --public` shows what else anybody can read",
                remedy=say(PRIVATE_IS_PUBLIC_REMEDY),
            ),
        )
        lost.lies_there = not removal.removed
        if lost.lies_there:
            # log it now: if the run has ended for another reason, this error is not shown
            with english():
                _log.error("anybody can read %r at %s, although it was written as private; %s", key, name, removal.said)
        raise lost

    def _remove(self, entry: Entry, key: str, *, ask_again: bool = False) -> _Removal:
        """Remove the object, even if somebody has asked to stop."""
        if not self._may_remove or entry in self._only_copies:
            return _NOT_REMOVED
        # logged before: the removal may take a while, or the process may end
        _log.warning("%r at %s may be public: it is being removed", key, self._destination.store.name)
        stop, policy = StopSignal(), self._destination.policy
        policy = replace(policy, throttle_budget_seconds=_REMOVAL_SECONDS).within(_REMOVAL_SECONDS)
        store = RetryingStore(StoreSession(self._destination.store, EndpointLimiter(stop), policy, stop))
        with english():  # as all that went wrong with one object
            try:
                wholly = store.withdraw(key)
            except MastosyncError as error:
                return _Removal(False, _FAILED, error.message)
            try:
                stays = ask_again and store.anybody_reads(key)
            except MastosyncError as error:
                return _Removal(False, _UNASKED, error.message)
        if stays:
            return _STILL_READ
        return _REMOVED if wholly else _KEPT_AS_OLD
