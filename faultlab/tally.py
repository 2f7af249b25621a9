"""What a scenario has come to, in numbers that add up over scenarios."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Figures of one scenario, or of many."""

    scenarios: int = 0
    commands: int = 0
    requests: int = 0
    entries: int = 0
    moved_bytes: int = 0  # of objects that arrived
    faults: Counter[str] = field(default_factory=Counter)  # by what they are called
    deaths: Counter[str] = field(default_factory=Counter)  # of processes, by kind
    moves: Counter[str] = field(default_factory=Counter)  # what the world did by itself, by kind
    exit_codes: Counter[int] = field(default_factory=Counter)
    stored_again: int = 0  # because nobody could know that an object had arrived: its answer was lost or damaged
    wrong: Counter[str] = field(default_factory=Counter)  # invariants that did not hold, by name
    violations: list[str] = field(default_factory=list)  # ... in words
    seconds: float = 0.0

    def complain(self, seed: int, invariant: str, what: str) -> None:
        """Count something that must not be, and say what."""
        self.wrong[invariant] += 1
        self.violations.append(f"seed {seed}: {invariant}: {what}")

    def add(self, other: Tally) -> None:
        """Take in another one."""
        self.scenarios += other.scenarios
        self.commands += other.commands
        self.requests += other.requests
        self.entries += other.entries
        self.moved_bytes += other.moved_bytes
        self.faults += other.faults
        self.deaths += other.deaths
        self.moves += other.moves
        self.exit_codes += other.exit_codes
        self.stored_again += other.stored_again
        self.wrong += other.wrong
        self.violations += other.violations
        self.seconds += other.seconds
