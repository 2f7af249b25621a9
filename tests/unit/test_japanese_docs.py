"""Each Japanese page is held against its English one, block by block: what is code, link or table is the same."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from gettext import translation
from itertools import zip_longest
from pathlib import Path

import pytest

from mastosync.errors import EXIT_CODE_MEANING
from mastosync.language import DOMAIN, LOCALES

ROOT = Path(__file__).parents[2]
ENGLISH = "README.md"
JAPANESE = "docs/ja/README.md"
PAGES = {
    ENGLISH: JAPANESE,
    "docs/guide.md": "docs/ja/guide.md",
    "docs/install.md": "docs/ja/install.md",
    "docs/from-the-older-tool.md": "docs/ja/from-the-older-tool.md",
}
"""English page → its translation."""
ORIGINAL_OF = {there: here for here, there in {**PAGES, "config.sample.ini": "docs/ja/config.sample.ini"}.items()}
WHAT_TO_DO = (
    "Bring {japanese} up to date with what has changed in {english}. Every heading, paragraph, bullet, row and line\n"
    "of code has one of its own there, in the same order. Code, options, keys and targets of links stay as they are;\n"
    "the words for the rest are in docs/ja/glossary.md."
)


@dataclass(frozen=True)
class Block:
    """A heading, paragraph, bullet, row or line of code: all that no translation changes is compared."""

    shape: str
    shows: tuple[str, ...]
    """Code, targets of links and the number of bold words; within a sentence their order is that of the language."""
    words: str = field(compare=False)
    line: int = field(compare=False)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, text: str) -> Iterator[Block]:
    for line, shape, content in pieces(text):
        if shape == "line of code":
            code, *comment = re.split(r"\s+(?:#|--) ", content, maxsplit=1)
            yield Block(shape, (code.strip(), "# …" * len(comment)), "".join(comment), line)
        elif shape == "row":
            cells = [cell.strip() for cell in content.strip("|").split("|")]
            yield Block(
                f"row of {len(cells)} cells", tuple(what_a_cell_shows(page, cell) for cell in cells), content, line
            )
        else:
            yield Block(shape, tuple(what_it_shows(page, content)), content, line)


def pieces(text: str) -> Iterator[tuple[int, str, str]]:
    """The number of its first line, the shape and the text of each block; lines that continue it are joined."""
    found: list[tuple[int, str, str]] = []
    fenced = goes_on = False
    for number, line in enumerate(text.splitlines(), 1):
        if goes_on and line.strip() and not re.match(r"(- |\d+\. |\||#|```)", line):
            first, shape, before = found.pop()
            found.append((first, shape, f"{before} {line.strip()}"))
            continue
        goes_on = False
        if line.startswith("```"):
            fenced = not fenced
            found.append((number, "line of code", line))
        elif fenced or line.startswith("    "):
            found.append((number, "line of code", line))
        elif heading := re.match("#+ ", line):
            found.append((number, f"heading {len(heading[0]) - 1}", line))
        elif line.startswith("|"):
            found.append((number, "row", line))
        elif line.strip():
            goes_on = True
            found.append((number, "bullet" if re.match(r"- |\d+\. ", line) else "paragraph", line))
    yield from found


def what_a_cell_shows(page: str, cell: str) -> str:
    return ", ".join(what_it_shows(page, cell)) if re.search(r"[^\W\d]", cell) else cell


def what_it_shows(page: str, text: str) -> list[str]:
    code = re.findall("`[^`]+`", text)
    prose = re.sub("`[^`]+`", "", text)
    links = [f"({target(page, link)})" for link in re.findall(r"\]\(([^)]+)\)", prose)]
    return sorted([*code, *links, *re.findall(r"\*\*(?=\S)", prose)])


def target(page: str, link: str) -> str:
    """Where a link leads to, from the root of the repository; a page and its translation are the same place."""
    if "://" in link:
        return link
    path, _, part = link.partition("#")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
    original = ORIGINAL_OF.get(place, place)
    if part and place in PAGES.values():
        part = (
            parts_of(original)[parts_of(place).index(part)] if part in parts_of(place) else f"no such heading: {part}"
        )
    return f"{original}#{part}" if part else original


@cache
def parts_of(page: str) -> list[str]:
    """What its headings are called in links, as GitHub makes it."""
    headings = (content.lstrip("# ") for _, shape, content in pieces(read(page)) if shape.startswith("heading"))
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def difference(english: str, japanese: str, here: str = ENGLISH, there: str = JAPANESE) -> str:
    """The first block in which the translation differs, or which is none yet; empty if there is none."""
    what_to_do = WHAT_TO_DO.format(english=here, japanese=there)
    for original, translated in zip_longest(blocks(here, english), blocks(there, japanese)):
        if original != translated:
            return f"{told(here, original)}\n{told(there, translated)}\n{what_to_do}"
        if original.words == translated.words and re.search("[a-z]+ [a-z]+", re.sub("`[^`]+`", "", original.words)):
            return f"{told(there, translated)} is still in English\n{what_to_do}"
    return ""


def told(page: str, block: Block | None) -> str:
    return f"{page}:{block.line}: {block.shape}: {' '.join(block.shows)}" if block else f"{page}: nothing more"


@pytest.mark.parametrize(("english", "japanese"), PAGES.items(), ids=str)
def test_a_translation_keeps_step(english: str, japanese: str) -> None:
    assert not (found := difference(read(english), read(japanese), english, japanese)), found


@pytest.mark.parametrize("page", PAGES.values())
def test_a_translation_leads_to_translations(page: str) -> None:
    """Only the line that offers the page itself in English leads back."""
    for line, _, content in pieces(read(page)):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", content):
            place = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
            assert place not in ORIGINAL_OF.values() or PAGES.get(place) == page, f"{page}:{line}: {link}"


@pytest.mark.parametrize("page", [*PAGES, *PAGES.values()])
def test_a_page_and_its_translation_offer_each_other(page: str) -> None:
    other = PAGES.get(page) or ORIGINAL_OF[page]
    assert f"]({posixpath.relpath(other, posixpath.dirname(page) or '.')})" in read(page).splitlines()[2]


@pytest.mark.parametrize("page", PAGES.values())
def test_a_japanese_paragraph_is_one_line(page: str) -> None:
    """Many browsers show a line break as a space, which Japanese has not got."""
    known = {(line, content) for line, _, content in pieces(read(page))}
    broken = [line for line, content in known if content not in read(page).splitlines()[line - 1]]
    assert not broken, f"{page}: lines {sorted(broken)} go on in the next one"


def test_the_translation_names_exit_codes_as_the_tool_does() -> None:
    in_japanese = translation(DOMAIN, LOCALES, ["ja"]).gettext
    rows = read(JAPANESE)
    missing = [
        row for code, said in EXIT_CODE_MEANING.items() if (row := f"| {int(code)} | {in_japanese(said)} |") not in rows
    ]
    assert not missing, f"these rows belong into {JAPANESE}"


SAMPLE = """\
# tool

Reads `[a] key`, then
goes on with `--option`. See [more](docs/more.md#part).

    tool run --fast     # in a hurry
    tool stop

- **Bold.** A bullet.

| code | meaning |
|---|---|
| 0 | all is well |
| `tool run` | runs; `--fast` hurries |
"""
SAMPLE_IN_JAPANESE = """\
# tool

`--option` の前に `[a] key` を読みます。[続き](../more.md#part) も参照してください。

    tool run --fast     # 急ぐ場合
    tool stop

- **太字。** 箇条書き。

| コード | 意味 |
|---|---|
| 0 | 正常 |
| `tool run` | 実行する。`--fast` は急ぐ |
"""


def test_words_and_their_order_in_a_sentence_are_the_translators() -> None:
    assert difference(SAMPLE, SAMPLE_IN_JAPANESE) == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("| `tool run` |", "| `tool new` | is new |\n| `tool run` |"),
        ("| 0 | all is well |\n", ""),
        ("| 0 | all is well |", "| 9 | all is well |"),
        ("| 0 | all is well |", "| 0 | all is well | |"),
        ("`--fast` hurries", "`--fast` and `--faster` hurry"),
        ("`[a] key`", "`[a] other_key`"),
        ("tool run --fast ", "tool run --slow "),
        ("    tool stop\n", "    tool stop\n    tool start\n"),
        ("tool stop", "tool stop  # for good"),
        ("- **Bold.** A bullet.", "- A bullet."),
        ("- **Bold.** A bullet.", "- **Bold.** A bullet.\n- Another."),
        ("docs/more.md#part", "docs/more.md#whole"),
        ("# tool\n", "# tool\n\n## A heading\n"),
        ("\n    tool run", "\nAnother paragraph.\n\n    tool run"),
    ],
)
def test_a_change_of_the_original_is_noticed(before: str, after: str) -> None:
    assert before in SAMPLE
    found = difference(SAMPLE.replace(before, after), SAMPLE_IN_JAPANESE)
    assert f"{ENGLISH}:" in found
    assert f"{JAPANESE}:" in found
    assert "docs/ja/glossary.md" in found


def test_rows_that_changed_places_are_noticed() -> None:
    *others, one, two = SAMPLE.splitlines()
    assert difference("\n".join([*others, two, one]), SAMPLE_IN_JAPANESE)


def test_what_is_still_in_english_is_noticed() -> None:
    assert "is still in English" in difference(SAMPLE, SAMPLE_IN_JAPANESE.replace("正常", "all is well"))
    assert "is still in English" in difference(SAMPLE, SAMPLE_IN_JAPANESE.replace("急ぐ場合", "in a hurry"))
