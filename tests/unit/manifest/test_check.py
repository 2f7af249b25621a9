"""`manifest check`: what is sound is called sound, and each thing that can be wrong is found and named."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from mastosync.app import manifest as upkeep
from mastosync.app.context import Context
from mastosync.cli.main import main
from mastosync.config import Config
from mastosync.errors import ExitCode, Interrupted, ManifestError
from mastosync.manifest import (
    Checker,
    Manifest,
    ManifestReader,
    ObjectSettings,
    Soundness,
    WorkQueue,
    applied_to,
    check,
    recover_claims_now,
    remembered_database,
    writer_lock,
)
from mastosync.manifest.check import CheckedPart, Fault
from mastosync.manifest.settings import noted_settings
from mastosync.model import EntryState, Outcome, Reason
from mastosync.progress import NoProgress
from mastosync.runtime.stop import StopSignal
from tests.support.entries import REMOTE, entry
from tests.support.manifest_versions import restored
from tests.support.manifests import planned


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Entries of two kinds in several states, and one in the hands of a worker."""
    path = tmp_path / "m.db"
    entries = [*(entry(number) for number in range(1, 30)), *(entry(n, kind=REMOTE) for n in range(-3, 20))]
    with planned(path, entries) as manifest:
        queue = WorkQueue(manifest)
        claims = list(queue.iter_claimable())
        queue.commit(claims=claims[:20])
        queue.commit(
            outcomes=[
                *(Outcome(claim.entry, EntryState.DONE, size=7, md5=b"\1" * 16) for claim in claims[:10]),
                *(Outcome(claim.entry, EntryState.FAILED, Reason.NETWORK) for claim in claims[10:19]),
            ]
        )
    return path


def context(path: Path) -> Context:
    return Context(Config(), path, NoProgress(), StopSignal())


def checked(path: Path, *, quick: bool = False) -> Soundness:
    return upkeep.check(context(path), quick=quick)


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement
        connection.commit()


def only(found: Soundness, part: CheckedPart) -> list[Fault]:
    assert {fault.part for fault in found.faults} == {part}
    assert all(fault.remedy and fault.message for fault in found.faults)
    return found.faults


@pytest.mark.parametrize("quick", [False, True])
def test_a_sound_manifest_is_called_sound(path: Path, quick: bool) -> None:
    found = checked(path, quick=quick)
    assert not found.faults
    assert found.entries == 52
    assert found.size_bytes >= path.stat().st_size


def test_entries_are_counted_in_windows_of_any_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for lines in (1, 2, 7, 22, 23, 29, 30, 52, 53):
        monkeypatch.setattr(check, "_WINDOW", lines)
        seen: list[int] = []
        with Manifest.open(path) as manifest:
            found = Checker(manifest, note=seen.append).run()
        assert not found.faults
        assert found.entries == sum(seen) == 52
        assert max(seen) <= lines


@pytest.mark.parametrize(
    ("statement", "part", "words"),
    [
        ("UPDATE counts SET objects = objects + 1 WHERE state = 1", CheckedPart.COUNTERS, "says 11 objects"),
        ("UPDATE counts SET bytes = 0 WHERE state = 1", CheckedPart.COUNTERS, "70"),
        ("DELETE FROM counts WHERE state = 2", CheckedPart.COUNTERS, "failed (network)"),
        ("INSERT INTO counts VALUES (77, 0, 0, 3, 0)", CheckedPart.COUNTERS, "kind 77"),
        ("DELETE FROM entries WHERE state = 0 AND id = 5 AND kind = 1", CheckedPart.COUNTERS, "pending"),
        (
            "INSERT INTO claims SELECT kind, id, name, 3 FROM entries WHERE state = 1 LIMIT 1",
            CheckedPart.CLAIMS,
            "1 claim belongs",
        ),
        ("INSERT INTO claims VALUES (1, 999, 'nobody.png', 3)", CheckedPart.CLAIMS, "999 nobody.png"),
        ("UPDATE kinds SET \"table\" = 'toots' WHERE id = 1", CheckedPart.KINDS, "toots"),
        ("DELETE FROM kinds WHERE id = 2", CheckedPart.KINDS, "kind 2"),
        ("DELETE FROM snapshots", CheckedPart.PLAN, "no plan"),
        ("DELETE FROM meta WHERE name = 'source'", CheckedPart.PLAN, "source"),
        ("UPDATE meta SET value = 'x' WHERE name = 'destination'", CheckedPart.PLAN, "destination"),
        ("UPDATE snapshots SET details = '{'", CheckedPart.PLAN, "record of a plan"),
        (
            "UPDATE snapshots SET details = '[]'",
            CheckedPart.PLAN,
            "record of a plan or verification cannot be read: []",
        ),
        ("INSERT INTO verifications VALUES (9, 1, 2, 'null')", CheckedPart.PLAN, "record of a plan or verification"),
        ("INSERT OR REPLACE INTO meta VALUES ('database', '{')", CheckedPart.PLAN, "invalid value"),
        ("INSERT OR REPLACE INTO meta VALUES ('settings', '[3]')", CheckedPart.PLAN, "invalid value"),
        ("INSERT OR REPLACE INTO meta VALUES ('settings_applied', '[]')", CheckedPart.PLAN, "invalid value"),
        ("UPDATE entries SET name = '' WHERE id = 25 AND kind = 1", CheckedPart.ENTRIES, "1 entries of kind"),
        ("UPDATE entries SET md5 = x'00' WHERE state = 1", CheckedPart.ENTRIES, "10 entries"),
        ("UPDATE entries SET flags = 9 WHERE id = 3", CheckedPart.ENTRIES, "such as 3 'a.png'"),
        ("UPDATE entries SET attempts = -1 WHERE id = 3", CheckedPart.ENTRIES, "such as 3"),
        ("UPDATE entries SET origin = 7 WHERE id = 3", CheckedPart.ENTRIES, "such as 3"),
        ("UPDATE entries SET size = 'much' WHERE id = 5", CheckedPart.ENTRIES, "such as 5"),
    ],
)
def test_what_is_wrong_is_named(path: Path, statement: str, part: CheckedPart, words: str) -> None:
    change(path, statement)
    assert words in " | ".join(fault.message for fault in only(checked(path), part))


@pytest.mark.parametrize("value", ["", "{", "null", "3", "[3]", '"a"', '{"a": 1}'])
def test_whoever_meets_what_is_damaged_is_sent_to_the_check(path: Path, value: str) -> None:
    readers: dict[str, Callable[[Manifest], object]] = {
        "database": remembered_database,
        "settings": noted_settings,
        "settings_applied": lambda manifest: applied_to(manifest, ObjectSettings()),
        "source": lambda manifest: ManifestReader(manifest).store("source"),
        "snapshots": lambda manifest: list(ManifestReader(manifest).iter_snapshots()),
        "last plan": lambda manifest: ManifestReader(manifest).snapshot(),
    }
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(name, value) for name in readers])
        connection.execute("UPDATE snapshots SET details = ?, taken_at = 'x'", (value,))
        connection.commit()
    with Manifest.open(path) as manifest:
        for reader in readers.values():
            with pytest.raises(ManifestError, match="invalid value") as met:
                reader(manifest)
            assert "mastosync manifest check" in met.value.hint


PUBLIC = '{"asked": 1, "asked_private": 0, "anybody_can_list": false, "faults": []}'


@pytest.mark.parametrize(
    ("table", "value"),
    [
        *(("snapshots", value) for value in ("[]", "null", "1", '{"types": 3}', '{"newest": "x"}', '{"limit": "a"}')),
        *(("snapshots", value) for value in ('{"accepted_gone": "x"}', '{"newest": {"accounts": "a"}}')),
        *(("verifications", value) for value in ("{}", "[]", "null", '{"checked": "a", "fine": null}')),
        ("verifications", '{"checked": 1, "fine": 1, "read": 3}'),
        ("verifications", '{"checked": 1, "fine": 1, "public": []}'),
        ("verifications", '{"checked": 1, "fine": 1, "public": {}}'),
        ("verifications", f'{{"checked": 1, "fine": 1, "public": {PUBLIC.replace("[]", "[3]")}}}'),
    ],
)
def test_details_of_another_form_are_found_and_each_command_sends_to_the_check(
    path: Path, table: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        sound = f'{{"checked": 1, "fine": 1, "public": {PUBLIC}}}'
        connection.execute("INSERT INTO verifications VALUES (9, 1, 2, ?)", (sound,))
        connection.commit()
        assert not checked(path).faults
        connection.execute(f"UPDATE {table} SET details = ?", (value,))  # noqa: S608
        connection.commit()
    assert only(checked(path), CheckedPart.PLAN)
    for command in ("status", "report"):
        assert main(["--no-progress", "--manifest", str(path), command]) == ExitCode.MANIFEST
        said = capsys.readouterr().err
        assert "has an invalid value: details" in said
        assert "manifest check` tells what is wrong" in said


@pytest.mark.parametrize(("state", "reason"), [(0, 3), (1, 1), (2, 0), (9, 0), (2, 99)])
def test_states_and_reasons_that_cannot_be_are_found(path: Path, state: int, reason: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE entries SET state = ?, reason = ? WHERE id = 2 AND kind = 1", (state, reason))
        connection.commit()
    assert CheckedPart.ENTRIES in {fault.part for fault in checked(path).faults}


def damage(path: Path) -> None:
    """Overwrite the middle of the file, as a failing disk does."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entries'").fetchone()
        (page,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * page + 8)
        file.write(os.urandom(2000))


def cut(path: Path) -> None:
    """Take away the end of the file, as a copy that was cut off lacks it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 16_384)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("how", [damage, cut])
def test_a_damaged_file_is_found(path: Path, quick: bool, how: Callable[[Path], None]) -> None:
    how(path)
    before = path.read_bytes()
    assert "damaged" in told_of_damage(path, quick=quick)
    assert path.read_bytes() == before


def told_of_damage(path: Path, *, quick: bool) -> str:
    """What is said; some damage keeps a manifest from being opened at all."""
    try:
        faults = only(checked(path, quick=quick), CheckedPart.FILE)
    except ManifestError as error:
        return error.message
    assert all("backup" in fault.remedy for fault in faults)
    return "damaged"


def test_an_index_that_disagrees_with_its_lines_is_found_unless_it_has_to_be_quick(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, '<> 1', '<> 2') WHERE name = 'entries_open'")
        connection.commit()
    assert "entries_open" in only(checked(path), CheckedPart.FILE)[0].message
    assert not checked(path, quick=True).faults


def test_repair_counts_anew_and_keeps_a_copy_of_before(path: Path) -> None:
    with Manifest.open(path) as manifest:
        right = manifest.connection.execute("SELECT * FROM counts WHERE objects > 0").fetchall()
    change(path, "UPDATE counts SET objects = 1000, bytes = 5", "DELETE FROM counts WHERE state = 2")
    found = upkeep.check(context(path), repair=True)
    assert not found.faults
    (copy,) = path.parent.glob("m.db.*.backup")
    assert str(copy) in found.repaired
    assert not checked(path).faults
    assert checked(copy).faults
    with Manifest.open(path) as manifest:
        assert manifest.connection.execute("SELECT * FROM counts").fetchall() == right


def test_repair_leaves_a_sound_manifest_alone(path: Path) -> None:
    before = path.read_bytes()
    assert not upkeep.check(context(path), repair=True).repaired
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.backup"))


def test_repair_does_not_touch_what_counters_cannot_put_right(path: Path) -> None:
    change(path, "UPDATE counts SET objects = 1000", "INSERT INTO claims VALUES (1, 999, 'nobody.png', 3)")
    found = upkeep.check(context(path), repair=True)
    assert {fault.part for fault in found.faults} == {CheckedPart.COUNTERS, CheckedPart.CLAIMS}
    assert not list(path.parent.glob("*.backup"))
    assert checked(path).faults == found.faults


def test_repair_waits_for_nobody(path: Path) -> None:
    with writer_lock(path, "copy"), pytest.raises(ManifestError, match="mastosync copy"):
        upkeep.check(context(path), repair=True)


def test_it_can_be_stopped(path: Path) -> None:
    asked = context(path)
    asked.stop.request()
    with pytest.raises(Interrupted):
        upkeep.check(asked)


def test_a_check_sees_one_moment_beside_a_writer(path: Path) -> None:
    """Between its look at the claims and at the counters, a copy commits."""
    with Manifest.open(path) as writer, Manifest.open(path) as manifest:
        queue = WorkQueue(writer)
        recover_claims_now(writer)

        def commit(_: int) -> None:
            claims = list(islice(queue.iter_claimable(), 2))
            queue.commit(claims=claims)
            queue.commit(outcomes=[Outcome(claim.entry, EntryState.DONE, size=1, md5=b"\2" * 16) for claim in claims])

        found = Checker(manifest, note=commit).run()
        assert not found.faults
        assert not Checker(manifest).run().faults


def test_a_manifest_of_an_earlier_version_is_sound(tmp_path: Path) -> None:
    found = checked(restored(1, tmp_path / "m.db"))
    assert (found.faults, found.entries) == ([], 20)
