"""Who has to be able to read at the destination, and who must not: the one rule."""

from __future__ import annotations

import pytest

from mastosync.checking.public_access import (
    Audience,
    audience_of,
)


@pytest.mark.parametrize("acl", ["", "auto", "public-read", "none"])
def test_what_is_public_everybody_has_to_read(acl: str) -> None:
    assert {audience_of(acl, served=served) for served in (False, True)} == {Audience.EVERYBODY}


@pytest.mark.parametrize("acl", ["auto", "public-read", "none", "private"])
def test_what_is_private_nobody_may_read_anywhere(acl: str) -> None:
    assert {audience_of(acl, private=True, served=served) for served in (False, True)} == {Audience.NOBODY}


def test_where_all_is_private_nobody_reads_at_the_bucket_and_who_serves_it_decides_elsewhere() -> None:
    assert audience_of("private") is Audience.NOBODY
    assert audience_of("private", served=True) is Audience.UNKNOWN
