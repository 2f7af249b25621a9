"""Types of files."""

from __future__ import annotations

import pytest

from mastosync.store.media_types import content_type_of


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("a.png", b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),  # it lies
        ("a.png", b"noise", "image/png"),
        ("a.JPG", b"", "image/jpeg"),
        ("a", b"GIF89a", "image/gif"),
        ("a", b"noise", "application/octet-stream"),
        ("a.unknown", b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        ("a.mov", b"\x00\x00\x00\x18ftypisom", "video/quicktime"),  # a container that others use, too
        ("a.mp4", b"\x00\x00\x00\x18ftypqt  ", "video/mp4"),
        ("a.m4a", b"\x00\x00\x00\x18ftypM4A ", "audio/mp4"),
        ("a.mp4", b"\x00\x00\x00\x18ftypavif", "image/avif"),
        ("a.heif", b"\x00\x00\x00\x18ftypheic", "image/heif"),
        ("a.ogv", b"OggS\x00\x02", "video/ogg"),
        ("a.ogg", b"OggS\x00\x02", "audio/ogg"),
        ("a.csv", b"Account address,", "text/csv"),
        ("a.svg", b"<svg", "image/svg+xml"),
        ("a", b"<svg", "application/octet-stream"),  # text that looks like something must not become it
        ("a", b"<html><script>", "application/octet-stream"),
        ("archive-20200101.tar.gz", b"\x1f\x8b\x08", "application/gzip"),
        ("archive.zip", b"PK\x03\x04", "application/zip"),
        ("site.d/noext", b"ID3\x04", "audio/mpeg"),
    ],
)
def test_the_type_is_told_by_extension_and_bytes(name: str, head: bytes, expected: str) -> None:
    assert content_type_of(name, head) == expected
