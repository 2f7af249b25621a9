"""Keys as Paperclip makes them: from a database row to the keys of its objects, and the order of keys in a store.

Two things, both pure functions. The first is the key of an object:

    [prefix + "/"] + ["cache/"] + directory/id_partition/style/name        without ONE leading "/"

Paperclip fills a pattern by replacing `:token` after `:token`. What a prefix or a file name itself
holds is therefore replaced too; `_interpolate` follows its order where a colon makes it matter.

The second is the order of keys, in which the manifest is read beside a store's listing (`SortedSegment`). Stores list
keys by their bytes; the manifest keeps entries by kind and id. The two orders agree within a *segment*: the entries of
one kind whose ids have the same number of digits, under one form of their keys. There ascending ids make ascending
keys, as an id fills the digits of its key from the left; where the last digits are dropped, neighbouring ids share all
but the name. All segments merged are the order of the whole store.
"""

from __future__ import annotations

import re
import string
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from mastosync.model import AttachmentSpec, Entry, EntryGroup, Kind, MediaColumns, MediaRow, Style

_CACHE = "cache/"
_ORDINARY = (string.ascii_letters + string.digits + "-_").encode()
_WIDE_ID = 10**9  # ids from here on are padded to twelve digits
_AMBIGUOUS_IDS = range(10**9, 10**11)  # ten and eleven digits: old releases padded these to nine

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"  # noqa: E501 - one set
"""What Ruby's `blank?` takes for white space: Unicode's White_Space, and nothing else."""


class KeyForm(NamedTuple):
    """One of the ways in which the key of an entry may be made."""

    prefix: str
    cached: bool  # under `cache/`
    width: int | None = None  # to which the id is padded; None: as Paperclip does now
    other_name: bool = False  # the last segment is the entry's fallback


def is_blank(text: str | None) -> bool:
    """Whether Rails would call this column blank."""
    # Python calls all of that space, and more; it answers at the first character that is none
    return not text or (text.isspace() and not text.strip(WHITE_SPACE))


def id_partition(row_id: int, width: int | None = None) -> str:
    """Groups of three digits from the left; what does not fill a group is dropped.

    `width` overrides the padding, for objects that older releases stored.
    """
    digits = str(row_id)
    if len(digits) == 18 and row_id > 0:  # as most ids are: millions of keys are made, and the general way takes longer
        a, b, c, d, e, f = digits[:3], digits[3:6], digits[6:9], digits[9:12], digits[12:15], digits[15:]
        return f"{a}/{b}/{c}/{d}/{e}/{f}"
    digits = digits.zfill(width or (9 if row_id < _WIDE_ID else 12))
    if row_id < 0:
        digits = digits[1:]  # the sign takes one place of the padding and is no digit
    return "/".join([digits[i : i + 3] for i in range(0, len(digits) - 2, 3)])


def ids_of_key(row_id: int) -> tuple[int, int]:
    """The lowest and the highest id with the same partition: what does not fill a group of three is no part of it."""
    digits = len(str(abs(row_id)))
    width = digits if digits > 12 else 9 if row_id < _WIDE_ID else 12
    if row_id < 0:
        width = max(digits, 8)  # the sign takes one place
    unit = 10 ** (width % 3)
    first = abs(row_id) // unit * unit
    return (first, first + unit - 1) if row_id >= 0 else (-first - unit + 1, -first)


def entries_of(spec: AttachmentSpec, row: MediaRow) -> list[Entry]:
    """Every object that one attachment of one row stands for; none if its file name is blank."""
    row_id, file_name, content_type, file_size, schema_version, remote, private, var, updated = row
    if file_name is None or is_blank(file_name):
        return []
    base, own_extension = _split(file_name)
    found = []
    for kind, style in _renditions_of(spec, content_type, var, remote, schema_version):
        name = _name_of(spec, style, file_name)
        fallback = None if style.fallback is None else _joined(base, style.fallback or own_extension)
        if fallback == name:
            fallback = None
        size = file_size if style.name == "original" else None
        found.append(Entry(kind, row_id, name, fallback, style.optional, private or spec.private, size, updated))
    return found


def names_of(spec: AttachmentSpec, style_name: str, file_name: str) -> set[str]:
    """What an object of a style may be called whose row has a file of this name, whatever its type."""
    return {_name_of(spec, style, file_name) for style in spec.styles if style.name == style_name}


def groups_of(spec: AttachmentSpec, media: MediaColumns) -> list[EntryGroup]:
    """All that `entries_of` finds for these rows, in groups. A plan has millions of rows, so columns are moved."""
    if _are_ordinary(media.file_names):
        return _ordinary_groups(spec, media)
    groups: list[EntryGroup] = []
    ordinary: list[MediaRow] = []
    for row in media.iter_rows():
        if _are_ordinary((row.file_name or "",)):
            ordinary.append(row)
        else:
            groups += map(EntryGroup.of, entries_of(spec, row))
    return groups + (_ordinary_groups(spec, MediaColumns(*zip(*ordinary, strict=True))) if ordinary else [])


def canonical_key(entry: Entry, prefix: str) -> str:
    """The key that Mastodon will ask for, under `S3_KEY_PREFIX` = `prefix` (may be empty)."""
    return _key(prefix, entry, entry.name, cached=entry.kind.cached)


def iter_candidates(entry: Entry, prefix: str, copies: str | None = None) -> Iterator[str]:
    """Every key under which the object may lie, the most likely first and each once.

    The first is the canonical key. Only a true 404 may lead from one to the next. `copies`: the prefix under which the
    destination lies in the same bucket; what lies there is no candidate. None: it lies elsewhere.
    """
    for form in key_forms(entry.kind, prefix, every_form=True):
        if form.prefix == copies:
            continue
        name = entry.fallback if form.other_name else entry.name
        if name is not None and (form.width is None or entry.id in _AMBIGUOUS_IDS):
            yield _key(form.prefix, entry, name, cached=form.cached, width=form.width)


def folder_of(kind: Kind) -> str:
    """Where the keys of a kind lie, without any prefix."""
    return f"{_CACHE if kind.cached else ''}{kind.directory}"


@lru_cache(maxsize=1024)
def key_forms(kind: Kind, prefix: str, *, every_form: bool) -> tuple[KeyForm, ...]:
    """The forms that keys of this kind have, in the order in which candidates are tried; or just the canonical one."""
    if not every_form:
        return (KeyForm(prefix, kind.cached),)
    return tuple(
        KeyForm(each_prefix, cached, width, other_name)
        for each_prefix in ((prefix, "") if prefix else ("",))
        for width in (None, 9)  # an id that is padded to twelve now may have been to nine
        for other_name in (False, True)
        for cached in ((kind.cached, not kind.cached) if kind.remote else (False,))
    )


def key_head(kind: Kind, form: KeyForm) -> str:
    """What keys of a kind in one form begin with, up to the id. The prefix is taken as it is."""
    head = f"{_CACHE if form.cached else ''}{kind.directory}/"
    return f"{form.prefix}/{head}".removeprefix("/") if form.prefix else head


def _key(prefix: str, entry: Entry, name: str, *, cached: bool, width: int | None = None) -> str:
    kind = entry.kind
    place = f"{kind.directory}/{id_partition(entry.id, width)}/{kind.style}/{name}"
    if cached:
        place = _CACHE + place
    if not prefix:
        return place.removeprefix("/")
    if ":" in prefix:
        prefix = _interpolate_prefix(prefix, entry, name)
    return f"{prefix}/{place}".removeprefix("/")


@lru_cache(maxsize=4096)
def _renditions_of(
    spec: AttachmentSpec, content_type: str | None, var: str | None, remote: bool, schema_version: int | None
) -> tuple[tuple[Kind, Style], ...]:
    """The styles of such rows, and the kinds of their entries: worked out once, a plan has millions of rows."""
    remote = remote and spec.cacheable
    cached = remote and (schema_version or 0) >= 1
    return tuple(
        (Kind(spec.table, spec.attachment, style.name, spec.directory, remote, cached), style)
        for style in spec.styles
        if style.applies(content_type, var)
    )


def _are_ordinary(names: Sequence[str]) -> bool:
    """Whether each is what Mastodon calls its files: letters and digits, one dot, letters and digits."""
    joined = "\n".join(("", *names, ""))
    return (
        joined.encode().translate(None, _ORDINARY) == b"\n" + b".\n" * len(names)
        and "\n." not in joined
        and ".\n" not in joined
    )


def _ordinary_groups(spec: AttachmentSpec, media: MediaColumns) -> list[EntryGroup]:
    """`groups_of` for names that nothing in Paperclip stumbles over."""
    alike: dict[tuple[Any, ...], list[tuple[int, str, int | None, int | None]]] = defaultdict(list)
    traits = zip(media.content_types, media.variables, media.remote, media.schema_versions, media.private, strict=True)
    lines_in_order = zip(media.ids, media.file_names, media.file_sizes, media.updated, strict=True)
    for which, line in zip(traits, lines_in_order, strict=True):
        alike[which].append(line)
    groups = []
    for (content_type, var, remote, schema_version, private), lines in alike.items():
        ids, names, sizes, updated = zip(*lines, strict=True)
        for kind, style in _renditions_of(spec, content_type, var, remote, schema_version):
            own = _renamed(names, style.format)
            fallbacks = None
            if style.fallback is not None:
                others = _renamed(names, style.fallback)
                fallbacks = [other if other != name else None for name, other in zip(own, others, strict=True)]
            known = sizes if style.name == "original" else None
            is_private = private or spec.private
            groups.append(EntryGroup(kind, style.optional, is_private, ids, own, fallbacks, known, updated))
    return groups


def _renamed(names: Sequence[str], extension: str) -> Sequence[str]:
    """Ordinary names with another extension, or with their own."""
    return [f"{name.partition('.')[0]}.{extension}" for name in names] if extension else names


def _name_of(spec: AttachmentSpec, style: Style, file_name: str) -> str:
    """The last segment of the canonical key."""
    base, own_extension = _split(file_name)
    name = file_name if style.name == "original" else _joined(base, style.format or own_extension)
    return _interpolate_name(name, spec, style, file_name) if ":" in name else name


def _joined(base: str, extension: str) -> str:
    """The name of a derived style: base and extension joined by a dot, blank parts left out."""
    if is_blank(base) or is_blank(extension):
        return ".".join(part for part in (base, extension) if not is_blank(part))
    return f"{base}.{extension}"


def _split(file_name: str) -> tuple[str, str]:
    """Base and extension as Ruby takes them off: of the last segment, where leading dots are no dots."""
    name = file_name.rstrip("/").rpartition("/")[2]
    base, _, extension = name.rpartition(".")
    return (base, extension) if base.strip(".") else (name, "")


def _interpolate_name(name: str, spec: AttachmentSpec, style: Style, file_name: str) -> str:
    """Replace the tokens that Paperclip still looks for once `:filename` has been filled in."""
    base, own_extension = _split(file_name)
    tokens = {
        "extension": style.format or own_extension,
        "class": spec.table,
        "basename": base,
        "attachment": spec.directory.rpartition("/")[2],
    }
    return _interpolate(name, tokens)


def _interpolate_prefix(prefix: str, entry: Entry, name: str) -> str:
    kind = entry.kind
    tokens = {
        "style": kind.style,
        "id_partition": id_partition(entry.id),
        "id": str(entry.id),
        "filename": name,
        "class": kind.table,
        "attachment": kind.directory.rpartition("/")[2],
    }
    return _interpolate(prefix, tokens)


def _interpolate(pattern: str, tokens: dict[str, str]) -> str:
    """Replace one token after the other, in the given order: Paperclip's is the reverse alphabet."""
    for token, value in tokens.items():
        pattern = pattern.replace(f":{token}", value)
    return pattern


_HIGHEST = 2**63 - 1
_DIGITS = ((0, 10**9 - 1), *((10**digits, 10 ** (digits + 1) - 1) for digits in range(9, 18)), (10**18, _HIGHEST))
_GROUPS = re.compile(r"(?:[0-9]{3}/)*")
_AMBIGUOUS = {10: (10**9, 10**10 - 1), 11: (10**10, 10**11 - 1)}  # padded to nine by old releases, so not at all


class KeyRange(NamedTuple):
    """Keys after the first, up to the second; None: to the end."""

    after: str
    up_to: str | None

    def holds(self, key: str) -> bool:
        """Whether a key lies in it."""
        return key > self.after and (self.up_to is None or key <= self.up_to)


class SortedSegment(NamedTuple):
    """Entries of one kind with ids from `lowest` to `highest`, under one form of their keys."""

    kind: Kind
    head: str  # of the keys, up to the id
    form: KeyForm
    lowest: int
    highest: int

    @property
    def is_canonical(self) -> bool:
        """Whether these are the keys that Mastodon asks for."""
        return self.form == key_forms(self.kind, "", every_form=False)[0]

    @property
    def unit(self) -> int:
        """How many ids, from a multiple of it on, share a folder: those that differ in the digits that are dropped."""
        return (1, 10, 100)[self._width % 3]

    def folder(self, row_id: int) -> str:
        """The key of an entry, up to its name."""
        return f"{self.head}{id_partition(row_id, self.form.width)}/{self.kind.style}/"

    def keys_of(self, ids: Sequence[int], names: Iterable[str]) -> list[str]:
        """The keys of entries with these ids and last segments. Millions are made, so all ids are parted in one go."""
        if self.lowest < 0 or not ids:
            return [f"{self.folder(row_id)}{name}" for row_id, name in zip(ids, names, strict=True)]
        unit, groups = self.unit, self._width // 3
        numbers = ids if unit == 1 else [row_id // unit for row_id in ids]
        parted = "\n".join(map(f"{{:0{4 * groups - 1},}}".format, numbers))  # Python sets commas where we set slashes
        head, style = self.head, self.kind.style
        places = zip(parted.replace(",", "/").split("\n"), names, strict=True)
        return [f"{head}{partition}/{style}/{name}" for partition, name in places]

    def within(self, keys: KeyRange, span: tuple[int, int]) -> SortedSegment | None:
        """What may have keys in a range, and ids in a span (inclusive); None: nothing has."""
        lowest, highest = max(self.lowest, span[0]), min(self.highest, span[1])
        if lowest > highest or self.lowest < 0:  # these do not lie in their order, and are hardly ever more than one
            return None if lowest > highest else self
        after, up_to = keys
        ids, first, last = range(lowest, highest + 1), 0, highest + 1 - lowest
        if after.startswith(self.head):
            first = bisect_left(ids, True, *self._near(ids, after), key=lambda row_id: self._goes_on(row_id, after))
        elif after > self.head:  # as most bounds lie before or after all of these
            return None
        if up_to is not None and up_to.startswith(self.head):
            last = bisect_right(ids, up_to, *self._near(ids, up_to), key=self.folder)
        elif up_to is not None and up_to < self.head:
            return None
        return self._replace(lowest=ids[first], highest=ids[last - 1]) if first < last else None

    def _goes_on(self, row_id: int, after: str) -> bool:
        """Whether an entry with this id may come after a key, whatever its name is."""
        folder = self.folder(row_id)
        return folder > after or after.startswith(folder)

    @property
    def _width(self) -> int:
        """How many digits an id has in a key, with those that are dropped."""
        digits = len(str(self.highest))
        return max(digits, self.form.width or (9 if self.highest < _WIDE_ID else 12))

    def _near(self, ids: range, key: str) -> tuple[int, int]:
        """Between which positions of `ids` a key lies, by as many of its digits as there are in whole groups."""
        groups = _GROUPS.match(key, len(self.head))
        digits = groups[0].replace("/", "")[: self._width // 3 * 3] if groups else ""
        scale = 10 ** (self._width - len(digits))
        lowest = int(digits or 0) * scale
        first, last = (min(max(row_id - ids[0], 0), len(ids)) for row_id in (lowest, lowest + scale))
        return first, last


def root_of(prefix: str) -> str | None:
    """What all keys under a `key_prefix` begin with; the rest is what they would be without it.

    None: there is no such thing, as Paperclip puts parts of each entry in where the prefix has a colon.
    """
    if ":" in prefix:
        return None
    return f"{prefix}/".removeprefix("/") if prefix else ""


def iter_segments(kind: Kind, *, every_form: bool = False) -> Iterator[SortedSegment]:
    """The segments of a kind, without prefix: of its canonical keys, or of every key its objects may have."""
    for form in key_forms(kind, "", every_form=every_form):
        head = key_head(kind, form)
        if form.width == 9:
            for lowest, highest in _AMBIGUOUS.values():
                yield SortedSegment(kind, head, form, lowest, highest)
            continue
        yield SortedSegment(kind, head, form, -_HIGHEST - 1, -1)
        for lowest, highest in _DIGITS:
            yield SortedSegment(kind, head, form, lowest, highest)
