"""What goes wrong on the way to an S3 store and back, as errors of the contract. `boto_client` has those of boto3."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from mastosync.config import Scrubber, ambient_secrets
from mastosync.errors import MastosyncError, ServerFailure, StoreUnusable, without_frames
from mastosync.language import deferred, say, tr
from mastosync.store.errors import StoreAnswer, Target, error_of, network_failure

if TYPE_CHECKING:
    from mastosync.config import S3Config

_LONGEST_WORDS = 500  # characters of what others say, in our messages
_LASTING_TLS_FAILURES = (
    "CERTIFICATE",
    "DOESN'T_MATCH",  # the name, as urllib3 has it
    "WRONG_VERSION_NUMBER",  # the answer was no TLS at all
    "RECORD_LAYER_FAILURE",  # the same, of a newer OpenSSL
    "UNSUPPORTED_PROTOCOL",
    "PROTOCOL_VERSION",
    "HANDSHAKE_FAILURE",
)


TLS_HINT = deferred(
    "check `{url}` (its name, and whether it offers https) and the clock of this machine; if an authority of your "
    "own has signed its certificate, set `ca_bundle` of this store to that authority's certificate file"
)


class InvalidResponse(ValueError):
    """An answer that no S3 store gives."""


class NotConnected(ConnectionError):
    """There was no connection to send a request by."""


class Request(NamedTuple):
    """The request that an error is about."""

    verb: str
    key: str = ""
    subject: Target = Target.OBJECT
    with_acl: bool = False


class ErrorResponse(Exception):
    """An answer that says no, as S3 stores say it."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str], *, has_body: bool = False
    ) -> None:
        """`headers`: names in lower case."""
        super().__init__(status, code, message)
        self.status, self.code, self.message, self.headers = status, code, message, headers
        self.has_body = has_body


def name_of(config: S3Config, role: str, endpoint: str) -> str:
    """A store's name for people."""
    return f"{role} bucket {config.bucket!r} at {endpoint}"


def scrubber_of(config: S3Config) -> Scrubber:
    """Takes out of words of others what must not be in any message."""
    hidden = [secret.reveal() for secret in (config.secret_key, config.session_token) if secret]
    return Scrubber((*hidden, config.access_key or "", *ambient_secrets(os.environ)))


class Translator:
    """`with translated(request):` lets nothing out but errors of the contract, for one store."""

    network: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    """What connections end with."""
    tls: ClassVar[tuple[type[Exception], ...]] = (ssl.SSLError,)
    unsent: ClassVar[tuple[type[Exception], ...]] = (NotConnected,)
    """Of `network`: what comes before a request is sent."""
    foreign: ClassVar[tuple[type[Exception], ...]] = (
        ErrorResponse,
        *network,
        ValueError,  # a header that should be a number or a date
        KeyError,  # one that should be there
    )
    """All that is translated."""

    def __init__(self, store_name: str, scrubber: Scrubber) -> None:
        self._store_name = store_name
        self._scrubber = scrubber

    def __call__(self, request: Request) -> AbstractContextManager[None]:
        """Translate what is raised inside. Errors of the contract pass through."""
        return _Translated(self, request)

    def translation(self, error: Exception, request: Request) -> MastosyncError:
        """The error of the contract that one of `foreign` stands for."""
        if isinstance(error, ErrorResponse):
            return error_of(self._answer(error, request), self._where(request))
        where, said = self._where(request), self._scrubbed(str(error))
        if isinstance(error, self.tls) and (isinstance(error, ssl.SSLCertVerificationError) or _will_last(str(error))):
            return StoreUnusable(
                f"cannot {where}: no secure connection can be made: {said}",
                hint=say(TLS_HINT).format(url="endpoint_url"),
            )
        if isinstance(error, self.network):
            failure = network_failure(where, said)
            failure.nothing_sent = isinstance(error, self.unsent)
            return failure
        what = "" if isinstance(error, InvalidResponse) else f"{type(error).__name__}: "
        return (StoreUnusable if request.subject is Target.STORE else ServerFailure)(
            f"cannot {where}: the answer is none of an S3 store ({what}{said})",
            hint=tr("check `endpoint_url`, and the proxies and firewalls on the way to the store"),
        )

    def bared(self, error: Exception) -> Exception:
        """What led to a translation, fit to be shown with all its variables."""
        return without_frames(error, self._scrubber)

    def _where(self, request: Request) -> str:
        if request.subject is Target.STORE:
            return f"{request.verb} the {self._store_name}"
        return f"{request.verb} {request.key!r} at {self._store_name}"

    def _answer(self, refused: ErrorResponse, request: Request) -> StoreAnswer:
        return StoreAnswer(
            status=refused.status,
            code=refused.code,
            message=refused.message,
            headers=refused.headers,
            subject=request.subject,
            with_acl=request.with_acl,
            has_body=refused.has_body,
            shown=self._scrubbed,
        )

    def _scrubbed(self, text: str) -> str:
        """What a server or library says, on one short line and without credentials."""
        line = " ".join(self._scrubber(text).split())
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
        if error is None:
            return
        if isinstance(error, self._translator.foreign):  # kept in no variable, its frames would keep connections open
            # what a library keeps in its variables, such as signed headers, goes no further
            raise self._translator.translation(error, self._request) from self._translator.bared(error)


def _will_last(tls_failure: str) -> bool:
    spelled = tls_failure.upper().replace(" ", "_")
    return any(failure in spelled for failure in _LASTING_TLS_FAILURES)
