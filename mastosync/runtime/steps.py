"""What a transfer wants done, step by step, so that one thread can carry on many of them.

A transfer is a generator: it yields a step, and whoever drives it sends the result back in, or
throws the error. `run_to_end` drives one alone and waits for each step; `runtime.transfer_loop` drives many.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from mastosync.errors import ObjectError
from mastosync.runtime.retry import RetryingStore
from mastosync.runtime.stop import StopSignal

T = TypeVar("T")

_LOOK_SECONDS = 0.005


class StoreCall(NamedTuple):
    """One small request of one store, of which many can be under way in one thread."""

    store: RetryingStore
    operation: Literal["read", "write", "head", "copy_from"]  # a method of `ObjectStore`
    arguments: tuple[Any, ...]

    def carry_out(self) -> object:
        """Make the request, with patience. Raises: ObjectError, StoreUnusable, Interrupted."""
        return getattr(self.store, self.operation)(*self.arguments)

    def answer_at_hand(self) -> object | None:
        """The answer, if the store has it without keeping anybody waiting; else None, and it has to be carried out."""
        return self.store.read_cached(*self.arguments) if self.operation == "read" else None

    def carry_out_after(self, failure: ObjectError) -> object:
        """The same, when a first attempt has failed in a way that may pass."""
        return self.store.again(failure, self.operation, self.arguments)


@dataclass(frozen=True, slots=True)
class BlockingCall:
    """Work that waits on its own, in a thread of its own."""

    work: Callable[[], object]
    large: bool = False  # moves a large object, which must not keep small ones waiting

    def carry_out(self) -> object:
        """Do it. Raises: what it raises."""
        return self.work()


@dataclass(frozen=True, slots=True)
class Until:
    """Wait, in no thread, for what another transfer does that is under way.

    Whoever waits keeps its place in the lane, and the memory that it has. So the other must need no more of either.
    """

    reached: Callable[[], bool]  # asked again and again; raises nothing
    stop: StopSignal

    def carry_out(self) -> None:
        """Wait here. Raises: Interrupted; what `reached` raises."""
        while not self.reached():
            self.stop.sleep(_LOOK_SECONDS)


Step: TypeAlias = StoreCall | BlockingCall | Until
Steps: TypeAlias = Generator[Step, Any, T]


def run_to_end(steps: Steps[T]) -> T:
    """The result of steps that are done one after the other, here. Raises: what they raise."""
    try:
        step = next(steps)
        while True:
            try:
                result = step.carry_out()
            except BaseException as error:  # noqa: BLE001 - the steps decide what becomes of it
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        value: T = end.value
        return value
