"""Tables of Mastodon with rows for millions of keys, and the configuration of a plan that reads them."""

from __future__ import annotations

from contextlib import closing

from lab.addresses import DatabaseAddress
from lab.client import ROOT

SCHEMA = ROOT / "lab" / "schema.sql"

_FUNCTIONS = """
SET synchronous_commit = off;
-- snowflakes: milliseconds since April 2017 and 16 random-looking bits
CREATE FUNCTION snowflake(i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS $$ SELECT ((1492000000000 + i * 90000) << 16) + (i * 40503 & 65535) $$;
CREATE FUNCTION yesterday() RETURNS timestamp LANGUAGE sql STABLE
    AS $$ SELECT (now() AT TIME ZONE 'UTC') - interval '1 day' $$;
CREATE FUNCTION file_name(i bigint, extension text) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT substr(md5(i::text), 1, 16) || '.' || extension $$;
CREATE FUNCTION days_ago(days bigint) RETURNS timestamp LANGUAGE sql STABLE
    AS $$ SELECT (now() AT TIME ZONE 'utc')::timestamp - days * interval '1 day' $$;
"""

_ROWS = {
    "accounts": (
        0.08,  # rows a key; each has two keys
        """
INSERT INTO accounts (id, username, domain, suspended_at, created_at, updated_at,
    avatar_file_name, avatar_content_type, avatar_file_size, avatar_storage_schema_version, avatar_updated_at,
    header_file_name, header_content_type, header_file_size, header_storage_schema_version, header_updated_at)
SELECT snowflake(i), 'user' || i, CASE WHEN i % 50 > 0 THEN 'host' || i % 999 || '.example' END,
    CASE WHEN i % 200 = 0 THEN now() END, yesterday(), yesterday(),
    file_name(i, 'png'), 'image/png', 20000 + i % 50000, CASE WHEN i % 50 > 0 THEN 1 END, days_ago(i * 7919 % 900),
    file_name(-i, 'jpeg'), 'image/jpeg', 60000 + i % 90000, CASE WHEN i % 50 > 0 THEN 1 END, days_ago(i * 7919 % 900)
FROM generate_series(1::bigint, %s) i""",
    ),
    "statuses": (
        0.4,  # one of each of the media; of a few thousand one was removed by a moderator
        """
INSERT INTO statuses (id, account_id, created_at, updated_at, deleted_at)
SELECT snowflake(i), snowflake(1 + i % 500), yesterday(), yesterday(), CASE WHEN i % 4000 = 0 THEN yesterday() END
FROM generate_series(1::bigint, %s) i""",
    ),
    "media_attachments": (
        0.4,  # two keys each
        """
INSERT INTO media_attachments (id, account_id, remote_url, created_at, updated_at,
    file_file_name, file_content_type, file_file_size, file_storage_schema_version, file_updated_at, status_id)
SELECT snowflake(i), snowflake(1 + i % 500), CASE WHEN i % 5 > 0 THEN 'https://host.example/' || i ELSE '' END,
    yesterday(), yesterday(), file_name(i, kind[1]), kind[2], 30000 + i % 900000, CASE WHEN i % 5 > 0 THEN 1 END,
    days_ago(900 - 900 * i / %s), snowflake(i)
FROM generate_series(1::bigint, %s) i, LATERAL (SELECT CASE
    WHEN i % 20 = 0 THEN ARRAY['mp4', 'video/mp4']
    WHEN i % 20 = 1 THEN ARRAY['png', 'image/png']
    WHEN i % 50 = 2 THEN ARRAY['gif', 'image/gif']
    ELSE ARRAY['jpg', 'image/jpeg'] END AS kind) kinds""",
    ),
    "custom_emojis": (
        0.01,  # two keys each
        """
INSERT INTO custom_emojis (shortcode, domain, created_at, updated_at, image_file_name, image_content_type,
    image_file_size, image_storage_schema_version)
SELECT 'emoji' || i, 'host.example', yesterday(), yesterday(), file_name(i, 'png'), 'image/png', 9000, 1
FROM generate_series(1::bigint, %s) i""",
    ),
    "preview_cards": (
        0.02,
        """
INSERT INTO preview_cards (url, created_at, updated_at, image_file_name, image_content_type, image_file_size,
    image_storage_schema_version)
SELECT 'https://host.example/' || i, yesterday(), yesterday(), file_name(i, 'jpg'), 'image/jpeg', 40000, 1
FROM generate_series(1::bigint, %s) i""",
    ),
}


SOURCE_URL, DESTINATION_URL = "http://127.0.0.1:1", "http://127.0.0.1:2"
CONFIG = f"""\
[s3.source]
endpoint_url = {SOURCE_URL}
bucket = old
access_key = a
secret_key = b
[s3.destination]
endpoint_url = {DESTINATION_URL}
bucket = new
access_key = a
secret_key = b
[pg.database]
host = {{address.host}}
port = {{address.port}}
user = {{address.user}}
password = {{address.password}}
database = {{address.name}}
sslmode = disable
[follow]
overlap_minutes = 1
"""


def fill(address: DatabaseAddress, keys: int) -> None:
    """Mastodon's tables, with rows for this many keys."""
    with closing(address.connect(autocommit=True)) as connection:
        connection.execute(SCHEMA.read_bytes())
        connection.execute(_FUNCTIONS)
        for table, (rows_per_key, statement) in _ROWS.items():
            connection.execute(statement.replace("%s", str(round(keys * rows_per_key))).encode())
            connection.execute(f"VACUUM ANALYZE {table}".encode())
