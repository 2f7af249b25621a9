"""The only place where objects are wired together: each method is what one command does.

What a command does not need is not imported: `status` knows nothing of S3 or PostgreSQL.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mastosync.app.apart import gates_to_write, look_if_unknown
from mastosync.app.stores import identities, states, transfer_options, warn_of_little_room, writing
from mastosync.engine.lister import ListFilter, iter_listed
from mastosync.engine.status import Status, status_of
from mastosync.engine.stop import StopSignal
from mastosync.errors import OutputError
from mastosync.language import tr
from mastosync.manifest import (
    Manifest,
    ManifestReport,
    PlanWriter,
    WorkQueue,
    back_up,
    backup_name,
    in_one_bucket,
    reopen,
    require_room_for,
    take_over,
    warn_of_network,
)
from mastosync.model import Reason

if TYPE_CHECKING:
    from mastosync.app.cutover import CutoverOptions, CutoverReport
    from mastosync.app.following import FollowOptions, FollowResult
    from mastosync.app.reporting import Comparison
    from mastosync.config import Config, Timetable
    from mastosync.engine.adopter import Adoption, AdoptOptions
    from mastosync.engine.copier import CopyOptions
    from mastosync.engine.doctor import DatabaseWay, Finding
    from mastosync.engine.forecast import Outlook
    from mastosync.engine.orphans import OrphanFinder, OrphansResult
    from mastosync.engine.planner import PlanOptions, PlanResult
    from mastosync.engine.pruner import PruneOptions, Pruning
    from mastosync.engine.refetcher import Refetching, RefetchOptions
    from mastosync.engine.report import Report
    from mastosync.engine.rounds import Round
    from mastosync.engine.survey import Survey
    from mastosync.engine.verifier import Verification, VerifyOptions
    from mastosync.manifest import Soundness, StoreIdentity
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.progress import CopyProgress, ProgressListener


@dataclass(frozen=True, slots=True)
class App:
    """mastosync with a configuration and a manifest. Every method may raise MastosyncError."""

    config: Config
    manifest_path: Path
    listener: ProgressListener
    stop: StopSignal

    def plan(self, options: PlanOptions, *, dry_run: bool = False, delta: bool = False) -> PlanResult:
        """Snapshot the database into the manifest, whole or not at all; a dry run only counts.

        `delta`: read only what has changed since the last plan, where that will do.
        """
        from mastosync.app.planning import count

        if dry_run:
            with self._database() as database:
                return count(self.config, database, options, self.listener)
        stores = identities(self.config)
        with writing(self.config, self.manifest_path, "plan"), Manifest.create(self.manifest_path) as manifest:
            return self.plan_into(manifest, stores, options, delta=delta)

    def plan_into(
        self,
        manifest: Manifest,
        stores: tuple[StoreIdentity, StoreIdentity],
        options: PlanOptions,
        *,
        delta: bool,
    ) -> PlanResult:
        """The same, for whoever holds the manifest."""
        from mastosync.app.planning import plan

        with PlanWriter.transaction(manifest, *stores) as writer, self._database() as database:
            return plan(self.config, database, writer, options, self.listener, delta=delta)

    def copy(self, options: CopyOptions, types: tuple[str, ...] = ()) -> CopyProgress:
        """Work through what is pending. Raises: Interrupted when asked to stop; StoreUnusable."""
        with self._held("copy") as manifest:
            progress = self.copy_from(manifest, options, types)
            if not progress.total:
                some_arrived = WorkQueue(manifest).any_done()
                look_if_unknown(self.config, manifest, options, self.stop, some_arrived=some_arrived)
            return progress

    def retry_failed(
        self, types: tuple[str, ...], reasons: tuple[Reason, ...], options: CopyOptions | None
    ) -> tuple[int, CopyProgress | None]:
        """Put entries back to pending, as `reopen` does; with options, copy what is pending of those types.

        Returns: how many were put back, and what the copy did.
        """
        with self._held("retry-failed") as manifest:
            WorkQueue(manifest).require_plan(*identities(self.config))
            reopened = reopen(manifest, types, reasons)
            if options is None or not reopened:
                return reopened, None
            return reopened, self.copy_from(manifest, options, types)

    def follow(self, options: FollowOptions) -> Iterator[Round[FollowResult]]:
        """Plan and copy in rounds, of which each is told when it has ended. Raises: Interrupted when asked to stop."""
        from mastosync.app.following import Following
        from mastosync.engine.rounds import Rounds

        following = Following(self, options)
        return iter(Rounds(following.go_round, options.every_seconds, options.once, self.stop))

    def prune(self, options: PruneOptions, *, source_gone: bool = False) -> Pruning:
        """Remove at the destination what is gone; unless `options.apply`, only tell what that would be.

        `source_gone`: the source is another store, even if it cannot be asked any more.
        Raises: Interrupted when asked to stop; TooMuchGone; StoreUnusable.
        """
        from mastosync.app.following import prune

        with self._planned("prune") as manifest:
            return prune(self, manifest, options, source_gone=source_gone)

    def status(self) -> Status:
        """Where the migration stands."""
        from mastosync.app.forecasting import outlook_of

        with self._read() as manifest:
            manifest.require_plan()
            status = status_of(ManifestReport(manifest))
        if status.surveyed is not None:
            status.outlook = outlook_of(self.config, status.surveyed.survey, measured=status.rate)
        return status

    def outlook(self, survey: Survey, rate: int | None = None, bwlimit: Timetable | None = None) -> Outlook:
        """What a move of what a plan has seen will take; `rate` and `bwlimit` as `copy` has them."""
        from mastosync.app.forecasting import measured_rate, outlook_of

        measured = measured_rate(self.manifest_path)
        return outlook_of(self.config, survey, rate=rate, bwlimit=bwlimit, measured=measured)

    def cutover(self, options: CutoverOptions) -> CutoverReport:
        """Whether Mastodon can be pointed at the destination, and how."""
        from mastosync.app.cutover import cutover

        with self._read() as manifest:
            WorkQueue(manifest).require_plan(*identities(self.config))
            return cutover(self.config, manifest, options)

    def iter_listed(self, chosen: ListFilter) -> Iterator[dict[str, Any]]:
        """Entries as flat dictionaries."""
        with self._read() as manifest:
            manifest.require_plan()
            yield from iter_listed(ManifestReport(manifest), chosen)

    def verify(self, options: VerifyOptions, public: int | None = None) -> Verification:
        """Hold the destination against the manifest; `public`: ask for so many objects as anybody may.

        Raises: Interrupted when asked to stop; StoreUnusable.
        """
        from mastosync.app.proofs import verify

        with self._planned("verify") as manifest:
            return verify(self.config, manifest, options, public, self.stop, self.listener)

    def adopt(self, options: AdoptOptions) -> Adoption:
        """Mark what lies at the destination already. Raises: Interrupted when asked to stop; StoreUnusable."""
        from mastosync.app.proofs import adopt

        with self._planned("adopt") as manifest:
            return adopt(self.config, manifest, options, self.stop, self.listener)

    @contextmanager
    def orphans(self, workers: int) -> Iterator[tuple[OrphanFinder, OrphansResult]]:
        """What the source has that no row refers to, and the other way round; lists live as long as the block.

        Raises: Interrupted when asked to stop; StoreUnusable.
        """
        from mastosync.app.proofs import orphans

        with self._read() as manifest:
            WorkQueue(manifest).require_plan(*identities(self.config))
            with orphans(self.config, manifest, workers, self.stop, self.listener) as found:
                yield found

    def refetch(self, options: RefetchOptions, *, source_gone: bool = False) -> Refetching:
        """Fetch again what the source has lost; unless `options.apply`, only tell what could be had.

        `source_gone`: the source is another store than the destination, even if it cannot be asked any more.
        Raises: Interrupted when asked to stop; DatabaseError; StoreUnusable.
        """
        from mastosync.app.refetching import refetch

        with self._planned("refetch") as manifest:
            return refetch(
                *(self.config, manifest, options, self._database, self.stop, self.listener), source_gone=source_gone
            )

    def doctor(self) -> Iterator[Finding]:
        """Look at everything that can fail before it does. Raises: Interrupted, when all probes are removed."""
        from mastosync.app.ways import way_to
        from mastosync.engine.doctor import Doctor, ManifestPlace

        return Doctor(
            source=way_to(self.config, "source"),
            destination=way_to(self.config, "destination"),
            database=self._database_way(),
            manifest=ManifestPlace(
                self.manifest_path,
                partial(identities, self.config),
                network_allowed=self.config.manifest.network_filesystem == "allow",
            ),
            options=transfer_options(self.config),
            types=self.config.plan.types,
            workers=self.config.copy.workers,
            stop=self.stop,
        ).run()

    def check(self, *, quick: bool = False, repair: bool = False) -> Soundness:
        """Hold each part of the manifest against the others; `repair` counts anew if only the counters are off.

        Raises: Interrupted when asked to stop.
        """
        from mastosync.app.upkeep import check

        with self._held("manifest check") if repair else self._read() as manifest:
            return check(manifest, self.stop, self.listener, quick=quick, repair=repair)

    def back_up(self, target: Path | None, *, replace: bool = False) -> tuple[Path, int]:
        """Copy the manifest as it stands, whoever is at work on it; return where the copy lies, and its size."""
        target = target or backup_name(self.manifest_path)
        self._read().close()  # which says what is wrong with it, and brings it up to date
        return target, back_up(self.manifest_path, target, replace=replace, error_type=OutputError)

    def export(self, target: Path | None, *, replace: bool = False) -> int:
        """Write all of the manifest as JSON lines to a file, or to standard output; return how many entries."""
        from mastosync.app.upkeep import export

        with self._read() as manifest:
            return export(manifest, target, self.listener, replace=replace)

    def report(self, failures: int) -> Report:
        """What the manifest remembers of the migration, with the first so many of what failed."""
        from mastosync.app.reporting import report

        with self._read() as manifest:
            return report(manifest, failures, self.listener)

    def keep_report(self, text: str, target: Path, *, replace: bool = False) -> None:
        """Write a report to a file, whole or not at all."""
        from mastosync.app.reporting import keep

        keep(text, target, replace=replace)

    def check_report(self, file: Path) -> Comparison:
        """Hold a report that was kept against the manifest as it is now."""
        from mastosync.app.reporting import compare

        with self._read() as manifest:
            return compare(manifest, file, self.listener)

    def import_archive(self, archive: Path | None) -> int:
        """Make a new manifest of what `export` wrote, whole or not at all; return how many entries."""
        from mastosync.app.upkeep import import_archive

        require_room_for(
            self.manifest_path,
            hint=tr("`mastosync --manifest NEW manifest import FILE` makes another one; nothing was changed"),
        )
        with writing(self.config, self.manifest_path, "manifest import"):
            return import_archive(self.manifest_path, archive, self.listener)

    @contextmanager
    def _planned(self, command: str) -> Iterator[Manifest]:
        """The manifest of these stores, for a command that writes to it."""
        with self._held(command) as manifest:
            WorkQueue(manifest).require_plan(*identities(self.config))
            take_over(manifest)
            yield manifest

    @contextmanager
    def _held(self, command: str) -> Iterator[Manifest]:
        """The manifest, for a command that writes to it."""
        Manifest.require_file(self.manifest_path)
        with (
            writing(self.config, self.manifest_path, command),
            Manifest.open(self.manifest_path, writing=True) as manifest,
        ):
            yield manifest

    def _read(self) -> Manifest:
        """The manifest, for a command that only reads it."""
        warn_of_network(self.manifest_path)
        return Manifest.open(self.manifest_path)

    def _database_way(self) -> DatabaseWay:
        from mastosync.app.ways import CONNECT_SECONDS
        from mastosync.engine.doctor import DatabaseWay
        from mastosync.mastodon.database import MastodonDatabase
        from mastosync.mastodon.examination import Examination

        tunnel = self.config.tunnel

        @contextmanager
        def connect(via: tuple[str, int] | None) -> Iterator[Examination]:
            config = self.config.require_database()
            seconds = min(config.connect_timeout_seconds, CONNECT_SECONDS)
            with MastodonDatabase(replace(config, connect_timeout_seconds=seconds), via) as database:
                yield Examination(database)

        gateway = (
            tr("the SSH server {ssh_host}:{ssh_port}", ssh_host=tunnel.ssh_host, ssh_port=tunnel.ssh_port)
            if tunnel.enabled
            else ""
        )
        return DatabaseWay(gateway, self._tunnel, connect)

    def copy_from(self, manifest: Manifest, options: CopyOptions, types: tuple[str, ...] = ()) -> CopyProgress:
        """See `copy`, for whoever holds the manifest."""
        from mastosync.engine.access_notes import AccessNotes
        from mastosync.engine.copier import Copier
        from mastosync.engine.crew import Crew
        from mastosync.engine.memory import MemoryBudget, return_large_blocks
        from mastosync.engine.transfer import Transfer
        from mastosync.engine.witness import still_gives
        from mastosync.progress import CopyProgress
        from mastosync.store.curl import CurlMultiplexer

        queue = WorkQueue(manifest, types, options.order)
        queue.require_plan(*identities(self.config))
        if self.config.copy.private_objects == "copy":
            reopen(manifest, types, (Reason.PRIVATE,))  # kept back before that was decided
        if not queue.pending():
            return CopyProgress(total=0)
        return_large_blocks()
        with (
            gates_to_write(self.config, manifest, options, self.stop, some_arrived=queue.any_done()) as opened,
            ExitStack() as stack,
        ):
            source, destination = opened
            warn_of_little_room(destination, manifest)
            writing = replace(
                transfer_options(self.config), one_bucket=in_one_bucket(manifest), parts_at_once=options.workers
            )
            memory, notes = MemoryBudget(self.config.copy.memory), AccessNotes()
            transfer = stack.enter_context(closing(Transfer(source, destination, writing, memory, notes.tell)))
            copier = Copier(
                queue,
                Crew(transfer.steps, options.workers, self.stop, CurlMultiplexer),
                options,
                self.stop,
                self.listener,
                limits=lambda: states(source, destination),
                notes=notes,
                still_gives=partial(still_gives, source, manifest, self.config.source.key_prefix),
            )
            stack.callback(gc.unfreeze)  # another run may follow in this process
            gc.freeze()  # what is here now stays to the end: the collector need not look through it again and again
            progress = copier.run()
            progress.finding = transfer.finding
            return progress

    @contextmanager
    def _database(self) -> Iterator[MastodonDatabase]:
        """The database, through its tunnel if there is one; both live as long as the block."""
        from mastosync.mastodon.database import MastodonDatabase

        with self._tunnel() as via, MastodonDatabase(self.config.require_database(), via) as database:
            yield database

    @contextmanager
    def _tunnel(self) -> Iterator[tuple[str, int] | None]:
        """The near end of the tunnel to the database, if there is to be one."""
        from mastosync.mastodon.address import server_address

        config = self.config.require_database()
        if not self.config.tunnel.enabled:
            yield None
            return
        from mastosync.mastodon.tunnel import open_tunnel

        with open_tunnel(self.config.tunnel, *server_address(config)) as via:
            yield via
