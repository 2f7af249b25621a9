"""How `doctor` opens stores and database: with short timeouts, and never a destination that is the source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mastosync.app.context import identities
from mastosync.app.stores import of_changed_file, settings_of, transfer_options
from mastosync.doctor import BucketTarget, DatabaseTarget, Doctor, FolderTarget, ManifestTarget
from mastosync.language import tr

if TYPE_CHECKING:
    from mastosync.app.context import Context
    from mastosync.config import Config, FilesystemConfig, Role
    from mastosync.doctor import Finding
    from mastosync.mastodon.identity import DatabaseProbe
    from mastosync.store.base import ObjectStore
    from mastosync.store.filesystem.probe import FilesystemProbe
    from mastosync.store.s3.probe import S3Probe

_CONNECT_SECONDS = 5  # at most: a doctor is to be done within seconds
_READ_SECONDS = 10.0


def doctor(context: Context) -> Iterator[Finding]:
    """Check everything that can fail. Raises: Interrupted, after all probes are removed."""
    config = context.config
    return Doctor(
        source=store_target(config, "source"),
        destination=store_target(config, "destination"),
        database=database_target(context),
        manifest=ManifestTarget(
            context.manifest_path,
            partial(identities, config),
            network_allowed=config.manifest.network_filesystem == "allow",
            settings=settings_of(config),
        ),
        options=transfer_options(config),
        types=config.plan.types,
        workers=config.copy.workers,
        stop=context.stop,
    ).run()


def store_target(config: Config, role: Role) -> BucketTarget | FolderTarget:
    """How to reach one of the stores."""
    return _folder_target(config, role) if _folder_of(config, role).path else _bucket_target(config, role)


def database_target(context: Context) -> DatabaseTarget:
    """The database, and how to open it, through its tunnel if there is one."""
    from mastosync.mastodon.database import MastodonDatabase
    from mastosync.mastodon.identity import DatabaseProbe

    config = context.config

    @contextmanager
    def connect(via: tuple[str, int] | None) -> Iterator[DatabaseProbe]:
        asked = config.require_database()
        seconds = min(asked.connect_timeout_seconds, _CONNECT_SECONDS)
        with MastodonDatabase(replace(asked, connect_timeout_seconds=seconds), via) as database:
            yield DatabaseProbe(database)

    ssh = config.tunnel
    gateway = tr("the SSH server {ssh_host}:{ssh_port}", ssh_host=ssh.ssh_host, ssh_port=ssh.ssh_port)
    return DatabaseTarget(gateway if ssh.enabled else "", context.tunnel, connect)


def _folder_target(config: Config, role: Role) -> FolderTarget:
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

    return FolderTarget(opened, folder.keep_free)


def _bucket_target(config: Config, role: Role) -> BucketTarget:
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

    return BucketTarget(opened, bucket.key_prefix, of_changed_file(config, role))


def _folder_of(config: Config, role: Role) -> FilesystemConfig:
    return config.source_folder if role == "source" else config.destination_folder


def _require_apart(config: Config, role: Role) -> None:
    """Raises: ConfigError before something is written to a destination that is the source."""
    if role == "destination" and (config.source.bucket or config.source_folder.path):
        identities(config)
