"""Decides what kind of column the values of a field fit: by their types, and by what a conversion can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from migrator.mapping.codecs import INDEXABLE_BYTES
from migrator.mapping.dates import EARLIEST, LATEST
from migrator.scaffold.draft import Kind
from migrator.scaffold.statistics import (
    ARRAY,
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
    (Kind.NUMBER, (INT32, INT64, DOUBLE, DECIMAL), (STRING,)),
    (Kind.OBJECT, (OBJECT,), ()),
    (Kind.LIST, (ARRAY,), ()),
)
_INT4: Final = range(-(2**31), 2**31)
_MICROS: Final = 1000  # of a millisecond


@dataclass(frozen=True, slots=True)
class KindDecision:
    """The kind of a field. `is_uniform`: every value can be read, so that the column can be NOT NULL."""

    kind: Kind
    is_uniform: bool
    note: str = ""


def decide_kind(field: FieldStatistics) -> KindDecision:
    """Return the kind of column for a field, with a note if its values have several types."""
    for kind, usual, convertible in _TYPES:
        count = field.count(*usual)
        if not count:
            continue
        rest = field.filled - count
        converted = rest and count + field.count(*convertible) == field.filled and count >= CONVERTED * field.filled
        if rest == 0 or count >= SAME_TYPE * field.filled or converted:
            found = _refine_number(field) if kind is Kind.NUMBER else kind
            return KindDecision(
                found, rest == 0 and _can_read_all(found, field), field.describe_types() if rest else ""
            )
    return KindDecision(Kind.ANY, False, field.describe_types())


def _refine_number(field: FieldStatistics) -> Kind:
    """Return INTEGER if all numbers are whole and in the range of the column."""
    is_whole = not field.count(DECIMAL) and field.count(DOUBLE) == field.whole_doubles
    return Kind.INTEGER if is_whole and field.least in _INT4 and field.greatest in _INT4 else Kind.NUMBER


def _can_read_all(kind: Kind, field: FieldStatistics) -> bool:
    if kind is Kind.DATE:
        return field.least * _MICROS >= EARLIEST and field.greatest * _MICROS <= LATEST
    return kind is not Kind.NUMBER  # NaN becomes NULL


def is_indexable(kind: Kind, field: FieldStatistics) -> bool:
    """Return whether a B-tree can hold the values."""
    return not kind.is_json and field.longest <= INDEXABLE_BYTES
