"""A day in the life of an entry, for tests that tell one as a short story: plans, copies, deaths, checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mastosync.checking.object_check import DeepCheck
from mastosync.copying.acl import AccessNotes
from mastosync.copying.copier import Copier, CopyOptions
from mastosync.copying.transfer import TransferOptions
from mastosync.errors import (
    ManifestError,
    MastosyncError,
    NetworkFailure,
)
from mastosync.manifest import (
    HIGHEST_ID,
    LOWEST_ID,
    Manifest,
    ManifestReader,
    PlanWriter,
    WorkQueue,
    reopen,
)
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Entry, EntryState, Reason, Record
from mastosync.planning.planner import PlanOptions
from mastosync.progress import NoProgress
from mastosync.pruning import PruneOptions, Pruner
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.steps import run_to_end
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.verifying.adopter import Adopter, AdoptionStatus, AdoptOptions
from mastosync.verifying.verifier import Verifier, VerifyOptions
from tests.support.entries import entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, exported, imported
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session, transfer

PUBLIC, PRIVATE = "public-read", "private"

AVATAR = entry(1, updated=100)

WITHHELD = AVATAR._replace(private=True)

KEY = canonical_key(AVATAR, "")

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
        to = store_session(self.new, stop)
        Verifier(self.manifest, self.manifest.path, to, "", VerifyOptions(workers=1), stop, NoProgress()).by_listing()

    def verify_deep(self) -> None:
        stop = StopSignal()
        to = store_session(self.new, stop)
        made = Verifier(self.manifest, self.manifest.path, to, "", VerifyOptions(), stop, NoProgress())
        made.by_reading(_Alone(DeepCheck(to, MemoryBudget(1 << 20), "", 1 << 20)), list(made.iter_done()), 1)  # type: ignore[arg-type]

    def adopt(self) -> dict[AdoptionStatus, int]:
        stop = StopSignal()
        stores = store_session(self.old, stop), store_session(self.new, stop)
        options = AdoptOptions(workers=1)
        made = Adopter(self.manifest, self.manifest.path, *stores, ("", ""), options, stop, NoProgress())
        return dict(made.run().total())

    def prune(self) -> int:
        stop = StopSignal()
        return (
            Pruner(
                self.manifest, lambda: nullcontext(store_session(self.new, stop)), "", PruneOptions(apply=True), stop
            )
            .run()
            .removed
        )

    def export_and_import(self) -> None:
        archive = exported(self.manifest)
        self.manifest.close()
        self.manifest = imported(archive, self.folder / "imported.db")

    @property
    def record(self) -> Record:
        (record,) = ManifestReader(self.manifest).iter_records()
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
    """A pool of one worker, for reading back."""

    def __init__(self, check: DeepCheck) -> None:
        self._check = check

    def all_ended(self, records: Sequence[Record]) -> Iterator[tuple[Record, object, None]]:
        for each in records:
            yield each, run_to_end(self._check.steps(each)), None


DONE = (EntryState.DONE, None)

PENDING = (EntryState.PENDING, None)

MISSING = (EntryState.FAILED, Reason.MISSING)
