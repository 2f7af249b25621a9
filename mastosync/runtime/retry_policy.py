"""How much patience one request is given: attempts, waits and the time for throttles."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from tenacity import RetryCallState, wait_random_exponential

from mastosync.errors import (
    Throttled,
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How much patience one request is given."""

    max_attempts: int = 5
    throttle_budget_seconds: float = 900.0
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0
    deadline: float = math.inf  # by time.monotonic(): no request waits or is repeated after it

    def within(self, seconds: float) -> RetryPolicy:
        """This policy with a deadline after `seconds` from now, for all its requests together."""
        return replace(self, deadline=time.monotonic() + seconds)

    def patience_ends(self, throttled_since: float | None) -> float:
        """Until when, by time.monotonic(), a request may be kept waiting. `throttled_since`: likewise; None: now."""
        since = time.monotonic() if throttled_since is None else throttled_since
        return min(since + self.throttle_budget_seconds, self.deadline)


class AttemptBudget:
    """Tenacity's `stop`: limits attempts for failures, and time for throttles."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failures = 0
        self.throttled_since: float | None = None

    def __call__(self, state: RetryCallState) -> bool:  # noqa: D102 - see tenacity
        now = time.monotonic()
        if isinstance(_failure_of(state), Throttled):
            if self.throttled_since is None:
                self.throttled_since = now
            return now >= self._policy.patience_ends(self.throttled_since)
        self._failures += 1
        return self._failures >= self._policy.max_attempts or now >= self._policy.deadline


class WaitUnlessAsked:
    """Tenacity's `wait`: none if the server says how long to wait, as then the limiter pauses all requests.

    After other throttles the request waits, too: maybe only its key is throttled, and repeating it at once would
    use up the rate of all others.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._growing = wait_random_exponential(multiplier=policy.first_wait_seconds, max=policy.longest_wait_seconds)

    def __call__(self, state: RetryCallState) -> float:  # noqa: D102 - see tenacity
        failure = _failure_of(state)
        asked = isinstance(failure, Throttled) and failure.retry_after_seconds is not None
        return 0.0 if asked else min(self._growing(state), max(0.0, self._policy.deadline - time.monotonic()))


def _failure_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
