"""Asking a source that has given nothing in a run for what it gave before: its key, or what it holds, may be others."""

from __future__ import annotations

from itertools import islice

from mastosync.errors import ObjectDenied, ObjectError, ObjectMissing
from mastosync.manifest import Manifest, ManifestReport
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, Origin
from mastosync.runtime.retry import Gate, PatientStore

_ASKED = 8  # objects: rows go, and their files with them


def still_gives(source: Gate, manifest: Manifest, prefix: str) -> bool:
    """Whether the source lets us have anything that it had before; False too if it never had. Unknown counts as yes.

    Raises: StoreUnusable; Interrupted.
    """
    records = ManifestReport(manifest).iter_records((EntryState.DONE,))
    for record in list(islice((each for each in records if each.origin is not Origin.REFETCHED), _ASKED)):
        try:
            PatientStore(source).head(record.source_key or canonical_key(record.entry, prefix))
        except (ObjectMissing, ObjectDenied):
            continue
        except ObjectError:
            pass
        return True
    return False
