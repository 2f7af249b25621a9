"""What all checks of `doctor` share: they make findings, ask a store with one retry, and come to an exit code."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, ParamSpec, TypeVar

from mastosync.errors import ConfigError, ExitCode, Interrupted, MastosyncError, ObjectError, StoreUnusable, Throttled
from mastosync.findings import CheckSubject, Finding, Grade
from mastosync.language import deferred, tr
from mastosync.runtime.stop import StopSignal

P = ParamSpec("P")
T = TypeVar("T")

Findings = Generator[Finding, None, T]
"""Checks of one subject, one after the other; they return what later checks need to know."""

IN_ONE_PIECE = deferred("between two buckets, raise `multipart_threshold` above the largest object (5 GiB at most)")
"""A remedy where a store cannot do with parts or ranges."""

STORE_ERRORS = (ObjectError, StoreUnusable)
"""What a store may answer with. The wish to stop is not among them."""

_SLOW_SECONDS = 3.0
_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 5.0  # whatever a store asks for

_EXIT_CODE = {
    CheckSubject.SOURCE: ExitCode.STORE,
    CheckSubject.DESTINATION: ExitCode.STORE,
    CheckSubject.DATABASE: ExitCode.DATABASE,
    CheckSubject.MANIFEST: ExitCode.MANIFEST,
    CheckSubject.MACHINE: ExitCode.CONFIG,  # it is asked for more than it has
}


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes findings about one subject."""

    subject: CheckSubject

    def ok(self, check: str, message: str) -> Finding:
        """All is well."""
        return Finding(check, Grade.OK, message, subject=self.subject)

    def warning(self, check: str, message: str, remedy: str) -> Finding:
        """It will do, but something is lost, risky or slow."""
        return Finding(check, Grade.WARNING, message, remedy, subject=self.subject)

    def failure(self, check: str, found: str | MastosyncError, remedy: str = "") -> Finding:
        """It will not do. An error brings its own remedy, unless one is given."""
        code = ExitCode.CONFIG if isinstance(found, ConfigError) else _EXIT_CODE[self.subject]
        message, remedy = (
            (found.message, remedy or found.hint) if isinstance(found, MastosyncError) else (found, remedy)
        )
        return Finding(check, Grade.FAILURE, message, remedy, subject=self.subject, exit_code=code)

    def skip(self, check: str, why: str) -> Finding:
        """It was not checked."""
        return Finding(check, Grade.SKIPPED, why, subject=self.subject)

    def skipped(self, checks: Iterable[str], why: str) -> Iterable[Finding]:
        """None of these was checked."""
        return [self.skip(check, why) for check in checks]


@dataclass(slots=True)
class Diagnosis:
    """All findings."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """That of the first failure; warnings alone are none."""
        return next((found.exit_code for found in self.findings if found.grade is Grade.FAILURE), ExitCode.OK)

    def summary(self) -> dict[Grade, int]:
        """How many findings there are of each grade."""
        return {grade: sum(found.grade is grade for found in self.findings) for grade in Grade}

    def as_json(self) -> dict[str, Any]:
        """For scripts. The names are part of the interface."""
        counts = {grade.value: count for grade, count in self.summary().items()}
        return {
            "checks": [{"check": each.check, "subject": each.subject, **each.as_json()} for each in self.findings],
            "summary": {**counts, "exit_code": int(self.exit_code)},
        }


def drained(checks: Findings[T]) -> tuple[list[Finding], T]:
    """Run all checks. Returns: their findings, and what they return."""
    findings = []
    while True:
        try:
            findings.append(next(checks))
        except StopIteration as end:
            return findings, end.value


class OneRetry:
    """Makes a request, and repeats it once if the fault may pass by itself.

    A copy retries for far longer; what fails twice in a row is worth knowing before it. What took long to fail, a
    time-out above all, is not repeated.
    """

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop

    def __call__(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises: what the request raises; Interrupted if asked to stop before or in between."""
        if self._stop.requested:
            raise stopped()
        begin = time.monotonic()
        try:
            return request(*args, **kwargs)
        except ObjectError as error:
            if not error.transient or time.monotonic() - begin > _SLOW_SECONDS:
                raise
            self._stop.sleep(_wait_after(error))
        return request(*args, **kwargs)


def stopped() -> Interrupted:
    """What ends the checks if somebody asked for it."""
    return Interrupted(tr("stopped on request"), hint=tr("nothing is left to clean up: run the same command again"))


def _wait_after(error: ObjectError) -> float:
    asked = error.retry_after_seconds if isinstance(error, Throttled) else None
    return min(_WAIT_SECONDS if asked is None else asked, _LONGEST_WAIT_SECONDS)


def is_this_machine(host: str) -> bool:
    """Whether a host (a name, an address or the folder of a socket) is this one for sure."""
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # a name, which may be anywhere
