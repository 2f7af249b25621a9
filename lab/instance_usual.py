"""What most of a Mastodon consists of: accounts, posts with media, emojis and preview cards."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from lab.instance_rows import InstanceBuilder, Rendition, Row, is_remote

REMOTE_DOMAINS = ("social.example.org", "photos.example.net", "xn--kgelbahn-2za.example", "fedi.example.com")

NO_HEADERS: dict[str, Any] = {}  # as releases of long ago left it
PICTURE_TYPES = ("image/png",) * 5 + ("image/jpeg",) * 3 + ("image/webp", "image/gif")
EXTENSIONS = {"image/jpeg": "jpeg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}


class MediaKind(NamedTuple):
    """A kind of media, and how often it is met."""

    weight: int
    content_type: str
    extension: str
    type: int  # 0 image, 1 gifv, 2 video, 4 audio
    small: tuple[str, str] | None  # extension and content type of the preview


MEDIA_KINDS = (
    MediaKind(45, "image/jpeg", "jpeg", 0, ("jpeg", "image/jpeg")),
    MediaKind(20, "image/png", "png", 0, ("png", "image/png")),
    MediaKind(8, "image/webp", "webp", 0, ("webp", "image/webp")),
    MediaKind(8, "video/mp4", "mp4", 1, ("png", "image/png")),  # what becomes of a moving gif
    MediaKind(10, "video/mp4", "mp4", 2, ("png", "image/png")),
    MediaKind(3, "image/gif", "gif", 0, ("png", "image/png")),
    MediaKind(2, "image/heic", "heic", 0, ("jpeg", "image/jpeg")),
    MediaKind(4, "audio/mpeg", "mp3", 4, None),
)


def add_accounts(builder: InstanceBuilder, count: int) -> None:
    """Accounts with avatar and header; one in five is of this server."""
    for number in range(count):
        domain = None if builder.chance(0.2) else builder.random.choice(REMOTE_DOMAINS)
        before_snowflakes = domain is None and builder.chance(0.3)
        row = builder.account(1_000 + number if before_snowflakes else None, domain=domain)
        for attachment in ("avatar", "header"):
            row[f"{attachment}_storage_schema_version"] = _schema_version(builder)
            if domain:
                row[f"{attachment}_remote_url"] = f"https://{domain}/system/{attachment}/{builder.word()}.png"
            builder.attach("accounts", row, attachment, _picture(builder, remote=domain is not None))


def add_emojis(builder: InstanceBuilder, count: int) -> None:
    """Custom emojis, which have a static picture whatever they are."""
    for number in range(1, count + 1):
        domain = None if builder.chance(0.4) else builder.random.choice(REMOTE_DOMAINS)
        row = builder.row("custom_emojis", number, shortcode=f"blob_{number}", domain=domain)
        row["image_storage_schema_version"] = _schema_version(builder)
        name, content_type = builder.word(), "image/gif" if builder.chance(0.2) else "image/png"
        remote = domain is not None
        original = _rendition(builder, "original", f"{name}.{EXTENSIONS[content_type]}", content_type, remote=remote)
        static = _rendition(builder, "static", f"{name}.png", "image/png", remote=remote)
        builder.attach("custom_emojis", row, "image", [original, static])


def add_media(builder: InstanceBuilder, count: int) -> None:
    """Media of posts; a third is of this server, and some of the rest was never fetched or is no longer kept."""
    accounts = [row for row in builder.rows["accounts"] if row["id"] not in builder.suspended]
    for _ in range(count):
        kind = builder.random.choices(MEDIA_KINDS, [kind.weight for kind in MEDIA_KINDS])[0]
        local = builder.chance(0.35)
        row = builder.row("media_attachments", account_id=builder.random.choice(accounts)["id"], type=kind.type)
        row["status_id"] = row["id"] + builder.random.randrange(1 << 20)
        if local:
            row["shortcode"] = builder.word()
        else:
            row["remote_url"] = f"https://{builder.random.choice(REMOTE_DOMAINS)}/media/{builder.word()}"
            if builder.chance(0.15):
                continue
        row["file_storage_schema_version"] = _schema_version(builder)
        row["blurhash"] = f"U{builder.word()}{builder.word()[:11]}"
        row["processing"] = builder.random.choice((None, 2, 2, 2, 3))
        row["file_meta"] = json.dumps({"original": {"width": 1280, "height": 720, "size": "1280x720"}})
        _attach_media(builder, row, kind)


def add_preview_cards(builder: InstanceBuilder, count: int) -> None:
    """Links with a picture, and one in four without."""
    for number in range(1, count + 1):
        url = f"https://news.example/{builder.word()}"
        row = builder.row("preview_cards", number, url=url, title=f"Article {number}", provider_name="The News")
        if not builder.chance(0.25):
            row["image_storage_schema_version"] = _schema_version(builder)
            content_type = builder.random.choice(("image/jpeg", "image/png"))
            name = f"{builder.word()}.{EXTENSIONS[content_type]}"
            image = _rendition(builder, "original", name, content_type, remote=True)
            builder.attach("preview_cards", row, "image", [image])


def _picture(builder: InstanceBuilder, *, remote: bool) -> list[Rendition]:
    """An avatar or header. Only one that moves has a picture that does not."""
    name, content_type = builder.word(), builder.random.choice(PICTURE_TYPES)
    renditions = [_rendition(builder, "original", f"{name}.{EXTENSIONS[content_type]}", content_type, remote=remote)]
    if content_type == "image/gif":
        renditions.append(_rendition(builder, "static", f"{name}.png", content_type="image/png", remote=remote))
    return renditions


def _attach_media(builder: InstanceBuilder, row: Row, kind: MediaKind) -> None:
    name, remote = builder.word(), is_remote("media_attachments", row)
    renditions = [_rendition(builder, "original", f"{name}.{kind.extension}", kind.content_type, remote=remote)]
    if kind.small:
        extension, content_type = kind.small
        renditions.append(_rendition(builder, "small", f"{name}.{extension}", content_type, remote=remote))
    builder.attach("media_attachments", row, "file", renditions)
    if kind.type == 4 and builder.chance(0.6):
        row["thumbnail_storage_schema_version"] = _schema_version(builder)
        cover = _rendition(builder, "original", f"{builder.word()}.png", "image/png", remote=remote)
        builder.attach("media_attachments", row, "thumbnail", [cover])


def _rendition(builder: InstanceBuilder, style: str, name: str, content_type: str, *, remote: bool) -> Rendition:
    """Where Mastodon expects it, most of the time."""
    return Rendition(
        style,
        name,
        content_type,
        other_cache=remote and builder.chance(0.06),
        bare=bool(builder.key_prefix) and builder.chance(0.06),
        headers=NO_HEADERS if builder.chance(0.08) else None,
    )


def _schema_version(builder: InstanceBuilder) -> int | None:
    """NULL and 0 are of releases before 3.1, and of rows that were never upgraded."""
    return builder.random.choices((1, 0, None), (7, 1, 2))[0]
