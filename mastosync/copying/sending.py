"""Requests that store something, and what a job knows of the destination while they are on their way.

From before a request is sent, its object may lie there; once it was refused, and sent no more than once, it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from mastosync.copying.job import STORES_NOTHING, Job
from mastosync.copying.large_objects import LargeObject
from mastosync.errors import ObjectError
from mastosync.manifest import ACCESS, write_started
from mastosync.model import Presence
from mastosync.runtime.steps import BlockingCall, Step, Steps
from mastosync.store.base import PutOptions


def sent(job: Job, write: Callable[[PutOptions], Step], options: PutOptions) -> Steps[Any]:
    """The answer of a step that stores something. The job knows of it from before it is sent until it is refused."""
    before, retries = job.presence, job.destination.retries
    job.presence = write_started(before, private=job.entry.private)
    try:
        answer = yield write(options)
    except STORES_NOTHING:
        if job.destination.retries == retries:  # else an earlier attempt may have arrived
            job.presence = before
        raise
    if job.entry.private:
        job.presence |= ACCESS  # until somebody has looked who can read it
    return answer


def allowed(job: Job, steps: Steps[None]) -> Steps[None]:
    """Steps that find out what becomes of an entry: an upload that they begin and cannot give up may be left."""
    try:
        yield from steps
    except STORES_NOTHING:
        raise
    except ObjectError:
        job.presence = write_started(job.presence, private=job.entry.private)
        raise


def upload_begun(job: Job, large: LargeObject, options: PutOptions) -> Steps[Any]:
    """The id of an upload in parts: nothing of it can be seen."""
    before = job.presence
    try:
        upload = yield from sent(job, lambda options: BlockingCall(partial(large.begin, options), large=True), options)
    except STORES_NOTHING:
        raise
    except ObjectError:
        job.presence = _left_open(before, job)
        raise
    job.presence = before
    return upload


def upload_delivered(job: Job, large: LargeObject, upload: str) -> Steps[Any]:
    """What `LargeObject.deliver` returns."""
    before = job.presence
    job.presence = write_started(before, private=job.entry.private)
    try:
        delivered = yield BlockingCall(partial(large.deliver, upload), large=True)
    except ObjectError:
        if not large.may_lie_there:
            job.presence = _left_open(before, job) if large.left_open else before
        raise
    if job.entry.private:
        job.presence |= ACCESS
    return delivered


def _left_open(before: Presence, job: Job) -> Presence:
    """What is known where an upload in parts may be left that was never completed: what lay there lies there."""
    return before | Presence.IN_DOUBT if before else write_started(before, private=job.entry.private)
