"""Whether Mastodon can be pointed at the destination: go or no-go, from what the manifest remembers, at once.

What everybody can still get from the old store, through the fallback, need not have arrived: the cache of other
servers' files. All files of this server must have. Warnings say what somebody should know before, such as what was
deleted and can still be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mastosync.cutover.arrival import beyond, failed, left_out, losses_of, missing, pending
from mastosync.cutover.evidence import CutoverEvidence, Fallback, LossOutcome, Secrets
from mastosync.cutover.history import apart, deleted, planned, read_by_everybody, settings, verified
from mastosync.findings import Finding, Grade
from mastosync.findings.messages import (
    foreign_owner_message,
    gap_finding,
    give_to_mastodon,
    ownership_remedy,
    places_of,
    root_owner_message,
)
from mastosync.language import tr


class CutoverVerdict(StrEnum):
    """What all findings come to."""

    GO = "go"
    GO_WITH_FALLBACK = "go-with-fallback"  # if the old store is asked for what has not arrived yet
    NO_GO = "no-go"


@dataclass(slots=True)
class CutoverAssessment:
    """What all checks have found, and whether that is go or no-go."""

    findings: list[Finding] = field(default_factory=list)
    losses: dict[tuple[str, bool, LossOutcome], int] = field(default_factory=dict)  # by table and whether remote

    @property
    def verdict(self) -> CutoverVerdict:
        """The worst of the findings."""
        if any(found.grade is Grade.FAILURE for found in self.findings):
            return CutoverVerdict.NO_GO
        needed = any(found.needs_fallback for found in self.findings)
        return CutoverVerdict.GO_WITH_FALLBACK if needed else CutoverVerdict.GO

    def as_json(self) -> dict[str, Any]:
        """For scripts. The names are part of the interface."""
        return {
            "verdict": self.verdict.value,
            "findings": [
                {**each.as_json(CutoverVerdict.NO_GO.value), "needs_fallback": each.needs_fallback}
                for each in self.findings
            ],
            "missing": [
                {"type": table, "remote": remote, "loss": loss.value, "objects": objects}
                for (table, remote, loss), objects in self.losses.items()
            ],
        }


def assess_cutover(evidence: CutoverEvidence) -> CutoverAssessment:
    """Make all checks."""
    losses = losses_of(evidence.counts, evidence.unidentified)
    findings = [
        *gap_finding(evidence.gap),
        *_uses(evidence),
        *_unclear(evidence),
        *_secrets(evidence),
        *_media_host(evidence),
        *_permission(evidence),
        *pending(evidence.counts),
        *failed(evidence.counts),
        *missing(losses, evidence.counts),
        *left_out(evidence.counts, evidence.exposed),
        *beyond(evidence.counts, evidence.fallback),
        apart(evidence),
        *planned(evidence),
        *deleted(evidence),
        *settings(evidence),
        *verified(evidence),
    ]
    if evidence.public:
        findings += read_by_everybody(evidence)
    if evidence.shared:
        findings.append(evidence.shared.finding)
    findings += _owned(evidence)
    if evidence.running:
        remedy = tr("wait until it ends, or run this again: the figures above change meanwhile")
        findings.append(Finding("running", Grade.WARNING, tr("a copy is at work"), remedy))
    findings += _by_hand(evidence, findings)
    return CutoverAssessment(findings, losses)


def _secrets(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Whether mastosync can still read the old store when `.env.production` has the keys of the new one."""
    if evidence.secrets is Secrets.UNPINNED:
        message = tr("mastosync reads the keys of the old store from .env.production, and the switch overwrites them")
        yield Finding("secrets", Grade.FAILURE, message, "mastosync pin-secrets")
    elif evidence.secrets is Secrets.LOST:
        yield Finding(
            "secrets",
            Grade.FAILURE,
            tr(".env.production names the new store, and mastosync takes the keys of the old store from there"),
            tr(
                "write access_key and secret_key of the old store under [s3.source] in the configuration (your copy of"
                " the old .env.production has them), and run this again: the steps are told then"
            ),
        )
    elif evidence.secrets is Secrets.ALIKE:
        yield Finding(
            "secrets",
            Grade.WARNING,
            tr(
                ".env.production names the new store, and by it both stores have the same keys: mastosync takes those"
                " of the old store from there"
            ),
            tr(
                "if `mastosync copy` says that the old store refuses its keys, write the old access_key and secret_key"
                " under [s3.source] in the configuration (your copy of the old .env.production has them), and copy"
                " again"
            ),
        )


def _uses(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Whether Mastodon uses one of these two stores at all."""
    if evidence.elsewhere:
        yield Finding(
            "settings",
            Grade.FAILURE,
            tr(
                "by its settings Mastodon uses {store}, which is neither the source nor the destination here",
                store=evidence.elsewhere,
            ),
            tr("is this the configuration of another migration? -c FILE and --manifest FILE name those that you mean"),
        )


def _unclear(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Whether Mastodon's settings tell which store it uses."""
    if evidence.unclear:
        yield Finding(
            "settings",
            Grade.WARNING,
            evidence.unclear,
            tr(
                "if Mastodon runs in a container, check the variables that it is started with: they override the file"
                " and have to change, too, and their paths and addresses are those of the container. To be sure, name"
                " a copy of the file with paths and addresses as they are here: --env FILE"
            ),
        )


def _media_host(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Whether anybody has said what browsers will ask."""
    if not evidence.media_host:
        yield Finding(
            "media-host",
            Grade.FAILURE,
            tr("it is not known which host browsers will ask for media: it is CHANGE-ME below"),
            tr("name it: --media-host HOST, or public_url under [s3.destination]"),
        )


def _permission(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Whether media that Mastodon keeps private would become public."""
    if evidence.permission == "private" and evidence.takes_acls and evidence.acl not in ("private", "none"):
        yield Finding(
            "permission",
            Grade.FAILURE,
            tr("Mastodon keeps all its media private (S3_PERMISSION=private), and mastosync stores them for everybody"),
            tr("set acl = private under [s3.destination]; `mastosync apply-settings` hides what was stored already"),
        )


def _by_hand(evidence: CutoverEvidence, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Whether nginx can be configured to ask the old store, if that is needed."""
    if evidence.by_hand is not None and evidence.media_host:
        needed = evidence.fallback is not Fallback.NONE and any(found.needs_fallback for found in findings)
        yield Finding("nginx", Grade.FAILURE if needed else Grade.WARNING, *evidence.by_hand)


def _owned(evidence: CutoverEvidence) -> Iterator[Finding]:
    """Whether Mastodon can read and delete the files of a folder. Nothing is said of a bucket, nor if all is well."""
    found = evidence.ownership
    if evidence.unseen:
        yield Finding("owner", Grade.WARNING, *evidence.unseen)
    if found is None:
        return
    if told := root_owner_message(found):
        yield Finding("owner", Grade.FAILURE, told, give_to_mastodon(found))
    elif told := foreign_owner_message(found):
        yield Finding("owner", Grade.WARNING, told, ownership_remedy(found))
    elif not found.runs_as.user:
        command = f"find {' '.join(places_of(found))} ! -type l ! -user {str(found.wanted).partition(':')[0]}"
        yield Finding(
            "owner",
            Grade.WARNING,
            tr(
                "mastosync runs as root. {path}, and the files that were checked there (a sample), belong to {owner}",
                path=found.path,
                owner=found.wanted,
            ),
            tr("if `{command}` lists something: {giving}", command=command, giving=ownership_remedy(found)),
        )
