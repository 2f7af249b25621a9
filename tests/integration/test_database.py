"""What is read of Mastodon's database, from a real PostgreSQL."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab.addresses import DatabaseAddress, PostgresAddress
from mastosync.mastodon.catalog import CATALOG, specs_of
from mastosync.mastodon.database import BATCH_ROWS, MastodonDatabase
from mastosync.mastodon.paperclip import WHITE_SPACE, canonical_key, entries_of
from mastosync.mastodon.queries import Scope
from mastosync.model import TABLES, MediaRow
from tests.support.mastodon_tables import (
    ACCOUNTS,
    MEDIA,
    STATUSES,
    batches_of,
    config_of,
    create_tables,
    execute,
    insert,
    read,
    rows_of,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "keys.jsonl"


def test_rows_read_back_lead_to_the_keys_that_the_real_library_gives(database: DatabaseAddress) -> None:
    vectors = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    create_tables(database, [(vector["table"], vector["row"]) for vector in vectors])
    expected = {key["key"] for vector in vectors for key in vector["keys"]}
    with MastodonDatabase(config_of(database)) as mastodon:
        found = {
            canonical_key(entry, "")
            for table in TABLES
            for batch in mastodon.iter_rows(table)
            for spec, media in batch.media
            for row in media.iter_rows()
            for entry in entries_of(spec, row)
            if not (entry.optional and table == "media_attachments")  # guesses that the library does not make
        }
    assert found == expected


def test_a_row_carries_every_column_that_matters(database: DatabaseAddress) -> None:
    execute(
        database,
        ACCOUNTS,
        MEDIA,
        "CREATE TABLE site_uploads (id integer, var varchar, file_file_name varchar, file_file_size integer)",
        "INSERT INTO media_attachments VALUES (7, 1, 'https://a.example/x', 'a.jpg', 'image/jpeg', 5000000000, 1,"
        " 't.png', 'image/png', NULL)",
        "INSERT INTO site_uploads VALUES (3, 'favicon', 'f.png', 12)",
    )
    batches = batches_of(database, "media_attachments")
    assert rows_of(batches, "file") == [MediaRow(7, "a.jpg", "image/jpeg", 5_000_000_000, 1, remote=True)]
    assert rows_of(batches, "thumbnail") == [MediaRow(7, "t.png", "image/png", remote=True)]
    assert read(database, "site_uploads", "file") == [MediaRow(3, "f.png", file_size=12, var="favicon")]


@pytest.mark.parametrize(
    ("column", "value", "seconds"),
    [
        ("timestamp", "2026-11-28 03:00:00.6", 1_795_834_801),
        ("timestamptz", "2026-11-28 03:00:00+00", 1_795_834_800),
        ("timestamp", "infinity", None),
        ("timestamp", None, None),
    ],
)
def test_the_time_of_a_file_is_read_as_utc_whatever_the_zone_of_the_server(
    database: DatabaseAddress, column: str, value: str | None, seconds: int | None
) -> None:
    execute(
        database,
        f"ALTER DATABASE {database.name} SET timezone TO 'Asia/Tokyo'",
        f"CREATE TABLE custom_emojis (id bigint, image_file_name varchar, image_updated_at {column})",
    )
    insert(database, "custom_emojis", {"id": 1, "image_file_name": "a.png", "image_updated_at": value})
    assert [row.updated for row in read(database, "custom_emojis", "image")] == [seconds]


def test_every_attachment_of_the_catalog_is_read(database: DatabaseAddress) -> None:
    create_tables(
        database,
        [(spec.table, {"id": number, f"{spec.attachment}_file_name": "a"}) for number, spec in enumerate(CATALOG)],
    )
    for number, spec in enumerate(CATALOG):
        assert [row.id for row in read(database, spec.table, spec.attachment)] == [number]


def test_a_missing_table_is_empty_and_a_missing_column_is_null(database: DatabaseAddress) -> None:
    create_tables(database, [("accounts", {"id": 1, "avatar_file_name": "a.png"})])
    batches = batches_of(database, "accounts")
    assert rows_of(batches, "avatar") == [MediaRow(1, "a.png")]
    assert [spec.attachment for spec, _ in batches[0].media] == ["avatar"]
    assert batches_of(database, "imports") == []


def test_rows_without_a_file_name_are_left_out(database: DatabaseAddress) -> None:
    execute(
        database,
        ACCOUNTS,
        "INSERT INTO accounts (id, avatar_file_name, header_file_name)"
        " VALUES (1, 'a', NULL), (2, NULL, 'h'), (3, NULL, NULL), (4, '', ''), (5, 'a', 'h')",
    )
    batches = batches_of(database, "accounts")
    assert [row.id for row in rows_of(batches, "avatar")] == [1, 5]
    assert [row.id for row in rows_of(batches, "header")] == [2, 5]


def test_a_view_that_shows_a_row_again_and_again_is_read_as_a_table(
    database: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(
        database,
        "CREATE VIEW imports AS SELECT i / 3 AS id, 'f' || i / 3 AS data_file_name FROM generate_series(0, 26) i",
    )
    for batch_rows in (1, 2, 3, 4, 26, 27, 28):
        monkeypatch.setattr("mastosync.mastodon.database.BATCH_ROWS", batch_rows)
        batches = batches_of(database, "imports")
        assert rows_of(batches, "data") == [MediaRow(i, f"f{i}") for i in range(9)]
        assert [batch.after_id for batch in batches] == [None, *(batch.last_id for batch in batches)][:-1]


def test_ids_ascend_from_negative_to_the_largest(database: DatabaseAddress) -> None:
    ids = [-99, 0, 5, 999_999_999, 2**63 - 1]
    execute(database, ACCOUNTS)
    insert(database, "accounts", *({"id": each, "avatar_file_name": "a"} for each in reversed(ids)))
    assert [row.id for row in read(database, "accounts", "avatar")] == ids


def test_batches_are_bounded_and_follow_each_other_without_a_gap(database: DatabaseAddress) -> None:
    execute(
        database,
        MEDIA,
        "INSERT INTO media_attachments (id, file_file_name, thumbnail_file_name)"
        " SELECT 7 * i, 'f' || i, CASE WHEN i % 3 = 0 THEN 't' || i END FROM generate_series(1, 60000) i",
    )
    seen, after_id = 0, None
    with MastodonDatabase(config_of(database)) as mastodon:
        tracemalloc.start()
        try:
            for batch in mastodon.iter_rows("media_attachments"):
                (_, files), (_, thumbnails) = batch.media
                assert len(files.ids) <= BATCH_ROWS
                assert batch.after_id == after_id
                assert batch.last_id == files.ids[-1]
                assert all((after_id or 0) < row_id <= batch.last_id for row_id in [*files.ids, *thumbnails.ids])
                after_id = batch.last_id
                seen += len(files.ids)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (seen, after_id) == (60_000, 7 * 60_000)
    assert peak_bytes < 1_500 * BATCH_ROWS, "two batches at most, not the whole table"


@pytest.mark.parametrize("only", ["all", "local", "remote"])
def test_a_limit_counts_rows_in_scope_that_have_a_file(database: DatabaseAddress, only: Scope) -> None:
    execute(
        database,
        ACCOUNTS,
        "INSERT INTO accounts (id, domain, avatar_file_name, header_file_name) SELECT i,"
        " CASE WHEN i % 2 = 0 THEN 'b.example' END, CASE WHEN i > 100 THEN 'a' END, CASE WHEN i % 5 = 0 THEN 'h' END"
        " FROM generate_series(1, 400) i",
    )
    whole = batches_of(database, "accounts", only=only)
    ids = sorted({row.id for name in ("avatar", "header") for row in rows_of(whole, name)})
    limited = batches_of(database, "accounts", only=only, limit=30)
    assert sorted({row.id for name in ("avatar", "header") for row in rows_of(limited, name)}) == ids[:30]
    assert limited[-1].last_id == ids[29]


# --- local, remote, private ---

BLANK = [None, "", *WHITE_SPACE, "\t\n\v\f\r", " \u3000\n"]
NOT_BLANK = ["\x1c", "\x1d", "\x1e", "\x1f", "\u180e", "\u200b", "\u2060", "\ufeff", "h", " http://a.example", "ftp:"]


def test_media_are_remote_unless_ruby_calls_their_remote_url_blank(database: DatabaseAddress) -> None:
    execute(database, MEDIA)
    urls = [(url, "local") for url in BLANK] + [(url, "remote") for url in NOT_BLANK]
    insert(
        database,
        "media_attachments",
        *({"id": number, "remote_url": url, "file_file_name": kind} for number, (url, kind) in enumerate(urls)),
    )
    rows = read(database, "media_attachments", "file")
    assert len(rows) == len(urls)
    assert [row.remote for row in rows] == [row.file_name == "remote" for row in rows]
    assert read(database, "media_attachments", "file", only="local") == [row for row in rows if not row.remote]
    assert read(database, "media_attachments", "file", only="remote") == [row for row in rows if row.remote]


@pytest.mark.parametrize(("table", "attachment"), [("accounts", "avatar"), ("custom_emojis", "image")])
def test_a_domain_makes_a_row_remote_even_an_empty_one(database: DatabaseAddress, table: str, attachment: str) -> None:
    domains = [None, "", "b.example"]
    rows = [{"id": number, "domain": domain, f"{attachment}_file_name": "a"} for number, domain in enumerate(domains)]
    create_tables(database, [(table, row) for row in rows])
    assert [row.remote for row in read(database, table, attachment)] == [False, True, True]
    assert [row.id for row in read(database, table, attachment, only="local")] == [0]
    assert [row.id for row in read(database, table, attachment, only="remote")] == [1, 2]


@pytest.mark.parametrize(
    ("table", "attachment", "remote"),
    [
        ("preview_cards", "image", True),
        ("preview_card_providers", "icon", False),
        ("site_uploads", "file", False),
        ("backups", "dump", False),
        ("imports", "data", False),
    ],
)
def test_rows_of_other_tables_are_all_alike(
    database: DatabaseAddress, table: str, attachment: str, remote: bool
) -> None:
    create_tables(database, [(table, {"id": 1, "domain": "b.example", f"{attachment}_file_name": "a"})])
    (row,) = read(database, table, attachment)
    assert row.remote == remote
    assert row.private == (table == "backups")
    assert len(read(database, table, attachment, only="remote")) == remote
    assert len(read(database, table, attachment, only="local")) == (not remote)


def test_media_of_a_suspended_account_are_private_and_its_pictures_are_not(database: DatabaseAddress) -> None:
    """Mastodon leaves avatars and headers as they are: nothing would make them public when the suspension ends."""
    execute(
        database,
        ACCOUNTS,
        MEDIA,
        "INSERT INTO accounts (id, suspended_at, avatar_file_name, header_file_name)"
        " VALUES (1, NULL, 'a', 'h'), (2, now(), 'a', 'h')",
        "INSERT INTO media_attachments (id, account_id, file_file_name, thumbnail_file_name)"
        " VALUES (10, 1, 'f', 't'), (20, 2, 'f', 't'), (30, NULL, 'f', 't'), (40, 404, 'f', 't')",
        "CREATE TABLE imports (id bigint, account_id bigint, data_file_name varchar)",
        "INSERT INTO imports VALUES (10, 1, 'd'), (20, 2, 'd')",
    )
    for attachment in ("avatar", "header"):
        assert [row.private for row in read(database, "accounts", attachment)] == [False, False]
    for attachment in ("file", "thumbnail"):
        assert [row.id for row in read(database, "media_attachments", attachment) if row.private] == [20]
    assert [row.id for row in read(database, "imports", "data") if row.private] == [20]


def test_media_of_removed_posts_that_are_kept_are_private(database: DatabaseAddress) -> None:
    """Every second of many posts was removed: more than are looked up at once, and more media than a batch has."""
    execute(
        database,
        MEDIA,
        STATUSES,
        "INSERT INTO statuses (id, deleted_at) SELECT i, CASE WHEN i % 2 = 0 THEN now() END"
        " FROM generate_series(1, 6000) i",
        "INSERT INTO media_attachments (id, status_id, file_file_name, thumbnail_file_name)"
        " SELECT i, i % 6000 + 1, 'f', 't' FROM generate_series(1, 7000) i",
        "INSERT INTO media_attachments (id, status_id, file_file_name) VALUES (8000, NULL, 'f'), (8001, 9999, 'f')",
        "ANALYZE",
    )
    removed = set(range(1, 7001, 2))
    for attachment in ("file", "thumbnail"):
        rows = read(database, "media_attachments", attachment)
        assert {row.id for row in rows if row.private} == removed
    with MastodonDatabase(config_of(database)) as mastodon:
        files = mastodon.remote_files(specs_of("media_attachments")[0], [1, 2, 3, 8000])
        ((looked_at,),) = mastodon.connection.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'statuses'"
        ).fetchall()
    assert looked_at < 20, "the posts of these rows, and the few that the planner looks at, of 3000"
    assert {row_id: file.private for row_id, file in files.items()} == {1: True, 2: False, 3: True, 8000: False}


def test_removed_posts_are_found_by_their_index_and_no_other_post_is_looked_at(database: DatabaseAddress) -> None:
    execute(
        database,
        MEDIA,
        STATUSES,
        "INSERT INTO statuses (id, deleted_at) SELECT i, CASE WHEN i % 10000 = 0 THEN now() END"
        " FROM generate_series(1, 30000) i",
        "INSERT INTO media_attachments (id, status_id, file_file_name)"
        " SELECT i, i, 'f' FROM generate_series(1, 30000) i",
        "ANALYZE",
    )
    with MastodonDatabase(config_of(database)) as mastodon:
        for _ in range(2):
            rows = rows_of(list(mastodon.iter_rows("media_attachments")), "file")
            assert [row.id for row in rows if row.private] == [10000, 20000, 30000]
        looked_at = mastodon.connection.execute(
            "SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'statuses'"
        ).fetchall()
    assert looked_at == [(0, 3)]


@pytest.mark.parametrize(
    ("statements", "is_told"),
    [
        ((), False),
        (("ALTER TABLE statuses DROP COLUMN deleted_at",), False),  # as in releases that kept none
        (("DROP TABLE statuses",), True),
        (("DROP TABLE statuses", "ALTER TABLE media_attachments DROP COLUMN status_id"), False),
    ],
)
def test_without_the_table_of_posts_it_is_told_that_removed_media_count_as_public(
    database: DatabaseAddress, caplog: pytest.LogCaptureFixture, statements: tuple[str, ...], *, is_told: bool
) -> None:
    execute(database, MEDIA, STATUSES, *statements)
    insert(database, "media_attachments", {"id": 1, "file_file_name": "a"})
    (row,) = read(database, "media_attachments", "file")
    assert not row.private
    assert [record.getMessage() for record in caplog.records if "statuses" in record.getMessage()][1:] == []
    assert any("statuses" in record.getMessage() for record in caplog.records) is is_told


# --- the snapshot ---


def test_a_snapshot_does_not_see_what_is_written_after_it(database: DatabaseAddress) -> None:
    execute(database, ACCOUNTS, MEDIA)
    insert(database, "accounts", {"id": 1, "avatar_file_name": "a"})
    with MastodonDatabase(config_of(database)) as mastodon:
        mastodon.snapshot()
        insert(database, "accounts", {"id": 2, "avatar_file_name": "a"})
        insert(database, "media_attachments", {"id": 1, "file_file_name": "f"})
        assert [row.id for row in rows_of(list(mastodon.iter_rows("accounts")), "avatar")] == [1]
        assert list(mastodon.iter_rows("media_attachments")) == []


def test_a_snapshot_describes_itself(database: DatabaseAddress) -> None:
    execute(database, ACCOUNTS, "CREATE TABLE statuses (id bigint)")
    tolerance = timedelta(seconds=5)
    before = datetime.now(UTC) - tolerance
    with MastodonDatabase(config_of(database)) as mastodon:
        info = mastodon.snapshot()
    assert info.database == database.name
    assert info.server_version[0].isdigit()
    assert before <= info.taken_at <= datetime.now(UTC) + tolerance
    assert not info.in_recovery
    assert info.snapshot_id.count(":") == 2
    assert list(info.tables) == ["accounts"]
    assert info.tables["accounts"][:3] == ("id", "domain", "suspended_at")


def test_the_estimate_is_what_the_server_believes(database: DatabaseAddress) -> None:
    execute(database, ACCOUNTS, MEDIA, "INSERT INTO accounts (id) SELECT generate_series(1, 1000)", "ANALYZE accounts")
    with MastodonDatabase(config_of(database)) as mastodon:
        assert mastodon.estimated_rows("accounts") == 1000
        assert mastodon.estimated_rows("media_attachments") == 0, "never analyzed"
        assert mastodon.estimated_rows("backups") == 0, "no such table"


@pytest.mark.parametrize(("encoding", "e_acute"), [("LATIN1", b"\xe9"), ("SQL_ASCII", b"\xc3\xa9")])
def test_databases_of_other_encodings_are_read(
    lab_postgres: PostgresAddress, database: DatabaseAddress, encoding: str, e_acute: bytes
) -> None:
    other = replace(database, name=f"{database.name}_other")
    with closing(lab_postgres.admin_connection()) as admin:
        admin.execute(
            f"CREATE DATABASE {other.name} OWNER {other.user} TEMPLATE template0"
            f" ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    try:
        execute(other, MEDIA)
        names = ["a.png", "b.png", "?", "?"]
        rows = [{"id": i, "remote_url": " x"[i > 0], "file_file_name": name} for i, name in enumerate(names)]
        insert(other, "media_attachments", *rows)
        with closing(other.connect(autocommit=True)) as connection:
            for row_id, raw in ((2, e_acute), (3, b"\xff")):
                connection.execute(
                    "UPDATE media_attachments SET file_file_name = convert_from(%s, %s) WHERE id = %s",
                    (raw, encoding, row_id),
                )
        found = [(row.file_name, row.remote) for row in read(other, "media_attachments", "file")]
        nonsense = "ÿ" if encoding == "LATIN1" else "\N{REPLACEMENT CHARACTER}"
        assert found == [("a.png", False), ("b.png", True), ("é", True), (nonsense, True)]
    finally:
        lab_postgres.drop_database(other.name)
