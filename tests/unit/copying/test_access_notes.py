"""Notes on their way to the manifest: none is lost, and nobody goes on too early."""

from __future__ import annotations

import pytest

from mastosync.copying.acl import AccessNotes
from mastosync.model import Presence
from tests.support.entries import entry

CLOSED, OPEN = (entry(), Presence.AS_PRIVATE), (entry(2), Presence.AS_PUBLIC)


def test_what_could_not_be_recorded_is_taken_again_and_nobody_goes_on() -> None:
    notes = AccessNotes()
    is_recorded = notes.tell(*CLOSED)
    with pytest.raises(OSError, match="full"), notes.taken():
        raise OSError("the disk is full")
    assert notes.any_open
    assert not is_recorded()
    with notes.taken() as taken:
        assert taken == [CLOSED]
    assert is_recorded()
    assert not notes.any_open


def test_what_is_told_meanwhile_waits_for_the_next_time() -> None:
    notes = AccessNotes()
    first = notes.tell(*CLOSED)
    with notes.taken():
        later = notes.tell(*OPEN)
    assert first()
    assert not later()
    with notes.taken() as taken:
        assert taken == [OPEN]
    assert later()
