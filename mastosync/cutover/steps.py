"""The order of a cut-over without an hour in which media are missing, and the way back.

Every command works as it is printed, one after the other, in the folder where it was printed. docs/guide.md has the
same steps in the same words, and a test holds the one against the other.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mastosync.cutover.commands import Command, Mastosync, Step, fallback_log, file_name
from mastosync.cutover.findings import Fallback
from mastosync.findings.deleted import SharedBucket, adopted_told
from mastosync.language import tr
from mastosync.manifest import Removable

_NGINX = Path("/etc/nginx/conf.d")
_SNIPPETS = Path("/etc/nginx/snippets")
_RELOAD = "nginx -t && nginx -s reload"
_SAMPLE = 1_000  # objects that are read back


@dataclass(frozen=True, slots=True)
class NewFiles:
    """Names for what the commands write into the folder where they run. None of them is taken."""

    media: str = "mastodon-media.conf"
    media_cache: str = "mastodon-media-cache.conf"
    env: str = "env.production.new"
    back: str = "back.ini"
    back_manifest: str = "back.db"


@dataclass(frozen=True, slots=True)
class WayOver:
    """What the steps from the old store to the new one are made of."""

    mastosync: Mastosync
    cutover: tuple[str, ...]  # the command that told this, without files and fallback
    written: Path | None = None  # the configuration of nginx, if there is one yet
    report: tuple[str, ...] = ("report",)  # the command that tells whether the old store may go
    public: bool = True  # the new store is a bucket; else it is a folder
    fallback: Fallback = Fallback.ALL
    shared: SharedBucket | None = None  # that both stores are; None: they are two
    env: Path | None = None  # Mastodon's own settings; None: nobody knows where they are
    env_kept: Path | None = None  # a name that is free, for these settings as they were
    old: str = "CHANGE-ME"  # the old store as people name it: each way has another
    secrets: Path | None = None  # of the configuration, in a file beside it; None: there is none
    from_folder: bool = False  # the old store is a folder
    switched: bool = False  # Mastodon's settings name the new store already
    done: bool = False  # all that comes before the old store goes
    changes: bool = True  # some of them have to change
    new_host: bool = True  # so has what browsers ask for media, or Mastodon is not switched over yet
    left: tuple[str, ...] = ()  # files with secrets that the steps leave, or have left
    files: NewFiles = field(default_factory=NewFiles)
    system: str | None = None  # a location of nginx, where Mastodon served media of its disk; None: it did not
    host: str = "CHANGE-ME"  # what browsers ask for media
    gone: Removable = field(default_factory=Removable)  # what is to be removed at the new store, as far as is known
    lost: int = 0  # entries, by plans that were accepted, and no plan has found them again
    by_hand: str = ""  # why no configuration of nginx can be written; empty: it can
    read: bool = True  # everybody has to be able to read at the new store

    @property
    def installed(self) -> Path:
        """Where nginx has the media host. It bears its name, as one nginx may serve several instances."""
        return _NGINX / f"mastodon-media-{file_name(self.host)}.conf"

    @property
    def redirect(self) -> Path:
        """Where nginx has the redirect to it, from Mastodon's own host."""
        return _SNIPPETS / f"mastodon-system-{file_name(self.host)}.conf"

    def install(self, file: str) -> str:
        """The command that puts a configuration there, and keeps the one before it."""
        return f"cp --backup=numbered {shlex.quote(file)} {shlex.quote(str(self.installed))} && {_RELOAD}"

    def nginx(self, fallback: Fallback, name: str) -> Command:
        """The command that writes a media host."""
        option = () if fallback is Fallback.ALL else ("--fallback", str(fallback))
        return self.mastosync(*self.cutover, *option, "--nginx", name)


def steps_over(way: WayOver) -> list[Step]:
    """From the old store to the new one."""
    return [*([] if way.done else _work(way)), *_end(way), *_tidying(way)]


def _work(way: WayOver) -> list[Step]:
    """All that comes before the old store goes."""
    return [
        *_switch(way),
        Step(
            tr(
                "Stop `mastosync follow`, if it runs. Copy what was uploaded to the old store until then. What Mastodon"
                " has uploaded to the new store since is found there. (Private files among it are reported as missing"
                " at the source. They are at the new store.)"
            ),
            (way.mastosync("plan"), way.mastosync("copy")),
        ),
        *_from_the_disk(way),
        *_narrowing(way),
        *_removal(way),
        _proof(way),
    ]


def _switch(way: WayOver) -> Iterator[Step]:
    if way.new_host:
        yield _media_host(way)
    if way.changes:
        yield _settings(way)
    if way.changes and not way.public:
        yield Step(
            tr(
                "If Mastodon runs in a container, write into PAPERCLIP_ROOT_PATH the path that the new folder has in"
                " there."
            )
        )
    yield Step(
        tr(
            "Restart Mastodon, one machine after the other. (Streaming need not be restarted.) With Docker Compose, run"
            " `docker compose up -d` instead: `docker compose restart` does not read the file again."
        )
        if way.changes
        else tr(
            "Restart Mastodon on every machine, if you have not since .env.production was changed: the file alone does"
            " not tell. With Docker Compose, run `docker compose up -d` instead."
        ),
        ("systemctl restart mastodon-sidekiq mastodon-web",),
    )


def _media_host(way: WayOver) -> Step:
    what = {
        Fallback.ALL: tr(
            "Let nginx serve the media host, with the fallback to the old store. From now on both stores answer. Look"
            " at some pages."
        ),
        Fallback.CACHE: tr(
            "Let nginx serve the media host, with the fallback to the old store for `cache/` alone. What users upload"
            " between the last copy and the restart is not shown until the next copy. Look at some pages."
        ),
        Fallback.NONE: tr(
            "Let nginx serve the media host, without a fallback. What users upload between the last copy and the"
            " restart is not shown until the next copy. Look at some pages."
        ),
    }
    if way.by_hand:
        told = tr("Configure the media host by hand, as mastosync cannot write it: {problem}.", problem=way.by_hand)
        return Step(told)
    write = () if way.written else (way.nginx(way.fallback, way.files.media),)
    return Step(what[way.fallback], (*write, way.install(str(way.written or way.files.media))))


def _settings(way: WayOver) -> Step:
    if way.env is None:
        return Step(tr("Write the lines above into .env.production, on every machine that runs web or Sidekiq."))
    env, kept, new = (shlex.quote(str(each)) for each in (way.env, way.env_kept, way.files.env))
    # one line: where nothing new was written, nothing old may be emptied, and no copy of the secrets is left
    then = f"cp -p {env} {kept} && cat {new} > {env} && rm {new}"
    what = (
        tr(
            "Put what still differs into .env.production, and keep the old settings beside it. Then copy"
            " .env.production to every other machine that runs web or Sidekiq. (If only keys differ, and Mastodon is to"
            " have keys of its own, leave this out.)"
        )
        if way.switched
        else tr(
            "Put the new settings into .env.production, and keep the old ones beside it. Then copy .env.production to"
            " every other machine that runs web or Sidekiq."
        )
    )
    return Step(what, (way.mastosync(*way.cutover, "--new-env", way.files.env, then=then),))


def _from_the_disk(way: WayOver) -> Iterator[Step]:
    """Other servers remember media by their addresses on Mastodon's own host, where deleted files lie on, too."""
    if way.system:
        yield Step(
            tr(
                "Browsers and other servers remember media under Mastodon's own host. Let that host redirect them to"
                " the media host: write the file, and add `include {file};` to the `server` of that host, in place of"
                " its `location ^~ /system/` if there is one. Then reload.",
                file=way.redirect,
            ),
            (
                f"printf '%s\\n' {shlex.quote(way.system)}"
                f" | install -D -m 644 --backup=numbered /dev/stdin {shlex.quote(str(way.redirect))}",
                _RELOAD,
            ),
        )


def _narrowing(way: WayOver) -> Iterator[Step]:
    """From here on Mastodon deletes at the new store alone: what the old one still has must not be shown."""
    if way.fallback is Fallback.ALL and not way.by_hand:
        yield Step(
            tr(
                "All files of this server have arrived, and from now on Mastodon deletes at the new store alone. Let"
                " the fallback answer for `cache/` alone. Otherwise everybody could go on reading at the old store what"
                " users delete."
            ),
            (way.nginx(Fallback.CACHE, way.files.media_cache), way.install(way.files.media_cache)),
        )


def _removal(way: WayOver) -> Iterator[Step]:
    """None while plans have lost something by `--accept-gone`: nobody knows what was deleted."""
    if way.lost:
        return
    plan = way.mastosync("plan")
    if way.shared:
        listed = way.mastosync("ls", "--state", "skipped", "--reason", "gone")
        yield Step(
            tr(
                "Plan once more, and remove by hand what was deleted since it was copied: `{command}` lists it.",
                command=listed,
            ),
            (plan, listed),
        )
        return
    told, words = tr("Remove at the new store what was deleted at the old one since it was copied."), ["prune"]
    if way.gone.adopted:
        told, words = f"{told} ({adopted_told()}.)", [*words, "--adopted"]
    yield Step(told, (plan, way.mastosync(*words), way.mastosync(*words, "--apply")))


def _proof(way: WayOver) -> Step:
    """Of everything, and some of it to the last byte: what the report asks for."""
    everybody = (way.mastosync("verify", "--public"),) if way.public and way.read else ()
    return Step(
        tr("Prove that everything is there, and read some of it back."),
        (way.mastosync("verify", "--deep", "--sample", str(_SAMPLE)), *everybody),
    )


def _end(way: WayOver) -> Iterator[Step]:
    down = (f"sed -i 's/@old;$/@absent;/' {shlex.quote(str(way.installed))} && {_RELOAD}",)
    if way.fallback is not Fallback.NONE and not way.by_hand:
        yield Step(
            tr(
                "Days later, when nothing is pending and the log of the fallback, {log}, grows no more, take the"
                " fallback down. (Until then, what it answers for can be read at the old store even after it was"
                " deleted.)",
                log=fallback_log(way.host),
            ),
            down,
        )
    report = way.mastosync(*way.report)
    if way.shared:
        told = {"message": way.shared.message, "remedy": way.shared.remedy}
        yield Step(tr("At the very end, old objects may be deleted: {message}; {remedy}.", **told), (report,))
    elif way.from_folder:
        yield Step(
            tr(
                "At the very end, when the report says THE OLD FOLDER MAY BE DELETED, keep a backup of {store}, and"
                " delete that folder yourself. mastosync deletes nothing there.",
                store=way.old,
            ),
            (report,),
        )
    else:
        yield Step(
            tr(
                "At the very end, when the report says THE OLD STORE MAY BE DELETED, delete {store} with its provider's"
                " own tools. mastosync deletes nothing there.",
                store=way.old,
            ),
            (report,),
        )
    if not way.public:
        yield Step(
            tr(
                "Add the new folder to your backups. A provider guards a bucket against the death of a disk, and nobody"
                " guards yours."
            )
        )


def _tidying(way: WayOver) -> Iterator[Step]:
    if way.left:
        yield Step(
            tr("Last, remove the files with settings that the switch has left: they hold secrets."),
            (shlex.join(["rm", *way.left]),),
        )
    if way.secrets and not way.shared:
        yield Step(
            tr(
                "When {store} is deleted, and you need this configuration and the way back no more, remove {file}, too:"
                " it holds secrets.",
                store=way.old,
                file=way.secrets,
            )
        )


@dataclass(frozen=True, slots=True)
class WayBack:
    """What the way back is made of."""

    mastosync: Mastosync
    cutover: tuple[str, ...]  # the command that tells the steps of the way back
    config: Path | None  # of the way over; None: the environment alone
    old: str  # both stores, as people name them: on the way back the names "old" and "new" change places
    new: str
    minutes: int  # so new an object is no orphan yet
    folders: bool  # a disk is at one end, whose files only reading tells
    public: bool = True  # the old store is a bucket: what lies there has the headers of whoever stored it
    read: bool = True  # everybody has to be able to read at the old store, which is a bucket
    files: NewFiles = field(default_factory=NewFiles)


def steps_back(way: WayBack) -> list[Step]:
    """From the new store to the old one: what was written since goes back, and nothing is uploaded twice."""
    back = Mastosync(("-c", way.files.back, "--manifest", way.files.back_manifest))
    return [
        _exchange(way),
        Step(
            tr(
                "Copy back what is new. mastosync has to be allowed to write to the old store now. Objects that had"
                " never come to the new store are reported as missing: they are still at the old one."
            ),
            (
                back("doctor"),
                back("plan"),
                back("adopt", "--deep") if way.folders else back("adopt"),
                back("copy"),
                *((back("apply-settings"),) if way.public else ()),
                back("verify"),
                *((back("verify", "--public"),) if way.read else ()),
            ),
        ),
        Step(
            tr(
                "Then follow the steps of the way over, in the other direction. There, the new store is {old}, and the"
                " old one, which is deleted at the end, is {new}. This command prints them:",
                old=way.old,
                new=way.new,
            ),
            (back(*way.cutover),),
        ),
        Step(
            tr(
                "What users deleted in the meantime is still at {store}. At the very end, list there what no row"
                " refers to, and remove it by hand. Plan for it at least {minutes} minutes after the last upload:"
                " anything newer is not listed.",
                store=way.old,
                minutes=way.minutes,
            ),
            (way.mastosync("plan"), way.mastosync("orphans", "--format", "text")),
        ),
    ]


def _exchange(way: WayBack) -> Step:
    if way.config is None:
        return Step(
            tr(
                "Write {file} (`mastosync init --output {file}`), with the current destination as its source, and"
                " unset MASTOSYNC_S3_SOURCE_… and MASTOSYNC_S3_DESTINATION_…, which would override it.",
                file=shlex.quote(way.files.back),
            )
        )
    return Step(
        tr("Write a second configuration, in which source and destination are exchanged. It has its own manifest."),
        (way.mastosync("init", "--reverse", "--output", way.files.back),),
    )
