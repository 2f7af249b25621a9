"""Evidence and configurations for tests of `cutover`: all is well but for what is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mastosync.app.cutover import CutoverOptions
from mastosync.config import Config, S3Config, Secret, load_config
from mastosync.cutover import (
    CutoverEvidence,
    assess_cutover,
)
from mastosync.findings import Finding
from mastosync.findings.deleted import Deleted, SharedBucket
from mastosync.manifest import (
    CountLine,
    PlanRecord,
    Relation,
    Removable,
    StoreIdentity,
    VerificationRecord,
)
from mastosync.model import TABLES, EntryState, Kind, Reason
from tests.support.entries import LOCAL

NAMED = CutoverOptions(media_host="files.example.com")
NOW = 1_800_000_000.0
HOUR, DAY = 3_600.0, 86_400.0
CARD = Kind("preview_cards", "image", "original", "preview_cards/images", remote=True, cached=True)
BACKUP = Kind("backups", "dump", "original", "backups/dumps", remote=False, cached=False)
ICON = Kind("preview_card_providers", "icon", "original", "preview_card_providers/icons", remote=False, cached=False)
FAVICON = Kind("site_uploads", "file", "48", "site_uploads/files", remote=False, cached=False)
WHOLE = {"types": list(TABLES), "only": "all", "limit": None, "added": 0}
ARRIVED = CountLine(LOCAL, EntryState.DONE, None, 10, 1024)


def failed(kind: Kind, reason: Reason, objects: int = 1) -> CountLine:
    return CountLine(kind, EntryState.FAILED, reason, objects, 0)


def plan(ago: float = HOUR, **details: object) -> PlanRecord:
    return PlanRecord(1, datetime.fromtimestamp(NOW - ago, UTC), {**WHOLE, **details})


def proof(fine: int = 10, checked: int = 10, *, ago: float = HOUR, **details: object) -> VerificationRecord:
    found = {"fine": fine, "checked": checked, "read": {"objects": 0}, **details}
    return VerificationRecord(NOW - ago - 1, NOW - ago, found)


def public(asked: int = 10, faults: int = 0, *, exposed: int = 0, listed: bool = False) -> dict[str, Any]:
    return {
        "asked": asked,
        "asked_private": 0,
        "exposed": exposed,
        "anybody_can_list": listed,
        "faults": [{}] * faults,
        "sample": 100,
        "types": list(TABLES),
    }


def evidence(*counts: CountLine, plans: Sequence[PlanRecord] = (), **known: Any) -> CutoverEvidence:  # noqa: ANN401
    """All is well but for what is said."""
    known = {"verifications": [proof(public=public())], "running": False, "done_since": 0, "public": True, **known}
    known.setdefault("relation", Relation.TWO)
    known.setdefault("deleted", Deleted(Removable(0, 0), NOW - HOUR, later=False))
    return CutoverEvidence([ARRIVED, *counts], plans or [plan()], now=NOW, **known)


def found(looked_at: CutoverEvidence) -> dict[str, Finding]:
    return {each.check: each for each in assess_cutover(looked_at).findings}


def in_one(old: str, new: str) -> tuple[StoreIdentity, StoreIdentity]:
    return StoreIdentity("https://s3", "media", old), StoreIdentity("https://s3", "media", new)


def shared(old: str, new: str) -> SharedBucket:
    return SharedBucket.of(*in_one(old, new))


BUCKET = S3Config(
    access_key="AKIA-marked", secret_key=Secret("marked"), endpoint_url="https://s3.example.com", bucket="media"
)


def configured(tmp_path: Path, **destination: Any) -> Config:  # noqa: ANN401
    source = replace(BUCKET, bucket="old", key_prefix="pre fix")
    return Config(source=source, destination=replace(BUCKET, **destination), path=tmp_path / "config.ini")


OLD, NEW = "bucket 'old-a' at https://s3.example.com", "bucket 'new-a' at https://s3.example.com"


def env_of(folder: Path, *lines: str) -> Path:
    path = folder / ".env.production"
    path.write_text("LOCAL_DOMAIN=social.example\n" + "".join(f"{line}\n" for line in lines))
    return path


def with_env(tmp_path: Path, *lines: str, **destination: Any) -> Config:  # noqa: ANN401
    """A configuration whose source takes its keys from Mastodon's file."""
    env = env_of(tmp_path, "AWS_ACCESS_KEY_ID=old", "AWS_SECRET_ACCESS_KEY=old", *lines)
    (tmp_path / "config.ini").write_text(
        "[s3.source]\nendpoint_url = https://old.example.com\nbucket = was\naccess_key = env:AWS_ACCESS_KEY_ID\n"
        "secret_key = env:AWS_SECRET_ACCESS_KEY\n[s3.destination]\nendpoint_url = https://s3.example.com\n"
        f"bucket = media\naccess_key = {destination.get('access_key', 'new')}\n"
        f"secret_key = {destination.get('secret_key', 's3cret')}\n"
        f"public_url = https://files.example.com\n[env]\nfile = {env}\n"
    )
    return load_config(tmp_path / "config.ini", {})
