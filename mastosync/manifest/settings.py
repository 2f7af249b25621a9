"""The settings of the destination under which objects may have been stored, and how far they were brought in line.

The manifest does not remember settings for each entry, which would take space in all of them. It remembers all settings
under which something may have been stored since all objects had the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mastosync.manifest.connection import Manifest
from mastosync.manifest.history import delete_meta, meta_of, note_change, set_meta
from mastosync.manifest.reader import NEXT_PAGE, ManifestReader, iter_chosen
from mastosync.manifest.rows import ARRIVED, COLUMNS, DONE, GONE, HAS_ARRIVED, LOWEST_ID
from mastosync.manifest.sqlite_errors import sound
from mastosync.model import CACHE_CONTROL, Presence, Record

_MAY_BE_CONFIRMED = f"""
SELECT EXISTS (SELECT 1 FROM entries INDEXED BY entries_open WHERE state <> {DONE} AND reason <> {GONE}
AND {HAS_ARRIVED} AND {ARRIVED} & {(Presence.STALE | Presence.IN_DOUBT).value} <> {Presence.STALE.value})
"""  # what is stale, and nothing else, is always stored anew
_ANY_GONE = f"""
SELECT EXISTS (SELECT 1 FROM entries INDEXED BY entries_open
WHERE state <> {DONE} AND reason = {GONE} AND {HAS_ARRIVED})
"""
_DONE_AFTER = f"""
SELECT {COLUMNS} FROM entries
WHERE kind = ? AND state = {DONE} {NEXT_PAGE}
"""
_SETTINGS, _PLACE, _OF_GONE = "settings", "settings_applied", "settings_of_gone"
_BEFORE_ALL = (0, LOWEST_ID, "")


class ObjectSettings(NamedTuple):
    """What a destination gives its objects, beside their bytes and their own headers."""

    cache_control: str | None = None  # to objects that have none of their own
    acl: str = "auto"  # per row, or `private`, or `none`
    storage_class: str | None = None  # None: the bucket's own


Noted = tuple[ObjectSettings | None, ...]
"""Settings under which something may have been stored. None among them: others have stored it, under unknown ones."""


class AppliedUpTo(NamedTuple):
    """The place up to which all done entries have been given the settings."""

    kind: int
    id: int
    name: str
    left: int = 0  # objects before it that could not be
    gone: int = 0  # objects before it whose rows are gone, which no plan knows yet


def noted_settings(manifest: Manifest) -> Noted | None:
    """All settings that were noted; None: none ever were. Raises: ManifestError."""
    value = meta_of(manifest, _SETTINGS)
    with sound(manifest.path):
        return None if value is None else noted_of(json.loads(value))


def noted_of(found: Sequence[dict[str, str | None] | None]) -> Noted:
    """Settings as JSON has them. Raises: TypeError if these are none."""
    return tuple(None if each is None else ObjectSettings(**each) for each in found)  # type: ignore[arg-type]


def noted_as_json(noted: Noted) -> list[dict[str, str | None] | None]:
    """The JSON that `noted_of` reads."""
    return [each if each is None else each._asdict() for each in noted]


def remember_settings(manifest: Manifest, noted: Noted | None) -> None:
    """Let a new manifest have what another one has noted, within the caller's transaction."""
    if noted is not None:
        set_meta(manifest.connection, _SETTINGS, _encoded(noted))


def other_settings(manifest: Manifest, current: ObjectSettings) -> Noted:
    """Settings other than the `current` ones, under which something that is done may lie there. Raises: ManifestError.

    Before settings were noted, objects got no Cache-Control unless the configuration had one. What it had then is not
    known. If it has the usual one now, it is taken to have had none; else to have had the same. ACL and storage class
    are taken to be those of today.
    """
    noted = noted_settings(manifest)
    if not ManifestReader(manifest).any_done():
        return ()
    if noted is None:
        noted = (_before_notes(current),)
    return tuple(each for each in noted if each != current)


def note_settings(manifest: Manifest, current: ObjectSettings, *, by_others: bool = False) -> None:
    """Note the `current` settings before something is stored under them; `by_others`: note unknown ones.

    Forget how far objects were brought in line, if they were given other settings, or if an object that is there but
    not done may be confirmed without being stored anew. Raises: ManifestError.
    """
    new = None if by_others else current
    with manifest.transaction() as connection:
        noted = noted_settings(manifest)
        if noted is None:
            any_stored = ManifestReader(manifest).any_done() or connection.execute(_ANY_GONE).fetchone()[0]
            noted = (_before_notes(current),) if any_stored else ()
        if new not in noted:
            set_meta(connection, _SETTINGS, _encoded((*noted, new)))
        is_kept = new == current and applied_to(manifest, current) is not None
        if not is_kept or connection.execute(_MAY_BE_CONFIRMED).fetchone()[0]:
            delete_meta(connection, _PLACE)


def begin_applying(manifest: Manifest, current: ObjectSettings) -> None:
    """Note the `current` settings before anything is brought in line with them.

    Also note that objects are stored anew; call `take_back_change` if none was. Raises: ManifestError.
    """
    with manifest.transaction() as connection:
        noted = noted_settings(manifest)
        known = (_before_notes(current),) if noted is None else noted
        if current not in known:
            set_meta(connection, _SETTINGS, _encoded((*known, current)))
        note_change(connection, "apply-settings")


def applied_to(manifest: Manifest, current: ObjectSettings) -> AppliedUpTo | None:
    """The place up to which all objects have these settings; None: none have. Raises: ManifestError."""
    value = meta_of(manifest, _PLACE)
    if value is None:
        return None
    with sound(manifest.path):
        found = json.loads(value)
        given, place = noted_of([found["settings"]]), AppliedUpTo(*found["place"])
    return place if given == (current,) else None


def note_applied(manifest: Manifest, current: ObjectSettings, place: AppliedUpTo) -> None:
    """Note the place up to which all objects have these settings. Raises: ManifestError."""
    with manifest.transaction() as connection:
        value = json.dumps({"settings": current._asdict(), "place": place})
        set_meta(connection, _PLACE, value)


def end_applying(manifest: Manifest, current: ObjectSettings, *, left: int, gone: int = 0) -> bool:
    """Note that everything that is done has been looked at, and `left` objects could not be brought in line.

    `gone`: how many stay as they are, as their rows are gone, which no plan knows yet.
    Returns: whether all objects have these settings, so that the others are forgotten. They may not have them if an
    object that is there but not done may be confirmed without being stored anew. Raises: ManifestError.
    """
    with manifest.transaction() as connection:
        in_line = not left and not connection.execute(_MAY_BE_CONFIRMED).fetchone()[0]
        if in_line:
            _keep_for_gone(manifest, current, gone)
            set_meta(connection, _SETTINGS, _encoded((current,)))
        delete_meta(connection, _PLACE)
    return in_line


def _keep_for_gone(manifest: Manifest, current: ObjectSettings, gone: int) -> None:
    """Keep the settings of objects whose rows are gone: they are not brought in line, and may come back.

    `gone`: how many more are gone than the last plan knows.
    """
    if gone or manifest.connection.execute(_ANY_GONE).fetchone()[0]:
        noted = noted_settings(manifest)
        before = (_before_notes(current),) if noted is None else noted
        set_meta(manifest.connection, _OF_GONE, _encoded(_joined(before, _settings_of_gone(manifest))))
    else:
        delete_meta(manifest.connection, _OF_GONE)


def recall_settings(manifest: Manifest) -> None:
    """Note the settings of gone objects as in use, as a row is back. Within the transaction of a plan."""
    if of_gone := _settings_of_gone(manifest):
        set_meta(manifest.connection, _SETTINGS, _encoded(_joined(noted_settings(manifest) or (), of_gone)))


def archived_settings(manifest: Manifest) -> Noted | None:
    """All settings that objects may have, also those whose rows are gone. Raises: ManifestError."""
    noted, of_gone = noted_settings(manifest), _settings_of_gone(manifest)
    return _joined(noted or (), of_gone) if of_gone else noted


def _settings_of_gone(manifest: Manifest) -> Noted:
    value = meta_of(manifest, _OF_GONE)
    with sound(manifest.path):
        return () if value is None else noted_of(json.loads(value))


def _joined(noted: Noted, more: Noted) -> Noted:
    return (*noted, *(each for each in more if each not in noted))


def iter_done_after(manifest: Manifest, place: AppliedUpTo | None) -> Iterator[tuple[AppliedUpTo, Record]]:
    """Yield done entries after a place, by kind, id and name. No read is open while one is handed out.

    Raises: ManifestError.
    """
    first, row_id, name = place[:3] if place else _BEFORE_ALL
    for number, kind in sorted(manifest.kinds().items()):
        if number < first:
            continue
        after = (row_id, name) if number == first else _BEFORE_ALL[1:]
        for record in iter_chosen(manifest, _DONE_AFTER, kind, after=after):
            yield AppliedUpTo(number, record.entry.id, record.entry.name), record


def _before_notes(current: ObjectSettings) -> ObjectSettings:
    given = None if current.cache_control == CACHE_CONTROL else current.cache_control
    return current._replace(cache_control=given)


def _encoded(noted: Noted) -> str:
    return json.dumps(noted_as_json(noted))
