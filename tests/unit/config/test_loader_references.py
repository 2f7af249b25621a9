"""Secrets that a configuration refers to: in a file of variables, in the environment, in files of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mastosync.config import Config, Secret, load_config
from mastosync.errors import ConfigError

HUNTER = "hunter2"

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load(text, **environ)`, with `{here}` in the text standing for the folder of the configuration."""

    def load(text: str, *, mode: int = 0o600, **environ: str) -> Config:
        path = tmp_path / "config.ini"
        path.write_text(text.replace("{here}", str(tmp_path)), encoding="utf-8")
        path.chmod(mode)
        return load_config(path, environ)

    return load


def written(tmp_path: Path, text: str, name: str = ".env.production") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


IN_FILE = "[env]\nfile = {here}/.env.production\n"
SOURCE = "[s3.source]\nbucket = media\naccess_key = env:AWS_ACCESS_KEY_ID\nsecret_key = env:AWS_SECRET_ACCESS_KEY\n"


def test_a_variable_of_the_file_is_the_value(load: Load, tmp_path: Path) -> None:
    written(tmp_path, "AWS_ACCESS_KEY_ID=AKIA\nAWS_SECRET_ACCESS_KEY='a#b' # note\n")
    source = load(SOURCE + IN_FILE).source
    assert (source.access_key, source.secret_key) == ("AKIA", Secret("a#b"))


def test_the_syntax_of_docker_keeps_the_quotes(load: Load, tmp_path: Path) -> None:
    written(tmp_path, "DB_PASS='a#b'")
    config = load("[pg.database]\npassword = env:DB_PASS\n" + IN_FILE + "syntax = docker")
    assert config.database.password == Secret("'a#b'")


def test_the_file_wins_over_the_environment_which_has_what_the_file_has_not(load: Load, tmp_path: Path) -> None:
    written(tmp_path, "AWS_ACCESS_KEY_ID=file")
    source = load(SOURCE + IN_FILE, AWS_ACCESS_KEY_ID="environment", AWS_SECRET_ACCESS_KEY="environment").source
    assert (source.access_key, source.secret_key) == ("file", Secret("environment"))


def test_without_a_file_the_environment_is_asked(load: Load) -> None:
    assert load("[pg.database]\npassword = env:DB_PASS", DB_PASS=HUNTER).database.password == Secret(HUNTER)


def test_every_secret_may_be_referred_to(load: Load) -> None:
    text = "[pg.database]\nurl = env:DATABASE_URL\n[pg.tunnel]\nssh_password = env:SSH\n[celery]\nbroker = env:BROKER"
    config = load(text, DATABASE_URL="postgres://h/d", SSH="a", BROKER="b")
    assert config.database.url == Secret("postgres://h/d")
    assert (config.tunnel.ssh_password, config.celery.broker) == (Secret("a"), Secret("b"))
    assert set(config.secrets()) == {"postgres://h/d", "a", "b"}


@pytest.mark.parametrize("value", ["env:", "env:a b", "env:1A", "environ:A", "env:A!", "ENV:A"])
def test_what_is_no_reference_is_the_value_itself(load: Load, value: str) -> None:
    assert load(f"[pg.database]\npassword = {value}").database.password == Secret(value)


def test_only_secrets_refer(load: Load) -> None:
    assert load("[pg.database]\nuser = env:USER", USER="somebody").database.user == "env:USER"


def test_what_the_environment_says_is_the_value_itself(load: Load) -> None:
    config = load("[pg.database]\nport = 1", MASTOSYNC_PG_DATABASE_PASSWORD="env:HOME", HOME="/")
    assert config.database.password == Secret("env:HOME")


def test_the_environment_overrides_a_reference_which_may_then_lead_nowhere(load: Load) -> None:
    text = "[pg.database]\npassword = env:NOWHERE\n[celery]\nbroker_file = /nowhere\n[env]\nfile = /nowhere"
    config = load(text, MASTOSYNC_PG_DATABASE_PASSWORD=HUNTER, MASTOSYNC_CELERY_BROKER=HUNTER)
    assert (config.database.password, config.celery.broker) == (Secret(HUNTER), Secret(HUNTER))


@pytest.mark.parametrize(
    ("file", "says", "hint"),
    [
        (None, ["DB_PASS", "which is not in the environment"], "[env] file"),
        ("", ["DB_PASS", "which is neither in", ".env.production", "nor in the environment"], "[env] file"),
        ("\nDB_PASS=", ["DB_PASS", "has no value in", ".env.production, line 2"], "Write it down"),
        ("DB_PASS=$(cat secret)", ["DB_PASS", "shell command", "line 1", "runs none"], "Write it down"),
        ("DB_PASS='two\nlines'", ["spans several lines"], "one line"),
    ],
)
def test_one_that_leads_nowhere_says_which_key_refers_to_what_and_where(
    load: Load, tmp_path: Path, file: str | None, says: list[str], hint: str
) -> None:
    if file is not None:
        written(tmp_path, file)
    with pytest.raises(ConfigError) as refused:
        load("[pg.database]\npassword = env:DB_PASS\n" + (IN_FILE if file is not None else ""))
    for word in ["[pg.database] password", *says]:
        assert word in refused.value.message
    assert hint in refused.value.hint


def test_a_file_of_variables_that_cannot_be_read_is_told_with_the_key_that_needs_it(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"password refers to DB_PASS; .*/\.env\.production cannot be read: No such"):
        load("[pg.database]\npassword = env:DB_PASS\n" + IN_FILE)


def test_nobody_reads_a_file_of_variables_that_nothing_refers_to(load: Load) -> None:
    assert load("[pg.database]\npassword = x\n" + IN_FILE).env.syntax == "dotenv"


class TestFiles:
    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_a_secret_may_stand_in_a_file_of_its_own(self, load: Load, tmp_path: Path, end: str) -> None:
        (tmp_path / "secret").write_bytes(f" env:{HUNTER} ".encode() + end.encode())
        config = load("[s3.source]\naccess_key = a\nsecret_key_file = {here}/secret")
        assert config.source.secret_key == Secret(f" env:{HUNTER} ")

    def test_one_that_is_not_there_is_told_by_the_key_alone(self, load: Load) -> None:
        """Somebody may have put the secret itself where the name of the file belongs."""
        with pytest.raises(ConfigError, match=r"the file that .*\[pg\.database\] password_file names cannot") as told:
            load(f"[pg.database]\npassword_file = {HUNTER}")
        assert HUNTER not in told.value.message + told.value.hint

    @pytest.mark.parametrize("lines", ["password = a\npassword_file = /a", "password_file = /a\npassword = a"])
    def test_both_are_a_contradiction(self, load: Load, lines: str) -> None:
        with pytest.raises(ConfigError, match="has password and password_file"):
            load(f"[pg.database]\n{lines}")

    def test_an_empty_one_is_the_same_as_none(self, load: Load) -> None:
        assert load("[pg.database]\npassword_file =\npassword = a").database.password == Secret("a")

    @pytest.mark.parametrize("name", ["bucket_file", "_file", "secret_key_file_file"])
    def test_other_keys_stand_in_no_file(self, load: Load, name: str) -> None:
        with pytest.raises(ConfigError, match=f"has no key {name}"):
            load(f"[s3.source]\n{name} = /a")


def test_a_file_that_holds_no_secret_itself_may_be_read_by_others(load: Load, tmp_path: Path) -> None:
    written(tmp_path, HUNTER, "secret")
    text = "[pg.database]\npassword = env:HOME\n[celery]\nbroker_file = {here}/secret\n"
    assert load(text, mode=0o644, HOME="/").warnings == ()
    assert "chmod 600" in load(text + "backend = x", mode=0o644, HOME="/").warnings[0]
