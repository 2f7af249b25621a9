"""What a `Config` says where nothing was given, and what commands may ask of it."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mastosync.app.stores import settings_of, transfer_options
from mastosync.config import (
    PROVIDERS,
    Config,
    DatabaseConfig,
    FilesystemConfig,
    S3Config,
    load_config,
)
from mastosync.errors import ConfigError
from mastosync.model import TABLES
from tests.support.configurations import (
    OLD_TOOL,
    ROOT,
    STORES,
    Load,
)


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
        assert (config.copy.multipart_threshold, config.copy.part_size) == (200 * 1024**2, 16 * 1024**2)
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


@pytest.mark.parametrize(
    ("sections", "threshold", "whole", "parts_above"),
    [
        ("", 200, 16, 200),
        ("[filesystem.source]\npath = /somewhere\n", 200, 16, 16),  # a disk streams nothing
        ("[filesystem.destination]\npath = /somewhere\n", 200, 16, 16),
        ("", 8, 8, 8),
        ("[filesystem.source]\npath = /somewhere\n", 8, 8, 8),
    ],
)
def test_what_is_held_whole_and_what_travels_in_parts(
    load: Load, sections: str, threshold: int, whole: int, parts_above: int
) -> None:
    """Whatever the threshold, 16 MiB of an object are in memory at most: `verify --deep` reserves as much before."""
    options = transfer_options(load(f"{sections}[copy]\nmultipart_threshold = {threshold}MiB\n"))
    assert (options.whole_bytes, options.multipart_threshold) == (whole << 20, parts_above << 20)
