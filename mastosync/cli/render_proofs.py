"""Proofs as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mastosync.checking.object_check import CheckStatus
from mastosync.cli.render import table
from mastosync.cli.terminal import PAINT_OF
from mastosync.language import deferred, say, tr, trn
from mastosync.terminal_text import one_line
from mastosync.units import human_bytes, human_seconds
from mastosync.verifying.adopter import AdoptionStatus
from mastosync.verifying.orphans import AGE_NAMES

if TYPE_CHECKING:
    from mastosync.checking.row_check import RowsNow
    from mastosync.verifying.adopter import Adoption
    from mastosync.verifying.orphans import OrphansResult
    from mastosync.verifying.public_result import PublicResult
    from mastosync.verifying.verifier import Verification

_EXAMPLES = 10
_PREFIXES = 40
_FATES = {
    AdoptionStatus.ABSENT: deferred("not at the destination yet"),
    AdoptionStatus.DIFFERENT: deferred(
        "the destination has another object under this key; `mastosync copy` replaces it"
    ),
    AdoptionStatus.UNDECIDED: deferred(
        "the sizes are equal, but the ETags cannot be compared: `mastosync adopt --deep` reads and compares the bytes"
    ),
    AdoptionStatus.UNKNOWN: deferred("the source does not have it, so it cannot be compared"),
    AdoptionStatus.UNREAD: deferred("a store failed or refused the request: run the same command again"),
    AdoptionStatus.LEFT: deferred(
        "not adopted, because it is private or has to be stored again: `mastosync copy` does that"
    ),
}


def render_verification(result: Verification) -> str:
    """What `verify` found."""
    verdicts = [verdict for verdict in CheckStatus if verdict is CheckStatus.FINE or result.total()[verdict]]
    rows = [
        (name, *(f"{counts[verdict]:,}" for verdict in verdicts))
        for name, counts in [*sorted(result.by_type.items()), (tr("total"), result.total())]
    ]
    lines = [table((tr("type"), *verdicts), rows, (None, *map(PAINT_OF.get, verdicts))), ""]
    lines += [one_line(f"{each.verdict.value}: {each.detail}") for each in result.examples[:_EXAMPLES]]
    told = tr("checked {checked:,} objects ({size})", checked=result.checked, size=human_bytes(result.checked_bytes))
    if result.read_objects:
        told += tr(
            ", read {read_objects:,} back ({size})",
            read_objects=result.read_objects,
            size=human_bytes(result.read_bytes),
        )
    lines.append(tr("{told} in {duration}", told=told, duration=human_seconds(result.seconds)))
    if result.public is not None:
        lines += _public_lines(result.public)
    lines += _row_lines(result.rows)
    if result.reopened:
        lines.append(
            tr(
                "{reopened:,} entries are pending again: run `mastosync plan`, then `mastosync copy`, then"
                " `mastosync verify` again",
                reopened=result.reopened,
            )
        )
    if result.total()[CheckStatus.UNREAD]:
        lines.append(
            tr(
                "objects that could not be read still count as done: when the store works again, run `mastosync "
                "verify` again"
            )
        )
    lines.append(
        tr("all well: every object that is done is at the destination, as recorded")
        if result.clean
        else tr("not all is well: see above")
    )
    return "\n".join(lines)


def _row_lines(rows: RowsNow) -> list[str]:
    """What the database said of what is at fault."""
    lines = []
    if rows.deleted:
        lines.append(
            trn(
                "{count:,} entry stays as it is, as its row was deleted or has another file: run `mastosync plan`",
                "{count:,} entries stay as they are, as their rows were deleted or have other files: run"
                " `mastosync plan`",
                rows.deleted,
            )
        )
    if rows.private:
        lines.append(
            trn(
                "{count:,} entry is private by now, as its row says: no copy opens it",
                "{count:,} entries are private by now, as their rows say: no copy opens them",
                rows.private,
            )
        )
    if rows.unasked:
        lines.append(
            trn(
                "{count:,} entry stays as it is: it may have been hidden on purpose, and the database could not be"
                " asked{why}; run `mastosync plan`, then this again",
                "{count:,} entries stay as they are: they may have been hidden on purpose, and the database could not"
                " be asked{why}; run `mastosync plan`, then this again",
                rows.unasked,
                why=f" ({rows.trouble})" if rows.trouble else "",
            )
        )
    return lines


def render_adoption(result: Adoption) -> str:
    """What `adopt` found."""
    total = result.total()
    fates = [fate for fate in AdoptionStatus if fate is AdoptionStatus.ADOPTED or total[fate]]
    rows = [
        (name, *(f"{counts[fate]:,}" for fate in fates))
        for name, counts in [*sorted(result.by_type.items()), (tr("total"), total)]
    ]
    lines = [table((tr("type"), *fates), rows, (None, *map(PAINT_OF.get, fates))), ""]
    lines += [f"{fate.value}: {say(meaning)}" for fate, meaning in _FATES.items() if total[fate]]
    lines.append(
        tr(
            "adopted {adopted:,} of {all:,} objects ({size}) in {duration}; nothing was moved",
            adopted=total[AdoptionStatus.ADOPTED],
            all=total.total(),
            size=human_bytes(result.adopted_bytes),
            duration=human_seconds(result.seconds),
        )
    )
    if total[AdoptionStatus.ADOPTED]:
        lines.append(
            tr(
                "another tool may have stored them without ACL and headers: `mastosync verify --public` checks this in"
                " a bucket"
            )
        )
    lines.append(tr("next: mastosync copy"))
    return "\n".join(lines)


def render_newer(result: OrphansResult) -> str:
    """What is no orphan yet, as it is too new; empty: nothing."""
    newer = result.newer
    if not newer.objects:
        return ""
    return tr(
        "{objects:,} more ({size}) are newer than {newer_than:%F %T} UTC, and the plan may not know their "
        "rows yet: to find out, run `mastosync plan` and `mastosync orphans` again later",
        objects=newer.objects,
        size=human_bytes(newer.size_bytes),
        newer_than=result.newer_than,
    )


def render_orphans(result: OrphansResult) -> str:
    """What `orphans` found."""
    listed, orphans = result.listed, result.orphans
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
    if newer := render_newer(result):
        lines.append(newer)
    if result.copies.objects:
        lines.append(
            trn(
                "{objects:,} more ({size}) has the key prefix of the destination in the same bucket: it is no orphan",
                "{objects:,} more ({size}) have the key prefix of the destination in the same bucket: they are no "
                "orphans",
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
        tr("rows refer to {missing_total:,} objects that are missing at the source", missing_total=result.missing_total)
    )
    if result.optional_missing:
        lines.append(
            tr("and to {optional_missing:,} that Mastodon can do without", optional_missing=result.optional_missing)
        )
    lines.append(tr("to list them: `mastosync orphans --format text`; with --missing, it lists the missing ones"))
    return "\n".join(lines)


def _public_lines(public: PublicResult) -> list[str]:
    lines = [
        trn(
            "tried to read {asked:,} public and {asked_private:,} private objects, of {of:,}, without credentials at"
            " {url}: {faults:,} fault",
            "tried to read {asked:,} public and {asked_private:,} private objects, of {of:,}, without credentials at"
            " {url}: {faults:,} faults",
            len(public.faults),
            asked=public.asked - public.asked_private,
            asked_private=public.asked_private,
            of=sum(public.of.values()),
            url=public.url,
            faults=len(public.faults),
        )
    ]
    lines += [one_line(f"  {fault.key}: {fault.detail}") for fault in public.faults[:_EXAMPLES]]
    if public.all_private and public.served:
        told = tr("what is public by its row was asked for at the bucket alone: who serves it decides who reads it")
        lines.append(f"  {told}")
    if public.faults:
        lines.append(_by_kind(public))
    lines += [f"  {remedy}" for remedy in public.remedies]
    if public.listing:
        lines.append(
            "  "
            + tr(
                "anybody can list the bucket without credentials, so every key is public: remove this right from "
                "everybody"
            )
        )
    if public.nothing_is_right:
        told = tr("none of them was right: check `public_url` of the destination and the policy of its bucket")
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
