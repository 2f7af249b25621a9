"""The manifest of who runs commands with a configuration of another folder."""

from __future__ import annotations

from pathlib import Path

from mastosync.manifest import is_there


def manifest_beside(config: Path, path: Path) -> Path | None:
    """One that lies beside the configuration, in full, if none lies where a relative path leads from here."""
    if path.is_absolute() or is_there(path) or not is_there(config.parent / path):
        return None
    return (config.parent / path).resolve()
