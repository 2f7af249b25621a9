"""The only place where objects are wired together: each method is what one command does.

What a command does not need is not imported: `status` knows nothing of S3 or PostgreSQL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mastosync.app.same_store import look_if_unknown
from mastosync.app.stores import (
    identities,
    require_configured,
    settings_of,
    transfer_options,
    writing,
)
from mastosync.errors import OutputError
from mastosync.language import tr
from mastosync.listing import ListFilter, iter_listed
from mastosync.manifest import (
    Manifest,
    ManifestReport,
    PlanWriter,
    WorkQueue,
    accept,
    accept_lost,
    back_up,
    backup_name,
    count_losses,
    count_lost,
    reopen,
    require_room_for,
    take_back_acceptance,
    take_over,
    warn_of_gap,
    warn_of_network,
)
from mastosync.model import FAILURE_REASONS, Reason
from mastosync.runtime.stop import StopSignal
from mastosync.status import Status, status_of

if TYPE_CHECKING:
    from mastosync.app.copying import Again
    from mastosync.app.cutover import CutoverOptions, CutoverReport
    from mastosync.app.following import FollowOptions, FollowResult
    from mastosync.app.reporting import Comparison
    from mastosync.applying.applier import ApplyOptions, ApplyResult
    from mastosync.config import Config, Timetable
    from mastosync.copying.copier import CopyOptions
    from mastosync.doctor import Finding
    from mastosync.following import Round
    from mastosync.manifest import Soundness, StoreIdentity
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.planning.forecast import Outlook
    from mastosync.planning.planner import PlanOptions, PlanResult
    from mastosync.planning.survey import Survey
    from mastosync.progress import CopyProgress, ProgressListener
    from mastosync.pruning import PruneOptions, PruneResult
    from mastosync.refetching import RefetchOptions, RefetchResult
    from mastosync.report import Report
    from mastosync.verifying.adopter import Adoption, AdoptOptions
    from mastosync.verifying.orphans import OrphanFinder, OrphansResult
    from mastosync.verifying.verifier import Verification, VerifyOptions


@dataclass(frozen=True, slots=True)
class App:
    """mastosync with a configuration and a manifest. Every method may raise MastosyncError."""

    config: Config
    manifest_path: Path
    listener: ProgressListener
    stop: StopSignal

    def plan(self, options: PlanOptions, *, dry_run: bool = False, delta: bool = False) -> PlanResult:
        """Snapshot the database into the manifest, whole or not at all; a dry run only counts.

        `delta`: read only what has changed since the last plan, where that will do. Raises: PlanRefused.
        """
        from mastosync.app.planning import count

        if dry_run:
            with self._database() as database:
                return count(self.config, database, self.manifest_path, options, self.listener)
        stores = identities(self.config)
        with writing(self.config, self.manifest_path, "plan"), Manifest.create(self.manifest_path) as manifest:
            warn_of_gap(manifest.gap)
            return self.plan_into(manifest, stores, options, delta=delta)

    def plan_into(
        self, manifest: Manifest, stores: tuple[StoreIdentity, StoreIdentity], options: PlanOptions, *, delta: bool
    ) -> PlanResult:
        """The same, for whoever holds the manifest."""
        from mastosync.app.planning import plan

        writing_plan = PlanWriter.transaction(manifest, *stores, accepts_losses=options.accept_gone)
        with writing_plan as writer, self._database() as database:
            return plan(self.config, database, writer, options, self.listener, delta=delta)

    def add_into(
        self, manifest: Manifest, stores: tuple[StoreIdentity, StoreIdentity], options: PlanOptions
    ) -> int | None:
        """After `plan_into` was refused: take over what is new and what is private by now. See `planning.add_new`."""
        from mastosync.app.planning import add_new

        with PlanWriter.transaction(manifest, *stores) as writer, self._database() as database:
            return add_new(self.config, database, writer, options, self.listener)

    def copy(self, options: CopyOptions, types: tuple[str, ...] = ()) -> CopyProgress:
        """Work through what is pending. Raises: Interrupted when asked to stop; StoreUnusable."""
        with self._held("copy") as manifest:
            progress = self.copy_from(manifest, options, types)
            if not progress.total:
                some_arrived = WorkQueue(manifest).any_done()
                look_if_unknown(self.config, manifest, options, self.stop, some_arrived=some_arrived)
            return progress

    def retry_failed(
        self, types: tuple[str, ...], reasons: tuple[Reason, ...], options: CopyOptions | None, *, accepted: bool
    ) -> tuple[int, CopyProgress | None]:
        """Put entries back to pending, as `reopen` does; with options, copy what is pending of those types.

        Nothing is put back if a store cannot be used. Returns: how many were, and what the copy did.
        """
        from mastosync.app.copying import Again

        with self._held("retry-failed") as manifest:
            WorkQueue(manifest).require_plan(*identities(self.config))
            if options is None:
                return reopen(manifest, types, reasons, accepted=accepted), None
            again = Again(reasons or FAILURE_REASONS, accepted=accepted)
            reopened = again.waiting(manifest, types)
            return reopened, self.copy_from(manifest, options, types, again) if reopened else None

    def accept(
        self, types: tuple[str, ...], reasons: tuple[Reason, ...], *, undo: bool, dry_run: bool
    ) -> Counter[tuple[str, Reason]]:
        """Take note that losses are known, or take that back. Returns: how many those are, by type and reason."""
        with self._read() if dry_run else self._planned("accept") as manifest:
            manifest.require_plan()
            found = count_losses(manifest, types, reasons, accepted=undo)
            if not dry_run:
                (take_back_acceptance if undo else accept)(manifest, types, reasons)
        return found

    def accept_gone(self, *, dry_run: bool) -> int:
        """Take note that what plans lost by `--accept-gone` was deleted. Returns: how many entries that are."""
        with self._read() if dry_run else self._planned("accept") as manifest:
            manifest.require_plan()
            lost = count_lost(manifest)
            if lost and not dry_run:
                accept_lost(manifest)
        return lost

    def follow(self, options: FollowOptions) -> Iterator[Round[FollowResult]]:
        """Plan and copy in rounds, of which each is told when it has ended. Raises: Interrupted when asked to stop."""
        from mastosync.app.following import Following
        from mastosync.following import Rounds

        following = Following(self, options)
        patience = self.config.copy.outage_patience
        return iter(Rounds(following.go_round, options.every_seconds, options.once, self.stop, patience))

    def prune(self, options: PruneOptions, *, source_gone: bool = False) -> PruneResult:
        """Remove at the destination what is gone; unless `options.apply`, only tell what that would be.

        `source_gone`: the source is another store, even if it cannot be asked any more.
        Raises: Interrupted when asked to stop; TooMuchGone; StoreUnusable.
        """
        from mastosync.app.following import prune

        with self._planned("prune") as manifest:
            return prune(self, manifest, options, source_gone=source_gone)

    def status(self) -> Status:
        """Where the migration stands."""
        from mastosync.app.planning import outlook_of

        with self._read() as manifest:
            manifest.require_plan()
            status = status_of(ManifestReport(manifest), settings_of(self.config))
        if status.surveyed is not None:
            status.outlook = outlook_of(self.config, status.surveyed.survey, measured=status.rate)
        return status

    def outlook(self, survey: Survey, rate: int | None = None, bwlimit: Timetable | None = None) -> Outlook:
        """What a move of what a plan has seen will take; `rate` and `bwlimit` as `copy` has them."""
        from mastosync.app.planning import measured_rate, outlook_of

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
        from mastosync.app.verify import verify

        with self._planned("verify") as manifest:
            return verify(self.config, manifest, options, public, self.stop, self.listener, self._database)

    def apply_settings(self, options: ApplyOptions, rate: int | None = None) -> ApplyResult:
        """Let the destination store again what lies there under other settings than those of the configuration.

        `rate`: requests a second. Raises: UsageError if the destination is a disk; Interrupted when asked to stop;
        StoreUnusable.
        """
        from mastosync.app.applying import apply_settings

        with self._planned("apply-settings") as manifest:
            return apply_settings(*(self.config, manifest, options, rate, self._database, self.stop, self.listener))

    def adopt(self, options: AdoptOptions) -> Adoption:
        """Mark what lies at the destination already. Raises: Interrupted when asked to stop; StoreUnusable."""
        from mastosync.app.verify import adopt

        with self._planned("adopt") as manifest:
            return adopt(self.config, manifest, options, self.stop, self.listener)

    @contextmanager
    def orphans(self, workers: int) -> Iterator[tuple[OrphanFinder, OrphansResult]]:
        """What the source has that no row refers to, and the other way round; lists live as long as the block.

        Raises: Interrupted when asked to stop; StoreUnusable.
        """
        from mastosync.app.verify import orphans

        with self._read() as manifest:
            WorkQueue(manifest).require_plan(*identities(self.config))
            with orphans(self.config, manifest, workers, self.stop, self.listener) as found:
                yield found

    def refetch(self, options: RefetchOptions, *, source_gone: bool = False) -> RefetchResult:
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
        from mastosync.app.doctor import database_way, way_to
        from mastosync.doctor import Doctor, ManifestPlace

        return Doctor(
            source=way_to(self.config, "source"),
            destination=way_to(self.config, "destination"),
            database=database_way(self.config, self._tunnel),
            manifest=ManifestPlace(
                self.manifest_path,
                partial(identities, self.config),
                network_allowed=self.config.manifest.network_filesystem == "allow",
                settings=settings_of(self.config),
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
        from mastosync.app.manifest import check

        with self._held("manifest check") if repair else self._read() as manifest:
            return check(manifest, self.stop, self.listener, quick=quick, repair=repair)

    def back_up(self, target: Path | None, *, replace: bool = False) -> tuple[Path, int]:
        """Copy the manifest as it stands, whoever is at work on it; return where the copy lies, and its size."""
        target = target or backup_name(self.manifest_path)
        self._read().close()  # which says what is wrong with it, and brings it up to date
        return target, back_up(self.manifest_path, target, replace=replace, error_type=OutputError)

    def export(self, target: Path | None, *, replace: bool = False) -> int:
        """Write all of the manifest as JSON lines to a file, or to standard output; return how many entries."""
        from mastosync.app.manifest import export

        with self._read() as manifest:
            return export(manifest, target, self.listener, replace=replace)

    def report(self, failures: int, env: Path | None = None) -> Report:
        """What the manifest remembers of the migration, with the first so many of what failed."""
        from mastosync.app.reporting import report

        with self._read() as manifest:
            manifest.require_plan()
            require_configured(self.config, manifest)
            return report(self.config, manifest, failures, env, self.listener)

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
        from mastosync.app.manifest import import_archive

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
            warn_of_gap(manifest.gap)
            yield manifest

    def _read(self) -> Manifest:
        """The manifest, for a command that only reads it."""
        warn_of_network(self.manifest_path)
        manifest = Manifest.open(self.manifest_path)
        warn_of_gap(manifest.gap)
        return manifest

    def copy_from(
        self, manifest: Manifest, options: CopyOptions, types: tuple[str, ...] = (), again: Again | None = None
    ) -> CopyProgress:
        """See `copy`, for whoever holds the manifest; `again`: what has failed or was skipped, too."""
        from mastosync.app.copying import copy_pending

        return copy_pending(self.config, manifest, options, types, again, self.stop, self.listener)

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
