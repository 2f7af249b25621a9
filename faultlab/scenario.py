"""What happens on one bad day: a pure function of its seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

from faultlab.moves import Change, Wrong
from faultlab.weather import SHORT_READ_TIMEOUT_SECONDS, Outage, Storm

PATIENT_SECONDS = 60
MOVING = "moving"
_RESTART_EVERY = 100  # seeds: it takes seconds, and a server of its own
TABLES = ("accounts", "backups", "custom_emojis", "media_attachments", "preview_cards", "site_uploads")


class Death(Enum):
    """How a process comes to its end."""

    KILL = "SIGKILL"
    TERM = "SIGTERM"
    TERM_TWICE = "SIGTERM, twice"
    DISK = "a full disk"
    SESSION = "the database ends the session"
    RESTART = "the database is restarted"


@dataclass(frozen=True, slots=True)
class Moment:
    """When something befalls a command: at the nth request of an operation, or so long after the start."""

    operation: str = ""  # a shell pattern; empty: `seconds` count
    nth: int = 0
    hold: bool = False  # the request waits for it, and reaches the store after it
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Blow:
    """One death of a process. In a plan: while it waits for a table in its middle."""

    death: Death
    moment: Moment = Moment()
    table: str = ""  # of a plan: the one it waits for
    file_bytes: int = 0  # of a full disk: no file can grow beyond


@dataclass(frozen=True, slots=True)
class Turn:
    """What the world does while a command runs: at a moment of it, or while a plan waits for a table in its middle."""

    changes: tuple[Change, ...]
    moment: Moment = Moment()
    table: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """One command."""

    arguments: tuple[str, ...]
    blow: Blow | None = None
    outages: tuple[tuple[str, Outage], ...] = ()  # of `source` or `destination`
    changes: tuple[Change, ...] = ()  # what the world does before
    turn: Turn | None = None
    wrong: Wrong | None = None  # of what a plan is made instead of the database

    @property
    def table(self) -> str:
        """For which table a plan has to wait, so that something can happen in its middle."""
        return (self.blow.table if self.blow else "") or (self.turn.table if self.turn else "")

    def __str__(self) -> str:
        """As it is shown to whoever replays a scenario."""
        parts = [f"[{', '.join(map(str, self.changes))}]"] if self.changes else []
        parts += [" ".join(self.arguments)]
        if self.wrong is not None:
            parts.append(f"of {self.wrong.value}")
        if self.turn is not None:
            place = self.turn.table or f"{self.turn.moment.operation} {self.turn.moment.nth}"
            parts.append(f"at {place}: {', '.join(map(str, self.turn.changes))}")
        for role, outage in self.outages:
            how_long = f", {outage.lasts} times" if outage.lasts is not None else ""
            parts.append(f"{role} answers {outage.fault} after {outage.after} requests{how_long}")
        if self.blow is not None:
            place = self.blow.table or self.blow.moment.operation or f"{self.blow.moment.seconds:.2f} s"
            when = {Death.DISK: f"files of {self.blow.file_bytes} bytes"}.get(
                self.blow.death, f"{place} {self.blow.moment.nth or ''}".strip()
            )
            parts.append(f"{self.blow.death.value} at {when}{' (held)' if self.blow.moment.hold else ''}")
        return " | ".join(parts)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything about a day but what comes of it."""

    seed: int
    world: str  # a kind of `world.KINDS`, or MOVING
    moto: bool  # the destination is moto, which keeps ACLs
    server_side: bool  # the store may copy by itself
    copying: dict[str, str]  # keys of [copy]
    read_timeout_seconds: int
    storms: dict[str, Storm]  # by role
    acts: tuple[Act, ...]
    hasty: bool = True  # waits between attempts are shorter than in life
    limited: bool = False  # the first plan takes in a part only
    prefixed: bool = False  # of a moving day: keys have a prefix

    @property
    def moving(self) -> bool:
        """Whether it is a day of a world of its own, in which rows change and other tools write."""
        return self.world == MOVING

    @property
    def restarts(self) -> bool:
        """Whether the database is restarted, so that it must be nobody else's."""
        return any(act.blow is not None and act.blow.death is Death.RESTART for act in self.acts)

    @property
    def patient(self) -> bool:
        """Whether a client waits long enough to hear every answer that is given."""
        return self.read_timeout_seconds >= PATIENT_SECONDS


def scenario_of(seed: int) -> Scenario:
    """The day that a seed stands for."""
    random = Random(f"day {seed}")
    world = random.choices(("usual", "prefixed", "large"), (6, 2, 1))[0]
    moto = world != "large" and random.random() < 0.08
    impatient = random.random() < 0.06
    limited = random.random() < 0.3
    plans = _plans(random, limited=limited)
    if seed % _RESTART_EVERY == _RESTART_EVERY // 2:
        plans.insert(0, Act(("plan",), Blow(Death.RESTART, table=random.choice(TABLES))))
    copying = copying_of(random, world)
    in_parts = copying["multipart_threshold"] != "16MiB"
    acts = [_act(random, in_parts=in_parts) for _ in range(random.choice((1, 2, 2, 3)))]
    return Scenario(
        seed=seed,
        world=world,
        moto=moto,
        server_side=not moto and random.random() < 0.15,
        copying=copying,
        read_timeout_seconds=SHORT_READ_TIMEOUT_SECONDS if impatient else PATIENT_SECONDS,
        storms={role: Storm.made_up(f"{seed} {role}", impatient=impatient) for role in ("source", "destination")},
        acts=(*plans, *acts),
        hasty=random.random() < 0.95,
        limited=limited,
    )


def copying_of(random: Random, world: str) -> dict[str, str]:
    """Keys of [copy]."""
    threshold = "5MiB" if world == "large" else random.choice(("16MiB", "16MiB", "30000", "8000"))
    return {
        "workers": str(random.choice((1, 2, 4, 8, 16))),
        "max_attempts": str(random.choice((4, 5, 8))),
        "multipart_threshold": threshold,
        "part_size": "5MiB",
        "memory": random.choice(("16MiB", "64MiB", "256MiB")),
        "outage_patience": "10s",
        "throttle_budget_seconds": random.choice(("900", "900", "5")),
    }


def _plans(random: Random, *, limited: bool) -> list[Act]:
    """The first plan, perhaps after some that come to nothing."""
    acts = []
    if random.random() < 0.2:
        death = random.choice((Death.KILL, Death.TERM, Death.SESSION))
        acts.append(Act(("plan",), Blow(death, table=random.choice(TABLES))))
    if random.random() < 0.08:
        acts.append(Act(("plan",), Blow(Death.DISK, file_bytes=random.randrange(8_192, 200_000))))
    return [*acts, Act(("plan", "--limit", "2") if limited else ("plan",))]


def _act(random: Random, *, in_parts: bool) -> Act:
    command = random.choices(("copy", "retry-failed", "verify", "adopt", "plan"), (60, 20, 9, 5, 6))[0]
    if command == "plan":
        return Act((command,), Blow(random.choice((Death.KILL, Death.TERM)), table=random.choice(TABLES)))
    if command in ("verify", "adopt"):
        return Act(
            (command, "--deep") if random.random() < 0.4 else (command,),
            blow_of_command(random, command, in_parts=in_parts),
        )
    outages = []
    blow = blow_of_command(random, command, in_parts=in_parts) if random.random() < 0.75 else None
    if random.random() < (0.15 if blow else 0.5):
        outages.append((random.choice(("source", "destination")), Outage.made_up(random)))
    return Act((command,), blow, tuple(outages))


def blow_of_command(random: Random, command: str, *, in_parts: bool) -> Blow:
    """The death of a command that talks to stores. `in_parts`: uploads in parts are usual."""
    death = random.choices((Death.KILL, Death.TERM, Death.TERM_TWICE, Death.DISK), (60, 18, 8, 14))[0]
    if death is Death.DISK:
        return Blow(death, file_bytes=random.randrange(8_192, 250_000))
    if random.random() < 0.25:
        return Blow(death, Moment(seconds=random.uniform(0, 0.6)))
    if command not in ("copy", "retry-failed"):
        return Blow(death, Moment("*", random.choice((1, 1, 2, 2, 3, 9)), hold=random.random() < 0.5))
    operations = ["GetObject", "PutObject", "PutObject", "PutObject", "HeadObject", "*"]
    if in_parts:
        operations += ["*Part", "*Part", "CompleteMultipartUpload", "CreateMultipartUpload"]
    operation = random.choice(operations)
    at_most = 3 if "Multipart" in operation else 16
    return Blow(death, Moment(operation, random.randint(1, at_most), hold=random.random() < 0.7))
