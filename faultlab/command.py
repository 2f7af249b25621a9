"""`mastosync` as processes of their own, forked from one that has loaded it: hundreds of runs in CI's time.

What a child does is what the console script does. It has its own memory, files and signals, and
dies as any process does.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pkgutil
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import mastosync

FOREIGN_SETTINGS = ("MASTOSYNC_", "AWS_", "PG")
_FORKS = multiprocessing.get_context("forkserver")


@functools.cache
def _load_all_first() -> None:
    """Have the process that all are forked from load whatever some command would, this module, and the lab.

    Not at import: a child imports this module too, and has nobody to prepare.
    """
    names = [module.name for module in pkgutil.walk_packages(mastosync.__path__, "mastosync.")]
    loaded = [name for name in names if not name.endswith(("__main__", "tunnel"))]  # SSH is for nobody here
    _FORKS.set_forkserver_preload([*loaded, "humanize", __name__, "faultlab.many", "faultlab.ready"])


@dataclass(frozen=True, slots=True)
class Order:
    """What a child is to do, and where."""

    arguments: tuple[str, ...]
    folder: Path
    name: str  # of its output, in the folder or, with a path, elsewhere
    file_bytes: int | None = None  # no file may grow beyond
    hasty: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)  # settings of ours and others
    umask: int | None = None  # None: the one that the first child's parent had

    @property
    def out(self) -> Path:
        """Where standard output goes."""
        return self.folder / f"{self.name}.out"

    @property
    def err(self) -> Path:
        """Where standard error goes."""
        return self.folder / f"{self.name}.err"

    def output(self) -> str:
        """Everything it said so far."""
        return "".join(path.read_text(errors="replace") for path in (self.out, self.err) if path.exists())


@dataclass(slots=True)
class Command:
    """A running child. Whoever starts it waits for its end."""

    order: Order
    process: ForkServerProcess = field(init=False)

    def __post_init__(self) -> None:
        _load_all_first()
        self.process = _FORKS.Process(target=_obey, args=(self.order, _environment() | dict(self.order.environ)))
        self.process.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if there is still somebody to take it."""
        if self.running and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def wait(self, seconds: float) -> int | None:
        """The exit code (minus the number of the signal that ended it), or None if it runs on."""
        self.process.join(seconds)
        return self.process.exitcode

    def end(self) -> None:
        """Make sure that it is gone."""
        if self.running:
            self.process.kill()
        self.process.join()
        self.process.close()


@dataclass(slots=True)
class LongLived:
    """One process that runs command after command, as nothing but a soak wants it."""

    order: Order  # its arguments are of no account
    process: ForkServerProcess = field(init=False)
    _orders: Connection = field(init=False)

    def __post_init__(self) -> None:
        _load_all_first()
        self._orders, theirs = _FORKS.Pipe()
        self.process = _FORKS.Process(target=_obey_all, args=(self.order, _environment(), theirs))
        self.process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None  # noqa: S101 - it was started
        return self.process.pid

    def run(self, *arguments: str) -> int:
        """The exit code of one command. Raises: EOFError if the process dies of it."""
        self._orders.send(arguments)
        code: int = self._orders.recv()
        return code

    def end(self) -> None:
        """Let it go."""
        self._orders.close()
        self.process.join(30)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_SETTINGS)}


def _obey(order: Order, environment: Mapping[str, str]) -> None:
    """What the child does: what a shell does before it runs a command, and the console script."""
    _settle(order, environment)
    from mastosync.cli.main import main  # noqa: PLC0415 - loaded in the process that this one was forked from

    sys.exit(main(list(order.arguments)))


def _obey_all(order: Order, environment: Mapping[str, str], orders: Connection) -> None:
    _settle(order, environment)
    from mastosync.cli.main import main  # noqa: PLC0415 - see above

    while True:
        try:
            arguments = orders.recv()
        except EOFError:
            return
        orders.send(int(main(list(arguments))))


def _settle(order: Order, environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(order.folder)
    if order.umask is not None:
        os.umask(order.umask)
    for path, descriptor in ((order.out, 1), (order.err, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    _believe_soon()
    if order.hasty:
        _make_haste()
    if order.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_bytes, order.file_bytes))


def _believe_soon() -> None:
    """Let a run believe the stores' digests after a few objects: a day has too few to earn that as in life."""
    from mastosync.copying import digests  # noqa: PLC0415 - only here

    digests._EARNED_OBJECTS, digests._CONTRADICTED_AT_FIRST, digests._SAMPLED = 4, 4, 16


def _make_haste() -> None:
    """Let waits between attempts take a twentieth of their time. What follows from them stays as it is."""
    from dataclasses import replace  # noqa: PLC0415 - only here

    from mastosync.app import stores  # noqa: PLC0415 - see above
    from mastosync.runtime import limiter, outages  # noqa: PLC0415 - see above

    as_configured = stores.retry_policy
    stores.retry_policy = lambda config: replace(
        as_configured(config), first_wait_seconds=0.025, longest_wait_seconds=1.5
    )
    limiter._FIRST_PAUSE_SECONDS /= 20
    limiter._LONGEST_PAUSE_SECONDS /= 20
    outages.FIRST_WAIT_SECONDS /= 20
    outages.LONGEST_WAIT_SECONDS /= 20
