"""Words for people: which language they are in, that nothing of it can break a run, and that translations fit."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from gettext import GNUTranslations
from pathlib import Path
from string import Formatter

import pytest
from babel.messages import Catalog, Message
from babel.messages.pofile import read_po

from mastosync import language
from mastosync.language import LOCALES, english, english_everywhere, say, tr, trn, wanted_languages

PO_FILES = sorted(LOCALES.glob("*/LC_MESSAGES/mastosync.po"))


def catalog_of(path: Path) -> Catalog:
    return read_po(path.read_bytes().splitlines(keepends=True), locale=path.parts[-3])


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment whose language is asked for anew."""
    language._users_catalog.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    language._users_catalog.cache_clear()


class TestWhichLanguage:
    @pytest.mark.parametrize(
        ("environ", "wanted"),
        [
            ({}, []),
            ({"LANG": "ja_JP.UTF-8"}, ["ja_JP.UTF-8"]),
            ({"LANG": "en_US.UTF-8"}, []),
            ({"LANG": "C.UTF-8"}, []),
            ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, []),
            ({"LANG": "ja_JP.UTF-8", "LC_ALL": ""}, ["ja_JP.UTF-8"]),
            ({"LANG": "ja_JP.UTF-8", "LC_MESSAGES": "POSIX"}, []),
            ({"LANG": "en_US.UTF-8", "LANGUAGE": "ja"}, ["ja"]),
            ({"LANG": "C", "LANGUAGE": "ja"}, []),
            ({"LANG": "ja_JP.UTF-8", "LANGUAGE": "en_GB:ja"}, []),
            ({"LANG": "ja_JP.UTF-8", "LANGUAGE": "fr:ja:en:de"}, ["fr", "ja"]),
        ],
    )
    def test_the_environment_says(self, environ: dict[str, str], wanted: list[str]) -> None:
        assert wanted_languages(environ) == wanted

    def test_a_message_is_said_in_it(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("LANG", "ja_JP.UTF-8")
        assert tr("there is no manifest at {path}", path="x.db") == "マニフェストが x.db にありません"
        assert trn("{count:,} entry is pending again", "{count:,} entries are pending again", 1234).startswith("1,234 ")
        assert say("all well") == "すべて正常"
        with english():
            assert say("all well") == "all well"
            with ThreadPoolExecutor(1) as others:
                assert others.submit(say, "all well").result() == "すべて正常"
                with english_everywhere():
                    assert others.submit(say, "all well").result() == "all well"
        assert say("all well") == "すべて正常"

    def test_what_has_no_translation_is_said_in_english(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("LANG", "ja_JP.UTF-8")
        assert say("a sentence that no catalog has") == "a sentence that no catalog has"
        assert say("") == ""

    def test_a_value_is_shown_as_it_is_whatever_braces_it_has(self) -> None:
        assert tr("there is no manifest at {path}", path="{0}{x}") == "there is no manifest at {0}{x}"


class TestWhateverIsWrong:
    @pytest.mark.parametrize("broken", [b"", b"\xde\x12\x04\x95", b"no catalog at all" * 9])
    def test_a_broken_catalog_is_none(self, environment: pytest.MonkeyPatch, tmp_path: Path, broken: bytes) -> None:
        folder = tmp_path / "ja" / "LC_MESSAGES"
        folder.mkdir(parents=True)
        (folder / "mastosync.mo").write_bytes(broken)
        environment.setattr(language, "LOCALES", tmp_path)
        environment.setenv("LANG", "ja_JP.UTF-8")
        assert say("all well") == "all well"

    @pytest.mark.parametrize("encoding", ["ascii", "iso8859-1", "cp1252"])
    def test_nobody_is_told_in_letters_that_cannot_be_shown(
        self, environment: pytest.MonkeyPatch, encoding: str
    ) -> None:
        environment.setenv("LANG", "ja_JP.UTF-8")
        environment.setattr(sys, "stdout", open(1, "w", encoding=encoding, closefd=False))  # noqa: SIM115
        assert say("all well") == "all well"

    def test_other_encodings_of_the_language_will_do(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("LANG", "ja_JP.eucJP")
        environment.setattr(sys, "stdout", open(1, "w", encoding="euc_jp", closefd=False))  # noqa: SIM115
        assert say("all well") == "すべて正常"


class TestCatalogs:
    def test_there_is_one(self) -> None:
        assert [path.parts[-3] for path in PO_FILES] == ["ja"]

    @pytest.mark.parametrize("path", PO_FILES, ids=str)
    def test_what_runs_is_what_was_translated(self, path: Path) -> None:
        """A test session compiles what is outdated, as whoever installs mastosync does."""
        with path.with_suffix(".mo").open("rb") as file:
            compiled = GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        translated: dict[str | tuple[str, int], str] = {}
        for message in catalog_of(path):
            forms, said = forms_of(message.id), forms_of(message.string)
            if len(forms) == 1 and all(said):
                translated[forms[0]] = said[0]
            elif all(said):
                translated |= {(forms[0], number): text for number, text in enumerate(said)}
        assert {key for key in compiled if key} == {key for key in translated if key}
        assert not [key for key in translated if key and compiled[key] != translated[key]]

    @pytest.mark.parametrize("path", PO_FILES, ids=str)
    def test_a_translation_can_take_the_place_of_its_message(self, path: Path) -> None:
        faults = {str(message.id): fault for message in catalog_of(path) if message.id and (fault := fault_of(message))}
        assert faults == {}

    def test_japanese_can_be_shown_in_its_older_encodings(self) -> None:
        for message in catalog_of(LOCALES / "ja" / "LC_MESSAGES" / "mastosync.po"):
            said, meant = (set("".join(forms_of(texts))) for texts in (message.string, message.id))
            "".join(said - meant).encode("euc_jp")


def fault_of(message: Message) -> str:
    """What is wrong with a translation, if anything is."""
    forms, said = forms_of(message.id), forms_of(message.string)
    if not all(said):  # which is said in English, and named by `make messages`
        return ""
    if message.fuzzy:
        return "guessed, or of another text"
    named = [placeholders_of(form) for form in forms]
    for text in said:
        if not set.union(*named) >= placeholders_of(text) >= set.intersection(*named):
            return f"other placeholders: {text}"
        if (text[:1].isspace(), text[-1:].isspace()) != (forms[0][:1].isspace(), forms[0][-1:].isspace()):
            return f"other spaces at its ends: {text}"
    return ""


def forms_of(texts: str | tuple[str, ...] | list[str] | list[object] | None) -> list[str]:
    return [texts] if isinstance(texts, str) else list(map(str, texts or ()))


def placeholders_of(text: str) -> set[str]:
    """As they stand in braces, or click's `%(name)s`."""
    if "%(" in text:
        return set(re.findall(r"%\(\w+\)s", text))
    return {f"{name}!{conversion}:{spec}" for _, name, spec, conversion in Formatter().parse(text) if name is not None}
