"""What has to be known of Mastodon's own settings before they are changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mastosync.cutover.findings import Evidence, Fallback, Finding, Grade, Secrets
from mastosync.language import tr


def secrets(evidence: Evidence) -> Iterator[Finding]:
    """Whether mastosync can still read the old store when `.env.production` has the keys of the new one."""
    if evidence.secrets is Secrets.UNPINNED:
        message = tr("mastosync reads the keys of the old store from .env.production, and the switch overwrites them")
        yield Finding("secrets", Grade.NO_GO, message, "mastosync pin-secrets")
    elif evidence.secrets is Secrets.LOST:
        yield Finding(
            "secrets",
            Grade.NO_GO,
            tr(".env.production names the new store, and mastosync takes the keys of the old store from there"),
            tr(
                "write access_key and secret_key of the old store under [s3.source] in the configuration (your copy of"
                " the old .env.production has them), and run this again: the steps are told then"
            ),
        )
    elif evidence.secrets is Secrets.ALIKE:
        yield Finding(
            "secrets",
            Grade.WARNING,
            tr(
                ".env.production names the new store, and by it both stores have the same keys: mastosync takes those"
                " of the old store from there"
            ),
            tr(
                "if `mastosync copy` says that the old store refuses its keys, write the old access_key and secret_key"
                " under [s3.source] in the configuration (your copy of the old .env.production has them), and copy"
                " again"
            ),
        )


def uses(evidence: Evidence) -> Iterator[Finding]:
    """Whether Mastodon uses one of these two stores at all."""
    if evidence.elsewhere:
        yield Finding(
            "settings",
            Grade.NO_GO,
            tr(
                "by its settings Mastodon uses {store}, which is neither the source nor the destination here",
                store=evidence.elsewhere,
            ),
            tr("is this the configuration of another migration? -c FILE and --manifest FILE name those that you mean"),
        )


def doubt(evidence: Evidence) -> Iterator[Finding]:
    """Whether the file tells which store Mastodon uses."""
    if evidence.doubt:
        yield Finding(
            "settings",
            Grade.WARNING,
            evidence.doubt,
            tr(
                "if Mastodon runs in a container, check the variables that it is started with: they override the file"
                " and have to change, too, and their paths and addresses are those of the container. To be sure, name"
                " a copy of the file with paths and addresses as they are here: --env FILE"
            ),
        )


def media_host(evidence: Evidence) -> Iterator[Finding]:
    """Whether anybody has said what browsers will ask."""
    if not evidence.media_host:
        yield Finding(
            "media-host",
            Grade.NO_GO,
            tr("it is not known which host browsers will ask for media: it is CHANGE-ME below"),
            tr("name it: --media-host HOST, or public_url under [s3.destination]"),
        )


def permission(evidence: Evidence) -> Iterator[Finding]:
    """Whether media that Mastodon keeps from everybody would be opened."""
    if evidence.permission == "private" and evidence.takes_acls and evidence.acl not in ("private", "none"):
        yield Finding(
            "permission",
            Grade.NO_GO,
            tr("Mastodon keeps all its media private (S3_PERMISSION=private), and mastosync stores them for everybody"),
            tr("set acl = private under [s3.destination]; `mastosync apply-settings` hides what was stored already"),
        )


def by_hand(evidence: Evidence, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Whether nginx can be told to ask the old store, if that is needed."""
    if evidence.by_hand is not None and evidence.media_host:
        needed = evidence.fallback is not Fallback.NONE and any(found.needs_fallback for found in findings)
        yield Finding("nginx", Grade.NO_GO if needed else Grade.WARNING, *evidence.by_hand)
