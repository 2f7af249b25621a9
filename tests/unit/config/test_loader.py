"""Files and environment become a `Config`, or are refused with their place and a remedy."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mastosync.config import (
    S3Config,
    Secret,
    load_config,
)
from mastosync.errors import ConfigError, ExitCode
from tests.support.configurations import (
    OLD_TOOL,
    S3,
    STORES,
    Load,
    everything_said,
)


class TestOldFiles:
    def test_a_file_of_the_older_tool_loads_unchanged(self, load: Load) -> None:
        config = load(OLD_TOOL)

        assert config.source == S3Config(
            access_key="AKIAOLD",
            secret_key=Secret("s%cr#t;one"),
            endpoint_url="https://s3.old.example",
            bucket="old-media",
        )
        assert config.destination.secret_key == Secret("100%%sure=yes")
        assert config.database.password == Secret("p#a;s%s")
        assert not config.tunnel.enabled
        assert (config.tunnel.ssh_host, config.tunnel.ssh_port, config.tunnel.local_port) == (None, 22, 0)
        assert config.celery.broker == Secret("redis://:brokerpass@localhost:6379/0")
        assert (config.celery.concurrency, config.celery.log_level) == (10, "info")
        assert config.warnings == ()

    def test_its_tunnel_loads_when_enabled(self, load: Load) -> None:
        tunnel = """
            enabled = True
            ssh_host = gate.example
            ssh_port = 2222
            ssh_user = deploy
            ssh_key = ~/.ssh/id_ed25519
            local_host = 127.0.0.1
            local_port = 5433
        """
        config = load(f"[pg.database]\nhost = db.internal\n[pg.tunnel]{tunnel}")

        assert config.require_database().host == "db.internal"
        assert config.tunnel.enabled
        assert (config.tunnel.ssh_port, config.tunnel.local_port) == (2222, 5433)
        assert config.tunnel.ssh_key == Path("~/.ssh/id_ed25519").expanduser()
        assert config.tunnel.known_hosts == Path("~/.ssh/known_hosts").expanduser()

    @pytest.mark.parametrize("bom", ["", "\ufeff"])
    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_a_byte_order_mark_and_windows_line_ends_change_nothing(
        self, config_file: Callable[[str], Path], bom: str, newline: str
    ) -> None:
        path = config_file("")
        path.write_bytes((bom + OLD_TOOL.replace("\n", newline)).encode())

        assert load_config(path, {}).destination.secret_key == Secret("100%%sure=yes")


REFUSED = [
    # the text, what the message says, what the hint says
    ("[s3.source]\nbukcet = media", "[s3.source] has no key bukcet", "bucket"),
    ("[copy]\ncolour = red", "[copy] has no key colour", "workers"),
    ("[s3.source]\nacl = private", "[s3.source] has no key acl", "belongs to [s3.destination]"),
    ("[s3.sorce]\nbucket = media", "no section [s3.sorce]", "Did you mean [s3.source]?"),
    ("[S3.Destination]\nbucket = media", "no section [S3.Destination]", "[s3.destination]"),
    ("[DEFAULT]\nbucket = media", "no section [DEFAULT]", "[s3.source], "),
    ("[copy]\nworkers = 4\n[copy]\nworkers = 5", "line 3: the section [copy] is there already", "one"),
    ("[copy]\nworkers = 4\n\nWorkers = 5", "line 4: [copy] has the key workers already", "one"),
    ("bucket = media", "line 1: a key before the first section", "[section]"),
    ("", "is no configuration: it has no section", "mastosync init"),
    ("# nothing but a remark", "is no configuration: it has no section", "mastosync init"),
    ("# Title\n\nSome words: of a page.", "is no configuration: it has no section", "mastosync init"),
    ("# Title\n\n[A link](of/a/page)\n\nSome words", "is no configuration: it has no section", "mastosync init"),
    ("LOCAL_DOMAIN=example.social\nDB_PASS=x", "is no configuration: it has no section", "init --from-env"),
    ("export S3_BUCKET=media", "is no configuration: it has no section", "init --from-env"),
    ("[copy]\nworkers", "line 2: neither a [section] nor key = value", "#"),
    ("[copy]\nworkers = 4\n  max_attempts = 2", "[copy] workers spans several lines", "indented"),
    ("[copy]\nworkers = many", "[copy] workers: 'many' is not a whole number of at least 1", "default is 8"),
    ("[copy]\nworkers = 0", "[copy] workers: '0' is not a whole number of at least 1", "default is 8"),
    ("[copy]\nworkers = 2.5", "'2.5' is not a whole number", ""),
    ("[copy]\nworkers = 1_000", "'1_000' is not a whole number", ""),
    ("[copy]\nworkers = ८", "is not a whole number", ""),
    ("[copy]\nmax_attempts = -1", "'-1' is not a whole number", ""),
    ("[copy]\nthrottle_budget_seconds = nan", "'nan' is not a number of seconds", "900"),
    ("[copy]\npart_size = 4MiB", "[copy] part_size: '4MiB' is not a size such as 16MiB, from 5MiB to 5GiB", "16MiB"),
    ("[copy]\npart_size = 6GiB", "from 5MiB to 5GiB", "16MiB"),
    ("[copy]\nmultipart_threshold = big", "'big' is not a size", "200MiB"),
    ("[copy]\nmemory = 32MiB\npart_size = 64MiB", "part_size is more than memory (32MiB)", "Lower it"),
    ("[copy]\nprivate_objects = publish", "'publish' is not one of skip, copy", "skip"),
    ("[plan]\nonly = locale", "'locale' is not one of all, local, remote", "local"),
    ("[plan]\ntypes = accounts, emojis", "[plan] types: 'emojis' is no type", "custom_emojis"),
    ("[plan]\nlimit = 0", "'0' is not a whole number", ""),
    ("[copy]\nrate = 0", "'0' is not a whole number of at least 1", "leave it out"),
    ("[copy]\nrate = fast", "'fast' is not a whole number", ""),
    ("[copy]\nbwlimit = fast", "'fast' is not off, bytes a second such as 5M", "the default is off"),
    ("[copy]\nbwlimit = 512", "'512' has no unit", "512K"),
    ("[copy]\nbwlimit = 8:00,5M", "'8:00,5m' does not begin with a time", "Mon-08:00,5M"),
    ("[copy]\nbwlimit = Mno-08:00,5M", "'mno' is no day", "mon"),
    (S3 + "provider = minoi", "'minoi' is not one of akamai, aws, b2", "minio"),
    (S3 + "provider = zzz", "'zzz' is not one of akamai, aws, b2", ""),
    (S3 + "provider = r2", "[s3.source] has no endpoint_url, and r2 needs one", "Amazon"),
    (S3 + "addressing_style = host", "'host' is not one of auto, path, virtual", ""),
    (S3 + "endpoint_url = s3.example.com", "does not start with http", "Write https://s3.example.com"),
    (S3 + "endpoint_url = ftp://s3.example.com", "is not the http or https URL of a store", ""),
    (S3 + "endpoint_url = https://", "is not the http or https URL of a store", ""),
    (S3 + "endpoint_url = https:///path", "is not the http or https URL of a store", ""),
    (S3 + "endpoint_url = https://s3.example.com:port", "is not the http or https URL of a store", ""),
    (S3 + "endpoint_url = https://s3.example.com:99999", "is not the http or https URL of a store", ""),
    (S3 + "endpoint_url = https://s3.example.com:0", "is not the http or https URL of a store", ""),
    (S3 + "endpoint_url = https://s3.example.com/?X-Amz-Signature=hunter2", "endpoint_url: a query in the URL", "?"),
    (S3 + "endpoint_url = https://s3.exa mple.com", "is not the http or https URL of a store", ""),
    (S3 + "endpoint_url = https://[::1", "is not the http or https URL of a store", ""),
    (S3 + "endpoint_url = https://me:hunter2@s3.example.com", "a user name or password in the URL", "secret_key"),
    (
        S3 + "endpoint_url = https://media.s3.example.com:8443",
        "the bucket is in the endpoint twice",
        "https://s3.example.com:8443.",
    ),
    (
        S3 + "endpoint_url = https://s3.example.com/media/",
        "the bucket is in the endpoint twice",
        "https://s3.example.com.",
    ),
    (S3 + "access_key = AKIA", "[s3.source] has access_key without secret_key", "both"),
    (S3 + "secret_key = hunter2", "[s3.source] has secret_key without access_key", "both"),
    (S3 + "connect_timeout_seconds = 0", "'0' is not a number of seconds, at least 0.1", "10"),
    ("[s3.source]\nbucket = media/cache", "a bucket's name holds no slash", "key_prefix"),
    ("[s3.source]\nbucket = my media", "'my media' is not the name of a bucket", ""),
    ("[s3.destination]\nacl = public", "'public' is not one of auto, public-read", "public-read"),
    ("[pg.database]\nport = 70000", "'70000' is not a whole number from 1 to 65535", "5432"),
    ("[pg.database]\nhost = postgresql://db/x", "a URL where a host name belongs", "host"),
    ("[pg.database]\nsslmode = on", "'on' is not one of disable", ""),
    ("[pg.database]\nurl = mysql://u:hunter2@h/d", "url: the value is not a URL that starts with postgresql://", ""),
    (
        "[pg.database]\nurl = postgresql://h/d\nhost = h\nport = 1",
        "[pg.database] has a url, and also host, port",
        "either",
    ),
    ("[pg.tunnel]\nenabled = maybe", "'maybe' is not true or false", "false"),
    ("[celery]\nlog_level = loud", "'loud' is not one of debug", ""),
    ("[s3.source]\nbucket = CHANGE-ME", "[s3.source] bucket is still CHANGE-ME", "Fill it in"),
]


class TestRefusals:
    def test_all_that_is_still_to_fill_in_is_told_at_once(self, config_file: Callable[[str], Path]) -> None:
        path = config_file(
            "[s3.source]\naccess_key = CHANGE-ME\nbucket = old\n"
            "[s3.destination]\nbucket = CHANGE-ME\nregion = CHANGE-ME\n[copy]\nworkers = many"
        )

        with pytest.raises(ConfigError) as caught:
            load_config(path, {"MASTOSYNC_S3_DESTINATION_REGION": "here"})

        names = "[s3.source] access_key, [s3.destination] bucket"
        assert caught.value.message == f"{path}: {names} are still CHANGE-ME"
        assert caught.value.hint.startswith("Fill them in")

    @pytest.mark.parametrize(("text", "message", "hint"), REFUSED)
    def test_what_is_wrong_is_refused_with_its_place_and_a_remedy(
        self, config_file: Callable[[str], Path], text: str, message: str, hint: str
    ) -> None:
        path = config_file(text)

        with pytest.raises(ConfigError) as caught:
            load_config(path, {})

        assert caught.value.message.startswith(str(path))
        assert message in caught.value.message
        assert hint in caught.value.hint
        assert caught.value.hint
        assert caught.value.exit_code is ExitCode.CONFIG
        assert "hunter2" not in everything_said(caught.value)

    def test_a_server_that_really_has_the_name_of_the_bucket_is_accepted_when_the_path_is_asked_for(
        self, load: Load
    ) -> None:
        text = "[s3.source]\nbucket = media\nendpoint_url = https://media.example.com\naddressing_style = path"

        assert load(text).source.endpoint_url == "https://media.example.com"

    def test_a_database_url_may_stand_beside_a_time_limit(self, load: Load) -> None:
        text = "[pg.database]\nurl = postgresql://u:p%40w@h:5433/d\nconnect_timeout_seconds = 3"

        assert load(text).require_database().url == Secret("postgresql://u:p%40w@h:5433/d")

    def test_a_file_that_is_not_utf8_is_refused(self, config_file: Callable[[str], Path]) -> None:
        path = config_file("")
        path.write_bytes(b"[s3.source]\nsecret_key = hunter2\xff\n")

        with pytest.raises(ConfigError, match="is not UTF-8") as caught:
            load_config(path, {})
        assert "hunter2" not in everything_said(caught.value)

    def test_a_program_is_no_configuration(self) -> None:
        with pytest.raises(ConfigError, match="is no text") as caught:
            load_config(Path(sys.executable), {})
        assert caught.value.hint == "Name another file."

    @pytest.mark.parametrize(
        ("name", "problem"), [(".", "is a folder"), ("missing.ini", "cannot be read: No such file")]
    )
    def test_a_file_that_cannot_be_read_is_refused(self, tmp_path: Path, name: str, problem: str) -> None:
        with pytest.raises(ConfigError, match=problem):
            load_config(tmp_path / name, {})

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_without_permission_is_refused(self, config_file: Callable[[str], Path]) -> None:
        path = config_file(STORES)
        path.chmod(0)

        with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
            load_config(path, {})


class TestPermissions:
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
    def test_a_file_with_secrets_that_others_can_read_is_warned_of(
        self, config_file: Callable[[str], Path], mode: int
    ) -> None:
        path = config_file(OLD_TOOL)
        path.chmod(mode)

        (warning,) = load_config(path, {}).warnings

        assert f"chmod 600 {path}" in warning

    @pytest.mark.parametrize(
        ("text", "mode"), [(OLD_TOOL, 0o600), (OLD_TOOL, 0o400), (OLD_TOOL, 0o620), (STORES, 0o644)]
    )
    def test_a_file_without_secrets_or_readers_is_not(
        self, config_file: Callable[[str], Path], text: str, mode: int
    ) -> None:
        path = config_file(text)
        path.chmod(mode)

        assert load_config(path, {}).warnings == ()

    def test_secrets_of_the_environment_are_no_matter_of_the_file(self, config_file: Callable[[str], Path]) -> None:
        path = config_file(STORES)
        path.chmod(0o644)

        assert load_config(path, {"MASTOSYNC_PG_DATABASE_PASSWORD": "x"}).warnings == ()

    def test_the_command_can_be_pasted_for_any_name(self, tmp_path: Path) -> None:
        path = tmp_path / "my config.ini"
        path.write_text("[pg.database]\npassword = x", encoding="utf-8")
        path.chmod(0o644)
        (warning,) = load_config(path, {}).warnings

        subprocess.run(["sh", "-c", warning.partition(": ")[2]], check=True)

        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert load_config(path, {}).warnings == ()


class TestUnguarded:
    @pytest.mark.parametrize("endpoint", ["https://s3.test", "HTTPS://s3.test", "http://s3.test", None])
    @pytest.mark.parametrize("role", ["source", "destination"])
    def test_a_store_that_is_not_verified_is_warned_of_whatever_its_address(
        self, tmp_path: Path, role: str, endpoint: str | None
    ) -> None:
        """One that is asked by http may have a public address by https."""
        path = tmp_path / "config.ini"
        address = f"endpoint_url = {endpoint}\n" if endpoint else ""
        path.write_text(f"[s3.{role}]\nbucket = b\n{address}verify_tls = off\n")
        (warning,) = load_config(path, {}).warnings
        assert f"[s3.{role}] verify_tls is false" in warning
        assert "ca_bundle" in warning

    def test_others_are_not(self, tmp_path: Path) -> None:
        path = tmp_path / "config.ini"
        path.write_text("[s3.source]\nbucket = b\nverify_tls = yes\nca_bundle = ca.pem\n")
        assert load_config(path, {}).warnings == ()
