"""`config.ini` for servers of the lab."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.addresses import DatabaseAddress, S3Address


def s3_section(address: S3Address, bucket: str, **keys: str) -> dict[str, str]:
    """An `[s3.…]` section for a store of the lab."""
    given = {"access_key": address.access_key, "secret_key": address.secret_key, "endpoint_url": address.endpoint_url}
    return {**given, "bucket": bucket, **keys}


def pg_section(address: DatabaseAddress) -> dict[str, str]:
    """The `[pg.database]` section for a database of the lab."""
    return {
        "host": address.host,
        "port": str(address.port),
        "user": address.user,
        "password": address.password,
        "database": address.name,
    }


def write_config(path: Path, sections: Mapping[str, Mapping[str, str]]) -> None:
    """Write a file with these sections, for its owner's eyes only."""
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()) + "\n"
        for name, keys in sections.items()
    )
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
