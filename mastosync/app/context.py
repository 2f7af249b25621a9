"""What a command works with: its configuration and manifest, the stores that both name, and Mastodon's database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mastosync.config import FilesystemConfig
from mastosync.errors import ConfigError, ObjectError, StoreUnusable
from mastosync.language import deferred, say, tr
from mastosync.manifest import (
    SAME_STORE_REMEDY,
    Manifest,
    StoreIdentity,
    is_there,
    recover_claims_now,
    require_local_disk,
    require_right,
    require_same,
    warn_of_gap,
    warn_of_network,
    writer_lock,
)
from mastosync.mastodon.catalog import spec_of
from mastosync.model import TABLES
from mastosync.mountinfo import place_on_disk, real_path, same_file

if TYPE_CHECKING:
    from mastosync.config import Config, Role, StoreConfig
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.model import Record, RemoteFile
    from mastosync.progress import ProgressListener
    from mastosync.runtime.stop import StopSignal

AWS_URL = "https://s3.amazonaws.com"
_APART = deferred("choose a destination folder outside the source: mastosync never writes to the source")


@dataclass(frozen=True, slots=True)
class Context:
    """One run of a command. Functions of `mastosync.app` get it first. Nothing is opened before it is asked for."""

    config: Config
    manifest_path: Path
    listener: ProgressListener
    stop: StopSignal

    def reading(self) -> Manifest:
        """The manifest, for a command that only reads it. Raises: ManifestError."""
        warn_of_network(self.manifest_path)
        manifest = Manifest.open(self.manifest_path)
        warn_of_gap(manifest.gap)
        return manifest

    @contextmanager
    def reading_planned(self) -> Iterator[Manifest]:
        """`reading()`, after `require_plan`. Raises: as both."""
        with self.reading() as manifest:
            self.require_plan(manifest)
            yield manifest

    @contextmanager
    def writing(self, command: str, *, create: bool = False) -> Iterator[Manifest]:
        """The manifest with its lock, for a command that writes to it; `create`: if there is none yet.

        Raises: ManifestError if another command has the lock, or the manifest is on a network.
        """
        if not create:
            Manifest.require_file(self.manifest_path)
        with self.writer_lock(command):
            path = self.manifest_path
            with Manifest.create(path) if create else Manifest.open(path, writing=True) as manifest:
                warn_of_gap(manifest.gap)
                yield manifest

    @contextmanager
    def writing_planned(self, command: str) -> Iterator[Manifest]:
        """`writing()`, after `require_plan` and with the claims of dead runs settled. Raises: as both."""
        with self.writing(command) as manifest:
            self.require_plan(manifest)
            recover_claims_now(manifest)
            yield manifest

    def require_plan(self, manifest: Manifest) -> None:
        """Raises: ManifestError if nothing was planned, or for other stores; ConfigError as `identities`."""
        stores = identities(self.config)
        manifest.require_plan()
        require_same(manifest, *stores)

    @contextmanager
    def writer_lock(self, command: str) -> Iterator[None]:
        """The manifest's lock alone. Raises: ManifestError if another command has it, or it is on a network."""
        require_local_disk(self.manifest_path, allow_network=self.config.manifest.network_filesystem == "allow")
        with writer_lock(real_path(self.manifest_path), command):
            yield

    @contextmanager
    def database(self) -> Iterator[MastodonDatabase]:
        """Mastodon's database, through its tunnel if there is one; both live as long as the block.

        Raises: DatabaseError.
        """
        from mastosync.mastodon.database import MastodonDatabase

        with self.tunnel() as via, MastodonDatabase(self.config.require_database(), via) as database:
            yield database

    @contextmanager
    def tunnel(self) -> Iterator[tuple[str, int] | None]:
        """The near end of the tunnel to the database; None: there is none."""
        from mastosync.mastodon.connection import server_address

        config = self.config.require_database()
        if not self.config.tunnel.enabled:
            yield None
            return
        from mastosync.mastodon.tunnel import open_tunnel

        with open_tunnel(self.config.tunnel, *server_address(config)) as via:
            yield via

    @contextmanager
    def right_database(self) -> Iterator[MastodonDatabase]:
        """Mastodon's database. Another one, or half of it, would say that everybody may read what is private.

        Each connection is checked, from any thread: a restore may be at work since the last one.
        Raises: PlanRefused; DatabaseError; ManifestError.
        """
        from mastosync.mastodon.identity import age_of, identity_of
        from mastosync.mastodon.standby import require_up_to_date

        with self.database() as database:
            found, age = identity_of(database), age_of(database, TABLES)
            with Manifest.open(self.manifest_path) as manifest:
                require_right(manifest, found, age)
            require_up_to_date(database)
            yield database

    def files_now(self, records: Sequence[Record]) -> dict[tuple[str, str, int], RemoteFile]:
        """Files as their rows have them now, by table, attachment and id; rows that are gone are not there.

        The database is open for a moment only: what is done with the answer may take hours.
        Raises: as `right_database`.
        """
        ids: dict[tuple[str, str], list[int]] = defaultdict(list)
        for record in records:
            kind = record.entry.kind
            ids[kind.table, kind.attachment].append(record.entry.id)
        if not ids:
            return {}
        with self.right_database() as database:
            return {
                (table, attachment, row_id): found
                for (table, attachment), wanted in ids.items()
                for row_id, found in database.remote_files(spec_of(table, attachment), wanted).items()
            }


def manifest_beside(config: Path, path: Path) -> Path | None:
    """The manifest beside the configuration, in full, if none lies where a relative path leads from here."""
    if path.is_absolute() or is_there(path) or not is_there(config.parent / path):
        return None
    return (config.parent / path).resolve()


def identities(config: Config) -> tuple[StoreIdentity, StoreIdentity]:
    """Source and destination, as the manifest records them.

    Raises: ConfigError if they are one; StoreUnusable if this machine is too short of descriptors or memory to tell.
    """
    stores = config.require_stores()
    source, destination = map(identity_of_store, stores)
    if source.same_store(destination) and source.same_port(destination):  # else a probe tells
        raise ConfigError(
            tr("source and destination are the same: {source}", source=source)
            if str(source) == str(destination)
            else tr(
                "source and destination are the same: {source} is {destination}", source=source, destination=destination
            ),
            hint=say(SAME_STORE_REMEDY),
        )
    _require_apart(*stores)
    return source, destination


def require_configured(config: Config, manifest: Manifest) -> None:
    """Check that the manifest was made for the stores of the configuration, which may name none.

    Raises: ManifestError if it was made for others.
    """
    source, destination = (
        identity_of_store(store) if isinstance(store, FilesystemConfig) or store.bucket else None
        for store in (config.store("source"), config.store("destination"))
    )
    require_same(manifest, source, destination)


def identity_of_store(config: StoreConfig) -> StoreIdentity:
    """A store as the manifest records and shows it."""
    if isinstance(config, FilesystemConfig):
        return StoreIdentity.of_folder(real_path(config.folder))
    url = urlsplit(config.endpoint_url or AWS_URL)
    endpoint = f"{url.scheme}://{url.netloc.lower()}{url.path.rstrip('/')}"
    return StoreIdentity(endpoint, config.bucket or "", config.key_prefix)


def _require_apart(source: StoreConfig, destination: StoreConfig) -> None:
    """Check that nothing will be written below the source, or where its links lead.

    Raises: ConfigError if one folder lies in the other, or is it; StoreUnusable if this machine is too short of
    descriptors or memory to tell.
    """
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
    """Links below a folder, and mounts below a source: they lead out of it. Raises: StoreUnusable."""
    from mastosync.store.filesystem import FilesystemProbe

    with closing(FilesystemProbe(config, role=role)) as probe:
        try:
            return [config.folder / way for way in probe.ways_out()]
        except ObjectError as error:
            raise StoreUnusable(error.message, hint=error.hint) from error


def _overlap(one: PurePath, other: PurePath) -> bool:
    """Whether both are the same folder, or one is inside the other."""
    return one.is_relative_to(other) or other.is_relative_to(one)
