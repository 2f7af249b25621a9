"""What stores do on a bad day: faults by chance, and outages that begin with one request and stay, or pass."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random

from lab.fault_plan import (
    BAD_GATEWAY,
    DAMAGED_DOWNLOAD,
    DAMAGED_UPLOAD,
    INTERNAL_ERROR,
    LOST_ANSWER,
    NO_SUCH_BUCKET,
    RESET,
    RESET_AFTER_BODY,
    RESET_IN_BODY,
    RESET_IN_UPLOAD,
    TRUNCATED_BODY,
    Fault,
    Request,
    answer,
    delay,
    drip,
    seeded,
    slow_down,
    stall,
    though_done,
    too_many_requests,
)

SHORT_READ_TIMEOUT_SECONDS = 1
_LONG = 2.5 * SHORT_READ_TIMEOUT_SECONDS  # longer than a client with that time-out waits

_EVERYWHERE = (
    INTERNAL_ERROR,
    answer(500, ""),
    BAD_GATEWAY,
    answer(503, ""),
    answer(504, ""),
    slow_down(),
    slow_down(0),
    slow_down(amz_retry_after_ms=20),
    slow_down("Thu, 01 Jan 1970 00:00:00 GMT"),
    too_many_requests(),
    too_many_requests(amz_retry_after_ms=10),
    RESET,
    RESET_IN_BODY,
    RESET_AFTER_BODY,
    TRUNCATED_BODY,
    LOST_ANSWER,
    delay(0.05),
    drip(0.1),
    stall(0.1),
)
_OF_UPLOADS = (RESET_IN_UPLOAD, though_done(INTERNAL_ERROR), though_done(BAD_GATEWAY), though_done(answer(504, "")))
_ERROR_IN_200 = answer(200, "InternalError")  # what a store may say at the end of an answer that has begun well

_OUTAGES = (
    answer(400, "ExpiredToken"),
    answer(403, "InvalidAccessKeyId"),
    answer(403, "RequestTimeTooSkewed"),
    NO_SUCH_BUCKET,
    RESET,
)


@dataclass(frozen=True, slots=True)
class Storm:
    """Faults of one store by chance. What befalls a request depends on `seed` and the request alone."""

    seed: str
    anywhere: Mapping[Fault, float]
    downloads: Mapping[Fault, float] = field(default_factory=dict)  # of GetObject
    uploads: Mapping[Fault, float] = field(default_factory=dict)  # of PutObject and UploadPart, whose bytes are checked
    completions: Mapping[Fault, float] = field(default_factory=dict)  # of what is done only when the answer is read

    def __call__(self, request: Request) -> Fault | None:
        """The fault of a request, if it has one."""
        of_kind: Mapping[Fault, float] = {
            "GetObject": self.downloads,
            "PutObject": self.uploads,
            "UploadPart": self.uploads,
            "CompleteMultipartUpload": self.completions,
            "CopyObject": self.completions,
        }.get(request.operation, {})
        return seeded(self.seed, {**self.anywhere, **of_kind})(request)

    @classmethod
    def made_up(cls, seed: str, *, impatient: bool) -> Storm:
        """Some of all faults, each with a small chance. `impatient`: there are silences that time out."""
        random = Random(seed)
        share = random.choice((0.02, 0.06, 0.12, 0.2))  # of requests that go wrong
        menu = [*_EVERYWHERE, *([stall(_LONG), delay(_LONG)] if impatient else [])]

        def some(of: tuple[Fault, ...] | list[Fault], at_most: int, total: float) -> dict[Fault, float]:
            chosen = random.sample(of, random.randint(1, at_most))
            return dict.fromkeys(chosen, total / len(chosen))

        return cls(
            seed,
            some(menu, 6, share),
            {DAMAGED_DOWNLOAD: share / 2, RESET_IN_BODY: share / 4, TRUNCATED_BODY: share / 4},
            {DAMAGED_UPLOAD: share / 4, **some(_OF_UPLOADS, 2, share / 2)},
            {**dict.fromkeys((_ERROR_IN_200, though_done(_ERROR_IN_200)), share), LOST_ANSWER: share / 2},
        )


@dataclass(frozen=True, slots=True)
class Outage:
    """From one request on, a store refuses everything, for some requests or until the end of the command."""

    fault: Fault
    after: int  # requests that go well
    lasts: int | None = None  # requests that are refused; None: all that follow

    @classmethod
    def made_up(cls, random: Random) -> Outage:
        """One of those that stop a run, at some point of it."""
        fault, after = random.choice(_OUTAGES), random.choice((0, 1, random.randint(2, 60)))
        apart = Random(f"outage {after}")  # of its own: the days that there were stay as they were
        return cls(fault, after, apart.choice((None, apart.randint(5, 80))) if fault is RESET else None)

    def befalls(self, nth: int) -> bool:
        """Whether it has begun with the nth request, and has not passed."""
        return nth > self.after and (self.lasts is None or nth <= self.after + self.lasts)


@dataclass(slots=True)
class Gong:
    """Strikes at the nth request of an operation, and may hold that request until the blow has fallen."""

    operation: str  # a shell pattern
    nth: int
    hold: bool
    due: threading.Event = field(default_factory=threading.Event)
    fallen: threading.Event = field(default_factory=threading.Event)
    _seen: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, request: Request) -> None:
        """Count a request."""
        if not fnmatchcase(request.operation, self.operation):
            return
        with self._lock:
            self._seen += 1
            struck = self._seen == self.nth
        if struck:
            self.due.set()
            if self.hold:
                self.fallen.wait(30)  # whoever waits for `due` strikes at once


@dataclass(slots=True)
class Sky:
    """The fault plan of one command: all its stores, told apart by their buckets."""

    storms: Mapping[str, Storm]  # by bucket
    outages: Mapping[str, Outage] = field(default_factory=dict)  # by bucket
    gongs: Sequence[Gong] = ()
    _seen: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request) -> Fault | None:
        """The fault of a request, if it has one."""
        for gong in self.gongs:
            gong.hear(request)
        with self._lock:
            nth = self._seen[request.bucket] = self._seen.get(request.bucket, 0) + 1
        outage = self.outages.get(request.bucket)
        if outage is not None and outage.befalls(nth):
            return outage.fault
        storm = self.storms.get(request.bucket)
        return storm(request) if storm is not None else None
