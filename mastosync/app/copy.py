"""Commands that write objects to the destination: `copy`, `retry-failed`, `refetch` and `apply-settings`."""

from __future__ import annotations

import gc
import logging
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mastosync.app.stores import (
    look_if_unknown,
    note_own_settings,
    open_stores,
    retry_policy,
    settings_of,
    stores_to_write,
    transfer_options,
)
from mastosync.copying.acl import AccessNotes
from mastosync.copying.copier import Copier, CopyOptions, still_gives
from mastosync.copying.transfer import Transfer
from mastosync.errors import ObjectError, StoreUnusable, UsageError
from mastosync.language import tr
from mastosync.manifest import ManifestReader, WorkQueue, in_one_bucket, other_settings, reopen
from mastosync.mastodon.paperclip import folder_of
from mastosync.model import FAILURE_REASONS, EntryState, Reason
from mastosync.progress import CopyProgress, EndpointState
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.memory import MemoryBudget, return_large_blocks
from mastosync.runtime.retry import StoreSession
from mastosync.runtime.worker_pool import WorkerPool
from mastosync.status import pending_by_folder
from mastosync.store.filesystem import FilesystemStore
from mastosync.store.s3.curl_multiplexer import CurlMultiplexer
from mastosync.units import human_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mastosync.app.context import Context
    from mastosync.applying.applier import ApplyOptions, ApplyResult
    from mastosync.manifest import Manifest
    from mastosync.refetching import RefetchOptions, RefetchResult

_log = logging.getLogger(__name__)
_room_log = logging.getLogger(f"{__name__}.room")  # of which people hear, see `cli.logs`


def copy(context: Context, options: CopyOptions, types: tuple[str, ...] = ()) -> CopyProgress:
    """Work through what is pending. Raises: Interrupted when asked to stop; StoreUnusable."""
    with context.writing("copy") as manifest:
        progress = copy_pending(context, manifest, options, types)
        if not progress.total:
            look_if_unknown(context, manifest, options, some_arrived=ManifestReader(manifest).any_done())
        return progress


def retry_failed(
    context: Context,
    types: tuple[str, ...],
    reasons: tuple[Reason, ...],
    options: CopyOptions | None,
    *,
    accepted: bool,
) -> tuple[int, CopyProgress | None]:
    """Put entries back to pending, as `reopen` does; with options, copy what is pending of those types.

    Nothing is put back if a store cannot be used. Returns: how many were, and what the copy did.
    """
    with context.writing("retry-failed") as manifest:
        context.require_plan(manifest)
        if options is None:
            return reopen(manifest, types, reasons, accepted=accepted), None
        again = _Again(reasons or FAILURE_REASONS, accepted=accepted)
        reopened = again.waiting(manifest, types)
        return reopened, copy_pending(context, manifest, options, types, again) if reopened else None


class _Again(NamedTuple):
    """Entries that are copied beside those that are pending: failed or skipped, for these reasons."""

    reasons: tuple[Reason, ...]
    accepted: bool = True  # also what was accepted as a loss

    def waiting(self, manifest: Manifest, types: tuple[str, ...]) -> int:
        """How many entries that is."""
        counts = ManifestReader(manifest).counts()
        chosen = [each for each in counts if each.reason in self.reasons and (not types or each.kind.table in types)]
        return sum(each.objects - (0 if self.accepted else each.accepted) for each in chosen)


def copy_pending(
    context: Context,
    manifest: Manifest,
    options: CopyOptions,
    types: tuple[str, ...] = (),
    again: _Again | None = None,
) -> CopyProgress:
    """Copy with a manifest that is open already; `again`: also what has failed or was skipped.

    Raises: as `copy`.
    """
    config = context.config
    context.require_plan(manifest)
    queue = WorkQueue(manifest, types, options.order)
    private = _Again((Reason.PRIVATE,)) if config.copy.private_objects == "copy" else None  # kept back until now
    wanted = [each for each in (again, private) if each and each.waiting(manifest, types)]
    if not queue.pending() and not wanted:
        return CopyProgress(total=0)
    return_large_blocks()
    some_arrived = ManifestReader(manifest).any_done()
    with (
        stores_to_write(context, manifest, options, some_arrived=some_arrived) as (source, destination),
        ExitStack() as stack,
    ):
        _require_source_disks(source, manifest, types, wanted)
        for each in wanted:  # only now, as both stores can be used
            reopen(manifest, types, each.reasons, accepted=each.accepted)
        warn_of_little_room(destination, manifest)
        note_own_settings(config, manifest)
        writing = replace(transfer_options(config), one_bucket=in_one_bucket(manifest), parts_at_once=options.workers)
        memory, notes = MemoryBudget(config.copy.memory), AccessNotes()
        transfer = stack.enter_context(closing(Transfer(source, destination, writing, memory, notes.add)))
        transfer.uploads.take_over(queue.noted_uploads())
        copier = Copier(
            queue,
            WorkerPool(transfer.steps, options.workers, context.stop, CurlMultiplexer),
            options,
            context.stop,
            context.listener,
            limits=lambda: _endpoint_states(source, destination),
            notes=notes,
            uploads=transfer.uploads,
            trust=transfer.trust,
            still_gives=partial(still_gives, source, manifest, config.source.key_prefix),
        )
        stack.callback(gc.unfreeze)  # another run may follow in this process
        gc.freeze()  # what is here now stays to the end: the collector need not scan it again
        progress = copier.run()
        progress.finding = transfer.finding
        return progress


def _require_source_disks(
    source: StoreSession, manifest: Manifest, types: tuple[str, ...], again: Sequence[_Again]
) -> None:
    """Check that no disk is missing that a link of the source leads to: all that is to be copied from there would fail.

    Raises: StoreUnusable.
    """
    if isinstance(source.store, FilesystemStore):
        reasons = {reason for each in again for reason in each.reasons}
        source.store.require_files_behind_links(
            folder_of(each.kind)
            for each in ManifestReader(manifest).counts()
            if (each.state is EntryState.PENDING or each.reason in reasons) and (not types or each.kind.table in types)
        )


def warn_of_little_room(destination: StoreSession, manifest: Manifest) -> None:
    """Warn before the copy if what is pending does not fit on a disk, as far as sizes are known."""
    if not isinstance(destination.store, FilesystemStore):
        return
    pending = pending_by_folder(ManifestReader(manifest).counts())
    try:
        rooms = destination.store.disks(pending)
    except (ObjectError, StoreUnusable) as error:  # no reason to stop: this run may write nothing to that folder
        _log.warning("%s", error.message)
        return
    for name, room, size_bytes in rooms:
        if size_bytes > room:
            _room_log.warning(
                "%s",
                tr(
                    "the {store} has room for {room}, but {pending} are pending: copying will stop when it is full",
                    store=name,
                    room=human_bytes(room),
                    pending=human_bytes(size_bytes),
                ),
            )


def _endpoint_states(source: StoreSession, destination: StoreSession) -> tuple[EndpointState, ...]:
    """Rates and pauses of both endpoints, which may be one."""
    by_name = {"source": source, "destination": destination}
    if source.limiter is destination.limiter:
        by_name = {"store": source}
    states = []
    for name, store_session in by_name.items():
        state, downtime = store_session.limiter.state(), store_session.downtime
        outage = downtime.outage if downtime else None
        states.append(EndpointState(name, state.rate, state.paused_seconds, state.throttles, outage))
    return tuple(states)


def refetch(context: Context, options: RefetchOptions, *, source_gone: bool = False) -> RefetchResult:
    """Fetch again what the source has lost; unless `options.apply`, only count what could be fetched.

    `source_gone`: the source is another store than the destination, even if it cannot be asked any more.
    Raises: Interrupted when asked to stop; DatabaseError; StoreUnusable.
    """
    from mastosync.refetching import Refetcher, RefetchTools
    from mastosync.store.filesystem.staging import StagingFolder
    from mastosync.store.http.fetcher import CurlOriginFetcher
    from mastosync.store.media_types import is_as_named

    config, stop = context.config, context.stop
    with context.writing_planned("refetch") as manifest, ExitStack() as stack:
        staging = stack.enter_context(StagingFolder())
        pace = CopyOptions(workers=options.workers, rate=config.copy.rate)
        here = there = StoreSession(staging.store, EndpointLimiter(stop), retry_policy(config), stop)
        if options.apply:  # a dry run asks nobody but the database
            (there,) = stack.enter_context(
                stores_to_write(context, manifest, pace, ("destination",), source_gone=source_gone)
            )
            note_own_settings(config, manifest)
        prefix = config.destination.key_prefix
        writing = replace(
            transfer_options(config),
            source_prefix=prefix,
            source_tells_access=False,  # modes of what is on its way say nothing
            parts_at_once=options.workers,
            source_bucket=None,
        )
        transfer = stack.enter_context(closing(Transfer(here, there, writing, MemoryBudget(config.copy.memory))))

        def fetcher() -> CurlOriginFetcher:
            return CurlOriginFetcher(
                allowed=config.refetch.allow_networks,
                through_proxies=config.refetch.use_proxies,
                stopped=lambda: stop.requested,
            )

        tools = RefetchTools(context.files_now, fetcher, is_as_named, staging.store, staging.holding, transfer, prefix)
        missing = ManifestReader(manifest).iter_failures(Reason.MISSING, options.types)
        if options.apply and config.refetch.allow_networks:
            named = ", ".join(map(str, config.refetch.allow_networks))
            _log.warning("addresses in %s are connected to, as [refetch] allow_networks says", named)
        return Refetcher(manifest, tools, options, stop, context.listener).run(missing)


def apply_settings(context: Context, options: ApplyOptions, rate: int | None = None) -> ApplyResult:
    """Make the destination store again the objects that have other settings than those of the configuration.

    `rate`: requests a second. Raises: UsageError if the destination is a disk; Interrupted when asked to stop;
    StoreUnusable.
    """
    from mastosync.applying.applier import Applier, ApplyResult
    from mastosync.applying.one_object import ObjectApplier
    from mastosync.applying.rewrite import InPlaceRewriter, opens
    from mastosync.checking.row_check import RowCheck

    config, stop = context.config, context.stop
    with context.writing_planned("apply-settings") as manifest, ExitStack() as stack:
        current = settings_of(config)
        if current is None:
            raise UsageError(
                tr(
                    "the destination is a folder of this machine, and a disk keeps no headers: there is nothing to"
                    " apply"
                ),
                hint=tr("`cache_control`, `acl` and `storage_class` are settings of a bucket"),
            )
        others = other_settings(manifest, current)
        if not others:
            return ApplyResult(current, others, options.dry_run, in_line=True)
        pace = CopyOptions(workers=options.workers, rate=rate or config.copy.rate)
        (store_session,) = stack.enter_context(
            open_stores(context, pace, ("destination",), some_arrived=True)
            if options.dry_run
            else stores_to_write(context, manifest, pace, ("destination",), some_arrived=True)
        )
        in_place = InPlaceRewriter(store_session, transfer_options(config), config.destination.bucket or "")
        row_check = None
        if opens(current, others) and not options.dry_run:
            with context.right_database():  # before anything is looked at
                pass
            row_check = RowCheck(context.files_now)
        object_applier = ObjectApplier(store_session, in_place, current, others, options.dry_run, row_check)
        return Applier(
            manifest, store_session, object_applier, current, others, options, stop, context.listener, CurlMultiplexer
        ).run()
