"""What the verdict of a report rests on; and whether Mastodon has left the old store, by its settings and uploads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mastosync.findings import Finding, Grade
from mastosync.findings.deleted import SharedBucket
from mastosync.findings.messages import READ_BACK_SAMPLE
from mastosync.language import tr
from mastosync.manifest import CountLine, Exposed, Gap, LastChange, PlanRecord, Relation, Removable
from mastosync.model import EntryState, Origin, Reason
from mastosync.report.history import CopyRun, VerificationRun, moment


class Switch(NamedTuple):
    """What Mastodon's own settings say about where it writes."""

    file: Path | None = None  # None: it is not known where they are
    problem: str = ""  # why they cannot be read
    changed_at: float = 0.0  # when the file was, seconds since the epoch
    unclear: str = ""  # why nobody can tell whether they name the destination; empty: it is known
    left: bool = False  # whatever they name, it is not the source
    alike: bool = False  # they name a bucket as the destination does, at another endpoint: it may be another


@dataclass(frozen=True, slots=True)
class DeletionEvidence:
    """What the verdict rests on: the manifest, and what Mastodon's settings say."""

    counts: Sequence[CountLine]
    plans: Sequence[PlanRecord]  # the oldest first, as are the following
    runs: Sequence[CopyRun]
    verifications: Sequence[VerificationRun]
    running: bool  # a copy is at work
    public: bool  # the destination is a bucket; else it is a folder
    now: float  # seconds since the epoch
    gone: Removable = field(default_factory=Removable)  # at the destination, although its rows were deleted
    shared: SharedBucket | None = None  # that both stores are; None: they are two
    exposed: Exposed = field(default_factory=Exposed)  # private, and everybody may read what lies at the new store
    relation: Relation | None = None  # what both stores were found to be; None: nobody has looked
    switch: Switch = field(default_factory=Switch)
    newest: Mapping[Origin, int] = field(default_factory=dict)  # when the newest of what is done was uploaded
    dropped_by_plan: int = 0  # entries that accepted plans (--accept-gone) have lost, and no plan has found again
    change: LastChange = field(default_factory=LastChange)  # at the new store, by another command than `copy`
    gap: Gap | None = None  # what the manifest lacks
    unidentified: int = 0  # of what is missing at the source: the new store has something that nothing identifies
    acl: str = ""  # of the destination, as mastosync is configured

    def objects(self, state: EntryState, *reasons: Reason, but: Reason | None = None) -> int:
        """How many there are: for some reasons, or for any but one."""
        lines = [line for line in self.counts if line.state is state and (but is None or line.reason is not but)]
        return sum(line.objects for line in lines if not reasons or line.reason in reasons)

    @property
    def since_last_change(self) -> list[VerificationRun]:
        """What was verified after everything had arrived, and nothing was stored anew."""
        return [proof for proof in self.verifications if proof.started_at >= self.last_change.at]

    @property
    def last_change(self) -> LastChange:
        """Of what is at the new store, by whatever command."""
        copied = max((run.updated_at for run in self.runs if run.done), default=0.0)
        return max(LastChange(copied, "copy"), self.change)


READ_BACK = f"mastosync verify --deep --sample {READ_BACK_SAMPLE}"


def switched(evidence: DeletionEvidence) -> Finding:
    """Whether Mastodon still writes to what may be deleted."""
    file, switch = evidence.switch.file, evidence.switch
    if switch.problem:
        said = tr("{problem}: it is not known whether Mastodon uses the new store already", problem=switch.problem)
        return Finding(
            "switch",
            Grade.FAILURE,
            said,
            tr("correct the file, its permissions, or its name (--env, or mastodon_file under [env])"),
        )
    if file is None:
        said = tr("it is not known here whether Mastodon uses the new store already")
        remedy = tr("name its settings, or a copy of them: `mastosync report --env FILE`, or mastodon_file under [env]")
        return Finding("switch", Grade.FAILURE, said, remedy)
    if switch.left:
        return _restarted(evidence) if _planned_since(evidence) else _unplanned(evidence)
    if switch.unclear:
        remedy = tr(
            "write the settings that Mastodon runs with into a file, with endpoints and paths as they are here, and"
            " name it: `mastosync report --env FILE` (of a container, `docker compose exec -T web env` prints them)"
        )
        return Finding("switch", Grade.FAILURE, switch.unclear, remedy)
    said = tr("{file} does not name the new store: Mastodon still uses the old one", file=file)
    return Finding("switch", Grade.FAILURE, said, tr("mastosync cutover tells the steps"))


def _planned_since(evidence: DeletionEvidence) -> bool:
    """Whether a plan has taken in what was uploaded to the old store until the switch. What it has found is counted.

    Where every plan left something out, that is told already.
    """
    plans = [plan for plan in evidence.plans if plan.leaves_nothing_out]
    return not plans or any(plan.began_at >= evidence.switch.changed_at for plan in plans)


def _unplanned(evidence: DeletionEvidence) -> Finding:
    switch = evidence.switch
    said = tr(
        "{file} was changed at {time} UTC, and no whole plan was made since: what was uploaded to the old store before"
        " may be there alone",
        file=switch.file,
        time=moment(switch.changed_at),
    )
    remedy = tr(
        "`mastosync plan`, then `mastosync copy`: nothing that has arrived is copied again. If the file was changed,"
        " moved or copied for another reason, do the same."
    )
    if any(plan.taken_at.timestamp() > switch.changed_at for plan in evidence.plans if plan.leaves_nothing_out):
        remedy += " " + tr(
            "If the database is a standby, a plan counts up to when that has heard of everything; if it lags, name the"
            " primary in `[pg.database]`."
        )
    return Finding("switch", Grade.FAILURE, said, remedy)


def _restarted(evidence: DeletionEvidence) -> Finding:
    """A file does not tell whether Mastodon has read it. Where its newest upload was found does."""
    switch = evidence.switch
    names = switch.unclear or tr("{file} names the new store", file=switch.file)
    copied, found = (evidence.newest.get(origin, 0) for origin in (Origin.COPIED, Origin.ADOPTED))
    if found > max(copied, switch.changed_at):
        said = tr("{names}; the newest upload ({time} UTC) was found at the new store", names=names, time=moment(found))
        return Finding("switch", Grade.OK, said)
    if copied > max(found, switch.changed_at):
        said = tr(
            "{names}; but the newest upload ({time} UTC, after that file was changed) came from the old store:"
            " Mastodon, or a part of it, still runs with the old settings",
            names=names,
            time=moment(copied),
        )
        remedy = tr(
            "restart Mastodon on every machine and upload a picture. Then run `mastosync plan`, `mastosync copy` and"
            " `{verify}`, and this again",
            verify=READ_BACK,
        )
        return Finding("switch", Grade.FAILURE, said, remedy)
    if switch.alike:
        remedy = tr(
            "upload a picture, then run `mastosync plan`, `mastosync copy` and `{verify}`, and this again: it looks"
            " where the picture was found. Or name a copy of the file with the endpoint as it is here:"
            " `mastosync report --env FILE`",
            verify=READ_BACK,
        )
        return Finding("switch", Grade.FAILURE, names, remedy)
    said = tr("{names}; the file alone does not tell whether Mastodon was restarted", names=names)
    remedy = tr(
        "restart Mastodon once more on every machine. Or, to see it, upload a picture, then run `mastosync plan`,"
        " `mastosync copy` and `{verify}`, and this again",
        verify=READ_BACK,
    )
    return Finding("switch", Grade.WARNING, said, remedy)
