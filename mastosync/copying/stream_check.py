"""How the MD5 of one object that is streamed is proved, and what its answers tell of the destination."""

from __future__ import annotations

from dataclasses import dataclass

from mastosync.copying.digests import DigestTrust
from mastosync.copying.job import Job
from mastosync.copying.large_objects import SourceCheck, SourceDamaged, UploadDamaged
from mastosync.errors import CorruptObject, ObjectError, ObjectRejected
from mastosync.language import say
from mastosync.model import ObjectInfo
from mastosync.store.abilities import StreamAnswer, StreamedDigest
from mastosync.store.base import DAMAGED_ON_THE_WAY, DigestUse, wrong_md5


class DigestDoubtful(UploadDamaged):
    """A store was sent no MD5, and has refused that, or answers another one. Damage on the way may be the reason."""


@dataclass(slots=True)
class StreamCheck:
    """How the MD5 of one object that is streamed is proved. Decided when its request begins: it may wait before."""

    trust: DigestTrust
    of_source: SourceCheck
    info: ObjectInfo
    failed: ObjectError | None  # the delivery before
    use: DigestUse = DigestUse.COMPUTED
    sent: bytes | None = None  # as Content-MD5
    _has_begun: bool = False
    _counted: DigestUse = DigestUse.CLAIMED  # another one: this is hashed to earn trust

    @property
    def is_claimed(self) -> bool:
        """Whether nothing is hashed here."""
        return self.use is DigestUse.CLAIMED

    @property
    def is_contradicted(self) -> bool:
        """Whether a wrong MD5 goes along."""
        return self.use is DigestUse.CONTRADICTED

    def begin(self) -> StreamedDigest:
        """See `StreamedObject.begin`."""
        if self.is_contradicted:  # the attempt before
            self.trust.note_failure()
        self.use = DigestUse.COMPUTED  # of what has failed: it may have been the bytes
        self.sent = self.info.md5
        if self.sent is not None and self.failed is None and not self._has_begun:
            self.use = self._counted = self.trust.use_next_large(self.info.size)
        self._has_begun = True
        if self.sent is not None and self.is_contradicted:
            self.sent = wrong_md5(self.sent)
        self.of_source = self.of_source.anew()
        return StreamedDigest(self.sent, None if self.is_claimed else self.of_source, self.is_contradicted)

    def note_failure(self) -> None:
        """A request with a wrong MD5 has failed. The next one goes with the right one."""
        self.trust.note_failure()
        self.use = DigestUse.COMPUTED

    def is_proved_by(self, answer: StreamAnswer) -> bool:
        """Whether the store has kept the object, although it was sent a wrong MD5. The trust learns what it made of it.

        If it has not, the next request goes with the right one.
        """
        assert self.info.md5 is not None  # noqa: S101 - the wrong one was made of it
        if answer.etag and not answer.etag_is_md5:
            self.trust.hash_all()
        else:
            self.trust.note_contradicted(answer.etag, self.info.md5, self.info.size)
        is_proved = answer.etag.lower() == self.info.md5.hex()
        if not is_proved:
            self.use = DigestUse.COMPUTED
        return is_proved

    def doubtful(self, refused: ObjectError) -> UploadDamaged | None:
        """The error for a refusal after which the bytes have to be sent once more; None: they need not."""
        if isinstance(refused, SourceDamaged):
            return None
        if isinstance(refused, CorruptObject):
            return UploadDamaged(refused.message, hint=refused.hint, store=refused.store)
        if isinstance(refused, ObjectRejected) and self.sent is None and self.failed is None:
            return DigestDoubtful(refused.message, hint=refused.hint, store=refused.store)
        return None

    def learns(self, answer: StreamAnswer, md5: bytes) -> bool:
        """Whether an answer is a proof, or as good as one. The trust learns it, unless damage may be the reason."""
        is_proved = answer.etag.lower() == md5.hex()
        if not is_proved and answer.etag_is_md5 and self.failed is None:
            return False
        self.trust.note(self.use, self.info.size, proved=is_proved)
        return is_proved or (self.use is DigestUse.COMPUTED and self.sent is not None and not answer.etag_is_md5)

    def damaged(self, job: Job, answer: StreamAnswer, md5: bytes) -> UploadDamaged:
        """The error for an answer that is not good enough."""
        message = (
            f"cannot write {job.key!r} at {job.destination.name}: sent bytes with the MD5 {md5.hex()}, the store"
            f" answers with the ETag {answer.etag}"
        )
        kind = DigestDoubtful if self.sent is None and self.failed is None and answer.etag_is_md5 else UploadDamaged
        return kind(message, hint=say(DAMAGED_ON_THE_WAY), store=job.destination.name)

    def close(self) -> None:
        """The attempt has ended."""
        if self._counted is not DigestUse.CLAIMED:
            self.trust.large_ended(self._counted, self.info.size)
            self._counted = DigestUse.CLAIMED
