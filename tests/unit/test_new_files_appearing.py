"""A file takes its name when it is whole, and nobody else's: not even one that came at the last moment."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mastosync import new_files
from mastosync.errors import OutputError, UsageError
from mastosync.new_files import appearing


def no_links(*_: object, **__: object) -> None:
    """As FAT and some network file systems say it."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture(params=["with links", "without links"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder of a file system that has hard links, or has none."""
    if request.param == "without links":
        monkeypatch.setattr(os, "link", no_links)
    return tmp_path / "report.html"


def come_after_the_last_look(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look, looks = new_files.require_room_for, []

    def looked(path: Path, *, replace: bool, hint: str) -> None:
        look(path, replace=replace, hint=hint)
        looks.append(path)
        if len(looks) == 2:
            target.write_text("somebody else's")

    monkeypatch.setattr(new_files, "require_room_for", looked)


def test_it_has_all_of_its_content_and_is_its_owners(target: Path) -> None:
    with appearing(target) as partial:
        partial.write_text("mine")
        assert not target.exists()
    assert target.read_text() == "mine"
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_nlink == 1
    assert list(target.parent.iterdir()) == [target]


def test_what_comes_at_the_last_moment_is_not_replaced(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    come_after_the_last_look(target, monkeypatch)
    with pytest.raises(UsageError, match="exists already"), appearing(target) as partial:
        partial.write_text("mine")
    assert target.read_text() == "somebody else's"
    assert list(target.parent.iterdir()) == [target]


def test_unless_that_is_asked_for(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    come_after_the_last_look(target, monkeypatch)
    with appearing(target, replace=True) as partial:
        partial.write_text("mine")
    assert target.read_text() == "mine"
    assert list(target.parent.iterdir()) == [target]


def test_a_link_that_leads_nowhere_is_a_file_that_is_there(target: Path) -> None:
    target.symlink_to("nowhere")
    with pytest.raises(UsageError, match="exists already"), appearing(target):
        pass
    assert target.is_symlink()


def test_a_name_that_was_taken_in_vain_is_given_back(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="cannot write"), appearing(target) as partial:
        partial.write_text("mine")
    assert list(target.parent.iterdir()) == []
