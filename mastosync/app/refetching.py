"""Fetching again what the source has lost: database, servers of others and destination wired together."""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mastosync.app.mastodon import Databases, files_of, right_database
from mastosync.app.same_store import stores_to_write
from mastosync.app.stores import note_own_settings, retry_policy, transfer_options
from mastosync.copying.copier import CopyOptions
from mastosync.copying.transfer import Transfer
from mastosync.manifest import ManifestReport
from mastosync.model import Reason
from mastosync.refetching import Refetcher, RefetchOptions, RefetchResult, RefetchTools
from mastosync.runtime.limiter import EndpointLimiter
from mastosync.runtime.memory import MemoryBudget
from mastosync.runtime.retry import StoreAccess
from mastosync.store.filesystem.store import StagingFolder
from mastosync.store.http.fetcher import CurlOriginFetcher
from mastosync.store.media_types import is_as_named

if TYPE_CHECKING:
    from mastosync.config import Config
    from mastosync.manifest import Manifest
    from mastosync.progress import ProgressListener
    from mastosync.runtime.stop import StopSignal

_log = logging.getLogger(__name__)


def refetch(
    config: Config,
    manifest: Manifest,
    options: RefetchOptions,
    databases: Databases,
    stop: StopSignal,
    listener: ProgressListener,
    *,
    source_gone: bool = False,
) -> RefetchResult:
    """Fetch again what the source has lost, or tell what could be. See `App.refetch`."""
    with ExitStack() as stack:
        staging = stack.enter_context(StagingFolder())
        pace = CopyOptions(workers=options.workers, rate=config.copy.rate)
        here = there = StoreAccess(staging.store, EndpointLimiter(stop), retry_policy(config), stop)
        if options.apply:  # a dry run asks nobody but the database
            (there,) = stack.enter_context(
                stores_to_write(config, manifest, pace, stop, ("destination",), source_gone=source_gone)
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

        look_up = partial(files_of, partial(right_database, manifest.path, databases))
        tools = RefetchTools(look_up, fetcher, is_as_named, staging.store, staging.holding, transfer, prefix)
        missing = ManifestReport(manifest).iter_failures(Reason.MISSING, options.types)
        if options.apply and config.refetch.allow_networks:
            named = ", ".join(map(str, config.refetch.allow_networks))
            _log.warning("addresses in %s are connected to, as [refetch] allow_networks says", named)
        return Refetcher(manifest, tools, options, stop, listener).run(missing)
