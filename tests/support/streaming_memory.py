"""A store in memory that streams parts."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import md5

from mastosync.errors import BodyInterrupted, ObjectRejected
from mastosync.store.abilities import ArrivedPart, FirstPart, StreamAnswer, StreamedObject
from mastosync.store.base import Buffer, PutOptions, UploadedPart
from tests.support.memory_store import MemoryStore


class StreamingMemory(MemoryStore):
    """A store in memory that streams to its like. `part_etag` makes the ETag of a part of its bytes."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.first = FirstPart(4, 3)  # what it tells of any object
        self.part_etag: Callable[[Buffer], str] = lambda data: md5(data).hexdigest()
        self.etag_is_md5 = True
        self.can_stream = True

    def streams(self, key: str) -> bool:
        return self.can_stream

    def write_stream(self, key: str, source: StreamedObject, options: PutOptions) -> StreamAnswer:
        raise NotImplementedError

    def stream_part(self, key: str, source: StreamedObject, upload_id: str, number: int) -> StreamAnswer:
        self._called("stream_part", key)
        digest = source.begin().digest
        try:
            data = source.store.read_range(source.key, source.info, source.start, len(source))
        except ObjectRejected as error:
            raise BodyInterrupted(error) from error
        if digest is not None:
            digest.update(data)
        super().write_part(key, upload_id, number, data, md5(data).digest())
        self.calls.pop()
        return StreamAnswer(self.part_etag(data), self.etag_is_md5)

    def first_part(self, key: str) -> FirstPart:
        self._called("first_part", key)
        return self.first

    def arrived_parts(self, key: str, upload_id: str) -> list[ArrivedPart]:
        raise NotImplementedError

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:
        unquoted = [UploadedPart(part.number, part.etag.strip('"'), part.md5) for part in parts]
        return super().complete_multipart(key, upload_id, unquoted)
