"""The final report of a migration, from the manifest alone: what was copied, when and how fast, what failed and why.

The design is in docs/design/cutover.md.
"""

from mastosync.report.evidence import DeletionEvidence, Switch
from mastosync.report.history import CopyRun, RunPace, VerificationRun, moment
from mastosync.report.record import (
    DIGEST_NAME,
    FORMAT,
    Amount,
    Report,
    TypeCount,
    evidence_of,
    may_delete_old_store,
    report_of,
    sound_contents_of,
)
from mastosync.report.verdict import NOT_YET, DeletionVerdict, assess_deletion

__all__ = [
    "DIGEST_NAME",
    "FORMAT",
    "NOT_YET",
    "Amount",
    "CopyRun",
    "DeletionEvidence",
    "DeletionVerdict",
    "Report",
    "RunPace",
    "Switch",
    "TypeCount",
    "VerificationRun",
    "assess_deletion",
    "evidence_of",
    "may_delete_old_store",
    "moment",
    "report_of",
    "sound_contents_of",
]
