import dataclasses
import os
import pickle
import re
import stat
import string
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mastosync.app.stores import settings_of, transfer_options
from mastosync.config import (
    PROVIDERS,
    Config,
    DatabaseConfig,
    FilesystemConfig,
    S3Config,
    Secret,
    find_config,
    load_config,
    parse_size,
    render_sample,
)
from mastosync.config.keys import CHANGE_ME, Key, variable
from mastosync.config.schema import sections
from mastosync.config.values import show_size
from mastosync.errors import ConfigError, ExitCode
from mastosync.model import TABLES

Load = Callable[..., Config]

ROOT = Path(__file__).parents[3]

HUNTER = "hunter2"  # the secret of these tests; by its name where a traceback would quote the line

STORES = """
[s3.source]
endpoint_url = https://s3.old.example
bucket = old-media

[s3.destination]
endpoint_url = https://s3.new.example
bucket = new-media
"""

OLD_TOOL = """\
[s3.source]
access_key = AKIAOLD
secret_key = s%cr#t;one
endpoint_url = https://s3.old.example
bucket = old-media

[s3.destination]
access_key = AKIANEW
secret_key = 100%%sure=yes
endpoint_url = https://s3.new.example/
bucket = new-media

[pg.database]
host = 127.0.0.1
port = 5432
user = mastodon
password = p#a;s%s
database = mastodon_production

[pg.tunnel]
enabled = false
ssh_host =
ssh_port =
ssh_user =
ssh_password =
ssh_key =
local_host =
local_port =

[celery]
broker = redis://:brokerpass@localhost:6379/0
backend = redis://:brokerpass@localhost:6379/1
concurrency = 10
log_level = INFO
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "config.ini"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def load(config_file: Callable[[str], Path]) -> Load:
    def load(text: str, **environ: str) -> Config:
        return load_config(config_file(text), environ)

    return load


def everything_said(error: BaseException) -> str:
    """What a log with a full traceback would show, contexts that were suppressed included."""
    said = []
    current: BaseException | None = error
    while current is not None:
        said += [repr(current), str(vars(current)), *traceback.format_exception(current)]
        current = current.__cause__ or current.__context__
    return "\n".join(said)


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


class TestDefaults:
    def test_a_store_has_the_documented_defaults(self, load: Load) -> None:
        store = load(STORES).destination

        assert (store.region, store.addressing_style, store.key_prefix) == ("us-east-1", "path", "")
        assert (store.connect_timeout_seconds, store.read_timeout_seconds) == (10, 60)
        assert (store.acl, store.cache_control, store.storage_class) == (
            "auto",
            "public, max-age=315576000, immutable",  # as Mastodon writes it
            None,
        )
        assert store.access_key is None
        assert store.secret_key is None

    def test_the_other_sections_have_the_documented_defaults(self, load: Load) -> None:
        config = load(STORES)

        assert config.database == DatabaseConfig("localhost", 5432, "mastodon", None, "mastodon_production", "prefer")
        assert config.database.connect_timeout_seconds == 10
        assert config.manifest.path == Path("mastosync.db")
        assert (config.plan.only, config.plan.types, config.plan.limit) == ("all", TABLES, None)
        assert (config.copy.workers, config.copy.max_attempts, config.copy.throttle_budget_seconds) == (8, 5, 900)
        assert (config.copy.multipart_threshold, config.copy.part_size) == (16 * 1024**2, 16 * 1024**2)
        assert config.copy.private_objects == "skip"

    def test_without_an_endpoint_the_sdk_decides_on_the_addressing(self, load: Load) -> None:
        assert load("[s3.source]\nbucket = media").source.addressing_style == "auto"

    @pytest.mark.parametrize(
        ("text", "region", "addressing_style"),
        [
            ("provider = r2\nendpoint_url = https://account.r2.cloudflarestorage.com", "auto", "path"),
            ("provider = R2\nendpoint_url = https://account.r2.cloudflarestorage.com\nregion = weur", "weur", "path"),
            ("provider = b2\nendpoint_url = https://s3.us-west-004.backblazeb2.com", "us-west-004", "path"),
            ("provider = b2\nendpoint_url = https://proxy.example.com", "us-east-1", "path"),
            ("provider = wasabi\nendpoint_url = https://s3.wasabisys.com", "us-east-1", "path"),
            ("provider = hetzner\nendpoint_url = https://fsn1.your-objectstorage.com", "fsn1", "path"),
            ("provider = scaleway\nendpoint_url = https://s3.nl-ams.scw.cloud/", "nl-ams", "path"),
            ("provider = garage\nendpoint_url = http://localhost:3900", "garage", "path"),
            ("provider = gcs\nendpoint_url = https://storage.googleapis.com", "auto", "path"),
            ("provider = aws", "us-east-1", "auto"),
            ("provider = aws\nendpoint_url = https://s3.eu-west-1.amazonaws.com", "eu-west-1", "auto"),
            ("endpoint_url = https://s3.eu-west-1.amazonaws.com", "eu-west-1", "auto"),
            ("endpoint_url = https://s3.amazonaws.com", "us-east-1", "auto"),
            ("endpoint_url = https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1", "auto"),
            ("endpoint_url = https://account.eu.r2.cloudflarestorage.com", "auto", "path"),
            ("endpoint_url = https://s3.eu-central-2.wasabisys.com", "eu-central-2", "path"),
            ("endpoint_url = https://s3.eu-west-par.io.cloud.ovh.net", "eu-west-par", "path"),
            ("endpoint_url = https://s3.us-east-va.io.cloud.ovh.us", "us-east-va", "path"),
            ("endpoint_url = https://sos-ch-gva-2.exo.io", "ch-gva-2", "path"),
            ("endpoint_url = https://oos.eu-west-2.outscale.com", "eu-west-2", "path"),
            ("endpoint_url = https://S3.Eu-West-1.AmazonAWS.com\nregion = x", "x", "auto"),
            ("endpoint_url = https://s3.eu-west-1.amazonaws.com.evil.example", "us-east-1", "path"),
            ("endpoint_url = https://notamazonaws.com", "us-east-1", "path"),
            ("provider = ceph\nendpoint_url = https://s3.eu-west-1.amazonaws.com", "us-east-1", "path"),
            ("endpoint_url = https://s3.example.com\naddressing_style = virtual", "us-east-1", "virtual"),
        ],
    )
    def test_region_and_addressing_follow_from_provider_and_endpoint_unless_given(
        self, load: Load, text: str, region: str, addressing_style: str
    ) -> None:
        store = load(f"[s3.source]\nbucket = media\n{text}").source

        assert (store.region, store.addressing_style) == (region, addressing_style)

    @pytest.mark.parametrize("provider", sorted(PROVIDERS))
    def test_every_provider_is_accepted(self, load: Load, provider: str) -> None:
        text = f"[s3.source]\nprovider = {provider}\nendpoint_url = https://s3.example.com"

        assert load(text).source.provider == provider

    @pytest.mark.parametrize(
        ("host", "provider"),
        [
            ("s3.us-west-004.backblazeb2.com", "b2"),
            ("ams3.digitaloceanspaces.com", "do"),
            ("media.ams3.digitaloceanspaces.com", "do"),
            ("storage.googleapis.com", "gcs"),
            ("hel1.your-objectstorage.com", "hetzner"),
            ("w4h8.fra.idrivee2-22.com", "idrive"),
            ("eu-central-1.linodeobjects.com", "linode"),
            ("0a1b.r2.cloudflarestorage.com", "r2"),
            ("s3.pl-waw.scw.cloud", "scaleway"),
            ("s3.ru-3.storage.selcloud.ru", "selectel"),
            ("gateway.eu1.storjshare.io", "storj"),
            ("eu2.contabostorage.com", "contabo"),
            ("sjc1.vultrobjects.com", "vultr"),
        ],
    )
    def test_a_provider_is_known_by_its_hosts(self, load: Load, host: str, provider: str) -> None:
        store = load(f"[s3.source]\nendpoint_url = https://{host}").source

        assert store.known._replace(region="") == PROVIDERS[provider]._replace(region="")
        assert store.provider is None

    def test_presets_know_what_the_engine_must_heed(self) -> None:
        assert {name for name, known in PROVIDERS.items() if known.takes_acl is False} == {
            *("r2", "cloudflare", "b2", "backblaze", "garage", "minio", "storj")
        }
        assert PROVIDERS["scaleway"].parts_at_most == 1_000
        assert PROVIDERS["storj"].least_part_size == 64 * 1024**2

    @pytest.mark.parametrize(
        ("source", "destination", "expected"),
        [
            ("https://s3.old.example", "https://s3.new.example", (None, None)),
            ("https://s3.amazonaws.com", "https://s3.ru-1.storage.selcloud.ru", (None, 300)),
            ("https://s3.ru-1.storage.selcloud.ru", "https://hel1.your-objectstorage.com", (1_000, 750)),
            ("https://s3.ru-1.storage.selcloud.ru", "https://s3.ru-1.storage.selcloud.ru", (1_300, 1_300)),
            ("https://s3.old.example", "https://s3.old.example", (None, None)),
        ],
    )
    def test_one_endpoint_for_two_buckets_takes_what_both_take(
        self, load: Load, source: str, destination: str, expected: tuple[int | None, int | None]
    ) -> None:
        config = load(f"[s3.source]\nendpoint_url = {source}\n[s3.destination]\nendpoint_url = {destination}")

        assert config.published_rates() == expected

    def test_a_preset_limits_only_where_its_provider_limits_everybody(self) -> None:
        """A preset must not slow a store down that would take more."""
        limited = {name: (known.reads, known.writes) for name, known in PROVIDERS.items() if known.reads}
        assert limited == {
            "do": (800, 800),
            "digitalocean": (800, 800),
            "hetzner": (750, 750),
            "selectel": (1_000, 300),
        }

    @pytest.mark.parametrize(
        ("source", "destination", "expected"),
        [
            ("", "", ""),
            ("key_prefix = media", "", "media"),
            ("key_prefix = media/", "key_prefix =", ""),
            ("key_prefix = media", "key_prefix = other", "other"),
            ("", "key_prefix = /odd//name /", "/odd//name /"),
        ],
    )
    def test_the_destination_has_the_prefix_of_the_source_unless_it_says_otherwise(
        self, load: Load, source: str, destination: str, expected: str
    ) -> None:
        config = load(f"[s3.source]\nbucket = a\n{source}\n[s3.destination]\nbucket = b\n{destination}")

        assert config.destination.key_prefix == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("", "public, max-age=315576000, immutable"),
            ("cache_control = public, max-age=60", "public, max-age=60"),
            ("cache_control =", ""),
        ],
    )
    def test_objects_get_the_usual_cache_control_unless_the_destination_says_otherwise(
        self, load: Load, line: str, expected: str
    ) -> None:
        config = load(f"[s3.destination]\nbucket = b\n{line}")

        assert config.destination.cache_control == expected
        found = settings_of(config)
        assert found is not None
        assert (found.cache_control, transfer_options(config).cache_control) == (expected or None,) * 2

    @pytest.mark.parametrize(
        ("lines", "acl"),
        [("", "auto"), ("acl = public-read", "auto"), ("acl = private", "private"), ("provider = r2", "none")],
    )
    def test_settings_that_give_the_same_are_the_same(self, load: Load, lines: str, acl: str) -> None:
        found = settings_of(load(f"[s3.destination]\nbucket = b\nendpoint_url = https://s.example\n{lines}"))

        assert found is not None
        assert found.acl == acl

    def test_a_disk_has_no_settings_to_be_remembered(self, load: Load) -> None:
        assert settings_of(load("[filesystem.destination]\npath = /backup")) is None

    def test_a_slash_at_the_end_of_the_endpoint_makes_no_other_store(self, load: Load) -> None:
        assert load(OLD_TOOL).destination.endpoint_url == "https://s3.new.example"


class TestValues:
    @pytest.mark.parametrize(
        ("text", "size_bytes"),
        [
            ("16777216", 16777216),
            ("16777216B", 16777216),
            ("16MiB", 16777216),
            ("16 mib", 16777216),
            ("16M", 16777216),
            ("16MB", 16_000_000),
            ("1.5GiB", 1610612736),
            ("64k", 65536),
        ],
    )
    def test_a_size_is_read_as_written(self, text: str, size_bytes: int) -> None:
        assert parse_size(text) == size_bytes

    @pytest.mark.parametrize("text", ["", "MiB", "-1", "1e6", "16 MiBs", "1_000", "१६", "0x10", "16MiB 2"])
    def test_what_is_no_size_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="not a size"):
            parse_size(text)

    @given(st.integers(0, 2**49))
    def test_a_size_that_is_shown_is_read_back_exactly(self, size_bytes: int) -> None:
        assert parse_size(show_size(size_bytes)) == size_bytes

    @pytest.mark.parametrize(
        ("text", "types"),
        [
            ("accounts", ("accounts",)),
            ("custom_emojis,accounts", ("accounts", "custom_emojis")),
            ("accounts, custom_emojis backups", ("accounts", "custom_emojis", "backups")),
            ("accounts\n    custom_emojis", ("accounts", "custom_emojis")),
            ("all", TABLES),
            ("", TABLES),
        ],
    )
    def test_types_are_separated_by_commas_or_white_space(self, load: Load, text: str, types: tuple[str, ...]) -> None:
        assert load(f"[plan]\ntypes = {text}").plan.types == types

    @pytest.mark.parametrize(
        ("text", "enabled"), [("yes", True), ("ON", True), ("1", True), ("off", False), ("no", False)]
    )
    def test_a_switch_is_written_in_any_of_the_ways_of_ini_files(self, load: Load, text: str, enabled: bool) -> None:
        assert load(f"[pg.tunnel]\nenabled = {text}").tunnel.enabled is enabled

    def test_a_key_may_be_followed_by_a_colon_and_written_in_capitals(self, load: Load) -> None:
        assert load("[s3.source]\nBUCKET: media").source.bucket == "media"

    def test_an_indented_key_behind_an_empty_line_is_a_key(self, load: Load) -> None:
        copy = load("[copy]\nworkers = 4\n\n   max_attempts = 2").copy

        assert (copy.workers, copy.max_attempts) == (4, 2)

    def test_paths_may_start_at_home(self, load: Load) -> None:
        config = load("[manifest]\npath = ~/m.db\n[pg.tunnel]\nssh_key = ~no-such-user/key")

        assert config.manifest.path == Path.home() / "m.db"
        assert config.tunnel.ssh_key == Path("~no-such-user/key")

    # configparser strips outer white space; everything else of a line belongs to the value
    @given(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1)
        | st.text(string.punctuation + string.ascii_letters + " é😀", min_size=1)
    )
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_odd_characters_survive(self, load: Load, text: str) -> None:
        value = text.strip() or "%"
        assume(value != CHANGE_ME)

        config = load(f"[pg.database]\npassword = {value}\nuser: {value}")

        assert config.database.password == Secret(value)
        assert config.database.user == value

    @pytest.mark.parametrize(
        "value", ["#hash", "; semicolon", "= equals", "[brackets]", "%(host)s", "${HOME}", "'x'", "a  b"]
    )
    def test_characters_that_mean_something_elsewhere_are_taken_as_they_stand(self, load: Load, value: str) -> None:
        assert load(f"[pg.database]\npassword = {value}").database.password == Secret(value)


S3 = "[s3.source]\nbucket = media\n"

REFUSED = [
    # the text, what the message says, what the hint says
    ("[s3.source]\nbukcet = media", "[s3.source] has no key bukcet", "bucket"),
    ("[copy]\ncolour = red", "[copy] has no key colour", "workers"),
    ("[s3.source]\nacl = private", "[s3.source] has no key acl", "belongs to [s3.destination]"),
    ("[s3.sorce]\nbucket = media", "no section [s3.sorce]", "s3.source"),
    ("[S3.Destination]\nbucket = media", "no section [S3.Destination]", "s3.destination"),
    ("[DEFAULT]\nbucket = media", "no section [DEFAULT]", "s3.source"),
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
    ("[copy]\nmultipart_threshold = big", "'big' is not a size", "16MiB"),
    ("[copy]\nmemory = 32MiB\npart_size = 64MiB", "part_size is more than memory (32MiB)", "Lower it"),
    ("[copy]\nmultipart_threshold = 300MiB", "multipart_threshold is more than memory (256MiB)", "Lower it"),
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


class TestNeeds:
    def test_copying_needs_no_database_and_planning_no_stores(self, load: Load) -> None:
        assert [store.bucket for store in load(STORES).require_stores() if isinstance(store, S3Config)] == [
            "old-media",
            "new-media",
        ]
        assert load("[pg.database]\nhost = db").require_database().host == "db"

    def test_an_empty_database_section_stands_for_its_defaults(self, load: Load) -> None:
        assert load("[pg.database]").require_database() == DatabaseConfig()

    @pytest.mark.parametrize(
        ("text", "missing"),
        [
            ("[copy]", "[s3.source] bucket is missing"),
            ("[s3.source]\nbucket = a", "[s3.destination] bucket is missing"),
            ("[s3.destination]\nbucket = b\n[s3.source]\nbucket =", "[s3.source] bucket is missing"),
        ],
    )
    def test_a_missing_store_is_named_when_it_is_needed(self, load: Load, text: str, missing: str) -> None:
        config = load(text)

        with pytest.raises(ConfigError, match=re.escape(missing)) as caught:
            config.require_stores()
        assert re.search("MASTOSYNC_S3_(SOURCE|DESTINATION)_BUCKET", caught.value.hint)

    @pytest.mark.parametrize(
        ("text", "missing"),
        [
            (STORES, "[pg.database] host is missing"),
            ("[pg.database]\n[pg.tunnel]\nenabled = true\nssh_user = me", "[pg.tunnel] ssh_host is missing"),
            ("[pg.database]\n[pg.tunnel]\nenabled = true\nssh_host = gate", "[pg.tunnel] ssh_user is missing"),
        ],
    )
    def test_a_missing_database_or_tunnel_is_named_when_it_is_needed(self, load: Load, text: str, missing: str) -> None:
        config = load(text)

        with pytest.raises(ConfigError, match=re.escape(missing)):
            config.require_database()

    def test_a_config_made_in_code_has_what_it_was_given(self) -> None:
        config = Config(source=S3Config(bucket="a"), destination=S3Config(bucket="b", endpoint_url="http://x"))

        assert config.require_stores() == (config.source, config.destination)
        assert config.destination.addressing_style == "path"
        assert config.require_database() == DatabaseConfig()


ALL_KEYS = [key for section in sections().values() for key in section.keys.values()]

HIDDEN_KEYS = [key for key in ALL_KEYS if key.info.form.hidden]


def valid_text(key: Key) -> str:
    """A text that the key takes and that is not its default."""
    by_name = {"endpoint_url": "https://s3.test", "url": "postgresql://u:p@h/d", "provider": "aws", "types": "backups"}
    by_name |= {"bwlimit": "08:00,5M 23:00,off", "every": "1h30m", "allow_networks": "10.1.0.0/16, fd12::/32"}
    by_name |= {"outage_patience": "90m"}
    if key.name in by_name:
        return by_name[key.name]
    if key.info.form.described().startswith("one of "):
        names = key.info.form.described().removeprefix("one of ").split(", ")
        return next(name for name in names if name != key.default)
    if isinstance(key.default, bool):
        return str(not key.default).lower()
    if isinstance(key.default, int | float) or "number" in key.info.form.described():
        return "33554433" if "size" in key.info.form.described() else "17"
    return "text"


class TestEnvironment:
    @pytest.mark.parametrize("key", ALL_KEYS, ids=lambda key: key.variable)
    def test_every_key_is_overridden_by_its_variable(self, key: Key, tmp_path: Path) -> None:
        pair = {"access_key": "secret_key", "secret_key": "access_key", "provider": "endpoint_url"}
        environ = {key.variable: valid_text(key)}
        if key.name in pair:
            environ[variable(key.section, pair[key.name])] = "https://other.test"
        file = tmp_path / "value"
        file.write_text(environ[key.variable] + "\n", encoding="utf-8")
        path = tmp_path / "config.ini"
        path.touch(0o600)

        direct = load_config(path, environ)
        environ[key.variable + "_FILE"] = str(file)
        del environ[key.variable]
        by_file = load_config(path, environ)

        attribute = sections()[key.section].attribute
        value = getattr(getattr(direct, attribute), key.name)
        assert value == key.info.form.parse(valid_text(key))
        assert value != key.default
        assert direct == by_file

    def test_the_environment_wins_over_the_file(self, load: Load) -> None:
        config = load(OLD_TOOL, MASTOSYNC_S3_SOURCE_SECRET_KEY="from-environment", MASTOSYNC_PG_DATABASE_PORT="5433")

        assert config.source.secret_key == Secret("from-environment")
        assert config.source.access_key == "AKIAOLD"
        assert config.database.port == 5433

    def test_an_empty_variable_is_no_variable(self, load: Load) -> None:
        config = load(OLD_TOOL, MASTOSYNC_S3_SOURCE_BUCKET="", MASTOSYNC_S3_SOURCE_SECRET_KEY_FILE="")

        assert config.source.bucket == "old-media"

    def test_an_empty_prefix_in_the_environment_is_a_prefix(self, load: Load) -> None:
        text = "[s3.source]\nkey_prefix = p\n[s3.destination]\nkey_prefix = q"

        assert load(text, MASTOSYNC_S3_DESTINATION_KEY_PREFIX="").destination.key_prefix == ""
        assert load(text, MASTOSYNC_S3_DESTINATION_KEY_PREFIX_FILE="").destination.key_prefix == "q"

    @pytest.mark.parametrize(
        ("content", "secret"), [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), (" s \n", " s "), ("\ufeffs", "s")]
    )
    def test_a_secret_in_a_file_loses_its_line_end_and_nothing_else(
        self, load: Load, tmp_path: Path, content: str, secret: str
    ) -> None:
        file = tmp_path / "secret"
        file.write_text(content, encoding="utf-8", newline="")

        config = load("", MASTOSYNC_PG_DATABASE_PASSWORD_FILE=str(file))

        assert config.database.password == Secret(secret)

    def test_a_missing_secret_file_is_refused_without_showing_what_may_be_the_secret_itself(self, load: Load) -> None:
        with pytest.raises(ConfigError, match="the file that MASTOSYNC_PG_DATABASE_PASSWORD_FILE names") as caught:
            load("", MASTOSYNC_PG_DATABASE_PASSWORD_FILE="hunter2")

        assert "hunter2" not in caught.value.message + caught.value.hint

    @pytest.mark.parametrize(
        "environ",
        [
            {"MASTOSYNC_PG_DATABASE_PASSWORD": "a", "MASTOSYNC_PG_DATABASE_PASSWORD_FILE": __file__},
            {"MASTOSYNC_MANIFEST": "a.db", "MASTOSYNC_MANIFEST_PATH": "b.db"},
        ],
    )
    def test_a_key_that_the_environment_gives_twice_is_refused(self, load: Load, environ: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match="are both set") as caught:
            load("", **environ)

        assert all(name in caught.value.message for name in environ)

    @pytest.mark.parametrize(
        ("name", "near"),
        [
            ("MASTOSYNC_S3_SOURCE_BUKCET", "MASTOSYNC_S3_SOURCE_BUCKET"),
            ("MASTOSYNC_S3_SOURCE_ACL", "MASTOSYNC_S3_SOURCE_"),
            ("MASTOSYNC_COPY_WORKER", "MASTOSYNC_COPY_WORKERS"),
            ("MASTOSYNC_MANIFEST_FILE", "MASTOSYNC_MANIFEST_PATH"),
        ],
    )
    def test_a_variable_of_a_known_section_without_such_a_key_is_refused(
        self, load: Load, name: str, near: str
    ) -> None:
        with pytest.raises(ConfigError, match=f"^{name} is set") as caught:
            load("", **{name: HUNTER})

        assert near in caught.value.hint
        assert "hunter2" not in everything_said(caught.value)

    def test_other_variables_are_left_alone(self, load: Load) -> None:
        others = {"MASTOSYNC_CONFIG": "x.ini", "MASTOSYNC_LOG": "json", "MASTOSYNC_S3": "x", "S3_BUCKET": "y"}
        text = "[copy]\nworkers = 4"

        assert load(text, **others, PLAN_LIMIT="z") == load(text)

    def test_the_short_variable_of_the_manifest_names_its_path(self, load: Load) -> None:
        assert load("[manifest]\npath = a.db", MASTOSYNC_MANIFEST="b.db").manifest.path == Path("b.db")

    def test_a_wrong_value_is_refused_with_the_name_of_its_variable(self, load: Load) -> None:
        with pytest.raises(ConfigError, match=r"^MASTOSYNC_COPY_WORKERS: 'x' is not a whole number"):
            load("", MASTOSYNC_COPY_WORKERS="x")

    def test_a_line_break_in_a_value_is_refused(self, load: Load) -> None:
        with pytest.raises(ConfigError, match="CACHE_CONTROL spans several lines"):
            load("", MASTOSYNC_S3_DESTINATION_CACHE_CONTROL="public\nX-Evil: 1")


class TestWithoutAFile:
    def test_the_environment_alone_can_be_the_configuration(self) -> None:
        config = load_config(None, {"MASTOSYNC_S3_SOURCE_BUCKET": "a", "MASTOSYNC_S3_DESTINATION_BUCKET": "b"})

        assert (config.source.bucket, config.destination.bucket, config.path) == ("a", "b", None)
        assert len(config.require_stores()) == 2

    @pytest.mark.parametrize("environ", [{}, {"MASTOSYNC_COPY_WORKERS": "4"}, {"MASTOSYNC_S3_SOURCE_BUCKET": ""}])
    def test_no_configuration_at_all_names_the_places_and_init(self, environ: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match="there is no configuration") as caught:
            load_config(None, environ)

        for place in ("-c", "MASTOSYNC_CONFIG", "CONFIG_FILE_NAME", "./config.ini", "./private/config.ini", "init"):
            assert place in caught.value.hint

    def test_half_a_configuration_names_what_is_missing_and_the_places(self) -> None:
        config = load_config(None, {"MASTOSYNC_S3_SOURCE_BUCKET": "a"})

        with pytest.raises(ConfigError, match=re.escape("[s3.destination] bucket is missing")) as caught:
            config.require_stores()
        assert "MASTOSYNC_S3_DESTINATION_BUCKET" in caught.value.hint
        assert "./private/config.ini" in caught.value.hint


class TestFinding:
    FILES = ("given.ini", "variable.ini", "private/named.ini", "config.ini", "private/config.ini")

    @pytest.mark.parametrize("first", range(len(FILES) + 1))
    def test_the_first_of_the_places_is_used(self, tmp_path: Path, first: int) -> None:
        (tmp_path / "private").mkdir()
        for name in self.FILES[first:]:
            (tmp_path / name).touch()
        named: dict[str, str] = {"MASTOSYNC_CONFIG": "variable.ini", "CONFIG_FILE_NAME": "named.ini"}
        environ = dict(list(named.items())[max(0, first - 1) :])

        found = find_config(Path("given.ini") if first == 0 else None, environ, tmp_path)

        assert found == (tmp_path / self.FILES[first] if first < len(self.FILES) else None)

    @pytest.mark.parametrize(
        ("explicit", "environ", "who"),
        [
            (Path("nowhere.ini"), {}, "-c"),
            (None, {"MASTOSYNC_CONFIG": "nowhere.ini"}, "MASTOSYNC_CONFIG"),
            (None, {"CONFIG_FILE_NAME": "nowhere.ini"}, "CONFIG_FILE_NAME"),
        ],
    )
    def test_a_named_file_that_does_not_exist_is_no_reason_to_take_another(
        self, tmp_path: Path, explicit: Path | None, environ: Mapping[str, str], who: str
    ) -> None:
        (tmp_path / "config.ini").touch()

        with pytest.raises(ConfigError, match=f"nowhere.ini does not exist, and {who} names it"):
            find_config(explicit, environ, tmp_path)

    def test_empty_variables_name_nothing(self, tmp_path: Path) -> None:
        assert find_config(None, {"MASTOSYNC_CONFIG": "", "CONFIG_FILE_NAME": ""}, tmp_path) is None

    def test_a_folder_in_the_place_of_the_file_is_not_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "config.ini").mkdir()

        with pytest.raises(ConfigError, match="is a folder"):
            load_config(find_config(None, {}, tmp_path), {})

    def test_an_absolute_path_is_used_as_it_is(self, tmp_path: Path) -> None:
        file = tmp_path / "x.ini"
        file.touch()

        assert find_config(None, {"MASTOSYNC_CONFIG": str(file)}, tmp_path / "elsewhere") == file

    def test_the_file_may_be_a_pipe(self, tmp_path: Path) -> None:
        """`mastosync -c <(decrypt config)`"""
        read_end, write_end = os.pipe()
        os.write(write_end, OLD_TOOL.encode())
        os.close(write_end)
        try:
            path = find_config(Path(f"/dev/fd/{read_end}"), {}, tmp_path)
            assert load_config(path, {}).warnings == ()
        finally:
            os.close(read_end)


class TestSecrets:
    def test_a_secret_is_only_revealed(self) -> None:
        secret = Secret("hunter2")

        assert secret.reveal() == "hunter2"
        for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", repr([secret])):
            assert "hunter2" not in shown

    def test_secrets_are_equal_by_content_and_to_nothing_else(self) -> None:
        assert Secret("a") == Secret("a")
        assert hash(Secret("a")) == hash(Secret("a"))
        assert Secret("a") != Secret("b")
        assert Secret("a") != "a"
        assert not Secret("")

    def test_a_secret_is_not_pickled(self) -> None:
        with pytest.raises(TypeError, match="not pickled") as caught:
            pickle.dumps(Secret("hunter2"))
        assert "hunter2" not in str(caught.value)

    def test_the_keys_that_hold_secrets_are_marked(self) -> None:
        assert {key.name for key in HIDDEN_KEYS} == {
            "access_key",
            "secret_key",
            "session_token",
            "password",
            "url",
            "ssh_password",
            "ssh_key_passphrase",
            "broker",
            "backend",
        }

    @pytest.mark.parametrize("key", HIDDEN_KEYS, ids=lambda key: key.variable)
    def test_a_configuration_never_shows_them(self, load: Load, key: Key) -> None:
        environ = {key.variable: "postgresql://u:hunter2@h/d" if key.name == "url" else HUNTER}
        if key.section.startswith("s3."):
            environ |= {variable(key.section, name): HUNTER for name in ("access_key", "secret_key")}

        config = load("", **environ)

        part = getattr(config, sections()[key.section].attribute)
        assert getattr(part, key.name)
        for shown in (repr(config), str(config), f"{part}"):
            assert "hunter2" not in shown

    @pytest.mark.parametrize("key", HIDDEN_KEYS, ids=lambda key: key.variable)
    def test_an_error_about_them_never_shows_them(self, config_file: Callable[[str], Path], key: Key) -> None:
        path = config_file(f"[{key.section}]\n{key.name} = hunter2\n   hunter2 = hunter2\n")

        with pytest.raises(ConfigError) as caught:
            load_config(path, {})

        assert f"[{key.section}] {key.name}" in caught.value.message
        assert "hunter2" not in everything_said(caught.value)

    @pytest.mark.parametrize(
        "text",
        [
            "[s3.source]\nsecret_key\nhunter2/Ab+c\n",
            "[s3.source]\nsecret_key = a\nhunter2/Ab+c=\n",
            "[s3.source]\nsecret_key = a\nhunter2/Ab+c: x\n",
            "[s3.source]\nsecret_key = a\nhunter2abcdefghijklmnopqrstuvw=\nhunter2abcdefghijklmnopqrstuvw=\n",
            "hunter2/Ab+c=\n",
            "hunter2/Ab+c\n",
            "[hunter2/Ab+c]\n",
            "[hunter2/Ab+c]\n[hunter2/Ab+c]\n",
            "[s3.source]\naccess_key = hunter2 hunter2\n",
            "[pg.database]\nurl = hunter2\n",
            "[pg.database]\nport = postgresql://u:hunter2@h/d\n",
            "[pg.database]\nhost = postgresql://u:hunter2@h/d\n",
            "[s3.source]\nbucket = b\nendpoint_url = u:hunter2@h\n",
        ],
    )
    def test_a_secret_that_slipped_out_of_its_line_is_not_shown(
        self, config_file: Callable[[str], Path], text: str
    ) -> None:
        path = config_file(text)

        with pytest.raises(ConfigError) as caught:
            load_config(path, {})

        assert "hunter2" not in everything_said(caught.value)

    def test_the_line_of_what_is_not_shown_is(self, config_file: Callable[[str], Path]) -> None:
        path = config_file("[s3.source]\nsecret_key = a\n\nhunter2/Ab+c=\n")

        with pytest.raises(ConfigError, match=re.escape("[s3.source] line 4 holds no known key")):
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


def filled_in(sample: str) -> str:
    return sample.replace("endpoint_url = CHANGE-ME", "endpoint_url = https://s3.test").replace("CHANGE-ME", "x")


class TestSample:
    def test_the_file_of_the_repository_is_what_is_rendered(self) -> None:
        """To write it anew: python -c "from mastosync.config import render_sample as r; print(r(), end='')" """
        assert (ROOT / "config.sample.ini").read_text(encoding="utf-8") == render_sample()

    def test_it_loads_once_the_placeholders_are_filled_in(self, load: Load) -> None:
        config = load(filled_in(render_sample()))

        assert config.absent == frozenset()
        assert all(isinstance(store, S3Config) and store.bucket == "x" for store in config.require_stores())
        assert config.require_database().password == Secret("x")

    def test_it_does_not_load_before(self, load: Load) -> None:
        with pytest.raises(ConfigError, match="CHANGE-ME"):
            load(render_sample())

    def test_what_is_commented_out_is_the_default(self, load: Load) -> None:
        sample = filled_in(render_sample())
        uncommented = re.sub(r"^# ([a-z_]+ =)", r"\1", sample, flags=re.MULTILINE)

        assert uncommented.count("\n# ") < sample.count("\n# ")
        assert load(uncommented) == load(sample)

    @pytest.mark.parametrize("key", ALL_KEYS, ids=lambda key: key.variable)
    def test_every_key_is_there_with_an_explanation(self, key: Key) -> None:
        body = render_sample().partition(f"\n[{key.section}]\n")[2].partition("\n[")[0]
        paragraph = next(text for text in body.split("\n\n") if re.search(rf"^(# )?{key.name} =", text, re.MULTILINE))

        assert paragraph.startswith("# ")
        assert not re.match(r"# [a-z_]+ =", paragraph)
        assert key.info.meaning

    def test_no_line_is_too_wide_or_ends_in_white_space(self) -> None:
        for line in render_sample().splitlines():
            assert len(line) <= 100
            assert line == line.rstrip()

    def test_values_are_filled_in_and_the_rest_of_their_section_is_left_at_its_defaults(self, load: Load) -> None:
        values = {
            "s3.source": {"bucket": "a", "key_prefix": "p"},
            "s3.destination": {"bucket": "b", "key_prefix": ""},
            "pg.database": {"user": "me"},
        }

        config = load(render_sample(values))

        assert (config.source.bucket, config.source.access_key, config.source.key_prefix) == ("a", None, "p")
        assert (config.destination.bucket, config.destination.key_prefix) == ("b", "")
        assert config.database == DatabaseConfig(user="me")

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_a_filled_in_value_is_read_back_or_refused(self, load: Load, text: str) -> None:
        assume(text != CHANGE_ME)
        values = {"s3.source": {"bucket": "a"}, "s3.destination": {"bucket": "b"}, "pg.database": {"password": text}}
        if text != text.strip() or "\n" in text or "\r" in text:
            with pytest.raises(ConfigError, match=re.escape("[pg.database] password")):
                render_sample(values)
        else:
            password = load(render_sample(values)).database.password
            assert (password.reveal() if password else "") == text

    @pytest.mark.parametrize("values", [{"s3.sorce": {}}, {"copy": {"colour": "red"}}, {"s3.source": {"acl": "auto"}}])
    def test_values_for_what_does_not_exist_are_refused(self, values: dict[str, dict[str, str]]) -> None:
        with pytest.raises(ValueError, match="unknown"):
            render_sample(values)


def test_a_config_cannot_be_changed(load: Load) -> None:
    config = load(STORES)

    for part in (config, config.source, config.copy):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, dataclasses.fields(part)[0].name, None)


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, mastosync.config; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout

    assert not {"configparser", "difflib", "boto3", "psycopg", "sqlite3", "click"} & set(modules.split())


class TestFolders:
    def test_a_folder_takes_the_place_of_a_bucket(self, load: Load) -> None:
        config = load("[filesystem.source]\npath = /srv/system\n[s3.destination]\nbucket = b\nkey_prefix = x")
        source, destination = config.require_stores()
        assert source == FilesystemConfig(path=Path("/srv/system"))
        assert destination == config.destination
        assert config.published_rates() == (None, None)

    def test_a_folder_has_no_key_prefix_and_takes_none_from_the_source(self, load: Load) -> None:
        text = "[s3.source]\nbucket = b\nkey_prefix = x\n[filesystem.destination]\npath = /backup\nfsync = never"
        config = load(text)
        assert (config.source.key_prefix, config.destination.key_prefix) == ("x", "")
        assert config.require_store("destination") == FilesystemConfig(path=Path("/backup"), fsync="never")

    def test_the_environment_alone_will_do(self) -> None:
        environ = {"MASTOSYNC_FILESYSTEM_SOURCE_PATH": "/a", "MASTOSYNC_FILESYSTEM_DESTINATION_KEEP_FREE": "5GiB"}
        config = load_config(None, environ)
        assert config.source_folder.path == Path("/a")
        assert config.destination_folder.keep_free == 5 * 1024**3
        with pytest.raises(ConfigError, match=r"\[s3\.destination\] bucket is missing"):
            config.require_stores()

    @pytest.mark.parametrize("role", ["source", "destination"])
    def test_a_store_is_a_bucket_or_a_folder(self, load: Load, role: str) -> None:
        with pytest.raises(ConfigError, match=rf"both \[s3\.{role}\] and \[filesystem\.{role}\]"):
            load(f"[s3.{role}]\nregion = us-east-1\n[filesystem.{role}]\npath = /a")

    def test_a_source_has_no_keys_for_what_is_written(self, load: Load) -> None:
        with pytest.raises(ConfigError, match="no key fsync") as caught:
            load("[filesystem.source]\npath = /a\nfsync = never")
        assert "[filesystem.destination]" in caught.value.hint

    def test_an_empty_section_as_in_the_sample_says_nothing(self, load: Load) -> None:
        config = load("[s3.source]\nbucket = a\n[filesystem.source]\n[s3.destination]\nbucket = b")
        assert config.require_stores() == (config.source, config.destination)


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
