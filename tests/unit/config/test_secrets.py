"""Secrets are shown nowhere: not in a configuration, in errors about it, or in the words of others."""

from __future__ import annotations

import base64
import json
import pickle
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from mastosync.config import (
    CeleryConfig,
    Config,
    DatabaseConfig,
    S3Config,
    Scrubber,
    Secret,
    ambient_secrets,
    load_config,
)
from mastosync.config.schema import sections
from mastosync.config.secrets import Environment
from mastosync.config.values import Key, variable
from mastosync.errors import ConfigError, MastosyncError, without_frames
from tests.support.configurations import (
    HIDDEN_KEYS,
    HUNTER,
    Load,
    everything_said,
)

SECRET = 'k/y+W=o&r"d <é\\n>'


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        repr(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        "k/y+W=o&amp;r&quot;d &lt;é\\n&gt;",
        base64.b64encode(SECRET.encode()).decode(),
        repr(SECRET.encode())[2:-1],
        repr(json.dumps(SECRET))[2:-2],
    ],
)
def test_a_secret_is_found_in_every_spelling(spelled: str) -> None:
    told = Scrubber([SECRET])(f"refused: {spelled}!")
    assert told.replace("=", "") == "refused: ***!"


def test_a_secret_that_is_a_part_of_another_leaves_nothing_of_it() -> None:
    assert Scrubber(["abc", "abc-def"])("abc-def abc") == "*** ***"


def test_passwords_in_urls_are_secrets_of_their_own() -> None:
    config = Config(
        source=S3Config(access_key="AKIA", secret_key=Secret("one"), session_token=Secret("two")),
        database=DatabaseConfig(url=Secret("postgresql://mastodon:p%40ss%2Fword@db/mastodon")),
        celery=CeleryConfig(broker=Secret("redis://:br%3Aoker@queue:6379/0")),
    )
    scrubbed = Scrubber(config.secrets())
    assert scrubbed("p@ss/word p%40ss%2Fword br:oker AKIA one two") == "*** *** *** *** *** ***"


def test_what_libraries_take_from_the_environment_is_known_too() -> None:
    environ = {
        "AWS_SECRET_ACCESS_KEY": "aws-secret",
        "AWS_SESSION_TOKEN": "aws-token",
        "PGPASSWORD": "pg-word",
        "https_proxy": "http://me:prox%20y@proxy:3128",
        "HTTP_PROXY": "you:other@proxy:80",
        "no_proxy": "localhost",
        "HOME": "/home/me",
    }
    told = Scrubber(ambient_secrets(environ))("aws-secret aws-token pg-word prox%20y prox y other localhost /home/me")
    assert told == "*** *** *** *** *** *** localhost /home/me"


MARK = "marked-secret"


def dump_of(error: BaseException) -> str:
    """The error and all that led to it, with every variable of ours."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f"[s3.source]\nsecret_key = {MARK}\nbukcet = b\n", {}),
        (f"[s3.source]\nsecret_key = {MARK}\naccess_key = {MARK}\nendpoint_url = ftp://x\n", {}),
        (f"[pg.database]\npassword = {MARK}\nport = none\n", {}),
        (f"[pg.database]\npassword = {MARK}\nurl = mysql://a:{MARK}@b/c\n", {}),
        (f"[pg.database]\nurl = mysql://a:{MARK}@b/c\n", {}),
        (f"[pg.database]\npassword = {MARK}\n  {MARK}\n", {}),
        (f"[pg.database]\npassword = {MARK}\n[pg.database]\n", {}),
        (f"[pg.database]\n= {MARK}\n", {}),
        ("", {"MASTOSYNC_PG_DATABASE_PASSWORD": MARK, "MASTOSYNC_PG_DATABASE_PORT": "none"}),
        ("", {"MASTOSYNC_PG_DATABASE_PASSWORD": MARK, "MASTOSYNC_PG_DATABASE_PASSWORD_FILE": "/dev/null/no"}),
        ("", {"MASTOSYNC_PG_DATABASE_PASSWORD": MARK, "MASTOSYNC_PG_DATABASE_PASWORD": MARK}),
        (f"[copy]\nworkers = {MARK}@host\n", {}),
    ],
)
def test_a_broken_configuration_holds_no_secret_in_any_variable(
    tmp_path: Path, text: str, environ: dict[str, str]
) -> None:
    path = tmp_path / "config.ini"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, Environment(environ))
    dump = dump_of(caught.value)
    _, there, ours = dump.partition("mastosync/config")  # what comes before is this test
    assert there
    assert MARK not in ours


def test_an_error_of_a_library_keeps_its_words_and_loses_its_variables() -> None:
    def library() -> None:
        password = MARK
        try:
            raise KeyError(len(password))
        except KeyError as error:
            raise ValueError("refused") from error

    def translated() -> None:
        try:
            library()
        except ValueError as error:
            raise MastosyncError("no") from without_frames(error)

    with pytest.raises(MastosyncError) as caught:
        translated()
    dump = dump_of(caught.value)
    assert "ValueError: refused" in dump
    assert "KeyError: 13" in dump
    assert f"password = '{MARK}'" not in dump


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
