"""What happens on one moving day: a pure function of its seed, as `scenario` has it for the days that stand still."""

from __future__ import annotations

from itertools import chain
from random import Random

from scripts.faultlab.moves import Change, Move, Wrong
from scripts.faultlab.scenario import (
    MOVING,
    PATIENT_SECONDS,
    TABLES,
    Act,
    Blow,
    Death,
    Moment,
    Scenario,
    Turn,
    blow_of_command,
    copying_of,
)
from scripts.faultlab.weather import Outage, Storm

ARCHIVE = "archive.jsonl"

_MOVES = {
    Move.COMES: 10,
    Move.LEAVES: 12,
    Move.RETURNS: 12,
    Move.RETURNS_OTHER: 4,
    Move.REPLACED: 12,
    Move.RENAMED: 8,
    Move.RESIZED: 4,
    Move.TOUCHED: 4,
    Move.SUSPENDS: 14,
    Move.UNSUSPENDS: 10,
    Move.LOCALISED: 6,
    Move.BYTES_IN_PUBLIC: 5,
    Move.OTHER_BYTES: 5,
    Move.DELETES: 5,
}
_COMMANDS = {
    ("plan",): 24,
    ("plan", "--delta"): 14,
    ("copy",): 28,
    ("retry-failed",): 9,
    ("verify",): 6,
    ("verify", "--deep"): 4,
    ("adopt",): 4,
    ("adopt", "--deep"): 2,
    ("prune", "--apply"): 8,
    ("manifest", "export", ARCHIVE, "--force"): 5,
}
_WRONG_PLANS = 0.15  # of the days have one


def moving_day_of(seed: int) -> Scenario:
    """The moving day that a seed stands for."""
    random = Random(f"moving day {seed}")
    stormy = random.random() < 0.6
    prefixed = random.random() < 0.25
    copying = copying_of(random, MOVING)
    groups = [_acts(random) for _ in range(random.choice((3, 4, 5, 6)))]
    if random.random() < _WRONG_PLANS:
        groups.insert(random.randrange(len(groups) + 1), _wrong_plan(random))
    storms = {role: Storm.made_up(f"moving {seed} {role}", impatient=False) for role in ("source", "destination")}
    return Scenario(
        seed=seed,
        world=MOVING,
        moto=True,
        server_side=random.random() < 0.15,
        copying=copying,
        read_timeout_seconds=PATIENT_SECONDS,
        storms=storms if stormy else {},
        acts=tuple(chain(_beginning(random), *groups)),
        prefixed=prefixed,
    )


def _beginning(random: Random) -> list[Act]:
    """A plan, and a copy that comes to its end or does not."""
    return [Act(("plan",)), _act(random, ("copy",))]


def _acts(random: Random) -> list[Act]:
    arguments = random.choices(list(_COMMANDS), list(_COMMANDS.values()))[0]
    if arguments[0] == "manifest":  # what was exported goes on as a manifest of its own
        return [Act(arguments, changes=_changes(random, 0.3)), Act(("manifest", "import", ARCHIVE))]
    return [_act(random, arguments)]


def _wrong_plan(random: Random) -> list[Act]:
    """A plan of the wrong database, and at once one of the right one: between the two nobody prunes."""
    right = random.choice((("plan",), ("plan", "--delta")))
    return [Act(("plan",), wrong=random.choice(list(Wrong))), Act(right, changes=_changes(random, 0.3))]


def _act(random: Random, arguments: tuple[str, ...]) -> Act:
    command, changes = arguments[0], _changes(random, 0.6)
    if command == "plan":
        table = random.choice(TABLES)
        turn = Turn(_some(random), table=table) if random.random() < 0.2 else None
        death = random.choice((Death.KILL, Death.TERM, Death.SESSION))
        blow = Blow(death, table=table) if random.random() < 0.12 else None
        return Act(arguments, blow, changes=changes, turn=turn)
    copies = command in ("copy", "retry-failed")
    turn = None
    if random.random() < (0.35 if copies else 0.2):
        operations = ("GetObject", "PutObject", "*") if copies else ("*",)
        nth = random.randint(1, 12 if copies else 3)
        turn = Turn(_some(random), Moment(random.choice(operations), nth, hold=random.random() < 0.5))
    blow = blow_of_command(random, command, in_parts=True) if random.random() < (0.4 if copies else 0.12) else None
    outages: tuple[tuple[str, Outage], ...] = ()
    if copies and blow is None and random.random() < 0.12:
        outages = ((random.choice(("source", "destination")), Outage.made_up(random)),)
    return Act(arguments, blow, outages, changes, turn)


def _changes(random: Random, chance: float) -> tuple[Change, ...]:
    return _some(random) if random.random() < chance else ()


def _some(random: Random) -> tuple[Change, ...]:
    moves = random.choices(list(_MOVES), list(_MOVES.values()), k=random.choice((1, 1, 2, 2, 3)))
    return tuple(Change(move, random.randrange(1 << 30)) for move in moves)
