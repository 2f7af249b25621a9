"""How `doctor` gets to stores and database: with less patience than a copy, and never to write where media lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mastosync.app.stores import identities, of_changed_file
from mastosync.doctor import DatabaseWay, FolderWay, StoreWay
from mastosync.language import tr

if TYPE_CHECKING:
    from mastosync.config import Config, FilesystemConfig, Role
    from mastosync.mastodon.identity import DatabaseProbe
    from mastosync.store.base import ObjectStore
    from mastosync.store.filesystem.probe import FilesystemProbe
    from mastosync.store.s3.probe import S3Probe

_CONNECT_SECONDS = 5  # at most: a doctor is to be done within seconds
_READ_SECONDS = 10.0


def way_to(config: Config, role: Role) -> StoreWay | FolderWay:
    """The way to one of the stores."""
    return _folder_way(config, role) if _folder_of(config, role).path else _bucket_way(config, role)


def database_way(config: Config, tunnel: Callable[[], AbstractContextManager[tuple[str, int] | None]]) -> DatabaseWay:
    """The way to the database; `tunnel` opens the tunnel to it, if there is one, and tells its near end."""
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.mastodon.identity import DatabaseProbe

    @contextmanager
    def connect(via: tuple[str, int] | None) -> Iterator[DatabaseProbe]:
        asked = config.require_database()
        seconds = min(asked.connect_timeout_seconds, _CONNECT_SECONDS)
        with MastodonDatabase(replace(asked, connect_timeout_seconds=seconds), via) as database:
            yield DatabaseProbe(database)

    ssh = config.tunnel
    gateway = tr("the SSH server {ssh_host}:{ssh_port}", ssh_host=ssh.ssh_host, ssh_port=ssh.ssh_port)
    return DatabaseWay(gateway if ssh.enabled else "", tunnel, connect)


def _folder_way(config: Config, role: Role) -> FolderWay:
    from mastosync.store.filesystem import FilesystemProbe, FilesystemStore

    folder = _folder_of(config, role)

    @contextmanager
    def opened() -> Iterator[tuple[ObjectStore, FilesystemProbe]]:
        _require_apart(config, role)
        with (
            closing(FilesystemStore(folder, role=role)) as store,
            closing(FilesystemProbe(folder, role=role)) as probe,
        ):
            yield store, probe

    return FolderWay(opened, folder.keep_free)


def _bucket_way(config: Config, role: Role) -> StoreWay:
    from mastosync.store.s3.curl_store import CurlStore
    from mastosync.store.s3.probe import S3Probe

    bucket = config.source if role == "source" else config.destination

    @contextmanager
    def opened() -> Iterator[tuple[ObjectStore, S3Probe]]:
        config.require_store(role)
        _require_apart(config, role)
        quick = replace(
            bucket,
            connect_timeout_seconds=min(bucket.connect_timeout_seconds, _CONNECT_SECONDS),
            read_timeout_seconds=min(bucket.read_timeout_seconds, _READ_SECONDS),
        )
        with closing(CurlStore(quick, role=role, connections=1)) as store, closing(S3Probe(quick, role=role)) as probe:
            yield store, probe

    return StoreWay(opened, bucket.key_prefix, of_changed_file(config, role))


def _folder_of(config: Config, role: Role) -> FilesystemConfig:
    return config.source_folder if role == "source" else config.destination_folder


def _require_apart(config: Config, role: Role) -> None:
    """Raises: ConfigError before something is written to a destination that is the source."""
    if role == "destination" and (config.source.bucket or config.source_folder.path):
        identities(config)
