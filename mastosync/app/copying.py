"""What is pending goes from one store to the other: the parts of a copy, put together."""

from __future__ import annotations

import gc
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mastosync.app.same_store import stores_to_write
from mastosync.app.stores import identities, note_own_settings, states, transfer_options, warn_of_little_room
from mastosync.copying.acl import AccessNotes
from mastosync.copying.copier import Copier, still_gives
from mastosync.copying.transfer import Transfer
from mastosync.manifest import ManifestReport, WorkQueue, in_one_bucket, reopen
from mastosync.model import Reason
from mastosync.progress import CopyProgress
from mastosync.runtime.memory import MemoryBudget, return_large_blocks
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.store.s3.curl import CurlMultiplexer

if TYPE_CHECKING:
    from mastosync.config import Config
    from mastosync.copying.copier import CopyOptions
    from mastosync.manifest import Manifest
    from mastosync.progress import ProgressListener
    from mastosync.runtime.stop import StopSignal


class Again(NamedTuple):
    """What is copied beside what is pending: what has failed or was skipped for some reasons."""

    reasons: tuple[Reason, ...]
    accepted: bool = True  # also what was accepted as a loss

    def waiting(self, manifest: Manifest, types: tuple[str, ...]) -> int:
        """How many entries that is."""
        counts = ManifestReport(manifest).counts()
        chosen = [each for each in counts if each.reason in self.reasons and (not types or each.kind.table in types)]
        return sum(each.objects - (0 if self.accepted else each.accepted) for each in chosen)


def copy_pending(
    config: Config,
    manifest: Manifest,
    options: CopyOptions,
    types: tuple[str, ...],
    again: Again | None,
    stop: StopSignal,
    listener: ProgressListener,
) -> CopyProgress:
    """See `App.copy` and `App.retry_failed`."""
    queue = WorkQueue(manifest, types, options.order)
    queue.require_plan(*identities(config))
    wanted = [again] if again else []
    if config.copy.private_objects == "copy":
        wanted.append(Again((Reason.PRIVATE,)))  # kept back before that was decided
    wanted = [each for each in wanted if each.waiting(manifest, types)]
    if not queue.pending() and not wanted:
        return CopyProgress(total=0)
    return_large_blocks()
    with (
        stores_to_write(config, manifest, options, stop, some_arrived=queue.any_done()) as (source, destination),
        ExitStack() as stack,
    ):
        for each in wanted:  # only now, as both stores can be used
            reopen(manifest, types, each.reasons, accepted=each.accepted)
        warn_of_little_room(destination, manifest)
        note_own_settings(config, manifest)
        writing = replace(transfer_options(config), one_bucket=in_one_bucket(manifest), parts_at_once=options.workers)
        memory, notes = MemoryBudget(config.copy.memory), AccessNotes()
        transfer = stack.enter_context(closing(Transfer(source, destination, writing, memory, notes.add)))
        copier = Copier(
            queue,
            WorkerPool(transfer.steps, options.workers, stop, CurlMultiplexer),
            options,
            stop,
            listener,
            limits=lambda: states(source, destination),
            notes=notes,
            still_gives=partial(still_gives, source, manifest, config.source.key_prefix),
        )
        stack.callback(gc.unfreeze)  # another run may follow in this process
        gc.freeze()  # what is here now stays to the end: the collector need not look through it again and again
        progress = copier.run()
        progress.finding = transfer.finding
        return progress
