-- When things happened: the age of objects decides in which order they are copied, and runs leave their pace behind.

-- Seconds since the epoch: `<attachment>_updated_at` of the row. Another one means another file, if of the same name.
ALTER TABLE entries ADD COLUMN updated INTEGER;

-- How far a run of `copy` had come, about once a minute.
CREATE TABLE samples (
    id      INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL,
    at      REAL NOT NULL,    -- seconds since the epoch
    done    INTEGER NOT NULL, -- in this run so far, as are the following
    failed  INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
);
