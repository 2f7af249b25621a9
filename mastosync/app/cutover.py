"""`cutover`: what one has to know to switch Mastodon over, from configuration, manifest and Mastodon's settings."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mastosync.app.files import free_name, is_pinned, new_files, pinned_file
from mastosync.app.mastodon_settings import (
    OwnSettings,
    acl_of_way_back,
    cors_rules,
    has_one_key,
    host_of,
    keys_at_stake,
    media_host_of,
    no_media_host,
    own_settings,
    system_redirect,
    tells_host,
)
from mastosync.app.report import may_delete
from mastosync.app.stores import settings_of
from mastosync.checking.public_access import Audience, audience_of
from mastosync.config import CHANGE_ME, FilesystemConfig, S3Config
from mastosync.config.env_file import edited
from mastosync.cutover import (
    CommandLine,
    CutoverAssessment,
    CutoverEvidence,
    Failback,
    Fallback,
    MediaHost,
    NewFiles,
    Secrets,
    Step,
    Switchover,
    assess_cutover,
    failback_steps,
    switchover_steps,
)
from mastosync.errors import ObjectError, StoreUnusable, UsageError
from mastosync.findings.deleted import Deleted, gone_as_json, shared_bucket
from mastosync.language import tr
from mastosync.manifest import Manifest, ManifestReader, count_dropped, last_change, relation, verifications
from mastosync.mastodon.settings import HOSTS, Setting, changed, is_rereadable, storage_settings
from mastosync.model import Ownership, Reason
from mastosync.mountinfo import same_file
from mastosync.status import status_of

if TYPE_CHECKING:
    from mastosync.app.context import Context
    from mastosync.config import Config, Secret, StoreConfig
    from mastosync.status import Status


@dataclass(frozen=True, slots=True)
class CutoverOptions:
    """What the configuration does not say."""

    global_options: tuple[str, ...] = ()  # those that name configuration and manifest
    env: Path | None = None  # Mastodon's `.env.production` as it is; None: what the configuration refers to, if it does
    media_host: str | None = None  # what browsers ask for media
    source_url: str | None = None  # where everybody reads the objects of the source
    destination_url: str | None = None
    nginx_file: Path | None = None  # where the configuration of nginx is written
    fallback: Fallback = Fallback.ALL

    def again(self, host: str | None, *, back: bool = False) -> tuple[str, ...]:
        """These options for a next call, without the files and the fallback; `back`: source and destination exchanged.

        `host`: what browsers ask for media. It is named, as the switch changes the settings that may have told it.
        """
        source, destination = "--source-url", "--destination-url"
        named = {
            "--env": self._lasting_env,
            "--media-host": host,
            destination if back else source: self.source_url,
            source if back else destination: self.destination_url,
        }
        return ("cutover", *(word for name, value in named.items() if value for word in (name, str(value))))

    @property
    def report(self) -> tuple[str, ...]:
        """The command that tells of the same settings whether the old store may go."""
        return ("report", "--env", str(self._lasting_env)) if self._lasting_env else ("report",)

    @property
    def _lasting_env(self) -> Path | None:
        """What a later command can read as well."""
        return self.env if self.env and is_rereadable(self.env) else None


@dataclass(frozen=True, slots=True)
class CutoverReport:
    """Go or no-go, and how."""

    cutover: CutoverAssessment
    env: Path | None  # Mastodon's file, if it was read
    env_text: Secret | None  # what stands in it
    settings: list[Setting]  # lines that have to change
    media_host: str | None  # None: nobody has said what browsers will ask
    cors: dict[str, Any] | None  # the rules of the new bucket; None: it is a folder, or nobody knows Mastodon's domain
    fallback: MediaHost | None  # None: see `refusal`
    refusal: UsageError | None  # why nginx cannot ask both stores
    deleted: Deleted
    over: list[Step]
    back: list[Step]
    switched: bool  # Mastodon uses the destination already
    done: bool  # so all that is left is to let the old store go, as far as the manifest knows
    env_syntax: str

    def new_env(self) -> Secret:
        """Mastodon's settings as they have to be, all lines of its file. It holds secrets.

        Raises: ConfigError; UsageError if nobody knows where the file is, or what the media host is.
        """
        if self.env_text is None:
            raise UsageError(
                tr("it is not known where Mastodon's own settings are"),
                hint=tr("name them: --env /home/mastodon/live/.env.production"),
            )
        if self.media_host is None:
            raise no_media_host()
        return edited(self.env_text, self.env_syntax, {each.name: each.secret for each in self.settings})

    def require_apart(self, *written: Path | None) -> None:
        """Raises: UsageError if a file that is to be written is Mastodon's own."""
        for each in written:
            if self.env and each and same_file(each, self.env):
                raise UsageError(
                    tr("{file} holds Mastodon's settings as they are, and is never written", file=each),
                    hint=tr("name another file: the steps of `mastosync cutover` put it in the place of that one"),
                )

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
            "gone": gone_as_json(self.deleted.gone),
            "settings": [setting.as_json() for setting in self.settings],
            "media_host": self.media_host,
            "cors": self.cors,
            "nginx": self.fallback and self.fallback.render(),
            "nginx_refusal": self.refusal and {"message": self.refusal.message, "remedy": self.refusal.hint},
            "done": self.done,
            "steps": [step.as_json() for step in self.over],
            "back": [step.as_json() for step in self.back],
        }


@dataclass(frozen=True, slots=True)
class _Known:
    """What configuration, options and Mastodon's own settings come to."""

    config: Config
    options: CutoverOptions
    mastodon: OwnSettings
    host: str | None  # what browsers ask for media; None: nobody has said it
    scheme: str
    acls: bool  # the destination takes ACLs, as far as is known
    settings: list[Setting]  # lines of Mastodon's file that have to change

    @property
    def stores(self) -> tuple[StoreConfig, StoreConfig]:
        """Source and destination."""
        return self.config.store("source"), self.config.store("destination")

    @property
    def switched(self) -> bool:
        """Whether Mastodon's settings name the destination already."""
        return self.mastodon.has_left(*self.stores)

    @property
    def secrets(self) -> Secrets:
        """What the switch does to the secrets of the source, or may have done."""
        changed, of_keys = self.mastodon.file, self.config.env.file
        if changed is None or of_keys is None or not keys_at_stake(self.config):
            return Secrets.SAFE
        if is_pinned(self.config) and not same_file(changed, of_keys):
            return Secrets.SAFE
        if not self.switched:
            return Secrets.UNPINNED
        return Secrets.ALIKE if has_one_key(self.config) else Secrets.LOST


def cutover(context: Context, options: CutoverOptions) -> CutoverReport:
    """Whether Mastodon can be pointed at the destination, and how. Raises: ConfigError, ManifestError."""
    with context.reading_planned() as manifest:
        return cutover_from(context.config, manifest, options)


def cutover_from(config: Config, manifest: Manifest, options: CutoverOptions) -> CutoverReport:
    """`cutover` for a manifest that is open already."""
    about = ManifestReader(manifest)
    status = status_of(about, settings_of(config))
    known = _known(config, options, status)
    fallback, refusal = _fallback(known)
    evidence = _evidence(known, manifest, about, status, refusal)
    is_bucket = isinstance(config.store("destination"), S3Config)
    steps_work = known.secrets is not Secrets.LOST  # else no step could work
    old, new = (str(about.store(role)) for role in ("source", "destination"))
    done = steps_work and _is_done(known, manifest, evidence)
    return CutoverReport(
        cutover=assess_cutover(evidence),
        env=known.mastodon.file,
        env_text=known.mastodon.text,
        settings=known.settings,
        media_host=known.host,
        cors=cors_rules(known.mastodon.current) if is_bucket else None,
        fallback=fallback,
        refusal=refusal,
        deleted=evidence.deleted,
        over=switchover_steps(replace(_switchover(known, evidence, refusal), old=old, done=done)) if steps_work else [],
        back=failback_steps(_failback(known, old, new)) if steps_work else [],
        switched=known.switched,
        done=done,
        env_syntax=config.env.syntax,
    )


def _known(config: Config, options: CutoverOptions, status: Status) -> _Known:
    mastodon = own_settings(config, options.env)
    stores = config.store("source"), config.store("destination")
    host, scheme = host_of(config, mastodon.current, options.media_host)
    acls = config.destination.known.takes_acl is not False and not status.reasons.get(Reason.PRIVATE)
    settings = storage_settings(stores[1], host or CHANGE_ME, acls=acls, scheme=scheme)
    if mastodon.file:
        settings = changed(settings, mastodon.current)
    if mastodon.has_left(*stores) and not mastodon.uses(stores[1]):  # it knows the new store by another name
        settings = [each for each in settings if each.name not in _OWN_NAMES[type(stores[1])]]
    return _Known(config, options, mastodon, host, scheme, acls, settings)


_OWN_NAMES = {FilesystemConfig: {"PAPERCLIP_ROOT_PATH"}, S3Config: {"S3_ENDPOINT", "S3_HOSTNAME"}}
"""What a container may have otherwise, though the store is the same."""


def _fallback(known: _Known) -> tuple[MediaHost | None, UsageError | None]:
    """The media host, or why nginx cannot be told what it is."""
    options = known.options
    urls = {"source": options.source_url, "destination": options.destination_url}
    try:
        fallback = media_host_of(known.config, known.host, known.scheme, urls, options.fallback)
        fallback.render()
    except UsageError as error:
        return None, error
    return fallback, None


def _evidence(
    known: _Known, manifest: Manifest, about: ManifestReader, status: Status, refusal: UsageError | None
) -> CutoverEvidence:
    """What the manifest remembers, beside what else is known."""
    source, destination = known.stores
    is_bucket, proofs = isinstance(destination, S3Config), verifications(manifest)
    counts, plans = about.counts(), list(about.iter_snapshots())
    ownership, unseen = _ownership(destination)
    return CutoverEvidence(
        counts=counts,
        plans=plans,
        verifications=proofs,
        running=status.running,
        done_since=about.done_since(proofs[0].ended_at) if proofs else 0,
        public=is_bucket,
        deleted=Deleted.known_from(manifest, counts, plans),
        now=time.time(),
        exposed=status.exposed,
        unidentified=about.lying_there(),
        relation=relation(manifest),
        shared=shared_bucket(manifest),
        fallback=known.options.fallback,
        secrets=known.secrets,
        media_host=known.host is not None,
        permission=known.mastodon.permission,
        acl=known.config.destination.acl,
        takes_acls=is_bucket and known.acls,
        by_hand=(refusal.message, refusal.hint) if refusal else None,
        elsewhere=known.mastodon.elsewhere(source, destination),
        unclear=known.mastodon.doubt(source, destination),
        ownership=ownership,
        unseen=unseen,
        settings=status.settings,
        other_settings=status.other_settings,
        dropped_by_plan=count_dropped(manifest),
        change=last_change(manifest),
        gap=manifest.gap,
    )


def _is_done(known: _Known, manifest: Manifest, evidence: CutoverEvidence) -> bool:
    """Whether the old store may go, by the report's verdict, which may read all of the manifest."""
    looked = evidence.verifications and not evidence.done_since
    if evidence.some_pending or known.settings or not (looked and known.switched and known.mastodon.place):
        return False
    return may_delete(known.config, manifest, known.options.env)


def _ownership(destination: StoreConfig) -> tuple[Ownership | None, tuple[str, str] | None]:
    """Whose the files of a folder are, or why nobody can tell and what to do; neither: it is no folder."""
    if not isinstance(destination, FilesystemConfig):
        return None, None
    from mastosync.store.filesystem import FilesystemProbe

    try:
        with closing(FilesystemProbe(destination, role="destination")) as probe:
            return probe.ownership(), None
    except (ObjectError, StoreUnusable) as error:
        return None, (error.message, error.hint or tr("correct it, and run this again"))


def _switchover(known: _Known, evidence: CutoverEvidence, refusal: UsageError | None) -> Switchover:
    """What the steps are made of."""
    config, options, env, host = known.config, known.options, known.mastodon.place, known.host
    source, destination = known.stores
    files = new_files()
    kept, kept_before = free_name(env.with_name(f"{env.name}.before")) if env else (None, [])
    left = [*free_name(Path(NewFiles().env))[1], *(kept_before if known.switched else [])]
    if kept and known.settings:
        left.append(kept)
    return Switchover(
        CommandLine(options.global_options),
        options.again(options.media_host if host and tells_host(config, host) else host or CHANGE_ME),
        options.nginx_file,
        report=options.report,
        public=isinstance(destination, S3Config),
        fallback=options.fallback,
        shared=evidence.shared,
        gone=evidence.deleted.gone,
        dropped_by_plan=evidence.dropped_by_plan,
        env=env,
        env_kept=kept,
        secrets=_secrets(known),
        from_folder=isinstance(source, FilesystemConfig),
        switched=known.switched,
        changes=bool(known.settings),
        new_host=not known.switched or any(each.name in HOSTS and each.value for each in known.settings),
        left=tuple(map(str, left)),
        files=files,
        system=system_redirect(config, known.mastodon.current, f"{known.scheme}://{host}") if host else None,
        host=host or CHANGE_ME,
        by_hand=refusal.message if refusal and host else "",
        read=audience_of(config.destination.acl) is Audience.EVERYBODY,
    )


def _secrets(known: _Known) -> Path | None:
    """The file that `pin-secrets` has made, or will make. Another one may be Mastodon's own, and has to stay."""
    config, file = known.config, known.config.env.file
    if known.secrets is Secrets.UNPINNED:
        return pinned_file(config)
    return file if file and config.path and same_file(file, pinned_file(config)) and is_pinned(config) else None


def _failback(known: _Known, old: str, new: str) -> Failback:
    folders = [isinstance(store, FilesystemConfig) for store in known.stores]
    again = known.options.again(known.host or CHANGE_ME, back=True)
    tool = CommandLine(known.options.global_options)
    acl = acl_of_way_back(known.config, known.mastodon)
    read = not folders[0] and audience_of(acl or "") is Audience.EVERYBODY
    return Failback(
        tool,
        again,
        known.config.path,
        old,
        new,
        known.config.follow.overlap_minutes,
        folders=any(folders),
        public=not folders[0],
        read=read,
        files=new_files(),
    )
