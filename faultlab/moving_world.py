"""A world of its own for one moving day: rows, objects at the source, and other tools at the destination."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg import sql

from faultlab.moves import Change, Move, Wrong
from faultlab.moving_rows import CAN_BE_LOCAL, STYLES, FileRow, RowId, State
from faultlab.scenario import Scenario
from faultlab.world import PREFIX
from lab.addresses import DatabaseAddress, PostgresAddress, S3Address
from lab.buckets import delete_bucket
from lab.instance import create_schema, upload
from lab.process import LabError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_T = TypeVar("_T")

ROWS = 12  # at the beginning
OWNERS = (1, 2)  # accounts that have media and no picture of their own: so nothing but media turns private with them
LARGEST_BYTES = 40_000

_FIRST_FILE = 1_735_689_600  # when the oldest file came: seconds since the epoch
_OLD = datetime(2025, 1, 1)  # as Mastodon's times are: UTC without a zone


@dataclass(frozen=True, slots=True)
class Deed:
    """What another tool did at the destination."""

    at: float  # of `time.monotonic()`, when it was done
    move: Move
    key: str


@dataclass(slots=True)
class Chronicle:
    """What has happened so far."""

    prefix: str  # Mastodon's S3_KEY_PREFIX
    history: list[State] = field(default_factory=list)  # every state since the beginning; the last one is now
    deeds: list[Deed] = field(default_factory=list)

    @property
    def now(self) -> State:
        """All rows as they are."""
        return self.history[-1]


@dataclass(slots=True)
class MovingWorld:
    """Rows in a database, their objects in a bucket, and a destination that others write to as well.

    Only one thread changes it at a time.
    """

    scenario: Scenario
    server: PostgresAddress
    template: str  # a database with nothing but tables
    database: DatabaseAddress
    source: S3Address
    client: S3Client  # of the source
    bucket: str  # the source
    moves: Counter[str]  # counted here
    destination: tuple[S3Client, str] | None = None  # with its bucket
    chronicle: Chronicle = field(init=False)
    _left: dict[RowId, FileRow] = field(default_factory=dict)
    _suspended: set[int] = field(default_factory=set)
    _clock: int = _FIRST_FILE
    _ids: int = 100

    def __post_init__(self) -> None:
        self.chronicle = Chronicle(PREFIX if self.scenario.prefixed else "")

    @property
    def key_prefix(self) -> str:
        """Mastodon's S3_KEY_PREFIX."""
        return self.chronicle.prefix

    @property
    def now(self) -> State:
        """All rows as they are."""
        return self.chronicle.now

    def restart(self) -> None:
        """Raises: LabError, as others use this server too."""
        raise LabError("the server of a moving world's database is not its own")

    def populate(self) -> None:
        """Make the first rows and their objects."""
        random = Random(f"moving rows {self.scenario.seed}")
        rows: dict[RowId, FileRow] = {}
        for _ in range(ROWS):
            row = self._made_up(random)
            rows[row.id] = row
        lost = next((row for row in rows.values() if row.table == "media_attachments"), None) or self._media(random)
        rows[lost.id] = replace(lost, lost=frozenset({"original"}))
        self.chronicle.history.append(self._state(rows))
        with self.database.connect() as connection:
            _fill(connection, rows.values(), ())
        upload(self.client, self.bucket, self.now.at_destination.values())

    def change(self, changes: Sequence[Change], connection: psycopg.Connection | None = None) -> None:
        """Let things happen, one after the other. `connection`: in its transaction, which the caller commits."""
        if not changes:
            return
        with contextlib.nullcontext(connection) if connection else self.database.connect(autocommit=True) as used:
            for change in changes:
                happened = self._do(change) if change.move.at_destination else self._move(change, used)
                self.moves[change.move.value] += happened

    @contextlib.contextmanager
    def wrong(self, kind: Wrong) -> Iterator[tuple[DatabaseAddress, State]]:
        """A database that a plan may be made of by mistake, and what it holds."""
        name = f"{self.database.name}_wrong"
        rows = {} if kind is Wrong.EMPTY else dict(list(self.now.rows.items())[::2])
        address = self.server.create_database(name, self.template)
        try:
            with address.connect() as connection:
                _fill(connection, rows.values(), self._suspended)
            yield address, self._state(rows)
        finally:
            self.server.drop_database(name)

    def _state(self, rows: dict[RowId, FileRow]) -> State:
        return State(rows, self.scenario.seed, self.key_prefix)

    # rows

    def _move(self, change: Change, connection: psycopg.Connection) -> bool:
        """Change what one row says, and what the source holds. Returns: whether there was anything to change."""
        rows, random = dict(self.now.rows), Random(change.pick)
        if change.move in (Move.SUSPENDS, Move.UNSUSPENDS):
            changed = self._change_account(change, connection)
        elif change.move is Move.COMES:
            changed = [self._made_up(random)]
        else:
            old = _picked(self._eligible(change.move), change.pick)
            if old is None:
                return False
            if change.move is Move.LEAVES:
                self._left[old.id] = rows.pop(old.id)
                self._store(rows)
                connection.execute(
                    sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(old.table)), (old.row_id,)
                )
                self._clear()
                return True
            self._left.pop(old.id, None)
            changed = [self._changed(change.move, old, random)]
        if not changed:
            return False
        rows |= {row.id: row for row in changed}
        self._store(rows)
        for row in changed:
            _write(connection, row)
        self._clear()
        return True

    def _eligible(self, move: Move) -> list[FileRow]:
        """The rows that this can happen to, in some order."""
        rows = list(self.now.rows.values())
        if move in (Move.RETURNS, Move.RETURNS_OTHER):
            return list(self._left.values())
        if move is Move.LOCALISED:
            return [row for row in rows if row.remote and row.table in CAN_BE_LOCAL]
        return [row for row in rows if not row.lost - {"static"}]

    def _changed(self, move: Move, row: FileRow, random: Random) -> FileRow:
        private = row.table == "backups" or row.account in self._suspended
        match move:
            case Move.RETURNS:
                return replace(row, private=private)
            case Move.REPLACED | Move.RETURNS_OTHER:
                size = row.size if random.random() < 0.5 else _size(random)
                return replace(
                    row, private=private, version=row.version + 1, size=size, told_size=size, updated=self._tick()
                )
            case Move.RENAMED:
                size = _size(random)
                new = replace(row, word=_word(random), version=row.version + 1, size=size, told_size=size)
                return replace(new, updated=self._tick())
            case Move.RESIZED:
                return replace(
                    row, told_size=row.size + random.randint(1, 99) if row.told_size == row.size else row.size
                )
            case Move.TOUCHED:
                return replace(row, updated=self._tick())
            case Move.LOCALISED:
                return replace(row, remote=False)
        raise AssertionError(move)

    def _change_account(self, change: Change, connection: psycopg.Connection) -> list[FileRow]:
        suspends = change.move is Move.SUSPENDS
        account = _picked([each for each in OWNERS if (each in self._suspended) is not suspends], change.pick)
        if account is None:
            return []
        now = _utc_now()
        connection.execute(
            "UPDATE accounts SET suspended_at = %s, updated_at = %s WHERE id = %s",
            (now if suspends else None, now, account),
        )
        self._suspended ^= {account}
        return [replace(row, private=suspends) for row in self.now.rows.values() if row.account == account]

    def _made_up(self, random: Random) -> FileRow:
        table, content_type = random.choice([*STYLES, *[each for each in STYLES if each[0] == "media_attachments"]])
        remote = table == "preview_cards" or (table != "backups" and random.random() < 0.5)
        self._ids += random.randint(1, 5)
        account = random.choice(OWNERS) if table == "media_attachments" else None
        size = _size(random)
        told_size = random.choices((size, size + 7, None), (8, 1, 1))[0]
        return FileRow(
            table,
            (self._ids << 40) + self._ids if table == "media_attachments" else self._ids,
            _word(random),
            content_type,
            size,
            self._tick(),
            told_size=told_size,
            remote=remote,
            schema=None if table == "backups" else random.choice((1, 1, 0, None)),
            account=account,
            private=table == "backups" or account in self._suspended,
            lost=frozenset({"static"}) if random.random() < 0.15 else frozenset(),
        )

    def _media(self, random: Random) -> FileRow:
        while (row := self._made_up(random)).table != "media_attachments":
            pass
        return row

    def _tick(self) -> int:
        """A time that no file has had."""
        self._clock += 1
        return self._clock

    def _store(self, rows: dict[RowId, FileRow]) -> None:
        """Put new objects at the source, as Mastodon does before it writes the row."""
        before = self.now.at_destination
        self.chronicle.history.append(self._state(rows))
        for key, stored in self.now.at_destination.items():
            if key not in before or before[key].seed != stored.seed or before[key].size != stored.size:
                self.client.put_object(Bucket=self.bucket, Key=key, Body=stored.body(), **stored.put_arguments())

    def _clear(self) -> None:
        """Remove from the source what no row asks for any more, as Mastodon does when the row is written."""
        for key in self.chronicle.history[-2].at_destination.keys() - self.now.at_destination.keys():
            self.client.delete_object(Bucket=self.bucket, Key=key)

    # other tools

    def _do(self, change: Change) -> bool:
        assert self.destination is not None  # noqa: S101 - it is known before anything happens
        client, bucket = self.destination
        objects = list(self.now.at_destination.values())
        if change.move is Move.BYTES_IN_PUBLIC:
            objects = [each for each in objects if each.private]
        stored = _picked(objects, change.pick)
        if stored is None:
            return False
        if change.move is Move.DELETES:
            client.delete_object(Bucket=bucket, Key=stored.key)
        else:
            in_public = change.move is Move.BYTES_IN_PUBLIC
            written = replace(stored, private=False) if in_public else replace(stored, seed=f"{stored.seed} other")
            client.put_object(Bucket=bucket, Key=stored.key, Body=written.body(), **written.put_arguments())
        self.chronicle.deeds.append(Deed(time.monotonic(), change.move, stored.key))
        return True


def moving_worlds(
    server: PostgresAddress, stack: contextlib.ExitStack
) -> Callable[[Scenario, S3Address, S3Client, Counter[str]], contextlib.AbstractContextManager[MovingWorld]]:
    """A maker of worlds, each with a database and a bucket of its own, which are gone at the end of its day."""
    template = f"moving_{uuid.uuid4().hex[:12]}"
    made: list[str] = []

    def require_template() -> str:
        if not made:
            address = server.create_database(template)
            stack.callback(server.drop_database, template)
            with address.connect() as connection:
                create_schema(connection)
            made.append(template)
        return template

    @contextlib.contextmanager
    def world(scenario: Scenario, source: S3Address, client: S3Client, moves: Counter[str]) -> Iterator[MovingWorld]:
        name = f"moving_{scenario.seed}_{uuid.uuid4().hex[:12]}"
        bucket = name.replace("_", "-")
        database = server.create_database(name, require_template())
        try:
            client.create_bucket(Bucket=bucket)
            made_world = MovingWorld(scenario, server, template, database, source, client, bucket, moves)
            made_world.populate()
            yield made_world
        finally:
            server.drop_database(name)
            delete_bucket(client, bucket)

    return world


def _fill(connection: psycopg.Connection, rows: Iterable[FileRow], suspended: Container[int]) -> None:
    for owner in OWNERS:
        connection.execute(
            "INSERT INTO accounts (id, username, created_at, updated_at, suspended_at) VALUES (%s, %s, %s, %s, %s)",
            (owner, f"owner{owner}", _OLD, _OLD, _OLD if owner in suspended else None),
        )
    for row in rows:
        _write(connection, row, _OLD)


def _write(connection: psycopg.Connection, row: FileRow, when: datetime | None = None) -> None:
    """Insert or update a row. `when` it was changed; None: now."""
    columns = row.columns(when or _utc_now())
    names = [sql.Identifier(name) for name in columns]
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}").format(
            sql.Identifier(row.table),
            sql.SQL(", ").join(names),
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
            sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(name) for name in names),
        ),
        list(columns.values()),
    )


def _picked(of: Sequence[_T], pick: int) -> _T | None:
    return of[pick % len(of)] if of else None


def _utc_now() -> datetime:
    """As Mastodon's times are."""
    return datetime.now(UTC).replace(tzinfo=None)


def _size(random: Random) -> int:
    return random.choice((random.randint(400, 6_000), random.randint(400, LARGEST_BYTES)))


def _word(random: Random) -> str:
    return f"{random.getrandbits(64):016x}"
