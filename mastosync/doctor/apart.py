"""Whether source and destination are two stores: what was written at the one is looked for at the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from mastosync.copying.same_store import ProbeKeys, relation_seen
from mastosync.doctor.access import STORE_ERRORS
from mastosync.doctor.findings import Chart, Finding
from mastosync.doctor.patience import Patience
from mastosync.doctor.probes import DATA
from mastosync.errors import ConfigError
from mastosync.language import tr
from mastosync.manifest import Relation
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import ObjectStore


@dataclass(frozen=True, slots=True)
class OtherStore:
    """The source, as the destination's checks ask it. Opening it may raise ConfigError and StoreUnusable."""

    opened: Callable[[], AbstractContextManager[tuple[ObjectStore, object]]]
    prefix: str
    stop: StopSignal


def check_apart(chart: Chart, ask: Patience, source: OtherStore, name: str, destination_prefix: str) -> Finding:
    """Look at the source for the probe object of this name, which was written under the destination's prefix."""
    keys = ProbeKeys(*(f"{prefix}/{name}".removeprefix("/") for prefix in (destination_prefix, source.prefix)))
    try:
        with source.opened() as (store, _):
            found = relation_seen(keys, DATA, lambda key, size: ask(store.read, key, size), source.stop.sleep)
    except (ConfigError, *STORE_ERRORS):
        return next(iter(chart.skipped(("apart",), tr("the source cannot be asked"))))
    if found is Relation.ONE:
        said = tr("source and destination are the same store: an object that was written here was found at the source")
        remedy = tr("name another bucket, key_prefix or path for one of them")
        return chart.failure("apart", ConfigError(said, hint=remedy))
    if found is Relation.ONE_BUCKET:
        return chart.ok(
            "apart", tr("source and destination are one bucket with two key prefixes: `prune` removes nothing there")
        )
    if found is Relation.UNKNOWN:
        return chart.warning(
            "apart",
            tr("the source does not say whether an object is missing, so this may be the same store"),
            tr("allow the key of the source to list the bucket (s3:ListBucket)"),
        )
    return chart.ok("apart", tr("an object that was written here is not at the source: they are two stores"))
