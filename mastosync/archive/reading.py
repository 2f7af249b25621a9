"""Reading an archive: line by line, each looked at before it is believed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Any, BinaryIO, TypeVar

from mastosync.archive.writing import (
    FORMAT,
    HEAD_FIELDS,
    KIND_FIELDS,
    LATER_FIELDS,
    LINE_FIELDS,
    MOMENTS,
    PLAIN_COLUMNS,
    VERSION,
    Digest,
    seconds_of,
)
from mastosync.errors import ManifestError
from mastosync.language import tr
from mastosync.manifest import (
    ACCESS,
    ARCHIVED_RECORDS,
    FLAGS,
    NOTES,
    ORIGIN_CODE,
    REASON_CODE,
    STATE_CODE,
    ArchivedEntry,
    EntryRow,
    Head,
    Noted,
    ObjectSettings,
    StoreIdentity,
    contradiction,
    noted_of,
)
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import (
    ACCEPTABLE_REASONS,
    NOTHING,
    DatabaseIdentity,
    Entry,
    EntryState,
    Kind,
    Origin,
    Presence,
    Reason,
)

_LONGEST_LINE = 64 * 1024 * 1024  # bytes: what is longer is no archive, and not worth the memory
_LARGEST = 2**63 - 1  # what SQLite takes
_T = TypeVar("_T")
_NUMBERS = ("id", "run", "workers", "done", "failed", "skipped", "bytes")


class InvalidLine(ValueError):
    """A line that no export writes; the message says why."""


class ArchiveSource:
    """An archive that is read once: `head()`, then `iter_entries()` to the end, which looks at the foot too.

    Both raise ManifestError, with the number of the line.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._number = 0
        self._digest = Digest()
        self._version = VERSION
        self._head: Head | None = None
        self._last: tuple[int, int, str] | None = None

    def head(self) -> Head:
        """The first line."""
        line = self._next_line()
        try:
            found = _parsed(line)
            self._version = _version(found)
            self._head = _head(_completed(found, self._version, HEAD_FIELDS))
        except (InvalidLine, TypeError, ValueError, KeyError) as wrong:
            raise self._refused(str(wrong)) from wrong
        self._digest.take(line)
        return self._head

    def iter_entries(self) -> Iterator[ArchivedEntry]:
        """Every entry; after the last one it is certain that the archive is whole."""
        while True:
            line = self._next_line()
            try:
                found = _parsed(line)
                if "sha256" in found:
                    self._look_at_foot(found)
                    return
                yield self._entry(found)
            except (InvalidLine, TypeError, ValueError, KeyError) as wrong:
                raise self._refused(str(wrong)) from wrong
            self._digest.take(line)

    def _next_line(self) -> bytes:
        self._number += 1
        with read_from(self._name):
            line = self._stream.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise self._refused("it ends there: it was cut off" if len(line) < _LONGEST_LINE else "it is too long")
        return line

    def _refused(self, why: str) -> ManifestError:
        return ManifestError(
            tr("cannot import {name}: line {number}: {why}", name=self._name, number=self._number, why=why),
            hint=tr("it must be what `mastosync manifest export` wrote, whole and unchanged; nothing was imported"),
        )

    def _entry(self, line: dict[str, Any]) -> ArchivedEntry:
        if self._head is None:
            raise InvalidLine("it comes before the head")
        entry = _archived(_completed(line, self._version, LINE_FIELDS), self._head)
        place = (entry.kind, entry.row.id, entry.row.name)
        if self._last is not None and place <= self._last:
            raise InvalidLine("it does not come after the line before it, by kind, id and name")
        self._last = place
        return entry

    def _look_at_foot(self, line: dict[str, Any]) -> None:
        if line != self._digest.foot():
            raise InvalidLine("the lines before it are not those that were written: one is missing or was changed")
        with read_from(self._name):
            more = self._stream.read(1)
        if more:
            self._number += 1
            raise InvalidLine("there is something after the last line")


@contextmanager
def read_from(name: str) -> Iterator[None]:
    """Turn what the system says of the archive into a ManifestError."""
    try:
        yield
    except OSError as error:
        raise ManifestError(
            tr("cannot read {name}: {strerror}", name=name, strerror=error.strerror),
            hint=tr("it must be a file that you may read; nothing was changed"),
        ) from error


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
        if b"\\ud" in line:  # half of a character is no text
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidLine(f"it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidLine("it is no JSON object")
    return found


def _require_fields(line: object, names: tuple[str, ...]) -> None:
    if not isinstance(line, dict):
        raise InvalidLine(f"{line!r:.60} stands where an object should")
    if line.keys() != set(names):
        wrong = sorted(line.keys() ^ set(names))
        raise InvalidLine(f"fields are missing, or there are others than should be: {', '.join(wrong)}")


def _version(line: dict[str, Any]) -> int:
    if line.get("format") != FORMAT:
        raise InvalidLine("it is not the beginning of an export")
    version = _of(line, "version", int)
    if not 1 <= version <= VERSION:
        raise InvalidLine(f"it is of version {version}, and this mastosync reads versions up to {VERSION}: upgrade it")
    return version


def _completed(line: dict[str, Any], version: int, names: tuple[str, ...]) -> dict[str, Any]:
    """A line of an older version, with what came later."""
    return {name: value for name, value in LATER_FIELDS.get(version, {}).items() if name in names} | line


def _head(line: dict[str, Any]) -> Head:
    _require_fields(line, HEAD_FIELDS)
    kinds: dict[int, Kind] = {}
    for each in line["kinds"]:
        _require_fields(each, KIND_FIELDS)
        table, attachment, style, directory = (_of(each, name, str) for name in Kind._fields[:4])
        kind = Kind(table, attachment, style, directory, _of(each, "remote", bool), _of(each, "cached", bool))
        kinds[_number(each, "kind")] = kind
    records = {table: [_record(each, columns) for each in line[table]] for table, columns in ARCHIVED_RECORDS.items()}
    if not records["snapshots"]:
        raise InvalidLine("it has no plan")
    source, destination = _store(line["source"]), _store(line["destination"])
    database, settings = _database(line["database"]), _settings(line["settings"])
    notes = _notes(line["notes"])
    return Head(source, destination, kinds, _perhaps(line, "probe", str), database, settings, notes, records)


def _notes(told: Any) -> dict[str, str]:  # noqa: ANN401 - of JSON
    if not isinstance(told, dict) or not all(name in NOTES and isinstance(value, str) for name, value in told.items()):
        raise InvalidLine(f"notes are {told!r:.60}")
    return told


def _database(line: dict[str, Any] | None) -> DatabaseIdentity | None:
    if line is None:
        return None
    _require_fields(line, tuple(each.name for each in fields(DatabaseIdentity)))
    accounts = tuple(_of(line, "accounts", list))
    if not all(isinstance(each, str) for each in accounts):
        raise InvalidLine(f"accounts are {accounts!r:.60}")
    return DatabaseIdentity(_of(line, "name", str), _of(line, "address", str), _perhaps(line, "cluster", str), accounts)


def _settings(told: Any) -> Noted | None:  # noqa: ANN401 - of JSON
    if told is None:
        return None
    if not isinstance(told, list):
        raise InvalidLine(f"settings is {told!r}")
    for each in told:
        if each is not None:
            _require_fields(each, ObjectSettings._fields)
            _of(each, "acl", str)
            _perhaps(each, "cache_control", str)
            _perhaps(each, "storage_class", str)
    return noted_of(told)


def _store(line: dict[str, Any]) -> StoreIdentity:
    names = tuple(each.name for each in fields(StoreIdentity))
    _require_fields(line, names)
    return StoreIdentity(*(_of(line, name, str) for name in names))


def _record(line: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    _require_fields(line, columns)
    line |= {name: seconds_of(line[name]) for name in columns if name in MOMENTS}
    for name in columns:
        if name in _NUMBERS:
            _number(line, name)
        elif name == "details":
            _of(line, name, dict)
        elif name == "taken_at":
            datetime.fromisoformat(_of(line, name, str))
        elif not (name == "ended_at" and line[name] is None):
            _of(line, name, float)
    return line


def _archived(line: dict[str, Any], head: Head) -> ArchivedEntry:
    _require_fields(line, LINE_FIELDS)
    line["updated"] = seconds_of(line["updated"])
    number = _number(line, "kind")
    if number not in head.kinds:
        raise InvalidLine(f"the head has no kind {number}")
    kind = head.kinds[number]
    entry = Entry(
        kind=kind,
        id=_number(line, "id"),
        name=_of(line, "name", str),
        fallback=_perhaps(line, "fallback", str),
        optional=_of(line, "optional", bool),
        private=_of(line, "private", bool),
        size=_size(line),
        updated=None if line["updated"] is None else _number(line, "updated"),
    )
    if (line["table"], line["attachment"], line["style"]) != kind[:3]:
        raise InvalidLine(f"kind {number} is of {' '.join(kind[:3])}")
    if not entry.name or line["key"] != canonical_key(entry, head.destination.key_prefix):
        raise InvalidLine("its key does not follow from its kind, id and name")
    state, reason = EntryState(_of(line, "state", str)), line["reason"]
    if (reason is None) != (state in (EntryState.PENDING, EntryState.DONE)):
        raise InvalidLine(f"an entry cannot be {state} with the reason {reason!r}")
    if _of(line, "claimed", bool) and state in (EntryState.DONE, EntryState.SKIPPED):
        raise InvalidLine("an entry that is done or skipped cannot be claimed")
    if _number(line, "attempts") < 0:
        raise InvalidLine("attempts are not less than none")
    row = EntryRow(
        id=entry.id,
        name=entry.name,
        fallback=entry.fallback,
        flags=FLAGS[entry.optional, entry.private, _of(line, "excluded", bool)],
        size=entry.size,
        state=STATE_CODE[state],
        reason=REASON_CODE[None if reason is None else Reason(reason)],
        attempts=line["attempts"],
        md5=_md5(_perhaps(line, "md5", str)),
        etag=_perhaps(line, "etag", str),
        source_key=_perhaps(line, "source_key", str),
        detail=_perhaps(line, "detail", str),
        origin=ORIGIN_CODE[Origin.COPIED if line["origin"] is None else Origin(_of(line, "origin", str))],
        updated=entry.updated,
        arrived=_presence(line, state),
        accepted=_accepted(line, state),
        **{name: _plain(line, name) for name in PLAIN_COLUMNS},
    )
    return ArchivedEntry(number, row, _access(line))


def _presence(line: dict[str, Any], state: EntryState) -> Presence | None:
    """What lies at the destination; None: that follows from the rest."""
    presence = _bits(line, "destination")
    wrong = None if presence is None else contradiction(state, presence)
    if wrong is not None:
        raise InvalidLine(wrong)
    return presence


def _access(line: dict[str, Any]) -> Presence | None:
    """With which a claimed object is being written; None: it is not claimed. An older version did not know it."""
    access = _bits(line, "access")
    if access is not None and (not line["claimed"] or not access or access & ~ACCESS):
        raise InvalidLine(f"access is {line['access']!r}")
    return ACCESS if access is None and line["claimed"] else access


def _accepted(line: dict[str, Any], state: EntryState) -> int | None:
    """The code of the reason that somebody has accepted as a loss; GONE: a plan was accepted that lost the row."""
    reason = _perhaps(line, "accepted", str)
    is_gone = reason == line["reason"] == Reason.GONE
    if reason is not None and not is_gone and (state is EntryState.DONE or reason not in ACCEPTABLE_REASONS):
        raise InvalidLine(f"an entry that is {state} cannot be accepted as {reason!r}")
    return None if reason is None else REASON_CODE[Reason(reason)]


def _bits(line: dict[str, Any], name: str) -> Presence | None:
    """A presence, of which an archive has the names of the bits."""
    told = line[name]
    if told is None:
        return None
    if not isinstance(told, list) or not all(isinstance(bit, str) for bit in told):
        raise InvalidLine(f"{name} is {told!r}")
    presence = NOTHING
    for bit in told:
        presence |= Presence[bit.upper()]
    return presence


def _size(line: dict[str, Any]) -> int | None:
    size = None if line["size"] is None else _number(line, "size")
    if size is not None and size < 0:
        raise InvalidLine(f"size is {size}")
    return size


def _md5(text: str | None) -> bytes | None:
    if text is None:
        return None
    if len(text) != 32:
        raise InvalidLine(f"{text!r} is no MD5")
    return bytes.fromhex(text)


def _of(line: dict[str, Any], name: str, kind: type[_T]) -> _T:
    value = line[name]
    if type(value) is not kind:  # a bool is an int to isinstance
        raise InvalidLine(f"{name} is {value!r}")
    return value


def _perhaps(line: dict[str, Any], name: str, kind: type[_T]) -> _T | None:
    return None if line[name] is None else _of(line, name, kind)


def _plain(line: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - of JSON
    """A number or text as it is; None: there is none."""
    value = line[name]
    return value if value is None or isinstance(value, str) else _number(line, name)


def _number(line: dict[str, Any], name: str) -> int:
    number = _of(line, name, int)
    if not -_LARGEST - 1 <= number <= _LARGEST:
        raise InvalidLine(f"{name} is {number}")
    return number
