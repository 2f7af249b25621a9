"""Whether what lies in a folder will be Mastodon's to read and delete."""

from __future__ import annotations

from collections.abc import Iterator

from mastosync.cutover.findings import Evidence, Finding, Grade
from mastosync.findings.shared import giving, giving_to_mastodon, of_root_told, others_told, places_of
from mastosync.language import tr


def owned(evidence: Evidence) -> Iterator[Finding]:
    """Nothing is said of a bucket, nor where all is well."""
    found = evidence.ownership
    if evidence.unseen:
        yield Finding("owner", Grade.WARNING, *evidence.unseen)
    if found is None:
        return
    if told := of_root_told(found):
        yield Finding("owner", Grade.NO_GO, told, giving_to_mastodon(found))
    elif told := others_told(found):
        yield Finding("owner", Grade.WARNING, told, giving(found))
    elif not found.runs_as.user:
        command = f"find {' '.join(places_of(found))} ! -type l ! -user {str(found.wanted).partition(':')[0]}"
        yield Finding(
            "owner",
            Grade.WARNING,
            tr(
                "mastosync runs as root, and {path} belongs to {owner}. So does what was looked at there: a sample",
                path=found.path,
                owner=found.wanted,
            ),
            tr("if `{command}` lists something: {giving}", command=command, giving=giving(found)),
        )
