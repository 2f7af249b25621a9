"""The smaller sections: copying, plans, rounds, refetching, references to secrets, a cluster, a folder as a store.

Beside them the formats of values that only one of these sections has: a bandwidth, an owner. `schema` puts all sections
together.
"""

# ruff: noqa: RUF009 - `key` only wraps `field()`; its defaults are immutable

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from mastosync.config.secrets import Secret
from mastosync.config.values import (
    DURATION,
    NETWORKS,
    ORDER,
    PATH,
    PATIENCE,
    SECRET,
    SWITCH,
    TYPES,
    Format,
    InvalidValue,
    choice,
    key,
    parse_size,
    seconds,
    size,
    suggest,
    whole,
)
from mastosync.language import deferred, say, tr
from mastosync.model import TABLES

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY_MINUTES = 24 * 60
_LEAST = 1024  # bytes a second
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class Timetable:
    """What bandwidth holds when, the same every week."""

    text: str = "off"  # as it was written
    changes: tuple[tuple[int, int | None], ...] = ()  # minute of the week, from when on; bytes a second (None: any)

    def limit_at(self, moment: datetime) -> int | None:
        """Bytes a second at a moment of local time; None: as many as will go."""
        if not self.changes:
            return None
        minute = moment.weekday() * _DAY_MINUTES + moment.hour * 60 + moment.minute
        # before the first change, what was last said in the week before holds
        return self.changes[bisect_right(self.changes, minute, key=itemgetter(0)) - 1][1]

    def __str__(self) -> str:
        return self.text


def _timetable(text: str) -> Timetable:
    text = text.strip().lower()
    if "," not in text:
        limit = _limit(text)
        return Timetable() if limit is None else Timetable(text, ((0, limit),))
    entries = [_entry(each) for each in text.replace(";", " ").split()]
    entries.sort(key=lambda entry: -len(entry[0]))  # what is said of one day is said more exactly, and wins
    changes = {day * _DAY_MINUTES + minute: limit for days, minute, limit in entries for day in days}
    return Timetable(text, tuple(sorted(changes.items(), key=itemgetter(0))))


def _entry(text: str) -> tuple[Sequence[int], int, int | None]:
    """Days of the week, minute of the day, and limit of `[DAY-]HH:MM,RATE`."""
    when, _, rate = text.partition(",")
    name, _, time = when.rpartition("-")
    match = _TIME.fullmatch(time)
    if match is None:
        raise InvalidValue(
            tr("{text!r} does not begin with a time such as 08:00", text=text),
            tr("An entry is 08:00,5M or Mon-08:00,5M."),
        )
    days = [number for number, day in enumerate(_DAYS) if name in (day, day[:3])] if name else range(7)
    if not days:
        raise InvalidValue(tr("{name!r} is no day", name=name), suggest(name, tuple(day[:3] for day in _DAYS)))
    return days, int(match[1]) * 60 + int(match[2]), _limit(rate)


def _limit(text: str) -> int | None:
    if text in ("off", "0"):
        return None
    limit = parse_size(text)
    if text[-1].isdigit():
        raise InvalidValue(
            tr("{text!r} has no unit", text=text),
            tr("Write {text}K for KiB a second (what rclone takes it for), or {text}M.", text=text),
        )
    if limit < _LEAST:
        raise ValueError
    return limit


BANDWIDTH = Format(
    deferred("off, bytes a second such as 5M or 512KiB (at least 1K), or a timetable such as 08:00,5M 23:00,off"),
    _timetable,
)


_MIB = 1024**2
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class CopyConfig:
    """How objects are copied."""

    workers: int = key(8, whole(1), "How many objects are copied at the same time.")
    rate: int | None = key(
        None,
        whole(1),
        "Limit requests per second to each endpoint, even if it would take more: reading and writing count for their"
        " own endpoint, repeated requests and parts count as well. Below the limit, the rate follows what the endpoint"
        " takes. Default: the provider's limit, where one is known, else none.",
    )
    bwlimit: Timetable = key(
        Timetable(),
        BANDWIDTH,
        "Limit bytes of objects per second. Each object counts once: it is read at this rate and written at this rate."
        " A timetable is in local time, and each setting holds until the next; Mon-08:00,5M is for that day alone. 5M"
        " is 5 MiB and 5MB are 5,000,000 bytes.",
    )
    order: str = key(
        "local-first", ORDER, "What to copy first: what no other server has, or just the newest or oldest."
    )
    max_attempts: int = key(5, whole(1), "How often an object is tried in one run before it counts as failed.")
    throttle_budget_seconds: float = key(
        900.0, seconds(0), "How long an object may wait for a store that asks to slow down before it fails."
    )
    outage_patience: float = key(
        3600.0,
        PATIENCE,
        "How long to wait for a store that stops answering during a run, or answers 503 to everything. Nothing fails"
        " meanwhile: objects in flight wait, the store is asked now and then, and the run goes on when it answers."
        " After this time the run stops. For as long, `follow` also tries again soon after a round that could not"
        " reach a store or the database. off: a run stops when so many objects in a row have failed that the objects"
        " cannot be the reason.",
    )
    multipart_threshold: int = key(
        200 * _MIB,
        size(1, 5 * _GIB),
        "Objects larger than this travel in parts. Between two buckets, smaller ones go in one request, and those above"
        " 16 MiB are sent on as they come. What was uploaded in parts keeps its parts. From or to a disk, everything"
        " above 16 MiB travels in parts.",
    )
    part_size: int = key(
        16 * _MIB,
        size(5 * _MIB, 5 * _GIB),
        "Size of a part. Between two buckets, what was uploaded in parts keeps its own.",
    )
    digest: str = key(
        "proof",
        choice("proof", "always"),
        "Which objects are hashed on this machine. proof: those whose MD5 the stores do not prove by themselves. Where"
        " the source's ETag is an MD5, it goes along with the upload, and the destination has to answer the same one."
        " Some objects are hashed all the same, to find out whether the stores can be believed; a few of them are first"
        " sent with a wrong MD5, which a store has to refuse (BadDigest). always: every object.",
    )
    server_side: str = key(
        "auto",
        choice("auto", "never"),
        "Whether a store may copy by itself, so that no bytes travel through this machine. auto: where source and"
        " destination have the same endpoint_url and access_key, as long as the store does not refuse. bwlimit does"
        " not apply then. never: every byte is read and written here.",
    )
    memory: int = key(
        256 * _MIB,
        size(16 * _MIB, 1024 * _GIB),
        "Limit the bytes of objects that are in memory at once, whatever the workers and sizes. At least as much as"
        " part_size.",
    )
    private_objects: str = key(
        "skip",
        choice("skip", "copy"),
        "What to do with objects that must stay private where no ACL can keep them so. skip leaves them out, until"
        " `copy` is run with copy, which copies them all the same. Choose that only if nobody can read the bucket"
        " without credentials.",
    )


@dataclass(frozen=True, slots=True)
class PlanConfig:
    """What a plan takes in."""

    only: str = key("all", choice("all", "local", "remote"), "Objects of this server, of other servers, or all.")
    types: tuple[str, ...] = key(TABLES, TYPES, "Which tables, separated by commas or spaces.")
    limit: int | None = key(
        None, whole(1), "Read at most this many rows of each table, for a trial. Default: no limit."
    )
    max_age: int | None = key(
        None,
        whole(1, 36_500),
        "Leave out files of other servers that are older than this many days: media of posts and preview cards, which"
        " Mastodon itself calls a cache and fetches again. Files of this server, and avatars, headers and emojis of"
        " others, are never left out. Default: nothing is left out.",
    )


@dataclass(frozen=True, slots=True)
class FollowConfig:
    """When is read what has changed."""

    every: float = key(600.0, DURATION, "How long from the beginning of a round to that of the next one.")
    overlap_minutes: int = key(
        15,
        whole(1, 24 * 60),
        "How far before the last plan changes are read again. A row has the time of its change, but becomes visible"
        " later, when its transaction ends, and clocks differ. Choose more than the longest transaction takes, and"
        " more than a standby lags behind.",
    )
    full_every_hours: int = key(
        24,
        whole(1, 24 * 365),
        "How often everything is read: only that finds rows that were deleted, or changed without a new time of"
        " change.",
    )


@dataclass(frozen=True, slots=True)
class RefetchConfig:
    """How files are fetched from where they came from."""

    requests_per_second: int = key(2, whole(1, 100), "Limit requests per second to each of these servers.")
    use_proxies: bool = key(
        False,
        SWITCH,
        "Whether to use the proxies of the environment (https_proxy and its kin). A proxy looks names up by itself:"
        " what it can reach, a URL in the database can then reach as well.",
    )
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = key(
        (),
        NETWORKS,
        "Internal networks that it may connect to all the same, separated by spaces: 10.1.0.0/16 fd12::/32. A URL in"
        " the database can then reach everything in them.",
    )


SYNTAXES = ("dotenv", "docker")


@dataclass(frozen=True, slots=True)
class EnvConfig:
    """Where `env:NAME` is looked up."""

    file: Path | None = key(
        None,
        PATH,
        "A file of variables, such as Mastodon's own .env.production. What it does not have is looked up in the"
        " environment. Default: the environment alone.",
    )
    syntax: str = key(
        "dotenv",
        choice(*SYNTAXES),
        "How these files are read. dotenv: as Mastodon and Docker Compose read them; quotes around a value are not"
        " part of it. docker: as `docker run --env-file` and Compose before version 2 read them; every character of a"
        " value is part of it.",
    )
    mastodon_file: Path | None = key(
        None,
        PATH,
        "Mastodon's own .env.production, if file is another one since `mastosync pin-secrets`. `cutover` says what to"
        " change in it, and `report` looks whether it names the destination. Default: file.",
    )

    @property
    def settings(self) -> Path | None:
        """Where Mastodon's own settings may be, as far as is known."""
        return self.mastodon_file or self.file


@dataclass(frozen=True, slots=True)
class CeleryConfig:
    """For a cluster of workers, and for files written for the older Celery tool."""

    broker: Secret | None = key(None, SECRET, "The broker's URL, such as redis://localhost:6379/0.")
    backend: Secret | None = key(None, SECRET, "The URL where results are kept.")
    concurrency: int | None = key(None, whole(1), "Tasks at the same time on one machine. Default: [copy] workers.")
    log_level: str = key(
        "info", choice("debug", "info", "warning", "error", "critical", "fatal"), "How much the workers log."
    )


_HIGHEST_ID = 2**32 - 2  # the one above means nobody


class OwnerKey(NamedTuple):
    """Whose files are to be, by numbers."""

    user: int
    group: int | None  # None: as the folder's


def _owner(text: str) -> OwnerKey:
    import grp  # noqa: PLC0415 - only who names somebody needs them
    import pwd  # noqa: PLC0415

    user, colon, group = text.strip().partition(":")
    if not user or (colon and not group):
        raise ValueError
    return OwnerKey(
        _number_of(user, lambda name: pwd.getpwnam(name).pw_uid, deferred("this machine knows no user {name!r}")),
        _number_of(group, lambda name: grp.getgrnam(name).gr_gid, deferred("this machine knows no group {name!r}"))
        if colon
        else None,
    )


def _number_of(name: str, known: Callable[[str], int], unknown: str) -> int:
    try:
        number = int(name) if name.isascii() and name.isdigit() else known(name)
    except KeyError:
        raise InvalidValue(say(unknown).format(name=name), tr("Correct the name, or write its number.")) from None
    if number > _HIGHEST_ID:
        raise ValueError
    return number


OWNER = Format(deferred("a user, such as mastodon, or user:group, or their numbers"), _owner)


@dataclass(frozen=True, slots=True)
class FilesystemConfig:
    """A folder of this machine, where objects are files: what Mastodon has without S3."""

    path: Path | None = key(
        None,
        PATH,
        "The folder that holds `media_attachments`, `accounts` and the others: Mastodon's PAPERCLIP_ROOT_PATH, which is"
        " public/system below its own folder unless set.",
    )
    fsync: str = key(
        "always",
        choice("always", "never"),
        "Whether an object counts as done only when the disk itself has it. never is faster, most of all for small"
        " objects, and a power cut may then lose some that count as done: `mastosync verify` finds them.",
        only="filesystem.destination",
    )
    keep_free: int = key(
        _GIB,
        size(0, 1024 * 1024 * _GIB),
        "Copying stops before less than this is free on the disk.",
        only="filesystem.destination",
    )
    owner: OwnerKey | None = key(
        None,
        OWNER,
        "The owner of the files and folders that mastosync writes. Default: the owner of the folder itself, because"
        " Mastodon has to read and delete them. Only root may give files to others.",
        only="filesystem.destination",
    )

    @property
    def folder(self) -> Path:
        """The path, of a folder that is configured (`Config.require_store`)."""
        assert self.path is not None  # noqa: S101
        return self.path
