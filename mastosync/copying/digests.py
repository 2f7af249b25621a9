"""Whether the destination proves the MD5s that the source claims, so that nothing has to be hashed here.

Where the ETag of a source object is an MD5, a write sends it as Content-MD5. A destination that answers with the same
MD5 as ETag has stored what the source has, provided that it looks at the bytes, and does not repeat what it is told.
Each run finds that out: the first objects are hashed here as well, and then one in a few hundred. Some of these are
sent with a wrong Content-MD5. A store that looks at the bytes refuses that, or answers with their MD5. What was refused
is written as it should be.
"""

from __future__ import annotations

import threading
from enum import StrEnum
from itertools import count

from mastosync.store.base import DigestUse, ObjectStore, wrong_md5

_EARNED_OBJECTS = 64  # hashed here and proved by the destination, before it is believed
_EARNED_BYTES = 256 * 1024 * 1024  # or so much of fewer objects
_CONTRADICTED_AT_FIRST = 16  # one in so many, until the store has shown that it looks at the bytes
_DOUBTS_AT_MOST = 2
_SAMPLED = 256  # one in so many, from then on


class DigestMode(StrEnum):
    """Which objects are hashed here."""

    PROOF = "proof"  # those whose digest the destination does not prove
    ALWAYS = "always"


class DigestTrust:
    """Decides for each object of a run where its MD5 comes from. Shared by all workers."""

    def __init__(self, mode: DigestMode, destination: ObjectStore) -> None:
        self.destination = destination.name
        self.disproved = False  # the ETags that objects were believed by were not made of their bytes
        self._hashes_all = mode is DigestMode.ALWAYS
        self._destination_computes = destination.computes_digests
        self._numbers = count(1)
        self._is_sample_owed = False  # one came to nothing, as its object was not there
        self._earning = threading.RLock()
        self._earned_objects = self._earned_bytes = 0
        self._looks_at_bytes = False  # it has not believed a wrong Content-MD5
        self._believes = self._is_unproved = False
        self._doubts = 0  # answers to a wrong Content-MD5, in a row, that tell nothing
        self._hashing_objects = self._hashing_bytes = 0  # of large objects under way, which may earn trust
        self._is_contradicting = False  # a large object is under way with a wrong Content-MD5

    @property
    def may_prove(self) -> bool:
        """Whether all ETags that the destination has answered with were proofs."""
        return not self._is_unproved

    def use_next(self) -> DigestUse:
        """How to go about the next object."""
        if self._hashes_all:
            return DigestUse.COMPUTED
        if self._destination_computes:
            return DigestUse.CLAIMED
        number = next(self._numbers)  # from 1
        if self._believes:
            is_sample = number % _SAMPLED == 0 or self._take_owed()
            return DigestUse.CONTRADICTED if is_sample else DigestUse.CLAIMED
        is_contradicted = not self._looks_at_bytes and (number % _CONTRADICTED_AT_FIRST == 0 or self._take_owed())
        return DigestUse.CONTRADICTED if is_contradicted else DigestUse.COMPUTED

    def not_used(self, use: DigestUse) -> None:
        """Take back what `use_next` gave for an object that was not written in that way: the next one is."""
        if use is DigestUse.CONTRADICTED:
            self._is_sample_owed = True

    def _take_owed(self) -> bool:
        if not self._is_sample_owed:
            return False
        with self._earning:
            is_owed, self._is_sample_owed = self._is_sample_owed, False
            return is_owed

    def use_next_large(self, size_bytes: int) -> DigestUse:
        """As `use_next`, for one that is streamed and has an MD5 as ETag, when its first request begins.

        If it is not CLAIMED, its end has to be told (`large_ended`). If it is, the outcome has to wait until trust
        `is_settled`: as many are hashed as it takes to earn trust, and those beside them wait for that. The last of
        these is CONTRADICTED if no other object has been, and no more: it has to be sent twice.
        """
        with self._earning:
            if self._hashes_all or self._believes:
                use = self.use_next()
            elif not self._is_enough(self._hashing_objects, self._hashing_bytes):
                use = DigestUse.COMPUTED
            elif self._looks_at_bytes or self._is_contradicting:
                use = DigestUse.CLAIMED if self._hashing_objects else DigestUse.COMPUTED
            else:
                use, self._is_contradicting = DigestUse.CONTRADICTED, True
            if use is not DigestUse.CLAIMED:
                self._hashing_objects += 1
                self._hashing_bytes += size_bytes
            return use

    def large_ended(self, use: DigestUse, size_bytes: int) -> None:
        """An object has come to its end, well or not, for which `use_next_large` gave this, which is not CLAIMED."""
        with self._earning:
            self._is_contradicting = self._is_contradicting and use is not DigestUse.CONTRADICTED
            self._hashing_objects -= 1
            self._hashing_bytes -= size_bytes

    def _is_enough(self, more_objects: int, more_bytes: int) -> bool:
        """Whether trust is earned if these are proved, too."""
        objects, size_bytes = self._earned_objects + more_objects, self._earned_bytes + more_bytes
        return objects >= _EARNED_OBJECTS or size_bytes >= _EARNED_BYTES

    @property
    def is_settled(self) -> bool:
        """Whether the destination is believed, or nobody is about to find out that it can be."""
        return self._believes or self._hashes_all or not self._hashing_objects

    @property
    def are_etags_proofs(self) -> bool:
        """Whether an ETag of what lies there proves its bytes, whoever has written them."""
        return self._destination_computes or self.believes

    @property
    def believes(self) -> bool:
        """Whether the destination is known to make its ETags of the bytes."""
        return self._believes and not self._hashes_all

    def note(self, use: DigestUse, size_bytes: int, *, proved: bool) -> None:
        """Take in whether the answer to a write was a proof: its ETag the MD5 of the object, or a wrong MD5 refused."""
        if self._destination_computes:
            return
        if not proved:
            self._is_unproved = True
            self.disproved = self.disproved or (self._believes and use is DigestUse.CONTRADICTED)
            self.hash_all()
        elif use is not DigestUse.CLAIMED:
            with self._earning:
                self._earned_objects += 1
                self._earned_bytes += size_bytes
                self._looks_at_bytes = self._looks_at_bytes or use is DigestUse.CONTRADICTED
                self._believes = self._looks_at_bytes and self._is_enough(0, 0)

    def note_contradicted(self, etag: str, md5: bytes, size_bytes: int) -> None:
        """Take in what the destination has made of a wrong Content-MD5: `etag` is empty if it has refused it.

        An ETag that is neither the right MD5 nor the wrong one may come from damage on the way, or from a store that
        makes them up: the next object tells.
        """
        if not etag:  # the object earns trust when it is written as it should be
            with self._earning:
                self._doubts, self._looks_at_bytes = 0, True
                self._believes = self._is_enough(0, 0)
        elif etag.lower() in {md5.hex(), wrong_md5(md5).hex()}:
            self._doubts = 0
            self.note(DigestUse.CONTRADICTED, size_bytes, proved=etag.lower() == md5.hex())
        elif self._goes_on():
            self.not_used(DigestUse.CONTRADICTED)
        else:
            self.note(DigestUse.CONTRADICTED, size_bytes, proved=False)

    def note_failure(self) -> None:
        """Take in that a request with a wrong Content-MD5 has failed: by accident, or as the store takes it amiss."""
        if self._goes_on():
            self.not_used(DigestUse.CONTRADICTED)
        else:
            self.hash_all()

    def _goes_on(self) -> bool:
        """Whether one more object may show what the store makes of a wrong Content-MD5."""
        self._doubts += 1
        return self._doubts < _DOUBTS_AT_MOST

    def hash_all(self) -> None:
        """Hash every object here from now on: some bytes were not those of their ETag."""
        self._hashes_all = True
