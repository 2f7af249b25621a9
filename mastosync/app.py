"""The only place where objects are wired together: each method is what one command does.

What a command does not need is not imported: `status` knows nothing of S3 or PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
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
    reopen_failed,
    writer_lock,
)
from mastosync.model import Reason

if TYPE_CHECKING:
    from mastosync.config import Config, S3Config
    from mastosync.engine.copier import CopyOptions
    from mastosync.engine.planner import PlanOptions, PlanResult
    from mastosync.engine.retry import Gate
    from mastosync.engine.transfer import TransferOptions
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.progress import CopyProgress, ProgressListener

_AWS = "https://s3.amazonaws.com"
_MEMORY_BYTES = 256 * 1024 * 1024


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
        """Put failed entries back to pending; with options, copy what is pending of those types.

        Returns: how many were put back, and what the copy did.
        """
        Manifest.require_file(self.manifest_path)
        with _writing(self.manifest_path, "retry-failed"), Manifest.open(self.manifest_path) as manifest:
            WorkQueue(manifest).require_plan(*self._identities())
            reopened = reopen_failed(manifest, types, reasons)
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

    def _copy(self, manifest: Manifest, options: CopyOptions, types: tuple[str, ...]) -> CopyProgress:
        from mastosync.engine.copier import Copier
        from mastosync.engine.memory import MemoryBudget, return_large_blocks
        from mastosync.engine.transfer import Transfer
        from mastosync.progress import CopyProgress

        queue = WorkQueue(manifest, types)
        queue.require_plan(*self._identities())
        if not queue.pending():
            return CopyProgress(total=0)
        return_large_blocks()
        with self._gates(options.workers) as (source, destination):
            limiters = {source.limiter, destination.limiter}
            copier = Copier(
                queue,
                Transfer(source, destination, self._transfer_options(), MemoryBudget(_MEMORY_BYTES)),
                options,
                self.stop,
                self.listener,
                throttles=lambda: sum(limiter.state().throttles for limiter in limiters),
            )
            return copier.run()

    @contextmanager
    def _gates(self, workers: int) -> Iterator[tuple[Gate, Gate]]:
        """Both stores, found usable, each behind its limiter; one endpoint has one limiter."""
        from mastosync.engine.limiter import EndpointLimiter
        from mastosync.engine.retry import Gate, RetryPolicy
        from mastosync.store.curl import CurlStore

        copy = self.config.copy
        policy = RetryPolicy(copy.max_attempts, copy.throttle_budget_seconds)
        limiters: dict[str, EndpointLimiter] = {}
        with ExitStack() as stack:
            gates = []
            for role, config in zip(("source", "destination"), self._stores(), strict=True):
                store = CurlStore(config, role=role, connections=workers + 1)
                stack.callback(store.close)
                limiter = limiters.setdefault(store.endpoint, EndpointLimiter(self.stop))
                gate = Gate(store, limiter, policy, self.stop)
                _require_usable(gate)
                gates.append(gate)
            yield gates[0], gates[1]

    def _transfer_options(self) -> TransferOptions:
        from mastosync.engine.acl import AclMode
        from mastosync.engine.transfer import TransferOptions

        source, destination = self._stores()
        copy = self.config.copy
        return TransferOptions(
            source_prefix=source.key_prefix,
            destination_prefix=destination.key_prefix,
            multipart_threshold=copy.multipart_threshold,
            part_size=copy.part_size,
            acl=AclMode(destination.acl),
            copy_private_without_acl=copy.private_objects == "copy",
            cache_control=destination.cache_control,
            storage_class=destination.storage_class,
        )

    @contextmanager
    def _database(self) -> Iterator[MastodonDatabase]:
        """The database, through its tunnel if there is one; both live as long as the block."""
        from mastosync.mastodon.database import MastodonDatabase, server_address

        config = self.config.require_database()
        with ExitStack() as stack:
            via = None
            if self.config.tunnel.enabled:
                from mastosync.mastodon.tunnel import open_tunnel

                via = stack.enter_context(open_tunnel(self.config.tunnel, *server_address(config)))
            yield stack.enter_context(MastodonDatabase(config, via))

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


def _require_usable(gate: Gate) -> None:
    """Raises: StoreUnusable, also for what kept failing in a way that may pass."""
    from mastosync.engine.retry import PatientStore

    try:
        PatientStore(gate).check()
    except ObjectError as error:
        raise StoreUnusable(error.message, hint=error.hint or "try again later") from error
