"""No secret leaves by any way: every command, at every verbosity, whatever happens to it."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest

from lab.addresses import DatabaseAddress
from lab.buckets import BucketPair
from lab.sshd import SshServer
from mastosync.app import plan
from mastosync.cli import main as cli_main
from mastosync.cli.main import COMMANDS
from mastosync.model import TABLES
from tests.acceptance.conftest import MigrationFactory
from tests.integration.test_tunnel import write_key
from tests.support.entries import entry
from tests.support.evil_postgres import EvilPostgres
from tests.support.manifests import planned
from tests.support.raw_server import Answers, RawRequest, RawServer, answer
from tests.support.site import COMMAND, Site, pg_section, shown

WORD = "m4rked"
"""A part of every secret that no encoding of text changes; nothing else holds it."""

ODD = "/+=%\"'<&\\ :@"  # what URLs, JSON, XML and Python spell in ways of their own
SECRETS = {
    "source-access-key": f"AKIA{WORD}SOURCE",
    "source-secret-key": f"{WORD}-source-secret{ODD}",
    "source-token": f"{WORD}-source-token{ODD}",
    "destination-access-key": f"AKIA{WORD}DEST",
    "destination-secret-key": f"{WORD}-destination-secret{ODD}",
    "destination-token": f"{WORD}-destination-token{ODD}",
    "database-password": f"{WORD}-database{ODD}",
    "ssh-password": f"{WORD}-ssh{ODD}",
    "passphrase": f"{WORD}-passphrase{ODD}",
    "broker": f"redis://:{WORD}-broker@127.0.0.1:6379/0",
    "backend": f"redis://:{WORD}-backend@127.0.0.1:6379/1",
}

ARGUMENTS: dict[str, Sequence[str]] = {
    "init": ("init", "--output", "another.ini"),
    "doctor": ("doctor",),
    "plan": ("plan",),
    "adopt": ("adopt",),
    "copy": ("copy",),
    "follow": ("follow", "--once"),
    "prune": ("prune",),
    "status": ("status", "--json"),
    "retry-failed": ("retry-failed",),
    "refetch": ("refetch", "--apply"),
    "ls": ("ls", "--format", "jsonl"),
    "verify": ("verify", "--public"),
    "accept": ("accept", "--reason", "missing"),
    "apply-settings": ("apply-settings", "--json"),
    "pin-secrets": ("pin-secrets",),
    "cutover": ("cutover", "--media-host", "files.example"),
    "orphans": ("orphans", "--json"),
    "report": ("report", "--format", "html", "--force"),
    "manifest": ("manifest", "check", "--json"),
    "completion": ("completion", "bash"),
    "man": ("man",),
}
"""How each command is run here. A new one needs a line."""

VERBOSITIES: tuple[Sequence[str], ...] = (
    (),
    ("-q",),
    ("-v",),
    ("-vv", "--debug"),
    ("-vv", "--log-file", "run.log"),
    ("--debug", "--log-file", "run.jsonl", "--log-format", "json"),
)


def test_every_command_has_its_line() -> None:
    assert set(ARGUMENTS) == set(COMMANDS)


def traces(word: str) -> Iterator[bytes]:
    """A word as it is, and as base64 has it wherever it begins."""
    yield word.encode()
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + word.encode()).decode().rstrip("=")
        yield coded[-(-shift * 8 // 6) : len(coded) - 1].encode()
    yield word.encode().hex().encode()


def assert_nothing_in(told: bytes, words: Sequence[str], where: str) -> None:
    for word in words:
        for trace in traces(word):
            at = told.find(trace)
            assert at < 0, f"{where}: …{told[max(0, at - 200) : at + 60]!r}…"


def assert_nothing_left(site: Site, done: subprocess.CompletedProcess[str], words: Sequence[str] = (WORD,)) -> None:
    """In neither output nor any file, but for those that hold the configuration."""
    assert_nothing_in(done.stdout.encode(), words, "standard output")
    assert_nothing_in(done.stderr.encode(), words, "standard error")
    for file in site.folder.rglob("*"):
        if file.is_file() and file.name != "config.ini" and "secret" not in file.parent.name:
            assert_nothing_in(file.read_bytes(), words, file.name)
    for sign in ("AWS4-HMAC", "Authorization", "Signature=", "X-Amz-Security-Token"):
        assert sign.lower() not in (done.stdout + done.stderr).lower()


# --- a site in whose configuration everything is a secret that can be one ---


def configured(folder: Path, endpoint_url: str, *, channel: str = "config") -> Site:
    """Secrets stand in the file, in the environment, or in files that the environment names."""
    site = Site(folder)
    stores = {
        role: {
            "access_key": SECRETS[f"{role}-access-key"],
            "secret_key": SECRETS[f"{role}-secret-key"],
            "session_token": SECRETS[f"{role}-token"],
        }
        for role in ("source", "destination")
    }
    held = {
        "s3.source": stores["source"],
        "s3.destination": stores["destination"],
        "pg.database": {"password": SECRETS["database-password"]},
        "pg.tunnel": {"ssh_password": SECRETS["ssh-password"], "ssh_key_passphrase": SECRETS["passphrase"]},
        "celery": {"broker": SECRETS["broker"], "backend": SECRETS["backend"]},
    }
    plain = {
        "s3.source": {"endpoint_url": endpoint_url, "bucket": "old-media"},
        "s3.destination": {"endpoint_url": endpoint_url, "bucket": "new-media"},
        "pg.database": {"host": "127.0.0.1", "port": "9"},
        "copy": {"max_attempts": "1"},
    }
    if channel == "config":
        plain = {name: plain.get(name, {}) | held.get(name, {}) for name in plain.keys() | held}
    else:
        (folder / "secrets").mkdir()
        for section, keys in held.items():
            for key, value in keys.items():
                name = f"MASTOSYNC_{section}_{key}".replace(".", "_").upper()
                if channel == "environment":
                    site.environ[name] = value
                    continue
                file = folder / "secrets" / name
                file.touch(mode=0o600)
                file.write_text(value + "\n")
                site.environ[f"{name}_FILE"] = str(file)
    site.sections.update(plain)
    return site.configure()


def plan_for(site: Site, *, failed: bool = False) -> None:
    """A plan that needs no database, of two objects; `failed`: they have failed."""
    with planned(site.manifest, [entry(1), entry(2)]) as manifest, manifest.transaction() as sql:
        for role in ("source", "destination"):
            keys = site.sections[f"s3.{role}"]
            identity = {"endpoint": keys["endpoint_url"], "bucket": keys["bucket"], "key_prefix": ""}
            sql.execute("UPDATE meta SET value = ? WHERE name = ?", (json.dumps(identity), role))
        sql.execute("UPDATE snapshots SET details = ?", (json.dumps({"types": TABLES, "only": "all"}),))
    if failed:
        site.run("copy", code=3)


# --- stores that tell everybody what they should keep for themselves ---


def words_of(role: str) -> str:
    """All that a store could know of us, in every spelling."""
    secrets = (SECRETS[f"{role}-{which}"] for which in ("access-key", "secret-key", "token"))
    return " | ".join(
        spelled
        for secret in secrets
        for spelled in (
            secret,
            quote(secret, safe=""),
            quote(secret),
            quote_plus(secret),
            json.dumps(secret),
            repr(secret),
            repr(secret.encode()),
            base64.b64encode(secret.encode()).decode(),
        )
    )


WORDS = {role: words_of(role) for role in ("source", "destination")}
XML = "application/xml"
LISTING = answer(
    200,
    b"<ListBucketResult><Name>old-media</Name><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>",
    content_type=XML,
)


def first_line(request: RawRequest) -> bytes:
    return request.head.partition(b"\r\n")[0]


def words_for(request: RawRequest) -> str:
    return WORDS["source" if b"/old-media" in first_line(request) else "destination"]


def error(status: int, code: str, of_objects: bool = False) -> Answers:
    """A refusal that says everything; `of_objects`: only of them."""

    def answers(request: RawRequest) -> bytes:
        if of_objects and b"list-type=2" in first_line(request):
            return LISTING
        body = f"<Error><Code>{code}</Code><Message>{escape(words_for(request))}</Message></Error>"
        return answer(status, body.encode(), content_type=XML)

    return answers


def repeat_headers(request: RawRequest) -> bytes:
    """What a debugging proxy would do: the whole request comes back, in what calls itself a store's answer."""
    head = escape(request.head.decode("latin-1").replace("Authorization", "Auth"))
    return answer(400, f"<Error><Code>Bad</Code><Message>{head}</Message></Error>".encode(), content_type=XML)


def odd_objects(request: RawRequest) -> bytes:
    if b"list-type=2" in first_line(request):
        return LISTING
    return answer(200, b"data", f'ETag: "odd"\r\nx-amz-request-id: {words_for(request)}\r\n')


def missing_objects(request: RawRequest) -> bytes:
    """Of a store that takes what is written, as a probe is, and has nothing."""
    if first_line(request).startswith((b"PUT ", b"DELETE ")):
        return answer(200, b"", 'ETag: "odd"\r\n')
    return STORES["objects are missing"](request)


STORES: dict[str, Answers] = {
    "the key is unknown": error(403, "InvalidAccessKeyId"),
    "a redirect": error(301, "PermanentRedirect"),
    "objects are denied": error(403, "AccessDenied", of_objects=True),
    "objects are missing": error(404, "NoSuchKey", of_objects=True),
    "objects are odd": odd_objects,
    "a page of HTML": lambda request: answer(502, f"<html><h1>{escape(words_for(request))}</h1></html>".encode()),
    "no document": lambda request: answer(200, words_for(request).encode(), content_type="text/plain"),
    "half of a document": lambda request: error(200, "Half")(request)[:-40],
    "no HTTP": lambda request: words_for(request).encode() + b"\r\n\r\n",
    "nothing": lambda _: b"",
}


@pytest.fixture
def store() -> Iterator[RawServer]:
    with RawServer(STORES["the key is unknown"]) as server:
        yield server


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("channel", ["config", "environment"])
def test_not_at_any_verbosity(tmp_path: Path, store: RawServer, command: str, channel: str) -> None:
    """Where stores refuse with everything they know, and the database is down. Two channels share the verbosities."""
    site = configured(tmp_path, store.endpoint_url, channel=channel)
    plan_for(site)
    for verbosity in VERBOSITIES[channel == "environment" :: 2]:
        done = site.run(*verbosity, *ARGUMENTS[command], code=None)
        assert done.returncode in (0, 3, 4, 5, 7), shown(done)  # 3: nothing has arrived, so it is no-go
        assert_nothing_left(site, done)
        (tmp_path / "another.ini").unlink(missing_ok=True)


@pytest.mark.parametrize(("number", "outcome"), list(enumerate(STORES)))
def test_not_whatever_a_store_answers(tmp_path: Path, store: RawServer, number: int, outcome: str) -> None:
    """To `copy` and `verify`, and in turn to the others that ask one."""
    site = configured(tmp_path, store.endpoint_url, channel="files")
    plan_for(site)
    store.answers = STORES[outcome]
    for turn, command in enumerate(("copy", "verify", ("adopt", "orphans", "doctor")[number % 3])):
        done = site.run(*VERBOSITIES[-1 - (number + turn) % 3], *ARGUMENTS[command], code=None)
        assert done.returncode in (0, 3, 5, 7), shown(done)
        assert_nothing_left(site, done)


def test_not_when_a_store_repeats_what_it_was_sent(tmp_path: Path, store: RawServer) -> None:
    site = configured(tmp_path, store.endpoint_url)
    plan_for(site)
    store.answers = repeat_headers
    for command in ("copy", "doctor"):
        done = site.run("-vv", "--debug", *ARGUMENTS[command], code=7)
        assert_nothing_in(done.stdout.encode() + done.stderr.encode(), (WORD,), command)


def test_not_when_failed_entries_are_tried_again(tmp_path: Path, store: RawServer) -> None:
    site = configured(tmp_path, store.endpoint_url)
    store.answers = missing_objects
    plan_for(site, failed=True)
    store.answers = STORES["the key is unknown"]
    assert_nothing_left(site, site.run("-vv", "--debug", "retry-failed", code=7))


# --- the configuration ---

CONFIGS = {
    "an unknown key": f"[s3.source]\nbukcet = {WORD}\n",
    "a key without a section": f"secret_key = {WORD}\n[s3.source]\n",
    "a secret on a line of its own": f"[s3.source]\nsecret_key = x\n{WORD}\n",
    "a secret for a key": f"[s3.source]\n{WORD}/+ = secret\n",
    "a secret of two lines": f"[s3.source]\nsecret_key = {WORD}\n  {WORD}\n",
    "a secret for a section": f"[{WORD}/+]\nsecret_key = x\n",
    "a secret for a port": f"[pg.database]\nport = user:{WORD}@host\n",
    "a secret in a URL": f"[s3.source]\nendpoint_url = https://user:{WORD}@host\n",
    "another kind of database": f"[pg.database]\nurl = mysql://user:{WORD}@host/db\n",
    "one key of two": f"[s3.source]\naccess_key = {WORD}\nbucket = b\n",
    "a key twice": f"[s3.source]\nsecret_key = {WORD}\nsecret_key = {WORD}\n",
    "no UTF-8": f"[s3.source]\nsecret_key = {WORD}\xff\n",
}


@pytest.mark.parametrize("broken", CONFIGS)
def test_not_when_the_configuration_is_broken(tmp_path: Path, broken: str) -> None:
    site = Site(tmp_path)
    site.config.write_bytes(CONFIGS[broken].encode("latin-1"))
    site.config.chmod(0o600)
    done = site.run("-vv", "--debug", "plan", code=4)
    assert_nothing_left(site, done)


# --- the database and the way there ---


@pytest.mark.parametrize("form", ["keys", "url", "environment"])
def test_not_when_the_database_refuses_the_password(
    tmp_path: Path, store: RawServer, database: DatabaseAddress, form: str
) -> None:
    site = configured(tmp_path, store.endpoint_url)
    wrong = SECRETS["database-password"]
    keys = pg_section(database) | {"password": wrong}
    if form == "url":
        url = f"postgresql://{database.user}:{quote(wrong, safe='')}@{database.host}:{database.port}/{database.name}"
        del site.sections["pg.database"]
        keys = {"url": url}
    elif form == "environment":
        del keys["password"]
        site.sections["pg.database"].pop("password")
        site.environ["PGPASSWORD"] = wrong
    site.configure(pg_database=keys)
    for options, command in ((("-vv", "--debug"), "plan"), (("-v",), "doctor" if form == "url" else "plan")):
        done = site.run(*options, command, code=None)
        assert done.returncode in (5, 7)
        assert "password authentication failed" in done.stdout + done.stderr
        assert_nothing_left(site, done)


@pytest.mark.parametrize("form", ["keys", "url"])
def test_not_when_a_server_repeats_the_password(tmp_path: Path, store: RawServer, form: str) -> None:
    site = configured(tmp_path, store.endpoint_url)
    password = SECRETS["database-password"]
    with EvilPostgres() as evil:
        keys = {"host": "127.0.0.1", "port": str(evil.port)}
        if form == "url":
            del site.sections["pg.database"]
            keys = {"url": f"postgresql://me:{quote(password, safe='')}@127.0.0.1:{evil.port}/db?sslmode=disable"}
        site.configure(pg_database=keys)
        for options in ((), ("-vv", "--debug")):
            done = site.run(*options, "plan", code=5)
            assert "no entry for ***" in done.stderr
            assert_nothing_left(site, done)
        assert evil.passwords == [password.encode()] * 2


def test_not_when_a_url_cannot_be_understood(tmp_path: Path, store: RawServer) -> None:
    site = configured(tmp_path, store.endpoint_url)
    del site.sections["pg.database"]
    for url in (f"postgresql://u:{WORD}/x@h/d", f"postgresql://u:{WORD}%zz@h/d", f"postgresql://u:{WORD}@h:x/d"):
        site.configure(pg_database={"url": url})
        assert_nothing_left(site, site.run("--debug", "plan", code=5))


@pytest.mark.parametrize("by", ["password", "passphrase"])
def test_not_when_the_tunnel_refuses(
    tmp_path: Path,
    store: RawServer,
    ssh_server: Callable[..., SshServer],
    by: str,
) -> None:
    server = ssh_server(password="another")
    site = configured(tmp_path, store.endpoint_url)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(server.known_hosts_line)
    tunnel = {
        "enabled": "true",
        "ssh_host": server.host,
        "ssh_port": str(server.port),
        "ssh_user": server.username,
        "known_hosts": str(known_hosts),
    }
    if by == "passphrase":
        write_key(tmp_path / "id", passphrase="another")
        tunnel["ssh_key"] = str(tmp_path / "id")
    site.configure(pg_tunnel=tunnel)
    for options, command in ((("-vv", "--debug"), "plan"), (("-v",), "doctor")):
        done = site.run(*options, command, code=None)
        assert done.returncode in (5, 7), shown(done)
        assert_nothing_left(site, done)


# --- while it runs, when it is stopped, and when it breaks ---


def test_not_in_the_list_of_processes_nor_when_it_is_stopped(tmp_path: Path, store: RawServer) -> None:
    site = configured(tmp_path, store.endpoint_url)
    plan_for(site)
    asked, go_on = threading.Event(), threading.Event()

    def slow(request: RawRequest) -> bytes:
        if b"list-type=2" in first_line(request):
            return LISTING
        if b"mastosync-probe" in first_line(request):  # whether the stores are two
            return missing_objects(request)
        asked.set()
        go_on.wait(30)
        return STORES["objects are denied"](request)

    store.answers = slow
    process = site.start("-vv", "--debug", "copy")
    try:
        assert asked.wait(60)
        place = Path("/proc") / str(process.pid)
        if place.is_dir():
            for name in ("cmdline", "comm", "stat", "status"):
                assert_nothing_in((place / name).read_bytes(), (WORD,), name)
            for task in (place / "task").iterdir():
                assert_nothing_in((task / "comm").read_bytes(), (WORD,), "a thread")
                assert (task / "children").read_text() == "", "a process that we start could tell"
        process.send_signal(signal.SIGINT)
    finally:
        go_on.set()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    assert_nothing_left(site, done)


@pytest.fixture
def inside(tmp_path: Path, store: RawServer, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose commands are run within this process."""
    site = configured(tmp_path, store.endpoint_url)
    for name in [name for name in os.environ if name.startswith(("MASTOSYNC_", "AWS_", "PG"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return site


@pytest.mark.parametrize("options", VERBOSITIES, ids=" ".join)
def test_not_when_it_meets_a_bug(
    inside: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], options: Sequence[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError(f"library at fault: {WORDS['source']} {SECRETS['database-password']} {SECRETS['broker']}")

    monkeypatch.setattr(plan, "plan", broken)
    code = cli_main.main([*options, "plan"])
    told = capfd.readouterr()
    assert code == 1
    assert "LookupError" in told.err
    assert_nothing_left(inside, subprocess.CompletedProcess([], code, told.out, told.err))


def dumped(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a reporter of errors would keep of a command's: all frames, with the variables in them."""
    dumps: list[str] = []

    def tell(*_: object) -> None:
        problem = sys.exception()
        assert problem is not None
        dumps.append("".join(traceback.TracebackException.from_exception(problem, capture_locals=True).format()))

    monkeypatch.setattr(cli_main, "_report_error", tell)
    cli_main.main(list(arguments))
    (dump,) = dumps
    return dump


@pytest.mark.parametrize("command", ["plan", "copy", "verify", "adopt", "orphans"])
@pytest.mark.parametrize("outcome", ["the key is unknown", "no document", "no HTTP", "a redirect"])
def test_not_in_a_dump_with_variables(
    inside: Site, store: RawServer, monkeypatch: pytest.MonkeyPatch, command: str, outcome: str
) -> None:
    store.answers = STORES[outcome]
    plan_for(inside)
    dump = dumped(["--no-progress", *ARGUMENTS[command]], monkeypatch)
    assert "config = Config(" in dump or "self = " in dump
    assert_nothing_in(dump.encode(), (WORD,), f"a dump of {command}")


def test_not_in_a_dump_of_a_client_that_cannot_be_made(inside: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    inside.configure(s3_source={"endpoint_url": "https://-bad-.example"})
    plan_for(inside)
    assert_nothing_in(dumped(["copy"], monkeypatch).encode(), (WORD,), "a dump")


def test_not_in_a_dump_of_a_database_that_refuses(inside: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with EvilPostgres() as evil:
        inside.configure(pg_database={"host": "127.0.0.1", "port": str(evil.port)})
        dump = dumped(["plan"], monkeypatch)
    assert "no entry for ***" in dump
    assert_nothing_in(dump.encode(), (WORD,), "a dump")


# --- when all is well ---


def test_not_when_all_is_well(buckets: BucketPair, new_migration: MigrationFactory) -> None:
    """With the very credentials that open the stores and the database, at each verbosity in turn."""
    migration = new_migration(buckets, accounts=3, media=3, missing=1)
    site = migration.site
    site.configure(celery={"broker": SECRETS["broker"], "backend": SECRETS["backend"]})
    site.environ["MASTOSYNC_PG_TUNNEL_SSH_PASSWORD"] = SECRETS["ssh-password"]
    words = (WORD, buckets.address.secret_key, migration.database.password)
    for number, command in enumerate([name for name in COMMANDS if name != "verify"] + ["verify"]):
        for verbosity in (VERBOSITIES[number % len(VERBOSITIES)], ("-vv", "--debug", "--log-file", "run.log")):
            (site.folder / "another.ini").unlink(missing_ok=True)
            done = site.run(*verbosity, *ARGUMENTS[command], code=None)
            assert done.returncode in (0, 3), shown(done)
            assert_nothing_left(site, done, words)
    assert COMMAND.name == "mastosync"
