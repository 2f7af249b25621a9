"""`doctor`: everything that can fail, tried before it does; each finding with its remedy."""

from mastosync.engine.doctor.database import DatabaseWay
from mastosync.engine.doctor.doctor import Doctor, StoreWay
from mastosync.engine.doctor.findings import Diagnosis, Finding, Grade, Subject
from mastosync.engine.doctor.folder import FolderWay
from mastosync.engine.doctor.manifest import ManifestPlace

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
