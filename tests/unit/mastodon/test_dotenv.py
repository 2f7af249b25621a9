"""What becomes of Mastodon's own settings: the shapes that they have at real instances, and what is odd in them."""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mastosync.app.files import first_config
from mastosync.config import CHANGE_ME, Config, Secret, load_config
from mastosync.errors import ConfigError
from mastosync.mastodon.dotenv import MastodonSettings, read_settings

HUNTER = "hunter2"
ROOT = Path(__file__).parents[3]

Begin = Callable[..., MastodonSettings]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """`begin(text)` is what a `.env.production` with this text says, in a folder that has `public/system`."""
    (tmp_path / "public" / "system").mkdir(parents=True)

    def begin(text: str, *, syntax: str = "dotenv", copy_secrets: bool = False) -> MastodonSettings:
        (tmp_path / ".env.production").write_text(text, encoding="utf-8")
        return read_settings(tmp_path / ".env.production", syntax, {}, copy_secrets=copy_secrets)

    return begin


def written(settings: MastodonSettings, destination: dict[str, dict[str, str]] | None = None) -> str:
    """The text of the configuration."""
    return first_config(settings, destination).reveal()


def loaded(tmp_path: Path, settings: MastodonSettings) -> Config:
    """The configuration of these settings, when the destination is filled in."""
    text = written(settings, {"s3.destination": {"bucket": "new-media"}, "filesystem.destination": {}})
    path = tmp_path / "config.ini"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return load_config(path, {})


DATABASE = "DB_HOST=localhost\nDB_USER=mastodon\nDB_NAME=mastodon_production\nDB_PASS=dbsecret\nDB_PORT=5432\n"
KEYS = "AWS_ACCESS_KEY_ID=AKIA\nAWS_SECRET_ACCESS_KEY=abc/def+ghi\n"


class TestShapes:
    def test_amazon_with_an_alias(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin(
            "# Generated with mastodon:setup\n\nLOCAL_DOMAIN=example.social\nSINGLE_USER_MODE=false\n"
            f"{DATABASE}REDIS_HOST=localhost\nS3_ENABLED=true\nS3_PROTOCOL=https\nS3_BUCKET=files.example.social\n"
            "S3_REGION=eu-central-1\nS3_HOSTNAME=s3.eu-central-1.amazonaws.com\n"
            f"{KEYS}S3_ALIAS_HOST=files.example.social\n"
            "SMTP_FROM_ADDRESS='Mastodon <notifications@example.social>'\n"
        )
        assert (settings.notes, settings.warnings) == ([], [])
        config = loaded(tmp_path, settings)
        source = config.source
        assert (source.bucket, source.region, source.endpoint_url) == ("files.example.social", "eu-central-1", None)
        assert (source.addressing_style, source.access_key) == ("auto", "AKIA")
        assert source.secret_key == Secret("abc/def+ghi")
        assert config.database.password == Secret("dbsecret")
        assert config.destination.bucket == "new-media"
        assert config.destination.key_prefix == ""

    def test_another_provider_with_a_prefix_and_a_database_behind_a_pooler(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin(
            "S3_ENABLED=true\nS3_BUCKET=media\nS3_ENDPOINT=https://fsn1.your-objectstorage.com\nS3_REGION=fsn1\n"
            f"S3_KEY_PREFIX=mastodon\nS3_OVERRIDE_PATH_STYLE=true\n{KEYS}"
            "DB_HOST=/var/run/postgresql\nDB_PORT=6432\nPREPARED_STATEMENTS=false\nDB_PASS='it is #1'\n"
            "DB_SSLMODE=disable\n"
        )
        source, database = (config := loaded(tmp_path, settings)).source, config.database
        assert (source.addressing_style, source.key_prefix, source.region) == ("virtual", "mastodon", "fsn1")
        assert config.destination.key_prefix == "mastodon"
        assert (database.host, database.port, database.sslmode) == ("/var/run/postgresql", 6432, "disable")
        assert database.password == Secret("it is #1")
        assert len(settings.notes) == 1
        assert "PgBouncer" in settings.notes[0]

    def test_docker_compose_with_names_that_only_containers_know(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin(
            "DB_HOST=db\nDB_USER=postgres\nDB_NAME=postgres\nDB_PASS=\nDB_PORT=5432\nREDIS_HOST=redis\n"
            f"S3_ENABLED=true\nS3_BUCKET=media\nS3_ENDPOINT=http://minio:9000\n{KEYS}"
        )
        assert loaded(tmp_path, settings).database.password is None
        assert ["DB_HOST" in each for each in settings.warnings] == [False, True]
        assert all("line" in each and "containers" in each for each in settings.warnings)
        assert "line 9: S3_ENDPOINT" in settings.warnings[0]

    def test_the_disk_that_mastodon_has_without_s3(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin(f"LOCAL_DOMAIN=example.social\n{DATABASE}")
        config = loaded(tmp_path, settings)
        assert config.store("source") == config.source_folder
        assert config.source_folder.path == tmp_path / "public" / "system"
        assert config.source.bucket is None
        assert settings.warnings == []

    @pytest.mark.parametrize(
        ("named", "folder"),
        [
            ("/srv/media", "/srv/media"),
            ("media", "{live}/media"),
            (":rails_root/public/system", "{live}/public/system"),
            ("'/srv/my media'", "/srv/my media"),
            ("", "{live}/public/system"),
        ],
    )
    def test_paperclips_root(self, begin: Begin, tmp_path: Path, named: str, folder: str) -> None:
        settings = begin(f"S3_ENABLED=false\nPAPERCLIP_ROOT_PATH={named}")
        expected = Path(folder.format(live=tmp_path))
        assert loaded(tmp_path, settings).source_folder.path == expected
        assert ["no such folder" in each for each in settings.warnings] == ([] if expected.is_dir() else [True])

    def test_a_database_url(self, begin: Begin, tmp_path: Path) -> None:
        url = "postgresql://mastodon:p%40ss@db.internal:6432/mastodon?pool=5"
        settings = begin(f"DATABASE_URL={url}\nDB_HOST=ignored\n")
        assert loaded(tmp_path, settings).database.url == Secret(url)
        assert "PgBouncer" in settings.notes[0]

    def test_an_empty_host_is_the_socket(self, begin: Begin, tmp_path: Path) -> None:
        assert loaded(tmp_path, begin("DB_HOST=\nDB_PORT=\n")).database.host == "/var/run/postgresql"

    def test_what_is_not_said_is_what_mastodon_has_by_default(self, begin: Begin, tmp_path: Path) -> None:
        database = loaded(tmp_path, begin("LOCAL_DOMAIN=example.social\n")).database
        assert (database.host, database.port, database.database) == ("localhost", 5432, "mastodon_production")


class TestOtherFiles:
    """What is not Mastodon's is refused, before anybody is asked anything or a file is written."""

    @pytest.mark.parametrize("syntax", ["dotenv", "docker"])
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "sets nothing"),
            ("\n  \n", "sets nothing"),
            ("# nothing but a remark\n", "sets nothing"),
            ((ROOT / "README.md").read_text("utf-8"), "is not Mastodon's"),
            ((ROOT / "CONTRIBUTING.md").read_text("utf-8"), "is not Mastodon's"),
            ((ROOT / "config.sample.ini").read_text("utf-8"), "is not Mastodon's"),
            ("[s3.source]\nbucket = media\nsecret_key = m4rked\n", "is not Mastodon's"),
            ("POSTGRES_PASSWORD=m4rked\nPATH=/bin\n", "is not Mastodon's"),
            ("\0\1\2m4rked\0", "is not Mastodon's"),
            ('{"S3_BUCKET": "m4rked"}', "is not Mastodon's"),
        ],
    )
    def test_what_is_not_mastodons_is_refused(self, begin: Begin, text: str, said: str, syntax: str) -> None:
        with pytest.raises(ConfigError, match=said) as told:
            begin(text, syntax=syntax)
        assert "/home/mastodon/live/.env.production" in told.value.hint
        assert "m4rked" not in told.value.message + told.value.hint
        if syntax == "dotenv":
            assert ("-c names" in told.value.hint) is ("[s3.source]\n" in text)

    def test_one_setting_that_mastodon_knows_is_enough(self, begin: Begin) -> None:
        assert begin("SMTP_FROM_ADDRESS=a@example.social\n").values["filesystem.source"]


class TestReplica:
    def test_it_is_offered_and_not_chosen(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin(f"{DATABASE}REPLICA_DB_NAME=m\nREPLICA_DB_HOST=replica.internal\nREPLICA_DB_PASS={HUNTER}\n")
        assert loaded(tmp_path, settings).database.host == "localhost"
        text = written(settings)
        assert "# host = replica.internal\n" in text
        assert "# database = m\n" in text
        assert "# password = env:REPLICA_DB_PASS\n" in text
        assert HUNTER not in text
        assert "replica" in settings.notes[0]

    def test_what_is_offered_loads_when_it_is_taken(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin(f"REPLICA_DATABASE_URL=postgres://u:{HUNTER}@replica/m")
        _, _, line = settings.remarks["pg.database"][-1].partition("\n")
        settings.values["pg.database"] = {"url": line.removeprefix("url = ")}
        assert loaded(tmp_path, settings).database.url == Secret(f"postgres://u:{HUNTER}@replica/m")

    def test_what_is_offered_stays_a_comment_whatever_it_holds(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin('REPLICA_DB_NAME="a\n[celery]\nlog_level = debug"\nREPLICA_DB_HOST="b\u2028[pg.tunnel]"')
        assert loaded(tmp_path, settings).celery.log_level == "info"

    def test_a_replica_that_mastodon_does_not_use_is_none(self, begin: Begin) -> None:
        """It goes by the name or the URL."""
        assert begin("REPLICA_DB_HOST=replica.internal").notes == []


class TestDestination:
    def test_it_is_left_to_be_filled_in(self, begin: Begin) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(written(begin(f"S3_ENABLED=true\nS3_BUCKET=a\n{KEYS}")))
        assert dict(parser["s3.destination"]) == dict.fromkeys(
            ("access_key", "secret_key", "endpoint_url", "bucket"), CHANGE_ME
        )

    def test_a_private_bucket_stays_one(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin(f"S3_ENABLED=true\nS3_BUCKET=a\nS3_PERMISSION=private\n{KEYS}")
        assert loaded(tmp_path, settings).destination.acl == "private"
        folder = {"s3.destination": {}, "filesystem.destination": {"path": "/backup"}}
        assert "\nacl" not in written(settings, folder)

    @pytest.mark.parametrize(("permission", "notes"), [("public-read", 0), ("", 1), ("authenticated-read", 1)], ids=str)
    def test_another_permission_is_noted(self, begin: Begin, permission: str, notes: int) -> None:
        settings = begin(f"S3_ENABLED=true\nS3_BUCKET=a\nS3_PERMISSION={permission}\n{KEYS}")
        assert len(settings.notes) == notes

    def test_a_storage_class_is_offered(self, begin: Begin) -> None:
        settings = begin(f"S3_ENABLED=true\nS3_BUCKET=a\nS3_STORAGE_CLASS=STANDARD_IA\n{KEYS}")
        assert "# storage_class = STANDARD_IA\n" in written(settings)


class TestSecrets:
    def test_they_stay_where_they_are(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin(f"S3_ENABLED=true\nS3_BUCKET=a\n{KEYS}{DATABASE}")
        text = written(settings)
        assert "abc/def" not in text
        assert "dbsecret" not in text
        assert f"file = {tmp_path}/.env.production\n" in text

    @pytest.mark.parametrize("copy_secrets", [False, True])
    def test_what_cannot_be_read_again_is_refused(self, copy_secrets: bool) -> None:
        """As `<(sudo cat FILE)`: the configuration would name it."""
        reading, writing = os.pipe()
        os.write(writing, f"S3_ENABLED=true\nS3_BUCKET=a\n{KEYS}".encode())
        os.close(writing)
        with pytest.raises(ConfigError, match="no file that can be read again"):
            read_settings(Path(f"/dev/fd/{reading}"), "dotenv", {}, copy_secrets=copy_secrets)
        os.close(reading)

    def test_copied_they_need_the_file_no_more(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin(f"S3_ENABLED=true\nS3_BUCKET=a\n{KEYS}{DATABASE}", copy_secrets=True)
        (tmp_path / ".env.production").unlink()
        config = loaded(tmp_path, settings)
        assert (config.source.secret_key, config.database.password) == (Secret("abc/def+ghi"), Secret("dbsecret"))
        assert config.env.file is None

    def test_one_that_would_be_taken_for_a_reference_is_referred_to(self, begin: Begin, tmp_path: Path) -> None:
        assert loaded(tmp_path, begin("DB_PASS=env:HOME", copy_secrets=True)).database.password == Secret("env:HOME")

    def test_none_are_shown(self, begin: Begin) -> None:
        settings = begin(f"DB_PASS={HUNTER}\nDATABASE_URL=mysql://{HUNTER}\nREPLICA_DATABASE_URL={HUNTER}")
        assert HUNTER not in repr(settings)

    def test_without_keys_it_is_as_with_the_tools_of_aws(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin("S3_ENABLED=true\nS3_BUCKET=a\n")
        assert loaded(tmp_path, settings).source.access_key is None
        assert "AWS" in settings.notes[0]

    def test_spaces_around_one_are_a_part_of_it(self, begin: Begin, tmp_path: Path) -> None:
        assert loaded(tmp_path, begin("DB_PASS=' secret '")).database.password == Secret(" secret ")
        assert begin("DB_PASS=' secret '", copy_secrets=True).values["pg.database"]["password"] == CHANGE_ME

    def test_half_of_them_are_told(self, begin: Begin) -> None:
        settings = begin("S3_ENABLED=true\nS3_BUCKET=a\nAWS_ACCESS_KEY_ID=AKIA\n")
        assert settings.values["s3.source"]["secret_key"] == CHANGE_ME
        assert "no AWS_SECRET_ACCESS_KEY" in settings.warnings[0]


class TestOddities:
    @pytest.mark.parametrize(("name", "kind"), [("SWIFT", "OpenStack Swift"), ("AZURE", "Azure Blob Storage")])
    def test_other_kinds_of_storage_are_refused(self, begin: Begin, name: str, kind: str) -> None:
        with pytest.raises(ConfigError, match=rf"line 2: {name}_ENABLED: the media lie in {kind}") as refused:
            begin(f"S3_ENABLED=false\n{name}_ENABLED=true")
        assert "S3" in refused.value.hint

    @pytest.mark.parametrize("value", ["True", "yes", "1", "'true '"])
    def test_only_true_is_true(self, begin: Begin, value: str) -> None:
        settings = begin(f"S3_ENABLED={value}\nS3_BUCKET=media\n")
        assert "line 1: S3_ENABLED is not true" in settings.warnings[0]
        assert "s3.source" not in settings.values or not settings.values["s3.source"]

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            (f"S3_ENDPOINT={HUNTER}.example.com", "line 3: S3_ENDPOINT is not the http or https URL of a store"),
            (f"S3_BUCKET='a/{HUNTER}'", "line 3: S3_BUCKET is not the name of a bucket"),
            (f"DB_PORT={HUNTER}", "line 3: DB_PORT is not a whole number from 1 to 65535"),
            (f"DATABASE_URL=$(echo {HUNTER})", "line 3: DATABASE_URL is the output of a shell command"),
            (f"DATABASE_URL=mysql://{HUNTER}", "line 3: DATABASE_URL is not a URL that starts with postgresql://"),
            (f'DB_PASS="two\n{HUNTER}"', "line 3: DB_PASS does not fit on a line"),
            (f"S3_KEY_PREFIX=$(echo {HUNTER})", "line 3: S3_KEY_PREFIX is the output of a shell command"),
        ],
    )
    def test_what_cannot_be_is_left_to_be_filled_in(self, begin: Begin, line: str, says: str) -> None:
        settings = begin(f"S3_ENABLED=true\nS3_BUCKET=a\n{line}\n{KEYS}")
        assert any(says in warning for warning in settings.warnings)
        assert HUNTER not in "".join(settings.warnings)
        assert f"= {CHANGE_ME}\n" in written(settings, {"s3.destination": {}, "filesystem.destination": {}})

    def test_lines_that_nobody_understands_are_told_by_number(self, begin: Begin) -> None:
        settings = begin(f"{DATABASE}{HUNTER} is my password\nS3 ENABLED = true\n")
        assert "lines 6, 7 are left out" in settings.warnings[0]
        assert HUNTER not in settings.warnings[0]

    def test_a_bucket_within_the_endpoint_is_where_mastodon_goes(self, begin: Begin, tmp_path: Path) -> None:
        """With paths it writes below a folder of that name; with host names it would find nobody."""
        text = f"S3_ENABLED=true\nS3_BUCKET=media\nS3_ENDPOINT=https://media.ams3.digitaloceanspaces.com\n{KEYS}"
        source = loaded(tmp_path, begin(text)).source
        assert (source.endpoint_url, source.addressing_style) == (
            "https://media.ams3.digitaloceanspaces.com",
            "path",
        )
        settings = begin(text + "S3_OVERRIDE_PATH_STYLE=true")
        source = loaded(tmp_path, settings).source
        assert (source.endpoint_url, source.addressing_style) == ("https://ams3.digitaloceanspaces.com", "virtual")
        assert "line 3: S3_ENDPOINT holds the bucket" in settings.warnings[0]

    def test_a_host_name_is_no_endpoint(self, begin: Begin) -> None:
        settings = begin(f"S3_ENABLED=true\nS3_BUCKET=a\nS3_HOSTNAME=s3.example.com\n{KEYS}")
        assert "line 3: S3_HOSTNAME is only for public URLs" in settings.warnings[0]

    def test_a_bucket_without_a_name_is_told(self, begin: Begin) -> None:
        assert "no S3_BUCKET" in begin(f"S3_ENABLED=true\n{KEYS}").warnings[0]


class TestQuotes:
    """The gem and Docker Compose take them off; `docker run --env-file` hands them on."""

    @pytest.mark.parametrize("value", ["'secret'", '"secret"', "se#cret", "se$cret", "se\\cret", "secret # note"])
    def test_a_password_that_is_another_to_docker_is_told(self, begin: Begin, value: str) -> None:
        warning = begin(f"DB_HOST=localhost\nDB_PASS={value}\n").warnings[0]
        assert "DB_PASS (line 2)" in warning
        assert "--env-syntax docker" in warning
        assert "cret" not in warning

    @pytest.mark.parametrize("line", ["DB_PASS=secret", "SMTP_PASSWORD='secret'", "DB_PASS=secret  "])
    def test_what_both_read_alike_or_nobody_needs_is_not(self, begin: Begin, line: str) -> None:
        assert begin(line).warnings == []

    def test_nor_is_it_where_other_quotes_show_that_they_come_off(self, begin: Begin) -> None:
        """Mastodon would not work with quotes around the name of its database."""
        assert begin('DB_NAME="mastodon"\nDB_PASS="secret"\n').warnings == []

    def test_nor_in_a_file_that_docker_would_refuse(self, begin: Begin) -> None:
        assert begin("export DB_NAME=mastodon\nDB_PASS='secret'\n").warnings == []

    def test_but_a_hash_that_docker_compose_reads_otherwise_is_told_there_too(self, begin: Begin) -> None:
        assert "DB_PASS (line 2)" in begin("DB_NAME='mastodon'\nDB_PASS=se#cret\n").warnings[0]
        assert begin("DB_NAME='mastodon'\nDB_PASS='se#cret' # note\n").warnings == []

    def test_by_the_syntax_of_docker_they_stay_and_are_told(self, begin: Begin, tmp_path: Path) -> None:
        settings = begin("DB_PASS='se#cret'\nDB_NAME=mastodon\n", syntax="docker")
        assert loaded(tmp_path, settings).database.password == Secret("'se#cret'")
        assert "read with the quotes around them: DB_PASS (line 1)" in settings.warnings[0]

    def test_so_are_those_that_are_left_when_one_pair_is_off(self, begin: Begin) -> None:
        assert "read with the quotes around them" in begin("DB_PASS='\"secret\"'").warnings[0]
