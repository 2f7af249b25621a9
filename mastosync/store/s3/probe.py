"""The questions of `doctor` to an S3 store: boto3 with credentials, and without any."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from hashlib import md5
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.exceptions as boto_errors
from botocore.handlers import disable_signing
from botocore.parsers import ResponseParserError

from mastosync.errors import (
    CorruptObject,
    MastosyncError,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    StoreUnusable,
)
from mastosync.store.errors import Target
from mastosync.store.http.public_site import HttpPublicSite
from mastosync.store.probe import Address, Greeting, RefusalCause, Removal
from mastosync.store.s3.boto_client import NO_CREDENTIALS, response_of, route_to
from mastosync.store.s3.boto_store import S3Store
from mastosync.store.s3.protocol import base64_of, unquoted
from mastosync.store.s3.translation import ErrorResponse, InvalidResponse, Request

if TYPE_CHECKING:
    from mastosync.config import S3Config

_OF_THE_BUCKET = frozenset(
    {
        "NoSuchBucket",
        "NoSuchKey",  # of a listing: the endpoint holds the bucket's name as well
        "InvalidBucketName",
        "PermanentRedirect",
        "IllegalLocationConstraintException",
        "AllAccessDisabled",
    }
)
_OF_CREDENTIALS = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "RequestTimeTooSkewed",
        "AccountProblem",
        "UserSuspended",
        "NotSignedUp",
    }
)
_UNVERSIONED = "null"  # what a bucket calls an object that came while it kept no versions
_VERSIONS_AT_MOST = 20  # of a probe object, which is written a few times


class S3Probe:
    """Questions to one bucket; only `write_damaged` and `delete` change anything.

    As at an `ObjectStore`: one attempt a request, and no errors but those of that contract.
    """

    def __init__(self, config: S3Config, *, role: str) -> None:
        """Raises: StoreUnusable if no client can be made of the configuration."""
        self._config, self._role = config, role
        self._bucket = config.bucket or ""
        self._store = S3Store(config, role=role, connections=1)
        with self._store.translated(Request("use", subject=Target.STORE)):
            self.address = self._address()

    def greet(self) -> Greeting:
        """Ask without credentials. Any answer will do.

        Raises: NetworkFailure or StoreUnusable if there is none, or no secure connection.
        """
        answer: Any = {}
        lists = False
        before = time.time()
        with self._store.translated(Request("reach", subject=Target.STORE)):
            try:
                with self._anonymously():
                    answer = self._store.client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
                lists = "IsTruncated" in answer
            except boto_errors.ClientError as error:
                answer = error.response
            except (InvalidResponse, ResponseParserError):
                pass  # an answer all the same
        after = time.time()
        return Greeting(lists, after - before, _ahead(answer, (before + after) / 2))

    def cause_of(self, error: MastosyncError) -> RefusalCause:
        """What the refusal of a whole store is due to."""
        cause = error.__cause__
        if isinstance(cause, NO_CREDENTIALS):
            return RefusalCause.CREDENTIALS
        if isinstance(cause, boto_errors.ClientError):
            cause = response_of(cause)
        if not isinstance(cause, ErrorResponse):
            return RefusalCause.ENDPOINT
        code, status = cause.code, cause.status
        if code in _OF_THE_BUCKET or 300 <= status < 400:
            return RefusalCause.BUCKET
        speaks_s3 = code not in ("", str(status))
        if code in _OF_CREDENTIALS or (speaks_s3 and status in (401, 403)):
            return RefusalCause.CREDENTIALS
        return RefusalCause.ENDPOINT

    def keys(self, prefix: str, at_most: int) -> list[str]:
        """The first keys that begin with `prefix`. Raises: ObjectDenied if the key may not list."""
        with self._store.translated(Request("list", subject=Target.STORE)):
            answer = self._store.client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=at_most)
            return [found["Key"] for found in answer.get("Contents", [])]

    def works_otherwise(self) -> str:
        """The other addressing style, if the bucket can be listed with it; else an empty string."""
        style = "virtual" if self.address.style == "path" else "path"
        try:
            other = S3Store(replace(self._config, addressing_style=style), role=self._role, connections=1)
            try:
                with other.translated(Request("list", subject=Target.STORE)):
                    listing = other.client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
            finally:
                other.close()
        except MastosyncError:
            return ""
        return style if listing.get("Name") == self._bucket else ""

    def is_public(self, key: str, etag: str) -> bool:
        """Whether anybody can read this object. `etag` tells it from what else may be sent instead."""
        try:
            with self._store.translated(Request("read, without credentials,", key)), self._anonymously():
                answer = self._store.client.get_object(Bucket=self._bucket, Key=key)
                answer["Body"].close()
                return "ETag" in answer and unquoted(answer["ETag"]) == etag
        except StoreUnusable:
            return False  # it sends strangers elsewhere
        except ObjectError as error:
            if error.transient:
                raise
            return False

    def public_address(self, key: str, md5: bytes) -> str:
        """Under which URL anybody gets an object of this MD5 where `public_url` says that everybody reads them.

        Empty: nowhere, as far as can be told. The key must be new: what came before may be kept by a cache, or be
        served from another store.
        """
        if not self._config.public_url:
            return ""
        with (
            suppress(ObjectError, StoreUnusable),  # it need not be there before everybody is sent to it
            closing(HttpPublicSite(self._config.public_url, self._config, connections=1)) as site,
        ):
            answer = site.read(key)
            return site.url + key if (answer.status, answer.md5) == (200, md5) else ""
        return ""

    def write_damaged(self, key: str, data: bytes) -> bool:
        """Send an object with the Content-MD5 of another, and return whether the store took it.

        Raises: ObjectDenied and the like if the refusal has other reasons.
        """
        digest = md5(data + b"damaged", usedforsecurity=False).digest()
        try:
            with self._store.translated(Request("write", key, subject=Target.NEW_OBJECT)):
                self._store.client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentMD5=base64_of(digest))
        except (CorruptObject, ObjectRejected):
            return False
        return True

    def delete(self, key: str) -> Removal:
        """Delete an object with all its versions, and tell what has become of it. One that is not there is no error."""
        became = Removal.GONE
        for _ in range(_VERSIONS_AT_MOST):
            version = self._newest_version(key)
            if version is None:
                return became
            try:
                hidden = self._delete(key, version)
            except ObjectDenied:
                if not version:
                    raise
                self._delete(key, "")
                return Removal.HIDDEN
            if not version:
                return Removal.HIDDEN if hidden else became
            if version != _UNVERSIONED:
                became = Removal.VERSIONS_GONE
        return Removal.HIDDEN

    def close(self) -> None:
        """Give connections back."""
        self._store.close()

    @contextmanager
    def _anonymously(self) -> Iterator[None]:
        """Without credentials, as anybody may ask. For one thread."""
        events: Any = self._store.client.meta.events  # whose stubs know of no answers
        events.register_first("choose-signer.s3", disable_signing)
        try:
            yield
        finally:
            events.unregister("choose-signer.s3", disable_signing)

    def _newest_version(self, key: str) -> str | None:
        """Its id; empty where the store tells none; None where there is no object."""
        try:
            with self._store.translated(Request("describe", key)):
                return self._store.client.head_object(Bucket=self._bucket, Key=key).get("VersionId", "")
        except ObjectMissing:
            return None
        except ObjectError:
            return ""  # it is removed whatever fails, and the answer to that tells whether versions are kept

    def _delete(self, key: str, version: str) -> bool:
        """Whether the store has hidden the object instead of removing it."""
        chosen: Any = {"VersionId": version} if version else {}
        with self._store.translated(Request("delete", key, subject=Target.NEW_OBJECT)):
            answer = self._store.client.delete_object(Bucket=self._bucket, Key=key, **chosen)
            return bool(answer.get("DeleteMarker", False))

    def _address(self) -> Address:
        route = route_to(self._store.client, self._bucket)
        host = (urlsplit(route.url).hostname or "").lower()
        in_path = urlsplit(route.url).path.rstrip("/").endswith(f"/{self._bucket}")
        style = "path" if in_path or not host.startswith(f"{self._bucket.lower()}.") else "virtual"
        proxy = urlsplit(route.proxy if "://" in route.proxy else f"//{route.proxy}")
        # the proxy without the password that its address may hold
        return Address(
            route.url, style, route.region, proxy.netloc.rpartition("@")[2], verified=self._config.verify_tls
        )


def _ahead(answer: Mapping[str, Any], now: float) -> float | None:
    """How far the clock that wrote this answer is ahead, in seconds: its header has whole ones."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return parsedate_to_datetime(date).timestamp() + 0.5 - now
    except ValueError:
        return None
