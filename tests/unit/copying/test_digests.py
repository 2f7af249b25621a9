"""MD5s that the stores prove by themselves, and stores of which that cannot be believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mastosync.copying.digests import DigestMode, DigestTrust
from mastosync.copying.transfer import TransferOptions
from mastosync.errors import AclUnsupported, NetworkFailure, ObjectDenied, ObjectError, ObjectRejected, Throttled
from mastosync.model import EntryState, Outcome, Reason
from mastosync.store.base import DigestUse, FetchedObject, PutOptions
from tests.support.copy_world import World
from tests.support.entries import claim, entry
from tests.support.memory_store import MemoryStore
from tests.support.transfers import transfer

COMPUTED, CLAIMED, CONTRADICTED = DigestUse.COMPUTED, DigestUse.CLAIMED, DigestUse.CONTRADICTED


class DamagingLine(MemoryStore):
    """A source of which the reads of some keys give another byte, so many times."""

    def __init__(self, times: dict[int, int]) -> None:
        super().__init__("old")
        self.times = {key_of(number): count for number, count in times.items()}
        self.hashed: list[DigestUse] = []

    def read(self, key: str, max_bytes: int, digest: DigestUse = COMPUTED) -> FetchedObject:
        self.hashed.append(digest)
        if self.times.get(key, 0):
            self.times[key] -= 1
            self.damaged_reads = 1
        return super().read(key, max_bytes, digest)


class DamagedUploads(MemoryStore):
    """A destination to which the bytes of some keys come with another byte, so many times."""

    def __init__(self, times: dict[int, int]) -> None:
        super().__init__("new")
        self.times = {key_of(number): count for number, count in times.items()}

    def write(self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = COMPUTED) -> str:
        if self.times.get(key, 0):
            self.times[key] -= 1
            data = b"x" + data[1:]
            digest = COMPUTED if digest is CLAIMED else digest  # here the bytes were right
        return super().write(key, data, md5, options, digest)


def key_of(number: int) -> str:
    return f"accounts/avatars/000/000/{number:03}/original/a.png"


def copied(old: MemoryStore, new: MemoryStore, objects: int, options: TransferOptions | None = None) -> list[Outcome]:
    """Objects 1, 2, … one after the other."""
    for number in range(1, objects + 1):
        old.put(key_of(number), b"object %d" % number)
    with closing(transfer(old, new, options)) as copy:
        return [copy(claim(entry(number))) for number in range(1, objects + 1)]


def assert_all_is_well(old: MemoryStore, new: MemoryStore, outcomes: list[Outcome]) -> None:
    assert {outcome.state for outcome in outcomes} == {EntryState.DONE}
    assert {key: each.data for key, each in new.objects.items()} == {
        key: each.data for key, each in old.objects.items()
    }
    for outcome in outcomes:
        key = key_of(outcome.entry.id)
        assert outcome.md5 is not None
        assert outcome.md5.hex() == old.objects[key].etag
        assert outcome.etag == (None if new.etags == "md5" else new.objects[key].etag)


def test_after_the_first_objects_one_in_256_is_hashed_here() -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    assert_all_is_well(old, new, copied(old, new, 600))
    assert Counter(new.digests) == {COMPUTED: 64 + 2, CONTRADICTED: 3, CLAIMED: 534}
    sampled = [key for (_, key), use in zip(new.calls, new.digests, strict=True) if use is CONTRADICTED]
    assert sampled == [key_of(number) for number in (16, 256, 512)]
    assert new.digests.index(CLAIMED) == 65


def test_digest_always_hashes_every_object_here() -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    assert_all_is_well(old, new, copied(old, new, 100, TransferOptions(digest=DigestMode.ALWAYS)))
    assert set(new.digests) == {COMPUTED}


def test_where_the_destination_computes_digests_itself_they_are_computed_there_alone() -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    new.computes_digests = True
    assert_all_is_well(old, new, copied(old, new, 5))
    assert set(new.digests) == {CLAIMED}


@pytest.mark.parametrize("etags", ["other", "echo"])
def test_a_store_whose_etags_prove_nothing_is_never_believed(etags: str) -> None:
    """One write more tells: that of the object with a wrong MD5."""
    old, new = MemoryStore("old"), MemoryStore("new")
    new.etags, new.checks_md5 = etags, False
    outcomes = copied(old, new, 100)
    assert {outcome.state for outcome in outcomes} == {EntryState.DONE}
    assert CLAIMED not in new.digests
    assert new.digests.count(CONTRADICTED) == (1 if etags == "echo" else 0)
    assert len(new.digests) == (101 if etags == "echo" else 100)


def test_a_store_that_repeats_what_it_is_told_and_looks_at_it_is_believed() -> None:
    old, new = MemoryStore("old"), MemoryStore("new")
    new.etags = "echo"
    copied(old, new, 100)
    assert {key: each.data for key, each in new.objects.items()} == {
        key: each.data for key, each in old.objects.items()
    }
    assert CLAIMED in new.digests


@pytest.mark.parametrize(
    "error",
    [ObjectRejected("400"), ObjectDenied("403"), AclUnsupported("501"), Throttled("503"), NetworkFailure("end")],
)
def test_a_store_that_refuses_a_wrong_md5_in_a_way_of_its_own_is_never_believed(error: ObjectError) -> None:
    """Nor does it learn anything else of that: not that it takes no ACLs, and not that it has to slow down."""

    class Insisting(MemoryStore):
        def write(self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = COMPUTED) -> str:
            if digest is CONTRADICTED:
                self.digests.append(digest)
                raise error
            return super().write(key, data, md5, options, digest)

    old, new = MemoryStore("old"), Insisting("new")
    outcomes = copied(old, new, 100)
    assert_all_is_well(old, new, outcomes)
    assert {outcome.attempts for outcome in outcomes} == {1}
    assert {stored.acl for stored in new.objects.values()} == {"public-read"}
    assert Counter(new.digests) == {COMPUTED: 100, CONTRADICTED: 2}


@pytest.mark.parametrize("checks_md5", [True, False], ids=["refused", "stored"])
@pytest.mark.parametrize("damaged", [10, 16, 70, 256], ids=["computed", "contradicted", "claimed", "sampled"])
def test_what_is_damaged_on_the_way_from_the_source_is_read_again(damaged: int, checks_md5: bool) -> None:
    """From then on every object is hashed here."""
    old, new = DamagingLine({damaged: 1}), MemoryStore("new")
    new.checks_md5 = checks_md5
    assert_all_is_well(old, new, copied(old, new, 300))
    assert set(old.hashed[damaged + 1 :]) == {COMPUTED}


@pytest.mark.parametrize("damaged", [10, 70])
def test_what_is_damaged_whenever_it_is_read_fails_and_names_the_source(damaged: int) -> None:
    old, new = DamagingLine({damaged: 1_000}), MemoryStore("new")
    failed = copied(old, new, 80)[damaged - 1]
    assert (failed.state, failed.reason) == (EntryState.FAILED, Reason.CORRUPT)
    assert f"cannot read {key_of(damaged)!r} at old bucket" in (failed.detail or "")


@pytest.mark.parametrize("checks_md5", [True, False], ids=["refused", "stored"])
@pytest.mark.parametrize("damaged", [10, 16, 70, 256], ids=["computed", "contradicted", "claimed", "sampled"])
def test_what_is_damaged_on_the_way_to_the_destination_is_sent_again(damaged: int, checks_md5: bool) -> None:
    old, new = MemoryStore("old"), DamagedUploads({damaged: 2})
    new.checks_md5 = checks_md5
    assert_all_is_well(old, new, copied(old, new, 300))


@pytest.mark.parametrize("sides", ["old", "new"])
def test_with_another_etag_once_the_store_is_believed_the_bytes_are_hashed_after_all(sides: str) -> None:
    """It begins to encrypt with keys of its own; the very object that tells is damaged."""

    class Encrypting(MemoryStore):
        def write(self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = COMPUTED) -> str:
            if key == key_of(80):
                self.etags, self.checks_md5 = "other", False
            return super().write(key, data, md5, options, digest)

    old, new = DamagingLine({80: 1} if sides == "old" else {}), Encrypting("new")
    outcomes = copied(old, new, 90)
    assert {outcome.state for outcome in outcomes} == {EntryState.DONE}
    assert all(new.objects[key].data == each.data for key, each in old.objects.items())
    assert set(new.digests[-8:]) == {COMPUTED}


@pytest.mark.parametrize("since", [1, 100], ids=["ever", "since it was believed"])
def test_a_store_that_makes_an_md5_of_something_else_when_it_is_told_a_wrong_one_is_not_believed(since: int) -> None:
    """One such answer may be damage on the way; two are not."""

    class Odd(MemoryStore):
        def write(self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = COMPUTED) -> str:
            if len(self.digests) < since or digest is not CONTRADICTED:
                return super().write(key, data, md5, options, digest)
            self.digests.append(digest)
            return bytes(16).hex()

    old, new = MemoryStore("old"), Odd("new")
    assert_all_is_well(old, new, copied(old, new, 300))
    assert (CLAIMED in new.digests) == (since > 1)
    assert set(new.digests[-30:]) == {COMPUTED}


def test_a_sample_that_was_not_there_is_made_up_for_by_the_next_object() -> None:
    trust = DigestTrust(DigestMode.PROOF, MemoryStore("new"))
    for _ in range(64):
        trust.note(CONTRADICTED, 1, proved=True)
    uses = [trust.use_next() for _ in range(256)]
    assert uses.count(CONTRADICTED) == 1
    trust.not_used(uses[-1])
    assert [trust.use_next() for _ in range(3)] == [CONTRADICTED, CLAIMED, CLAIMED]


@pytest.mark.parametrize("workers", [1, 16])
def test_what_was_believed_is_copied_again_when_the_store_is_found_to_repeat_what_it_is_told(
    tmp_path: Path, workers: int
) -> None:
    """It was right for the first objects, then another one answers in its place and keeps damaged bytes."""

    class Changed(MemoryStore):
        def write(self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = COMPUTED) -> str:
            if len(self.digests) >= 100 and self.etags == "md5":
                self.etags, self.checks_md5 = "echo", False
            if self.etags == "echo" and digest is CLAIMED and key not in self.objects:
                self.digests.append(digest)
                super().write(key, b"damaged", md5, options, COMPUTED)
                return md5.hex()
            return super().write(key, data, md5, options, digest)

    with closing(World(tmp_path, MemoryStore("old"), Changed("new"), objects=300)) as world:
        progress = world.copy(workers=workers)
        assert progress.done == progress.total > 300
        assert CONTRADICTED in world.new.digests[200:]
        world.assert_all_is_well()


@pytest.mark.parametrize(
    ("note", "uses"),
    [
        (lambda trust: None, {COMPUTED, CONTRADICTED}),
        (lambda trust: [trust.note(COMPUTED, 1, proved=True) for _ in range(100)], {COMPUTED, CONTRADICTED}),
        (lambda trust: [trust.note(CONTRADICTED, 1, proved=True) for _ in range(63)], {COMPUTED}),
        (lambda trust: [trust.note(CONTRADICTED, 1, proved=True) for _ in range(64)], {CLAIMED}),
        (lambda trust: [trust.note(CONTRADICTED, 1, proved=True) for _ in range(64)] + [trust.hash_all()], {COMPUTED}),
        (lambda trust: [trust.note(CONTRADICTED, 64 << 20, proved=True) for _ in range(4)], {CLAIMED}),
        (lambda trust: [trust.note(COMPUTED, 64 << 20, proved=True) for _ in range(4)], {COMPUTED, CONTRADICTED}),
    ],
)
def test_trust_takes_objects_that_prove_it(note: Callable[[DigestTrust], object], uses: set[DigestUse]) -> None:
    trust = DigestTrust(DigestMode.PROOF, MemoryStore("new"))
    note(trust)
    assert {trust.use_next() for _ in range(100)} == uses


def test_what_a_disbelieved_store_holds_is_read_before_it_counts_as_arrived() -> None:
    """A dead run may have written it; its ETag is what the store was told."""
    old, new = MemoryStore("old"), MemoryStore("new")
    new.etags, new.checks_md5 = "echo", False
    for number in (1, 2):
        old.put(key_of(number), b"object")
        new.put(key_of(number), b"obj*ct" if number == 1 else b"object")
        new.objects[key_of(number)].etag = old.objects[key_of(number)].etag
    with closing(transfer(old, new)) as copy:
        copy.trust.note(CONTRADICTED, 1, proved=False)
        outcomes = [copy(claim(entry(number), left_behind=True)) for number in (1, 2)]
    assert {outcome.state for outcome in outcomes} == {EntryState.DONE}
    assert [key for method, key in new.calls if method == "write"] == [key_of(1)]
    assert all(new.objects[key_of(number)].data == b"object" for number in (1, 2))
