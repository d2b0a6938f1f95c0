"""How two values that differ are told: what may be personal or secret by its type and length alone. Pure."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from migrator.postgres.copy_format import kind_of_column

LONGEST = 1000  # characters of a value that is shown
OPEN = frozenset({"uuid", "boolean", "integer", "timestamp", "enum"})  # kinds that say nothing of a person
Told = tuple[str, str, str]  # expected, actual, what is to be said of the two


def kind_to_tell(column: sa.Column[Any]) -> str:
    """`kind_of_column`, with enums told from texts."""
    return "enum" if isinstance(column.type, sa.Enum) else kind_of_column(column)


def describe_pair(kind: str, expected: str | None, actual: str | None, show: bool) -> Told:
    """Two different values, as PostgreSQL writes them (None is NULL). `show`: as they are."""
    if show or kind in OPEN:
        return _shown(expected), _shown(actual), ""
    return _masked(kind, expected), _masked(kind, actual), _where(kind, expected, actual)


def _shown(value: str | None) -> str:
    if value is None:
        return "NULL"
    return value if len(value) <= LONGEST else f"{value[:LONGEST]}… ({len(value):,} characters)"


def _masked(kind: str, value: str | None) -> str:
    if value is None:
        return "NULL"
    if kind == "vector":
        numbers = value.strip("[]").split(",")
        zero = ", all zero" if not any(map(float, numbers)) else ""
        return f"a vector of {len(numbers):,} dimensions{zero}"
    noun = {"jsonb": "JSON", "bytea": "BSON"}.get(kind, "text")
    return f"{noun} of {len(value):,} characters"


def _where(kind: str, expected: str | None, actual: str | None) -> str:
    if expected is None or actual is None:
        return ""
    if kind == "jsonb":
        path = _path(json.loads(expected, parse_float=str), json.loads(actual, parse_float=str))
        return f"they differ at {path}" if path else "their numbers are written differently"
    common = next((n for n, (a, b) in enumerate(zip(expected, actual, strict=False)) if a != b), None)
    place = min(len(expected), len(actual)) if common is None else common
    return f"they differ from character {place + 1:,} on"


def _path(one: Any, other: Any, path: str = "$") -> str:
    """Where two JSON values first differ; '' where they are the same."""
    if type(one) is not type(other):
        return path
    if isinstance(one, dict):
        for key in sorted(one.keys() | other.keys()):
            if key not in one or key not in other:
                return f"{path}.{key}"
            if inner := _path(one[key], other[key], f"{path}.{key}"):
                return inner
        return ""
    if isinstance(one, list):
        for place, (left, right) in enumerate(zip(one, other, strict=False)):
            if inner := _path(left, right, f"{path}[{place}]"):
                return inner
        return "" if len(one) == len(other) else f"{path}[{min(len(one), len(other))}]"
    return "" if one == other else path
