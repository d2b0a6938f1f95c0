"""Plain words: no phrase of the left column of wording.md occurs in the tree, and no coined word in the code.

fixtures/words/wording.md is a copy of the table of phrases and their replacements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORDS = ROOT / "fixtures" / "words"
FOLDERS = ("bench", "docs", "mappings", "migrator", "schema", "tests", ".ci")
FILES = ("CHANGELOG.md", "Dockerfile", "Makefile", "README.md", "migrate.toml.example", "pyproject.toml", "setup.py")
TEXT = {".md", ".py", ".pyi", ".pyx", ".pxd", ".sql", ".toml", ".txt", ".yml", ".html", ".css", ""}
CODE = ("migrator", "mappings", "schema")
NUMBER = r"(?:\d[\d,.]*|\{[^{}]*\})"  # a figure, or a placeholder of an f-string
# Cells that are ordinary English or JSON keys: what is searched in their place.
LITERAL = {
    "fate (column)": (),  # a JSON key of `plan`
    "implied / residue / ledger (as fate)": (),  # JSON values of `plan`
    "equal / of / together (report)": (">equal<", ">together<"),
    "a second (column)": ('"a second"',),
    "tree: rings, tree: roots": (),  # codes of checks, which stay; their titles have changed
    "Take it back? [y/N]": ("Take it back?",),
    "it is 'drop' now": (),  # see PATTERNS
    "has 1 mistake(s)": ("mistake(s)",),
    "3 claims / 4 claims settled": (),
    "rows a second, 5 µs a document": ("rows a second", "documents a second", "µs a document"),
    "3 uniques, 11 keys": (),
    "all is read in 50 s": ("all is read in",),
}
PATTERNS = {
    "it is 'drop' now": r"it is (?:'\w+'|\{value!r\}) now",
    "3 claims / 4 claims settled": rf"{NUMBER} claims",
    "3 uniques, 11 keys": rf"{NUMBER} uniques",
}


@cache
def texts() -> dict[str, str]:
    """The files of the tree by path, without code marks; line breaks and comment signs are replaced by spaces."""
    own = {Path(__file__).resolve(), *WORDS.iterdir(), ROOT / "tests" / "unit" / "golden" / "messages.txt"}
    paths = [ROOT / name for name in FILES]
    for folder in FOLDERS:
        paths += sorted(path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in TEXT)
    fixtures = (ROOT / "fixtures").glob("*.*")  # the demo leaves a folder there
    paths += sorted(path for path in fixtures if path.is_file())
    return {
        str(path.relative_to(ROOT)): re.sub(
            r"\s*\n\s*(?:#|--|//)?\s*", " ", path.read_text(encoding="utf-8").replace("`", "")
        )
        for path in paths
        if path.suffix in TEXT and path not in own and "__pycache__" not in path.parts
    }


def left_column() -> list[str]:
    rows = (WORDS / "wording.md").read_text(encoding="utf-8").splitlines()
    cells = [row.split("|")[1].strip() for row in rows if row.startswith("|")]
    return [cell for cell in cells if cell not in ("now", "---")]


def patterns_of(cell: str) -> Iterator[str]:
    """Regular expressions for a cell: alternatives at ' / ', gaps at '…', any figure for a figure."""
    if cell in PATTERNS:
        yield PATTERNS[cell]
    for phrase in LITERAL.get(cell, cell.split(" / ")):
        pieces = [each.strip() for each in re.split(r"…|\.\.\.", phrase.rstrip("….").replace("`", "")) if each.strip()]
        escaped = [re.sub(r"\d+", lambda _: NUMBER, re.escape(piece).replace(r"\ ", r"\s+")) for piece in pieces]
        yield r".{0,60}?".join(escaped)


@cache
def lower_texts() -> dict[str, str]:
    return {name: text.lower() for name, text in texts().items()}


def words_of(pattern: str) -> list[str]:
    """Words that each match of a pattern contains. Most files lack one, so that no slow search is needed there."""
    rest = pattern.replace(NUMBER, " ")
    return [] if "|" in rest else re.findall(r"[a-z]{3,}", re.sub(r"\\.", " ", rest).lower())


def find(pattern: str, folders: tuple[str, ...] = ()) -> list[str]:
    """Where a pattern occurs: 'file: the text around it'."""
    first = f"[{pattern[0].lower()}{pattern[0].upper()}]{pattern[1:]}" if pattern[0].isalpha() else pattern
    expression = re.compile(rf"(?<!\w){first}(?!\w)")
    found, words = [], words_of(pattern)
    for name, plain in texts().items():
        lower = lower_texts()[name]
        if (not folders or name.split("/")[0] in folders) and all(word in lower for word in words):
            found += [f"{name}: {plain[max(0, m.start() - 30) : m.end() + 30]}" for m in expression.finditer(plain)]
    return found


@pytest.mark.parametrize("cell", left_column())
def test_no_phrase_of_the_left_column_occurs(cell: str) -> None:
    """Its replacement is in the right column of fixtures/words/wording.md."""
    assert [place for pattern in patterns_of(cell) for place in find(pattern)] == []


def coined_words() -> list[str]:
    lines = (WORDS / "coined.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("word", coined_words())
def test_no_coined_word_occurs_in_the_code(word: str) -> None:
    """The standard term is in docs/explanation or in the table of fixtures/words/wording.md."""
    assert find(f"(?:{word})", CODE) == []


def test_the_patterns_find_what_they_are_made_from() -> None:
    """Every phrase matches itself: a pattern that matches nothing would check nothing."""
    for cell in left_column():
        for phrase in LITERAL.get(cell, cell.split(" / ")):
            plain = phrase.replace("`", "").replace("…", " something ")
            found = [each for each in patterns_of(cell) if re.search(each, plain, re.IGNORECASE)]
            assert found, cell
            assert all(word in plain.lower() for each in found for word in words_of(each)), cell
