"""Proofs as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mastosync.cli.colours import PAINT_OF
from mastosync.cli.render import table
from mastosync.engine.adopter import Fate
from mastosync.engine.judge import Verdict
from mastosync.engine.orphans import AGE_NAMES
from mastosync.plain import one_line
from mastosync.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from mastosync.engine.adopter import Adoption
    from mastosync.engine.orphans import OrphansResult
    from mastosync.engine.public_check import PublicResult
    from mastosync.engine.verifier import Verification

_EXAMPLES = 10
_PREFIXES = 40
_FATES = {
    Fate.ABSENT: "nothing lies there yet",
    Fate.DIFFERENT: "something else lies there than at the source; a copy replaces it",
    Fate.UNDECIDED: "the sizes are equal, but the ETags cannot be compared; `adopt --deep` reads them",
    Fate.UNKNOWN: "the source lacks it, so there is nothing to compare with",
    Fate.LEFT: "private, or to be written anew: a copy writes it as it has to be",
}


def render_verification(result: Verification) -> str:
    """What `verify` found."""
    verdicts = [verdict for verdict in Verdict if verdict is Verdict.FINE or result.total()[verdict]]
    rows = [
        (name, *(f"{counts[verdict]:,}" for verdict in verdicts))
        for name, counts in [*sorted(result.by_type.items()), ("total", result.total())]
    ]
    lines = [table(("type", *verdicts), rows, (None, *map(PAINT_OF.get, verdicts))), ""]
    lines += [one_line(f"{each.verdict.value}: {each.detail}") for each in result.examples[:_EXAMPLES]]
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


def render_adoption(result: Adoption) -> str:
    """What `adopt` found."""
    total = result.total()
    fates = [fate for fate in Fate if fate is Fate.ADOPTED or total[fate]]
    rows = [
        (name, *(f"{counts[fate]:,}" for fate in fates))
        for name, counts in [*sorted(result.by_type.items()), ("total", total)]
    ]
    lines = [table(("type", *fates), rows, (None, *map(PAINT_OF.get, fates))), ""]
    lines += [f"{fate.value}: {meaning}" for fate, meaning in _FATES.items() if total[fate]]
    lines.append(
        f"adopted {total[Fate.ADOPTED]:,} of {total.total():,} objects ({human_bytes(result.adopted_bytes)})"
        f" in {human_seconds(result.seconds)}; nothing was moved"
    )
    if total[Fate.ADOPTED]:
        lines.append("others may have brought them without ACL and headers: `mastosync verify --public` tells")
    lines.append("next: mastosync copy")
    return "\n".join(lines)


def render_orphans(result: OrphansResult) -> str:
    """What `orphans` found."""
    listed, orphans, newer = result.listed, result.orphans, result.newer
    lines = [
        f"the source has {listed.objects:,} objects ({human_bytes(listed.size_bytes)});"
        f" compared with the plan of {result.planned_at:%F %T} UTC in {human_seconds(result.seconds)}",
        "",
    ]
    if result.by_prefix:
        rows = [
            (prefix, f"{tallied.objects:,}", human_bytes(tallied.size_bytes))
            for prefix, tallied in sorted(result.by_prefix.items(), key=lambda item: -item[1].size_bytes)[:_PREFIXES]
        ]
        lines += [table(("no row refers to", "objects", "bytes"), rows), ""]
    lines.append(
        f"no row refers to {orphans.objects:,} objects ({human_bytes(orphans.size_bytes)}); nothing was deleted"
    )
    if newer.objects:
        lines.append(
            f"{newer.objects:,} more ({human_bytes(newer.size_bytes)}) came after the plan: plan again to tell of them"
        )
    if result.missing:
        ages = [age for age in AGE_NAMES if any(counts[age] for counts in result.missing.values())]
        missing = [
            (name, *(f"{counts[age]:,}" for age in ages), f"{counts.total():,}")
            for name, counts in sorted(result.missing.items())
        ]
        lines += ["", table(("missing at the source, by age", *ages, "total"), missing), ""]
    lines.append(f"rows refer to {result.missing_total:,} objects that the source lacks")
    if result.optional_missing:
        lines.append(f"and to {result.optional_missing:,} that Mastodon can do without")
    lines.append("`--format text` lists the orphans, with --missing what is missing")
    return "\n".join(lines)


def _public_lines(public: PublicResult) -> list[str]:
    lines = [
        f"asked as anybody may for {public.asked - public.asked_private:,} public and {public.asked_private:,} private "
        f"objects at {public.url}: {len(public.faults):,} are not right"
    ]
    lines += [one_line(f"  {fault.key}: {fault.detail}") for fault in public.faults[:_EXAMPLES]]
    if public.listing:
        lines.append("  anybody can list the bucket: take that right away from everybody, or its contents are public")
    if public.nothing_is_right:
        lines.append("  not one was right: check `public_url` of the destination and the policy of its bucket")
    return lines
