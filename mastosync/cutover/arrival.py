"""What has arrived, what has not, and what the source has lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from mastosync.cutover.evidence import Fallback, LossOutcome
from mastosync.findings import Finding, Grade
from mastosync.findings.messages import (
    exposed_finding,
    losses_unknown_finding,
    nothing_tried,
    retry_remedy,
    unidentified_finding,
    with_accepted_losses,
)
from mastosync.language import enumerated, tr, trn
from mastosync.manifest import CountLine, Exposed
from mastosync.mastodon.catalog import spec_of
from mastosync.model import TABLES, EntryState, Kind, Reason
from mastosync.units import human_bytes

DISPENSABLE = frozenset({"preview_card_providers", "imports"})
"""Tables that Mastodon makes do without: it makes new ones, or has read them once."""


def loss_of(kind: Kind) -> LossOutcome:
    """What it means that the source lacks an object of this kind. Backups count as lost: a user waits for each."""
    if kind.table in DISPENSABLE:
        return LossOutcome.DISPENSABLE
    if not kind.remote:
        return LossOutcome.FOR_GOOD
    return LossOutcome.FETCHABLE if spec_of(kind.table, kind.attachment).address else LossOutcome.DISPENSABLE


def pending(counts: Sequence[CountLine]) -> Iterator[Finding]:
    """What is still to copy: of this server nothing may be."""
    own, cache = _halves(counts, EntryState.PENDING)
    if own:
        yield Finding(
            "pending",
            Grade.FAILURE,
            tr("still to be copied: {objects} of this server", objects=_objects(own)),
            "mastosync copy",
        )
    if cache:
        yield Finding(
            "cache",
            Grade.WARNING,
            tr("still to be copied: {objects} cached from other servers", objects=_objects(cache)),
            tr("mastosync copy, now or later: until then nginx gets them from the old store"),
            needs_fallback=True,
        )
    arrived = [line for line in counts if line.state is EntryState.DONE]
    if not arrived and not own and not cache:
        yield Finding(
            "pending",
            Grade.FAILURE,
            tr("nothing was copied, and nothing is to be copied: the plan found no media"),
            tr("look whether [pg.database] names Mastodon's database, then `mastosync plan` and `mastosync copy`"),
        )
    elif not own and not cache:
        told = trn(
            "nothing is pending: {objects} was copied",
            "nothing is pending: {objects} were copied",
            _count(arrived),
            objects=_objects(arrived),
        )
        yield Finding("pending", Grade.OK, told)


def failed(counts: Sequence[CountLine]) -> Iterator[Finding]:
    """What the source has and could not be copied."""
    lines = [line for line in counts if line.reason is not Reason.MISSING]
    own, cache = _halves(lines, EntryState.FAILED)
    if own:
        message = tr("{objects} of this server failed: {reasons}", objects=_objects(own), reasons=_reasons(own))
        accepted = all(line.accepted == line.objects for line in own)  # somebody has given them up
        grade = Grade.WARNING if accepted else Grade.FAILURE
        yield Finding("failed", grade, with_accepted_losses(message, own), retry_remedy(own))
    if cache:
        message = tr(
            "{objects} cached from other servers failed: {reasons}", objects=_objects(cache), reasons=_reasons(cache)
        )
        yield Finding(
            "failed", Grade.WARNING, with_accepted_losses(message, cache), retry_remedy(cache), needs_fallback=True
        )
    if not own and not cache:
        yield Finding("failed", Grade.OK, tr("no object failed that the source has"))


def missing(losses: Mapping[tuple[str, bool, LossOutcome], int], counts: Sequence[CountLine]) -> Iterator[Finding]:
    """What the source has lost. It cannot be waited for, but somebody has to know."""
    by_loss: Counter[LossOutcome] = Counter()
    for (_, _, loss), objects in losses.items():
        by_loss[loss] += objects
    if lost := by_loss[LossOutcome.FOR_GOOD]:
        yield Finding(
            "lost",
            Grade.WARNING,
            with_accepted_losses(
                trn(
                    "the source has lost {objects} object of this server: the new store will not have it either",
                    "the source has lost {objects} objects of this server: the new store will not have them either",
                    lost,
                    objects=f"{lost:,}",
                ),
                (
                    line
                    for line in counts
                    if line.reason is Reason.MISSING and loss_of(line.kind) is LossOutcome.FOR_GOOD
                ),
            ),
            tr(
                "`mastosync ls --state failed --reason missing` lists them: look into old backups, or go on without"
                " them; a `static` picture is made again when the picture itself is uploaded again"
            ),
        )
    if unidentified := by_loss[LossOutcome.UNIDENTIFIED]:
        yield unidentified_finding(unidentified)
    if fetchable := by_loss[LossOutcome.FETCHABLE]:
        yield Finding(
            "fetchable",
            Grade.WARNING,
            trn(
                "the source has lost {objects} object that another server may have",
                "the source has lost {objects} objects that other servers may have",
                fetchable,
                objects=f"{fetchable:,}",
            ),
            tr(
                "before or after the switch: `mastosync refetch --apply` fetches originals; `tootctl media refresh` and"
                " `tootctl accounts refresh` fetch the rest, except `static` pictures of emojis: these are made when"
                " their server sends the emoji again"
            ),
        )
    if not any((lost, unidentified, fetchable)) and nothing_tried(counts):
        yield losses_unknown_finding()
    elif not any((lost, unidentified, fetchable)):
        yield Finding("lost", Grade.OK, tr("the source has every file that Mastodon needs"))


def left_out(counts: Sequence[CountLine], exposed: Exposed) -> Iterator[Finding]:
    """What nobody tried to copy, and what lies there for everybody though it is private by now."""
    if exposed.objects:
        yield exposed_finding(exposed.objects)
    private = sum(line.objects for line in counts if line.reason is Reason.PRIVATE) - exposed.kept_back
    if private > 0:
        yield Finding(
            "private",
            Grade.WARNING,
            trn(
                "{objects} private object was not copied, as the destination cannot keep it private",
                "{objects} private objects were not copied, as the destination cannot keep them private",
                private,
                objects=f"{private:,}",
            ),
            tr(
                "backups and media that moderators made private will be missing. If nobody can read the bucket without"
                " credentials: `[copy] private_objects = copy`, and copy again"
            ),
        )
    excluded = sum(line.objects for line in counts if line.reason is Reason.EXCLUDED)
    if excluded:
        yield Finding(
            "excluded",
            Grade.WARNING,
            trn("{objects} object is excluded", "{objects} objects are excluded", excluded, objects=f"{excluded:,}"),
            tr("they are only at the old store"),
            needs_fallback=True,
        )


def beyond(counts: Sequence[CountLine], fallback: Fallback) -> Iterator[Finding]:
    """What only the old store has, and the chosen fallback would not ask it for."""
    if fallback is Fallback.ALL:
        return
    lines = [
        line
        for line in counts
        if _is_at_the_source_alone(line) and not (fallback is Fallback.CACHE and line.kind.cached)
    ]
    if lines:
        yield Finding(
            "fallback",
            Grade.WARNING,
            trn(
                "{objects} was not copied yet, and with `--fallback {fallback}` nginx does not get it from the old"
                " store",
                "{objects} were not copied yet, and with `--fallback {fallback}` nginx does not get them from the old"
                " store",
                _count(lines),
                objects=_objects(lines),
                fallback=fallback,
            ),
            tr("copy them first, or use `--fallback all` until they are copied"),
        )


def _is_at_the_source_alone(line: CountLine) -> bool:
    """Whether it may be missed as long as nobody asks the old store. What is of this server keeps Mastodon there."""
    if line.reason is Reason.EXCLUDED:
        return True
    waits = line.state is EntryState.PENDING or (line.state is EntryState.FAILED and line.reason is not Reason.MISSING)
    return waits and line.kind.remote


def losses_of(
    counts: Sequence[CountLine], present: Mapping[Kind, int] | None = None
) -> dict[tuple[str, bool, LossOutcome], int]:
    """Files that the source has lost, by table, and by whether they are of other servers.

    `present`: for how many of them the destination has something.
    """
    found: Counter[tuple[str, bool, LossOutcome]] = Counter()
    for line in counts:
        if line.reason is Reason.MISSING:
            unidentified = min((present or {}).get(line.kind, 0), line.objects)
            found[line.kind.table, line.kind.remote, LossOutcome.UNIDENTIFIED] += unidentified
            found[line.kind.table, line.kind.remote, loss_of(line.kind)] += line.objects - unidentified
        elif line.reason is Reason.OPTIONAL_MISSING:
            loss = LossOutcome.DISPENSABLE if _may_be_optional(line.kind) else loss_of(line.kind)
            found[line.kind.table, line.kind.remote, loss] += line.objects
    order = {table: at for at, table in enumerate(TABLES)}
    return dict(sorted((+found).items(), key=lambda each: (order[each[0][0]], *each[0][1:])))


def _may_be_optional(kind: Kind) -> bool:
    """Whether Mastodon does without some of a kind. An older plan may have taken more for optional than there is."""
    return any(style.optional for style in spec_of(kind.table, kind.attachment).styles if style.name == kind.style)


def _halves(counts: Sequence[CountLine], state: EntryState) -> tuple[list[CountLine], list[CountLine]]:
    """What is of this server, and what is cached from others."""
    lines = [line for line in counts if line.state is state]
    return [line for line in lines if not line.kind.remote], [line for line in lines if line.kind.remote]


def _objects(lines: Sequence[CountLine]) -> str:
    objects, size_bytes = _count(lines), sum(line.size_bytes for line in lines)
    told = trn("{objects} object", "{objects} objects", objects, objects=f"{objects:,}")
    return f"{told} ({human_bytes(size_bytes)})" if size_bytes else told  # of what is not done, not all sizes are known


def _count(lines: Sequence[CountLine]) -> int:
    return sum(line.objects for line in lines)


def _reasons(lines: Sequence[CountLine]) -> str:
    by_reason: Counter[str] = Counter()
    for line in lines:
        if line.reason is not None:
            by_reason[line.reason.value] += line.objects
    return enumerated(f"{name} {objects:,}" for name, objects in by_reason.most_common())
