"""Living through a scenario: real processes, real stores behind proxies, blows that fall when they are due."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from scripts.faultlab.command import Command, Order
from scripts.faultlab.invariants import ENDED_WRONG, Ending, Inspector
from scripts.faultlab.manifest_copy import read_copy
from scripts.faultlab.scenario import PATIENT_SECONDS, Act, Blow, Death, Scenario
from scripts.faultlab.tally import Tally
from scripts.faultlab.weather import Gong, Sky
from scripts.faultlab.world import World
from scripts.lab.addresses import S3Address
from scripts.lab.buckets import delete_bucket
from scripts.lab.configuration import pg_section, s3_section, write_config
from scripts.lab.fault_plan import no_faults
from scripts.lab.faults import FaultProxy
from scripts.lab.traffic import Exchange

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DEADLINE_SECONDS = 150  # of one command: far more than any takes
_POLL_SECONDS = 0.005
_TWICE_SECONDS = 0.03  # from the first signal to the second, or they would be one

_WAITING = """
SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


@dataclass(slots=True)
class Day:
    """One scenario under way."""

    scenario: Scenario
    world: World
    proxies: dict[str, FaultProxy]  # by role; one for both where a store copies by itself
    buckets: dict[str, str]  # by role
    destination: S3Address
    folder: Path
    inspector: Inspector
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
        if self.scenario.limited:
            self._carry_out(Act(("plan",)), 0)
        failed = any(read_copy(self.folder / "mastosync.db").in_state("failed"))
        # one object is missing at the source; whoever retries copies what is pending too, if anything has failed
        self._carry_out(Act(("retry-failed",) if failed else ("copy",)), 3)
        self._carry_out(Act(("verify",)), 0)
        self.inspector.inspect_traffic(self._exchanges)
        manifest = read_copy(self.folder / "mastosync.db")
        self.inspector.inspect_outcome(manifest)
        self.tally.entries += len(manifest.entries)
        self.tally.moved_bytes += sum(line.size or 0 for _, line in manifest.in_state("done"))

    def _carry_out(self, act: Act, code: int | None = None) -> None:
        """Run one command and look at what it leaves; `code` is the only exit code it may have."""
        blow = act.blow
        gong = None
        if blow is not None and blow.moment.operation:
            gong = Gong(blow.moment.operation, blow.moment.nth, blow.moment.hold)
        sky = Sky(
            {self.buckets[role]: storm for role, storm in self.scenario.storms.items()},
            {self.buckets[role]: outage for role, outage in act.outages},
            gong,
        )
        for proxy in self._distinct_proxies():
            proxy.plan = sky
        name = f"{self.tally.commands:02d}-{act.arguments[0]}"
        file_bytes = blow.file_bytes or None if blow is not None else None
        order = Order(("--no-progress", *act.arguments), self.folder, name, file_bytes, self.scenario.hasty)
        ended_with = self._run(order, blow, gong)
        self._wait_until_idle()
        exchanges = self._new_exchanges()
        ending = Ending(act, ended_with, order.output(), exchanges, read_copy(self.folder / "mastosync.db"))
        self._count(ending)
        self.say(f"{name}: {act} -> {ended_with}, {len(exchanges)} requests")
        self.inspector.inspect(ending)
        if code is not None and ended_with != code:
            self.inspector.complain(ENDED_WRONG, f"`{act}` in calm weather ended with {ended_with}:\n{ending.output}")

    def _run(self, order: Order, blow: Blow | None, gong: Gong | None) -> int | None:
        command = Command(order)
        try:
            if blow is not None and blow.table:
                self._strike_plan(command, blow)
            elif blow is not None and blow.death is not Death.DISK:
                _await(command, blow, gong)
                _strike(command, blow.death)
            if gong is not None:
                gong.fallen.set()
            return command.wait(DEADLINE_SECONDS)
        finally:
            command.end()

    def _strike_plan(self, command: Command, blow: Blow) -> None:
        """Strike while the plan waits for a table that somebody else holds."""
        with self._holding(blow.table) as watcher:
            while command.running and not (waiting := watcher.execute(_WAITING).fetchone()):
                command.process.join(_POLL_SECONDS)
            if blow.death is Death.RESTART:
                self.world.restart()
            elif blow.death is Death.SESSION and waiting:
                watcher.execute("SELECT pg_terminate_backend(%s)", waiting)
            else:
                _strike(command, blow.death)
            command.wait(DEADLINE_SECONDS)

    @contextlib.contextmanager
    def _holding(self, table: str) -> Iterator[psycopg.Connection]:
        """Keep everybody from a table. Yields: a connection to look at who waits for it."""
        watcher, blocker = self.world.database.connect(autocommit=True), self.world.database.connect()
        try:
            blocker.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table)))
            yield watcher
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

    def _configure(self, read_timeout_seconds: int) -> None:
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
        write_config(self.folder / "config.ini", {**stores, "pg.database": pg_section(self.world.database), **copying})


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a scenario takes place, and who is told of it."""

    world: World
    destination: S3Address
    client: S3Client  # of the destination
    say: Callable[[str], None]


def lived_through(scenario: Scenario, stage: Stage) -> Tally:
    """Live through a scenario. Returns: its figures; `violations` says what did not hold."""
    began = time.monotonic()
    tally = Tally(scenarios=1)
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
        yield Day(
            scenario,
            world,
            {"source": first, "destination": second},
            {"source": world.instance.bucket, "destination": bucket},
            destination,
            folder,
            Inspector(scenario, world, client, bucket, secrets, tally),
            stage.say,
            tally,
        )


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
