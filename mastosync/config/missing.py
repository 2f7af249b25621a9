"""What is said where the configuration, or a part of it, is missing."""

from __future__ import annotations

from pathlib import Path

from mastosync.config.keys import variable
from mastosync.errors import ConfigError
from mastosync.language import tr


def no_configuration() -> ConfigError:
    """There is none at all."""
    return ConfigError(tr("there is no configuration"), hint=f"{tr('`mastosync init` writes one.')} {_places()}")


def missing_key(path: Path | None, section: str, name: str) -> ConfigError:
    """A key that a command cannot do without. `path`: of the file; None: there is only the environment."""
    given = variable(section, name)
    hint = tr("Add it there, or set {variable}.", variable=given)
    if path is None:
        hint = f"{tr('Set {variable}, or write a file with `mastosync init`.', variable=given)} {_places()}"
    where = path or tr("the environment")
    return ConfigError(tr("{where}: [{section}] {name} is missing", where=where, section=section, name=name), hint=hint)


def missing_bucket(path: Path | None, role: str) -> ConfigError:
    """Neither a bucket nor a folder for the source or the destination."""
    missing = missing_key(path, f"s3.{role}", "bucket")
    missing.hint += " " + tr("Or name a folder: path in [filesystem.{role}].", role=role)
    return missing


def _places() -> str:
    return tr(
        "A configuration file is looked for in this order: -c/--config, MASTOSYNC_CONFIG, ./private/$CONFIG_FILE_NAME,"
        " ./config.ini, ./private/config.ini."
    )
