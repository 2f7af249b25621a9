"""The table of rooms in docs/architecture.md, enforced: who may import whom, and one door for every package."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "mastosync"
MODULES = sorted(ROOT.rglob("*.py"))

_VALUES = {"model", "errors", "units"}
_RUNNING = {"runtime", "checking", "store.base", "store.abilities", "progress"}
_FILES = {"new_files", "mountinfo"}
_KEYS = {"mastodon.catalog", "mastodon.paperclip"}

ROOMS: dict[str, set[str]] = {
    # what everybody shares
    "__init__": set(),
    "__main__": {"cli"},
    "model": set(),
    "errors": {"model"},
    "language": set(),
    "units": {"humanize"},
    "mountinfo": {"errors"},
    "new_files": {"model", "errors"},
    "terminal_text": set(),
    "progress": {"model", "units", "terminal_text", "tqdm"},
    "config": {"model", "errors", "terminal_text"},
    # what Mastodon knows
    "mastodon": set(),
    "mastodon.catalog": {"model"},
    "mastodon.paperclip": {"model"},
    "mastodon.connection": {"errors", "config", "psycopg"},
    "mastodon.dotenv": {"errors", "config", "mastodon.settings"},
    "mastodon.settings": {"errors", "config"},
    "mastodon.database": {"model", "errors", "config", "mastodon", "psycopg"},
    "mastodon.privacy": {"model", "psycopg"},
    "mastodon.queries": {"model", "mastodon.privacy", "psycopg"},
    "mastodon.changes": {"model", "mastodon"},
    "mastodon.identity": {"model", "errors", "mastodon"},
    "mastodon.standby": {"errors"},
    "mastodon.tunnel": {"errors", "config", "sshtunnel", "paramiko"},
    # the manifest
    "manifest": {"model", "errors", "manifest", "mountinfo", "new_files"},
    # stores
    "store": set(),
    "store.base": {"model", "errors"},
    "store.abilities": {"model", "errors", "store.base"},
    "store.probe": {"model", "errors", "store.base", "store.abilities", "store.probe"},
    "store.errors": {"errors", "store.base"},
    "store.media_types": set(),
    "store.http": {"__init__", "model", "errors", "config", "store", "pycurl", "urllib3"},
    "store.s3": {"__init__", "model", "errors", "config", "store", "certifi"},
    "store.s3.boto_client": {"__init__", "errors", "config", "store", "boto3", "botocore", "urllib3"},
    "store.s3.boto_store": {"model", "errors", "config", "store", "botocore"},
    "store.s3.probe": {"errors", "config", "store", "botocore"},
    "store.s3.curl_handle": {"__init__", "errors", "config", "store", "pycurl"},
    "store.s3.curl_multiplexer": {"errors", "store", "pycurl"},
    "store.s3.curl_bodies": {"store", "pycurl"},
    "store.s3.curl_stream": {"model", "errors", "store", "pycurl"},
    "store.s3.curl_requests": {"model", "errors", "config", "store"},
    "store.s3.curl_store": {"model", "errors", "config", "store"},
    "store.filesystem": {"model", "errors", "config", "store", "mountinfo"},
    # how work is carried on
    "runtime.limiter": {"errors", "runtime.stop"},
    "runtime": {"model", "errors", "units", "runtime", "manifest", "store.base", "store.abilities", "tenacity"},
    "checking.public_access": set(),
    "checking": {
        "model",
        "errors",
        "checking",
        "runtime",
        "copying.large_objects",
        "store.base",
        "store.abilities",
        "mastodon.paperclip",
        "mastodon.catalog",
        "manifest",
    },
    "findings": _VALUES | {"findings", "checking.public_access", "manifest", "mastodon.catalog"},
    # what mastosync can do
    "planning": _VALUES | _KEYS | {"planning", "manifest", "progress", "runtime.memory"},
    "copying": _VALUES | _KEYS | _RUNNING | {"copying", "manifest"},
    "verifying": _VALUES | _KEYS | _RUNNING | {"verifying", "manifest", "store.probe"},
    "applying": _VALUES | _KEYS | _RUNNING | {"applying", "copying", "findings", "manifest"},
    "following": _VALUES | {"following", "runtime"},
    "pruning": _VALUES | _KEYS | _RUNNING | {"pruning", "findings", "manifest"},
    "refetching": _VALUES | _KEYS | _RUNNING | {"refetching", "copying", "manifest", "store.http.fetcher"},
    "listing": _VALUES | _KEYS | {"listing", "manifest"},
    "archive": _VALUES | _KEYS | {"archive", "listing", "manifest"},
    "status": _VALUES | _KEYS | {"planning", "manifest", "mountinfo"},
    "doctor": _VALUES
    | _KEYS
    | _RUNNING
    | {"doctor", "copying", "findings", "status", "manifest", *_FILES, "store.probe"},
    "cutover": _VALUES | _KEYS | {"cutover", "terminal_text", "findings", "manifest"},
    "report": _VALUES
    | _KEYS
    | {"__init__", "report", "findings", "checking.public_access", "listing", "status", "manifest", "terminal_text"},
}
_CAPABILITIES = {
    *("planning", "copying", "verifying", "applying", "following", "pruning", "refetching", "listing", "archive"),
    *("status", "doctor", "cutover", "report", "findings"),
}
ROOMS |= {
    "app": _VALUES | _RUNNING | _CAPABILITIES | _FILES | {"app", "config", "manifest", "mastodon", "store"},
    "cli": _VALUES
    | _CAPABILITIES
    | {
        "__init__",
        "app",
        "cli",
        "config",
        "mastodon.dotenv",
        "checking",
        "runtime",
        "progress",
        "terminal_text",
        *_FILES,
        "click",
    },
}
"""Room (or one module of it, which then has its own line) → what it may import beside the standard library."""

EVERYWHERE = {"language"}
"""What whoever has something to say to people may import."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def room_of(module: str) -> str | None:
    """The most exact line of the table for a module."""
    parts = module.split(".")
    lines = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((line for line in lines if line in ROOMS), None)


def imports_of(path: Path) -> Iterator[str]:
    """Imported names: ours without `mastosync.`, others by their top package. Types alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their package in full"
            module = node.module or ""
            if module == "mastosync":
                yield "__init__"
            elif module.startswith("mastosync."):
                yield module.removeprefix("mastosync.")
            else:
                yield module.split(".")[0]


def allowed(imported: str, may: set[str]) -> bool:
    return imported in sys.stdlib_module_names or any(
        imported == name or imported.startswith(f"{name}.") for name in may
    )


@pytest.mark.parametrize("path", MODULES, ids=[name_of(path) for path in MODULES])
def test_a_room_imports_only_what_its_line_allows(path: Path) -> None:
    module = name_of(path)
    if path.name == "__init__.py" and not path.read_text().strip():
        return
    room = room_of(module)
    assert room is not None, f"{module} is in no room: add it to the table here and in docs/architecture.md"
    outside = {name for name in imports_of(path) if not allowed(name, ROOMS[room] | {module, room} | EVERYWHERE)}
    assert not outside, f"{module} may not import {outside}"


def test_every_third_party_package_has_one_door() -> None:
    doors: dict[str, set[str]] = {}
    for path in MODULES:
        for name in imports_of(path):
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and not (ROOT / top).exists() and not (ROOT / f"{top}.py").exists():
                doors.setdefault(top, set()).add((room_of(name_of(path)) or "?").split(".")[0])
    assert {top: rooms for top, rooms in doors.items() if len(rooms) > 1} == {}


def test_the_table_has_no_line_without_a_room() -> None:
    assert not [line for line in ROOMS if not any(room_of(name_of(path)) == line for path in MODULES)]


def imported_modules(path: Path) -> set[str]:
    """The modules that a module imports when it is loaded."""
    known = {name_of(each) for each in MODULES}
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mastosync"):
            base = (node.module or "").removeprefix("mastosync").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}" if base else alias.name
                found.add(inner if inner in known else base)
    return found & known


def test_no_import_leads_back_to_where_it_began() -> None:
    leads = {name_of(path): imported_modules(path) for path in MODULES}
    while free := {name for name, to in leads.items() if not to & leads.keys()}:
        leads = {name: to for name, to in leads.items() if name not in free}
    assert not leads


def test_no_other_module_has_sql_for_what_is_remembered_by_name() -> None:
    writers = {name_of(path) for path in MODULES if re.search(r"(FROM|INTO|UPDATE) meta\b", path.read_text())}
    assert writers == {"manifest.history"}


def test_no_other_module_changes_entries() -> None:
    """New ones are inserted in bulk by the loader of a plan; all else is in one place, with counters and claims."""
    pattern = r"(UPDATE|DELETE FROM|INSERT( OR \w+)? INTO|REPLACE INTO) (entries|claims)\b"
    writers = {name_of(path) for path in MODULES if re.search(pattern, path.read_text(), re.IGNORECASE)}
    assert writers == {"manifest.entry_writer", "manifest.temporary_database"}


def test_every_module_fits_its_purpose() -> None:
    """Past 400 lines a module is split by what it knows."""
    assert not {name_of(path): lines for path in MODULES if (lines := path.read_text().count("\n")) > 400}


def test_no_class_name_stands_twice() -> None:
    """Whoever searches for a name finds one thing."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name_of(path))
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}
