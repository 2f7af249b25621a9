-- What is private by now and lies at the destination as it was stored when it was public, whatever became of it since:
-- `status` counts it, and no counter knows of privacy.
CREATE INDEX entries_exposed ON entries (kind, id)
WHERE flags & 2 AND state <> 1 AND reason <> 11
AND coalesce(arrived, iif(coalesce(md5, etag) IS NULL, 0, 11)) & 1;
