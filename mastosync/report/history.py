"""What was done, when, and at what pace: runs of `copy` and `verify` as the manifest remembers them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mastosync.findings.public_summary import has_asked
from mastosync.language import deferred
from mastosync.manifest import VerificationRecord
from mastosync.units import iso

PACES = 300
"""How many figures of the pace there are at most."""

_FAULTS = ("lost", "different", "unread")  # in the words of `verify --json`
_SAMPLED_SECONDS = 60.0  # a run records its progress this often: anything finer would be made up


class ProgressSample(NamedTuple):
    """The progress of a run at a moment."""

    at: float  # seconds since the epoch
    done: int  # objects
    size_bytes: int


class RunInterval(NamedTuple):
    """What a run did from one sample to the next."""

    begin: float  # seconds since the epoch
    end: float
    done: int  # objects
    size_bytes: int


class RunPace(NamedTuple):
    """How fast objects came in a part of the time, while a run was at work."""

    begin: float  # seconds since the epoch
    end: float
    objects_per_second: float
    bytes_per_second: float

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "begin": iso(self.begin),
            "end": iso(self.end),
            "objects_per_second": round(self.objects_per_second, 3),
            "bytes_per_second": round(self.bytes_per_second, 3),
        }


@dataclass(frozen=True, slots=True)
class CopyRun:
    """One run of `copy`."""

    number: int
    started_at: float  # seconds since the epoch
    updated_at: float  # when it last did something
    ended_at: float | None  # None: it was cut off, or is at work
    workers: int
    done: int
    failed: int
    skipped: int
    size_bytes: int
    samples: Sequence[ProgressSample]

    @property
    def seconds(self) -> float:
        """How long it was at work."""
        return max(self.updated_at - self.started_at, 0.0)

    @property
    def objects_per_second(self) -> float | None:
        """Of what arrived; None for a run too short to tell."""
        return self.done / self.seconds if self.seconds else None

    @property
    def bytes_per_second(self) -> float | None:
        """Of what arrived; None for a run too short to tell."""
        return self.size_bytes / self.seconds if self.seconds else None

    def iter_intervals(self) -> Iterator[RunInterval]:
        """From sample to sample; of a run that left none, as a whole."""
        last = ProgressSample(self.started_at, 0, 0)
        for sample in (*self.samples, ProgressSample(self.updated_at, self.done, self.size_bytes)):
            if sample.at > last.at:  # clocks are put back at times
                yield RunInterval(last.at, sample.at, sample.done - last.done, sample.size_bytes - last.size_bytes)
                last = sample

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "number": self.number,
            "started_at": iso(self.started_at),
            "updated_at": iso(self.updated_at),
            "ended_at": None if self.ended_at is None else iso(self.ended_at),
            "seconds": round(self.seconds, 3),
            "workers": self.workers,
            "done": self.done,
            "failed": self.failed,
            "skipped": self.skipped,
            "bytes": self.size_bytes,
            "objects_per_second": rounded(self.objects_per_second),
            "bytes_per_second": rounded(self.bytes_per_second),
        }


class VerificationRun(VerificationRecord):
    """One run of `verify`; `details` is what `verify --json` told."""

    __slots__ = ()

    @property
    def checked(self) -> int:
        """Objects that were looked at."""
        return int(self.details.get("checked", 0))

    @property
    def read_back(self) -> int:
        """Objects of which all bytes were read."""
        return int(self.details.get("read", {}).get("objects", 0))

    @property
    def undigested(self) -> int:
        """How many of these have no known digest."""
        return min(int(self.details.get("unproven", 0)), self.read_back)

    @property
    def is_public(self) -> bool:
        """Whether it read without credentials. Where nothing is done, there is nothing to ask for."""
        public = self.details.get("public")
        return public is not None and has_asked(public)

    @property
    def faults(self) -> dict[str, int]:
        """What was wrong, and with how many objects."""
        told = self.details
        found = {name: int(told.get(name, 0)) for name in _FAULTS}
        public = told.get("public") or {}
        found["public"] = len(public.get("faults", ())) + bool(public.get("anybody_can_list"))
        return {name: count for name, count in found.items() if count}

    @property
    def ways(self) -> tuple[str, ...]:
        """How it checked: by listing, by reading back, without credentials."""
        ways = {
            deferred("listing"): bool(self.details.get("listed")),
            deferred("deep"): self.read_back,
            deferred("public"): self.is_public,
        }
        return tuple(name for name, done in ways.items() if done)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "ways": list(self.ways),
            "checked": self.checked,
            "fine": int(self.details.get("fine", 0)),
            "read_back": self.read_back,
            "faults": self.faults,
        }


def runs_of(runs: Sequence[dict[str, Any]], samples: Sequence[dict[str, Any]]) -> list[CopyRun]:
    """Runs, the oldest first, of what an archive remembers of them."""
    by_run: dict[int, list[ProgressSample]] = defaultdict(list)
    for each in samples:
        by_run[each["run"]].append(ProgressSample(each["at"], each["done"], each["bytes"]))
    return [
        CopyRun(
            number=each["id"],
            size_bytes=each["bytes"],
            samples=by_run[each["id"]],
            **{name: each[name] for name in ("started_at", "updated_at", "ended_at", "workers")},
            **{name: each[name] for name in ("done", "failed", "skipped")},
        )
        for each in runs
    ]


def paces_of(runs: Sequence[CopyRun]) -> list[RunPace]:
    """The pace in even parts of the time from the first run to the last; none where nobody was at work."""
    stretches = [stretch for run in runs for stretch in run.iter_intervals()]
    if not stretches:
        return []
    begin, end = min(each.begin for each in stretches), max(each.end for each in stretches)
    parts = max(1, min(PACES, round((end - begin) / _SAMPLED_SECONDS)))
    width = (end - begin) / parts
    worked, objects, size_bytes = [0.0] * parts, [0.0] * parts, [0.0] * parts
    for stretch in stretches:
        first, last = (min(int((at - begin) / width), parts - 1) for at in (stretch.begin, stretch.end))
        for part in range(first, last + 1):
            within = min(stretch.end, begin + (part + 1) * width) - max(stretch.begin, begin + part * width)
            share = max(within, 0.0) / (stretch.end - stretch.begin)
            worked[part] += max(within, 0.0)
            objects[part] += stretch.done * share
            size_bytes[part] += stretch.size_bytes * share
    return [
        RunPace(begin + part * width, begin + (part + 1) * width, objects[part] / seconds, size_bytes[part] / seconds)
        for part, seconds in enumerate(worked)
        if seconds > width / 1e6  # rounding leaves less than nothing at an edge
    ]


def moment(seconds: float) -> str:
    """A moment for people, marked as UTC."""
    return iso(seconds)[:19].replace("T", " ")


def rounded(figure: float | None) -> float | None:
    """A rate for scripts."""
    return None if figure is None else round(figure, 3)
