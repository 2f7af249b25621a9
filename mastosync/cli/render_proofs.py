"""Proofs as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mastosync.cli.render import table
from mastosync.engine.judge import Verdict
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.engine.public_check import PublicResult
    from mastosync.engine.verifier import Verification

_EXAMPLES = 10


def render_verification(result: Verification) -> str:
    """What `verify` found."""
    verdicts = [verdict for verdict in Verdict if verdict is Verdict.FINE or result.total()[verdict]]
    rows = [
        (name, *(f"{counts[verdict]:,}" for verdict in verdicts))
        for name, counts in [*sorted(result.by_type.items()), ("total", result.total())]
    ]
    lines = [table(("type", *verdicts), rows), ""]
    lines += [f"{each.verdict.value}: {each.detail}" for each in result.examples[:_EXAMPLES]]
    told = f"looked at {result.checked:,} objects ({human_bytes(result.checked_bytes)})"
    if result.read_objects:
        told += f", read {result.read_objects:,} back ({human_bytes(result.read_bytes)})"
    lines.append(f"{told} in {human_seconds(result.seconds)}")
    if result.public is not None:
        lines += _public_lines(result.public)
    if result.reopened:
        lines.append(
            f"{result.reopened:,} entries are pending again: run `mastosync copy`, and then `verify` once more"
        )
    if result.total()[Verdict.UNREAD]:
        lines.append("what could not be read stays done: run `verify` once more when the store is well")
    lines.append(
        "all well: everything that is done is there, as it was recorded" if result.clean else "not all is well"
    )
    return "\n".join(lines)


def _public_lines(public: PublicResult) -> list[str]:
    lines = [
        f"asked as anybody may for {public.asked - public.asked_private:,} public and {public.asked_private:,} private "
        f"objects at {public.url}: {len(public.faults):,} are not right"
    ]
    lines += [f"  {fault.key}: {fault.detail}" for fault in public.faults[:_EXAMPLES]]
    if public.listing:
        lines.append("  anybody can list the bucket: take that right away from everybody, or its contents are public")
    if public.nothing_is_right:
        lines.append("  not one was right: check `public_url` of the destination and the policy of its bucket")
    return lines
