"""How states, reasons and flags are written in the manifest. A code, once used, keeps its meaning."""

from __future__ import annotations

from mastosync.model import EntryState, Origin, Reason

STATE_CODE: dict[EntryState, int] = {
    EntryState.PENDING: 0,
    EntryState.DONE: 1,
    EntryState.FAILED: 2,
    EntryState.SKIPPED: 3,
}
REASON_CODE: dict[Reason | None, int] = {
    None: 0,
    Reason.MISSING: 1,
    Reason.DENIED: 2,
    Reason.THROTTLED: 3,
    Reason.CORRUPT: 4,
    Reason.NETWORK: 5,
    Reason.SERVER: 6,
    Reason.TOO_LARGE: 7,
    Reason.OPTIONAL_MISSING: 8,
    Reason.PRIVATE: 9,
    Reason.EXCLUDED: 10,
    Reason.GONE: 11,
}
ORIGIN_CODE: dict[Origin, int | None] = {Origin.COPIED: None, Origin.ADOPTED: 1, Origin.REFETCHED: 2}
STATE_OF: dict[int, EntryState] = {code: state for state, code in STATE_CODE.items()}
REASON_OF: dict[int, Reason | None] = {code: reason for reason, code in REASON_CODE.items()}
ORIGIN_OF: dict[int | None, Origin] = {code: origin for origin, code in ORIGIN_CODE.items()}

PENDING = STATE_CODE[EntryState.PENDING]
DONE = STATE_CODE[EntryState.DONE]
FAILED = STATE_CODE[EntryState.FAILED]
SKIPPED = STATE_CODE[EntryState.SKIPPED]
NO_REASON = REASON_CODE[None]
GONE = REASON_CODE[Reason.GONE]
MISSING = REASON_CODE[Reason.MISSING]
KEPT_PRIVATE = REASON_CODE[Reason.PRIVATE]
OPTIONAL_MISSING = REASON_CODE[Reason.OPTIONAL_MISSING]
EXCLUDED = REASON_CODE[Reason.EXCLUDED]

OPTIONAL_FLAG = 1
PRIVATE_FLAG = 2
EXCLUDED_FLAG = 4
"""The last plan leaves it out. So does its state, unless somebody had begun with it: it may have arrived."""


FLAGS: dict[tuple[bool, bool, bool], int] = {
    (optional, private, excluded): optional * OPTIONAL_FLAG + private * PRIVATE_FLAG + excluded * EXCLUDED_FLAG
    for optional in (False, True)
    for private in (False, True)
    for excluded in (False, True)
}
"""(optional, private, excluded) → the flags column."""

LOWEST_ID = -(2**63)
HIGHEST_ID = 2**63 - 1
