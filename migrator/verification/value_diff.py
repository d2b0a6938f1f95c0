"""Describes two values that differ. Values that may be personal or secret are redacted to type and length. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migrator.formatting import format_count
from migrator.postgres.column_kinds import kind_of_column

MAX_LENGTH = 1000  # characters of a value that is shown
PUBLIC_KINDS = frozenset({"uuid", "boolean", "integer", "timestamp", "enum"})  # kinds that identify no person


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePair:
    """Two different values as text, redacted if necessary, and a note on where they differ."""

    expected: str
    actual: str
    note: str = ""


def kind_of_value(column: sa.Column[Any]) -> str:
    """Return `kind_of_column`, but 'enum' for enums, which it treats as text."""
    return "enum" if isinstance(column.type, sa.Enum) else kind_of_column(column)


def describe_pair(kind: str, expected: str | None, actual: str | None, show: bool) -> ValuePair:
    """Describe two different values in PostgreSQL's text format (None is NULL). With `show` nothing is redacted."""
    if show or kind in PUBLIC_KINDS:
        return ValuePair(expected=_shorten(expected), actual=_shorten(actual))
    note = _locate_difference(kind, expected, actual)
    return ValuePair(expected=_redact(kind, expected), actual=_redact(kind, actual), note=note)


def _shorten(value: str | None) -> str:
    if value is None:
        return "NULL"
    return value if len(value) <= MAX_LENGTH else f"{value[:MAX_LENGTH]}… ({len(value):,} characters)"


def _redact(kind: str, value: str | None) -> str:
    if value is None:
        return "NULL"
    if kind == "vector":
        numbers = value.strip("[]").split(",")
        zero = ", all zero" if not any(map(float, numbers)) else ""
        return f"vector with {len(numbers):,} dimensions{zero}"
    noun = {"jsonb": "JSON", "bytea": "BSON"}.get(kind, "text")
    return f"{noun} of {format_count(len(value), 'characters')}"


def _locate_difference(kind: str, expected: str | None, actual: str | None) -> str:
    if expected is None or actual is None:
        return ""
    if kind == "jsonb":
        path = _find_path(json.loads(expected, parse_float=str), json.loads(actual, parse_float=str))
        return f"different at {path}" if path else "numbers written differently"
    common = next((n for n, (a, b) in enumerate(zip(expected, actual, strict=False)) if a != b), None)
    place = min(len(expected), len(actual)) if common is None else common
    return f"different from character {place + 1:,}"


def _find_path(one: Any, other: Any, path: str = "$") -> str:
    """Return the first path at which two JSON values differ; '' if they are equal."""
    if type(one) is not type(other):
        return path
    if isinstance(one, dict):
        for key in sorted(one.keys() | other.keys()):
            if key not in one or key not in other:
                return f"{path}.{key}"
            if inner := _find_path(one[key], other[key], f"{path}.{key}"):
                return inner
        return ""
    if isinstance(one, list):
        for place, (left, right) in enumerate(zip(one, other, strict=False)):
            if inner := _find_path(left, right, f"{path}[{place}]"):
                return inner
        return "" if len(one) == len(other) else f"{path}[{min(len(one), len(other))}]"
    return "" if one == other else path
