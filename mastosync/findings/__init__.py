"""What several commands find, in the same words: what one check found, how it ended, and what to do about it.

`doctor`, `cutover` and `report` tell such findings, and each shows them in its own form. The design is in
docs/design/cutover.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mastosync.errors import ExitCode


class Grade(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"  # it will do, but something is lost, risky or slow, or somebody should know
    FAILURE = "failure"  # it will not do: `cutover` calls it no-go, `report` not-yet
    SKIPPED = "skipped"  # something else has to be put right first


class CheckSubject(StrEnum):
    """What `doctor` checks, in the order in which it is told."""

    SOURCE = "source"
    DESTINATION = "destination"
    DATABASE = "database"
    MANIFEST = "manifest"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. Its names are part of the interface."""

    check: str
    grade: Grade
    message: str
    remedy: str = ""  # empty where nothing need be done
    needs_fallback: bool = (
        False  # of `cutover`: it will do as long as the old store is asked for what the new one lacks
    )
    subject: CheckSubject | None = None  # of `doctor`
    exit_code: ExitCode = ExitCode.OK  # of `doctor`, if it is a failure

    def as_json(self, failure: str = Grade.FAILURE.value) -> dict[str, str]:
        """For scripts, as far as all commands tell the same. `failure`: the command's own word for that grade."""
        status = failure if self.grade is Grade.FAILURE else self.grade.value
        return {"check": self.check, "status": status, "message": self.message, "remedy": self.remedy}
