"""`cutover`: whether Mastodon can be switched over to the destination, the steps, and the media host of nginx.

The design is in docs/design/cutover.md.
"""

from mastosync.cutover.evidence import CutoverEvidence, Fallback, LossOutcome, Secrets
from mastosync.cutover.nginx import MediaHost, PublicBucket, PublicFolder, PublicStore
from mastosync.cutover.steps import (
    Command,
    CommandLine,
    Failback,
    NewFiles,
    Step,
    Switchover,
    failback_steps,
    switchover_steps,
)
from mastosync.cutover.verdict import CutoverAssessment, CutoverVerdict, assess_cutover

__all__ = [
    "Command",
    "CommandLine",
    "CutoverAssessment",
    "CutoverEvidence",
    "CutoverVerdict",
    "Failback",
    "Fallback",
    "LossOutcome",
    "MediaHost",
    "NewFiles",
    "PublicBucket",
    "PublicFolder",
    "PublicStore",
    "Secrets",
    "Step",
    "Switchover",
    "assess_cutover",
    "failback_steps",
    "switchover_steps",
]
