-- 0006_accepted.sql: 6e00c7a28805c2f6675e84f02ada1bce6e2614690b9836e62d02de2c75ec5921
PRAGMA application_id = 1297307982;
PRAGMA user_version = 6;
BEGIN TRANSACTION;
CREATE TABLE claims (
    kind INTEGER NOT NULL,
    id   INTEGER NOT NULL,
    name TEXT    NOT NULL, access INTEGER NOT NULL DEFAULT 3,
    PRIMARY KEY (kind, id, name)
) WITHOUT ROWID;
INSERT INTO "claims" VALUES(1,108000000000000004,'0000000000000004.jpg',1);
INSERT INTO "claims" VALUES(2,11,'000000000000000b.png',1);
CREATE TABLE counts (
    kind    INTEGER NOT NULL,
    state   INTEGER NOT NULL,
    reason  INTEGER NOT NULL,
    objects INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    PRIMARY KEY (kind, state, reason)
) WITHOUT ROWID;
INSERT INTO "counts" VALUES(1,0,0,4,9);
INSERT INTO "counts" VALUES(1,1,0,1,0);
INSERT INTO "counts" VALUES(1,3,8,1,0);
INSERT INTO "counts" VALUES(1,3,11,1,0);
INSERT INTO "counts" VALUES(2,0,0,1,1011);
INSERT INTO "counts" VALUES(2,1,0,4,2015);
INSERT INTO "counts" VALUES(2,2,1,1,1004);
INSERT INTO "counts" VALUES(2,2,2,1,1005);
INSERT INTO "counts" VALUES(2,2,3,1,1006);
INSERT INTO "counts" VALUES(2,2,4,1,1007);
INSERT INTO "counts" VALUES(2,2,5,1,1008);
INSERT INTO "counts" VALUES(2,2,6,1,1009);
INSERT INTO "counts" VALUES(2,2,7,1,1010);
INSERT INTO "counts" VALUES(3,0,0,1,0);
INSERT INTO "counts" VALUES(3,3,9,1,4096);
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
    detail     TEXT, origin INTEGER, updated INTEGER, arrived INTEGER, accepted INTEGER,                        -- the last error, for people
    PRIMARY KEY (kind, id, name)
) WITHOUT ROWID;
INSERT INTO "entries" VALUES(1,108000000000000001,'0000000000000001.jpg',NULL,0,1,0,0,1,X'000102030405060708090A0B0C0D0E0F',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(1,108000000000000002,'0000000000000002.jpg',NULL,0,0,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,5,NULL);
INSERT INTO "entries" VALUES(1,108000000000000003,'0000000000000003.jpg',NULL,0,0,0,9,0,X'000102030405060708090A0B0C0D0E0F',NULL,NULL,'verify: lost',1,NULL,9,NULL);
INSERT INTO "entries" VALUES(1,108000000000000004,'0000000000000004.jpg',NULL,0,0,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(1,108000000000000005,'0000000000000005.jpg',NULL,1,3,8,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(1,108000000000000006,'0000000000000006.jpg',NULL,0,3,11,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "entries" VALUES(1,108000000000000007,'ü %.jpg','a.gif',0,0,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(2,1,'0000000000000001.png',NULL,0,1,0,1001,1,X'000102030405060708090A0B0C0D0E0F',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(2,2,'0000000000000002.png',NULL,0,1,0,1002,1,X'000102030405060708090A0B0C0D0E0F','d41d8cd98f00b204e9800998ecf8427e-2',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(2,3,'0000000000000003.png',NULL,0,1,0,3,3,X'000102030405060708090A0B0C0D0E0F',NULL,'cache/x.png',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(2,4,'0000000000000004.png',NULL,0,2,1,1004,4,NULL,NULL,NULL,'said: missing',NULL,NULL,NULL,1);
INSERT INTO "entries" VALUES(2,5,'0000000000000005.png',NULL,0,2,2,1005,5,NULL,NULL,NULL,'said: denied',NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(2,6,'0000000000000006.png',NULL,0,2,3,1006,6,NULL,NULL,NULL,'said: throttled',NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(2,7,'0000000000000007.png',NULL,0,2,4,1007,7,NULL,NULL,NULL,'said: corrupt',NULL,NULL,NULL,4);
INSERT INTO "entries" VALUES(2,8,'0000000000000008.png',NULL,0,2,5,1008,8,NULL,NULL,NULL,'said: network',NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(2,9,'0000000000000009.png',NULL,0,2,6,1009,9,NULL,NULL,NULL,'said: server',NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(2,10,'000000000000000a.png',NULL,0,2,7,1010,10,NULL,NULL,NULL,'said: too_large',NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(2,11,'000000000000000b.png',NULL,0,0,0,1011,0,NULL,NULL,NULL,NULL,NULL,NULL,5,NULL);
INSERT INTO "entries" VALUES(2,12,'000000000000000c.png',NULL,0,1,0,9,0,X'000102030405060708090A0B0C0D0E0F',NULL,NULL,NULL,1,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(3,1,'backup.zip',NULL,2,3,9,4096,1,NULL,NULL,NULL,'no ACL can keep it private',NULL,NULL,NULL,NULL);
INSERT INTO "entries" VALUES(3,2,'other.zip',NULL,2,0,0,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
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
INSERT INTO "kinds" VALUES(1,'media_attachments','file','small','media_attachments/files',1,1);
INSERT INTO "kinds" VALUES(2,'accounts','avatar','original','accounts/avatars',0,0);
INSERT INTO "kinds" VALUES(3,'backups','dump','original','backups/dumps',0,0);
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "meta" VALUES('destination','{"endpoint": "http://127.0.0.1:9", "bucket": "new-media", "key_prefix": ""}');
INSERT INTO "meta" VALUES('last_end','1 0');
INSERT INTO "meta" VALUES('source','{"endpoint": "http://127.0.0.1:9", "bucket": "old-media", "key_prefix": ""}');
CREATE TABLE reasons (code INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO "reasons" VALUES(1,'missing');
INSERT INTO "reasons" VALUES(2,'denied');
INSERT INTO "reasons" VALUES(3,'throttled');
INSERT INTO "reasons" VALUES(4,'corrupt');
INSERT INTO "reasons" VALUES(5,'network');
INSERT INTO "reasons" VALUES(6,'server');
INSERT INTO "reasons" VALUES(7,'too_large');
INSERT INTO "reasons" VALUES(8,'optional_missing');
INSERT INTO "reasons" VALUES(9,'private');
INSERT INTO "reasons" VALUES(10,'excluded');
INSERT INTO "reasons" VALUES(11,'gone');
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
INSERT INTO "runs" VALUES(1,1.79603865632466173172e+09,1.79603865632740378383e+09,1.79603865632740378383e+09,4,4,7,2,2006);
INSERT INTO "runs" VALUES(2,1.79603865632777738572e+09,1.79603865632777738572e+09,NULL,8,0,0,0,0);
INSERT INTO "runs" VALUES(3,1.79603865633092451095e+09,1.79603865633144903178e+09,NULL,8,0,0,0,0);
CREATE TABLE samples (
    id      INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL,
    at      REAL NOT NULL,    -- seconds since the epoch
    done    INTEGER NOT NULL, -- in this run so far, as are the following
    failed  INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
);
INSERT INTO "samples" VALUES(1,1,1.79603865632466173172e+09,0,0,0,0);
INSERT INTO "samples" VALUES(2,1,1.79603865632740378383e+09,4,7,2,2006);
INSERT INTO "samples" VALUES(3,2,1.79603865632777738572e+09,0,0,0,0);
INSERT INTO "samples" VALUES(4,3,1.79603865633092451095e+09,0,0,0,0);
CREATE TABLE snapshots (
    id       INTEGER PRIMARY KEY,
    taken_at TEXT NOT NULL,  -- UTC, ISO 8601
    details  TEXT NOT NULL   -- JSON: server, options, what was added and what was gone
);
INSERT INTO "snapshots" VALUES(1,'2026-11-01T03:00:00.000000+00:00','{"database": "mastodon_production", "types": ["media_attachments", "accounts", "custom_emojis", "preview_cards", "preview_card_providers", "site_uploads", "backups", "imports"], "only": "all", "limit": null}');
INSERT INTO "snapshots" VALUES(2,'2026-11-02T03:00:00.000000+00:00','{"database": "mastodon_production", "types": ["media_attachments", "accounts", "custom_emojis", "preview_cards", "preview_card_providers", "site_uploads", "backups", "imports"], "only": "all", "limit": null}');
CREATE TABLE states  (code INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO "states" VALUES(0,'pending');
INSERT INTO "states" VALUES(1,'done');
INSERT INTO "states" VALUES(2,'failed');
INSERT INTO "states" VALUES(3,'skipped');
CREATE TABLE verifications (
    id         INTEGER PRIMARY KEY,
    started_at REAL NOT NULL,  -- seconds since the epoch
    ended_at   REAL NOT NULL,
    details    TEXT NOT NULL   -- JSON: how it was done, and what was found
);
INSERT INTO "verifications" VALUES(1,1793502100.5,1793502101.25,'{"fine": 5, "checked": 6, "clean": false}');
CREATE INDEX entries_open ON entries (state, kind, id) WHERE state <> 1;
CREATE VIEW readable AS
SELECT k."table", e.id, k.attachment, k.style, e.name, s.name AS state, r.name AS reason, e.size, e.attempts, e.detail
FROM entries e
JOIN kinds k ON k.id = e.kind
JOIN states s ON s.code = e.state
LEFT JOIN reasons r ON r.code = e.reason;
CREATE INDEX entries_exposed ON entries (kind, id)
WHERE flags & 2 AND state <> 1 AND reason <> 11
AND coalesce(arrived, iif(coalesce(md5, etag) IS NULL, 0, 11)) & 1;
CREATE INDEX entries_accepted ON entries (kind, accepted, state, reason) WHERE accepted IS NOT NULL;
COMMIT;
