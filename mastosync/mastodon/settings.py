"""What Mastodon has to be told of where its media lie: lines of `.env.production`.

As `config/initializers/paperclip.rb` and `app/lib/content_security_policy.rb` of Mastodon 4.6 read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mastosync.config import FilesystemConfig, S3Config, Secret, StoreConfig
from mastosync.language import tr

_NEEDS_QUOTES = re.compile(r"[\s#$\"\\]")

_OF_S3 = (
    "S3_BUCKET",
    "S3_REGION",
    "S3_ENDPOINT",
    "S3_PROTOCOL",
    "S3_HOSTNAME",
    "S3_ALIAS_HOST",
    "S3_CLOUDFRONT_HOST",
    "S3_OVERRIDE_PATH_STYLE",
    "S3_PERMISSION",
    "S3_STORAGE_CLASS",
    "S3_KEY_PREFIX",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)


_KEPT_IN = {"AWS_ACCESS_KEY_ID": "access_key", "AWS_SECRET_ACCESS_KEY": "secret_key"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One line, as it has to be."""

    name: str
    value: str | Secret | None  # None: the line has to go
    remark: str = ""

    @property
    def line(self) -> str:
        """The line to write; of a secret, where in the configuration it stands."""
        if isinstance(self.value, Secret):
            return f"{self.name}=<{_KEPT_IN[self.name]} of [s3.destination]>"
        value = self.value or ""
        return f"{self.name}='{value}'" if _NEEDS_QUOTES.search(value) else f"{self.name}={value}"

    def as_json(self) -> dict[str, str | bool | None]:
        """For scripts. What a secret is, is not told."""
        secret = isinstance(self.value, Secret)
        value = None if isinstance(self.value, Secret) else self.value
        return {"name": self.name, "value": value, "secret": secret, "remark": self.remark}


def storage_settings(store: StoreConfig, media_host: str, *, acls: bool, scheme: str = "https") -> list[Setting]:
    """All lines that matter, for a Mastodon that is to keep its media in this store.

    `media_host`: what browsers ask for media. `acls`: whether the store takes ACLs, as far as anybody knows.
    """
    if isinstance(store, FilesystemConfig):
        return [
            Setting("S3_ENABLED", "false"),
            Setting("PAPERCLIP_ROOT_PATH", str(store.folder)),
            Setting("PAPERCLIP_ROOT_URL", f"{scheme}://{media_host}"),
            *(Setting(name, None) for name in _OF_S3),
        ]
    return list(_of_bucket(store, media_host, acls=acls, scheme=scheme))


def _of_bucket(store: S3Config, media_host: str, *, acls: bool, scheme: str) -> Iterator[Setting]:
    yield Setting("S3_ENABLED", "true")
    yield Setting("S3_BUCKET", store.bucket)
    yield Setting("S3_REGION", store.region)
    yield Setting("S3_ENDPOINT", store.endpoint_url)
    yield Setting("S3_PROTOCOL", scheme)
    yield Setting("S3_HOSTNAME", urlsplit(store.endpoint_url or f"https://s3.{store.region}.amazonaws.com").netloc)
    yield Setting("S3_ALIAS_HOST", media_host)
    yield Setting("S3_CLOUDFRONT_HOST", None)
    # with an endpoint, Mastodon puts the bucket into the path unless it is told
    in_host = store.endpoint_url is not None and store.addressing_style == "virtual"
    yield Setting("S3_OVERRIDE_PATH_STYLE", "true" if in_host else None)
    yield _permission(store, acls=acls)
    yield Setting("S3_STORAGE_CLASS", store.storage_class)
    yield Setting("S3_KEY_PREFIX", store.key_prefix or None)  # an empty one would be none, too, but looks like one
    # without a key, Mastodon has to find credentials as mastosync does, and these lines would keep it from that
    yield Setting("AWS_ACCESS_KEY_ID", Secret(store.access_key) if store.access_key else None)
    yield Setting("AWS_SECRET_ACCESS_KEY", store.secret_key)


def _permission(store: S3Config, *, acls: bool) -> Setting:
    if store.acl == "private":
        return Setting("S3_PERMISSION", "private")
    if store.acl == "none" or not acls:
        return Setting("S3_PERMISSION", "", tr("the store takes no ACLs: the line has to be there, and empty"))
    asked = store.acl == "auto" and store.known.takes_acl is None
    remark = tr("empty, if `mastosync copy` has told that the destination takes no ACLs") if asked else ""
    return Setting("S3_PERMISSION", "public-read", remark)


def changed(settings: list[Setting], current: Mapping[str, Secret]) -> list[Setting]:
    """Those that are otherwise in the file as it is."""
    return [setting for setting in settings if not _is(current.get(setting.name), setting.value)]


def _is(current: Secret | None, wanted: str | Secret | None) -> bool:
    return current == (Secret(wanted) if isinstance(wanted, str) else wanted)
