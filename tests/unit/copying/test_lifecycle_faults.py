"""Days on which the truth about an entry, or its privacy, was once lost: each a short story with a name.

Where they came from by chance, `test_moving_world` had found them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from mastosync.app.stores import identities
from mastosync.checking.object_check import DeepCheck
from mastosync.cli.main import main
from mastosync.config import load_config
from mastosync.copying.acl import AccessNotes
from mastosync.copying.copier import Copier, CopyOptions
from mastosync.copying.transfer import TransferOptions
from mastosync.errors import (
    AclUnsupported,
    ExitCode,
    ManifestError,
    MastosyncError,
    NetworkFailure,
    ObjectDenied,
    ObjectRejected,
    PrivacyLost,
)
from mastosync.manifest import (
    ACCESS,
    HIGHEST_ID,
    LOWEST_ID,
    Manifest,
    ManifestReport,
    PlanWriter,
    WorkQueue,
    count_removable,
    reopen,
)
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, EntryState, ObjectHeaders, Origin, Outcome, Presence, Reason, Record
from mastosync.planning.planner import PlanOptions
from mastosync.progress import NoProgress
from mastosync.pruning import PruneOptions, Pruner
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.steps import run_to_end
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.verifying.adopter import Adopter, AdoptionStatus, AdoptOptions
from mastosync.verifying.verifier import Verifier, VerifyOptions
from tests.contract.memory_store import MemoryStore, StoredObject
from tests.unit.engine_kit import (
    DESTINATION,
    SOURCE,
    entry,
    exported,
    grouped,
    imported,
    planned,
    store_access,
    transfer,
)

AVATAR = entry(1, updated=100)
WITHHELD = AVATAR._replace(private=True)
KEY = canonical_key(AVATAR, "")
PUBLIC, PRIVATE = "public-read", "private"
OF_A_DISK = TransferOptions(source_tells_access=True)
FAILS_ALWAYS = [NetworkFailure("the connection broke")] * 3


class Day:
    """A manifest with its two stores, and the commands of a day."""

    def __init__(self, folder: Path, old: bytes | None = b"the file", options: TransferOptions | None = None) -> None:
        self.folder = folder
        self.old, self.new = MemoryStore("old"), MemoryStore("new")
        self.options = options or TransferOptions()
        if old is not None:
            self.old.put(KEY, old)
        self.manifest = Manifest.create(folder / "m.db")

    def close(self) -> None:
        self.manifest.close()

    def plan(self, *entries: Entry, remote: bool | None = None) -> None:
        """`remote`: of rows of this kind alone."""
        with PlanWriter.transaction(self.manifest, SOURCE, DESTINATION) as writer:
            writer.merge("accounts", LOWEST_ID, HIGHEST_ID, grouped(entries), remote=remote)
            writer.finish(datetime.now(UTC), PlanOptions().as_details())

    def copy(self) -> None:
        queue = WorkQueue(self.manifest)
        queue.start_run(1)
        claims = list(queue.iter_claimable())
        queue.commit(claims=claims)
        with closing(transfer(self.old, self.new, self.options)) as one:
            queue.commit(outcomes=[one(each) for each in claims])

    def run_copy(self) -> MastosyncError | None:
        """The same with a copier; what ended it."""
        stop, notes = StopSignal(), AccessNotes()
        with closing(transfer(self.old, self.new, self.options, notes.add)) as one:
            pool = WorkerPool(one.steps, 1, stop)
            copier = Copier(WorkQueue(self.manifest), pool, CopyOptions(), stop, NoProgress(), notes=notes)
            try:
                copier.run()
            except MastosyncError as error:
                return error
        return None

    def die_in_copier(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A run is killed when its first object has arrived, before the manifest is told."""
        with monkeypatch.context() as patch:
            patch.setattr(Copier, "_take_in", _dies)
            with pytest.raises(_Killed):
                self.run_copy()

    def die(self, *, wrote: bool) -> None:
        """A run claims everything, writes it or not, and is killed."""
        queue = WorkQueue(self.manifest)
        queue.start_run(1)
        claims = list(queue.iter_claimable())
        queue.commit(claims=claims)
        if wrote:
            with closing(transfer(self.old, self.new, self.options)) as one:
                for each in claims:
                    one(each)

    def retry(self, *reasons: Reason) -> None:
        reopen(self.manifest, (), reasons)
        self.copy()

    def verify(self) -> None:
        stop = StopSignal()
        to = store_access(self.new, stop)
        Verifier(self.manifest, self.manifest.path, to, "", VerifyOptions(workers=1), stop, NoProgress()).by_listing()

    def verify_deep(self) -> None:
        stop = StopSignal()
        to = store_access(self.new, stop)
        made = Verifier(self.manifest, self.manifest.path, to, "", VerifyOptions(), stop, NoProgress())
        made.by_reading(_Alone(DeepCheck(to, MemoryBudget(1 << 20), "", 1 << 20)), list(made.iter_done()), 1)  # type: ignore[arg-type]

    def adopt(self) -> dict[AdoptionStatus, int]:
        stop = StopSignal()
        stores = store_access(self.old, stop), store_access(self.new, stop)
        options = AdoptOptions(workers=1)
        made = Adopter(self.manifest, self.manifest.path, *stores, ("", ""), options, stop, NoProgress())
        return dict(made.run().total())

    def prune(self) -> int:
        stop = StopSignal()
        return (
            Pruner(self.manifest, lambda: nullcontext(store_access(self.new, stop)), "", PruneOptions(apply=True), stop)
            .run()
            .removed
        )

    def export_and_import(self) -> None:
        archive = exported(self.manifest)
        self.manifest.close()
        self.manifest = imported(archive, self.folder / "imported.db")

    @property
    def record(self) -> Record:
        (record,) = ManifestReport(self.manifest).iter_records()
        return record

    def fate(self) -> tuple[EntryState, Reason | None]:
        return self.record.state, self.record.reason

    @property
    def acl(self) -> str | None:
        return self.new.objects[KEY].acl

    @property
    def writes(self) -> int:
        return self.new.count("write")


class _Killed(BaseException):
    """What nothing can catch."""


def _dies(*_: object) -> None:
    raise _Killed


def _fails(*_: object) -> None:
    raise ManifestError("the disk is full")


class _Alone:
    """A crew of one, for reading back."""

    def __init__(self, check: DeepCheck) -> None:
        self._check = check

    def all_ended(self, records: Sequence[Record]) -> Iterator[tuple[Record, object, None]]:
        for each in records:
            yield each, run_to_end(self._check.steps(each)), None


@pytest.fixture
def day_of(tmp_path: Path) -> Iterator[Callable[..., Day]]:
    """Factory: `day_of(old, options)` is a day, closed after the test."""
    with ExitStack() as days:

        def begin(old: bytes | None = b"the file", options: TransferOptions | None = None) -> Day:
            return days.enter_context(closing(Day(tmp_path, old, options)))

        yield begin


@pytest.fixture
def day(day_of: Callable[..., Day]) -> Day:
    return day_of()


@pytest.fixture
def day_without_acls(day_of: Callable[..., Day]) -> Day:
    return day_of(options=TransferOptions(acl_taken=False))


DONE = (EntryState.DONE, None)
PENDING = (EntryState.PENDING, None)
MISSING = (EntryState.FAILED, Reason.MISSING)


def test_a_damaged_object_is_never_adopted_with_the_digest_of_the_damage(day: Day) -> None:
    """`verify` finds the damage, and the source has lost the file: what lies there stays wrong, whatever is tried."""
    day.plan(AVATAR)
    day.copy()
    day.new.put(KEY, b"the fi1e")
    del day.old.objects[KEY]
    day.verify_deep()
    for _ in range(2):
        day.retry()
        assert day.fate() == MISSING
        assert Presence.STALE in day.record.presence
    assert day.adopt() == {AdoptionStatus.LEFT: 1}
    day.old.put(KEY, b"the file")
    day.retry()
    assert day.fate() == DONE
    assert day.new.objects[KEY].data == b"the file"


@pytest.mark.parametrize(("acl", "writes"), [(PUBLIC, 1), (PRIVATE, 0)])
def test_what_a_dead_run_had_claimed_as_private_is_written_again_if_strangers_can_read_it(
    day: Day, acl: str, writes: int
) -> None:
    """Somebody else may have stored the same bytes, for everybody to read."""
    day.new.put(KEY, b"the file")
    day.new.objects[KEY].acl = acl
    day.plan(WITHHELD)
    day.die(wrote=False)
    day.copy()
    assert (day.fate(), day.acl, day.writes) == (DONE, PRIVATE, writes)


def test_a_private_object_that_came_back_is_written_again_if_strangers_can_read_it_by_now(day: Day) -> None:
    """Another tool has stored the same bytes meanwhile: their ETag is the one that was confirmed."""
    day.plan(WITHHELD)
    day.copy()
    day.plan()
    day.new.objects[KEY].acl = PUBLIC
    day.plan(WITHHELD)
    assert day.adopt() == {AdoptionStatus.LEFT: 1}
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


def test_a_rewrite_as_private_that_failed_is_not_forgotten_by_a_death(day: Day) -> None:
    day.plan(AVATAR)
    day.copy()
    day.plan(WITHHELD)
    day.new.fail("write", *FAILS_ALWAYS)
    day.copy()
    assert day.fate() == (EntryState.FAILED, Reason.NETWORK)
    reopen(day.manifest)
    day.die(wrote=False)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


def test_what_arrived_as_public_before_a_death_is_written_anew_for_a_row_that_became_private(day: Day) -> None:
    day.plan(AVATAR)
    day.die(wrote=True)
    assert day.acl == PUBLIC
    day.plan(WITHHELD)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


def test_what_arrived_as_private_before_a_death_is_written_anew_for_a_row_that_became_public(day: Day) -> None:
    day.plan(WITHHELD)
    day.die(wrote=True)
    assert day.acl == PRIVATE
    day.plan(AVATAR)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PUBLIC)


def test_what_became_public_and_failed_once_is_not_adopted_as_it_lies_there(day: Day) -> None:
    day.plan(WITHHELD)
    day.copy()
    day.plan(AVATAR)
    day.new.fail("write", *FAILS_ALWAYS)
    day.copy()
    assert day.adopt() == {AdoptionStatus.LEFT: 1}
    day.retry()
    assert (day.fate(), day.acl) == (DONE, PUBLIC)


def test_what_was_kept_back_after_it_had_arrived_is_pruned_when_its_row_goes(day_without_acls: Day) -> None:
    """The destination has no ACLs: what became private lies there as public as before, and that stays known."""
    day = day_without_acls
    day.plan(AVATAR)
    day.copy()
    day.plan(WITHHELD)
    day.copy()
    assert day.fate() == (EntryState.SKIPPED, Reason.PRIVATE)
    assert day.record.presence == Presence.AS_PUBLIC
    day.export_and_import()
    day.plan()
    assert count_removable(day.manifest)[0] == day.prune() == 1
    assert not day.new.objects


def test_what_failed_after_an_older_file_had_arrived_is_pruned_when_its_row_goes(day: Day) -> None:
    day.plan(AVATAR)
    day.copy()
    day.plan(AVATAR._replace(updated=200))
    day.new.fail("write", *FAILS_ALWAYS)
    day.copy()
    day.plan()
    assert day.prune() == 1
    assert not day.new.objects


def test_what_a_dead_run_wrote_is_pruned_when_its_row_goes(day: Day) -> None:
    day.plan(AVATAR)
    day.die(wrote=True)
    day.plan()
    assert day.prune() == 1
    assert not day.new.objects


@pytest.mark.parametrize("optional", [False, True])
def test_a_private_object_that_the_source_has_lost_is_stored_again_as_private(day: Day, optional: bool) -> None:
    """The destination has the very bytes."""
    day.plan(AVATAR._replace(optional=optional))
    day.copy()
    del day.old.objects[KEY]
    day.plan(WITHHELD._replace(optional=optional))
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)
    assert day.new.objects[KEY].data == b"the file"
    assert day.record.md5 == hashlib.md5(b"the file").digest()


@pytest.mark.parametrize("optional", [False, True])
def test_another_file_than_the_wanted_one_is_hidden_too_when_the_source_has_lost_that(day: Day, optional: bool) -> None:
    """What lies there is of a row that is private now; that it is the older file makes it no less so."""
    day.plan(AVATAR._replace(optional=optional))
    day.copy()
    del day.old.objects[KEY]
    day.plan(WITHHELD._replace(optional=optional, updated=200))
    day.copy()
    assert day.fate() == ((EntryState.SKIPPED, Reason.OPTIONAL_MISSING) if optional else MISSING)
    assert day.acl == PRIVATE
    assert Presence.STALE in day.record.presence


def test_the_size_of_a_row_with_another_file_is_taken_over(day_of: Callable[..., Day]) -> None:
    """So what Mastodon itself has stored at the destination since is found by it."""
    day = day_of(old=None)
    day.plan(AVATAR._replace(size=10))
    day.copy()
    assert day.fate() == MISSING
    day.plan(AVATAR._replace(size=99, updated=200))
    assert day.record.entry.size == 99
    day.new.put(KEY, b"x" * 99)
    day.copy()
    assert day.fate() == DONE
    assert day.record.origin is Origin.ADOPTED


def test_the_fallback_of_a_known_row_is_taken_over(day_of: Callable[..., Day]) -> None:
    day = day_of(old=None)
    day.plan(AVATAR)
    day.plan(AVATAR._replace(fallback="a.jpeg"))
    assert day.record.entry.fallback == "a.jpeg"


def test_of_a_size_alone_nobody_takes_an_object_of_parts_for_arrived(day: Day) -> None:
    """The source's ETag is one of parts, and tells nothing of other bytes of the same size."""
    parts = hashlib.md5(hashlib.md5(b"the file").digest()).hexdigest() + "-1"
    day.old.put(KEY, b"the file", etag=parts)
    day.new.put(KEY, b"another!")
    day.plan(AVATAR)
    day.die(wrote=False)
    day.copy()
    assert day.fate() == DONE
    assert day.new.objects[KEY].data == b"the file"


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("row", [AVATAR, WITHHELD])
def test_what_was_gone_and_is_back_is_confirmed_by_one_look(day: Day, row: Entry, archived: bool) -> None:
    """A plan against the wrong database, then one against the right one: nothing is uploaded a second time."""
    day.plan(row)
    day.copy()
    day.plan()
    if archived:
        day.export_and_import()
    day.plan(row)
    day.new.calls.clear()
    day.copy()
    assert day.fate() == DONE
    assert day.new.calls.count(("head", KEY)) == 1
    assert day.writes == 0


def test_what_is_back_is_asked_for_at_the_source_only_where_that_tells_who_may_read_it(day: Day) -> None:
    """A bucket does not."""
    for options, asked in ((TransferOptions(), []), (OF_A_DISK, [("head", KEY)])):
        day.options = options
        day.plan(AVATAR)
        day.copy()
        day.plan()
        day.plan(AVATAR)
        day.old.calls.clear()
        day.copy()
        assert (day.fate(), day.old.calls) == (DONE, asked)
    assert day.writes == 1


def test_what_was_closed_while_its_row_was_gone_is_kept_back_where_nothing_hides_it(day_without_acls: Day) -> None:
    day = day_without_acls
    day.options = replace(day.options, source_tells_access=True)
    day.plan(AVATAR)
    day.copy()
    day.plan()
    day.old.objects[KEY].private = True
    day.plan(AVATAR)
    day.copy()
    assert day.fate() == (EntryState.SKIPPED, Reason.PRIVATE)
    assert "remove it there" in (day.record.detail or "")


def test_adopt_confirms_what_was_gone_and_is_back_from_the_listing(day: Day) -> None:
    day.plan(AVATAR)
    day.copy()
    day.plan()
    day.plan(AVATAR)
    day.new.calls.clear()
    assert day.adopt() == {AdoptionStatus.ADOPTED: 1}
    assert day.fate() == DONE
    assert day.record.origin is Origin.COPIED
    assert {method for method, _ in day.new.calls} == {"list_page"}


def test_retry_failed_reopens_what_was_optional_and_missing(day_of: Callable[..., Day]) -> None:
    day = day_of(old=None)
    day.plan(AVATAR._replace(optional=True))
    day.copy()
    assert day.fate() == (EntryState.SKIPPED, Reason.OPTIONAL_MISSING)
    day.old.put(KEY, b"the file")
    day.retry(Reason.OPTIONAL_MISSING)
    assert day.fate() == DONE


def between_folders(tmp_path: Path, state: EntryState, reason: Reason) -> list[str]:
    """A migration from one folder to another, of whose entries one is in this state; options of its commands."""
    config = tmp_path / "config.ini"
    folders = {role: tmp_path / role for role in ("source", "destination")}
    for folder in folders.values():
        folder.mkdir()
    config.write_text("".join(f"[filesystem.{role}]\npath = {folder}\n" for role, folder in folders.items()))
    stores = identities(load_config(config, {}))
    row = entry(1, optional=True)
    with planned(tmp_path / "m.db", [row], stores) as manifest:
        queue = WorkQueue(manifest)
        queue.start_run(1)
        queue.commit(outcomes=[Outcome(row, state, reason)])
    return ["--config", str(config), "--manifest", str(tmp_path / "m.db"), "--no-progress"]


def states_in(path: Path) -> list[EntryState]:
    with Manifest.open(path) as manifest:
        return [each.state for each in ManifestReport(manifest).iter_records()]


def test_the_command_line_reopens_what_was_optional_and_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = between_folders(tmp_path, EntryState.SKIPPED, Reason.OPTIONAL_MISSING)
    assert main([*options, "retry-failed", "--reason", "optional_missing", "--no-copy"]) == ExitCode.OK
    assert "1 entry is pending again" in capsys.readouterr().out
    assert states_in(tmp_path / "m.db") == [EntryState.PENDING]


@pytest.mark.parametrize("role", ["source", "destination"])
def test_a_retry_changes_nothing_while_a_store_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    options = between_folders(tmp_path, EntryState.FAILED, Reason.NETWORK)
    (tmp_path / "source" / "other").touch()  # an empty folder of a source is an unmounted disk
    (tmp_path / role).rename(tmp_path / "unmounted")
    assert main([*options, "retry-failed"]) == ExitCode.STORE
    assert role in capsys.readouterr().err
    assert states_in(tmp_path / "m.db") == [EntryState.FAILED]
    (tmp_path / "unmounted").rename(tmp_path / role)
    assert main([*options, "retry-failed"]) == ExitCode.OK, "which found out that its file is missing, and optional"
    told = capsys.readouterr().out
    assert "1 failed entry is pending again" in told
    assert states_in(tmp_path / "m.db") == [EntryState.SKIPPED]


def test_a_retry_of_nothing_asks_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = between_folders(tmp_path, EntryState.FAILED, Reason.NETWORK)
    (tmp_path / "source").rmdir()
    assert main([*options, "retry-failed", "--reason", "denied"]) == ExitCode.INCOMPLETE
    assert "0 failed entries are pending again" in capsys.readouterr().out


# found by test_moving_world, or beside it


def test_what_everybody_can_read_is_written_anew_as_private_even_if_it_had_failed_before(day: Day) -> None:
    """It failed while it was public; that it is private now is news, and calls for another attempt."""
    day.plan(AVATAR)
    day.copy()
    day.plan(AVATAR._replace(updated=200))
    day.old.fail("read", *FAILS_ALWAYS)
    day.copy()
    assert day.fate() == (EntryState.FAILED, Reason.NETWORK)
    day.plan(WITHHELD._replace(updated=200))
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


@pytest.mark.parametrize("refusal", [ObjectDenied("refused"), *FAILS_ALWAYS[:1]])
def test_what_became_private_is_hidden_when_the_source_fails(day: Day, refusal: Exception) -> None:
    """Whatever the source has to say: the destination has what is to be hidden."""
    day.plan(AVATAR)
    day.copy()
    day.plan(WITHHELD)
    day.old.fail("read", *[refusal] * 3)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


@pytest.mark.parametrize("optional", [False, True])
def test_what_became_private_is_hidden_within_one_bucket_too(day_of: Callable[..., Day], optional: bool) -> None:
    """Source and destination are two prefixes of it, so that whoever fails has one name."""
    day = day_of(None, TransferOptions(source_prefix="old", destination_prefix="new"))
    day.old = day.new
    row = AVATAR._replace(optional=optional)
    day.new.put(canonical_key(row, "old"), b"the file")
    day.plan(row)
    day.copy()
    del day.new.objects[canonical_key(row, "old")]
    day.plan(row._replace(private=True))
    day.copy()
    assert day.fate() == DONE
    assert day.new.objects[canonical_key(row, "new")].acl == PRIVATE


def test_an_older_file_is_not_done_for_being_stored_again(day: Day) -> None:
    """A death left it in doubt, and then its row had another file: the digest is that of the older one."""
    day.plan(AVATAR)
    day.copy()
    day.plan(WITHHELD)
    day.die(wrote=False)
    day.plan(WITHHELD._replace(updated=200))
    day.old.put(KEY, b"newer file")
    day.old.fail("read", *FAILS_ALWAYS)
    day.copy()
    assert (day.fate(), day.acl) == ((EntryState.FAILED, Reason.NETWORK), PRIVATE)
    day.retry()
    assert day.fate() == DONE
    assert day.new.objects[KEY].data == b"newer file"


def test_adopt_takes_no_private_object_that_somebody_else_has_stored(day: Day) -> None:
    """Its row was gone and is back, and meanwhile another tool has put the same number of bytes there."""
    day.plan(WITHHELD)
    day.copy()
    day.plan()
    day.old.put(KEY, b"the FILE")
    day.new.put(KEY, b"the FILE")
    day.new.objects[KEY].acl = PUBLIC
    day.plan(WITHHELD)
    assert day.adopt() == {AdoptionStatus.LEFT: 1}
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


def test_what_was_refused_before_it_was_stored_is_not_taken_for_something_that_lies_there(day: Day) -> None:
    """The destination takes `public-read` and refuses `private`: then a public object is not uploaded a second time."""
    day.new.refused[PRIVATE] = AclUnsupported("no ACL private", only_this=True)
    day.plan(AVATAR, entry(2))
    day.old.put(canonical_key(entry(2), ""), b"another")
    day.copy()
    day.plan(WITHHELD, entry(2))
    day.copy()
    day.plan(AVATAR, entry(2))
    day.new.calls.clear()
    day.copy()
    assert day.writes == 0


def test_what_a_dead_run_wrote_is_not_uploaded_again_after_an_import(day: Day) -> None:
    day.plan(AVATAR)
    day.die(wrote=True)
    day.export_and_import()
    day.new.calls.clear()
    day.copy()
    assert day.fate() == DONE
    assert day.writes == 0


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("acl", "fate"), [(PUBLIC, PENDING), (PRIVATE, DONE)])
def test_verify_looks_as_a_stranger_at_what_others_have_stored_again(
    day: Day, acl: str, fate: tuple[EntryState, None], deep: bool
) -> None:
    """The bytes are the same, and their ETag is another. Nothing is asked for whose ETag is the one we know."""
    day.plan(WITHHELD)
    day.copy()
    day.new.calls.clear()
    day.verify_deep() if deep else day.verify()
    assert "anybody_reads" not in {method for method, _ in day.new.calls}
    day.new.put(KEY, b"the file", etag="0" * 32 + "-1")
    day.new.objects[KEY].acl = acl
    day.verify_deep() if deep else day.verify()
    assert day.fate() == fate
    del day.old.objects[KEY]
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


@pytest.mark.parametrize("deep", [False, True])
def test_verify_calls_nothing_fine_of_which_it_cannot_tell_who_reads_it(day: Day, deep: bool) -> None:
    day.plan(WITHHELD)
    day.copy()
    day.new.put(KEY, b"the file", etag="0" * 32 + "-1")
    day.new.fail("anybody_reads", *FAILS_ALWAYS)
    day.verify_deep() if deep else day.verify()
    assert (day.fate(), day.record.etag) == (DONE, None), "the new ETag is not taken over"


def test_what_everybody_reads_stays_known_when_it_cannot_be_removed(day: Day) -> None:
    """The run stops with exit code 7. What its message says is not forgotten by the next one, whatever that may do."""
    day.new.open_to_all = True
    day.plan(WITHHELD)
    day.new.fail("withdraw", ObjectDenied("the key may not delete"))
    assert isinstance(day.run_copy(), PrivacyLost)
    day.options = TransferOptions(acl_taken=False)
    day.copy()
    assert day.fate() == (EntryState.SKIPPED, Reason.PRIVATE)
    assert day.record.presence & ACCESS == ACCESS
    assert "remove it there" in (day.record.detail or "")
    day.plan()
    assert day.prune() == 1
    assert not day.new.objects


@pytest.mark.parametrize("wrote", [False, True])
@pytest.mark.parametrize(
    ("before", "row"), [(AVATAR, WITHHELD), (WITHHELD, AVATAR), (AVATAR, AVATAR), (WITHHELD, WITHHELD)]
)
def test_what_was_confirmed_once_is_done_though_a_run_died_and_the_source_has_lost_it(
    day: Day, before: Entry, row: Entry, wrote: bool
) -> None:
    day.plan(before)
    day.copy()
    if before == row:
        day.plan()  # gone, and back
    day.plan(row)
    day.die(wrote=wrote)
    del day.old.objects[KEY]
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PRIVATE if row.private else PUBLIC)
    assert day.new.objects[KEY].data == b"the file"


@pytest.mark.parametrize("before", [AVATAR, WITHHELD])
def test_what_was_confirmed_once_is_not_done_if_a_dead_run_has_left_something_else(day: Day, before: Entry) -> None:
    day.plan(before)
    day.copy()
    day.plan()
    day.plan(before)
    day.die(wrote=False)
    day.new.objects[KEY] = replace(day.new.objects[KEY], data=b"damaged!", etag=hashlib.md5(b"damaged!").hexdigest())
    del day.old.objects[KEY]
    day.copy()
    assert day.fate() == (EntryState.FAILED, Reason.MISSING)


def test_what_everybody_reads_is_told_though_the_manifest_cannot_end_the_run(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    day.new.open_to_all = True
    day.plan(WITHHELD)
    day.new.fail("withdraw", ObjectDenied("the key may not delete"))
    monkeypatch.setattr(WorkQueue, "end_run", _fails)
    assert isinstance(day.run_copy(), PrivacyLost)


def test_what_everybody_reads_is_told_when_the_manifest_cannot_note_it(
    day: Day, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    day.new.open_to_all = True
    day.plan(WITHHELD)
    day.new.fail("withdraw", ObjectDenied("the key may not delete"))
    commit = WorkQueue.commit

    def commit_but_notes(queue: WorkQueue, *, access: Sequence[tuple[Entry, Presence]] = (), **what: Any) -> None:  # noqa: ANN401
        if access:
            raise ManifestError("the disk is full")
        commit(queue, access=access, **what)

    monkeypatch.setattr(WorkQueue, "commit", commit_but_notes)
    assert isinstance(day.run_copy(), PrivacyLost)
    assert "the disk is full" in caplog.text


def test_what_everybody_reads_and_cannot_be_removed_is_written_anew_once_the_store_keeps_acls(day: Day) -> None:
    day.new.open_to_all = True
    day.plan(WITHHELD)
    day.new.fail("withdraw", ObjectDenied("the key may not delete"))
    day.run_copy()
    day.new.open_to_all = False
    day.new.objects[KEY].acl = PUBLIC
    del day.old.objects[KEY]
    day.copy()
    assert day.acl == PRIVATE


def test_what_cannot_be_looked_at_and_not_be_removed_stays_known_as_maybe_public(day: Day) -> None:
    day.plan(WITHHELD)
    day.new.fail("anybody_reads", ObjectRejected("501"))
    day.new.fail("withdraw", ObjectDenied("the key may not delete"))
    day.copy()
    assert day.fate() == (EntryState.FAILED, Reason.SERVER)
    assert day.record.presence == ACCESS | Presence.IN_DOUBT
    day.new.objects[KEY].acl = PUBLIC
    day.retry()
    assert (day.fate(), day.acl) == (DONE, PRIVATE)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(("row", "acl"), [(AVATAR, PUBLIC), (WITHHELD, PRIVATE)])
def test_what_a_dead_run_of_version_3_had_claimed_is_not_written_for_nothing(
    day: Day, row: Entry, acl: str, lost: bool
) -> None:
    """Its claims do not tell the privacy. Strangers do: of what is public, and they can read. Private ones are few."""
    row = row._replace(size=8)
    day.plan(row)
    day.die(wrote=True)
    day.manifest.connection.execute("UPDATE claims SET access = 3")
    if lost:
        del day.old.objects[KEY]
    day.copy()
    assert day.acl == acl
    assert day.fate() == ((EntryState.FAILED, Reason.MISSING) if lost else DONE)
    assert day.writes == 1 + row.private


@pytest.mark.parametrize("row", [AVATAR, WITHHELD])
def test_what_a_dead_run_wrote_is_not_called_done_when_the_source_has_lost_it(day: Day, row: Entry) -> None:
    """It has the size that its row tells. But a store may have taken bytes that were damaged on their way."""
    day.plan(row._replace(size=8))
    day.die(wrote=True)
    day.new.objects[KEY].data = b"damaged!"
    del day.old.objects[KEY]
    day.copy()
    assert day.fate() == (EntryState.FAILED, Reason.MISSING)
    assert day.record.presence & Presence.IN_DOUBT
    assert day.acl == (PRIVATE if row.private else PUBLIC)
    day.plan()
    assert day.prune() == 1


def test_what_a_dead_run_of_version_3_left_and_strangers_cannot_read_is_written_anew(day: Day) -> None:
    """It had been claimed for a private row, which is public by now."""
    day.plan(WITHHELD)
    day.die(wrote=True)
    day.manifest.connection.execute("UPDATE claims SET access = 3")
    day.plan(AVATAR)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PUBLIC)


def test_what_strangers_cannot_read_is_not_adopted_because_the_source_has_lost_it(day: Day) -> None:
    """It lies there as a private object, its row is public by now, and nobody is told that nobody can read it."""
    day.plan(WITHHELD._replace(size=8))
    day.die(wrote=True)
    day.manifest.connection.execute("UPDATE claims SET access = 3")
    del day.old.objects[KEY]
    day.plan(AVATAR._replace(size=8))
    day.copy()
    assert (day.fate(), day.acl) == (MISSING, PRIVATE)
    detail = day.record.detail or ""
    assert f"cannot find {KEY!r} at old" in detail
    assert f"{KEY!r} may still be private at {day.new.name}, so others may be unable to read it" in detail
    day.old.put(KEY, b"the file")
    day.retry()
    assert (day.fate(), day.acl) == (DONE, PUBLIC)


def test_a_file_that_the_source_keeps_closed_is_not_copied_again_by_each_plan(day: Day) -> None:
    """Its row is public, and each plan says so. The source is asked again, and tells when that has changed."""
    day.options = OF_A_DISK
    day.old.objects[KEY].private = True
    day.plan(AVATAR)
    day.copy()
    for _ in range(3):
        day.plan(AVATAR)
        day.old.calls.clear()
        day.copy()
        assert (day.fate(), day.acl) == (DONE, PRIVATE)
        assert day.old.calls == [("head", KEY)]
    assert day.writes == 1
    day.old.objects[KEY].private = False
    day.plan(AVATAR)
    day.copy()
    assert (day.fate(), day.acl) == (DONE, PUBLIC)


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize(
    ("row", "closed", "acl", "writes"),
    [
        (AVATAR, False, PUBLIC, 2),  # opened meanwhile: it has to be written anew
        (AVATAR, True, PRIVATE, 1),
        (WITHHELD, True, PRIVATE, 1),
        (WITHHELD, False, PRIVATE, 1),
    ],
)
def test_what_a_dead_run_wrote_of_a_closed_file_is_known_to_be_private(
    day: Day, monkeypatch: pytest.MonkeyPatch, row: Entry, closed: bool, acl: str, writes: int, in_parts: bool
) -> None:
    """It had been claimed for a public row. It is neither done with 403 for everybody, nor written for nothing."""
    day.options = replace(OF_A_DISK, multipart_threshold=4 if in_parts else 1 << 20, part_size=1 << 20)
    day.old.objects[KEY].private = True
    day.plan(AVATAR)
    day.die_in_copier(monkeypatch)
    assert day.acl == PRIVATE
    day.old.objects[KEY].private = closed
    day.plan(row)
    day.run_copy()
    assert (day.fate(), day.acl) == (DONE, acl)
    assert day.new.count("complete_multipart" if in_parts else "write") == writes


def test_what_a_disk_does_not_close_costs_no_second_upload_after_a_death(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    day.options = OF_A_DISK
    day.plan(AVATAR)
    day.die_in_copier(monkeypatch)
    day.run_copy()
    assert (day.fate(), day.acl, day.writes) == (DONE, PUBLIC, 1)


def test_nobody_waits_for_a_note_that_a_full_disk_keeps_from_the_manifest(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    day.old.objects[KEY].private = True
    day.plan(AVATAR)
    commit = WorkQueue.commit

    def refuses(queue: WorkQueue, **what: Any) -> None:  # noqa: ANN401 - as `commit` takes them
        if what.get("access"):
            raise ManifestError("the disk is full")
        commit(queue, **what)

    monkeypatch.setattr(WorkQueue, "commit", refuses)
    assert isinstance(day.run_copy(), ManifestError)
    assert day.writes == 0, "what is not known to be private is not written as such"


class TestAfterTheSwitch:
    """Mastodon stores at the new store now, and the old one has what was under the same key before."""

    THEN = 1_700_000_000
    NOW = THEN + 86_400

    @pytest.fixture
    def replaced_day(self, day_of: Callable[..., Day]) -> Callable[..., Day]:
        """An avatar was copied, and then it was replaced under its name."""

        def begin(*, private: bool = False, options: TransferOptions | None = None) -> Day:
            day = day_of(b"the older", options)
            day.new.buckets["memory"] = day.old
            day.old.objects[KEY].last_modified = formatdate(self.THEN, usegmt=True)
            day.plan(AVATAR._replace(updated=self.THEN, private=private))
            day.copy()
            day.plan(AVATAR._replace(updated=self.NOW, private=private, size=9))
            return day

        return begin

    def replaced(self, store: MemoryStore) -> None:
        store.objects[KEY] = replace(
            store.objects.get(KEY) or StoredObject(b"", ObjectHeaders(), ""),
            data=b"the newer",
            etag=hashlib.md5(b"the newer", usedforsecurity=False).hexdigest(),
            last_modified=formatdate(self.NOW + 1, usegmt=True),
        )

    @pytest.mark.parametrize("bucket", [None, "memory"], ids=["through here", "by the store itself"])
    def test_a_newer_file_at_the_new_store_is_not_overwritten_by_the_older_one(
        self, replaced_day: Callable[..., Day], bucket: str | None
    ) -> None:
        day = replaced_day(options=TransferOptions(source_bucket=bucket))
        self.replaced(day.new)
        day.copy()
        assert day.new.objects[KEY].data == b"the newer"
        record = day.record
        assert (record.entry.size, record.state, record.origin) == (9, EntryState.DONE, Origin.ADOPTED)

    def test_nor_if_it_is_private_and_it_is_told(self, replaced_day: Callable[..., Day]) -> None:
        day = replaced_day(private=True)
        self.replaced(day.new)
        day.copy()
        assert day.new.objects[KEY].data == b"the newer"
        record = day.record
        assert (record.state, record.reason) == (EntryState.FAILED, Reason.MISSING)
        assert "an older file" in (record.detail or "")

    def test_before_the_switch_it_is_copied(self, replaced_day: Callable[..., Day]) -> None:
        day = replaced_day()
        self.replaced(day.old)
        day.copy()
        assert day.new.objects[KEY].data == b"the newer"
        assert day.record.origin is Origin.COPIED

    def test_what_we_have_copied_is_no_newer_file(self, replaced_day: Callable[..., Day]) -> None:
        """However late that was: nobody has stored the newer one anywhere, and what there is is what there was."""
        day = replaced_day()
        day.new.objects[KEY].last_modified = formatdate(self.NOW - 1, usegmt=True)
        day.copy()
        assert day.record.origin is Origin.COPIED
        assert day.new.count("write") == 2
