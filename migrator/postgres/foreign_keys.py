"""Foreign keys: those of a database, and those of the metadata that a run has not created yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy import ForeignKeyConstraint, MetaData

from migrator.postgres.catalog import load_queries
from migrator.postgres.table_names import PUBLIC, name_of, qualify, split_name

Connection = psycopg.Connection[Any]
QUERIES = load_queries("foreign_keys.sql")
EQUAL = sql.SQL("OPERATOR(pg_catalog.=)")


class Relation(NamedTuple):
    """A table with its schema."""

    schema: str
    name: str

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def label(self) -> str:
        """The name for records and output: without the schema if it is `public`."""
        return qualify(self.schema, self.name)

    @classmethod
    def named(cls, name: str, rows: str = PUBLIC) -> Relation:
        """Return the table with a name. `rows`: the schema of the namespace."""
        return cls(*split_name(name, rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A reference of child to parent rows. `sets_null`: ON DELETE SET NULL or SET DEFAULT.

    `operators`: how PostgreSQL compares each pair of columns, the parent's on the left.
    """

    child: Relation
    child_columns: tuple[str, ...]
    parent: Relation
    parent_columns: tuple[str, ...]
    operators: tuple[sql.SQL, ...]
    sets_null: bool

    def condition(self, child: str, parent: str) -> sql.Composed:
        """Compose the condition that the row `child` refers to the row `parent` (aliases)."""
        pairs = zip(self.parent_columns, self.operators, self.child_columns, strict=True)
        return sql.SQL(" AND ").join(
            sql.SQL("{} {} {}").format(sql.Identifier(parent, one), operator, sql.Identifier(child, other))
            for one, operator, other in pairs
        )


def existing(connection: Connection, relations: Iterable[Relation]) -> set[Relation]:
    """Return those relations that exist."""
    wanted = list(set(relations))
    query = (
        "SELECT s, n FROM unnest(%s::text[], %s::text[]) AS r (s, n)"
        " WHERE to_regclass(quote_ident(s) || '.' || quote_ident(n)) IS NOT NULL"
    )
    columns = ([each[0] for each in wanted], [each[1] for each in wanted])
    return {Relation(*row) for row in connection.execute(query, columns)}


def find_keys(connection: Connection, metadata: MetaData, schema: str = "public") -> list[ForeignKey]:
    """Return the foreign keys of the database, and those of the metadata that do not exist yet between existing tables.

    During a load the foreign keys of the metadata do not exist.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        found = [_from_record(record) for record in cursor.execute(QUERIES["foreign_keys"])]
    known = {(key.child, key.child_columns, key.parent) for key in found}
    wanted = (
        from_metadata(constraint, schema)
        for table in metadata.sorted_tables
        for constraint in sorted(table.foreign_key_constraints, key=lambda each: str(each.name))
    )
    missing = [key for key in wanted if (key.child, key.child_columns, key.parent) not in known]
    there = existing(connection, (each for key in missing for each in (key.child, key.parent)))
    return found + [key for key in missing if {key.child, key.parent} <= there]


def _from_record(record: dict[str, Any]) -> ForeignKey:
    return ForeignKey(
        child=Relation(record["child_schema"], record["child_table"]),
        child_columns=tuple(record["child_columns"]),
        parent=Relation(record["parent_schema"], record["parent_table"]),
        parent_columns=tuple(record["parent_columns"]),
        operators=tuple(sql.SQL(operator) for operator in record["operators"]),
        sets_null=record["sets_null"],
    )


def from_metadata(constraint: ForeignKeyConstraint, schema: str = PUBLIC) -> ForeignKey:
    """Return a foreign key of the metadata. `schema`: that of the tables which are in schema `public` there."""
    return ForeignKey(
        child=Relation.named(name_of(constraint.table), schema),
        child_columns=tuple(constraint.column_keys),
        parent=Relation.named(name_of(constraint.referred_table), schema),
        parent_columns=tuple(element.column.name for element in constraint.elements),
        operators=(EQUAL,) * len(constraint.elements),
        sets_null=constraint.ondelete in ("SET NULL", "SET DEFAULT"),
    )


def referencing_tables(keys: Iterable[ForeignKey], start: Iterable[Relation]) -> set[Relation]:
    """Return `start` and all tables that refer to them, directly or indirectly."""
    reached = set(start)
    keys = list(keys)
    while more := {key.child for key in keys if key.parent in reached} - reached:
        reached |= more
    return reached


def primary_key(connection: Connection, relation: Relation) -> list[str]:
    """Return the columns of the primary key; an empty list if there is none."""
    named = {"relation": relation.identifier.as_string(connection)}
    return [row[0] for row in connection.execute(QUERIES["primary_key"], named)]


def lock_tables(connection: Connection, relations: Iterable[Relation]) -> None:
    """Prevent writes to these tables, and new references to their rows, until the transaction ends."""
    for relation in sorted(relations):
        connection.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(relation.identifier))
