"""How stores answer to ACLs, as a fault plan before moto each, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping

from lab.fault_plan import ACCESS_DENIED, Fault, FaultPlan, answer, carrying, no_faults, other_header
from mastosync.copying.acl import AclMode

PUBLIC_READ, PRIVATE = "public-read", "private"
NO_ACL, KEPT_BACK, DENIED, UNUSABLE = "stored without ACL", "kept back", "denied", "the store is unusable"
"""What becomes of an object that is not stored with an ACL, named by it."""

TAKES_NONE = "the destination has no ACLs: the bucket alone decides who can read an object"
TAKES_NO_PUBLIC = "the destination refuses the ACL public-read: the bucket alone decides who can read a public object"
TAKES_NO_PRIVATE = "the destination refuses the ACL private: it cannot keep an object private"


def _refusing(fault: Fault, value: str = "*") -> FaultPlan:
    return carrying("x-amz-acl", fault, value=value)


def _not_of_the_bucket(acl: str) -> FaultPlan:
    """As B2 answers, where an object's ACL must be that of its bucket."""
    return _refusing(answer(400, "InvalidArgument", message=f"Unsupported value for canned acl '{acl}'"), acl)


TASTES: Mapping[str, FaultPlan] = {
    "takes every ACL": no_faults,
    "says that it has none": _refusing(
        answer(400, "AccessControlListNotSupported", message="The bucket does not allow ACLs")
    ),
    "says nothing but 403": _refusing(ACCESS_DENIED),
    "says nothing but 403 to public-read": _refusing(ACCESS_DENIED, PUBLIC_READ),
    "is a private bucket of B2": _not_of_the_bucket(PUBLIC_READ),
    "is a public bucket of B2": _not_of_the_bucket(PRIVATE),
    "has none but takes private, as R2": _refusing(
        answer(501, "NotImplemented", message="Header 'x-amz-acl' with value 'public-read' not implemented"),
        PUBLIC_READ,
    ),
}
"""Stores by how they answer to an ACL. Behind each is moto, which keeps what it is sent."""

PASSES_OVER_PRIVATE = carrying("x-amz-acl", other_header("x-amz-acl", PUBLIC_READ), value=PRIVATE)
"""A store that takes every ACL and does as it likes, such as one whose bucket everybody may read by a policy."""

Fate = tuple[str, str, str]
"""What becomes of a public object; of a private one; of a private one with `private_objects = copy`."""

_ALL_UNUSABLE, _ALL_DENIED, _ALL_PRIVATE = (UNUSABLE,) * 3, (DENIED,) * 3, (PRIVATE,) * 3

FATES: Mapping[AclMode, Mapping[str, Fate]] = {
    AclMode.AUTO: {
        "takes every ACL": (PUBLIC_READ, PRIVATE, PRIVATE),
        "says that it has none": (NO_ACL, KEPT_BACK, NO_ACL),
        "says nothing but 403": (NO_ACL, KEPT_BACK, NO_ACL),
        "says nothing but 403 to public-read": (NO_ACL, PRIVATE, PRIVATE),
        "is a private bucket of B2": (NO_ACL, PRIVATE, PRIVATE),
        "is a public bucket of B2": (PUBLIC_READ, KEPT_BACK, NO_ACL),
        "has none but takes private, as R2": (NO_ACL, KEPT_BACK, f"{NO_ACL} or {PRIVATE}"),
    },
    AclMode.PUBLIC_READ: {
        "takes every ACL": (PUBLIC_READ, PRIVATE, PRIVATE),
        "says that it has none": _ALL_UNUSABLE,
        "says nothing but 403": _ALL_DENIED,
        "says nothing but 403 to public-read": (DENIED, PRIVATE, PRIVATE),
        "is a private bucket of B2": (UNUSABLE, UNUSABLE, PRIVATE),
        "is a public bucket of B2": (PUBLIC_READ, UNUSABLE, UNUSABLE),
        "has none but takes private, as R2": (UNUSABLE, UNUSABLE, PRIVATE),
    },
    AclMode.PRIVATE: {
        "takes every ACL": _ALL_PRIVATE,
        "says that it has none": _ALL_UNUSABLE,
        "says nothing but 403": _ALL_DENIED,
        "says nothing but 403 to public-read": _ALL_PRIVATE,
        "is a private bucket of B2": _ALL_PRIVATE,
        "is a public bucket of B2": _ALL_UNUSABLE,
        "has none but takes private, as R2": _ALL_PRIVATE,
    },
    AclMode.NONE: dict.fromkeys(TASTES, (NO_ACL, KEPT_BACK, NO_ACL)),
}
"""By mode and taste. Each object for itself, whatever came before it."""

FINDINGS: Mapping[str, str | None] = {
    "takes every ACL": None,
    "says that it has none": TAKES_NONE,
    "says nothing but 403": TAKES_NONE,
    "says nothing but 403 to public-read": TAKES_NO_PUBLIC,
    "is a private bucket of B2": TAKES_NO_PUBLIC,
    "is a public bucket of B2": TAKES_NO_PRIVATE,
    "has none but takes private, as R2": TAKES_NONE,
}
"""What a run with `acl = auto` has found out when it has met public and private objects."""
