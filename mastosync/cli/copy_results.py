"""What a copy did and what it left: shown by `copy`, `retry-failed`, `follow`, `accept` and `status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mastosync.language import enumerated, say, tr, trn
from mastosync.model import Reason
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.progress import CopyProgress, EndpointState
    from mastosync.status import Status


def render_copy(progress: CopyProgress, status: Status) -> str:
    """What one run did, and what that leaves."""
    rate, copied = progress.finished / max(progress.seconds, 0.001), progress.done - progress.found
    lines = [
        trn(
            "copied {copied:,} object ({size}) in {duration} ({rate:,.0f}/s); failed {failed:,}, skipped "
            "{skipped:,}, throttled {throttles:,}",
            "copied {copied:,} objects ({size}) in {duration} ({rate:,.0f}/s); failed {failed:,}, skipped "
            "{skipped:,}, throttled {throttles:,}",
            copied,
            copied=copied,
            size=human_bytes(progress.size_bytes),
            duration=human_seconds(progress.seconds),
            rate=rate,
            failed=progress.failed,
            skipped=progress.skipped,
            throttles=progress.throttles,
        )
    ]
    if progress.found:
        lines.append(
            trn(
                "{found:,} object was at the destination already",
                "{found:,} objects were at the destination already",
                progress.found,
                found=progress.found,
            )
        )
    lines += [_throttling_line(limit) for limit in progress.limits if limit.throttles]
    totals = status.totals
    lines.append(
        tr(
            "now: {done:,} done, {pending:,} pending, {failed:,} failed, {skipped:,} skipped",
            done=totals.done,
            pending=totals.pending,
            failed=totals.failed,
            skipped=totals.skipped,
        )
    )
    if progress.finding:
        lines.append(say(progress.finding))
    lines += [*kept_back_lines(status), *settings_lines(status)]
    return "\n".join([*lines, *failed_lines(status)])


def failed_lines(status: Status) -> list[str]:
    """Why entries stand as failed, and what to do; nothing if none does."""
    news, lines = status.news_of(), []
    if news:
        lines += [
            tr("failed: {reasons}", reasons=counts_text(news)),
            tr("`mastosync ls --new --format jsonl` lists them, each with its error"),
        ]
    missing = Reason.MISSING.value
    if others := [f"--reason {name}" for name in news if name != missing]:
        command = " ".join(["mastosync retry-failed", *(others if missing in news else ())])
        lines.append(tr("when the cause is gone, `{command}` tries them again", command=command))
    if missing in news:
        lines.append(
            tr(
                "missing: the source does not have these objects. Run `mastosync plan` and `mastosync copy` once more,"
                " as rows may have changed since; `mastosync refetch` fetches files of other servers again; for the"
                " rest, look into old backups of the source. If `mastosync ls` says that something lies at the new"
                " store, it need not be lost. `mastosync accept --reason missing` accepts what is lost: then exit code"
                " 3 means new failures"
            )
        )
    if status.accepted:
        lines.append(tr("accepted as lost: {reasons}", reasons=counts_text(status.accepted)))
    return lines


def news_line(news: Mapping[str, int]) -> str:
    """New failures in one line, for --quiet."""
    return trn(
        "{count:,} entry failed and is not accepted as lost ({reasons}): `mastosync ls --new` lists it",
        "{count:,} entries failed and are not accepted as lost ({reasons}): `mastosync ls --new` lists them",
        sum(news.values()),
        reasons=counts_text(news),
    )


def counts_text(counts: Mapping[str, int]) -> str:
    """Names with their counts, on one line."""
    return enumerated(f"{name} {count:,}" for name, count in counts.items())


def _throttling_line(limit: EndpointState) -> str:
    asked = trn(
        "the {name} asked to slow down {count:,} time",
        "the {name} asked to slow down {count:,} times",
        limit.throttles,
        name=say(limit.name),
    )
    return (
        asked
        if limit.rate is None
        else tr("{asked}; it now takes {rate:,.0f} requests/s", asked=asked, rate=limit.rate)
    )


def kept_back_lines(status: Status) -> list[str]:
    """How many private objects were left out, and how to decide what becomes of them."""
    from mastosync.findings.messages import exposed_message, exposed_remedy

    exposed = status.exposed.objects
    lines = [f"{exposed_message(exposed)}:", exposed_remedy()] if exposed else []
    kept_back = status.reasons.get(Reason.PRIVATE.value, 0) - status.exposed.kept_back
    if kept_back <= 0:
        return lines
    return [
        *lines,
        trn(
            "{kept_back:,} private object was not copied, because the destination has no ACL that keeps it private:",
            "{kept_back:,} private objects were not copied, because the destination has no ACL that keeps them "
            "private:",
            kept_back,
            kept_back=kept_back,
        ),
        tr("if nobody can read its bucket without credentials, set `[copy] private_objects = copy` and copy again"),
    ]


def settings_lines(status: Status) -> list[str]:
    """That something may lie there under other settings, and what brings it in line; nothing if nothing does."""
    from mastosync.findings.messages import settings_notice

    found = settings_notice(status.settings, status.other_settings)
    return [f"{found.message}: {found.remedy}"] if found else []
