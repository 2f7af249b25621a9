"""What few rows of a Mastodon are, and every old Mastodon has: one of each, whatever the instance's size."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lab.instance_objects import DEFAULT_HEADERS, Place
from lab.instance_rows import LOCAL_DOMAIN, InstanceBuilder, Rendition, Row

INSTANCE_ACTOR_ID = -99
SUSPENDED_AT = datetime(2023, 5, 17, 12, 30)
REMOVED_AT = datetime(2025, 9, 3, 8, 15)
PNG, JPEG, GIF = "image/png", "image/jpeg", "image/gif"

ODD_NAMES = (
    "été à Paris (1).JPG",
    "100% real + true.PNG",
    "what? #1 & more=;,@$~!'*.jpeg",
    "写真.最終版.jpg",
    ".hidden",
    "UPPER.lower.JPEG",
    "no-extension",
)
"""Local uploads of the first releases kept the names they came with."""

APP_ICON_WIDTHS = (36, 48, 57, 60, 72, 76, 96, 114, 120, 144, 152, 167, 180, 192, 256, 384, 512, 1024)


def add_oddities(builder: InstanceBuilder, large_video_bytes: int) -> None:
    """Everything below; a video of 0 bytes is left out."""
    _add_odd_accounts(builder)
    _add_suspended_account(builder)
    _add_emoji_of_a_nameless_domain(builder)
    _add_odd_formats(builder)
    _add_odd_names(builder)
    _add_odd_ids(builder)
    _add_blanks(builder)
    _add_covers(builder)
    _add_foreign_headers(builder)
    _add_providers(builder)
    _add_site_uploads(builder)
    _add_archives(builder)
    _add_strays(builder)
    _add_large_video(builder, large_video_bytes)
    _add_removed_post(builder)


def add_few_oddities(builder: InstanceBuilder, large_video_bytes: int) -> None:
    """What every command has to do with: what is private, optional, oddly named, larger, or nobody's."""
    _add_founder(builder)
    _add_suspended_account(builder)
    _add_odd_names(builder, ODD_NAMES[:3])
    _add_providers(builder)
    _add_archives(builder)
    _add_strays(builder)
    _add_large_video(builder, large_video_bytes)
    _add_removed_post(builder)


def _media(builder: InstanceBuilder, renditions: tuple[Rendition, ...], **columns: Any) -> Row:  # noqa: ANN401
    row = builder.row("media_attachments", columns.pop("row_id", None), **columns)
    builder.attach("media_attachments", row, "file", renditions)
    return row


def _add_large_video(builder: InstanceBuilder, size: int) -> None:
    if size:
        video = Rendition("original", "0123456789abcdef.mp4", "video/mp4", size=size)
        _media(builder, (video, Rendition("small", "0123456789abcdef.png", PNG, size=40_000)), type=2)


def _add_odd_accounts(builder: InstanceBuilder) -> None:
    actor = builder.account(INSTANCE_ACTOR_ID, username=LOCAL_DOMAIN, actor_type="Application", locked=True)
    builder.attach("accounts", actor, "avatar", [Rendition("original", "actor.png", PNG)])
    _add_founder(builder)
    builder.account(
        2, username="quiet", avatar_file_name="", avatar_content_type=PNG, header_file_name="  ", header_file_size=0
    )
    dancer = builder.account(
        domain="dance.example", avatar_storage_schema_version=1, avatar_remote_url="https://dance.example/a.gif"
    )
    # tootctl moves style by style: here it was stopped between the two
    left_behind = Rendition("static", "dance.png", PNG, other_cache=True)
    builder.attach("accounts", dancer, "avatar", [Rendition("original", "dance.gif", GIF), left_behind])
    late = builder.account(domain="late.example", header_storage_schema_version=None)
    # ... and here before it could mark the row
    builder.attach("accounts", late, "header", [Rendition("original", "late.jpeg", JPEG, other_cache=True)])


def _add_founder(builder: InstanceBuilder) -> None:
    builder.account(1, username="founder")  # never had a picture


def _add_suspended_account(builder: InstanceBuilder) -> None:
    account = builder.account(username="suspended", suspended_at=SUSPENDED_AT, suspension_origin=0)
    for attachment in ("avatar", "header"):
        builder.attach("accounts", account, attachment, [Rendition("original", f"{attachment}.png", PNG)])
    for number in range(3):
        pair = (Rendition("original", f"bad{number}.jpeg", JPEG), Rendition("small", f"bad{number}.jpeg", JPEG))
        _media(builder, pair, account_id=account["id"], status_id=number + 1)


def _add_removed_post(builder: InstanceBuilder) -> None:
    """A moderator removed it, and the server keeps it for a while: nobody may see its media any more."""
    account = builder.account(username="warned")
    post = builder.row("statuses", account_id=account["id"], text="against the rules", deleted_at=REMOVED_AT)
    pair = (Rendition("original", "removed.png", PNG), Rendition("small", "removed.png", PNG))
    row = _media(builder, pair, account_id=account["id"], status_id=post["id"])
    builder.attach("media_attachments", row, "thumbnail", [Rendition("original", "cover.png", PNG)])


def _add_emoji_of_a_nameless_domain(builder: InstanceBuilder) -> None:
    """A domain of no letters is a domain: the row is remote."""
    row = builder.row("custom_emojis", 900_001, shortcode="ghost", domain="", image_storage_schema_version=1)
    pair = [Rendition("original", "ghost.png", PNG), Rendition("static", "ghost.png", PNG)]
    builder.attach("custom_emojis", row, "image", pair)


def _add_odd_formats(builder: InstanceBuilder) -> None:
    old_gif = Rendition("small", "cat.png", GIF, other_name="cat.gif")  # before 2.9.1
    _media(builder, (Rendition("original", "cat.gif", GIF), old_gif))
    own = Rendition("small", "dog.jpeg", "image/heic", other_name="dog.heic")
    _media(builder, (Rendition("original", "dog.heic", "image/heic"), own))
    _media(builder, (Rendition("original", "new.avif", "image/avif"), Rendition("small", "new.jpeg", JPEG)))
    _media(builder, (Rendition("original", "clip.mov", "video/quicktime"), Rendition("small", "clip.png", PNG)), type=2)
    _media(builder, (Rendition("original", "clip.webm", "video/webm"), Rendition("small", "clip.png", PNG)), type=2)
    # what Mastodon does not know it does not process, and yet a preview may lie there
    for name, content_type, small in (
        ("own.png", None, Rendition("small", "own.png", PNG, optional=True)),
        ("film.wmv", "video/x-ms-asf", Rendition("small", "film.wmv", PNG, optional=True, other_name="film.png")),
        ("none.jpeg", None, Rendition("small", "none.jpeg", JPEG, optional=True, present=False)),
        ("loud.gif", "IMAGE/GIF", Rendition("small", "loud.gif", GIF, optional=True, present=False)),
    ):
        original = Rendition("original", name, content_type or PNG)
        _media(builder, (original, small), type=3, file_content_type=content_type)
    _media(builder, (Rendition("original", "song.ogg", "audio/ogg"),), type=4)


def _add_odd_names(builder: InstanceBuilder, names: tuple[str, ...] = ODD_NAMES) -> None:
    for number, name in enumerate(names, 1):
        pair = (Rendition("original", name, PNG), Rendition("small", name, PNG))
        _media(builder, pair, row_id=number, account_id=1, file_storage_schema_version=number % 2 or None)


def _add_odd_ids(builder: InstanceBuilder) -> None:
    for row_id, nine_digits in (
        (123_456_789, False),
        (1_234_567_890, True),  # ids of ten and eleven digits were once padded to nine
        (1_234_567_891, False),
        (12_345_678_901, True),
        (12_345_678_902, False),
        (123_456_789_012, False),
    ):
        name = f"n{row_id}.jpeg"
        pair = [Rendition(style, name, JPEG, nine_digits=nine_digits) for style in ("original", "small")]
        _media(builder, (pair[0], pair[1]), row_id=row_id, remote_url="https://old.example/1", shortcode=None)


def _add_blanks(builder: InstanceBuilder) -> None:
    """Blank names have no objects; a blank remote URL is that of a local row, whatever its schema version says."""
    for file_name in (None, "", " \t"):
        builder.row(
            "media_attachments", file_file_name=file_name, file_content_type=PNG, remote_url="https://x.example/"
        )
    for number, remote_url in enumerate((" ", "\u00a0\u2003", "\n")):
        pair = (Rendition("original", f"blank{number}.png", PNG), Rendition("small", f"blank{number}.png", PNG))
        _media(builder, pair, remote_url=remote_url, file_storage_schema_version=1)
    for processing in (0, 1):  # still at it: nothing in the keys depends on it
        name = f"work{processing}.mp4"
        pair = (Rendition("original", name, "video/mp4"), Rendition("small", f"work{processing}.png", PNG))
        _media(builder, pair, processing=processing, type=2)


def _add_covers(builder: InstanceBuilder) -> None:
    """Thumbnails are of their own schema version, which came late."""
    for number, (remote_url, version, elsewhere) in enumerate(
        (
            ("", 1, False),
            ("https://radio.example/1", None, False),
            ("https://radio.example/2", 1, False),
            ("https://radio.example/3", None, True),
        )
    ):
        row = _media(
            builder,
            (Rendition("original", f"tune{number}.mp3", "audio/mpeg"),),
            type=4,
            remote_url=remote_url,
            file_storage_schema_version=1,
            thumbnail_storage_schema_version=version,
        )
        cover = Rendition("original", f"cover{number}.png", PNG, other_cache=elsewhere)
        builder.attach("media_attachments", row, "thumbnail", [cover])


def _add_foreign_headers(builder: InstanceBuilder) -> None:
    """What other tools leave on objects that passed through their hands."""
    for number, (content_type, headers) in enumerate(
        (
            ("binary/octet-stream", {}),
            (PNG, {**DEFAULT_HEADERS, "Metadata": {"mtime": "1617181920.5", "uploaded-by": "sync tool 1.2"}}),
            (PNG, {**DEFAULT_HEADERS, "ContentDisposition": 'attachment; filename="a b.png"'}),
            (PNG, {"CacheControl": "no-cache", "ContentLanguage": "de, fr"}),
            ("image/svg+xml", {**DEFAULT_HEADERS, "ContentEncoding": "gzip"}),
        )
    ):
        name = f"travelled{number}.png"
        pair = (Rendition("original", name, content_type, headers=headers), Rendition("small", name, PNG))
        _media(builder, pair, file_content_type=PNG)


def _add_providers(builder: InstanceBuilder) -> None:
    for number, (domain, original, static) in enumerate(
        (("news.example", True, True), ("paper.example", True, False), ("gone.example", False, False)), 1
    ):
        row = builder.row("preview_card_providers", number, domain=domain)
        icon = Rendition("original", f"{domain}.png", PNG, optional=True, present=original)
        still = Rendition("static", f"{domain}.png", PNG, optional=True, present=static)
        builder.attach("preview_card_providers", row, "icon", [icon, still])
    builder.row("preview_card_providers", 4, domain="plain.example")


def _add_site_uploads(builder: InstanceBuilder) -> None:
    for number, (var, name, content_type, sizes) in enumerate(
        (
            ("thumbnail", "Our Server.jpg", JPEG, ("@1x", "@2x")),
            ("favicon", "favicon.svg", "image/svg+xml", ("16", "32", "48")),
            ("app_icon", "icon.PNG", PNG, tuple(map(str, APP_ICON_WIDTHS))),
            ("mascot", "elephant.svg", "image/svg+xml", ()),
            ("hero", "hero.png", PNG, ()),  # a setting of past releases
        ),
        1,
    ):
        base, _, _ = name.rpartition(".")
        derived = [
            Rendition(size, f"{base}.png", PNG, optional=True, present=size not in ("48", "57")) for size in sizes
        ]
        row = builder.row("site_uploads", number, var=var)
        builder.attach("site_uploads", row, "file", [Rendition("original", name, content_type), *derived])


def _add_archives(builder: InstanceBuilder) -> None:
    backup = builder.row("backups", 1, user_id=1, processed=True)
    builder.attach("backups", backup, "dump", [Rendition("original", "archive-20240102.zip", "application/zip")])
    followed = builder.row("imports", 1, type=0, account_id=1, approved=True)
    builder.attach("imports", followed, "data", [Rendition("original", "following_accounts.csv", "text/csv", size=700)])


def _add_strays(builder: InstanceBuilder) -> None:
    """Objects of deleted rows and replaced files; and, under a worse candidate, another object than the right one."""
    builder.stray("media_attachments/files/110/000/000/000/000/001/original/deleted.png")
    builder.stray("cache/accounts/avatars/110/000/000/000/000/002/original/replaced.png")
    builder.stray("robots.txt", "text/plain")
    row = builder.row(
        "media_attachments", remote_url="https://twice.example/", file_storage_schema_version=1, account_id=None
    )
    pair = [Rendition(style, "twice.png", PNG) for style in ("original", "small")]
    builder.attach("media_attachments", row, "file", pair)
    for style in ("original", "small"):
        builder.stray(Place("", "media_attachments/files", row["id"]).key(style, "twice.png"))
