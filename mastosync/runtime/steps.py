"""Transfers in steps.

A transfer is a generator: it yields a step, and its driver sends the result back in, or throws the error.
`run_to_end` drives one alone and waits for each step; `TransferLoop` drives many.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from mastosync.errors import ObjectError
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.stop import StopSignal
from mastosync.store.base import DigestUse

C = TypeVar("C")  # what is claimed
R = TypeVar("R")  # its outcome
T = TypeVar("T")

LOOK_SECONDS = 0.005
"""How long results of others may wait to be looked at."""


class StoreCall(NamedTuple):
    """One request of one store, of which many can be under way in one thread."""

    store: RetryingStore
    # a method of `RetryingStore`
    operation: Literal["read", "open", "write", "write_stream", "stream_part", "head", "first_part", "copy_from"]
    arguments: tuple[Any, ...]

    def run(self) -> object:
        """Make the request and wait for the answer. Raises: ObjectError, StoreUnusable, Interrupted."""
        if self._is_trial:
            return self.store.write_once(*self.arguments)
        return getattr(self.store, self.operation)(*self.arguments)

    @property
    def _is_trial(self) -> bool:
        """Whether it writes with a wrong MD5: a failure tells as much as another attempt would."""
        return self.operation == "write" and DigestUse.CONTRADICTED in self.arguments[4:]

    def cached_answer(self) -> object | None:
        """The answer, if the store has it without keeping anybody waiting; else None, and the request has to run."""
        return self.store.read_cached(*self.arguments[:3]) if self.operation in {"read", "open"} else None

    def let_go(self) -> None:
        """Break off the body that is to be sent on, if one has begun: the request will ask for it again."""
        if self.operation == "write_stream":
            self.arguments[1].close()

    def repeat(self, failure: ObjectError) -> object:
        """As `run`, when a first attempt has failed in a way that may pass."""
        if self._is_trial:
            raise failure
        return self.store.repeat(failure, self.operation, self.arguments)


@dataclass(frozen=True, slots=True)
class BlockingCall:
    """Work that blocks, and so gets a thread of its own."""

    work: Callable[[], object]
    large: bool = False  # moves a large object, which must not keep small ones waiting

    def run(self) -> object:
        """Do it. Raises: what it raises."""
        return self.work()


@dataclass(frozen=True, slots=True)
class LargeTurn:
    """Wait until a large object may move: it must not keep small ones waiting. Gives: whether it was set aside."""

    set_aside: Callable[[], None]  # lets go of what should not be held meanwhile

    def run(self) -> bool:
        """There is nobody to wait for here."""
        return False


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Wait, without a thread: for memory, for a commit, or for another transfer that is under way.

    The waiting transfer keeps its place in the loop and its memory. So another one must need no more of either.
    """

    reached: Callable[[], bool]  # asked again and again; raises nothing
    stop: StopSignal

    def run(self) -> None:
        """Wait in this thread. Raises: Interrupted; what `reached` raises."""
        while not self.reached():
            self.stop.sleep(LOOK_SECONDS)


Step: TypeAlias = StoreCall | BlockingCall | LargeTurn | WaitFor
Steps: TypeAlias = Generator[Step, Any, T]


def run_to_end(steps: Steps[T]) -> T:
    """Run steps here, one after the other, and return their result. Raises: what they raise."""
    try:
        step = next(steps)
        while True:
            try:
                result = step.run()
            except BaseException as error:  # noqa: BLE001 - the steps decide what becomes of it
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


class Ended(NamedTuple, Generic[C, R]):
    """What became of a claim: an outcome, or the error that ended it."""

    claim: C
    outcome: R | None
    error: BaseException | None = None
