"""What plans have lost by `--accept-gone`: the old store is kept until it is back, or somebody says it was deleted.

Each such entry is marked (`lifecycle.gone`), so that no later plan of the same wrong database clears anything. An older
version kept no marks, and only the number of entries in the record of its plan.
"""

from __future__ import annotations

from mastosync.manifest.connection import Manifest
from mastosync.manifest.entry_writer import forget_lost, mark_lost
from mastosync.manifest.losses import marked_losses
from mastosync.manifest.reader import ManifestReport

_NOTE_MARKS = """
UPDATE snapshots SET details = json_set(details, '$.marks_gone', json('true'))
WHERE json_extract(details, '$.accepted_gone') > 0
"""


def count_lost(manifest: Manifest) -> int:
    """How many entries are lost so. Raises: ManifestError."""
    return marked_losses(manifest).all.gone or _unmarked(manifest)


def mark_older_losses(manifest: Manifest) -> None:
    """Mark, within a transaction, what is gone by a plan of an older version, if that counted until now."""
    if _unmarked(manifest):
        mark_lost(manifest)
        manifest.connection.execute(_NOTE_MARKS)


def accept_lost(manifest: Manifest) -> None:
    """Record that all of it was deleted. Raises: ManifestError."""
    with manifest.transaction():
        mark_older_losses(manifest)
        forget_lost(manifest)


def _unmarked(manifest: Manifest) -> int:
    """How many entries plans of an older version have lost since the last whole plan, that one included."""
    lost = 0
    for plan in ManifestReport(manifest).iter_snapshots():
        if plan.details.get("marks_gone"):
            break
        lost += plan.accepted_gone
        if plan.whole:
            break
    return lost
