"""Codecs of text, varchar, char and enum columns, and of booleans. Plain values are str, and bool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bson import Decimal128, ObjectId

from migrator.documents import jsonb
from migrator.documents.jsonb import Note
from migrator.mapping.codecs.base import UNREADABLE

# A btree entry may have a third of a page, which is 2704 bytes. The limit here is lower, for multi-column headers.
INDEXABLE_BYTES = 2600


@dataclass(frozen=True, slots=True)
class Text:
    """str ↔ text. Numbers, booleans and code are converted to their usual text.

    `most`: the largest size in bytes. `length`: the largest number of characters, as in varchar(length).
    """

    most: int | None = None
    length: int | None = None

    def read(self, value: Any, note: Note, path: str) -> Any:
        text = _text_of(value)
        if text is None:
            return UNREADABLE
        if type(value) is not str:
            note("coerced", path)
        text = jsonb.remove_nul(text, note, path)
        if self.most is not None and len(text.encode()) > self.most:
            note("too_long", f"{path}: more than {self.most} bytes")
            return UNREADABLE
        if self.length is not None and len(text) > self.length:
            note("too_long", f"{path}: more than {self.length} characters")
            return UNREADABLE
        return text

    def write(self, plain: str) -> str:
        return plain


def _text_of(value: Any) -> str | None:
    if isinstance(value, str):
        return str(value)  # bson.Code is a str, too, but must not stay one
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal128 | ObjectId):
        return str(value)
    return None


@dataclass(frozen=True, slots=True)
class Char:
    """str ↔ char(length), which PostgreSQL pads with blanks. Plain values have the blanks."""

    length: int

    def read(self, value: Any, note: Note, path: str) -> Any:
        text = Text(length=self.length).read(value, note, path)
        return text.ljust(self.length) if isinstance(text, str) else text

    def write(self, plain: str) -> str:
        return plain.rstrip(" ")


@dataclass(frozen=True, slots=True)
class Enum:
    """One of the texts `values` ↔ enum label. `spelling` returns the spelling of the source.

    Only the case of ASCII letters is ignored: a blank around a label, or a letter of another alphabet that lower()
    would convert to ASCII, makes another value.
    """

    values: tuple[str, ...]
    spelling: Callable[[str], str] = str

    def read(self, value: Any, note: Note, path: str) -> Any:
        if not isinstance(value, str):
            return UNREADABLE
        text = str(value)
        label = text if text in self.values else text.lower() if text.isascii() else text
        if label not in self.values:
            note("unknown_enum", path)
            return UNREADABLE
        if type(value) is not str:  # bson.Code
            note("coerced", path)
        return label

    def write(self, plain: str) -> str:
        return self.spelling(plain)


_TRUTH = {"true": True, "false": False, "1": True, "0": False, 1: True, 0: False}


@dataclass(frozen=True, slots=True)
class Boolean:
    """bool ↔ boolean. "true", "false", 1 and 0 are converted."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        if isinstance(value, bool):
            return value
        key = value.strip().lower() if isinstance(value, str) else value
        if isinstance(key, str | int | float) and key in _TRUTH:
            note("coerced", path)
            return _TRUTH[key]
        return UNREADABLE

    def write(self, plain: bool) -> bool:
        return plain


TEXT, INDEXED_TEXT, BOOLEAN = Text(), Text(most=INDEXABLE_BYTES), Boolean()
