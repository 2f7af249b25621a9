"""Fetching again what the source has lost: database, servers of others and destination wired together."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING

from mastosync.app.apart import gates_to_write
from mastosync.app.stores import note_own_settings, retry_policy, transfer_options
from mastosync.engine.copier import CopyOptions
from mastosync.engine.limiter import EndpointLimiter
from mastosync.engine.memory import MemoryBudget
from mastosync.engine.refetcher import Place, Refetcher, Refetching, RefetchOptions, Ways
from mastosync.engine.retry import Gate
from mastosync.engine.transfer import Transfer
from mastosync.manifest import ManifestReport
from mastosync.mastodon.catalog import spec_of
from mastosync.model import Reason, Record, RemoteFile
from mastosync.store.curl.origin import CurlOriginFetcher
from mastosync.store.filesystem.landing import Landing
from mastosync.store.media_types import is_as_named

if TYPE_CHECKING:
    from mastosync.config import Config
    from mastosync.engine.stop import StopSignal
    from mastosync.manifest import Manifest
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.progress import ProgressListener

_log = logging.getLogger(__name__)

Databases = Callable[[], AbstractContextManager["MastodonDatabase"]]


def refetch(
    config: Config,
    manifest: Manifest,
    options: RefetchOptions,
    databases: Databases,
    stop: StopSignal,
    listener: ProgressListener,
    *,
    source_gone: bool = False,
) -> Refetching:
    """Fetch again what the source has lost, or tell what could be. See `App.refetch`."""
    with ExitStack() as stack:
        landing = stack.enter_context(Landing())
        pace = CopyOptions(workers=options.workers, rate=config.copy.rate)
        here = there = Gate(landing.store, EndpointLimiter(stop), retry_policy(config), stop)
        if options.apply:  # a dry run asks nobody but the database
            (there,) = stack.enter_context(
                gates_to_write(config, manifest, pace, stop, ("destination",), source_gone=source_gone)
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
            settings = config.refetch
            return CurlOriginFetcher(
                allowed=settings.allow_networks,
                through_proxies=settings.use_proxies,
                stopped=lambda: stop.requested,
            )

        def look_up(records: Sequence[Record]) -> Mapping[Place, RemoteFile]:
            with databases() as database:  # for a moment only: fetching may take hours
                return _remote_files(database, records)

        ways = Ways(look_up, fetcher, is_as_named, landing.store, landing.holding, transfer, prefix)
        missing = ManifestReport(manifest).iter_failures(Reason.MISSING, options.types)
        if options.apply and config.refetch.allow_networks:
            named = ", ".join(map(str, config.refetch.allow_networks))
            _log.warning("addresses in %s are connected to, as [refetch] allow_networks says", named)
        return Refetcher(manifest, ways, options, stop, listener).run(missing)


def _remote_files(database: MastodonDatabase, records: Sequence[Record]) -> dict[Place, RemoteFile]:
    ids: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in records:
        kind = record.entry.kind
        ids[kind.table, kind.attachment].append(record.entry.id)
    return {
        (table, attachment, row_id): found
        for (table, attachment), wanted in ids.items()
        for row_id, found in database.remote_files(spec_of(table, attachment), wanted).items()
    }
