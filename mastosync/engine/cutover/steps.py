"""The order of a cut-over without an hour in which media are missing, and the way back."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mastosync.language import tr

_FALLBACK = Path("/etc/nginx/conf.d/mastodon-media.conf")


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do, and the commands that do it."""

    what: str
    commands: tuple[str, ...] = ()

    def as_json(self) -> dict[str, str | list[str]]:
        """For scripts."""
        return {"what": self.what, "commands": list(self.commands)}


def steps_over(mastosync: str, cutover: str, written: Path | None, *, public: bool) -> list[Step]:
    """From the old store to the new one.

    `mastosync`: the command with the options that name configuration and manifest; `cutover`: the rest of the one
    that told this. `written`: the configuration of nginx, if there is one yet. `public`: the new store is a bucket,
    which everybody reads.
    """
    reload = "nginx -t && nginx -s reload"
    write = f"{mastosync} {cutover} --nginx {_FALLBACK.name}"
    install = f"cp {shlex.quote(str(written or _FALLBACK.name))} {_FALLBACK}"
    proofs = [f"{mastosync} verify", *([f"{mastosync} verify --public"] if public else [])]
    return [
        Step(
            tr("let nginx answer for the media host, with the fallback to the old store, and look at some pages"),
            (*([] if written else [write]), install, reload),
        ),
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
        Step(tr("prove it"), tuple(proofs)),
        Step(
            tr(
                "when nothing is pending and the log of the fallback grows no more, take the fallback down, and later"
                " the old store: what users delete can be read there as long as both stand"
            ),
            (f"sed -i 's/@old;$/@absent;/' {_FALLBACK}", reload),
        ),
    ]


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
