"""What must hold on a moving day: `invariants` for a world in which rows change and others write at the destination.

What is wanted is what the rows said when the last plan was made: nobody knows better. The lab knows what its other
tools have done, and from when on nobody can know of it but by looking.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import urllib3

from faultlab.invariants import (
    DAMAGED,
    EXPOSED,
    FORGOTTEN,
    HALF_PLANS,
    HIDDEN,
    LEFT_OPEN,
    LOST,
    PROBES,
    READING,
    REMOVED,
    SENDING,
    SOURCE_TOUCHED,
    TWICE,
    WRONG_BYTES,
    Ending,
    exposed,
    gave_other_bytes,
    wrong_endings,
)
from faultlab.manifest_copy import NOTHING, Line, ManifestCopy
from faultlab.moving_rows import Asked, FileRow, RowId, State, md5_of
from faultlab.moving_world import Chronicle, MovingWorld
from faultlab.scenario import Act, Scenario
from faultlab.tally import Tally
from faultlab.world import Identity, listed
from lab.instance_check import differences
from lab.process import LabError
from lab.traffic import Exchange

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Look(NamedTuple):
    """What lies under a key."""

    md5: str
    public: bool


class Held(NamedTuple):
    """An object that the store has confirmed."""

    fingerprint: tuple[object, ...]  # of its row, as it was planned then
    since: float  # of `time.monotonic()`: when the client heard of it
    place: int  # in the world's history: from then on other bytes can have come


@dataclass(slots=True)
class Deliveries:
    """Who wrote what at the destination, in the order of time: our commands, as a proxy saw them, and other tools."""

    chronicle: Chronicle
    ours: set[str] = field(default_factory=set)  # keys of what lies there because we wrote it
    theirs: dict[str, float] = field(default_factory=dict)  # when another tool was last at a key
    held: dict[str, Held] = field(default_factory=dict)
    _begun: dict[str, str | None] = field(default_factory=dict)  # see `exposed`
    _fingerprints: dict[str, set[tuple[object, ...]]] = field(default_factory=dict)  # that rows had so far, by key

    def follow(
        self,
        exchanges: Sequence[Exchange],
        planned: State,
        place: int,
        *,
        pruning: bool = True,
        came_back: Container[str] = (),
    ) -> Iterator[tuple[str, str]]:
        """Take in what one command did, and other tools before and meanwhile. `place`: in the history, when it began.

        `came_back`: see there. Yields: what must not be, and the key.
        """
        deeds = [deed for deed in self.chronicle.deeds if deed.at > self.theirs.get(deed.key, 0.0)]
        private = {key for key, (row, _) in planned.by_key.items() if row.private}
        yield from ((EXPOSED, key) for key in exposed(exchanges, private, self._begun))
        again: set[str] = set()
        for each in sorted(exchanges, key=lambda each: each.started):
            while deeds and deeds[0].at <= each.answered:
                self._touched(deeds.pop(0).key)
            key = each.request.key
            fingerprint = planned.by_key[key][0].fingerprint if key in planned.by_key else ()
            excused = key in again or key in came_back
            if each.request.operation in SENDING and not excused and self._is_held(key, fingerprint, each):
                again.add(key)
                yield TWICE, key
            for removed in each.keys_to_delete:
                if removed in planned.by_key and (pruning or removed not in private):
                    yield REMOVED, removed  # else a copy removes what it cannot hide
                if each.store_status in (200, 204):
                    self.ours.discard(removed)
                self.held.pop(removed, None)
            self._take(each, fingerprint, place)
        for deed in deeds:
            self._touched(deed.key)
        self.theirs |= {deed.key: deed.at for deed in self.chronicle.deeds}

    def settle(self, before: ManifestCopy, ending: Ending, planned: State, place: int) -> None:
        """Take in what the manifest says after a command: what was found there is held, what was called bad is not.

        Of what was written and not recorded, as the process died, nobody has to know who may read it.
        """
        now = _states(ending.manifest, self.chronicle.prefix)
        verified = ending.act.arguments[0] == "verify"
        for key, state in _states(before, self.chronicle.prefix).items():
            if verified and state == "done" and now.get(key) != "done":
                self.held.pop(key, None)
        for key, (row, _) in planned.by_key.items():
            self._fingerprints.setdefault(key, set()).add(row.fingerprint)
            if now.get(key) == "done" and key not in self.held and key not in self.theirs:
                self.held[key] = Held(row.fingerprint, time.monotonic(), place)
            elif key in self.held and now.get(key) != "done" and not self._is_plain(key, row):
                del self.held[key]

    def _is_plain(self, key: str, row: FileRow) -> bool:
        """Whether nothing but this very file can ever have lain there, for everybody to read."""
        return not row.private and key not in self.theirs and self._fingerprints[key] == {row.fingerprint}

    def _is_held(self, key: str, fingerprint: tuple[object, ...], each: Exchange) -> bool:
        """Whether nobody had a reason to send this: the row is as it was then, and so are the bytes at the source."""
        held = self.held.get(key)
        if held is None or held.fingerprint != fingerprint or each.started <= held.since:
            return False
        states = (state.by_key.get(key) for state in self.chronicle.history[held.place :])
        return len({md5_of(found[1].source) for found in states if found is not None}) <= 1

    def _take(self, each: Exchange, fingerprint: tuple[object, ...], place: int) -> None:
        key = each.request.key
        retries_in_outages = each.request.operation == "HeadObject" and each.status in (
            403,
            404,
        )  # who may not look, writes
        if retries_in_outages or gave_other_bytes(each):
            self.held.pop(key, None)
        if each.stored:
            self.ours.add(key)
        if each.request.operation in SENDING - {"UploadPart"}:
            if each.stored and each.told and each.request.fits_md5:
                self.held[key] = Held(fingerprint, each.answered, place)
            else:
                self.held.pop(key, None)  # nobody knows what became of it

    def _touched(self, key: str) -> None:
        self.ours.discard(key)
        self.held.pop(key, None)


def came_back(at_source: Iterable[Exchange]) -> set[str]:
    """Keys that the source lacked when it was asked, and gave later in the same command: nothing could be compared."""
    lacked, given = set[str](), set[str]()
    for each in sorted(at_source, key=lambda each: each.started):
        key = each.request.key
        if each.status == HTTPStatus.NOT_FOUND:
            lacked.add(key)
        elif key in lacked and each.status == HTTPStatus.OK:
            given.add(key)
    return given


@dataclass(slots=True)
class MovingInspector:
    """Looks at everything after each command of one moving day, and counts what it finds."""

    scenario: Scenario
    world: MovingWorld
    client: S3Client  # of the destination
    bucket: str
    secrets: tuple[str, ...]
    tally: Tally
    wrong: State | None = None  # what the next plan is made of by mistake
    _deliveries: Deliveries = field(init=False)
    _planned: State = field(init=False)  # what the last plan knows
    _seen_at: dict[RowId, int] = field(default_factory=dict)  # by the last plan that saw it: a place in the history
    _begun: tuple[int, float] = (0, 0.0)  # the running command: place in the history, and time
    _confirmed: dict[tuple[Identity, str], float] = field(default_factory=dict)  # start of the command, by entry
    _looks: dict[str, Look] = field(default_factory=dict)  # at keys where nothing has happened since
    _told: set[tuple[str, str]] = field(default_factory=set)  # invariants and keys
    _before: ManifestCopy = NOTHING
    _anybody: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    def __post_init__(self) -> None:
        self._deliveries = Deliveries(self.world.chronicle)
        self._planned = State({}, self.scenario.seed, self.world.key_prefix)

    def begin(self, act: Act) -> None:
        """Hear that a command is about to start, and that what the world did before is done."""
        self._begun = (len(self.world.chronicle.history) - 1, time.monotonic())

    def inspect(self, ending: Ending) -> None:
        """Hold everything against what must be after this command."""
        for invariant, what in wrong_endings(ending, self.secrets, patient=self.scenario.patient):
            self.complain(invariant, what)
        for complaint in ending.manifest.complaints:
            self.complain(DAMAGED, complaint)
        if ending.act.arguments[0] == "copy" and ending.code in (0, 3) and ending.manifest.claims:
            self.complain(DAMAGED, f"`{ending.act}` has ended with {ending.manifest.claims} claims in its hands")
        self._inspect_plan(ending)
        self._inspect_traffic(ending)
        self._take_confirmations(ending)
        there = set(listed(self.client, self.bucket))
        self._inspect_done(ending, there)
        self._inspect_memory(ending, there)
        self._before = ending.manifest

    def inspect_traffic(self, exchanges: Sequence[Exchange]) -> None:
        """Look at all that went over the wire, after each command was looked at."""
        for each in exchanges:
            if each.request.bucket == self.world.bucket and each.request.method not in READING:
                self.complain(SOURCE_TOUCHED, f"{each.request.operation} {each.request.key}")
        if listed(self.world.client, self.world.bucket).keys() != self.world.now.at_destination.keys():
            self.complain(SOURCE_TOUCHED, "the source holds other objects than Mastodon has stored")

    def inspect_outcome(self, manifest: ManifestCopy) -> None:
        """Look at what is there when all is over: everything, for those who may read it, and nothing else."""
        wanted = self.world.now
        for line in differences(self.client, self.bucket, wanted.at_destination):
            key = line.rpartition(": ")[0]
            if "should not be there" not in line:
                self.complain(WRONG_BYTES if "bytes" in line else LOST, f"{line}, at the end")
            elif key in self._deliveries.ours:
                self.complain(FORGOTTEN, f"{key} is gone, and lies there after all is over")
        by_asked = {self._asked(each, line): line for each, line in manifest.lines}
        for asked, expected in wanted.objects.items():
            found = by_asked.get(asked)
            told = (found.state, found.reason) if found is not None else None
            absent = ("skipped", "optional_missing") if expected.optional else ("failed", "missing")
            if told != (("done", None) if expected.present else absent):
                self.complain(LOST, f"{asked.key} is {told} at the end")
        if manifest.claims:
            self.complain(DAMAGED, f"{manifest.claims} entries are still in somebody's hands")
        for upload in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []):
            self.complain(LEFT_OPEN, upload["Key"])

    def complain(self, invariant: str, what: str) -> None:
        """Count something that must not be."""
        self.tally.complain(self.scenario.seed, invariant, what)

    def _complain_of(self, key: str, invariant: str, what: str) -> None:
        """The same of a key, which is told once, however many commands leave it as it is."""
        if (invariant, key) not in self._told:
            self._told.add((invariant, key))
            self.complain(invariant, f"{key} {what}")

    def _key(self, line: Line) -> str:
        return key_of(line, self.world.key_prefix)

    def _asked(self, each: Identity, line: Line) -> Asked:
        return Asked(*each, self._key(line), line.remote)

    def _inspect_plan(self, ending: Ending) -> None:
        """A plan knows every row of its snapshot and its privacy. No other command adds or drops an entry."""
        now = {self._asked(each, line): line.private for each, line in ending.manifest.lines if not line.gone}
        if ending.act.arguments[0] == "plan" and ending.manifest.plans > self._before.plans:
            place, _ = self._begun
            snapshot = self.wrong or self.world.chronicle.history[place]
            is_delta, self.wrong = ending.manifest.incremental, None
            self._planned = snapshot.seen_by_delta(self._planned) if is_delta else snapshot
            self._seen_at = {**(self._seen_at if is_delta else {}), **dict.fromkeys(snapshot.rows, place)}
            whole = {asked: each.private for asked, each in self._planned.objects.items()}
            if now != whole:
                odd = sorted(now.items() ^ whole.items())
                self.complain(HALF_PLANS, f"`{ending.act}` knows {len(now)} of {len(whole)} objects; not alike: {odd}")
            return
        if ending.manifest.lines != self._before.lines and ending.act.arguments[0] in ("plan", "manifest"):
            self.complain(HALF_PLANS, f"`{ending.act}` ended with {ending.code}, and entries are others")
            return
        before = {self._asked(each, line): line.private for each, line in self._before.lines if not line.gone}
        if ending.act.arguments[0] == "verify":  # it asks for rows, and knows what is private by now
            rows = self.world.chronicle.history[-1].objects
            before |= {asked: True for asked in now.keys() & rows.keys() if now[asked] and rows[asked].private}
        if now != before:
            self.complain(HALF_PLANS, f"`{ending.act}` ended with {ending.code}, and there are other entries")

    def _inspect_traffic(self, ending: Ending) -> None:
        to_destination = [each for each in ending.exchanges if each.request.bucket == self.bucket and each.request.key]
        exchanges = [each for each in to_destination if PROBES not in each.request.key]  # those are no entries
        for each in exchanges:
            if each.request.method not in READING:
                self._looks.pop(each.request.key, None)
        for deed in self.world.chronicle.deeds:
            if deed.at > self._deliveries.theirs.get(deed.key, 0.0):
                self._looks.pop(deed.key, None)
        for invariant, key in self._deliveries.follow(
            exchanges,
            self._planned,
            self._begun[0],
            pruning=ending.act.arguments[0] == "prune",
            came_back=came_back(each for each in ending.exchanges if each.request.bucket == self.world.bucket),
        ):
            self.complain(invariant, f"{key} by `{ending.act}`")
        self._deliveries.settle(self._before, ending, self._planned, self._begun[0])

    def _take_confirmations(self, ending: Ending) -> None:
        """Of what has become done: since when. A plan confirms nothing, as it does not look."""
        before = {(each, line.key) for each, line in self._before.in_state("done")}
        for each, line in ending.manifest.in_state("done"):
            if (each, line.key) not in before and ending.act.arguments[0] not in ("plan", "manifest"):
                self._confirmed[each, line.key] = self._begun[1]

    def _inspect_done(self, ending: Ending, there: set[str]) -> None:
        """What is called done lies there as its row asks for, unless another tool came after who confirmed it."""
        for each, line in ending.manifest.in_state("done"):
            asked = self._asked(each, line)
            if self._is_excused(each, line):
                continue
            wanted = self._planned.objects.get(asked)
            if wanted is None or asked.key not in there:
                self._complain_of(asked.key, LOST, f"is called done after `{ending.act}`, and is not there")
                continue
            look = self._look(asked.key)
            if look.md5 not in self._good_digests(asked):
                self._complain_of(asked.key, WRONG_BYTES, f"is called done after `{ending.act}`, and has other bytes")
            if look.public and wanted.private:
                self._complain_of(asked.key, EXPOSED, f"is called done after `{ending.act}`, and everybody can read it")
            elif not look.public and not (wanted.private or line.private):  # which `verify` knows of rows
                self._complain_of(asked.key, HIDDEN, f"is called done after `{ending.act}`, and nobody can read it")

    def _is_excused(self, each: Identity, line: Line) -> bool:
        touched = self._deliveries.theirs.get(self._key(line), 0.0)
        return touched >= self._confirmed.get((each, line.key), float("inf"))

    def _good_digests(self, asked: Asked) -> set[str]:
        """Of the bytes that the last plan to see the row knew of, and of all since, also under a local row's key."""
        since = self.world.chronicle.history[self._seen_at.get(asked[:2], 0) :]
        objects = chain.from_iterable(state.objects.items() for state in (self._planned, *since))
        return {md5_of(each.source) for other, each in objects if other[:4] == asked[:4]}  # whatever its key

    def _look(self, key: str) -> Look:
        """What anybody is given; what nobody is given, those with credentials are."""
        if key not in self._looks:
            answer = self._anybody.request("GET", f"{self.client.meta.endpoint_url}/{self.bucket}/{quote(key)}")
            public = answer.status == HTTPStatus.OK
            if not public and answer.status != HTTPStatus.FORBIDDEN:
                raise LabError(f"a stranger who asks for {key} gets {answer.status}")
            body = answer.data if public else self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            self._looks[key] = Look(hashlib.md5(body, usedforsecurity=False).hexdigest(), public)
        return self._looks[key]

    def _inspect_memory(self, ending: Ending, there: set[str]) -> None:
        """Whatever was written and not removed is known to have arrived, or to be in somebody's hands."""
        known = {self._key(line) for _, line in ending.manifest.lines if line.arrived or line.claimed}
        for key in sorted((self._deliveries.ours & there) - known):
            self._complain_of(key, FORGOTTEN, f"was written by us, and the manifest does not know after `{ending.act}`")


def key_of(line: Line, prefix: str) -> str:
    """The key of a line, with Mastodon's S3_KEY_PREFIX."""
    return f"{prefix}/{line.key}" if prefix else line.key


def _states(manifest: ManifestCopy, prefix: str) -> dict[str, str]:
    """State by key; of two entries of one key, that of the one that is not gone."""
    gone_first = sorted((line for _, line in manifest.lines), key=lambda line: not line.gone)
    return {key_of(line, prefix): line.state for line in gone_first}
