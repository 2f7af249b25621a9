"""The manifest: a SQLite file with every key and what became of it. All SQL on it lives here."""

from mastosync.manifest.accepted_losses import accept_lost, count_lost, mark_older_losses
from mastosync.manifest.archive import RECORDS as ARCHIVED_RECORDS
from mastosync.manifest.archive import ArchivedEntry, ArchiveReader, ArchiveWriter, Head
from mastosync.manifest.backup import back_up, backup_name
from mastosync.manifest.check import Checker, Fault, Soundness, repair_counters
from mastosync.manifest.complaints import read_from, written
from mastosync.manifest.connection import Manifest
from mastosync.manifest.databases import remember_database, remembered_database, require_same_database
from mastosync.manifest.deltas import DeltaBase, DeltaTerms, SnapshotMark, delta_base
from mastosync.manifest.entry_writer import (
    accept,
    claim,
    correct,
    count_losses,
    doubt_access,
    forget_arrival,
    note_access,
    release,
    reopen,
    take_back_acceptance,
    take_over,
    try_again,
)
from mastosync.manifest.exposed import Exposed, count_exposed, iter_exposed
from mastosync.manifest.file_system import (
    is_memory,
    is_network,
    kind_of_disk,
    place_on_disk,
    real_path,
    require_local_disk,
    same_file,
    warn_of_network,
)
from mastosync.manifest.identity import (
    Relation,
    StoreIdentity,
    in_one_bucket,
    note_probe,
    probe_left_behind,
    record_relation,
    relation,
)
from mastosync.manifest.lifecycle import (
    ACCESS,
    Approach,
    approach_to,
    begun,
    flaw,
    found_hidden,
    found_misread,
    found_wrong,
    is_misplaced,
    rewritten_in_place,
)
from mastosync.manifest.lock import Holder, holder_of, writer_lock
from mastosync.manifest.losses import ALWAYS, Losses, least_losses, require_likely
from mastosync.manifest.plan import HIGHEST_ID, LOWEST_ID, PlanDelta, PlanWriter, Writes
from mastosync.manifest.pruning import Removable, count_removable, is_wanted, iter_removable
from mastosync.manifest.records import Row, record_of
from mastosync.manifest.report import CountLine, ManifestReport, RunInfo, SnapshotRecord
from mastosync.manifest.schema import file_version, newest_version
from mastosync.manifest.scratch import Orphan, Scratch
from mastosync.manifest.scratch import Place as ScratchPlace
from mastosync.manifest.settings import (
    Noted,
    Place,
    Settings,
    applied_to,
    begin_applying,
    end_applying,
    iter_done_after,
    note_applied,
    note_settings,
    noted_as_json,
    noted_of,
    noted_settings,
    other_settings,
)
from mastosync.manifest.staleness import age_details, require_not_older, require_whole
from mastosync.manifest.strands import StrandReader
from mastosync.manifest.verifications import VerificationRecord, last_verification, record_verification, verifications
from mastosync.manifest.waiting import Outage, waiting_for
from mastosync.manifest.whole_files import appearing, require_room_for
from mastosync.manifest.work import WorkQueue
from mastosync.manifest.write_ahead import warn_of_gap

__all__ = [
    "ACCESS",
    "ALWAYS",
    "ARCHIVED_RECORDS",
    "HIGHEST_ID",
    "LOWEST_ID",
    "Approach",
    "ArchiveReader",
    "ArchiveWriter",
    "ArchivedEntry",
    "Checker",
    "CountLine",
    "DeltaBase",
    "DeltaTerms",
    "Exposed",
    "Fault",
    "Head",
    "Holder",
    "Losses",
    "Manifest",
    "ManifestReport",
    "Noted",
    "Orphan",
    "Outage",
    "Place",
    "PlanDelta",
    "PlanWriter",
    "Relation",
    "Removable",
    "Row",
    "RunInfo",
    "Scratch",
    "ScratchPlace",
    "Settings",
    "SnapshotMark",
    "SnapshotRecord",
    "Soundness",
    "StoreIdentity",
    "StrandReader",
    "VerificationRecord",
    "WorkQueue",
    "Writes",
    "accept",
    "accept_lost",
    "age_details",
    "appearing",
    "applied_to",
    "approach_to",
    "back_up",
    "backup_name",
    "begin_applying",
    "begun",
    "claim",
    "correct",
    "count_exposed",
    "count_losses",
    "count_lost",
    "count_removable",
    "delta_base",
    "doubt_access",
    "end_applying",
    "file_version",
    "flaw",
    "forget_arrival",
    "found_hidden",
    "found_misread",
    "found_wrong",
    "holder_of",
    "in_one_bucket",
    "is_memory",
    "is_misplaced",
    "is_network",
    "is_wanted",
    "iter_done_after",
    "iter_exposed",
    "iter_removable",
    "kind_of_disk",
    "last_verification",
    "least_losses",
    "mark_older_losses",
    "newest_version",
    "note_access",
    "note_applied",
    "note_probe",
    "note_settings",
    "noted_as_json",
    "noted_of",
    "noted_settings",
    "other_settings",
    "place_on_disk",
    "probe_left_behind",
    "read_from",
    "real_path",
    "record_of",
    "record_relation",
    "record_verification",
    "relation",
    "release",
    "remember_database",
    "remembered_database",
    "reopen",
    "repair_counters",
    "require_likely",
    "require_local_disk",
    "require_not_older",
    "require_room_for",
    "require_same_database",
    "require_whole",
    "rewritten_in_place",
    "same_file",
    "take_back_acceptance",
    "take_over",
    "try_again",
    "verifications",
    "waiting_for",
    "warn_of_gap",
    "warn_of_network",
    "writer_lock",
    "written",
]
