"""Whatever strangers call their files: nobody's terminal, log or list says anything that mastosync did not say."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from lab.addresses import DatabaseAddress
from lab.buckets import BucketPair
from tests.acceptance.test_hostile_keys import NOT_ON_SEAWEED
from tests.support.hostile_names import NAMES, Hostile, populate
from tests.support.raw_server import RawServer, answer
from tests.support.site import COMMAND, Site, pg_section, s3_section, shown

FORGED = "mastosync: all well"
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|ERROR|DEBUG) ")
MOVES = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")


OWN_COLOURS = re.compile("\x1b\\[(?:0|1|3[123])m")
"""What mastosync itself sends to a terminal; a file name holds one of them, too."""


def assert_harmless(text: str) -> None:
    """Nothing moves a terminal, and no line is one that a file name holds."""
    assert "\x1b[31mred" not in text
    text = OWN_COLOURS.sub("", text)
    assert not MOVES.search(text), [line for line in text.split("\n") if MOVES.search(line)]
    assert not [line for line in text.splitlines() if line.startswith(FORGED)]


def on_terminal(site: Site, *arguments: str) -> str:
    """What a command shows on a terminal, for both of its streams."""
    terminal, end = pty.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [COMMAND, "--no-progress", *arguments],
            cwd=site.folder,
            env=site.environment(),
            stdout=end,
            stderr=end,
        )
        os.close(end)
        told = b""
        with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
            while part := screen.read(65_536):
                told += part
        assert process.wait(60) in (0, 3, 7), told.decode()
    return told.decode().replace("\r\n", "\n")  # which the terminal makes of line ends


def piped(site: Site, *arguments: str) -> str:
    """What a command writes into a pipe, with every line end as it is."""
    done = subprocess.run(
        [COMMAND, *arguments], cwd=site.folder, env=site.environment(), stdout=subprocess.PIPE, check=True
    )
    return done.stdout.decode()


@pytest.fixture
def site(tmp_path: Path, database: DatabaseAddress, buckets: BucketPair) -> Site:
    return Site(tmp_path).configure(
        s3_source=s3_section(buckets.address, buckets.source),
        s3_destination=s3_section(buckets.address, buckets.destination),
        pg_database=pg_section(database),
        copy={"server_side": "never"},
    )


@pytest.fixture
def hostile(site: Site, database: DatabaseAddress, buckets: BucketPair) -> Hostile:
    """Rows and objects of every name; and, at the source, folders that are called like that."""
    names = [name for title, name in NAMES.items() if title not in NOT_ON_SEAWEED]
    found = populate(database, buckets.client, buckets.source, names)
    for name in names:
        folder = name.replace("/", "_").strip()[:50]
        buckets.client.put_object(Bucket=buckets.source, Key=f"{folder}/{folder}/a.png", Body=b"stray")
    site.run("plan")
    return found


def test_on_a_terminal_nothing_moves(site: Site, hostile: Hostile, buckets: BucketPair) -> None:
    """Where everything is copied, and then everything is lost; and where nothing can be copied in the first place."""
    everything = sorted(hostile.objects)
    for key in everything[::2]:
        buckets.client.delete_object(Bucket=buckets.source, Key=key)
    shown_so_far = [on_terminal(site, "-vv", "--log-file", "run.log", "copy")]
    for key in everything:
        buckets.client.delete_object(Bucket=buckets.destination, Key=key)
    site.long_after()  # so that the strays are told, too
    for command in (
        ["ls"],
        ["ls", "--format", "csv"],
        ["ls", "--format", "jsonl"],
        ["status"],
        ["orphans"],
        ["orphans", "--format", "text"],
        ["orphans", "--missing"],
        ["orphans", "--json"],
        ["-vv", "verify"],
        ["verify", "--json"],
        ["doctor"],
        ["-vv", "adopt"],
    ):
        shown_so_far.append(on_terminal(site, *command))
    for told in shown_so_far:
        assert_harmless(told)
    assert any("\\x1b[31mred" in told for told in shown_so_far), "the names are shown, spelled out"
    assert any("🐘" in told for told in shown_so_far)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_has_one_line_for_each_event(site: Site, hostile: Hostile, buckets: BucketPair, form: str) -> None:
    for key in hostile.objects:
        buckets.client.delete_object(Bucket=buckets.source, Key=key)
    done = site.run("-v", "--log-file", "run.log", "--log-format", form, "copy", code=3)
    written = (site.folder / "run.log").read_bytes().decode()
    assert_harmless(written)
    assert_harmless(done.stdout + done.stderr)
    lines = written.splitlines()  # whatever any program takes for an end of a line
    if form == "json":
        keys = {event["key"] for event in map(json.loads, lines) if "key" in event}
        assert keys == set(hostile.objects), "and says exactly which key it is about"
    else:
        assert [line for line in lines if not LOG_LINE.match(line)] == []
        assert sum(" failed (missing)" in line for line in lines) == len(hostile.objects)


def test_lists_for_programs_say_exactly_what_is_there(site: Site, hostile: Hostile) -> None:
    by_csv = list(csv.DictReader(io.StringIO(piped(site, "ls", "--format", "csv"), newline="")))
    assert {row["key"] for row in by_csv} == set(hostile.objects)
    assert {row["table"] for row in by_csv} == {"media_attachments"}, "no key has begun a line of its own"
    by_json = [json.loads(line) for line in piped(site, "ls", "--format", "jsonl").splitlines()]
    assert {row["key"] for row in by_json} == set(hostile.objects)


def test_nor_does_a_store_say_anything_in_our_name(site: Site, hostile: Hostile) -> None:
    words = f"no\n{FORGED}\r{FORGED}\u0085{FORGED}\u2028{FORGED}\u009b2J\u202eevil"
    body = f"<Error><Code>AccessDenied\n{FORGED}</Code><Message>{words}</Message></Error>"
    told = answer(403, body.encode(), content_type="application/xml")
    with RawServer(lambda _: told) as server:
        site.configure(s3_source={"endpoint_url": server.endpoint_url})
        for file in site.folder.glob("mastosync.db*"):
            file.unlink()
        site.run("plan")
        for command in ("copy", "doctor", "orphans"):
            assert_harmless(on_terminal(site, "--debug", "-vv", command))
            done = site.run("--debug", command, code=None)
            assert done.returncode in (3, 7), shown(done)
            assert_harmless(done.stdout + done.stderr)


def test_nor_does_the_database(site: Site, database: DatabaseAddress) -> None:
    """Columns are called as they like; a schema's name gets into the advice of what to grant."""
    schema = f"evil\n{FORGED}\n\x1b[31m"
    with database.connect() as connection:
        connection.execute(f'CREATE SCHEMA "{schema}"')
        connection.execute(f"""CREATE TABLE "{schema}".accounts (id bigint, avatar_file_name text, "a""; b'\n" text)""")
    refused = site.run("--debug", "plan", code=5)
    assert "evil" in refused.stderr
    assert_harmless(refused.stdout + refused.stderr)
