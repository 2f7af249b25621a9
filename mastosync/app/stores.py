"""Both stores of a configuration: who they are, and each behind its limiter."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import product
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mastosync.errors import ConfigError, ObjectError, StoreUnusable, passing
from mastosync.language import deferred, say, tr
from mastosync.manifest import (
    ManifestReport,
    ObjectSettings,
    StoreIdentity,
    note_settings,
    require_local_disk,
    require_same,
    writer_lock,
)
from mastosync.mountinfo import place_on_disk, real_path, same_file
from mastosync.units import human_bytes

if TYPE_CHECKING:
    from mastosync.config import Config, FilesystemConfig, Role, StoreConfig
    from mastosync.copying.copier import CopyOptions
    from mastosync.copying.transfer import TransferOptions
    from mastosync.manifest import Manifest
    from mastosync.progress import EndpointState
    from mastosync.runtime.retry import RetryPolicy, StoreAccess
    from mastosync.runtime.stop import StopSignal
    from mastosync.store.base import ObjectStore

_log = logging.getLogger(__name__)
_room_log = logging.getLogger(f"{__name__}.room")  # of which people hear, see `cli.logs`

_ROLES: tuple[Role, ...] = ("source", "destination")

_APART = deferred("choose a destination folder outside the source: mastosync never writes to the source")
_AWS = "https://s3.amazonaws.com"


@contextmanager
def open_stores(
    config: Config,
    options: CopyOptions,
    stop: StopSignal,
    roles: tuple[Role, ...] = ("source", "destination"),
    *,
    some_arrived: bool = False,
    unchecked: tuple[Role, ...] = (),
) -> Iterator[tuple[StoreAccess, ...]]:
    """Stores, found usable, each behind its limiter; one endpoint has one limiter. For whoever only reads.

    One that is down from the start is told at once; what has answered once is waited for.

    `unchecked`: which of them need not be usable.
    `some_arrived`: the destination should hold objects, so that an empty folder there is an unmounted disk.
    """
    from mastosync.runtime.limiter import Bandwidth, EndpointLimiter
    from mastosync.runtime.outages import Downtime
    from mastosync.runtime.retry import StoreAccess

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
            store_access = StoreAccess(store, limiter, policy, stop, bandwidth, downtime)
            if role not in unchecked:
                _require_usable(store_access, config, role)
            opened.append(store_access)
        yield tuple(opened)


def open_store(config: StoreConfig, role: Role, connections: int, *, holds_objects: bool = False) -> ObjectStore:
    """The store that a configuration names. `connections`: threads that will use it at once.

    Raises: StoreUnusable if no client can be made of the configuration.
    """
    from mastosync.config import FilesystemConfig

    if isinstance(config, FilesystemConfig):
        from mastosync.store.filesystem import FilesystemStore

        return FilesystemStore(config, role=role, holds_objects=holds_objects)
    from mastosync.store.s3.curl_store import CurlStore

    return CurlStore(config, role=role, connections=connections)


def warn_of_little_room(destination: StoreAccess, manifest: Manifest) -> None:
    """Say before hours have gone by if what is pending does not fit on a disk, as far as sizes are known."""
    from mastosync.status import pending_by_folder
    from mastosync.store.filesystem import FilesystemStore

    if not isinstance(destination.store, FilesystemStore):
        return
    pending = pending_by_folder(ManifestReport(manifest).counts())
    try:
        rooms = destination.store.disks(pending)
    except ObjectError as error:  # which passes: what does not fit will be told when it is full
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


@contextmanager
def writing(config: Config, manifest_path: Path, command: str) -> Iterator[None]:
    """The writer's lock of a manifest. Raises: ManifestError if somebody else has it, or it is on a network."""
    require_local_disk(manifest_path, allow_network=config.manifest.network_filesystem == "allow")
    with writer_lock(real_path(manifest_path), command):
        yield


def retry_policy(config: Config) -> RetryPolicy:
    """How much patience requests are given."""
    from mastosync.runtime.retry import RetryPolicy

    return RetryPolicy(config.copy.max_attempts, config.copy.throttle_budget_seconds)


def transfer_options(config: Config) -> TransferOptions:
    """How objects are written."""
    from mastosync.copying.acl import AclMode
    from mastosync.copying.transfer import TransferOptions

    source, destination, copy = config.source, config.destination, config.copy
    return TransferOptions(
        source_prefix=source.key_prefix,
        destination_prefix=destination.key_prefix,
        source_tells_access=bool(config.source_folder.path),
        multipart_threshold=copy.multipart_threshold,
        part_size=max(copy.part_size, destination.known.least_part_size),
        parts_at_most=destination.known.parts_at_most,
        acl=AclMode(destination.acl),
        acl_taken=True if config.destination_folder.path else destination.known.takes_acl,
        serves_strangers=destination.known.reads_for_anybody,
        copy_private_without_acl=copy.private_objects == "copy",
        cache_control=destination.cache_control or None,
        storage_class=destination.storage_class,
        source_bucket=source.bucket if copies_by_itself(config) else None,
    )


def settings_of(config: Config) -> ObjectSettings | None:
    """What the destination gives its objects, as the manifest remembers it; None: it is a disk, or not known."""
    destination = config.destination
    if config.destination_folder.path or not destination.bucket:
        return None
    acl = destination.acl if destination.acl != "public-read" else "auto"  # which is the same for each row
    if destination.acl == "auto" and destination.known.takes_acl is False:
        acl = "none"
    return ObjectSettings(destination.cache_control or None, acl, destination.storage_class)


def note_own_settings(config: Config, manifest: Manifest) -> None:
    """Note what objects are given from now on, before any is written. Raises: ManifestError."""
    settings = settings_of(config)
    if settings is not None:
        note_settings(manifest, settings)


def identities(config: Config) -> tuple[StoreIdentity, StoreIdentity]:
    """Source and destination, as the manifest remembers them.

    Raises: ConfigError if they are one; StoreUnusable if this machine is too short of descriptors or memory to tell.
    """
    stores = config.require_stores()
    source, destination = map(_identity, stores)
    if source.same_store(destination) and source.same_port(destination):  # else a probe tells
        raise ConfigError(
            tr("source and destination are the same: {source}", source=source)
            if str(source) == str(destination)
            else tr(
                "source and destination are the same: {source} is {destination}", source=source, destination=destination
            ),
            hint=tr("name another bucket, key_prefix or path for one of them"),
        )
    _require_apart(*stores)
    return source, destination


def require_configured(config: Config, manifest: Manifest) -> None:
    """Hold the stores that the configuration names against those of the manifest. It may name none.

    Raises: ManifestError if they are others.
    """
    from mastosync.config import FilesystemConfig

    source, destination = (
        _identity(store) if isinstance(store, FilesystemConfig) or store.bucket else None
        for store in (config.store("source"), config.store("destination"))
    )
    require_same(manifest, source, destination)


def _identity(config: StoreConfig) -> StoreIdentity:
    """A store as its manifest remembers it, and shows it."""
    from mastosync.config import FilesystemConfig

    if isinstance(config, FilesystemConfig):
        return StoreIdentity.of_folder(real_path(config.folder))
    url = urlsplit(config.endpoint_url or _AWS)
    endpoint = f"{url.scheme}://{url.netloc.lower()}{url.path.rstrip('/')}"
    return StoreIdentity(endpoint, config.bucket or "", config.key_prefix)


def _require_apart(source: StoreConfig, destination: StoreConfig) -> None:
    """Nothing is written below the source, or where it leads.

    Raises: ConfigError if one folder lies in the other, or is it; StoreUnusable if this machine is too short of
    descriptors or memory to tell.
    """
    from mastosync.config import FilesystemConfig

    if not (isinstance(source, FilesystemConfig) and isinstance(destination, FilesystemConfig)):
        return
    here, there = real_path(source.folder), real_path(destination.folder)
    if same_file(here, there) or _overlap(here, there) or _overlap(*map(place_on_disk, (here, there))):
        raise ConfigError(
            tr(
                "the folders of source and destination are the same, or one is inside the other: {here} and {there}",
                here=here,
                there=there,
            ),
            hint=say(_APART),
        )
    leading_here = [(way, place_on_disk(way)) for way in (here, *_ways_out(source, "source"))]
    leading_there = [(way, place_on_disk(way)) for way in (there, *_ways_out(destination, "destination"))]
    for (way, place), (other, place_of_other) in product(leading_here, leading_there):
        if _overlap(place, place_of_other):
            raise ConfigError(
                tr("{way}, in the folder of the source, leads to the destination: {there}", way=way, there=other)
                if other == there
                else tr("{way}, in the folder of the destination, leads to the source: {there}", way=other, there=way),
                hint=say(_APART),
            )


def _ways_out(config: FilesystemConfig, role: Role) -> list[Path]:
    """Links below a folder, and mounts below a source: what is behind them lies elsewhere. Raises: StoreUnusable."""
    from mastosync.store.filesystem import FilesystemProbe

    with closing(FilesystemProbe(config, role=role)) as probe:
        try:
            return [config.folder / way for way in probe.ways_out()]
        except ObjectError as error:
            raise StoreUnusable(error.message, hint=error.hint) from error


def _overlap(one: PurePath, other: PurePath) -> bool:
    """Whether they are one, or one lies in the other."""
    return one.is_relative_to(other) or other.is_relative_to(one)


def copies_by_itself(config: Config) -> bool:
    """Whether both are reached at one endpoint with one key, so that the store can copy, and it may."""
    if config.copy.server_side == "never" or config.source_folder.path or config.destination_folder.path:
        return False
    source, destination = config.source, config.destination
    same_endpoint = _identity(source).place.service == _identity(destination).place.service
    return same_endpoint and source.access_key == destination.access_key


def states(source: StoreAccess, destination: StoreAccess) -> tuple[EndpointState, ...]:
    """How fast both endpoints let themselves be asked; they may be one."""
    open_stores = {"source": source, "destination": destination}
    if source.limiter is destination.limiter:
        open_stores = {"store": source}
    return tuple(_state(name, store_access) for name, store_access in open_stores.items())


def _state(name: str, store_access: StoreAccess) -> EndpointState:
    from mastosync.progress import EndpointState

    state, outage = store_access.limiter.state(), store_access.downtime.outage if store_access.downtime else None
    return EndpointState(name, state.rate, state.paused_seconds, state.throttles, outage)


def _require_usable(store_access: StoreAccess, config: Config, role: Role) -> None:
    """Raises: StoreUnusable, also for what kept failing in a way that may pass."""
    from mastosync.runtime.retry import RetryingStore

    try:
        RetryingStore(store_access).check()
    except ObjectError as error:
        unusable = StoreUnusable(error.message, hint=error.hint or tr("try again later"))
        raise passing(unusable, may_pass=error.transient) from error
    except StoreUnusable as error:
        if told := of_changed_file(config, role):
            changed = StoreUnusable(error.message, hint=f"{error.hint}; {told}" if error.hint else told)
            raise passing(changed, may_pass=error.may_pass) from error
        raise


def of_changed_file(config: Config, role: Role) -> str:
    """What may have happened to the keys of a store that refuses them; empty: they stand where nobody else writes."""
    names = [each.variable for each in config.referred if each.section == f"s3.{role}"]
    if not names:
        return ""
    if role == "source" and config.source.access_key == config.destination.access_key:
        return tr(
            "{names} in {file} are the keys of the destination now. Write those of the old store under [s3.source] in"
            " the configuration",
            names=", ".join(names),
            file=config.env.file,
        )
    return tr(
        "the keys are {names} in {file}. If that file was changed for the switch, write the old ones under [s3.{role}]"
        " in the configuration",
        names=", ".join(names),
        file=config.env.file,
        role=role,
    )
