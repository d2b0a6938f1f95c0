"""Merges: collections whose documents get no row, but fill missing values in rows of another collection.

Here is the definition of a merge, and what it computes for one document and one row. `reconciliation.merges` applies
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.documents.codec import Document
from migrator.documents.jsonb import Note, normalize
from migrator.mapping.codecs import DATETIME, TEXT, UNREADABLE, Codec
from migrator.mapping.context import Row
from migrator.mapping.references import Key
from migrator.mapping.rules import FirstCause


def ignore_finding(code: str, detail: str) -> None:
    """A `Note` for values whose findings are recorded elsewhere, or need not be recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByKey:
    """Finds the row whose ID is the value of a field, converted by the `key` of the row's collection."""

    fields: tuple[str, ...]
    key: Key

    def keys(self, document: Document) -> list[Any]:
        """Return the plain IDs to look for, in order of preference."""
        return [self.key.uuid(text) for text in _texts(document, self.fields)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ByValue:
    """Finds the row that has the text of a field in a column, or under the key `name` of a jsonb column."""

    fields: tuple[str, ...]
    column: str
    name: str | None = None

    def keys(self, document: Document) -> list[str]:
        """Return the texts to look for, in order of preference."""
        return _texts(document, self.fields)


def _texts(document: Document, fields: tuple[str, ...]) -> list[str]:
    found = [TEXT.read(document.get(name), ignore_finding, name) for name in fields]
    return [text.strip() for text in found if isinstance(text, str) and text.strip()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """A column, or the key `name` of a jsonb column, that gets the first value found among `fields`.

    With `any_of`, the value of the row is accepted if it equals any of the values. `sets` are other columns that are
    set together with the value.
    """

    fields: tuple[str, ...]
    column: str
    codec: Codec
    name: str | None = None
    any_of: bool = False
    sets: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def apply(self, document: Document, row: Row, overwrites: bool, note: Note, conflict: str) -> Row:
        """Return the columns that change.

        If the row has a different value, a finding with the code `conflict` is recorded, and the value changes only if
        the merge `overwrites`.
        """
        values = self._values(document, note)
        if not values:
            return {}
        current = row[self.column]
        present = current if self.name is None else (current or {}).get(self.name)
        if is_missing(present):
            return self._change(current, values[0])
        if present == values[0] or (self.any_of and present in values):
            return {}
        note(conflict, self.column if self.name is None else f"{self.column}.{self.name}")
        return self._change(current, values[0]) if overwrites else {}

    def _values(self, document: Document, note: Note) -> list[Any]:
        values = []
        for name in self.fields:
            value = document.get(name)
            if value is None:
                continue
            cause = FirstCause(note)
            plain = self.codec.read(value, cause, name)
            if plain is UNREADABLE:
                cause.explain(name, value)
            elif not is_missing(plain):
                values.append(plain)
                if not self.any_of:
                    break
        return values

    def _change(self, current: Any, value: Any) -> Row:
        if self.name is None:
            return {self.column: value, **self.sets}
        return {self.column: normalize({**(current or {}), self.name: value}), **self.sets}


def is_missing(value: Any) -> bool:
    """Return whether a value counts as missing: NULL or an empty text, but not 0 or false."""
    return value is None or value == ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCodes:
    """The codes of a merge's findings.

    `unmatched`: no row was found. `ambiguous`: several rows were found, the one with the smallest ID is used.
    `superseded`: a newer document is used for the row. `conflict`: the row has a different value.
    """

    unmatched: str
    ambiguous: str
    superseded: str
    conflict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Documents of `name`, from the section `section` of migrate.toml, that are merged into rows of `into`.

    `by` lists the ways in which a document finds its row; the first one that finds a row is used. If several documents
    find the same row, the one with the latest date in the field `newest` is used, and of equal dates the one with the
    smallest `_id`. All other documents are archived. `overwrites(config)` tells whether a value replaces a different
    value of the row. `kinds` are the types of fields that an export writes as text (sources/auxiliary/values.py).
    """

    name: str
    section: str
    into: str
    by: tuple[ByKey | ByValue, ...]
    newest: str
    fills: tuple[Fill, ...]
    codes: MergeCodes
    overwrites: Callable[[Any], bool] = field(hash=False)
    kinds: Mapping[str, str] = field(default_factory=dict, hash=False)

    def changes(self, document: Document, row: Row, overwrites: bool, note: Note) -> Row:
        """Return the columns of a row that a document changes."""
        changes: Row = {}
        for fill in self.fills:
            changes |= fill.apply(document, {**row, **changes}, overwrites, note, self.codes.conflict)
        return {name: value for name, value in changes.items() if row[name] != value}

    def age_key(self, document: Document) -> int:
        """Return a number in microseconds that is smaller for newer documents. Without a date it is the largest."""
        micros = DATETIME.read(document.get(self.newest), ignore_finding, self.newest)
        return -micros if isinstance(micros, int) else 1 << 63
