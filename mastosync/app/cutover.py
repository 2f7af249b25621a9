"""Everything that whoever switches Mastodon over has to know, from configuration and manifest."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from mastosync.app.stores import settings_of
from mastosync.config import FilesystemConfig, S3Config, Secret
from mastosync.config.env_file import read_env_file
from mastosync.config.schema import sections
from mastosync.engine.cutover import (
    Cutover,
    Evidence,
    Fallback,
    MediaHost,
    PublicBucket,
    PublicFolder,
    PublicStore,
    Step,
    WayBack,
    WayOver,
    judge,
    steps_back,
    steps_over,
)
from mastosync.engine.cutover.nginx import resolver_address
from mastosync.engine.deleted import Deleted, gone_as_json
from mastosync.engine.old_objects import shared_bucket
from mastosync.engine.status import status_of
from mastosync.errors import UsageError
from mastosync.language import say, tr
from mastosync.manifest import Manifest, ManifestReport, real_path, relation, verifications
from mastosync.mastodon.settings import Setting, changed, storage_settings
from mastosync.model import Reason

if TYPE_CHECKING:
    from mastosync.config import Config, Role, Secret, StoreConfig

_log = logging.getLogger(__name__)

EXAMPLE_HOST = "files.example.com"
"""The media host of who has named none."""

_EXAMPLE_DOMAIN = "example.com"
_LOCAL_RESOLVER = "127.0.0.53"  # systemd's
_RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class CutoverOptions:
    """What the configuration does not say."""

    command: str = "mastosync"  # with the options that name configuration and manifest
    env: Path | None = None  # Mastodon's `.env.production` as it is; None: what the configuration refers to, if it does
    media_host: str | None = None  # what browsers ask for media
    source_url: str | None = None  # where everybody reads the objects of the source
    destination_url: str | None = None
    nginx_file: Path | None = None  # where the configuration of nginx is written
    fallback: Fallback = Fallback.ALL

    @property
    def again(self) -> str:
        """The same once more, without the file and the fallback."""
        named = {
            "--env": self.env,
            "--media-host": self.media_host,
            "--source-url": self.source_url,
            "--destination-url": self.destination_url,
        }
        return shlex.join(["cutover", *(word for name, value in named.items() if value for word in (name, str(value)))])


@dataclass(frozen=True, slots=True)
class CutoverReport:
    """Go or no-go, and how."""

    cutover: Cutover
    env: Path | None  # Mastodon's file, if it was read
    settings: list[Setting]  # lines that have to change
    media_host: str
    cors: dict[str, Any] | None  # the rules of the new bucket; None: it is a folder
    fallback: MediaHost | None  # None: see `refusal`
    refusal: UsageError | None  # why nginx cannot ask both stores
    deleted: Deleted
    over: list[Step]
    back: list[Step]

    def require_fallback(self) -> MediaHost:
        """The media host. Raises: UsageError if nginx cannot ask both stores."""
        if self.fallback is None:
            assert self.refusal is not None  # noqa: S101
            raise self.refusal
        return self.fallback

    def as_json(self) -> dict[str, Any]:
        """The contract of `cutover --json`."""
        return {
            **self.cutover.as_json(),
            "gone": gone_as_json(self.deleted.objects, self.deleted.size_bytes),
            "settings": [setting.as_json() for setting in self.settings],
            "media_host": self.media_host,
            "cors": self.cors,
            "nginx": self.fallback and self.fallback.render(),
            "nginx_refusal": self.refusal and {"message": self.refusal.message, "remedy": self.refusal.hint},
            "steps": [step.as_json() for step in self.over],
            "back": [step.as_json() for step in self.back],
        }


def cutover(config: Config, manifest: Manifest, options: CutoverOptions) -> CutoverReport:
    """Look at everything. Raises: ConfigError, ManifestError."""
    report = ManifestReport(manifest)
    status = status_of(report, settings_of(config))
    proofs = verifications(manifest)
    destination = config.store("destination")
    is_bucket = isinstance(destination, S3Config)
    shared = shared_bucket(manifest)
    counts, plans, deleted = report.counts(), list(report.iter_snapshots()), Deleted.in_manifest(manifest)
    evidence = Evidence(
        counts=counts,
        plans=plans,
        verifications=proofs,
        running=status.running,
        done_since=report.done_since(proofs[0].ended_at) if proofs else 0,
        public=is_bucket,
        deleted=deleted,
        now=time.time(),
        exposed=status.exposed,
        relation=relation(manifest),
        shared=shared,
        fallback=options.fallback,
        settings=status.settings,
        other_settings=status.other_settings,
    )
    env = options.env or config.env.file
    current = _current(env, config.env.syntax) if env else {}
    host, scheme = _media_host(config, current, options)
    acls = config.destination.known.takes_acl is not False and not status.reasons.get(Reason.PRIVATE)
    settings = storage_settings(destination, host, acls=acls, scheme=scheme)
    fallback, refusal = None, None
    try:
        fallback = _fallback(config, host, options)
        fallback.render()
    except UsageError as error:
        fallback, refusal = None, error
    return CutoverReport(
        cutover=judge(evidence),
        env=env,
        settings=changed(settings, current) if env else settings,
        media_host=host,
        cors=_cors(current) if is_bucket else None,
        fallback=fallback,
        refusal=refusal,
        deleted=deleted,
        over=steps_over(
            WayOver(options.command, options.again, options.nginx_file, is_bucket, options.fallback, shared)
        ),
        back=steps_back(_way_back(config)),
    )


def _media_host(config: Config, current: Mapping[str, Secret], options: CutoverOptions) -> tuple[str, str]:
    """The host that browsers ask, and the scheme of its addresses: as named, as configured, or as it is today."""
    if options.media_host:
        return options.media_host, "https"
    configured = urlsplit(config.destination.public_url or "")
    if configured.netloc and not configured.path.strip("/"):  # with a path, it is the address of the bucket itself
        return configured.netloc, configured.scheme
    for name in ("S3_ALIAS_HOST", "S3_CLOUDFRONT_HOST"):
        told = current[name].reveal() if name in current else ""
        if told and "/" not in told:
            return told, "https"
    return EXAMPLE_HOST, "https"


def _fallback(config: Config, host: str, options: CutoverOptions) -> MediaHost:
    source, destination = config.require_stores()
    stores: dict[str, PublicStore] = {}
    own_url = config.destination.public_url if urlsplit(config.destination.public_url or "").netloc != host else None
    urls = {"source": options.source_url, "destination": options.destination_url or own_url}
    prefixes = []
    for role, store in (("destination", destination), ("source", source)):
        if role == "destination" or options.fallback is not Fallback.NONE:
            stores[role] = _public_store(store, role, urls[role], host)
        if isinstance(store, S3Config):
            prefixes.append(_in_address(store.key_prefix))
    resolvers = _resolvers() if any(isinstance(store, PublicBucket) for store in stores.values()) else ()
    new, old = stores["destination"], stores.get("source")
    return MediaHost(host, new, old, resolvers, tuple(prefixes), options.fallback)


def _public_store(store: StoreConfig, role: str, url: str | None, host: str) -> PublicStore:
    """A store as everybody reads it. Raises: UsageError if nobody can say where."""
    if isinstance(store, FilesystemConfig):
        return PublicFolder(real_path(store.folder))
    if url is None and not store.known.reads_for_anybody:
        raise UsageError(
            tr(
                "the {role} is read by nobody without credentials at {endpoint}",
                role=say(role),
                endpoint=store.endpoint_url or tr("its endpoint"),
            ),
            hint=tr("name the public address of its bucket: --{role}-url https://…", role=role),
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


def _cors(current: Mapping[str, Secret]) -> dict[str, Any]:
    """What lets Mastodon's pages read from the bucket itself, where nginx is not in between."""
    named = (current[name].reveal() for name in ("WEB_DOMAIN", "LOCAL_DOMAIN") if name in current)
    domain = next(filter(None, named), _EXAMPLE_DOMAIN)
    rule = {
        "AllowedOrigins": [f"https://{domain}"],
        "AllowedMethods": ["GET", "HEAD"],
        "AllowedHeaders": ["*"],
        "MaxAgeSeconds": 86_400,
    }
    return {"CORSRules": [rule]}


def _way_back(config: Config) -> WayBack:
    roles: tuple[Role, Role] = ("source", "destination")
    only = [
        name
        for kind in ("s3", "filesystem")
        for name in sections()[f"{kind}.destination"].keys
        if name not in sections()[f"{kind}.source"].keys
    ]
    there = {"source": config.destination.key_prefix, "destination": config.source.key_prefix}
    prefixes = {role: prefix for role, prefix in there.items() if isinstance(config.store(_other(role)), S3Config)}
    return WayBack(
        config.path,
        only,
        prefixes if any(prefixes.values()) else {},
        any(isinstance(config.store(role), FilesystemConfig) for role in roles),
    )


def _other(role: str) -> Role:
    return "destination" if role == "source" else "source"


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


def _current(path: Path, syntax: str) -> dict[str, Secret]:
    """What Mastodon's file says, by name; anything may be a secret. Raises: ConfigError if it cannot be read."""
    found = read_env_file(path, syntax, {})
    return {name: variable.value for name, variable in found.variables.items() if variable.value is not None}
