"""What the manifest is told of uploads in parts, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mastosync.copying.kept_uploads import KeptUpload, KeptUploads
from mastosync.manifest import WorkQueue
from mastosync.model import ObjectHeaders, ObjectInfo
from mastosync.store.base import PutOptions
from tests.support.entries import entry
from tests.support.manifests import planned

INFO = ObjectInfo(10, "0" * 32 + "-3")
OPTIONS = PutOptions(ObjectHeaders(content_type="image/png", metadata=(("a", "b"),)), "private", "STANDARD")
UPLOAD = KeptUpload.of("id", INFO, 4, OPTIONS)


@pytest.mark.parametrize(
    "other",
    [
        KeptUpload.of("id", INFO._replace(etag="1" * 32 + "-3"), 4, OPTIONS),
        KeptUpload.of("id", INFO, 5, OPTIONS),
        KeptUpload.of("id", INFO, 4, OPTIONS._replace(acl="public-read")),
        KeptUpload.of("id", INFO, 4, OPTIONS._replace(acl=None)),
        KeptUpload.of("id", INFO, 4, OPTIONS._replace(storage_class=None)),
        KeptUpload.of("id", INFO, 4, OPTIONS._replace(headers=ObjectHeaders(content_type="image/png"))),
    ],
)
def test_an_upload_is_the_same_only_if_all_that_it_was_begun_for_is(other: KeptUpload) -> None:
    assert other != UPLOAD
    assert KeptUpload.of("id", INFO._replace(last_modified="later"), 4, OPTIONS) == UPLOAD


def test_what_is_noted_is_taken_over(tmp_path: Path) -> None:
    with planned(tmp_path / "m.db", [entry()]) as manifest:
        queue, uploads = WorkQueue(manifest), KeptUploads()
        assert queue.noted_uploads() is None
        assert not uploads.changed
        uploads.begun("a/b", UPLOAD)
        uploads.begun("c", UPLOAD)
        uploads.ended("c")
        queue.note_uploads(uploads.noted())
        assert not uploads.changed
        after = KeptUploads()
        after.take_over(queue.noted_uploads())
        assert (after.of("a/b"), after.of("c")) == (UPLOAD, None)
        after.ended("a/b")
        queue.note_uploads(after.noted())
        assert queue.noted_uploads() is None


def test_the_end_of_what_was_not_noted_is_no_news() -> None:
    uploads = KeptUploads()
    uploads.ended("a")
    assert not uploads.changed


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"a": 1}', '{"a": ["too", "few"]}'])
def test_what_cannot_be_read_counts_as_nothing(text: str) -> None:
    uploads = KeptUploads()
    uploads.take_over(text)
    assert uploads.noted() is None
