"""All checks, one subject beside the other: a broken database does not hide a broken bucket, nor wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mastosync.copying.transfer import TransferOptions
from mastosync.doctor.access import CheckedStore, Patience, stopped
from mastosync.doctor.database import DatabaseFacts, DatabaseWay, check_database
from mastosync.doctor.destination import DESTINATION_CHECKS, check_destination
from mastosync.doctor.findings import Chart, Finding, Findings, Subject, drained
from mastosync.doctor.folder import (
    DESTINATION_FOLDER_CHECKS,
    SOURCE_FOLDER_CHECKS,
    FolderEnd,
    FolderWay,
    check_destination_folder,
    check_source_folder,
)
from mastosync.doctor.machine import check_machine
from mastosync.doctor.manifest import ManifestFacts, ManifestPlace, check_manifest
from mastosync.doctor.probes import OtherStore
from mastosync.doctor.source import SOURCE_CHECKS, check_source
from mastosync.errors import ConfigError, StoreUnusable
from mastosync.language import tr
from mastosync.model import Entry
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import ObjectStore

if TYPE_CHECKING:
    from mastosync.store.s3.probe import S3Probe

T = TypeVar("T")

_CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class StoreWay:
    """How to get to a store. Opening it may raise ConfigError and StoreUnusable."""

    opened: Callable[[], AbstractContextManager[tuple[ObjectStore, S3Probe]]]
    prefix: str
    of_keys: str = ""  # what may have happened to its keys, if it refuses them


@dataclass(frozen=True, slots=True)
class Doctor:
    """One examination."""

    source: StoreWay | FolderWay
    destination: StoreWay | FolderWay
    database: DatabaseWay
    manifest: ManifestPlace
    options: TransferOptions
    types: tuple[str, ...]
    workers: int
    stop: StopSignal

    def run(self) -> Iterator[Finding]:
        """Check everything at once, and tell it in order, each subject when it is done.

        Raises: Interrupted if asked to stop, when what was written has been removed.
        """
        with ThreadPoolExecutor(5, thread_name_prefix="doctor") as pool:
            try:
                database = pool.submit(drained, self._database())
                manifest = pool.submit(drained, self._manifest(database))
                source = pool.submit(drained, self._source(database, manifest))
                destination = pool.submit(drained, self._destination(manifest))
                machine = pool.submit(drained, check_machine(Chart(Subject.MACHINE), self.workers))
                for subject in (source, destination, database, manifest, machine):
                    yield from subject.result()[0]
                    if self.stop.requested:  # a database that was asked meanwhile does not say so
                        raise stopped()
            except BaseException:
                self.stop.request()  # the others end after the request that they are at
                raise

    def _source(
        self,
        database: Future[tuple[list[Finding], DatabaseFacts]],
        manifest: Future[tuple[list[Finding], ManifestFacts]],
    ) -> Findings[None]:
        def entries() -> list[Entry]:
            return [*manifest.result()[1].sample, *database.result()[1].sample]

        with ExitStack() as stack:
            if isinstance(self.source, FolderWay):
                folder = yield from self._folder(stack, Subject.SOURCE, self.source, SOURCE_FOLDER_CHECKS)
                if folder is not None:
                    yield from check_source_folder(folder, entries)
                return
            end = yield from self._entered(stack, Subject.SOURCE, self.source, SOURCE_CHECKS)
            if end is not None:
                yield from check_source(end, entries)

    def _destination(self, manifest: Future[tuple[list[Finding], ManifestFacts]]) -> Findings[None]:
        def pending() -> Mapping[str, int] | None:
            return manifest.result()[1].pending

        with ExitStack() as stack:
            if isinstance(self.destination, FolderWay):
                folder = yield from self._folder(
                    stack, Subject.DESTINATION, self.destination, DESTINATION_FOLDER_CHECKS
                )
                if folder is not None:
                    yield from check_destination_folder(
                        folder, self.destination.keep_free, pending, self._other_store()
                    )
                return
            end = yield from self._entered(stack, Subject.DESTINATION, self.destination, DESTINATION_CHECKS)
            if end is not None:
                from_disk = isinstance(self.source, FolderWay)
                yield from check_destination(end, self.options, self._other_store(), from_disk=from_disk)

    def _other_store(self) -> OtherStore:
        """The source once more, for the destination's checks."""
        prefix = "" if isinstance(self.source, FolderWay) else self.source.prefix
        return OtherStore(self.source.opened, prefix, self.stop)

    def _entered(
        self, stack: ExitStack, subject: Subject, way: StoreWay, checks: Iterable[str]
    ) -> Findings[CheckedStore | None]:
        """A store, for as long as the stack; None if the configuration makes none."""
        opened = yield from self._opened(stack, subject, way.opened, checks)
        return (
            None
            if opened is None
            else CheckedStore(Chart(subject), *opened, Patience(self.stop), way.prefix, way.of_keys)
        )

    def _folder(
        self, stack: ExitStack, subject: Subject, way: FolderWay, checks: Iterable[str]
    ) -> Findings[FolderEnd | None]:
        """The same of a folder."""
        opened = yield from self._opened(stack, subject, way.opened, checks)
        return None if opened is None else FolderEnd(Chart(subject), *opened, Patience(self.stop))

    def _opened(
        self, stack: ExitStack, subject: Subject, opened: Callable[[], AbstractContextManager[T]], checks: Iterable[str]
    ) -> Findings[T | None]:
        chart = Chart(subject)
        try:
            return stack.enter_context(opened())
        except (ConfigError, StoreUnusable) as error:
            yield chart.failure(_CONFIGURATION, error)
            yield from chart.skipped(checks, tr("correct the configuration first"))
            return None

    def _database(self) -> Findings[DatabaseFacts]:
        return check_database(Chart(Subject.DATABASE), self.database, self.types)

    def _manifest(self, database: Future[tuple[list[Finding], DatabaseFacts]]) -> Findings[ManifestFacts]:
        return check_manifest(Chart(Subject.MANIFEST), self.manifest, lambda: database.result()[1])
