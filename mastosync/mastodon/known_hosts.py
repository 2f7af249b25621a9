"""OpenSSH's known_hosts: the keys that an SSH server may show.

paramiko's own reader stumbles over markers and knows neither patterns nor two keys of one kind.
The format is that of the manual page sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import NamedTuple


class HostKey(NamedTuple):
    """A server's public key, as known_hosts writes it."""

    kind: str  # ssh-ed25519
    data: str  # base64

    @property
    def fingerprint(self) -> str:
        """In the form that `ssh` and `ssh-keygen -l` show."""
        digest = hashlib.sha256(b64decode(self.data)).digest()
        return f"SHA256:{b64encode(digest).decode().rstrip('=')} ({self.kind})"


class KnownKeys(NamedTuple):
    """What a file says of one server."""

    accepted: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...]


def host_name(host: str, port: int) -> str:
    """The name of a server in the file."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def known_keys(lines: Iterable[str], name: str) -> KnownKeys:
    """The keys that a file accepts and revokes for a server. Lines that make no sense say nothing."""
    accepted: list[HostKey] = []
    revoked: list[HostKey] = []
    for line in lines:
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or not _is_base64(fields[2]) or not _means(fields[0], name):
            continue
        if marker in ("", "@revoked"):  # the other is @cert-authority: certificates are not supported
            (revoked if marker else accepted).append(HostKey(fields[1], fields[2]))
    return KnownKeys(tuple(accepted), tuple(revoked))


def _is_base64(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except binascii.Error:
        return False


def _means(names: str, name: str) -> bool:
    """Whether the names of a line, hashed or patterns, include this one."""
    if names.startswith("|1|"):
        salt, _, digest = names.removeprefix("|1|").partition("|")
        if not (_is_base64(salt) and _is_base64(digest)):
            return False
        return hmac.compare_digest(hmac.digest(b64decode(salt), name.encode(), "sha1"), b64decode(digest))
    patterns = names.lower().split(",")
    refused = (pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!"))
    return any(_fits(pattern, name) for pattern in patterns) and not any(_fits(pattern, name) for pattern in refused)


def _fits(pattern: str, name: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), name) is not None
