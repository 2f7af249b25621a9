"""What happens on one moving day: a pure function of its seed, as `scenario` has it for the days that stand still."""

from __future__ import annotations

from itertools import chain
from random import Random

from faultlab.moves import Change, Move, Wrong
from faultlab.scenario import (
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
from faultlab.weather import Outage, Storm

ARCHIVE = "archive.jsonl"
PRUNE = ("prune", "--apply", "--at-most", "100")  # of so small a world, more leaves than stays

_OF_ROWS: list[dict[Move, int]] = [
    {Move.SUSPENDS: 3, Move.UNSUSPENDS: 2},
    {Move.SUSPENDS: 3, Move.UNSUSPENDS: 2, Move.RENAMED: 1},
    {Move.LEAVES: 3, Move.RETURNS: 2},
    {Move.LEAVES: 3, Move.RETURNS: 1, Move.RETURNS_OTHER: 1},
    {Move.LEAVES: 2, Move.COMES: 1},
    {Move.COMES: 2},
    {Move.REPLACED: 2},
    {Move.RENAMED: 2},
    {Move.RESIZED: 1, Move.TOUCHED: 1},
    {Move.LOCALISED: 2, Move.LEAVES: 1},
]
"""Moves of rows that go together, and how often they are met on a day that has them."""

_OF_TOOLS: list[dict[Move, int]] = [{Move.BYTES_IN_PUBLIC: 2}, {Move.OTHER_BYTES: 1}, {Move.DELETES: 1}]
_KINDS_A_DAY = 3
_COMMANDS = {
    ("plan",): 24,
    ("plan", "--delta"): 14,
    ("copy",): 28,
    ("retry-failed",): 9,
    ("verify",): 6,
    ("verify", "--deep"): 4,
    ("adopt",): 4,
    ("adopt", "--deep"): 2,
    PRUNE: 8,
    ("manifest", "export", ARCHIVE, "--force"): 5,
}
_WRONG_PLANS = 0.15  # of the days have one


def moving_day_of(seed: int) -> Scenario:
    """The moving day that a seed stands for."""
    random = Random(f"moving day {seed}")
    stormy = random.random() < 0.6
    prefixed = random.random() < 0.25
    copying = copying_of(random, MOVING) | {"max_attempts": str(random.choice((1, 2, 2, 4)))}
    maker = _Maker(random)
    beginning = [Act(("plan",)), maker.act(("copy",))]
    groups = [maker.acts() for _ in range(random.choice((3, 4, 5, 6)))]
    if random.random() < _WRONG_PLANS:
        groups.insert(random.randrange(len(groups) + 1), maker.wrong_plan())
    storms = {role: Storm.made_up(f"moving {seed} {role}", impatient=False) for role in ("source", "destination")}
    return Scenario(
        seed=seed,
        world=MOVING,
        moto=True,
        server_side=random.random() < 0.15,
        copying=copying,
        read_timeout_seconds=PATIENT_SECONDS,
        storms=storms if stormy else {},
        acts=tuple(chain(beginning, *groups)),
        prefixed=prefixed,
    )


class _Maker:
    """Makes up commands, and what the world does before and meanwhile: on each day only some of what it can do.

    So the same things meet again and again: a row that is private, public and private, or one that leaves and returns.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        pairs = random.sample(_OF_ROWS, _KINDS_A_DAY) + random.sample(_OF_TOOLS, random.choice((0, 0, 1, 2)))
        self._moves = {move: weight for pair in pairs for move, weight in pair.items()}

    def acts(self) -> list[Act]:
        """A command, or a few that belong together."""
        arguments = self._random.choices(list(_COMMANDS), list(_COMMANDS.values()))[0]
        if arguments[0] == "manifest":  # what was exported goes on as a manifest of its own
            return [Act(arguments, changes=self._changes(0.3)), Act(("manifest", "import", ARCHIVE))]
        return [self.act(arguments)]

    def wrong_plan(self) -> list[Act]:
        """A plan of the wrong database, and at once one of the right one: between the two nobody prunes.

        No row leaves between them: without the newest one, the right database would look older than the wrong one.
        """
        right = self._random.choice((("plan",), ("plan", "--delta")))
        wrong = self._random.choice(list(Wrong))
        changes = tuple(each for each in self._changes(0.3) if each.move is not Move.LEAVES)
        return [Act(("plan", "--accept-gone"), wrong=wrong), Act(right, changes=changes)]

    def act(self, arguments: tuple[str, ...]) -> Act:
        """One command with what befalls it."""
        random, command, changes = self._random, arguments[0], self._changes(0.6)
        if command == "plan":
            table = random.choice(TABLES)
            turn = Turn(self._some(), table=table) if random.random() < 0.2 else None
            death = random.choice((Death.KILL, Death.TERM, Death.SESSION))
            blow = Blow(death, table=table) if random.random() < 0.12 else None
            return Act(arguments, blow, changes=changes, turn=turn)
        copies = command in ("copy", "retry-failed")
        turn = None
        if random.random() < (0.35 if copies else 0.2):
            operations = ("GetObject", "PutObject", "*") if copies else ("*",)
            nth = random.randint(1, 12 if copies else 3)
            turn = Turn(self._some(), Moment(random.choice(operations), nth, hold=random.random() < 0.5))
        blow = blow_of_command(random, command, in_parts=True) if random.random() < (0.4 if copies else 0.12) else None
        outages: tuple[tuple[str, Outage], ...] = ()
        if copies and blow is None and random.random() < 0.2:
            outages = ((random.choice(("source", "destination")), Outage.made_up(random)),)
        return Act(arguments, blow, outages, changes, turn)

    def _changes(self, chance: float) -> tuple[Change, ...]:
        return self._some() if self._random.random() < chance else ()

    def _some(self) -> tuple[Change, ...]:
        moves = self._random.choices(
            list(self._moves), list(self._moves.values()), k=self._random.choice((1, 1, 2, 2, 3))
        )
        return tuple(Change(move, self._random.randrange(1 << 30)) for move in moves)
