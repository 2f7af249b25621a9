"""`manifest export` and `import`: an archive holds everything, is believed only whole, and makes the same manifest."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mastosync.app import manifest as upkeep
from mastosync.app.context import Context
from mastosync.archive.reading import ArchiveSource
from mastosync.archive.writing import LINE_FIELDS, VERSION, as_iso, seconds_of
from mastosync.config import Config
from mastosync.errors import Interrupted, ManifestError, UsageError
from mastosync.listing import FIELDS, ListFilter, iter_listed
from mastosync.manifest import (
    ARCHIVED_RECORDS,
    HIGHEST_ID,
    LOWEST_ID,
    Checker,
    Manifest,
    ManifestReader,
    ObjectSettings,
    PlanWriter,
    WorkQueue,
    last_change,
    newest_version,
    note_probe,
    note_settings,
    probe_left_behind,
    recover_claims_now,
    remember_database,
    remembered_database,
)
from mastosync.manifest.backup import keep_gap, note_writer
from mastosync.manifest.history import delete_meta, note_change
from mastosync.manifest.rows import COLUMNS
from mastosync.manifest.settings import noted_settings
from mastosync.model import DatabaseIdentity, Entry, EntryState, Origin, Outcome, Presence, Reason, Record
from mastosync.new_files import appearing
from mastosync.progress import NoProgress
from mastosync.runtime.stop import StopSignal
from tests.support.entries import LOCAL, REMOTE, grouped
from tests.support.manifest_versions import restored
from tests.support.manifests import DESTINATION, SOURCE, planned

TABLES = ("meta", "kinds", "entries", "claims", "snapshots", "runs", "verifications", "samples")


def context(path: Path) -> Context:
    return Context(Config(), path, NoProgress(), StopSignal())


def exported(path: Path) -> bytes:
    target = path.with_name(f"{path.name}.jsonl")
    upkeep.export(context(path), target, replace=True)
    return target.read_bytes()


def imported(path: Path, archive: bytes) -> int:
    file = path.with_name(f"{path.name}.archive")
    file.write_bytes(archive)
    return upkeep.import_archive(context(path), file)


def contents(path: Path) -> dict[str, list[Any]]:
    """Every line of every table; counters that are zero say nothing, and how a run ended is told where it ran."""
    with closing(sqlite3.connect(path)) as connection:
        found = {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}  # noqa: S608
        found["meta"] = [line for line in found["meta"] if line[0] != "last_end"]
        found["counts"] = connection.execute("SELECT * FROM counts WHERE objects <> 0 ORDER BY 1, 2, 3").fetchall()
    return {table: sorted(lines, key=repr) for table, lines in found.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A manifest with something of everything."""
    return restored(newest_version(), tmp_path / "m.db")


@pytest.fixture
def archive(path: Path) -> list[bytes]:
    return exported(path).splitlines(keepends=True)


def sealed(lines: list[bytes]) -> bytes:
    """With a foot that fits: what is wrong has to be found in the lines themselves."""
    foot = {"entries": len(lines) - 1, "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    return b"".join(lines) + json.dumps(foot, separators=(",", ":")).encode() + b"\n"


# --- whole manifests ---

texts = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
maybe = st.one_of(st.none(), texts)
big = st.integers(-(2**63), 2**63 - 1)
entries = st.builds(
    Entry,
    kind=st.sampled_from([LOCAL, REMOTE]),
    id=st.one_of(big, st.integers(-3, 12)),
    name=names,
    fallback=maybe,
    optional=st.booleans(),
    private=st.booleans(),
    size=st.one_of(st.none(), st.integers(0, 2**40)),
    updated=st.one_of(st.none(), st.integers(0, 2**40)),
)
fates = st.fixed_dictionaries(
    {
        "state": st.sampled_from(EntryState),
        "reason": st.sampled_from(Reason),
        "size": st.one_of(st.none(), st.integers(0, 2**40)),
        "md5": st.one_of(st.none(), st.binary(min_size=16, max_size=16)),
        "etag": maybe,
        "source_key": maybe,
        "attempts": st.integers(0, 2**31),
        "detail": maybe,
        "origin": st.sampled_from(Origin),
        "claimed": st.booleans(),
    }
)


def outcome(record: Record, fate: dict[str, Any]) -> Outcome:
    fate = {name: value for name, value in fate.items() if name != "claimed"}
    if fate["state"] in (EntryState.PENDING, EntryState.DONE):
        fate["reason"] = None
    return Outcome(record.entry, **fate)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(found=st.lists(st.tuples(entries, fates), max_size=12, unique_by=lambda each: each[0][:3]))
def test_what_is_exported_and_imported_is_the_same(found: list[tuple[Entry, dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old.db", Path(folder) / "new.db"
        with planned(old, [entry for entry, _ in found]) as manifest:
            fate_of = {entry[:3]: fate for entry, fate in found}
            queue = WorkQueue(manifest)
            queue.start_run(4)
            claims = list(queue.iter_claimable())
            records = {each.entry[:3]: each for each in ManifestReader(manifest).iter_records()}
            claimed = [claim for claim in claims if fate_of[claim.entry[:3]]["claimed"]]
            queue.commit(claims=claimed)
            done = [outcome(records[place], fate) for place, fate in fate_of.items()]
            queue.commit(outcomes=[each for each in done if each.state is not EntryState.PENDING])
        archive = exported(old)
        assert imported(new, archive) == len(found)
        assert exported(new) == archive
        assert contents(new) == contents(old)
        with Manifest.open(new) as manifest:
            assert not Checker(manifest).run().faults


def test_what_a_plan_leaves_out_is_left_out_after_an_import(tmp_path: Path) -> None:
    """Also of what was done before, whose state does not tell."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with planned(old, [Entry(REMOTE, 1, "a.png", None, optional=True, private=False, size=5)]) as manifest:
        queue = WorkQueue(manifest)
        queue.commit(outcomes=[Outcome(each.entry, EntryState.DONE, size=5) for each in queue.iter_claimable()])
        with PlanWriter.transaction(manifest, SOURCE, DESTINATION) as writer:
            more = [Entry(REMOTE, number, "a.png", None, True, False, 5) for number in (1, 2)]
            groups = [group._replace(excluded=True) for group in grouped(more)]
            writer.merge(REMOTE.table, LOWEST_ID, HIGHEST_ID, groups)
            writer.finish(datetime.now(UTC), {})
    lines = [json.loads(line) for line in exported(old).splitlines()[1:-1]]
    assert [(line["state"], line["reason"], line["excluded"]) for line in lines] == [
        ("done", None, True),
        ("skipped", "excluded", True),
    ]
    imported(new, exported(old))
    assert contents(new) == contents(old)
    with Manifest.open(new) as manifest:
        assert not Checker(manifest).run().faults


@pytest.mark.parametrize("version", [1, 2, 3, newest_version()])
def test_a_manifest_with_something_of_everything_goes_through(version: int, tmp_path: Path) -> None:
    old, new = restored(version, tmp_path / "old.db"), tmp_path / "new.db"
    archive = exported(old)
    imported(new, archive)
    assert contents(new) == contents(old)
    assert exported(new) == archive
    assert new.stat().st_mode & 0o777 == 0o600
    with Manifest.open(new) as manifest:
        assert manifest.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        recover_claims_now(manifest)
        assert [claim for claim in WorkQueue(manifest).iter_claimable() if claim.arrival.presence & Presence.IN_DOUBT]
        assert manifest.connection.execute("SELECT count(*) FROM readable").fetchone() != (0,)


def test_an_archive_of_the_first_version_is_read(path: Path, archive: list[bytes]) -> None:
    """It knows neither times of files nor the pace of runs."""
    head, *entries = (json.loads(line) for line in archive[:-1])
    del head["samples"], head["probe"], head["database"], head["settings"], head["notes"]
    for each in entries:
        del each["updated"], each["excluded"], each["destination"], each["access"], each["accepted"]
    lines = [json.dumps(line).encode() + b"\n" for line in (head | {"version": 1}, *entries)]
    new = path.with_name("new.db")
    assert imported(new, sealed(lines)) == len(entries)
    assert [json.loads(line) for line in exported(new).splitlines()[1:-1]] == [
        each
        | {"updated": None, "excluded": False, "destination": None, "accepted": None}
        | {"access": ["as_public", "as_private"] if each["claimed"] else None}  # nobody knows
        for each in entries
    ]


@pytest.mark.parametrize("version", [2, 3, 4])
def test_an_archive_of_a_later_version_is_read(path: Path, archive: list[bytes], version: int) -> None:
    """None knows its database, settings and what was accepted, the first two no probe, and 2 not what lies there."""
    head, *entries = (json.loads(line) for line in archive[:-1])
    del head["database"], head["settings"], head["notes"]
    if version < 4:
        del head["probe"]
    for each in entries:
        del each["accepted"]
        if version == 2:
            del each["destination"], each["access"]
    lines = [json.dumps(line).encode() + b"\n" for line in (head | {"version": version}, *entries)]
    assert imported(path.with_name("new.db"), sealed(lines)) == len(entries)


def test_the_database_it_was_planned_from_is_not_forgotten(path: Path) -> None:
    new, database = path.with_name("new.db"), DatabaseIdentity("mastodon", "db:5432", "c0", ("a1", "a2"))
    with Manifest.open(path) as manifest, manifest.transaction():
        remember_database(manifest, database)
    imported(new, exported(path))
    with Manifest.open(new) as manifest:
        assert remembered_database(manifest) == database
    assert exported(new) == exported(path)


def test_settings_of_the_destination_are_not_forgotten(path: Path) -> None:
    new, before = path.with_name("new.db"), ObjectSettings("max-age=1", "none", "COLD")
    with Manifest.open(path) as manifest:
        note_settings(manifest, before)
        note_settings(manifest, before, by_others=True)
        noted = noted_settings(manifest)
    archive = exported(path)
    imported(new, archive)
    with Manifest.open(new) as manifest:
        assert noted_settings(manifest) == noted
    assert exported(new) == archive


@pytest.mark.parametrize(
    "told", ["{}", '[{"acl": "auto"}]', '[{"acl": 1, "cache_control": null, "storage_class": null}]']
)
def test_settings_that_none_can_be_are_refused(path: Path, archive: list[bytes], told: str) -> None:
    head = json.loads(archive[0]) | {"settings": json.loads(told)}
    lines = [json.dumps(head).encode() + b"\n", *archive[1:-1]]
    with pytest.raises(ManifestError, match="line 1"):
        imported(path.with_name("new.db"), sealed(lines))


def test_a_gap_and_a_change_are_not_forgotten(path: Path) -> None:
    """An export must not turn what `report` keeps the old store for into nothing."""
    new = path.with_name("new.db")
    with Manifest.open(path) as manifest, manifest.transaction() as connection:
        note_writer(path.with_name("another"), connection)
        keep_gap(connection)
        delete_meta(connection, "writer")
        note_change(connection, "adopt")
    archive = exported(path)
    imported(new, archive)
    with Manifest.open(new) as manifest:
        assert manifest.gap is not None
        assert last_change(manifest).command == "adopt"
    assert exported(new) == archive


@pytest.mark.parametrize("told", ["[]", '{"writer": "x"}', '{"gap": 1}'])
def test_notes_that_none_can_be_are_refused(path: Path, archive: list[bytes], told: str) -> None:
    head = json.loads(archive[0]) | {"notes": json.loads(told)}
    lines = [json.dumps(head).encode() + b"\n", *archive[1:-1]]
    with pytest.raises(ManifestError, match="line 1"):
        imported(path.with_name("new.db"), sealed(lines))


def test_a_probe_object_that_may_lie_at_the_destination_is_not_forgotten(path: Path) -> None:
    new = path.with_name("new.db")
    with Manifest.open(path) as manifest:
        note_probe(manifest, "0123")
    archive = exported(path)
    imported(new, archive)
    with Manifest.open(new) as manifest:
        assert probe_left_behind(manifest) == "0123"
    assert exported(new) == archive
    assert contents(new) == contents(path)


def test_a_line_has_what_ls_has_under_the_same_names(path: Path, archive: list[bytes]) -> None:
    lines = [json.loads(line) for line in archive[1:-1]]
    assert {tuple(line) for line in lines} == {LINE_FIELDS}
    assert set(FIELDS) < set(LINE_FIELDS)
    with Manifest.open(path) as manifest:
        listed = list(iter_listed(manifest, ListFilter()))
    alike = set(FIELDS) - {"source_key", "origin", "accepted"}
    assert [{name: line[name] for name in alike} for line in lines] == [
        {name: line[name] for name in alike} for line in listed
    ]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00+00:00"),
        (1793502100, "2026-11-01T03:01:40+00:00"),
        (1793502100.5, "2026-11-01T03:01:40.5+00:00"),
        (1793502100.1234567, "2026-11-01T03:01:40.1234567+00:00"),
        (253402300799, "9999-12-31T23:59:59+00:00"),
        (253402300800, 253402300800),
        (-1, -1),
    ],
)
def test_a_moment_is_told_as_everywhere_and_to_the_last_digit(seconds: float | None, told: object) -> None:
    assert as_iso(seconds) == told
    assert repr(seconds_of(told)) == repr(seconds)


def test_every_column_is_exported(path: Path) -> None:
    """Whoever adds one has to say what becomes of it in an archive."""
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}

        def columns(table: str) -> set[str]:
            return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}

        assert columns("entries") == {"kind", *COLUMNS.split(", ")}
        assert {table: columns(table) for table in ARCHIVED_RECORDS} == {
            table: set(names) for table, names in ARCHIVED_RECORDS.items()
        }
        assert tables == {*TABLES, "counts", "states", "reasons"}
        named = {name for (name,) in connection.execute("SELECT name FROM meta")}
        assert named == {"destination", "source", "last_end"}  # the last is of this machine, and is left out


# --- archives that are not whole ---


def refused(path: Path, archive: bytes) -> str:
    """Nothing is made, and nothing is left."""
    new = path.with_name("new.db")
    with pytest.raises(ManifestError, match="cannot import") as error:
        imported(new, archive)
    assert {each.name for each in new.parent.glob("new.db*")} == {"new.db.archive"}
    return error.value.message


def test_an_archive_that_is_cut_off_anywhere_is_refused(path: Path, archive: list[bytes]) -> None:
    for length in range(len(archive)):
        assert f"line {length + 1}: it ends there" in refused(path, b"".join(archive[:length]))
    assert f"line {len(archive)}" in refused(path, b"".join(archive)[:-1])


@pytest.mark.parametrize("number", [1, 2, 5, 20])
def test_a_line_that_is_missing_doubled_or_moved_is_refused(path: Path, archive: list[bytes], number: int) -> None:
    without = archive[:number] + archive[number + 1 :]
    doubled = archive[:number] + archive[number : number + 1] * 2 + archive[number + 1 :]
    assert "line" in refused(path, b"".join(without))
    assert f"line {number + 2}" in refused(path, b"".join(doubled))


def test_what_comes_after_the_foot_is_refused(path: Path, archive: list[bytes]) -> None:
    assert f"line {len(archive) + 1}" in refused(path, b"".join(archive) + b"\n")


def change(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda line: line.update(fields)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change(id="7"), "id is '7'"),
        (change(id=2**63), "id is"),
        (change(id=1.5), "id is 1.5"),
        (change(id=True), "id is True"),
        (change(kind=99), "no kind 99"),
        (change(table="toots"), " is of media_attachments file small"),
        (change(key="other/key"), "key does not follow"),
        (change(name=""), "key does not follow"),
        (change(name="\ud800.png"), "no JSON"),
        (change(state="lost"), "lost"),
        (change(state="failed"), "reason"),
        (change(reason="missing"), "reason"),
        (change(reason="tired", state="failed"), "tired"),
        (change(md5="00"), "no MD5"),
        (change(md5="z" * 32), "hexadecimal"),
        (change(size="big"), "size is 'big'"),
        (change(attempts=-1), "attempts"),
        (change(claimed=True), "claimed"),
        (change(access=["as_public"]), "access is"),
        (change(origin="heaven"), "heaven"),
        (change(private=1), "private is 1"),
        (change(updated="yesterday"), "no moment"),
        (change(updated="2026-11-30T03:00:00+09:00"), "no moment in UTC"),
        (change(updated="2026-11-30T03:00:00.5+00:00"), "updated is"),
        (change(accepted="missing"), "cannot be accepted"),
        (change(accepted=True), "accepted is True"),
        (change(state="failed", reason="network", accepted="network"), "cannot be accepted"),
        (change(more=1), "more"),
        (lambda line: line.pop("detail"), "detail"),
    ],
)
def test_a_line_that_no_export_writes_is_refused_by_its_number(
    path: Path, archive: list[bytes], edit: Callable[[dict[str, Any]], object], words: str
) -> None:
    number = next(at for at, line in enumerate(archive) if b'"state":"done"' in line)
    line = json.loads(archive[number])
    edit(line)
    archive[number] = json.dumps(line).encode() + b"\n"
    told = refused(path, sealed(archive[:-1]))
    assert f"line {number + 1}: " in told
    assert words in told


@pytest.mark.parametrize(
    "line", [b"[]\n", b"nonsense\n", b"\xff\n", b"\n", b"null\n", b"{}\n", b"[" * 100_000 + b"\n", b'{"sha256":1}\n']
)
def test_a_line_that_is_none_is_refused(path: Path, archive: list[bytes], line: bytes) -> None:
    assert "line 3: " in refused(path, sealed([*archive[:2], line, *archive[3:-1]]))
    assert "line 1: " in refused(path, sealed([line, *archive[1:-1]]))


@pytest.mark.parametrize(
    "edit",
    [
        change(format="other"),
        change(version=0),
        change(version=VERSION + 1),
        change(version="2"),
        change(snapshots=[]),
        change(runs=[{"id": 1}]),
        change(kinds=[{}]),
        change(kinds=7),
        change(source={"endpoint": "x"}),
        change(destination=None),
    ],
)
def test_a_head_that_no_export_writes_is_refused(
    path: Path, archive: list[bytes], edit: Callable[[dict[str, Any]], object]
) -> None:
    head = json.loads(archive[0])
    edit(head)
    assert "line 1: " in refused(path, sealed([json.dumps(head).encode() + b"\n", *archive[1:-1]]))


def test_a_changed_entry_is_found_by_the_digest(path: Path, archive: list[bytes]) -> None:
    archive[1] = archive[1].replace(b'"attempts":1', b'"attempts":2')
    assert "changed" in refused(path, b"".join(archive))


# --- where it comes from and goes to ---


def test_an_import_never_touches_a_manifest_that_is_there(path: Path, archive: list[bytes]) -> None:
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        imported(path, b"".join(archive))
    assert path.read_bytes() == before


@pytest.mark.parametrize("log", ["-wal", "-journal"])
def test_nothing_is_made_where_the_log_of_another_database_lies(path: Path, archive: list[bytes], log: str) -> None:
    """SQLite would bring it into what comes to lie beside it."""
    new = path.with_name("new.db")
    stranger = new.with_name(f"new.db{log}")
    stranger.write_bytes(b"of another one")
    with pytest.raises(UsageError, match="log of another database"):
        imported(new, b"".join(archive))
    with pytest.raises(UsageError, match="log of another database"):
        upkeep.back_up(context(path), new)
    assert stranger.read_bytes() == b"of another one"
    assert not new.exists()


def test_an_export_replaces_a_file_only_if_told_to(path: Path) -> None:
    target = path.with_name("out.jsonl")
    target.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        upkeep.export(context(path), target)
    assert target.read_text() == "mine"
    upkeep.export(context(path), target, replace=True)
    assert target.stat().st_mode & 0o777 == 0o600
    assert json.loads(target.read_text().splitlines()[-1])["entries"] == len(target.read_text().splitlines()) - 2


def test_an_export_goes_to_standard_output_and_comes_from_standard_input(
    path: Path, archive: list[bytes], monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    upkeep.export(context(path), None)
    assert capfdbinary.readouterr().out == b"".join(archive)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"".join(archive))))
    new = path.with_name("new.db")
    assert upkeep.import_archive(context(new), None) == len(archive) - 2
    assert contents(new) == contents(path)


def test_a_damaged_manifest_is_not_exported_as_if_it_were_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE entries SET state = 9 WHERE id = 3")
        connection.commit()
    target = path.with_name("out.jsonl")
    with pytest.raises(ManifestError, match="invalid value") as error:
        upkeep.export(context(path), target)
    assert "manifest check" in error.value.hint
    assert not target.exists()


def test_a_signal_at_the_very_moment_a_file_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.open

    def made_and_interrupted(path: Path, flags: int, mode: int) -> int:
        os.close(make(path, flags, mode))
        raise Interrupted("stopped on request")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", made_and_interrupted)
        with pytest.raises(Interrupted), appearing(tmp_path / "copy"):
            pass
    assert list(tmp_path.iterdir()) == []


class Torn(io.BytesIO):
    """A file of a disk that does not give its data."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def readline(self, size: int | None = -1, /) -> bytes:
        return self.read(size)


def test_an_archive_that_cannot_be_opened_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    with pytest.raises(ManifestError, match=r"cannot read .*archive"):
        upkeep.import_archive(context(tmp_path / "new.db"), tmp_path / "archive")
    assert not list(tmp_path.glob("new.db*partial")) + list(tmp_path.glob("new.db"))


def test_an_archive_that_cannot_be_read_is_told() -> None:
    with pytest.raises(ManifestError, match="cannot read it: Input/output error"):
        ArchiveSource(Torn(), "it").head()


def test_a_size_below_nothing_is_refused(tmp_path: Path) -> None:
    planned(tmp_path / "m.db", [Entry(LOCAL, 1, "a.png", None, False, False, -1)]).close()
    with pytest.raises(ManifestError, match="size is -1"):
        imported(tmp_path / "new.db", exported(tmp_path / "m.db"))
