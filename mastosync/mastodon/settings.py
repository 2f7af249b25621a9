"""The lines of `.env.production` that say where media are: what they say, and what they have to say for a store.

They mean what `config/initializers/paperclip.rb` and `app/lib/content_security_policy.rb` of Mastodon 4.6 make of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mastosync.config import FilesystemConfig, S3Config, Secret, StoreConfig
from mastosync.config.env_file import EnvFile, parsed
from mastosync.config.schema import sections
from mastosync.errors import ConfigError
from mastosync.language import tr

_KNOWN = re.compile(
    r"(?:S3|AWS|SWIFT|AZURE|PAPERCLIP|DB|REPLICA_DB|REDIS|CACHE_REDIS|SIDEKIQ_REDIS|SMTP|ES|VAPID|STREAMING|RAILS|LDAP"
    r"|PAM|CAS|SAML|OIDC|OMNIAUTH|ACTIVE_RECORD_ENCRYPTION)_[A-Z0-9_]+"
    r"|(?:REPLICA_)?DATABASE_URL|(?:LOCAL|WEB)_DOMAIN|ALTERNATE_DOMAINS|(?:LIMITED_FEDERATION|SINGLE_USER)_MODE"
    r"|SECRET_KEY_BASE|OTP_SECRET|PREPARED_STATEMENTS|CDN_HOST|DEFAULT_LOCALE|WEB_CONCURRENCY|MAX_THREADS"
)
"""Names of variables that Mastodon reads; one of them is enough."""


def is_rereadable(path: Path) -> bool:
    """Whether the file can be read again, by the same name. What `<(command)` or a pipe leaves there cannot."""
    folder = Path(os.path.realpath(path.parent))  # /dev/fd is in /proc
    return path.is_file() and not folder.is_relative_to("/proc") and path != Path("/dev/stdin")


def own_file(text: Secret, path: Path, syntax: str, environ: Mapping[str, str], option: str) -> EnvFile:
    """What Mastodon's settings say. `option`: which named the file.

    Raises: ConfigError if they are not Mastodon's.
    """
    file = parsed(text, syntax, environ)
    if any(map(_KNOWN.fullmatch, file.variables)):
        return file
    if not file.variables and not file.broken:
        problem = tr("{file} sets nothing: it is empty, or all of it is comments", file=path)
    else:
        problem = tr("{file} is not Mastodon's: none of its lines is a setting that Mastodon knows", file=path)
    hint = tr("{option} names Mastodon's own file, such as /home/mastodon/live/.env.production", option=option)
    ours = {key for section in sections().values() for key in section.keys}
    if len(ours & file.variables.keys()) > 1:
        hint = tr("it looks like a configuration of mastosync, which -c names; {hint}", hint=hint)
    raise ConfigError(problem, hint=hint)


_NEEDS_QUOTES = re.compile(r"[\s#$\"\\]")

_OF_S3 = (
    "S3_BUCKET",
    "S3_REGION",
    "S3_ENDPOINT",
    "S3_PROTOCOL",
    "S3_HOSTNAME",
    "S3_ALIAS_HOST",
    "S3_CLOUDFRONT_HOST",
    "S3_OVERRIDE_PATH_STYLE",
    "S3_PERMISSION",
    "S3_STORAGE_CLASS",
    "S3_KEY_PREFIX",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)


_ONLY_MASTODON = frozenset({"LOCAL_DOMAIN", "WEB_DOMAIN", "SECRET_KEY_BASE", "S3_ENABLED", "PAPERCLIP_ROOT_PATH"})
HOSTS = frozenset({"S3_ALIAS_HOST", "PAPERCLIP_ROOT_URL"})
"""What names the host that browsers ask."""
KEYS = {"AWS_ACCESS_KEY_ID": "access_key", "AWS_SECRET_ACCESS_KEY": "secret_key"}
"""What a switch writes or removes, and a configuration may refer to: variable → key of the configuration."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One line, as it has to be."""

    name: str
    value: str | Secret | None  # None: the line has to go
    remark: str = ""

    @property
    def secret(self) -> Secret | None:
        """What to write, secret or not."""
        return Secret(self.value) if isinstance(self.value, str) else self.value

    @property
    def line(self) -> str:
        """The line to write; of a secret, where in the configuration it stands."""
        if isinstance(self.value, Secret):
            return f"{self.name}=<{KEYS[self.name]} of [s3.destination]>"
        value = self.value or ""
        return f"{self.name}='{value}'" if _NEEDS_QUOTES.search(value) else f"{self.name}={value}"

    def as_json(self) -> dict[str, str | bool | None]:
        """For scripts. The value of a secret is left out."""
        secret = isinstance(self.value, Secret)
        value = None if isinstance(self.value, Secret) else self.value
        return {"name": self.name, "value": value, "secret": secret, "remark": self.remark}


def storage_settings(store: StoreConfig, media_host: str, *, acls: bool, scheme: str = "https") -> list[Setting]:
    """All lines that matter, for a Mastodon that is to keep its media in this store.

    `media_host`: what browsers ask for media. `acls`: whether the store takes ACLs, as far as anybody knows.
    """
    if isinstance(store, FilesystemConfig):
        return [
            Setting("S3_ENABLED", "false"),
            Setting("PAPERCLIP_ROOT_PATH", str(store.folder)),
            Setting("PAPERCLIP_ROOT_URL", f"{scheme}://{media_host}"),
            *(Setting(name, None) for name in _OF_S3),
        ]
    return list(_of_bucket(store, media_host, acls=acls, scheme=scheme))


def _of_bucket(store: S3Config, media_host: str, *, acls: bool, scheme: str) -> Iterator[Setting]:
    yield Setting("S3_ENABLED", "true")
    yield Setting("S3_BUCKET", store.bucket)
    yield Setting("S3_REGION", store.region)
    yield Setting("S3_ENDPOINT", store.endpoint_url)
    yield Setting("S3_PROTOCOL", scheme)
    yield Setting("S3_HOSTNAME", urlsplit(store.endpoint_url or f"https://s3.{store.region}.amazonaws.com").netloc)
    yield Setting("S3_ALIAS_HOST", media_host)
    yield Setting("S3_CLOUDFRONT_HOST", None)
    # with an endpoint, Mastodon puts the bucket into the path unless it is told
    in_host = store.endpoint_url is not None and store.addressing_style == "virtual"
    yield Setting("S3_OVERRIDE_PATH_STYLE", "true" if in_host else None)
    yield _permission(store, acls=acls)
    yield Setting("S3_STORAGE_CLASS", store.storage_class)
    yield Setting("S3_KEY_PREFIX", store.key_prefix or None)  # an empty one would be none, too, but looks like one
    # without a key, Mastodon has to find credentials as mastosync does, and these lines would keep it from that
    yield Setting("AWS_ACCESS_KEY_ID", Secret(store.access_key) if store.access_key else None)
    yield Setting("AWS_SECRET_ACCESS_KEY", store.secret_key)


def _permission(store: S3Config, *, acls: bool) -> Setting:
    if store.acl == "private":
        return Setting("S3_PERMISSION", "private")
    if store.acl == "none" or not acls:
        return Setting("S3_PERMISSION", "", tr("the store takes no ACLs: the line has to be there, and empty"))
    asked = store.acl == "auto" and store.known.takes_acl is None
    remark = tr("empty, if `mastosync copy` has said that the destination takes no ACLs") if asked else ""
    return Setting("S3_PERMISSION", "public-read", remark)


def current_settings(text: Secret, file: Path, syntax: str, option: str = "") -> dict[str, Secret]:
    """What the text of Mastodon's file says, by name; anything may be a secret. `option`: which named it as Mastodon's.

    Raises: ConfigError if it is not what it was named as.
    """
    found = own_file(text, file, syntax, {}, option) if option else parsed(text, syntax, {})
    return {name: variable.value for name, variable in found.variables.items() if variable.value is not None}


def is_of_mastodon(current: Mapping[str, Secret]) -> bool:
    """Whether these are Mastodon's own settings, and not just some variables."""
    return not _ONLY_MASTODON.isdisjoint(current)


def media_folder(named: str, file: Path) -> Path:
    """Where a Mastodon without S3 keeps its media. `named`: PAPERCLIP_ROOT_PATH, may be empty; `file`: its settings."""
    live = file.parent
    return live / (named or "public/system").replace(":rails_root", str(live))


def value_of(current: Mapping[str, Secret], name: str) -> str:
    """What a setting is; empty: it is not there."""
    return current[name].reveal() if name in current else ""


def uses_bucket(current: Mapping[str, Secret]) -> bool:
    """Whether a Mastodon with these settings keeps its media in a bucket; else they are on its disk."""
    return value_of(current, "S3_ENABLED") == "true"


def locates_media(current: Mapping[str, Secret]) -> bool:
    """Whether these settings say where the media are. A container may have them in its environment alone."""
    return "S3_ENABLED" in current and (not uses_bucket(current) or "S3_BUCKET" in current)


def media_location(current: Mapping[str, Secret], file: Path) -> str:
    """Where the media are by these settings, for people."""
    if uses_bucket(current):
        return _bucket_location(value_of(current, "S3_BUCKET"), value_of(current, "S3_ENDPOINT"))
    return tr("the folder {folder}", folder=media_folder(value_of(current, "PAPERCLIP_ROOT_PATH"), file))


def store_location(store: StoreConfig) -> str:
    """A store in the same words."""
    if isinstance(store, FilesystemConfig):
        return tr("the folder {folder}", folder=store.folder)
    return _bucket_location(store.bucket or "", store.endpoint_url or "")


def _bucket_location(bucket: str, endpoint: str) -> str:
    server = _server(endpoint, bucket)
    named = tr("the bucket {bucket!r}", bucket=bucket)
    return tr("{bucket} at {server}", bucket=named, server=server) if server else named


def names_store(current: Mapping[str, Secret], store: StoreConfig, file: Path) -> bool:
    """Whether a Mastodon with these settings, which stand in a file, writes its media to this store."""
    in_bucket = uses_bucket(current)
    if isinstance(store, FilesystemConfig):
        folder = media_folder(value_of(current, "PAPERCLIP_ROOT_PATH"), file)
        return not in_bucket and os.path.realpath(folder) == os.path.realpath(store.folder)
    bucket = store.bucket or ""
    same_server = _server(value_of(current, "S3_ENDPOINT"), bucket) == _server(store.endpoint_url or "", bucket)
    return same_server and bears_name(current, store)


def bears_name(current: Mapping[str, Secret], store: StoreConfig) -> bool:
    """Whether these settings name a bucket and a key prefix as a store has them, at whatever endpoint."""
    if not (uses_bucket(current) and isinstance(store, S3Config)):
        return False
    return (value_of(current, "S3_BUCKET"), value_of(current, "S3_KEY_PREFIX")) == (store.bucket, store.key_prefix)


def _server(endpoint: str, bucket: str) -> str:
    """What server an endpoint is, however it is written. Amazon's need not be written at all."""
    try:
        url = urlsplit(endpoint)
        host, port = (url.hostname or "").removeprefix(f"{bucket.lower()}."), url.port
    except ValueError:
        return endpoint
    if not endpoint or host.endswith(".amazonaws.com"):
        return ""
    usual = {"https": 443, "http": 80}.get(url.scheme)
    return f"{host}:{port or usual}{url.path.rstrip('/')}"


def used_elsewhere(current: Mapping[str, Secret], *stores: StoreConfig) -> str:
    """Where the media are by these settings, if that is none of these stores; empty: it is one, or nobody can tell.

    Buckets are compared by their names alone, and folders not at all: containers see them under other names.
    """
    if not locates_media(current):
        return ""
    if uses_bucket(current):
        bucket = current["S3_BUCKET"].reveal()
        buckets = [store.bucket for store in stores if isinstance(store, S3Config)]
        return "" if bucket in buckets else tr("the bucket {bucket!r}", bucket=bucket)
    return "" if any(isinstance(store, FilesystemConfig) for store in stores) else tr("its disk")


def changed(settings: list[Setting], current: Mapping[str, Secret]) -> list[Setting]:
    """The settings that the file has with another value, or not at all."""
    return [setting for setting in settings if not _is(current.get(setting.name), setting.value)]


def _is(current: Secret | None, wanted: str | Secret | None) -> bool:
    return current == (Secret(wanted) if isinstance(wanted, str) else wanted)
