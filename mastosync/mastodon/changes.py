"""What has changed in a database since an earlier snapshot, for an incremental plan: see docs/design/following.md.

New rows have ids above the highest known one: they are read with the windows between them. Of older rows, those are
read that changed (`updated_at`), and those whose account or post changed, which makes them private: their windows say
nothing of the rows between them. Only the next plan that reads everything finds rows that were deleted, rows that
Mastodon changed without a new `updated_at` (as when it clears its cache by thousands), and media of a removed post that
came back, which only forks of Mastodon may do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mastosync.mastodon.database import BATCH_ROWS, MastodonDatabase, RowBatch, SnapshotInfo
from mastosync.mastodon.queries import ReadAhead, Scope, columns_of, media_of, select_changed, select_named

_WHOLE_RESULT = "SET LOCAL cursor_tuple_fraction = 1"


@dataclass(frozen=True, slots=True)
class Changes:
    """The rows that came or changed since `since`; `highest`: the highest id that an earlier plan saw, by table.

    `since` has to be some time before that plan: a row says when it was changed, and is seen when that transaction
    has ended. Every method raises DatabaseError.
    """

    database: MastodonDatabase
    since: datetime
    highest: Mapping[str, int]

    def snapshot(self, tables: tuple[str, ...]) -> SnapshotInfo:
        """See `MastodonDatabase`."""
        return self.database.snapshot(tables)

    def estimated_rows(self, table: str) -> int:
        """How many have changed? Nobody knows before they are read."""
        return 0

    def iter_rows(self, table: str, *, limit: int | None = None, only: Scope = "all") -> Iterator[RowBatch]:
        """Windows by ascending id: those of the rows that changed, which tell their ids, then those of all new rows.

        Nothing is said of other rows. A table that does not tell what changed is read whole.
        """
        if limit is not None:
            raise ValueError("what has changed is read to its end")
        rows = self.database.selection(table, only)
        if rows is None:
            return
        above = self.highest.get(table)
        query = (
            select_changed(rows, self.since.astimezone(UTC).replace(tzinfo=None), above) if above is not None else None
        )
        if above is None or query is None:
            yield from self.database.stream(rows, select_named(rows))
            return
        in_removed_posts = self.database.in_removed_posts(rows)
        with self.database.reading(table):
            # few rows of a large table: to read it from end to end is quicker than by its index
            self.database.connection.execute(_WHOLE_RESULT)
            with ReadAhead(self.database.connection, query, BATCH_ROWS) as batches:
                last_id = None
                for some in batches:
                    columns = columns_of(some, last_id, in_removed_posts)
                    if columns:
                        ids, last_id = columns[0], columns[0][-1]
                        media = [(spec, media_of(columns, at)) for at, spec in enumerate(rows.specs)]
                        yield RowBatch(ids[0] - 1, last_id, media, rows_read=ids)
        yield from self.database.stream(rows, select_named(rows, above=above), above)
