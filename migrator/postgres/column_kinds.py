"""The kinds of columns that the loader can write: each has one form of plain values, and one encoding in binary COPY.

A kind is the SQL name of its type, so that it can be used in casts. Text, varchar, char and enums are one kind, as are
a domain and the type it is made of. Plain values are described in `mapping.codecs`, encodings are in copy_format.py.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects import postgresql

from migrator.errors import UsageError
from migrator.postgres.table_names import name_of

TIMESTAMPS: Final = frozenset({"timestamp", "timestamptz"})
JSON_KINDS: Final = frozenset({"json", "jsonb"})
INTEGERS: Final = frozenset({"smallint", "integer", "bigint"})
KEY_KINDS: Final = frozenset({"uuid", "text", "bytea"}) | INTEGERS
# Kinds whose = finds different values equal (1.0 and 1.00, 0.0 and -0.0), or that have none, or no hash.
INEXACT: Final = frozenset({"jsonb", "json", "vector", "numeric", "real", "double precision"})

# The first match counts: some types of SQLAlchemy are subclasses of others.
_TYPES: Final[tuple[tuple[type[Any], str], ...]] = (
    (sa.Uuid, "uuid"),
    (postgresql.JSONB, "jsonb"),
    (sa.JSON, "json"),
    (sa.Boolean, "boolean"),
    (sa.SmallInteger, "smallint"),
    (sa.BigInteger, "bigint"),
    (sa.Integer, "integer"),
    (sa.REAL, "real"),
    (sa.Float, "double precision"),
    (sa.Numeric, "numeric"),
    (sa.DateTime, "timestamp"),
    (sa.Date, "date"),
    (sa.Time, "time"),
    (sa.LargeBinary, "bytea"),
    (sa.String, "text"),  # Text, CHAR and Enum are Strings
    (VECTOR, "vector"),
)
_OF_CLASSES: dict[type[Any], str | None] = {}  # a command asks a thousand times
KINDS: Final = (*dict.fromkeys(kind for _, kind in _TYPES), "timestamptz")
# The names of types in pg_catalog, where they differ from those of SQL.
_CATALOG_NAMES: Final = {
    "boolean": "bool", "smallint": "int2", "integer": "int4", "bigint": "int8", "real": "float4",
    "double precision": "float8",
}  # fmt: skip
_SINGLE_PRECISION = 24  # bits of the mantissa of a real


def kind_of_column(column: sa.Column[Any]) -> str:
    """Return the kind of a column.

    Raises:
        UsageError: the loader cannot write columns of this type.
    """
    kind = find_kind(column.type)
    if kind is None:
        raise UsageError(
            f"column {name_of(column.table)}.{column.name}: the type {_describe(column.type)} cannot be loaded",
            hint=f"Use one of {', '.join(KINDS)}, or an array of one of them; or give no rule for the column.",
        )
    return kind


def find_kind(type_: Any) -> str | None:
    """Return the kind of an SQLAlchemy type; None if the loader does not support it."""
    if isinstance(type_, postgresql.DOMAIN):
        return find_kind(type_.data_type)
    if isinstance(type_, sa.ARRAY):
        return _kind_of_array(type_)
    if isinstance(type_, sa.Interval):  # not a subclass of what PostgreSQL has
        return None
    if isinstance(type_, sa.TypeDecorator):
        return find_kind(type_.impl)
    found = _kind_of_class(type(type_))
    if found == "timestamp" and type_.timezone:
        return "timestamptz"
    if found == "time" and type_.timezone:
        return None
    if isinstance(type_, sa.Float) and type_.precision is not None and type_.precision <= _SINGLE_PRECISION:
        return "real"
    return found


def _kind_of_class(class_: type[Any]) -> str | None:
    if class_ not in _OF_CLASSES:
        _OF_CLASSES[class_] = next((kind for each, kind in _TYPES if issubclass(class_, each)), None)
    return _OF_CLASSES[class_]


def _kind_of_array(type_: sa.ARRAY[Any]) -> str | None:
    item = find_kind(type_.item_type)
    if item is None or item == "vector" or (type_.dimensions or 1) > 1:
        return None
    if isinstance(type_.item_type, postgresql.DOMAIN) or (item == "text" and not isinstance(type_.item_type, sa.Text)):
        return None  # binary COPY of an array needs the OID of the item type: an enum has none that is fixed
    return f"{item}[]"


def item_kind(kind: str) -> str | None:
    """Return the kind of the items of an array; None for other kinds."""
    return kind.removesuffix("[]") if kind.endswith("[]") else None


def is_exact(kind: str) -> bool:
    """Return whether two values of a kind are equal in SQL only if they are identical."""
    return kind not in INEXACT and item_kind(kind) not in INEXACT


def catalog_name(kind: str) -> str:
    """Return the qualified name of the type, which no object in another schema can replace. Not for vectors."""
    item = item_kind(kind)
    if item is not None:
        return f"{catalog_name(item)}[]"
    return f"pg_catalog.{_CATALOG_NAMES.get(kind, kind)}"


def _describe(type_: Any) -> str:
    if isinstance(type_, sa.ARRAY):
        return f"{_describe(type_.item_type)}[]" if (type_.dimensions or 1) == 1 else "array of several dimensions"
    try:
        return str(type_.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # untyped in SQLAlchemy
    except sa.exc.CompileError:
        return type(type_).__name__
