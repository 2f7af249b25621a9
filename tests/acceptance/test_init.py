"""`init --from-env`: from the settings that Mastodon has to a plan, by one command and a destination."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from signal import Signals

import pytest

from lab.addresses import DatabaseAddress, S3Address
from lab.buckets import BucketPair
from lab.instance import populate
from mastosync.config import CHANGE_ME
from tests.support.site import COMMAND, Site, shown
from tests.support.waiting import wait_until

SECRET = "m4rked secret"


@pytest.fixture
def live(tmp_path: Path) -> Site:
    """The folder of a Mastodon whose settings lie in `live/.env.production`."""
    (tmp_path / "live").mkdir()
    return Site(tmp_path)


def write_settings(site: Site, text: str) -> None:
    path = site.folder / "live" / ".env.production"
    path.touch(mode=0o600)
    path.write_text(text)


def settings_for(database: DatabaseAddress, address: S3Address, bucket: str) -> str:
    return (
        "# Generated with mastodon:setup\n"
        "LOCAL_DOMAIN=example.social\n"
        f"DB_HOST={database.host}\nDB_PORT={database.port}\nDB_NAME={database.name}\n"
        f"DB_USER={database.user}\nDB_PASS='{database.password}' # of the lab\n"
        f'export S3_ENABLED="true"\nS3_BUCKET={bucket}\nS3_ENDPOINT={address.endpoint_url}/\nS3_REGION=us-east-1\n'
        f'AWS_ACCESS_KEY_ID={address.access_key}\nAWS_SECRET_ACCESS_KEY="{address.secret_key}"\n'
    )


def converse(site: Site, answers: Sequence[str | Signals], *arguments: str) -> tuple[int, str]:
    """Run the command on a terminal and type an answer whenever it waits for one; the screen is what it shows.

    A signal is an answer, too.
    """
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=site.folder,
        env=site.environment(),
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,  # or a secret would be asked for on the terminal of whoever runs the tests
    )
    os.close(end)
    screen, answered, deadline = b"", 0, time.monotonic() + 60
    with os.fdopen(terminal, "rb+", buffering=0) as keyboard:
        while process.poll() is None or select.select([keyboard], [], [], 0)[0]:
            if time.monotonic() > deadline:
                process.kill()
                pytest.fail(f"it still waits:\n{screen.decode()}")
            if not select.select([keyboard], [], [], 0.1)[0]:
                continue
            try:
                part = keyboard.read(4096)
            except OSError:  # Linux's way to say that the other end is closed
                break
            screen += part
            if screen.endswith(b": ") and answered < len(answers):
                if isinstance(answer := answers[answered], Signals):
                    # or it comes before the system waits for a key, and is heeded when there is one
                    wait_until(lambda: is_asleep(process.pid), "it waits for a key")
                    process.send_signal(answer)
                else:
                    keyboard.write(answer.encode() + b"\n")
                answered += 1
    return process.wait(60), screen.decode()


def is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_a_plan_is_one_command_and_a_destination_away(
    live: Site, buckets: BucketPair, database: DatabaseAddress
) -> None:
    instance = populate(database, buckets.client, buckets.source, accounts=4, media=4, large_video_bytes=0)
    address = buckets.address
    write_settings(live, settings_for(database, address, buckets.source))
    done = live.run("init", "--from-env", "live/.env.production")
    assert done.stderr == ""
    assert address.secret_key not in done.stdout
    assert "no Cache-Control at the source get public, max-age=315576000, immutable" in done.stdout
    text = live.config.read_text()
    assert live.config.stat().st_mode & 0o777 == 0o600
    assert address.secret_key not in text
    assert text.count(f"= {CHANGE_ME}\n") == 4
    left = ("access_key", "secret_key", "endpoint_url", "bucket")
    told = f"{', '.join(f'[s3.destination] {key}' for key in left)} are still {CHANGE_ME}"
    for command in ("plan", "doctor"):
        assert told in live.run(command, code=4).stderr

    for key, value in (
        ("access_key", address.access_key),
        ("secret_key", "env:AWS_SECRET_ACCESS_KEY"),
        ("endpoint_url", address.endpoint_url),
        ("bucket", buckets.destination),
    ):
        text = text.replace(f"\n{key} = {CHANGE_ME}\n", f"\n{key} = {value}\n")
    live.config.write_text(text)
    dry = live.run("plan", "--dry-run")
    assert f"{len(instance.objects):,}" in dry.stdout
    assert "warning" not in dry.stderr
    doctor = live.run("doctor", code=None)
    assert doctor.returncode == 0, shown(doctor)


def test_on_a_terminal_the_destination_is_asked_for(live: Site, buckets: BucketPair, database: DatabaseAddress) -> None:
    address = buckets.address
    populate(database, buckets.client, buckets.source, accounts=2, media=2, large_video_bytes=0)
    write_settings(live, settings_for(database, address, buckets.source))
    answers = [
        *("nowhere", "seaweedfs", "127.0.0.1:1", address.endpoint_url),
        *("a/b", buckets.destination, address.access_key, address.secret_key),
    ]
    code, screen = converse(live, answers, "init", "--from-env", "live/.env.production")
    assert code == 0, screen
    assert "That is none of them" in screen
    assert "https://127.0.0.1:1" in screen
    assert "a bucket's name holds no slash" in screen
    assert "hetzner" in screen
    assert "https://REGION.your-objectstorage.com" in screen
    assert address.secret_key not in screen
    assert "run `mastosync doctor`" in screen
    assert CHANGE_ME + "\n" not in live.config.read_text()
    live.run("plan")
    live.run("copy", "--limit", "1")
    assert live.status()["totals"]["done"] == 1


@pytest.mark.parametrize(
    ("answers", "lines"),
    [
        (["folder", "/backup"], ["path = /backup"]),
        (["hetzner", "fsn1", "media", ""], ["endpoint_url = https://fsn1.your-objectstorage.com", "bucket = media"]),
        (["aws", "eu-west-1", "media", "AKIA", "env:KEY"], ["region = eu-west-1", "secret_key = env:KEY"]),
        (["scaleway", "", "", ""], ["endpoint_url = https://s3.fr-par.scw.cloud", f"bucket = {CHANGE_ME}"]),
    ],
    ids=["folder", "region", "amazon", "open"],
)
def test_its_answers_stand_in_the_file(live: Site, answers: list[str], lines: list[str]) -> None:
    write_settings(live, "S3_ENABLED=true\nS3_BUCKET=old\n")
    code, screen = converse(live, answers, "init", "--from-env", "live/.env.production")
    assert code == 0, screen
    destination = live.config.read_text().partition("[s3.destination]")[2].partition("[pg.database]")[0].splitlines()
    assert set(lines) <= set(destination), screen


def test_who_leaves_leaves_no_file(live: Site) -> None:
    write_settings(live, "LOCAL_DOMAIN=example.social\n")
    answers: list[list[str | Signals]] = [["\x04"], [Signals.SIGINT], ["folder", Signals.SIGTERM]]
    for given in answers:
        code, screen = converse(live, given, "init", "--from-env", "live/.env.production")
        assert code == 130, screen
        *_, said, remedy = screen.splitlines()
        assert said == "mastosync: stopped: nothing was written", screen
        assert remedy == "  the same command begins anew"
        assert not live.config.exists()


def test_a_file_that_is_there_stays_and_nobody_is_asked(live: Site) -> None:
    live.config.write_text("mine")
    write_settings(live, "S3_ENABLED=true\n")
    code, screen = converse(live, [], "init", "--from-env", "live/.env.production")
    assert (code, "exists already" in screen) == (2, True), screen
    assert live.config.read_text() == "mine"


@pytest.mark.parametrize("options", [(), ("--copy-secrets",), ("--env-syntax", "docker")], ids=str)
def test_no_secret_is_told(live: Site, options: tuple[str, ...]) -> None:
    write_settings(
        live,
        f"{SECRET}\nS3_ENABLED=true\nS3_BUCKET='{SECRET}'\nS3_ENDPOINT={SECRET}\nAWS_ACCESS_KEY_ID={SECRET}\n"
        f"AWS_SECRET_ACCESS_KEY='{SECRET}'\nDB_PASS=\"{SECRET}\"\nDB_PORT={SECRET}\nDATABASE_URL={SECRET}\n"
        f"REPLICA_DATABASE_URL={SECRET}\n",
    )
    done = live.run("-vv", "--debug", "init", "--from-env", "live/.env.production", *options)
    assert "m4rked" not in done.stdout + done.stderr
    assert ("m4rked" in live.config.read_text()) == ("--copy-secrets" in options)
    assert live.config.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_begun_says_what_to_do(live: Site) -> None:
    missing = live.run("init", "--from-env", "live/nothing", code=4)
    assert "live/nothing cannot be read: No such file" in missing.stderr
    write_settings(live, "SWIFT_ENABLED=true")
    swift = live.run("init", "--from-env", "live/.env.production", code=4)
    assert "OpenStack Swift" in swift.stderr
    assert "about the file of --from-env" in live.run("init", "--copy-secrets", code=2).stderr
    assert not live.config.exists()
