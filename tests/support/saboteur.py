"""Who breaks something on purpose in the middle of a day."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Saboteur:
    """Does something to a scenario when its first copy has ended, before anybody looks."""

    def __init__(self, seed: int, client: S3Client, deed: Callable[[Saboteur], object]) -> None:
        self.client = client
        self._seed = seed
        self._deed = deed

    def __call__(self, line: str) -> None:
        if line.startswith("01-copy"):
            self._deed(self)

    @property
    def bucket(self) -> str:
        names = [each["Name"] for each in self.client.list_buckets()["Buckets"]]
        (name,) = (name for name in names if name.startswith(f"day-{self._seed}-"))
        return name

    @property
    def keys(self) -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=self.bucket)["Contents"]]

    @property
    def key(self) -> str:
        return self.keys[0]

    def change(self, *statements: str) -> None:
        (folder,) = Path(tempfile.gettempdir()).glob(f"{self.bucket}-*")
        with contextlib.closing(sqlite3.connect(folder / "mastosync.db", isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
