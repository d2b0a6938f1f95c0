"""Decides whether the values of a field fit a column that exists, and which codec converts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migrator.postgres.column_kinds import find_kind, item_kind
from migrator.scaffold.draft import Kind
from migrator.scaffold.kinds import KindDecision, decide_kind
from migrator.scaffold.statistics import DOUBLE, INT32, INT64, FieldStatistics

_BITS = {"smallint": 16, "integer": 32, "bigint": 64}
_NUMBERS = (Kind.INTEGER, Kind.LONG, Kind.DOUBLE, Kind.NUMBER, Kind.DECIMAL)


@dataclass(frozen=True, slots=True)
class Fit:
    """A codec as code, and the name that it needs. `is_uniform`: it can read every value of the field.

    `labels`: those of an enum; the code is then left to the writer.
    """

    codec: str
    name: str
    is_uniform: bool
    labels: tuple[str, ...] = ()


def fit(type_: Any, field: FieldStatistics) -> Fit | None:
    """Return the codec for a column of a type and the values of a field; None if they do not fit."""
    kind, decided = find_kind(type_), decide_kind(field)
    if kind is None:
        return None
    if item_kind(kind) is not None:
        return _fit_array(type_, field, decided)
    if kind == "text":
        return _fit_text(type_, field, decided)
    if kind in _BITS:
        return _fit_whole(kind, field, decided)
    if kind in ("real", "double precision"):
        return _fit_double(kind, field, decided)
    if kind == "numeric":
        return _fit_numeric(type_, field, decided)
    if kind in ("json", "jsonb"):
        name = {Kind.OBJECT: "JSON_OBJECT", Kind.LIST: "JSON_ARRAY", Kind.ARRAY: "JSON_ARRAY"}.get(decided.kind, "JSON")
        return Fit(name, name, decided.is_uniform)
    names = {
        ("uuid", Kind.UUID_TEXT): "UUID_TEXT",
        ("uuid", Kind.UUID): "UUID",
        ("boolean", Kind.BOOLEAN): "BOOLEAN",
        ("date", Kind.DATE): "DATE",
        ("timestamp", Kind.DATE): "DATETIME",
        ("timestamptz", Kind.DATE): "DATETIME",
        ("bytea", Kind.BYTES): "BYTES",
        ("bytea", Kind.OBJECT_ID): "OBJECTID_BYTES",
    }
    name = names.get((kind, decided.kind), "")
    return Fit(name, name, decided.is_uniform) if name else None


def _fit_array(type_: Any, field: FieldStatistics, decided: KindDecision) -> Fit | None:
    if decided.kind is not Kind.ARRAY or field.elements is None:
        return None
    item = fit(type_.item_type, field.elements)
    return None if item is None else Fit(f"Array({item.codec})", item.name, decided.is_uniform and item.is_uniform)


def _fit_text(type_: Any, field: FieldStatistics, decided: KindDecision) -> Fit | None:
    length = getattr(type_, "length", None)
    if decided.kind is Kind.OBJECT_ID:
        is_enough = not isinstance(type_, sa.Enum) and (length is None or length >= 24)
        return Fit("OBJECTID_HEX", "OBJECTID_HEX", decided.is_uniform) if is_enough else None
    if decided.kind not in (Kind.TEXT, Kind.UUID_TEXT):
        return None
    if isinstance(type_, sa.Enum):
        return Fit("", "Enum", False, tuple(type_.enums))
    if length is None:
        return Fit("TEXT", "TEXT", decided.is_uniform)
    name = "Char" if isinstance(type_, sa.CHAR) else "Text"
    code = f"Char({length})" if name == "Char" else f"Text(length={length})"
    return Fit(code, name, decided.is_uniform and field.longest <= length)


def _fit_whole(kind: str, field: FieldStatistics, decided: KindDecision) -> Fit | None:
    is_whole = field.count(DOUBLE) == field.whole_doubles
    if decided.kind not in (Kind.INTEGER, Kind.LONG) and not (is_whole and decided.kind in (Kind.DOUBLE, Kind.NUMBER)):
        return None
    most = 1 << _BITS[kind] - 1
    name = {"smallint": "SMALLINT", "integer": "INTEGER"}.get(kind, "LONG" if decided.kind is Kind.LONG else "BIGINT")
    return Fit(name, name, decided.is_uniform and -most <= field.least and field.greatest < most)


def _fit_double(kind: str, field: FieldStatistics, decided: KindDecision) -> Fit | None:
    if decided.kind not in _NUMBERS or decided.kind is Kind.DECIMAL:
        return None
    if kind == "real":
        return Fit("REAL", "REAL", False)
    if field.count(INT32, INT64):
        return Fit("Double(whole_as_int=True)", "Double", decided.is_uniform and not field.count(INT64))
    return Fit("DOUBLE", "DOUBLE", decided.is_uniform)


def _fit_numeric(type_: Any, field: FieldStatistics, decided: KindDecision) -> Fit | None:
    if decided.kind not in _NUMBERS:
        return None
    options = [] if type_.precision is None else [str(type_.precision), str(type_.scale or 0)]
    options += [] if decided.kind is Kind.DECIMAL else ['restore="double"']
    return Fit(f"Numeric({', '.join(options)})", "Numeric", False) if options else Fit("NUMERIC", "NUMERIC", False)
