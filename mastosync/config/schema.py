"""Every section and every key: the one place where they are declared.

A key is a field: its type, its default, how it is written and what it means stand together. The loader, the
check for unknown keys, the environment variables and the sample file are all derived from here, so a new key
is a new field and nothing else.
"""

# ruff: noqa: RUF009 - `key` and `section` only wrap `field()`; their defaults are immutable

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from mastosync.config.providers import LIMITS, PROVIDERS, PricesConfig, Provider, implied
from mastosync.config.secrets import Secret, password_in
from mastosync.config.sections import (
    CeleryConfig,
    CopyConfig,
    EnvConfig,
    FilesystemConfig,
    FollowConfig,
    PlanConfig,
    RefetchConfig,
)
from mastosync.config.values import (
    BUCKET,
    CHANGE_ME,
    DATABASE_URL,
    ENDPOINT,
    HIDDEN_WORD,
    HOST,
    PATH,
    PREFIX,
    PUBLIC_URL,
    SECRET,
    SWITCH,
    TEXT,
    TEXT_OR_NONE,
    WORD,
    Section,
    choice,
    key,
    read_section,
    seconds,
    section,
    variable,
    whole,
)
from mastosync.errors import ConfigError
from mastosync.language import tr
from mastosync.model import CACHE_CONTROL, MANIFEST_BYTES_PER_ENTRY


@dataclass(frozen=True, slots=True)
class S3Config:
    """A bucket at an S3-compatible store. Region and addressing are filled in where none are given."""

    access_key: str | None = key(
        None,
        HIDDEN_WORD,
        "The access key. Remove it together with secret_key to use what the AWS tools would use (their environment"
        " variables, ~/.aws, the role of the machine).",
        sample=CHANGE_ME,
    )
    secret_key: Secret | None = key(None, SECRET, "The secret key that belongs to it.", sample=CHANGE_ME)
    session_token: Secret | None = key(None, SECRET, "Goes with temporary credentials only.")
    endpoint_url: str | None = key(
        None,
        ENDPOINT,
        "The address of the store, without the bucket: https://s3.example.com. Remove it for Amazon S3."
        " Mastodon calls it S3_ENDPOINT.",
        sample=CHANGE_ME,
    )
    bucket: str | None = key(
        None, BUCKET, "The name of the bucket alone. Mastodon calls it S3_BUCKET.", sample=CHANGE_ME
    )
    provider: str | None = key(
        None,
        choice(*PROVIDERS),
        "Who runs the store. It only fills in what is not given: region (from endpoint_url, where the provider writes"
        " it there), addressing_style, whether objects have ACLs of their own, the least size and most number of parts,"
        f" and the most requests a second, where the provider publishes a limit that holds for everybody ({LIMITS})."
        " Elsewhere the rate is found out by asking. Default: the"
        " one whose host is in endpoint_url. Leave it out if yours is not listed.",
    )
    region: str = key(
        "", WORD, "Signed into every request. Default: us-east-1, or what the provider has.", sample="us-east-1"
    )
    addressing_style: str = key(
        "",
        choice("auto", "path", "virtual"),
        "Where the bucket's name goes: path is https://s3.example.com/bucket, virtual is"
        " https://bucket.s3.example.com. Default: path where an endpoint_url is given (as in Mastodon), else auto.",
        sample="path",
    )
    key_prefix: str = key(
        "",
        PREFIX,
        "Mastodon's S3_KEY_PREFIX, exactly as it stands there. At the destination: that of the source unless given;"
        " given and empty, there is none.",
    )
    connect_timeout_seconds: float = key(10.0, seconds(0.1), "How long a connection may take to open.")
    ca_bundle: Path | None = key(
        None,
        PATH,
        "For a store whose certificate no public authority has signed: a PEM file with the certificate of the one that"
        " has, or its own. Only those in it are trusted then. Default: those of the AWS tools (AWS_CA_BUNDLE, else the"
        " public ones).",
    )
    verify_tls: bool = key(
        True,
        SWITCH,
        "Whether the store has to show a certificate that is trusted, in its own name. With false anybody in between"
        " can pose as the store, read objects and change them, and every run warns of it: name a ca_bundle instead.",
    )
    read_timeout_seconds: float = key(60.0, seconds(0.1), "How long the store may stay silent during a request.")
    acl: str = key(
        "auto",
        choice("auto", "public-read", "private", "none"),
        "The ACL that objects are written with. auto: public-read or private, as each row of the database demands, if"
        " the store takes ACLs, which its provider tells or is found out once. public-read: the same, but a store that"
        " takes none stops the run. private: all private. none: no ACL is sent, for stores that silently ignore ACLs,"
        " such as MinIO. Objects that must stay private and cannot are left out: see [copy] private_objects. The first"
        " private object of a run is asked for without credentials; if anybody can read it, it is removed, and the run"
        " stops.",
        only="s3.destination",
    )
    cache_control: str = key(
        CACHE_CONTROL,
        TEXT_OR_NONE,
        "The Cache-Control header for objects that have none at the source; what comes from a disk never has one."
        " Default: what Mastodon writes with every upload. Given and empty, they get none. After a change, `mastosync"
        " apply-settings` updates what was copied before, even objects that had the earlier value at the source: the"
        " two cannot be told apart.",
        only="s3.destination",
    )
    public_url: str | None = key(
        None,
        PUBLIC_URL,
        "Where everybody will read the objects, which `verify --public` tries: a host or URL, as Mastodon's"
        " S3_ALIAS_HOST. Default: the bucket at the endpoint.",
        only="s3.destination",
    )
    storage_class: str | None = key(
        None, WORD, "A storage class such as STANDARD_IA. Default: the bucket's own.", only="s3.destination"
    )

    def __post_init__(self) -> None:
        """Fill in what the provider and the endpoint imply (the class is frozen for everybody else)."""
        object.__setattr__(self, "region", self.region or self.known.region)
        object.__setattr__(self, "addressing_style", self.addressing_style or self.known.addressing_style)

    @property
    def known(self) -> Provider:
        """What is known of the store by its provider, named or recognized."""
        return implied(self.provider, self.endpoint_url)


StoreConfig: TypeAlias = S3Config | FilesystemConfig
Role: TypeAlias = Literal["source", "destination"]


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Mastodon's PostgreSQL. `url`, if given, says everything that the keys before it would."""

    host: str = key("localhost", HOST, "A host name, an address, or the folder of the server's socket.")
    port: int = key(5432, whole(1, 65535), "The port, also in the name of a socket.")
    user: str = key(
        "mastodon",
        TEXT,
        "A user who may read the tables, and the columns id and deleted_at of statuses. Nothing is written.",
    )
    password: Secret | None = key(
        None, SECRET, "Its password. Remove the line if the server asks for none.", sample=CHANGE_ME
    )
    database: str = key("mastodon_production", TEXT, "The name of the database.")
    sslmode: str = key(
        "prefer",
        choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        "Whether the connection is encrypted and the server's certificate checked, as libpq has it.",
    )
    url: Secret | None = key(
        None,
        DATABASE_URL,
        "All of the above in one, as postgresql://user:password@host:port/database. Give either this or the keys"
        " above.",
    )
    connect_timeout_seconds: int = key(10, whole(1), "How long the connection may take to open.")


@dataclass(frozen=True, slots=True)
class TunnelConfig:
    """An SSH tunnel to a database that cannot be reached from here."""

    enabled: bool = key(False, SWITCH, "Whether to reach the database through SSH.")
    ssh_host: str | None = key(None, HOST, "The SSH server. Needed when the tunnel is enabled.")
    ssh_port: int = key(22, whole(1, 65535), "Its port.")
    ssh_user: str | None = key(None, WORD, "The user to log in as. Needed when the tunnel is enabled.")
    ssh_password: Secret | None = key(None, SECRET, "The user's password, where no SSH key is used.")
    ssh_key: Path | None = key(None, PATH, "A private key file, such as ~/.ssh/id_ed25519.")
    ssh_key_passphrase: Secret | None = key(
        None, SECRET, "What the key file is encrypted with. Better given by the environment than here."
    )
    known_hosts: Path = key(
        Path("~/.ssh/known_hosts"),
        PATH,
        "The file with the SSH server's public key. An unknown server is refused: connect once by ssh to add it.",
    )
    local_host: str = key("127.0.0.1", HOST, "Where the tunnel listens on this machine.")
    local_port: int = key(0, whole(0, 65535), "Its port there; 0 takes a free one.")


@dataclass(frozen=True, slots=True)
class ManifestConfig:
    """The file that remembers every object."""

    path: Path = key(
        Path("mastosync.db"),
        PATH,
        "Where it lies: a relative path begins in the folder where a command runs, not in that of this file. It needs a"
        f" local disk, and about {MANIFEST_BYTES_PER_ENTRY} bytes an object when all are done.",
    )
    network_filesystem: str = key(
        "refuse",
        choice("refuse", "allow"),
        "Whether it may be written on a network file system (NFS, SMB and the like), where locks and the write-ahead"
        " log of SQLite cannot be relied on. allow writes there with a warning each time: then nothing must open it"
        " on another machine.",
    )


class SecretReference(NamedTuple):
    """A secret that the configuration takes from a variable of the file of `[env]`."""

    section: str
    key: str
    variable: str


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. What a command needs of it is asked for by the `require_…` methods."""

    source: S3Config = section(
        "s3.source", S3Config(), "Where the media are today. mastosync never writes or deletes anything there."
    )
    source_folder: FilesystemConfig = section(
        "filesystem.source",
        FilesystemConfig(),
        "Or the media are on a disk of this machine, as Mastodon keeps them without S3. Then remove [s3.source].",
    )
    destination: S3Config = section(
        "s3.destination",
        S3Config(),
        "Where the media go. The bucket must exist, and the key must be allowed to write.",
    )
    destination_folder: FilesystemConfig = section(
        "filesystem.destination",
        FilesystemConfig(),
        "Or they go to a disk of this machine: a backup, or the way back. Then remove [s3.destination]. The folder"
        " must exist. Public objects are written as files that everybody may read, private ones as files of their"
        " owner's alone, less your umask; headers are not kept.",
    )
    database: DatabaseConfig = section(
        "pg.database", DatabaseConfig(), "Mastodon's database, which says what must exist. It is only read."
    )
    tunnel: TunnelConfig = section(
        "pg.tunnel", TunnelConfig(), "The way to a database that only an SSH server can reach."
    )
    env: EnvConfig = section(
        "env", EnvConfig(), "Where secrets are looked up that this file only refers to, as `env:NAME`."
    )
    manifest: ManifestConfig = section(
        "manifest", ManifestConfig(), "One SQLite file remembers every object and what became of it."
    )
    plan: PlanConfig = section("plan", PlanConfig(), "What is to be copied; options of `plan` override this.")
    copy: CopyConfig = section("copy", CopyConfig(), "How it is copied; options of `copy` override this.")
    follow: FollowConfig = section("follow", FollowConfig(), "How `follow` keeps pace with an instance that lives on.")
    refetch: RefetchConfig = section(
        "refetch", RefetchConfig(), "How `refetch` asks the servers that files came from. It trusts none of them."
    )
    prices: PricesConfig = section(
        "prices", PricesConfig(), "What stores charge, for the estimates of `plan --dry-run` and `status`."
    )
    celery: CeleryConfig = section(
        "celery", CeleryConfig(), "Only for clusters. A file of the older Celery tool can be used as it is."
    )
    path: Path | None = None  # the file it came from; None: the environment alone
    absent: frozenset[str] = frozenset()  # sections about which neither file nor environment said anything
    warnings: tuple[str, ...] = ()  # for the user, one sentence each
    referred: tuple[SecretReference, ...] = ()  # secrets that stand in the file of [env]

    def require_database(self) -> DatabaseConfig:
        """The database, for a command that reads it.

        Raises: ConfigError if nothing is said about it, or if its tunnel is enabled and misses a key.
        """
        if "pg.database" in self.absent:
            raise missing_key(self.path, "pg.database", "host")
        if self.tunnel.enabled:
            for name in ("ssh_host", "ssh_user"):
                if not getattr(self.tunnel, name):
                    raise missing_key(self.path, "pg.tunnel", name)
        return self.database

    def secrets(self) -> Iterator[str]:
        """All that must never be shown: hidden values, and the passwords in those that are URLs."""
        for part in sections().values():
            for name, declared in part.keys.items():
                value = getattr(getattr(self, part.attribute), name)
                if declared.info.form.hidden and value:
                    text = value.reveal() if isinstance(value, Secret) else str(value)
                    yield text
                    if "://" in text:
                        yield from password_in(text)

    def store(self, role: Role) -> StoreConfig:
        """One of the two, whatever it misses."""
        bucket, folder = (
            (self.source, self.source_folder) if role == "source" else (self.destination, self.destination_folder)
        )
        return folder if folder.path else bucket

    def require_stores(self) -> tuple[StoreConfig, StoreConfig]:
        """Source and destination, for a command that reads or writes objects.

        Raises: ConfigError if one of them has neither bucket nor path.
        """
        return self.require_store("source"), self.require_store("destination")

    def require_store(self, role: Role) -> StoreConfig:
        """One of the two. Raises: ConfigError if it has neither bucket nor path."""
        store = self.store(role)
        if isinstance(store, S3Config) and not store.bucket:
            missing = missing_key(self.path, f"s3.{role}", "bucket")
            missing.hint = tr("{hint} Or name a folder: path in [filesystem.{role}].", hint=missing.hint, role=role)
            raise missing
        return store

    def published_rates(self) -> tuple[int | None, int | None]:
        """The most requests a second to source and destination, as their providers publish it; None: find out."""
        reads, writes = self.source.known.reads, self.destination.known.writes
        if self.source.endpoint_url != self.destination.endpoint_url:
            return reads, writes
        both = reads + writes if reads and writes else None  # limits hold for a bucket each
        return both, both


@cache
def sections() -> Mapping[str, Section]:
    """All sections by name, in the order of the file."""
    found = [read_section(item) for item in fields(Config) if "section" in item.metadata]
    return MappingProxyType({section.name: section for section in found})


def no_configuration() -> ConfigError:
    """There is none at all."""
    return ConfigError(tr("there is no configuration"), hint=_and_places(tr("`mastosync init` writes one.")))


def missing_key(path: Path | None, section: str, name: str) -> ConfigError:
    """A key that a command cannot do without. `path`: of the file; None: there is only the environment."""
    given = variable(section, name)
    hint = tr("Add it there, or set {variable}.", variable=given)
    if path is None:
        hint = _and_places(tr("Set {variable}, or write a file with `mastosync init`.", variable=given))
    where = path or tr("the environment")
    return ConfigError(tr("{where}: [{section}] {name} is missing", where=where, section=section, name=name), hint=hint)


def _and_places(hint: str) -> str:
    return tr(
        "{hint} A configuration file is looked for in this order: -c/--config, MASTOSYNC_CONFIG,"
        " ./private/$CONFIG_FILE_NAME, ./config.ini, ./private/config.ini.",
        hint=hint,
    )
