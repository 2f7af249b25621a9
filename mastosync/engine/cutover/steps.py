"""The order of a cut-over without an hour in which media are missing, and the way back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mastosync.engine.cutover.findings import Fallback
from mastosync.engine.old_objects import SharedBucket
from mastosync.language import tr

_MEDIA_HOST = Path("/etc/nginx/conf.d/mastodon-media.conf")
_SYSTEM = Path("/etc/nginx/snippets/mastodon-system.conf")
_RELOAD = "nginx -t && nginx -s reload"


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do, and the commands that do it."""

    what: str
    commands: tuple[str, ...] = ()

    def as_json(self) -> dict[str, str | list[str]]:
        """For scripts."""
        return {"what": self.what, "commands": list(self.commands)}


@dataclass(frozen=True, slots=True)
class WayOver:
    """What the steps from the old store to the new one are made of."""

    mastosync: str  # the command with the options that name configuration and manifest
    cutover: str  # the rest of the one that told this, without files and fallback
    written: Path | None = None  # the configuration of nginx, if there is one yet
    public: bool = True  # the new store is a bucket, which everybody reads
    fallback: Fallback = Fallback.ALL
    shared: SharedBucket | None = None  # that both stores are; None: they are two
    system: str | None = None  # a location of nginx, where Mastodon served media of its disk; None: it did not

    def nginx(self, fallback: Fallback, name: str) -> str:
        """The command that writes a media host."""
        option = "" if fallback is Fallback.ALL else f" --fallback {fallback}"
        return f"{self.mastosync} {self.cutover}{option} --nginx {name}"


def steps_over(way: WayOver) -> list[Step]:
    """From the old store to the new one."""
    mastosync = way.mastosync
    proofs = [f"{mastosync} verify", *([f"{mastosync} verify --public"] if way.public else [])]
    return [
        _media_host(way),
        Step(tr("write the lines into .env.production, on every machine that runs web or Sidekiq")),
        Step(
            tr("restart both, one machine after the other (streaming only passes on what they say)"),
            ("systemctl restart mastodon-sidekiq mastodon-web",),
        ),
        Step(
            tr(
                "bring what went to the old store until then; what Mastodon has written to the new one since is found"
                " there (but for what is private, which is told as missing at the source)"
            ),
            (f"{mastosync} plan", f"{mastosync} copy"),
        ),
        *_from_the_disk(way),
        *_narrowing(way),
        _removal(way),
        Step(tr("prove it"), tuple(proofs)),
        *_end(way),
    ]


def _media_host(way: WayOver) -> Step:
    what = {
        Fallback.ALL: tr(
            "let nginx answer for the media host, with the fallback to the old store, and look at some pages"
        ),
        Fallback.CACHE: tr(
            "let nginx answer for the media host, with the fallback to the old store for `cache/` alone: what is"
            " uploaded from the last copy to the restart is not shown until the copy after it; look at some pages"
        ),
        Fallback.NONE: tr(
            "let nginx answer for the media host, without a fallback: what is uploaded from the last copy to the"
            " restart is not shown until the copy after it; look at some pages"
        ),
    }
    write = () if way.written else (way.nginx(way.fallback, _MEDIA_HOST.name),)
    return Step(what[way.fallback], (*write, *_installed(str(way.written or _MEDIA_HOST.name))))


def _from_the_disk(way: WayOver) -> Iterator[Step]:
    """Other servers remember media by their addresses on Mastodon's own host, where deleted files lie on, too."""
    if way.system:
        yield Step(
            tr(
                "browsers and other servers remember media under Mastodon's own host: let it send them to the media"
                " host. Write the file, and put `include {file};` into the `server` of that host, in place of a"
                " `location ^~ /system/` if there is one; then reload",
                file=_SYSTEM,
            ),
            (f"mkdir -p {_SYSTEM.parent}", f"printf '%s\\n' {shlex.quote(way.system)} > {_SYSTEM}", _RELOAD),
        )


def _narrowing(way: WayOver) -> Iterator[Step]:
    """From here on Mastodon deletes at the new store alone: what the old one still has must not be shown."""
    if way.fallback is Fallback.ALL:
        name = f"{_MEDIA_HOST.stem}-{Fallback.CACHE}{_MEDIA_HOST.suffix}"
        yield Step(
            tr(
                "all that is of this server has arrived now: let the fallback answer for `cache/` alone, or whoever"
                " knows its address can go on reading at the old store what users delete from now on"
            ),
            (way.nginx(Fallback.CACHE, name), *_installed(name)),
        )


def _removal(way: WayOver) -> Step:
    plan = f"{way.mastosync} plan"
    if way.shared:
        listed = f"{way.mastosync} ls --state skipped --reason gone"
        return Step(
            tr(
                "plan once more, and remove by hand what was deleted since it was copied: `{command}` lists it",
                command=listed,
            ),
            (plan, listed),
        )
    return Step(
        tr("remove at the new store what was deleted since it was copied; Mastodon itself deletes there now"),
        (plan, f"{way.mastosync} prune", f"{way.mastosync} prune --apply"),
    )


def _end(way: WayOver) -> Iterator[Step]:
    down = (f"sed -i 's/@old;$/@absent;/' {_MEDIA_HOST}", _RELOAD)
    if way.fallback is not Fallback.NONE:
        yield Step(
            tr(
                "when nothing is pending and the log of the fallback grows no more, take the fallback down: what it"
                " answers for can be read at the old store even if it was deleted since"
            ),
            down,
        )
    if way.shared:
        told = {"message": way.shared.message, "remedy": way.shared.remedy}
        yield Step(tr("later, the old objects may go: {message}; {remedy}", **told))
    else:
        yield Step(tr("later, when `{command}` says so, the old store may go", command=f"{way.mastosync} report"))


def _installed(file: str) -> tuple[str, ...]:
    return (f"cp {shlex.quote(file)} {_MEDIA_HOST}", _RELOAD)


@dataclass(frozen=True, slots=True)
class WayBack:
    """What the configuration of the way back is made of."""

    config: Path | None  # of the way over; None: the environment alone
    destination_only: Sequence[str]  # keys that a source does not have
    prefixes: Mapping[str, str]  # role on the way back → its key prefix; empty if nobody has one
    folders: bool  # a disk is at one end, whose files only reading tells


def steps_back(way: WayBack) -> list[Step]:
    """From the new store to the old one: what was written since goes back, and nothing is uploaded twice."""
    back = "mastosync -c back.ini --manifest back.db"
    return [
        _exchange(way),
        Step(
            tr(
                "copy back what is new; the key of the old store has to be allowed to write now. What had never come"
                " over is told as missing, and lies there still"
            ),
            (
                f"{back} doctor",
                f"{back} plan",
                f"{back} adopt --deep" if way.folders else f"{back} adopt",
                f"{back} copy",
            ),
        ),
        Step(
            tr("then the same steps as above, in the other direction: these are its lines and its fallback"),
            (f"{back} cutover --nginx back.conf",),
        ),
    ]


def _exchange(way: WayBack) -> Step:
    if way.config is None:
        return Step(
            tr(
                "write back.ini (`mastosync init --output back.ini`), with the destination of now as its source, and"
                " unset MASTOSYNC_S3_SOURCE_… and MASTOSYNC_S3_DESTINATION_…, which would override it"
            )
        )
    what = tr("exchange source and destination in a second configuration; the manifest of it is another one, too")
    dropped = list(way.destination_only)
    if way.prefixes:
        dropped.append("key_prefix")
        lines = ", ".join(f"[s3.{role}] key_prefix = {prefix}" for role, prefix in way.prefixes.items())
        what += tr("; then write into it: {lines}", lines=lines)
    script = (
        f"/^({'|'.join(dropped)})[[:space:]]*[=:]/d",
        r"s/^\[(s3|filesystem)\.source\]/[\1.old]/",
        r"s/^\[(s3|filesystem)\.destination\]/[\1.source]/",
        r"s/^\[(s3|filesystem)\.old\]/[\1.destination]/",
    )
    command = f"(umask 077 && sed -E '{'; '.join(script)}' {shlex.quote(str(way.config))} > back.ini)"
    return Step(what, (command,))
