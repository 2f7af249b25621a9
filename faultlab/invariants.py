"""What must hold after every command of a scenario, whatever has befallen it, and at its end.

Nothing here asks mastosync: stores are asked by boto3, the manifest is read by SQLite, and what
went over the wire is what the proxies have seen.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faultlab.manifest_copy import NOTHING, ManifestCopy
from faultlab.moves import Move
from faultlab.scenario import Act, Death, Scenario
from faultlab.tally import Tally
from faultlab.world import World, listed
from lab.fault_plan import Kind
from lab.instance_check import differences
from lab.traffic import STORING, Exchange

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LOST = "entries lost"
WRONG_BYTES = "wrong bytes"
TWICE = "uploaded twice"
EXPOSED = "private objects made public"
HIDDEN = "public objects made private"
FORGOTTEN = "objects written and forgotten"
REMOVED = "wanted objects removed"
SOURCE_TOUCHED = "writes to the source"
SECRETS = "secrets told"
HALF_PLANS = "half a plan left"
DAMAGED = "damaged manifests"
LEFT_OPEN = "uploads left open"
ENDED_WRONG = "unexpected exit codes, tracebacks, hanging commands"
INVARIANTS = (
    LOST,
    WRONG_BYTES,
    TWICE,
    EXPOSED,
    HIDDEN,
    FORGOTTEN,
    REMOVED,
    SOURCE_TOUCHED,
    SECRETS,
    HALF_PLANS,
    DAMAGED,
    LEFT_OPEN,
    ENDED_WRONG,
)
"""Everything that is counted, and has to be 0."""

PROBES = "mastosync-probe/"
"""What keys begin with, after their prefix, of objects that tell two stores from one. None may be left at the end."""

READING = frozenset({"GET", "HEAD"})
SENDING = STORING | {"UploadPart"}
_KILLED, _TERMINATED = -int(signal.SIGKILL), -int(signal.SIGTERM)
_CODES_OF_DEATH: dict[Death, frozenset[int]] = {
    Death.KILL: frozenset({_KILLED}),
    # before it heeds signals, and when it has nothing left to stop, a process ends as any other does
    Death.TERM: frozenset({130, _TERMINATED}),
    Death.TERM_TWICE: frozenset({130, _TERMINATED}),
    Death.DISK: frozenset({6}),
    Death.SESSION: frozenset({5}),
    Death.RESTART: frozenset({5}),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command has ended."""

    act: Act
    code: int | None  # None: it had to be ended
    output: str
    exchanges: Sequence[Exchange]  # of this command alone
    manifest: ManifestCopy  # as it was left


@dataclass(slots=True)
class Inspector:
    """Looks at everything after each command of one scenario, and counts what it finds."""

    scenario: Scenario
    world: World
    client: S3Client  # of the destination
    bucket: str
    secrets: tuple[str, ...]
    tally: Tally
    _good: set[tuple[str, str]] = field(default_factory=set)  # key and version of objects whose bytes are right
    _before: ManifestCopy = NOTHING

    def begin(self, act: Act) -> None:
        """Hear that a command is about to start."""

    def inspect(self, ending: Ending) -> None:
        """Hold everything against what must be after this command."""
        for invariant, what in wrong_endings(ending, self.secrets, patient=self.scenario.patient):
            self.complain(invariant, what)
        self._inspect_plan(ending)
        for complaint in ending.manifest.complaints:
            self.complain(DAMAGED, complaint)
        if ending.act.arguments[0] == "copy" and ending.code in (0, 3) and ending.manifest.claims:
            self.complain(DAMAGED, f"`{ending.act}` has ended with {ending.manifest.claims} claims in its hands")
        self.require_true(ending.manifest)
        self._before = ending.manifest

    def require_true(self, manifest: ManifestCopy) -> None:
        """Everything that is called done lies at the destination, byte by byte. Each version is read once."""
        versions = listed(self.client, self.bucket)
        for each, _line in manifest.in_state("done"):
            expected = self.world.expected[each]
            version = versions.get(expected.key)
            if version is None or not expected.present:
                self.complain(LOST, f"{expected.key} is called done, and is not there")
            elif (expected.key, version) not in self._good:
                body = self.client.get_object(Bucket=self.bucket, Key=expected.key)["Body"].read()
                if hashlib.md5(body, usedforsecurity=False).hexdigest() == self.world.md5s[expected.key]:
                    self._good.add((expected.key, version))
                else:
                    self.complain(WRONG_BYTES, f"{expected.key} is called done, and has other bytes")

    def inspect_traffic(self, exchanges: Sequence[Exchange]) -> None:
        """Look at all that went over the wire."""
        to_source = [each for each in exchanges if each.request.bucket == self.world.instance.bucket]
        for each in to_source:
            if each.request.method not in READING:
                self.complain(SOURCE_TOUCHED, f"{each.request.operation} {each.request.key}")
        if listed(self.world.client, self.world.instance.bucket) != self.world.listing:
            self.complain(SOURCE_TOUCHED, "the source holds other objects than before")
        to_destination = [each for each in exchanges if each.request.bucket == self.bucket]
        of_instance = [each for each in to_destination if PROBES not in each.request.key]  # a probe is written anew
        for key in sent_though_known(of_instance) if self.scenario.patient else ():
            self.complain(TWICE, key)
        for key in exposed(to_destination, {each.key for each in self.world.instance.private}):
            self.complain(EXPOSED, key)
        self.tally.stored_again += sum(max(0, times - 1) for times in stored_by_key(to_destination).values())

    def inspect_outcome(self, manifest: ManifestCopy) -> None:
        """Look at what is there when all is over: everything, and nothing else."""
        for line in differences(self.client, self.bucket, self.world.at_destination):
            self.complain(WRONG_BYTES if "bytes" in line else LOST, line)
        for each, expected in self.world.expected.items():
            entry = manifest.entries.get(each)
            told = (entry.state, entry.reason) if entry is not None else None
            absent = ("skipped", "optional_missing") if expected.optional else ("failed", "missing")
            if told != (("done", None) if expected.present else absent):
                self.complain(LOST, f"{expected.key} is {told}")
        if manifest.claims:
            self.complain(DAMAGED, f"{manifest.claims} entries are still in somebody's hands")
        for upload in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []):
            self.complain(LEFT_OPEN, upload["Key"])
        if self.scenario.moto:
            self._inspect_acls()

    def complain(self, invariant: str, what: str) -> None:
        """Count something that must not be."""
        self.tally.complain(self.scenario.seed, invariant, what)

    def _inspect_plan(self, ending: Ending) -> None:
        """A plan is whole or absent, and no other command adds or drops an entry."""
        now, before = ending.manifest, self._before
        names = {each: line.name for each, line in now.entries.items()}
        planned = ending.act.arguments[0] == "plan" and now.plans > before.plans
        whole = {each: expected.key.rpartition("/")[2] for each, expected in self.world.expected.items()}
        limited = "--limit" in ending.act.arguments
        if not planned:
            if names != {each: line.name for each, line in before.entries.items()}:
                self.complain(HALF_PLANS, f"`{ending.act}` ended with {ending.code}, and entries are others")
        elif (not names.items() <= whole.items() or not names) if limited else names != whole:
            self.complain(HALF_PLANS, f"`{ending.act}` has planned {len(names)} of {len(whole)} entries")

    def _inspect_acls(self) -> None:
        for each in self.world.instance.present:
            public = is_public(self.client, self.bucket, each.key)
            if public and each.private:
                self.complain(EXPOSED, f"{each.key} can be read by everybody")
            elif not public and not each.private:
                self.complain(HIDDEN, f"{each.key} cannot be read by everybody")


def is_public(client: S3Client, bucket: str, key: str) -> bool:
    """Whether an object's ACL lets everybody read it."""
    grants = client.get_object_acl(Bucket=bucket, Key=key)["Grants"]
    return any(grant.get("Grantee", {}).get("URI", "").endswith("/AllUsers") for grant in grants)


def wrong_endings(ending: Ending, secrets: tuple[str, ...], *, patient: bool) -> Iterator[tuple[str, str]]:
    """What is wrong with the end of a command, and with what it said: an invariant, and the matter in words."""
    if ending.code not in permitted_codes(ending, patient=patient):
        yield ENDED_WRONG, f"`{ending.act}` ended with {ending.code}:\n{ending.output}"
    elif "Traceback" in ending.output:
        yield ENDED_WRONG, f"`{ending.act}` shows a traceback:\n{ending.output}"
    if any(secret in ending.output for secret in secrets):
        yield SECRETS, f"`{ending.act}`"


def permitted_codes(ending: Ending, *, patient: bool = True) -> frozenset[int]:
    """What a command may end with, after what has befallen it. `patient`: it waits for every answer."""
    command, blow = ending.act.arguments[0], ending.act.blow
    codes = frozenset({0}) if command in ("plan", "manifest") else frozenset({0, 3})
    if blow is not None:
        codes |= _CODES_OF_DEATH[blow.death]
    befallen = [each for each in ending.exchanges if each.fault is not None or each.store_status is None]
    asks_first = any(each.request.operation == "ListObjects" or PROBES in each.request.key for each in befallen)
    if not patient or ending.act.outages or asks_first:
        codes |= {7}  # the store was found unusable, or could not even be found usable, or another than the source
    turn = ending.act.turn
    if turn is not None and any(change.move is Move.BYTES_IN_PUBLIC for change in turn.changes):
        codes |= {7}  # what was written as private was seen lying open
    return codes


def sent_though_known(exchanges: Iterable[Exchange]) -> list[str]:
    """Keys of bytes that were sent although a client had been told that the object is there.

    What a process did with its knowledge before it died is its own affair: the next one has to find out.
    A client that was told nothing, or something else than the store said, may have to send again; so has one that has
    sent on what was damaged on its way from the source, and one
    that has looked for the object, and was told that there is none or was given other bytes, or has removed it.
    """
    known: dict[str, float] = {}
    again = []
    for each in sorted(exchanges, key=lambda each: each.started):
        key = each.request.key
        if key in known and each.started > known[key] and each.request.operation in SENDING:
            again.append(key)
        if (each.request.operation == "HeadObject" and each.status == 404) or gave_other_bytes(each):
            known.pop(key, None)
        for removed in each.keys_to_delete:  # what nobody could prove to be private
            known.pop(removed, None)
        if each.stored and each.told and each.request.fits_md5:
            known[key] = min(each.answered, known.get(key, each.answered))
    return again


def gave_other_bytes(each: Exchange) -> bool:
    """Whether somebody who has read an object cannot know it again."""
    damaged = each.fault is not None and each.fault.kind is Kind.DAMAGED_DOWNLOAD
    return damaged and each.request.operation == "GetObject"


def exposed(
    exchanges: Iterable[Exchange], private: Container[str], begun: dict[str, str | None] | None = None
) -> list[str]:
    """Private keys that were sent with any ACL but `private`.

    `begun`: with which ACL an upload in parts was begun last, by key; taken in and brought up to date.
    """
    begun = {} if begun is None else begun
    found = []
    for each in exchanges:
        request = each.request
        acl = request.headers.get("x-amz-acl")
        if request.operation == "CreateMultipartUpload":
            begun[request.key] = acl  # which may be to find out about ACLs, and comes to nothing
        if request.key not in private:
            continue
        if request.operation == "UploadPart":
            acl = begun.get(request.key)
        if request.operation in ("PutObject", "CopyObject", "UploadPart") and acl != "private":
            found.append(request.key)
    return found


def stored_by_key(exchanges: Iterable[Exchange]) -> Mapping[str, int]:
    """How often each key was stored, whoever heard of it."""
    times: dict[str, int] = {}
    for each in exchanges:
        if each.stored:
            times[each.request.key] = times.get(each.request.key, 0) + 1
    return times
