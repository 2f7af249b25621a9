"""Both stores of a configuration: who they are, and each behind its limiter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from mastosync.errors import ConfigError, ObjectError, StoreUnusable
from mastosync.manifest import StoreIdentity, require_local_disk, writer_lock

if TYPE_CHECKING:
    from mastosync.config import Config, S3Config
    from mastosync.engine.copier import CopyOptions
    from mastosync.engine.retry import Gate, RetryPolicy
    from mastosync.engine.stop import StopSignal
    from mastosync.engine.transfer import TransferOptions
    from mastosync.progress import EndpointState

Role = Literal["source", "destination"]

_AWS = "https://s3.amazonaws.com"


@contextmanager
def gates(
    config: Config, options: CopyOptions, stop: StopSignal, roles: tuple[Role, ...] = ("source", "destination")
) -> Iterator[tuple[Gate, ...]]:
    """Stores, found usable, each behind its limiter; one endpoint has one limiter."""
    from mastosync.engine.bandwidth import Bandwidth
    from mastosync.engine.limiter import EndpointLimiter
    from mastosync.engine.retry import Gate
    from mastosync.store.curl import CurlStore

    policy = retry_policy(config)
    bandwidth = Bandwidth(options.bwlimit, stop) if options.bwlimit else None
    limiters: dict[str, EndpointLimiter] = {}
    with ExitStack() as stack:
        opened = []
        of_both = zip(("source", "destination"), config.require_stores(), config.published_rates(), strict=True)
        for role, store_config, published in of_both:
            if role not in roles:
                continue
            store = CurlStore(store_config, role=role, connections=options.workers + 1)
            stack.callback(store.close)
            limiter = limiters.setdefault(store.endpoint, EndpointLimiter(stop, options.rate or published))
            gate = Gate(store, limiter, policy, stop, bandwidth)
            _require_usable(gate)
            opened.append(gate)
        yield tuple(opened)


@contextmanager
def writing(config: Config, manifest_path: Path, command: str) -> Iterator[None]:
    """The writer's lock of a manifest. Raises: ManifestError if somebody else has it, or it is on a network."""
    require_local_disk(manifest_path, allow_network=config.manifest.network_filesystem == "allow")
    with writer_lock(manifest_path.resolve(), command):
        yield


def retry_policy(config: Config) -> RetryPolicy:
    """How much patience requests are given."""
    from mastosync.engine.retry import RetryPolicy

    return RetryPolicy(config.copy.max_attempts, config.copy.throttle_budget_seconds)


def transfer_options(config: Config) -> TransferOptions:
    """How objects are written."""
    from mastosync.engine.acl import AclMode
    from mastosync.engine.transfer import TransferOptions

    source, destination, copy = config.source, config.destination, config.copy
    return TransferOptions(
        source_prefix=source.key_prefix,
        destination_prefix=destination.key_prefix,
        multipart_threshold=copy.multipart_threshold,
        part_size=max(copy.part_size, destination.known.least_part_size),
        parts_at_most=destination.known.parts_at_most,
        acl=AclMode(destination.acl),
        acl_taken=destination.known.takes_acl,
        copy_private_without_acl=copy.private_objects == "copy",
        cache_control=destination.cache_control,
        storage_class=destination.storage_class,
        source_bucket=source.bucket if copy.server_side == "auto" and _one_account(source, destination) else None,
    )


def identities(config: Config) -> tuple[StoreIdentity, StoreIdentity]:
    """Source and destination, as the manifest remembers them. Raises: ConfigError if they are one."""
    source, destination = map(_identity, config.require_stores())
    if source == destination:
        raise ConfigError(
            f"source and destination are the same: {source}",
            hint="name another bucket or key_prefix for one of them",
        )
    return source, destination


def _identity(config: S3Config) -> StoreIdentity:
    """Endpoint and bucket in one spelling, whatever case or slash the configuration has."""
    url = urlsplit(config.endpoint_url or _AWS)
    endpoint = f"{url.scheme}://{url.netloc.lower()}{url.path.rstrip('/')}"
    return StoreIdentity(endpoint, config.bucket or "", config.key_prefix)


def _one_account(source: S3Config, destination: S3Config) -> bool:
    """Whether both are reached at one endpoint with one key: such a store can copy by itself."""
    same_endpoint = _identity(source).endpoint == _identity(destination).endpoint
    return same_endpoint and source.access_key == destination.access_key


def states(source: Gate, destination: Gate) -> tuple[EndpointState, ...]:
    """How fast both endpoints let themselves be asked; they may be one."""
    from mastosync.progress import EndpointState

    limiters = {"source": source.limiter, "destination": destination.limiter}
    if source.limiter is destination.limiter:
        limiters = {"store": source.limiter}
    states = {name: limiter.state() for name, limiter in limiters.items()}
    return tuple(
        EndpointState(name, state.rate, state.paused_seconds, state.throttles) for name, state in states.items()
    )


def _require_usable(gate: Gate) -> None:
    """Raises: StoreUnusable, also for what kept failing in a way that may pass."""
    from mastosync.engine.retry import PatientStore

    try:
        PatientStore(gate).check()
    except ObjectError as error:
        raise StoreUnusable(error.message, hint=error.hint or "try again later") from error
