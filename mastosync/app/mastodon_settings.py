"""What Mastodon's own settings say: which store its media are in, and which host browsers ask for them.

They are where the configuration or an option says. Beside them, the configuration tells what nginx is to ask.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from mastosync.checking.public_access import Audience, audience_of
from mastosync.config import FilesystemConfig, S3Config
from mastosync.config.sources import read_text
from mastosync.cutover import Fallback, MediaHost, PublicBucket, PublicFolder, PublicStore
from mastosync.cutover.nginx import host_and_port, resolver_address, system_location
from mastosync.errors import UsageError
from mastosync.language import say, tr
from mastosync.mastodon.settings import (
    KEYS,
    bears_name,
    current_settings,
    is_of_mastodon,
    is_rereadable,
    locates_media,
    media_location,
    names_store,
    store_location,
    used_elsewhere,
    uses_bucket,
    value_of,
)
from mastosync.mountinfo import real_path

if TYPE_CHECKING:
    from mastosync.config import Config, Role, Secret, StoreConfig

_log = logging.getLogger(__name__)

_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_LOCAL_RESOLVER = "127.0.0.53"  # systemd's
_RESOLV_CONF = Path("/etc/resolv.conf")


class OwnSettings(NamedTuple):
    """What Mastodon's file says."""

    file: Path | None  # None: nobody knows where it is
    current: dict[str, Secret]  # by name; anything may be a secret
    text: Secret | None = None  # of the file, which can perhaps be read once alone; None: nobody has read it

    @property
    def place(self) -> Path | None:
        """The path of the file for later commands; None: it came by a pipe, or is not known."""
        return self.file if self.file and is_rereadable(self.file) else None

    @property
    def permission(self) -> str:
        """S3_PERMISSION: who may read what Mastodon stores; empty: it is not set."""
        return value_of(self.current, "S3_PERMISSION")

    def uses(self, store: StoreConfig) -> bool:
        """Whether Mastodon's settings name this store."""
        return self.file is not None and names_store(self.current, store, self.file)

    def has_left(self, source: StoreConfig, destination: StoreConfig) -> bool:
        """Whether Mastodon has left the source: its settings name the destination, or what can only be the destination.

        A container knows a folder by another path than this machine does, and a bucket by another endpoint.
        """
        on_disk = locates_media(self.current) and not uses_bucket(self.current)
        is_folder = [isinstance(store, FilesystemConfig) for store in (source, destination)]
        on_new_disk = on_disk and is_folder == [False, True]
        return self.uses(destination) or on_new_disk or self.names_as(source, destination)

    def names_as(self, source: StoreConfig, destination: StoreConfig) -> bool:
        """Whether the settings name a bucket called as the destination, and not as the source, at another endpoint.

        The name alone does not prove that it is the destination.
        """
        if self.file is None or self.uses(source) or self.uses(destination):
            return False
        return bears_name(self.current, destination) and not bears_name(self.current, source)

    def elsewhere(self, source: StoreConfig, destination: StoreConfig) -> str:
        """Where media are, if certainly in neither of these stores; empty: in one of them, or it is not known."""
        return used_elsewhere(self.current, source, destination) if self.file else ""

    def neither(self, source: StoreConfig, destination: StoreConfig) -> str:
        """A message that, by all names, media are in neither of these stores; empty: they are in one."""
        on_the_only_disk = isinstance(source, FilesystemConfig) and not uses_bucket(self.current)
        if self.file is None or on_the_only_disk or self.uses(source) or self.uses(destination):
            return ""
        return tr(
            "{file} names {place}, and neither the old store nor the new one has that name, endpoint and key prefix",
            file=self.file,
            place=media_location(self.current, self.file),
        )

    def doubt(self, source: StoreConfig, destination: StoreConfig) -> str:
        """Why it is not known which of these stores media are in; empty: it is, or there is no file to tell."""
        if self.file is None or self.uses(source) or self.uses(destination):
            return ""
        if not locates_media(self.current):
            return tr("{file} does not say where Mastodon keeps its media (S3_ENABLED, S3_BUCKET)", file=self.file)
        in_bucket, to_folder = uses_bucket(self.current), isinstance(destination, FilesystemConfig)
        if not bears_name(self.current, destination) and (in_bucket or not to_folder):
            return ""
        return tr(
            "{file} names {place}, and the new store is {store} here: in a container they may be the same",
            file=self.file,
            place=media_location(self.current, self.file),
            store=store_location(destination),
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
    is_known = named or config.env.mastodon_file  # else it may be any file of variables
    return OwnSettings(file, current, text) if is_known or is_of_mastodon(current) else OwnSettings(None, {})


def acl_of_way_back(config: Config, mastodon: OwnSettings) -> str | None:
    """The `acl` of the source, for the way back, when it is the destination; None: it is not known.

    Media that were private in one store stay private in the other. Mastodon's settings say so until the switch.
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


def no_media_host() -> UsageError:
    """The error of a command that needs the media host."""
    return UsageError(
        tr("it is not known which host browsers will ask for media"),
        hint=tr("name it: --media-host HOST, or public_url under [s3.destination]"),
    )


def tells_host(config: Config, host: str) -> bool:
    """Whether the configuration itself names this media host."""
    return urlsplit(config.destination.public_url or "").netloc == host


def host_of(config: Config, current: Mapping[str, Secret], named: str | None) -> tuple[str | None, str]:
    """The media host, and the scheme of its addresses: as named, as configured, or as Mastodon has it today.

    None: it is not known. Raises: UsageError if `named` is no host.
    """
    configured = urlsplit(config.destination.public_url or "")
    if named:
        host_and_port(named)
        return named, configured.scheme if named == configured.netloc else "https"
    if configured.netloc and not configured.path.strip("/"):  # with a path, it is the address of the bucket itself
        return configured.netloc, configured.scheme
    for name in ("S3_ALIAS_HOST", "S3_CLOUDFRONT_HOST", "PAPERCLIP_ROOT_URL"):
        host = current[name].reveal().removeprefix("https://").rstrip("/") if name in current else ""
        if host and "/" not in host:
            return host, "https"
    return None, "https"


def media_host_of(
    config: Config, host: str | None, scheme: str, urls: Mapping[str, str | None], fallback: Fallback
) -> MediaHost:
    """What nginx is told. Raises: UsageError if the media host or the address of a store is not known."""
    if host is None:
        raise no_media_host()
    source, destination = config.require_stores()
    stores: dict[str, PublicStore] = {}
    own_url = config.destination.public_url if urlsplit(config.destination.public_url or "").netloc != host else None
    urls = {"source": urls["source"], "destination": urls["destination"] or own_url}
    prefixes = []
    for role, store in (("destination", destination), ("source", source)):
        if role == "destination" or fallback is not Fallback.NONE:
            stores[role] = _public_store(store, role, urls[role], host)
        if isinstance(store, S3Config):
            prefixes.append(_in_address(store.key_prefix))
    resolvers = _resolvers() if any(isinstance(store, PublicBucket) for store in stores.values()) else ()
    new, old = stores["destination"], stores.get("source")
    return MediaHost(host, new, old, resolvers, tuple(prefixes), fallback, scheme)


def system_redirect(config: Config, current: Mapping[str, Secret], media_url: str) -> str | None:
    """The redirect for media that Mastodon served from its disk, on its own host; None: it served none."""
    root = current["PAPERCLIP_ROOT_URL"].reveal() if "PAPERCLIP_ROOT_URL" in current else "/system"
    prefix = config.destination.key_prefix
    if not config.source_folder.path or not _PLAIN_PATH.fullmatch(root.rstrip("/")) or ":" in prefix:
        return None
    return system_location(root.rstrip("/"), f"{media_url}/{_in_address(prefix)}")


def _public_store(store: StoreConfig, role: str, url: str | None, host: str) -> PublicStore:
    """A store as strangers read it. Raises: UsageError if its public address is not known."""
    if isinstance(store, FilesystemConfig):
        return PublicFolder(real_path(store.folder))
    all_private = audience_of(store.acl) is not Audience.EVERYBODY
    if url is None and (all_private or not store.known.reads_for_anybody):
        raise UsageError(
            tr(
                "nobody can read the {role} without credentials at {endpoint}",
                role=say(role),
                endpoint=store.endpoint_url or tr("its endpoint"),
            ),
            hint=tr("name the address of the CDN or proxy that reads it with a key: --{role}-url https://…", role=role)
            if all_private
            else tr("name the public address of its bucket: --{role}-url https://…", role=role),
        )
    if ":" in store.key_prefix:
        raise UsageError(
            tr(
                "the key prefix of the {role}, {key_prefix!r}, differs for each attachment",
                role=say(role),
                key_prefix=store.key_prefix,
            ),
            hint=tr("nginx cannot express that: write the fallback by hand"),
        )
    base = f"{url.rstrip('/')}/" if url else _bucket_url(store)
    if urlsplit(base).netloc == host:
        raise UsageError(
            tr("the media host {host} would ask itself for the objects of the {role}", host=host, role=say(role)),
            hint=tr("name the address of the bucket behind it: --{role}-url https://…", role=role),
        )
    bundle = store.ca_bundle and real_path(store.ca_bundle)
    return PublicBucket(base + _in_address(store.key_prefix), bundle, store.verify_tls)


def _bucket_url(store: S3Config) -> str:
    """The address of a bucket's objects, up to the slash before the key."""
    bucket = store.bucket or ""
    if store.endpoint_url is None:
        host = f"s3.{store.region}.amazonaws.com"
        return f"https://{host}/{bucket}/" if "." in bucket else f"https://{bucket}.{host}/"
    parts = urlsplit(store.endpoint_url)
    if store.addressing_style == "virtual":
        return f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path.rstrip('/')}/"
    return f"{store.endpoint_url}/{bucket}/"


def _in_address(prefix: str) -> str:
    """A key prefix as it stands in an address, before `cache/` or the table."""
    return quote(f"{prefix}/".removeprefix("/"), safe="/~") if prefix else ""


def _resolvers() -> tuple[str, ...]:
    """The name servers of this machine, as nginx writes them. Warns of entries that are no address."""
    try:
        lines = _RESOLV_CONF.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    found: list[str] = []
    for word in (words[1] for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver"):
        if address := resolver_address(word):
            found.append(address)
        else:
            _log.warning("%s: %r is no address that nginx takes as a name server: left out", _RESOLV_CONF, word)
    return tuple(found) or (_LOCAL_RESOLVER,)


def cors_rules(current: Mapping[str, Secret]) -> dict[str, Any] | None:
    """The rules that let Mastodon's pages read from the bucket itself, without nginx; None: their domain is unknown."""
    named = (current[name].reveal() for name in ("WEB_DOMAIN", "LOCAL_DOMAIN") if name in current)
    domain = next(filter(None, named), None)
    if domain is None:
        return None
    rule = {
        "AllowedOrigins": [f"https://{domain}"],
        "AllowedMethods": ["GET", "HEAD"],
        "AllowedHeaders": ["*"],
        "MaxAgeSeconds": 86_400,
    }
    return {"CORSRules": [rule]}
