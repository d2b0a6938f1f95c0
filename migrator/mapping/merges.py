"""The vocabulary of merges: documents that have no row of their own, and fill what rows of another collection lack.

Data, and what it computes for one document and one row; pure. Carrying it out is `merging`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.config.models import Config
from migrator.documents.codec import Document
from migrator.documents.jsonb import Note, normalize
from migrator.mapping.codecs import MOMENT, TEXT, UNREADABLE, Codec
from migrator.mapping.context import Row
from migrator.mapping.references import Key
from migrator.mapping.rules import FirstCause


def unnoted(code: str, detail: str) -> None:
    """A `Note` where what a codec finds is said elsewhere, or is nobody's concern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByKey:
    """The row whose id a field names, as documents of the collection claim it."""

    fields: tuple[str, ...]
    key: Key

    def ask(self, document: Document) -> list[Any]:
        """What rows are asked for: plain ids, in the order of preference."""
        return [self.key.uuid(text) for text in _texts(document, self.fields)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ByValue:
    """The row that has a field's text in a column: under `name` in a jsonb one."""

    fields: tuple[str, ...]
    column: str
    name: str | None = None

    def ask(self, document: Document) -> list[str]:
        """The texts, in the order of preference."""
        return _texts(document, self.fields)


def _texts(document: Document, fields: tuple[str, ...]) -> list[str]:
    found = [TEXT.read(document.get(name), unnoted, name) for name in fields]
    return [text.strip() for text in found if isinstance(text, str) and text.strip()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """A column, or the key `name` of a jsonb column, that takes the first of the `fields` that has a value.

    `any_of`: the row's value is as good if it is that of any of the fields. `sets`: what other columns get with it.
    """

    fields: tuple[str, ...]
    column: str
    codec: Codec
    name: str | None = None
    any_of: bool = False
    sets: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def apply(self, document: Document, row: Row, wins: bool, note: Note) -> Row:
        """The columns that change. A value that differs from the row's is noted; it stays out unless it `wins`."""
        values = self._values(document, note)
        if not values:
            return {}
        packed = row[self.column]
        has = packed if self.name is None else (packed or {}).get(self.name)
        if is_lacking(has):
            return self._change(packed, values[0])
        if has == values[0] or (self.any_of and has in values):
            return {}
        note("recording_conflict", self.column if self.name is None else f"{self.column}.{self.name}")
        return self._change(packed, values[0]) if wins else {}

    def _values(self, document: Document, note: Note) -> list[Any]:
        read = []
        for name in self.fields:
            value = document.get(name)
            if value is None:
                continue
            why = FirstCause(note)
            plain = self.codec.read(value, why, name)
            if plain is UNREADABLE:
                why.explain(name, value)
            elif not is_lacking(plain):
                read.append(plain)
                if not self.any_of:
                    break
        return read

    def _change(self, packed: Any, value: Any) -> Row:
        if self.name is None:
            return {self.column: value, **self.sets}
        return {self.column: normalize({**(packed or {}), self.name: value}), **self.sets}


def is_lacking(value: Any) -> bool:
    """An empty text says as little as NULL; 0 and false do say something."""
    return value is None or value == ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Documents of `name`, which the `section` of migrate.toml brings, go into rows of the collection `into`.

    `by` tells how a document finds its row: the first that finds one. Of several for one row the one with the newest
    moment in the field `newest` is used, of these the one with the smallest `_id`; the others, and what finds no row,
    are archived. `wins` says whether a document's value replaces another one that the row has. `kinds` are those of
    fields that an export writes as text (beside/values.py).
    """

    name: str
    section: str
    into: str
    by: tuple[ByKey | ByValue, ...]
    newest: str
    fills: tuple[Fill, ...]
    wins: Callable[[Config], bool] = field(hash=False)
    kinds: Mapping[str, str] = field(default_factory=dict, hash=False)

    def changes(self, document: Document, row: Row, wins: bool, note: Note) -> Row:
        """The columns of a row that a document changes."""
        changes: Row = {}
        for fill in self.fills:
            changes |= fill.apply(document, {**row, **changes}, wins, note)
        return {name: value for name, value in changes.items() if row[name] != value}

    def age(self, document: Document) -> int:
        """The smaller, the newer; without a moment it is the oldest of all. In microseconds."""
        moment = MOMENT.read(document.get(self.newest), unnoted, self.newest)
        return -moment if isinstance(moment, int) else 1 << 63
