-- Losses that somebody knows of: what is accepted is no news when it fails for the same reason again.

-- The code of the reason that was accepted. It counts while the entry stands as failed for it, and is kept while the
-- entry is tried again; NULL: nobody has accepted anything.
ALTER TABLE entries ADD COLUMN accepted INTEGER;

-- `status` counts what is accepted from here.
CREATE INDEX entries_accepted ON entries (kind, accepted, state, reason) WHERE accepted IS NOT NULL;
