"""Everything that whoever switches Mastodon over has to know, from configuration and manifest."""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mastosync.app.mastodon import OwnSettings, own_settings, shares_keys, variables_of
from mastosync.app.media_host import host_of, media_host_of, no_media_host, system_redirect, tells_host
from mastosync.app.pinning import is_pinned
from mastosync.app.stores import settings_of
from mastosync.config import CHANGE_ME, FilesystemConfig, S3Config
from mastosync.config.env_file import edited
from mastosync.config.sources import read_text
from mastosync.engine.cutover import (
    Cutover,
    Evidence,
    Fallback,
    MediaHost,
    NewFiles,
    Secrets,
    Step,
    WayBack,
    WayOver,
    judge,
    steps_back,
    steps_over,
)
from mastosync.engine.deleted import Deleted, gone_as_json
from mastosync.engine.old_objects import SharedBucket, shared_bucket
from mastosync.engine.status import status_of
from mastosync.errors import ObjectError, StoreUnusable, UsageError
from mastosync.language import tr
from mastosync.manifest import Manifest, ManifestReport, last_change, relation, verifications
from mastosync.mastodon.settings import (
    Setting,
    changed,
    storage_settings,
    used_elsewhere,
)
from mastosync.model import Ownership, Reason

if TYPE_CHECKING:
    from mastosync.config import Config, Role, Secret, StoreConfig

_log = logging.getLogger(__name__)

_ROLES: tuple[Role, Role] = ("source", "destination")


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

    def again(self, host: str | None, *, back: bool = False) -> str:
        """The same once more, without the files and the fallback; `back`: with source and destination exchanged.

        `host`: what browsers ask for media. It is named, as the switch changes the settings that may have told it.
        """
        source, destination = "--source-url", "--destination-url"
        named = {
            "--env": self.env,
            "--media-host": host,
            destination if back else source: self.source_url,
            source if back else destination: self.destination_url,
        }
        return shlex.join(["cutover", *(word for name, value in named.items() if value for word in (name, str(value)))])


@dataclass(frozen=True, slots=True)
class CutoverReport:
    """Go or no-go, and how."""

    cutover: Cutover
    env: Path | None  # Mastodon's file, if it was read
    settings: list[Setting]  # lines that have to change
    media_host: str | None  # None: nobody has said what browsers will ask
    cors: dict[str, Any] | None  # the rules of the new bucket; None: it is a folder, or nobody knows Mastodon's domain
    fallback: MediaHost | None  # None: see `refusal`
    refusal: UsageError | None  # why nginx cannot ask both stores
    deleted: Deleted
    over: list[Step]
    back: list[Step]
    switched: bool  # Mastodon uses the destination already
    env_syntax: str

    def new_env(self) -> Secret:
        """Mastodon's settings as they have to be, all lines of its file. It holds secrets.

        Raises: ConfigError; UsageError if nobody knows where the file is, or what the media host is.
        """
        if self.env is None:
            raise UsageError(
                tr("it is not known where Mastodon's own settings are"),
                hint=tr("name them: --env /home/mastodon/live/.env.production"),
            )
        if self.media_host is None:
            raise no_media_host()
        text = read_text(self.env, str(self.env))
        return edited(text, self.env_syntax, {each.name: each.secret for each in self.settings})

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
    mastodon = own_settings(config, options.env)
    host, scheme = host_of(config, mastodon.current, options.media_host)
    acls = config.destination.known.takes_acl is not False and not status.reasons.get(Reason.PRIVATE)
    wanted = storage_settings(destination, host or CHANGE_ME, acls=acls, scheme=scheme)
    settings = changed(wanted, mastodon.current) if mastodon.file else wanted
    secrets = _secrets(config, mastodon, settings)
    fallback, refusal = None, None
    urls = {"source": options.source_url, "destination": options.destination_url}
    try:
        fallback = media_host_of(config, host, scheme, urls, options.fallback)
        fallback.render()
    except UsageError as error:
        fallback, refusal = None, error
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
        secrets=secrets,
        media_host=host is not None,
        permission=mastodon.permission,
        acl=(config.destination.acl if acls else "none") if is_bucket else "private",
        by_hand=(refusal.message, refusal.hint) if refusal else None,
        elsewhere=used_elsewhere(mastodon.current, config.store("source"), destination) if mastodon.file else "",
        ownership=_ownership(destination),
        settings=status.settings,
        other_settings=status.other_settings,
        change=last_change(manifest),
        gap=manifest.gap,
    )
    system = system_redirect(config, mastodon.current, f"{scheme}://{host}") if host else None
    over, back = _ways(config, options, mastodon, shared, host, pins=secrets is Secrets.UNPINNED)
    by_hand = refusal.message if refusal and host else ""
    over = replace(over, system=system, host=host or CHANGE_ME, by_hand=by_hand)
    return CutoverReport(
        cutover=judge(evidence),
        env=mastodon.file,
        settings=settings,
        media_host=host,
        cors=_cors(mastodon.current) if is_bucket else None,
        fallback=fallback,
        refusal=refusal,
        deleted=deleted,
        over=[] if secrets is Secrets.LOST else steps_over(over),
        back=[] if secrets is Secrets.LOST else steps_back(back),
        switched=over.switched,
        env_syntax=config.env.syntax,
    )


def _ownership(destination: StoreConfig) -> Ownership | None:
    """Whose the files of a folder are; None: it is no folder, or nobody can tell."""
    if not isinstance(destination, FilesystemConfig):
        return None
    from mastosync.store.filesystem import FilesystemProbe

    with closing(FilesystemProbe(destination, role="destination")) as probe:
        try:
            return probe.ownership()
        except (ObjectError, StoreUnusable) as error:
            _log.warning("%s", error.message)
            return None


def _secrets(config: Config, mastodon: OwnSettings, settings: Sequence[Setting]) -> Secrets:
    """What the switch does to the secrets of the source, or has done."""
    if mastodon.file is None or is_pinned(config) or shares_keys(config):
        return Secrets.SAFE
    if mastodon.uses(config.store("destination")) and config.source.access_key == config.destination.access_key:
        return Secrets.LOST
    are_overwritten = variables_of(config, "source") & {setting.name for setting in settings}
    return Secrets.UNPINNED if are_overwritten else Secrets.SAFE


def _ways(
    config: Config,
    options: CutoverOptions,
    mastodon: OwnSettings,
    shared: SharedBucket | None,
    host: str | None,
    *,
    pins: bool,
) -> tuple[WayOver, WayBack]:
    """What the steps are made of."""
    folders = {role: isinstance(config.store(role), FilesystemConfig) for role in _ROLES}
    files = _new_files()
    kept = mastodon.file and _free(mastodon.file.with_name(f"{mastodon.file.name}.before"))
    over = WayOver(
        options.command,
        options.again(options.media_host if host and tells_host(config, host) else host or CHANGE_ME),
        options.nginx_file,
        not folders["destination"],
        options.fallback,
        shared,
        *(mastodon.file, kept, pins, folders["source"], mastodon.uses(config.store("destination")), files),
    )
    again = options.again(host or CHANGE_ME, back=True)
    return over, WayBack(options.command, again, config.path, any(folders.values()), not folders["source"], files)


def _new_files() -> NewFiles:
    """Names that are free in this folder, so that nothing is refused, and nothing overwritten."""
    return NewFiles(**{each.name: str(_free(Path(str(each.default)))) for each in fields(NewFiles)})


def _free(path: Path) -> Path:
    """This name, or one with a number that nobody has taken."""
    named = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return next(each for each in chain((path,), named) if not os.path.lexists(each))


def _cors(current: Mapping[str, Secret]) -> dict[str, Any] | None:
    """What lets Mastodon's pages read from the bucket itself, where nginx is not in between.

    None: nobody knows their domain.
    """
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
