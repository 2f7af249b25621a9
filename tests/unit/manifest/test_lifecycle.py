"""docs/lifecycle.md, held against the code: its tables are read, and each event happens to every kind of entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from mastosync.applying.one_object import Applied, ApplyStatus, _closed, outcome_of, to_be_stored
from mastosync.checking.object_check import CheckResult, CheckStatus
from mastosync.checking.row_check import RowState, made_private
from mastosync.copying.server_side import CopiedObject
from mastosync.manifest import (
    ACCESS,
    HIGHEST_ID,
    LOWEST_ID,
    Manifest,
    ManifestReader,
    PlanWriter,
    accept,
    approach_to,
    claim,
    contradiction,
    forget_arrival,
    found_wrong,
    found_wrong_access,
    record_findings,
    recover_claims_now,
    release,
    reopen,
    repair_counters,
    rewritten_in_place,
    take_back_acceptance,
    try_again,
    write_started,
)
from mastosync.manifest.check import _IS_SANE
from mastosync.manifest.entry_writer import disbelieve, note_access, write_outcomes
from mastosync.manifest.lifecycle import EntryChange
from mastosync.manifest.rows import FLAGS, HAS_ARRIVED, REASON_CODE, STATE_CODE, presence_of
from mastosync.model import (
    ACCEPTABLE_REASONS,
    FAILURE_REASONS,
    NOTHING,
    Entry,
    EntryState,
    Origin,
    Outcome,
    Presence,
    Reason,
    Record,
)
from mastosync.verifying.public_result import hidden, private_by_now
from mastosync.verifying.verifier import _outcome_of
from tests.support.entries import LOCAL, entry, grouped
from tests.support.manifests import DESTINATION, SOURCE, exported, imported, planned

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/lifecycle.md").read_text()
OF_ROW, MEASURED, OF_OUTCOME = 99, 7, 8  # sizes in bytes
OLD_MD5, NEW_MD5 = b"\1" * 16, b"\2" * 16
AGAIN = CopiedObject(MEASURED, None, "another")

State = tuple[EntryState, Reason | None]
PENDING, DONE = (EntryState.PENDING, None), (EntryState.DONE, None)
FAILED: list[State] = [(EntryState.FAILED, reason) for reason in FAILURE_REASONS]
GONE, EXCLUDED = (EntryState.SKIPPED, Reason.GONE), (EntryState.SKIPPED, Reason.EXCLUDED)
KEPT_BACK = (EntryState.SKIPPED, Reason.PRIVATE)
DISPENSABLE = (EntryState.SKIPPED, Reason.OPTIONAL_MISSING)
EVERY: list[State] = [PENDING, DONE, *FAILED, KEPT_BACK, DISPENSABLE, EXCLUDED, GONE]
EVERY_PRESENCE = [
    presence for presence in map(Presence, range(16)) if contradiction(EntryState.PENDING, presence) is None
]


def table(after: str) -> list[dict[str, str]]:
    """The first table below a heading: a dictionary of its columns for each line."""
    lines = PAGE.split(f"## {after}\n")[1].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    header, _, *rest = rows[: next((n for n, row in enumerate(rows) if len(row) != len(rows[0])), None)]
    return [dict(zip(header, row, strict=True)) for row in rest]


EVENTS = {row["event"]: row for row in table("Events")}


def states(cell: str) -> list[State]:
    """What a cell of the columns *from* and *to* names; `failed` alone is for every reason."""
    if cell.startswith("any"):
        return [each for each in EVERY if each not in (states(cell[8:]) if cell.startswith("any but ") else [])]
    found: list[State] = []
    for state, reason in re.findall(r"`(\w+)`(?: `(\w+)`)?", cell):
        if state == EntryState.FAILED and not reason:
            found += FAILED
        else:
            found.append((EntryState(state), Reason(reason) if reason else None))
    return found


class Line(NamedTuple):
    """What a manifest records of an entry."""

    state: State
    presence: Presence
    digest: tuple[bytes | None, str | None, str | None, int | None]  # MD5, ETag, source key, origin
    size: int | None
    attempts: int
    is_claimed: bool
    accepted: int | None  # the code of a reason


class Kept(NamedTuple):
    """A manifest with an entry of every kind, as it stands before an event."""

    manifest: Manifest
    entries: dict[int, Entry]
    excluded: set[int]
    records: list[Record]


def access(private: bool) -> Presence:
    return Presence.AS_PRIVATE if private else Presence.AS_PUBLIC


def kinds(found: Iterable[State]) -> Iterator[tuple[State, Presence, bool, bool]]:
    """State, what lies there, whether a digest is known, and privacy: all that can be together."""
    for state in found:
        for presence, has_digest, private in product(EVERY_PRESENCE, (False, True), (False, True)):
            if state == EXCLUDED and (presence or has_digest):
                continue  # then somebody has begun with it
            if state == DONE and presence != access(private):
                continue
            yield state, presence, has_digest, private


def lines_of(manifest: Manifest) -> dict[int, Line]:
    claimed = {row_id for (row_id,) in manifest.connection.execute("SELECT id FROM claims")}
    origins = dict(manifest.connection.execute("SELECT id, origin FROM entries"))
    accepted = dict(manifest.connection.execute("SELECT id, accepted FROM entries"))
    return {
        each.entry.id: Line(
            (each.state, each.reason),
            each.presence,
            (each.md5, each.etag, each.source_key, origins[each.entry.id]),
            each.entry.size,
            each.attempts,
            each.entry.id in claimed,
            accepted[each.entry.id],
        )
        for each in ManifestReader(manifest).iter_records()
    }


def made(path: Path, found: Iterable[State], *, is_begun: bool = True) -> Kept:
    """A manifest with an entry of each kind. `is_begun`: each was tried before."""
    every = list(enumerate(kinds(found), 1))
    entries = {row_id: entry(row_id, private=private, updated=100) for row_id, (*_, private) in every}
    manifest = planned(path, entries.values())
    for row_id, ((state, reason), presence, has_digest, private) in every:
        excluded = (state, reason) == EXCLUDED
        digest = (OLD_MD5, "etag", "where/it/lay", 2) if has_digest else (None,) * 4
        manifest.connection.execute(
            "UPDATE entries SET state = ?, reason = ?, arrived = ?, md5 = ?, etag = ?, source_key = ?, origin = ?,"
            " size = ?, attempts = ?, flags = ?, accepted = ? WHERE id = ?",
            (
                *(STATE_CODE[state], REASON_CODE[reason]),
                None if state is EntryState.DONE else presence.value,
                *(*digest, MEASURED, 0 if excluded or not is_begun else 2, FLAGS[False, private, excluded]),
                *(None if state is EntryState.DONE else REASON_CODE[Reason.MISSING], row_id),
            ),
        )
    repair_counters(manifest)
    excluded_ids = {row_id for row_id, (state, *_) in every if state == EXCLUDED}
    return Kept(manifest, entries, excluded_ids, list(ManifestReader(manifest).iter_records()))


# --- what the events are ---


def replan(kept: Kept, entries: Sequence[Entry], excluded: set[int]) -> None:
    with PlanWriter.transaction(kept.manifest, SOURCE, DESTINATION) as writer:
        wanted = [each._replace(size=OF_ROW) for each in entries]
        groups = [
            *grouped(each for each in wanted if each.id not in excluded),
            *(each._replace(excluded=True) for each in grouped(each for each in wanted if each.id in excluded)),
        ]
        writer.merge("accounts", LOWEST_ID, HIGHEST_ID, groups)
        writer.finish(datetime.now(UTC), {})


def seen(**changes: object) -> Callable[[Kept], None]:
    return lambda kept: replan(kept, [each._replace(**changes) for each in kept.entries.values()], kept.excluded)  # type: ignore[arg-type]


def seen_with_another_privacy(kept: Kept) -> None:
    replan(kept, [each._replace(private=not each.private) for each in kept.entries.values()], kept.excluded)


def left_out(kept: Kept) -> None:
    replan(kept, list(kept.entries.values()), set(kept.entries))


def taken_in(kept: Kept) -> None:
    replan(kept, list(kept.entries.values()), set())


def gone(kept: Kept) -> None:
    replan(kept, [], set())


def gone_and_accepted(kept: Kept) -> None:
    with PlanWriter.transaction(kept.manifest, SOURCE, DESTINATION, accepts_losses=True) as writer:
        writer.merge("accounts", LOWEST_ID, HIGHEST_ID, [])


def claimed(kept: Kept) -> None:
    with kept.manifest.transaction():
        claim(kept.manifest, kept.entries.values())


def released(kept: Kept) -> None:
    with kept.manifest.transaction():
        release(kept.manifest, kept.entries.values())


def doubted(kept: Kept) -> None:
    with kept.manifest.transaction():
        note_access(kept.manifest, ((each, ACCESS) for each in kept.entries.values()))


def heeded(kept: Kept) -> None:
    with kept.manifest.transaction():
        note_access(kept.manifest, ((each, Presence.AS_PRIVATE) for each in kept.entries.values()))


def heeded_and_died(kept: Kept) -> None:
    heeded(kept)
    recover_claims_now(kept.manifest)


def died(kept: Kept) -> None:
    recover_claims_now(kept.manifest)


def done(of: Entry, **more: object) -> Outcome:
    return Outcome(of, EntryState.DONE, size=OF_OUTCOME, md5=NEW_MD5, etag="new")._replace(**more)  # type: ignore[arg-type]


def came_to(outcome: Callable[[Record], Outcome]) -> Callable[[Kept], None]:
    def happen(kept: Kept) -> None:
        with kept.manifest.transaction():
            write_outcomes(
                kept.manifest, [EntryChange(outcome(each), each.state, each.reason) for each in kept.records]
            )

    return happen


def corrected(outcome: Callable[[Record], Outcome | None]) -> Callable[[Kept], None]:
    def happen(kept: Kept) -> None:
        record_findings(kept.manifest, [(each, found) for each in kept.records if (found := outcome(each)) is not None])

    return happen


def skipped(reason: Reason) -> Callable[[Record], Outcome]:
    return lambda record: Outcome(record.entry, EntryState.SKIPPED, reason)


def failed(presence: Callable[[Record], Presence | None]) -> Callable[[Record], Outcome]:
    return lambda record: Outcome(record.entry, EntryState.FAILED, Reason.NETWORK, presence=presence(record))


def judged(verdict: CheckStatus, etag: str | None = None) -> Callable[[Record], Outcome | None]:
    return lambda record: _outcome_of(CheckResult(record, verdict, "", etag))


def unreadable(record: Record) -> Outcome:
    return Outcome(record.entry, EntryState.PENDING, attempts=0, presence=found_wrong_access(record.presence))


def hidden_by_now(record: Record) -> Outcome | None:
    """As `verify --public` has it: it asks for what may be exposed."""
    return hidden(record) if Presence.AS_PUBLIC in record.presence else None


def disproved(kept: Kept) -> None:
    """Nothing that came otherwise than by a copy is meant, so for this event all of it counts as copied."""
    origins = kept.manifest.connection.execute("SELECT origin, id FROM entries").fetchall()
    kept.manifest.connection.execute("UPDATE entries SET origin = NULL")
    with kept.manifest.transaction():
        disbelieve(kept.manifest, {each.kind: (LOWEST_ID, HIGHEST_ID) for each in kept.entries.values()})
    kept.manifest.connection.executemany("UPDATE entries SET origin = ? WHERE id = ?", origins)


def pruned(kept: Kept) -> None:
    forget_arrival(kept.manifest, list(kept.entries.values()))


def archived(kept: Kept) -> Manifest:
    return imported(exported(kept.manifest), kept.manifest.path.with_name("imported.db"))


HAPPEN: dict[str, Callable[[Kept], Manifest | None]] = {
    "seen as it was": seen(),
    "seen with another file": seen(updated=200),
    "seen with another file, undecided": seen(updated=200),
    "seen with another privacy": seen_with_another_privacy,
    "seen with another privacy, and something lies there": seen_with_another_privacy,
    "seen with another need": seen(optional=True),
    "left out, and nobody has begun": left_out,
    "left out, and somebody has begun": left_out,
    "taken in again": taken_in,
    "turned local, or remote, under the same key": seen(kind=LOCAL._replace(remote=True)),
    "gone": gone,
    "gone by a plan that goes on whatever is gone": gone_and_accepted,
    "back": seen(),
    "claimed": claimed,
    "released": released,
    "found claimed, as its run has died": died,
    "done": came_to(lambda record: done(record.entry)),
    "copied, and the ETags that it was proved by prove nothing": disproved,
    "failed": came_to(failed(lambda _: None)),
    "failed, and the answer to a write is lost": came_to(
        failed(lambda record: write_started(record.presence, private=record.entry.private))
    ),
    "failed, and nobody can tell who reads what was written as private": came_to(
        failed(lambda record: write_started(record.presence, private=record.entry.private) | ACCESS)
    ),
    "everybody reads what was written as private": doubted,
    "about to be written as private, as the source keeps its file from everybody": heeded,
    "found claimed, and written as private for the source's sake": heeded_and_died,
    "stored again by the destination itself, and not the wanted file": came_to(
        failed(lambda record: rewritten_in_place(private=record.entry.private))
    ),
    "kept back": came_to(skipped(Reason.PRIVATE)),
    "absent, and dispensable": came_to(skipped(Reason.OPTIONAL_MISSING)),
    "verified: lost, or different": corrected(judged(CheckStatus.LOST)),
    "verified: not readable by those whom the row asks for": corrected(unreadable),
    "verified: lost, or different, and its row is private by now": corrected(
        lambda record: _outcome_of(CheckResult(made_private(record), CheckStatus.LOST, ""))
    ),
    "verified: not readable by strangers, as its row is private by now": corrected(private_by_now),
    "verified: read by everybody at the store, and its row is private by now": corrected(
        lambda record: unreadable(made_private(record))
    ),
    "verified: private, stored by others since, and readable by everybody": corrected(
        lambda record: _outcome_of(CheckResult(record, CheckStatus.DIFFERENT, "", exposed=True))
    ),
    "verified: private, public when it was stored, and hidden by now": corrected(hidden_by_now),
    "verified: another ETag, the same bytes, and public": corrected(judged(CheckStatus.FINE, "another")),
    "stored again by the destination itself, under other settings": corrected(
        lambda record: outcome_of(record, Applied(ApplyStatus.APPLIED, copied=AGAIN))
    ),
    "stored again under other settings, and not with the headers or bytes that it should have": corrected(
        lambda record: outcome_of(record, Applied(ApplyStatus.FAILED, found=found_wrong(record.presence)))
    ),
    "stored again as private, and read by everybody, or nobody can tell by whom": corrected(
        lambda record: outcome_of(record, Applied(ApplyStatus.FAILED, found=found_wrong_access(record.presence)))
    ),
    "stored again, read by everybody before, and by nobody since, or nobody can tell": corrected(
        lambda record: to_be_stored(record, found_wrong_access(record.presence), "nobody reads it any more")
    ),
    "stored again as private and not opened, as its row is private by now": corrected(
        lambda record: outcome_of(record, _closed(record, RowState.PRIVATE, read=False)._replace(copied=AGAIN))
    ),
    "not opened, as its row is private by now, and not to be stored again": corrected(
        lambda record: outcome_of(
            record, _closed(record, RowState.PRIVATE, read=False)._replace(found=found_wrong_access(record.presence))
        )
    ),
    "read by everybody already, and its row is private by now": corrected(
        lambda record: outcome_of(record, _closed(record, RowState.PRIVATE, read=True))
    ),
    "adopted": corrected(lambda record: done(record.entry, attempts=0, origin=Origin.ADOPTED)),
    "fetched again": corrected(lambda record: done(record.entry, origin=Origin.REFETCHED)),
    "reopened": lambda kept: _nothing(
        reopen(kept.manifest, (), (*FAILURE_REASONS, Reason.PRIVATE, Reason.OPTIONAL_MISSING))
    ),
    "tried again": lambda kept: _nothing(try_again(kept.manifest, 10, 0)),
    "accepted": lambda kept: accept(kept.manifest, (), ACCEPTABLE_REASONS),
    "acceptance taken back": lambda kept: take_back_acceptance(kept.manifest, (), ACCEPTABLE_REASONS),
    "pruned": pruned,
    "exported and imported": archived,
}
CLAIMED_BEFORE = {name for name, row in EVENTS.items() if "claim" in row["kept"] + row["forgotten"]}
UNTOUCHED = {"left out, and nobody has begun"}
APPLIES: dict[str, Callable[[Line], bool]] = {
    "seen with another privacy, and something lies there": lambda line: bool(line.presence),
    "left out, and nobody has begun": lambda line: not line.presence,
    "verified: private, public when it was stored, and hidden by now": lambda line: Presence.AS_PUBLIC in line.presence,
}
THERE: dict[str, Callable[[Presence, bool], Presence]] = {
    "same": lambda before, _: before,
    "none": lambda _before, _private: NOTHING,
    "done": lambda _, private: access(private),
    "+ stale": lambda before, _: before | Presence.STALE if before else NOTHING,
    "+ both": lambda before, _: before | ACCESS,
    "+ claim": lambda before, private: before | Presence.IN_DOUBT | access(private),
    "+ private": lambda before, _: before | Presence.IN_DOUBT | Presence.AS_PRIVATE,
    "+ doubt": lambda before, _: before | Presence.IN_DOUBT | ACCESS,
    "again": lambda _, private: access(private) | Presence.STALE,
    "hidden": lambda before, _: before & ~Presence.AS_PUBLIC | Presence.AS_PRIVATE,
}


def _nothing(_: int) -> None: ...


def cells(cell: str) -> set[str]:
    return set(cell.split(", ")) - {""}


# --- the tests ---


@pytest.mark.parametrize("name", HAPPEN)
def test_an_event_does_what_its_line_says(tmp_path: Path, name: str) -> None:
    row = EVENTS[name]
    kept = made(tmp_path / "m.db", states(row["from"]), is_begun=name not in UNTOUCHED)
    with closing(kept.manifest):
        if name in CLAIMED_BEFORE and "exported" not in name:
            claimed(kept)
        before = lines_of(kept.manifest)
        afterwards = HAPPEN[name](kept)
        after = lines_of(afterwards or kept.manifest)
        if afterwards:
            afterwards.close()
    assert after.keys() == before.keys()
    for row_id, old in before.items():
        if name in APPLIES and not APPLIES[name](old):
            assert after[row_id].state == old.state
            continue
        new = after[row_id]
        assert new.state in ([old.state] if row["to"] == "same" else states(row["to"])), (old, new)
        assert new.presence == THERE[row["there"].strip("`")](old.presence, kept.entries[row_id].private), (old, new)
        _require_kept(row, old, new)


def _require_kept(row: dict[str, str], old: Line, new: Line) -> None:
    kept, forgotten = cells(row["kept"]), cells(row["forgotten"])
    was = {"digest": old.digest, "attempts": old.attempts, "size": old.size, "claim": old.is_claimed}
    now = {"digest": new.digest, "attempts": new.attempts, "size": new.size, "claim": new.is_claimed}
    assert kept | forgotten <= {*was, "acceptance"}
    if old.state[0] is not EntryState.DONE and row["event"] != "accepted":
        assert (new.accepted is None) if "acceptance" in forgotten else (new.accepted == old.accepted), (old, new)
    for what, value in was.items():
        if what == "size" and not old.presence:
            continue  # nothing was measured
        if what == "digest" and old.digest == (None,) * 4 and "done" not in row["to"]:
            continue  # there is none to be forgotten
        if what in kept:
            assert now[what] == value, (what, old, new)
        if what in forgotten:
            assert now[what] != value, (what, old, new)


def test_what_no_line_of_another_privacy_or_need_names_stays(tmp_path: Path) -> None:
    """The page is whole: what is not listed does not change."""
    for number, (names, happen) in enumerate(
        (
            (
                ("seen with another privacy", "seen with another privacy, and something lies there"),
                seen_with_another_privacy,
            ),
            (("seen with another need",), seen(optional=True)),
            (("seen with another file", "seen with another file, undecided"), seen(updated=200)),
            (("reopened",), HAPPEN["reopened"]),
            (("tried again",), HAPPEN["tried again"]),
        )
    ):
        named = {state for name in names for state in states(EVENTS[name]["from"])}
        kept = made(tmp_path / f"{number}.db", [each for each in EVERY if each not in named and each != GONE])
        with closing(kept.manifest):
            before = lines_of(kept.manifest)
            happen(kept)
            assert {row_id: line.state for row_id, line in lines_of(kept.manifest).items()} == {
                row_id: line.state for row_id, line in before.items()
            }


def test_what_a_plan_sees_first_is_as_the_page_says(tmp_path: Path) -> None:
    kept = Kept(planned(tmp_path / "m.db", [entry(9)]), {}, set(), [])
    with closing(kept.manifest):
        replan(kept, [entry(1), entry(2)], {2})
        lines = lines_of(kept.manifest)
    assert [lines[1].state] == states(EVENTS["planned"]["to"])
    assert [lines[2].state] == states(EVENTS["planned, left out"]["to"])
    assert not lines[1].presence
    assert not lines[2].presence


def test_what_is_accepted_is_so_for_the_reason_for_which_it_failed(tmp_path: Path) -> None:
    kept = made(tmp_path / "m.db", EVERY)
    with closing(kept.manifest):
        before = lines_of(kept.manifest)
        accept(kept.manifest, (), [Reason.CORRUPT])
        for row_id, line in lines_of(kept.manifest).items():
            is_corrupt = line.state[1] is Reason.CORRUPT
            assert line.accepted == (REASON_CODE[Reason.CORRUPT] if is_corrupt else before[row_id].accepted)
        standing = {each.reason for each in ManifestReader(kept.manifest).iter_records() if each.accepted}
    assert standing == {Reason.CORRUPT, Reason.MISSING}


def test_every_event_of_the_page_happens_here() -> None:
    assert {*HAPPEN, "planned", "planned, left out"} == EVENTS.keys()


def test_the_page_names_every_bit_of_what_lies_there() -> None:
    assert [row["bit"].strip("`") for row in table("Two kinds of knowledge")] == [bit.name for bit in Presence]


def test_what_a_copy_does_first_is_as_the_page_says() -> None:
    rows = table("What a copy does first")
    for presence, has_digest, private in product(EVERY_PRESENCE, (False, True), (False, True)):
        found = presence & ACCESS
        as_wanted = found == access(private)
        facts = {
            "access": "none" if not found else "as wanted" if as_wanted else "both" if found == ACCESS else "other",
            "in doubt": "yes" if presence & Presence.IN_DOUBT else "no",
            "digest": "yes" if has_digest else "no",
            "stale": "yes" if presence & Presence.STALE else "no",
            "row": "private" if private else "public",
        }
        (row,) = (each for each in rows if all(each[name] in ("any", fact) for name, fact in facts.items()))
        assert approach_to(presence, private=private, has_digest=has_digest) == row["a copy will"].strip("`")


def test_no_other_module_changes_an_entry() -> None:
    writers = {
        path.name
        for path in (ROOT / "mastosync").rglob("*.py")
        if re.search(r"UPDATE entries|DELETE FROM entries", path.read_text())
    }
    assert writers == {"entry_writer.py"}


@pytest.mark.parametrize("has_digest", [False, True])
@pytest.mark.parametrize("stored", [None, *range(16)])
@pytest.mark.parametrize("state", [EntryState.PENDING, EntryState.FAILED, EntryState.SKIPPED, EntryState.DONE])
def test_sql_and_functions_agree_on_what_lies_there(
    tmp_path: Path, state: EntryState, stored: int | None, has_digest: bool
) -> None:
    """Whether a line may be as it is, and whether anything lies there: queries have to say what the functions say."""
    is_done = state is EntryState.DONE
    reason = {EntryState.FAILED: Reason.MISSING, EntryState.SKIPPED: Reason.GONE}.get(state)
    md5 = OLD_MD5 if has_digest else None
    with closing(planned(tmp_path / "manifest.db", [entry(1, "a.png")])) as manifest:
        ask = manifest.connection.execute
        ask("UPDATE entries SET md5 = ?, arrived = ?, state = ?", (md5, stored, STATE_CODE[state]))
        ask("UPDATE entries SET reason = ?", (REASON_CODE[reason],))
        is_sane, has_arrived = ask(f"SELECT {_IS_SANE}, {HAS_ARRIVED} FROM entries").fetchone()  # noqa: S608 - constants
    assert is_sane == (stored is None or (not is_done and contradiction(state, Presence(stored)) is None))
    if is_sane and not is_done:
        assert has_arrived == bool(presence_of(0, STATE_CODE[state], stored, has_digest=has_digest))
