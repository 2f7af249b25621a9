"""Where nginx answers for media, and what it asks: from the configuration, as everybody reads the stores."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from mastosync.checking.public_access import Readers, readers_of
from mastosync.config import FilesystemConfig, S3Config
from mastosync.cutover import Fallback, MediaHost, PublicBucket, PublicFolder, PublicStore
from mastosync.cutover.nginx import host_and_port, resolver_address, system_location
from mastosync.errors import UsageError
from mastosync.language import say, tr
from mastosync.mountinfo import real_path

if TYPE_CHECKING:
    from mastosync.config import Config, Secret, StoreConfig

_log = logging.getLogger(__name__)

_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_LOCAL_RESOLVER = "127.0.0.53"  # systemd's
_RESOLV_CONF = Path("/etc/resolv.conf")


def no_media_host() -> UsageError:
    """What to tell whoever needs it."""
    return UsageError(
        tr("it is not known which host browsers will ask for media"),
        hint=tr("name it: --media-host HOST, or public_url under [s3.destination]"),
    )


def tells_host(config: Config, host: str) -> bool:
    """Whether the configuration itself says what browsers will ask."""
    return urlsplit(config.destination.public_url or "").netloc == host


def host_of(config: Config, current: Mapping[str, Secret], named: str | None) -> tuple[str | None, str]:
    """The host that browsers ask, and the scheme of its addresses: as named, as configured, or as it is today.

    None: nobody has said it. Raises: UsageError if what was named is no host.
    """
    configured = urlsplit(config.destination.public_url or "")
    if named:
        host_and_port(named)
        return named, configured.scheme if named == configured.netloc else "https"
    if configured.netloc and not configured.path.strip("/"):  # with a path, it is the address of the bucket itself
        return configured.netloc, configured.scheme
    for name in ("S3_ALIAS_HOST", "S3_CLOUDFRONT_HOST", "PAPERCLIP_ROOT_URL"):
        told = current[name].reveal().removeprefix("https://").rstrip("/") if name in current else ""
        if told and "/" not in told:
            return told, "https"
    return None, "https"


def media_host_of(
    config: Config, host: str | None, scheme: str, urls: Mapping[str, str | None], fallback: Fallback
) -> MediaHost:
    """Raises: UsageError if nobody can say what nginx is to ask, or be."""
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
    """What nginx is to answer where Mastodon served media of its disk, on its own host; None: it did not."""
    root = current["PAPERCLIP_ROOT_URL"].reveal() if "PAPERCLIP_ROOT_URL" in current else "/system"
    prefix = config.destination.key_prefix
    if not config.source_folder.path or not _PLAIN_PATH.fullmatch(root.rstrip("/")) or ":" in prefix:
        return None
    return system_location(root.rstrip("/"), f"{media_url}/{_in_address(prefix)}")


def _public_store(store: StoreConfig, role: str, url: str | None, host: str) -> PublicStore:
    """A store as everybody reads it. Raises: UsageError if nobody can say where."""
    if isinstance(store, FilesystemConfig):
        return PublicFolder(real_path(store.folder))
    all_private = readers_of(store.acl) is not Readers.EVERYBODY
    if url is None and (all_private or not store.known.reads_for_anybody):
        raise UsageError(
            tr(
                "the {role} is read by nobody without credentials at {endpoint}",
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
                "the key prefix of the {role}, {key_prefix!r}, is another one for each attachment",
                role=say(role),
                key_prefix=store.key_prefix,
            ),
            hint=tr("nginx cannot be told of it: write the fallback by hand"),
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
    """Where objects of a bucket are read, up to the slash before the key."""
    bucket = store.bucket or ""
    if store.endpoint_url is None:
        host = f"s3.{store.region}.amazonaws.com"
        return f"https://{host}/{bucket}/" if "." in bucket else f"https://{bucket}.{host}/"
    parts = urlsplit(store.endpoint_url)
    if store.addressing_style == "virtual":
        return f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path.rstrip('/')}/"
    return f"{store.endpoint_url}/{bucket}/"


def _in_address(prefix: str) -> str:
    """What a key prefix makes of an address before `cache/` or the table."""
    return quote(f"{prefix}/".removeprefix("/"), safe="/~") if prefix else ""


def _resolvers() -> tuple[str, ...]:
    """The name servers of this machine, as nginx writes them. What is no address is left out, and said."""
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
