"""The final report: made, kept in a file, and compared with its manifest later."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from mastosync.app.context import require_configured
from mastosync.app.manifest import entry_progress
from mastosync.app.mastodon_settings import own_settings
from mastosync.config import FilesystemConfig, S3Config
from mastosync.errors import ConfigError, UsageError
from mastosync.language import tr
from mastosync.manifest import ArchiveReader, ManifestReader
from mastosync.report import (
    DIGEST_NAME,
    FORMAT,
    Switch,
    evidence_of,
    may_delete_old_store,
    report_of,
    sound_contents_of,
)

if TYPE_CHECKING:
    from mastosync.app.context import Context
    from mastosync.config import Config, StoreConfig
    from mastosync.manifest import Manifest, StoreIdentity
    from mastosync.progress import ProgressListener
    from mastosync.report import Report


@dataclass(frozen=True, slots=True)
class Comparison:
    """The digest of a report, and that of the manifest as it is now."""

    kept: str
    found: str

    @property
    def same(self) -> bool:
        """Whether the report was made of these entries as they are."""
        return self.kept == self.found


def report(context: Context, failures: int, env: Path | None = None) -> Report:
    """What the manifest remembers of the migration, with the first `failures` failed entries.

    `env`: Mastodon's own settings, if they were named.
    """
    with context.reading() as manifest:
        manifest.require_plan()
        require_configured(context.config, manifest)
        return report_from(context.config, manifest, failures, env, context.listener)


def report_from(
    config: Config, manifest: Manifest, failures: int, env: Path | None, listener: ProgressListener
) -> Report:
    """`report` for a manifest that is open already. It is read as a whole."""
    switch = _switch(config, manifest, env)
    with entry_progress("report", listener) as (progress, went_on), ArchiveReader.opened(manifest) as reader:
        progress.total = reader.expected()
        evidence = evidence_of(manifest, reader, switch, config.destination.acl)
        return report_of(manifest, reader, evidence, failures, went_on)


def may_delete(config: Config, manifest: Manifest, env: Path | None) -> bool:
    """Whether a report would say that the old store may be deleted. Raises: ManifestError."""
    switch = _switch(config, manifest, env)
    with ArchiveReader.opened(manifest) as reader:
        return may_delete_old_store(reader, evidence_of(manifest, reader, switch, config.destination.acl))


def check_report(context: Context, file: Path) -> Comparison:
    """Compare a report that was kept with the manifest as it is now. Raises: UsageError if the file is no report."""
    with context.reading() as manifest:
        kept = _digest_in(file)
        with (
            entry_progress("report", context.listener) as (progress, went_on),
            ArchiveReader.opened(manifest) as reader,
        ):
            progress.total = reader.expected()
            return Comparison(kept, sound_contents_of(reader, reader.head().destination.key_prefix, went_on).sha256)


def _switch(config: Config, manifest: Manifest, named: Path | None) -> Switch:
    """What Mastodon's settings say, if they were named, here or in the configuration, and can be read.

    The manifest tells what its stores are: there may be no configuration, or that of another migration.
    """
    stores = [_store(ManifestReader(manifest).store(role)) for role in ("source", "destination")]
    try:
        mastodon = own_settings(config, named)
    except ConfigError as error:
        return Switch(named or config.env.settings, problem=error.message)
    if mastodon.file is None:
        return Switch()
    if mastodon.place is None:
        return Switch(
            mastodon.file,
            problem=tr(
                "{file} is no regular file, and does not tell when the settings were changed", file=mastodon.file
            ),
        )
    source, destination = stores
    return Switch(
        mastodon.file,
        changed_at=_changed_at(mastodon.file),
        unclear=mastodon.doubt(source, destination) or mastodon.neither(source, destination),
        left=mastodon.has_left(source, destination),
        alike=mastodon.names_as(source, destination),
    )


def _changed_at(file: Path) -> float:
    """When a file, or a link on the way to it, got what it holds, in seconds since the epoch.

    What is moved or linked into its place keeps its mtime, but not its ctime. Anybody may set an mtime that is still to
    come, which does not count; such a ctime is of a clock that was ahead, and as nobody knows when that was, it is now.
    """
    now, links = time.time(), set[Path]()
    _find_links(file.absolute(), links)
    found = [file.stat(), *(link.lstat() for link in links)]
    changed = max(min(each.st_ctime, now) for each in found)
    return max([changed, *(each.st_mtime for each in found if each.st_mtime <= now)])


def _find_links(path: Path, links: set[Path]) -> None:
    """Add the links by which a name leads to its file: that name itself, or a folder in it. Each is followed once."""
    for each in (path, *path.parents):
        if each not in links and each.is_symlink():
            links.add(each)
            _find_links(each.parent / each.readlink(), links)


def _store(known: StoreIdentity | None) -> StoreConfig:
    """A store of the manifest as a configuration has it."""
    if known is None:
        return S3Config()
    if known.is_folder:
        return FilesystemConfig(path=Path(known.bucket))
    return S3Config(endpoint_url=known.endpoint, bucket=known.bucket, key_prefix=known.key_prefix)


def _digest_in(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            tr("cannot read the report {file}: {error}", file=file, error=error),
            hint=tr("name a file that `report` has made"),
        ) from error
    digest = _digest_in_json(text) if text.startswith("{") else _digest_in_html(text)
    if not digest:
        raise UsageError(
            tr("{file} is not a JSON or HTML report of mastosync", file=file),
            hint=tr("name a file that `mastosync report --format json` or `--format html` has made"),
        )
    return digest


def _digest_in_json(text: str) -> str | None:
    try:
        parsed = json.loads(text)
        return str(parsed["digest"]["sha256"]) if parsed["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError):
        return None


def _digest_in_html(text: str) -> str | None:
    finder = _DigestFinder()
    finder.feed(text)
    return finder.digest


class _DigestFinder(HTMLParser):
    """Looks for the digest in the head of a document: below, words of others may look like one."""

    digest: str | None = None
    _in_head = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin of an element."""
        found = dict(attrs)
        self._in_head = self._in_head and tag != "body"
        if self._in_head and tag == "meta" and found.get("name") == DIGEST_NAME:
            self.digest = found.get("content")
