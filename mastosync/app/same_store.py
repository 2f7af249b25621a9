"""Whoever writes to the destination passes here: it is no store that the media lie in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mastosync.app.stores import open_stores
from mastosync.errors import ConfigError, StoreUnusable, UsageError
from mastosync.language import tr
from mastosync.manifest import Relation, probe_left_behind, relation

if TYPE_CHECKING:
    from mastosync.config import Config, Role
    from mastosync.copying.copier import CopyOptions
    from mastosync.manifest import Manifest
    from mastosync.runtime.retry import StoreAccess
    from mastosync.runtime.stop import StopSignal

_log = logging.getLogger(__name__)


@contextmanager
def stores_to_write(
    config: Config,
    manifest: Manifest,
    options: CopyOptions,
    stop: StopSignal,
    roles: tuple[Role, ...] = ("source", "destination"),
    *,
    some_arrived: bool = False,
    removing: bool = False,
    source_gone: bool = False,
) -> Iterator[tuple[StoreAccess, ...]]:
    """See `open_stores`. For whoever writes to the destination, or removes objects there: the stores are two.

    Once found out, that holds for what this manifest writes; before anything is removed (`removing`) it is looked at
    anew. `source_gone`: the user's word that the source is another store, where it cannot be asked any more.
    Raises: ConfigError if they are one; UsageError and StoreUnusable if nothing may be removed, or nobody can tell.
    """
    if not removing and _is_settled(manifest):
        with open_stores(config, options, stop, roles, some_arrived=some_arrived) as opened:
            yield opened
        return
    needless: tuple[Role, ...] = () if "source" in roles else ("source",)
    with open_stores(config, options, stop, some_arrived=some_arrived, unchecked=needless) as (source, destination):
        _require_two(
            config, manifest, source, destination, removing=removing, source_gone=source_gone, checked=not needless
        )
        both: dict[Role, StoreAccess] = {"source": source, "destination": destination}
        yield tuple(both[role] for role in both if role in roles)


def look_if_unknown(
    config: Config, manifest: Manifest, options: CopyOptions, stop: StopSignal, *, some_arrived: bool
) -> None:
    """For a copy that has nothing to write: `cutover` and `report` go by what was found.

    What no look could tell is looked at once more: a key may have been allowed more since.
    Raises: ConfigError if they are one; StoreUnusable; Interrupted.
    """
    if not _is_settled(manifest) or relation(manifest) is Relation.UNKNOWN:
        with open_stores(config, options, stop, some_arrived=some_arrived) as (source, destination):
            _require_two(config, manifest, source, destination, removing=False, source_gone=False, checked=True)


def _is_settled(manifest: Manifest) -> bool:
    """Whether the stores were looked at, and nothing is left of a look."""
    return relation(manifest) is not None and not probe_left_behind(manifest)


def _require_two(
    config: Config,
    manifest: Manifest,
    source: StoreAccess,
    destination: StoreAccess,
    *,
    removing: bool,
    source_gone: bool,
    checked: bool,
) -> None:
    """Look at the stores themselves. `checked`: the source is known to be usable.

    Raises: as `stores_to_write`; Interrupted.
    """
    from mastosync.copying.same_store import SameStoreCheck, SourceSilent

    prefixes = (config.source.key_prefix, config.destination.key_prefix)
    acl = "private" if config.destination_folder.path else None  # objects of S3 are private unless told otherwise
    try:
        found = SameStoreCheck(manifest, source, destination, *prefixes, acl, source_checked=checked).run()
    except SourceSilent as error:
        if not source_gone:
            raise SourceSilent(error.message, hint=_or_gone(error.hint)) from error
        _log.warning("%s; they are taken for two stores, because of --source-gone", error.message)
        return
    if found is Relation.ONE:
        raise ConfigError(
            tr(
                "source and destination are the same store: an object that was written to the {destination} was "
                "found at the {source}",
                destination=destination.store.name,
                source=source.store.name,
            ),
            hint=tr("name another bucket, key_prefix or path for one of them"),
        )
    if found is Relation.ONE_BUCKET and removing:
        raise nothing_removed()
    if found is Relation.UNKNOWN:
        said = tr(
            "the {source} does not say whether an object is missing, so mastosync cannot find out whether the "
            "{destination} is another store",
            source=source.store.name,
            destination=destination.store.name,
        )
        remedy = tr("allow the key of the source to list the bucket (s3:ListBucket)")
        if removing and not source_gone:
            raise StoreUnusable(tr("nothing is removed: {said}", said=said), hint=_or_gone(remedy))
        _log.warning(
            "%s: %s", said, tr("it is taken for another store, because of --source-gone") if source_gone else remedy
        )


def _or_gone(remedy: str) -> str:
    """What to do about a source that does not tell."""
    return tr(
        "{remedy}. If the source is gone for good, and you are sure that it was another store than the "
        "destination, run `prune` or `refetch` with --source-gone",
        remedy=remedy,
    )


def nothing_removed() -> UsageError:
    """Why a prune does nothing where both stores are one bucket."""
    return UsageError(
        tr(
            "nothing is removed, because source and destination are the same bucket: an object there may belong to both"
        ),
        hint=tr("remove by hand the objects that `mastosync ls --state skipped --reason gone` lists"),
    )
