"""Whether the destination proves the MD5s that the source claims, so that nothing has to be hashed here.

Where the ETag of a source object is an MD5, a write sends it as Content-MD5. A destination that answers with the same
MD5 as ETag has stored what the source has, provided that it makes its ETags of the bytes. Each run finds that out: the
first objects are hashed here as well, and then one in a few hundred. Some of these are sent without Content-MD5: then
the store has nothing but the bytes to make an ETag of.
"""

from __future__ import annotations

import threading
from enum import StrEnum
from itertools import count

from mastosync.store.base import DigestUse, ObjectStore

_EARNED_OBJECTS = 64  # hashed here and proved by the destination, before it is believed
_EARNED_BYTES = 256 * 1024 * 1024  # or so much of fewer objects
_WITHHELD_AT_FIRST = 16  # one in so many, until one is proved: a private bucket may insist on Content-MD5
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
        self._earning = threading.Lock()
        self._earned_objects = self._earned_bytes = 0
        self._computed_by_store = False  # an ETag was right without a Content-MD5
        self._believes = self._is_unproved = False
        self._hashing_objects = self._hashing_bytes = 0  # of large objects under way, which may earn trust

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
            return DigestUse.CLAIMED if number % _SAMPLED else DigestUse.WITHHELD
        is_withheld = not self._computed_by_store and number % _WITHHELD_AT_FIRST == 0
        return DigestUse.WITHHELD if is_withheld else DigestUse.COMPUTED

    def use_next_large(self, size_bytes: int) -> DigestUse:
        """As `use_next`, for one that is streamed, when its request begins.

        If it is not CLAIMED, its end has to be told (`large_ended`). If it is, the outcome has to wait until trust
        `is_settled`: as many are hashed as it takes to earn trust, and those beside them wait for that.
        """
        with self._earning:
            is_open = not (self._hashes_all or self._believes)
            if is_open and self._hashing_objects and self._is_enough(self._hashing_objects, self._hashing_bytes):
                return DigestUse.CLAIMED
            if is_open:
                use = DigestUse.COMPUTED if self._computed_by_store else DigestUse.WITHHELD
            else:
                use = self.use_next()
            if use is not DigestUse.CLAIMED:
                self._hashing_objects += 1
                self._hashing_bytes += size_bytes
            return use

    def large_ended(self, size_bytes: int) -> None:
        """An object has come to its end, well or not, for which `use_next_large` was not CLAIMED."""
        with self._earning:
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
    def believes(self) -> bool:
        """Whether the destination is known to make its ETags of the bytes."""
        return self._believes and not self._hashes_all

    def note(self, use: DigestUse, size_bytes: int, *, proved: bool) -> None:
        """Take in whether the ETag of a write was the MD5 of the object."""
        if self._destination_computes:
            return
        if not proved:
            self._is_unproved = True
            self.disproved = self.disproved or (self._believes and use is DigestUse.WITHHELD)
            self.hash_all()
        elif use is not DigestUse.CLAIMED:
            with self._earning:
                self._earned_objects += 1
                self._earned_bytes += size_bytes
                self._computed_by_store = self._computed_by_store or use is DigestUse.WITHHELD
                self._believes = self._computed_by_store and self._is_enough(0, 0)

    def hash_all(self) -> None:
        """Hash every object here from now on: some bytes were not those of their ETag."""
        self._hashes_all = True
