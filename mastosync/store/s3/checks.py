"""Bytes held against what the store says of them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from mastosync.errors import CorruptObject, ObjectRejected
from mastosync.language import tr
from mastosync.model import ObjectInfo
from mastosync.store.base import FetchedObject, Page
from mastosync.store.s3.headers import etag_is_md5, etag_of


def checked_object(key: str, store_name: str, info: ObjectInfo, data: bytes) -> FetchedObject:
    """An object that was read whole. Raises: CorruptObject if its bytes do not fit its ETag."""
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    require_own_md5(key, store_name, info, md5)
    return FetchedObject(info, data, md5)


def require_own_md5(key: str, store_name: str, info: ObjectInfo, md5: bytes) -> None:
    """Whether the bytes that were read are those of the object. Raises: CorruptObject if they do not fit its ETag."""
    if info.md5 is not None and info.md5 != md5:
        raise CorruptObject(
            f"cannot read {key!r} at {store_name}: its bytes have the MD5 {md5.hex()}, its ETag says {info.etag}",
            hint=tr("if every attempt fails, the object is damaged at the source"),
        )


def confirmed_etag(key: str, store_name: str, headers: Mapping[str, str], md5: bytes) -> str:
    """The ETag of a write, compared with what was sent where it is an MD5. Raises: CorruptObject."""
    etag = etag_of(headers)
    if etag.lower() != md5.hex() and etag_is_md5(etag, headers):
        raise CorruptObject(
            f"cannot write {key!r} at {store_name}: sent bytes with the MD5 {md5.hex()}, the store took in {etag}",
            hint=tr("bytes were changed on the way: if it happens again, check the network and this machine's memory"),
        )
    return etag


def checked_page(store_name: str, after: str, page: Page) -> Page:
    """A piece of a listing that begins where it was asked to. Raises: ObjectRejected, for it would never end."""
    if after and page.objects and page.objects[0].key <= after:
        raise ObjectRejected(
            f"cannot list the {store_name}: asked for what comes after {after!r}, it begins with "
            f"{page.objects[0].key!r}",
            hint=tr("this store ignores `start-after`: objects can only be asked for one by one"),
        )
    return page


def base64_of(digest: bytes) -> str:
    """A digest as the header Content-MD5 has it."""
    return base64.b64encode(digest).decode()
