"""Files that shells and `man` read for one user, by the XDG base directory specification."""

from __future__ import annotations

import os
from pathlib import Path

from mastosync.errors import OutputError
from mastosync.language import tr


def data_home() -> Path:
    """Where a user's data lie."""
    return _named("XDG_DATA_HOME") or Path.home() / ".local" / "share"


def config_home() -> Path:
    """Where a user's configuration lies."""
    return _named("XDG_CONFIG_HOME") or Path.home() / ".config"


def _named(variable: str) -> Path | None:
    """A folder that the environment names; a relative one counts for nothing, as the specification wants it."""
    path = Path(os.environ.get(variable, ""))
    return path if path.is_absolute() else None


def put(path: Path, text: str) -> str:
    """See to it that a file has this text, and tell what was done. Raises: OutputError."""
    from mastosync.app.files import new_file
    from mastosync.new_files import make_folders

    try:
        if path.is_file() and path.read_bytes() == text.encode():
            return tr("{path} is already up to date", path=path)
        make_folders(path.parent)
        with new_file(path.resolve(), replace=True, mode=0o644) as file:  # what a link leads to, if it is one
            file.write(text)
    except OutputError as error:
        raise OutputError(error.message, hint=_elsewhere()) from error
    except OSError as error:
        raise OutputError(tr("cannot write {path}: {why}", path=path, why=error.strerror), hint=_elsewhere()) from error
    return tr("wrote {path}", path=path)


def _elsewhere() -> str:
    return tr("without --install it is printed, and can be put elsewhere")
