"""`doctor`: everything that can fail, tried before it does; each finding with its remedy.

See docs/design/interface.md.
"""

from mastosync.doctor.checks import Diagnosis
from mastosync.doctor.database import DatabaseTarget
from mastosync.doctor.doctor import BucketTarget, Doctor
from mastosync.doctor.folder import FolderTarget
from mastosync.doctor.manifest import ManifestTarget
from mastosync.findings import CheckSubject, Finding, Grade

__all__ = [
    "BucketTarget",
    "CheckSubject",
    "DatabaseTarget",
    "Diagnosis",
    "Doctor",
    "Finding",
    "FolderTarget",
    "Grade",
    "ManifestTarget",
]
