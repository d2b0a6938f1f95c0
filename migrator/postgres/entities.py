"""Describes the tables of the target as plain values, for the ER diagram. Source: the SQLAlchemy metadata."""

from __future__ import annotations

from typing import TypedDict

from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects.postgresql.base import PGDialect

from migrator.postgres.table_names import name_of

DIALECT: PGDialect = PGDialect()  # type: ignore[no-untyped-call]
SHORT = {
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "double precision": "float8",
}


class Attribute(TypedDict):
    """A column. `refers`: 'table.column' or None; `key`: part of the primary key; `required`: NOT NULL."""

    name: str
    type: str
    key: bool
    required: bool
    refers: str | None


class Entity(TypedDict):
    """A table with its columns."""

    name: str
    columns: list[Attribute]


def describe_tables(metadata: MetaData) -> list[Entity]:
    """Describe all tables, each after the tables it refers to."""
    return [_entity(table) for table in metadata.sorted_tables]


def _entity(table: Table) -> Entity:
    return Entity(name=name_of(table), columns=[_attribute(column) for column in table.columns])


def _attribute(column: Column[object]) -> Attribute:
    kind = column.type.compile(dialect=DIALECT).lower()
    refers = next((f"{name_of(key.column.table)}.{key.column.name}" for key in column.foreign_keys), None)
    return Attribute(
        name=column.name,
        type=SHORT.get(kind, kind),
        key=column.primary_key,
        required=not column.nullable,
        refers=refers,
    )
