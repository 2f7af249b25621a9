"""The table of attachments: which objects each of Mastodon's tables stands for.

Source: the attachment declarations of Mastodon 2.3.2 to 4.6.5, as evaluated by Paperclip. Which
renditions a row has never depends on `file_meta`, `type` or `processing`.
"""

from __future__ import annotations

from mastosync.model import AttachmentSpec, Style

_STILL = frozenset({"image/jpeg", "image/png", "image/webp"})
_GIF = frozenset({"image/gif"})
_VIDEO = frozenset({"video/mp4", "video/webm", "video/quicktime", "video/ogg"})
_HEIF = frozenset({"image/heic", "image/heif", "image/avif"})


class _Unsupported:
    """The content types that Mastodon does not process, NULL among them."""

    def __contains__(self, content_type: object) -> bool:
        known = content_type in _STILL | _GIF | _VIDEO | _HEIF
        return not known and not (isinstance(content_type, str) and content_type.startswith("audio/"))


_ORIGINAL = Style("original")
_STATIC = Style("static", format="png")  # what everybody sees who has not turned on that pictures move
_STATIC_OF_GIF = Style("static", format="png", content_types=_GIF)
_APP_ICON_WIDTHS = (36, 48, 57, 60, 72, 76, 96, 114, 120, 144, 152, 167, 180, 192, 256, 384, 512, 1024)


def _of_upload(var: str, *names: str) -> tuple[Style, ...]:
    return tuple(Style(name, format="png", variables=frozenset({var}), optional=True) for name in names)


_MEDIA_STYLES = (
    _ORIGINAL,
    Style("small", content_types=_STILL),
    Style("small", format="png", fallback="gif", content_types=_GIF),  # stored as gif before 2.9.1
    Style("small", format="png", content_types=_VIDEO),
    Style("small", format="jpeg", fallback="", content_types=_HEIF),
    Style("small", fallback="png", content_types=_Unsupported(), optional=True),
)
_SITE_UPLOAD_STYLES = (
    _ORIGINAL,
    *_of_upload("thumbnail", "@1x", "@2x"),
    *_of_upload("favicon", "16", "32", "48"),
    *_of_upload("app_icon", *map(str, _APP_ICON_WIDTHS)),
)
_ICON_STYLES = (Style("original", optional=True), Style("static", format="png", optional=True))  # nothing shows them

_KIB, _MIB = 1024, 1024**2

CATALOG: tuple[AttachmentSpec, ...] = (
    AttachmentSpec(
        "media_attachments",
        "file",
        "media_attachments/files",
        _MEDIA_STYLES,
        cacheable=True,
        address="remote_url",
        most_bytes=99 * _MIB,
    ),
    AttachmentSpec(
        "media_attachments",
        "thumbnail",
        "media_attachments/thumbnails",
        (_ORIGINAL,),
        cacheable=True,
        address="thumbnail_remote_url",
        most_bytes=16 * _MIB,
    ),
    AttachmentSpec(
        "accounts",
        "avatar",
        "accounts/avatars",
        (_ORIGINAL, _STATIC_OF_GIF),
        cacheable=True,
        address="avatar_remote_url",
        most_bytes=8 * _MIB,
    ),
    AttachmentSpec(
        "accounts",
        "header",
        "accounts/headers",
        (_ORIGINAL, _STATIC_OF_GIF),
        cacheable=True,
        address="header_remote_url",
        most_bytes=8 * _MIB,
    ),
    AttachmentSpec(
        "custom_emojis",
        "image",
        "custom_emojis/images",
        (_ORIGINAL, _STATIC),
        cacheable=True,
        address="image_remote_url",
        most_bytes=256 * _KIB,
    ),
    AttachmentSpec("preview_cards", "image", "preview_cards/images", (_ORIGINAL,), cacheable=True),
    AttachmentSpec("preview_card_providers", "icon", "preview_card_providers/icons", _ICON_STYLES),
    AttachmentSpec("site_uploads", "file", "site_uploads/files", _SITE_UPLOAD_STYLES),
    AttachmentSpec("backups", "dump", "backups/dumps", (_ORIGINAL,), private=True),
    AttachmentSpec("imports", "data", "imports/data", (_ORIGINAL,)),
)

TOP_FOLDERS = frozenset({"cache", *(spec.directory.partition("/")[0] for spec in CATALOG)})
"""The first folders of all keys, where they have no prefix."""

UNSHOWN = frozenset({"imports"})
"""Tables whose files Mastodon reads by itself, and no page names: what users follow and block."""


def specs_of(table: str) -> tuple[AttachmentSpec, ...]:
    """The attachments of one table, in the order of the catalog."""
    return tuple(spec for spec in CATALOG if spec.table == table)


def spec_of(table: str, attachment: str) -> AttachmentSpec:
    """One attachment. Raises: KeyError if there is none of this name."""
    return _BY_NAME[table, attachment]


_BY_NAME = {(spec.table, spec.attachment): spec for spec in CATALOG}
