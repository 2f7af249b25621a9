"""The type of a file by its name and first bytes: a disk keeps no Content-Type, and what others say is no proof.

The extension counts unless the bytes begin as files of another kind do: some servers name their JPEGs
.png. Sources: the types that Mastodon's models accept, what Paperclip's spoof detection knows, and the
signatures of the WHATWG's MIME Sniffing Standard. Bytes never make a file text: what only looks like
HTML or SVG must not become it.
"""

from __future__ import annotations

from posixpath import splitext

UNKNOWN = "application/octet-stream"

HEAD_BYTES = 16
"""So many first bytes tell."""

_BY_EXTENSION = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".ico": "image/x-icon",
    ".svg": "image/svg+xml",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".ogv": "video/ogg",
    ".asf": "video/x-ms-asf",
    ".wmv": "video/x-ms-asf",
    ".mp3": "audio/mpeg",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".aac": "audio/aac",
    ".m4a": "audio/mp4",
    ".3gp": "audio/3gpp",
    ".wma": "audio/x-ms-wma",
    ".zip": "application/zip",
    ".gz": "application/gzip",
    ".csv": "text/csv",
    ".json": "application/json",
}

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBPVP", "image/webp"),
    (4, b"ftyphei", "image/heic"),
    (4, b"ftyphev", "image/heic"),
    (4, b"ftypmif1", "image/heif"),
    (4, b"ftypavi", "image/avif"),
    (4, b"ftypqt  ", "video/quicktime"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"OggS\x00", "audio/ogg"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (0, b"ID3", "audio/mpeg"),
    *((0, b"\xff" + second, "audio/mpeg") for second in (b"\xfb", b"\xfa", b"\xf3", b"\xf2")),
    (0, b"fLaC", "audio/flac"),
    (8, b"WAVE", "audio/wav"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"\x00\x00\x01\x00", "image/x-icon"),
)
"""Where in a file something stands, and what the file then is. The first that fits."""

_CONTAINERS = (
    frozenset({"video/mp4", "video/quicktime", "audio/mp4", "audio/3gpp", "audio/aac"}),
    frozenset({"image/heic", "image/heif", "image/avif"}),
    frozenset({"audio/ogg", "video/ogg"}),
    frozenset({"video/x-ms-asf", "audio/x-ms-wma"}),
    frozenset({"audio/mpeg", "audio/aac"}),  # both may begin with an ID3 tag
)
"""Kinds that begin alike: which of them it is, the extension says."""


def content_type_of(name: str, head: bytes) -> str:
    """The Content-Type of a file with this name that begins with these bytes."""
    named = _BY_EXTENSION.get(splitext(name)[1].lower())
    found = _told_by(head)
    if named and (found in (None, named) or any({named, found} <= kinds for kinds in _CONTAINERS)):
        return named
    return found or UNKNOWN


_STORED_AS_THEY_COME = frozenset(
    {
        *("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"),
        *("video/mp4", "video/webm", "audio/mpeg", "audio/ogg", "audio/flac", "audio/wav"),
    }
)
"""Types that Mastodon stores and browsers show. Most of the others it turns into one of these."""


def is_as_named(name: str, head: bytes) -> bool:
    """Whether a file that begins with these bytes is what Mastodon would store under this name, without any change.

    It makes its originals anew where the type is to be another (of an animation a video, of any sound an MP3) and
    then gives them another name: so the name tells the type that the stored file had. Kinds that begin alike are
    no exception here: of a QuickTime film Mastodon makes the MP4 that the name promises.
    """
    named = _BY_EXTENSION.get(splitext(name)[1].lower())
    return named in _STORED_AS_THEY_COME and _told_by(head) == named


def _told_by(head: bytes) -> str | None:
    return next((kind for at, sign, kind in _SIGNATURES if head.startswith(sign, at)), None)
