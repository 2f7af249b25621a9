"""What is pending goes from one store to the other: the parts of a copy, put together."""

from __future__ import annotations

import gc
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING

from mastosync.app.apart import gates_to_write
from mastosync.app.stores import identities, note_own_settings, states, transfer_options, warn_of_little_room
from mastosync.engine.access_notes import AccessNotes
from mastosync.engine.copier import Copier
from mastosync.engine.crew import Crew
from mastosync.engine.memory import MemoryBudget, return_large_blocks
from mastosync.engine.transfer import Transfer
from mastosync.manifest import WorkQueue, in_one_bucket, reopen
from mastosync.model import Reason
from mastosync.progress import CopyProgress
from mastosync.store.curl import CurlMultiplexer

if TYPE_CHECKING:
    from mastosync.config import Config
    from mastosync.engine.copier import CopyOptions
    from mastosync.engine.stop import StopSignal
    from mastosync.manifest import Manifest
    from mastosync.progress import ProgressListener


def copy_pending(
    config: Config,
    manifest: Manifest,
    options: CopyOptions,
    types: tuple[str, ...],
    stop: StopSignal,
    listener: ProgressListener,
) -> CopyProgress:
    """See `App.copy`."""
    queue = WorkQueue(manifest, types, options.order)
    queue.require_plan(*identities(config))
    if config.copy.private_objects == "copy":
        reopen(manifest, types, (Reason.PRIVATE,))  # kept back before that was decided
    if not queue.pending():
        return CopyProgress(total=0)
    return_large_blocks()
    with (
        gates_to_write(config, manifest, options, stop, some_arrived=queue.any_done()) as (source, destination),
        ExitStack() as stack,
    ):
        warn_of_little_room(destination, manifest)
        note_own_settings(config, manifest)
        writing = replace(transfer_options(config), one_bucket=in_one_bucket(manifest), parts_at_once=options.workers)
        memory, notes = MemoryBudget(config.copy.memory), AccessNotes()
        transfer = stack.enter_context(closing(Transfer(source, destination, writing, memory, notes.tell)))
        copier = Copier(
            queue,
            Crew(transfer.steps, options.workers, stop, CurlMultiplexer),
            options,
            stop,
            listener,
            limits=lambda: states(source, destination),
            notes=notes,
        )
        stack.callback(gc.unfreeze)  # another run may follow in this process
        gc.freeze()  # what is here now stays to the end: the collector need not look through it again and again
        progress = copier.run()
        progress.finding = transfer.finding
        return progress
