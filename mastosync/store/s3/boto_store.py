"""The whole contract of `ObjectStore` by boto3: one request in each method.

The options of the client and what its errors mean are in `boto_client`, headers in `protocol`.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin

import botocore.exceptions as boto_errors

from mastosync.errors import (
    ChecksumRefused,
    CorruptObject,
    ObjectChanged,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    StoreUnusable,
)
from mastosync.language import tr
from mastosync.model import ObjectInfo
from mastosync.store.abilities import ArrivedPart
from mastosync.store.base import (
    Buffer,
    DigestUse,
    FetchedObject,
    ListedObject,
    Page,
    Piece,
    PutOptions,
    UploadedPart,
    require_claimed,
    wrong_md5,
)
from mastosync.store.errors import Target
from mastosync.store.http.public_site import anonymous_answer, ask_anonymously
from mastosync.store.probe import NOT_REFUSALS, AnonymousAccess, AnonymousAnswer, ObjectTraits, access_by
from mastosync.store.s3.boto_client import BotoTranslator, credentials_of, make_client
from mastosync.store.s3.listing import LISTING_FIELDS, checked_page
from mastosync.store.s3.protocol import (
    arguments_of,
    base64_of,
    checked_object,
    confirmed_etag,
    etag_of,
    headers_of,
    info_of,
    is_plain,
    require_own_md5,
    require_range,
    unquoted,
)
from mastosync.store.s3.translation import InvalidResponse, Request, name_of, scrubber_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from botocore.credentials import ReadOnlyCredentials
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

    from mastosync.config import S3Config

_PIECE_BYTES = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class S3Store:
    """A bucket. See `ObjectStore` for what each method promises."""

    computes_digests = False

    def __init__(self, config: S3Config, *, role: str, connections: int) -> None:
        """`role`: source or destination, for messages. `connections`: threads that will use the store at once.

        Raises: StoreUnusable if no client can be made of the configuration.
        """
        self.client = make_client(config, connections)
        self._config = config
        self._bucket = config.bucket or ""
        self._is_source = role == "source"
        self.endpoint = str(self.client.meta.endpoint_url)
        self.name = name_of(config, role, self.endpoint)
        self.translated = BotoTranslator(self.name, scrubber_of(config))

    def check(self) -> None:  # noqa: D102 - see ObjectStore, here and below
        try:
            with self.translated(Request("use", subject=Target.STORE)):
                # a listing takes the way that objects take: boto3's other probes address buckets in their own way
                answer = self.client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
                if not LISTING_FIELDS & answer.keys():
                    raise InvalidResponse("it is no listing")
        except ObjectDenied:
            return  # a key that may not list may still read and write

    def head(self, key: str) -> ObjectInfo:  # noqa: D102
        with self.translated(Request("describe", key)):
            return info_of(headers_of(self.client.head_object(Bucket=self._bucket, Key=key)))

    def list_page(self, prefix: str, after: str) -> Page:  # noqa: D102
        with self.translated(Request("list", subject=Target.STORE)):
            answer = self.client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, StartAfter=after)
            if not LISTING_FIELDS & answer.keys():
                raise InvalidResponse("it is no listing")
            objects = [
                ListedObject(
                    found["Key"], found["Size"], unquoted(found.get("ETag", "")), found["LastModified"].isoformat()
                )
                for found in answer.get("Contents", [])
            ]
        return checked_page(self.name, after, Page(objects, not answer.get("IsTruncated")))

    def read(  # noqa: D102
        self, key: str, max_bytes: int, digest: DigestUse = DigestUse.COMPUTED
    ) -> FetchedObject:
        with self.translated(Request("read", key)):
            answer = self.client.get_object(Bucket=self._bucket, Key=key)
            try:
                info = info_of(headers_of(answer))
                if info.size > max_bytes:
                    return FetchedObject(info, data=None, md5=None)
                data = answer["Body"].read()
            finally:
                answer["Body"].close()  # drops the connection, unless the body was read to its end
        return checked_object(key, self.name, info, data, digest)

    def read_range(self, key: str, info: ObjectInfo, start: int, length: int) -> Buffer:  # noqa: D102
        wanted = f"bytes={start}-{start + length - 1}"
        with self.translated(Request("read a range of", key)):
            answer = self.client.get_object(Bucket=self._bucket, Key=key, Range=wanted, IfMatch=f'"{info.etag}"')
            try:
                self._require_range(key, info, answer, start, length)
                return _filled(bytearray(length), answer["Body"])
            finally:
                answer["Body"].close()

    def digest(self, key: str, info: ObjectInfo) -> bytes:  # noqa: D102
        md5 = hashlib.md5(usedforsecurity=False)
        with self.translated(Request("read", key)):
            answer = self.client.get_object(Bucket=self._bucket, Key=key, IfMatch=f'"{info.etag}"')
            try:
                self._require_same(key, info, answer)
                for piece in answer["Body"].iter_chunks(_PIECE_BYTES):
                    md5.update(piece)
            finally:
                answer["Body"].close()
        require_own_md5(key, self.name, info, md5.digest())
        return md5.digest()

    def write(  # noqa: D102
        self, key: str, data: bytes, md5: bytes, options: PutOptions, digest: DigestUse = DigestUse.COMPUTED
    ) -> str:
        arguments, claimed = arguments_of(options), data if digest is DigestUse.CLAIMED else None
        arguments["ContentMD5"] = base64_of(wrong_md5(md5) if digest is DigestUse.CONTRADICTED else md5)
        try:
            with self.translated(Request("write", key, subject=Target.NEW_OBJECT, with_acl=options.acl is not None)):
                headers = headers_of(self.client.put_object(Bucket=self._bucket, Key=key, Body=data, **arguments))
                if digest is DigestUse.CONTRADICTED:
                    return etag_of(headers)
                return confirmed_etag(key, self.name, headers, md5, claimed)
        except (CorruptObject, ObjectRejected) as refused:
            if digest is DigestUse.CONTRADICTED and isinstance(refused, ChecksumRefused):
                return ""
            if claimed is not None:  # which end was wrong?
                require_claimed(key, self.name, claimed, md5)
            raise

    def copy_from(  # noqa: D102
        self, source_bucket: str, source_key: str, info: ObjectInfo, key: str, options: PutOptions
    ) -> str:
        with self.translated(Request("copy to", key, subject=Target.COPY, with_acl=options.acl is not None)):
            answer = self.client.copy_object(
                Bucket=self._bucket,
                Key=key,
                CopySource={"Bucket": source_bucket, "Key": source_key},
                CopySourceIfMatch=f'"{info.etag}"',
                MetadataDirective="REPLACE",  # else the headers given here are passed over
                **arguments_of(options),
            )
            return unquoted(answer["CopyObjectResult"]["ETag"])

    def start_multipart(self, key: str, options: PutOptions) -> str:  # noqa: D102
        with self.translated(
            Request("begin to write", key, subject=Target.NEW_OBJECT, with_acl=options.acl is not None)
        ):
            answer = self.client.create_multipart_upload(Bucket=self._bucket, Key=key, **arguments_of(options))
            return answer["UploadId"]

    def write_part(self, key: str, upload_id: str, number: int, data: Buffer, md5: bytes) -> UploadedPart:  # noqa: D102
        with self.translated(Request(f"write part {number} of", key, subject=Target.UPLOAD)):
            answer = self.client.upload_part(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=cast("bytes", data),  # a bytearray does as well, and is sent from where it lies
                ContentMD5=base64_of(md5),
            )
            confirmed_etag(key, self.name, headers_of(answer), md5)
            return UploadedPart(number, answer["ETag"], md5)

    def copy_part(self, key: str, upload_id: str, number: int, piece: Piece) -> UploadedPart:  # noqa: D102
        with self.translated(Request(f"copy part {number} of", key, subject=Target.COPY)):
            answer = self.client.upload_part_copy(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                CopySource={"Bucket": piece.bucket, "Key": piece.key},
                CopySourceRange=f"bytes={piece.start}-{piece.start + piece.length - 1}",
                CopySourceIfMatch=f'"{piece.info.etag}"',
            )
            return UploadedPart(number, answer["CopyPartResult"]["ETag"], b"")

    def complete_multipart(self, key: str, upload_id: str, parts: list[UploadedPart]) -> str:  # noqa: D102
        with self.translated(Request("complete", key, subject=Target.UPLOAD)):
            answer = self.client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": [{"PartNumber": part.number, "ETag": part.etag} for part in parts]},
            )
            return unquoted(answer["ETag"])

    def arrived_parts(self, key: str, upload_id: str) -> list[ArrivedPart]:  # noqa: D102 - see PartStreamingStore
        found: list[ArrivedPart] = []
        with self.translated(Request("find the parts of", key, subject=Target.UPLOAD)):
            pages = self.client.get_paginator("list_parts")
            for page in pages.paginate(Bucket=self._bucket, Key=key, UploadId=upload_id):
                found += [
                    ArrivedPart(part["PartNumber"], part["Size"], unquoted(part["ETag"]))
                    for part in page.get("Parts", [])
                ]
        return found

    def abort_multipart(self, key: str, upload_id: str) -> None:  # noqa: D102
        try:
            with self.translated(Request("abort", key, subject=Target.UPLOAD)):
                self.client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
        except ObjectChanged:
            return  # nothing left to abort

    def abort_unfinished(self, key: str) -> int:  # noqa: D102
        try:
            with self.translated(Request("find unfinished uploads of", key, subject=Target.NEW_OBJECT)):
                # one page is enough: whatever else begins with a whole key are not a thousand uploads
                answer = self.client.list_multipart_uploads(Bucket=self._bucket, Prefix=key)
                found = [upload["UploadId"] for upload in answer.get("Uploads", []) if upload["Key"] == key]
        except (ObjectDenied, ObjectRejected):
            return 0  # to list them is a permission of its own, and some stores cannot
        for upload_id in found:
            self.abort_multipart(key, upload_id)
        return len(found)

    def delete(self, key: str) -> None:  # noqa: D102
        self._delete(key)

    def delete_objects(self, keys: Sequence[str]) -> frozenset[str]:  # noqa: D102 - see BulkDeletingStore
        self._require_destination(f"{len(keys)} objects")
        named = [key for key in keys if is_plain(key)]
        if not named:
            return frozenset()
        with self.translated(Request("delete many objects at once in", subject=Target.STORE)):
            answer = self.client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in named]}
            )
            failed = {each.get("Key", "") for each in answer.get("Errors", [])}
            return frozenset(named).intersection(each.get("Key", "") for each in answer.get("Deleted", [])) - failed

    def anybody_reads(self, key: str) -> bool:  # noqa: D102
        return self._is_given(key, lambda: self._anonymous_client.get_object, partial(self._known, key))

    def anybody_finds(self, key: str, info: ObjectInfo) -> bool:  # noqa: D102
        return self._is_given(
            key, lambda: self._anonymous_client.head_object, lambda: (ObjectTraits(info.size, info.etag),)
        )

    def _is_given(self, key: str, method: Callable[[], Any], known: Callable[[], tuple[ObjectTraits, ...]]) -> bool:
        """Whether an object is given to somebody without credentials. `method`: of their client."""
        with self.translated(Request("read, without credentials,", key)):
            found = self._anonymous_answer(key, method())
            if 300 <= found.status < 400:
                raise InvalidResponse(f"its status is {found.status}, and it names no other place")
        access = access_by(found, known)
        if access is AnonymousAccess.UNKNOWN:
            raise ObjectRejected(
                f"cannot read, without credentials, {key!r} at {self.name}: the answer is another object, or none "
                f"({found.size} bytes of {found.content_type!r})",
                hint=tr("this is not the store's answer: check the proxies, firewalls and gateways on the way to it"),
            )
        return access is AnonymousAccess.GIVEN

    def _anonymous_answer(self, key: str, ask: Callable[..., Any]) -> AnonymousAnswer:
        """The answer to somebody without credentials. Raises: ClientError for what may pass, or says nothing."""
        try:
            answer = ask(Bucket=self._bucket, Key=key)
        except boto_errors.ClientError as error:
            metadata = error.response["ResponseMetadata"]
            status, headers = metadata["HTTPStatusCode"], metadata.get("HTTPHeaders", {})
            if status in _REDIRECTS and (location := headers.get("location")):
                # nothing secret goes along, and others follow it
                return ask_anonymously(urljoin(f"{self.endpoint}/", location), self._config)._replace(is_elsewhere=True)
            if status in NOT_REFUSALS or status >= 500:
                raise
            return anonymous_answer(status, headers)
        if "Body" in answer:
            answer["Body"].close()  # drops the connection, unless nothing was in it
        return anonymous_answer(answer["ResponseMetadata"]["HTTPStatusCode"], headers_of(answer))

    def _known(self, key: str) -> tuple[ObjectTraits, ...]:
        try:
            there = self.head(key)
        except ObjectError:
            return ()
        return (ObjectTraits(there.size, there.etag),)

    def withdraw(self, key: str) -> bool:  # noqa: D102
        version, stays = self._version(key), False
        if version:
            try:
                self._delete(key, VersionId=version)
            except ObjectDenied:
                stays = True
        hidden = self._delete(key)  # also what may come to light below
        return not stays and (version is None or bool(version) or not hidden)

    def _version(self, key: str) -> str | None:
        """Which version an object is; empty where the store keeps or tells none; None where there is no object."""
        try:
            with self.translated(Request("describe", key)):
                return self.client.head_object(Bucket=self._bucket, Key=key).get("VersionId", "")
        except ObjectMissing:
            return None
        except ObjectDenied:
            return ""

    def _delete(self, key: str, **version: str) -> bool:
        """Whether the store has hidden an object instead of removing it."""
        self._require_destination(repr(key))
        chosen: Any = version
        with suppress(ObjectMissing), self.translated(Request("delete", key)):
            return self.client.delete_object(Bucket=self._bucket, Key=key, **chosen).get("DeleteMarker", False)
        return False

    def _require_destination(self, what: str) -> None:
        if self._is_source:
            raise StoreUnusable(f"cannot delete {what} at {self.name}: nothing is ever deleted at a source")

    @cached_property
    def _anonymous_client(self) -> S3Client:
        """A client of the same bucket, by the same way, without credentials."""
        return make_client(self._config, 1, signed=False)

    def credentials(self, request: Request) -> ReadOnlyCredentials:
        """What to sign this request with, for a client beside boto3. Raises: StoreUnusable if there is nothing."""
        with self.translated(request):
            return credentials_of(self.client)

    def close(self) -> None:  # noqa: D102
        self.client.close()
        if (client := self.__dict__.get("_anonymous_client")) is not None:
            client.close()

    def _require_same(self, key: str, info: ObjectInfo, answer: GetObjectOutputTypeDef) -> None:
        if etag_of(headers_of(answer)) != info.etag:
            raise ObjectChanged(
                f"cannot read {key!r} at {self.name}: it was replaced while it was read", hint=tr("it is read again")
            )

    def _require_range(
        self, key: str, info: ObjectInfo, answer: GetObjectOutputTypeDef, start: int, length: int
    ) -> None:
        """Find out a store that passes over If-Match or Range, before its bytes are taken in."""
        self._require_same(key, info, answer)
        require_range(f"{key!r} at {self.name}", info.size, headers_of(answer), start, length)


def _filled(buffer: bytearray, body: StreamingBody) -> bytearray:
    """Read a part into a buffer of its size. Reading it in one call would hold it twice or more on the way."""
    filled = 0
    while filled < len(buffer):
        piece = body.read(min(_PIECE_BYTES, len(buffer) - filled))
        buffer[filled : filled + len(piece)] = piece
        filled += len(piece)
    return buffer
