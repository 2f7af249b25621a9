"""Bringing what lies at the destination in line with its settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mastosync.app.mastodon import Databases, files_of, right_database
from mastosync.app.same_store import stores_to_write
from mastosync.app.stores import open_stores, settings_of, transfer_options
from mastosync.applying.applier import Applier, ApplyOptions, ApplyResult
from mastosync.applying.one_object import ObjectApplier
from mastosync.applying.rewrite import InPlaceRewriter, opens
from mastosync.checking.row_check import RowCheck
from mastosync.copying.copier import CopyOptions
from mastosync.errors import UsageError
from mastosync.language import tr
from mastosync.manifest import (
    Manifest,
    other_settings,
)
from mastosync.store.s3.curl import CurlMultiplexer

if TYPE_CHECKING:
    from mastosync.config import Config
    from mastosync.progress import ProgressListener
    from mastosync.runtime.stop import StopSignal


def apply_settings(
    config: Config,
    manifest: Manifest,
    options: ApplyOptions,
    rate: int | None,
    databases: Databases,
    stop: StopSignal,
    listener: ProgressListener,
) -> ApplyResult:
    """See `App.apply_settings`."""
    current = settings_of(config)
    if current is None:
        raise UsageError(
            tr("the destination is a folder of this machine, and a disk keeps no headers: there is nothing to apply"),
            hint=tr("`cache_control`, `acl` and `storage_class` are settings of a bucket"),
        )
    others = other_settings(manifest, current)
    if not others:
        return ApplyResult(current, others, options.dry_run, in_line=True)
    pace = CopyOptions(workers=options.workers, rate=rate or config.copy.rate)
    opened = (
        open_stores(config, pace, stop, ("destination",), some_arrived=True)
        if options.dry_run
        else stores_to_write(config, manifest, pace, stop, ("destination",), some_arrived=True)
    )
    with opened as (store_access,):
        in_place = InPlaceRewriter(store_access, transfer_options(config), config.destination.bucket or "")
        row_check = None
        if opens(current, others) and not options.dry_run:
            right = partial(right_database, manifest.path, databases)
            with right():  # before anything is looked at
                pass
            row_check = RowCheck(partial(files_of, right))
        object_applier = ObjectApplier(store_access, in_place, current, others, options.dry_run, row_check)
        return Applier(
            manifest, store_access, object_applier, current, others, options, stop, listener, CurlMultiplexer
        ).run()
