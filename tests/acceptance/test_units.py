"""The units of `contrib/systemd` and the line for cron do what they are for, as systemd and cron would run them.

What the unit says of its user, environment and folders is carried out here, in a mount namespace: home folders are
hidden, the rest is read-only, and the command runs as a user without any rights.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.addresses import DatabaseAddress
from lab.buckets import BucketPair
from lab.faults import FaultProxy
from lab.instance import populate
from mastosync.config import CHANGE_ME
from tests.acceptance.test_init import settings_for, write_settings
from tests.support.bucket_checks import assert_holds, stored
from tests.support.media_folders import lay_down
from tests.support.site import COMMAND, Site
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from tests.unit.test_contrib import SERVICES, lines_of
from tests.unit.test_docs import ROOT

FEW: dict[str, Any] = {"accounts": 3, "media": 3, "large_video_bytes": 0, "missing": 0, "all_oddities": False}
NOBODY = 61_803  # a user that no machine has
ETC, HOME, LIVE, STATE = "/etc/mastosync", "/home/mastodon", "/home/mastodon/live", "/var/lib/mastosync"
HIDDEN = ("/home", "/root", "/run/user")  # by ProtectHome
FOLLOW, ONCE = sorted(SERVICES, key=lambda unit: "once" in unit.name)

HOST = f"""
set -e
mount -t tmpfs none /var/lib && mkdir {STATE} && mount --bind "$FOLDER/state" {STATE}
mount -t tmpfs none /mnt && mkdir /mnt/etc && mount --bind "$FOLDER/etc" /mnt/etc
mount -t tmpfs none /home && mkdir -p {LIVE} && chown {NOBODY} {HOME} && chmod 750 {HOME}
mount --bind "$FOLDER/live" {LIVE}
"""
"""A machine with Mastodon on it, of which all lies below one folder."""

AS_USER = f"exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups"


def can_be_run() -> bool:
    hidden = any(str(COMMAND.resolve()).startswith(f"{each}/") for each in HIDDEN)
    tools = all(map(shutil.which, ("unshare", "setpriv", "flock")))
    if os.geteuid() or hidden or not tools:
        return False
    return not subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode


pytestmark = [
    pytest.mark.timing,
    pytest.mark.skipif("not can_be_run()", reason="only root can make a mount namespace, and not everywhere"),
]


@pytest.fixture
def live(tmp_path: Path, database: DatabaseAddress, buckets: BucketPair) -> Site:
    """A Mastodon's folder, and those of mastosync, which belong to its user."""
    for folder in ("live", "etc", "state"):
        (tmp_path / folder).mkdir()
    return Site(tmp_path)


def configured(site: Site, buckets: BucketPair, settings: str, endpoint_url: str) -> None:
    """What `init --from-env` writes, with the destination filled in."""
    write_settings(site, settings)
    site.run("init", "--from-env", str(site.folder / "live" / ".env.production"), "--output", "etc/config.ini")
    config = site.folder / "etc" / "config.ini"
    text = config.read_text().replace(str(site.folder / "live"), LIVE)
    address = buckets.address
    for key, value in (
        ("access_key", address.access_key),
        ("secret_key", address.secret_key),
        ("endpoint_url", endpoint_url),
        ("bucket", buckets.destination),
    ):
        text = text.replace(f"\n{key} = {CHANGE_ME}\n", f"\n{key} = {value}\n")
    config.write_text(text)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", site.folder], check=True)


def as_here(text: str) -> str:
    """Words of a unit, of this machine: the command is that of the tests, and /etc is nobody's."""
    there = text.replace("%S", str(Path(STATE).parent)).replace(ETC, "/mnt/etc")
    return there.replace("/usr/local/bin/mastosync", shlex.quote(str(COMMAND)))


def confined(unit: Path) -> str:
    """What systemd does before it starts a service, as a script."""
    assert lines_of(unit, "ProtectHome") == ["tmpfs"]
    assert lines_of(unit, "User") == lines_of(unit, "Group") == ["mastodon"]
    script = ["mkdir /mnt/seen"]
    seen = [path.removeprefix("-") for path in lines_of(unit, "BindReadOnlyPaths")]
    for number, path in enumerate(seen):
        make = f'if [ -d {path} ]; then mkdir "$P"; else touch "$P"; fi; mount --bind {path} "$P"'
        script.append(f"P=/mnt/seen/{number}; if [ -e {path} ]; then {make}; fi")
    script += [f"mount -t tmpfs none {folder}" for folder in HIDDEN if Path(folder).is_dir()]
    for number, path in enumerate(seen):
        make = f'if [ -d "$P" ]; then mkdir -p {path}; else mkdir -p {Path(path).parent}; touch {path}; fi'
        mounted = f'mount --bind "$P" {path}; mount -o remount,bind,ro {path}'
        script.append(f'P=/mnt/seen/{number}; if [ -e "$P" ]; then {make}; {mounted}; fi')
    (umask,), (folder,) = lines_of(unit, "UMask"), lines_of(unit, "WorkingDirectory")
    (line,) = lines_of(unit, "ExecStart")
    environment = " ".join(shlex.quote(as_here(each)) for each in lines_of(unit, "Environment"))
    script += [
        f"umask {umask}",
        f"cd {as_here(folder)}",
        f"{AS_USER} env -i HOME={HOME} USER=mastodon PATH=/usr/local/bin:/usr/bin:/bin {environment} {as_here(line)}",
    ]
    return "\n".join(script)


def started(site: Site, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["unshare", "-m", "sh", "-c", HOST + script],
        env={"FOLDER": str(site.folder), "PATH": os.environ["PATH"]},
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    told, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, told


def test_a_round_of_a_bucket_needs_nothing_but_what_init_writes(
    live: Site, buckets: BucketPair, database: DatabaseAddress
) -> None:
    instance = populate(database, buckets.client, buckets.source, **FEW)
    settings = settings_for(database, buckets.address, buckets.source)
    configured(live, buckets, settings, buckets.address.endpoint_url)
    code, told = ended(started(live, confined(ONCE)))
    assert code == 0, told
    assert_holds(buckets.client, buckets.destination, instance.at_destination())
    assert (live.folder / "state" / "mastosync.db").stat().st_mode & 0o777 == 0o600


def on_disk(site: Site, buckets: BucketPair, database: DatabaseAddress, endpoint_url: str) -> None:
    instance = populate(database, buckets.client, buckets.source, **FEW)
    lay_down(site.folder / "live" / "public" / "system", instance.at_source().values())
    settings = settings_for(database, buckets.address, buckets.source).replace('S3_ENABLED="true"', "S3_ENABLED=false")
    configured(site, buckets, settings, endpoint_url)


def test_a_service_follows_a_disk_until_it_is_told_to_stop(
    live: Site, buckets: BucketPair, database: DatabaseAddress, fault_proxy: Callable[..., FaultProxy]
) -> None:
    proxy = fault_proxy(buckets.address.endpoint_url)
    on_disk(live, buckets, database, proxy.endpoint_url)
    process = started(live, confined(FOLLOW))
    assert process.stdout is not None
    try:
        told: list[str] = []
        while not told or "round 1" not in told[-1]:
            line = process.stdout.readline()
            assert line, told
            told.append(line)
        assert not any("failed" in each for each in told)
        assert stored(proxy)
        process.send_signal(signal.Signals[lines_of(FOLLOW, "KillSignal")[0]])
        code, rest = ended(process)
        assert str(code) in lines_of(FOLLOW, "SuccessExitStatus"), rest
    finally:
        process.kill()


def test_the_line_for_cron_works_with_the_little_that_cron_gives(
    live: Site, buckets: BucketPair, database: DatabaseAddress
) -> None:
    on_disk(live, buckets, database, buckets.address.endpoint_url)
    (line,) = re.findall(r"^    \*/10 \* \* \* \* (.*)$", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE)
    assert "%" not in line, "which cron takes for the end of it"
    by_cron = f"cd {HOME} && {AS_USER} env -i HOME={HOME} LOGNAME=mastodon PATH=/usr/bin:/bin SHELL=/bin/sh /bin/sh -c "
    assert ended(started(live, by_cron + shlex.quote(as_here(line)))) == (0, "")
    (live.folder / "etc" / "config.ini").write_text("")
    code, told = ended(started(live, by_cron + shlex.quote(as_here(line))))
    assert (code, "mastosync: exit code 4" in told) == (0, True), told


def test_a_second_round_of_cron_leaves_the_first_alone(
    live: Site, buckets: BucketPair, database: DatabaseAddress
) -> None:
    (line,) = re.findall(r"^    \*/10 \* \* \* \* (.*)$", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE)
    configured(live, buckets, "LOCAL_DOMAIN=social.example\n", buckets.address.endpoint_url)
    holding = subprocess.Popen(["flock", live.folder / "state" / "cron.lock", "sleep", "100"])
    try:
        wait_until((live.folder / "state" / "cron.lock").exists, "somebody is at work")
        assert ended(started(live, f"exec sh -c {shlex.quote(as_here(line))}")) == (0, "")
    finally:
        holding.kill()
        holding.wait()
