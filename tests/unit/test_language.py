"""Words for people: which language they are in, that nothing of it can break a run, and that translations fit."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from gettext import GNUTranslations
from pathlib import Path
from string import Formatter

import click
import pytest
from babel.messages import Catalog, Message
from babel.messages.pofile import read_po

from mastosync import language
from mastosync.cli.main import cli
from mastosync.language import LOCALES, english, english_everywhere, enumerated, joined, say, tr, trn, wanted_languages

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


JAPANESE = LOCALES / "ja" / "LC_MESSAGES" / "mastosync.po"
AVOIDED = {
    "もの": "オブジェクト, ファイル, エントリー …",
    "あなた": "mastosync の実行ユーザー",
    "なければなりません": "必要があります",
    "大きさ": "サイズ",
    "要求": "リクエスト",
    "隣": "同じフォルダー",
    "取り直": "再取得",
    "受け入れ": "承認",
    "読み戻": "読み直",
    "一覧する": "一覧表示する",
    "一覧でき": "一覧表示でき",
    "一覧され": "一覧表示され",
    "運[ばびぶべぼん]": "コピー, 転送",
    "時間割": "時間帯別の設定",
    "標本": "サンプル",
    "索引": "インデックス",
    "一般の利用者": "認証なしで",
    "認証情報なし": "認証なし",
    "秘密の値": "シークレット",
    "健全": "整合性, 問題ありません",
    "盗難": "失効",
    "バイト列": "データ",
    "プローブ": "確認用オブジェクト",
    "各回|回の間|次の回": "サイクル",
    "当てに": "正しく動作する保証がありません",
    "制限中|制限 [{0-9]": "スロットリング",
    "わかり|わから": "分かり, 分から",
    "[のそ]のあと": "の後",
    "エントリ(?!ー)": "エントリー",
    "コンテナー": "コンテナ",
    "(メモリ|プロキシ|クエリ|プライマリ|ディレクトリ|カテゴリ|リポジトリ)ー": "without ー",
}
"""Words that docs/ja/glossary.md replaces, as patterns, and what stands in their place."""
QUOTES_THEM = {"docs/ja/glossary.md"}


class TestJapanese:
    """What docs/ja/glossary.md demands, as far as a machine can tell."""

    def test_no_message_has_a_word_that_the_glossary_replaces(self) -> None:
        found = [
            (pattern, text) for text in japanese().values() for pattern in AVOIDED if re.search(pattern, prose(text))
        ]
        assert not found

    def test_no_page_has_one(self) -> None:
        root = Path(__file__).parents[2]
        pages = [*root.glob("docs/ja/*.md"), root / "docs" / "ja" / "config.sample.ini"]
        found = [
            f"{page.name}: {pattern}: {line}"
            for page in pages
            if str(page.relative_to(root)) not in QUOTES_THEM
            for line in page.read_text("utf-8").splitlines()
            for pattern in AVOIDED
            if re.search(pattern, prose(line))
        ]
        assert not found

    def test_several_sentences_end_with_a_full_stop(self) -> None:
        """One has none, unless the English has one; none need follow a value or an example behind a colon."""
        faults = {}
        for english_text, text in japanese().items():
            for paragraph in text.split("\n\n"):
                plain = without_brackets(re.sub(r"\s*\[既定.*\]$", "", paragraph)).rstrip()
                *before, last = plain.removesuffix("。").split("。")
                ends = plain.endswith("。")
                if before and not ends and not re.search(r":(\s|$)", last):
                    faults[paragraph] = "no full stop at its end"
                elif ends and not before and not re.search(r"[.!)]$", english_text):
                    faults[paragraph] = "one sentence, and a full stop"
                elif re.search(r"。 (?! *\[)|。。", paragraph):
                    faults[paragraph] = "a space or another full stop behind one"
        assert faults == {}

    def test_options_are_explained_in_the_plain_form(self) -> None:
        texts = japanese()
        polite = [
            text
            for text in map(texts.get, options(cli))
            if text and re.search("(です|ます|ません|ください)(。|$)", text)
        ]
        assert not polite

    def test_a_sentence_that_ends_gets_no_second_full_stop(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("LANG", "ja_JP.UTF-8")
        assert tr("{said}; {remedy}", said="一つ。二つ。", remedy="三つ。四つ。") == "一つ。二つ。三つ。四つ。"
        assert joined(["一つ", "二つ。三つ。", "四つ"]) == "一つ。二つ。三つ。四つ。"
        assert joined(["一つ"]) == "一つ"
        assert joined([]) == ""
        assert enumerated(["一", "二", "三"]) == "一、二、三"
        with english():
            assert joined(["one", "two", "three"]) == "one; two; three"
            assert enumerated(iter(["one", "two", "three"])) == "one, two, three"
            assert enumerated([]) == ""


def japanese() -> dict[str, str]:
    """Messages, in their first form, and what is said for them."""
    return {forms_of(each.id)[0]: forms_of(each.string)[0] for each in catalog_of(JAPANESE) if each.id and each.string}


def options(command: click.Command) -> Iterator[str]:
    """The help of all options."""
    yield from (each.help for each in command.params if isinstance(each, click.Option) and each.help)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options(below)


def prose(text: str) -> str:
    """Without code and the targets of links."""
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)


def without_brackets(text: str) -> str:
    """What stands within round brackets is no sentence of its own."""
    while (shorter := re.sub(r"\([^()]*\)", "", text)) != text:
        text = shorter
    return text


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
