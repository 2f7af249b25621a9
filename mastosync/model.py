"""What all packages speak of: entries, claims, outcomes and the like, as plain values.

What is made for each row or object (`MediaRow`, `Entry`, `Outcome`) is a `NamedTuple`: several times cheaper than
a frozen dataclass. A plan has millions of the first two, and moves them in columns (`MediaColumns`, `EntryGroup`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from typing import NamedTuple

TABLES: tuple[str, ...] = (
    "media_attachments",
    "accounts",
    "custom_emojis",
    "preview_cards",
    "preview_card_providers",
    "site_uploads",
    "backups",
    "imports",
)
"""Mastodon's tables with attachments. These names are also the types of `--type`."""

CACHE_CONTROL = "public, max-age=315576000, immutable"
"""What Mastodon itself writes with every upload."""


class EntryState(StrEnum):
    """Where an entry stands. Every entry is in exactly one state."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class Reason(StrEnum):
    """Why an entry failed, or why it was skipped."""

    MISSING = "missing"  # no candidate exists at the source
    DENIED = "denied"  # a store refused this object
    THROTTLED = "throttled"  # the throttle budget is used up
    CORRUPT = "corrupt"  # length or MD5 kept differing
    NETWORK = "network"  # connections kept failing
    SERVER = "server"  # a store kept answering with an error of its own
    TOO_LARGE = "too_large"  # more than the destination takes

    OPTIONAL_MISSING = "optional_missing"  # skipped: absent, and Mastodon can do without
    PRIVATE = "private"  # skipped: private, and the destination cannot keep it private
    EXCLUDED = "excluded"  # skipped: left out on request
    GONE = "gone"  # skipped: its row left the database


class Order(StrEnum):
    """In which order work is done."""

    LOCAL_FIRST = "local-first"  # what nobody could fetch again comes first; each part from the newest on
    NEWEST = "newest"
    OLDEST = "oldest"


class End(StrEnum):
    """The two ends of a copy."""

    SOURCE = "source"
    DESTINATION = "destination"


class Origin(StrEnum):
    """How an object that is done came to the destination."""

    COPIED = "copied"
    ADOPTED = "adopted"  # it lay there already, whoever brought it
    REFETCHED = "refetched"  # fetched again from the server it came from, as the source had lost it


class Presence(IntFlag):
    """What is known of the object at the destination under an entry's key. No bit: nothing that we wrote or adopted."""

    AS_PUBLIC = 1  # it was stored with the access of a public row
    AS_PRIVATE = 2  # with that of a private row; with both bits, it is not known which
    IN_DOUBT = 4  # a write was begun, and its end is not known
    STALE = 8  # its bytes are not those that are wanted now


NOTHING = Presence(0)

FAILURE_REASONS: tuple[Reason, ...] = (
    Reason.MISSING,
    Reason.DENIED,
    Reason.THROTTLED,
    Reason.CORRUPT,
    Reason.NETWORK,
    Reason.SERVER,
    Reason.TOO_LARGE,
)

PASSING_REASONS: tuple[Reason, ...] = (Reason.THROTTLED, Reason.NETWORK, Reason.SERVER)
"""Of failures that another run may not meet."""

CACHE_TABLES = ("media_attachments", "preview_cards")
"""Whose rows of other servers Mastodon itself calls a cache: it removes their files, and fetches them again."""

ACCEPTABLE_REASONS: tuple[Reason, ...] = tuple(reason for reason in FAILURE_REASONS if reason not in PASSING_REASONS)
"""Of failures that somebody may accept as a loss: another run meets them again."""

MANIFEST_BYTES_PER_ENTRY = 170
"""On the disk, for forecasts: of an entry that is done, with an ETag that is no MD5. `make bench-size` measures."""

OWN_EXTENSION = ""
"""As a style's format: the style keeps the extension of the stored file name."""


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """One rendition of an attachment, and the rows that have it. There is one of each: equal is the same."""

    name: str  # the path segment: original, small, static, @2x, 48
    format: str = OWN_EXTENSION  # the extension it is stored with
    fallback: str | None = None  # an extension it was stored with by other releases
    content_types: Container[str | None] | None = None  # rows with these content types; None: any
    variables: Container[str | None] | None = None  # rows with these `var`s; None: any
    optional: bool = False  # Mastodon can do without: absence is no failure

    def applies(self, content_type: str | None, var: str | None) -> bool:
        """Whether a row with this content type and `var` has this rendition."""
        return (self.content_types is None or content_type in self.content_types) and (
            self.variables is None or var in self.variables
        )


@dataclass(frozen=True, slots=True, eq=False)
class AttachmentSpec:
    """One attachment of one table, as Mastodon's models declare it. There is one of each: equal is the same."""

    table: str  # accounts
    attachment: str  # avatar: the column prefix
    directory: str  # accounts/avatars: the key between `cache/` and the id
    styles: tuple[Style, ...]
    cacheable: bool = False  # the table knows local rows from remote ones
    private: bool = False  # Mastodon stores every object of it as private
    address: str | None = None  # the column that says where the file of a remote row came from; None: none does
    most_bytes: int = 0  # that Mastodon fetches from there


class MediaRow(NamedTuple):
    """One attachment of one database row. An absent column is None (or False)."""

    id: int
    file_name: str | None
    content_type: str | None = None
    file_size: int | None = None  # bytes of the original, as the database says
    schema_version: int | None = None  # <attachment>_storage_schema_version
    remote: bool = False
    private: bool = False  # its account is suspended, or the attachment is always private
    var: str | None = None  # site_uploads only
    updated: int | None = None  # when this file came, in seconds since the epoch


class RemoteFile(NamedTuple):
    """Where the file of one attachment of one row came from, as the row has it now."""

    file_name: str  # stored under this name
    address: str | None  # a URL; None: the row is of this server, or does not tell
    private: bool  # as in `MediaRow`


class MediaColumns(NamedTuple):
    """Rows of one attachment that have a file name: the fields of `MediaRow` in its order, column by column."""

    ids: Sequence[int]
    file_names: Sequence[str]
    content_types: Sequence[str | None]
    file_sizes: Sequence[int | None]
    schema_versions: Sequence[int | None]
    remote: Sequence[bool]
    private: Sequence[bool]
    variables: Sequence[str | None]
    updated: Sequence[int | None]

    def iter_rows(self) -> Iterator[MediaRow]:
        """One `MediaRow` after the other."""
        return map(MediaRow._make, zip(*self, strict=True))


class Kind(NamedTuple):
    """What entries with the same part of the key before and after the id have in common."""

    table: str
    attachment: str
    style: str
    directory: str
    remote: bool
    cached: bool  # the canonical key starts with `cache/`

    @property
    def namespace(self) -> tuple[str, str, bool]:
        """Kinds that share it make the same key of the same id and name: rows of this server and others may."""
        return self.directory, self.style, self.cached


class Entry(NamedTuple):
    """One object that Mastodon will ask for: one line of the manifest.

    `(kind, id, name)` identifies it, and the canonical key is a pure function of the three.
    """

    kind: Kind
    id: int
    name: str  # last segment of the canonical key
    fallback: str | None  # last segment that other releases used instead
    optional: bool
    private: bool
    size: int | None  # bytes: from the database for originals, exact once done
    updated: int | None = None  # when its file came, in seconds since the epoch


class EntryGroup(NamedTuple):
    """Entries that have more than their kind in common, column by column."""

    kind: Kind
    optional: bool
    private: bool
    ids: Sequence[int]
    names: Sequence[str]
    fallbacks: Sequence[str | None] | None  # None: nobody has one
    sizes: Sequence[int | None] | None  # None: nobody's is known
    updated: Sequence[int | None] | None = None  # None: nobody's is known
    excluded: bool = False  # left out on request, unless somebody has begun with it

    @classmethod
    def of(cls, entry: Entry) -> EntryGroup:
        """A group of one."""
        kind, row_id, name, fallback, optional, private, size, updated = entry
        return cls(kind, optional, private, (row_id,), (name,), (fallback,), (size,), (updated,))


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """By what a database is known. Name and address may change; its oldest accounts outlive a dump and a restore."""

    name: str
    address: str  # host and port
    cluster: str | None = None  # stands for the server's data and its database in it; None: the server does not tell
    accounts: tuple[str, ...] = ()  # each stands for one of the oldest; empty: there are none, or nobody may read them

    def is_other(self, known: DatabaseIdentity) -> bool:
        """Whether it is of another instance: no account is in both, and each has some."""
        return bool(self.accounts and known.accounts) and not set(self.accounts) & set(known.accounts)

    def has_moved(self, known: DatabaseIdentity) -> bool:
        """Whether it certainly is not the very database that was read before, nor a standby of it."""
        return None not in (self.cluster, known.cluster) and self.cluster != known.cluster


@dataclass(frozen=True, slots=True)
class DatabaseAge:
    """How far a database has come, and which copy of it this is."""

    tables: str  # stands for the very tables: a restored dump has others
    snapshot_id: str  # in PostgreSQL's notation
    newest: Mapping[str, int]  # id, by table: of the rows that are there, with or without files
    empty: Collection[str] = ()  # tables that have no rows, or that are not there
    wanting: Collection[tuple[str, str]] = ()  # tables with rows that refer to one without any: no restore ends so


class Arrival(NamedTuple):
    """What the manifest knows of an object at the destination whose entry is not done."""

    presence: Presence
    md5: bytes | None = None  # as it was confirmed last, as are the following
    etag: str | None = None
    source_key: str | None = None
    origin: Origin = Origin.COPIED


NOTHING_ARRIVED = Arrival(NOTHING)


class Claim(NamedTuple):
    """An entry handed to a worker."""

    entry: Entry
    attempts: int  # made in earlier runs
    arrival: Arrival = NOTHING_ARRIVED


class Outcome(NamedTuple):
    """What became of a claim. The only thing that leaves a worker."""

    entry: Entry
    state: EntryState
    reason: Reason | None = None
    size: int | None = None  # bytes that arrived
    md5: bytes | None = None  # 16 bytes: digest of what arrived
    etag: str | None = None  # of the destination, where it is no MD5
    source_key: str | None = None  # where the object lay, if not under its first candidate
    attempts: int = 1  # made in this run
    detail: str | None = None  # for people: the last error
    origin: Origin = Origin.COPIED  # of what is done
    presence: Presence | None = None  # of what is not done, where the attempt has changed it; None: as it was
    # which store failed; for adopted or confirmed objects: SOURCE if the source answered that it lacks it,
    end: End | None = None  # ... DESTINATION if it was not asked
    believed: bool = False  # the ETag of the destination alone says that it has the bytes of the source


class Record(NamedTuple):
    """An entry with everything that the manifest knows of it."""

    entry: Entry
    source_key: str | None  # where the object lay, if not under its first candidate
    state: EntryState
    reason: Reason | None
    attempts: int
    md5: bytes | None
    etag: str | None
    detail: str | None
    origin: Origin | None  # None: not done
    presence: Presence = NOTHING  # what lies at the destination
    accepted: bool = False  # it failed, and somebody has accepted that for this reason


class ObjectHeaders(NamedTuple):
    """The headers that travel with an object from source to destination. Most objects of a run have the same."""

    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_language: str | None = None
    content_encoding: str | None = None  # never holds `aws-chunked`
    metadata: tuple[tuple[str, str], ...] = ()  # names, in lower case and in order, and values


class ObjectInfo(NamedTuple):
    """What a store says of one object."""

    size: int  # bytes
    etag: str  # without quotes
    headers: ObjectHeaders = ObjectHeaders()
    etag_is_md5: bool = False  # 32 hex digits, and not of an object encrypted with a foreign key
    private: bool = False  # the store tells that it is kept from everybody; only a disk does
    last_modified: str | None = None  # an HTTP date, as the store tells it; None: it does not
    storage_class: str | None = None  # as the store tells it; None: it does not, as of what is in STANDARD

    @property
    def md5(self) -> bytes | None:
        """The MD5 of the content (16 bytes), if the ETag is one."""
        return bytes.fromhex(self.etag) if self.etag_is_md5 else None


class Owner(NamedTuple):
    """Whose a file is on a disk, by numbers."""

    user: int
    group: int

    def __str__(self) -> str:
        """As chown takes it: names, where this machine knows them."""
        import grp  # noqa: PLC0415 - hardly anybody asks
        import pwd  # noqa: PLC0415

        user, group = str(self.user), str(self.group)
        with suppress(KeyError):
            user = pwd.getpwuid(self.user).pw_name
        with suppress(KeyError):
            group = grp.getgrgid(self.group).gr_name
        return f"{user}:{group}"


class Access(NamedTuple):
    """Whose a file is, and who may do what with it."""

    owner: Owner
    mode: int  # the nine bits
    folder_mode: int  # of the folder that it lies in


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whose what lies in a folder of this machine is, and should be."""

    path: str
    folder: Owner  # whose it is itself
    wanted: Owner  # whose what is written there should be
    runs_as: Owner  # who runs mastosync
    gives: bool  # what is written is given to `wanted`
    others: tuple[str, ...]  # some of what lies there and is another user's than `wanted`
    links: tuple[str, ...] = ()  # to folders elsewhere, which count as folders there


_HEX_MD5 = re.compile(r"[0-9a-f]{32}\Z", re.IGNORECASE)


def looks_like_md5(etag: str) -> bool:
    """Whether an ETag has the form of an MD5 (a multipart one, `…-3`, has not)."""
    return _HEX_MD5.match(etag) is not None
