"""From text to a `Config`: every value is read, or refused with the place where it stands.

`References` looks up secrets that the configuration only refers to: `KEY = env:NAME`, and `KEY_file = /path/of/a/file`.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mastosync.config.schema import Config, S3Config, SecretReference, no_configuration, sections
from mastosync.config.secrets import Secret
from mastosync.config.sections import EnvConfig
from mastosync.config.sources import RawValue, ValueSource, no_section, read_environment, read_file, read_secret_file
from mastosync.config.values import CHANGE_ME, Format, InvalidValue, Key, Section, show_size, to_path
from mastosync.errors import ConfigError
from mastosync.language import enumerated, joined, say, tr

if TYPE_CHECKING:
    from mastosync.config.env_file import EnvFile

_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_.]*)")


def reference(name: str) -> str:
    """How a configuration refers to a variable."""
    return f"env:{name}"


def refers(text: str) -> bool:
    """Whether a value only refers to one."""
    return bool(_REFERENCE.fullmatch(text))


def is_held(raw: RawValue) -> bool:
    """Whether a value that a configuration file says stands in that file itself."""
    return raw.source is ValueSource.LINE and not refers(raw.text.reveal())


class References:
    """Looks up what is referred to: a variable in the file of `[env]`, or else in the environment."""

    def __init__(self, env: EnvConfig, environ: Mapping[str, str]) -> None:
        self._env = env
        self._environ = environ

    def name_in_file(self, raw: RawValue) -> str | None:
        """The variable of the file of `[env]` that this refers to; None if it does not. Raises: ConfigError."""
        match = _REFERENCE.fullmatch(raw.text.reveal()) if raw.source is ValueSource.LINE else None
        return match[1] if match and self._file and match[1] in self._file.variables else None

    def resolve(self, raw: RawValue) -> RawValue:
        """What is meant by what was said of a secret. Raises: ConfigError if nothing is there."""
        if raw.source is ValueSource.FILE:
            return RawValue(read_secret_file(raw.text, raw.origin), raw.origin, ValueSource.ELSEWHERE)
        match = _REFERENCE.fullmatch(raw.text.reveal()) if raw.source is ValueSource.LINE else None
        return RawValue(self._variable(match[1], raw.origin), raw.origin, ValueSource.ELSEWHERE) if match else raw

    def _variable(self, name: str, origin: str) -> Secret:
        referring = tr("{origin} refers to {name}", origin=origin, name=name)
        try:
            held = self._file
        except ConfigError as error:
            raise ConfigError(joined([referring, error.message]), hint=error.hint) from None
        if found := held and held.variables.get(name):
            if found.value:
                return found.value
            line = f"{self._env.file}, line {found.line}"
            problem = tr("has no value in {line}", line=line)
            if found.value is None:
                problem = tr("is the output of a shell command in {line}, and mastosync runs none", line=line)
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


_ALONE_WORTH_A_START = ("s3.source", "s3.destination", "filesystem.source", "filesystem.destination", "pg.database")


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file (None: of the environment alone), overridden by the environment.

    What is wrong is refused here; what is missing is refused by `Config.require_…`, when a command needs it.
    Raises: ConfigError.
    """
    given = read_file(path) if path else {}
    warnings = [*_readable_by_others(path, given)] if path else []
    for key, text in read_environment(environ):
        given.setdefault(key.section, {})[key.name] = text
    if path is None and given.keys().isdisjoint(_ALONE_WORTH_A_START):
        raise no_configuration()
    if path is not None and not given:
        raise no_section(path)
    absent = frozenset(sections()) - given.keys()
    given |= {name: {} for name in absent}
    _require_filled_in(path, given)
    given, referred = _looked_up(given, environ)
    _require_filled_in(path, given)
    if "key_prefix" in given["s3.source"] and "path" not in given["filesystem.destination"]:
        given["s3.destination"].setdefault("key_prefix", given["s3.source"]["key_prefix"])
    built: dict[str, Any] = {
        section.attribute: section.kind(**_values(section, given[name])) for name, section in sections().items()
    }
    warnings += _unguarded("source", built["source"]) + _unguarded("destination", built["destination"])
    config = Config(**built, path=path, absent=absent, warnings=tuple(warnings), referred=referred)
    for problem, hint in _contradictions(config, given):
        raise ConfigError(f"{path or tr('the environment')}: {problem}", hint=hint)
    return config


def _require_filled_in(path: Path | None, given: Mapping[str, Mapping[str, RawValue]]) -> None:
    """Raises: ConfigError that names all that is still to fill in."""
    origins = [each.origin for keys in given.values() for each in keys.values() if each.text.reveal() == CHANGE_ME]
    if len(origins) == 1:
        raise ConfigError(
            tr("{origin} is still {placeholder}", origin=origins[0], placeholder=CHANGE_ME),
            hint=tr("Fill it in, or remove it if it is not needed."),
        )
    if origins:
        start = f"{path}: "
        names = enumerated(origin.removeprefix(start) for origin in origins)
        text = tr("{names} are still {placeholder}", names=names, placeholder=CHANGE_ME)
        raise ConfigError(
            f"{start}{text}" if path else text, hint=tr("Fill them in, or remove those that are not needed.")
        )


def _looked_up(
    given: Mapping[str, Mapping[str, RawValue]], environ: Mapping[str, str]
) -> tuple[dict[str, dict[str, RawValue]], tuple[SecretReference, ...]]:
    """What is meant by it: references in the place of secrets are followed. Also: which of them the file answers."""
    env: EnvConfig = sections()["env"].kind(**_values(sections()["env"], given["env"]))
    references = References(env, environ)
    meant: dict[str, dict[str, RawValue]] = {}
    referred = []
    for section, keys in given.items():
        meant[section] = dict(keys)
        for name, each in keys.items():
            if sections()[section].keys[name].info.form.hidden:
                meant[section][name] = references.resolve(each)
                if variable := references.name_in_file(each):
                    referred.append(SecretReference(section, name, variable))
    return meant, tuple(referred)


def _values(section: Section, given: Mapping[str, RawValue]) -> dict[str, object]:
    # what `~` is depends on who runs this: such a default is read like any other value
    paths = {name: to_path(str(key.default)) for name, key in section.keys.items() if isinstance(key.default, Path)}
    return paths | {name: _value(section.keys[name], text) for name, text in given.items()}


def _value(key: Key, raw: RawValue) -> object:
    form, origin = key.info.form, raw.origin  # the text itself stands in no variable, which a dump would show
    if "\n" in raw.text.reveal() and not form.multiline:
        hint = tr("Write it on one line. In a file, an indented line continues the one above: move it to the left.")
        raise ConfigError(tr("{origin} spans several lines", origin=origin), hint=hint)
    try:
        return form.parse(raw.text.reveal())
    except InvalidValue as wrong:
        problem, hint = wrong.message, wrong.hint
    except ValueError:
        problem, hint = "", ""
    # outside of `except`: the first error quotes the text, and would hang on as the context
    shown = _shown(form, raw.text.reveal())
    problem = problem or tr("{shown} is not {allowed}", shown=shown, allowed=form.described(say))
    if not hint and key.default in (None, ""):
        hint = tr("Correct it, or leave it out.")
    elif not hint:
        hint = tr("Correct it, or leave it out: the default is {default}.", default=form.show(key.default))
    raise ConfigError(f"{origin}: {problem}", hint=hint)


def _shown(form: Format[Any], text: str) -> str:
    return tr("the value") if form.hidden or "@" in text or len(text) > 60 else repr(text)


def _readable_by_others(path: Path, given: Mapping[str, Mapping[str, RawValue]]) -> tuple[str, ...]:
    mode = path.stat().st_mode
    secret = any(
        sections()[section].keys[name].info.form.hidden and is_held(each)
        for section, keys in given.items()
        for name, each in keys.items()
    )
    if not (secret and mode & (stat.S_IRGRP | stat.S_IROTH)):
        return ()
    return (
        tr("{path} holds secrets and can be read by others: chmod 600 {file}", path=path, file=shlex.quote(str(path))),
    )


def _unguarded(role: str, store: S3Config) -> list[str]:
    """The warning of every run whose store may be anybody."""
    if store.verify_tls:
        return []
    return [
        tr(
            "[s3.{role}] verify_tls is false: nobody knows whether {endpoint} is the store; name the "
            "certificate of its authority as ca_bundle instead",
            role=role,
            endpoint=store.endpoint_url or "Amazon S3",
        )
    ]


def _contradictions(config: Config, given: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    """Each contradiction and what to do about it; `given` holds, for each section, the keys that were said."""
    yield from _in_store("source", config.source, given)
    yield from _in_store("destination", config.destination, given)
    for role in ("source", "destination"):
        if given[f"s3.{role}"] and "path" in given[f"filesystem.{role}"]:
            yield (
                tr("both [s3.{role}] and [filesystem.{role}] are given", role=role),
                tr("Remove the one that does not hold the media.")
                if role == "source"
                else tr("Remove the one that is not to get the media."),
            )
    if config.copy.part_size > config.copy.memory:
        yield (
            tr("[copy] part_size is more than memory ({memory})", memory=show_size(config.copy.memory)),
            tr("Lower it, or raise memory: a part is in memory as a whole."),
        )
    replaced = [name for name in given["pg.database"] if name not in ("url", "connect_timeout_seconds")]
    if config.database.url and replaced:
        problem = tr("[pg.database] has a url, and also {names}", names=enumerated(replaced))
        yield problem, tr("Give either the url or the keys that it replaces.")


def _in_store(role: str, store: S3Config, given: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    section, keys = f"[s3.{role}]", given[f"s3.{role}"]
    if (store.access_key is None) != (store.secret_key is None):
        one, other = ("access_key", "secret_key") if store.access_key else ("secret_key", "access_key")
        yield (
            tr("{section} has {given} without {other}", section=section, given=one, other=other),
            tr("Give both, or neither: then mastosync uses what the AWS tools would use."),
        )
    if store.provider not in (None, "aws") and not store.endpoint_url:
        yield (
            tr("{section} has no endpoint_url, and {provider} needs one", section=section, provider=store.provider),
            tr("Without it, requests go to Amazon S3."),
        )
    # whoever writes down that the bucket goes into the path means the host name as it stands
    deliberate = "addressing_style" in keys and store.addressing_style == "path"
    if not deliberate and (correct := endpoint_without_bucket(store)):
        yield (
            tr(
                "{section}: the bucket is in the endpoint twice ({bucket}, in {endpoint_url} and as bucket)",
                section=section,
                bucket=store.bucket,
                endpoint_url=store.endpoint_url,
            ),
            tr(
                "Write endpoint_url = {correct}. If the server really has that name, add addressing_style = path.",
                correct=correct,
            ),
        )


def endpoint_without_bucket(store: S3Config) -> str | None:
    """The endpoint as it should be, where it already holds the bucket that every request adds; else None.

    Every key would answer NoSuchKey there. The bucket may stand before the host or at the end of the path.
    """
    if not store.endpoint_url or not store.bucket:
        return None
    url, bucket = store.endpoint_url, store.bucket
    parts = urlsplit(url)
    if parts.netloc.lower().startswith(f"{bucket.lower()}."):
        return parts._replace(netloc=parts.netloc[len(bucket) + 1 :]).geturl()
    return url.removesuffix(f"/{bucket}") if parts.path.endswith(f"/{bucket}") else None
