"""Runs, verifications and evidence for tests of `report`: all is well but for what is said."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mastosync.app import manifest as app_manifest
from mastosync.app.context import Context
from mastosync.app.files import new_file
from mastosync.config import Config
from mastosync.manifest import (
    CountLine,
    PlanRecord,
    Relation,
)
from mastosync.model import TABLES, EntryState, Origin, Reason
from mastosync.progress import NoProgress
from mastosync.report import CopyRun, DeletionEvidence, Switch, VerificationRun, assess_deletion
from mastosync.report.history import ProgressSample
from mastosync.runtime.stop import StopSignal
from tests.support.entries import LOCAL, REMOTE


def context(path: Path) -> Context:
    return Context(Config(), path, NoProgress(), StopSignal())


def keep_report(text: str, target: Path, *, replace: bool = False) -> None:
    with new_file(target, replace=replace) as file:
        file.write(text)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def digest_by_hand(archive: bytes) -> str:
    """As docs/design/report.md says, of what `manifest export` writes."""
    digest = hashlib.sha256()
    for line in archive.splitlines()[1:-1]:
        each = json.loads(line)
        fields = [base64.b64encode(each["key"].encode()).decode(), each["state"], each["reason"], each["size"]]
        fields += [each["md5"], base64.b64encode((each["etag"] or "").encode()).decode()]
        digest.update((" ".join("" if field is None else str(field) for field in fields) + "\n").encode())
    return digest.hexdigest()


def exported(path: Path) -> bytes:
    target = path.with_suffix(".jsonl")
    app_manifest.export(context(path), target, replace=True)
    return target.read_bytes()


NOON = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
HOUR, DAY = 3_600.0, 86_400.0


def run(begin: float, seconds: float, done: int = 0, *, samples: tuple[ProgressSample, ...] = ()) -> CopyRun:
    return CopyRun(1, begin, begin + seconds, begin + seconds, 8, done, 0, 0, done * 1_000, samples)


def steadily(begin: float, seconds: float, each_minute: int) -> CopyRun:
    minutes = range(int(seconds / 60) + 1)
    samples = tuple(ProgressSample(begin + 60 * at, each_minute * at, each_minute * at * 1_000) for at in minutes)
    return run(begin, seconds, each_minute * (len(samples) - 1), samples=samples)


DONE = CountLine(LOCAL, EntryState.DONE, None, 10, 100)
WHOLE = {"types": list(TABLES), "only": "all", "limit": None}
PLAN = PlanRecord(1, datetime.fromtimestamp(NOON, UTC), WHOLE)
DELTA = PlanRecord(1, PLAN.taken_at, WHOLE | {"incremental": True})
COPY = run(NOON + 60, 60, 10)


def proof(at: float, **details: Any) -> VerificationRun:  # noqa: ANN401
    return VerificationRun(at, at + 1, {"checked": 10, "fine": 10, "listed": True, "read": {"objects": 0}, **details})


LISTED = proof(NOON + 1_000)
READ = proof(NOON + 2_000, read={"objects": 5})
LOOK = {"faults": [], "anybody_can_list": False, "sample": 100, "types": list(TABLES)}
PUBLIC = proof(NOON + 3_000, public=LOOK)
UNREAD = proof(NOON + 1_000, unread=2, fine=8)
PART = proof(NOON + 1_500, checked=3, fine=3, read={"objects": 3}, public=LOOK)
UNASKED = proof(NOON + 4_000, public={"faults": [], "anybody_can_list": False, "asked": 0})
ENV = Path("/home/mastodon/live/.env.production")
ALL_WELL = DeletionEvidence(
    [DONE],
    [PLAN],
    [COPY],
    [LISTED, READ, PUBLIC],
    running=False,
    public=True,
    now=NOON + DAY,
    relation=Relation.TWO,
    switch=Switch(ENV, left=True, changed_at=NOON),
    newest={Origin.COPIED: int(NOON - HOUR), Origin.ADOPTED: int(NOON + HOUR)},
)


def line(state: EntryState, reason: Reason | None) -> CountLine:
    return CountLine(REMOTE, state, reason, 3, 30)


def grades(evidence: DeletionEvidence) -> dict[str, str]:
    """What is not all right."""
    told = assess_deletion(evidence).as_json()["findings"]
    return {each["check"]: each["status"] for each in told if each["status"] != "ok"}


LATER = run(NOON + 5_000, 60, 1)
FEW = proof(NOON + 4_000, checked=1, fine=1)


def one_bucket(path: Path) -> None:
    for role in ("source", "destination"):
        identity = json.dumps({"endpoint": "https://s3.example.com", "bucket": "media", "key_prefix": role})
        change(path, f"UPDATE meta SET value = '{identity}' WHERE name = '{role}'")  # noqa: S608
