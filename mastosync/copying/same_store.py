"""The check that source and destination are two stores. Their names do not prove it.

Aliases, addresses, proxies, mounts and names of buckets may all lead to one store. So a probe object is written at the
destination, and must not be found at the source. It is always removed again: its name is in the manifest before it is
written, and if a run dies, the next check writes the same object and removes it. See
docs/design/stores.md. A folder that objects were copied to must still have some: see `require_arrived`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from uuid import uuid4

from mastosync.errors import (
    BucketMissing,
    Interrupted,
    NetworkFailure,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    StoreUnusable,
)
from mastosync.language import tr
from mastosync.manifest import Manifest, Relation, note_probe, probe_left_behind, record_relation, relation
from mastosync.model import ObjectHeaders
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.retry import RetryingStore, StoreSession
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import FetchedObject, PutOptions

_log = logging.getLogger(__name__)

FOLDER = "mastosync-probe"
"""Of the key, under the key prefix. No attachment of Mastodon's has a directory of this name."""

_WAITS = (0.0, 0.05, 0.15)  # seconds before each look: a store may show what was written a moment later
_ENOUGH = 3  # objects that are not there, for a folder that is not the one they were copied to
_AFTER_STOP_SECONDS = 30.0  # for the removal of a probe after somebody has asked to stop


class SourceSilent(StoreUnusable):
    """The source cannot be asked for a probe object, so it is not known whether it is another store."""


class ProbeKeys(NamedTuple):
    """Where a probe object is written, and where it is looked for."""

    at_destination: str  # its key
    at_source: str  # what its key would be under the key prefix of the source


def probe_keys(name: str, source_prefix: str, destination_prefix: str) -> ProbeKeys:
    """The keys of the probe of this name, under the key prefixes of both stores."""
    at_source, at_destination = (
        f"{prefix}/{FOLDER}/{name}".removeprefix("/") for prefix in (source_prefix, destination_prefix)
    )
    return ProbeKeys(at_destination, at_source)


def relation_seen(
    keys: ProbeKeys, data: bytes, read: Callable[[str, int], FetchedObject], sleep: Callable[[float], None]
) -> Relation:
    """What the source shows of a probe object with these bytes that lies at the destination.

    `read`: the source's. An object with other bytes is no probe: some stores have one under every key.
    Raises: what `read` and `sleep` raise, but for ObjectMissing and ObjectDenied.
    """
    denied = False
    for wait in _WAITS:
        sleep(wait)
        for key in dict.fromkeys((keys.at_source, keys.at_destination)):
            try:
                found = read(key, len(data)).data == data
            except ObjectMissing:
                continue
            except ObjectDenied:
                denied = True
                continue
            if found:
                return Relation.ONE if key == keys.at_source else Relation.ONE_BUCKET
    return Relation.UNKNOWN if denied else Relation.TWO


def require_arrived(name: str, keys: Sequence[str], head: Callable[[str], object]) -> None:
    """Check that a folder has some of the objects that were copied there. One on an unmounted disk has none.

    `name`: the folder's, for people; `keys`: of a few such objects. Raises: StoreUnusable; what `head` raises, but for
    errors of objects.
    """
    for key in keys:
        try:
            head(key)
        except ObjectMissing:
            continue
        except ObjectError:
            pass  # it lies there, or nobody can tell
        return
    if len(keys) >= _ENOUGH:
        raise StoreUnusable(
            tr(
                "the {name} has none of {count} objects that were copied there, for example {key!r}",
                name=name,
                count=len(keys),
                key=keys[0],
            ),
            hint=tr(
                "check that its disk is mounted, and that `path` is right. If they were removed on purpose, begin "
                "anew: move the manifest away, then run `mastosync plan` and `mastosync copy`"
            ),
        )


@dataclass(frozen=True, slots=True)
class SameStoreCheck:
    """One check of two stores, by the process that has the manifest open."""

    manifest: Manifest
    source: StoreSession
    destination: StoreSession
    source_prefix: str
    destination_prefix: str
    acl: str | None  # that keeps the probe private; None: it is private without one
    source_checked: bool = False  # when it was opened

    def run(self) -> Relation:
        """Find out what the stores are. What was found is recorded, unless they are one.

        Raises: SourceSilent if the source does not answer, StoreUnusable if the destination does not take the probe;
        Interrupted when asked to stop; ManifestError. By then the probe is removed, or the log names it.
        """
        name = probe_left_behind(self.manifest)
        if name is None:
            name = uuid4().hex
            note_probe(self.manifest, name)
        keys = probe_keys(name, self.source_prefix, self.destination_prefix)
        data = (
            f"mastosync asks whether source and destination are one store, and removes this again.\n{name}\n".encode()
        )
        found = None
        try:
            self._write(keys.at_destination, data)
            found = self._seen(keys, data)
        except ObjectError as error:
            raise _cannot_find_out(StoreUnusable, error) from error
        finally:
            settled = self._remove(keys.at_destination)
            record_relation(self.manifest, found if settled else None, probe_settled=settled)
        return found

    def _write(self, key: str, data: bytes) -> None:
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        RetryingStore(self.destination).write(key, data, md5, PutOptions(ObjectHeaders("text/plain"), self.acl))

    def _seen(self, keys: ProbeKeys, data: bytes) -> Relation:
        """See `relation_seen`. Raises: SourceSilent if the source cannot be asked.

        A source bucket that does not exist, before and after the question, is not the bucket that has the probe. No
        other refusal proves that the stores differ: an address that is closed or unreachable may lead to the same
        store, and a folder that is missing may be on a disk that is not mounted.
        """
        source = RetryingStore(self.source)
        try:
            if not self.source_checked:
                source.check()  # an empty folder is no answer
            return relation_seen(keys, data, source.read, self.source.stop.sleep)
        except BucketMissing as error:
            if not self._lies_there(keys.at_destination, data):
                raise _cannot_find_out(SourceSilent, error) from error
            return Relation.ONE_BUCKET if relation(self.manifest) is Relation.ONE_BUCKET else Relation.TWO
        except (ObjectError, StoreUnusable) as error:
            raise _cannot_find_out(SourceSilent, error) from error

    def _lies_there(self, key: str, data: bytes) -> bool:
        try:
            return RetryingStore(self.destination).read(key, len(data)).data == data
        except (ObjectError, StoreUnusable):
            return False

    def _remove(self, key: str) -> bool:
        """Remove the probe. Returns: False if that has to be tried again. A refusal would only come again."""
        try:
            try:
                RetryingStore(self.destination).delete(key)
            except Interrupted:  # the probe is removed even if somebody has asked to stop
                RetryingStore(_unstopped(self.destination)).delete(key)
        except (ObjectError, StoreUnusable) as error:
            _log.warning("a probe object may be left, remove it: %s", error.message)
            return isinstance(error, ObjectError) and not error.transient
        return True


def _cannot_find_out(kind: type[StoreUnusable], error: ObjectError | StoreUnusable) -> StoreUnusable:
    message = tr("cannot find out whether source and destination are two stores: {message}", message=error.message)
    hint = error.hint or tr("try again later")
    if isinstance(error, ObjectError) and error.transient and not isinstance(error, NetworkFailure):
        hint = tr("the store has a problem: when it works again, run the same command again")  # and no entry has failed
    return kind(message, hint=hint)


def _unstopped(store_session: StoreSession) -> StoreSession:
    """The session for a few last requests, which are made even after somebody has asked to stop."""
    stop = StopSignal()
    return replace(
        store_session, stop=stop, limiter=EndpointLimiter(stop), policy=store_session.policy.within(_AFTER_STOP_SECONDS)
    )
