"""Mastodon's own settings, where the configuration or an option says where they are.

Rows of Mastodon's database that belong to entries of the manifest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mastosync.config import FilesystemConfig
from mastosync.config.sources import read_text
from mastosync.language import tr
from mastosync.manifest import Manifest, require_right
from mastosync.mastodon.catalog import spec_of
from mastosync.mastodon.identity import age_of, identity_of
from mastosync.mastodon.settings import (
    KEYS,
    bears_name,
    current_settings,
    is_of_mastodon,
    is_told,
    lasts,
    names_store,
    place_told,
    said,
    store_told,
    used_elsewhere,
    uses_bucket,
)
from mastosync.mastodon.standby import require_up_to_date
from mastosync.model import TABLES

if TYPE_CHECKING:
    from mastosync.config import Config, Role, Secret, StoreConfig
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.model import Record, RemoteFile


class OwnSettings(NamedTuple):
    """What Mastodon's file says."""

    file: Path | None  # None: nobody knows where it is
    current: dict[str, Secret]  # by name; anything may be a secret
    text: Secret | None = None  # of the file, which can perhaps be read once alone; None: nobody has read it

    @property
    def place(self) -> Path | None:
        """Where commands find that file; None: nowhere, as it came by a pipe, or is not known."""
        return self.file if self.file and lasts(self.file) else None

    @property
    def permission(self) -> str:
        """What it says of who may read what it stores; empty: nothing."""
        return said(self.current, "S3_PERMISSION")

    def uses(self, store: StoreConfig) -> bool:
        """Whether its media are in this store, as far as is known."""
        return self.file is not None and names_store(self.current, store, self.file)

    def has_left(self, source: StoreConfig, destination: StoreConfig) -> bool:
        """Whether they are no longer in the source: they are in the destination, or in what can only be it.

        A container knows a folder by another path than this machine does, and a bucket by another endpoint.
        """
        on_disk = is_told(self.current) and not uses_bucket(self.current)
        is_folder = [isinstance(store, FilesystemConfig) for store in (source, destination)]
        on_new_disk = on_disk and is_folder == [False, True]
        return self.uses(destination) or on_new_disk or self.names_as(source, destination)

    def names_as(self, source: StoreConfig, destination: StoreConfig) -> bool:
        """Whether they are in a bucket that is called as the destination, and not as the source, at another endpoint.

        The names alone do not prove that it is the destination.
        """
        if self.file is None or self.uses(source) or self.uses(destination):
            return False
        return bears_name(self.current, destination) and not bears_name(self.current, source)

    def elsewhere(self, source: StoreConfig, destination: StoreConfig) -> str:
        """Where they are, if that is certainly neither of these stores; empty: it is one, or nobody can tell."""
        return used_elsewhere(self.current, source, destination) if self.file else ""

    def neither(self, source: StoreConfig, destination: StoreConfig) -> str:
        """That they are in neither of these stores, by all of their names, for people; empty: they are in one."""
        on_the_only_disk = isinstance(source, FilesystemConfig) and not uses_bucket(self.current)
        if self.file is None or on_the_only_disk or self.uses(source) or self.uses(destination):
            return ""
        return tr(
            "{file} names {place}, and neither the old store nor the new one has that name, endpoint and key prefix",
            file=self.file,
            place=place_told(self.current, self.file),
        )

    def doubt(self, source: StoreConfig, destination: StoreConfig) -> str:
        """Why nobody can tell which of these stores they are in; empty: it is told, or the file is not known."""
        if self.file is None or self.uses(source) or self.uses(destination):
            return ""
        if not is_told(self.current):
            return tr("{file} does not say where Mastodon keeps its media (S3_ENABLED, S3_BUCKET)", file=self.file)
        in_bucket, to_folder = uses_bucket(self.current), isinstance(destination, FilesystemConfig)
        if not bears_name(self.current, destination) and (in_bucket or not to_folder):
            return ""
        return tr(
            "{file} names {place}, and the new store is {store} here: in a container they may be the same",
            file=self.file,
            place=place_told(self.current, self.file),
            store=store_told(destination),
        )


def own_settings(config: Config, named: Path | None = None) -> OwnSettings:
    """Read the file that was `named` (--env), or the one of the configuration, if that is Mastodon's.

    Raises: ConfigError if it cannot be read, or was named and is not Mastodon's.
    """
    file = named or config.env.settings
    if file is None:
        return OwnSettings(None, {})
    text = read_text(file, str(file))
    current = current_settings(text, file, config.env.syntax, "--env" if named else "")
    is_told = named or config.env.mastodon_file  # else it may be any file of variables
    return OwnSettings(file, current, text) if is_told or is_of_mastodon(current) else OwnSettings(None, {})


def acl_of_way_back(config: Config, mastodon: OwnSettings) -> str | None:
    """The `acl` of a bucket that was the source, for when it is the destination; None: nobody knows.

    Whoever keeps media private does so wherever they are. Mastodon's settings tell it until the switch.
    """
    acl = config.destination.acl if config.destination.bucket else None
    if acl == "private":
        return acl
    if mastodon.uses(config.store("source")):
        known = {"private": "private", "": "none"} if "S3_PERMISSION" in mastodon.current else {}
        return known.get(mastodon.permission, "auto")
    return "auto" if acl in ("auto", "public-read") else None


def variables_of(config: Config, role: Role) -> set[str]:
    """The variables of a file from which the configuration takes secrets of a bucket."""
    return {each.variable for each in config.referred if each.section == f"s3.{role}"}


def keys_at_stake(config: Config) -> bool:
    """Whether the source takes keys from a file that the switch may write over there.

    The keys of the destination, where both refer to the same, stay what they are. Equal ones need not: once they were
    written over others, nobody can tell.
    """
    of_source = variables_of(config, "source")
    return bool(of_source & KEYS.keys()) and not of_source <= variables_of(config, "destination")


def has_one_key(config: Config) -> bool:
    """Whether the source has the keys of the destination: one for both, or the file was written over."""
    source, destination = config.source, config.destination
    return (source.access_key, source.secret_key) == (destination.access_key, destination.secret_key)


Databases = Callable[[], AbstractContextManager["MastodonDatabase"]]


def files_of(databases: Databases, records: Sequence[Record]) -> dict[tuple[str, str, int], RemoteFile]:
    """Files as their rows have them now, by table, attachment and id; rows that are gone are not there.

    The database is open for a moment only: what is done with the answer may take hours. Raises: DatabaseError.
    """
    ids: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in records:
        kind = record.entry.kind
        ids[kind.table, kind.attachment].append(record.entry.id)
    if not ids:
        return {}
    with databases() as database:
        return {
            (table, attachment, row_id): found
            for (table, attachment), wanted in ids.items()
            for row_id, found in database.remote_files(spec_of(table, attachment), wanted).items()
        }


@contextmanager
def right_database(manifest_path: Path, databases: Databases) -> Iterator[MastodonDatabase]:
    """Mastodon's database. Another one, or half of it, would say that everybody may read what is private.

    Each connection is asked, from any thread: a restore may be at work since the last one. Raises: PlanRefused;
    DatabaseError; ManifestError.
    """
    with databases() as database:
        found, age = identity_of(database), age_of(database, TABLES)
        with Manifest.open(manifest_path) as manifest:
            require_right(manifest, found, age)
        require_up_to_date(database)
        yield database
