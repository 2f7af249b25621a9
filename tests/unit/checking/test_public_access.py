"""Who has to be able to read at the destination, and who must not: the one rule."""

from __future__ import annotations

import pytest

from mastosync.checking.public_access import Readers, readers_of


@pytest.mark.parametrize("acl", ["", "auto", "public-read", "none"])
def test_what_is_public_everybody_has_to_read(acl: str) -> None:
    assert {readers_of(acl, served=served) for served in (False, True)} == {Readers.EVERYBODY}


@pytest.mark.parametrize("acl", ["auto", "public-read", "none", "private"])
def test_what_is_private_nobody_may_read_anywhere(acl: str) -> None:
    assert {readers_of(acl, private=True, served=served) for served in (False, True)} == {Readers.NOBODY}


def test_where_all_is_private_nobody_reads_at_the_bucket_and_who_serves_it_decides_elsewhere() -> None:
    assert readers_of("private") is Readers.NOBODY
    assert readers_of("private", served=True) is Readers.UNTOLD
