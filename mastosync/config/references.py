"""Secrets that the configuration only refers to: `KEY = env:NAME`, and `KEY_file = /path/of/a/file`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from mastosync.config.env import EnvConfig
from mastosync.config.sources import Place, Said, read_secret_file
from mastosync.config.values import Secret
from mastosync.errors import ConfigError
from mastosync.language import tr

if TYPE_CHECKING:
    from mastosync.config.env_file import EnvFile

_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_.]*)")


def reference(name: str) -> str:
    """How a configuration refers to a variable."""
    return f"env:{name}"


def refers(text: str) -> bool:
    """Whether a value only refers to one."""
    return bool(_REFERENCE.fullmatch(text))


def is_held(said: Said) -> bool:
    """Whether a value that a configuration file says stands in that file itself."""
    return said.place is Place.LINE and not refers(said.text.reveal())


class References:
    """Looks up what is referred to: a variable in the file of `[env]`, or else in the environment."""

    def __init__(self, env: EnvConfig, environ: Mapping[str, str]) -> None:
        self._env = env
        self._environ = environ

    def name_in_file(self, said: Said) -> str | None:
        """The variable of the file of `[env]` that this refers to; None if it does not. Raises: ConfigError."""
        match = _REFERENCE.fullmatch(said.text.reveal()) if said.place is Place.LINE else None
        return match[1] if match and self._file and match[1] in self._file.variables else None

    def resolve(self, said: Said) -> Said:
        """What is meant by what was said of a secret. Raises: ConfigError if nothing is there."""
        if said.place is Place.FILE:
            return said._replace(text=read_secret_file(said.text, said.origin), place=Place.ELSEWHERE)
        match = _REFERENCE.fullmatch(said.text.reveal()) if said.place is Place.LINE else None
        return said._replace(text=self._variable(match[1], said.origin), place=Place.ELSEWHERE) if match else said

    def _variable(self, name: str, origin: str) -> Secret:
        referring = tr("{origin} refers to {name}", origin=origin, name=name)
        try:
            held = self._file
        except ConfigError as error:
            raise ConfigError(f"{referring}; {error.message}", hint=error.hint) from None
        if found := held and held.variables.get(name):
            if found.value:
                return found.value
            line = f"{self._env.file}, line {found.line}"
            problem = tr("has no value in {line}", line=line)
            if found.value is None:
                problem = tr("is what a shell command tells in {line}, and none is run", line=line)
            hint = tr("Write it down there, or refer to another variable.")
        elif value := self._environ.get(name):
            return Secret(value)
        elif held:
            problem = tr("is neither in {file} nor in the environment", file=self._env.file)
            hint = tr(
                "Correct the name, or what [env] file names. If the line was removed when Mastodon was switched over:"
                " write the old value into the configuration."
            )
        else:
            problem = tr("is not in the environment")
            hint = tr("Set it, or let [env] file name the file that has it.")
        raise ConfigError(tr("{referring}, which {problem}", referring=referring, problem=problem), hint=hint)

    @cached_property
    def _file(self) -> EnvFile | None:
        from mastosync.config.env_file import read_env_file  # noqa: PLC0415 - most configurations name no such file

        return read_env_file(self._env.file, self._env.syntax, self._environ) if self._env.file else None
