"""Whether Mastodon can be pointed at the destination: go or no-go, from what the manifest remembers, at once.

What everybody can still get from the old store, through the fallback, need not have arrived: the cache of other
servers' files. What is of this server must have. Warnings say what somebody should know before, such as what was
deleted and can still be read.
"""

from __future__ import annotations

from mastosync.cutover.arrival import beyond, failed, left_out, losses_of, missing, pending
from mastosync.cutover.commands import Command, Mastosync, Step
from mastosync.cutover.findings import (
    Cutover,
    CutoverVerdict,
    Evidence,
    Fallback,
    Finding,
    Grade,
    LossOutcome,
    Secrets,
    owned,
)
from mastosync.cutover.history import apart, deleted, planned, read_by_everybody, settings, verified, whole
from mastosync.cutover.mastodon import by_hand, doubt, media_host, permission, secrets, uses
from mastosync.cutover.nginx import MediaHost, PublicBucket, PublicFolder, PublicStore
from mastosync.cutover.steps import NewFiles, WayBack, WayOver, steps_back, steps_over
from mastosync.language import tr

__all__ = [
    "Command",
    "Cutover",
    "CutoverVerdict",
    "Evidence",
    "Fallback",
    "Finding",
    "Grade",
    "LossOutcome",
    "Mastosync",
    "MediaHost",
    "NewFiles",
    "PublicBucket",
    "PublicFolder",
    "PublicStore",
    "Secrets",
    "Step",
    "WayBack",
    "WayOver",
    "judge",
    "steps_back",
    "steps_over",
]


def judge(evidence: Evidence) -> Cutover:
    """Look at everything."""
    losses = losses_of(evidence.counts, evidence.lying_there)
    findings = [
        *whole(evidence),
        *uses(evidence),
        *doubt(evidence),
        *secrets(evidence),
        *media_host(evidence),
        *permission(evidence),
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
        findings.append(Finding("one-bucket", Grade.WARNING, evidence.shared.message, evidence.shared.remedy))
    findings += owned(evidence)
    if evidence.running:
        remedy = tr("wait until it ends, or run this again: the figures above change meanwhile")
        findings.append(Finding("running", Grade.WARNING, tr("a copy is at work"), remedy))
    findings += by_hand(evidence, findings)
    return Cutover(findings, losses)
