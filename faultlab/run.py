"""Living through a scenario: real processes, real stores behind proxies, blows that fall when they are due."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from faultlab.command import Command, Order
from faultlab.invariants import ENDED_WRONG, TWICE, Ending, Inspector
from faultlab.manifest_copy import ManifestCopy, read_copy
from faultlab.moves import Change
from faultlab.moving_days import PRUNE
from faultlab.moving_invariants import MovingInspector
from faultlab.moving_world import MovingWorld
from faultlab.scenario import PATIENT_SECONDS, Act, Blow, Death, Moment, Scenario
from faultlab.tally import Tally
from faultlab.weather import Gong, Sky
from faultlab.world import World
from lab.addresses import DatabaseAddress, S3Address
from lab.buckets import delete_bucket
from lab.configuration import pg_section, s3_section, write_config
from lab.fault_plan import no_faults
from lab.faults import FaultProxy
from lab.traffic import Exchange

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MANIFEST = "mastosync.db"
DEADLINE_SECONDS = 150  # of one command: far more than any takes
_POLL_SECONDS = 0.005
_ROUNDS = 3  # of copying in calm weather, until nothing moves: more than it takes
_TWICE_SECONDS = 0.03  # from the first signal to the second, or they would be one

_WAITING = """
SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


@dataclass(slots=True)
class Day:
    """One scenario under way."""

    scenario: Scenario
    world: World | MovingWorld
    proxies: dict[str, FaultProxy]  # by role; one for both where a store copies by itself
    buckets: dict[str, str]  # by role
    destination: S3Address
    folder: Path
    inspector: Inspector | MovingInspector
    say: Callable[[str], None]
    tally: Tally
    _exchanges: list[Exchange] = field(default_factory=list)

    def live(self) -> None:
        """Everything that happens, and then in calm weather what has to come of it."""
        self._configure(self.scenario.read_timeout_seconds)
        for act in self.scenario.acts:
            self._carry_out(act)
        self._configure(PATIENT_SECONDS)
        self.scenario = replace(self.scenario, storms={})
        if isinstance(self.world, MovingWorld):
            self._end_moving(self.world)
        else:
            self._end_still()
        self.inspector.inspect_traffic(self._exchanges)
        manifest = self._manifest()
        self.inspector.inspect_outcome(manifest)
        self.tally.entries += len(manifest.lines)
        self.tally.moved_bytes += sum(line.size or 0 for _, line in manifest.in_state("done"))

    def _end_still(self) -> None:
        """What brings everything to its end where nothing has changed."""
        if self.scenario.limited:
            self._carry_out(Act(("plan",)), 0)
        self._copy_rest(3)  # one object is missing at the source
        self._carry_out(Act(("verify",)), 0)

    def _end_moving(self, world: MovingWorld) -> None:
        """A last plan, and whatever it takes until nothing moves; what other tools broke is found and put right."""
        self._carry_out(Act(("plan",)), 0)
        self._carry_out(Act(("accept", "--gone")), 0)  # what a wrong plan lost and no row has any more was deleted
        self._copy_until_nothing_moves()
        if self._carry_out(Act(("verify",))) == 3:
            self._copy_until_nothing_moves()
            self._carry_out(Act(("verify",)), 0)
        self._carry_out(Act((*PRUNE, "--adopted")), 0)

    def _copy_until_nothing_moves(self) -> None:
        for _ in range(_ROUNDS):
            known = len(self._exchanges)
            self._copy_rest(3)  # as above
            if not any(each.stored for each in self._exchanges[known:]):
                return
        self.inspector.complain(TWICE, f"after {_ROUNDS} rounds of copying there is still something to copy")

    def _copy_rest(self, code: int) -> None:
        """Whoever retries copies what is pending too, if anything has failed."""
        failed = any(self._manifest().in_state("failed"))
        self._carry_out(Act(("retry-failed",) if failed else ("copy",)), code)

    def _manifest(self) -> ManifestCopy:
        return read_copy(self.folder / MANIFEST)

    def _carry_out(self, act: Act, code: int | None = None) -> int | None:
        """Run one command and look at what it leaves; `code` is the only exit code it may have.

        Returns: the one it had.
        """
        blow, turn = act.blow, act.turn
        struck = _gong_of(blow.moment) if blow is not None else None
        turned = _gong_of(turn.moment) if turn is not None else None
        sky = Sky(
            {self.buckets[role]: storm for role, storm in self.scenario.storms.items()},
            {self.buckets[role]: outage for role, outage in act.outages},
            [gong for gong in (struck, turned) if gong is not None],
        )
        for proxy in self._distinct_proxies():
            proxy.plan = sky
        name = f"{self.tally.commands:02d}-{act.arguments[0]}"
        file_bytes = blow.file_bytes or None if blow is not None else None
        order = Order(("--no-progress", *act.arguments), self.folder, name, file_bytes, self.scenario.hasty)
        self._change(act.changes)
        self.inspector.begin(act)
        with self._instead_of_database(act), self._aside(act):
            ended_with = self._run(order, act, struck, turned)
        self._wait_until_idle()
        exchanges = self._new_exchanges()
        ending = Ending(act, ended_with, order.output(), exchanges, self._manifest())
        self._count(ending)
        self.say(f"{name}: {act} -> {ended_with}, {len(exchanges)} requests")
        self.inspector.inspect(ending)
        if code is not None and ended_with != code:
            self.inspector.complain(ENDED_WRONG, f"`{act}` in calm weather ended with {ended_with}:\n{ending.output}")
        return ended_with

    def _run(self, order: Order, act: Act, struck: Gong | None, turned: Gong | None) -> int | None:
        command, over = Command(order), threading.Event()
        try:
            with self._turning(act, turned, over):
                if act.table:
                    self._meddle_with_plan(command, act)
                elif act.blow is not None and act.blow.death is not Death.DISK:
                    _await(command, act.blow, struck)
                    _strike(command, act.blow.death)
                if struck is not None:
                    struck.fallen.set()
                command.wait(DEADLINE_SECONDS)
                over.set()
            return command.wait(0)
        finally:
            over.set()
            command.end()

    def _change(self, changes: tuple[Change, ...]) -> None:
        if changes:
            assert isinstance(self.world, MovingWorld)  # noqa: S101 - nothing moves in the others
            self.world.change(changes)

    @contextlib.contextmanager
    def _turning(self, act: Act, gong: Gong | None, over: threading.Event) -> Iterator[None]:
        """Let the world change when its moment comes, or when the command is over."""
        if act.turn is None or gong is None:
            yield
            return
        changes = act.turn.changes

        def turn() -> None:
            while not over.is_set() and not gong.due.wait(_POLL_SECONDS):
                pass
            try:
                self._change(changes)
            finally:
                gong.fallen.set()

        with ThreadPoolExecutor(1) as pool:
            turning = pool.submit(turn)
            try:
                yield
            finally:
                over.set()
            turning.result()

    @contextlib.contextmanager
    def _instead_of_database(self, act: Act) -> Iterator[None]:
        """Let a plan read the wrong database, if it is one that does."""
        if act.wrong is None:
            yield
            return
        assert isinstance(self.world, MovingWorld)  # noqa: S101 - nobody else makes such plans
        assert isinstance(self.inspector, MovingInspector)  # noqa: S101 - as above
        with self.world.wrong(act.wrong) as (address, state):
            self._configure(self.scenario.read_timeout_seconds, address)
            self.inspector.wrong = state
            yield
            self._configure(self.scenario.read_timeout_seconds)

    @contextlib.contextmanager
    def _aside(self, act: Act) -> Iterator[None]:
        """Put the manifest away while another one is imported in its place."""
        if act.arguments[:2] == ("manifest", "import"):
            with tempfile.TemporaryDirectory(prefix="aside-", dir=self.folder) as aside:
                for file in self.folder.glob(f"{MANIFEST}*"):
                    file.rename(Path(aside) / file.name)
                yield
        else:
            yield

    def _meddle_with_plan(self, command: Command, act: Act) -> None:
        """Strike, or let the world change, while the plan waits for a table that somebody else holds."""
        waiting = None  # who waits; nobody, if the command has ended before
        with self._holding(act.table) as (watcher, blocker):
            while command.running and not (waiting := watcher.execute(_WAITING).fetchone()):
                command.process.join(_POLL_SECONDS)
            if act.turn is not None:
                assert isinstance(self.world, MovingWorld)  # noqa: S101 - nothing moves in the others
                self.world.change(act.turn.changes, blocker)
            if act.blow is None:
                pass
            elif act.blow.death is Death.RESTART:
                self.world.restart()
            elif act.blow.death is Death.SESSION and waiting:
                watcher.execute("SELECT pg_terminate_backend(%s)", waiting)
            else:
                _strike(command, act.blow.death)
            if act.blow is not None:
                command.wait(DEADLINE_SECONDS)
            if act.turn is not None:
                blocker.commit()

    @contextlib.contextmanager
    def _holding(self, table: str) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
        """Keep everybody from a table. Yields: a connection to look at who waits for it, and the one that holds it."""
        watcher, blocker = self.world.database.connect(autocommit=True), self.world.database.connect()
        try:
            blocker.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table)))
            yield watcher, blocker
        finally:
            blocker.close()
            watcher.close()

    def _wait_until_idle(self) -> None:
        """What a dead client had sent may still be on its way; the next command can only find what has arrived."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not all(proxy.is_idle for proxy in self._distinct_proxies()):
            if time.monotonic() > deadline:
                self.inspector.complain(ENDED_WRONG, "a connection is still open after the process has ended")
                return
            time.sleep(_POLL_SECONDS)

    def _distinct_proxies(self) -> list[FaultProxy]:
        return list({id(proxy): proxy for proxy in self.proxies.values()}.values())

    def _new_exchanges(self) -> list[Exchange]:
        everything = [each for proxy in self._distinct_proxies() for each in proxy.requests]
        known = {id(each) for each in self._exchanges}
        new = sorted((each for each in everything if id(each) not in known), key=lambda each: each.answered)
        self._exchanges += new
        return new

    def _count(self, ending: Ending) -> None:
        self.tally.commands += 1
        self.tally.requests += len(ending.exchanges)
        self.tally.faults += Counter(str(each.fault) for each in ending.exchanges if each.fault is not None)
        self.tally.exit_codes[ending.code if ending.code is not None else -99] += 1
        blow = ending.act.blow
        if blow is not None and ending.code not in (0, 3, 7):
            self.tally.deaths[blow.death.value + (" during a plan" if ending.act.arguments[0] == "plan" else "")] += 1

    def _configure(self, read_timeout_seconds: int, database: DatabaseAddress | None = None) -> None:
        prefix = {"key_prefix": self.world.key_prefix} if self.world.key_prefix else {}
        addresses = {"source": self.world.source, "destination": self.destination}
        stores = {
            f"s3.{role}": s3_section(
                replace(address, endpoint_url=self.proxies[role].endpoint_url),
                self.buckets[role],
                read_timeout_seconds=str(read_timeout_seconds),
                **prefix,
            )
            for role, address in addresses.items()
        }
        server_side = "auto" if self.scenario.server_side else "never"
        copying = {"copy": {**self.scenario.copying, "server_side": server_side}}
        write_config(
            self.folder / "config.ini",
            {**stores, "pg.database": pg_section(database or self.world.database), **copying},
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a scenario takes place, and who is told of it."""

    world: World | MovingWorld
    destination: S3Address
    client: S3Client  # of the destination
    say: Callable[[str], None]


def lived_through(scenario: Scenario, stage: Stage, tally: Tally) -> Tally:
    """Live through a scenario. Returns: its figures, added to the tally; `violations` says what did not hold."""
    began = time.monotonic()
    tally.scenarios += 1
    with _day(scenario, stage, tally) as day:
        day.live()
    tally.seconds = time.monotonic() - began
    return tally


@contextlib.contextmanager
def _day(scenario: Scenario, stage: Stage, tally: Tally) -> Iterator[Day]:
    """A scenario with its own bucket, folder and proxies, which are gone at the end."""
    world, destination, client = stage.world, stage.destination, stage.client
    bucket = f"day-{scenario.seed}-{uuid.uuid4().hex[:12]}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{bucket}-")))
        client.create_bucket(Bucket=bucket)
        stack.callback(delete_bucket, client, bucket)
        first = second = stack.enter_context(FaultProxy(world.source.endpoint_url, no_faults))
        if not scenario.server_side:
            second = stack.enter_context(FaultProxy(destination.endpoint_url, no_faults))
        secrets = (world.source.secret_key, destination.secret_key, world.database.password)
        inspector: Inspector | MovingInspector
        if isinstance(world, MovingWorld):
            world.destination = client, bucket
            inspector = MovingInspector(scenario, world, client, bucket, secrets, tally)
        else:
            inspector = Inspector(scenario, world, client, bucket, secrets, tally)
        yield Day(
            scenario,
            world,
            {"source": first, "destination": second},
            {"source": world.bucket, "destination": bucket},
            destination,
            folder,
            inspector,
            stage.say,
            tally,
        )


def _gong_of(moment: Moment) -> Gong | None:
    """What strikes at a moment; None: the moment is no request's."""
    return Gong(moment.operation, moment.nth, moment.hold) if moment.operation else None


def _await(command: Command, blow: Blow, gong: Gong | None) -> None:
    """Wait until the blow is due, or the process has ended by itself."""
    if gong is None:
        command.wait(blow.moment.seconds)
        return
    deadline = time.monotonic() + DEADLINE_SECONDS
    while command.running and time.monotonic() < deadline and not gong.due.wait(_POLL_SECONDS):
        pass


def _strike(command: Command, death: Death) -> None:
    command.send(signal.SIGKILL if death is Death.KILL else signal.SIGTERM)
    if death is Death.TERM_TWICE:
        command.wait(_TWICE_SECONDS)
        command.send(signal.SIGTERM)
    elif death is Death.KILL:
        command.wait(DEADLINE_SECONDS)
