"""The order of a cut-over without an hour in which media are missing, and the way back.

Every command works as it is printed, one after the other, in the folder where it was printed. docs/guide.md has the
same steps in the same words, and a test holds the one against the other.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mastosync.cutover.evidence import Fallback
from mastosync.cutover.nginx import fallback_log, file_name
from mastosync.findings.deleted import SharedBucket, adopted_message
from mastosync.findings.messages import READ_BACK_SAMPLE
from mastosync.language import tr
from mastosync.manifest import Removable

_NGINX = Path("/etc/nginx/conf.d")
_SNIPPETS = Path("/etc/nginx/snippets")
_RELOAD = "nginx -t && nginx -s reload"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of mastosync, and what the shell does after it."""

    arguments: tuple[str, ...]
    options: tuple[str, ...] = ()  # those before the command
    then: str = ""  # as the shell reads it; empty: nothing

    def __str__(self) -> str:
        typed = shlex.join(["mastosync", *self.options, *self.arguments])
        return f"{typed} && {self.then}" if self.then else typed


@dataclass(frozen=True, slots=True)
class CommandLine:
    """mastosync with the options that name a configuration and a manifest; called with a command, it makes a line."""

    options: tuple[str, ...] = ()

    def __call__(self, *arguments: str, then: str = "") -> Command:  # noqa: D102
        return Command(arguments, self.options, then)


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do, and the commands that do it: of mastosync, or as the shell reads them."""

    what: str
    commands: tuple[Command | str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The commands as they are typed."""
        return tuple(map(str, self.commands))

    def as_json(self) -> dict[str, str | list[str]]:
        """For scripts."""
        return {"what": self.what, "commands": list(self.lines)}


@dataclass(frozen=True, slots=True)
class NewFiles:
    """Names for what the commands write into the folder where they run. None of them is taken."""

    media: str = "mastodon-media.conf"
    media_cache: str = "mastodon-media-cache.conf"
    env: str = "env.production.new"
    back: str = "back.ini"
    back_manifest: str = "back.db"


@dataclass(frozen=True, slots=True)
class Switchover:
    """What the steps from the old store to the new one depend on."""

    mastosync: CommandLine
    cutover: tuple[str, ...]  # this very command, without files and fallback
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
    dropped_by_plan: int = 0  # entries that accepted plans (--accept-gone) have lost
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


def switchover_steps(facts: Switchover) -> list[Step]:
    """From the old store to the new one."""
    return [*([] if facts.done else _work(facts)), *_end(facts), *_tidying(facts)]


def _work(facts: Switchover) -> list[Step]:
    """Everything before the old store goes."""
    return [
        *_switch(facts),
        Step(
            tr(
                "Stop `mastosync follow`, if it runs. Copy what was uploaded to the old store until then. What Mastodon"
                " has uploaded to the new store since is found there. (Private files among it are reported as missing"
                " at the source. They are at the new store.)"
            ),
            (facts.mastosync("plan"), facts.mastosync("copy")),
        ),
        *_from_the_disk(facts),
        *_narrowing(facts),
        *_removal(facts),
        _proof(facts),
    ]


def _switch(facts: Switchover) -> Iterator[Step]:
    if facts.new_host:
        yield _media_host(facts)
    if facts.changes:
        yield _settings(facts)
    if facts.changes and not facts.public:
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
        if facts.changes
        else tr(
            "Restart Mastodon on every machine, if you have not since .env.production was changed: the file alone does"
            " not tell. With Docker Compose, run `docker compose up -d` instead."
        ),
        ("systemctl restart mastodon-sidekiq mastodon-web",),
    )


def _media_host(facts: Switchover) -> Step:
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
    if facts.by_hand:
        told = tr("Configure the media host by hand, as mastosync cannot write it: {problem}.", problem=facts.by_hand)
        return Step(told)
    write = () if facts.written else (facts.nginx(facts.fallback, facts.files.media),)
    return Step(what[facts.fallback], (*write, facts.install(str(facts.written or facts.files.media))))


def _settings(facts: Switchover) -> Step:
    if facts.env is None:
        return Step(tr("Write the lines above into .env.production, on every machine that runs web or Sidekiq."))
    env, kept, new = (shlex.quote(str(each)) for each in (facts.env, facts.env_kept, facts.files.env))
    # one line: where nothing new was written, nothing old may be emptied, and no copy of the secrets is left
    then = f"cp -p {env} {kept} && cat {new} > {env} && rm {new}"
    what = (
        tr(
            "Put what still differs into .env.production, and keep the old settings beside it. Then copy"
            " .env.production to every other machine that runs web or Sidekiq. (If only keys differ, and Mastodon is to"
            " have keys of its own, leave this out.)"
        )
        if facts.switched
        else tr(
            "Put the new settings into .env.production, and keep the old ones beside it. Then copy .env.production to"
            " every other machine that runs web or Sidekiq."
        )
    )
    return Step(what, (facts.mastosync(*facts.cutover, "--new-env", facts.files.env, then=then),))


def _from_the_disk(facts: Switchover) -> Iterator[Step]:
    """Other servers remember media by their addresses on Mastodon's own host, where deleted files lie on, too."""
    if facts.system:
        yield Step(
            tr(
                "Browsers and other servers remember media under Mastodon's own host. Let that host redirect them to"
                " the media host: write the file, and add `include {file};` to the `server` of that host, in place of"
                " its `location ^~ /system/` if there is one. Then reload.",
                file=facts.redirect,
            ),
            (
                f"printf '%s\\n' {shlex.quote(facts.system)}"
                f" | install -D -m 644 --backup=numbered /dev/stdin {shlex.quote(str(facts.redirect))}",
                _RELOAD,
            ),
        )


def _narrowing(facts: Switchover) -> Iterator[Step]:
    """From here on Mastodon deletes at the new store alone: what the old one still has must not be shown."""
    if facts.fallback is Fallback.ALL and not facts.by_hand:
        yield Step(
            tr(
                "All files of this server have arrived, and from now on Mastodon deletes at the new store alone. Let"
                " the fallback answer for `cache/` alone. Otherwise everybody could go on reading at the old store what"
                " users delete."
            ),
            (facts.nginx(Fallback.CACHE, facts.files.media_cache), facts.install(facts.files.media_cache)),
        )


def _removal(facts: Switchover) -> Iterator[Step]:
    """None while plans have lost entries by `--accept-gone`: nobody knows what was deleted."""
    if facts.dropped_by_plan:
        return
    plan = facts.mastosync("plan")
    if facts.shared:
        listed = facts.mastosync("ls", "--state", "skipped", "--reason", "gone")
        told = tr(
            "Plan once more, and remove by hand what was deleted since it was copied: `{command}` lists it.",
            command=listed,
        )
        yield Step(told, (plan, listed))
        return
    told, words = tr("Remove at the new store what was deleted at the old one since it was copied."), ["prune"]
    if facts.gone.adopted:
        told, words = tr("{told} ({adopted}.)", told=told, adopted=adopted_message()), [*words, "--adopted"]
    yield Step(told, (plan, facts.mastosync(*words), facts.mastosync(*words, "--apply")))


def _proof(facts: Switchover) -> Step:
    """Check everything, and read some of it back, as the report demands."""
    everybody = (facts.mastosync("verify", "--public"),) if facts.public and facts.read else ()
    return Step(
        tr("Prove that everything is there, and read some of it back."),
        (facts.mastosync("verify", "--deep", "--sample", str(READ_BACK_SAMPLE)), *everybody),
    )


def _end(facts: Switchover) -> Iterator[Step]:
    if facts.fallback is not Fallback.NONE and not facts.by_hand:
        told = tr(
            "Days later, when nothing is pending and the log of the fallback, {log}, grows no more, take the"
            " fallback down. (Until then, what it answers for can be read at the old store even after it was"
            " deleted.)",
            log=fallback_log(facts.host),
        )
        yield Step(told, (f"sed -i 's/@old;$/@absent;/' {shlex.quote(str(facts.installed))} && {_RELOAD}",))
    report = facts.mastosync(*facts.report)
    if facts.shared:
        about = {"message": facts.shared.message, "remedy": facts.shared.remedy}
        told = tr("At the very end, old objects may be deleted: {message}; {remedy}.", **about)
    elif facts.from_folder:
        told = tr(
            "At the very end, when the report says THE OLD FOLDER MAY BE DELETED, keep a backup of {store}, and"
            " delete that folder yourself. mastosync deletes nothing there.",
            store=facts.old,
        )
    else:
        told = tr(
            "At the very end, when the report says THE OLD STORE MAY BE DELETED, delete {store} with its provider's"
            " own tools. mastosync deletes nothing there.",
            store=facts.old,
        )
    yield Step(told, (report,))
    if not facts.public:
        yield Step(
            tr(
                "Add the new folder to your backups. A provider guards a bucket against the death of a disk, and nobody"
                " guards yours."
            )
        )


def _tidying(facts: Switchover) -> Iterator[Step]:
    if facts.left:
        yield Step(
            tr("Last, remove the files with settings that the switch has left: they hold secrets."),
            (shlex.join(["rm", *facts.left]),),
        )
    if facts.secrets and not facts.shared:
        yield Step(
            tr(
                "When {store} is deleted, and you need this configuration and the way back no more, remove {file}, too:"
                " it holds secrets.",
                store=facts.old,
                file=facts.secrets,
            )
        )


@dataclass(frozen=True, slots=True)
class Failback:
    """What the steps of the way back depend on."""

    mastosync: CommandLine
    cutover: tuple[str, ...]  # the command that tells the steps of the way back
    config: Path | None  # of the way over; None: the environment alone
    old: str  # both stores, as people name them: on the way back the names "old" and "new" change places
    new: str
    minutes: int  # so new an object is no orphan yet
    folders: bool  # one end is a disk, whose files have to be read to compare them
    public: bool = True  # the old store is a bucket: what lies there may have other headers
    read: bool = True  # everybody has to be able to read at the old store, which is a bucket
    files: NewFiles = field(default_factory=NewFiles)


def failback_steps(facts: Failback) -> list[Step]:
    """From the new store to the old one: what was written since goes back, and nothing is uploaded twice."""
    back = CommandLine(("-c", facts.files.back, "--manifest", facts.files.back_manifest))
    return [
        _exchange(facts),
        Step(
            tr(
                "Copy back what is new. mastosync has to be allowed to write to the old store now. Objects that had"
                " never come to the new store are reported as missing: they are still at the old one."
            ),
            (
                back("doctor"),
                back("plan"),
                back("adopt", "--deep") if facts.folders else back("adopt"),
                back("copy"),
                *((back("apply-settings"),) if facts.public else ()),
                back("verify"),
                *((back("verify", "--public"),) if facts.read else ()),
            ),
        ),
        Step(
            tr(
                "Then follow the steps of the way over, in the other direction. There, the new store is {old}, and the"
                " old one, which is deleted at the end, is {new}. This command prints them:",
                old=facts.old,
                new=facts.new,
            ),
            (back(*facts.cutover),),
        ),
        Step(
            tr(
                "What users deleted in the meantime is still at {store}. At the very end, list there what no row"
                " refers to, and remove it by hand. Plan for it at least {minutes} minutes after the last upload:"
                " anything newer is not listed.",
                store=facts.old,
                minutes=facts.minutes,
            ),
            (facts.mastosync("plan"), facts.mastosync("orphans", "--format", "text")),
        ),
    ]


def _exchange(facts: Failback) -> Step:
    if facts.config is None:
        return Step(
            tr(
                "Write {file} (`mastosync init --output {file}`), with the current destination as its source, and"
                " unset MASTOSYNC_S3_SOURCE_… and MASTOSYNC_S3_DESTINATION_…, which would override it.",
                file=shlex.quote(facts.files.back),
            )
        )
    return Step(
        tr("Write a second configuration, in which source and destination are exchanged. It has its own manifest."),
        (facts.mastosync("init", "--reverse", "--output", facts.files.back),),
    )
