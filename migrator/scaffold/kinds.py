"""Decides what kind of column the values of a field fit: by their types, and by what a conversion can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from migrator.mapping.codecs import INDEXABLE_BYTES
from migrator.mapping.dates import EARLIEST, LATEST
from migrator.scaffold.draft import Kind
from migrator.scaffold.statistics import (
    ARRAY,
    BINARY,
    BOOLEAN,
    DATE,
    DECIMAL,
    DOUBLE,
    INT32,
    INT64,
    OBJECT,
    OBJECT_ID,
    STRING,
    FieldStatistics,
)

SAME_TYPE = 0.999  # of the values: the others are exceptions, which the residue keeps
CONVERTED = 0.95  # of the values, if the others have a type that the conversion can read
# Kind → the types of its values, and other types whose values can usually be converted.
_TYPES: Final[tuple[tuple[Kind, tuple[int, ...], tuple[int, ...]], ...]] = (
    (Kind.TEXT, (STRING,), (INT32, INT64, DOUBLE, BOOLEAN)),
    (Kind.BOOLEAN, (BOOLEAN,), (STRING, INT32)),
    (Kind.DATE, (DATE,), (STRING, INT64, DOUBLE)),
    (Kind.OBJECT_ID, (OBJECT_ID,), (STRING,)),
    (Kind.INTEGER, (INT32, INT64), (STRING,)),
    (Kind.NUMBER, (INT32, INT64, DOUBLE), (STRING,)),
    (Kind.DECIMAL, (INT32, INT64, DOUBLE, DECIMAL), (STRING,)),
    (Kind.BYTES, (BINARY,), ()),
    (Kind.OBJECT, (OBJECT,), ()),
    (Kind.LIST, (ARRAY,), ()),
)
_ITEMS: Final = frozenset(
    {
        Kind.TEXT,
        Kind.BOOLEAN,
        Kind.DATE,
        Kind.OBJECT_ID,
        Kind.INTEGER,
        Kind.LONG,
        Kind.DOUBLE,
        Kind.UUID_TEXT,
        Kind.UUID,
    }
)
_EXACT_DOUBLES: Final = range(-(2**53), 2**53 + 1)
_MICROS: Final = 1000  # of a millisecond


@dataclass(frozen=True, slots=True)
class KindDecision:
    """The kind of a field. `is_uniform`: every value can be read, so that the column can be NOT NULL.

    `item` is the kind of the items of an array. `note`: the types, if there are several.
    """

    kind: Kind
    is_uniform: bool
    note: str = ""
    item: Kind | None = None


def decide_kind(field: FieldStatistics) -> KindDecision:
    """Return the kind of column for a field, with a note if its values have several types."""
    for kind, usual, convertible in _TYPES:
        count = field.count(*usual)
        if not count:
            continue
        rest = field.filled - count
        converted = rest and count + field.count(*convertible) == field.filled and count >= CONVERTED * field.filled
        if rest == 0 or count >= SAME_TYPE * field.filled or converted:
            note = field.describe_types() if rest else ""
            return _decide_array(field, note) if kind is Kind.LIST else _refine(kind, field, note)
    return KindDecision(Kind.ANY, False, field.describe_types())


def _refine(kind: Kind, field: FieldStatistics, note: str) -> KindDecision:
    """Return the decision for values that are not arrays, nearly all of the types of a kind."""
    can_read_all = not note
    if kind is Kind.TEXT and field.uuid_texts == field.count(STRING):
        kind = Kind.UUID_TEXT
        can_read_all &= field.count(STRING) == field.filled
    elif kind is Kind.BYTES and field.uuid_texts == field.count(BINARY):
        kind = Kind.UUID
    elif kind is Kind.INTEGER:
        kind = Kind.LONG if field.count(INT64) > field.count(INT32) else kind
    elif kind is Kind.NUMBER:
        kind = Kind.NUMBER if field.count(INT32, INT64) else Kind.DOUBLE
        can_read_all &= not field.count(INT64) or (field.least in _EXACT_DOUBLES and field.greatest in _EXACT_DOUBLES)
    elif kind is Kind.DECIMAL:
        can_read_all = False  # NaN becomes NULL
    elif kind is Kind.DATE:
        can_read_all &= field.least * _MICROS >= EARLIEST and field.greatest * _MICROS <= LATEST
    return KindDecision(kind, can_read_all, note)


def _decide_array(field: FieldStatistics, note: str) -> KindDecision:
    """Return ARRAY for items of one kind that an array of PostgreSQL can hold, otherwise LIST."""
    if field.elements is None:
        return KindDecision(Kind.LIST, not note, note)
    items = decide_kind(field.elements)
    if items.kind not in _ITEMS or not items.is_uniform:
        return KindDecision(Kind.LIST, not note, note)
    return KindDecision(Kind.ARRAY, not note, note, items.kind)


def is_indexable(kind: Kind, field: FieldStatistics) -> bool:
    """Return whether a B-tree can hold the values."""
    return not kind.is_json and kind is not Kind.ARRAY and field.longest <= INDEXABLE_BYTES
