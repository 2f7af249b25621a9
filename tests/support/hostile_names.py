"""File names that nobody should have, and rows and objects that have them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.addresses import DatabaseAddress
from lab.instance import copy_rows, create_schema
from lab.instance_rows import InstanceBuilder, Rendition

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FIRST_ID = 1_000_001
_FOLDER_BYTES = len("media_attachments/files/001/000/001/original/")


def _of_bytes(size: int) -> str:
    """A name that makes a key of so many bytes, most letters of which have two, in segments that disks can hold."""
    name = "/".join(["é" * 100] * 20).encode()[: size - _FOLDER_BYTES].decode("utf-8", "ignore")
    return name + "x" * (size - _FOLDER_BYTES - len(name.encode()))


NAMES: dict[str, str] = {
    "dots": "..",
    "a dot": ".",
    "up": "../../../../etc/passwd",
    "up in between": "a/../b",
    "a dot in between": "a/./b",
    "at the root": "/etc/passwd",
    "two slashes": "a//b",
    "%2F": "a%2Fb",
    "%2e%2e": "%2e%2e%2fb",
    "%": "100%",
    "%00": "a%00b",
    "%25": "a%2525b",
    "a query": "a?acl&x=y",
    "a fragment": "a#b",
    "a plus": "a+b c",
    "marks": "a&b;c=d,e@f$g!h~i*j(k)l",
    "quotes": "a'b\"c`d",
    "a backslash": "a\\b",
    "angles": "<a href='x'>]]></Key>&amp;",
    "an emoji": "🐘👩‍👩‍👧",
    "right to left": "gnp.\u202egpj.exe",
    "composed": "\u00e9",
    "decomposed": "e\u0301",
    "no character": "a\ufffeb",
    "a space before": " a",
    "a space behind": "a ",
    "a dot behind": "a.",
    "1,024 bytes": _of_bytes(1024),
    "SQL": "'; DROP TABLE entries; --",
    "more SQL": '") OR 1=1; --',
    "placeholders": "%s %(key)s {} {0} ? $1",
    "a command": "$(touch owned); `touch owned`; | touch owned",
    "an option": "--config",
    "a comment": "# a",
    "start of heading": "a\x01b",
    "a tab": "a\tb",
    "a line feed": "a\nmastosync: all well",
    "a carriage return": "a\rb",
    "a colour": "\x1b[31mred\x1b[0m",
    "a title": "\x1b]0;owned\x07",
    "unit separator": "a\x1fb",
    "DEL": "a\x7fb",
    "a line of C1": "a\u0085b",
    "a command of C1": "a\u009b2Jb",
    "a line separator": "a\u2028b",
}


@dataclass(frozen=True)
class Hostile:
    """One media attachment for each name, its object at the source, and what else lies there."""

    objects: dict[str, bytes]  # by key
    strays: dict[str, bytes]


def populate(
    database: DatabaseAddress, client: S3Client, bucket: str, names: Iterable[str], *, strays: Iterable[str] = ()
) -> Hostile:
    """Make rows and objects. A row of sound has one object, whose key ends with its file name."""
    builder, objects = InstanceBuilder(seed=1), {}
    for number, name in enumerate(names):
        row = builder.row("media_attachments", FIRST_ID + number, type=4)
        builder.attach("media_attachments", row, "file", [Rendition("original", name, "audio/ogg", size=100)])
        objects[builder.objects[-1].key] = b"%099d." % number
    with database.connect() as connection:
        create_schema(connection)
        copy_rows(connection, builder.rows)
    others = {f"stray/{name}": b"stray" for name in strays}
    for key, data in (objects | others).items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
    return Hostile(objects, others)
