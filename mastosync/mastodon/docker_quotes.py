"""Secrets that Docker may read otherwise than Mastodon does: nobody sees in a file who reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mastosync.config import Secret
from mastosync.config.env_file import EnvFile
from mastosync.language import tr

_IN_DOUBT = ("AWS_SECRET_ACCESS_KEY", "DB_PASS", "REPLICA_DB_PASS")
"""What may hold any character: nobody sees whether quotes belong to it."""

_UNREADABLE_IN_QUOTES = ("S3_ENABLED", "S3_BUCKET", "S3_ENDPOINT", "DB_HOST", "DB_NAME", "DB_USER", "LOCAL_DOMAIN")
"""With quotes around one of these Mastodon could not work: whoever reads the file takes them off."""


def iter_doubts(path: Path, file: EnvFile, as_docker: EnvFile) -> Iterator[str]:
    """What should be known of the secrets in a file, of which `as_docker` is the other reading."""
    for_docker_run = set(as_docker.broken) <= set(file.broken) and not any(
        _is_quoted(as_docker.value(name)) for name in _UNREADABLE_IN_QUOTES
    )
    quoted, doubtful = [], []
    for name in _IN_DOUBT:
        value, verbatim = file.value(name), as_docker.value(name)
        if value is None or verbatim is None:
            continue
        place = f"{name} (line {file.variables[name].line})"
        if _is_quoted(value):
            quoted.append(place)
        elif value.reveal() != verbatim.reveal().strip() and (for_docker_run or _has_hash_in_word(verbatim)):
            doubtful.append(place)
    if quoted:
        names = ", ".join(quoted)
        yield tr(
            "{file}: these values are read with the quotes around them: {names}. If the quotes are not part of them, "
            "correct that file; or run `init` without --env-syntax docker, if it was given",
            file=path,
            names=names,
        )
    if doubtful:
        yield tr(
            "If Mastodon runs in Docker: it may read {names} in {file} otherwise than mastosync does. With"
            " `docker run --env-file` or Compose 1, every character counts: run `init` with --env-syntax docker. With"
            " Compose 2, put a value that holds # into single quotes",
            file=path,
            names=", ".join(doubtful),
        )


def _has_hash_in_word(verbatim: Secret) -> bool:
    return bool(re.match(r"[^'\"#]\S*#", verbatim.reveal().strip()))


def _is_quoted(value: Secret | None) -> bool:
    text = value.reveal() if value else ""
    return len(text) > 1 and text[0] in "'\"" and text[0] == text[-1]
