"""Files of variables mean here what they mean to Mastodon, or to Docker."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mastosync.config import Secret
from mastosync.config.env_file import EnvFile, assignment, edited, parse_docker, parse_dotenv, read_env_file
from mastosync.errors import ConfigError

GOLDEN = Path(__file__).parents[2] / "golden" / "dotenv.jsonl"
VECTORS = [json.loads(line) for line in GOLDEN.read_text("utf-8").splitlines()]
"""What version 3.1.2 of the dotenv gem reads in each of these files."""

NOT_A_PART = st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")
VALUES = st.text(NOT_A_PART) | st.text(string.punctuation + string.ascii_letters + " \né😀")


def dotenv(text: str, environ: Mapping[str, str] | None = None) -> EnvFile:
    return parse_dotenv(Secret(text), environ or {})


def docker(text: str) -> EnvFile:
    return parse_docker(Secret(text))


def values(file: EnvFile) -> dict[str, str | None]:
    return {name: each.value.reveal() if each.value is not None else None for name, each in file.variables.items()}


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["file"] for vector in VECTORS])
def test_a_file_is_read_as_the_gem_reads_it(vector: dict[str, dict[str, str]]) -> None:
    assert values(dotenv(str(vector["file"]))) == vector["variables"]


class TestDotenv:
    @given(VALUES.filter(lambda value: "'" not in value))
    def test_anything_in_single_quotes_comes_back(self, value: str) -> None:
        assert values(dotenv(f"A=x\nB='{value}' # note\nC=x")) == {"A": "x", "B": value, "C": "x"}

    @given(VALUES)
    def test_anything_in_double_quotes_comes_back_when_it_is_escaped(self, value: str) -> None:
        escaped = "".join(f"\\{each}" if each in '\\"$' else each for each in value)
        assert values(dotenv(f'A=x\nB="{escaped}" # note\nC=x')) == {"A": "x", "B": value, "C": "x"}

    @given(st.text(string.ascii_letters + string.digits + "/+=%@:;,.!?*()[]{}<>|&^~-_", min_size=1))
    def test_a_value_of_plain_characters_needs_no_quotes(self, value: str) -> None:
        assert values(dotenv(f"export A={value}  # note")) == {"A": value}

    @given(st.text(string.printable))
    def test_every_line_is_an_assignment_a_comment_empty_or_told(self, text: str) -> None:
        file = dotenv(text)
        told = {*file.broken, *(each.line for each in file.variables.values())}
        assert told <= set(range(1, 2 + text.replace("\r\n", "\n").replace("\r", "\n").count("\n")))

    def test_variables_come_from_the_file_or_else_from_the_environment(self) -> None:
        file = dotenv("HERE=file\nA=$HERE/$THERE/${NOWHERE}", {"HERE": "environment", "THERE": "environment"})
        assert values(file)["A"] == "file/environment/"

    @pytest.mark.parametrize("text", ["A=$(pwd)", 'A="x$(echo $(pwd))"', "B=$(pwd)\nA=${B}"])
    def test_a_shell_command_is_not_run_and_its_value_not_known(self, text: str) -> None:
        assert values(dotenv(text))["A"] is None

    @pytest.mark.parametrize("text", ["A='$(pwd)'", 'A="\\$(pwd)"', "A=\\$(pwd)"])
    def test_what_only_looks_like_one_is_text(self, text: str) -> None:
        assert values(dotenv(text)) == {"A": "$(pwd)"}

    @pytest.mark.parametrize(
        ("text", "broken"),
        [
            ("A=1\nwords of some kind\nB=2", (2,)),
            ("\n# note\n  # note\n\nA-B=1\nB=2\n=3", (5, 7)),
            ("A\nB=1\nexport B\nexport C", (1, 4)),
            ("A='1'2'\nB=2", ()),
            ("A=1\r\nwords of\r\n", (2,)),
        ],
    )
    def test_lines_that_nobody_understands_are_told_by_number(self, text: str, broken: tuple[int, ...]) -> None:
        assert tuple(sorted(dotenv(text).broken)) == broken

    def test_a_variable_knows_its_line_also_behind_one_of_several(self) -> None:
        file = dotenv("\n# note\nA='1\n2\n3'\n\nexport B=1\nB=2")
        assert {name: each.line for name, each in file.variables.items()} == {"A": 3, "B": 8}


class TestDocker:
    @given(VALUES.filter(lambda value: "\n" not in value))
    def test_everything_behind_the_sign_is_the_value(self, value: str) -> None:
        assert values(docker(f"A={value}\r\nB=1")) == {"A": value, "B": "1"}

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("A='a'", {"A": "'a'"}),
            ('A="a" # b', {"A": '"a" # b'}),
            ("A=a#b$C\\n ", {"A": "a#b$C\\n "}),
            ("  A=a", {"A": "a"}),
            ("A=", {"A": ""}),
            ("# A=a\n\nB=b", {"B": "b"}),
            ("A==a", {"A": "=a"}),
        ],
    )
    def test_table(self, text: str, expected: dict[str, str]) -> None:
        assert values(docker(text)) == expected

    def test_what_docker_refuses_is_told_by_number(self) -> None:
        assert docker("A=1\nexport B=2\nC =3\n=4\nD\n").broken == (2, 3, 4, 5)


class TestReading:
    def test_a_byte_order_mark_is_passed_over(self, tmp_path: Path) -> None:
        file = tmp_path / ".env.production"
        file.write_bytes(b"\xef\xbb\xbfA=1\n")
        assert values(read_env_file(file, "dotenv", {})) == values(read_env_file(file, "docker", {})) == {"A": "1"}

    def test_a_file_that_is_no_text_is_refused_without_its_content(self, tmp_path: Path) -> None:
        file = tmp_path / ".env.production"
        file.write_bytes(b"A=hunter2\xff")
        with pytest.raises(ConfigError, match="UTF-8") as refused:
            read_env_file(file, "dotenv", {})
        assert "hunter2" not in str(refused.value) + refused.value.hint

    def test_nothing_that_was_read_is_shown(self) -> None:
        assert "hunter2" not in repr(dotenv("A=hunter2"))


class TestEdited:
    """A file with other values: what is not named stays as it is, to the byte."""

    FILE = (
        "# Mastodon\nLOCAL_DOMAIN=social.example\n\n  export S3_BUCKET='old'   # of 2019\nS3_ALIAS_HOST=files.example\n"
        'S3_BUCKET=older\nKEY="two\nlines"\nLAST=1'
    )

    def test_lines_are_changed_removed_and_added(self) -> None:
        wanted = {"S3_BUCKET": Secret("it's new"), "KEY": None, "S3_REGION": Secret("eu"), "NEVER": None}
        assert edited(Secret(self.FILE), "dotenv", wanted).reveal() == (
            "# Mastodon\nLOCAL_DOMAIN=social.example\n\nS3_ALIAS_HOST=files.example\n"
            'S3_BUCKET="it\'s new"\nLAST=1\nS3_REGION=eu\n'
        )

    def test_comments_and_empty_lines_below_stay(self) -> None:
        text = "S3_BUCKET=x # why\n\n# keep me\nC=3\n"
        assert edited(Secret(text), "dotenv", {"S3_BUCKET": Secret("y")}).reveal() == "S3_BUCKET=y\n\n# keep me\nC=3\n"
        assert edited(Secret("A=1\nB=2\n"), "dotenv", {"B": Secret("3")}).reveal() == "A=1\nB=3\n"

    def test_what_refers_to_a_changed_value_is_not_changed_in_secret(self) -> None:
        with pytest.raises(ConfigError, match="CDN_HOST would change"):
            edited(Secret("A=a\nCDN_HOST=https://${A}\n"), "dotenv", {"A": Secret("b")})

    def test_a_file_of_docker_keeps_its_quotes(self) -> None:
        wanted = {"S3_BUCKET": Secret("new"), "S3_REGION": Secret("'eu'")}
        found = edited(Secret("A='b'\r\nS3_BUCKET=old\r\n#S3_BUCKET=x\n"), "docker", wanted)
        assert found.reveal() == "A='b'\r\nS3_BUCKET=new\n#S3_BUCKET=x\nS3_REGION='eu'\n"

    @pytest.mark.parametrize("syntax", ["dotenv", "docker"])
    @given(text=st.text(string.printable), value=VALUES.filter(lambda value: "\n" not in value), old=st.booleans())
    def test_any_value_is_read_as_it_was_meant_or_refused(self, syntax: str, text: str, value: str, old: bool) -> None:
        lines = f"A=1\n{assignment('B', Secret('before'), syntax) if old else '#'}\n{text}\nC=3\n"
        read = dotenv if syntax == "dotenv" else docker
        try:
            found = edited(Secret(lines), syntax, {"B": Secret(value)})
        except ConfigError:
            return
        assert values(read(found.reveal()))["B"] == value

    @given(VALUES)
    def test_no_value_is_refused_in_a_file_of_our_own(self, value: str) -> None:
        found = edited(Secret(""), "dotenv", {"A": Secret(value), "B": Secret("x")})
        assert values(dotenv(found.reveal())) == {"A": value, "B": "x"}
