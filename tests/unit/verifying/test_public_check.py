"""What is right of what anybody gets, and what is not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from mastosync.checking.public_access import FaultKind
from mastosync.cli.commands.verify import _public_lines
from mastosync.errors import Interrupted, NetworkFailure, StoreUnusable
from mastosync.mastodon.paperclip import canonical_key
from mastosync.model import EntryState, Origin, Presence, Record
from mastosync.runtime.outages import NO_SUCH_KEY
from mastosync.runtime.stop import StopSignal
from mastosync.store.probe import PublicAnswer
from mastosync.verifying.public_check import PublicCheck, site_session
from mastosync.verifying.public_result import PublicResult
from tests.support.clock import Clock
from tests.support.entries import entry
from tests.support.memory_store import MemoryStore
from tests.support.transfers import store_session

DATA = b"a picture"
MD5 = hashlib.md5(DATA).digest()
RIGHT = PublicAnswer(200, len(DATA), MD5, "image/png", "public, max-age=315576000, immutable")


class Site:
    """A site of objects in memory."""

    url = "https://files.example.social/"

    def __init__(self, answers: dict[str, PublicAnswer], *, lists: bool = False) -> None:
        self._answers, self._lists = answers, lists
        self.fresh: dict[str, PublicAnswer] = {}  # what a cache would not give

    def read(self, key: str, *, fresh: bool = False) -> PublicAnswer:
        if key not in self._answers:
            raise NetworkFailure(f"cannot read {key!r}")
        return self.fresh.get(key, self._answers[key]) if fresh else self._answers[key]

    def lists(self) -> bool:
        return self._lists

    def close(self) -> None: ...


class Unsteady(Site):
    """Down for so many requests, once it has said whether it lists."""

    down = 9

    def read(self, key: str, *, fresh: bool = False) -> PublicAnswer:
        if self.down > 0:
            self.down -= 1
            raise NetworkFailure(f"cannot read {key!r}")
        return super().read(key, fresh=fresh) if key != NO_SUCH_KEY else replace(RIGHT, status=404)


def record(row_id: int, *, private: bool = False, name: str = "a.png", origin: Origin = Origin.COPIED) -> Record:
    of = entry(row_id, name, private=private)._replace(size=len(DATA))
    return Record(of, None, EntryState.DONE, None, 1, MD5, None, None, origin)


def checked(
    *pairs: tuple[Record, PublicAnswer | None], lists: bool = False, bucket: Site | None = None, acl: str = "auto"
) -> PublicResult:
    answers = {canonical_key(one.entry, ""): answer for one, answer in pairs if answer is not None}
    check = PublicCheck(Site(answers, lists=lists), bucket, store_session(MemoryStore()), "", 2, StopSignal(), acl)
    return check.run([one for one, _ in pairs])


@pytest.mark.timing
def test_a_site_that_is_down_for_a_while_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its store answers all the time."""
    Clock(monkeypatch)
    stop, records = StopSignal(), [record(number) for number in range(3)]
    site = Unsteady({canonical_key(each.entry, ""): RIGHT for each in records})
    asking = site_session(site, store_session(MemoryStore(), stop), 3600.0)
    assert PublicCheck(site, None, asking, "", 1, stop).run(records).clean
    assert site.down == 0


@pytest.mark.timing
def test_one_that_stays_down_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    stop, site = StopSignal(), Unsteady({})
    site.down = 1_000_000
    asking = site_session(site, store_session(MemoryStore(), stop), 3600.0)
    with pytest.raises(StoreUnusable, match=r"the site https://files.example.social/ has been down since"):
        PublicCheck(site, None, asking, "", 1, stop).run([record(1)])


def test_what_is_right_is_told_as_such() -> None:
    result = checked((record(1), RIGHT), (record(2, private=True), replace(RIGHT, status=403)))
    assert result.clean
    assert (result.asked, result.asked_private) == (2, 1)
    assert not checked((record(1), RIGHT), lists=True).clean


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (replace(RIGHT, status=403), "403"),
        (replace(RIGHT, status=404), "404"),
        (replace(RIGHT, size=3), "other bytes"),
        (replace(RIGHT, md5=b"0" * 16), "other bytes"),
        (replace(RIGHT, content_type="application/octet-stream"), "Content-Type"),
        (replace(RIGHT, content_type=""), "Content-Type"),
        (replace(RIGHT, cache_control="no-store"), "Cache-Control"),
        (replace(RIGHT, cache_control=""), "Cache-Control"),
    ],
)
def test_what_is_wrong_is_told(answer: PublicAnswer, told: str) -> None:
    result = checked((record(1), RIGHT), (record(2), answer))
    (fault,) = result.faults
    assert told in fault.detail
    assert not fault.exposed
    kind = "headers" if told in ("Content-Type", "Cache-Control") else "unreadable"
    assert [each["fault"] for each in result.as_json()["faults"]] == [kind]


@pytest.mark.parametrize(("name", "content_type"), [("a.mp4", "video/mp4"), ("a.ogg", "audio/ogg"), ("a.bin", "x/y")])
def test_each_file_has_a_type_that_browsers_show(name: str, content_type: str) -> None:
    assert checked((record(1, name=name), replace(RIGHT, content_type=content_type))).clean


@pytest.mark.parametrize("status", [401, 403, 404])
def test_private_objects_are_exposed_only_by_a_success(status: int) -> None:
    result = checked((record(1, private=True), replace(RIGHT, status=status)), (record(2, private=True), RIGHT))
    assert [(fault.record.entry.id, fault.exposed) for fault in result.faults] == [(2, True)]


@pytest.mark.parametrize("status", [204, 206, 303, 304, 407, 408, 421, 425])
@pytest.mark.parametrize("private", [False, True])
def test_an_answer_that_says_nothing_of_who_reads_it_is_told_as_unknown(status: int, private: bool) -> None:
    """It is no refusal, and no reason to write anything again. Who gets too little of what is public cannot read it."""
    of = record(1, private=private, origin=Origin.ADOPTED)
    result = checked((of, replace(RIGHT, status=status, size=0)), (record(2), RIGHT))
    (fault,) = result.faults
    is_known = status < 300 and not private
    assert str(status) in fault.detail
    assert (fault.exposed, fault.kind is FaultKind.UNCLEAR, len(result.to_be_rewritten)) == (
        False,
        not is_known,
        is_known,
    )


PAGE = replace(RIGHT, size=40, md5=b"1" * 16, content_type="text/html")


def test_a_page_in_the_place_of_what_is_private_says_nothing_and_the_object_is_told_from_it() -> None:
    """Some sites answer everything with 200. Whoever is sent to a page, as one to log in, was refused."""
    (fault,) = checked((record(1, private=True), PAGE), (record(2), RIGHT)).faults
    assert fault.kind is FaultKind.UNCLEAR
    assert "text/html" in fault.detail
    assert checked((record(1, private=True), replace(PAGE, is_elsewhere=True))).clean
    for given in (
        replace(RIGHT, is_elsewhere=True),
        replace(RIGHT, status=206),
        replace(PAGE, size=len(DATA)),
        replace(PAGE, etag=MD5.hex()),
        replace(PAGE, is_encoded=True),
    ):
        assert checked((record(1, private=True), given)).exposed == 1


def test_what_lies_at_the_store_by_now_is_told_from_a_page_too() -> None:
    """What was recorded may not be what lies there: then the store describes that."""
    of = record(1, private=True)
    presence = Presence.AS_PUBLIC | Presence.STALE
    stale = of._replace(entry=of.entry._replace(size=None), md5=None, presence=presence)
    store = MemoryStore()
    site = Site({canonical_key(of.entry, ""): RIGHT})

    def found() -> PublicResult:
        return PublicCheck(site, None, store_session(store), "", 1, StopSignal()).run([stale])

    assert found().exposed == 1, "nobody can tell"
    store.put(canonical_key(of.entry, ""), b"something else")
    assert [fault.kind for fault in found().faults] == [FaultKind.UNCLEAR]
    store.put(canonical_key(of.entry, ""), DATA)
    assert found().exposed == 1


def test_what_to_do_about_exposed_objects_is_told() -> None:
    exposed = checked((record(2, private=True), RIGHT))
    assert all(named in exposed.remedies[0] for named in ("acl = none", "private_objects", "mastosync copy"))
    assert not checked((record(1), replace(RIGHT, status=403))).remedies


def test_what_only_the_old_store_gives_is_told() -> None:
    """The media host falls back to it, so nobody misses anything yet."""
    result = checked((record(1), RIGHT), (record(2), replace(RIGHT, from_old=True)))
    (fault,) = result.faults
    assert "from the old store" in fault.detail
    assert not fault.exposed
    assert "disappear with the fallback" in result.remedies[0]


def test_what_is_private_and_given_by_the_old_store_alone_is_not_written_again() -> None:
    """A copy would write the same again: the new store keeps it from everybody."""
    of, given = record(1, private=True), replace(RIGHT, from_old=True)
    bucket = Site({canonical_key(of.entry, ""): replace(RIGHT, status=403)})
    result = checked((of, given), bucket=bucket)
    assert (result.exposed, result.to_be_rewritten) == (1, [])
    assert "--fallback cache" in result.remedies[0]
    assert len(checked((of, given), bucket=Site({})).to_be_rewritten) == 1, "who knows what the bucket gives"


def test_what_is_private_and_lies_in_a_cache_is_exposed_and_not_written_again() -> None:
    of = record(1, private=True)
    key = canonical_key(of.entry, "")
    site, bucket = Site({key: RIGHT}), Site({key: replace(RIGHT, status=403)})
    site.fresh[key] = replace(RIGHT, status=404)
    result = PublicCheck(site, bucket, store_session(MemoryStore()), "", 1, StopSignal()).run([of])
    assert (result.exposed, result.to_be_rewritten) == (1, [])
    assert "cache" in result.faults[0].detail
    assert "proxy_cache_path" in result.remedies[0]


def test_what_is_public_has_to_lie_at_the_store_whatever_a_cache_has() -> None:
    key = canonical_key(record(1).entry, "")
    site = Site({key: RIGHT})
    site.fresh[key] = replace(RIGHT, status=404)
    (fault,) = PublicCheck(site, None, store_session(MemoryStore()), "", 1, StopSignal()).run([record(1)]).faults
    assert "404" in fault.detail


def test_the_bucket_behind_the_site_must_not_be_listed_either() -> None:
    assert checked((record(1), RIGHT), bucket=Site({}, lists=True)).listing
    assert checked((record(1), RIGHT), bucket=Site({})).clean


def test_a_bucket_that_does_not_say_whether_it_is_listed_ends_nothing() -> None:
    def fails() -> bool:
        raise NetworkFailure("cannot list")

    bucket = Site({})
    bucket.lists = fails  # type: ignore[method-assign]
    assert checked((record(1), RIGHT), bucket=bucket).clean


def test_it_is_told_how_many_of_how_many_were_asked_for_and_of_which_kind_something_is_wrong() -> None:
    site = Site({canonical_key(record(number).entry, ""): RIGHT for number in (1, 2)})
    hidden = record(3, private=True)
    site.read = lambda key, *, fresh=False: RIGHT  # type: ignore[method-assign]
    check = PublicCheck(site, None, store_session(MemoryStore()), "", 2, StopSignal())
    kind = hidden.entry.kind
    result = check.run([record(1), record(2), hidden], {kind: 70, kind._replace(style="static"): 30})
    told = result.as_json()
    assert (told["asked"], told["asked_private"], told["of"]) == (3, 1, 100)
    (asked,) = told["by_kind"]
    assert (asked["type"], asked["asked"], asked["of"], asked["faults"]) == (kind.table, 3, 70, 1)
    text = "\n".join(_public_lines(result))
    assert (
        "2 public and 1 private objects, of 100, without credentials at https://files.example.social/: 1 fault" in text
    )
    assert f"{kind.table} {kind.attachment} {kind.style}" in text
    assert "static" not in text


def test_private_objects_are_asked_for_at_the_bucket_too() -> None:
    """A host in front of it may let nobody in where the bucket itself lets everybody."""
    hidden, pairs = (
        replace(RIGHT, status=403),
        ((record(1), RIGHT), (record(2, private=True), replace(RIGHT, status=404))),
    )
    open_bucket = Site({canonical_key(record(2).entry, ""): RIGHT})
    open_bucket.url = "https://s3.example.com/media/"
    (fault,) = checked(*pairs, bucket=open_bucket).faults
    assert (fault.record.entry.id, fault.exposed) == (2, True)
    assert "at https://s3.example.com/media/" in fault.detail
    assert checked(*pairs, bucket=Site({canonical_key(record(2).entry, ""): hidden})).clean
    assert [fault.kind for fault in checked(*pairs, bucket=Site({})).faults] == [FaultKind.UNCLEAR]


def test_a_site_that_keeps_failing_tells_nothing_of_the_object() -> None:
    result = checked((record(1), RIGHT), (record(2, origin=Origin.ADOPTED), None))
    assert [fault.kind for fault in result.faults] == [FaultKind.UNCLEAR]
    assert not result.to_be_rewritten


def test_what_others_brought_is_written_again_unless_nothing_is_right() -> None:
    hidden = replace(RIGHT, status=403)
    ours, adopted = record(1), record(2, origin=Origin.ADOPTED)
    some = checked((record(3), RIGHT), (ours, hidden), (adopted, hidden))
    assert [fault.record for fault in some.to_be_rewritten] == [adopted]
    assert not checked((ours, hidden), (adopted, hidden)).to_be_rewritten


def test_what_is_private_and_can_be_read_is_done_no_longer_whoever_wrote_it() -> None:
    ours = record(1, private=True)
    assert [fault.record for fault in checked((ours, RIGHT), (record(2), RIGHT)).to_be_rewritten] == [ours]
    hidden = replace(RIGHT, status=403)
    assert [fault.record for fault in checked((ours, RIGHT), (record(2), hidden)).to_be_rewritten] == [ours]


def test_a_wish_to_stop_ends_it_though_all_is_right() -> None:
    stop, site = StopSignal(), Site({})

    def read(key: str, *, fresh: bool = False) -> PublicAnswer:
        asked.append(key)
        stop.request()
        return RIGHT

    asked: list[str] = []
    site.read = read  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        PublicCheck(site, None, store_session(MemoryStore(), stop), "", 1, stop).run(
            [record(number) for number in range(1, 10)]
        )
    assert len(asked) == 1


REFUSED = replace(RIGHT, status=403)


def test_where_all_is_private_nothing_has_to_be_readable_and_whatever_is_counts_as_exposed() -> None:
    result = checked((record(1), REFUSED), (record(2, private=True), REFUSED), acl="private")
    assert result.clean
    assert (result.asked, result.asked_private, result.as_json()["all_private"]) == (2, 2, True)
    result = checked((record(1), RIGHT), (record(2), REFUSED), acl="private")
    (fault,) = result.faults
    assert (fault.record.entry.id, fault.exposed, result.exposed, result.nothing_is_right) == (1, True, 1, False)
    assert "acl = private" in fault.detail
    assert result.to_be_rewritten == [fault]
    assert "`mastosync apply-settings` hides" in result.remedies[0]
    assert not checked((record(1), REFUSED), lists=True, acl="private").clean


def test_where_all_is_private_who_serves_it_decides_who_reads_what_is_public_by_its_row() -> None:
    """A CDN with a key of its own, say. The bucket itself must refuse everybody."""
    keys = [canonical_key(record(number).entry, "") for number in (1, 2)]
    shut = Site(dict.fromkeys(keys, REFUSED))
    result = checked((record(1), RIGHT), (record(2, private=True), REFUSED), bucket=shut, acl="private")
    assert result.clean
    assert "at the bucket alone" in "\n".join(_public_lines(result))
    assert checked((record(2, private=True), RIGHT), bucket=shut, acl="private").exposed == 1
    assert checked((record(1), REFUSED), bucket=Site({keys[0]: RIGHT}), acl="private").exposed == 1
