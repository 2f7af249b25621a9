"""Proofs as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mastosync.cli.colours import PAINT_OF
from mastosync.cli.render import table
from mastosync.engine.adopter import Fate
from mastosync.engine.judge import Verdict
from mastosync.engine.orphans import AGE_NAMES
from mastosync.language import deferred, say, tr, trn
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
    Fate.ABSENT: deferred("nothing lies there yet"),
    Fate.DIFFERENT: deferred("something else lies there than at the source; a copy replaces it"),
    Fate.UNDECIDED: deferred("the sizes are equal, but the ETags cannot be compared; `adopt --deep` reads them"),
    Fate.UNKNOWN: deferred("the source lacks it, so there is nothing to compare with"),
    Fate.UNREAD: deferred("a store failed or refused when it was asked about it: the same command asks again"),
    Fate.LEFT: deferred("private, or to be written anew: a copy writes it as it has to be"),
}


def render_verification(result: Verification) -> str:
    """What `verify` found."""
    verdicts = [verdict for verdict in Verdict if verdict is Verdict.FINE or result.total()[verdict]]
    rows = [
        (name, *(f"{counts[verdict]:,}" for verdict in verdicts))
        for name, counts in [*sorted(result.by_type.items()), (tr("total"), result.total())]
    ]
    lines = [table((tr("type"), *verdicts), rows, (None, *map(PAINT_OF.get, verdicts))), ""]
    lines += [one_line(f"{each.verdict.value}: {each.detail}") for each in result.examples[:_EXAMPLES]]
    told = tr("looked at {checked:,} objects ({size})", checked=result.checked, size=human_bytes(result.checked_bytes))
    if result.read_objects:
        told += tr(
            ", read {read_objects:,} back ({size})",
            read_objects=result.read_objects,
            size=human_bytes(result.read_bytes),
        )
    lines.append(tr("{told} in {duration}", told=told, duration=human_seconds(result.seconds)))
    if result.public is not None:
        lines += _public_lines(result.public)
    if result.reopened:
        lines.append(
            tr(
                "{reopened:,} entries are pending again: run `mastosync copy`, and then `verify` once more",
                reopened=result.reopened,
            )
        )
    if result.total()[Verdict.UNREAD]:
        lines.append(tr("what could not be read stays done: run `verify` once more when the store is well"))
    lines.append(
        tr("all well: everything that is done is there, as it was recorded") if result.clean else tr("not all is well")
    )
    return "\n".join(lines)


def render_adoption(result: Adoption) -> str:
    """What `adopt` found."""
    total = result.total()
    fates = [fate for fate in Fate if fate is Fate.ADOPTED or total[fate]]
    rows = [
        (name, *(f"{counts[fate]:,}" for fate in fates))
        for name, counts in [*sorted(result.by_type.items()), (tr("total"), total)]
    ]
    lines = [table((tr("type"), *fates), rows, (None, *map(PAINT_OF.get, fates))), ""]
    lines += [f"{fate.value}: {say(meaning)}" for fate, meaning in _FATES.items() if total[fate]]
    lines.append(
        tr(
            "adopted {adopted:,} of {all:,} objects ({size}) in {duration}; nothing was moved",
            adopted=total[Fate.ADOPTED],
            all=total.total(),
            size=human_bytes(result.adopted_bytes),
            duration=human_seconds(result.seconds),
        )
    )
    if total[Fate.ADOPTED]:
        lines.append(tr("others may have brought them without ACL and headers: `mastosync verify --public` tells"))
    lines.append(tr("next: mastosync copy"))
    return "\n".join(lines)


def render_orphans(result: OrphansResult) -> str:
    """What `orphans` found."""
    listed, orphans, newer = result.listed, result.orphans, result.newer
    lines = [
        tr(
            "the source has {objects:,} objects ({size}); compared with the plan of {planned_at:%F %T} "
            "UTC in {duration}",
            objects=listed.objects,
            size=human_bytes(listed.size_bytes),
            planned_at=result.planned_at,
            duration=human_seconds(result.seconds),
        ),
        "",
    ]
    if result.by_prefix:
        rows = [
            (prefix, f"{tallied.objects:,}", human_bytes(tallied.size_bytes))
            for prefix, tallied in sorted(result.by_prefix.items(), key=lambda item: -item[1].size_bytes)[:_PREFIXES]
        ]
        lines += [table((tr("no row refers to"), tr("objects"), tr("bytes")), rows), ""]
    lines.append(
        tr(
            "no row refers to {objects:,} objects ({size}); nothing was deleted",
            objects=orphans.objects,
            size=human_bytes(orphans.size_bytes),
        )
    )
    if newer.objects:
        lines.append(
            tr(
                "{objects:,} more ({size}) came after {newer_than:%F %T} UTC, and may have rows that the plan did not "
                "see yet: plan again later to tell of them",
                objects=newer.objects,
                size=human_bytes(newer.size_bytes),
                newer_than=result.newer_than,
            )
        )
    if result.copies.objects:
        lines.append(
            trn(
                "{objects:,} more ({size}) lies under the key prefix of the destination in the same bucket: it is no"
                " orphan",
                "{objects:,} more ({size}) lie under the key prefix of the destination in the same bucket: they are no"
                " orphans",
                result.copies.objects,
                objects=result.copies.objects,
                size=human_bytes(result.copies.size_bytes),
            )
        )
    if result.missing:
        ages = [age for age in AGE_NAMES if any(counts[age] for counts in result.missing.values())]
        missing = [
            (name, *(f"{counts[age]:,}" for age in ages), f"{counts.total():,}")
            for name, counts in sorted(result.missing.items())
        ]
        lines += ["", table((tr("missing at the source, by age"), *map(say, ages), tr("total")), missing), ""]
    lines.append(
        tr("rows refer to {missing_total:,} objects that the source lacks", missing_total=result.missing_total)
    )
    if result.optional_missing:
        lines.append(
            tr("and to {optional_missing:,} that Mastodon can do without", optional_missing=result.optional_missing)
        )
    lines.append(tr("`--format text` lists the orphans, with --missing what is missing"))
    return "\n".join(lines)


def _public_lines(public: PublicResult) -> list[str]:
    lines = [
        trn(
            "asked as anybody may for {asked:,} public and {asked_private:,} private objects, of {of:,}, at {url}:"
            " {faults:,} is not right",
            "asked as anybody may for {asked:,} public and {asked_private:,} private objects, of {of:,}, at {url}:"
            " {faults:,} are not right",
            len(public.faults),
            asked=public.asked - public.asked_private,
            asked_private=public.asked_private,
            of=sum(public.of.values()),
            url=public.url,
            faults=len(public.faults),
        )
    ]
    lines += [one_line(f"  {fault.key}: {fault.detail}") for fault in public.faults[:_EXAMPLES]]
    if public.faults:
        lines.append(_by_kind(public))
    lines += [f"  {remedy}" for remedy in public.remedies]
    if public.listing:
        lines.append(
            "  " + tr("anybody can list the bucket: take that right away from everybody, or its contents are public")
        )
    if public.nothing_is_right:
        told = tr("not one was right: check `public_url` of the destination and the policy of its bucket")
        lines.append(f"  {told}")
    return lines


def _by_kind(public: PublicResult) -> str:
    """Of which kinds something is not right. Those that differ only in `cache/` are told as one."""
    found: dict[tuple[str, bool], list[int]] = {}
    for kind, asked in sorted(public.by_kind.items()):
        counts = found.setdefault((f"{kind.table} {kind.attachment} {kind.style}", kind.remote), [0, 0, 0])
        for column, count in enumerate((asked.faults, asked.objects, public.of[kind])):
            counts[column] += count
    rows = [
        (tr("{table}, of other servers", table=name) if remote else name, *(f"{count:,}" for count in counts))
        for (name, remote), counts in found.items()
        if counts[0]
    ]
    return table((tr("kind"), tr("not right"), tr("asked for"), tr("objects")), rows)
