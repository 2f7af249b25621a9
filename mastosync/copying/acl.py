"""The ACLs that objects get at the destination, and what the manifest is told of them.

Two things. `AclRule` decides on the ACL of each object, and finds out which ACLs the destination takes. Most stores
that take no ACLs say so to the first object. Some answer nothing but 403, as they do where the key may not write at
all: then a public object is written once more without, and if that succeeds it was the ACL. Nothing private is ever
written on such a guess. Before the first private object it must be known whether the store has ACLs at all, as some
stores without take `private` and ignore it. Where no public object has shown that yet, an upload in parts is begun and
given up at once: nothing of it is ever visible. Whether a store keeps the ACLs that it takes, `privacy_proof` finds
out.

`AccessNotes` carries to the manifest that an object is written with another access than its row asks for, because the
source hides it. The manifest has to know before the object may lie there: a run that dies would leave it recorded with
the wrong access. So the worker waits until the thread that owns the manifest has recorded it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from mastosync.checking.privacy_proof import PrivacyProof, WriteMethod
from mastosync.errors import (
    AclUnsupported,
    ObjectDenied,
    ObjectError,
    ObjectRejected,
    StoreUnusable,
)
from mastosync.language import deferred, tr
from mastosync.model import Entry, ObjectHeaders, Presence
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.steps import BlockingCall, Step, Steps
from mastosync.store.base import PutOptions

if TYPE_CHECKING:
    from mastosync.copying.transfer import TransferOptions

_log = logging.getLogger(__name__)

PUBLIC_READ, PRIVATE = "public-read", "private"
_EVERY_ACL = frozenset({PUBLIC_READ, PRIVATE})
_MAY_MEAN_THE_ACL = (ObjectDenied, ObjectRejected)
_UNCLEAR_AT_MOST = 8  # refusals that were not the ACL's fault, after which it is blamed no more
_MEANING = {
    _EVERY_ACL: deferred("the destination has no ACLs: the bucket alone decides who can read an object"),
    frozenset({PUBLIC_READ}): deferred(
        "the destination refuses the ACL public-read: the bucket alone decides who can read a public object"
    ),
    frozenset({PRIVATE}): deferred("the destination refuses the ACL private: it cannot keep an object private"),
}


class AclMode(StrEnum):
    """What ACL objects get at the destination."""

    AUTO = "auto"  # per row, as far as the store takes it
    PUBLIC_READ = "public-read"  # per row; a store that takes none is an error
    PRIVATE = "private"  # every object; a store that takes none is an error
    NONE = "none"  # no ACL header


class PrivateKeptBack(Exception):
    """The destination cannot keep this private object private."""


Trial = Callable[[Entry, str | None], Step]
"""A step that writes nothing, and raises what writing the entry with this ACL would."""


class AclRule:
    """What all objects of a run are written with; learns which ACLs the store takes. Shared by all workers."""

    def __init__(
        self,
        mode: AclMode,
        *,
        copy_private_without_acl: bool,
        trial: Trial,
        taken: bool | None = None,
        proof: PrivacyProof | None = None,
    ) -> None:
        """`taken`: whether the store takes ACLs, where that is known before; `acl = auto` goes by it.

        `proof`: finds out whether it keeps them; None: no proof is needed.
        """
        self._mode = mode
        self._copy_private_without_acl = copy_private_without_acl
        self._trial = trial
        self._known_for_none = mode is AclMode.NONE or (mode is AclMode.AUTO and taken is False)
        self._proof = None if copy_private_without_acl or self._known_for_none else proof
        self._taken = set(_EVERY_ACL if taken else ())
        self._refused = set(_EVERY_ACL if self._known_for_none else ())
        self._unclear: Counter[str] = Counter()
        self._learning = threading.Lock()

    @classmethod
    def of_run(
        cls,
        destination: StoreSession,
        key_of: Callable[[Entry], str],
        options: TransferOptions,
        *,
        in_place: bool = False,
    ) -> Self:
        """The rule of a run that writes to a destination. `key_of`: under which key an entry lies there.

        `in_place`: objects are written over themselves and may exist nowhere else. So privacy is always proved, and
        nothing is removed.
        """

        def trial(entry: Entry, acl: str | None) -> BlockingCall:
            put = PutOptions(ObjectHeaders(), acl=acl, storage_class=options.storage_class)
            return BlockingCall(partial(begin_in_vain, RetryingStore(destination), key_of(entry), put))

        proof = None
        if in_place or not options.acl_taken:
            proof = PrivacyProof(destination, key_of, refusals_prove=options.serves_strangers, may_remove=not in_place)
        return cls(
            options.acl,
            copy_private_without_acl=options.copy_private_without_acl,
            trial=trial,
            taken=options.acl_taken,
            proof=proof,
        )

    @property
    def hides(self) -> bool:
        """Whether private objects have to be private at the destination; the user may have said otherwise."""
        return not self._copy_private_without_acl

    @property
    def finding(self) -> str | None:
        """What this run has found out about the destination, for people; None: nothing of note."""
        if self._proof is not None and (unknown := self._proof.finding) is not None:
            return unknown
        return None if self._known_for_none else _MEANING.get(frozenset(self._refused))

    def allow(self, entry: Entry) -> Steps[None]:
        """Find out whether an entry may be written, before anything of it is read.

        Raises: PrivateKeptBack; PrivacyUnknown; ObjectError if that cannot be found out now; StoreUnusable, as
        `write` does.
        """
        if entry.private and self._proof is not None:
            self._proof.require_possible()
        if entry.private and self._must_know_of_acls():
            yield from self._try(entry, PUBLIC_READ)
        self.require_allowed(entry)

    def write(
        self,
        entry: Entry,
        options: PutOptions,
        write: Callable[[PutOptions], Steps[Any]],
        method: WriteMethod,
        complete: Callable[[Any], Steps[Any]] | None = None,
    ) -> Steps[Any]:
        """Write an object with the ACL that its row asks for, or without where the destination takes none.

        `complete` makes an object of what `write` has only begun, and gives the result then.
        Raises: PrivateKeptBack; StoreUnusable if the configuration insists on ACLs; what `write` and `complete`
        raise; and, for what is to be private, what `PrivacyProof.prove` does.
        """
        steps = self._write(entry, options, write)
        if complete is not None:
            steps = _completed(steps, complete)
        proof = self._proof
        if proof is None or self._acl_of(entry) is not PRIVATE or proof.is_given(method):
            return steps
        return proof.prove(entry, method, steps)

    def opens(self, entry: Entry) -> Steps[bool]:
        """Whether a public object gets an ACL that lets everybody read it; without one, the bucket decides."""
        if self._is_open(PUBLIC_READ):
            yield from self._try(entry, PUBLIC_READ)
        return PUBLIC_READ not in self._refused

    def never_remove(self, entry: Entry) -> None:
        """Never remove the object of this entry, even if everybody can read it: it exists nowhere else."""
        if self._proof is not None:
            self._proof.never_remove(entry)

    def _acl_of(self, entry: Entry) -> str:
        return PRIVATE if entry.private or self._mode is AclMode.PRIVATE else PUBLIC_READ

    def _write(self, entry: Entry, options: PutOptions, write: Callable[[PutOptions], Steps[Any]]) -> Steps[Any]:
        acl = self._acl_of(entry)
        if acl not in self._refused:
            try:
                result = yield from write(PutOptions(options.headers, acl, options.storage_class))
            except AclUnsupported as error:
                self._refuse(acl, error)
            except _MAY_MEAN_THE_ACL as error:
                if self._mode is AclMode.AUTO and self._is_open(acl):
                    if self._may_go_without(entry):
                        return (yield from self._write_without(acl, error, write(options)))
                    yield from self._try(entry, acl)
                if acl not in self._refused:  # others may have found it out meanwhile
                    raise
            else:
                self._taken.add(acl)
                return result
        self.require_allowed(entry)  # after all that was found out, also by others
        return (yield from write(options))

    def _write_without(self, acl: str, refusal: ObjectError, steps: Steps[Any]) -> Steps[Any]:
        """The result of a second attempt, without the ACL. Raises: the first refusal, unless it was the ACL."""
        try:
            result = yield from steps
        except ObjectError:
            self._unclear[acl] += 1
            raise refusal from None
        self._learn({acl})
        return result

    def _try(self, entry: Entry, acl: str) -> Steps[None]:
        """Find out whether the destination takes an ACL, without writing anything."""
        try:
            yield self._trial(entry, acl)
        except AclUnsupported as error:
            self._refuse(acl, error)
        except _MAY_MEAN_THE_ACL:
            self._unclear[acl] += 1
            if self._mode is AclMode.AUTO:
                with suppress(ObjectError):
                    yield self._trial(entry, None)
                    self._learn({acl})
        else:
            self._taken.add(acl)

    def _refuse(self, acl: str, error: AclUnsupported) -> None:
        """The destination has said so itself. Raises: StoreUnusable if the configuration insists."""
        if self._mode is not AclMode.AUTO:
            raise StoreUnusable(
                error.message, hint=tr("set `acl = auto` or `acl = none` for the destination")
            ) from error
        self._learn({acl} if error.only_this else set(_EVERY_ACL))

    def _learn(self, refused: set[str]) -> None:
        with self._learning:
            if refused <= self._refused:
                return
            self._refused |= refused
            _log.warning("%s", self.finding)

    def _is_open(self, acl: str) -> bool:
        """Whether it is not known yet if the destination takes this ACL."""
        known = acl in self._taken or acl in self._refused
        return not known and self._unclear[acl] < _UNCLEAR_AT_MOST

    def _must_know_of_acls(self) -> bool:
        insists_on_private = self._mode is AclMode.PRIVATE or self._copy_private_without_acl
        return not insists_on_private and self._is_open(PUBLIC_READ)

    def _may_go_without(self, entry: Entry) -> bool:
        return not entry.private or self._copy_private_without_acl

    def require_allowed(self, entry: Entry) -> None:
        """Raises: PrivateKeptBack if it is known that this entry would become public."""
        if PRIVATE in self._refused and not self._may_go_without(entry):
            raise PrivateKeptBack(entry.name)


def _completed(begun: Steps[Any], complete: Callable[[Any], Steps[Any]]) -> Steps[Any]:
    upload = yield from begun
    return (yield from complete(upload))


def begin_in_vain(store: RetryingStore, key: str, options: PutOptions) -> None:
    """Begin an upload in parts and give it up: nothing is written.

    Raises: as `start_multipart`; Interrupted or a transient error if it could not be given up: then the next copy of
    this key has to do it.
    """
    upload = store.start_multipart(key, options)
    given_up = False
    with suppress(ObjectError, StoreUnusable):
        store.abort_multipart(key, upload)
        given_up = True
    if given_up and not store.retries:  # else one whose answer was lost may have begun as well
        return
    try:
        store.abort_unfinished(key)
    except StoreUnusable:  # the next request will say so
        return
    except ObjectError as error:
        if error.transient:  # what is refused will not fare better, and says nothing of the ACL
            raise


NoteAccess: TypeAlias = Callable[[Entry, Presence], Callable[[], bool]]
"""Has the access of an entry recorded in the manifest. Returns: a function that says whether it is."""


class AccessNotes:
    """Notes on their way from workers to the manifest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Entry, Presence]] = []
        self._added = self._recorded = 0  # notes, since the beginning

    def add(self, entry: Entry, access: Presence) -> Callable[[], bool]:
        """As `NoteAccess`, from any thread."""
        with self._lock:
            self._waiting.append((entry, access))
            self._added += 1
            number = self._added
        return lambda: self._recorded >= number

    @property
    def any_waiting(self) -> bool:
        """Whether there is something to record."""
        return bool(self._waiting)

    @contextmanager
    def recording(self) -> Iterator[list[tuple[Entry, Presence]]]:
        """The notes to record in this block. They stay, and their workers wait, if the block raises."""
        with self._lock:
            notes, number = list(self._waiting), self._added
        yield notes
        with self._lock:
            del self._waiting[: len(notes)]
            self._recorded = number
