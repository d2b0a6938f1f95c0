"""Other values for columns, as an application could write them. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from migrator.postgres.column_kinds import kind_of_column

_WHOLE = 1 << 20  # a real holds quarters of smaller numbers


def change_value(column: sa.Column[Any], value: Any) -> Any:
    """Return another plain value for a column; None if there is none."""
    labels = getattr(column.type, "enums", None)
    if labels:
        return next(label for label in labels if label != value)
    match kind_of_column(column):
        case "text":
            return _change_text(value or "", getattr(column.type, "length", None))
        case "integer" | "smallint" | "bigint" | "date":
            return value - 1 if value else 1
        case "numeric":
            return value - 1 if value else Decimal(1)
        case "double precision" | "real":
            return 0.25 if value is None or not math.isfinite(value) or abs(value) > _WHOLE else value + 0.25
        case "time":
            return value // 2_000_000 * 1_000_000 if value else 1_000_000
        case "uuid" | "bytea" if value:
            return value[:-1] + bytes((value[-1] ^ 1,))
        case "boolean":
            return not value
        case "timestamp" | "timestamptz":
            return (value or 0) + 1_000_000
        case "jsonb" | "json":
            return _change_json(value)
        case _:
            return None


def _change_text(text: str, most: int | None) -> str:
    if most is None or len(text) < most:
        return f"{text}~"
    return f"{text[:-1]}{'~' if text[-1:] != '~' else 'x'}"


def _change_json(value: Any) -> Any:
    """Return JSON in which one value is another one; None if there is none to change."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if (changed := _change_json(item)) is not None:
                return {**value, name: changed}
        return None
    if isinstance(value, list):
        return value[:-1] or None
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return f"{value}~"
    return None if value is None else value + 1
