"""What a store's answer means: the table from status and code to the errors of the contract."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mastosync.errors import (
    AclUnsupported,
    BucketMissing,
    ChecksumRefused,
    CorruptObject,
    MastosyncError,
    ObjectChanged,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    ObjectRejected,
    ObjectTooLarge,
    ServerFailure,
    StoreUnusable,
    Throttled,
)
from mastosync.store.errors import StoreAnswer, Target, error_of, network_failure, retry_after_seconds

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def told(
    status: int,
    code: str = "",
    message: str = "",
    subject: Target = Target.OBJECT,
    with_acl: bool = False,
    headers: dict[str, str] | None = None,
) -> MastosyncError:
    return error_of(StoreAnswer(status, code, message, headers or {}, subject, with_acl), "read 'a/b.png' at the store")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", ObjectMissing),
        (404, "404", ObjectMissing),  # a HEAD
        (404, "", ObjectMissing),
        (404, "NoSuchBucket", BucketMissing),
        (400, "InvalidBucketName", StoreUnusable),
        (403, "AccessDenied", ObjectDenied),
        (403, "403", ObjectDenied),
        (401, "Unauthorized", ObjectDenied),
        (403, "SignatureDoesNotMatch", ObjectDenied),
        (403, "InvalidObjectState", ObjectDenied),
        (403, "InvalidAccessKeyId", StoreUnusable),
        (403, "RequestTimeTooSkewed", StoreUnusable),
        (400, "ExpiredToken", StoreUnusable),
        (400, "AuthorizationHeaderMalformed", StoreUnusable),
        (301, "PermanentRedirect", StoreUnusable),
        (301, "301", StoreUnusable),
        (307, "TemporaryRedirect", StoreUnusable),
        (308, "", StoreUnusable),
        (507, "507", StoreUnusable),
        (403, "QuotaExceeded", StoreUnusable),
        (507, "XMinioStorageFull", StoreUnusable),
        (429, "TooManyRequests", Throttled),
        (429, "429", Throttled),
        (503, "SlowDown", Throttled),
        (503, "503", Throttled),
        (503, "ServiceUnavailable", Throttled),
        (400, "RequestLimitExceeded", Throttled),
        (500, "SlowDown", Throttled),  # inside of a 200
        (503, "InternalError", ServerFailure),
        (500, "InternalError", ServerFailure),
        (500, "", ServerFailure),
        (502, "502", ServerFailure),
        (504, "", ServerFailure),
        (522, "", ServerFailure),
        (408, "", ServerFailure),
        (400, "RequestTimeout", ServerFailure),
        (409, "OperationAborted", ServerFailure),
        (400, "BadDigest", ChecksumRefused),
        (400, "InvalidDigest", ChecksumRefused),
        (400, "IncompleteBody", CorruptObject),
        (400, "XAmzContentSHA256Mismatch", CorruptObject),
        (404, "NoSuchUpload", ObjectChanged),
        (500, "NoSuchUpload", ObjectChanged),  # inside of a 200
        (400, "InvalidPart", ObjectChanged),
        (412, "PreconditionFailed", ObjectChanged),
        (412, "412", ObjectChanged),
        (416, "InvalidRange", ObjectChanged),
        (400, "EntityTooLarge", ObjectTooLarge),
        (413, "413", ObjectTooLarge),
        (400, "EntityTooSmall", ObjectRejected),
        (400, "InvalidStorageClass", ObjectRejected),
        (400, "KeyTooLongError", ObjectRejected),
        (400, "400", ObjectRejected),
        (405, "MethodNotAllowed", ObjectRejected),
        (501, "NotImplemented", ObjectRejected),
        (0, "Unknown", ObjectRejected),
    ],
)
def test_status_and_code_have_one_meaning(status: int, code: str, kind: type[MastosyncError]) -> None:
    error = told(status, code)
    assert type(error) is kind
    assert error.hint


@pytest.mark.parametrize(
    ("code", "certain"), [("NoSuchKey", True), ("NoSuchVersion", True), ("404", False), ("", False)]
)
def test_a_store_that_says_so_in_its_own_words_is_certain(code: str, certain: bool) -> None:
    missing = told(404, code)
    assert isinstance(missing, ObjectMissing)
    assert missing.certain is certain


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        (Target.OBJECT, ServerFailure),
        (Target.COPY, ServerFailure),
        (Target.NEW_OBJECT, ObjectRejected),
        (Target.UPLOAD, ObjectChanged),
        (Target.STORE, StoreUnusable),
    ],
)
def test_a_page_of_somebody_else_says_nothing_of_an_object(subject: Target, kind: type[MastosyncError]) -> None:
    """As of a proxy that has lost the store, and answers 404 in words of its own."""
    page = StoreAnswer(404, "404", "Not Found", {"content-type": "text/html"}, subject, has_body=True)
    assert type(error_of(page, "read 'a' at the store")) is kind


@pytest.mark.parametrize(("subject", "kind"), [(Target.OBJECT, ObjectDenied), (Target.STORE, StoreUnusable)])
@pytest.mark.parametrize("status", [401, 403])
def test_a_page_that_refuses_is_no_word_of_the_store_on_keys(
    status: int, subject: Target, kind: type[MastosyncError]
) -> None:
    """As of a proxy or a firewall that lets nobody through."""
    page = StoreAnswer(status, str(status), "Forbidden", {"content-type": "text/html"}, subject, has_body=True)
    error = error_of(page, "read 'a' at the store")
    assert type(error) is kind
    assert "or firewall in between" in error.hint
    assert "key" not in error.hint
    assert not getattr(error, "refuses_keys", False)


@pytest.mark.parametrize(
    ("status", "code", "refused"),
    [
        (403, "InvalidAccessKeyId", True),
        (403, "SignatureDoesNotMatch", True),
        (403, "403", True),  # without a word
        (404, "NoSuchBucket", False),
        (400, "ExpiredToken", False),
        (301, "PermanentRedirect", False),
        (400, "BadRequest", False),
    ],
)
def test_a_store_that_refuses_keys_is_told_from_others(status: int, code: str, refused: bool) -> None:
    error = told(status, code, subject=Target.STORE)
    assert isinstance(error, StoreUnusable)
    assert error.refuses_keys is refused


@pytest.mark.parametrize("headers", [{"x-amz-request-id": "1"}, {"content-type": "application/xml; charset=utf-8"}])
def test_what_a_store_has_signed_or_nobody_can_read_is_no_page(headers: dict[str, str]) -> None:
    """Some stores repeat a key in their XML whose characters XML has not."""
    missing = error_of(StoreAnswer(404, "404", "Not Found", headers, has_body=True), "read 'a' at the store")
    assert isinstance(missing, ObjectMissing)
    assert not missing.certain


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        (Target.OBJECT, ObjectMissing),
        (Target.NEW_OBJECT, ObjectRejected),
        (Target.UPLOAD, ObjectChanged),
        (Target.STORE, StoreUnusable),
    ],
)
@pytest.mark.parametrize("code", ["NoSuchKey", "404", ""])
def test_only_an_object_that_is_read_can_be_missing(subject: Target, kind: type[MastosyncError], code: str) -> None:
    assert type(told(404, code, subject=subject)) is kind


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "AccessControlListNotSupported", "The bucket does not allow ACLs"),
        (501, "NotImplemented", ""),
        (400, "InvalidArgument", "Cannot insert legacy ACL for an object when uniform access is enabled"),
        (400, "InvalidRequest", "Unsupported value for canned acl 'public-read'"),
        (403, "AccessDenied", "not authorized to perform: s3:PutObjectAcl on resource"),
        (403, "AccessDenied", "public access control lists (ACLs) are prevented by the BlockPublicAcls setting"),
    ],
)
def test_a_refused_acl_is_blamed_only_where_one_was_sent(status: int, code: str, message: str) -> None:
    assert type(told(status, code, message, Target.NEW_OBJECT, with_acl=True)) is AclUnsupported
    assert type(told(status, code, message, Target.NEW_OBJECT)) is not AclUnsupported


@pytest.mark.parametrize(
    ("code", "message", "only_this"),
    [
        ("InvalidArgument", "Unsupported value for canned acl 'public-read'", True),  # B2 takes that of the bucket
        ("AccessControlListNotSupported", "The bucket does not allow ACLs", False),
        ("NotImplemented", "Header 'x-amz-acl' with value 'public-read' not implemented", False),  # R2 takes private
        ("NotImplemented", "Unsupported value for canned acl 'public-read'", False),
        ("AccessDenied", "not authorized to perform: s3:PutObjectAcl on resource", False),
        ("AccessDenied", "public access control lists (ACLs) are prevented by the BlockPublicAcls setting", False),
    ],
)
def test_a_store_without_acls_is_told_from_one_that_takes_another(code: str, message: str, *, only_this: bool) -> None:
    error = told(403 if code == "AccessDenied" else 400, code, message, Target.NEW_OBJECT, with_acl=True)
    assert isinstance(error, AclUnsupported)
    assert error.only_this == only_this


@pytest.mark.parametrize(
    ("status", "message"), [(403, "Access Denied"), (403, "oracle"), (400, "miracles"), (500, "acl"), (404, "acl")]
)
def test_other_refusals_are_not_blamed_on_the_acl(status: int, message: str) -> None:
    assert type(told(status, "SomeCode", message, Target.NEW_OBJECT, with_acl=True)) is not AclUnsupported


class TestStores:
    def test_a_key_that_may_not_list_says_nothing_of_the_store(self) -> None:
        assert type(told(403, "AccessDenied", "Access Denied", Target.STORE)) is ObjectDenied

    @pytest.mark.parametrize(
        ("status", "code", "message", "hint"),
        [
            (403, "SignatureDoesNotMatch", "", "secret_key"),
            (403, "AccessDenied", "Forbidden: Invalid signature", "secret_key"),
            (401, "Unauthorized", "", "access_key"),
            (403, "403", "", "endpoint_url"),  # not the words of an S3 store
            (403, "", "", "endpoint_url"),
            (404, "NoSuchKey", "", "`endpoint_url` seems to hold the bucket's name"),
            (404, "", "", "endpoint_url"),
            (405, "", "", "endpoint_url"),
            (400, "BadRequest", "", "endpoint_url"),
        ],
    )
    def test_what_will_not_pass_makes_a_store_unusable(self, status: int, code: str, message: str, hint: str) -> None:
        error = told(status, code, message, Target.STORE)
        assert type(error) is StoreUnusable
        assert hint in error.hint

    @pytest.mark.parametrize(("status", "kind"), [(500, ServerFailure), (503, Throttled), (429, Throttled)])
    def test_what_may_pass_stays_what_it_is(self, status: int, kind: type[MastosyncError]) -> None:
        error = told(status, subject=Target.STORE)
        assert type(error) is kind
        assert "run the same command again" in error.hint
        assert "retry-failed" not in error.hint, "no entry has failed"


class TestWords:
    def test_a_message_says_what_where_and_the_answer(self) -> None:
        error = told(403, "AccessDenied", "Access Denied")
        assert error.message == (
            "cannot read 'a/b.png' at the store: the store answers 403 AccessDenied (Access Denied)"
        )

    def test_a_status_is_not_said_twice(self) -> None:
        assert told(404, "404", "Not Found").message.endswith("the store answers 404 (Not Found)")

    def test_the_region_that_the_store_names_is_passed_on(self) -> None:
        assert "eu-north-7" in told(301, "301", headers={"x-amz-bucket-region": "eu-north-7"}).hint

    def test_a_connection_that_did_not_hold_names_what_to_look_at(self) -> None:
        error = network_failure("read 'a' at b", "timed out")
        assert error.message == "cannot read 'a' at b: timed out"
        assert "endpoint_url" in error.hint


@pytest.mark.parametrize(
    ("url", "environ", "said"),
    [
        ("https://s3.example", {}, "any proxy or firewall in between"),
        ("https://s3.example", {"https_proxy": "http://p:3128"}, "the proxy (https_proxy) or firewall"),
        ("http://s3.example", {"HTTPS_PROXY": "http://p:3128"}, "any proxy or firewall in between"),
        ("http://s3.example", {"ALL_PROXY": "http://p:3128"}, "the proxy (ALL_PROXY) or firewall"),
        ("https://s3.example", {"HTTPS_PROXY": ""}, "any proxy or firewall in between"),
    ],
)
def test_the_variable_is_named_that_may_have_sent_it_to_a_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, environ: dict[str, str], said: str
) -> None:
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    page = StoreAnswer(403, "403", "Forbidden", {"content-type": "text/html"}, Target.OBJECT, has_body=True)
    for error in (network_failure(f"read 'a' at {url}", "reset"), error_of(page, f"read 'a' at {url}")):
        assert said in error.hint
        assert "p:3128" not in error.hint, "it may hold a password"


@given(
    st.integers(0, 999),
    st.sampled_from(["", "NoSuchKey", "SlowDown", "InternalError", "AccessDenied"]) | st.text(),
    st.text(),
    st.sampled_from(Target),
    st.booleans(),
    st.dictionaries(st.sampled_from(["retry-after", "x-amz-retry-after", "x-amz-bucket-region"]), st.text()),
)
def test_every_answer_has_an_error_with_a_hint(
    status: int, code: str, message: str, subject: Target, with_acl: bool, headers: dict[str, str]
) -> None:
    error = told(status, code, message, subject, with_acl, headers)
    assert isinstance(error, ObjectError | StoreUnusable)
    assert error.hint
    assert subject in (Target.OBJECT, Target.COPY) or not isinstance(error, ObjectMissing)  # where one is read


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"retry-after": "0"}, 0.0),
            ({"retry-after": "120"}, 120.0),
            ({"retry-after": " 1.5 "}, 1.5),
            ({"retry-after": ""}, None),
            ({"retry-after": "-5"}, None),
            ({"retry-after": "nan"}, None),
            ({"retry-after": "inf"}, None),
            ({"retry-after": "1e999"}, None),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "Mon, 06 May 2024 07:09:09 GMT"}, 60.0),
            ({"retry-after": "Mon, 06 May 2024 09:09:09 +0200"}, 60.0),
            ({"retry-after": "Mon, 06 May 2024 07:09:09 -0000"}, 60.0),
            ({"retry-after": "Mon, 06 May 2024 07:08:09 GMT"}, 0.0),
            ({"retry-after": "Mon, 06 May 2019 00:00:00 GMT"}, 0.0),
            ({"retry-after": "Mon, 99 May 2024 00:00:00 GMT"}, None),
            ({"retry-after": "Mon, 06 May 2024 00:00:00 +99999999999999"}, None),
            ({"x-amz-retry-after": "1500"}, 1.5),
            ({"x-amz-retry-after": "0", "retry-after": "60"}, 0.0),
            ({"x-amz-retry-after": "soon", "retry-after": "60"}, 60.0),
        ],
    )
    def test_what_is_written_is_read(self, headers: dict[str, str], seconds: float | None) -> None:
        assert retry_after_seconds(headers, NOW) == seconds

    @given(st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)))
    def test_any_date_is_a_wait_that_ends_then(self, date: datetime) -> None:
        date = date.replace(microsecond=0)
        seconds = retry_after_seconds({"retry-after": format_datetime(date, usegmt=True)}, NOW)
        assert seconds == max(timedelta(0), date - NOW).total_seconds()

    @given(
        st.dictionaries(
            st.sampled_from(["retry-after", "x-amz-retry-after"]),
            st.text()
            | st.floats().map(str)
            | st.integers().map(str)
            | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ [\d:]+ ?[+-]?\w*"),
        )
    )
    @example({"retry-after": "Mon, 06 May 2024 00:00:00 +99999999999999"})
    def test_whatever_is_written_the_wait_is_absent_or_sensible(self, headers: dict[str, str]) -> None:
        seconds = retry_after_seconds(headers)
        assert seconds is None or (math.isfinite(seconds) and seconds >= 0)

    def test_it_goes_along_with_throttling(self) -> None:
        error = told(429, headers={"retry-after": "7"})
        assert isinstance(error, Throttled)
        assert error.retry_after_seconds == 7.0
