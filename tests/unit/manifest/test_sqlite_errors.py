"""What SQLite says of a file is told of the file; what it says of whoever calls it is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mastosync.errors import ManifestError
from mastosync.manifest import SegmentReader, back_up
from mastosync.manifest.sqlite_errors import copied, translated
from tests.support.entries import entry
from tests.support.manifests import planned


def closed(connection: sqlite3.Connection) -> None:
    connection.close()
    connection.execute("SELECT 1")


@pytest.mark.parametrize(
    "mistake", [closed, lambda connection: connection.execute("SELECT ?"), lambda c: c.execute("SELECT ?", (object(),))]
)
def test_a_mistake_of_ours_is_not_blamed_on_the_file(mistake: Callable[[sqlite3.Connection], object]) -> None:
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises((sqlite3.ProgrammingError, sqlite3.InterfaceError)),
        translated(Path("m.db")),
    ):
        mistake(connection)


def test_what_is_wrong_with_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    path.write_text("no database, and long enough to be read as the head of one. " * 4)
    with (
        closing(sqlite3.connect(path)) as connection,
        pytest.raises(ManifestError, match="not a SQLite database"),
        translated(path),
    ):
        connection.execute("SELECT count(*) FROM sqlite_schema")


@pytest.mark.parametrize(
    ("code", "blamed"),
    [
        (sqlite3.SQLITE_FULL, "copy"),
        (sqlite3.SQLITE_CANTOPEN, "copy"),
        (sqlite3.SQLITE_READONLY, "copy"),
        (sqlite3.SQLITE_IOERR_WRITE, "copy"),
        (sqlite3.SQLITE_IOERR_FSYNC, "copy"),
        (sqlite3.SQLITE_CORRUPT, "manifest"),
        (sqlite3.SQLITE_NOTADB, "manifest"),
        (sqlite3.SQLITE_IOERR_READ, "manifest"),
        (sqlite3.SQLITE_IOERR_SHORT_READ, "manifest"),
        (sqlite3.SQLITE_BUSY, "manifest"),
    ],
)
def test_of_a_copy_the_file_is_blamed_that_is_at_fault(code: int, blamed: str) -> None:
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = code
    with pytest.raises(ManifestError, match=f"{blamed}.db"), copied(Path("manifest.db"), Path("copy.db")):
        raise error


def test_a_damaged_manifest_is_not_laid_to_the_copy_of_it(tmp_path: Path) -> None:
    path, target = tmp_path / "m.db", tmp_path / "copy.db"
    planned(path, [entry()]).close()
    with path.open("r+b") as file:
        file.seek(110)  # in the schema, behind the file's own head
        file.write(b"\xff" * 2_000)
    with pytest.raises(ManifestError) as raised:
        back_up(path, target)
    assert str(path) in raised.value.message
    assert "damaged" in raised.value.message
    assert [each.name for each in tmp_path.iterdir() if "copy" in each.name] == []


def test_who_stops_in_the_middle_may_do_so_after_the_reader_has_closed(tmp_path: Path) -> None:
    """As happens where an error leaves a block in which many segments are merged."""
    planned(tmp_path / "m.db", [entry(number) for number in range(1, 4)]).close()
    with SegmentReader.opened(tmp_path / "m.db") as reader:
        (number,) = reader.kinds()
        rows = reader.iter_runs(number, (1, ""), (9, ""))
        assert next(rows)[0][0] == 1
    rows.close()  # type: ignore[attr-defined] # raises nothing
