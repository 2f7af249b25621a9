"""What an incremental plan reads of a real PostgreSQL, and that it leaves the manifest as a plan of everything does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lab.addresses import DatabaseAddress
from mastosync.manifest import Manifest, ManifestReader, PlanWriter, WorkQueue
from mastosync.mastodon.changes import Changes
from mastosync.mastodon.database import MastodonDatabase
from mastosync.mastodon.queries import Scope, select_named
from mastosync.model import EntryState, Kind, Outcome, Reason
from mastosync.planning.planner import DeltaBase, Planner, PlanOptions, PlanResult
from mastosync.planning.survey import Surveyor
from mastosync.progress import NoProgress
from tests.support.manifests import DESTINATION, SOURCE
from tests.support.mastodon_tables import config_of, execute

TABLES = """
CREATE TABLE accounts (id bigint PRIMARY KEY, domain varchar, suspended_at timestamp, updated_at timestamp,
  avatar_file_name varchar, avatar_content_type varchar, avatar_updated_at timestamp);
CREATE TABLE media_attachments (id bigint PRIMARY KEY, account_id bigint, remote_url varchar, updated_at timestamp,
  file_file_name varchar, file_content_type varchar, file_updated_at timestamp, status_id bigint);
CREATE TABLE statuses (id bigint PRIMARY KEY, deleted_at timestamp);
CREATE TABLE site_uploads (id bigint PRIMARY KEY, var varchar, file_file_name varchar);
"""
SURVEYOR = partial(Surveyor, multipart_threshold=1 << 24, part_size=1 << 24)
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
ACCOUNTS = (1, 2, 3)


@dataclass
class Instance:
    """A database whose time is a counter: each change is a minute later than the last one."""

    connection: psycopg.Connection
    minutes: Iterator[int] = field(default_factory=lambda: count(1))
    now: datetime = NOON
    ids: Iterator[int] = field(default_factory=lambda: count(100, 10))

    def execute(self, statement: str, *values: object) -> None:
        self.now = NOON + timedelta(minutes=next(self.minutes))
        self.connection.execute(statement.replace("NOW", f"'{self.now:%F %T}'").encode(), values)

    def begin(self) -> None:
        self.execute("TRUNCATE accounts, media_attachments, statuses, site_uploads")
        for account in ACCOUNTS:
            domain = None if account == 1 else "host.example"
            self.execute("INSERT INTO accounts VALUES (%s, %s, NULL, NOW, 'a.png', 'image/png', NOW)", account, domain)
        self.execute("INSERT INTO site_uploads VALUES (1, 'favicon', 'f.png')")

    def add(self, row: int, *, late: bool) -> None:
        """A new row; `late`: its id is lower than one that was seen already."""
        row_id = next(self.ids) - (15 if late else 0)
        status_id = 10_000 + row_id
        self.connection.execute("INSERT INTO statuses VALUES (%s, NULL) ON CONFLICT DO NOTHING", (status_id,))
        self.execute(
            "INSERT INTO media_attachments VALUES (%s, %s, %s, NOW, 'a.png', 'image/png', NOW, %s)"
            " ON CONFLICT DO NOTHING",
            row_id,
            ACCOUNTS[row % 3],
            "https://host.example/a" if row % 2 else "",
            status_id,
        )

    def change(self, row: int, what: str) -> None:
        self.execute(f"UPDATE media_attachments SET {what}, updated_at = NOW WHERE id = ({_NTH})", row)  # noqa: S608

    def delete(self, row: int) -> None:
        self.execute(f"DELETE FROM media_attachments WHERE id = ({_NTH})", row)  # noqa: S608

    def remove_post(self, row: int) -> None:
        """As a moderator does: the post is kept, and the rows of its media stay as they are."""
        nth = _NTH.replace("id FROM", "status_id FROM")
        self.execute(f"UPDATE statuses SET deleted_at = NOW WHERE id = ({nth})", row)  # noqa: S608

    def change_account(self, row: int, what: str) -> None:
        self.execute(f"UPDATE accounts SET {what}, updated_at = NOW WHERE id = %s", ACCOUNTS[row % 3])  # noqa: S608


_COUNT = "SELECT greatest(count(*), 1) FROM media_attachments"
_NTH = f"SELECT id FROM media_attachments ORDER BY id OFFSET %s %% ({_COUNT}) LIMIT 1"  # noqa: S608

CHANGES = (
    "file_file_name = NULL",
    "file_file_name = ''",
    "file_file_name = 'b.gif', file_content_type = 'image/gif', file_updated_at = NOW",
    "file_file_name = 'a.png', file_content_type = 'image/png', file_updated_at = NOW",
    "remote_url = ''",
    "remote_url = 'https://host.example/b'",
    "account_id = 1",
)
OF_ACCOUNTS = (
    "suspended_at = NOW",
    "suspended_at = NULL",
    "avatar_file_name = 'c.png', avatar_updated_at = NOW",
    "avatar_file_name = NULL",
    "domain = NULL",
    "domain = 'other.example'",
)

nth = st.integers(0, 20)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), nth, st.booleans()),
        st.tuples(st.just("change"), nth, st.sampled_from(CHANGES)),
        st.tuples(st.just("account"), nth, st.sampled_from(OF_ACCOUNTS)),
        st.tuples(st.just("remove"), nth, st.none()),
        st.tuples(st.just("delete"), nth, st.none()),
        st.tuples(st.just("upload"), nth, st.none()),
        st.tuples(st.just("plan"), nth, st.none()),
    ),
    min_size=3,
    max_size=25,
)


Place = tuple[Kind, int, str]
Seen = tuple[EntryState, Reason | None, bool, int | None]


class Plans:
    """A manifest, and plans of it."""

    def __init__(self, address: DatabaseAddress, path: Path, only: Scope) -> None:
        self.address = address
        self.manifest = Manifest.create(path)
        self.options = PlanOptions(("media_attachments", "accounts", "site_uploads"), only)
        self.base: DeltaBase | None = None

    def plan(self, now: datetime, *, delta: bool) -> PlanResult:
        base = self.base if delta else None
        with (
            MastodonDatabase(config_of(self.address)) as database,
            PlanWriter.transaction(self.manifest, SOURCE, DESTINATION) as writer,
        ):
            reader = Changes(database, base.since, base.highest) if base else database
            result = Planner(reader, self.options, NoProgress(), SURVEYOR, base).run(writer)
            writer.finish(now, {})
        self.base = DeltaBase(now + timedelta(seconds=1), result.highest)
        return result

    def finish_all(self) -> None:
        queue = WorkQueue(self.manifest)
        claims = list(queue.iter_claimable())
        done = [Outcome(claim.entry, EntryState.DONE, size=7, md5=b"\1" * 16) for claim in claims]
        queue.commit(outcomes=done)

    def entries(self) -> dict[Place, Seen]:
        return {
            record.entry[:3]: (record.state, record.reason, record.entry.private, record.entry.updated)
            for record in ManifestReader(self.manifest).iter_records()
        }

    def entries_but_of(self, deleted: set[int]) -> dict[Place, Seen]:
        """Without those of deleted media."""
        return {
            place: seen
            for place, seen in self.entries().items()
            if place[0].table != "media_attachments" or place[1] not in deleted
        }


@pytest.fixture
def instance(database: DatabaseAddress) -> Iterator[Instance]:
    execute(database, TABLES)
    with closing(database.connect(autocommit=True)) as connection:
        yield Instance(connection)


def _example(*changes: tuple[str, int, object]) -> list[tuple[str, int, object]]:
    """Two media of each account, a plan, and what happens then."""
    return [*(("add", row, False) for row in range(6)), ("plan", 0, None), *changes]


@example(steps=_example(("account", 1, "suspended_at = NOW")), only="all")
@example(steps=_example(("remove", 1, None), ("add", 0, False), ("remove", 6, None)), only="all")
@example(
    steps=_example(("account", 1, "domain = NULL"), ("change", 0, "remote_url = 'https://host.example/b'")),
    only="local",
)
@example(steps=_example(("change", 1, CHANGES[0]), ("add", 0, True), ("change", 0, CHANGES[3])), only="all")
@example(steps=_example(("delete", 5, None), ("add", 1, False), ("upload", 1, None), ("plan", 0, None)), only="all")
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps, only=st.sampled_from(["all", "all", "local", "remote"]))
def test_deltas_leave_what_plans_of_everything_leave_but_for_deleted_rows(
    instance: Instance,
    database: DatabaseAddress,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, object]],
    only: Scope,
) -> None:
    folder = tmp_path_factory.mktemp("manifests")
    whole, quick = Plans(database, folder / "whole.db", only), Plans(database, folder / "quick.db", only)
    deleted: set[int] = set()
    instance.begin()
    with closing(whole.manifest), closing(quick.manifest):
        for kind, row, detail in [*steps, ("plan", 0, None)]:
            match kind:
                case "add":
                    instance.add(row, late=bool(detail))
                case "change":
                    instance.change(row, str(detail))
                case "account":
                    instance.change_account(row, str(detail))
                case "remove":
                    instance.remove_post(row)
                case "upload":
                    instance.execute("UPDATE site_uploads SET file_file_name = %s", f"{row}.png")
                case "delete":
                    before = _ids(instance)
                    instance.delete(row)
                    deleted |= before - _ids(instance)
                case _:
                    whole.plan(instance.now, delta=False)
                    quick.plan(instance.now, delta=True)
                    assert quick.entries_but_of(deleted) == whole.entries_but_of(deleted)
                    whole.finish_all()
                    quick.finish_all()
        quick.plan(instance.now, delta=False)
        assert quick.entries_but_of(deleted) == whole.entries_but_of(deleted)
        left = {place: seen for place, seen in quick.entries().items() if place[1] in deleted}
        assert {seen[:2] for seen in left.values()} <= {(EntryState.SKIPPED, Reason.GONE)}


def _ids(instance: Instance) -> set[int]:
    return {row[0] for row in instance.connection.execute("SELECT id FROM media_attachments").fetchall()}


def test_a_delta_reads_only_what_changed_and_new_rows_by_their_index(
    instance: Instance, database: DatabaseAddress
) -> None:
    instance.begin()
    for row in range(6):
        instance.add(row, late=False)
    before = instance.now + timedelta(seconds=1)
    instance.change(1, "file_file_name = NULL")
    instance.add(1, late=True)
    instance.add(1, late=False)
    with MastodonDatabase(config_of(database)) as reader:
        changes = Changes(reader, before, {"media_attachments": 150, "accounts": 3, "site_uploads": 1})
        windows = [(batch.after_id, batch.last_id, batch.rows_read) for batch in changes.iter_rows("media_attachments")]
        assert windows == [(109, 145, (110, 145)), (150, 170, None)]
        assert not list(changes.iter_rows("accounts"))
        assert [batch.last_id for batch in changes.iter_rows("site_uploads")] == [1]  # these do not tell
        instance.execute(
            "INSERT INTO media_attachments SELECT i, 1, '', NOW, 'a.png', 'image/png', NOW"
            " FROM generate_series(1000, 30000) i"
        )
        instance.connection.execute("ANALYZE media_attachments")
        index = reader.connection.execute(b"EXPLAIN " + _new_rows(reader).encode()).fetchall()
    assert "Index" in str(index)


def _new_rows(reader: MastodonDatabase) -> str:
    rows = reader.selection("media_attachments", "all")
    assert rows is not None
    return select_named(rows, above=29_990).as_string(reader.connection)
