"""One process that lives through scenarios, one after the other, in worlds that it populates once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from faultlab.moving_world import moving_worlds
from faultlab.run import Stage, lived_through
from faultlab.scenario import Scenario
from faultlab.tally import Tally
from faultlab.world import World, worlds
from lab.addresses import LabAddresses, S3Address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Runner(contextlib.AbstractContextManager["Runner"]):
    """Use as a context manager: its worlds are gone at the end."""

    def __init__(self, addresses: LabAddresses) -> None:
        self._addresses = addresses
        self._stack = contextlib.ExitStack()
        self._world = worlds(addresses, self._stack)
        assert addresses.postgres is not None  # noqa: S101 - a lab for scenarios has one
        self._moving_world = moving_worlds(addresses.postgres, self._stack)
        self._clients: dict[str, S3Client] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, scenario: Scenario, say: Callable[[str], None] = lambda _: None) -> Tally:
        """Live through one scenario. `say` is told what happens."""
        destination, tally = self._destination(scenario), Tally()
        client = self._client_of(destination)
        if not scenario.moving:
            world = self.world(scenario.world, restarts=scenario.restarts)
            return lived_through(scenario, Stage(world, destination, client, say), tally)
        source = destination if scenario.server_side else self._addresses.s3[0]
        with self._moving_world(scenario, source, self._client_of(source), tally.moves) as moving:
            return lived_through(scenario, Stage(moving, destination, client, say), tally)

    def world(self, kind: str, *, restarts: bool = False) -> World:
        """A world of this kind; one whose database can be restarted has a server of its own."""
        return self._world(kind, restarts)

    def _destination(self, scenario: Scenario) -> S3Address:
        if not scenario.moto:
            return self._addresses.s3[0]
        assert self._addresses.moto is not None  # noqa: S101 - a lab for scenarios has one
        return self._addresses.moto

    def _client_of(self, address: S3Address) -> S3Client:
        if address.endpoint_url not in self._clients:
            self._clients[address.endpoint_url] = self._stack.enter_context(contextlib.closing(address.client()))
        return self._clients[address.endpoint_url]
