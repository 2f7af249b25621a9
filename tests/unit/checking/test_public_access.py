"""Who has to be able to read at the destination, and who must not: the one rule, and what a look tells under it."""

from __future__ import annotations

from typing import Any

import pytest

from mastosync.checking.public_access import Audience, PublicCheckStatus, audience_of, public_check_status


@pytest.mark.parametrize("acl", ["", "auto", "public-read", "none"])
def test_what_is_public_everybody_has_to_read(acl: str) -> None:
    assert {audience_of(acl, served=served) for served in (False, True)} == {Audience.EVERYBODY}


@pytest.mark.parametrize("acl", ["auto", "public-read", "none", "private"])
def test_what_is_private_nobody_may_read_anywhere(acl: str) -> None:
    assert {audience_of(acl, private=True, served=served) for served in (False, True)} == {Audience.NOBODY}


def test_where_all_is_private_nobody_reads_at_the_bucket_and_who_serves_it_decides_elsewhere() -> None:
    assert audience_of("private") is Audience.NOBODY
    assert audience_of("private", served=True) is Audience.UNKNOWN


def told(*, private: bool = False, listed: bool = False, exposed: int = 0, faults: int = 0) -> dict[str, Any]:
    return {"all_private": private, "anybody_can_list": listed, "exposed": exposed, "faults": [{}] * faults}


@pytest.mark.parametrize(
    ("public", "of_auto", "of_private"),
    [
        (None, PublicCheckStatus.UNTRIED, PublicCheckStatus.NEEDLESS),
        (told(), PublicCheckStatus.FINE, PublicCheckStatus.NEEDLESS),
        (
            told(faults=3),
            PublicCheckStatus.FAULTY,
            PublicCheckStatus.NEEDLESS,
        ),  # nobody could read them, and nobody need
        (told(exposed=1, faults=1), PublicCheckStatus.EXPOSED, PublicCheckStatus.EXPOSED),
        (told(listed=True), PublicCheckStatus.LISTED, PublicCheckStatus.LISTED),
        (
            told(private=True),
            PublicCheckStatus.UNTRIED,
            PublicCheckStatus.HIDDEN,
        ),  # it has not tried whether everybody can read
        (told(private=True, exposed=1, faults=1), PublicCheckStatus.UNTRIED, PublicCheckStatus.EXPOSED),
        (told(private=True, faults=1), PublicCheckStatus.UNTRIED, PublicCheckStatus.FAULTY),  # nobody can tell
        ({"faults": []}, PublicCheckStatus.FINE, PublicCheckStatus.NEEDLESS),  # of an older version
    ],
)
def test_a_look_counts_under_the_acl_that_it_was_made_for(
    public: dict[str, Any] | None, of_auto: PublicCheckStatus, of_private: PublicCheckStatus
) -> None:
    assert (public_check_status(public, "auto"), public_check_status(public, "private")) == (of_auto, of_private)
