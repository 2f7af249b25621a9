"""From Mastodon's own settings (`.env.production`) to our configuration, for `init --from-env`.

Mastodon's `config/initializers/paperclip.rb` and `config/database.yml` decide which variable means what. A warning
about what cannot be taken over names its line, never its value. Others warn of secrets that Docker may read otherwise
than Mastodon does, as a file does not say who reads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mastosync.config import CHANGE_ME, S3Config, Secret
from mastosync.config.env_file import EnvFile, parsed
from mastosync.config.loader import endpoint_without_bucket, reference, refers
from mastosync.config.schema import sections
from mastosync.config.sources import read_text
from mastosync.config.values import Format
from mastosync.errors import ConfigError
from mastosync.language import enumerated, say, tr, trn
from mastosync.mastodon.settings import is_rereadable, media_folder, own_file

_MAY_HOLD_QUOTES = ("AWS_SECRET_ACCESS_KEY", "DB_PASS", "REPLICA_DB_PASS")
"""What may hold any character: nobody sees whether quotes belong to it."""

_UNREADABLE_IN_QUOTES = ("S3_ENABLED", "S3_BUCKET", "S3_ENDPOINT", "DB_HOST", "DB_NAME", "DB_USER", "LOCAL_DOMAIN")
"""Mastodon would not work with quotes around one of these. So if there are some, its reader takes them off."""


def docker_warnings(path: Path, file: EnvFile, as_docker: EnvFile) -> Iterator[str]:
    """What should be known of the secrets in a file, of which `as_docker` is the other reading."""
    for_docker_run = set(as_docker.broken) <= set(file.broken) and not any(
        _is_quoted(as_docker.value(name)) for name in _UNREADABLE_IN_QUOTES
    )
    quoted, doubtful = [], []
    for name in _MAY_HOLD_QUOTES:
        value, verbatim = file.value(name), as_docker.value(name)
        if value is None or verbatim is None:
            continue
        place = f"{name} (line {file.variables[name].line})"
        if _is_quoted(value):
            quoted.append(place)
        elif value.reveal() != verbatim.reveal().strip() and (for_docker_run or _has_hash_in_word(verbatim)):
            doubtful.append(place)
    if quoted:
        names = enumerated(quoted)
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
            names=enumerated(doubtful),
        )


def _has_hash_in_word(verbatim: Secret) -> bool:
    return bool(re.match(r"[^'\"#]\S*#", verbatim.reveal().strip()))


def _is_quoted(value: Secret | None) -> bool:
    text = value.reveal() if value else ""
    return len(text) > 1 and text[0] in "'\"" and text[0] == text[-1]


Sections = dict[str, dict[str, str]]

_POOLER_PORT = "6432"
_DEBIAN_SOCKETS = "/var/run/postgresql"

_BUCKET = {"bucket": "S3_BUCKET", "endpoint_url": "S3_ENDPOINT", "region": "S3_REGION", "key_prefix": "S3_KEY_PREFIX"}
_CREDENTIALS = {"access_key": "AWS_ACCESS_KEY_ID", "secret_key": "AWS_SECRET_ACCESS_KEY"}
_DATABASE = {"host": "HOST", "port": "PORT", "database": "NAME", "user": "USER", "password": "PASS"}


@dataclass(slots=True)
class MastodonSettings:
    """What was found. A section of `values` without keys is one that nothing is needed of."""

    values: Sections = field(default_factory=dict, repr=False)  # section → key → text; may hold secrets
    remarks: dict[str, list[str]] = field(default_factory=dict, repr=False)  # section → what to write at its head
    notes: list[str] = field(default_factory=list)  # what whoever runs this should know
    warnings: list[str] = field(default_factory=list)  # what may be wrong, and what could not be taken over


def read_settings(path: Path, syntax: str, environ: Mapping[str, str], *, copy_secrets: bool) -> MastodonSettings:
    """The settings in a file; secrets stay there and are referred to, unless they are to be copied.

    `values` fills in the source and the database, and of the destination what goes along.
    Raises: ConfigError for a file that cannot be read or is not Mastodon's, and for media that lie in no bucket and on
    no disk.
    """
    path = Path.cwd() / path
    text = read_text(path, str(path))
    file = own_file(text, path, syntax, environ, "--from-env")
    if not is_rereadable(path):
        raise ConfigError(
            tr("{file} is no file that can be read again, and the configuration would refer to it", file=path),
            hint=tr("Write its text into a file that only you can read, and name that."),
        )
    translation = _Translation(path, file, copy_secrets)
    found = translation.run()
    if file.broken:
        lines = enumerated(map(str, file.broken))
        found.warnings.append(
            trn(
                "{file}: line {lines} is left out, as nobody can understand it",
                "{file}: lines {lines} are left out, as nobody can understand them",
                len(file.broken),
                file=path,
                lines=lines,
            )
        )
    other = parsed(text, "docker", environ) if syntax == "dotenv" else file
    found.warnings += docker_warnings(path, file, other)
    key = "file" if translation.referred else "mastodon_file"
    found.values["env"] = {key: str(path), **({} if syntax == "dotenv" else {"syntax": syntax})}
    return found


class _Translation:
    """One reading of one file."""

    def __init__(self, path: Path, file: EnvFile, copy_secrets: bool) -> None:
        self._path = path
        self._file = file
        self._copy_secrets = copy_secrets
        self._found = MastodonSettings()
        self.referred = False

    def run(self) -> MastodonSettings:
        if self._text("S3_ENABLED") == "true":
            self._bucket()
        elif other := next((name for name in ("SWIFT", "AZURE") if self._text(f"{name}_ENABLED") == "true"), None):
            raise ConfigError(
                tr(
                    "{where}: the media lie in {kind}, which mastosync does not read",
                    where=self._where(f"{other}_ENABLED"),
                    kind={"SWIFT": "OpenStack Swift", "AZURE": "Azure Blob Storage"}[other],
                ),
                hint=tr("If that store can be reached by S3 too, fill in [s3.source] of what `mastosync init` writes."),
            )
        else:
            self._folder()
        self._database()
        return self._found

    # --- where the media lie ---

    def _bucket(self) -> None:
        keys = self._section("s3.source")
        self._found.values["filesystem.source"] = {}
        for key, name in _BUCKET.items():
            self._fill("s3.source", key, name)
        if "bucket" not in keys:
            keys["bucket"] = CHANGE_ME
            self._warn(tr("{file} has no S3_BUCKET", file=self._path))
        if "endpoint_url" in keys:
            self._addressing(keys)
        elif self._text("S3_HOSTNAME") and "amazonaws" not in self._text("S3_HOSTNAME"):
            self._warn(
                tr(
                    "{where} is only for public URLs. Without S3_ENDPOINT Mastodon asks Amazon S3, and so will"
                    " mastosync",
                    where=self._where("S3_HOSTNAME"),
                )
            )
        self._credentials(keys)
        self._what_goes_along()

    def _addressing(self, keys: dict[str, str]) -> None:
        """As Mastodon tells its SDK."""
        keys["addressing_style"] = "virtual" if self._text("S3_OVERRIDE_PATH_STYLE") == "true" else "path"
        self._warn_of_bare_name("S3_ENDPOINT", urlsplit(keys["endpoint_url"]).hostname or "")
        meant = endpoint_without_bucket(S3Config(endpoint_url=keys["endpoint_url"], bucket=keys["bucket"]))
        if meant and keys["addressing_style"] == "virtual":
            keys["endpoint_url"] = meant
            self._warn(tr("{where} holds the bucket, which is left out here", where=self._where("S3_ENDPOINT")))

    def _credentials(self, keys: dict[str, str]) -> None:
        for key, name in _CREDENTIALS.items():
            self._fill("s3.source", key, name)
        given = keys.keys() & _CREDENTIALS.keys()
        if not given:
            self._note(
                "s3.source",
                tr("Mastodon's settings hold no keys: as there, what the AWS tools would use on this machine is used."),
            )
        for key in _CREDENTIALS.keys() - given if given else ():
            keys[key] = CHANGE_ME
            self._warn(tr("{file} has no {name}", file=self._path, name=_CREDENTIALS[key]))

    def _what_goes_along(self) -> None:
        if self._text("S3_PERMISSION") == "private":
            self._section("s3.destination")["acl"] = "private"
        elif "S3_PERMISSION" in self._file.variables and self._text("S3_PERMISSION") != "public-read":
            self._note(
                "s3.destination",
                tr("S3_PERMISSION is not public-read: compare what acl does here with what the new store needs."),
            )
        if storage_class := self._text("S3_STORAGE_CLASS"):
            self._offer(
                "s3.destination",
                tr("Mastodon writes with a storage class, which the new store may not have."),
                tr("To write with it:"),
                [f"storage_class = {storage_class}"],
            )

    def _folder(self) -> None:
        if self._text("S3_ENABLED") not in ("", "false"):
            self._warn(
                tr(
                    "{where} is not true, so Mastodon keeps its media on the disk, whatever else it says of S3",
                    where=self._where("S3_ENABLED"),
                )
            )
        folder = media_folder(self._text("PAPERCLIP_ROOT_PATH"), self._path)
        self._found.values["s3.source"] = {}
        self._section("filesystem.source")["path"] = str(folder)
        if not os.path.isdir(folder):  # noqa: PTH112 - of a folder that may not be looked into, too
            self._warn(
                tr(
                    "by {file} the media are in {folder}, and this user sees no such folder on this machine. If"
                    " Mastodon runs in Docker, set `path` of [filesystem.source] to the folder that is mounted there",
                    folder=folder,
                    file=self._path,
                )
            )

    # --- the database ---

    def _database(self) -> None:
        keys = self._section("pg.database")
        if self._has("DATABASE_URL"):
            self._fill("pg.database", "url", "DATABASE_URL")
        else:
            for key, name in _DATABASE.items():
                self._fill("pg.database", key, f"DB_{name}")
            self._fill("pg.database", "sslmode", "DB_SSLMODE")
            if "DB_HOST" in self._file.variables and "host" not in keys:
                keys["host"] = _DEBIAN_SOCKETS
                self._note("pg.database", tr("DB_HOST is empty: the folder below is where Debian has the socket."))
            self._warn_of_bare_name("DB_HOST", keys.get("host", ""))
        if self._is_pooled():
            self._note(
                "pg.database",
                tr(
                    "This looks like PgBouncer. mastosync can read through it, and a plan holds one of its connections"
                    " for as long as it takes; the server itself, on its own port, is the better address."
                ),
            )
        self._replica()

    def _is_pooled(self) -> bool:
        if self._text("PREPARED_STATEMENTS") == "false":
            return True
        if not self._text("DATABASE_URL"):
            return self._text("DB_PORT") == _POOLER_PORT
        return bool(re.search(rf":{_POOLER_PORT}(?:[/?]|$)|[?&]prepared_statements=false", self._text("DATABASE_URL")))

    def _replica(self) -> None:
        """Offered, not chosen: a standby may cancel what reads for long."""
        if self._text("REPLICA_DATABASE_URL"):
            lines = [f"url = {self._secret('REPLICA_DATABASE_URL')}"]
        elif self._text("REPLICA_DB_NAME"):
            names = {key: f"REPLICA_DB_{name}" for key, name in _DATABASE.items()}
            lines = [f"{key} = {self._text(name)}" for key, name in names.items() if key != "password"]
            lines = [line for line in lines if not line.endswith(" = ")]
            if self._text(names["password"]):
                lines.append(f"password = {self._secret(names['password'])}")
        else:
            return
        self._offer(
            "pg.database",
            tr(
                "Mastodon has a read replica too. A plan reads every row that has files, and the replica spares the"
                " primary that; but it may cancel a query that takes long, and what it has not got yet is left to the"
                " next plan."
            ),
            tr("To read from it, in the place of the keys below:"),
            lines,
        )

    # --- what all of them need ---

    def _text(self, name: str) -> str:
        """The value of a variable; empty if there is none."""
        value = self._file.value(name)
        return value.reveal() if value else ""

    def _has(self, name: str) -> bool:
        """Whether a variable says anything, be it a command that nobody runs."""
        variable = self._file.variables.get(name)
        return variable is not None and variable.value != Secret("")

    def _where(self, name: str) -> str:
        return tr("{file}, line {line}: {name}", file=self._path, line=self._file.variables[name].line, name=name)

    def _section(self, name: str) -> dict[str, str]:
        return self._found.values.setdefault(name, {})

    def _fill(self, section: str, key: str, name: str) -> None:
        """Take a variable over, if it is there and its key takes such a value."""
        if not self._has(name):
            return
        form, value = sections()[section].keys[key].info.form, self._file.value(name)
        if value is None:
            self._warn(tr("{where} is the output of a shell command, and mastosync runs none", where=self._where(name)))
        elif not self._fits(value, form):
            self._warn(tr("{where} does not fit on a line", where=self._where(name)))
        elif not _is_taken(form, value):
            self._warn(tr("{where} is not {allowed}", where=self._where(name), allowed=form.described(say)))
        else:
            self._section(section)[key] = self._secret(name) if form.hidden else value.reveal()
            return
        self._section(section)[key] = CHANGE_ME

    def _fits(self, value: Secret, form: Format[Any]) -> bool:
        """Whether a line can hold what is to be written of it."""
        text = value.reveal()
        referred = form.hidden and not self._copy_secrets
        return "\n" not in text and "\r" not in text and (referred or text == text.strip())

    def _secret(self, name: str) -> str:
        if self._copy_secrets and not refers(self._text(name)):
            return self._text(name)
        self.referred = True
        return reference(name)

    def _note(self, section: str, text: str) -> None:
        self._found.remarks.setdefault(section, []).append(text)
        self._found.notes.append(f"[{section}] {text}")

    def _offer(self, section: str, text: str, lead: str, lines: list[str]) -> None:
        """A note with lines to take over, which are only in the file."""
        self._note(section, text)
        self._found.remarks[section].append("\n".join((lead, *lines)))

    def _warn(self, text: str) -> None:
        self._found.warnings.append(text)

    def _warn_of_bare_name(self, name: str, host: str) -> None:
        if re.fullmatch(r"(?!localhost$)[a-z][a-z0-9_-]*", host):
            self._warn(
                tr(
                    "{where} is a bare name. If it is a service of Docker Compose, only its containers know it: write"
                    " an address by which this machine reaches it",
                    where=self._where(name),
                )
            )


def _is_taken(form: Format[Any], value: Secret) -> bool:
    try:
        form.parse(value.reveal())
    except ValueError:
        return False
    return True
