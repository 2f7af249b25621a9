"""The final report of a migration, from the manifest alone: what was moved, when and how fast, what failed and why."""

from mastosync.report.evidence import Evidence, Finding, Grade, Switch
from mastosync.report.history import Proof, Run, RunPace, moment
from mastosync.report.record import DIGEST_NAME, FORMAT, Amount, Count, Report, report_of, sound_contents_of
from mastosync.report.verdict import DeletionVerdict, judge
from mastosync.units import iso

__all__ = [
    "DIGEST_NAME",
    "FORMAT",
    "Amount",
    "Count",
    "DeletionVerdict",
    "Evidence",
    "Finding",
    "Grade",
    "Proof",
    "Report",
    "Run",
    "RunPace",
    "Switch",
    "iso",
    "judge",
    "moment",
    "report_of",
    "sound_contents_of",
]
