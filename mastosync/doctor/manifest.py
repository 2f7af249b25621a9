"""The manifest: whether it can be created or used, has room, and is the one of this configuration."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from mastosync.doctor.checks import Findings, Reporter
from mastosync.doctor.database import DatabaseFacts
from mastosync.errors import ConfigError, ManifestError, PlanRefused, StoreUnusable
from mastosync.findings import Finding
from mastosync.findings.messages import settings_notice
from mastosync.language import tr
from mastosync.manifest import (
    Manifest,
    ManifestReader,
    ObjectSettings,
    StoreIdentity,
    file_version,
    holder_of,
    newest_version,
    other_settings,
    remembered_database,
    require_same,
    require_same_database,
    some_done,
)
from mastosync.model import MANIFEST_BYTES_PER_ENTRY, DatabaseIdentity, Entry, EntryState
from mastosync.mountinfo import is_memory, is_network, kind_of_disk, real_path
from mastosync.new_files import of_others_told
from mastosync.status import pending_by_folder, status_of
from mastosync.units import human_bytes

_LOG_SHARE = 1.25  # the write-ahead log holds what has changed since it was last taken over
_LEAST_BYTES = 64 * 1024 * 1024


def check_file_system(reporter: Reporter, folder: Path, *, network_allowed: bool) -> Finding:
    """SQLite's write-ahead log needs a local disk, and a manifest has to outlive a restart."""
    kind = kind_of_disk(folder)
    if not kind:
        return reporter.skip("file-system", tr("this system does not say what kind of file system it is"))
    remedy = tr("use a local disk: --manifest, or `[manifest] path`, names another place")
    if is_network(kind):
        said = tr(
            "{folder} is on a network ({kind}), where locks and the write-ahead log of SQLite cannot be relied on",
            folder=folder,
            kind=kind,
        )
        if network_allowed:
            return reporter.warning("file-system", said, remedy)
        risk = tr("`[manifest] network_filesystem = allow` allows it, at your own risk")
        return reporter.failure("file-system", tr("{said}: nothing would be written", said=said), f"{remedy}; {risk}")
    if is_memory(kind):
        said = tr(
            "{folder} is in memory ({kind}): the manifest is gone when the machine restarts", folder=folder, kind=kind
        )
        return reporter.warning(
            "file-system", said, tr("use a disk: --manifest, or `[manifest] path`, names another place")
        )
    return reporter.ok("file-system", tr("{folder} is on {kind}, a local disk", folder=folder, kind=kind))


def check_disk(reporter: Reporter, path: Path, entries: int) -> Finding:
    """Whether a manifest of `entries` (0: not known) has room. What it already takes up counts as free."""
    try:
        taken = path.stat().st_size if path.exists() else 0
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        return reporter.failure(
            "disk",
            tr("cannot find out how much is free in {parent}: {strerror}", parent=path.parent, strerror=error.strerror),
            tr("check the disk"),
        )
    needed = max(_LEAST_BYTES, round(entries * MANIFEST_BYTES_PER_ENTRY * _LOG_SHARE) - taken)
    for_what = (
        tr("about {entries:,} entries need {size} more", entries=entries, size=human_bytes(needed))
        if entries
        else tr("how many entries there will be is not known")
    )
    said = tr("{size} are free; {for_what}", size=human_bytes(free), for_what=for_what)
    remedy = tr("free some space, or name another place with --manifest or `[manifest] path`")
    if free < needed:
        return reporter.failure("disk", said, remedy)
    if free < 2 * needed:
        return reporter.warning("disk", tr("{said}; that leaves little room", said=said), remedy)
    return reporter.ok("disk", said)


MANIFEST_CHECKS = ("folder", "file-system", "in-use", "manifest", "database", "disk")

_SAMPLED = 4  # entries
_SEEN = 100  # to find them


@dataclass(frozen=True, slots=True)
class ManifestTarget:
    """Where the manifest lies, and to which stores it should belong."""

    path: Path
    stores: Callable[[], tuple[StoreIdentity, StoreIdentity]]  # raises ConfigError, StoreUnusable
    network_allowed: bool = False  # whether it may lie on a network file system
    settings: ObjectSettings | None = None  # of the destination; None: it gives its objects nothing


@dataclass(slots=True)
class ManifestFacts:
    """What other checks want to know."""

    entries: int = 0
    pending: Mapping[str, int] | None = None  # bytes by folder, as far as the database knows sizes; None: no plan
    sample: list[Entry] = field(default_factory=list)  # whose objects should exist
    arrived: list[Entry] = field(default_factory=list)  # a few, whose objects should be at the destination


def check_manifest(
    reporter: Reporter, place: ManifestTarget, database: Callable[[], DatabaseFacts]
) -> Findings[ManifestFacts]:
    """All checks of the manifest. Nothing is left in its folder. `database`: what is known of it, when it is."""
    facts = ManifestFacts()
    path = real_path(place.path)
    refusal = _refusal(path)
    if refusal is not None:
        yield reporter.failure("folder", refusal)
        yield from reporter.skipped(MANIFEST_CHECKS[1:], tr("correct the folder first"))
        return facts
    yield reporter.ok("folder", tr("{parent} can be written to", parent=path.parent))
    yield check_file_system(reporter, path.parent, network_allowed=place.network_allowed)
    holder = holder_of(path)
    if holder is not None:
        yield reporter.warning(
            "in-use",
            tr("the manifest is in use by {holder}", holder=holder),
            tr("other commands that write to it have to wait until it ends"),
        )
        yield from reporter.skipped(("manifest", "database"), tr("it is in use"))
    else:
        yield reporter.ok("in-use", tr("no other command uses it"))
        yield from _check_file(reporter, place, path, facts)
        yield from _check_database(reporter, path, database().identity)
    yield check_disk(reporter, path, max(facts.entries, database().estimated_entries))
    return facts


def _refusal(path: Path) -> ManifestError | None:
    """Why nothing can be written there. Permissions alone do not tell: it is tried."""
    hint = tr("--manifest, or `[manifest] path`, names another place")
    if not os.path.isdir(path.parent):  # noqa: PTH112 - of a folder that may not be looked into, too
        return ManifestError(
            tr("the folder of the manifest does not exist: {parent}", parent=path.parent),
            hint=tr("make it; {hint}", hint=hint),
        )
    try:
        with tempfile.TemporaryFile(dir=path.parent):  # on Linux it never has a name
            pass
    except OSError as error:
        said = tr(
            "nothing can be written to the folder of the manifest, {parent}: {strerror}",
            parent=path.parent,
            strerror=error.strerror,
        )
        return ManifestError(said, hint=tr("it must be writable by you; {hint}", hint=hint))
    if os.path.lexists(path) and not os.access(path, os.R_OK | os.W_OK):
        return ManifestError(
            tr("the manifest {path} cannot be written to", path=path),
            hint=of_others_told(path) or tr("it must be writable by you; {hint}", hint=hint),
        )
    return None


def _check_file(reporter: Reporter, place: ManifestTarget, path: Path, facts: ManifestFacts) -> Findings[None]:
    if not path.exists():
        yield reporter.ok("manifest", tr("there is none yet: `mastosync plan` makes {path}", path=path))
        return
    version = file_version(path)
    if version is not None and version < newest_version():  # to open it would be to change it
        said = tr(
            "{path} has version {version}: the next command upgrades it to version {newest_version}",
            path=path,
            version=version,
            newest_version=newest_version(),
        )
        yield reporter.ok("manifest", said if version else tr("{path} is empty: `mastosync plan` fills it", path=path))
        return
    try:
        with Manifest.open(path) as manifest:
            try:
                stores = place.stores()
            except (ConfigError, StoreUnusable):
                stores = None  # which has been told of the stores
            report = ManifestReader(manifest)
            if report.snapshot() is None:
                yield reporter.ok("manifest", tr("{path} has no plan yet: `mastosync plan` makes one", path=path))
                return
            if stores is not None:
                require_same(manifest, *stores)
            said = _described(report, path, facts, compared=stores is not None)
            if manifest.gap is not None:
                yield reporter.warning("manifest", f"{said}; {manifest.gap.said}", manifest.gap.remedy)
            else:
                yield reporter.ok("manifest", said)
            others = other_settings(manifest, place.settings) if place.settings is not None else ()
            if told := settings_notice(place.settings, others):
                yield reporter.warning("settings", told.message, told.remedy)
    except ManifestError as error:
        yield reporter.failure("manifest", error)


def _check_database(reporter: Reporter, path: Path, found: DatabaseIdentity | None) -> Findings[None]:
    """Whether it is the one that the manifest was planned from."""
    known = None
    try:
        with Manifest.glance(path) as manifest:
            known = None if manifest is None else remembered_database(manifest)
            if manifest is not None and found is not None:
                require_same_database(manifest, found)
    except PlanRefused as error:
        yield reporter.failure("database", error)
        return
    except ManifestError:
        pass  # which has been told of the manifest
    if found is None:
        yield from reporter.skipped(("database",), tr("the database comes first"))
    elif known is None:
        yield reporter.ok("database", tr("the next plan remembers which database it has read"))
    elif known.accounts and not found.accounts:
        yield reporter.warning(
            "database",
            tr("the database has no accounts, but the one that the last plan read had some: a plan would be refused"),
            tr("look whether [pg.database] names Mastodon's database, and whether a restore is still at work"),
        )
    elif found.has_moved(known):
        yield reporter.ok(
            "database", tr("a different copy of the same instance's database than the last plan has read")
        )
    else:
        yield reporter.ok("database", tr("nothing suggests that it is another one than the last plan has read"))


def _described(report: ManifestReader, path: Path, facts: ManifestFacts, *, compared: bool) -> str:
    """`compared`: its stores are those of the configuration."""
    status = status_of(report)
    totals = status.totals
    facts.entries, facts.pending = totals.total, pending_by_folder(report.counts())
    likely = EntryState.PENDING if totals.pending else EntryState.DONE
    seen = (record.entry for record in islice(report.iter_records((likely,)), _SEEN))
    facts.arrived = [each.entry for each in some_done(report.manifest)]
    facts.sample = list(islice((entry for entry in seen if not entry.optional), _SAMPLED))
    taken_at = tr(" of {taken_at:%F %T} UTC", taken_at=status.snapshot.taken_at) if status.snapshot else ""
    of_these = tr(" for these stores") if compared else ""
    return tr(
        "{path} has a plan{taken_at}{of_these}: {pending:,} pending, {done:,} done, "
        "{failed:,} failed, {skipped:,} skipped",
        path=path,
        taken_at=taken_at,
        of_these=of_these,
        pending=totals.pending,
        done=totals.done,
        failed=totals.failed,
        skipped=totals.skipped,
    )
