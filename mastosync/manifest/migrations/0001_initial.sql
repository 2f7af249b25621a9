-- The manifest: one line for every object that Mastodon will ask for.
--
-- A key is not stored but split: what entries have in common stands once in `kinds`, an entry
-- holds the row's id and the last segment. That keeps a line at a fraction of its key, keeps the
-- lines of one table in the order of their ids, and lets a plan compare one window of ids at a time.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE kinds (
    id         INTEGER PRIMARY KEY,
    "table"    TEXT NOT NULL,
    attachment TEXT NOT NULL,
    style      TEXT NOT NULL,
    directory  TEXT NOT NULL,     -- between `cache/` and the id
    remote     INTEGER NOT NULL,
    cached     INTEGER NOT NULL,  -- the canonical key starts with `cache/`
    UNIQUE ("table", attachment, style, directory, remote, cached)
);

CREATE TABLE states  (code INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE reasons (code INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO states VALUES (0, 'pending'), (1, 'done'), (2, 'failed'), (3, 'skipped');
INSERT INTO reasons VALUES (1, 'missing'), (2, 'denied'), (3, 'throttled'), (4, 'corrupt'), (5, 'network'),
    (6, 'server'), (7, 'too_large'), (8, 'optional_missing'), (9, 'private'), (10, 'excluded'), (11, 'gone');

CREATE TABLE entries (
    kind       INTEGER NOT NULL,
    id         INTEGER NOT NULL,            -- of the database row
    name       TEXT    NOT NULL,            -- last segment of the canonical key
    fallback   TEXT,                        -- last segment that other releases used
    flags      INTEGER NOT NULL,            -- 1: optional, 2: private
    state      INTEGER NOT NULL DEFAULT 0,
    reason     INTEGER NOT NULL DEFAULT 0,  -- 0: none
    size       INTEGER,                     -- bytes: the database's word, exact once done
    attempts   INTEGER NOT NULL DEFAULT 0,
    md5        BLOB,                        -- 16 bytes: of what arrived
    etag       TEXT,                        -- of the destination, where it is no MD5
    source_key TEXT,                        -- where the object lay, if not under its first candidate
    detail     TEXT,                        -- the last error, for people
    PRIMARY KEY (kind, id, name)
) WITHOUT ROWID;

-- What is not done: pending work is taken, failures are listed from here.
CREATE INDEX entries_open ON entries (state, kind, id) WHERE state <> 1;

-- Entries in the hands of a worker. What stands here when a run starts was left by a dead one.
CREATE TABLE claims (
    kind INTEGER NOT NULL,
    id   INTEGER NOT NULL,
    name TEXT    NOT NULL,
    PRIMARY KEY (kind, id, name)
) WITHOUT ROWID;

-- Counters, kept in the same transaction as the states: `status` never counts lines.
CREATE TABLE counts (
    kind    INTEGER NOT NULL,
    state   INTEGER NOT NULL,
    reason  INTEGER NOT NULL,
    objects INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    PRIMARY KEY (kind, state, reason)
) WITHOUT ROWID;

-- What plans read. A manifest without a line here has no plan.
CREATE TABLE snapshots (
    id       INTEGER PRIMARY KEY,
    taken_at TEXT NOT NULL,  -- UTC, ISO 8601
    details  TEXT NOT NULL   -- JSON: server, options, what was added and what was gone
);

-- Runs of `copy`, for rates and reports.
CREATE TABLE runs (
    id         INTEGER PRIMARY KEY,
    started_at REAL NOT NULL,  -- seconds since the epoch
    updated_at REAL NOT NULL,
    ended_at   REAL,           -- NULL: running, or died
    workers    INTEGER NOT NULL,
    done       INTEGER NOT NULL DEFAULT 0,
    failed     INTEGER NOT NULL DEFAULT 0,
    skipped    INTEGER NOT NULL DEFAULT 0,
    bytes      INTEGER NOT NULL DEFAULT 0
);

-- For people with a SQLite shell.
CREATE VIEW readable AS
SELECT k."table", e.id, k.attachment, k.style, e.name, s.name AS state, r.name AS reason, e.size, e.attempts, e.detail
FROM entries e
JOIN kinds k ON k.id = e.kind
JOIN states s ON s.code = e.state
LEFT JOIN reasons r ON r.code = e.reason;
