"""Whether a file is Mastodon's own (`.env.production`): many a file holds lines that look like variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mastosync.config.env_file import EnvFile, read_env_file
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


def read_own_file(path: Path, syntax: str, environ: Mapping[str, str], option: str) -> EnvFile:
    """Read Mastodon's settings. `option`: which named the file.

    Raises: ConfigError for a file that cannot be read, and for one that is not Mastodon's.
    """
    file = read_env_file(path, syntax, environ)
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
