"""A copy between two stores in memory, of which either may be down for a while, or fail."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

from mastosync.copying.copier import Copier, CopyOptions
from mastosync.copying.transfer import Transfer, TransferOptions
from mastosync.manifest import ManifestReader, WorkQueue
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState
from mastosync.progress import CopyProgress, EndpointState, NoProgress
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.stop import StopSignal
from mastosync.runtime.worker_pool import WorkerPool
from tests.support.entries import entry
from tests.support.manifests import planned
from tests.support.memory_store import MemoryStore
from tests.support.transfers import IMPATIENT, store_session

HOUR = 3600.0


class World:
    """A copy between two stores, of which either may be down for a while."""

    def __init__(self, tmp_path: Path, old: MemoryStore, new: MemoryStore, *, objects: int = 200) -> None:
        self.old, self.new, self.stop = old, new, StopSignal()
        self.entries = [entry(number, private=number % 7 == 0) for number in range(objects)]
        for each in self.entries:
            old.put(canonical_key(each, ""), b"%d" % each.id)
        self.manifest = planned(tmp_path / "m.db", self.entries)
        self.open_stores = [store_session(store, self.stop, IMPATIENT, patience_seconds=HOUR) for store in (old, new)]
        for made in self.open_stores:
            made.limiter.has_answered = True  # it was found usable

    def copy(
        self, listener: NoProgress | None = None, workers: int = 16, writing: TransferOptions | None = None
    ) -> CopyProgress:
        source, destination = self.open_stores
        options = CopyOptions(workers=workers)
        with closing(Transfer(source, destination, writing or TransferOptions(), MemoryBudget(1 << 30))) as transfer:
            pool = WorkerPool(transfer.steps, workers, self.stop)
            made = Copier(
                WorkQueue(self.manifest), pool, options, self.stop, listener or NoProgress(), trust=transfer.trust
            )
            made.limits = lambda: tuple(_state(each) for each in self.open_stores)
            return made.run()

    def close(self) -> None:
        self.manifest.close()

    def assert_all_is_well(self) -> None:
        states = Counter(record.state for record in ManifestReader(self.manifest).iter_records())
        assert states == {EntryState.DONE: len(self.entries)}
        assert self.manifest.connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)
        wanted = {canonical_key(each, ""): b"%d" % each.id for each in self.entries}
        assert {key: stored.data for key, stored in self.new.objects.items()} == wanted
        acls = {canonical_key(each, ""): "private" if each.private else "public-read" for each in self.entries}
        assert {key: stored.acl for key, stored in self.new.objects.items()} == acls


def _state(of: StoreSession) -> EndpointState:
    return EndpointState("destination", outage=of.downtime.outage if of.downtime else None)
