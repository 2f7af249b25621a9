"""The only place where objects are wired together: each method is what one command does.

What a command does not need is not imported: `status` knows nothing of S3 or PostgreSQL.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from mastosync.engine.lister import ListFilter, iter_listed
from mastosync.engine.status import Status, status_of
from mastosync.engine.stop import StopSignal
from mastosync.errors import ConfigError, ObjectError, StoreUnusable
from mastosync.manifest import (
    Manifest,
    ManifestReport,
    PlanWriter,
    StoreIdentity,
    WorkQueue,
    reopen,
    writer_lock,
)
from mastosync.model import Reason

if TYPE_CHECKING:
    from mastosync.config import Config, S3Config
    from mastosync.engine.copier import CopyOptions
    from mastosync.engine.doctor import DatabaseWay, Finding, StoreWay
    from mastosync.engine.planner import PlanOptions, PlanResult
    from mastosync.engine.retry import Gate
    from mastosync.engine.transfer import TransferOptions
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.progress import CopyProgress, EndpointState, ProgressListener

_AWS = "https://s3.amazonaws.com"
_DOCTOR_CONNECT_SECONDS = 5  # at most: a doctor is to be done within seconds
_DOCTOR_READ_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class App:
    """mastosync with a configuration and a manifest. Every method may raise MastosyncError."""

    config: Config
    manifest_path: Path
    listener: ProgressListener
    stop: StopSignal

    def plan(self, options: PlanOptions, *, dry_run: bool = False) -> PlanResult:
        """Snapshot the database into the manifest, whole or not at all; a dry run only counts."""
        from mastosync.engine.planner import DryRun, Planner

        if dry_run:
            with self._database() as database:
                return Planner(database, options, self.listener).run(DryRun())
        source, destination = self._identities()
        with ExitStack() as stack:
            stack.enter_context(_writing(self.manifest_path, "plan"))
            manifest = stack.enter_context(Manifest.create(self.manifest_path))
            writer = stack.enter_context(PlanWriter.transaction(manifest, source, destination))
            with self._database() as database:
                result = Planner(database, options, self.listener).run(writer)
            total = result.total()
            writer.finish(
                result.snapshot.taken_at,
                {
                    "database": result.snapshot.database,
                    "server_version": result.snapshot.server_version,
                    "snapshot_id": result.snapshot.snapshot_id,
                    **options.as_details(),
                    "seen": total.seen,
                    "added": total.added,
                    "gone": total.gone,
                },
            )
        return result

    def copy(self, options: CopyOptions, types: tuple[str, ...] = ()) -> CopyProgress:
        """Work through what is pending. Raises: Interrupted when asked to stop; StoreUnusable."""
        Manifest.require_file(self.manifest_path)
        with _writing(self.manifest_path, "copy"), Manifest.open(self.manifest_path) as manifest:
            return self._copy(manifest, options, types)

    def retry_failed(
        self, types: tuple[str, ...], reasons: tuple[Reason, ...], options: CopyOptions | None
    ) -> tuple[int, CopyProgress | None]:
        """Put entries back to pending, as `reopen` does; with options, copy what is pending of those types.

        Returns: how many were put back, and what the copy did.
        """
        Manifest.require_file(self.manifest_path)
        with _writing(self.manifest_path, "retry-failed"), Manifest.open(self.manifest_path) as manifest:
            WorkQueue(manifest).require_plan(*self._identities())
            reopened = reopen(manifest, types, reasons)
            if options is None or not reopened:
                return reopened, None
            return reopened, self._copy(manifest, options, types)

    def status(self) -> Status:
        """Where the migration stands."""
        with Manifest.open(self.manifest_path) as manifest:
            manifest.require_plan()
            return status_of(ManifestReport(manifest))

    def iter_listed(self, chosen: ListFilter) -> Iterator[dict[str, Any]]:
        """Entries as flat dictionaries."""
        with Manifest.open(self.manifest_path) as manifest:
            manifest.require_plan()
            yield from iter_listed(ManifestReport(manifest), chosen)

    def doctor(self) -> Iterator[Finding]:
        """Look at everything that can fail before it does. Raises: Interrupted, when all probes are removed."""
        from mastosync.engine.doctor import Doctor, ManifestPlace

        return Doctor(
            source=self._store_way("source"),
            destination=self._store_way("destination"),
            database=self._database_way(),
            manifest=ManifestPlace(self.manifest_path, self._identities),
            options=self._transfer_options(),
            types=self.config.plan.types,
            workers=self.config.copy.workers,
            stop=self.stop,
        ).run()

    def _store_way(self, role: Literal["source", "destination"]) -> StoreWay:
        from mastosync.engine.doctor import StoreWay
        from mastosync.store.curl import CurlStore
        from mastosync.store.s3.probe import S3Probe

        @contextmanager
        def opened() -> Iterator[tuple[CurlStore, S3Probe]]:
            config = self.config.require_store(role)
            if role == "destination" and self.config.source.bucket:
                self._identities()  # nothing is written where the media lie
            quick = replace(
                config,
                connect_timeout_seconds=min(config.connect_timeout_seconds, _DOCTOR_CONNECT_SECONDS),
                read_timeout_seconds=min(config.read_timeout_seconds, _DOCTOR_READ_SECONDS),
            )
            with (
                closing(CurlStore(quick, role=role, connections=1)) as store,
                closing(S3Probe(quick, role=role)) as probe,
            ):
                yield store, probe

        return StoreWay(opened, getattr(self.config, role).key_prefix)

    def _database_way(self) -> DatabaseWay:
        from mastosync.engine.doctor import DatabaseWay
        from mastosync.mastodon.database import MastodonDatabase
        from mastosync.mastodon.examination import Examination

        tunnel = self.config.tunnel

        @contextmanager
        def connect(via: tuple[str, int] | None) -> Iterator[Examination]:
            config = self.config.require_database()
            seconds = min(config.connect_timeout_seconds, _DOCTOR_CONNECT_SECONDS)
            with MastodonDatabase(replace(config, connect_timeout_seconds=seconds), via) as database:
                yield Examination(database)

        gateway = f"the SSH server {tunnel.ssh_host}:{tunnel.ssh_port}" if tunnel.enabled else ""
        return DatabaseWay(gateway, self._tunnel, connect)

    def _copy(self, manifest: Manifest, options: CopyOptions, types: tuple[str, ...]) -> CopyProgress:
        from mastosync.engine.copier import Copier
        from mastosync.engine.crew import Crew
        from mastosync.engine.memory import MemoryBudget, return_large_blocks
        from mastosync.engine.transfer import Transfer
        from mastosync.progress import CopyProgress
        from mastosync.store.curl import CurlMultiplexer

        queue = WorkQueue(manifest, types)
        queue.require_plan(*self._identities())
        if self.config.copy.private_objects == "copy":
            reopen(manifest, types, (Reason.PRIVATE,))  # kept back before that was decided
        if not queue.pending():
            return CopyProgress(total=0)
        return_large_blocks()
        with self._gates(options) as (source, destination), ExitStack() as stack:
            writing = replace(self._transfer_options(), parts_at_once=options.workers)
            transfer = stack.enter_context(
                closing(Transfer(source, destination, writing, MemoryBudget(self.config.copy.memory)))
            )
            copier = Copier(
                queue,
                Crew(transfer.steps, options.workers, self.stop, CurlMultiplexer),
                options,
                self.stop,
                self.listener,
                limits=lambda: _states(source, destination),
            )
            gc.freeze()  # what is here now stays to the end: the collector need not look through it again and again
            progress = copier.run()
            progress.finding = transfer.finding
            return progress

    @contextmanager
    def _gates(self, options: CopyOptions) -> Iterator[tuple[Gate, Gate]]:
        """Both stores, found usable, each behind its limiter; one endpoint has one limiter."""
        from mastosync.engine.bandwidth import Bandwidth
        from mastosync.engine.limiter import EndpointLimiter
        from mastosync.engine.retry import Gate, RetryPolicy
        from mastosync.store.curl import CurlStore

        copy = self.config.copy
        policy = RetryPolicy(copy.max_attempts, copy.throttle_budget_seconds)
        bandwidth = Bandwidth(options.bwlimit, self.stop) if options.bwlimit else None
        limiters: dict[str, EndpointLimiter] = {}
        with ExitStack() as stack:
            gates = []
            of_both = zip(("source", "destination"), self._stores(), self.config.published_rates(), strict=True)
            for role, config, published in of_both:
                store = CurlStore(config, role=role, connections=options.workers + 1)
                stack.callback(store.close)
                limiter = limiters.setdefault(store.endpoint, EndpointLimiter(self.stop, options.rate or published))
                gate = Gate(store, limiter, policy, self.stop, bandwidth)
                _require_usable(gate)
                gates.append(gate)
            yield gates[0], gates[1]

    def _transfer_options(self) -> TransferOptions:
        from mastosync.engine.acl import AclMode
        from mastosync.engine.transfer import TransferOptions

        source, destination, copy = self.config.source, self.config.destination, self.config.copy
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

    @contextmanager
    def _database(self) -> Iterator[MastodonDatabase]:
        """The database, through its tunnel if there is one; both live as long as the block."""
        from mastosync.mastodon.database import MastodonDatabase

        with self._tunnel() as via, MastodonDatabase(self.config.require_database(), via) as database:
            yield database

    @contextmanager
    def _tunnel(self) -> Iterator[tuple[str, int] | None]:
        """The near end of the tunnel to the database, if there is to be one."""
        from mastosync.mastodon.database import server_address

        config = self.config.require_database()
        if not self.config.tunnel.enabled:
            yield None
            return
        from mastosync.mastodon.tunnel import open_tunnel

        with open_tunnel(self.config.tunnel, *server_address(config)) as via:
            yield via

    def _stores(self) -> tuple[S3Config, S3Config]:
        return self.config.require_stores()

    def _identities(self) -> tuple[StoreIdentity, StoreIdentity]:
        source, destination = map(_identity, self._stores())
        if source == destination:
            raise ConfigError(
                f"source and destination are the same: {source}",
                hint="name another bucket or key_prefix for one of them",
            )
        return source, destination


def _writing(manifest_path: Path, command: str) -> AbstractContextManager[None]:
    return writer_lock(manifest_path.resolve(), command)


def _identity(config: S3Config) -> StoreIdentity:
    """Endpoint and bucket in one spelling, whatever case or slash the configuration has."""
    url = urlsplit(config.endpoint_url or _AWS)
    endpoint = f"{url.scheme}://{url.netloc.lower()}{url.path.rstrip('/')}"
    return StoreIdentity(endpoint, config.bucket or "", config.key_prefix)


def _one_account(source: S3Config, destination: S3Config) -> bool:
    """Whether both are reached at one endpoint with one key: such a store can copy by itself."""
    same_endpoint = _identity(source).endpoint == _identity(destination).endpoint
    return same_endpoint and source.access_key == destination.access_key


def _states(source: Gate, destination: Gate) -> tuple[EndpointState, ...]:
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
