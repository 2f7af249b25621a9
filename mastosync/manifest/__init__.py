"""The manifest: a SQLite file with every key and what became of it. All SQL on it lives here."""

from mastosync.manifest.connection import Manifest
from mastosync.manifest.corrections import correct
from mastosync.manifest.identity import StoreIdentity
from mastosync.manifest.lock import holder_of, writer_lock
from mastosync.manifest.plan import HIGHEST_ID, LOWEST_ID, PlanDelta, PlanWriter
from mastosync.manifest.records import Row, record_of
from mastosync.manifest.report import CountLine, ManifestReport, RunInfo, SnapshotRecord
from mastosync.manifest.schema import file_version, newest_version
from mastosync.manifest.scratch import Orphan, Scratch
from mastosync.manifest.scratch import Place as ScratchPlace
from mastosync.manifest.strands import StrandReader
from mastosync.manifest.verifications import VerificationRecord, last_verification, record_verification
from mastosync.manifest.work import WorkQueue, reopen

__all__ = [
    "HIGHEST_ID",
    "LOWEST_ID",
    "CountLine",
    "Manifest",
    "ManifestReport",
    "Orphan",
    "PlanDelta",
    "PlanWriter",
    "Row",
    "RunInfo",
    "Scratch",
    "ScratchPlace",
    "SnapshotRecord",
    "StoreIdentity",
    "StrandReader",
    "VerificationRecord",
    "WorkQueue",
    "correct",
    "file_version",
    "holder_of",
    "last_verification",
    "newest_version",
    "record_of",
    "record_verification",
    "reopen",
    "writer_lock",
]
