"""Everything that boto3, and a client beside it, raises: in the errors of the contract."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple

import botocore.exceptions as boto_errors
import urllib3.exceptions
from botocore.parsers import ResponseParserError, create_parser

from mastosync.errors import MastosyncError, ObjectRejected, ServerFailure, StoreUnusable
from mastosync.store.answers import Answer, Subject, error_of, network_failure

_NETWORK = (
    boto_errors.HTTPClientError,  # connect and read time-outs, proxies, closed connections
    boto_errors.ConnectionError,
    boto_errors.IncompleteReadError,  # this and OSError are only to be sure: urllib3 is the first to notice
    urllib3.exceptions.HTTPError,  # those of a body that botocore lets out as they are
    OSError,
)
NO_CREDENTIALS = (
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.CredentialRetrievalError,
    boto_errors.TokenRetrievalError,
    boto_errors.ProfileNotFound,
    RuntimeError,  # botocore's, for new credentials that have expired already
)
"""There is nothing to sign a request with."""
_LONGEST_WORDS = 500  # characters of what others say, in our messages
_UNINTELLIGIBLE = (
    ResponseParserError,
    ValueError,  # a header that should be a number or a date
    KeyError,  # one that should be there
)
_TLS = (boto_errors.SSLError, ssl.SSLError)
_LASTING_TLS_FAILURES = (
    "CERTIFICATE",
    "DOESN'T_MATCH",  # the name, as urllib3 has it
    "WRONG_VERSION_NUMBER",  # the answer was no TLS at all
    "RECORD_LAYER_FAILURE",  # the same, of a newer OpenSSL
    "UNSUPPORTED_PROTOCOL",
    "PROTOCOL_VERSION",
    "HANDSHAKE_FAILURE",
)


FOREIGN_ERRORS = (boto_errors.ClientError, boto_errors.BotoCoreError, *NO_CREDENTIALS, *_NETWORK, *_UNINTELLIGIBLE)


class Unintelligible(ValueError):
    """An answer that no S3 store gives."""


class Request(NamedTuple):
    """What a failure is told about."""

    verb: str
    key: str = ""
    subject: Subject = Subject.OBJECT
    with_acl: bool = False


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> boto_errors.ClientError | Unintelligible:
    """What boto3 would raise on an answer that another client was given.

    Raises: botocore's ResponseParserError if that is all it would do.
    """
    if status <= 300:  # what botocore takes for a success
        return Unintelligible(f"its status is {status}")
    answer = {"status_code": status, "headers": headers, "body": body}
    parser: Any = create_parser("rest-xml")  # whose stubs want a shape, which errors do not need
    return boto_errors.ClientError(parser.parse(answer, None), "request")


class Translator:
    """`with translated(request):` lets nothing out but errors of the contract, for one store."""

    def __init__(self, store_name: str, secrets: tuple[str, ...]) -> None:
        self._store_name = store_name
        self._secrets = secrets

    def __call__(self, request: Request) -> AbstractContextManager[None]:
        """Translate what is raised inside. Errors of the contract pass through."""
        return _Translated(self, request)

    def translation(self, error: Exception, request: Request) -> MastosyncError:
        """The error of the contract that one of `FOREIGN_ERRORS` stands for."""
        if isinstance(error, boto_errors.ClientError):
            return error_of(self._answer(error, request), self._where(request))
        return self._without_answer(error, request)

    def _without_answer(self, error: Exception, request: Request) -> MastosyncError:
        where, said = self._where(request), self._scrubbed(str(error))
        if isinstance(error, _TLS) and (isinstance(error, ssl.SSLCertVerificationError) or _will_last(said)):
            return StoreUnusable(
                f"cannot {where}: no secure connection can be made: {said}",
                hint="check `endpoint_url` (its name, and whether it speaks https) and the clock of this machine; "
                "for a certificate of your own, set AWS_CA_BUNDLE",
            )
        if isinstance(error, NO_CREDENTIALS):
            return StoreUnusable(
                f"cannot {where}: no usable credentials were found",  # its words may hold some
                hint="set `access_key` and `secret_key` of this store, or the environment that the AWS SDK reads",
            )
        if isinstance(error, _NETWORK):
            return network_failure(where, said)
        of_store = request.subject is Subject.STORE
        if isinstance(error, boto_errors.ParamValidationError) and not of_store:
            return ObjectRejected(f"cannot {where}: {said}", hint="no request can be made for this object")
        if isinstance(error, boto_errors.BotoCoreError):
            return StoreUnusable(f"cannot {where}: {said}", hint="check this store's section")
        what = "" if isinstance(error, Unintelligible) else f"{type(error).__name__}: "
        return (StoreUnusable if of_store else ServerFailure)(
            f"cannot {where}: the answer is none of an S3 store ({what}{said})",
            hint="check `endpoint_url`, and what lies between here and the store",
        )

    def _where(self, request: Request) -> str:
        if request.subject is Subject.STORE:
            return f"{request.verb} the {self._store_name}"
        return f"{request.verb} {request.key!r} at {self._store_name}"

    def _answer(self, error: boto_errors.ClientError, request: Request) -> Answer:
        told: dict[str, Any] = dict(error.response.get("Error", {}))
        metadata: dict[str, Any] = dict(error.response.get("ResponseMetadata", {}))
        return Answer(
            status=int(metadata.get("HTTPStatusCode", 0)),
            code=self._scrubbed(str(told.get("Code") or "")),
            # Google says `Invalid argument.`, and which one in the details
            message=self._scrubbed(" ".join(str(told[part]) for part in ("Message", "Details") if told.get(part))),
            headers={name.lower(): value for name, value in metadata.get("HTTPHeaders", {}).items()},
            subject=request.subject,
            with_acl=request.with_acl,
        )

    def _scrubbed(self, text: str) -> str:
        """What a server or library says, on one short line and without credentials."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        line = " ".join(text.split())
        return line if len(line) <= _LONGEST_WORDS else f"{line[:_LONGEST_WORDS]}…"


class _Translated(AbstractContextManager[None]):
    """There are two for each object, so no generator makes them."""

    __slots__ = ("_request", "_translator")

    def __init__(self, translator: Translator, request: Request) -> None:
        self._translator = translator
        self._request = request

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, FOREIGN_ERRORS):  # kept in no variable, its frames would keep connections open
            raise self._translator.translation(error, self._request) from error


def _will_last(tls_failure: str) -> bool:
    spelled = tls_failure.upper().replace(" ", "_")
    return any(failure in spelled for failure in _LASTING_TLS_FAILURES)
