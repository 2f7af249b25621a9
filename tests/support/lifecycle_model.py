"""A world that moves, in one thread: stores at which requests fail and runs die, and what has to hold in it.

`World` is told of every act (rows change, plans see them, somebody writes) and knows by itself what may be claimed of
the destination. It asks nothing of `mastosync.manifest.lifecycle`: it is what that is held against.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from mastosync.checking.object_check import composite_etag
from mastosync.errors import AclUnsupported, CorruptObject, ObjectDenied
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, EntryState, Kind, ObjectInfo, Origin, Outcome, Reason, Record
from mastosync.runtime.steps import Ended, Steps, run_to_end
from mastosync.store.abilities import StreamAnswer, StreamedObject
from mastosync.store.base import Buffer, DigestUse, PutOptions, UploadedPart
from tests.support.entries import LOCAL, REMOTE
from tests.support.memory_store import MemoryStore, StoredObject

PUBLIC, PRIVATE = "public-read", "private"
LARGE_BYTES = 24  # what is larger travels in parts, or is streamed
Place = str
WHERE: dict[Place, tuple[Kind, int]] = {"small": (LOCAL, 1), "large": (REMOTE, 1)}
"""Each place of this world: kind and id of its entry. A row that has turned has the other kind with these keys."""


class Death(BaseException):
    """The process is killed. Nothing that it could do on the way out happens."""


EVERYTHING, WRITES = "everything", "writes"
_WRITES = ("write", "write_stream", "copy_from", "complete_multipart")


class Trouble(NamedTuple):
    """What happens to requests of one method, from the next one on."""

    method: str  # or EVERYTHING, or WRITES: all that store an object
    error: BaseException
    applied: bool = False  # the store does what was asked, and the answer is lost
    times: int = 1
    after: int = 0  # requests that go well before


class MovingStore(MemoryStore):
    """A store that keeps ACLs, at which requests fail with or without having been applied, and runs die."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.troubles: list[Trouble] = []
        self.is_dead = False  # whoever asks is
        self.failures = 0  # that were answered, and uploads that were damaged
        self.denials = 0  # among them
        self.damaged_uploads = 0  # so many of the next uploads are taken with another byte: their ETag alone tells
        self.doubtful: list[str] = []  # keys under which something was stored, or may have been
        self.written: Callable[[str, StoredObject | None], None] = lambda *_: (
            None
        )  # told of the key, and what lay there
        self.deleted: Callable[[str], None] = lambda _: None
        self.withdrawn: Callable[[str], None] = lambda _: None

    def _called(self, method: str, key: str = "") -> None:
        super()._called(method, key)
        if self.is_dead:
            raise Death
        self._meet(method, applied=False)

    def _meet(self, method: str, *, applied: bool) -> None:
        for number, trouble in enumerate(self.troubles):
            meant = trouble.method in (method, EVERYTHING) or (trouble.method == WRITES and method in _WRITES)
            if not meant or trouble.applied != applied:
                continue
            if trouble.after:
                self.troubles[number] = trouble._replace(after=trouble.after - 1)
                continue
            self.troubles[number : number + 1] = [trouble._replace(times=trouble.times - 1)] * (trouble.times > 1)
            self.is_dead = isinstance(trouble.error, Death)
            self.failures += 1
            self.denials += isinstance(trouble.error, ObjectDenied)
            raise trouble.error

    def write(
        self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = DigestUse.COMPUTED
    ) -> str:
        with self._storing("write", key):
            etag = super().write(key, data, md5, options, digest)
            if not etag:  # it has refused a wrong MD5
                return ""
            stored = self.objects[key]
            stored.data, is_damaged = self._taken(data)
            stored.etag = hashlib.md5(stored.data, usedforsecurity=False).hexdigest()
        if is_damaged:  # a client compares what the store has taken with what it has sent
            raise CorruptObject(f"cannot write {key!r} at {self.name}: it has arrived with other bytes")
        return etag

    def write_stream(self, key: str, source: StreamedObject, options: PutOptions) -> StreamAnswer:
        with self._storing("write_stream", key):
            return super().write_stream(key, source, options)

    def _keep_stream(self, key: str, data: bytes, md5: bytes | None, options: PutOptions) -> StreamAnswer:
        taken, is_damaged = self._taken(data)  # of which the ETag tells
        return super()._keep_stream(key, taken, None if is_damaged else md5, options)

    def write_part(self, key: str, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:
        taken, is_damaged = self._taken(data)
        digest = hashlib.md5(taken, usedforsecurity=False).digest()
        part = super().write_part(key, upload_id, number, taken, digest if is_damaged else md5)
        if is_damaged:
            raise CorruptObject(f"cannot write {key!r} at {self.name}: a part has arrived with other bytes")
        return part

    def _taken(self, data: Buffer) -> tuple[bytes, bool]:
        """What the store keeps of an upload, and whether that is something else."""
        if not self.damaged_uploads:
            return bytes(data), False
        self.damaged_uploads -= 1
        self.failures += 1
        return b"x" + bytes(data)[1:], True

    def copy_from(self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions) -> str:
        with self._storing("copy_from", key):
            return super().copy_from(source_bucket, source_key, info, key, options)

    def start_multipart(self, key: str, options: PutOptions) -> str:
        with self._doubtful_after_failure(key):
            return super().start_multipart(key, options)

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:
        with self._storing("complete_multipart", key):
            return super().complete_multipart(key, upload_id, parts)

    @contextmanager
    def _storing(self, method: str, key: str) -> Iterator[None]:
        before = self.objects.get(key)
        with self._doubtful_after_failure(key):
            yield
            if self.objects.get(key) is not before:  # else it has refused a wrong MD5
                self.doubtful.append(key)
                self.written(key, before)
            self._meet(method, applied=True)

    @contextmanager
    def _doubtful_after_failure(self, key: str) -> Iterator[None]:
        """A refusal is an answer; after anything else nobody knows."""
        try:
            yield
        except (AclUnsupported, ObjectDenied):
            raise
        except BaseException:
            self.doubtful.append(key)
            raise

    def delete(self, key: str) -> None:
        super().delete(key)
        self.deleted(key)
        self._meet("delete", applied=True)

    def withdraw(self, key: str) -> bool:
        wholly = super().withdraw(key)
        self.withdrawn(key)
        return wholly


@dataclass(frozen=True)
class Row:
    """A database row with one file, which lies at the source unless that has lost it."""

    version: int  # of the file: another one of the same name is another version
    private: bool = False
    optional: bool = False
    sized: bool = True  # the row tells how large the file is
    turned: bool = False  # it was local before, or remote, and has the keys it had


@dataclass
class Lying:
    """What may be known of one key at the destination."""

    planned: Row | None = None  # as the last plan saw it; None: none has, or its row was gone
    is_ours: bool = False  # the object was stored by mastosync, and nobody has touched it since
    is_foreign: bool = False  # somebody else has stored or removed something there since mastosync did
    has_foreign_bytes: bool = False  # from there, also if mastosync has stored them once more
    is_unseen: bool = False  # and nobody has looked since
    is_trusted: bool = False  # by its size: it was adopted, and the source has nothing to compare it with
    is_compared: bool = True  # the source was asked in the last transfer; without, what is known is confirmed again
    is_bad: bool = False  # `verify` has said so
    confirmed: tuple[int, bool] | None = None  # version and privacy for which it was done
    doubts: set[bool] = field(default_factory=set)  # privacies for which a write may have arrived
    stayed_open: bool = False  # the destination failed when it was to become private


@dataclass
class World:
    """Rows, two stores, and what has to hold. `acls` are those that the destination takes."""

    rows: dict[Place, Row]
    acls: frozenset[str]
    old: MovingStore = field(default_factory=lambda: MovingStore("old"))
    new: MovingStore = field(default_factory=lambda: MovingStore("new"))
    lying: dict[Place, Lying] = field(default_factory=dict)
    versions: dict[Place, int] = field(default_factory=dict)  # of the newest file that ever was
    writes: list[Place] = field(default_factory=list)  # of the transfer under way
    whole_etags: bool = False  # those of large objects at the source are MD5s, too
    asked: int = 0  # how often the source had been, when this transfer began
    failures: int = 0  # of the destination, when this copy began
    denials: int = 0  # of both stores, when this transfer began

    def __post_init__(self) -> None:
        self.lying = {place: Lying() for place in self.rows}
        self.places = {key_of(place): place for place in self.rows}
        only_this = bool(self.acls)
        for acl in {PUBLIC, PRIVATE} - self.acls:
            self.new.refused[acl] = AclUnsupported(f"no ACL {acl}", only_this=only_this)
        self.new.buckets["old"] = self.old
        self.new.written, self.new.deleted, self.new.withdrawn = self._written, self._deleted, self._withdrawn
        for place in self.rows:
            self.give(place)

    # what the world does

    def give(self, place: Place) -> None:
        """The file of a row lies at the source."""
        self.versions[place] = self.rows[place].version
        data = bytes_of(place, self.rows[place].version)
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        self.old.put(
            key_of(place), data, etag=composite_etag([digest]) if is_large(place) and not self.whole_etags else None
        )

    def entries(self) -> list[Entry]:
        """What a plan sees."""
        return [entry_of(place, self.rows[place]) for place in WHERE if place in self.rows]

    def plan(self, places: Iterable[Place]) -> None:
        """A plan has seen what these rows are now."""
        for place in places:
            lying, row = self.lying[place], self.rows.get(place)
            if row is not None and row.private and (lying.planned is None or not lying.planned.private):
                lying.stayed_open = False
            lying.planned = row

    def touch(self, place: Place, data: bytes | None, acl: str | None) -> None:
        """Somebody else stores something at the destination, or removes what is there (None)."""
        key, lying = key_of(place), self.lying[place]
        before = self.new.objects.pop(key, None)
        if data is not None:
            self.new.put(key, data)
            self.new.objects[key].acl = acl
        lying.is_ours, lying.is_foreign, lying.is_unseen = False, True, True
        lying.has_foreign_bytes = True
        lying.is_trusted = lying.is_trusted and before is not None and before.data == data  # nobody can see a change

    # what mastosync does

    def _written(self, key: str, before: StoredObject | None) -> None:
        place, stored = self.places[key], self.new.objects[key]
        lying = self.lying[place]
        row = lying.planned
        assert row is not None, f"{key} was written, and has no row"
        assert stored.acl == PRIVATE or not row.private, f"{key} is private, and was written with the ACL {stored.acl}"
        may_look = self._denials() == self.denials  # else it may write, and cannot compare what lies there
        if place not in self.writes and may_look:
            assert not self._is_settled(place, lying, row, before), f"{key} was written without need"
        self.writes.append(place)
        is_same = before is not None and before.data == stored.data  # it was stored again, and no better known for that
        lying.is_ours, lying.is_foreign, lying.is_unseen = True, False, False
        lying.has_foreign_bytes = lying.has_foreign_bytes and is_same
        lying.is_trusted = lying.is_trusted and is_same

    def _is_settled(self, place: Place, lying: Lying, row: Row, there: StoredObject | None) -> bool:
        """Whether what lies there is as it is wanted, and mastosync can know it."""
        here = self.old.objects.get(key_of(place))
        if there is None or here is None or here.data != there.data or not self._has_access(row, there.acl):
            return False
        if lying.is_foreign or lying.is_bad or (lying.confirmed and lying.confirmed[0] != row.version):
            return False
        accesses = lying.doubts | ({lying.confirmed[1]} if lying.confirmed else set())
        return accesses == {row.private}

    def _has_access(self, row: Row, acl: str | None) -> bool:
        """A public object without an ACL is as public as the bucket."""
        return acl == PRIVATE if row.private else acl in (PUBLIC, None)

    def _deleted(self, key: str) -> None:
        lying = self.lying[self.places[key]]
        assert lying.planned is None, f"{key} was removed, and has a row"
        lying.is_ours = lying.is_foreign = lying.has_foreign_bytes = lying.is_unseen = lying.is_trusted = False

    def _withdrawn(self, key: str) -> None:
        """A private object was removed again, as nobody could tell whether it is one."""
        lying = self.lying[self.places[key]]
        lying.is_ours, lying.confirmed = False, None

    def runs(self) -> None:
        """A copy begins."""
        self.failures = self.new.failures

    def _denials(self) -> int:
        return self.old.denials + self.new.denials

    def begins(self) -> None:
        """A transfer begins."""
        self.writes.clear()
        self.new.doubtful.clear()
        self.asked = len(self.old.calls)
        self.denials = self._denials()

    def ends(self, place: Place, outcome: Outcome) -> None:
        """A transfer has ended: nothing that is private is open to everybody then."""
        lying, row, key = self.lying[place], self.lying[place].planned, key_of(place)
        assert row is not None
        lying.is_compared = len(self.old.calls) > self.asked
        if not row.private or self.acls != {PUBLIC, PRIVATE}:
            return
        if outcome.state is EntryState.DONE:
            self._require_hidden(place)
        if outcome.reason is Reason.PRIVATE or (
            outcome.state is EntryState.FAILED and self.new.failures > self.failures
        ):
            lying.stayed_open = True
            return
        stored = self.new.objects.get(key)
        assert stored is None or not lying.is_ours or stored.acl == PRIVATE, f"{key} is private, and stays open"

    def _require_hidden(self, place: Place) -> None:
        """What is private is not called done while everybody can read it, whoever has stored it."""
        assert self.new.objects[key_of(place)].acl != PUBLIC, (
            f"{key_of(place)} is private and done, and open to everybody"
        )

    def records(self, place: Place, outcome: Outcome, *, wrote: bool) -> None:
        """The manifest has taken in an outcome of a transfer. `wrote`: something may have been stored."""
        lying, row = self.lying[place], self.lying[place].planned
        assert row is not None
        if outcome.state is not EntryState.DONE:
            if wrote:
                lying.doubts.add(row.private)
            return
        self._settle(place, row, adopted=outcome.origin is Origin.ADOPTED, compared=lying.is_compared)

    def _settle(self, place: Place, row: Row, *, adopted: bool, compared: bool = True) -> None:
        lying, key = self.lying[place], key_of(place)
        lying.confirmed, lying.is_bad, lying.stayed_open = (row.version, row.private), False, False
        lying.doubts.clear()
        if compared:
            lying.is_trusted = key not in self.old.objects and (
                lying.is_trusted or (lying.has_foreign_bytes and adopted)
            )
        lying.is_unseen = False

    def dies(self, claimed: Iterable[Place]) -> None:
        """The process is killed, and had claimed these."""
        for place in claimed:
            row = self.lying[place].planned
            assert row is not None
            self.lying[place].doubts.add(row.private)

    def adopts(self, before: dict[Place, Record], after: dict[Place, Record]) -> None:
        """`adopt` has ended."""
        for place, record in after.items():
            row = self.lying[place].planned
            if row is not None and record.state is EntryState.DONE is not before[place].state:
                if row.private:
                    self._require_hidden(place)
                self._settle(place, row, adopted=True)

    def verifies(self, before: dict[Place, Record], after: dict[Place, Record]) -> None:
        """`verify` has looked at everything that was done."""
        for place, record in before.items():
            lying = self.lying[place]
            if record.state is EntryState.DONE and after[place].state is EntryState.DONE:
                lying.is_unseen = lying.is_unseen and record.md5 is None  # only a digest tells every change
            elif record.state is EntryState.DONE:
                lying.is_bad = True
                assert lying.is_foreign, f"{key_of(place)} was called wrong, and nobody has touched it"

    # what has to hold

    def check(self, records: dict[Place, Record], claimed: set[Place]) -> None:
        """After every step."""
        for place, lying in self.lying.items():
            record, row, key = records.get(place), lying.planned, key_of(place)
            stored = self.new.objects.get(key)
            if lying.is_ours:
                assert stored is not None
                assert record is not None, f"{key} was stored, and is not in the manifest"
                assert record.presence or place in claimed, f"{key} was stored, and that was forgotten"
            if record is None:
                continue
            assert (row is None) == (record.reason is Reason.GONE)
            if record.state is not EntryState.DONE or lying.is_unseen or lying.is_trusted:
                continue
            assert row is not None
            assert stored is not None, f"{key} is done, and does not lie there"
            assert version_in(stored.data) >= row.version, f"{key} is done, and an older file lies there"
            assert lying.is_foreign or self._has_access(row, stored.acl), f"{key} is done, with the ACL {stored.acl}"

    def check_all_was_copied(self) -> None:
        """After a copy that met no trouble: what is private and open is so because the destination failed."""
        if self.acls != {PUBLIC, PRIVATE}:
            return
        for place, lying in self.lying.items():
            stored = self.new.objects.get(key_of(place))
            if lying.planned and lying.planned.private and lying.is_ours and stored and stored.acl != PRIVATE:
                assert lying.stayed_open, f"{key_of(place)} is private, and no copy cares that everybody can read it"

    def check_all_was_pruned(self) -> None:
        """After a prune that met no trouble."""
        for place, lying in self.lying.items():
            if lying.planned is None:
                assert not lying.is_ours, f"{key_of(place)} has no row, and was not removed"
                lying.confirmed = None
                lying.doubts.clear()


class OneThread:
    """A worker pool that does one thing after the other, here."""

    def __init__(self, steps: Callable[..., Steps[object]], *_: object) -> None:
        self._steps = steps

    def all_ended(self, claims: Iterable[object]) -> Iterator[Ended[object, object]]:
        """What becomes of these."""
        for claim in claims:
            yield Ended(claim, run_to_end(self._steps(claim)))

    def __enter__(self) -> OneThread:
        return self

    def __exit__(self, *_: object) -> None: ...


def one_after_the_other(
    work: Callable[[object], Iterable[object]], items: Iterable[object], *_: object
) -> Iterator[object]:
    """`side_by_side`, here."""
    for item in items:
        yield from work(item)


def place_of(kind: Kind, row_id: int) -> Place:
    """Where an entry is."""
    return next(place for place, (own, number) in WHERE.items() if (own.namespace, number) == (kind.namespace, row_id))


def key_of(place: Place) -> str:
    """The canonical key, at both stores."""
    return canonical_key(entry_of(place, Row(1)), "")


def entry_of(place: Place, row: Row) -> Entry:
    """What a plan makes of a row."""
    kind, row_id = WHERE[place]
    kind = kind._replace(remote=kind.remote is not row.turned)
    size = len(bytes_of(place, row.version)) if row.sized else None
    return Entry(kind, row_id, "a.png", None, row.optional, row.private, size, 1_000 * row.version)


def is_large(place: Place) -> bool:
    """Whether its object travels in parts."""
    return place == "large"


def bytes_of(place: Place, version: int) -> bytes:
    """All versions have the same size."""
    return f"{version:06} {place}".encode() + b"." * (LARGE_BYTES * is_large(place))


def version_in(data: bytes) -> int:
    """As `bytes_of` wrote it; what somebody else wrote is of none."""
    return int(data[:6]) if data[:6].isdigit() else -1
