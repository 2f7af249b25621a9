"""What makes an object private: its table, its account, or its post. Everything else is public.

The rules, and the queries that they need. A copy may learn more from the source: what an ACL or a mode hides there
stays hidden (`copying/transfer.py`). See docs/design/privacy.md.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from psycopg import sql

from mastosync.model import AttachmentSpec

if TYPE_CHECKING:
    from mastosync.mastodon.queries import Columns, Table

STATUSES = "statuses"
"""Posts. They have no attachments of their own; those that were removed and are kept have media that are private."""

STATUS_COLUMNS = ("id", "deleted_at")
"""All that is ever read of a post."""

ALSO_READ = {"media_attachments": ("accounts", STATUSES), "imports": ("accounts",)}  # what makes their rows private


def is_private(found: Mapping[str, Table], spec: AttachmentSpec) -> sql.Composable:
    """Whether a row's objects are private because of its table or its account: TRUE or FALSE, never NULL.

    A suspension makes private what the account has posted. Its avatar and header stay as they are: nothing would make
    them public again when it ends.
    """
    if spec.private:
        return sql.SQL("TRUE")
    accounts = found.get("accounts")
    joined = spec.table in ALSO_READ and found[spec.table].has("account_id")
    if joined and accounts and accounts.has("id", "suspended_at"):
        # a join would lose the order of the ids; of this the planner makes a hash, or a look-up in the index
        return sql.SQL("EXISTS (SELECT 1 FROM {} a WHERE a.id = t.account_id AND a.suspended_at IS NOT NULL)").format(
            sql.Identifier(accounts.schema, "accounts")
        )
    return sql.SQL("FALSE")


def knows_removed_posts(found: Mapping[str, Table]) -> bool:
    """Whether removed posts may be kept, and can be recognized."""
    return STATUSES in found and found[STATUSES].has(*STATUS_COLUMNS)


def select_removed_statuses(found: Mapping[str, Table]) -> sql.Composed:
    """Ids of posts that were removed and are kept: Mastodon has a partial index of these, and they are few."""
    return sql.SQL("SELECT s.id FROM {} s WHERE s.deleted_at IS NOT NULL").format(
        sql.Identifier(found[STATUSES].schema, STATUSES)
    )


def select_of_statuses(found: Mapping[str, Table], ids: Sequence[int]) -> sql.Composed:
    """Ids of the media of some posts, by the index that Mastodon has for that."""
    table = sql.Identifier(found["media_attachments"].schema, "media_attachments")
    return sql.SQL("SELECT t.id FROM {} t WHERE t.status_id = ANY ({})").format(table, sql.Literal(list(ids)))


def select_of_removed(found: Mapping[str, Table], ids: Sequence[int]) -> sql.Composed:
    """The query for media, among these ids, whose posts were removed and are kept. It uses the indexes of the ids."""
    return sql.SQL(
        "SELECT t.id FROM {} t JOIN {} s ON s.id = t.status_id WHERE t.id = ANY ({}) AND s.deleted_at IS NOT NULL"
    ).format(
        sql.Identifier(found["media_attachments"].schema, "media_attachments"),
        sql.Identifier(found[STATUSES].schema, STATUSES),
        sql.Literal(list(ids)),
    )


def as_private(columns: list[tuple[Any, ...]], in_removed_posts: Sequence[int]) -> Columns:
    """`columns`, with the rows of these ids made private. Most batches have none of them."""
    ids = columns[0]
    among = frozenset(in_removed_posts[bisect_left(in_removed_posts, ids[0]) : bisect_right(in_removed_posts, ids[-1])])
    if among:
        columns[2] = tuple(private or row_id in among for row_id, private in zip(ids, columns[2], strict=True))
    return columns
