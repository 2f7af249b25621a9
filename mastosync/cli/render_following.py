"""Rounds of `follow` as text for people, a line each."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mastosync.findings.deleted import stays_told
from mastosync.language import tr, trn
from mastosync.units import human_bytes

if TYPE_CHECKING:
    from mastosync.app.following import FollowResult
    from mastosync.following import Round
    from mastosync.pruning import PruneResult


def render_round(done: Round[FollowResult], result: FollowResult) -> str:
    """What a round has done, and when the next one is."""
    copied, said = result.copy, []
    if result.plan is None:
        said.append(tr("not planned"))
    else:
        change = result.plan.total()
        said += [
            tr("{count} new", count=f"{change.added + change.revived:,}"),
            tr("{count} replaced", count=f"{change.reopened:,}"),
            tr("{count} gone", count=f"{change.gone:,}"),
        ]
    if result.held_back:
        said.append(tr("nothing copied, as it is not known what became private since the last plan"))
    else:
        said.append(tr("{count} copied ({size})", count=f"{copied.done:,}", size=human_bytes(copied.size_bytes)))
    if copied.failed:
        said.append(tr("{count} failed", count=f"{copied.failed:,}"))
    if result.pruning is not None:
        said.append(tr("{count} removed", count=f"{result.pruning.removed:,}"))
        if result.pruning.lost:
            said.append(stays_told(result.pruning.lost))
    line = tr("round {number}: {what} in {seconds} s", number=done.number, what=", ".join(said), seconds=_short(done))
    return line + _next(done)


def render_failure(failed: Round[FollowResult]) -> str:
    """Why a round has come to nothing."""
    assert failed.error is not None  # noqa: S101 - there is a result otherwise
    line = tr(
        "round {number} failed ({failures} in a row): {why}",
        number=failed.number,
        failures=failed.failures,
        why=failed.error.message,
    )
    return line + _next(failed)


def render_pruning(result: PruneResult, *, adopted: bool) -> str:
    """What was removed, or would be. `adopted`: what was adopted is taken in."""
    lines = [
        trn(
            "{count:,} object ({size}) left the database and is still at the destination",
            "{count:,} objects ({size}) left the database and are still at the destination",
            result.found,
            size=human_bytes(result.found_bytes),
        )
    ]
    if result.kept:
        lines.append(tr("{count} of them stay: another row uses the same key", count=f"{result.kept:,}"))
    if result.adopted:
        lines.append(
            trn(
                "{count:,} of them stays: it was adopted, and may lie nowhere else, or belong to others who use this"
                " bucket. If not: `mastosync prune --adopted --apply` removes it, too",
                "{count:,} of them stay: they were adopted, and may lie nowhere else, or belong to others who use this"
                " bucket. If not: `mastosync prune --adopted --apply` removes them, too",
                result.adopted,
            )
        )
    if result.lost:
        lines.append(stays_told(result.lost))
    if result.failed:
        lines.append(tr("{count} could not be removed, such as:", count=f"{result.failed:,}"))
        lines += [f"  {example}" for example in result.examples]
    if result.applied:
        lines.append(trn("{count:,} was removed", "{count:,} were removed", result.removed))
    elif result.found > result.kept + result.adopted:
        command = "mastosync prune --adopted --apply" if adopted else "mastosync prune --apply"
        lines.append(tr("nothing was removed: `{command}` does that", command=command))
    if result.unknown:
        lines.append(tr("{unknown}: run `mastosync plan`, then prune again", unknown=result.unknown))
    return "\n".join(lines)


def _short(done: Round[Any]) -> str:
    return f"{done.seconds:,.1f}"


def _next(done: Round[Any]) -> str:
    if done.wait_seconds is None:
        return ""
    at = datetime.now().astimezone() + timedelta(seconds=done.wait_seconds)
    return tr("; next at {time}", time=f"{at:%H:%M}" if done.wait_seconds >= 60 else f"{at:%T}")
