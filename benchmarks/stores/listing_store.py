"""A store that holds nothing and lists everything: what `verify` makes of a listing is what is measured."""

from __future__ import annotations

import mmap
import os
import subprocess
import threading
from array import array
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from lab.ports import HOST

PAGE = 1_000
_BEFORE_KEY, _AFTER_KEY = b"<Contents><Key>", b"</Key>"
_HEAD = b"<ListBucketResult><Name>new</Name><MaxKeys>1000</MaxKeys><IsTruncated>%s</IsTruncated>"
_TAIL = b"</ListBucketResult>"


class ListingStore:
    """Answers `ListObjectsV2` from a file of what it tells of each object, in the order of keys.

    Use as a context manager. It runs in threads of this process, whose processor time is not the client's.
    """

    def __init__(self, contents: Path) -> None:
        """`contents`: the file to make."""
        self._contents = contents
        self._offsets = array("Q", [0])
        self.pages = 0

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def hold(self, listed: Sequence[str | Path], size: int, etag: str) -> None:
        """Take the keys that a command prints, a line each, in any order. All objects have one size and ETag.

        Another program than the one under test sorts them.
        """
        told = (
            b"%s<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;%s&quot;</ETag><Size>%d</Size>"
            b"<StorageClass>STANDARD</StorageClass></Contents>" % (_AFTER_KEY, etag.encode(), size)
        )
        with (
            subprocess.Popen(listed, stdout=subprocess.PIPE) as keys,
            subprocess.Popen(
                ["sort"],  # noqa: S607 - of the system
                env={**os.environ, "LC_ALL": "C"},
                stdin=keys.stdout,
                stdout=subprocess.PIPE,
            ) as ordered,
            self._contents.open("wb") as file,
        ):
            assert ordered.stdout is not None  # noqa: S101 - there is a pipe
            for line in ordered.stdout:
                length = file.write(b"%s%s%s" % (_BEFORE_KEY, line.rstrip(b"\n"), told))
                self._offsets.append(self._offsets[-1] + length)
        with self._contents.open("rb") as file:
            self._told = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def endpoint_url(self) -> str:
        """Where it is asked."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def page(self, after: bytes, most: int) -> bytes:
        """What comes after a key, as S3 tells it."""
        self.pages += 1
        first, last = 0, len(self)
        while first < last:
            middle = (first + last) // 2
            if self._key(middle) <= after:
                first = middle + 1
            else:
                last = middle
        end = min(first + most, len(self))
        told = self._told[self._offsets[first] : self._offsets[end]]
        return b"".join((_HEAD % (b"true" if end < len(self) else b"false"), told, _TAIL))

    def _key(self, number: int) -> bytes:
        start = self._offsets[number] + len(_BEFORE_KEY)
        return self._told[start : self._told.find(_AFTER_KEY, start)]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, store: ListingStore) -> None:
        super().__init__((HOST, 0), _Handler)
        self.store = store


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        (after,), (most,) = asked.get("start-after", [""]), asked.get("max-keys", [str(PAGE)])
        body = self.server.store.page(after.encode(), int(most))
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
