"""The catalogs of messages: how they follow the code, and what keeps a release from leaving with a gap."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from gettext import GNUTranslations
from pathlib import Path

import pytest
from babel.messages import Catalog
from babel.messages.pofile import read_po, write_po

from mastosync.language import DOMAIN, LOCALES
from scripts import messages
from scripts.messages import CHECK, compile_outdated, literals, main, renew
from setup import compile_catalogs

PLURAL = ("{count} sheep sleeps", "{count} sheep sleep")
PO = f"ja/LC_MESSAGES/{DOMAIN}.po"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Catalogs that are whole: of one message, and of one that has several forms."""
    folder = shutil.copytree(LOCALES, tmp_path / "locale")
    wanted = catalog("all well", PLURAL)
    renew(wanted, folder)
    translate(folder, {"all well": "すべて正常", PLURAL: ("羊 {count} 匹が眠る",)})
    compile_catalogs(folder)
    monkeypatch.setattr(messages, "template", lambda: wanted)
    return folder


def catalog(*ids: str | tuple[str, str]) -> Catalog:
    made = Catalog()
    for each in ids:
        made.add(each)
    return made


def translate(folder: Path, translations: dict[str | tuple[str, str], str | tuple[str]]) -> None:
    path = folder / PO
    there = read_po(path.read_bytes().splitlines(keepends=True), locale="ja")
    for message in there:
        key = message.id if isinstance(message.id, str) else tuple(message.id)
        if key in translations:
            message.string = translations[key]
    with path.open("wb") as file:
        write_po(file, there, width=120)


def said(folder: Path, count: int) -> str:
    with (folder / PO).with_suffix(".mo").open("rb") as file:
        return GNUTranslations(file).ngettext(*PLURAL, count)


def test_catalogs_without_a_gap_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([CHECK], folder) == 0
    assert capsys.readouterr().out == "2 messages, 0 to translate\n"


def a_new_message(_: Path) -> Catalog:
    return catalog("all well", "nothing is well", PLURAL)


def a_message_that_is_gone(_: Path) -> Catalog:
    return catalog(PLURAL)


def no_translation(folder: Path) -> Catalog:
    translate(folder, {"all well": ""})
    return catalog("all well", PLURAL)


def no_translation_of_the_plural(folder: Path) -> Catalog:
    translate(folder, {PLURAL: ("",)})
    return catalog("all well", PLURAL)


def a_guess(folder: Path) -> Catalog:
    text = (folder / PO).read_text("utf-8")
    (folder / PO).write_text(text.replace('msgid "all well"', '#, fuzzy\nmsgid "all well"'), "utf-8")
    return catalog("all well", PLURAL)


@pytest.mark.parametrize(
    "happened", [a_new_message, a_message_that_is_gone, no_translation, no_translation_of_the_plural, a_guess]
)
def test_a_gap_is_named_and_fails_the_check_which_writes_nothing(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    happened: Callable[[Path], Catalog],
) -> None:
    wanted = happened(folder)
    monkeypatch.setattr(messages, "template", lambda: wanted)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    assert main([CHECK], folder) == 1
    assert f"{PO}: " in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in folder.rglob("*.*")}


def test_to_renew_them_is_no_failure_and_names_what_is_to_be_translated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(messages, "template", lambda: catalog("all is well", PLURAL))
    assert main([], folder) == 0
    told = capsys.readouterr()
    assert told.err == f"{PO}: is not translated: all is well\n"
    assert told.out == "2 messages, 1 to translate\n"
    text = (folder / PO).read_text("utf-8")
    assert "すべて正常" not in text, "a translation of another text is no guess at this one"
    assert "fuzzy" not in text


@pytest.mark.parametrize(("count", "english"), [(1, "{count} sheep sleeps"), (2, "{count} sheep sleep")])
def test_what_has_no_translation_is_said_in_english_of_the_right_number(folder: Path, count: int, english: str) -> None:
    assert said(folder, count) == "羊 {count} 匹が眠る"
    translate(folder, {PLURAL: ("",)})
    compile_catalogs(folder)
    assert said(folder, count) == english


def test_a_catalog_is_compiled_when_it_is_newer_and_not_before(folder: Path) -> None:
    compiled = (folder / PO).with_suffix(".mo")
    before = compiled.stat().st_mtime_ns
    os.utime(folder / PO, ns=(before, before))
    compiled.write_bytes(b"")
    compile_outdated(folder)
    assert compiled.read_bytes() == b""
    os.utime(compiled, ns=(before - 1, before - 1))
    compile_outdated(folder)
    assert said(folder, 1) == "羊 {count} 匹が眠る"
    compiled.unlink()
    compile_outdated(folder)
    assert said(folder, 1) == "羊 {count} 匹が眠る"


@pytest.mark.parametrize("code", ["tr(f'{name} is wrong')", "tr(message)", "trn('one', many, 2)", "deferred(1)"])
def test_what_is_none_would_be_found(code: str) -> None:
    with pytest.raises(ValueError, match="not a literal"):
        list(literals(code, "here"))
