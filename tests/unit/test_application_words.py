"""The engine knows no application: its code names none of the collections, settings and codes of the example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mappings
from mappings.settings import Settings
from migrator.config.models import Config, PoliciesConfig

ENGINE = Path(__file__).parents[2] / "migrator"
SOURCES = {".py", ".pyi", ".pyx", ".pxd", ".sql"}
# Words of any migration or of programming: files of a dump, modules of Python, transactions, the users of a server, the
# messages of errors, the chunks of a text, and the storage of a server.
GENERIC = {"chunks", "document_chunks", "files", "messages", "modules", "storage", "tenants", "transactions", "users"}
# The names of the example itself: where it is copied from, and how a user asks for it.
EXEMPT = {ENGINE / "config" / "example.py"}
COMMAND = "init --example librechat"


def application_words() -> Iterator[str]:
    """Yields the names that the example gives to collections, tables, sections and policies, and some of its nouns."""
    for mapping in mappings.MAPPINGS:
        yield from (mapping.name, mapping.table.name)
    yield from (merge.name for merge in mappings.MERGES)
    yield from Settings.model_fields.keys() - Config.model_fields.keys()
    yield from Settings.model_fields["policies"].annotation.model_fields.keys() - PoliciesConfig.model_fields.keys()  # type: ignore[union-attr]
    yield from ("librechat", "payments", "lessons", "amount_unit", "parentMessageId", "conversationId")


# `temporary` is a policy of the example, and a word for folders and tables.
WORDS = sorted({*application_words()} - GENERIC - {"temporary"})


def test_the_words_are_found() -> None:
    """The list is not empty by mistake."""
    assert {"conversations", "recordings", "courses", "orphan_owner", "duplicate_email", "librechat"} <= set(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_the_engine_has_no_word_of_an_application(word: str) -> None:
    """Neither in code nor in comments, in singular or plural."""
    stem = re.escape(word.removesuffix("s"))
    pattern = re.compile(rf"(?<![A-Za-z]){stem}s?(?![A-Za-z])", re.IGNORECASE)
    found = []
    for path in sorted(ENGINE.rglob("*")):
        if path.suffix not in SOURCES or path in EXEMPT or path.is_relative_to(ENGINE / "examples"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if pattern.search(line.replace(COMMAND, "")):
                found.append(f"{path.relative_to(ENGINE)}:{number}: {line.strip()}")
    assert found == []
