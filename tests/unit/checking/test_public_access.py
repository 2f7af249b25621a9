"""Who has to be able to read at the destination, and who must not: the one rule, and what a look tells under it."""

from __future__ import annotations

from typing import Any

import pytest

from mastosync.checking.public_access import Readers, Reading, readers_of, reading_of


@pytest.mark.parametrize("acl", ["", "auto", "public-read", "none"])
def test_what_is_public_everybody_has_to_read(acl: str) -> None:
    assert {readers_of(acl, served=served) for served in (False, True)} == {Readers.EVERYBODY}


@pytest.mark.parametrize("acl", ["auto", "public-read", "none", "private"])
def test_what_is_private_nobody_may_read_anywhere(acl: str) -> None:
    assert {readers_of(acl, private=True, served=served) for served in (False, True)} == {Readers.NOBODY}


def test_where_all_is_private_nobody_reads_at_the_bucket_and_who_serves_it_decides_elsewhere() -> None:
    assert readers_of("private") is Readers.NOBODY
    assert readers_of("private", served=True) is Readers.UNTOLD


def told(*, private: bool = False, listed: bool = False, exposed: int = 0, faults: int = 0) -> dict[str, Any]:
    return {"all_private": private, "anybody_can_list": listed, "exposed": exposed, "faults": [{}] * faults}


@pytest.mark.parametrize(
    ("public", "of_auto", "of_private"),
    [
        (None, Reading.UNTRIED, Reading.NEEDLESS),
        (told(), Reading.FINE, Reading.NEEDLESS),
        (told(faults=3), Reading.FAULTY, Reading.NEEDLESS),  # nobody could read them, and nobody need
        (told(exposed=1, faults=1), Reading.EXPOSED, Reading.EXPOSED),
        (told(listed=True), Reading.LISTED, Reading.LISTED),
        (told(private=True), Reading.UNTRIED, Reading.HIDDEN),  # it has not tried whether everybody can read
        (told(private=True, exposed=1, faults=1), Reading.UNTRIED, Reading.EXPOSED),
        (told(private=True, faults=1), Reading.UNTRIED, Reading.FAULTY),  # nobody can tell
        ({"faults": []}, Reading.FINE, Reading.NEEDLESS),  # of an older version
    ],
)
def test_a_look_counts_under_the_acl_that_it_was_made_for(
    public: dict[str, Any] | None, of_auto: Reading, of_private: Reading
) -> None:
    assert (reading_of(public, "auto"), reading_of(public, "private")) == (of_auto, of_private)
