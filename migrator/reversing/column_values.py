"""Other values for columns, as an application could write them. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from migrator.postgres.column_kinds import kind_of_column


def change_value(column: sa.Column[Any], value: Any) -> Any:
    """Return another plain value for a column; None if there is none."""
    labels = getattr(column.type, "enums", None)
    if labels:
        return next(label for label in labels if label != value)
    match kind_of_column(column):
        case "text":
            return f"{value or ''}~"
        case "integer":
            return value - 1 if value else 1
        case "boolean":
            return not value
        case "timestamp":
            return (value or 0) + 1_000_000
        case "jsonb":
            return _change_json(value)
        case _:
            return None


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
