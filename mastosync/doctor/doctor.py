"""All checks, the subjects at the same time: a broken database does not hide a broken bucket, nor wait for it."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mastosync.copying.transfer import TransferOptions
from mastosync.doctor.buckets import SOURCE_CHECKS, CheckedStore, check_source
from mastosync.doctor.checks import Findings, OneRetry, Reporter, drained, stopped
from mastosync.doctor.database import DatabaseFacts, DatabaseTarget, check_database
from mastosync.doctor.destination import DESTINATION_CHECKS, check_destination
from mastosync.doctor.folder import (
    DESTINATION_FOLDER_CHECKS,
    SOURCE_FOLDER_CHECKS,
    CheckedFolder,
    FolderTarget,
    check_destination_folder,
    check_source_folder,
)
from mastosync.doctor.manifest import ManifestFacts, ManifestTarget, check_manifest
from mastosync.doctor.probes import ComparedStore
from mastosync.errors import ConfigError, StoreUnusable
from mastosync.findings import CheckSubject, Finding
from mastosync.language import tr
from mastosync.model import Entry
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import ObjectStore

if TYPE_CHECKING:
    from mastosync.store.s3.probe import S3Probe

T = TypeVar("T")

_CONFIGURATION = "configuration"

_SMALL_OBJECTS = 2  # open files a worker: a connection to each store
_LARGE_OBJECTS = 4  # and as many more when it has come across an object that travels in parts
_ON_THE_WAY = 10  # more, to a folder: a file that is not whole, and the folders on its way
_BESIDES = 50  # the manifest, the log, the interpreter's own


@dataclass(frozen=True, slots=True)
class BucketTarget:
    """A bucket, and how to open it. Opening it may raise ConfigError and StoreUnusable."""

    opened: Callable[[], AbstractContextManager[tuple[ObjectStore, S3Probe]]]
    prefix: str
    of_keys: str = ""  # what may have happened to its keys, if it refuses them


@dataclass(frozen=True, slots=True)
class Doctor:
    """One examination."""

    source: BucketTarget | FolderTarget
    destination: BucketTarget | FolderTarget
    database: DatabaseTarget
    manifest: ManifestTarget
    options: TransferOptions
    types: tuple[str, ...]
    workers: int
    stop: StopSignal

    def run(self) -> Iterator[Finding]:
        """Check all subjects at the same time. Yields findings in order, those of a subject when it is done.

        Raises: Interrupted if asked to stop, when what was written has been removed.
        """
        with ThreadPoolExecutor(5, thread_name_prefix="doctor") as pool:
            try:
                database = pool.submit(drained, self._database())
                manifest = pool.submit(drained, self._manifest(database))
                source = pool.submit(drained, self._source(database, manifest))
                destination = pool.submit(drained, self._destination(manifest))
                machine = pool.submit(drained, self._machine())
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
            if isinstance(self.source, FolderTarget):
                folder = yield from self._folder(stack, CheckSubject.SOURCE, self.source, SOURCE_FOLDER_CHECKS)
                if folder is not None:
                    yield from check_source_folder(folder, entries)
                return
            end = yield from self._entered(stack, CheckSubject.SOURCE, self.source, SOURCE_CHECKS)
            if end is not None:
                yield from check_source(end, entries)

    def _destination(self, manifest: Future[tuple[list[Finding], ManifestFacts]]) -> Findings[None]:
        with ExitStack() as stack:
            if isinstance(self.destination, FolderTarget):
                folder = yield from self._folder(
                    stack, CheckSubject.DESTINATION, self.destination, DESTINATION_FOLDER_CHECKS
                )
                if folder is not None:
                    known, keep_free = manifest.result()[1], self.destination.keep_free
                    yield from check_destination_folder(folder, keep_free, known, self._other_store())
                return
            end = yield from self._entered(stack, CheckSubject.DESTINATION, self.destination, DESTINATION_CHECKS)
            if end is not None:
                from_disk = isinstance(self.source, FolderTarget)
                yield from check_destination(end, self.options, self._other_store(), from_disk=from_disk)

    def _other_store(self) -> ComparedStore:
        """The source once more, for the destination's checks."""
        prefix = "" if isinstance(self.source, FolderTarget) else self.source.prefix
        return ComparedStore(self.source.opened, prefix, self.stop)

    def _entered(
        self, stack: ExitStack, subject: CheckSubject, target: BucketTarget, checks: Iterable[str]
    ) -> Findings[CheckedStore | None]:
        """A store, for as long as the stack; None if the configuration makes none."""
        opened = yield from self._opened(stack, subject, target.opened, checks)
        return (
            None
            if opened is None
            else CheckedStore(Reporter(subject), *opened, OneRetry(self.stop), target.prefix, target.of_keys)
        )

    def _folder(
        self, stack: ExitStack, subject: CheckSubject, target: FolderTarget, checks: Iterable[str]
    ) -> Findings[CheckedFolder | None]:
        """A folder, for as long as the stack; None if the configuration makes none."""
        opened = yield from self._opened(stack, subject, target.opened, checks)
        return None if opened is None else CheckedFolder(Reporter(subject), *opened, OneRetry(self.stop))

    def _opened(
        self,
        stack: ExitStack,
        subject: CheckSubject,
        opened: Callable[[], AbstractContextManager[T]],
        checks: Iterable[str],
    ) -> Findings[T | None]:
        reporter = Reporter(subject)
        try:
            return stack.enter_context(opened())
        except (ConfigError, StoreUnusable) as error:
            yield reporter.failure(_CONFIGURATION, error)
            yield from reporter.skipped(checks, tr("correct the configuration first"))
            return None

    def _database(self) -> Findings[DatabaseFacts]:
        return check_database(Reporter(CheckSubject.DATABASE), self.database, self.types)

    def _manifest(self, database: Future[tuple[list[Finding], DatabaseFacts]]) -> Findings[ManifestFacts]:
        return check_manifest(Reporter(CheckSubject.MANIFEST), self.manifest, lambda: database.result()[1])

    def _machine(self) -> Findings[None]:
        to_folder = isinstance(self.destination, FolderTarget)
        return _check_machine(Reporter(CheckSubject.MACHINE), self.workers, to_folder=to_folder)


def open_files(workers: int, *, to_folder: bool) -> tuple[int, int]:
    """How many files a copy has open at least, and at most. `to_folder`: its destination is a folder."""
    beside = _ON_THE_WAY if to_folder else 0
    return (_SMALL_OBJECTS + beside) * workers + _BESIDES, (_LARGE_OBJECTS + beside) * workers + _BESIDES


def _check_machine(reporter: Reporter, workers: int, *, to_folder: bool) -> Findings[None]:
    """Whether this machine gives as much as the configuration asks for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = _any_number(soft)
    least, enough = open_files(workers, to_folder=to_folder)
    said = tr(
        "{workers} workers need up to {enough:,} open files, but the limit is {soft:,}",
        workers=workers,
        enough=enough,
        soft=soft,
    )
    may_rise = "" if _any_number(hard) >= enough else tr(" (as root; the hard limit is lower)")
    remedy = tr(
        "run `ulimit -n {enough}`{may_rise} before mastosync, or use fewer workers", enough=enough, may_rise=may_rise
    )
    if soft >= enough:
        yield reporter.ok("files", said)
    elif soft >= least:
        yield reporter.warning("files", said, remedy)
    else:
        yield reporter.failure("files", said, remedy)


def _any_number(limit: int) -> int:
    return limit if limit != resource.RLIM_INFINITY else 2**31
