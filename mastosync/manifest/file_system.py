"""The check that a manifest is on a disk of this machine, as SQLite's write-ahead log and locks need one.

Readers and writers of a write-ahead log share memory, which a network file system does not share between machines; and
there locks may be granted twice (https://sqlite.org/wal.html, and https://sqlite.org/lockingv3.html about NFS).
"""

from __future__ import annotations

import logging
from pathlib import Path

from mastosync.errors import ManifestError
from mastosync.language import tr
from mastosync.mountinfo import is_network, kind_of_disk, real_path

_log = logging.getLogger(__name__)


def require_local_disk(manifest: Path, *, allow_network: bool) -> None:
    """Before writing. Raises: ManifestError if the manifest is on a network; warns of it if that is allowed."""
    said = _on_network(manifest)
    if said and not allow_network:
        raise ManifestError(
            tr("{said}, so nothing is written there", said=said),
            hint=tr(
                "use a local disk: stop what runs, take the manifest there with `mastosync manifest backup`, and "
                "name its new place with --manifest or `[manifest] path`; `[manifest] network_filesystem = allow` "
                "takes the risk"
            ),
        )
    if said:
        allowed = tr(
            "{said}; it is written nevertheless, because of `[manifest] network_filesystem = allow`", said=said
        )
        _log.warning("%s", allowed)


def warn_of_network(manifest: Path) -> None:
    """Before reading alone: what is read may be wrong while another machine writes."""
    if said := _on_network(manifest):
        _log.warning("%s", tr("{said}: read it on the machine that writes it", said=said))


def _on_network(manifest: Path) -> str:
    kind = kind_of_disk(real_path(manifest).parent)
    if not is_network(kind):
        return ""
    return tr(
        "the manifest {manifest} is on a network file system ({kind}), where locks and the "
        "write-ahead log of SQLite cannot be relied on",
        manifest=manifest,
        kind=kind,
    )
