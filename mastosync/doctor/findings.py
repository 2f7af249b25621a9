"""What `doctor` has to say: one finding a check, and what they come to together."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from mastosync.errors import ConfigError, ExitCode, MastosyncError

T = TypeVar("T")

Findings = Generator["Finding", None, T]
"""Checks of one subject, one after the other; in the end, what later ones want to know of them."""


class Grade(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"  # a migration is possible, but something is lost, risky or slow
    FAILURE = "failure"  # a plan or a copy would fail, or do harm
    SKIPPED = "skipped"  # something else has to be put right first


class Subject(StrEnum):
    """What was looked at, in the order in which it is told."""

    SOURCE = "source"
    DESTINATION = "destination"
    DATABASE = "database"
    MANIFEST = "manifest"
    MACHINE = "machine"


_EXIT_CODE = {
    Subject.SOURCE: ExitCode.STORE,
    Subject.DESTINATION: ExitCode.STORE,
    Subject.DATABASE: ExitCode.DATABASE,
    Subject.MANIFEST: ExitCode.MANIFEST,
    Subject.MACHINE: ExitCode.CONFIG,  # it is asked for more than it has
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. Its names are part of the interface."""

    subject: Subject
    check: str
    grade: Grade
    message: str
    remedy: str = ""  # empty where nothing need be done
    exit_code: ExitCode = ExitCode.OK  # of a failure

    def as_json(self) -> dict[str, str]:
        """For scripts."""
        return {
            "check": self.check,
            "subject": self.subject.value,
            "status": self.grade.value,
            "message": self.message,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class Chart:
    """Writes findings about one subject."""

    subject: Subject

    def ok(self, check: str, message: str) -> Finding:
        """All is well."""
        return Finding(self.subject, check, Grade.OK, message)

    def warning(self, check: str, message: str, remedy: str) -> Finding:
        """It will do, but."""
        return Finding(self.subject, check, Grade.WARNING, message, remedy)

    def failure(self, check: str, found: str | MastosyncError, remedy: str = "") -> Finding:
        """It will not do. An error brings its own remedy, unless one is given."""
        code = ExitCode.CONFIG if isinstance(found, ConfigError) else _EXIT_CODE[self.subject]
        if isinstance(found, MastosyncError):
            return Finding(self.subject, check, Grade.FAILURE, found.message, remedy or found.hint, code)
        return Finding(self.subject, check, Grade.FAILURE, found, remedy, code)

    def skipped(self, checks: Iterable[str], why: str) -> Iterable[Finding]:
        """Nobody knows yet."""
        return [Finding(self.subject, check, Grade.SKIPPED, why) for check in checks]


@dataclass(slots=True)
class Diagnosis:
    """All findings."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """That of the first failure; warnings alone are none."""
        return next((found.exit_code for found in self.findings if found.grade is Grade.FAILURE), ExitCode.OK)

    def summary(self) -> dict[Grade, int]:
        """How many there are of each grade."""
        return {grade: sum(found.grade is grade for found in self.findings) for grade in Grade}

    def as_json(self) -> dict[str, Any]:
        """For scripts. The names are part of the interface."""
        counts = {grade.value: count for grade, count in self.summary().items()}
        return {
            "checks": [found.as_json() for found in self.findings],
            "summary": {**counts, "exit_code": int(self.exit_code)},
        }


def drained(checks: Findings[T]) -> tuple[list[Finding], T]:
    """Make all checks: what they found, and what they return."""
    findings = []
    while True:
        try:
            findings.append(next(checks))
        except StopIteration as end:
            return findings, end.value
