"""The final report of a migration, from the manifest alone: what was moved, when and how fast, what failed and why."""

from mastosync.report.evidence import Evidence, Finding, Grade, Switch
from mastosync.report.history import Pace, Proof, Run, moment
from mastosync.report.record import DIGEST_NAME, FORMAT, Amount, Count, Report, report_of, sound_contents_of
from mastosync.report.verdict import Verdict, judge
from mastosync.units import iso

__all__ = [
    "DIGEST_NAME",
    "FORMAT",
    "Amount",
    "Count",
    "Evidence",
    "Finding",
    "Grade",
    "Pace",
    "Proof",
    "Report",
    "Run",
    "Switch",
    "Verdict",
    "iso",
    "judge",
    "moment",
    "report_of",
    "sound_contents_of",
]
