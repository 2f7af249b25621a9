"""Whether a file is Mastodon's own (`.env.production`): many a file holds lines that look like variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from mastosync.config import Secret
from mastosync.config.env_file import EnvFile, parsed
from mastosync.config.schema import sections
from mastosync.errors import ConfigError
from mastosync.language import tr

_KNOWN = re.compile(
    r"(?:S3|AWS|SWIFT|AZURE|PAPERCLIP|DB|REPLICA_DB|REDIS|CACHE_REDIS|SIDEKIQ_REDIS|SMTP|ES|VAPID|STREAMING|RAILS|LDAP"
    r"|PAM|CAS|SAML|OIDC|OMNIAUTH|ACTIVE_RECORD_ENCRYPTION)_[A-Z0-9_]+"
    r"|(?:REPLICA_)?DATABASE_URL|(?:LOCAL|WEB)_DOMAIN|ALTERNATE_DOMAINS|(?:LIMITED_FEDERATION|SINGLE_USER)_MODE"
    r"|SECRET_KEY_BASE|OTP_SECRET|PREPARED_STATEMENTS|CDN_HOST|DEFAULT_LOCALE|WEB_CONCURRENCY|MAX_THREADS"
)
"""Names of variables that Mastodon reads; one of them is enough."""


def lasts(path: Path) -> bool:
    """Whether the file can be read again, by the same name. What `<(command)` or a pipe leaves there cannot."""
    folder = Path(os.path.realpath(path.parent))  # /dev/fd is in /proc
    return path.is_file() and not folder.is_relative_to("/proc") and path != Path("/dev/stdin")


def own_file(text: Secret, path: Path, syntax: str, environ: Mapping[str, str], option: str) -> EnvFile:
    """What Mastodon's settings say. `option`: which named the file.

    Raises: ConfigError if they are not Mastodon's.
    """
    file = parsed(text, syntax, environ)
    if any(map(_KNOWN.fullmatch, file.variables)):
        return file
    if not file.variables and not file.broken:
        said = tr("{file} sets nothing: it is empty, or all of it is comments", file=path)
    else:
        said = tr("{file} is not Mastodon's: none of its lines is a setting that Mastodon knows", file=path)
    hint = tr("{option} names Mastodon's own file, such as /home/mastodon/live/.env.production", option=option)
    ours = {key for section in sections().values() for key in section.keys}
    if len(ours & file.variables.keys()) > 1:
        hint = tr("it looks like a configuration of mastosync, which -c names; {hint}", hint=hint)
    raise ConfigError(said, hint=hint)
