-- What lies at the destination stays known whatever becomes of an entry, and who can read it.

-- Bits: 1 stored as for a public row, 2 as for a private one (both: nobody knows), 4 a write was begun and nobody knows
-- how it ended, 8 its bytes are not those that are wanted. NULL: nothing, unless there is a digest, which an older
-- version left: then 11. NULL while done, too: done means that the object lies there as its row asks for.
ALTER TABLE entries ADD COLUMN arrived INTEGER;

-- For which rows the write of a claim is meant: 1 public, 2 private, 3 unknown.
ALTER TABLE claims ADD COLUMN access INTEGER NOT NULL DEFAULT 3;
