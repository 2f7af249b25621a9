"""What Mastodon has hidden or deleted since the last plan: `verify` gives no copy a reason to bring it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from mastosync.checking.object_check import CheckStatus
from mastosync.checking.row_check import RowCheck
from mastosync.errors import ConfigError, DatabaseError
from mastosync.manifest import Manifest, ManifestReader, count_exposed, iter_exposed, record_findings
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, EntryState, Origin, Outcome, Presence, Record, RemoteFile
from mastosync.progress import NoProgress
from mastosync.runtime.stop import StopSignal
from mastosync.verifying.public_result import Asked, PublicFault, PublicResult, ServedBy
from mastosync.verifying.verifier import Verifier, VerifyOptions
from tests.support.entries import LOCAL, entry
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session
from tests.unit.verifying.test_verifier import PREFIX, copied, pending, read

PUBLIC, HIDDEN, DELETED, RENAMED = (entry(row_id, f"{row_id}.png") for row_id in (1, 2, 3, 4))
ALL = [PUBLIC, HIDDEN, DELETED, RENAMED]


class Rows:
    """The database, as the rows are by now; it counts how often it was asked."""

    def __init__(self, *, trouble: Exception | None = None) -> None:
        self.trouble, self.asked = trouble, 0

    def __call__(self, records: Sequence[Record]) -> Mapping[tuple[str, str, int], RemoteFile]:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        now = {1: ("1.png", False), 2: ("2.png", True), 4: ("another.png", False)}
        return {(LOCAL.table, LOCAL.attachment, row_id): file_of(*said) for row_id, said in now.items()}


def file_of(name: str, private: bool) -> RemoteFile:
    return RemoteFile(name, None, private)


def verifier(manifest: Manifest, store: MemoryStore, rows: Rows | None) -> Verifier:
    stop, row_check = StopSignal(), None if rows is None else RowCheck(rows)
    options = VerifyOptions(workers=2)
    return Verifier(
        manifest, manifest.path, store_session(store, stop), PREFIX, options, stop, NoProgress(), (), row_check
    )


def of_state(manifest: Manifest, state: EntryState) -> dict[int, bool]:
    """Whether they are private, by id."""
    records = ManifestReader(manifest).iter_records(states=(state,))
    return {each.entry.id: each.entry.private for each in records}


def refused(manifest: Manifest, served_by: ServedBy | None = None, others: int = 1) -> PublicResult:
    """All of them were brought by another tool, and strangers are given none at the new store; others are fine."""
    result = PublicResult("https://files.example", listing=False, acl="public-read")
    records = list(ManifestReader(manifest).iter_records())
    for each in records:
        adopted = each._replace(origin=Origin.ADOPTED)
        key = canonical_key(each.entry, PREFIX)
        result.faults.append(PublicFault(adopted, key, "answered 403", served_by=served_by, refused=True))
    result.by_kind[LOCAL] = Asked(len(records) + others, 0, len(records))
    return result


def close(store: MemoryStore, entries: Iterable[Entry], acl: str = "private") -> None:
    for each in entries:
        store.objects[canonical_key(each, PREFIX)].acl = acl


def test_what_was_hidden_or_deleted_is_no_fault_and_is_not_stored_for_everybody(tmp_path: Path) -> None:
    with copied(tmp_path / "m.db", ALL) as (manifest, store):
        close(store, ALL)
        made, public = verifier(manifest, store, Rows()), refused(manifest)
        made.take_public(public)
        assert of_state(manifest, EntryState.PENDING) == {1: False, 2: True}, (
            "it may be hidden by other means than its ACL"
        )
        assert of_state(manifest, EntryState.DONE) == {3: False, 4: False}
        (hidden,) = (each for each in ManifestReader(manifest).iter_records() if each.entry.id == 2)
        assert hidden.presence is Presence.AS_PUBLIC, "as after a plan"
        assert [fault.record.entry.id for fault in public.faults] == [1]
        assert public.by_kind[LOCAL] == Asked(3, 1, 1)
        told = made.result.as_json()
        assert told["reopened"] == 2
        assert told["rows"] == {"private": 1, "deleted": 2, "unasked": 0, "database": None}


def test_what_everybody_reads_at_the_store_and_is_private_by_now_is_stored_as_private(tmp_path: Path) -> None:
    with copied(tmp_path / "m.db", [HIDDEN]) as (manifest, store):
        close(store, [HIDDEN], "public-read")
        made, public = verifier(manifest, store, Rows()), refused(manifest)
        made.take_public(public)
        assert of_state(manifest, EntryState.PENDING) == {2: True}
        assert (public.exposed, public.clean) == (1, False)


def test_what_only_the_old_store_still_gives_stays_a_fault(tmp_path: Path) -> None:
    with copied(tmp_path / "m.db", [HIDDEN]) as (manifest, store):
        close(store, [HIDDEN])
        made, public = verifier(manifest, store, Rows()), refused(manifest, ServedBy.OLD_STORE)
        made.take_public(public)
        assert of_state(manifest, EntryState.PENDING) == {2: True}
        assert (public.exposed, made.result.reopened) == (1, 1)
        assert "the new store keeps them private" in public.remedies[0]


def test_what_the_new_store_gives_is_no_fault_of_the_old_one(tmp_path: Path) -> None:
    """The media host failed at the new store for a moment, and asked the old one."""
    with copied(tmp_path / "m.db", [HIDDEN]) as (manifest, store):
        close(store, [HIDDEN], "public-read")
        made, public = verifier(manifest, store, Rows()), refused(manifest, ServedBy.OLD_STORE)
        made.take_public(public)
        assert of_state(manifest, EntryState.PENDING) == {2: True}
        assert (public.exposed, [fault.served_by for fault in public.faults]) == (1, [None])
        assert "then `mastosync copy`" in public.remedies[0]


@pytest.mark.parametrize(
    ("given", "removed", "stays"), [(True, False, False), (False, False, True), (False, True, False)]
)
def test_where_strangers_are_refused_everything_no_exposure_is_forgotten(
    given: bool, removed: bool, stays: bool, tmp_path: Path
) -> None:
    """A firewall, or Block Public Access, tells nothing of the ACL that an object has."""
    with copied(tmp_path / "m.db", ALL) as (manifest, store):
        exposed = next(each for each in ManifestReader(manifest).iter_records() if each.entry.id == 2)
        private = exposed.entry._replace(private=True)
        record_findings(manifest, [(exposed, Outcome(private, EntryState.PENDING, presence=exposed.presence))])
        if removed:
            del store.objects[canonical_key(HIDDEN, PREFIX)]
        asked = list(iter_exposed(manifest))
        assert [each.entry.id for each in asked] == [2]
        public = refused(manifest, others=int(given))
        public.faults = [fault for fault in public.faults if fault.record.entry.id != 2]
        public.by_kind[LOCAL] = Asked(4 + given, 1, 3)
        verifier(manifest, store, None).take_public(public, asked)
        assert bool(count_exposed(manifest).objects) is stays


@pytest.mark.parametrize(
    "rows", [None, Rows(trouble=DatabaseError("out of reach")), Rows(trouble=ConfigError("no [pg.database]"))]
)
def test_what_strangers_are_refused_stays_as_it_is_if_the_database_cannot_be_asked(
    tmp_path: Path, rows: Rows | None
) -> None:
    with copied(tmp_path / "m.db", ALL) as (manifest, store):
        close(store, ALL)
        made, public = verifier(manifest, store, rows), refused(manifest)
        made.take_public(public)
        assert not pending(manifest)
        assert (len(public.faults), made.result.rows.unasked, made.result.reopened) == (4, 4, 0)


def test_what_was_deleted_and_is_lost_is_not_brought_back(tmp_path: Path) -> None:
    with copied(tmp_path / "m.db", ALL) as (manifest, store):
        store.objects.clear()
        made = verifier(manifest, store, Rows())
        made.by_listing()
        assert of_state(manifest, EntryState.PENDING) == {1: False, 2: True}
        assert of_state(manifest, EntryState.DONE) == {3: False, 4: False}
        assert (made.result.reopened, made.result.rows.deleted, made.result.clean) == (2, 2, False)


def test_what_was_deleted_is_counted_once_when_all_is_listed_and_read(tmp_path: Path) -> None:
    with copied(tmp_path / "m.db", ALL) as (manifest, store):
        del store.objects[canonical_key(DELETED, PREFIX)]
        made = verifier(manifest, store, Rows())
        made.by_listing()
        result = read(made, made.iter_done(), made.entries())
        total = result.total()
        assert (total[CheckStatus.FINE], total[CheckStatus.LOST], result.rows.deleted) == (3, 1, 1)


def test_what_is_lost_is_pending_if_the_database_is_out_of_reach_which_is_asked_once(tmp_path: Path) -> None:
    rows = Rows(trouble=DatabaseError("out of reach"))
    entries = [entry(row_id, f"{row_id}.png") for row_id in range(1, 400)]
    with copied(tmp_path / "m.db", entries) as (manifest, store):
        store.objects.clear()
        made = verifier(manifest, store, rows)
        made.by_listing()
        assert (len(pending(manifest)), made.result.reopened, rows.asked) == (399, 399, 1)


def test_the_database_is_not_asked_when_all_is_well(tmp_path: Path) -> None:
    rows = Rows()
    with copied(tmp_path / "m.db", ALL) as (manifest, store):
        made = verifier(manifest, store, rows)
        made.by_listing()
        made.take_public(PublicResult("https://files.example", listing=False))
        assert (made.result.clean, rows.asked) == (True, 0)


def test_a_record_that_is_out_of_date_is_left(tmp_path: Path) -> None:
    with copied(tmp_path / "m.db", [HIDDEN]) as (manifest, store):
        close(store, [HIDDEN])
        public = refused(manifest)
        record = public.faults[0].record
        record_findings(manifest, [(record, Outcome(record.entry, EntryState.PENDING, presence=record.presence))])
        verifier(manifest, store, Rows()).take_public(public)
        assert of_state(manifest, EntryState.PENDING) == {2: False}
