"""A folder as a store: whether it is the right one, can be read or written, has room, and is Mastodon's to use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from mastosync.copying.same_store import require_arrived
from mastosync.doctor.buckets import first_found
from mastosync.doctor.checks import STORE_ERRORS, Findings, OneRetry, Reporter
from mastosync.doctor.probes import DATA, FOLDER, MD5, ComparedStore, check_apart
from mastosync.errors import ObjectDenied, ObjectError, StoreUnusable
from mastosync.findings import Finding, Grade
from mastosync.findings.messages import foreign_owner_message, ownership_remedy, root_owner_message
from mastosync.language import joined, tr, trn
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import Access, Entry, ObjectHeaders, Ownership
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import DiskSpace, ObjectStore, PutOptions
from mastosync.units import human_bytes

if TYPE_CHECKING:
    from mastosync.doctor.manifest import ManifestFacts
    from mastosync.store.filesystem.probe import FilesystemProbe


SOURCE_FOLDER_CHECKS = ("folder", "links", "read")
_WRITTEN_CHECKS = ("apart", "read", "private", "owner", "names", "multipart")
DESTINATION_FOLDER_CHECKS = ("folder", "links", "write", *_WRITTEN_CHECKS, "disk")

_ENOUGH = 3  # missing objects that make a wrong place of it


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """A folder, and how to open it. Opening it may raise ConfigError."""

    opened: Callable[[], AbstractContextManager[tuple[ObjectStore, FilesystemProbe]]]
    keep_free: int  # bytes that copying leaves free


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """A folder, and how it is asked."""

    reporter: Reporter
    store: ObjectStore  # as a copy uses it
    probe: FilesystemProbe
    ask: OneRetry


def check_source_folder(end: CheckedFolder, entries: Callable[[], Sequence[Entry]]) -> Findings[None]:
    """All checks of a source. `entries`: a few that should be there, asked for when they are needed."""
    reporter = end.reporter
    try:
        end.ask(end.store.check)
        first_key = end.ask(end.probe.first_key)
    except STORE_ERRORS as error:
        yield reporter.failure("folder", error)
        yield from reporter.skipped(SOURCE_FOLDER_CHECKS[1:], tr("correct the folder first"))
        return
    if not first_key:
        yield reporter.failure(
            "folder",
            tr("it can be read, and holds no object"),
            tr("check that its disk is mounted, and that `path` is the folder with `media_attachments` and `accounts`"),
        )
        yield from reporter.skipped(SOURCE_FOLDER_CHECKS[1:], tr("correct the folder first"))
        return
    yield reporter.ok("folder", tr("it can be read, and holds objects such as {first_key!r}", first_key=first_key))
    yield _links(end)
    yield _reading(end, entries(), first_key)


def _links(end: CheckedFolder) -> Finding:
    reporter = end.reporter
    try:
        links = end.ask(end.probe.unfollowed_links)
    except STORE_ERRORS as error:
        return reporter.failure("links", error)
    if not links:
        return reporter.ok(
            "links", tr("no link was found at a place where links are not followed (not all was checked)")
        )
    return reporter.warning(
        "links",
        trn(
            "{links} link is not followed, and what it leads to is not used: {first!r}",
            "{links} links are not followed, and what they lead to is not used, such as {first!r}",
            len(links),
            links=len(links),
            first=links[0],
        ),
        tr(
            "links are followed only above the folders of single ids (as at `cache` or "
            "`media_attachments/files`): make the link there, or mount the disk in its place"
        ),
    )


def _reading(end: CheckedFolder, entries: Sequence[Entry], first_key: str) -> Finding:
    reporter = end.reporter
    if not entries:
        why = tr("without a database or a manifest, no object is known to look for")
        return reporter.skip("read", why)
    try:
        known = first_found(end.ask, end.store, "", entries)
    except ObjectDenied as error:
        return reporter.failure("read", error, tr("run mastosync as the user that Mastodon runs as"))
    except STORE_ERRORS as error:
        return reporter.failure("read", error)
    if known is not None:
        return reporter.ok("read", tr("{key!r}, {size}, was read", key=known.key, size=human_bytes(known.info.size)))
    said = tr(
        "none of {entries} objects that Mastodon should have is there; the first object there is {first_key!r}",
        entries=len(entries),
        first_key=first_key,
    )
    remedy = tr(
        "check `path`: it must be the folder that holds `media_attachments` and `accounts`, of this very database"
    )
    return reporter.failure("read", said, remedy) if len(entries) >= _ENOUGH else reporter.warning("read", said, remedy)


def check_destination_folder(
    end: CheckedFolder, keep_free: int, known: ManifestFacts, source: ComparedStore
) -> Findings[None]:
    """All checks of a destination. `known`: of what was planned and copied; `source`: which must be another store."""
    reporter = end.reporter
    try:
        end.ask(end.store.check)
        keys = [canonical_key(each, "") for each in known.arrived]  # a disk has no key prefix
        for name, there in end.ask(end.probe.by_disk, keys).items():
            require_arrived(name, there, lambda key: end.ask(end.store.head, key))
        yield reporter.ok("folder", tr("it is there"))
    except STORE_ERRORS as error:
        yield reporter.failure("folder", error)
        yield from reporter.skipped(DESTINATION_FOLDER_CHECKS[1:], tr("correct the folder first"))
        return
    yield _links(end)
    yield from _check_writing(end, source)
    yield _disk(end, keep_free, known.pending)


def _check_writing(end: CheckedFolder, source: ComparedStore) -> Findings[None]:
    reporter, folder = end.reporter, f"{FOLDER}/{uuid4().hex}"
    public, private, in_parts = f"{folder}/public.txt", f"{folder}/private.txt", f"{folder}/parts.txt"
    with _removed(end, public, private, in_parts):
        try:
            end.ask(end.store.write, public, DATA, MD5, _options("public-read"))
        except STORE_ERRORS as error:
            yield reporter.failure("write", error)
            yield from reporter.skipped(_WRITTEN_CHECKS, tr("nothing can be written"))
            return
        yield reporter.ok("write", tr("a probe object was written"))
        apart = check_apart(reporter, end.ask, source, public, "")
        yield apart
        if apart.grade is Grade.FAILURE:
            yield from reporter.skipped(_WRITTEN_CHECKS[1:], tr("nothing more is written, as this is the source"))
            return
        try:
            same = end.ask(end.store.read, public, len(DATA)).data == DATA
            yield (
                reporter.ok("read", tr("it has the bytes that were written"))
                if same
                else reporter.failure(
                    "read",
                    tr("the probe object was read back with other bytes than were written"),
                    tr("check the disk"),
                )
            )
            end.ask(end.store.write, private, DATA, MD5, _options("private"))
            yield _private(reporter, end.ask(end.probe.mode, public), end.ask(end.probe.mode, private))
            yield check_owner(reporter, end.ask(end.probe.ownership), end.ask(end.probe.access, public))
            yield _names(reporter, folds=end.ask(end.probe.folds_names))
            upload = end.ask(end.store.start_multipart, in_parts, _options("private"))
            part = end.ask(end.store.write_part, in_parts, upload, 1, DATA, MD5)
            end.ask(end.store.complete_multipart, in_parts, upload, [part])
            yield reporter.ok("multipart", tr("a large object can be assembled from parts"))
        except STORE_ERRORS as error:
            yield reporter.failure("write", error)


def _private(reporter: Reporter, public_mode: int, private_mode: int) -> Finding:
    if private_mode & 0o077:
        return reporter.failure(
            "private",
            tr(
                "this disk keeps no file modes: a private object gets {private_mode:04o}, so other users may read it",
                private_mode=private_mode,
            ),
            tr("copy to a disk that keeps file modes (not FAT, nor a network share without modes)"),
        )
    said = tr(
        "public objects get the mode {public_mode:04o}, private ones {private_mode:04o}",
        public_mode=public_mode,
        private_mode=private_mode,
    )
    if not public_mode & 0o004:
        remedy = tr("fine for a backup; for a web server to read them, run mastosync under another umask (`umask 022`)")
        return reporter.warning("private", tr("{said}: other users can read neither", said=said), remedy)
    return reporter.ok("private", said)


def _names(reporter: Reporter, *, folds: bool) -> Finding:
    if folds:
        said = tr("this disk does not distinguish upper and lower case in names")
        return reporter.warning(
            "names", said, tr("objects with such keys fail: copy to a disk that distinguishes them")
        )
    return reporter.ok("names", tr("upper and lower case are distinguished"))


def _disk(end: CheckedFolder, keep_free: int, pending: Mapping[str, int] | None) -> Finding:
    """Room for what is pending; of several disks, the one that is filled most."""
    reporter = end.reporter
    try:
        rooms = end.ask(end.probe.disks, pending or {})
    except STORE_ERRORS as error:
        return reporter.failure("disk", error)
    name, free, pending_bytes = max(rooms, key=lambda room: _fullness(room, keep_free))
    usable = max(0, free - keep_free)
    said = tr(
        "{size} are free, and {kept} have to stay free (`keep_free`)",
        size=human_bytes(free),
        kept=human_bytes(keep_free),
    )
    if len(rooms) > 1:
        said = f"{name}: {said}"
    remedy = tr("make room, choose a larger disk, or copy less (`plan --only local`)")
    if pending is None:
        if not usable:
            return reporter.failure("disk", said, remedy)
        return reporter.ok("disk", tr("{said}; how much will be copied is not known before the first plan", said=said))
    said = tr(
        "{said}; {size} are pending, as far as the database knows sizes", said=said, size=human_bytes(pending_bytes)
    )
    if pending_bytes > usable or not usable:
        return reporter.failure("disk", said, remedy)
    if 2 * pending_bytes > usable:
        return reporter.warning("disk", tr("{said}; that leaves little room", said=said), remedy)
    return reporter.ok("disk", said)


def _fullness(room: DiskSpace, keep_free: int) -> tuple[float, int]:
    """The higher, the less room a disk has for what goes there."""
    usable = max(0, room.free_bytes - keep_free)
    return room.pending_bytes / max(1, usable), -usable


def check_owner(reporter: Reporter, found: Ownership, probe: Access) -> Finding:
    """`probe`: of a public object that was just written. Mastodon is taken for whoever the folder belongs to."""
    if probe.owner.user != found.wanted.user:
        return _of_somebody_else(reporter, found, probe)
    if told := root_owner_message(found) or foreign_owner_message(found):
        return reporter.warning("owner", told, ownership_remedy(found))
    if not found.runs_as.user and found.gives:
        said = tr("mastosync runs as root: what it writes is given to {owner}", owner=probe.owner)
    elif probe.owner == found.wanted:
        said = tr("what is written belongs to {owner}, as it should", owner=probe.owner)
    else:
        said = tr(
            "what is written belongs to {owner}, and the folder to {wanted}: Mastodon can read and delete it",
            owner=probe.owner,
            wanted=found.wanted,
        )
    return reporter.ok("owner", said)


def _of_somebody_else(reporter: Reporter, found: Ownership, probe: Access) -> Finding:
    said = tr(
        "what is written belongs to {owner}, and the folder to {wanted}: {abilities}",
        owner=probe.owner,
        wanted=found.wanted,
        abilities=_abilities(found, probe),
    )
    if found.runs_as.user:
        remedy = tr(
            "run mastosync as that user, or as root, who gives what is written to them; for a backup this is fine"
        )
        return reporter.warning("owner", said, remedy)
    remedy = tr(
        "root may not give files away here: the disk refuses it, or this process lacks CAP_CHOWN or CAP_DAC_OVERRIDE;"
        " run mastosync as that user; {giving}",
        giving=ownership_remedy(found),
    )
    return reporter.warning("owner", said, remedy)


def _abilities(found: Ownership, probe: Access) -> str:
    """What Mastodon can do with files of somebody else's; those of private objects are closed to it."""
    group = probe.owner.group == found.wanted.group
    reads = probe.mode & (0o040 if group else 0o004)
    deletes = probe.folder_mode & (0o020 if group else 0o002)
    if reads and deletes:
        return tr("Mastodon can read what is public and delete all of it, and cannot read what is private")
    if reads:
        return tr("Mastodon can read what is public, and can neither read what is private nor delete anything")
    if deletes:
        return tr("Mastodon can delete it, and cannot read it")
    return tr("Mastodon can neither read nor delete it")


@contextmanager
def _removed(end: CheckedFolder, *keys: str) -> Iterator[None]:
    """Remove these objects at the end, whatever happens. Raises: StoreUnusable if one is left."""
    try:
        yield
    finally:
        clean_up = OneRetry(StopSignal())  # it goes on although somebody has asked to stop
        failures = list[ObjectError | StoreUnusable]()
        for key in keys:
            try:
                clean_up(end.probe.delete, key)
            except STORE_ERRORS as error:
                failures.append(error)
        if failures:
            said = joined(each.message for each in failures)  # of each that is left
            raise StoreUnusable(said, hint=failures[0].hint) from failures[0]


def _options(acl: str) -> PutOptions:
    return PutOptions(ObjectHeaders("text/plain"), acl)
