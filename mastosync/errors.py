"""Every error mastosync raises on purpose, and the exit code that each one ends a run with.

Two families share one root:

* errors of a **run** (configuration, database, manifest, an unusable store) leave the command and
  set its exit code;
* errors of an **object** (`ObjectError`) are raised by stores, retried by one policy, and become
  an outcome in the manifest. They never leave the copier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeVar

from mastosync.language import deferred, joined
from mastosync.model import Reason

E = TypeVar("E", bound=BaseException)


class ExitCode(IntEnum):
    """What a command returns to the shell. The meaning of each line is part of the interface."""

    OK = 0
    BUG = 1
    USAGE = 2
    INCOMPLETE = 3
    CONFIG = 4
    DATABASE = 5
    MANIFEST = 6
    STORE = 7
    OUTPUT = 8
    INTERRUPTED = 130


EXIT_CODE_MEANING: dict[ExitCode, str] = {
    ExitCode.OK: deferred("all well"),
    ExitCode.BUG: deferred("a bug, or something unknown"),
    ExitCode.USAGE: deferred("the command line is wrong"),
    ExitCode.INCOMPLETE: deferred("finished, but some entries differ, or failed and are not accepted as lost"),
    ExitCode.CONFIG: deferred("the configuration is wrong"),
    ExitCode.DATABASE: deferred("the database or its tunnel cannot be used"),
    ExitCode.MANIFEST: deferred(
        "the manifest cannot be used (locked, wrong version, store or database, no plan, not writable)"
    ),
    ExitCode.STORE: deferred("a store cannot be used (credentials, bucket, unreachable)"),
    ExitCode.OUTPUT: deferred("the output cannot be written (a full disk, no permission)"),
    ExitCode.INTERRUPTED: deferred("interrupted; run the same command again"),
}
"""The one table of exit codes: `--help` prints it and the docs are tested against it."""


class MastosyncError(Exception):
    """Root of the hierarchy: what happened and where, and what to do next.

    `message` names the key, store or file and the operation; `hint` is the next step for the reader.
    Neither may hold a secret.
    """

    exit_code = ExitCode.BUG
    may_pass = False  # of itself: something was out of reach, and nothing was refused

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def passing(error: E, *, may_pass: bool = True) -> E:
    """The error of a run, marked as one that may pass by itself."""
    if isinstance(error, MastosyncError):
        error.may_pass = may_pass
    return error


def without_frames(error: E, scrubbed: Callable[[str], str] = str) -> E:
    """The error of a library, and those that led to it, without the variables of the calls they came out of.

    The variables hold passwords and signed headers, which would get out where an error is shown or reported with
    them. The message stays, as `scrubbed` returns it.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link.args = tuple(scrubbed(each) if isinstance(each, str) else each for each in link.args)
        link = link.__cause__ or link.__context__
    return error


class UsageError(MastosyncError):
    """Options that cannot go together, or a value that no option takes."""

    exit_code = ExitCode.USAGE


class ConfigError(MastosyncError):
    """No configuration, a broken one, or one that misses or misspells a key."""

    exit_code = ExitCode.CONFIG


class DatabaseError(MastosyncError):
    """Mastodon's database cannot be reached, read or recognised."""

    exit_code = ExitCode.DATABASE


class NoMastodonTables(DatabaseError):
    """The database can be reached, and holds no table of Mastodon's that this user sees."""


class TunnelError(DatabaseError):
    """The SSH tunnel to the database cannot be opened, or its host cannot be trusted."""


class ManifestError(MastosyncError):
    """The manifest is locked, foreign, of a newer version, without a plan, or cannot be written."""

    exit_code = ExitCode.MANIFEST


class ManifestInUse(ManifestError):
    """Somebody else is at work on the manifest."""


class PlanRefused(ManifestError):
    """A plan of another database, or of one that lacks much of what was planned. The manifest is as it was."""


class StoreUnusable(MastosyncError):
    """Nothing can be done at a store: credentials, bucket or endpoint are wrong. Stop at once."""

    exit_code = ExitCode.STORE

    def __init__(self, message: str, *, hint: str = "", refuses_keys: bool = False) -> None:
        """`refuses_keys`: the store itself says no to the keys that it was shown."""
        super().__init__(message, hint=hint)
        self.refuses_keys = refuses_keys


class BucketMissing(StoreUnusable):
    """The store itself says, in its own words, that it has no bucket of this name."""


class PrivacyLost(StoreUnusable):
    """Anybody can read what was written as private. No second attempt fares better."""

    lies_there = False  # the object that was being written, as it could not be removed


class OutputError(MastosyncError):
    """Standard output, or a file that was to be made, takes no more: what was written is not whole."""

    exit_code = ExitCode.OUTPUT


class StdoutError(OutputError):
    """It is standard output: whatever waits for it is lost."""


class Interrupted(MastosyncError):
    """The user asked to stop; what was in flight is finished or given back."""

    exit_code = ExitCode.INTERRUPTED


class MayBePublic(Interrupted):
    """The user asked to stop before it was known who can read a private object, and it could not be removed.

    The message names the object. Several are shown with the error that ends the run: see `telling_of`.
    """


class MayBeHidden(Interrupted):
    """The user asked to stop before anybody could tell who still reads an object that everybody could read."""


def telling_of(doubts: Sequence[MastosyncError], error: E) -> E:
    """An error that ends a run, which now tells of these objects too."""
    if doubts and isinstance(error, MastosyncError):
        error.message = joined([error.message, *(each.message for each in doubts)])
        error.args = (error.message,)
        error.hint = joined(hint for hint in (error.hint, doubts[0].hint) if hint)
    else:
        for each in doubts:
            error.add_note(each.message)  # which is told with it
    return error


class ObjectError(MastosyncError):
    """One operation on one object failed.

    `reason` is what the manifest records when no retry is left. `transient` says whether another
    attempt can help. `store` is the name of the store that failed or refused; empty until that is known.
    """

    exit_code = ExitCode.STORE
    reason = Reason.SERVER
    transient = False

    def __init__(self, message: str, *, hint: str = "", store: str = "") -> None:
        super().__init__(message, hint=hint)
        self.store = store


class ObjectMissing(ObjectError):
    """The store answered a true 404 for this key. Only this leads to the next candidate.

    `certain`: it said so in its own words. A bare 404, as every HEAD gets it, may be about the bucket, or come from
    somebody in between.
    """

    reason = Reason.MISSING

    def __init__(self, message: str, *, hint: str = "", certain: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.certain = certain


class ObjectDenied(ObjectError):
    """The store refused this object (403); the credentials work for others."""

    reason = Reason.DENIED


class ObjectRejected(ObjectError):
    """The store will never take this request (400 and its kin)."""

    reason = Reason.SERVER


class ObjectTooLarge(ObjectError):
    """The object exceeds what the destination takes."""

    reason = Reason.TOO_LARGE


class ObjectChanged(ObjectError):
    """The object or its upload is no longer the one it was: only the whole transfer can be repeated."""

    reason = Reason.CORRUPT


class AclUnsupported(ObjectError):
    """The destination takes no ACLs, or (`only_this`) not this one. `copying.acl` decides what that means."""

    reason = Reason.PRIVATE

    def __init__(self, message: str, *, hint: str = "", only_this: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.only_this = only_this


class CorruptObject(ObjectError):
    """Bytes arrived that are not the bytes that were sent: length or MD5 differ."""

    reason = Reason.CORRUPT
    transient = True


class ChecksumRefused(CorruptObject):
    """A store says that the bytes that came do not have the MD5 that came along."""


class ClaimedDigestWrong(CorruptObject):
    """Bytes that were to be written do not have the MD5 that their source says: they have to be read again.

    Whether the destination stored them is not known.
    """

    transient = False

    def __init__(self, message: str, *, md5: bytes) -> None:
        """`md5`: what they have."""
        super().__init__(message)
        self.md5 = md5


class NetworkFailure(ObjectError):
    """The connection failed or stalled before an answer was complete.

    `nothing_sent`: there was none, so not a byte of the request has left.
    """

    reason = Reason.NETWORK
    transient = True
    nothing_sent = False


class ServerFailure(ObjectError):
    """The store failed on its own account (500, 502, 504, an error inside a 200)."""

    reason = Reason.SERVER
    transient = True


class BodyInterrupted(ObjectError):
    """The source of an object that was being written has not given all of it: it has to be read again.

    Nothing was stored. `failure`: how the reading has ended.
    """

    def __init__(self, failure: ObjectError) -> None:
        super().__init__(failure.message, hint=failure.hint, store=failure.store)
        self.failure = failure
        self.reason = failure.reason


class StoreRecovered(MastosyncError):
    """A store was down, and answers again. Whether it had taken in what was being written, somebody has to look.

    Never leaves `copying.transfer`.
    """


class Throttled(ObjectError):
    """The store asks to slow down (429, 503). `retry_after_seconds` is its own word, if it gave one."""

    reason = Reason.THROTTLED
    transient = True

    def __init__(self, message: str, *, hint: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds
