"""Stores of a configuration, opened: each behind the limiter of its endpoint, and how objects are written to them.

A command that writes to the destination opens it by `stores_to_write`, which checks that it is not the source.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from mastosync.app.context import identity_of_store
from mastosync.config import FilesystemConfig
from mastosync.errors import ConfigError, ObjectError, StoreUnusable, UsageError, passing
from mastosync.language import enumerated, say, tr, trn
from mastosync.manifest import (
    SAME_STORE_REMEDY,
    ObjectSettings,
    Relation,
    note_settings,
    probe_left_behind,
    relation,
    some_done,
)

if TYPE_CHECKING:
    from mastosync.app.context import Context
    from mastosync.config import Config, Role, StoreConfig
    from mastosync.copying.copier import CopyOptions
    from mastosync.copying.transfer import TransferOptions
    from mastosync.manifest import Manifest
    from mastosync.runtime.retry import StoreSession
    from mastosync.runtime.retry_policy import RetryPolicy
    from mastosync.store.base import ObjectStore

_log = logging.getLogger(__name__)  # of which people hear, see `cli.logs`

_ROLES: tuple[Role, ...] = ("source", "destination")


@contextmanager
def open_stores(
    context: Context,
    options: CopyOptions,
    roles: tuple[Role, ...] = _ROLES,
    *,
    some_arrived: bool = False,
    unchecked: tuple[Role, ...] = (),
) -> Iterator[tuple[StoreSession, ...]]:
    """Stores to read from, checked to be usable, each behind its limiter; one endpoint has one limiter.

    A store that is down at the start is an error at once; one that has answered before is waited for.

    `unchecked`: which of them need not be usable.
    `some_arrived`: the destination should hold objects, so that an empty folder there is an unmounted disk.
    """
    from mastosync.runtime.limiter import Bandwidth, EndpointLimiter
    from mastosync.runtime.outages import Downtime
    from mastosync.runtime.retry import StoreSession

    config, stop = context.config, context.stop
    policy = retry_policy(config)
    bandwidth = Bandwidth(options.bwlimit, stop) if options.bwlimit else None
    limiters: dict[str, EndpointLimiter] = {}
    downtimes: dict[str, Downtime] = {}
    with ExitStack() as stack:
        opened = []
        of_both = zip(_ROLES, config.require_stores(), config.published_rates(), strict=True)
        for role, store_config, published in of_both:
            if role not in roles:
                continue
            store = open_store(store_config, role, options.workers + 1, holds_objects=some_arrived)
            stack.callback(store.close)
            limiter = limiters.setdefault(store.endpoint, EndpointLimiter(stop, options.rate or published))
            downtime = downtimes.setdefault(store.endpoint, Downtime(limiter, stop, config.copy.outage_patience))
            store_session = StoreSession(store, limiter, policy, stop, bandwidth, downtime)
            if role not in unchecked:
                _require_usable(store_session, config, role)
            opened.append(store_session)
        yield tuple(opened)


@contextmanager
def stores_to_write(
    context: Context,
    manifest: Manifest,
    options: CopyOptions,
    roles: tuple[Role, ...] = _ROLES,
    *,
    some_arrived: bool = False,
    removing: bool = False,
    source_gone: bool = False,
) -> Iterator[tuple[StoreSession, ...]]:
    """As `open_stores`, for commands that write to the destination or remove objects there: both stores are not one.

    That is probed once for each manifest, and again before anything is removed (`removing`). `source_gone`: the user
    says that the source is another store, where it cannot be asked any more.
    A folder that has nothing of what was copied there is refused: see `require_folder`.
    Raises: ConfigError if they are one; UsageError and StoreUnusable if nothing may be removed, or nobody can tell.
    """
    if not removing and _is_settled(manifest):
        with open_stores(context, options, roles, some_arrived=some_arrived) as opened:
            require_folder(context.config, manifest, opened[-1])
            yield opened
        return
    needless: tuple[Role, ...] = () if "source" in roles else ("source",)
    with open_stores(context, options, some_arrived=some_arrived, unchecked=needless) as (source, destination):
        require_folder(context.config, manifest, destination)
        _require_two(
            context.config,
            manifest,
            source,
            destination,
            removing=removing,
            source_gone=source_gone,
            checked=not needless,
        )
        both: dict[Role, StoreSession] = {"source": source, "destination": destination}
        yield tuple(both[role] for role in both if role in roles)


def look_if_unknown(context: Context, manifest: Manifest, options: CopyOptions, *, some_arrived: bool) -> None:
    """Probe whether both stores are one, after a copy that had nothing to write: `cutover` and `report` need to know.

    A probe without a result is repeated: the key may have got more rights since.
    Raises: ConfigError if they are one; StoreUnusable; Interrupted.
    """
    if not _is_settled(manifest) or relation(manifest) is Relation.UNKNOWN:
        with open_stores(context, options, some_arrived=some_arrived) as (source, destination):
            _require_two(context.config, manifest, source, destination, removing=False, source_gone=False, checked=True)


def require_folder(config: Config, manifest: Manifest, destination: StoreSession) -> None:
    """Check a folder for what was copied there. A link may lead to a disk of its own, which is looked at by itself.

    Raises: StoreUnusable if there is nothing of it; Interrupted.
    """
    if config.destination_folder.path:
        from mastosync.copying.same_store import require_arrived
        from mastosync.mastodon.paperclip import canonical_key
        from mastosync.runtime.retry import RetryingStore
        from mastosync.store.filesystem import FilesystemStore

        keys = [canonical_key(each.entry, "") for each in some_done(manifest)]  # a disk has no key prefix
        store = destination.store
        assert isinstance(store, FilesystemStore)  # noqa: S101 - by the configuration
        for name, there in store.by_disk(keys).items():
            require_arrived(name, there, RetryingStore(destination).head)


def _is_settled(manifest: Manifest) -> bool:
    """Whether the stores were probed, and the probe object was removed."""
    return relation(manifest) is not None and not probe_left_behind(manifest)


def _require_two(
    config: Config,
    manifest: Manifest,
    source: StoreSession,
    destination: StoreSession,
    *,
    removing: bool,
    source_gone: bool,
    checked: bool,
) -> None:
    """Probe the stores themselves. `checked`: the source is known to be usable.

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
            hint=say(SAME_STORE_REMEDY),
        )
    if found is Relation.ONE_BUCKET and removing:
        raise nothing_removed()
    if found is Relation.UNKNOWN:
        problem = tr(
            "the {source} does not say whether an object is missing, so mastosync cannot find out whether the "
            "{destination} is another store",
            source=source.store.name,
            destination=destination.store.name,
        )
        remedy = tr("allow the key of the source to list the bucket (s3:ListBucket)")
        if removing and not source_gone:
            raise StoreUnusable(tr("nothing is removed: {said}", said=problem), hint=_or_gone(remedy))
        _log.warning(
            "%s: %s", problem, tr("because of --source-gone, it counts as another store") if source_gone else remedy
        )


def _or_gone(remedy: str) -> str:
    """What to do about a source that does not answer."""
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


def open_store(config: StoreConfig, role: Role, connections: int, *, holds_objects: bool = False) -> ObjectStore:
    """The store that a configuration names. `connections`: threads that will use it at once.

    Raises: StoreUnusable if no client can be made of the configuration.
    """
    if isinstance(config, FilesystemConfig):
        from mastosync.mastodon.catalog import TOP_FOLDERS
        from mastosync.store.filesystem import FilesystemStore

        return FilesystemStore(config, role=role, holds_objects=holds_objects, top_folders=TOP_FOLDERS)
    from mastosync.store.s3.curl_store import CurlStore

    return CurlStore(config, role=role, connections=connections)


def retry_policy(config: Config) -> RetryPolicy:
    """How often and how long requests are repeated."""
    from mastosync.runtime.retry_policy import RetryPolicy

    return RetryPolicy(config.copy.max_attempts, config.copy.throttle_budget_seconds)


def transfer_options(config: Config) -> TransferOptions:
    """How objects are written."""
    from mastosync.copying.acl import AclMode
    from mastosync.copying.digests import DigestMode
    from mastosync.copying.transfer import WHOLE_BYTES, TransferOptions

    is_streamed = not (config.source_folder.path or config.destination_folder.path)
    source, destination, copy = config.source, config.destination, config.copy
    return TransferOptions(
        source_prefix=source.key_prefix,
        destination_prefix=destination.key_prefix,
        source_tells_access=bool(config.source_folder.path),
        whole_bytes=min(copy.multipart_threshold, WHOLE_BYTES),
        multipart_threshold=copy.multipart_threshold if is_streamed else min(copy.multipart_threshold, WHOLE_BYTES),
        part_size=max(copy.part_size, destination.known.least_part_size),
        least_part_size=destination.known.least_part_size,
        parts_at_most=destination.known.parts_at_most,
        acl=AclMode(destination.acl),
        acl_taken=True if config.destination_folder.path else destination.known.takes_acl,
        serves_strangers=destination.known.reads_for_anybody,
        digest=DigestMode(copy.digest),
        copy_private_without_acl=copy.private_objects == "copy",
        cache_control=destination.cache_control or None,
        storage_class=destination.storage_class,
        source_bucket=source.bucket if copies_by_itself(config) else None,
    )


def settings_of(config: Config) -> ObjectSettings | None:
    """The settings that objects get at the destination, as the manifest records them; None: a disk, or not known."""
    destination = config.destination
    if config.destination_folder.path or not destination.bucket:
        return None
    acl = destination.acl if destination.acl != "public-read" else "auto"  # which is the same for each row
    if destination.acl == "auto" and destination.known.takes_acl is False:
        acl = "none"
    return ObjectSettings(destination.cache_control or None, acl, destination.storage_class)


def note_own_settings(config: Config, manifest: Manifest) -> None:
    """Record the settings that objects get from now on, before any is written. Raises: ManifestError."""
    settings = settings_of(config)
    if settings is not None:
        note_settings(manifest, settings)


def copies_by_itself(config: Config) -> bool:
    """Whether the store may copy by itself: both are reached at one endpoint with one key."""
    if config.copy.server_side == "never" or config.source_folder.path or config.destination_folder.path:
        return False
    source, destination = config.source, config.destination
    same_endpoint = identity_of_store(source).place.service == identity_of_store(destination).place.service
    return same_endpoint and source.access_key == destination.access_key


def _require_usable(store_session: StoreSession, config: Config, role: Role) -> None:
    """Raises: StoreUnusable, also for what kept failing in a way that may pass."""
    from mastosync.runtime.retry import RetryingStore

    try:
        RetryingStore(store_session).check()
    except ObjectError as error:
        unusable = StoreUnusable(error.message, hint=error.hint or tr("try again later"))
        raise passing(unusable, may_pass=error.transient) from error
    except StoreUnusable as error:
        if error.refuses_keys and (cause := of_changed_file(config, role)):
            changed = StoreUnusable(error.message, hint=f"{error.hint}; {cause}" if error.hint else cause)
            raise passing(changed, may_pass=error.may_pass) from error
        raise


def of_changed_file(config: Config, role: Role) -> str:
    """What may have happened to the keys of a store that refuses them.

    Empty: they are in no file of Mastodon's, or `pin-secrets` has kept them as they were.
    """
    from mastosync.app.files import is_pinned
    from mastosync.app.mastodon_settings import has_one_key

    names = [each.variable for each in config.referred if each.section == f"s3.{role}"]
    if not names or is_pinned(config):
        return ""
    if role == "source" and has_one_key(config):
        return trn(
            "{names} in {file} is the key of the destination now. Write that of the old store under [s3.source] in"
            " the configuration",
            "{names} in {file} are the keys of the destination now. Write those of the old store under [s3.source] in"
            " the configuration",
            len(names),
            names=enumerated(names),
            file=config.env.file,
        )
    return trn(
        "the key is {names} in {file}. If that file was changed for the switch, write the old one under [s3.{role}]"
        " in the configuration",
        "the keys are {names} in {file}. If that file was changed for the switch, write the old ones under [s3.{role}]"
        " in the configuration",
        len(names),
        names=enumerated(names),
        file=config.env.file,
        role=role,
    )
