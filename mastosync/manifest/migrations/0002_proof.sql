-- What proof needs: who brought an object, and when the destination was held against the manifest.

-- 0 or NULL: copied by us, 1: adopted (it lay there already), 2: fetched again from the server it came from
ALTER TABLE entries ADD COLUMN origin INTEGER;

-- Runs of `verify`.
CREATE TABLE verifications (
    id         INTEGER PRIMARY KEY,
    started_at REAL NOT NULL,  -- seconds since the epoch
    ended_at   REAL NOT NULL,
    details    TEXT NOT NULL   -- JSON: how it was done, and what was found
);
