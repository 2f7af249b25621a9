"""The disk that a manifest takes is measured, and what people are told of it is what is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.manifest_size import ETAG_OF_PARTS, main, measure
from mastosync.model import MANIFEST_BYTES_PER_ENTRY

ENTRIES = 20_000


def test_people_are_told_what_an_entry_takes_when_it_is_done_and_has_an_etag(tmp_path: Path) -> None:
    with_md5 = measure(tmp_path / "md5.db", ENTRIES)
    with_etag = measure(tmp_path / "etag.db", ENTRIES, ETAG_OF_PARTS)
    assert with_etag.done == pytest.approx(MANIFEST_BYTES_PER_ENTRY, rel=0.15)
    assert with_etag.pending == with_md5.pending <= with_md5.done < with_etag.done


def test_a_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--entries", "200"])
    said = capsys.readouterr().out
    assert "200 entries" in said
    assert f"{MANIFEST_BYTES_PER_ENTRY} bytes an entry" in said
    assert said.count("while pending") == said.count("when done") == 2
