"""Whose what is written to a folder is: whether Mastodon can read and delete it."""

from __future__ import annotations

from mastosync.doctor.findings import Chart, Finding
from mastosync.findings.shared import giving, of_root_told, others_told
from mastosync.language import tr
from mastosync.model import Access, Ownership


def check_owner(chart: Chart, found: Ownership, probe: Access) -> Finding:
    """`probe`: of a public object that was just written. Mastodon is taken for whoever the folder belongs to."""
    if probe.owner.user != found.wanted.user:
        return _of_somebody_else(chart, found, probe)
    if told := of_root_told(found) or others_told(found):
        return chart.warning("owner", told, giving(found))
    if not found.runs_as.user and found.gives:
        said = tr("mastosync runs as root: what it writes is given to {owner}", owner=probe.owner)
    elif probe.owner == found.wanted:
        said = tr("what is written belongs to {owner}, as it should", owner=probe.owner)
    else:
        said = tr(
            "what is written belongs to {owner}, and the folder to {wanted}: Mastodon can read and delete it",
            owner=probe.owner,
            wanted=found.wanted,
        )
    return chart.ok("owner", said)


def _of_somebody_else(chart: Chart, found: Ownership, probe: Access) -> Finding:
    said = tr(
        "what is written belongs to {owner}, and the folder to {wanted}: {abilities}",
        owner=probe.owner,
        wanted=found.wanted,
        abilities=abilities(found, probe),
    )
    if found.runs_as.user:
        remedy = tr(
            "run mastosync as that user, or as root, who gives what is written to them; for a backup this is fine"
        )
        return chart.warning("owner", said, remedy)
    remedy = tr(
        "root may not give files away here: the disk refuses it, or this process lacks CAP_CHOWN or CAP_DAC_OVERRIDE;"
        " run mastosync as that user; {giving}",
        giving=giving(found),
    )
    return chart.warning("owner", said, remedy)


def abilities(found: Ownership, probe: Access) -> str:
    """What Mastodon can do with files of somebody else's; those of private objects are closed to it."""
    group = probe.owner.group == found.wanted.group
    reads = probe.mode & (0o040 if group else 0o004)
    deletes = probe.folder_mode & (0o020 if group else 0o002)
    if reads and deletes:
        return tr("Mastodon can read what is public and delete all of it, and cannot read what is private")
    if reads:
        return tr("Mastodon can read what is public, and can neither read what is private nor delete anything")
    if deletes:
        return tr("Mastodon can delete it, and cannot read it")
    return tr("Mastodon can neither read nor delete it")
