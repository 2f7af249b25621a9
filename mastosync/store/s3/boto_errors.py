"""What boto3 raises besides, in the errors of the contract; and its parser, which reads what stores refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import botocore.exceptions as boto_errors
import urllib3.exceptions
from botocore.parsers import ResponseParserError, create_parser

from mastosync.errors import MastosyncError, ObjectRejected, StoreUnusable
from mastosync.language import tr
from mastosync.store.errors import Subject
from mastosync.store.s3.errors import Refused, Request, Translator, Unintelligible
from mastosync.store.s3.route import closed_folder_of_aws

NO_CREDENTIALS = (
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.CredentialRetrievalError,
    boto_errors.TokenRetrievalError,
    boto_errors.ProfileNotFound,
    RuntimeError,  # botocore's, for new credentials that have expired already
)
"""There is nothing to sign a request with."""


class BotoTranslator(Translator):
    """For what boto3 does."""

    network = (
        boto_errors.HTTPClientError,  # connect and read time-outs, proxies, closed connections
        boto_errors.ConnectionError,
        boto_errors.IncompleteReadError,  # this and OSError are only to be sure: urllib3 is the first to notice
        urllib3.exceptions.HTTPError,  # those of a body that botocore lets out as they are
        *Translator.network,
    )
    tls = (boto_errors.SSLError, *Translator.tls)
    foreign = (
        boto_errors.ClientError,
        boto_errors.BotoCoreError,
        *NO_CREDENTIALS,
        *network,
        ResponseParserError,
        *Translator.foreign,
    )

    def translation(self, error: Exception, request: Request) -> MastosyncError:
        """The error of the contract that one of `foreign` stands for."""
        if isinstance(error, boto_errors.ClientError):
            return super().translation(refused_of(error), request)
        where, said = self._where(request), self._scrubbed(str(error))
        if isinstance(error, NO_CREDENTIALS):
            hint = tr("set `access_key` and `secret_key` of this store, or the environment that the AWS SDK reads")
            if folder := closed_folder_of_aws():
                hint = tr(
                    "{hint}; this user may not read {folder}: set HOME to their own folder, if the keys are there",
                    hint=hint,
                    folder=folder,
                )
            # the library's words may hold some
            return StoreUnusable(f"cannot {where}: no usable credentials were found", hint=hint)
        if isinstance(error, boto_errors.ParamValidationError) and request.subject is not Subject.STORE:
            return ObjectRejected(f"cannot {where}: {said}", hint=tr("no request can be made for this object"))
        if isinstance(error, boto_errors.BotoCoreError) and not isinstance(error, self.network):
            return StoreUnusable(f"cannot {where}: {said}", hint=tr("check this store's section"))
        return super().translation(error, request)


def refused_of(error: boto_errors.ClientError) -> Refused:
    """What boto3 tells of an answer."""
    # without a length there may be one: applications send their pages in chunks
    length = error.response["ResponseMetadata"].get("HTTPHeaders", {}).get("content-length", "")
    return _refused(error.response, has_body=error.operation_name != "HeadObject" and length != "0")


def parsed_refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refused | Unintelligible:
    """What boto3 would tell of an answer that another client was given."""
    parser: Any = create_parser("rest-xml")  # whose stubs want a shape, which errors do not need
    try:
        parsed = parser.parse({"status_code": status, "headers": headers, "body": body}, None)
        return _refused(parsed, has_body=bool(body))
    except ResponseParserError as error:
        return Unintelligible(str(error))


def _refused(parsed: Mapping[str, Any], *, has_body: bool) -> Refused:
    told: dict[str, Any] = dict(parsed.get("Error", {}))
    metadata: dict[str, Any] = dict(parsed.get("ResponseMetadata", {}))
    return Refused(
        status=int(metadata.get("HTTPStatusCode", 0)),
        code=str(told.get("Code") or ""),
        # Google says `Invalid argument.`, and which one in the details
        message=" ".join(str(told[part]) for part in ("Message", "Details") if told.get(part)),
        headers={name.lower(): value for name, value in metadata.get("HTTPHeaders", {}).items()},
        has_body=has_body,
    )
