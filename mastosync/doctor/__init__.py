"""`doctor`: everything that can fail, tried before it does; each finding with its remedy."""

from mastosync.doctor.database import DatabaseWay
from mastosync.doctor.doctor import Doctor, StoreWay
from mastosync.doctor.findings import Diagnosis, Finding, Grade, Subject
from mastosync.doctor.folder import FolderWay
from mastosync.doctor.manifest import ManifestPlace

__all__ = [
    "DatabaseWay",
    "Diagnosis",
    "Doctor",
    "Finding",
    "FolderWay",
    "Grade",
    "ManifestPlace",
    "StoreWay",
    "Subject",
]
