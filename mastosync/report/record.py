"""The final report: all that a manifest remembers of a migration, to be kept when the old store goes.

It has a digest of all entries and their outcomes, which does not depend on the layout of the SQLite file: the SHA-256
of one line for each entry, in the order of `manifest export`: its key at the destination in base64,
state, reason, size, MD5 and, in base64, ETag, with a space between any two; what is not known is empty. Keys stand in
base64 as they may hold anything, and instead of ids as jq before 1.7 rounds those. So it can be checked
without mastosync, by an export: docs/design/report.md has the line of jq.
"""

from __future__ import annotations

import hashlib
import time
from binascii import b2a_base64
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from mastosync import __version__
from mastosync.errors import ManifestError
from mastosync.findings.deleted import SharedBucket, gone_as_json, shared_bucket
from mastosync.language import tr
from mastosync.listing import described
from mastosync.manifest import (
    ArchiveReader,
    CountLine,
    Manifest,
    ManifestReader,
    PlanRecord,
    Removable,
    StoreIdentity,
    count_dropped,
    count_removable,
    last_change,
    relation,
)
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import FAILURE_REASONS, TABLES, Entry, EntryState, Origin, Reason, Record
from mastosync.report.evidence import DeletionEvidence, Switch
from mastosync.report.history import CopyRun, RunPace, VerificationRun, paces_of, runs_of
from mastosync.report.verdict import DeletionVerdict, assess_deletion
from mastosync.status import Tally, status_of
from mastosync.units import iso

DIGEST_NAME = "mastosync-manifest-sha256"
"""What the digest is called in the head of a document."""

FORMAT = "mastosync-report"
VERSION = 1

_DONE = EntryState.DONE.value
_AT_ONCE = 2_000  # entries


@dataclass(frozen=True, slots=True)
class Amount:
    """Objects and their bytes."""

    objects: int = 0
    size_bytes: int = 0

    def as_json(self) -> dict[str, int]:
        """For scripts."""
        return {"objects": self.objects, "bytes": self.size_bytes}


@dataclass(slots=True)
class Contents:
    """What reading every entry once tells."""

    sha256: str
    entries: int
    by_origin: dict[Origin, Amount]  # what is done
    newest: dict[Origin, int]  # when the newest of it was uploaded, seconds since the epoch; 0: not known


def contents_of(reader: ArchiveReader, destination_prefix: str, note: Callable[[int], None]) -> Contents:
    """Read every entry, in constant memory. `note` gets the number of entries read. Raises: ManifestError."""
    digest, entries, now = hashlib.sha256(), 0, time.time()
    objects: Counter[str] = Counter()
    size_bytes: Counter[str] = Counter()
    newest: Counter[str] = Counter()
    outcomes = reader.iter_fates()
    while some := list(islice(outcomes, _AT_ONCE)):
        lines = []
        for kind, row_id, name, state, reason, size, md5, etag, origin, updated in some:
            key = canonical_key(Entry(kind, row_id, name, None, False, False, None), destination_prefix)
            known = "" if size is None else size
            tag = _base64(etag) if etag else ""
            lines.append(f"{_base64(key)} {state} {reason} {known} {md5.hex() if md5 else ''} {tag}\n")
            if state == _DONE:
                objects[origin] += 1
                size_bytes[origin] += size or 0
                if updated and newest[origin] < updated <= now:  # clocks may have been wrong
                    newest[origin] = updated
        digest.update("".join(lines).encode("ascii"))
        entries += len(some)
        note(len(some))
    by_origin = {origin: Amount(objects[origin], size_bytes[origin]) for origin in Origin}
    return Contents(digest.hexdigest(), entries, by_origin, {origin: newest[origin] for origin in Origin})


def _base64(text: str) -> str:
    return b2a_base64(text.encode(), newline=False).decode("ascii")


@dataclass(frozen=True, slots=True)
class TypeCount:
    """Entries of one type in one state."""

    table: str
    remote: bool
    state: EntryState
    reason: Reason | None
    objects: int
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "type": self.table,
            "remote": self.remote,
            "state": self.state.value,
            "reason": self.reason.value if self.reason else None,
            "objects": self.objects,
            "bytes": self.size_bytes,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the report shows, in every form."""

    made_at: float  # seconds since the epoch, as are all moments
    source: StoreIdentity
    destination: StoreIdentity
    contents: Contents
    totals: Tally
    counts: Sequence[TypeCount]
    plans: Sequence[PlanRecord]  # the oldest first, as are runs and verifications
    runs: Sequence[CopyRun]
    paces: Sequence[RunPace]
    failures: Sequence[dict[str, Any]]  # the first of them, as `ls` has them
    verifications: Sequence[VerificationRun]
    gone: Removable  # objects and bytes at the destination whose rows were deleted
    shared: SharedBucket | None  # that both stores are; None: they are two
    verdict: DeletionVerdict

    @property
    def period(self) -> tuple[float, float]:
        """From the first plan to the last that was done."""
        ends = [run.updated_at for run in self.runs] + [each.ended_at for each in self.verifications]
        planned = [plan.taken_at.timestamp() for plan in self.plans]
        return min(planned), max(planned + ends)

    @property
    def last_whole_plan(self) -> PlanRecord | None:
        """The last one that left nothing out."""
        return next((plan for plan in reversed(self.plans) if plan.whole), None)

    @property
    def worked_seconds(self) -> float:
        """How long runs of `copy` were at work, together."""
        return sum(run.seconds for run in self.runs)

    @property
    def copied(self) -> Amount:
        """What runs of `copy` brought; what was brought twice counts twice."""
        return Amount(sum(run.done for run in self.runs), sum(run.size_bytes for run in self.runs))

    def of_state(self, state: EntryState) -> list[TypeCount]:
        """Counts of one state."""
        return [count for count in self.counts if count.state is state]

    def as_json(self) -> dict[str, Any]:
        """The contract of `report --format json`: names are added, and never changed."""
        begin, end = self.period
        return {
            "format": FORMAT,
            "version": VERSION,
            "mastosync": __version__,
            "generated_at": iso(self.made_at),
            "digest": {"sha256": self.contents.sha256, "entries": self.contents.entries},
            "source": asdict(self.source),
            "destination": asdict(self.destination),
            "period": {"begin": iso(begin), "end": iso(end)},
            "verdict": {**self.verdict.as_json(), "old_store": None if self.shared else str(self.source)},
            "totals": asdict(self.totals),
            "counts": [count.as_json() for count in self.counts],
            "origins": {origin.value: self.origin(origin).as_json() for origin in Origin},
            "gone": gone_as_json(self.gone),
            "plans": [
                {"number": plan.number, "taken_at": iso(plan.taken_at.timestamp()), "whole": plan.whole, **plan.details}
                for plan in self.plans
            ],
            "runs": [run.as_json() for run in self.runs],
            "pace": [pace.as_json() for pace in self.paces],
            "failures": {"total": self.totals.failed, "listed": list(self.failures)},
            "verifications": [each.as_json() for each in self.verifications],
        }

    def origin(self, origin: Origin) -> Amount:
        """What came in this way."""
        return self.contents.by_origin[origin]


def evidence_of(manifest: Manifest, reader: ArchiveReader, switch: Switch, acl: str) -> DeletionEvidence:
    """What the verdict rests on, apart from `newest`, which only reading all entries tells.

    `acl`: of the destination, as configured. Raises: ManifestError.
    """
    head, about = reader.head(), ManifestReader(manifest)
    status, records = status_of(about), head.records
    return DeletionEvidence(
        counts=about.counts(),
        plans=[
            PlanRecord(each["id"], datetime.fromisoformat(each["taken_at"]), each["details"])
            for each in records["snapshots"]
        ],
        runs=runs_of(records["runs"], records["samples"]),
        verifications=[
            VerificationRun(each["started_at"], each["ended_at"], each["details"]) for each in records["verifications"]
        ],
        running=status.running,
        public=not head.destination.is_folder,
        now=time.time(),
        gone=count_removable(manifest),
        shared=shared_bucket(manifest),
        exposed=status.exposed,
        relation=relation(manifest),
        switch=switch,
        dropped_by_plan=count_dropped(manifest),
        change=last_change(manifest),
        gap=manifest.gap,
        unidentified=about.lying_there().total(),
        acl=acl,
    )


def report_of(
    manifest: Manifest, reader: ArchiveReader, evidence: DeletionEvidence, failures: int, note: Callable[[int], None]
) -> Report:
    """Read all of a manifest. `failures`: how many failed entries are listed; `note` is told how many went by.

    Raises: ManifestError.
    """
    about = ManifestReader(manifest)
    source, destination = about.store("source"), about.store("destination")
    assert source is not None and destination is not None  # noqa: S101, PT018 - the evidence has told
    contents = sound_contents_of(reader, destination.key_prefix, note)
    failed = islice(_iter_failed(about, {line.reason for line in evidence.counts}), failures)
    return Report(
        made_at=evidence.now,
        source=source,
        destination=destination,
        contents=contents,
        totals=status_of(about).totals,
        counts=_summed(evidence.counts),
        plans=evidence.plans,
        runs=evidence.runs,
        paces=paces_of(evidence.runs),
        failures=[described(record, source.key_prefix, destination.key_prefix) for record in failed],
        verifications=evidence.verifications,
        gone=evidence.gone,
        shared=evidence.shared,
        verdict=assess_deletion(replace(evidence, newest=contents.newest)),
    )


def may_delete_old_store(reader: ArchiveReader, evidence: DeletionEvidence) -> bool:
    """The verdict of a report alone. All entries are read only if nothing else speaks against it.

    Raises: ManifestError.
    """
    if not assess_deletion(evidence).may_go_but_for("switch"):  # for which the newest uploads may count
        return False
    contents = sound_contents_of(reader, reader.head().destination.key_prefix, lambda _: None)
    return assess_deletion(replace(evidence, newest=contents.newest)).may_go


def sound_contents_of(reader: ArchiveReader, destination_prefix: str, note: Callable[[int], None]) -> Contents:
    """What reading every entry once tells. Raises: ManifestError, also if the counters do not agree."""
    contents, expected = contents_of(reader, destination_prefix, note), reader.expected()
    if contents.entries != expected:
        raise ManifestError(
            tr(
                "the manifest has {entries:,} entries, and its counters say {expected:,}",
                entries=contents.entries,
                expected=expected,
            ),
            hint=tr("`mastosync manifest check` tells what is wrong and what to do"),
        )
    return contents


def _iter_failed(about: ManifestReader, reasons: Container[Reason | None]) -> Iterator[Record]:
    """What the old store may have comes first: of what it lacks there may be a great deal."""
    for reason in sorted(FAILURE_REASONS, key=lambda each: each is Reason.MISSING):
        if reason in reasons:
            yield from about.iter_records((EntryState.FAILED,), reasons=(reason,))


def _summed(lines: Iterable[CountLine]) -> list[TypeCount]:
    """Counters of all kinds of a type together, in the order of types and states."""
    objects: Counter[tuple[str, bool, EntryState, Reason | None]] = Counter()
    size_bytes: Counter[tuple[str, bool, EntryState, Reason | None]] = Counter()
    for line in lines:
        place = (line.kind.table, line.kind.remote, line.state, line.reason)
        objects[place] += line.objects
        size_bytes[place] += line.size_bytes
    tables = {table: at for at, table in enumerate(TABLES)}
    states, reasons = list(EntryState), [None, *Reason]

    def order(place: tuple[str, bool, EntryState, Reason | None]) -> tuple[int, bool, int, int]:
        table, remote, state, reason = place
        return tables.get(table, len(tables)), remote, states.index(state), reasons.index(reason)

    return [TypeCount(*place, objects[place], size_bytes[place]) for place in sorted(objects, key=order)]
